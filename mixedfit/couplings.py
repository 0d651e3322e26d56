"""How the levels eliminated together meet the columns that stay.

Eliminating a batch of levels j, each with a k x k matrix D_j and cross-products A_j with columns
that are eliminated later, subtracts ``A_j' D_j A_j`` from the cross-products of those columns. The
pattern never changes, so it is laid out once. Three layouts serve: `Padded` when every level meets
few columns (nested factors: one each), `Paired` when the fill is irregular (a sparse map from the
entries of D to those of the result), `Dense` when nearly every level meets every column.

What stays lives in two arrays: the *store*, a flat vector of all later cross-products among random
effects, and ``E`` of shape (p + 1, q), the later columns' products with [X y]. An *adjoint* of the
store is the derivative of a scalar in each stored number, where a symmetric pair stored once counts
twice.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import copy
from typing import Any

import numpy as np
from scipy import sparse

from mixedfit.arrays import Array, IntArray

__all__ = ["Coupling", "Dense", "Padded", "Paired", "Scatter"]


class Scatter:
    """Adds many values into the entries of a vector, several into one; and gathers them back.

    Parameters
    ----------
    targets : int array
        Where each value goes.
    sources : int array
        Which of the ``size`` values goes there.
    size : int
    """

    def __init__(self, targets: IntArray, sources: IntArray, size: int) -> None:
        self.targets, rank = np.unique(targets, return_inverse=True)
        shape = (len(self.targets), size)
        self._matrix: Any = sparse.csr_array((np.ones(len(sources)), (rank, sources)), shape=shape)
        self._transpose = self._matrix.T

    def subtract(self, vector: Array, values: Array) -> None:
        """``vector[targets] -= values[sources]``, summed over equal targets, in place."""
        vector[self.targets] -= self._matrix @ values.ravel()

    def gather(self, vector: Array) -> Array:
        """``values[sources] = vector[targets]``, zero elsewhere; shape (size,)."""
        return self._transpose @ vector[self.targets]


class Coupling(ABC):
    """The cross-products A of a batch of J levels with later columns, and their pattern.

    Constant ones keep A themselves and ignore the ``store`` argument. Those made with ``entries``
    can take other numbers: ``data`` of shape (k, nnz) holds the products level by level, within a
    level by later column.
    """

    @abstractmethod
    def fill(self, D: Array, store: Array, out: Array) -> None:
        """Subtract ``sum_j A_j' D_j A_j`` from ``out`` (often the store) in place; D (k, k, J)."""

    @abstractmethod
    def push(self, U: Array, store: Array, E: Array) -> None:
        """Subtract ``U_j' A_j`` from E in place; U has shape (m, k, J), E shape (m, q)."""

    @abstractmethod
    def pull(self, X: Array, store: Array) -> Array:
        """``A_j X'`` of shape (m, k, J) for X of shape (m, q)."""

    @abstractmethod
    def gather(self, adjoint: Array, store: Array) -> Array:
        """The adjoint of D under `fill`, negated: symmetric, shape (k, k, J)."""

    def with_data(self, data: Array) -> Coupling:
        """The same pattern with other constant numbers."""
        raise NotImplementedError

    def adjoint_data(self, D: Array, U: Array, adjoint: Array, E: Array) -> Array:
        """The adjoint of the data under `fill` and `push`, shape (k, nnz).

        ``adjoint`` and E (m, q) are those of the store and of the later columns' E.
        """
        raise NotImplementedError


