"""Normal quantile-quantile plots in numbers: points and a band that holds all of them at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy

from mixedfit.arrays import Array, IntArray

__all__ = ["NormalQuantiles", "normal_quantiles"]

# Samples, and order statistics looked at in each, that calibrate a band.
_SAMPLES = 3000
_LOOKED_AT = 200


@dataclass(frozen=True)
class NormalQuantiles:
    """Sorted values against normal quantiles: arrays of shape (n,).

    Attributes
    ----------
    order : int array
        Which value each point is.
    theoretical, observed : array
    lower, upper : array
        Simultaneous band for n independent standard normal values.
    """

    order: IntArray
    theoretical: Array
    observed: Array
    lower: Array
    upper: Array


def normal_quantiles(values: Array, level: float = 0.95) -> NormalQuantiles:
    """Points of a normal quantile-quantile plot with a simultaneous band.

    Parameters
    ----------
    values : array of shape (n,)
        Standardised, so that they should be standard normal.
    level : float
        Probability that the band holds all n points of a normal sample.

    Notes
    -----
    The i-th of n uniform order statistics has a Beta(i, n + 1 - i) distribution; the band takes the
    same tail probability of each, calibrated by simulation so that all hold at once (equal local
    levels: Aldor-Noiman et al. 2013, Am. Stat. 67). Unlike Kolmogorov's band it is narrow in the
    tails.
    """
    n = len(values)
    order = np.argsort(values, kind="stable")
    i = np.arange(1, n + 1)
    tail = _local_level(n, level) / 2.0
    lower = np.asarray(scipy.stats.norm.ppf(scipy.stats.beta.ppf(tail, i, n + 1 - i)))
    upper = np.asarray(scipy.stats.norm.ppf(scipy.stats.beta.isf(tail, i, n + 1 - i)))
    theoretical = scipy.stats.norm.ppf((i - 0.375) / (n + 0.25))
    return NormalQuantiles(order, theoretical, values[order], lower, upper)


@lru_cache(maxsize=64)
def _local_level(n: int, level: float) -> float:
    """Tail probability (both sides) of each order statistic at which all n hold with `level`.

    Order statistics next to each other hold or fail together, so that some, at equal ratios from
    both ends, stand for all.
    """
    ends = np.geomspace(1.0, (n + 1) / 2.0, _LOOKED_AT).round().astype(int)
    looked = np.unique(np.concatenate([ends, n + 1 - ends]))
    rng = np.random.default_rng(20130401)
    gaps = np.diff(np.concatenate([[0], looked, [n + 1]]))
    sums = np.cumsum(rng.standard_gamma(gaps, (_SAMPLES, len(gaps))), axis=1)
    uniform = sums[:, :-1] / sums[:, -1:]
    below = scipy.stats.beta.cdf(uniform, looked, n + 1 - looked)
    least = 2.0 * np.minimum(below, 1.0 - below).min(axis=1)
    return float(np.quantile(least, 1.0 - level))
