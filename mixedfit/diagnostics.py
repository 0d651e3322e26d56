"""Checks of a fitted model's assumptions, as tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy
from numpy.typing import ArrayLike, NDArray

from mixedfit.arrays import Array, IntArray
from mixedfit.deletion import row_parts
from mixedfit.errors import DataError, ModelError, check_level
from mixedfit.fit import Fit
from mixedfit.influence import grouping_of
from mixedfit.predict import ResidualKind, fitted_values, residuals
from mixedfit.quantiles import normal_quantiles
from mixedfit.scaled_residuals import Effects, ScaledResiduals, scaled_residuals
from mixedfit.serial import autocorrelation, semivariogram
from mixedfit.varcorr import factor_columns

__all__ = [
    "Diagnostics",
    "StandardizedEffects",
    "plain_labels",
    "residual_table",
    "standardized_effects",
    "unpooled_effects",
]


@dataclass(frozen=True, repr=False)
class Diagnostics:
    """The checks of one fit; each method returns a tidy table.

    Attributes
    ----------
    fit : Fit
    """

    fit: Fit

    def residuals(self) -> pd.DataFrame:
        """Residuals of every kind.

        Returns
        -------
        DataFrame
            One row a row used: ``fitted`` (with random effects) and ``fixed`` (without), in units
            of the response; ``conditional`` and ``marginal`` residuals from them, in the same
            units; ``pearson``, the conditional one in residual standard deviations;
            ``studentized`` and ``marginal_studentized``, each divided by its own standard
            deviation; ``deleted``, observed less predicted by all other rows; ``leverage`` and
            ``fixed_leverage``.

        Notes
        -----
        With P the inverse covariance projected off X and Lambda the residual covariance, the
        conditional residual is ``Lambda P y`` with covariance ``Lambda P Lambda``; the marginal one
        has covariance ``Sigma - X (X'Sigma^-1 X)^-1 X'`` (Nobre & Singer 2007, Biom. J. 49). The
        deleted one is ``(P y)_i / P_ii``, variances held.

        Examples
        --------
        >>> import mixedfit as mf
        >>> fit = mf.lmer("Reaction ~ Days + (Days | Subject)", mf.datasets.load("sleepstudy"))
        >>> fit.diagnostics.residuals()[["studentized", "deleted"]].abs().max().round(2).to_dict()
        {'studentized': 5.53, 'deleted': 150.94}
        """
        return residual_table(self.fit)

    def scaled(
        self,
        n: int = 250,
        seed: int | np.random.Generator | None = None,
        effects: Effects = "new",
    ) -> ScaledResiduals:
        """Residuals scaled by simulation, with tests of uniformity, dispersion and outliers.

        Parameters
        ----------
        n : int
            Simulated responses.
        seed : int or numpy Generator, optional
        effects : {"new", "fitted"}
            Draw random effects anew (checks the whole model), or hold them at their predictions
            (checks the residual part).

        Returns
        -------
        ScaledResiduals
            ``.residuals``, uniform where the model holds, and ``.tests``.

        Examples
        --------
        >>> import mixedfit as mf
        >>> fit = mf.lmer("Yield ~ 1 + (1 | Batch)", mf.datasets.load("dyestuff"))
        >>> fit.diagnostics.scaled(seed=1).tests["test"].tolist()
        ['uniformity', 'dispersion', 'outliers']
        """
        return scaled_residuals(self.fit, n, seed, effects)

    def qq(self, of: str = "residuals", level: float = 0.95) -> pd.DataFrame:
        """Normal quantile-quantile points with a simultaneous band.

        Parameters
        ----------
        of : str
            "residuals" (studentised), or a grouping factor, for its random effects divided by
            their standard deviations.
        level : float
            Probability that the band holds all points of a normal sample.

        Returns
        -------
        DataFrame
            By increasing value: term, label, theoretical, observed, lower, upper, in standard
            deviations.
        """
        check_level(level)
        samples = [
            (term, labels, values)
            for term, labels, values in _samples(self.fit)
            if (of == "residuals" and term is None) or (term is not None and term[0] == of)
        ]
        if not samples:
            known = ", ".join(repr(factor.name) for factor in self.fit.design.factors) or "none"
            raise DataError(f"of must be 'residuals' or a grouping factor ({known}), not {of!r}")
        frames = []
        for term, labels, values in samples:
            finite = np.isfinite(values)
            if not finite.any():
                continue
            points = normal_quantiles(values[finite], level)
            frame = pd.DataFrame(
                {
                    "term": "residual" if term is None else term[1],
                    "label": labels[finite][points.order],
                    "theoretical": points.theoretical,
                    "observed": points.observed,
                    "lower": points.lower,
                    "upper": points.upper,
                }
            )
            frames.append(frame)
        if not frames:
            raise ModelError(f"all random effects of {of!r} are zero: there is nothing to plot")
        return pd.concat(frames, ignore_index=True)

    def acf(
        self,
        group: str | ArrayLike | None = None,
        *,
        time: ArrayLike | None = None,
        max_lag: int | None = None,
        kind: ResidualKind = "pearson",
        level: float = 0.95,
    ) -> pd.DataFrame:
        """Autocorrelation of residuals within groups.

        Parameters
        ----------
        group : str or array-like, optional
            A grouping factor, or one label a row; by default the factor with most levels,
            without factors the groups of the residual correlation.
        time : array-like of shape (n,), optional
            Order within groups; by default that of the rows.
        max_lag : int, optional
            In rows; by default ``10 log10`` of the largest group's size.
        kind : {"pearson", "normalized", "response"}
        level : float
            Of the white-noise interval of each lag.

        Returns
        -------
        DataFrame
            One row a lag: lag, acf, n_pairs, lower, upper.

        Examples
        --------
        >>> import mixedfit as mf
        >>> fit = mf.lmer("weight ~ Time * Diet + (1 | Rat)", mf.datasets.load("bodyweight"))
        >>> fit.diagnostics.acf()["acf"].head(3).round(3).tolist()
        [1.0, 0.477, 0.226]
        """
        check_level(level)
        _, codes, _ = self._group(group)
        values = residuals(self.fit, kind)
        order = None if time is None else self._numbers(time, "time")
        found = autocorrelation(values, codes, time=order, max_lag=max_lag, level=level)
        return pd.DataFrame(
            {
                "lag": found.lag,
                "acf": found.acf,
                "n_pairs": found.n_pairs,
                "lower": -found.bound,
                "upper": found.bound,
            }
        )

    def semivariogram(
        self,
        coordinates: ArrayLike | None = None,
        group: str | ArrayLike | None = None,
        *,
        n_classes: int = 20,
        max_distance: float | None = None,
        kind: ResidualKind = "pearson",
        robust: bool = False,
    ) -> pd.DataFrame:
        """Semivariance of residuals within groups by distance.

        Parameters
        ----------
        coordinates : array-like of shape (n,) or (n, d), optional
            Times or places; by default rows of a group are one apart.
        group : str or array-like, optional
            A grouping factor, or one label a row; by default the factor with most levels,
            without factors the groups of the residual correlation.
        n_classes : int
            Classes of distance with about as many pairs each.
        max_distance : float, optional
        kind : {"pearson", "normalized", "response"}
        robust : bool
            Cressie and Hawkins' estimate, which outliers move less.

        Returns
        -------
        DataFrame
            One row a class: distance (its median), semivariance, n_pairs. Uncorrelated Pearson
            residuals have semivariance one.
        """
        _, codes, _ = self._group(group)
        points = None if coordinates is None else self._numbers(coordinates, "coordinates")
        found = semivariogram(
            residuals(self.fit, kind),
            codes,
            coordinates=points,
            n_classes=n_classes,
            max_distance=max_distance,
            robust=robust,
        )
        return pd.DataFrame(
            {
                "distance": found.distance,
                "semivariance": found.semivariance,
                "n_pairs": found.n_pairs,
            }
        )

    def normality(self) -> pd.DataFrame:
        """Normality of the residuals and of each random effect.

        Returns
        -------
        DataFrame
            group, term, n, skewness, kurtosis (0 for a normal), test, statistic, p. Shapiro and
            Wilk's test up to 5,000 values, D'Agostino and Pearson's beyond.

        Notes
        -----
        Predicted effects are shrunken towards normality: a small p speaks against it, a large one
        says little where levels have few rows (Verbeke & Molenberghs 2013, Biometrics 69).
        """
        rows = [
            _normality_row(*(("Residual", "") if term is None else term), values)
            for term, _, values in _samples(self.fit)
        ]
        return pd.DataFrame(rows)

    def _group(self, group: Any) -> tuple[str, IntArray, pd.Index]:
        design = self.fit.design
        if group is None and design.factors:
            group = design.factors[0].name
        elif group is None:
            correlated = None if design.residual is None else design.residual.groups
            if correlated is None:
                raise DataError("this fit has no grouping factor: pass group=, one label a row")
            return "correlation", correlated.codes, pd.Index(correlated.labels)
        return grouping_of(self.fit, group)

    def _numbers(self, values: ArrayLike, what: str) -> Array:
        try:
            numbers = np.asarray(values, dtype=float)
        except (TypeError, ValueError):
            raise DataError(f"{what} must be numbers, one a row") from None
        positions = self.fit.design.positions
        if positions is not None and len(numbers) > max(self.fit.n, int(positions.max())):
            numbers = numbers[positions]
        if numbers.ndim not in (1, 2) or len(numbers) != self.fit.n:
            raise DataError(f"{what} has shape {numbers.shape} for {self.fit.n} rows used")
        if not np.isfinite(numbers).all():
            raise DataError(f"{what} must be finite in every row used")
        return numbers


def residual_table(fit: Fit) -> pd.DataFrame:
    """Residuals of every kind, one row a row used (`Diagnostics.residuals`)."""
    parts, sigma = row_parts(fit), fit.estimate.sigma
    remainder = fit.evaluation.remainder
    working_sigma = float(np.sqrt(remainder.r2 / fit.likelihood.df))
    # A row that alone determines some fixed effect is fitted exactly.
    known = np.where(parts.P > 1e-10 * parts.N, 1.0, np.nan)
    left = parts.marginal_variance
    left = np.where(left > 1e-10 * left.max(), left, np.nan)
    fitted, fixed = fitted_values(fit), fitted_values(fit, "population")
    with np.errstate(divide="ignore", invalid="ignore"):
        sd = working_sigma * np.sqrt(parts.conditional_variance)
        studentized = known * parts.conditional / sd
        marginal = parts.marginal / (working_sigma * np.sqrt(left))
        deleted = sigma / working_sigma * known * parts.Py / parts.P / parts.root
    columns = {
        "fitted": fitted,
        "fixed": fixed,
        "conditional": fit.design.y - fitted,
        "marginal": fit.design.y - fixed,
        "pearson": residuals(fit, "pearson"),
        "studentized": studentized,
        "marginal_studentized": marginal,
        "deleted": deleted,
        "leverage": parts.leverage,
        "fixed_leverage": parts.fixed,
    }
    return pd.DataFrame(columns, index=fit.design.index)


class StandardizedEffects(NamedTuple):
    """Random effects of one grouping factor: names of k columns, effects of shape (J, k)."""

    group: str
    names: list[str]
    levels: pd.Index
    effects: Array


def standardized_effects(fit: Fit) -> list[StandardizedEffects]:
    """Predicted random effects divided by their standard deviations; nan where those are zero.

    Notes
    -----
    The predictions ``u`` have covariance ``Var u - Var(u_hat - u)``, with the estimation of the
    fixed effects counted (Lange & Ryan 1989, Ann. Stat. 17).
    """
    estimate = fit.estimate
    out = []
    for f, (factor, names) in enumerate(zip(fit.design.factors, factor_columns(fit), strict=True)):
        errors = np.einsum("jaa->ja", estimate.prediction_error_covariances[f])
        own = estimate.covariances[f].diagonal()
        variance = own - errors
        with np.errstate(divide="ignore", invalid="ignore"):
            known = (own > 0.0) & (variance > 1e-12 * own)
            values = np.where(known, estimate.effects[f] / np.sqrt(variance), np.nan)
        out.append(StandardizedEffects(factor.name, names, factor.levels, values))
    return out


def _samples(fit: Fit) -> Iterator[tuple[tuple[str, str] | None, Array, Array]]:
    """Group and term (None for the residuals), labels and standardised values."""
    yield None, np.asarray(fit.design.index), residual_table(fit)["studentized"].to_numpy()
    for own in standardized_effects(fit):
        for a, name in enumerate(own.names):
            yield (own.group, name), plain_labels(own.levels), own.effects[:, a]


def plain_labels(levels: pd.Index) -> NDArray[Any]:
    """Labels of rows or levels; the parts of a combination joined by colons."""
    if isinstance(levels, pd.MultiIndex):
        return np.array([":".join(map(str, parts)) for parts in levels], dtype=object)
    return np.asarray(levels)


def unpooled_effects(fit: Fit, factor: int) -> Array:
    """Effects of each level by (weighted) least squares on its own rows, shape (J, k).

    The fixed part and the effects of other factors are taken out first; nan where a level's rows do
    not determine its effects.
    """
    design, estimate = fit.design, fit.estimate
    Z = np.hstack([term.Z for term in design.terms if term.factor == factor])
    codes, J = design.factors[factor].codes, design.factors[factor].n_levels
    own = np.einsum("na,na->n", Z, estimate.effects[factor][codes])
    rest = design.y - fitted_values(fit) + own
    w = np.ones(fit.n) if design.weights is None else design.weights
    k = Z.shape[1]
    gram, right = np.empty((J, k, k)), np.empty((J, k))
    for a in range(k):
        right[:, a] = np.bincount(codes, w * Z[:, a] * rest, J)
        for b in range(k):
            gram[:, a, b] = np.bincount(codes, w * Z[:, a] * Z[:, b], J)
    scale = np.sqrt(np.maximum(np.einsum("jaa->ja", gram), 1e-300))
    values, vectors = np.linalg.eigh(gram / (scale[:, :, None] * scale[:, None, :]))
    with np.errstate(divide="ignore"):
        inverse = np.where(values[:, :1] > 1e-10, 1.0 / values, np.nan)
    solved = np.einsum("jab,jb,jcb,jc->ja", vectors, inverse, vectors, right / scale, optimize=True)
    return np.asarray(solved / scale)


def _normality_row(group: str, term: str, values: Array) -> dict[str, object]:
    known = values[np.isfinite(values)]
    n = len(known)
    small = n <= 5000
    row: dict[str, object] = {"group": group, "term": term, "n": n}
    if n < 3 or np.ptp(known) == 0.0:
        return (
            row
            | dict.fromkeys(("skewness", "kurtosis"), np.nan)
            | {"test": "", "statistic": np.nan, "p": np.nan}
        )
    statistic, p = scipy.stats.shapiro(known) if small else scipy.stats.normaltest(known)
    return row | {
        "skewness": float(scipy.stats.skew(known)),
        "kurtosis": float(scipy.stats.kurtosis(known)),
        "test": "Shapiro-Wilk" if small else "D'Agostino-Pearson",
        "statistic": float(statistic),
        "p": float(p),
    }
