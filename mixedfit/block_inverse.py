"""Entries of the inverse of a large matrix that is block diagonal, a few where they are needed.

The matrices are ``M = (G^-1 + Z'Z)^-1`` over the random effects and ``V^-1`` over rows. Either is
known by its products with vectors, and block diagonal over sets that no level joins: one vector
then serves a place in every block, and as many products as the largest block has places give all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from mixedfit.arrays import Array, IntArray
from mixedfit.elimination import Eliminated
from mixedfit.working import WorkingRows

__all__ = ["BlockInverse", "EffectsInverse"]

# Numbers held at once.
_ROOM = 2**25


class BlockInverse(ABC):
    """A symmetric inverse, block diagonal.

    Parameters
    ----------
    component : int array of shape (q,)
        Which block each place of the matrix belongs to.
    """

    def __init__(self, component: IntArray) -> None:
        self.component = component
        order = np.argsort(component, kind="stable")
        counts = np.bincount(component)
        self.place = np.empty(len(component), dtype=np.int64)
        self.place[order] = np.arange(len(component)) - np.repeat(
            np.cumsum(counts) - counts, counts
        )
        self.width = int(counts.max())

    @property
    def q(self) -> int:
        """Order of the matrix."""
        return len(self.component)

    @abstractmethod
    def multiply(self, right: Array) -> Array:
        """The matrix times each row of ``right``, (m, q) to (m, q)."""

    def probes(self, start: int, stop: int) -> Array:
        """Rows that hold a one at the places from start to stop of every block, one each."""
        right = np.zeros((stop - start, self.q))
        here = np.flatnonzero((self.place >= start) & (self.place < stop))
        right[self.place[here] - start, here] = 1.0
        return right

    @cached_property
    def _table(self) -> Array:
        return self.multiply(self.probes(0, self.width))

    def entries(self, first: IntArray, second: IntArray) -> Array:
        """Entries of the matrix for arrays of places of one shape."""
        together = self.component[first] == self.component[second]
        if self.width * self.q <= _ROOM:
            return self._table[self.place[first], second] * together
        flat, other = first.ravel(), second.ravel()
        place = self.place[flat]
        order = np.argsort(place, kind="stable")
        out = np.empty(len(flat))
        step = max(1, _ROOM // self.q)
        for start in range(0, self.width, step):
            stop = min(start + step, self.width)
            mine = order[slice(*np.searchsorted(place[order], [start, stop]))]
            if len(mine):
                made = self.multiply(self.probes(start, stop))
                out[mine] = made[place[mine] - start, other[mine]]
        return out.reshape(first.shape) * together


class EffectsInverse(BlockInverse):
    """``M = (G^-1 + Z'Z)^-1``, effects numbered factor by factor, component by component.

    Parameters
    ----------
    eliminated : Eliminated
    rows : WorkingRows
    """

    def __init__(self, eliminated: Eliminated, rows: WorkingRows) -> None:
        self.eliminated = eliminated
        self.shapes = [(len(Z), J) for Z, J in zip(rows.Z, rows.n_levels, strict=True)]
        self.offsets = np.concatenate([[0], np.cumsum([k * J for k, J in self.shapes])])
        own = zip(_components(rows), self.shapes, strict=True)
        super().__init__(np.concatenate([np.tile(labels, k) for labels, (k, _) in own]))

    def columns(self, rows: WorkingRows) -> IntArray:
        """The effects each row meets, shape (n, K)."""
        parts = [
            offset + a * J + codes
            for offset, (k, J), codes in zip(
                self.offsets[:-1], self.shapes, rows.codes, strict=True
            )
            for a in range(k)
        ]
        return np.stack(parts, axis=1)

    def multiply(self, right: Array) -> Array:
        """M times each row of ``right``, (m, q) to (m, q)."""
        m = len(right)
        split = np.split(right, self.offsets[1:-1], axis=1)
        R = [own.reshape(m, k, J) for own, (k, J) in zip(split, self.shapes, strict=True)]
        return np.concatenate([x.reshape(m, -1) for x in self.eliminated.solve(R)], axis=1)


def _components(rows: WorkingRows) -> list[IntArray]:
    """Connected component of each level of each factor."""
    if len(rows.codes) == 1:
        return [np.arange(rows.n_levels[0])]
    starts = np.concatenate([[0], np.cumsum(rows.n_levels)])
    total = int(starts[-1])
    edges = [(rows.codes[0], starts[f] + rows.codes[f]) for f in range(1, len(rows.codes))]
    a, b = (np.concatenate(side) for side in zip(*edges, strict=True))
    graph = sparse.coo_array((np.ones(len(a), dtype=bool), (a, b)), shape=(total, total))
    _, labels = connected_components(graph.tocsr(), directed=False)
    return np.split(labels, starts[1:-1])
