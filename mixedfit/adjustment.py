"""Multiplicity: p-values and critical values that hold for a family of tests together.

All tests are two-sided tests of t statistics. What a method needs beyond the statistics is told by
a `Family`; a statistic that is nan belongs to no family and stays nan.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import scipy

from mixedfit.arrays import Array, BoolArray
from mixedfit.errors import ModelError
from mixedfit.studentized_range import range_quantile, range_tail

__all__ = [
    "Adjustment",
    "Family",
    "adjusted_p_values",
    "check_adjustment",
    "critical_values",
]

Adjustment = Literal[
    "tukey", "mvt", "dunnett", "scheffe", "sidak", "bonferroni", "holm", "fdr", "none"
]

_DIRECTIONS = 14  # 2^14 directions of the multivariate t
_TOP = 512  # of them kept one by one
_NODES = 12  # of the interpolation of quantiles between degrees of freedom


@dataclass(frozen=True)
class Family:
    """What is tested together.

    Attributes
    ----------
    correlation : array of shape (m, m)
        Of the m estimates.
    n_means : int
        Number of means whose pairwise differences the family holds (Tukey).
    rank : int
        Linearly independent tests (Scheffe).
    """

    correlation: Array
    n_means: int
    rank: int


def check_adjustment(adjust: str) -> None:
    """Refuse an adjustment that is none of `Adjustment`.

    Raises
    ------
    ModelError
    """
    if adjust not in get_args(Adjustment):
        allowed = ", ".join(repr(name) for name in get_args(Adjustment))
        raise ModelError(f"adjust must be one of {allowed}, not {adjust!r}")


def adjusted_p_values(t: Array, df: Array, adjust: Adjustment, family: Family) -> Array:
    """Two-sided p-values that hold for the family.

    Parameters
    ----------
    t, df : arrays of shape (m,)
        Statistics with their degrees of freedom; inf is the normal distribution.
    adjust : Adjustment
    family : Family

    Returns
    -------
    array of shape (m,)

    Notes
    -----
    "tukey" is ``P(Q > sqrt(2) |t|)`` for the studentized range Q of ``n_means`` means; "mvt" and
    "dunnett" integrate the multivariate t with the estimates' correlation, to about 5e-4;
    "scheffe" refers ``t^2 / rank`` to F; "sidak" and "bonferroni" take one step, "holm" steps down,
    "fdr" is Benjamini & Hochberg (1995). Each test has its own degrees of freedom.

    Examples
    --------
    >>> family = Family(np.eye(2), n_means=2, rank=2)
    >>> adjusted_p_values(np.array([2.0, 3.0]), np.array([10.0, 10.0]), "holm", family).round(4)
    array([0.0734, 0.0267])
    """
    out = np.full(len(t), np.nan)
    tested = np.isfinite(t) & ~np.isnan(df)
    if not tested.any():
        return out
    size = np.abs(t[tested])
    out[tested] = _p_values(size, df[tested], adjust, _restricted(family, tested))
    return out


def critical_values(level: float, df: Array, adjust: Adjustment, family: Family) -> Array:
    """Half-widths, in standard errors, of intervals that cover together.

    Parameters
    ----------
    level : float
        Of the family, such as 0.95.
    df : array of shape (m,)
    adjust : Adjustment
        "holm" and "fdr" have no intervals of their own; Bonferroni's, which are wider, are given.
    family : Family

    Returns
    -------
    array of shape (m,)
    """
    out = np.full(len(df), np.nan)
    used = ~np.isnan(df)
    m = int(used.sum())
    if m == 0:
        return out
    own, alpha = df[used], 1.0 - level
    if adjust == "tukey":
        k = family.n_means
        out[used] = _each_df(lambda v: range_quantile(level, k, v), own) / np.sqrt(2.0)
    elif adjust in ("mvt", "dunnett"):
        largest = _LargestT.of(_restricted(family, used).correlation)
        out[used] = _each_df(lambda v: largest.quantile(level, v, m), own)
    elif adjust == "scheffe":
        r = max(family.rank, 1)
        out[used] = np.sqrt(r * _f_quantile(level, r, own))
    else:
        tail = {"none": alpha, "sidak": 1.0 - level ** (1.0 / m)}.get(adjust, alpha / m)
        out[used] = scipy.stats.t.isf(tail / 2.0, own)
    return out


def _restricted(family: Family, kept: BoolArray) -> Family:
    return Family(family.correlation[np.ix_(kept, kept)], family.n_means, family.rank)


def _p_values(size: Array, df: Array, adjust: Adjustment, family: Family) -> Array:
    if adjust == "tukey":
        return range_tail(np.sqrt(2.0) * size, family.n_means, df)
    if adjust in ("mvt", "dunnett"):
        largest = _LargestT.of(family.correlation)
        return np.array([largest.tail(x, v) for x, v in zip(size, df, strict=True)])
    if adjust == "scheffe":
        r = max(family.rank, 1)
        return np.asarray(_f_tail(size**2 / r, r, df))
    return _combined(np.asarray(2.0 * scipy.stats.t.sf(size, df)), adjust)


def _combined(raw: Array, adjust: Adjustment) -> Array:
    """Adjusted p-values that need the m p-values only."""
    m = len(raw)
    if adjust == "bonferroni":
        return np.minimum(m * raw, 1.0)
    if adjust == "sidak":
        with np.errstate(divide="ignore"):  # a p-value of one stays one
            return -np.expm1(m * np.log1p(-raw))
    if adjust == "holm":
        order = np.argsort(raw)
        stepped = np.maximum.accumulate(raw[order] * (m - np.arange(m)))
        return np.minimum(stepped[np.argsort(order)], 1.0)
    return np.asarray(scipy.stats.false_discovery_control(raw)) if adjust == "fdr" else raw


def _f_tail(F: Array, r: int, df: Array) -> Array:
    chi = scipy.stats.chi2.sf(r * F, r)
    return np.where(np.isinf(df), chi, scipy.stats.f.sf(F, r, np.where(np.isinf(df), 1.0, df)))


def _f_quantile(level: float, r: int, df: Array) -> Array:
    chi = scipy.stats.chi2.ppf(level, r) / r
    return np.where(np.isinf(df), chi, scipy.stats.f.ppf(level, r, np.where(np.isinf(df), 1.0, df)))


def _each_df(quantile: Callable[[float], float], df: Array) -> Array:
    """A quantile at each df; through its smooth dependence on 1 / df where there are many."""
    distinct, place = np.unique(np.round(df, 9), return_inverse=True)
    if len(distinct) <= _NODES:
        return np.array([quantile(v) for v in distinct])[place]
    low, high = 1.0 / distinct[-1], 1.0 / distinct[0]
    angles = np.pi * (np.arange(_NODES) + 0.5) / _NODES
    nodes = 0.5 * (low + high) + 0.5 * (high - low) * np.cos(angles)
    values = np.array([quantile(1.0 / node) for node in nodes])
    return np.asarray(scipy.interpolate.BarycentricInterpolator(nodes, values)(1.0 / distinct))[
        place
    ]


@dataclass(frozen=True)
class _LargestT:
    """The largest of ``|T_1|, ..., |T_m|`` for multivariate t with a given correlation.

    With the correlation ``B B'`` of rank r, ``T = B z / s``. In a direction u of z the largest is
    ``h(u) |z| / s``, h(u) = max_i |b_i'u|, and ``|z|^2 / (r s^2)`` is F whatever u is. What is left
    is the mean over directions, taken over a low-discrepancy set (Somerville 1997, J. Stat. Comput.
    Simul. 57). A singular correlation, as of all pairwise differences, is no special case.

    Attributes
    ----------
    reach : array of shape (directions,)
        h(u), means of neighbours but for the largest, on which small tails depend.
    weights : array of shape (directions,)
    rank : int
    """

    reach: Array
    weights: Array
    rank: int

    @classmethod
    def of(cls, correlation: Array) -> _LargestT:
        values, vectors = np.linalg.eigh(correlation)
        kept = values > 1e-9 * values[-1]
        B = vectors[:, kept] * np.sqrt(values[kept])
        r = B.shape[1]
        if r == 1:
            return cls(np.abs(B).max(keepdims=True).ravel(), np.ones(1), 1)
        uniform = scipy.stats.qmc.Sobol(r, seed=0).random_base2(_DIRECTIONS)
        z = scipy.special.ndtri(np.clip(uniform, 1e-12, 1.0 - 1e-12))
        length = np.sqrt(np.einsum("ir,ir->i", z, z))
        reach = np.sort(np.abs(z @ B.T).max(axis=1) / length)
        body = reach[:-_TOP].reshape(-1, _TOP // 8)
        weights = np.concatenate([np.full(len(body), float(_TOP // 8)), np.ones(_TOP)])
        reach = np.concatenate([body.mean(axis=1), reach[-_TOP:]])
        return cls(reach, weights / weights.sum(), r)

    def tail(self, size: float, df: float) -> float:
        """``P(max |T_i| > size)``."""
        squared = (size / self.reach) ** 2
        return float(self.weights @ _f_tail(squared / self.rank, self.rank, np.asarray(df)))

    def quantile(self, level: float, df: float, m: int) -> float:
        """What the largest of m stays below with a probability."""
        alpha = 1.0 - level
        low = float(scipy.stats.t.isf(alpha / 2.0, df))
        high = float(scipy.stats.t.isf(alpha / (2.0 * m), df))
        # The integration error may move either end across the root by a hair.
        low, high = 0.99 * low, 1.01 * high
        return float(
            scipy.optimize.brentq(lambda x: self.tail(x, df) - alpha, low, high, xtol=1e-8)
        )
