"""Student's t, infinite degrees of freedom included.

`scipy.special` is enough for it, and is there already; `scipy.stats` takes longer to load than a
million units take to shrink.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from mixedfit.arrays import Array

__all__ = ["normal_density", "student_quantile", "two_sided"]


def student_quantile(p: float, df: float) -> float:
    """The quantile at p; the normal one for infinite df."""
    return float(ndtri(p) if np.isinf(df) else stdtrit(df, p))


def two_sided(stat: Array, df: float) -> Array:
    """Probabilities of a t statistic at least as far from 0, shape (k,)."""
    beyond = -np.abs(stat)
    tail = ndtr(beyond) if np.isinf(df) else stdtr(df, beyond)
    return 2.0 * np.asarray(tail, dtype=np.float64)


def normal_density(x: Array, mean: float, sd: float) -> Array:
    """Density of a normal at x of shape (m,); a point's is infinite there and 0 elsewhere."""
    if sd == 0.0:
        return np.where(x == mean, np.inf, 0.0)
    z = (x - mean) / sd
    return np.exp(-0.5 * z * z) / (sd * np.sqrt(2.0 * np.pi))
