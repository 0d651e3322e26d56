"""Covariance structures of the random effects: states to the relative covariance and its charts.

A random term with k columns has, at every level of its grouping factor, effects with covariance
``sigma**2 * G``, where ``G = T T'`` is k x k. A structure is a family of such G. A member is kept
as a *state*, an array only the structure reads; around each state it offers a *chart*, local
coordinates in which a search steps. Nobody else asks which kind a structure is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np

from mixedfit.arrays import Array, IntArray
from mixedfit.linalg import left_singular, lower_factor, symmetric_eigen

__all__ = [
    "AR1",
    "BlockDiagonal",
    "CompoundSymmetry",
    "Diagonal",
    "Structure",
    "Unstructured",
    "joined_room",
]

Equivariance = Literal["linear", "diagonal", "scalar"]


class Structure(ABC):
    """A family of k x k relative covariance matrices ``G = T T'``.

    Attributes
    ----------
    size : int
        Order k of G.
    equivariance : {"linear", "diagonal", "scalar"}
        Which changes of basis B keep ``B G B'`` in the family: any, diagonal ones, multiples of
        the identity.
    uncorrelated : bool
        Whether G is diagonal.
    """

    size: int
    equivariance: ClassVar[Equivariance]
    uncorrelated: ClassVar[bool] = False

    @property
    @abstractmethod
    def n_params(self) -> int:
        """Number of coordinates, r."""

    @abstractmethod
    def start(self, G: Array) -> Array:
        """The state nearest in kind to a positive definite G of shape (k, k)."""

    def alternatives(self, G: Array) -> Iterator[Array]:
        """Other states to start from, where the criterion may have several minima."""
        del G
        return iter(())

    @abstractmethod
    def factor(self, state: Array) -> Array:
        """A square root T of G, shape (k, k)."""

    @abstractmethod
    def tangents(self, state: Array) -> Array:
        """Derivatives of G in each coordinate of the chart at the state, shape (r, k, k)."""

    @abstractmethod
    def curvature(self, state: Array, adjoint: Array) -> Array:
        """Second derivatives of ``sum(adjoint * G)`` in the coordinates, shape (r, r)."""

    def of_columns(self, columns: IntArray) -> Structure | None:
        """The family of the covariances of some of the columns, increasing places.

        None where that is no family of the same kind.
        """
        return None

    def linear_basis(self) -> Array | None:
        """Symmetric matrices of which the family's G are the (semidefinite) linear combinations.

        Shape (m, k, k); None where G is no linear function of any parameters.
        """
        return None

    def room(self, state: Array) -> tuple[Array, Array] | None:
        """How far each coordinate may fall (not positive) and rise, two arrays of shape (r,).

        None where no coordinate has a bound.
        """
        del state
        return None

    @abstractmethod
    def move(self, state: Array, step: Array) -> Array:
        """The state reached by a step of shape (r,) in the coordinates."""

    @abstractmethod
    def rebase(self, state: Array, B: Array) -> Array:
        """The state of ``B G B'`` for a change of basis B of shape (k, k) the family allows."""

    def growth(self, state: Array) -> Array:
        """The coordinates, shape (r,), along which G grows in proportion."""
        tangents = self.tangents(state).reshape(self.n_params, self.size**2)
        T = self.factor(state)
        return np.asarray(np.linalg.lstsq(tangents.T, (T @ T.T).reshape(-1), rcond=1e-10)[0])

    @abstractmethod
    def theta(self, state: Array) -> Array:
        """The relative Cholesky parameters as lme4 lists them."""

    @abstractmethod
    def from_theta(self, theta: Array) -> Array:
        """The state with these parameters."""


