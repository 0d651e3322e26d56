"""The rows of a design reduced to sums: the only thing the likelihood sees of the data.

Sums over disjoint sets of rows in one working basis add.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse

from mixedfit.arrays import Array, IntArray
from mixedfit.design import Design
from mixedfit.working import WorkingBasis, WorkingRows

__all__ = ["CrossProducts", "FactorSums", "Pair", "ProductsAdjoint"]


@dataclass(frozen=True)
class FactorSums:
    """Sums over the rows of each level of one grouping factor.

    Attributes
    ----------
    ZZ : array of shape (k, k, J)
        ``Z_j'Z_j`` for each level j.
    ZE : array of shape (p + 1, k, J)
        ``Z_j'[X y]``, transposed.
    """

    ZZ: Array
    ZE: Array

    def __add__(self, other: FactorSums) -> FactorSums:
        return FactorSums(self.ZZ + other.ZZ, self.ZE + other.ZE)

    @property
    def k(self) -> int:
        """Columns a level."""
        return len(self.ZZ)

    @property
    def n_levels(self) -> int:
        """Levels J."""
        return self.ZZ.shape[2]

    @cached_property
    def mean_rows(self) -> Array:
        """Mean sum of squares of each column a level, shape (k,): rows, for working columns."""
        return np.einsum("aaj->a", self.ZZ) / self.n_levels


Pair = dict[tuple[int, int], sparse.csr_array]


@dataclass(frozen=True)
class ProductsAdjoint:
    """Derivatives of a scalar in cross-products.

    Attributes
    ----------
    ZZ : list of arrays of shape (k, k, J)
        In each number of `FactorSums.ZZ`.
    ZE : list of arrays of shape (p + 1, k, J)
        In each number of `FactorSums.ZE`, which stands for its mirror image too.
    pairs : dict
        In each number of `CrossProducts.pairs`; one of two different factors stands for its mirror
        image too.
    EE : array of shape (p + 1, p + 1)
    """

    ZZ: list[Array]
    ZE: list[Array]
    pairs: dict[tuple[int, int], Pair]
    EE: Array


@dataclass(frozen=True)
class CrossProducts:
    """Cross-products of ``[Z X y]`` in a working basis; those of disjoint rows add.

    Attributes
    ----------
    n : int
        Rows.
    sum_log_weights : float
        Sum of the logarithms of the precision weights.
    EE : array of shape (p + 1, p + 1)
        ``[X y]'[X y]``.
    factors : tuple of FactorSums
        One a grouping factor, its terms' columns side by side.
    pairs : dict
        For factors f < g, ``pairs[f, g][a, b]`` is the sparse ``Z_fa'Z_gb`` of shape (J_f, J_g).
        For a *coupled* factor f, whose levels meet in whitened rows, ``pairs[f, f]`` holds the
        products of different levels.
    basis : WorkingBasis
    """

    n: int
    sum_log_weights: float
    EE: Array
    factors: tuple[FactorSums, ...]
    pairs: dict[tuple[int, int], Pair]
    basis: WorkingBasis

    @classmethod
    def of(cls, design: Design, basis: WorkingBasis | None = None) -> CrossProducts:
        """Reduce the rows of a design.

        Parameters
        ----------
        design : Design
        basis : WorkingBasis, optional
            The basis to use; by default the one that suits this design. Chunks of one data set
            must share one.
        """
        return cls.of_rows(WorkingRows.of(design, basis))

    @classmethod
    def of_rows(cls, rows: WorkingRows) -> CrossProducts:
        """Reduce working rows."""
        E = np.vstack([rows.X, rows.y])
        factors = tuple(
            _factor_sums(codes, J, Z, E)
            for codes, J, Z in zip(rows.codes, rows.n_levels, rows.Z, strict=True)
        )
        pairs = {
            (f, g): _pair_sums(rows, f, g)
            for f in range(len(factors))
            for g in range(f + 1, len(factors))
        }
        n = len(rows.y)
        return cls(n, rows.sum_log_weights, E @ E.T, factors, pairs, rows.basis)

    def with_response(self, rows: WorkingRows) -> CrossProducts:
        """Those of the same rows with another response: only sums with it are taken anew."""
        EE = self.EE.copy()
        EE[-1, :-1] = EE[:-1, -1] = rows.X @ rows.y
        EE[-1, -1] = rows.y @ rows.y
        factors = []
        for codes, Z, sums in zip(rows.codes, rows.Z, self.factors, strict=True):
            ZE = sums.ZE.copy()
            for a, z in enumerate(Z):
                ZE[-1, a] = np.bincount(codes, z * rows.y, sums.n_levels)
            factors.append(FactorSums(sums.ZZ, ZE))
        return replace(self, EE=EE, factors=tuple(factors), basis=rows.basis)

    def __add__(self, other: CrossProducts) -> CrossProducts:
        if other.basis is not self.basis:
            raise ValueError("cross-products add only in one working basis: pass the first one's")
        return replace(
            self,
            n=self.n + other.n,
            sum_log_weights=self.sum_log_weights + other.sum_log_weights,
            EE=self.EE + other.EE,
            factors=tuple(a + b for a, b in zip(self.factors, other.factors, strict=True)),
            pairs={
                fg: {ab: (M + other.pairs[fg][ab]).tocsr() for ab, M in pair.items()}
                for fg, pair in self.pairs.items()
            },
        )

    def pair(self, f: int, g: int) -> Pair:
        """``Z_f'Z_g`` for any two factors, in either order."""
        if (f, g) in self.pairs:
            return self.pairs[f, g]
        return {(a, b): M.T.tocsr() for (b, a), M in self.pairs[g, f].items()}

    def multiply(self, f: int, t: Array) -> list[Array]:
        """``Z'Z_f t``: products of all factors' columns with those of factor f.

        Parameters
        ----------
        f : int
        t : array of shape (m, k_f, J_f)

        Returns
        -------
        list of arrays of shape (m, k_g, J_g), one a factor g
        """
        flat = t.reshape(len(t), -1).T
        out = []
        for g, sums in enumerate(self.factors):
            product = np.einsum("abj,mbj->maj", sums.ZZ, t) if g == f else 0.0
            if (g, f) in self._assembled:
                across = (self._assembled[g, f] @ flat).T
                product = product + np.ascontiguousarray(across).reshape(len(t), sums.k, -1)
            out.append(np.asarray(product))
        return out

    @cached_property
    def coupled(self) -> frozenset[int]:
        """Factors whose levels meet."""
        return frozenset(f for f, g in self.pairs if f == g)

    @cached_property
    def _assembled(self) -> dict[tuple[int, int], Any]:
        """Each pair of factors as one matrix, components outermost; dense where that is cheaper."""
        out: dict[tuple[int, int], Any] = {}
        for (f, g), pair in self.pairs.items():
            rows = range(self.factors[f].k)
            columns = range(self.factors[g].k)
            whole: Any = sparse.block_array([[pair[a, b] for b in columns] for a in rows]).tocsr()
            if whole.nnz > 0.2 * whole.shape[0] * whole.shape[1]:
                whole = whole.toarray()
            out[f, g], out[g, f] = whole, whole.T  # symmetric for a factor with itself
        return out

    @cached_property
    def p(self) -> int:
        """Columns of X."""
        return len(self.EE) - 1


def _factor_sums(codes: IntArray, J: int, Z: Array, E: Array) -> FactorSums:
    k, p1 = len(Z), len(E)
    ZZ, ZE = np.empty((k, k, J)), np.empty((p1, k, J))
    for a, z in enumerate(Z):
        for b in range(a + 1):
            ZZ[a, b] = ZZ[b, a] = np.bincount(codes, z * Z[b], J)
        for e, column in enumerate(E):
            ZE[e, a] = np.bincount(codes, z * column, J)
    return FactorSums(ZZ, ZE)


def _pair_sums(rows: WorkingRows, f: int, g: int) -> Pair:
    """Sparse sums over the rows at each pair of levels of two factors; one pattern for all."""
    codes, shape = (rows.codes[f], rows.codes[g]), (rows.n_levels[f], rows.n_levels[g])
    return {
        (a, b): sparse.coo_array((z * w, codes), shape=shape).tocsr()
        for a, z in enumerate(rows.Z[f])
        for b, w in enumerate(rows.Z[g])
    }
