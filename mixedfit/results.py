"""What a fitting verb returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, overload

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from mixedfit import grouping_levels, report
from mixedfit import predict as prediction
from mixedfit.anova import AnovaType, anova_table
from mixedfit.arrays import Array
from mixedfit.bootstrap import Bootstrap, BootstrapInterval, BootstrapKind, bootstrap
from mixedfit.bootstrap_comparison import BootstrapTest, bootstrap_test_of
from mixedfit.certificate import Optimum
from mixedfit.classical_anova import ClassicalAnova, classical_anova
from mixedfit.coefficients import Contrast, coefficient_table, contrast
from mixedfit.ddf import Ddf
from mixedfit.diagnostics import Diagnostics
from mixedfit.eb.from_fit import shrink_fit
from mixedfit.eb.shrinkage import Shrinkage
from mixedfit.emmeans import MarginalMeans, marginal_means, marginal_trends
from mixedfit.errors import DataError, ModelError
from mixedfit.exact_variance_test import VarianceTest, exact_variance_test
from mixedfit.explain import Explanation, explain
from mixedfit.fit import Fit, refit
from mixedfit.influence import Influence, influence
from mixedfit.intervals import IntervalMethod, confidence_intervals
from mixedfit.joint_tests import joint_tests
from mixedfit.marginal import residual_sd
from mixedfit.pictures import Pictures
from mixedfit.prediction_intervals import Interval, predict_interval
from mixedfit.profile import Profile, profile
from mixedfit.reference_grid import Weights
from mixedfit.robust import chosen_inference, robust_inference
from mixedfit.summary import Summary
from mixedfit.varcorr import VarCorr, factor_columns, variance_components
from mixedfit.variance_tests import random_effects_table

__all__ = ["MixedResults", "bootstrap_test"]


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

    @cached_property
    def pvalues(self) -> pd.Series:
        """Two-sided p-values of t tests with the degrees of freedom of `coef_table`."""
        return pd.Series(self.coef_table()["p"].to_numpy(), self.params.index, name="pvalues")

    def cov_params(
        self,
        kind: Literal["model", "kenward-roger", "CR0", "CR1", "CR2"] = "model",
        cluster: str | ArrayLike | None = None,
    ) -> pd.DataFrame:
        """Covariance matrix of the fixed effects.

        Parameters
        ----------
        kind : {"model", "kenward-roger", "CR0", "CR1", "CR2"}
            With the variances as if they were known; adjusted for their being estimated; or robust
            to any dependence within clusters: without correction, times ``m / (m - 1)`` for m
            clusters, or unbiased where the model's covariance is right and clusters independent.
        cluster : str or array-like, optional
            The clusters: a grouping factor, or one label a row; by default the factor that nests
            all others.

        Returns
        -------
        DataFrame of shape (p, p)

        Raises
        ------
        ModelError, DataError
            If no factor nests the others and none is named, or labels do not fit the rows.

        Notes
        -----
        ``M [sum_j (W X)_j' A_j e_j e_j' A_j (W X)_j] M`` with ``W = V^-1``, ``M = (X'W X)^-1`` and
        A_j that of Bell & McCaffrey (2002, Surv. Methodol. 28) for CR2. Clusters may cut across the
        model's groups; what they share through those is then not counted.

        Examples
        --------
        >>> import mixedfit as mf
        >>> fit = mf.lmer("Reaction ~ Days + (1 | Subject)", mf.datasets.load("sleepstudy"))
        >>> fit.cov_params("CR2").round(3).to_numpy().tolist()
        [[46.575, -1.451], [-1.451, 2.389]]
        """
        names = self.fit.design.names
        if kind.startswith("CR") or cluster is not None:
            covariance = robust_inference(self.fit, kind, cluster).covariance
        else:
            covariance = report.fixed_covariance(self.fit, kind)
        return pd.DataFrame(covariance, index=names, columns=names)

    # -- tests ---------------------------------------------------------------------------------

    def coef_table(
        self,
        ddf: Ddf | None = None,
        level: float = 0.95,
        cov: str | None = None,
        cluster: str | ArrayLike | None = None,
    ) -> pd.DataFrame:
        """The fixed effects with tests and intervals.

        Parameters
        ----------
        ddf : {"satterthwaite", "kenward-roger", "containment", "residual", "normal"}, optional
            Denominator degrees of freedom; "kenward-roger" adjusts the standard errors too. By
            default what the verb reports: "satterthwaite" for `lmer`.
        level : float
            Of the intervals.
        cov : {"model", "CR0", "CR1", "CR2"}, optional
            Standard errors robust to any dependence within clusters, with degrees of freedom of
            their own; see `cov_params`.
        cluster : str or array-like, optional
            The clusters of a robust ``cov``.

        Returns
        -------
        DataFrame
            One row a coefficient: term, estimate, se, df, t, p, lower, upper; ``attrs`` has the
            method used and a note.

        Examples
        --------
        >>> import mixedfit as mf
        >>> fit = mf.lmer("Reaction ~ Days + (Days | Subject)", mf.datasets.load("sleepstudy"))
        >>> fit.coef_table(ddf="kenward-roger")[["term", "estimate", "se", "df"]].round(3)
                term  estimate     se    df
        0  Intercept   251.405  6.825  17.0
        1       Days    10.467  1.546  17.0
        """
        return coefficient_table(
            chosen_inference(self.fit, ddf, cov, cluster), self.params.index, level
        )

    def anova(
        self,
        type: AnovaType = 3,  # noqa: A002
        ddf: Ddf | None = None,
    ) -> pd.DataFrame:
        """Test each term of the fixed part.

        Parameters
        ----------
        type : {3, 2, 1, "sequential", "marginal"}
            3: contrasts of the term's means, averaged over the levels of the factors it interacts
            with; 2: after all terms that do not contain it; 1: after the terms before it. None of
            them depends on how factors are coded. "sequential" and "marginal" are nlme's: after
            the terms before it in the fitted model, and the term's coefficients as they are coded;
            both have the intercept's row first.
        ddf : {"satterthwaite", "kenward-roger", "containment", "residual", "normal"}, optional
            Denominator degrees of freedom, as in `coef_table`.

        Returns
        -------
        DataFrame
            One row a term: term, num_df, den_df, F, p.

        Examples
        --------
        >>> import mixedfit as mf
        >>> fit = mf.lmer("score ~ Machine + (1 | Worker)", mf.datasets.load("machines"))
        >>> fit.anova(ddf="kenward-roger").round(2).to_dict("records")
        [{'term': 'Machine', 'num_df': 2, 'den_df': 46.0, 'F': 87.8, 'p': 0.0}]
        """
        return anova_table(self.fit, type, ddf)

    def ranova(self) -> pd.DataFrame:
        """Test the random effects: each term with slopes less one, or without it.

        Slopes go first, one at a time, a factor as a whole; a term with an intercept alone is
        removed.

        Returns
        -------
        DataFrame
            One row a reduced model, the fit itself first: term, n_params, llf, aic, chi2, df, p,
            p_mixture. ``p`` is that of a chi-squared distribution, as lmerTest's ranova has it;
            ``p_mixture`` counts that variances cannot be negative. Likelihoods are restricted when
            the fit's is.

        Notes
        -----
        For one effect beside k others of its term half a chi-squared with k and half one with
        k + 1 degrees of freedom; for several effects the projection on the cone of covariance
        matrices, in the metric of the information at the reduced fit (Self & Liang 1987, J. Am.
        Stat. Assoc. 82; Stram & Lee 1994, Biometrics 50).

        Examples
        --------
        >>> import mixedfit as mf
        >>> fit = mf.lmer("Reaction ~ Days + (Days | Subject)", mf.datasets.load("sleepstudy"))
        >>> fit.ranova()[["term", "chi2", "df"]].round(2).iloc[1:]
                               term   chi2   df
        1  Days in (Days | Subject)  42.84  2.0
        """
        return random_effects_table(self.fit)

    def variance_test(
        self, n: int = 10_000, seed: int | np.random.Generator | None = None
    ) -> VarianceTest:
        """Test exactly that the only variance component is zero.

        Parameters
        ----------
        n : int
            Draws from the null distribution; no fits are needed for them.
        seed : int or numpy Generator, optional

        Returns
        -------
        VarianceTest
            ``statistic``, ``p`` (exact but for the drawing), ``p_mixture`` (for many levels).

        Raises
        ------
        ModelError
            If the model has more than one variance component: see `ranova`.

        Notes
        -----
        The (restricted) likelihood ratio by its spectral representation (Crainiceanu & Ruppert
        2004, J. R. Stat. Soc. B 66).

        Examples
        --------
        >>> import mixedfit as mf
        >>> fit = mf.lmer("Yield ~ 1 + (1 | Batch)", mf.datasets.load("dyestuff"))
        >>> test = fit.variance_test(seed=1)
        >>> round(test.statistic, 3), test.p < test.p_mixture
        (6.369, True)
        """
        return exact_variance_test(self.fit, n, seed)

    def contrast(
        self,
        L: Any,
        ddf: Ddf | None = None,
        level: float = 0.95,
        cov: str | None = None,
        cluster: str | ArrayLike | None = None,
    ) -> Contrast:
        """Test combinations of the fixed effects.

        Parameters
        ----------
        L : str, dict, array, DataFrame, or a list or dict of these
            Equations such as ``"Days = 10"`` or ``"a - b"`` (several separated by commas); weights
            by name such as ``{"Days": 1}``; or an array with a column for each coefficient. A dict
            of contrasts labels the rows by its keys.
        ddf : {"satterthwaite", "kenward-roger", "containment", "residual", "normal"}, optional
            Denominator degrees of freedom, as in `coef_table`.
        level : float
            Of the intervals.
        cov : {"model", "CR0", "CR1", "CR2"}, optional
            Standard errors robust to any dependence within clusters, with degrees of freedom of
            their own; see `cov_params`.
        cluster : str or array-like, optional
            The clusters of a robust ``cov``.

        Returns
        -------
        Contrast
            ``estimate``, ``se``, ``df``, ``t``, ``p`` by contrast, ``to_frame()``, and the F test
            of all of them in ``joint``.

        Raises
        ------
        DataError
            If a name is unknown, the width is wrong, or an equation cannot be read.

        Examples
        --------
        >>> import mixedfit as mf
        >>> fit = mf.lmer("Reaction ~ Days + (Days | Subject)", mf.datasets.load("sleepstudy"))
        >>> fit.contrast({"after 9 days": {"Intercept": 1, "Days": 9}}).estimate.round(2).to_dict()
        {'after 9 days': 345.61}
        """
        inferred = chosen_inference(self.fit, ddf, cov, cluster)
        return contrast(self.fit, L, inferred, level)

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

    @overload
    def predict(
        self,
        newdata: Any = ...,
        *,
        groups: prediction.Groups = ...,
        new_levels: prediction.NewLevels = ...,
        interval: None = ...,
        level: float = ...,
    ) -> pd.Series: ...

    @overload
    def predict(
        self,
        newdata: Any = ...,
        *,
        groups: prediction.Groups = ...,
        new_levels: prediction.NewLevels = ...,
        interval: Interval,
        level: float = ...,
    ) -> pd.DataFrame: ...

    def predict(
        self,
        newdata: Any = None,
        *,
        groups: prediction.Groups = "all",
        new_levels: prediction.NewLevels = "raise",
        residual: prediction.ResidualPart = None,
        interval: Interval | None = None,
        level: float = 0.95,
    ) -> pd.Series | pd.DataFrame:
        """Predict the mean response, or an interval for it or for a new observation.

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
        interval : {None, "confidence", "prediction"}
            "confidence" is for the mean of a row given the levels that are included; levels left
            out or new are averaged over. "prediction" is for a new observation: it adds the
            residual variance and, for every level left out or new, that of its effects.
            Observations have the weights of the fit's rows, and weight 1 in ``newdata``.
        level : float
            Of the intervals.

        Returns
        -------
        Series or DataFrame
            One value a row; with an interval the columns estimate, se, lower, upper. Missing where
            a value it needs is missing.

        Raises
        ------
        DataError
            If a column is missing or holds levels the fit did not have.

        Notes
        -----
        Intervals count that fixed and random effects are estimated together, and that their
        covariances are estimated: see `mixedfit.prediction_intervals`.

        Examples
        --------
        >>> import mixedfit as mf
        >>> fit = mf.lmer("Reaction ~ Days + (Days | Subject)", mf.datasets.load("sleepstudy"))
        >>> new = {"Days": [0, 10], "Subject": [308, 999]}
        >>> fit.predict(new, new_levels="population").round(2).tolist()
        [253.66, 356.08]
        >>> fit.predict(new, new_levels="population", interval="prediction").round(1)
           estimate    se  lower  upper
        0     253.7  29.1  196.3  311.1
        1     356.1  72.3  205.1  507.1
        """
        if interval is not None:
            if residual is not None:
                raise ModelError(
                    "residual='conditional' has no intervals: leave interval or residual out"
                )
            return predict_interval(self.fit, newdata, groups, new_levels, interval, level)
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
        try:
            values = np.asarray(y, dtype=float)
        except (TypeError, ValueError):
            raise DataError("the response must be numbers, one for each row used") from None
        if values.shape != (self.nobs,):
            raise DataError(f"the response must have one value for each of {self.nobs} rows used")
        if not np.isfinite(values).all():
            raise DataError("the response must be finite in every row")
        return MixedResults(refit(self.fit, values))

    # -- checks --------------------------------------------------------------------------------

    def explain(self) -> Explanation:
        """What the verdict means, in plain words: text when printed, HTML in notebooks.

        For a boundary fit it names the combination of each term's columns that has no variance, and
        simpler models nested in this one as formulas that paste into `lmer`.

        Examples
        --------
        >>> import mixedfit as mf
        >>> fit = mf.lmer("Yield ~ 1 + (1 | Batch)", mf.datasets.load("dyestuff2"))
        >>> list(fit.explain().simpler)
        [('Yield ~ 1', 'without (1 | Batch), an ordinary regression: fits as well')]
        """
        return explain(self.fit)

    @property
    def plot(self) -> Pictures:
        """Pictures, each of which returns matplotlib Axes: ``fit.plot.residuals()``, ..."""
        return Pictures(self.fit, lambda name: self.profile(parameters=name).to_frame())

    @property
    def diagnostics(self) -> Diagnostics:
        """Checks of the model's assumptions, as tables: residuals, Q-Q, autocorrelation, ..."""
        return Diagnostics(self.fit)

    def influence(self, group: str | ArrayLike | None = None, refit: bool = False) -> Influence:
        """Leave out each row, or all rows of each level, and see what changes.

        Parameters
        ----------
        group : str or array-like, optional
            A grouping factor of the fit, or one label a row (any grouping, such as a column of the
            data); by default single rows.
        refit : bool
            Fit again without each, variance parameters included. By default those are held, and
            everything follows from this fit, exactly and at once.

        Returns
        -------
        Influence
            ``.cooks_distance``, ``.dfbetas``, ``.covratio``, ``.leverage``, ``.to_frame()``.

        Raises
        ------
        DataError
            If there is no such grouping factor, or the labels do not fit the rows.

        Notes
        -----
        With the variances held, the estimates without rows I are those of the model in which each
        row of I has a mean of its own, ``b - b_(I) = C X'V^-1 D (D'P D)^-1 D'P y`` for D the
        columns of the identity in I (Christensen, Pearson & Johnson 1992, Technometrics 34).

        Examples
        --------
        >>> import mixedfit as mf
        >>> fit = mf.lmer("Reaction ~ Days + (Days | Subject)", mf.datasets.load("sleepstudy"))
        >>> fit.influence("Subject").cooks_distance.nlargest(2).round(3).to_dict()
        {'309': 0.149, '335': 0.129}
        """
        return influence(self.fit, group, refit)

    # -- marginal means ------------------------------------------------------------------------

    def emmeans(
        self,
        specs: str | Sequence[str],
        by: str | Sequence[str] | None = None,
        at: Mapping[str, Any] | None = None,
        ddf: Ddf | None = None,
        weights: Weights = "equal",
        cov: str | None = None,
        cluster: str | ArrayLike | None = None,
    ) -> MarginalMeans:
        """Estimated marginal means: the mean response at each level, the rest averaged or held.

        Parameters
        ----------
        specs : str or list of str
            A factor, several, or R's ``"~ a * b | c"`` and ``"pairwise ~ a"``; "1" for one mean.
        by : str or list of str, optional
            Further factors, within whose levels means are compared.
        at : dict, optional
            Values to use instead: some levels of a factor, or numbers.
        ddf : {"satterthwaite", "kenward-roger", "containment", "residual", "normal"}, optional
            Degrees of freedom, and with "kenward-roger" the adjusted covariance.
        weights : {"equal", "proportional", "outer", "cells", "flat"}
            How combinations of other factors are averaged: all alike, by how often they occur
            jointly, by the product of how often each level occurs, by how often they occur at the
            level in question, or alike where they occur at all.
        cov : {"model", "CR0", "CR1", "CR2"}, optional
            Standard errors robust to any dependence within clusters, with degrees of freedom of
            their own; see `cov_params`.
        cluster : str or array-like, optional
            The clusters of a robust ``cov``.

        Returns
        -------
        MarginalMeans
            ``.to_frame()``, ``.pairs()``, ``.contrast()``, ``.notes``.

        Raises
        ------
        ModelError, DataError
            If a factor or level is unknown.

        Notes
        -----
        Factors keep their levels, numbers with two distinct values keep both, other numbers are
        set to their mean; transformations in the formula are evaluated there. A mean is
        ``l'b + offset`` with standard error ``sqrt(l'C l)``.

        Examples
        --------
        >>> import mixedfit as mf
        >>> fit = mf.lmer("score ~ Machine + (1 | Worker)", mf.datasets.load("machines"))
        >>> fit.emmeans("Machine").to_frame()[["Machine", "estimate", "se"]].round(2)
          Machine  estimate    se
        0       A     52.36  2.23
        1       B     60.32  2.23
        2       C     66.27  2.23
        """
        inferred = chosen_inference(self.fit, ddf, cov, cluster)
        return marginal_means(self.fit, inferred, specs, by, at, weights)

    def emtrends(
        self,
        specs: str | Sequence[str],
        var: str,
        by: str | Sequence[str] | None = None,
        at: Mapping[str, Any] | None = None,
        ddf: Ddf | None = None,
        weights: Weights = "equal",
        cov: str | None = None,
        cluster: str | ArrayLike | None = None,
    ) -> MarginalMeans:
        """Estimated slopes of the mean response in a covariate, by level.

        Parameters
        ----------
        specs, by, at, ddf, weights, cov, cluster
            As for `emmeans`.
        var : str
            A numeric variable of the fixed part, or a function of one such as ``"log(x)"``.

        Returns
        -------
        MarginalMeans
            Slopes per unit of ``var``, at its mean unless ``at`` says otherwise.

        Raises
        ------
        ModelError, DataError
            If a factor or level is unknown, or ``var`` is no number.

        Examples
        --------
        >>> import mixedfit as mf
        >>> fit = mf.lmer("distance ~ age * Sex + (1 | Subject)", mf.datasets.load("orthodont"))
        >>> fit.emtrends("Sex", "age").to_frame()[["Sex", "estimate", "se"]].round(4)
              Sex  estimate      se
        0    Male    0.7844  0.0775
        1  Female    0.4795  0.0935
        """
        inferred = chosen_inference(self.fit, ddf, cov, cluster)
        return marginal_trends(self.fit, inferred, specs, var, by, at, weights)

    def joint_tests(
        self,
        by: str | Sequence[str] | None = None,
        at: Mapping[str, Any] | None = None,
        ddf: Ddf | None = None,
        cov: str | None = None,
        cluster: str | ArrayLike | None = None,
    ) -> pd.DataFrame:
        """Test each main effect and interaction of the marginal means.

        Parameters
        ----------
        by : str or list of str, optional
            Test within each level of these.
        at : dict, optional
            Values to use instead, as for `emmeans`.
        ddf : str, optional
            As for `emmeans`.
        cov, cluster
            As for `emmeans`.

        Returns
        -------
        DataFrame
            The ``by`` columns, term, num_df, den_df, F, p.

        Notes
        -----
        An effect is the interaction contrasts of its variables' levels, averaged over the others
        with equal weights, whatever the factors' coding; covariates vary by one about their mean.
        """
        inferred = chosen_inference(self.fit, ddf, cov, cluster)
        return joint_tests(self.fit, inferred, by, at)

    # -- intervals -----------------------------------------------------------------------------

    def conf_int(
        self,
        level: float = 0.95,
        method: IntervalMethod = "wald",
        parameters: str | Sequence[str] | None = None,
        *,
        ddf: Ddf | None = None,
        n: int = 1000,
        seed: int | np.random.Generator | None = None,
        interval: BootstrapInterval = "percentile",
    ) -> pd.DataFrame:
        """Confidence intervals of the fixed effects and of the variance parameters.

        Parameters
        ----------
        level : float
            Confidence, between 0 and 1.
        method : {"wald", "profile", "boot"}
            From standard errors; from the profile likelihood (of maximum likelihood also for a
            REML fit, as in lme4); from a parametric bootstrap.
        parameters : str or list of str, optional
            Which rows to compute; by default all.
        ddf : {"satterthwaite", "kenward-roger", "containment", "residual", "normal"}, optional
            Of the t quantiles of Wald intervals of fixed effects.
        n, seed : int, optional
            Number of bootstrap samples, and their seed.
        interval : {"percentile", "basic", "bca", "normal"}
            Kind of bootstrap interval.

        Returns
        -------
        DataFrame
            One row a parameter: lower, upper. Rows are the fixed effects, standard deviations
            ``sd[Subject, Days]``, correlations ``cor[Subject, Intercept, Days]`` and ``sigma``, and
            for Wald intervals residual parameters, ``residual[Phi]``.
            The lower end of a standard deviation is zero where the data do not exclude zero; a
            Wald interval of a parameter at its limit is missing.

        Examples
        --------
        >>> import mixedfit as mf
        >>> fit = mf.lmer("Reaction ~ Days + (Days | Subject)", mf.datasets.load("sleepstudy"))
        >>> fit.conf_int(method="profile").round(2)
                                        lower   upper
        Intercept                      237.68  265.13
        Days                             7.36   13.58
        sd[Subject, Intercept]          14.38   37.72
        sd[Subject, Days]                3.80    8.75
        cor[Subject, Intercept, Days]   -0.48    0.69
        sigma                           22.90   28.86
        """
        return confidence_intervals(
            self.fit, level, method, parameters, ddf=ddf, n=n, seed=seed, interval=interval
        )

    def profile(
        self, level: float = 0.99, parameters: str | Sequence[str] | None = None
    ) -> Profile:
        """Profile likelihood of the parameters.

        Parameters
        ----------
        level : float
            The highest level of intervals the curves reach.
        parameters : str or list of str, optional
            By default all.

        Returns
        -------
        Profile
            ``.to_frame()`` has the columns parameter, value, zeta; ``.conf_int(level)`` intervals.
        """
        return profile(self.fit, level, parameters)

    def bootstrap(
        self,
        n: int = 1000,
        seed: int | np.random.Generator | None = None,
        kind: BootstrapKind = "parametric",
        *,
        group: str | None = None,
        statistic: Callable[[MixedResults], Any] | None = None,
        progress: bool | None = None,
    ) -> Bootstrap:
        """Estimate anew from samples drawn from the fitted model or from its data.

        Parameters
        ----------
        n : int
            Number of samples.
        seed : int or numpy Generator, optional
        kind : {"parametric", "residual", "case"}
            Draw responses from the fitted model; or predicted effects and residuals with
            replacement, reflated to the estimated variances; or whole levels of a grouping factor.
        group : str, optional
            The grouping factor whose levels a case bootstrap draws; by default the outermost.
        statistic : callable, optional
            What to compute from the fit of each sample: takes a `MixedResults`, returns a number,
            an array, a Series or a dict. By default all parameters, which is much faster.
        progress : bool, optional
            Whether runs of more than two seconds tell on standard error how far they are; by
            default when that is a terminal.

        Returns
        -------
        Bootstrap

        Examples
        --------
        >>> import mixedfit as mf
        >>> fit = mf.lmer("Reaction ~ Days + (Days | Subject)", mf.datasets.load("sleepstudy"))
        >>> boot = fit.bootstrap(200, seed=1)
        >>> boot.replicates.shape
        (200, 6)
        """
        own = None if statistic is None else lambda fit: statistic(MixedResults(fit))
        return bootstrap(self.fit, n, seed, kind, group=group, statistic=own, progress=progress)

    # -- tables --------------------------------------------------------------------------------

    def summary(self, ddf: Ddf | None = None) -> Summary:
        """The whole fit for reading: text when printed, HTML in notebooks, ``.as_latex()``.

        Parameters
        ----------
        ddf : {"satterthwaite", "kenward-roger", "containment", "residual", "normal"}, optional
            Denominator degrees of freedom, as in `coef_table`.
        """
        return report.summarise(self.fit, ddf)

    def tidy(self, ddf: Ddf | None = None, level: float = 0.95) -> pd.DataFrame:
        """One row a parameter, in broom's columns.

        Parameters
        ----------
        ddf : {"satterthwaite", "kenward-roger", "containment", "residual", "normal"}, optional
            Denominator degrees of freedom, as in `coef_table`.
        level : float
            Of the intervals.

        Returns
        -------
        DataFrame
            effect, group, term, estimate, std_error, statistic, df, p_value, conf_low, conf_high;
            for standard deviations and correlations only the estimate.
        """
        return report.tidy(self.fit, ddf, level)

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


def bootstrap_test(
    smaller: MixedResults,
    larger: MixedResults,
    n: int = 1000,
    seed: int | np.random.Generator | None = None,
    *,
    progress: bool | None = None,
) -> BootstrapTest:
    """Compare two nested fits by a likelihood ratio whose distribution is simulated.

    Needs no chi-squared distribution: it holds for variances on the boundary and for few levels.

    Parameters
    ----------
    smaller, larger : MixedResults
        Fits of the same rows, the first a special case of the second. They are compared by their
        own likelihood where they share it and the fixed part, and refitted by maximum likelihood
        otherwise.
    n : int
        Number of responses drawn from the smaller model.
    seed : int or numpy Generator, optional
    progress : bool, optional
        As in `MixedResults.bootstrap`.

    Returns
    -------
    BootstrapTest

    Raises
    ------
    ModelError
        If the fits are not of the same rows or not nested.

    Examples
    --------
    >>> import mixedfit as mf
    >>> data = mf.datasets.load("sleepstudy")
    >>> smaller = mf.lmer("Reaction ~ Days + (1 | Subject)", data)
    >>> larger = mf.lmer("Reaction ~ Days + (Days | Subject)", data)
    >>> mf.bootstrap_test(smaller, larger, n=99, seed=1).p
    0.01
    """
    return bootstrap_test_of(smaller.fit, larger.fit, n, seed, progress)
