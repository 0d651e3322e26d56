"""What deleting rows does to the fixed effects, with the variances held at their estimates.

Everything is in working rows (`working`), in which the covariance of the response is
``sigma^2 V``, ``V = I + Z G Z'``, so that with ``M = (G^-1 + Z'Z)^-1``

    V^-1 = I - Z M Z',      P = V^-1 - V^-1 X C X'V^-1,      C = (X'V^-1 X)^-1.

Leaving out a set I of rows subtracts from ``S = [X y]'V^-1[X y]``, by the inverse of a partitioned
matrix,

    A_I = (V^-1[X y])_I' ((V^-1)_II)^-1 (V^-1[X y])_I

and with ``v = (-b, 1)`` the estimates move by ``b - b_(I) = C_(I) (A_I v)_x``. For one row these
are the case deletion formulas of Christensen, Pearson & Johnson (1992), Technometrics 34.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mixedfit.arrays import Array, IntArray
from mixedfit.block_inverse import EffectsInverse
from mixedfit.correlated_rows import (
    RowsInverse,
    correlated_blocks,
    correlated_point,
    diagonals,
    uncorrelated_rows,
)
from mixedfit.elimination import Eliminated
from mixedfit.fit import Fit
from mixedfit.residual_likelihood import ResidualEvaluation
from mixedfit.threads import one_thread
from mixedfit.working import WorkingRows

__all__ = [
    "Deleted",
    "RowParts",
    "delete_groups",
    "delete_rows",
    "row_parts",
    "weighted_rows",
]

# Numbers held at once by a batch.
_ROOM = 2**23
# Share of the information on some combination of fixed effects below which none is left.
_NOTHING_LEFT = 1e-10


@dataclass(frozen=True)
class RowParts:
    """What each row contributes, in working rows and relative to ``sigma^2``.

    Attributes
    ----------
    E : array of shape (p + 1, n)
        Rows of ``V^-1[X y]``.
    N : array of shape (n,)
        Diagonal of ``V^-1``.
    P : array of shape (n,)
        Diagonal of P.
    Py : array of shape (n,)
        ``P y = V^-1 (y - X b)``.
    conditional : array of shape (n,)
        ``R P y``, observed less fitted, where the residuals have covariance ``sigma^2 R``.
    conditional_variance : array of shape (n,)
        Diagonal of ``R P R``, the variance of the conditional residual.
    leverage : array of shape (n,)
        Diagonal of ``I - R P``: the derivative of a row's fitted value in its observed one.
    fixed : array of shape (n,)
        Diagonal of ``X C X'V^-1``: the leverage through the fixed effects alone.
    marginal : array of shape (n,)
        ``y - X b``.
    marginal_variance : array of shape (n,)
        Diagonal of ``V - X C X'``, the variance of the marginal residual.
    root : array of shape (n,)
        What the rows were multiplied by.
    """

    E: Array
    N: Array
    P: Array
    Py: Array
    conditional: Array
    conditional_variance: Array
    leverage: Array
    fixed: Array
    marginal: Array
    marginal_variance: Array
    root: Array


def weighted_rows(fit: Fit, eliminated: Eliminated) -> Array:
    """Rows of ``V^-1[X y]``, shape (p + 1, n)."""
    if isinstance(fit.evaluation, ResidualEvaluation):
        return fit.evaluation.solved_columns
    return _solved(fit, fit.rows, eliminated)


def _solved(fit: Fit, rows: WorkingRows, eliminated: Eliminated) -> Array:
    products = fit.likelihood.products
    E = np.concatenate([rows.X, rows.y[None]])
    if not products.factors:
        return E
    effects = eliminated.solve([sums.ZE for sums in products.factors])
    for Z, codes, U in zip(rows.Z, rows.codes, effects, strict=True):
        for a, z in enumerate(Z):
            E -= z * U[:, a, codes]
    return E


def _inverse_diagonal(rows: WorkingRows, inverse: EffectsInverse) -> Array:
    """``1 - z_i'M z_i``, the diagonal of ``V^-1``, shape (n,)."""
    columns, Z = inverse.columns(rows), np.concatenate(rows.Z)
    out = np.ones(len(columns))
    for a in range(len(Z)):
        for b in range(a + 1):
            twice = 1.0 if a == b else 2.0
            out -= twice * Z[a] * Z[b] * inverse.entries(columns[:, a], columns[:, b])
    return out


