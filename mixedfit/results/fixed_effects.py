"""The fixed effects of a result, their covariances and tests."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from mixedfit import report
from mixedfit.anova import AnovaType, anova_table
from mixedfit.coefficients import Contrast, coefficient_table, contrast
from mixedfit.ddf import Ddf
from mixedfit.exact_variance_test import VarianceTest, exact_variance_test
from mixedfit.results.fitted import FittedModel
from mixedfit.robust import RobustKind, chosen_inference, robust_inference
from mixedfit.variance_tests import random_effects_table

__all__ = ["FixedEffects"]


class FixedEffects(FittedModel):
    """Estimates, covariances and tests of the fixed effects."""

    @property
    def params(self) -> pd.Series:
        """Estimates of the fixed effects, in units of the response per unit of each column."""
        return pd.Series(self.fit.estimate.beta.copy(), index=self.fit.design.names, name="params")

    @property
    def fixef(self) -> pd.Series:
        """The same as `params`."""
        return self.params

    @property
    def bse(self) -> pd.Series:
        """Standard errors of the fixed effects."""
        return pd.Series(report.standard_errors(self.fit), index=self.fit.design.names, name="bse")

    @property
    def tvalues(self) -> pd.Series:
        """Estimates divided by their standard errors."""
        return (self.params / self.bse).rename("tvalues")

    @property
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
        if kind in get_args(RobustKind) or cluster is not None:
            covariance = robust_inference(self.fit, kind, cluster).covariance
        else:
            covariance = report.fixed_covariance(self.fit, kind)
        return pd.DataFrame(covariance, index=names, columns=names)

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