class Padded(Coupling):
    """Every level meets at most m later columns.

    Parameters
    ----------
    columns : int array of shape (m, J)
        The later columns, numbered as in E; -1 where a level has fewer.
    scatter : Scatter
        From the (m, m, J) products of pairs of columns to the store.
    k : int
    A : array of shape (m, k, J), optional
        The cross-products, zero in the padding, where they do not depend on parameters.
    location : slice, optional
        Where the store holds them, where they do.
    entries : tuple of int arrays, optional
        Slot and level of each number of the data.
    """

    def __init__(
        self,
        columns: IntArray,
        scatter: Scatter,
        k: int,
        A: Array | None = None,
        location: slice | None = None,
        entries: tuple[IntArray, IntArray] | None = None,
    ) -> None:
        self._entries = entries
        self.columns = columns
        self.scatter = scatter
        self.k = k
        self.location = location
        self._constant = A
        valid = np.flatnonzero(columns.ravel() >= 0)
        self._to_columns = Scatter(columns.ravel()[valid], valid, columns.size)

    def values(self, store: Array) -> Array:
        """The cross-products A, shape (m, k, J)."""
        if self.location is None:
            assert self._constant is not None
            return self._constant
        m, J = self.columns.shape
        return store[self.location].reshape(m, self.k, J)

    def fill(self, D: Array, store: Array, out: Array) -> None:
        A = self.values(store)
        self.fill_product(np.einsum("abj,mbj->maj", D, A), A, out)

    def fill_product(self, L: Array, R: Array, out: Array) -> None:
        """Subtract ``sum_j L_j' R_j`` from ``out`` in place; both of shape (m, k, J)."""
        self.scatter.subtract(out, np.einsum("maj,naj->mnj", L, R))

    def push(self, U: Array, store: Array, E: Array) -> None:
        self.push_product(U, self.values(store), E)

    def push_product(self, U: Array, A: Array, E: Array) -> None:
        """Subtract ``U_j' A_j`` for a given A of shape (m, k, J)."""
        for u, e in zip(U, E, strict=True):
            self._to_columns.subtract(e, np.einsum("aj,maj->mj", u, A))

    def pull(self, X: Array, store: Array) -> Array:
        return np.einsum("emj,maj->eaj", X[:, self.columns], self.values(store))

    def adjoint_among(self, adjoint: Array) -> Array:
        """The store's adjoint among each level's columns, symmetric, shape (m, m, J)."""
        m, J = self.columns.shape
        among = self.scatter.gather(adjoint).reshape(m, m, J)
        return 0.5 * (among + among.transpose(1, 0, 2))

    def gather(self, adjoint: Array, store: Array) -> Array:
        A = self.values(store)
        return np.einsum("maj,mnj,nbj->abj", A, self.adjoint_among(adjoint), A, optimize=True)

    def with_data(self, data: Array) -> Padded:
        assert self._entries is not None
        slot, level = self._entries
        m, J = self.columns.shape
        A = np.zeros((m, self.k, J))
        A[slot, :, level] = data.T
        other = copy(self)
        other._constant = A  # noqa: SLF001  of its own class
        return other

    def adjoint_data(self, D: Array, U: Array, adjoint: Array, E: Array) -> Array:
        assert self._entries is not None
        slot, level = self._entries
        return self.adjoint_values(D, U, adjoint, E, np.zeros(0))[slot, :, level].T

    def adjoint_values(self, D: Array, U: Array, adjoint: Array, E: Array, store: Array) -> Array:
        """The adjoint of A under `fill` and `push`, shape (m, k, J).

        ``adjoint`` and E (m, q) are those of the store and of the later columns' E.
        """
        DA = np.einsum("abj,mbj->maj", D, self.values(store))
        through_fill = -2.0 * np.einsum("mnj,naj->maj", self.adjoint_among(adjoint), DA)
        return through_fill - np.einsum("eaj,emj->maj", U, E[:, self.columns])


