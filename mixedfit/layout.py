"""Where every cross-product lives during an elimination.

The numbers of the first batch never change and stay where they are. All later ones live in two
arrays that each evaluation copies and eliminates in place: the *store*, which holds for each later
batch its diagonal blocks (k, k, J) and its products with columns later still (m, k, J), then the
tail's square matrix; and ``E`` of shape (p + 1, q), the later columns' products with [X y]. Later
columns are numbered batch by batch, within a batch component by component: column ``a * J + i`` is
component a of the i-th level.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from mixedfit.arrays import Array, IntArray
from mixedfit.couplings import Coupling, Dense, Padded, Paired, Scatter
from mixedfit.crossproducts import CrossProducts
from mixedfit.ordering import Batch, Ordering, order_levels
from mixedfit.tail import Tail, TailBlock

__all__ = ["Layout", "Places", "Stage"]

# A multiplication of a dense product costs about this share of one in a sparse map.
_DENSE_ADVANTAGE = 0.1
# Padded batches with at most this many products a level need no sparse map.
_FEW_COLUMNS = 6


@dataclass(frozen=True)
class Stage:
    """One batch of levels, laid out.

    Attributes
    ----------
    factor : int
    levels : int array of shape (J,)
    k : int
    coupling : Coupling or None
    ZZ, E : arrays of shape (k, k, J) and (p + 1, k, J), or None
        Constant cross-products of the first batch.
    store, columns : slice or None
        Where the store keeps ZZ, and E its columns, for later batches.
    """

    factor: int
    levels: IntArray
    k: int
    coupling: Coupling | None
    ZZ: Array | None = None
    E: Array | None = None
    store: slice | None = None
    columns: slice | None = None

    @property
    def J(self) -> int:
        """Number of levels."""
        return len(self.levels)


@dataclass(frozen=True)
class Places:
    """Where a layout keeps each number of the cross-products.

    Attributes
    ----------
    own : dict of int arrays of shape (k, k, J)
        Places in the store of the products at each level of a later factor.
    pairs : dict
        Places in the store of the entries of a pair of later factors, by components.
    first : dict of lists of int arrays
        Places among the first batch's entries of those of its products with a later factor, by
        component of the latter.
    """

    own: dict[int, IntArray]
    pairs: dict[tuple[int, int], dict[tuple[int, int], IntArray]]
    first: dict[int, list[IntArray]]

    def first_data(self, f: int, products: CrossProducts) -> Array:
        """The first batch's products with later columns, (k, nnz), for its factor f."""
        size = sum(len(where) for places in self.first.values() for where in places)
        data = np.empty((products.factors[f].k, size))
        for g, places in self.first.items():
            pair = products.pairs[min(f, g), max(f, g)]
            for a, row in enumerate(data):
                for b, where in enumerate(places):
                    row[where] = pair[(a, b) if f < g else (b, a)].data
        return data


