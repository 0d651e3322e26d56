"""Block-diagonal correlation matrices of many rows: whitening, products, derivatives.

Three kinds share one set of verbs. `Chain` is AR(1) and its continuous version, whose inverse is
tridiagonal: O(n) whatever the sizes of the groups. `Exchangeable` is compound symmetry in closed
form. `Blocks` is everything else: groups with equal positions share one matrix, and matrices of
one size are factored together. Arrays hold rows of data last: shape (m, n).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Protocol

import numpy as np
import scipy
from scipy.linalg.lapack import dtbtrs, dtrtri

from mixedfit.arrays import Array, IntArray

__all__ = ["Batch", "Blocks", "Chain", "CorrelationAt", "Exchangeable", "Table", "by_group"]


class Table(Protocol):
    """The distinct entries of all matrices of a structure."""

    def __call__(self, delta: Array) -> tuple[Array, Array]:
        """Entries, (T,), at coordinates of shape (r,), and derivatives, (r, T)."""

    def natural(self, delta: Array) -> tuple[list[str], Array]:
        """Names and values of the parameters on their own scale."""


class CorrelationAt(ABC):
    """A correlation matrix C of order n at given coordinates, and its factor: ``W'W = C^-1``.

    Attributes
    ----------
    logdet : float
        Logarithm of the determinant of C.
    trace : array of shape (r,)
        ``tr(C^-1 dC)`` for each coordinate: derivatives of `logdet`.
    """

    logdet: float
    trace: Array
    knows_inverse: ClassVar[bool] = False  # whether it has `adjoint_of_products`

    @abstractmethod
    def whiten(self, V: Array) -> Array:
        """``W v`` for each row v of V, shape (m, n)."""

    @abstractmethod
    def whiten_transposed(self, V: Array) -> Array:
        """``W' v`` for each row v of V."""

    @abstractmethod
    def multiply(self, V: Array) -> Array:
        """``C v`` for each row v of V."""

    @abstractmethod
    def multiply_root(self, V: Array) -> Array:
        """``L v`` for each row v of V, where ``L L' = C``."""

    @abstractmethod
    def derivative(self, V: Array) -> Array:
        """``dC v`` for each coordinate and row v of V, shape (r, m, n)."""

    @abstractmethod
    def adjoint(self, A: Array, B: Array) -> Array:
        """``sum_m a_m' dC b_m`` for each coordinate, shape (r,)."""

    def adjoint_of_products(self, CA: Array, CB: Array) -> Array:
        """The same, given ``C a_m`` and ``C b_m``, through the derivative of the inverse."""
        raise NotImplementedError

    def normalize(self, V: Array) -> Array:
        """Rows of V made uncorrelated, as nlme orders the contrasts."""
        return self.whiten(V)


def by_group(codes: IntArray) -> tuple[IntArray, IntArray]:
    """Rows sorted by group, their own order kept within, and the place where each group starts."""
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=codes[order[:1]] - 1))
    return order, starts


# -- AR(1) ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Chain:
    """Correlation ``rho**(distance in time)`` within groups.

    Attributes
    ----------
    order : int array of shape (n,)
        Rows sorted by group and time.
    lag : array of shape (n,)
        In that order, time since the row before; infinite for the first row of a group.
    signed : bool
        ``rho = tanh(delta / 2)`` over whole lags; else ``rho = 1 / (1 + exp(-delta))``.
    """

    order: IntArray
    lag: Array
    signed: bool
    name: str = "Phi"

    def natural(self, delta: Array) -> tuple[list[str], Array]:
        """The correlation one unit of time apart."""
        return [self.name], np.tanh(0.5 * delta) if self.signed else scipy.special.expit(delta)

    def at(self, delta: Array) -> ChainAt:
        """The correlation matrix at a coordinate, shape (1,)."""
        d, lag = float(delta[0]), self.lag
        inner = np.isfinite(lag)
        phi, dphi, slack = np.zeros_like(lag), np.zeros_like(lag), np.ones_like(lag)
        if self.signed:
            rho, tail = np.tanh(0.5 * d), np.exp(-abs(d))
            log_size = np.log1p(-2.0 * tail / (1.0 + tail)) if d != 0.0 else -np.inf
            drho = 2.0 * tail / (1.0 + tail) ** 2
            phi[inner] = rho ** lag[inner]
            dphi[inner] = lag[inner] * rho ** (lag[inner] - 1.0) * drho
        else:
            log_size = -float(np.logaddexp(0.0, -d))
            phi[inner] = np.exp(lag[inner] * log_size)
            dphi[inner] = lag[inner] * phi[inner] * scipy.special.expit(-d)
        slack[inner] = -np.expm1(2.0 * lag[inner] * log_size)
        if not (slack > 0.0).all():
            raise np.linalg.LinAlgError("the autocorrelation is 1")
        return ChainAt(self.order, phi, dphi, slack)