class Paired(Coupling):
    """Constant cross-products with an irregular pattern.

    Parameters
    ----------
    blocks : list of csr_array of shape (J, q)
        ``A[a]``: row j holds the products of effect a at level j; one pattern for all a.
    pair_levels, first, second : int arrays of shape (n_pairs,)
        Pairs of entries of one row: the row, in order, and the two entries' places in
        ``A[a].data``.
    targets : int array of shape (n_pairs,)
        Where in the store the pair's product goes.
    store_size : int
    refreshable : bool
        Whether to keep what `with_data` needs.
    """

    def __init__(
        self,
        blocks: list[sparse.csr_array],
        pair_levels: IntArray,
        first: IntArray,
        second: IntArray,
        targets: IntArray,
        store_size: int,
        refreshable: bool = False,
    ) -> None:
        J = blocks[0].shape[0]
        self._targets = np.flatnonzero(np.bincount(targets, minlength=store_size))
        rank = np.empty(store_size, dtype=np.int32)
        rank[self._targets] = np.arange(len(self._targets), dtype=np.int32)
        starts = np.concatenate([[0], np.cumsum(np.bincount(pair_levels, minlength=J))])
        pairs = rank[targets], starts.astype(np.int32), first, second
        self._pairs = pairs if refreshable else None
        self._take(blocks, *pairs)

    def _take(
        self,
        blocks: list[sparse.csr_array],
        rows: IntArray,
        starts: IntArray,
        first: IntArray,
        second: IntArray,
    ) -> None:
        """Take the numbers of the blocks."""
        self._blocks = blocks
        self._transposes = [block.T.tocsr() for block in blocks]
        self._maps = {}
        for a, block in enumerate(blocks):
            for b in range(a + 1):
                A, B = block.data, blocks[b].data
                product = A[first] * B[second]
                if a != b:
                    product += B[first] * A[second]
                # Pairs come level by level, so each level's are a column as they stand.
                self._maps[a, b] = sparse.csc_array(
                    (product, rows, starts), shape=(len(self._targets), block.shape[0])
                )

    def with_data(self, data: Array) -> Paired:
        assert self._pairs is not None
        shape = self._blocks[0].shape
        blocks = [
            sparse.csr_array((row, block.indices, block.indptr), shape=shape)
            for row, block in zip(data, self._blocks, strict=True)
        ]
        other = copy(self)
        other._take(blocks, *self._pairs)  # noqa: SLF001  of its own class
        return other

    def adjoint_data(self, D: Array, U: Array, adjoint: Array, E: Array) -> Array:
        assert self._pairs is not None
        rows, _, first, second = self._pairs
        block = self._blocks[0]
        data = np.stack([one.data for one in self._blocks])
        level = np.repeat(np.arange(block.shape[0]), np.diff(block.indptr))
        DA = np.einsum("abx,bx->ax", D[:, :, level], data)
        at_pairs = adjoint[self._targets[rows]]
        out = -np.einsum("eax,ex->ax", U[:, :, level], E[:, block.indices])
        for a, own in enumerate(DA):
            out[a] -= np.bincount(first, at_pairs * own[second], len(level))
            out[a] -= np.bincount(second, at_pairs * own[first], len(level))
        return out

    def fill(self, D: Array, store: Array, out: Array) -> None:
        out[self._targets] -= sum(M @ D[a, b] for (a, b), M in self._maps.items())

    def gather(self, adjoint: Array, store: Array) -> Array:
        k, J = len(self._blocks), self._blocks[0].shape[0]
        at_targets = adjoint[self._targets]
        out = np.empty((k, k, J))
        for (a, b), M in self._maps.items():
            out[a, b] = out[b, a] = (M.T @ at_targets) * (1.0 if a == b else 0.5)
        return out

    def push(self, U: Array, store: Array, E: Array) -> None:
        for a, block in enumerate(self._transposes):
            E -= (block @ U[:, a].T).T

    def pull(self, X: Array, store: Array) -> Array:
        return np.stack([(block @ X.T).T for block in self._blocks], axis=1)


class Dense(Coupling):
    """Constant cross-products, nearly all of them present; the store is one full q x q matrix.

    Parameters
    ----------
    A : array of shape (k, J, q)
    entries : tuple of int arrays, optional
        Level and later column of each number of the data.
    """

    def __init__(self, A: Array, entries: tuple[IntArray, IntArray] | None = None) -> None:
        self._A = A
        self._entries = entries

    def with_data(self, data: Array) -> Dense:
        assert self._entries is not None
        A = np.zeros_like(self._A)
        A[:, *self._entries] = data
        return Dense(A, self._entries)

    def adjoint_data(self, D: Array, U: Array, adjoint: Array, E: Array) -> Array:
        assert self._entries is not None
        k, J, q = self._A.shape
        AN = (self._A.reshape(k * J, q) @ adjoint.reshape(q, q)).reshape(k, J, q)
        out = -2.0 * np.einsum("abj,bjq->ajq", D, AN)
        out -= np.einsum("eaj,eq->ajq", U, E, optimize=True)
        return out[:, *self._entries]

    def fill(self, D: Array, store: Array, out: Array) -> None:
        k, J, q = self._A.shape
        DA = np.einsum("abj,bjq->ajq", D, self._A).reshape(k * J, q)
        out.reshape(q, q)[...] -= self._A.reshape(k * J, q).T @ DA

    def gather(self, adjoint: Array, store: Array) -> Array:
        k, J, q = self._A.shape
        AN = (self._A.reshape(k * J, q) @ adjoint.reshape(q, q)).reshape(k, J, q)
        return np.einsum("ajq,bjq->abj", AN, self._A)

    def push(self, U: Array, store: Array, E: Array) -> None:
        k, J, q = self._A.shape
        E -= U.reshape(len(U), k * J) @ self._A.reshape(k * J, q)

    def pull(self, X: Array, store: Array) -> Array:
        k, J, q = self._A.shape
        return (X @ self._A.reshape(k * J, q).T).reshape(len(X), k, J)
