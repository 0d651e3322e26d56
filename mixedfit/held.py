"""Covariance structures with one coordinate that does not move.

A profile fixes a standard deviation or a correlation and searches over everything else. `Held`
fixes one coordinate of any structure; `CholeskyChart` gives the unstructured family coordinates
among which are the standard deviations and the correlation of two of its columns.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import numpy as np

from mixedfit.arrays import Array, IntArray
from mixedfit.covariance import Equivariance, Structure
from mixedfit.linalg import lower_factor

__all__ = ["CholeskyChart", "Held"]


@dataclass(frozen=True)
class CholeskyChart(Structure):
    """Any covariance ``G = F T T' F'``, its state a lower triangle T told by rows.

    The first two rows of T are ``(s_1, 0, ...)`` and ``s_2 (sin phi, cos phi, 0, ...)``, so that
    the correlation of the first two columns is ``sin(phi)``. Their standard deviations are not
    negative.

    Parameters
    ----------
    frame : array of shape (k, k)
        F: column i is where the i-th of the ordered columns lies in working coordinates.
    """

    frame: Array = field(repr=False)
    equivariance: ClassVar[Equivariance] = "linear"

    FIRST_SD: ClassVar[int] = 0
    ANGLE: ClassVar[int] = 2

    @property
    def size(self) -> int:  # type: ignore[override]
        return len(self.frame)

    @property
    def n_params(self) -> int:
        return self.size * (self.size + 1) // 2

    @cached_property
    def _rest(self) -> tuple[IntArray, IntArray]:
        """Rows and columns of the entries of T below its second row."""
        rows, columns = np.tril_indices(self.size)
        return rows[3:], columns[3:]

    def of_root(self, root: Array) -> Array:
        """The state of a working square root of G, (k, m)."""
        T = lower_factor(np.asarray(np.linalg.solve(self.frame, root), dtype=float))
        state = np.empty(self.n_params)
        state[0], state[1] = T[0, 0], np.hypot(T[1, 0], T[1, 1])
        state[2] = np.arctan2(T[1, 0], T[1, 1])
        state[3:] = T[self._rest]
        return state

    def start(self, G: Array) -> Array:
        values, vectors = np.linalg.eigh(G)
        return self.of_root(vectors * np.sqrt(np.maximum(values, 0.0)))

    def _lower(self, state: Array) -> Array:
        T = np.zeros((self.size, self.size))
        T[0, 0] = state[0]
        T[1, 0], T[1, 1] = state[1] * np.sin(state[2]), state[1] * np.cos(state[2])
        T[self._rest] = state[3:]
        return T

    def _lower_tangents(self, state: Array) -> Array:
        dT = np.zeros((self.n_params, self.size, self.size))
        sine, cosine = np.sin(state[2]), np.cos(state[2])
        dT[0, 0, 0] = 1.0
        dT[1, 1, :2] = sine, cosine
        dT[2, 1, :2] = state[1] * cosine, -state[1] * sine
        rows, columns = self._rest
        dT[np.arange(3, self.n_params), rows, columns] = 1.0
        return dT

    def factor(self, state: Array) -> Array:
        return self.frame @ self._lower(state)

    def tangents(self, state: Array) -> Array:
        half = self._lower_tangents(state) @ self._lower(state).T
        return self.frame @ (half + half.transpose(0, 2, 1)) @ self.frame.T

    def curvature(self, state: Array, adjoint: Array) -> Array:
        A = self.frame.T @ adjoint @ self.frame
        dT, T = self._lower_tangents(state), self._lower(state)
        AdT = (A @ dT).reshape(len(dT), -1)
        out = 2.0 * dT.reshape(len(dT), -1) @ AdT.T
        slopes = 2.0 * (A @ T)[1, :2]
        sine, cosine = np.sin(state[2]), np.cos(state[2])
        out[1, 2] += slopes @ (cosine, -sine)
        out[2, 1] = out[1, 2]
        out[2, 2] -= state[1] * (slopes @ (sine, cosine))
        return out

    def room(self, state: Array) -> tuple[Array, Array] | None:
        fall = np.full(self.n_params, -np.inf)
        fall[:2] = np.where(state[:2] < 1e-12, 0.0, -state[:2])
        return fall, np.full(self.n_params, np.inf)

    def move(self, state: Array, step: Array) -> Array:
        return state + step

    def rebase(self, state: Array, B: Array) -> Array:
        return self.of_root(B @ self.factor(state))

    def theta(self, state: Array) -> Array:
        columns, rows = np.triu_indices(self.size)
        return lower_factor(self.factor(state))[rows, columns]

    def from_theta(self, theta: Array) -> Array:
        T = np.zeros((self.size, self.size))
        columns, rows = np.triu_indices(self.size)
        T[rows, columns] = theta
        return self.of_root(T)


@dataclass(frozen=True)
class Held(Structure):
    """A structure one of whose coordinates stays where it is.

    Parameters
    ----------
    structure : Structure
    coordinate : int
    """

    structure: Structure
    coordinate: int

    @property
    def equivariance(self) -> Equivariance:  # type: ignore[override]
        return self.structure.equivariance

    @property
    def size(self) -> int:  # type: ignore[override]
        return self.structure.size

    @property
    def n_params(self) -> int:
        return self.structure.n_params

    def start(self, G: Array) -> Array:
        return self.structure.start(G)

    def factor(self, state: Array) -> Array:
        return self.structure.factor(state)

    def tangents(self, state: Array) -> Array:
        return self.structure.tangents(state)

    def curvature(self, state: Array, adjoint: Array) -> Array:
        return self.structure.curvature(state, adjoint)

    def room(self, state: Array) -> tuple[Array, Array] | None:
        room = self.structure.room(state)
        if room is None:
            room = np.full(self.n_params, -np.inf), np.full(self.n_params, np.inf)
        fall, rise = room[0].copy(), room[1].copy()
        fall[self.coordinate] = rise[self.coordinate] = 0.0
        return fall, rise

    def move(self, state: Array, step: Array) -> Array:
        return self.structure.move(state, step)

    def rebase(self, state: Array, B: Array) -> Array:
        return self.structure.rebase(state, B)

    def theta(self, state: Array) -> Array:
        return self.structure.theta(state)

    def from_theta(self, theta: Array) -> Array:
        return self.structure.from_theta(theta)