@dataclass(frozen=True)
class ChainAt(CorrelationAt):
    """An AR(1) matrix: in sorted order ``x_i = phi_i x_{i-1} + sqrt(1 - phi_i^2) e_i``.

    ``W = diag(1 / sqrt(slack)) B`` with ``slack = 1 - phi^2`` and B unit lower bidiagonal.
    """

    order: IntArray
    phi: Array
    dphi: Array
    slack: Array
    knows_inverse: ClassVar[bool] = True

    @cached_property
    def logdet(self) -> float:  # type: ignore[override]
        return float(np.log(self.slack).sum())

    @cached_property
    def trace(self) -> Array:  # type: ignore[override]
        return np.array([-2.0 * np.sum(self.phi * self.dphi / self.slack)])

    @cached_property
    def _sorted(self) -> bool:
        return bool((np.diff(self.order) > 0).all())

    @cached_property
    def _inverse(self) -> IntArray:
        place = np.empty_like(self.order)
        place[self.order] = np.arange(len(self.order))
        return place

    def _in(self, V: Array) -> Array:
        return V if self._sorted else V[:, self.order]

    def _out(self, V: Array) -> Array:
        return V if self._sorted else V[:, self._inverse]

    def whiten(self, V: Array) -> Array:
        V = self._in(V)
        E = V.copy()
        E[:, 1:] -= self.phi[1:] * V[:, :-1]
        E /= np.sqrt(self.slack)
        return self._out(E)

    def whiten_transposed(self, V: Array) -> Array:
        V = self._in(V) / np.sqrt(self.slack)
        E = V.copy()
        E[:, :-1] -= self.phi[1:] * V[:, 1:]
        return self._out(E)

    def _solve(self, V: Array, transposed: bool) -> Array:
        """``B^-1 v`` or ``B'^-1 v`` for each row."""
        if not len(V):  # of no right-hand sides LAPACK's wrapper writes past its memory
            return V
        n = V.shape[1]
        bands = np.ones((2, n))
        bands[1, :-1] = -self.phi[1:]
        solution, info = dtbtrs(bands, V.T, uplo="L", trans="T" if transposed else "N", diag="U")
        if info:
            raise np.linalg.LinAlgError("a banded solve failed")
        return np.ascontiguousarray(solution.T)

    def multiply_root(self, V: Array) -> Array:
        return self._out(self._solve(self._in(V) * np.sqrt(self.slack), False))

    def _multiply_sorted(self, V: Array) -> Array:
        return self._solve(self.slack * self._solve(V, True), False)

    def multiply(self, V: Array) -> Array:
        return self._out(self._multiply_sorted(self._in(V)))

    @cached_property
    def _inverse_derivative(self) -> tuple[Array, Array]:
        """Diagonal, (n,), and off-diagonal, (n - 1,), of the derivative of ``C^-1``."""
        squared = self.phi * self.dphi / self.slack**2
        diagonal = 2.0 * squared
        diagonal[:-1] += 2.0 * squared[1:]
        off = -self.dphi * (1.0 + self.phi**2) / self.slack**2
        return diagonal, off[1:]

    def derivative(self, V: Array) -> Array:
        CV = self._multiply_sorted(self._in(V))
        diagonal, off = self._inverse_derivative
        E = diagonal * CV
        E[:, 1:] += off * CV[:, :-1]
        E[:, :-1] += off * CV[:, 1:]
        return -self._out(self._multiply_sorted(E))[None]

    def adjoint(self, A: Array, B: Array) -> Array:
        CA = self._multiply_sorted(self._in(A))
        CB = CA if A is B else self._multiply_sorted(self._in(B))
        return self._adjoint_sorted(CA, CB)

    def adjoint_of_products(self, CA: Array, CB: Array) -> Array:
        return self._adjoint_sorted(self._in(CA), self._in(CB))

    def _adjoint_sorted(self, CA: Array, CB: Array) -> Array:
        diagonal, off = self._inverse_derivative
        total = diagonal @ np.einsum("mi,mi->i", CA, CB)
        total += off @ np.einsum("mi,mi->i", CA[:, 1:], CB[:, :-1])
        total += off @ np.einsum("mi,mi->i", CA[:, :-1], CB[:, 1:])
        return -np.array([total])