def row_parts(fit: Fit) -> RowParts:
    """The parts of every row of a fit."""
    point = correlated_point(fit)
    if point is not None:
        return _correlated_parts(fit, point)
    with one_thread():
        eliminated, rows = fit.evaluation.eliminated, uncorrelated_rows(fit)
        remainder = fit.evaluation.remainder
        E = _solved(fit, rows, eliminated)
        N = np.ones(fit.n)
        if rows.Z:
            N = _inverse_diagonal(rows, EffectsInverse(eliminated, rows))
        C, v = remainder.P, remainder.v
        through = C @ E[:-1]
        CX = C @ rows.X
        V = np.ones(fit.n)
        for Z, T in zip(rows.Z, eliminated.T, strict=True):
            V += np.square(T.T @ Z).sum(axis=0)
        P = np.maximum(N - np.einsum("en,en->n", E[:-1], through), 0.0)
        Py = v @ E
        return RowParts(  # R is the identity: weights have gone into the rows
            E,
            N,
            P,
            Py,
            Py,
            P,
            1.0 - P,
            np.einsum("en,en->n", rows.X, through),
            rows.y - remainder.b @ rows.X,
            np.maximum(V - np.einsum("en,en->n", rows.X, CX), 0.0),
            np.ones(fit.n) if rows.root_weights is None else rows.root_weights,
        )


def _correlated_parts(fit: Fit, point: ResidualEvaluation) -> RowParts:
    """The parts of rows whose residuals have a structure of their own."""
    with one_thread():
        rows, remainder = point.problem.rows.rows, point.remainder
        whitening, E, C = point.whitened.whitening, point.solved_columns, remainder.P
        N, RN, RNR = diagonals(point, RowsInverse(fit, point))
        through, moved = C @ E[:-1], whitening.multiply(E[:-1])
        V = np.square(whitening.sd)
        for Z, T in zip(rows.Z, point.eliminated.T, strict=True):
            V = V + np.square(T.T @ Z).sum(axis=0)
        Py = remainder.v @ E
        fixed = np.einsum("en,en->n", rows.X, through)
        return RowParts(
            E,
            N,
            np.maximum(N - np.einsum("en,en->n", E[:-1], through), 0.0),
            Py,
            whitening.multiply(Py[None])[0],
            np.maximum(RNR - np.einsum("en,en->n", moved, C @ moved), 0.0),
            1.0 - RN + np.einsum("en,en->n", moved, through),
            fixed,
            rows.y - remainder.b @ rows.X,
            np.maximum(V - np.einsum("en,en->n", rows.X, C @ rows.X), 0.0),
            np.ones(fit.n) if rows.root_weights is None else rows.root_weights,
        )


@dataclass(frozen=True)
class Deleted:
    """What each of m deletions does to the fixed effects, in the user's units.

    Deletions after which they cannot be estimated hold nan.

    Attributes
    ----------
    change : array of shape (m, p)
        ``b - b_(I)``.
    se : array of shape (m, p)
        Standard errors of ``b_(I)``.
    cooks_distance, mdffits : array of shape (m,)
        Squares of the change in the covariance of b and of ``b_(I)``, divided by p.
    covratio : array of shape (m,)
        Determinant of the covariance of ``b_(I)`` over that of b.
    """

    change: Array
    se: Array
    cooks_distance: Array
    mdffits: Array
    covratio: Array

    @classmethod
    def of(cls, fit: Fit, change: Array, variances: Array, covratio: Array) -> Deleted:
        """From changes (m, p) and covariances (m, p, p) relative to ``sigma^2``, working ones."""
        sigma2 = fit.evaluation.remainder.r2 / fit.likelihood.df
        to_user = fit.estimate.basis.scale * fit.estimate.basis.fixed.total
        inverse = np.linalg.inv(fit.evaluation.remainder.P)
        mdffits = np.full(len(change), np.nan)
        known = np.isfinite(covratio)
        solved = np.linalg.solve(variances[known], change[known][:, :, None])[:, :, 0]
        mdffits[known] = np.einsum("ma,ma->m", change[known], solved)
        spread = np.einsum("ca,mab,cb->mc", to_user, variances, to_user, optimize=True)
        return cls(
            change @ to_user.T,
            np.sqrt(sigma2 * spread),
            np.einsum("ma,ab,mb->m", change, inverse, change) / (sigma2 * fit.p),
            mdffits / (sigma2 * fit.p),
            covratio,
        )


