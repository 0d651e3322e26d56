"""What a fitting verb returns."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from mixedfit import grouping_levels, report
from mixedfit import predict as prediction
from mixedfit.arrays import Array
from mixedfit.certificate import Optimum
from mixedfit.classical_anova import ClassicalAnova, classical_anova
from mixedfit.errors import DataError
from mixedfit.fit import Fit, refit
from mixedfit.marginal import residual_sd
from mixedfit.summary import Summary
from mixedfit.varcorr import VarCorr, factor_columns, variance_components
from mixedfit.vcov import model_covariance

__all__ = ["MixedResults"]


@dataclass(frozen=True, repr=False)
class MixedResults:
    """A fitted mixed model.

    Labels follow the data; nothing here can be changed. Names follow statsmodels where it has one,
    lme4 where it has none.

    Attributes
    ----------
    fit : Fit
        The model in arrays.
    """

    fit: Fit

    # -- the fixed part ------------------------------------------------------------------------

    @cached_property
    def params(self) -> pd.Series:
        """Estimates of the fixed effects, in units of the response per unit of each column."""
        return pd.Series(self.fit.estimate.beta, index=self.fit.design.names, name="params")

    @property
    def fixef(self) -> pd.Series:
        """The same as `params`."""
        return self.params

    @cached_property
    def bse(self) -> pd.Series:
        """Standard errors of the fixed effects."""
        return pd.Series(report.standard_errors(self.fit), index=self.fit.design.names, name="bse")

    @cached_property
    def tvalues(self) -> pd.Series:
        """Estimates divided by their standard errors."""
        return (self.params / self.bse).rename("tvalues")

    def cov_params(self) -> pd.DataFrame:
        """Covariance matrix of the fixed effects, shape (p, p)."""
        names = self.fit.design.names
        return pd.DataFrame(model_covariance(self.fit), index=names, columns=names)

    # -- variances -----------------------------------------------------------------------------

    @property
    def sigma(self) -> float:
        """Residual standard deviation, in units of the response."""
        return self.fit.estimate.sigma

    @property
    def scale(self) -> float:
        """Residual variance."""
        return self.sigma**2

    @cached_property
    def theta(self) -> Array:
        """Relative covariance parameters: lme4's theta, in lme4's order."""
        return self.fit.estimate.theta

    @cached_property
    def varcorr(self) -> VarCorr:
        """Variances and correlations of the random effects."""
        return variance_components(self.fit)

    @cached_property
    def residual_params(self) -> pd.Series:
        """Parameters of the residuals' correlation and variance function, on their own scale.

        Names and order are those of nlme's ``coef(..., unconstrained=FALSE)``; empty where neither
        was asked for.
        """
        return report.residual_parameters(self.fit)

    def icc(self) -> pd.Series:
        """Share of the variance that lies between the levels of each grouping factor.

        Returns
        -------
        Series
            By grouping factor. With one random intercept this is the intraclass correlation
            ``tau^2 / (tau^2 + sigma^2)``, the correlation of two rows of one level.

        Notes
        -----
        With random slopes the variance a factor adds differs from row to row; its mean over the
        rows, ``mean(z_i' G z_i)``, is taken (Johnson 2014, Methods Ecol. Evol. 5).

        Examples
        --------
        >>> import mixedfit as mf
        >>> fit = mf.lmer("Yield ~ 1 + (1 | Batch)", mf.datasets.load("dyestuff"))
        >>> fit.icc().round(4).to_dict()
        {'Batch': 0.4185}
        """
        shares = {}
        for f, factor in enumerate(self.fit.design.factors):
            Z = np.hstack([term.Z for term in self.fit.design.terms if term.factor == f])
            C = self.fit.estimate.covariances[f]
            shares[factor.name] = float(np.einsum("ia,ab,ib->", Z, C, Z, optimize=True)) / len(Z)
        residual = self.scale * float(np.mean(residual_sd(self.fit) ** 2))
        variances = pd.Series(shares, name="icc", dtype=float)
        return variances / (variances.sum() + residual)

    # -- random effects ------------------------------------------------------------------------

    def ranef(self, sd: bool = False) -> dict[str, pd.DataFrame]:
        """Predicted random effects (BLUPs, conditional modes).

        Parameters
        ----------
        sd : bool
            Add a column ``NAME_sd`` for each: the standard deviation given the data, with fixed
            effects and covariances taken as known.

        Returns
        -------
        dict of DataFrame
            By grouping factor, one row a level.
        """
        out = {}
        for f, (factor, names) in enumerate(
            zip(self.fit.design.factors, factor_columns(self.fit), strict=True)
        ):
            frame = pd.DataFrame(self.fit.estimate.effects[f], index=factor.levels, columns=names)
            if sd:
                variances = np.einsum("jaa->ja", self.fit.estimate.conditional_covariances[f])
                for a, name in enumerate(names):
                    frame[f"{name}_sd"] = np.sqrt(np.maximum(variances[:, a], 0.0))
            out[factor.name] = frame
        return out

    def coef(self) -> dict[str, pd.DataFrame]:
        """Coefficients of each level: fixed effects plus random effects.

        Returns
        -------
        dict of DataFrame
            By grouping factor, one row a level, one column a fixed or random column.
        """
        out = {}
        for group, effects in self.ranef().items():
            frame = pd.DataFrame(
                np.tile(self.fit.estimate.beta, (len(effects), 1)),
                index=effects.index,
                columns=self.fit.design.names,
            )
            for place, name in enumerate(effects.columns):
                own = effects.iloc[:, place]
                frame[name] = frame[name] + own if name in frame else own
            out[group] = frame
        return out

    # -- fit -----------------------------------------------------------------------------------

    @property
    def llf(self) -> float:
        """Log-likelihood; the restricted one when the method is REML."""
        return self.fit.llf

    @property
    def deviance(self) -> float:
        """-2 log-likelihood (the REML criterion when the method is REML)."""
        return self.fit.optimum.fun

    @property
    def n_params(self) -> int:
        """Number of fixed effects, covariance parameters and the residual variance."""
        return self.fit.n_params

    @property
    def aic(self) -> float:
        """Akaike's information criterion."""
        return report.akaike(self.fit)

    @property
    def bic(self) -> float:
        """The Bayesian information criterion."""
        return report.bayes(self.fit)

    @property
    def nobs(self) -> int:
        """Number of rows used."""
        return self.fit.n

    @property
    def n_missing(self) -> int:
        """Number of rows left out because a value was missing."""
        return self.fit.design.n_missing

    @property
    def dropped_columns(self) -> list[str]:
        """Fixed columns left out because they repeat others."""
        return self.fit.design.dropped

    @property
    def ngroups(self) -> dict[str, int]:
        """Number of levels of each grouping factor."""
        return {factor.name: factor.n_levels for factor in self.fit.design.factors}

    @property
    def method(self) -> str:
        """What was maximised: "REML" or "ML"."""
        return self.fit.method

    @property
    def formula(self) -> str:
        """The formula as it was written."""
        return self.fit.design.formula.text

    @property
    def optimum(self) -> Optimum:
        """Where the search ended: fun, gradient, decrement, smallest_eigenvalue, nfev, message."""
        return self.fit.optimum

    @property
    def status(self) -> Literal["optimal", "boundary", "stalled"]:
        """The verdict; "boundary" is a variance or correlation at its limit."""
        return self.fit.optimum.status

    @property
    def converged(self) -> bool:
        """Whether the verdict is not "stalled"."""
        return self.status != "stalled"

    @property
    def is_singular(self) -> bool:
        """Whether some combination of random effects has no variance."""
        return bool(self.fit.optimum.singular)

    # -- rows ----------------------------------------------------------------------------------

    @cached_property
    def fittedvalues(self) -> pd.Series:
        """Fitted values with the random effects, one a row used."""
        return self._rows(prediction.fitted_values(self.fit), "fittedvalues")

    @cached_property
    def resid(self) -> pd.Series:
        """Observed less fitted, one a row used."""
        return self.residuals()

    def fitted_at(self, level: int | None = None) -> pd.Series:
        """Fitted values at a level of nested grouping factors, as nlme counts them.

        Parameters
        ----------
        level : int, optional
            0 for the population, 1 with the random effects of the outermost groups, and so on; by
            default the innermost.

        Returns
        -------
        Series
            One value a row used.

        Examples
        --------
        >>> import mixedfit as mf
        >>> fit = mf.lme("Yield ~ 1", "~ 1 | Batch", mf.datasets.load("dyestuff"))
        >>> fit.fitted_at(0).iloc[0].round(2), fit.fitted_at(1).iloc[0].round(2)
        (np.float64(1527.5), np.float64(1509.89))
        """
        return grouping_levels.fitted_at(self.fit, level).rename("fitted")

    def residuals(
        self, kind: prediction.ResidualKind = "response", level: int | None = None
    ) -> pd.Series:
        """Residuals, one a row used.

        Parameters
        ----------
        kind : {"response", "pearson", "normalized"}
            Observed less fitted; divided by each row's residual standard deviation; and made
            uncorrelated as well.
        level : int, optional
            Of nested grouping factors, as for `fitted_at`; by default with all random effects.
        """
        fitted = None if level is None else self.fitted_at(level).to_numpy()
        return self._rows(prediction.residuals(self.fit, kind, fitted), "resid")

    def marginal_cov(
        self,
        group_level: Any,
        type: grouping_levels.CovarianceType = "marginal",  # noqa: A002
        group: str | None = None,
    ) -> pd.DataFrame:
        """Covariance matrix of the responses of one group: nlme's getVarCov.

        Parameters
        ----------
        group_level : label
            The group's; a tuple or ``"a/b"`` for combinations.
        type : {"marginal", "conditional"}
            Over all groups like it, ``Z G Z' + sigma^2 R``, or given its random effects,
            ``sigma^2 R``.
        group : str, optional
            A grouping factor; by default the outermost, or the groups of the correlation in `gls`.

        Returns
        -------
        DataFrame
            One row and column a row of the group, in squared units of the response.

        Raises
        ------
        DataError, ModelError
            If there is no such group, or no two rows are correlated.

        Examples
        --------
        >>> import mixedfit as mf
        >>> fit = mf.lme("Yield ~ 1", "~ 1 | Batch", mf.datasets.load("dyestuff"))
        >>> fit.marginal_cov("A").iloc[:2, :2].round(1)
                0       1
        0  4215.3  1764.0
        1  1764.0  4215.3
        """
        return grouping_levels.group_covariance(self.fit, group_level, type, group)

    def anova_oneway(self) -> ClassicalAnova:
        """The classical analysis of variance of a one-way or nested layout.

        Returns
        -------
        ClassicalAnova
            Mean squares with their expectations, F tests of zero variances and moment estimates;
            prints as tables.

        Raises
        ------
        ModelError
            If the model is not an intercept with nested random intercepts.

        Examples
        --------
        >>> import mixedfit as mf
        >>> fit = mf.lme("Yield ~ 1", "~ 1 | Batch", mf.datasets.load("dyestuff"))
        >>> anova = fit.anova_oneway()
        >>> anova.table[["source", "df", "mean_sq", "expected_mean_sq"]]
             source  df   mean_sq          expected_mean_sq
        0     Batch   5  11271.50  V[Residual] + 5 V[Batch]
        1  Residual  24   2451.25               V[Residual]
        """
        return classical_anova(self.fit)

    def _rows(self, values: Array, name: str) -> pd.Series:
        return pd.Series(values, index=self.fit.design.index, name=name)

    def predict(
        self,
        newdata: Any = None,
        *,
        groups: prediction.Groups = "all",
        new_levels: prediction.NewLevels = "raise",
        residual: prediction.ResidualPart = None,
    ) -> pd.Series:
        """Predict the mean response, or later rows of known groups.

        Parameters
        ----------
        newdata : pandas, polars or pyarrow frame, or dict of columns, optional
            By default the rows of the fit.
        groups : "all", "none" or list of str
            Grouping factors whose random effects are included.
        new_levels : {"raise", "population"}
            Levels the fit did not have: an error that names them, or random effects of zero.
        residual : {None, "conditional"}
            Add the residual to expect given the observed residuals it is correlated with: for
            further rows of groups in the fit, in models with a correlation structure.

        Returns
        -------
        Series
            One value a row; missing where a value it needs is missing.

        Raises
        ------
        DataError
            If a column is missing or holds levels the fit did not have.

        Examples
        --------
        >>> import mixedfit as mf
        >>> fit = mf.lmer("Reaction ~ Days + (Days | Subject)", mf.datasets.load("sleepstudy"))
        >>> new = {"Days": [0, 10], "Subject": [308, 999]}
        >>> fit.predict(new, new_levels="population").round(2).tolist()
        [253.66, 356.08]
        """
        return prediction.predict(self.fit, newdata, groups, new_levels, residual)

    def simulate(self, n: int = 1, seed: int | np.random.Generator | None = None) -> pd.DataFrame:
        """Draw responses from the fitted model, with new random effects.

        Parameters
        ----------
        n : int
            How many.
        seed : int or numpy Generator, optional

        Returns
        -------
        DataFrame
            One row a row used, columns ``sim_1`` to ``sim_n``.
        """
        return prediction.simulate(self.fit, n, seed)

    def refit(self, y: ArrayLike) -> MixedResults:
        """Fit the same model to another response.

        Parameters
        ----------
        y : array-like of shape (nobs,)
            One finite number a row used.

        Returns
        -------
        MixedResults
        """
        values = np.asarray(y, dtype=float)
        if values.shape != (self.nobs,):
            raise DataError(f"the response must have one value for each of {self.nobs} rows used")
        if not np.isfinite(values).all():
            raise DataError("the response must be finite in every row")
        return MixedResults(refit(self.fit, values))

    # -- tables --------------------------------------------------------------------------------

    def summary(self) -> Summary:
        """The whole fit for reading: text when printed, HTML in notebooks, ``.as_latex()``."""
        return report.summarise(self.fit)

    def tidy(self) -> pd.DataFrame:
        """One row a parameter: effect, group, term, estimate, std_error, statistic."""
        return report.tidy(self.fit)

    def glance(self) -> pd.DataFrame:
        """One row about the whole model."""
        return report.glance(self.fit)

    def augment(self) -> pd.DataFrame:
        """One row an observation used: response, levels, fitted, fixed, resid."""
        return report.augment(self.fit)

    def __repr__(self) -> str:
        groups = "".join(f", {name} {count}" for name, count in self.ngroups.items())
        residuals = "".join(f", {part}" for part in report.residual_parts(self.fit))
        return (
            f"<MixedResults {self.formula!r} {self.method}, n={self.nobs}{groups}{residuals}, "
            f"llf={self.llf:.4f}, {self.status}>"
        )