@dataclass(frozen=True)
class Unstructured(Structure):
    """Any covariance.

    The state is ``[s, U]`` stacked to shape (k + 1, k): G has eigenvectors U (columns) and
    eigenvalues ``s**2``, largest first. The chart is a lower triangle added to ``diag(s)`` in the
    basis U: it has no singular points, where a Cholesky factor fixed in one basis has a curved
    valley whenever an early pivot is small.
    """

    size: int
    equivariance: ClassVar[Equivariance] = "linear"

    @cached_property
    def _lower(self) -> tuple[IntArray, IntArray]:
        columns, rows = np.triu_indices(self.size)
        return rows, columns

    @cached_property
    def _same_column(self) -> Array:
        _, columns = self._lower
        return 2.0 * (columns[:, None] == columns)

    @property
    def n_params(self) -> int:
        return self.size * (self.size + 1) // 2

    def start(self, G: Array) -> Array:
        values, vectors = symmetric_eigen(G)
        return self._state(np.sqrt(np.maximum(values[::-1], 0.0)), vectors[:, ::-1])

    def _state(self, s: Array, U: Array) -> Array:
        state = np.empty((self.size + 1, self.size))
        state[0], state[1:] = s, U
        return state

    def _of_root(self, F: Array) -> Array:
        U, s = left_singular(F)
        return self._state(s, U)

    def factor(self, state: Array) -> Array:
        return state[1:] * state[0]

    def tangents(self, state: Array) -> Array:
        s, U = state[0], state[1:]
        rows, columns = self._lower
        outer = U.T[rows, :, None] * (s[columns, None] * U.T[columns])[:, None, :]
        return outer + outer.transpose(0, 2, 1)

    def of_columns(self, columns: IntArray) -> Structure:
        return Unstructured(len(columns)) if len(columns) > 1 else Diagonal(1)

    def linear_basis(self) -> Array:
        rows, columns = self._lower
        basis = np.zeros((self.n_params, self.size, self.size))
        index = np.arange(self.n_params)
        basis[index, rows, columns] = basis[index, columns, rows] = 1.0
        return basis

    def curvature(self, state: Array, adjoint: Array) -> Array:
        U, rows = state[1:], self._lower[0]
        return self._same_column * (U.T @ adjoint @ U)[rows[:, None], rows]

    def move(self, state: Array, step: Array) -> Array:
        L = np.zeros((self.size, self.size))
        L[self._lower] = step
        L.flat[:: self.size + 1] += state[0]
        return self._of_root(state[1:] @ L)

    def rebase(self, state: Array, B: Array) -> Array:
        return self._of_root(B @ self.factor(state))

    def theta(self, state: Array) -> Array:
        return lower_factor(self.factor(state))[self._lower]

    def from_theta(self, theta: Array) -> Array:
        T = np.zeros((self.size, self.size))
        T[self._lower] = theta
        return self._of_root(T)


class _Parametric(Structure):
    """A family whose state is a vector of parameters, its own chart, within bounds."""

    @property
    def bounds(self) -> tuple[Array, Array] | None:
        """Lower and upper bounds of the parameters, each of shape (r,); None without bounds."""
        return None

    def room(self, state: Array) -> tuple[Array, Array] | None:
        if self.bounds is None:
            return None
        lower, upper = self.bounds
        fall, rise = lower - state, upper - state
        # A step cut short at a bound may miss it by rounding.
        return np.where(fall > -1e-12, 0.0, fall), np.where(rise < 1e-12, 0.0, rise)

    def move(self, state: Array, step: Array) -> Array:
        return state + step


