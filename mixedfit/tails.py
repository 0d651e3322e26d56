"""Tail probabilities and quantiles of the t, F and chi-squared distributions.

The numbers of `scipy.stats` from `scipy.special`, without the half second the former takes to load.
"""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import ArrayLike

from mixedfit.arrays import Array

__all__ = ["chi2_tail", "f_tail", "t_quantile", "two_sided_t"]


def two_sided_t(t: ArrayLike, df: ArrayLike) -> Array:
    """``P(|T| > |t|)``; infinitely many degrees of freedom are the normal distribution.

    Examples
    --------
    >>> two_sided_t([2.0, 2.0], [10.0, float("inf")]).round(4).tolist()
    [0.0734, 0.0455]
    """
    distance, df = -np.abs(np.asarray(t, dtype=float)), np.asarray(df, dtype=float)
    normal = scipy.special.ndtr(distance)
    tail = scipy.special.stdtr(np.where(np.isinf(df), 1.0, df), distance)
    return np.asarray(2.0 * np.where(np.isinf(df), normal, tail))


def t_quantile(p: float, df: ArrayLike) -> Array:
    """The value below which T lies with probability p.

    Examples
    --------
    >>> t_quantile(0.975, [10.0, float("inf")]).round(3).tolist()
    [2.228, 1.96]
    """
    df = np.asarray(df, dtype=float)
    quantile = scipy.special.stdtrit(np.where(np.isinf(df), 1.0, df), p)
    return np.asarray(np.where(np.isinf(df), scipy.special.ndtri(p), quantile))


def f_tail(F: float, num_df: float, den_df: float) -> float:
    """``P(F' > F)``; with infinitely many denominator degrees of freedom that of chi-squared."""
    if np.isinf(den_df):
        return chi2_tail(num_df * F, num_df)
    return float(scipy.special.fdtrc(num_df, den_df, F))


def chi2_tail(x: float, df: float) -> float:
    """``P(X > x)``."""
    return float(scipy.special.chdtrc(df, x))
