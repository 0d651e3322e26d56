"""Covariances of the rows written out, within sets of rows that are independent of each other.

Rows that share a level of a grouping factor or a residual group are dependent. Where that leaves
many small sets, V is block diagonal and each block is a small dense matrix.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from mixedfit.arrays import Array, IntArray
from mixedfit.residual_likelihood import ResidualEvaluation

__all__ = ["moves_linearly", "row_moments"]

# Numbers held at a time in one kind of block.
_MOST = 40_000_000


def moves_linearly(point: ResidualEvaluation) -> bool:
    """Whether the family ``sigma^2 R(delta)`` is a linear space of matrices.

    It is where R at any delta is a combination of R and its derivatives here; seen by what they
    make of one vector.
    """
    structure, delta = point.problem.residual, point.delta
    rng = np.random.default_rng(0)
    v = rng.standard_normal((1, structure.n))
    whitening = structure.at(delta)
    basis = np.vstack([whitening.multiply(v), whitening.derivative(v)[:, 0]])
    lower, upper = structure.bounds
    for _ in range(2):
        other = np.clip(delta + 0.4 * rng.standard_normal(len(delta)), lower, upper)
        target = structure.at(other).multiply(v)[0]
        coefficients = np.linalg.lstsq(basis.T, target, rcond=None)[0]
        if np.linalg.norm(coefficients @ basis - target) > 1e-8 * np.linalg.norm(target):
            return False
    return True


def _batches(point: ResidualEvaluation) -> Iterator[IntArray]:
    """Rows of the sets, sets of equal size together: (sets, rows a set)."""
    rows = point.problem.rows.rows
    n, start, owners = len(rows.y), len(rows.y), []
    groups = point.problem.residual.groups
    for codes in [*rows.codes, *([] if groups is None else [groups.codes])]:
        owners.append(codes.astype(np.int64) + start)
        start += int(codes.max()) + 1
    if owners:
        edges = (np.tile(np.arange(n), len(owners)), np.concatenate(owners))
        graph = sparse.coo_array((np.ones(len(edges[0])), edges), shape=(start, start))
        of_row = connected_components(graph, directed=False)[1][:n].astype(np.int64)
    else:
        of_row = np.arange(n)
    order = np.argsort(of_row, kind="stable")
    _, first, counts = np.unique(of_row[order], return_index=True, return_counts=True)
    for size in np.unique(counts):
        yield order[first[counts == size][:, None] + np.arange(size)]


def row_moments(
    point: ResidualEvaluation, tangents: list[Array]
) -> tuple[Array, Array, Array] | None:
    """The moments of V, of ``Z dG_r Z'`` for each tangent, and of each ``dR_s``.

    Parameters
    ----------
    point : ResidualEvaluation
    tangents : list of arrays of shape (m_f, k, k)
        One a grouping factor.

    Returns
    -------
    P : array of shape (m, p, p)
        ``-X'V^-1 V_r V^-1 X``.
    Q : array of shape (m, m, p, p)
        ``X'V^-1 V_r V^-1 V_s V^-1 X``.
    T : array of shape (m, m)
        ``tr(V^-1 V_r V^-1 V_s)``.
    None where the independent sets are too large to write out.
    """
    batches = list(_batches(point))
    largest = max(rows.shape[1] for rows in batches)
    n, p = len(point.problem.rows.rows.y), point.likelihood.products.p
    m = 1 + sum(map(len, tangents)) + len(point.delta)
    if largest * n * m > _MOST:
        return None
    probes = np.zeros((largest, n))
    for rows in batches:
        probes[np.arange(rows.shape[1]), rows] = 1.0
    whitening = point.whitened.whitening
    R = np.concatenate([whitening.multiply(probes)[None], whitening.derivative(probes)])
    P, Q, T = np.zeros((m, p, p)), np.zeros((m, m, p, p)), np.zeros((m, m))
    for rows in batches:
        # Entry [a, rows[i, j]] of what a probe gives is that of rows a and j of set i.
        residual = R[:, : rows.shape[1], rows].transpose(0, 2, 1, 3)
        V, random = _random_part(point, tangents, rows)
        V = V + residual[0]
        D = np.concatenate([V[None], random, residual[1:]])
        inverse = np.linalg.inv(V)
        A = inverse @ D
        flat = A.reshape(m, -1)
        T += flat @ A.transpose(0, 1, 3, 2).reshape(m, -1).T
        X = point.problem.rows.rows.X[:, rows].transpose(1, 2, 0)
        F = inverse @ X
        DF = D @ F
        P -= np.einsum("ija,rijb->rab", F, DF)
        Q += np.einsum("rija,sijb->rsab", DF, inverse @ DF, optimize=True)
    return P, Q, T


def _random_part(
    point: ResidualEvaluation, tangents: list[Array], rows: IntArray
) -> tuple[Array, Array]:
    """``Z G Z'`` of each set, (sets, size, size), and the same for each tangent of G."""
    working = point.problem.rows.rows
    size = (len(rows), rows.shape[1], rows.shape[1])
    whole, parts = np.zeros(size), [np.zeros((0, *size))]
    for Z, codes, T, dG in zip(working.Z, working.codes, point.eliminated.T, tangents, strict=True):
        own, level = Z[:, rows], codes[rows]
        together = level[:, :, None] == level[:, None, :]
        whole += np.einsum("aij,ab,bil->ijl", own, T @ T.T, own, optimize=True) * together
        parts.append(np.einsum("aij,rab,bil->rijl", own, dG, own, optimize=True) * together[None])
    return whole, np.concatenate(parts)