@dataclass(frozen=True)
class Diagonal(_Parametric):
    """Independent effects: one relative standard deviation a column, or one for all.

    The criterion is even in each of them, so none needs a bound.

    Parameters
    ----------
    size : int
    homogeneous : bool
        One common standard deviation (``sigma**2 * s**2 * I``).
    """

    size: int
    homogeneous: bool = False
    uncorrelated: ClassVar[bool] = True

    @property
    def equivariance(self) -> Equivariance:  # type: ignore[override]
        return "scalar" if self.homogeneous else "diagonal"

    @property
    def n_params(self) -> int:
        return 1 if self.homogeneous else self.size

    def start(self, G: Array) -> Array:
        variances = np.maximum(np.diagonal(G), 0.0)
        return np.sqrt(variances.mean(keepdims=True) if self.homogeneous else variances)

    def alternatives(self, G: Array) -> Iterator[Array]:
        if self.homogeneous and self.size > 1:
            yield from np.sqrt(np.maximum(np.diagonal(G), 0.0))[:, None]

    def factor(self, state: Array) -> Array:
        return np.diag(np.broadcast_to(state, self.size))

    def tangents(self, state: Array) -> Array:
        if self.homogeneous:
            return 2.0 * state[0] * np.eye(self.size)[None]
        tangents = np.zeros((self.size,) * 3)
        index = np.arange(self.size)
        tangents[index, index, index] = 2.0 * state
        return tangents

    def of_columns(self, columns: IntArray) -> Structure:
        return Diagonal(len(columns), self.homogeneous)

    def linear_basis(self) -> Array:
        return 0.5 * self.tangents(np.ones(self.n_params))

    def curvature(self, state: Array, adjoint: Array) -> Array:
        diagonal = 2.0 * np.diagonal(adjoint)
        return diagonal.sum().reshape(1, 1) if self.homogeneous else np.diag(diagonal)

    def rebase(self, state: Array, B: Array) -> Array:
        scale = np.diagonal(B)
        return np.abs(state * (scale[:1] if self.homogeneous else scale))

    def theta(self, state: Array) -> Array:
        return np.abs(state)

    def from_theta(self, theta: Array) -> Array:
        return np.asarray(theta, dtype=float)


class _ScaledCorrelation(_Parametric):
    """``G = diag(s) R(rho) diag(s)``: relative standard deviations s, then one correlation."""

    homogeneous: bool

    @property
    def equivariance(self) -> Equivariance:  # type: ignore[override]
        return "scalar" if self.homogeneous else "diagonal"

    @property
    def n_params(self) -> int:
        return 1 + (1 if self.homogeneous else self.size)

    @property
    def _lowest_correlation(self) -> float:
        return -1.0

    @property
    def bounds(self) -> tuple[Array, Array]:
        # One common s enters as its square: it may pass zero, where its slope is zero too.
        lower = np.full(self.n_params, -np.inf if self.homogeneous else 0.0)
        upper = np.full(self.n_params, np.inf)
        lower[-1], upper[-1] = self._lowest_correlation, 1.0
        return lower, upper

    @abstractmethod
    def _correlation(self, rho: float) -> tuple[Array, Array, Array]:
        """R and its first and second derivatives in rho, each of shape (k, k)."""

    @abstractmethod
    def _correlation_factor(self, rho: float) -> Array:
        """Lower-triangular Cholesky factor of R, also where R is singular."""

    @abstractmethod
    def _mean_correlation(self, R: Array) -> float:
        """A correlation parameter for a given correlation matrix."""

    def _scales(self, state: Array) -> Array:
        return np.broadcast_to(state[:-1], self.size)

    def _state(self, s: Array, rho: float, inside: float = 0.9) -> Array:
        """A state, its correlation at most this share of the way to its bounds."""
        rho = np.clip(rho, inside * self._lowest_correlation, inside)
        return np.append(np.sqrt(np.mean(s**2)) if self.homogeneous else s, rho)

    def start(self, G: Array) -> Array:
        s = np.sqrt(np.maximum(np.diagonal(G), 1e-12))
        return self._state(s, self._mean_correlation(G / np.outer(s, s)))

    def alternatives(self, G: Array) -> Iterator[Array]:
        s = np.sqrt(np.maximum(np.diagonal(G), 1e-12))
        scales = [np.full_like(s, one) for one in s] if self.homogeneous else [s]
        for scale in scales:
            for rho in (0.6, 0.0, 0.6 * self._lowest_correlation):
                yield self._state(scale, rho)

    def factor(self, state: Array) -> Array:
        return np.abs(self._scales(state))[:, None] * self._correlation_factor(float(state[-1]))

    def tangents(self, state: Array) -> Array:
        s = self._scales(state)
        R, dR, _ = self._correlation(float(state[-1]))
        by_scale = np.zeros((self.size,) * 3)
        index = np.arange(self.size)
        by_scale[index, index] = R * s
        by_scale += by_scale.transpose(0, 2, 1)
        if self.homogeneous:
            by_scale = by_scale.sum(axis=0, keepdims=True)
        return np.concatenate([by_scale, (np.outer(s, s) * dR)[None]])

    def curvature(self, state: Array, adjoint: Array) -> Array:
        s = self._scales(state)
        R, dR, d2R = self._correlation(float(state[-1]))
        scales = 2.0 * adjoint * R
        mixed = 2.0 * (adjoint * dR) @ s
        if self.homogeneous:
            scales, mixed = scales.sum().reshape(1, 1), mixed.sum(keepdims=True)
        corner = np.array([[s @ (adjoint * d2R) @ s]])
        return np.block([[scales, mixed[:, None]], [mixed[None, :], corner]])

    def rebase(self, state: Array, B: Array) -> Array:
        scale = np.abs(np.diagonal(B))
        return np.append(np.abs(state[:-1]) * (scale[:1] if self.homogeneous else scale), state[-1])

    def theta(self, state: Array) -> Array:
        columns, rows = np.triu_indices(self.size)
        return self.factor(state)[rows, columns]

    def from_theta(self, theta: Array) -> Array:
        T = np.zeros((self.size, self.size))
        columns, rows = np.triu_indices(self.size)
        T[rows, columns] = theta
        s = np.sqrt(np.einsum("ab,ab->a", T, T))
        nonzero = np.maximum(s, 1e-300)
        R = T @ T.T / np.outer(nonzero, nonzero)
        return self._state(s, self._mean_correlation(R), inside=1.0)


