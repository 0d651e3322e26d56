"""Which covariance parameters a design can tell apart.

Parameters enter the likelihood only through ``Sigma = Z Omega Z' + Lambda``. With ``V_r`` the
derivative of Sigma in parameter r, a combination c of parameters that leaves Sigma where it is has
``c'M c = 0`` for ``M_rs = tr(V_r V_s)``, which does not depend on the response.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mixedfit.arrays import Array, BoolArray
from mixedfit.errors import ModelError
from mixedfit.likelihood import Evaluation, Likelihood
from mixedfit.linalg import symmetric_eigen

__all__ = ["at_limit", "check_identified", "moving_directions"]

# Smallest eigenvalue of the scaled M that counts as different from zero.
_NOTHING = 1e-10
# Squared relative change of the residuals' covariance in a parameter that has run to its limit.
_NO_MOVE = 1e-11


def _combinations(M: Array) -> Array:
    """Combinations that leave Sigma where it is, (r, m), scaled to a largest entry of 1."""
    scale = np.sqrt(np.maximum(M.diagonal(), 1e-300))
    values, vectors = symmetric_eigen(M / (scale * scale[:, None]))
    null = vectors[:, values < _NOTHING]
    return np.asarray(null / np.abs(null).max(axis=0, initial=1e-300))


def check_identified(
    likelihood: Likelihood, labels: Sequence[str], columns: Sequence[Sequence[str]]
) -> bool:
    """Refuse models in which a term alone, or the residual, cannot be told from the rest.

    Two terms that share a variance (``(f || g)`` with a factor f) are allowed: only their sum is
    determined, which is no harm to anything else.

    Parameters
    ----------
    likelihood : Likelihood
    labels : sequence of str
        Of the random terms.
    columns : sequence of sequences of str
        Names of their columns.

    Returns
    -------
    bool
        Whether every parameter is determined.

    Raises
    ------
    ModelError
        Naming the term and its columns.
    """
    M = likelihood.sigma_products()
    null = _combinations(M)
    if not null.shape[1]:
        return True
    residual = likelihood.n_params
    for t, rows in enumerate(likelihood.slices):
        own = np.append(np.arange(rows.start, rows.stop), residual)
        for combination in _combinations(M[np.ix_(own, own)]).T:
            names = _columns(likelihood, t, np.abs(combination[:-1]), columns[t])
            also = " and the residual" if abs(combination[-1]) > 1e-3 else ""
            raise ModelError(
                f"{labels[t]}: the variances of {names}{also} cannot be told apart in these data, "
                "because a column is constant within every level or levels have too few rows; "
                "leave a column out, or use diag() for uncorrelated effects"
            )
    if np.abs(null[residual]).max() > 1e-3:
        raise ModelError(
            f"the random terms {', '.join(labels)} together reproduce every row: the residual "
            "variance cannot be told from theirs; leave a term out"
        )
    return False


def _columns(likelihood: Likelihood, term: int, weights: Array, names: Sequence[str]) -> str:
    tangents = likelihood.structures[term][1].tangents(likelihood.unit[term])
    touched = np.abs(tangents[weights > 1e-3]).sum(axis=(0, 1)) > 0.0
    return " and ".join(repr(name) for name, used in zip(names, touched, strict=True) if used)


def moving_directions(point: Evaluation, held: BoolArray) -> Array:
    """Orthonormal directions of the coordinates in which Sigma moves, (r, m).

    Parameters
    ----------
    point : Evaluation
    held : array of bool of shape (r,)
        Coordinates held at a bound.
    """
    of_residual = point.n_covariance + np.flatnonzero(~at_limit(point))
    of_residual = of_residual[~held[of_residual]]
    M = point.likelihood.sigma_products(point.states)[:-1, :-1]
    unit = point.likelihood.sigma_products().diagonal()[:-1]
    free = np.flatnonzero(~held[: len(M)] & (M.diagonal() > 1e-20 * unit))
    scale = 1.0 / np.sqrt(M.diagonal()[free])
    values, vectors = np.linalg.eigh(M[np.ix_(free, free)] * np.outer(scale, scale))
    moving = scale[:, None] * vectors[:, values > _NOTHING]
    m = moving.shape[1]
    out = np.zeros((len(held), m + len(of_residual)))
    out[free, :m] = np.linalg.qr(moving)[0] if m else moving
    out[of_residual, m + np.arange(len(of_residual))] = 1.0
    return out


def at_limit(point: Evaluation) -> BoolArray:
    """Parameters of the residual structure that no longer move R: they ran to their limit."""
    return np.asarray(point.delta_information < _NO_MOVE)
