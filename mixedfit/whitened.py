"""Rows whitened by a residual structure and reduced to cross-products, and the way back.

With ``Var e = sigma^2 R(delta)`` the likelihood sees ``A'R^-1 A`` for the columns ``A = [Z X y]``
of the working rows. Whitening mixes the rows of one residual group, so that a whitened row belongs
to all levels met in its group. Rows are therefore put together in *cells*: sets of rows that hold
whole residual groups and within which only few levels of each factor occur. A cell keeps one column
a level and component, its *local columns*, zero in the rows of other levels; everything is then
dense in a cell, and cells of equal size are one batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from mixedfit.arrays import Array, BoolArray, IntArray
from mixedfit.crossproducts import CrossProducts, FactorSums, Pair, ProductsAdjoint
from mixedfit.frames import is_nested
from mixedfit.residual import Whitening
from mixedfit.working import WorkingRows

__all__ = ["WhitenedProducts", "WhitenedRows"]

# Filled-up rows for each row of data up to which cells are filled up to one size.
_LARGEST_WASTE = 1.5


@dataclass(frozen=True)
class _LocalFactor:
    """The local columns of one grouping factor.

    Attributes
    ----------
    k, J : int
        Columns a level, and levels.
    levels : int array of shape (L, G)
        Levels met in each of the G cells, -1 where a cell meets fewer than L.
    start : int
        Its first local column; component a of the l-th level is ``start + a * L + l``.
    """

    k: int
    J: int
    levels: IntArray
    start: int

    @property
    def L(self) -> int:
        """Levels a cell may meet."""
        return len(self.levels)

    @property
    def columns(self) -> slice:
        """Its local columns."""
        return slice(self.start, self.start + self.k * self.L)

    @cached_property
    def identity(self) -> bool:
        """Whether the cells are the levels, in their order."""
        return self.L == 1 and np.array_equal(self.levels[0], np.arange(self.J))

    @cached_property
    def valid(self) -> BoolArray:
        """Which places hold a level, shape (L, G)."""
        return self.levels >= 0

    @cached_property
    def _places(self) -> tuple[IntArray, IntArray]:
        return np.flatnonzero(self.valid), self.levels[self.valid]

    def to_levels(self, values: Array) -> Array:
        """Sums over the cells that meet a level: (..., L, G) to (..., J)."""
        if self.identity:
            return values[..., 0, :]
        places, levels = self._places
        flat = values.reshape(-1, self.levels.size)[:, places]
        out = np.array([np.bincount(levels, row, self.J) for row in flat])
        return out.reshape(*values.shape[:-2], self.J)

    def from_levels(self, values: Array) -> Array:
        """The numbers of the levels each cell meets: (..., J) to (..., L, G), zero elsewhere."""
        if self.identity:
            return values[..., None, :]
        return np.where(self.valid, values[..., self.levels], 0.0)


class _LocalPair:
    """Where products of two factors' local columns go among all pairs of their levels.

    Parameters
    ----------
    f, g : _LocalFactor
        The same one twice for the products of different levels of one factor.
    """

    def __init__(self, f: _LocalFactor, g: _LocalFactor) -> None:
        self.f, self.g = f, g
        both = f.valid[:, None] & g.valid[None]
        if f is g:
            both &= ~np.eye(f.L, dtype=bool)[:, :, None]
        self.places = np.flatnonzero(both)
        first = np.broadcast_to(f.levels[:, None], both.shape).reshape(-1)[self.places]
        second = np.broadcast_to(g.levels[None], both.shape).reshape(-1)[self.places]
        keys, self.entries = np.unique(first.astype(np.int64) * g.J + second, return_inverse=True)
        rows, columns = np.divmod(keys, g.J)
        self.indices = columns.astype(np.int32)
        self.indptr = np.searchsorted(rows, np.arange(f.J + 1)).astype(np.int32)
        self.shape = both.shape

    def reduce(self, gram: Array) -> Pair:
        """Sparse products of the levels, for every pair of components."""
        f, g = self.f, self.g
        values = gram[f.columns, g.columns].reshape(f.k, f.L, g.k, g.L, -1)
        out = {}
        for a in range(f.k):
            for b in range(g.k):
                own = values[a, :, b].reshape(-1)[self.places]
                data = np.bincount(self.entries, own, len(self.indices))
                out[a, b] = sparse.csr_array((data, self.indices, self.indptr), shape=(f.J, g.J))
        return out

    def spread(self, pair: Pair) -> Array:
        """The adjoint of `reduce`: the sparse numbers at each cell's local columns."""
        f, g = self.f, self.g
        out = np.zeros((f.k, f.L, g.k, g.L, self.shape[-1]))
        for (a, b), M in pair.items():
            own = np.zeros(self.shape)
            own.reshape(-1)[self.places] = M.data[self.entries]
            out[a, :, b] = own
        return out.reshape(f.k * f.L, g.k * g.L, -1)


