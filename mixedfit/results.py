"""What a fitting verb returns."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from mixedfit import predict as prediction
from mixedfit import report
from mixedfit.arrays import Array
from mixedfit.certificate import Optimum
from mixedfit.eb.from_fit import shrink_fit
from mixedfit.eb.shrinkage import Shrinkage
from mixedfit.errors import DataError
from mixedfit.fit import Fit, refit
from mixedfit.summary import Summary
from mixedfit.varcorr import VarCorr, factor_columns, variance_components

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
        covariance = self.sigma**2 * self.fit.estimate.unscaled_covariance
        return pd.DataFrame(covariance, index=names, columns=names)

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
        weights = self.fit.design.weights
        residual = self.scale * (1.0 if weights is None else float(np.mean(1.0 / weights)))
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

    def shrinkage(
        self, group: str | None = None, term: str | None = None, *, level: float = 0.95
    ) -> Shrinkage:
        """How the levels of a grouping factor are pulled toward the fixed effects.

        Parameters
        ----------
        group : str, optional
            The grouping factor; may be left out when there is one.
        term : str, optional
            One column of its effects, such as ``"Days"``; all of them by default.
        level : float
            Of the intervals.

        Returns
        -------
        Shrinkage
            In ``posterior``, ``estimate`` (again as ``no_pooling``) is least squares within the
            level with everything else in the model at its estimate, ``weight`` the share kappa of
            it in ``mean``, the shrunken coefficient (fixed plus random effect); ``sd`` counts the
            fixed effects' uncertainty but takes the variances as known. ``complete_pooling`` is
            least squares without random effects, ``prior_mean`` the fixed effect. With several
            columns there is a row for each, and ``weight_COLUMN`` hold the matrix kappa.

        Notes
        -----
        With one random intercept ``kappa_j = n_j tau^2 / (n_j tau^2 + sigma^2)``.

        Examples
        --------
        >>> import mixedfit as mf
        >>> fit = mf.lmer("Yield ~ 1 + (1 | Batch)", mf.datasets.load("dyestuff"))
        >>> table = fit.shrinkage("Batch").posterior
        >>> table[["label", "estimate", "weight", "mean"]].head(2).round(3).values.tolist()
        [['A', 1505.0, 0.783, 1509.893], ['B', 1528.0, 0.783, 1527.891]]
        """
        return shrink_fit(self.fit, group, term, level)

    def rank(
        self,
        group: str | None = None,
        k: int = 1,
        *,
        term: str | None = None,
        highest_first: bool = True,
        level: float = 0.95,
        n: int = 4000,
        seed: int | np.random.Generator | None = 0,
    ) -> pd.DataFrame:
        """Rank the levels of a grouping factor, with the uncertainty of the ranks.

        Parameters
        ----------
        group, term
            As in `shrinkage`; with several random columns one must be named.
        k, highest_first, level, n, seed
            As in `Shrinkage.rank`: what counts as the top, the direction, the level of intervals
            and of the credible set, how many joint draws, and their seed.

        Returns
        -------
        DataFrame
            One row a level: ``label``, ``expected_rank``, ``rank_sd``, ``lower``, ``upper``,
            ``p_top``, ``in_top_set``.

        Examples
        --------
        >>> import mixedfit as mf
        >>> fit = mf.lmer("travel ~ 1 + (1 | Rail)", mf.datasets.load("rail"))
        >>> fit.rank("Rail", k=2).query("in_top_set")["label"].tolist()
        ['6', '3', '4']
        """
        return self.shrinkage(group, term, level=level).rank(
            k, highest_first=highest_first, n=n, seed=seed
        )

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

    def residuals(self, kind: prediction.ResidualKind = "response") -> pd.Series:
        """Residuals, one a row used.

        Parameters
        ----------
        kind : {"response", "pearson", "normalized"}
            Observed less fitted; divided by each row's residual standard deviation; and made
            uncorrelated as well.
        """
        return self._rows(prediction.residuals(self.fit, kind), "resid")

    def _rows(self, values: Array, name: str) -> pd.Series:
        return pd.Series(values, index=self.fit.design.index, name=name)

    def predict(
        self,
        newdata: Any = None,
        *,
        groups: prediction.Groups = "all",
        new_levels: prediction.NewLevels = "raise",
    ) -> pd.Series:
        """Predict the mean response.

        Parameters
        ----------
        newdata : pandas, polars or pyarrow frame, or dict of columns, optional
            By default the rows of the fit.
        groups : "all", "none" or list of str
            Grouping factors whose random effects are included.
        new_levels : {"raise", "population"}
            Levels the fit did not have: an error that names them, or random effects of zero.

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
        return prediction.predict(self.fit, newdata, groups, new_levels)

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
        groups = ", ".join(f"{name} {count}" for name, count in self.ngroups.items())
        return (
            f"<MixedResults {self.formula!r} {self.method}, n={self.nobs}, {groups}, "
            f"llf={self.llf:.4f}, {self.status}>"
        )
