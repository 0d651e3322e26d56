"""The parts of rows whose residuals are correlated or have different variances.

As in `deletion`, with ``V = R + Z G Z'``; whitening would mix the rows that are to be left out, so
that they are kept as they are and ``V^-1`` is known by its products.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from mixedfit.arrays import Array, IntArray
from mixedfit.block_inverse import BlockInverse
from mixedfit.errors import ModelError
from mixedfit.fit import Fit
from mixedfit.marginal import solve_marginal
from mixedfit.residual_likelihood import ResidualEvaluation
from mixedfit.working import WorkingRows

__all__ = [
    "RowsInverse",
    "correlated_blocks",
    "correlated_point",
    "diagonals",
    "uncorrelated_rows",
]

# Rows times rows of the largest block beyond which its inverse takes too long.
_MOST = 2**31
# Numbers held at once.
_ROOM = 2**23


def correlated_point(fit: Fit) -> ResidualEvaluation | None:
    """The optimum of a fit whose residuals are correlated; None for other fits."""
    point = fit.evaluation
    if isinstance(point, ResidualEvaluation) and point.problem.residual.groups is not None:
        return point
    return None


def uncorrelated_rows(fit: Fit) -> WorkingRows:
    """Working rows whose residuals have variance one, of a fit without residual correlation."""
    point = fit.evaluation
    if not isinstance(point, ResidualEvaluation):
        return fit.rows
    rows, scale = point.problem.rows.rows, 1.0 / point.whitened.whitening.sd
    root = scale if rows.root_weights is None else scale * rows.root_weights
    Z = tuple(own * scale for own in rows.Z)
    return replace(rows, X=rows.X * scale, y=rows.y * scale, Z=Z, root_weights=root)


class RowsInverse(BlockInverse):
    """``V^-1`` of the working rows of a fit with a residual structure.

    Parameters
    ----------
    fit : Fit

    Raises
    ------
    ModelError
        If too many rows are correlated with each other.
    """

    def __init__(self, fit: Fit, point: ResidualEvaluation) -> None:
        self.fit = fit
        root = point.problem.rows.rows.root_weights
        self.root = np.ones(fit.n) if root is None else root
        super().__init__(_components(point))
        if self.width * self.q > _MOST:
            raise ModelError(
                f"{self.width} rows are correlated with each other, directly or through others: "
                f"that is too many to leave out one by one of {self.q} with a residual structure"
            )

    def multiply(self, right: Array) -> Array:
        """``V^-1`` times each row of ``right``, (m, n) to (m, n), relative to ``sigma^2``."""
        solved = solve_marginal(self.fit, right / self.root)
        return self.fit.estimate.sigma**2 * solved / self.root


def _components(point: ResidualEvaluation) -> IntArray:
    """Sets of rows that no level and no residual group joins."""
    rows, groups = point.problem.rows.rows, point.problem.residual.groups
    n = start = len(rows.y)
    owners = []
    for codes in [*rows.codes, *([] if groups is None else [groups.codes])]:
        owners.append(codes.astype(np.int64) + start)
        start += int(codes.max()) + 1
    if not owners:
        return np.arange(n)
    edges = (np.tile(np.arange(n), len(owners)), np.concatenate(owners))
    graph = sparse.coo_array((np.ones(len(edges[0]), dtype=bool), edges), shape=(start, start))
    joined = connected_components(graph.tocsr(), directed=False)[1][:n]
    return np.unique(joined, return_inverse=True)[1]


def diagonals(point: ResidualEvaluation, inverse: RowsInverse) -> tuple[Array, Array, Array]:
    """Diagonals of ``V^-1``, ``R V^-1`` and ``R V^-1 R``, three of shape (n,)."""
    whitening = point.whitened.whitening
    N, RN, RNR = (np.empty(inverse.q) for _ in range(3))
    step = max(1, _ROOM // inverse.q)
    for start in range(0, inverse.width, step):
        stop = min(start + step, inverse.width)
        here = np.flatnonzero((inverse.place >= start) & (inverse.place < stop))
        own = (inverse.place[here] - start, here)
        probes = inverse.probes(start, stop)
        N[here] = inverse.multiply(probes)[own]
        moved = whitening.multiply(probes)
        solved = inverse.multiply(moved)
        RN[here] = solved[own]
        sums = [np.bincount(inverse.component, row) for row in moved * solved]
        RNR[here] = np.array(sums)[own[0], inverse.component[here]]
    return N, RN, RNR


def correlated_blocks(
    inverse: RowsInverse, codes: IntArray, m: int
) -> Iterator[tuple[IntArray, IntArray, Array]]:
    """Levels of one size, their rows (B, r), and ``V^-1`` among those, (B, r, r)."""
    order = np.argsort(codes, kind="stable")
    counts = np.bincount(codes, minlength=m)
    starts = np.cumsum(counts) - counts
    for size in np.unique(counts):
        members = np.flatnonzero(counts == size)
        step = max(1, _ROOM // int(size) ** 2)
        for groups in np.split(members, np.arange(step, len(members), step)):
            rows = order[starts[groups][:, None] + np.arange(size)]
            pair = np.broadcast_arrays(rows[:, :, None], rows[:, None, :])
            yield groups, rows, inverse.entries(*pair)