# -- compound symmetry ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Exchangeable:
    """One correlation between all rows of a group.

    ``delta = log((rho + 1 / (m - 1)) / (1 - rho))`` with m the size of the largest group.

    Attributes
    ----------
    codes : int array of shape (n,)
    sizes : array of shape (groups,)
        Number of rows of each group.
    """

    codes: IntArray
    sizes: Array

    @property
    def lowest(self) -> float:
        """The correlation at which the largest group's matrix is singular."""
        largest = float(self.sizes.max())
        return -1.0 / (largest - 1.0) if largest > 1.0 else -1.0

    def natural(self, delta: Array) -> tuple[list[str], Array]:
        """The common correlation."""
        return ["Rho"], np.array([self.rho(delta)[0]])

    def rho(self, delta: Array) -> tuple[float, float]:
        """The correlation and its derivative."""
        share = float(scipy.special.expit(delta[0]))
        width = 1.0 - self.lowest
        return self.lowest + width * share, width * share * float(scipy.special.expit(-delta[0]))

    def at(self, delta: Array) -> ExchangeableAt:
        """The correlation matrix at a coordinate, shape (1,)."""
        rho, drho = self.rho(delta)
        # 1 - rho, without cancellation.
        inside = (1.0 - self.lowest) * float(scipy.special.expit(-delta[0]))
        between = np.where(self.sizes == self.sizes.max(), 0.0, 1.0 + (self.sizes - 1.0) * rho)
        exact = (self.sizes - 1.0) * (1.0 - self.lowest) * float(scipy.special.expit(delta[0]))
        between = np.where(between == 0.0, exact if self.sizes.max() > 1.0 else 1.0, between)
        if inside <= 0.0 or not (between > 0.0).all():
            raise np.linalg.LinAlgError("the correlation is at its limit")
        return ExchangeableAt(self.codes, self.sizes, rho, drho, inside, between)


@dataclass(frozen=True)
class ExchangeableAt(CorrelationAt):
    """Compound symmetry: eigenvalues `between` along a group's mean, `inside` across it."""

    codes: IntArray
    sizes: Array
    rho: float
    drho: float
    inside: float
    between: Array

    @cached_property
    def logdet(self) -> float:  # type: ignore[override]
        return float(np.sum(np.log(self.between) + (self.sizes - 1.0) * np.log(self.inside)))

    @cached_property
    def trace(self) -> Array:  # type: ignore[override]
        slope = (self.sizes - 1.0) * (1.0 / self.between - 1.0 / self.inside)
        return np.array([self.drho * slope.sum()])

    def _sums(self, V: Array) -> Array:
        """Sums over groups, shape (m, groups)."""
        order, starts = self._by_group
        return np.add.reduceat(V if order is None else V[:, order], starts, axis=1)

    @cached_property
    def _by_group(self) -> tuple[IntArray | None, IntArray]:
        order, starts = by_group(self.codes)
        return (None if (np.diff(order) > 0).all() else order), starts

    def _apply(self, V: Array, inside: float, between: Array) -> Array:
        """The symmetric matrix with these eigenvalues."""
        gain = (between - inside) / self.sizes
        return inside * V + (self._sums(V) * gain)[:, self.codes]

    def whiten(self, V: Array) -> Array:
        return self._apply(V, self.inside**-0.5, self.between**-0.5)

    def whiten_transposed(self, V: Array) -> Array:
        return self.whiten(V)

    def multiply(self, V: Array) -> Array:
        return self._apply(V, self.inside, self.between)

    def multiply_root(self, V: Array) -> Array:
        return self._apply(V, self.inside**0.5, self.between**0.5)

    def derivative(self, V: Array) -> Array:
        return (self.drho * (self._sums(V)[:, self.codes] - V))[None]

    def adjoint(self, A: Array, B: Array) -> Array:
        total = np.vdot(self._sums(A), self._sums(B)) - np.vdot(A, B)
        return np.array([self.drho * total])

    def normalize(self, V: Array) -> Array:
        """The mean of each group first, then Helmert contrasts."""
        order, starts = by_group(self.codes)
        counts = self.sizes.astype(np.int64)
        V = V[:, order]
        running = np.cumsum(V, axis=1)
        before = np.repeat((running - V)[:, starts], counts, axis=1)
        place = np.arange(V.shape[1]) - np.repeat(starts, counts)
        earlier = running - V - before
        with np.errstate(divide="ignore", invalid="ignore"):
            E = (place * V - earlier) / np.sqrt(self.inside * place * (place + 1.0))
        E[:, starts] = self._sums_sorted(V, starts) / np.sqrt(self.sizes * self.between)
        out = np.empty_like(E)
        out[:, order] = E
        return out

    @staticmethod
    def _sums_sorted(V: Array, starts: IntArray) -> Array:
        return np.add.reduceat(V, starts, axis=1)