@dataclass(frozen=True)
class CompoundSymmetry(_ScaledCorrelation):
    """One correlation between all pairs; a standard deviation each, or one for all."""

    size: int
    homogeneous: bool = False

    def of_columns(self, columns: IntArray) -> Structure:
        if len(columns) == 1:
            return Diagonal(1)
        return CompoundSymmetry(len(columns), self.homogeneous)

    def linear_basis(self) -> Array | None:
        if not self.homogeneous:
            return None
        return np.stack([np.eye(self.size), 1.0 - np.eye(self.size)])

    @property
    def _lowest_correlation(self) -> float:
        return -1.0 / (self.size - 1)

    def _correlation(self, rho: float) -> tuple[Array, Array, Array]:
        off = 1.0 - np.eye(self.size)
        return np.eye(self.size) + rho * off, off, np.zeros_like(off)

    def _correlation_factor(self, rho: float) -> Array:
        T = np.zeros((self.size, self.size))
        explained = 0.0
        for column in range(self.size):
            pivot = max(1.0 - explained, 0.0)
            if pivot > 1e-15:
                T[column, column] = np.sqrt(pivot)
                T[column + 1 :, column] = (rho - explained) / T[column, column]
                explained += (rho - explained) ** 2 / pivot
        return T

    def _mean_correlation(self, R: Array) -> float:
        return float(R[np.tril_indices(self.size, -1)].mean())


@dataclass(frozen=True)
class AR1(_ScaledCorrelation):
    """Correlation ``rho**|i - j|`` between columns i and j, taken in their order."""

    size: int
    homogeneous: bool = True

    def _correlation(self, rho: float) -> tuple[Array, Array, Array]:
        index = np.arange(self.size)
        lag = np.abs(index[:, None] - index[None, :]).astype(float)
        first = lag * rho ** np.maximum(lag - 1.0, 0.0)
        second = lag * (lag - 1.0) * rho ** np.maximum(lag - 2.0, 0.0)
        return rho**lag, first, second

    def _correlation_factor(self, rho: float) -> Array:
        index = np.arange(self.size)
        lag = np.maximum(index[:, None] - index[None, :], 0).astype(float)
        T = np.tril(rho**lag)
        T[:, 1:] *= np.sqrt(max(1.0 - rho * rho, 0.0))
        return T

    def _mean_correlation(self, R: Array) -> float:
        return float(np.diagonal(R, 1).mean())