class _Cells:
    """Rows put together in cells.

    Rows (m, n) are rearranged cell by cell. Where that wastes little, cells are filled up to one
    size with zeros; else cells of equal size are one batch.

    Parameters
    ----------
    codes : int array of shape (n,)
        Cell of each row.
    """

    def __init__(self, codes: IntArray) -> None:
        n, counts = len(codes), np.bincount(codes)
        self.G, largest = len(counts), int(counts.max())
        order = np.argsort(codes, kind="stable")
        starts = np.cumsum(counts) - counts
        self.batches: list[tuple[IntArray, IntArray, int]] = []
        self.padding: BoolArray | None = None
        if self.G * largest <= _LARGEST_WASTE * n:
            self.size: int | None = largest
            place = np.arange(largest) < counts[:, None]
            self.arranged = np.zeros(self.G * largest, dtype=order.dtype)
            self.arranged[place.reshape(-1)] = order
            self.padding = None if place.all() else ~place.reshape(-1)
            self.back = np.empty(n, dtype=order.dtype)
            self.back[order] = np.flatnonzero(place)
        else:
            self.size = None
            self.arranged, self.back = order, np.argsort(order)
            for size in np.unique(counts).tolist():
                cells = np.flatnonzero(counts == size)
                rows = starts[cells][:, None] + np.arange(size)
                self.batches.append((cells, rows.reshape(-1), size))
        self.in_order = self.padding is None and bool(np.all(np.diff(self.arranged) > 0))

    def arrange(self, V: Array) -> Array:
        """Rows (m, n) cell by cell."""
        if self.in_order:
            return V
        out = V[:, self.arranged]
        if self.padding is not None:
            out[:, self.padding] = 0.0
        return out

    def restore(self, V: Array) -> Array:
        """Rows cell by cell put back in their order, (m, n)."""
        return V if self.in_order else V[:, self.back]

    def gram(self, A: Array, B: Array) -> Array:
        """``A_g B_g'`` of each cell: arranged rows of l and m columns to (l, m, G)."""
        if self.size is not None:
            product = _cut(A, self.size) @ _cut(B, self.size).transpose(0, 2, 1)
            return np.ascontiguousarray(product.transpose(1, 2, 0))
        out = np.empty((len(A), len(B), self.G))
        for cells, rows, size in self.batches:
            product = _cut(A[:, rows], size) @ _cut(B[:, rows], size).transpose(0, 2, 1)
            out[:, :, cells] = product.transpose(1, 2, 0)
        return out

    def multiply(self, M: Array, B: Array) -> Array:
        """``M_g B_g`` of each cell: (l, m, G) and arranged rows of m columns to l columns."""
        if self.size is not None:
            product = M.transpose(2, 0, 1) @ _cut(B, self.size)
            return product.transpose(1, 0, 2).reshape(len(M), B.shape[1])
        out = np.empty((len(M), B.shape[1]))
        for cells, rows, size in self.batches:
            product = M[:, :, cells].transpose(2, 0, 1) @ _cut(B[:, rows], size)
            out[:, rows] = product.transpose(1, 0, 2).reshape(len(M), len(rows))
        return out


