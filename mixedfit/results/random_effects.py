"""The random effects of a result, their variances and what they shrink."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mixedfit import grouping_levels, report
from mixedfit.arrays import Array
from mixedfit.classical_anova import ClassicalAnova, classical_anova
from mixedfit.marginal import residual_sd
from mixedfit.results.fitted import FittedModel
from mixedfit.varcorr import VarCorr, factor_columns, variance_components

if TYPE_CHECKING:
    from mixedfit.eb.shrinkage import Shrinkage

__all__ = ["RandomEffects"]


class RandomEffects(FittedModel):
    """Variances, random effects and shrinkage."""

    @property
    def sigma(self) -> float:
        """Residual standard deviation, in units of the response."""
        return self.fit.estimate.sigma

    @property
    def scale(self) -> float:
        """Residual variance."""
        return self.sigma**2

    @property
    def theta(self) -> Array:
        """Relative covariance parameters: lme4's theta, in lme4's order."""
        return self.fit.estimate.theta.copy()

    @property
    def varcorr(self) -> VarCorr:
        """Variances and correlations of the random effects."""
        return variance_components(self.fit)

    @property
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
        from mixedfit.eb.from_fit import shrink_fit  # noqa: PLC0415  slow to import

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
