"""The squared length of a normal vector's projection on a cone: the chi-bar-squared distribution.

For ``z ~ N(0, H^-1)`` in the metric H, the projection on a closed convex cone has squared length
``kappa R^2``, where ``R^2 = z'H z`` is chi-squared and independent of ``kappa``, which depends on
the direction of z alone. Directions are drawn; the tail given each is exact, so that small p-values
are as precise, relatively, as large ones.
"""

from __future__ import annotations

import numpy as np
import scipy

from mixedfit.arrays import Array
from mixedfit.linalg import cholesky

__all__ = ["cone_p_value"]

_DRAWS = 4000
_SEED = 20040115
_ROUNDS = 300
_CLOSE = 1e-6


def cone_p_value(statistic: float, information: Array, free: int, size: int | None) -> float:
    """The probability that the projection is at least this long.

    Parameters
    ----------
    statistic : float
        Squared length.
    information : array of shape (d, d)
        The metric H of the coordinates in the cone.
    free : int
        Further coordinates, orthogonal to these, without any constraint.
    size : int or None
        The cone: positive semidefinite matrices of this order, by the lower triangle column by
        column; None for coordinates none of which may be negative.
    """
    if statistic <= 0.0:
        return 1.0
    d = len(information)
    rng = np.random.default_rng(_SEED)
    if size is None:
        scale = np.ones(d)
    else:  # coordinates whose sum of squares is that of the matrix
        columns, rows = np.triu_indices(size)
        scale = np.where(rows == columns, 1.0, np.sqrt(2.0))
    H = information / scale / scale[:, None]
    z = np.asarray(np.linalg.solve(cholesky(H).T, rng.standard_normal((d, _DRAWS)))).T
    projected = _project(z, H, size, scale)
    along = np.einsum("ni,ij,nj->n", projected, H, projected, optimize=True)
    whole = np.einsum("ni,ij,nj->n", z, H, z, optimize=True)
    w = rng.chisquare(free, _DRAWS) if free else np.zeros(_DRAWS)
    kappa = (along + w) / (whole + w)
    with np.errstate(divide="ignore"):
        return float(scipy.special.chdtrc(d + free, statistic / kappa).mean())


def _project(z: Array, H: Array, size: int | None, scale: Array) -> Array:
    """Nearest points of the cone in the metric H, (n, d), by accelerated projected gradients."""
    step = 1.0 / float(np.linalg.eigvalsh(H)[-1])
    x = _nearest(z, size, scale)
    y, momentum = x, 1.0
    for _ in range(_ROUNDS):
        new = _nearest(y - step * (y - z) @ H, size, scale)
        following = 0.5 * (1.0 + np.sqrt(1.0 + 4.0 * momentum**2))
        y = new + (momentum - 1.0) / following * (new - x)
        moved = np.abs(new - x).max()
        x, momentum = new, following
        if moved <= _CLOSE * np.abs(x).max():
            break
    return x


def _nearest(x: Array, size: int | None, scale: Array) -> Array:
    """Nearest points of the cone where the metric is the identity."""
    if size is None:
        return np.maximum(x, 0.0)
    columns, rows = np.triu_indices(size)
    matrix = np.empty((len(x), size, size))
    matrix[:, rows, columns] = matrix[:, columns, rows] = x / scale
    values, vectors = np.linalg.eigh(matrix)
    matrix = (vectors * np.maximum(values, 0.0)[:, None]) @ vectors.transpose(0, 2, 1)
    return matrix[:, rows, columns] * scale