# -- everything else ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Batch:
    """Groups of one size k.

    Attributes
    ----------
    rows : int array of shape (G, k)
        Their rows.
    pattern : int array of shape (G,)
        Which matrix each has.
    index : int array of shape (P, k, k)
        Where each entry of those matrices stands in the table.
    """

    rows: IntArray
    pattern: IntArray
    index: IntArray

    @cached_property
    def counts(self) -> Array:
        """Number of groups with each matrix, shape (P,)."""
        return np.bincount(self.pattern, minlength=len(self.index)).astype(float)


@dataclass(frozen=True)
class Blocks:
    """Correlation matrices whose entries come from a table of few values.

    Attributes
    ----------
    n : int
    batches : tuple of Batch
    table : callable
    """

    n: int
    batches: tuple[Batch, ...]
    table: Table

    def natural(self, delta: Array) -> tuple[list[str], Array]:
        """Names and values of the parameters on their own scale."""
        return self.table.natural(delta)

    def at(self, delta: Array) -> BlocksAt:
        """The correlation matrix at coordinates of shape (r,)."""
        values, derivatives = self.table(np.asarray(delta, dtype=float))
        matrices = tuple(values[batch.index] for batch in self.batches)
        factors = tuple(np.asarray(np.linalg.cholesky(C), dtype=float) for C in matrices)
        return BlocksAt(self.n, self.batches, derivatives, matrices, factors)


@dataclass(frozen=True)
class BlocksAt(CorrelationAt):
    """Matrices C = L L' by batch, each of shape (P, k, k)."""

    n: int
    batches: tuple[Batch, ...]
    table_derivatives: Array
    matrices: tuple[Array, ...]
    factors: tuple[Array, ...]

    @cached_property
    def logdet(self) -> float:  # type: ignore[override]
        total = 0.0
        for batch, L in zip(self.batches, self.factors, strict=True):
            logs = np.log(np.einsum("paa->pa", L)).sum(axis=1)
            total += 2.0 * float(batch.counts @ logs)
        return total

    @cached_property
    def _whiteners(self) -> tuple[Array, ...]:
        return tuple(_lower_inverses(L) for L in self.factors)

    @cached_property
    def trace(self) -> Array:  # type: ignore[override]
        weights = [
            np.einsum("pca,pcb,p->pab", W, W, batch.counts, optimize=True)
            for batch, W in zip(self.batches, self._whiteners, strict=True)
        ]
        return self._contract([(b.index, w) for b, w in zip(self.batches, weights, strict=True)])

    def _contract(self, pieces: Sequence[tuple[IntArray, Array]]) -> Array:
        """Derivatives summed with weights on the entries, shape (r,)."""
        length = self.table_derivatives.shape[1]
        total = np.zeros(length)
        for index, weights in pieces:
            total += np.bincount(index.ravel(), weights=weights.ravel(), minlength=length)
        return self.table_derivatives @ total

    def _apply(self, V: Array, matrices: Sequence[Array], transposed: bool = False) -> Array:
        out = np.empty_like(V)
        for batch, own in zip(self.batches, matrices, strict=True):
            M = own.transpose(0, 2, 1) if transposed else own
            X = V[:, batch.rows]  # (m, G, k)
            if len(M) == 1:
                out[:, batch.rows] = X @ M[0].T
            else:
                out[:, batch.rows] = (M[batch.pattern] @ X.transpose(1, 2, 0)).transpose(2, 0, 1)
        return out

    def whiten(self, V: Array) -> Array:
        return self._apply(V, self._whiteners)

    def whiten_transposed(self, V: Array) -> Array:
        return self._apply(V, self._whiteners, transposed=True)

    def multiply(self, V: Array) -> Array:
        return self._apply(V, self.matrices)

    def multiply_root(self, V: Array) -> Array:
        return self._apply(V, self.factors)

    def derivative(self, V: Array) -> Array:
        out = np.empty((len(self.table_derivatives), *V.shape))
        for r, values in enumerate(self.table_derivatives):
            out[r] = self._apply(V, [values[batch.index] for batch in self.batches])
        return out

    def adjoint(self, A: Array, B: Array) -> Array:
        pieces = []
        for batch in self.batches:
            X, Y = A[:, batch.rows], B[:, batch.rows]
            k = batch.rows.shape[1]
            if len(batch.index) == 1:
                pieces.append((batch.index[0], X.reshape(-1, k).T @ Y.reshape(-1, k)))
            else:
                outer = X.transpose(1, 2, 0) @ Y.transpose(1, 0, 2)
                pieces.append((batch.index[batch.pattern], outer))
        return self._contract(pieces)


def _lower_inverses(L: Array) -> Array:
    """Inverses of lower-triangular matrices, shape (P, k, k)."""
    P, k, _ = L.shape
    if P > 4 and k <= 32:
        return np.tril(np.linalg.inv(L))
    out = np.empty_like(L)
    for p in range(P):
        out[p], _ = dtrtri(L[p], lower=1)
    return np.tril(out)
