"""Covariance structures of the random effects: parameters to the relative covariance and back.

A random term with k columns has, at every level of its grouping factor, effects with covariance
``sigma**2 * G(params)``, where ``G = T T'`` is k x k. A structure knows how its parameters fill T,
how G and its derivatives depend on them, and how they change when the columns are rescaled; nobody
else asks which kind it is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np

from mixedfit.arrays import Array, IntArray
from mixedfit.linalg import lower_factor

__all__ = [
    "AR1",
    "BlockDiagonal",
    "CompoundSymmetry",
    "Diagonal",
    "Structure",
    "Unstructured",
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
        """Number of parameters."""

    @property
    def bounds(self) -> tuple[Array, Array]:
        """Lower and upper bounds of the parameters, each of shape (n_params,)."""
        return np.full(self.n_params, -np.inf), np.full(self.n_params, np.inf)

    @abstractmethod
    def start(self, G: Array) -> Array:
        """Parameters of the member nearest in kind to a positive definite G of shape (k, k)."""

    @abstractmethod
    def factor(self, params: Array) -> Array:
        """Lower-triangular T of shape (k, k)."""

    @abstractmethod
    def tangents(self, params: Array) -> Array:
        """Derivatives of G in each parameter, shape (n_params, k, k)."""

    @abstractmethod
    def curvature(self, params: Array, adjoint: Array) -> Array:
        """Second derivatives of ``sum(adjoint * G)``, shape (n_params, n_params)."""

    @abstractmethod
    def rebase(self, params: Array, B: Array) -> Array:
        """Parameters of ``B G B'`` for a change of basis B of shape (k, k) the family allows."""

    @abstractmethod
    def theta(self, params: Array) -> Array:
        """The relative Cholesky parameters as lme4 lists them."""

    @abstractmethod
    def from_theta(self, theta: Array) -> Array:
        """Parameters from lme4's list; the inverse of `theta`."""


@dataclass(frozen=True)
class Unstructured(Structure):
    """Any covariance: T is a free lower triangle, listed by column.

    The criterion is even in each column of T, so no bound is needed; `theta` gives the
    representative with a non-negative diagonal.
    """

    size: int
    equivariance: ClassVar[Equivariance] = "linear"

    @cached_property
    def _lower(self) -> tuple[IntArray, IntArray]:
        columns, rows = np.triu_indices(self.size)
        return rows, columns

    @property
    def n_params(self) -> int:
        return self.size * (self.size + 1) // 2

    def start(self, G: Array) -> Array:
        return np.asarray(np.linalg.cholesky(G)[self._lower])

    def factor(self, params: Array) -> Array:
        T = np.zeros((self.size, self.size))
        T[self._lower] = params
        return T

    def tangents(self, params: Array) -> Array:
        T = self.factor(params)
        rows, columns = self._lower
        tangents = np.zeros((self.n_params, self.size, self.size))
        index = np.arange(self.n_params)
        tangents[index, rows] = T[:, columns].T
        return tangents + tangents.transpose(0, 2, 1)

    def curvature(self, params: Array, adjoint: Array) -> Array:
        rows, columns = self._lower
        same_column = columns[:, None] == columns[None, :]
        return 2.0 * np.where(same_column, adjoint[np.ix_(rows, rows)], 0.0)

    def rebase(self, params: Array, B: Array) -> Array:
        return lower_factor(B @ self.factor(params))[self._lower]

    def theta(self, params: Array) -> Array:
        return lower_factor(self.factor(params))[self._lower]

    def from_theta(self, theta: Array) -> Array:
        return np.asarray(theta, dtype=float)


