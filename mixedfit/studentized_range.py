"""The studentized range: how far apart the extremes of k means lie by chance.

With the range w of k standard normals and an independent ``s^2 ~ chi^2_df / df``,

    P(w > r) = k int phi(z) [Phi(z)^(k-1) - (Phi(z) - Phi(z - r))^(k-1)] dz,
    P(w / s > q) = int f(u) P(w > q exp(u)) du,      u = log s,

both integrands smooth and fast to decay, so that the trapezoidal rule has all digits, and positive,
so that small tails keep theirs. (scipy's is one less a distribution function, and takes
milliseconds a value: seconds for all pairs of fifty means.)
"""

from __future__ import annotations

import numpy as np
import scipy

from mixedfit.arrays import Array

__all__ = ["range_quantile", "range_tail"]

# Half the length of the inner integral: beyond it lies nothing.
_REACH = 9.0
# Degrees of freedom beyond which s is one.
_MANY = 1e7
# Numbers held at once.
_ROOM = 4_000_000


def range_tail(q: Array, n_means: int, df: Array) -> Array:
    """``P(range / s > q)``.

    Parameters
    ----------
    q, df : arrays of shape (m,)
        Non-negative; df may be inf.
    n_means : int
        k, at least 2.

    Returns
    -------
    array of shape (m,)

    Examples
    --------
    >>> range_tail(np.array([3.5]), 3, np.array([10.0])).round(5)
    array([0.0771])
    """
    q, df = np.broadcast_arrays(np.asarray(q, dtype=float), np.asarray(df, dtype=float))
    out = np.empty(q.shape)
    many = df > _MANY
    out[many] = _normal_tail(q[many], n_means)
    few = np.flatnonzero(~many)
    order = few[np.argsort(df[few], kind="stable")]  # those together need alike many nodes
    step = 64
    for some in np.split(order, np.arange(step, len(order), step)) if len(order) else ():
        out[some] = _mixed_tail(q[some], n_means, df[some])
    return np.minimum(out, 1.0)


def _normal_tail(r: Array, k: int) -> Array:
    """``P(w > r)`` for ranges r of any shape.

    The largest of k normals has a scale of ``1 / sqrt(2 log k)``, which the steps must resolve.
    """
    flat = r.ravel()
    out = np.empty(len(flat))
    nodes = int(np.ceil(2.0 * _REACH * 3.0 * np.sqrt(2.0 * np.log(k)))) + 1
    around = np.linspace(-_REACH, _REACH, nodes)
    step = max(1, _ROOM // nodes)
    for start in range(0, len(flat), step):
        w = flat[start : start + step, None]
        z = 0.5 * w + around
        below = scipy.special.log_ndtr(z)
        with np.errstate(divide="ignore"):  # a range of nothing is exceeded for sure
            beyond = np.minimum(np.exp(scipy.special.log_ndtr(z - w) - below), 1.0)
            share = -np.expm1((k - 1) * np.log1p(-beyond))
        density = np.exp((k - 1) * below - 0.5 * z * z)
        out[start : start + step] = np.sum(density * share, axis=1)
    return (out * (k * (around[1] - around[0]) / np.sqrt(2.0 * np.pi))).reshape(r.shape)


def _mixed_tail(q: Array, k: int, df: Array) -> Array:
    """The mean of the normal tail over s, for finite df.

    The logarithm of the integrand peaks between ``-log(1 + q^2 / (2 df)) / 2`` and 0 with curvature
    ``-2 df``, and falls by ``df`` a unit of u to the left.
    """
    width = 1.0 / np.sqrt(2.0 * df)
    low = -0.5 * np.log1p(q * q / (2.0 * df)) - np.maximum(9.0 * width, 38.0 / df)
    high = 9.0 * width
    # Steps that resolve the density of u, and the range's own spread relative to its size.
    finest = np.minimum(0.6 * width, min(0.15, 0.27 / np.sqrt(2.0 * np.log(k))))
    nodes = int(np.ceil(np.max((high - low) / finest))) + 1
    u = low[:, None] + (high - low)[:, None] * np.linspace(0.0, 1.0, nodes)
    half = 0.5 * df
    constant = np.log(2.0) + half * np.log(half) - half - scipy.special.gammaln(half)
    log_density = constant[:, None] + half[:, None] * (2.0 * u - np.expm1(2.0 * u))
    tail = _normal_tail(q[:, None] * np.exp(u), k)
    return np.asarray(np.sum(np.exp(log_density) * tail, axis=1) * (high - low) / (nodes - 1))


def range_quantile(level: float, n_means: int, df: float) -> float:
    """The q that the studentized range stays below with a probability.

    Examples
    --------
    >>> round(range_quantile(0.95, 3, 10.0), 4)
    3.8768
    """
    alpha = 1.0 - level
    pairs = 0.5 * n_means * (n_means - 1)
    # No less than one pair's, no more than Bonferroni's.
    low, high = (
        np.sqrt(2.0) * float(scipy.stats.t.isf(0.5 * alpha / count, df)) for count in (1.0, pairs)
    )
    if high - low < 1e-12 * high:
        return low

    def excess(q: float) -> float:
        return float(range_tail(np.array([q]), n_means, np.array([df]))[0]) - alpha

    return float(scipy.optimize.brentq(excess, 0.999 * low, 1.001 * high, xtol=1e-10))