def delete_rows(fit: Fit, parts: RowParts) -> Deleted:
    """Each row left out on its own.

    By the Sherman-Morrison identity, with ``x = C (V^-1 X)_i``: ``b - b_(i) = x (Py)_i / P_ii``
    and ``C_(i) = C + x x' / P_ii``; and ``x'C^-1 x = N_ii - P_ii``.
    """
    sigma2 = fit.evaluation.remainder.r2 / fit.likelihood.df
    to_user = fit.estimate.basis.scale * fit.estimate.basis.fixed.total
    C = fit.evaluation.remainder.P
    x = to_user @ (C @ parts.E[:-1])
    P = np.where(parts.P > _NOTHING_LEFT * parts.N, parts.P, np.nan)
    moved = parts.Py / P
    spread = (to_user @ C @ to_user.T).diagonal()[:, None] + np.square(x) / P
    cooks_distance = moved**2 * (parts.N - P) / (sigma2 * fit.p)
    return Deleted(
        (x * moved).T,
        np.sqrt(sigma2 * spread).T,
        cooks_distance,
        cooks_distance * P / parts.N,
        parts.N / P,
    )


def delete_groups(fit: Fit, parts: RowParts, codes: IntArray, m: int) -> Deleted:
    """All rows of each level of a grouping left out.

    Parameters
    ----------
    fit : Fit
    parts : RowParts
    codes : int array of shape (n,)
        Level of each row, all in use.
    m : int
        Number of levels.
    """
    with one_thread():
        p1 = len(parts.E)
        A = np.empty((m, p1, p1))
        point = correlated_point(fit)
        if point is not None:
            for groups, rows, N in correlated_blocks(RowsInverse(fit, point), codes, m):
                E = parts.E.T[rows]
                A[groups] = E.transpose(0, 2, 1) @ np.linalg.solve(N, E)
            return _after(fit, A)
        for groups, blocks in _batches(fit, parts, codes, m):
            A[groups] = _subtracted(*blocks)
        return _after(fit, A)


def _after(fit: Fit, A: Array) -> Deleted:
    """Solutions of ``S - A`` for each A, (m, p + 1, p + 1)."""
    remainder = fit.evaluation.remainder
    L = remainder.V[:-1, :-1]  # L S_xx L' = I
    p = len(L)
    left = np.eye(p) - L @ A[:, :-1, :-1] @ L.T
    values, vectors = np.linalg.eigh(0.5 * (left + left.transpose(0, 2, 1)))
    lost = values[:, 0] < _NOTHING_LEFT
    values[lost] = np.nan
    root = vectors.transpose(0, 2, 1) @ L / np.sqrt(values)[:, :, None]
    variances = root.transpose(0, 2, 1) @ root
    change = np.einsum("mab,mb->ma", variances, (A @ remainder.v)[:, :-1])
    return Deleted.of(fit, change, variances, 1.0 / values.prod(axis=1))


