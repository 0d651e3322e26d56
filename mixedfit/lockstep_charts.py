"""Charts of covariance structures for many covariances at once: `covariance` with a leading axis.

The states of m covariances are their square roots' singular parts, arrays with m rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from mixedfit.arrays import Array, BoolArray, IntArray

__all__ = ["DiagonalChart", "States", "TermCharts", "UnstructuredChart"]


@dataclass(frozen=True)
class UnstructuredChart:
    """Any covariance of order k; the state is (m, k + 1, k) as in `covariance.Unstructured`."""

    size: int

    @property
    def n_params(self) -> int:
        """Coordinates of one covariance."""
        return self.size * (self.size + 1) // 2

    @cached_property
    def _lower(self) -> tuple[IntArray, IntArray]:
        columns, rows = np.triu_indices(self.size)
        return rows, columns

    def of_root(self, T: Array) -> Array:
        """States of square roots of shape (m, k, k)."""
        U, s, _ = np.linalg.svd(T)
        return np.concatenate([s[:, None, :], U], axis=1)

    def of_covariance(self, G: Array) -> Array:
        """States of positive definite G of shape (m, k, k)."""
        values, vectors = np.linalg.eigh(G)
        s = np.sqrt(np.maximum(values[:, ::-1], 0.0))
        return np.concatenate([s[:, None, :], vectors[:, :, ::-1]], axis=1)

    def root(self, state: Array) -> Array:
        """Square roots T."""
        return state[:, 1:] * state[:, :1]

    def tangents(self, state: Array) -> Array:
        """Derivatives of G, (m, r, k, k)."""
        s, U = state[:, 0], state[:, 1:].transpose(0, 2, 1)
        rows, columns = self._lower
        outer = U[:, rows, :, None] * (s[:, columns, None] * U[:, columns])[:, :, None, :]
        return outer + outer.transpose(0, 1, 3, 2)

    def curvature(self, state: Array, adjoint: Array) -> Array:
        """Second derivatives of ``sum(adjoint * G)``, (m, r, r)."""
        U, (rows, columns) = state[:, 1:], self._lower
        rotated = U.transpose(0, 2, 1) @ adjoint @ U
        same = 2.0 * (columns[:, None] == columns)
        return same * rotated[:, rows[:, None], rows]

    def moved(self, state: Array, step: Array) -> Array:
        """Square roots where steps of shape (m, r) lead."""
        L = np.zeros((len(step), self.size, self.size))
        rows, columns = self._lower
        L[:, rows, columns] = step
        index = np.arange(self.size)
        L[:, index, index] += state[:, 0]
        return state[:, 1:] @ L

    def without_null(self, scaled: Array, least: float) -> tuple[Array, BoolArray]:
        """Roots without directions of variance below ``least``, and which had any."""
        U, s, Vt = np.linalg.svd(scaled)
        null = s**2 < least
        return (U * np.where(null, 0.0, s)[:, None, :]) @ Vt, np.any(null, axis=1)


@dataclass(frozen=True)
class DiagonalChart:
    """Independent effects; the state is (m, k), or (m, 1) with one common standard deviation."""

    size: int
    homogeneous: bool = False

    @property
    def n_params(self) -> int:
        """Coordinates of one covariance."""
        return 1 if self.homogeneous else self.size

    def of_root(self, T: Array) -> Array:
        """States of square roots of shape (m, k, k)."""
        return np.einsum("maa->ma", T)[:, : self.n_params].copy()

    def of_covariance(self, G: Array) -> Array:
        """States nearest to G of shape (m, k, k)."""
        variances = np.maximum(np.einsum("maa->ma", G), 0.0)
        return np.sqrt(variances.mean(axis=1, keepdims=True) if self.homogeneous else variances)

    def root(self, state: Array) -> Array:
        """Square roots T."""
        out = np.zeros((len(state), self.size, self.size))
        index = np.arange(self.size)
        out[:, index, index] = state
        return out

    def tangents(self, state: Array) -> Array:
        """Derivatives of G, (m, r, k, k)."""
        index = np.arange(self.size)
        out = np.zeros((len(state), self.n_params, self.size, self.size))
        if self.homogeneous:
            out[:, 0, index, index] = 2.0 * state
        else:
            out[:, index, index, index] = 2.0 * state
        return out

    def curvature(self, state: Array, adjoint: Array) -> Array:
        """Second derivatives of ``sum(adjoint * G)``, (m, r, r)."""
        diagonal = 2.0 * np.einsum("maa->ma", adjoint)
        if self.homogeneous:
            return diagonal.sum(axis=1)[:, None, None]
        out = np.zeros((len(state), self.size, self.size))
        index = np.arange(self.size)
        out[:, index, index] = diagonal
        return out

    def moved(self, state: Array, step: Array) -> Array:
        """Square roots where steps of shape (m, r) lead."""
        return self.root(state + step)

    def without_null(self, scaled: Array, least: float) -> tuple[Array, BoolArray]:
        """Roots without variances below ``least``, and which had any."""
        s = np.einsum("maa->ma", scaled)
        null = s**2 < least
        return scaled * ~null[:, None, :], np.any(null, axis=1)


Chart = UnstructuredChart | DiagonalChart
States = tuple[Array, ...]


@dataclass(frozen=True)
class TermCharts:
    """The charts of several terms of one grouping factor, side by side.

    Parameters
    ----------
    charts : sequence of charts
    columns : sequence of slice
        Each term's columns.
    """

    charts: Sequence[Chart]
    columns: Sequence[slice]

    @property
    def size(self) -> int:
        """Columns of all terms."""
        return sum(chart.size for chart in self.charts)

    @property
    def n_params(self) -> int:
        """Coordinates of all terms."""
        return sum(chart.n_params for chart in self.charts)

    @property
    def _slices(self) -> list[slice]:
        ends = np.cumsum([0, *(chart.n_params for chart in self.charts)])
        return [slice(a, b) for a, b in pairwise(ends)]

    def _blocks(self, parts: Sequence[Array], m: int) -> Array:
        out = np.zeros((m, self.size, self.size))
        for part, c in zip(parts, self.columns, strict=True):
            out[:, c, c] = part
        return out

    def of_root(self, T: Array) -> States:
        """States of square roots of shape (m, k, k)."""
        return tuple(
            chart.of_root(T[:, c, c]) for chart, c in zip(self.charts, self.columns, strict=True)
        )

    def of_covariance(self, G: Array) -> States:
        """States nearest to covariances G of shape (m, k, k)."""
        return tuple(
            chart.of_covariance(G[:, c, c])
            for chart, c in zip(self.charts, self.columns, strict=True)
        )

    def root(self, states: States) -> Array:
        """Square roots T."""
        parts = [chart.root(state) for chart, state in zip(self.charts, states, strict=True)]
        return self._blocks(parts, len(states[0]))

    def tangents(self, states: States) -> Array:
        """Derivatives of G, (m, r, k, k)."""
        out = np.zeros((len(states[0]), self.n_params, self.size, self.size))
        for chart, state, c, rows in zip(
            self.charts, states, self.columns, self._slices, strict=True
        ):
            out[:, rows, c, c] = chart.tangents(state)
        return out

    def curvature(self, states: States, adjoint: Array) -> Array:
        """Second derivatives of ``sum(adjoint * G)``, (m, r, r)."""
        out = np.zeros((len(states[0]), self.n_params, self.n_params))
        for chart, state, c, rows in zip(
            self.charts, states, self.columns, self._slices, strict=True
        ):
            out[:, rows, rows] = chart.curvature(state, adjoint[:, c, c])
        return out

    def moved(self, states: States, step: Array) -> Array:
        """Square roots where steps of shape (m, r) lead."""
        parts = [
            chart.moved(state, step[:, rows])
            for chart, state, rows in zip(self.charts, states, self._slices, strict=True)
        ]
        return self._blocks(parts, len(step))

    def take(self, states: States, which: BoolArray) -> States:
        """Some of the states."""
        return tuple(state[which] for state in states)

    def chosen(self, which: BoolArray, new: States, old: States) -> States:
        """The new states where asked, the old ones elsewhere."""
        return tuple(
            np.where(which.reshape(-1, *([1] * (a.ndim - 1))), a, b)
            for a, b in zip(new, old, strict=True)
        )
