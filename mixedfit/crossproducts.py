"""The rows of a design reduced to sums: the only thing the likelihood sees of the data.

Rows enter in a working basis (columns centred, scaled and, where the model is invariant, made
orthonormal; the response reduced by its least-squares fit and scaled), so that the sums lose no
digits to offsets and units. Sums over disjoint sets of rows in one basis add.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse
from scipy.linalg import lapack

from mixedfit.arrays import Array, IntArray
from mixedfit.covariance import Equivariance
from mixedfit.design import Design
from mixedfit.errors import DataError
from mixedfit.linalg import cholesky, spd_inverse

__all__ = ["Basis", "CrossProducts", "FactorSums", "WorkingBasis"]


@dataclass(frozen=True)
class Basis:
    """A change of basis for k columns: working columns ``W = (columns - center) @ transform``.

    Attributes
    ----------
    center : array of shape (k,)
        Offsets removed first; all zero unless one column is constant, which then absorbs them.
    transform : array of shape (k, k)
    total : array of shape (k, k)
        Both steps as one linear map, ``W = columns @ total``.
    inverse : array of shape (k, k)
        Back again, ``columns = W @ inverse``.
    """

    center: Array
    transform: Array
    total: Array
    inverse: Array

    @classmethod
    def of(cls, columns: Array, equivariance: Equivariance, constant: int | None) -> Basis:
        """The basis in which columns of shape (n, k) are as near to orthonormal as allowed.

        Working columns have mean square one. A "linear" family is also centred on its constant
        column and made orthonormal, a "diagonal" one scaled column by column, a "scalar" one as a
        whole.
        """
        n, k = columns.shape
        center = np.zeros(k)
        if equivariance != "linear" or k == 0:
            mean_square = np.einsum("ij,ij->j", columns, columns) / n
            if equivariance == "scalar" and k:
                mean_square[:] = mean_square.mean()
            return cls._from(center, np.diag(1.0 / np.sqrt(mean_square)), constant, columns)
        centred = columns
        if constant is not None and k > 1:
            center = columns.sum(axis=0) / n
            center[constant] = 0.0
            centred = columns - center
        transform, smallest = _orthonormalising(centred)
        if smallest < 1e-3:  # one pass then leaves the columns too far from orthonormal
            transform = transform @ _orthonormalising(centred @ transform)[0]
        return cls._from(center, transform, constant, columns)

    @classmethod
    def _from(cls, center: Array, transform: Array, constant: int | None, columns: Array) -> Basis:
        total = transform
        if constant is not None and center.any():
            total = transform.copy()
            total[constant] -= center / columns[0, constant] @ transform
        return cls(center, transform, total, np.asarray(np.linalg.inv(total)))

    def apply(self, columns: Array) -> Array:
        """Working columns of shape (n, k) from columns of shape (n, k)."""
        return (columns - self.center if self.center.any() else columns) @ self.transform

    @property
    def logdet(self) -> float:
        """``log |inverse|``, what a Gram determinant gains on the way back from W."""
        return float(np.linalg.slogdet(self.inverse)[1])


def _orthonormalising(columns: Array) -> tuple[Array, float]:
    """``inv(R)`` of columns = Q R with mean squares of Q one, and the least pivot relative to 1."""
    gram = columns.T @ columns / len(columns)
    scale = 1.0 / np.sqrt(gram.diagonal())
    R = cholesky(gram * scale * scale[:, None]).T
    inverse, _ = lapack.dtrtri(R)
    return scale[:, None] * inverse, float(R.diagonal().min())


@dataclass(frozen=True)
class WorkingBasis:
    """The coordinates in which a design is reduced, and the way back.

    Attributes
    ----------
    fixed : Basis
        Of the columns of X.
    random : tuple of Basis
        Of the columns of each random term.
    coefficients : array of shape (p,)
        Least-squares coefficients of the response on the working X, taken out of it.
    scale : float
        The response's remaining root mean square, in its units.
    """

    fixed: Basis
    random: tuple[Basis, ...]
    coefficients: Array
    scale: float

    @classmethod
    def of(cls, design: Design) -> WorkingBasis:
        """The basis that suits all rows of a design."""
        fixed = Basis.of(design.X, "linear", design.intercept)
        random = tuple(
            fixed
            if term.Z is design.X and term.structure.equivariance == "linear"
            else Basis.of(term.Z, term.structure.equivariance, term.intercept)
            for term in design.terms
        )
        coefficients, scale = _least_squares(design, fixed)
        return cls(fixed, random, coefficients, scale)

    def response(self, design: Design, X: Array) -> Array:
        """The working response, shape (n,), for working columns X of shape (n, p)."""
        y = design.y if design.offset is None else design.y - design.offset
        return (y - X @ self.coefficients) / self.scale


def _least_squares(design: Design, fixed: Basis) -> tuple[Array, float]:
    X = fixed.apply(design.X)
    y = design.y if design.offset is None else design.y - design.offset
    w = design.weights
    weighted = X if w is None else X * w[:, None]
    gram_inverse, _ = spd_inverse(weighted.T @ X)
    coefficients = gram_inverse @ (weighted.T @ y)
    rest = y - X @ coefficients
    correction = gram_inverse @ (weighted.T @ rest)  # one refinement: offsets of 1e8 leave no trace
    rest -= X @ correction
    scale = float(np.sqrt(np.mean(rest * rest)))
    if scale <= 1e-13 * float(np.sqrt(np.mean(y * y))):
        raise DataError(
            f"the fixed effects explain {design.response.name!r} exactly: no variation is left to "
            "divide between the random effects and the residual; check the response and the formula"
        )
    return coefficients + correction, scale


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
        basis = basis or WorkingBasis.of(design)
        E, Z = _working_rows(design, basis)
        codes = [factor.codes for factor in design.factors]
        factors = tuple(
            _factor_sums(codes[f], factor.n_levels, Z[f], E)
            for f, factor in enumerate(design.factors)
        )
        shape = [factor.n_levels for factor in design.factors]
        pairs = {
            (f, g): _pair_sums(codes[f], codes[g], Z[f], Z[g], (shape[f], shape[g]))
            for f in range(len(codes))
            for g in range(f + 1, len(codes))
        }
        w = design.weights
        log_weights = 0.0 if w is None else float(np.log(w).sum())
        return cls(len(E), log_weights, E.T @ E, factors, pairs, basis)

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
        return [
            np.einsum("abj,mbj->maj", sums.ZZ, t)
            if g == f
            else np.ascontiguousarray((self._assembled[g, f] @ flat).T).reshape(
                len(t), sums.k, sums.n_levels
            )
            for g, sums in enumerate(self.factors)
        ]

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
            out[f, g], out[g, f] = whole, whole.T
        return out

    @cached_property
    def p(self) -> int:
        """Columns of X."""
        return len(self.EE) - 1


def _working_rows(design: Design, basis: WorkingBasis) -> tuple[Array, list[list[Array]]]:
    """``[X y]`` of shape (n, p + 1), and each factor's columns, whitened by the weights."""
    root = None if design.weights is None else np.sqrt(design.weights)
    X = basis.fixed.apply(design.X)
    E = np.column_stack([X, basis.response(design, X)])
    if root is not None:
        E *= root[:, None]
    Z: list[list[Array]] = [[] for _ in design.factors]
    for term, term_basis in zip(design.terms, basis.random, strict=True):
        W = X.T if term_basis is basis.fixed else term_basis.apply(term.Z).T
        Z[term.factor].extend(np.ascontiguousarray(W if root is None else W * root))
    return E, Z


def _factor_sums(codes: IntArray, J: int, Z: list[Array], E: Array) -> FactorSums:
    k, p1 = len(Z), E.shape[1]
    ZZ, ZE = np.empty((k, k, J)), np.empty((p1, k, J))
    for a, z in enumerate(Z):
        for b in range(a + 1):
            ZZ[a, b] = ZZ[b, a] = np.bincount(codes, z * Z[b], J)
        for e in range(p1):
            ZE[e, a] = np.bincount(codes, z * E[:, e], J)
    return FactorSums(ZZ, ZE)


def _pair_sums(
    rows: IntArray, columns: IntArray, Z: list[Array], W: list[Array], shape: tuple[int, int]
) -> Pair:
    """Sparse sums of ``Z_a * W_b`` over the rows at each pair of levels; one pattern for all."""
    return {
        (a, b): sparse.coo_array((z * w, (rows, columns)), shape=shape).tocsr()
        for a, z in enumerate(Z)
        for b, w in enumerate(W)
    }