@dataclass(frozen=True)
class Layout:
    """An elimination laid out.

    Attributes
    ----------
    stages : tuple of Stage
    tail : Tail or None
    tail_store, tail_columns : slice
        Where the store and E keep the tail's numbers.
    store : array of shape (size,)
        Initial numbers.
    E : array of shape (p + 1, q)
        Initial numbers.
    places_of : Places or None
        Where the cross-products are, kept for other numbers of the same pattern.
    """

    stages: tuple[Stage, ...]
    tail: Tail | None
    tail_store: slice
    tail_columns: slice
    store: Array
    E: Array
    places_of: Places | None = None

    @classmethod
    def of(cls, products: CrossProducts, refreshable: bool = False) -> Layout:
        """Lay out the elimination of all random effects.

        Parameters
        ----------
        products : CrossProducts
        refreshable : bool
            Whether other numbers of the same pattern will follow (`with_products`).
        """
        if not products.factors or (len(products.factors) == 1 and not products.coupled):
            stages = tuple(
                Stage(0, np.arange(sums.n_levels), sums.k, None, sums.ZZ, sums.ZE)
                for sums in products.factors
            )
            nothing = np.zeros((products.p + 1, 0))
            none = slice(0, 0)
            return cls(stages, None, none, none, np.zeros(0), nothing, Places({}, {}, {}))
        return _Builder(products, order_levels(products), refreshable).build()

    def with_response(self, products: CrossProducts) -> Layout:
        """The same layout for cross-products that differ only in the response."""
        stages = self.stages
        if stages:
            first = replace(stages[0], E=products.factors[stages[0].factor].ZE)
            stages = (first, *stages[1:])
        return replace(self, stages=stages, E=self._later_E(products))

    def _later_E(self, products: CrossProducts) -> Array:
        E = np.empty((products.p + 1, self.E.shape[1]))
        for factor, levels, k, columns in self.places():
            E[:, columns] = (
                products.factors[factor].ZE[:, :, levels].reshape(len(E), k * len(levels))
            )
        return E

    def with_products(self, products: CrossProducts) -> Layout:
        """The same layout for cross-products of the same pattern."""
        places = self.places_of
        assert places is not None
        stages = self.stages
        if stages:
            sums = products.factors[stages[0].factor]
            first = replace(stages[0], ZZ=sums.ZZ, E=sums.ZE)
            if first.coupling is not None:
                data = places.first_data(first.factor, products)
                first = replace(first, coupling=first.coupling.with_data(data))
            stages = (first, *stages[1:])
        store = np.zeros(len(self.store))
        for g, where in places.own.items():
            store[where] = products.factors[g].ZZ
        for pair, components in places.pairs.items():
            for ab, targets in components.items():
                store[targets] = products.pairs[pair][ab].data
        if self.tail is not None and self.tail.full:
            mirror(store[self.tail_store], self.tail.q)
        return replace(self, stages=stages, store=store, E=self._later_E(products))

    def places(self) -> Iterator[tuple[int, IntArray, int, slice]]:
        """Factor, levels, k and columns of E of every later batch and block of the tail."""
        for stage in self.stages:
            if stage.columns is not None:
                yield stage.factor, stage.levels, stage.k, stage.columns
        for block in self.tail.blocks if self.tail else ():
            start = self.tail_columns.start
            columns = slice(start + block.columns.start, start + block.columns.stop)
            yield block.factor, block.levels, block.k, columns


def mirror(lower: Array, q: int) -> None:
    """Complete a (q, q) matrix, given flat, from its lower triangle, in place."""
    matrix = lower.reshape(q, q)
    matrix[...] = np.tril(matrix) + np.tril(matrix, -1).T


