"""The logarithm of a rising factorial over its leading power, accurate however large the base is.

``F(a, k) = log [a (a + 1) ... (a + k - 1)] - k log a = sum_{i < k} log(1 + i / a)`` measures how
far k draws of a population are from independent when the population weighs a. It goes to 0 as a
grows, which differences of log-gamma functions lose to rounding; there Stirling's series is used,
arranged so that nothing cancels.
"""

from __future__ import annotations

import numpy as np
from scipy import special

from mixedfit.arrays import Array

__all__ = ["log1p_less", "log_rising_excess"]

# From here on four terms of Stirling's series are exact to rounding.
_LARGE = 30.0
_SMALL = 0.06
_SERIES = np.array([(-1.0) ** (m + 1) / m for m in range(2, 16)])
_STIRLING = np.array([1.0 / 12.0, -1.0 / 360.0, 1.0 / 1260.0, -1.0 / 1680.0])
_POWERS = np.array([1.0, 3.0, 5.0, 7.0])


def log1p_less(t: Array) -> Array:
    """``log(1 + t) - t`` for t > -1, without cancellation near 0."""
    t = np.asarray(t, dtype=float)
    small = np.abs(t) < _SMALL
    out = np.asarray(np.log1p(t) - t)
    near = t[small]
    out[small] = near**2 * np.polynomial.polynomial.polyval(near, _SERIES)
    return out


def log_rising_excess(a: Array, k: Array) -> tuple[Array, Array, Array]:
    """F and its first two derivatives in a.

    Parameters
    ----------
    a : array
        Positive, finite.
    k : array
        At least 0; of a shape that broadcasts with that of a.

    Returns
    -------
    F, F1, F2 : arrays
        Of the common shape.
    """
    a, k = np.asarray(a, dtype=float), np.asarray(k, dtype=float)
    if a.size == 1:  # one population for all: its own part is computed once
        values = _by_stirling(a, k) if float(a.ravel()[0]) >= _LARGE else _by_gamma(a, k)
        return values[0], values[1], values[2]
    a, k = np.broadcast_arrays(a, k)
    large = a >= _LARGE
    if large.all() or not large.any():
        values = _by_stirling(a, k) if large.all() else _by_gamma(a, k)
        return values[0], values[1], values[2]
    out = np.empty((3, *a.shape))
    out[:, large] = _by_stirling(a[large], k[large])
    out[:, ~large] = _by_gamma(a[~large], k[~large])
    return out[0], out[1], out[2]


def _by_gamma(a: Array, k: Array) -> Array:
    top = a + k
    return np.stack(
        [
            special.gammaln(top) - special.gammaln(a) - k * np.log(a),
            special.digamma(top) - special.digamma(a) - k / a,
            _trigamma(top) - _trigamma(a) + k / a**2,
        ]
    )


def _trigamma(x: Array) -> Array:
    """``psi'(x)``: its asymptotic series, exact to rounding from 30 on, or Hurwitz's zeta."""
    r = 1.0 / x
    q = r * r
    series = 1.0 + q * (1 / 6 - q * (1 / 30 - q * (1 / 42 - q * (1 / 30 - q * 5 / 66))))
    out = np.asarray(r * series + 0.5 * q)
    small = np.asarray(x) < _LARGE
    if small.any():
        out[small] = special.zeta(2.0, np.asarray(x)[small])
    return out


def _by_stirling(a: Array, k: Array) -> Array:
    t, top = k / a, a + k
    less, log = log1p_less(t), np.log1p(t)
    # (a + k - 1/2) log(1 + t) - k and its derivatives, then the series in 1 / a.
    F = a * (less + t * log) - 0.5 * log
    F1 = less + 0.5 * t / top
    F2 = t**2 / top - 0.5 * t * (2.0 * a + k) / (a * top**2)
    for c, m in zip(_STIRLING, _POWERS, strict=True):
        F = F + c * (top**-m - a**-m)
        F1 = F1 - c * m * (top ** -(m + 1.0) - a ** -(m + 1.0))
        F2 = F2 + c * m * (m + 1.0) * (top ** -(m + 2.0) - a ** -(m + 2.0))
    return np.stack([F, F1, F2])