def _subtracted(E: Array, Z: Array, G: Array) -> Array:
    """``A_I`` of B deletions of up to r rows that meet up to c effects.

    Parameters
    ----------
    E : array of shape (B, r, p + 1)
        Rows of ``V^-1[X y]``.
    Z : array of shape (B, r, c)
    G : array of shape (B, c, c)
        M among those effects.
    """
    r, c = Z.shape[1:]
    if r <= c:
        N = np.eye(r) - Z @ G @ Z.transpose(0, 2, 1)
        return np.asarray(E.transpose(0, 2, 1) @ np.linalg.solve(N, E))
    # (I - Z G Z')^-1 = I + Z G (I - Z'Z G)^-1 Z'
    ZE = Z.transpose(0, 2, 1) @ E
    core = np.eye(c) - Z.transpose(0, 2, 1) @ Z @ G
    inner = G @ np.linalg.solve(core, ZE)
    return np.asarray(E.transpose(0, 2, 1) @ E + ZE.transpose(0, 2, 1) @ inner)


def _rounded(sizes: IntArray) -> IntArray:
    """Sizes rounded up by at most an eighth, so that few differ."""
    step = 2 ** np.maximum(np.ceil(np.log2(np.maximum(sizes, 1))).astype(int) - 3, 0)
    return np.asarray(-(-sizes // step) * step)


def _batches(
    fit: Fit, parts: RowParts, codes: IntArray, m: int
) -> Iterator[tuple[IntArray, tuple[Array, Array, Array]]]:
    """Levels of similar size with their rows of E, their Z and M among their effects, padded."""
    rows, n, p1 = uncorrelated_rows(fit), len(codes), len(parts.E)
    codes = codes.astype(np.int64)  # small ones cannot number pairs
    order = np.argsort(codes, kind="stable")
    n_rows = np.bincount(codes, minlength=m)
    row_place = np.arange(n) - np.repeat(np.cumsum(n_rows) - n_rows, n_rows)
    if rows.Z:
        inverse = EffectsInverse(fit.evaluation.eliminated, rows)
        columns, q = inverse.columns(rows)[order], inverse.q
    else:
        inverse, columns, q = None, np.zeros((n, 0), dtype=np.int64), 1
    keys, found = np.unique(codes[order][:, None] * q + columns, return_inverse=True)
    owner, effects = np.divmod(keys, q)
    n_effects = np.bincount(owner, minlength=m)
    effect_starts = np.cumsum(n_effects) - n_effects
    effect_place = found.reshape(columns.shape) - effect_starts[codes[order]][:, None]
    Z_rows = np.concatenate([np.zeros((0, n)), *rows.Z])[:, order]
    E_rows = parts.E[:, order]
    sizes = np.stack([_rounded(n_rows), _rounded(np.maximum(n_effects, 1))])
    shapes, shape_of = np.unique(sizes, axis=1, return_inverse=True)
    row_starts = np.cumsum(n_rows) - n_rows
    for s, (r, c) in enumerate(shapes.T):
        members = np.flatnonzero(shape_of.ravel() == s)
        step = max(1, _ROOM // int(r * (c + p1) + c * c))
        for groups in np.split(members, np.arange(step, len(members), step)):
            batch = np.repeat(np.arange(len(groups)), n_rows[groups])
            here = np.concatenate(
                [np.arange(row_starts[g], row_starts[g] + n_rows[g]) for g in groups]
            )
            E = np.zeros((len(groups), r, p1))
            E[batch, row_place[here]] = E_rows[:, here].T
            Z = np.zeros((len(groups), r, c))
            Z[batch[:, None], row_place[here][:, None], effect_place[here]] = Z_rows[:, here].T
            slots = effect_starts[groups][:, None] + np.arange(c)
            real = np.arange(c) < n_effects[groups][:, None]
            met = effects[np.where(real, slots, effect_starts[groups][:, None])] if q > 1 else None
            G = np.zeros((len(groups), c, c))
            if inverse is not None and met is not None:
                pair = np.broadcast_arrays(met[:, :, None], met[:, None, :])
                G = inverse.entries(*pair) * (real[:, :, None] & real[:, None, :])
            yield groups, (E, Z, G)