@dataclass(frozen=True)
class Diagonal(Structure):
    """Independent effects: one relative standard deviation a column, or one for all.

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

    def factor(self, params: Array) -> Array:
        return np.diag(np.broadcast_to(params, self.size))

    def tangents(self, params: Array) -> Array:
        if self.homogeneous:
            return 2.0 * params[0] * np.eye(self.size)[None]
        tangents = np.zeros((self.size,) * 3)
        index = np.arange(self.size)
        tangents[index, index, index] = 2.0 * params
        return tangents

    def curvature(self, params: Array, adjoint: Array) -> Array:
        diagonal = 2.0 * np.diagonal(adjoint)
        return diagonal.sum().reshape(1, 1) if self.homogeneous else np.diag(diagonal)

    def rebase(self, params: Array, B: Array) -> Array:
        scale = np.diagonal(B)
        return np.abs(params * (scale[:1] if self.homogeneous else scale))

    def theta(self, params: Array) -> Array:
        return np.abs(params)

    def from_theta(self, theta: Array) -> Array:
        return np.asarray(theta, dtype=float)


@dataclass(frozen=True)
class _ScaledCorrelation(Structure):
    """``G = diag(s) R(rho) diag(s)``: relative standard deviations s, then one correlation."""

    size: int
    homogeneous: bool = False

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
        lower = np.zeros(self.n_params)
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

    def _scales(self, params: Array) -> Array:
        return np.broadcast_to(params[:-1], self.size)

    def start(self, G: Array) -> Array:
        s = np.sqrt(np.maximum(np.diagonal(G), 1e-12))
        rho = self._mean_correlation(G / np.outer(s, s)) if self.size > 1 else 0.0
        inside = np.clip(rho, 0.9 * self._lowest_correlation, 0.9)
        return np.append(np.sqrt(np.mean(s**2)) if self.homogeneous else s, inside)

    def factor(self, params: Array) -> Array:
        return self._scales(params)[:, None] * self._correlation_factor(float(params[-1]))

    def tangents(self, params: Array) -> Array:
        s = self._scales(params)
        R, dR, _ = self._correlation(float(params[-1]))
        by_scale = np.zeros((self.size,) * 3)
        index = np.arange(self.size)
        by_scale[index, index] = R * s
        by_scale += by_scale.transpose(0, 2, 1)
        if self.homogeneous:
            by_scale = by_scale.sum(axis=0, keepdims=True)
        return np.concatenate([by_scale, (np.outer(s, s) * dR)[None]])

    def curvature(self, params: Array, adjoint: Array) -> Array:
        s = self._scales(params)
        R, dR, d2R = self._correlation(float(params[-1]))
        scales = 2.0 * adjoint * R
        mixed = 2.0 * (adjoint * dR) @ s
        if self.homogeneous:
            scales, mixed = scales.sum().reshape(1, 1), mixed.sum(keepdims=True)
        corner = np.array([[s @ (adjoint * d2R) @ s]])
        return np.block([[scales, mixed[:, None]], [mixed[None, :], corner]])

    def rebase(self, params: Array, B: Array) -> Array:
        scale = np.abs(np.diagonal(B))
        return np.append(params[:-1] * (scale[:1] if self.homogeneous else scale), params[-1])

    def theta(self, params: Array) -> Array:
        columns, rows = np.triu_indices(self.size)
        return self.factor(params)[rows, columns]

    def from_theta(self, theta: Array) -> Array:
        T = np.zeros((self.size, self.size))
        columns, rows = np.triu_indices(self.size)
        T[rows, columns] = theta
        return self.start(T @ T.T)


@dataclass(frozen=True)
class CompoundSymmetry(_ScaledCorrelation):
    """One correlation between all pairs; a standard deviation each, or one for all."""

    @property
    def _lowest_correlation(self) -> float:
        return -1.0 / (self.size - 1) if self.size > 1 else -1.0

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


@dataclass(frozen=True)
class BlockDiagonal(Structure):
    """Independent blocks, each with a structure of its own, side by side on one grouping factor."""

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
    def _slices(self) -> tuple[tuple[Structure, slice, slice], ...]:
        out, column, parameter = [], 0, 0
        for block in self.blocks:
            columns = slice(column, column + block.size)
            parameters = slice(parameter, parameter + block.n_params)
            out.append((block, columns, parameters))
            column, parameter = columns.stop, parameters.stop
        return tuple(out)

    @property
    def bounds(self) -> tuple[Array, Array]:
        lower, upper = zip(*(block.bounds for block in self.blocks), strict=True)
        return np.concatenate(lower), np.concatenate(upper)

    def start(self, G: Array) -> Array:
        return np.concatenate([block.start(G[c, c]) for block, c, _ in self._slices])

    def factor(self, params: Array) -> Array:
        T = np.zeros((self.size, self.size))
        for block, c, r in self._slices:
            T[c, c] = block.factor(params[r])
        return T

    def tangents(self, params: Array) -> Array:
        tangents = np.zeros((self.n_params, self.size, self.size))
        for block, c, r in self._slices:
            tangents[r, c, c] = block.tangents(params[r])
        return tangents

    def curvature(self, params: Array, adjoint: Array) -> Array:
        curvature = np.zeros((self.n_params, self.n_params))
        for block, c, r in self._slices:
            curvature[r, r] = block.curvature(params[r], adjoint[c, c])
        return curvature

    def rebase(self, params: Array, B: Array) -> Array:
        return np.concatenate([block.rebase(params[r], B[c, c]) for block, c, r in self._slices])

    def theta(self, params: Array) -> Array:
        return np.concatenate([block.theta(params[r]) for block, _, r in self._slices])

    def from_theta(self, theta: Array) -> Array:
        out, start = [], 0
        for block in self.blocks:
            length = len(block.theta(np.zeros(block.n_params)))
            out.append(block.from_theta(theta[start : start + length]))
            start += length
        return np.concatenate(out)
