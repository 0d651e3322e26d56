"""Moment estimates of the random effects' covariances: where a search starts.

The least-squares residuals e of the fixed part have ``E ee' ~ sum_r c_r V_r + sigma^2 I`` with
``V_r = Z dG_r Z'``; matching ``ee'`` to that by least squares (MINQUE with zero prior weights, Rao
1971, J. Multivariate Anal. 1) is one linear system in sums over pairs of levels. Its matrix also
tells which covariance parameters no data of this pattern can separate.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from mixedfit.arrays import Array
from mixedfit.crossproducts import CrossProducts
from mixedfit.linalg import solve_spd, symmetric_eigen

__all__ = [
    "moment_covariances",
    "moment_covariances_of_many",
    "moment_matrix",
    "moment_right",
]


# Variance ratio times rows a level between which a search starts. Seen from a larger variance the
# criterion is convex in its root; from a much smaller one a Newton step overshoots.
_START = (0.8, 1e4)


def moment_matrix(products: CrossProducts, tangents: list[Array]) -> Array:
    """``tr(V_r V_s)``, the residual variance last: it does not depend on the response.

    Parameters
    ----------
    products : CrossProducts
    tangents : list of arrays of shape (r_f, k, k)
        dG for each parameter, one array a factor.

    Returns
    -------
    array of shape (r + 1, r + 1)
    """
    ends = np.cumsum([0] + [len(t) for t in tangents])
    parts = [slice(a, b) for a, b in pairwise(ends)]
    r = int(ends[-1])
    matrix = np.zeros((r + 1, r + 1))
    matrix[r, r] = products.n
    for f, (sums, dG, rows) in enumerate(zip(products.factors, tangents, parts, strict=True)):
        k, J = sums.k, sums.n_levels
        matrix[rows, r] = matrix[r, rows] = np.einsum("rab,ab->r", dG, sums.ZZ.sum(axis=2))
        flat = sums.ZZ.reshape(k * k, J)
        matrix[rows, rows] = _contract(dG, (flat @ flat.T).reshape(k, k, k, k), dG)
        if (f, f) in products.pairs:
            flat = np.stack([M.data for M in products.pairs[f, f].values()])
            matrix[rows, rows] += _contract(dG, (flat @ flat.T).reshape(k, k, k, k), dG)
        for g in range(f + 1, len(tangents)):
            pair, m = products.pairs[f, g], products.factors[g].k
            flat = np.stack([pair[a, b].data for a in range(k) for b in range(m)])
            cross = _contract(dG, (flat @ flat.T).reshape(k, m, k, m), tangents[g])
            matrix[rows, parts[g]] = cross
            matrix[parts[g], rows] = cross.T
    return matrix


def moment_right(products: CrossProducts, tangents: list[Array]) -> Array:
    """``e'V_r e``, the residual variance last, shape (r + 1,)."""
    parts = []
    for sums, dG in zip(products.factors, tangents, strict=True):
        h = sums.ZE[-1]
        parts.append(np.einsum("rab,ab->r", dG, h @ h.T))
    return np.concatenate([*parts, products.EE[-1, -1:]])


def _contract(first: Array, sums: Array, second: Array) -> Array:
    """``sum dG_ab dG_cd sum_jl C_jl[a, c] C_jl[b, d]`` from sums[a, c, b, d]."""
    k, m = sums.shape[:2]
    between = sums.transpose(0, 2, 1, 3).reshape(k * k, m * m)
    return first.reshape(-1, k * k) @ between @ second.reshape(-1, m * m).T


def moment_covariances(
    products: CrossProducts, tangents: list[Array], matrix: Array, right: Array
) -> list[Array]:
    """Relative covariances G of shape (k, k), one a factor, positive definite.

    Directions without estimated variance get a small one: a search should start inside.

    Parameters
    ----------
    products : CrossProducts
    tangents : list of arrays of shape (r_f, k, k)
    matrix, right : arrays
        Of `moment_matrix` and `moment_right`.
    """
    solution = solve_spd(matrix, right)
    residual = max(float(solution[-1]), 0.05 * products.EE[-1, -1] / products.n)
    out, start = [], 0
    for sums, dG in zip(products.factors, tangents, strict=True):
        G = np.einsum("r,rab->ab", solution[start : start + len(dG)], dG) / residual
        start += len(dG)
        root = np.sqrt(sums.mean_rows)  # of the information a level has about each effect
        values, vectors = symmetric_eigen(G * root * root[:, None])
        values = np.clip(values, *_START)
        out.append((vectors * values) @ vectors.T / (root * root[:, None]))
    return out


def moment_covariances_of_many(
    products: CrossProducts, tangents: Array, matrix: Array, Zy: Array, yy: Array
) -> Array:
    """The same for m responses to a design with one grouping factor.

    Parameters
    ----------
    products : CrossProducts
    tangents : array of shape (r, k, k)
    matrix : array of shape (r + 1, r + 1)
        Of `moment_matrix`.
    Zy : array of shape (k, m, J)
        ``Z_j'e`` for each response.
    yy : array of shape (m,)
        ``e'e``.

    Returns
    -------
    array of shape (m, k, k)
    """
    outer = np.einsum("amj,bmj->mab", Zy, Zy, optimize=True)
    right = np.column_stack([np.einsum("rab,mab->mr", tangents, outer), yy])
    scale = 1.0 / np.sqrt(matrix.diagonal())
    inverse = np.linalg.pinv(matrix * scale * scale[:, None], rcond=1e-10, hermitian=True)
    solution = (right * scale) @ inverse * scale
    residual = np.maximum(solution[:, -1], 0.05 * yy / products.n)
    G = np.einsum("mr,rab->mab", solution[:, :-1], tangents) / residual[:, None, None]
    root = np.sqrt(products.factors[0].mean_rows)
    values, vectors = np.linalg.eigh(G * root * root[:, None])
    values = np.clip(values, *_START)
    return (vectors * values[:, None, :]) @ vectors.transpose(0, 2, 1) / (root * root[:, None])