def joined_room(
    rooms: Sequence[tuple[Array, Array] | None], lengths: Sequence[int]
) -> tuple[Array, Array] | None:
    """The room of several structures' coordinates, one after the other."""
    if all(room is None for room in rooms):
        return None
    parts = [
        (np.full(length, -np.inf), np.full(length, np.inf)) if room is None else room
        for room, length in zip(rooms, lengths, strict=True)
    ]
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


@dataclass(frozen=True)
class BlockDiagonal(Structure):
    """Independent blocks, each with a structure of its own, side by side in one term.

    The state holds the blocks' states one after the other.
    """

    blocks: tuple[Structure, ...]

    @property
    def equivariance(self) -> Equivariance:  # type: ignore[override]
        kinds = {block.equivariance for block in self.blocks}
        return "scalar" if "scalar" in kinds else "diagonal"

    @property
    def size(self) -> int:  # type: ignore[override]
        return sum(block.size for block in self.blocks)

    @property
    def n_params(self) -> int:
        return sum(block.n_params for block in self.blocks)

    @cached_property
    def _parts(self) -> tuple[tuple[Structure, slice, slice], ...]:
        """Each block, its columns and its coordinates."""
        out, column, parameter = [], 0, 0
        for block in self.blocks:
            columns = slice(column, column + block.size)
            parameters = slice(parameter, parameter + block.n_params)
            out.append((block, columns, parameters))
            column, parameter = columns.stop, parameters.stop
        return tuple(out)

    def _split(self, state: Array) -> list[Array]:
        out, start = [], 0
        for block in self.blocks:
            shape = block.start(np.eye(block.size)).shape
            length = int(np.prod(shape))
            out.append(state[start : start + length].reshape(shape))
            start += length
        return out

    def _join(self, states: list[Array]) -> Array:
        return np.concatenate([state.ravel() for state in states])

    def start(self, G: Array) -> Array:
        return self._join([block.start(G[c, c]) for block, c, _ in self._parts])

    def factor(self, state: Array) -> Array:
        T = np.zeros((self.size, self.size))
        for (block, c, _), part in zip(self._parts, self._split(state), strict=True):
            T[c, c] = block.factor(part)
        return T

    def tangents(self, state: Array) -> Array:
        tangents = np.zeros((self.n_params, self.size, self.size))
        for (block, c, r), part in zip(self._parts, self._split(state), strict=True):
            tangents[r, c, c] = block.tangents(part)
        return tangents

    def linear_basis(self) -> Array | None:
        bases = [(block.linear_basis(), columns) for block, columns, _ in self._parts]
        padded = []
        for basis, columns in bases:
            if basis is None:
                return None
            whole = np.zeros((len(basis), self.size, self.size))
            whole[:, columns, columns] = basis
            padded.append(whole)
        return np.concatenate(padded)

    def curvature(self, state: Array, adjoint: Array) -> Array:
        curvature = np.zeros((self.n_params, self.n_params))
        for (block, c, r), part in zip(self._parts, self._split(state), strict=True):
            curvature[r, r] = block.curvature(part, adjoint[c, c])
        return curvature

    def room(self, state: Array) -> tuple[Array, Array] | None:
        rooms = [b.room(p) for b, p in zip(self.blocks, self._split(state), strict=True)]
        return joined_room(rooms, [block.n_params for block in self.blocks])

    def move(self, state: Array, step: Array) -> Array:
        return self._join(
            [
                block.move(part, step[r])
                for (block, _, r), part in zip(self._parts, self._split(state), strict=True)
            ]
        )

    def rebase(self, state: Array, B: Array) -> Array:
        return self._join(
            [
                block.rebase(part, B[c, c])
                for (block, c, _), part in zip(self._parts, self._split(state), strict=True)
            ]
        )

    def theta(self, state: Array) -> Array:
        parts = zip(self.blocks, self._split(state), strict=True)
        return np.concatenate([block.theta(part) for block, part in parts])

    def from_theta(self, theta: Array) -> Array:
        states, start = [], 0
        for block in self.blocks:
            length = len(block.theta(block.start(np.eye(block.size))))
            states.append(block.from_theta(theta[start : start + length]))
            start += length
        return self._join(states)
