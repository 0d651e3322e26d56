"""Mixtures of normals, one mixture a unit: moments and quantiles."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import ndtr, ndtri

from mixedfit.arrays import Array
from mixedfit.eb.parts import parts

__all__ = ["mixture_moments", "mixture_quantiles", "quantiles"]

# Numbers in one chunk: small enough for the processor's cache to help.
_CHUNK = 400_000


def mixture_moments(weights: Array, means: Array, variances: Array) -> tuple[Array, Array]:
    """Means and variances of mixtures over the first axis.

    Parameters
    ----------
    weights : array of shape (K,)
        Adding up to 1.
    means, variances : arrays of shape (K, J)

    Returns
    -------
    mean, variance : arrays of shape (J,)
        ``variance`` is the mean of the variances plus the variance of the means.
    """
    mean = weights @ means
    return mean, weights @ variances + weights @ (means - mean) ** 2


def mixture_quantiles(
    probabilities: Sequence[float], weights: Array, means: Array, sds: Array
) -> Array:
    """Quantiles of mixtures of normals over the first axis.

    Parameters
    ----------
    probabilities : sequence of float
    weights : array of shape (K,)
    means, sds : arrays of shape (K, J)
        A standard deviation of 0 is a point.

    Returns
    -------
    array of shape (len(probabilities), J)
    """
    K, J = means.shape
    out = np.empty((len(probabilities), J))
    for part in parts(J, K, _CHUNK):
        m, s = means[:, part], sds[:, part]
        floor = 1e-12 * (np.abs(m).max(axis=0) + s.max(axis=0)) + 1e-300
        s = np.maximum(s, floor)
        extreme = ndtri(np.array([min(probabilities), max(probabilities)]))
        low = (m + s * min(extreme[0], 0.0)).min(axis=0)
        high = (m + s * max(extreme[1], 0.0)).max(axis=0)

        def cdf(x: Array, m: Array = m, s: Array = s) -> Array:
            return weights @ ndtr((x - m) / s)

        def density(x: Array, m: Array = m, s: Array = s) -> Array:
            z = (x - m) / s
            return weights @ (np.exp(-0.5 * z * z) / s) / np.sqrt(2.0 * np.pi)

        mean, variance = mixture_moments(weights, m, s**2)
        for i, p in enumerate(probabilities):
            guess = np.clip(mean + ndtri(p) * np.sqrt(variance), low, high)
            out[i, part] = quantiles(p, cdf, density, low, high, guess)
    return out


def quantiles(
    p: float,
    cdf: Callable[[Array], Array],
    density: Callable[[Array], Array] | None,
    low: Array,
    high: Array,
    start: Array | None = None,
) -> Array:
    """Invert distribution functions by Newton steps kept inside a shrinking bracket.

    Parameters
    ----------
    p : float
        The probability.
    cdf, density : function of an array (J,) giving one value a unit
        Without a density the bracket is halved.
    low, high : arrays of shape (J,)
        ``cdf(low) <= p <= cdf(high)``.
    start : array of shape (J,), optional
        A first guess inside the bracket.

    Returns
    -------
    array of shape (J,)
        The smallest x with ``cdf(x) >= p``, to a millionth of a millionth of the bracket.
    """
    low, high = low.copy(), high.copy()
    tolerance = 1e-12 * (high - low) + 1e-300
    x = 0.5 * (low + high) if start is None else start
    for _ in range(100):
        error = cdf(x) - p
        low, high = np.where(error < 0.0, x, low), np.where(error < 0.0, high, x)
        middle = 0.5 * (low + high)
        if density is None:
            moved = middle
        else:
            with np.errstate(all="ignore"):
                moved = x - error / density(x)
            inside = (moved > low) & (moved < high)
            moved = np.where(inside, moved, middle)
        if ((np.abs(moved - x) <= tolerance) | (high - low <= tolerance)).all():
            return moved
        x = moved
    return x
