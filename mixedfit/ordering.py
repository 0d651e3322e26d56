"""Which levels of which grouping factor are eliminated together, and in which order.

The largest factor goes first: its levels never share a row. After that a batch is any set of levels
that do not meet each other, directly or through a level eliminated before: all of the next factor
when the first is nested in it, an independent set of little-connected levels when big factors cross
sparsely. What is left when elimination stops paying is the *tail*, one dense matrix.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from mixedfit.arrays import BoolArray, IntArray
from mixedfit.crossproducts import CrossProducts

__all__ = ["Batch", "Ordering", "order_levels"]

# A tail of this order is cheaper than one more batch.
_SMALL_TAIL = 64
# Share of connected pairs above which sparse elimination no longer pays.
_DENSE_SHARE = 0.3
# Largest number of products (levels times squared number of columns met) of one padded batch.
_LARGEST_BATCH = 30_000_000


@dataclass(frozen=True)
class Batch:
    """Levels of one factor eliminated at once.

    Attributes
    ----------
    factor : int
    levels : int array of shape (J,), increasing
    neighbours : csr_array of shape (J, N) or None
        Which of the N levels of all other factors each one meets when its turn comes; None in the
        tail.
    """

    factor: int
    levels: IntArray
    neighbours: sparse.csr_array | None = None


@dataclass(frozen=True)
class Ordering:
    """The order of elimination.

    Attributes
    ----------
    batches : tuple of Batch
        The first is a whole factor; none where all factors are coupled.
    tail : tuple of Batch
        What is left, by factor.
    others : tuple of int
        All factors but the first, in the order in which their levels are numbered together.
    offsets : int array
        Where each of the others starts in that numbering, and its end.
    """

    batches: tuple[Batch, ...]
    tail: tuple[Batch, ...]
    others: tuple[int, ...]
    offsets: IntArray


def order_levels(products: CrossProducts) -> Ordering:
    """Choose the order of elimination from the pattern alone.

    Coupled factors, whose own levels meet, wait for the tail.
    """
    sizes = [factor.n_levels for factor in products.factors]
    k = [factor.k for factor in products.factors]
    free = [f for f in range(len(sizes)) if f not in products.coupled]
    if not free:
        tail = tuple(Batch(f, np.arange(J)) for f, J in enumerate(sizes))
        return Ordering((), tail, tuple(range(len(sizes))), np.cumsum([0, *sizes]))
    first = max(free, key=lambda f: sizes[f] * k[f])
    others = tuple(f for f in range(len(sizes)) if f != first)
    offsets = np.cumsum([0] + [sizes[f] for f in others])
    every = np.arange(sizes[first])
    met = sparse.hstack([_pattern(products.pair(first, g)[0, 0]) for g in others], format="csr")
    batches = [Batch(first, every, met)]
    factor_of = np.repeat(others, np.diff(offsets))
    weight = np.array(k)[factor_of]
    alive = np.arange(offsets[-1])
    if weight.sum() > _SMALL_TAIL and _likely_sparse(met):
        graph = _graph_of_others(products, met, others)
        waiting = np.isin(factor_of, list(products.coupled))
        alive = _eliminate(graph, factor_of, weight, offsets, batches, waiting)
    tail = tuple(
        Batch(f, alive[factor_of[alive] == f] - offsets[i])
        for i, f in enumerate(others)
        if np.any(factor_of[alive] == f)
    )
    return Ordering(tuple(batches), tail, others, offsets)


def _pattern(M: sparse.csr_array) -> sparse.csr_array:
    return sparse.csr_array((np.ones(M.nnz, dtype=np.int8), M.indices, M.indptr), shape=M.shape)


def _likely_sparse(met: sparse.csr_array) -> bool:
    """Whether random fill by these levels would leave most pairs of the others unconnected."""
    degree = np.diff(met.indptr).astype(float)
    share = 1.0 - np.exp(-(degree * (degree - 1.0)).sum() / met.shape[1] ** 2)
    return bool(share < _DENSE_SHARE)


def _graph_of_others(
    products: CrossProducts, met: sparse.csr_array, others: tuple[int, ...]
) -> sparse.csr_array:
    """Which levels of the other factors meet once the first is gone, the diagonal included."""
    fill = met.T.astype(np.int32) @ met.astype(np.int32)
    direct = sparse.block_array(
        [
            [
                _own_pattern(products, f)
                if f == g
                else _pattern(products.pair(f, g)[0, 0]).astype(np.int32)
                for g in others
            ]
            for f in others
        ]
    )
    return _pattern((fill + direct).tocsr())


def _own_pattern(products: CrossProducts, f: int) -> sparse.csr_array:
    own = sparse.eye_array(products.factors[f].n_levels, dtype=np.int32, format="csr")
    if f in products.coupled:
        own = own + _pattern(products.pairs[f, f][0, 0]).astype(np.int32)
    return own


def _eliminate(
    graph: sparse.csr_array,
    factor_of: IntArray,
    weight: IntArray,
    offsets: IntArray,
    batches: list[Batch],
    waiting: BoolArray,
) -> IntArray:
    """Take batch after batch off the graph, appending them; returns the levels left over.

    Levels that are ``waiting`` are left.
    """
    alive = np.arange(graph.shape[0])
    start_of = dict(zip(dict.fromkeys(factor_of.tolist()), offsets.tolist(), strict=False))
    while weight[alive].sum() > _SMALL_TAIL:
        n = len(alive)
        if graph.nnz > _DENSE_SHARE * n * n or waiting[alive].all():
            break
        chosen = _independent(graph, factor_of[alive], waiting[alive])
        columns = (_pattern(graph[chosen]).astype(np.int64) @ weight[alive]).max()
        if len(chosen) < 0.02 * n or len(chosen) * columns**2 > _LARGEST_BATCH:
            break
        factor = int(factor_of[alive[chosen]][0])
        rest = np.setdiff1d(np.arange(n), chosen)
        met = graph[chosen][:, rest]
        to_all = sparse.coo_array(met)
        neighbours = sparse.csr_array(
            (np.ones(met.nnz, dtype=np.int8), (to_all.coords[0], alive[rest][to_all.coords[1]])),
            shape=(len(chosen), len(factor_of)),
        )
        batches.append(Batch(factor, alive[chosen] - start_of[factor], neighbours))
        wide = met.astype(np.int32)
        graph = _pattern((graph[rest][:, rest].astype(np.int32) + wide.T @ wide).tocsr())
        alive = alive[rest]
    return alive


def _independent(graph: sparse.csr_array, factor_of: IntArray, waiting: BoolArray) -> IntArray:
    """An independent set of levels of one factor, the least connected ones first."""
    degree = np.diff(graph.indptr) - 1
    cap = max(4, 2 * int(degree[~waiting].min()))
    low = (degree <= cap) & ~waiting
    factor = int(np.bincount(factor_of[low]).argmax())
    candidates = np.flatnonzero(low & (factor_of == factor))
    among = graph[candidates][:, candidates].tocoo()
    off = among.coords[0] != among.coords[1]
    if not off.any():
        return candidates
    # A candidate goes in when it precedes all its neighbours: by degree, then at random.
    random = np.random.default_rng(0).permutation(len(candidates))
    rank = np.empty(len(candidates), dtype=np.int64)
    rank[np.lexsort((random, degree[candidates]))] = np.arange(len(candidates))
    beaten = np.zeros(len(candidates), dtype=bool)
    rows, columns = among.coords[0][off], among.coords[1][off]
    beaten[rows[rank[rows] > rank[columns]]] = True
    return candidates[~beaten]