class _Builder:
    """Numbers the later columns and the store, then fills them."""

    def __init__(
        self, products: CrossProducts, ordering: Ordering, refreshable: bool = False
    ) -> None:
        self.refreshable = refreshable
        self.own_places: dict[int, IntArray] = {}
        self.pair_places: dict[tuple[int, int], dict[tuple[int, int], IntArray]] = {}
        self.first_places: dict[int, list[IntArray]] = {}
        self.products = products
        self.ordering = ordering
        self.k = [factor.k for factor in products.factors]
        self.later = [*ordering.batches[1:], *ordering.tail]
        self.in_tail = [False] * (len(self.later) - len(ordering.tail)) + [True] * len(
            ordering.tail
        )
        n_nodes = int(ordering.offsets[-1])
        self.batch_of = np.zeros(n_nodes, dtype=np.int32)
        self.position = np.zeros(n_nodes, dtype=np.int64)
        starts = [0]
        for i, batch in enumerate(self.later):
            nodes = self._nodes(batch.factor, batch.levels)
            self.batch_of[nodes] = i
            self.position[nodes] = np.arange(len(nodes))
            starts.append(starts[-1] + self.k[batch.factor] * len(nodes))
        self.starts = np.array(starts, dtype=np.int64)
        self.sizes = np.array([len(batch.levels) for batch in self.later], dtype=np.int64)
        self.q = starts[-1]

    def _nodes(self, factor: int, levels: IntArray) -> IntArray:
        return self.ordering.offsets[self.ordering.others.index(factor)] + levels

    def _column(self, nodes: IntArray, component: IntArray | int) -> IntArray:
        """Numbers of the later columns of some levels."""
        batch = self.batch_of[nodes]
        return self.starts[batch] + component * self.sizes[batch] + self.position[nodes]

    def build(self) -> Layout:
        n_stages = len(self.ordering.batches[1:])
        tail_columns = slice(int(self.starts[n_stages]), self.q)
        met = [self._columns_met(batch) for batch in self.ordering.batches[1:]]
        size = 0
        self.zz_store, self.a_store = [], []
        for batch, columns in zip(self.ordering.batches[1:], met, strict=True):
            k, J = self.k[batch.factor], len(batch.levels)
            self.zz_store.append(slice(size, size + k * k * J))
            self.a_store.append(slice(size + k * k * J, size + k * J * (k + len(columns))))
            size = self.a_store[-1].stop
        q_tail = tail_columns.stop - tail_columns.start
        self.tail_store = slice(size, size + q_tail * q_tail)
        self.tail_columns = tail_columns
        self._index_slots(met)
        self.full = False
        stages = [self._first_stage()] if self.ordering.batches else []
        store, E = self._initial()
        for i, (batch, columns) in enumerate(zip(self.ordering.batches[1:], met, strict=True)):
            k = self.k[batch.factor]
            coupling = None
            if len(columns):
                scatter = self._scatter(columns)
                coupling = Padded(columns, scatter, k, location=self.a_store[i])
            span = slice(int(self.starts[i]), int(self.starts[i + 1]))
            stages.append(
                Stage(batch.factor, batch.levels, k, coupling, store=self.zz_store[i], columns=span)
            )
        tail = self._tail() if self.ordering.tail else None
        places = None
        if self.refreshable:
            places = Places(self.own_places, self.pair_places, self.first_places)
        return Layout(tuple(stages), tail, self.tail_store, tail_columns, store, E, places)

    def _tail(self) -> Tail:
        blocks, start = [], 0
        for batch in self.ordering.tail:
            blocks.append(TailBlock(batch.factor, batch.levels, self.k[batch.factor], start))
            start = blocks[-1].columns.stop
        return Tail(tuple(blocks), self.full)

    def _expanded(self, neighbours: sparse.csr_array) -> tuple[IntArray, IntArray]:
        """Level and later column of every meeting, all components, by level then column."""
        coo = neighbours.tocoo()
        rows, nodes = coo.coords
        k = np.array(self.k)[np.array([b.factor for b in self.later])[self.batch_of[nodes]]]
        rows, nodes = np.repeat(rows, k), np.repeat(nodes, k)
        component = np.arange(len(rows)) - np.repeat(np.cumsum(k) - k, k)
        columns = self._column(nodes, component)
        order = np.lexsort((columns, rows))
        return rows[order], columns[order]

    def _columns_met(self, batch: Batch) -> IntArray:
        """Later columns met by each level, shape (m, J), padded with -1."""
        assert batch.neighbours is not None
        rows, columns = self._expanded(batch.neighbours)
        J = len(batch.levels)
        count = np.bincount(rows, minlength=J)
        out = np.full((int(count.max(initial=0)), J), -1, dtype=np.int64)
        slot = np.arange(len(rows)) - np.repeat(np.cumsum(count) - count, count)
        out[slot, rows] = columns
        return out

    def _index_slots(self, met: list[IntArray]) -> None:
        """Sorted keys (level, column met) of each later batch, and the slot of each."""
        self.slots = []
        for columns in met:
            slot, level = np.nonzero(columns >= 0)
            key = level * self.q + columns[slot, level]
            order = np.argsort(key)
            self.slots.append((key[order], slot[order]))

    def _locate(self, c1: IntArray, c2: IntArray) -> IntArray:
        """Where the store keeps the product of two later columns.

        Of two columns of one level the order matters (both products are kept), else it does not.
        """
        b1 = np.searchsorted(self.starts, c1, side="right") - 1
        b2 = np.searchsorted(self.starts, c2, side="right") - 1
        both_in_tail = self._is_tail(b1) & self._is_tail(b2)
        swap = np.where(both_in_tail, c1 < c2, b1 > b2)
        c1, c2 = np.where(swap, c2, c1), np.where(swap, c1, c2)
        b1, b2 = np.where(swap, b2, b1), np.where(swap, b1, b2)
        out = np.empty(len(c1), dtype=np.int64)
        tail = self._is_tail(b1)
        start = self.tail_columns.start
        q_tail = self.tail_columns.stop - start
        out[tail] = self.tail_store.start + (c1[tail] - start) * q_tail + (c2[tail] - start)
        for i in np.unique(b1[~tail]):
            here = np.flatnonzero(b1 == i)
            out[here] = self._locate_in_batch(int(i), c1[here], c2[here], b2[here] == i)
        return out

    def _is_tail(self, batch: IntArray) -> IntArray:
        return np.asarray(self.in_tail)[batch]

    def _locate_in_batch(self, i: int, c1: IntArray, c2: IntArray, own: IntArray) -> IntArray:
        k, J = self.k[self.later[i].factor], int(self.sizes[i])
        a, level = np.divmod(c1 - self.starts[i], J)
        b = (c2 - self.starts[i]) // J
        out = self.zz_store[i].start + (a * k + b) * J + level
        keys, slots = self.slots[i]
        other = np.flatnonzero(~own)
        found = np.searchsorted(keys, level[other] * self.q + c2[other])
        out[other] = self.a_store[i].start + (slots[found] * k + a[other]) * J + level[other]
        return out

    def _pairs(self, c1: IntArray, c2: IntArray) -> IntArray:
        """Which pairs of columns have a place of their own in the store: one order, or both."""
        b1 = np.searchsorted(self.starts, c1, side="right") - 1
        same_level = (c1 - c2) % np.maximum(self.sizes[b1], 1) == 0
        same_batch = b1 == np.searchsorted(self.starts, c2, side="right") - 1
        both = same_batch & same_level & ~self._is_tail(b1)
        return both | (c1 >= c2)

    def _scatter(self, columns: IntArray) -> Scatter:
        """From products of pairs of columns met, (m, m, J), to the store."""
        m, J = columns.shape
        first, second, level = np.nonzero((columns[:, None] >= 0) & (columns[None] >= 0))
        c1, c2 = columns[first, level], columns[second, level]
        keep = self._pairs(c1, c2)
        first, second, level = first[keep], second[keep], level[keep]
        sources = (first * m + second) * J + level
        return Scatter(self._locate(c1[keep], c2[keep]), sources, m * m * J)

    def _first_stage(self) -> Stage:
        """The first batch; notes whether it fills both triangles of the tail."""
        batch = self.ordering.batches[0]
        sums = self.products.factors[batch.factor]
        k = sums.k
        stage = Stage(batch.factor, batch.levels, k, None, sums.ZZ, sums.ZE)
        if batch.neighbours is None:
            return stage
        blocks = self._first_blocks(batch)
        coupling = self._first_coupling(batch, blocks, k)
        self.full = isinstance(coupling, Dense)
        if self.refreshable:
            self._note_first(batch, blocks[0])
        return Stage(batch.factor, batch.levels, k, coupling, sums.ZZ, sums.ZE)

    def _note_first(self, batch: Batch, block: sparse.csr_array) -> None:
        """Where among the first batch's entries each product with another factor goes."""
        level = np.repeat(np.arange(block.shape[0], dtype=np.int64), np.diff(block.indptr))
        keys = level * self.q + block.indices
        for g in self.ordering.others:
            pair = self.products.pairs[min(batch.factor, g), max(batch.factor, g)][0, 0].tocoo()
            own, other = pair.coords if batch.factor < g else pair.coords[::-1]
            self.first_places[g] = [
                np.searchsorted(keys, own.astype(np.int64) * self.q + column)
                for column in (self._column(self._nodes(g, other), b) for b in range(self.k[g]))
            ]

    def _first_blocks(self, batch: Batch) -> list[sparse.csr_array]:
        """``A[a]``, sparse (J, q): products of component a at each level with all later columns."""
        out = []
        for a in range(self.k[batch.factor]):
            rows, columns, values = [], [], []
            for g in self.ordering.others:
                pair = self.products.pair(batch.factor, g)
                for b in range(self.k[g]):
                    coo = pair[a, b].tocoo()
                    rows.append(coo.coords[0])
                    columns.append(self._column(self._nodes(g, coo.coords[1]), b))
                    values.append(coo.data)
            coords = (np.concatenate(rows), np.concatenate(columns).astype(np.int32))
            shape = (len(batch.levels), self.q)
            block = sparse.coo_array((np.concatenate(values), coords), shape=shape).tocsr()
            block.sort_indices()
            out.append(block)
        return out

    def _first_coupling(self, batch: Batch, blocks: list[sparse.csr_array], k: int) -> Coupling:
        count = np.diff(blocks[0].indptr)
        J, m = len(count), int(count.max(initial=0))
        in_pairs = float((count * (count + 1.0) / 2.0).sum()) * k * (k + 1) / 2
        only_tail = len(self.ordering.batches) == 1
        if m <= _FEW_COLUMNS:
            columns = np.full((m, J), -1, dtype=np.int64)
            A = np.zeros((m, k, J))
            level = np.repeat(np.arange(J), count)
            slot = np.arange(len(level)) - np.repeat(blocks[0].indptr[:-1], count)
            columns[slot, level] = blocks[0].indices
            for a, block in enumerate(blocks):
                A[slot, a, level] = block.data
            entries = (slot, level) if self.refreshable else None
            return Padded(columns, self._scatter(columns), k, A=A, entries=entries)
        if only_tail and k * J * float(self.q) ** 2 * _DENSE_ADVANTAGE < in_pairs:
            level = np.repeat(np.arange(J), count)
            at = (level, blocks[0].indices) if self.refreshable else None
            return Dense(np.stack([block.toarray() for block in blocks]), at)
        return self._paired(blocks, count)

    def _paired(self, blocks: list[sparse.csr_array], count: IntArray) -> Paired:
        """All pairs of entries in each row, the later column first."""
        starts, columns = blocks[0].indptr[:-1], blocks[0].indices
        level = np.repeat(np.arange(len(count), dtype=np.int32), count)
        entry = np.arange(len(columns), dtype=np.int32)
        # Pairs (entry, earlier entry of the row, itself included).
        pairs = entry - starts[level] + 1
        first = np.repeat(entry, pairs)
        skipped = np.cumsum(pairs, dtype=np.int64) - pairs - starts[level]
        second = np.arange(len(first), dtype=np.int64)
        second -= np.repeat(skipped, pairs)
        if len(self.ordering.batches) == 1:
            targets = columns[first].astype(np.int64) * self.q + columns[second]
        else:
            mirrored = np.flatnonzero(
                (first != second) & self._pairs(columns[second], columns[first])
            )
            both = np.concatenate([first, second[mirrored]])
            second = np.concatenate([second, first[mirrored]])
            by_level = np.argsort(level[both], kind="stable")
            first, second = both[by_level], second[by_level]
            targets = self._locate(
                columns[first].astype(np.int64), columns[second].astype(np.int64)
            )
        size = self.tail_store.stop
        return Paired(blocks, level[first], first, second, targets, size, self.refreshable)

    def _initial(self) -> tuple[Array, Array]:
        """The store and E before any elimination."""
        products, others = self.products, self.ordering.others
        store = np.zeros(self.tail_store.stop)
        E = np.zeros((products.p + 1, self.q))
        for g in others:
            sums = products.factors[g]
            nodes = self._nodes(g, np.arange(sums.n_levels))
            columns = [self._column(nodes, a) for a in range(sums.k)]
            for a, column in enumerate(columns):
                E[:, column] = sums.ZE[:, a]
            places = [[self._locate(one, other) for other in columns] for one in columns]
            self.own_places[g] = np.array(places)
            store[self.own_places[g]] = sums.ZZ
        for (g, h), pair in products.pairs.items():
            if g not in others or h not in others:
                continue
            self.pair_places[g, h] = {}
            for (a, b), M in pair.items():
                coo = M.tocoo()
                c1 = self._column(self._nodes(g, coo.coords[0]), a)
                c2 = self._column(self._nodes(h, coo.coords[1]), b)
                self.pair_places[g, h][a, b] = self._locate(c1, c2)
                store[self.pair_places[g, h][a, b]] = coo.data
        if self.full:
            mirror(store[self.tail_store], self.q)
        return store, E