def _cut(V: Array, size: int) -> Array:
    """Rows (m, G * size) as one matrix a cell, (G, m, size)."""
    return V.reshape(len(V), V.shape[1] // size, size).transpose(1, 0, 2)


class WhitenedRows:
    """Working rows laid out to be whitened and reduced at any delta.

    Parameters
    ----------
    rows : WorkingRows
    groups : int array of shape (n,) or None
        Residual group of each row; None where whitening mixes no rows.
    """

    def __init__(self, rows: WorkingRows, groups: IntArray | None) -> None:
        self.rows = rows
        coupled = [groups is not None and not is_nested(groups, codes) for codes in rows.codes]
        if any(coupled):
            assert groups is not None
            cell_of = np.unique(groups, return_inverse=True)[1]
        else:
            cell_of = _combinations(rows.codes, rows.n_levels, len(rows.y))
        self.cells = _Cells(cell_of)
        self.factors: list[_LocalFactor] = []
        parts, start = [], 0
        for codes, J, Z in zip(rows.codes, rows.n_levels, rows.Z, strict=True):
            levels, slot = _met(codes, J, cell_of, self.cells.G)
            factor = _LocalFactor(len(Z), J, levels, start)
            local = np.zeros((len(Z), factor.L, len(codes)))
            local[:, slot, np.arange(len(codes))] = Z
            parts.append(local.reshape(-1, len(codes)))
            self.factors.append(factor)
            start = factor.columns.stop
        self.n_local = start
        self.columns = np.concatenate([*parts, rows.X, rows.y[None]])
        self.pairs = {
            (f, g): _LocalPair(own, other)
            for f, own in enumerate(self.factors)
            for g, other in enumerate(self.factors)
            if f < g or (f == g and own.L > 1)
        }

    def with_response(self, rows: WorkingRows) -> WhitenedRows:
        """The same layout for another response to the same rows."""
        out = WhitenedRows.__new__(WhitenedRows)
        out.__dict__.update(self.__dict__)
        out.rows = rows
        out.columns = self.columns.copy()
        out.columns[-1] = rows.y
        return out

    def at(self, whitening: Whitening) -> WhitenedProducts:
        """Whiten and reduce."""
        V = whitening.whiten(self.columns)
        local = self.cells.arrange(V)
        z, E = local[: self.n_local], V[self.n_local :]
        gram = self.cells.gram(z, local)
        factors = []
        for factor in self.factors:
            own = gram[factor.columns].reshape(factor.k, factor.L, -1, self.cells.G)
            ZE = factor.to_levels(own[:, :, self.n_local :].transpose(2, 0, 1, 3))
            squares = own[:, :, factor.columns].reshape(
                factor.k, factor.L, factor.k, factor.L, self.cells.G
            )
            ZZ = factor.to_levels(np.einsum("albln->abln", squares))
            factors.append(FactorSums(np.ascontiguousarray(ZZ), np.ascontiguousarray(ZE)))
        pairs = {fg: pair.reduce(gram) for fg, pair in self.pairs.items()}
        rows = self.rows
        log_weights = rows.sum_log_weights - whitening.logdet
        products = CrossProducts(
            len(rows.y), log_weights, E @ E.T, tuple(factors), pairs, rows.basis
        )
        return WhitenedProducts(self, whitening, V, products)


@dataclass(frozen=True)
class WhitenedProducts:
    """Cross-products of whitened rows at one delta.

    Attributes
    ----------
    layout : WhitenedRows
    whitening : Whitening
    V : array of shape (K + p + 1, n)
        Whitened local columns, then those of X and y.
    products : CrossProducts
    """

    layout: WhitenedRows
    whitening: Whitening
    V: Array
    products: CrossProducts

    @cached_property
    def solved(self) -> Array:
        """``R^-1`` times the columns, shape (K + p + 1, n)."""
        return self.whitening.whiten_transposed(self.V)

    def adjoint(self, bar: ProductsAdjoint) -> Array:
        """Derivatives in delta of a function of the cross-products, shape (r,).

        ``-<B M B', dR>`` for ``B = R^-1 A`` and the derivative M of the function in ``A'R^-1 A``.
        """
        mix = self._mixture(bar)
        whitening = self.whitening
        return -whitening.adjoint_of_mixture(self.layout.columns, self.solved, mix)

    def _mixture(self, bar: ProductsAdjoint) -> Callable[[Array], Array]:
        """The map ``B -> M B`` of rows over the columns, cell by cell."""
        layout = self.layout
        cells, q = layout.cells, layout.n_local
        if not q:
            return lambda B: np.asarray(bar.EE @ B)
        M = np.zeros((q, len(self.V), cells.G))
        for factor, ZZ, ZE in zip(layout.factors, bar.ZZ, bar.ZE, strict=True):
            own = M[factor.columns].reshape(factor.k, factor.L, len(self.V), cells.G)
            among = own[:, :, factor.columns].reshape(
                factor.k, factor.L, factor.k, factor.L, cells.G
            )
            diagonal = np.arange(factor.L)
            blocks = factor.from_levels(ZZ)  # (k, k, L, G)
            among[:, diagonal, :, diagonal] = blocks.transpose(2, 0, 1, 3)
            own[:, :, q:] = 0.5 * factor.from_levels(ZE).transpose(1, 2, 0, 3)
        for (f, g), pair in layout.pairs.items():
            first, second = layout.factors[f].columns, layout.factors[g].columns
            spread = pair.spread(bar.pairs[f, g])
            if f == g:
                M[first, second] += spread
            else:
                M[first, second] = 0.5 * spread
                M[second, first] = 0.5 * spread.transpose(1, 0, 2)
        to_response = M[:, q:].transpose(1, 0, 2)

        def mix(B: Array) -> Array:
            local = cells.arrange(B)
            mixed = np.concatenate(
                [cells.multiply(M, local), cells.multiply(to_response, local[:q])]
            )
            out = cells.restore(mixed)
            out[q:] += bar.EE @ B[q:]
            return out

        return mix

    def combine(self, effects: list[Array], v: Array) -> Array:
        """``R^-1 (Z t + [X y] v)`` for one effect a level and component, shape (n,).

        Parameters
        ----------
        effects : list of arrays of shape (k, J)
        v : array of shape (p + 1,)
        """
        layout = self.layout
        out = v @ self.solved[layout.n_local :]
        if layout.n_local:
            coefficients = np.concatenate(
                [
                    factor.from_levels(t).reshape(1, -1, layout.cells.G)
                    for factor, t in zip(layout.factors, effects, strict=True)
                ],
                axis=1,
            )
            local = layout.cells.arrange(self.solved[: layout.n_local])
            out = out + layout.cells.restore(layout.cells.multiply(coefficients, local))[0]
        return out

    def products_with(self, whitened: Array) -> tuple[list[Array], Array]:
        """Products of whitened rows (m, n) with the columns of Z and [X y].

        Returns
        -------
        Z : list of arrays of shape (m, k, J), one a factor
        E : array of shape (m, p + 1)
        """
        layout = self.layout
        q = layout.n_local
        gram = layout.cells.gram(layout.cells.arrange(whitened), layout.cells.arrange(self.V[:q]))
        Z = [
            factor.to_levels(
                gram[:, factor.columns].reshape(len(whitened), factor.k, factor.L, layout.cells.G)
            )
            for factor in layout.factors
        ]
        return Z, whitened @ self.V[q:].T


def _combinations(codes: tuple[IntArray, ...], n_levels: tuple[int, ...], n: int) -> IntArray:
    """Codes of the combinations of levels that occur; one for all rows without factors."""
    if not codes:
        return np.zeros(n, dtype=np.int64)
    if len(codes) == 1:
        return codes[0]
    key = codes[0].astype(np.int64)
    for other, J in zip(codes[1:], n_levels[1:], strict=True):
        key = np.unique(key * J + other, return_inverse=True)[1]
    return key


def _met(codes: IntArray, J: int, cells: IntArray, G: int) -> tuple[IntArray, IntArray]:
    """Levels met in each cell, (L, G), and the place of each row's level among them."""
    keys, entry = np.unique(cells.astype(np.int64) * J + codes, return_inverse=True)
    cell, level = np.divmod(keys, J)
    counts = np.bincount(cell, minlength=G)
    rank = np.arange(len(keys)) - np.repeat(np.cumsum(counts) - counts, counts)
    levels = np.full((int(counts.max()), G), -1, dtype=np.int64)
    levels[rank, cell] = level
    return levels, rank[entry]
