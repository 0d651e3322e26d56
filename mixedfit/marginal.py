"""The marginal covariance ``V = Z Omega Z' + Lambda`` of a fit's rows, without writing it out."""

from __future__ import annotations

import numpy as np

from mixedfit.arrays import Array
from mixedfit.fit import Fit
from mixedfit.residual_likelihood import ResidualEvaluation

__all__ = ["residual_sd", "solve_marginal"]


def residual_sd(fit: Fit) -> Array:
    """Standard deviation of each row's residual relative to sigma, shape (n,)."""
    weights, whitening = fit.design.weights, fit.whitening
    sd = np.ones(fit.n) if weights is None else 1.0 / np.sqrt(weights)
    return sd if whitening is None else sd * whitening.sd


def solve_marginal(fit: Fit, rows: Array) -> Array:
    """``V^-1`` times vectors over the rows of the fit.

    Parameters
    ----------
    fit : Fit
    rows : array of shape (m, n)
        One vector a row.

    Returns
    -------
    array of shape (m, n)

    Notes
    -----
    ``V^-1 = sigma^-2 [R^-1 - R^-1 Z (G^-1 + Z'R^-1 Z)^-1 Z'R^-1]`` (Henderson's identity): the cost
    is that of one solve with the factor of the fit.
    """
    weights, point = fit.design.weights, fit.evaluation
    root = None if weights is None else np.sqrt(weights)
    own = rows if root is None else rows * root
    if isinstance(point, ResidualEvaluation):
        solved = _solve_whitened(point, own)
    else:
        solved = _solve_plain(fit, own)
    return (solved if root is None else solved * root) / fit.estimate.sigma**2


def _solve_plain(fit: Fit, rows: Array) -> Array:
    working = fit.rows
    right = [
        np.array([[np.bincount(codes, z * row, J) for z in Z] for row in rows], dtype=float)
        for Z, codes, J in zip(working.Z, working.codes, working.n_levels, strict=True)
    ]
    out = rows.copy()
    effects = fit.evaluation.eliminated.solve(right) if right else []
    for Z, codes, u in zip(working.Z, working.codes, effects, strict=True):
        for a, z in enumerate(Z):
            out -= u[:, a, codes] * z
    return out


def _solve_whitened(point: ResidualEvaluation, rows: Array) -> Array:
    products, whitening = point.whitened, point.whitened.whitening
    whitened = whitening.whiten(rows)
    right, _ = products.products_with(whitened)
    out = whitening.whiten_transposed(whitened)
    effects = point.eliminated.solve(right) if right else []
    nothing = np.zeros(len(point.remainder.v))
    for i in range(len(rows) if right else 0):
        out[i] -= products.combine([u[i] for u in effects], nothing)
    return out
