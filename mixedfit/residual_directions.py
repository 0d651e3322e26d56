"""Directions in which a residual covariance moves, for inference about the fixed effects.

At ``V = R(delta) + Z G Z'`` (residual variance 1) the derivatives ``D_s = dR/d delta_s`` act on
rows. Where R is linear in some parameters, they span the same space at every delta; that is looked
at rather than asked, by their products with a few vectors.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from mixedfit.arrays import Array
from mixedfit.residual_likelihood import ResidualEvaluation

__all__ = ["ResidualDirections", "solved_columns"]

# Step of the central differences of first derivatives, in a coordinate of delta.
_STEP = 1e-4
# Vectors by which directions are told apart, and how far from the start they are looked at.
_VECTORS = 3
_AWAY = 0.3
_NOTHING = 1e-7


def solved_columns(point: ResidualEvaluation) -> Array:
    """``V^-1 X``, transposed, shape (p, n)."""
    p = point.likelihood.products.p
    rows = []
    for unit in np.eye(p + 1)[:p]:
        u, _ = point.eliminated.effects(unit)
        rows.append(point.whitened.combine([-own for own in u], unit))
    return np.stack(rows) if rows else np.zeros((0, point.likelihood.products.n))


class ResidualDirections:
    """The derivatives of R at a point, as Kenward and Roger's method needs them.

    Parameters
    ----------
    point : ResidualEvaluation
    """

    def __init__(self, point: ResidualEvaluation) -> None:
        self.point = point
        self.whitening = point.whitened.whitening
        n = len(self.whitening.sd)
        rng = np.random.default_rng(0)
        self.vectors = np.sign(rng.standard_normal((_VECTORS, n)))
        self.seen = self._seen(point.delta)

    def _seen(self, delta: Array) -> Array:
        """Products of the directions at delta with the vectors, (vectors * n, s)."""
        moved = self.point.problem.residual.at(delta).derivative(self.vectors)
        return moved.reshape(len(moved), -1).T

    @cached_property
    def linear(self) -> bool:
        """Whether R is linear in some parameters: looked at around where a search starts."""
        start, units = self.point.problem.residual.start, self.point.units
        signs = np.sign(np.random.default_rng(1).standard_normal((4, len(start))))
        try:
            here = self._seen(start)
            there = [self._seen(start + _AWAY * sign * units) for sign in signs]
        except np.linalg.LinAlgError:
            return False
        return all(_expressed(here, other)[1] < _NOTHING for other in there)

    @cached_property
    def fixed(self) -> Array:
        """``V^-1 X``, transposed, shape (p, n)."""
        return solved_columns(self.point)

    @cached_property
    def moved(self) -> Array:
        """``D_s V^-1 X``, transposed, shape (s, p, n)."""
        return self.whitening.derivative(self.fixed)

    def solve(self, rows: Array) -> tuple[list[Array], Array]:
        """``Z'V^-1 v``, (m, k, J) a grouping factor, and ``V^-1 v``, (m, n), for m rows v."""
        point = self.point
        whitened = self.whitening.whiten(rows)
        solved = self.whitening.whiten_transposed(whitened)
        Z, _ = point.whitened.products_with(whitened)
        if not Z:
            return [], solved
        u = point.eliminated.solve(Z)
        nothing = np.zeros(point.likelihood.products.p + 1)
        for i in range(len(rows)):
            solved[i] -= point.whitened.combine([own[i] for own in u], nothing)
        out = [z.copy() for z in Z]
        for f, x in enumerate(u):
            for g, taken in enumerate(point.likelihood.products.multiply(f, x)):
                out[g] -= taken
        return out, solved

    def traces(self, tangents: list[Array]) -> Array:
        """``tr(V^-1 V_r V^-1 V_s)``: a column a direction s, shape (1 + m + s, s).

        Minus the derivatives of ``tr(V^-1 V_r)`` in delta, by central differences; V_r is held.
        """
        first = self._first(self.point, tangents)
        columns = []
        for s, step in enumerate(_STEP * self.point.units):
            move = np.zeros(len(self.point.delta))
            move[s] = step
            up, down = (self._at(self.point.delta + sign * move, tangents) for sign in (1, -1))
            columns.append((down - up) / (2.0 * step))
        s = len(self.point.delta)
        return np.vstack([first[-s:], np.column_stack(columns)])

    def _at(self, delta: Array, tangents: list[Array]) -> Array:
        """``tr(V(delta)^-1 V_r)`` for the directions V_r of the point itself."""
        traces = self._first(self.point.problem.at(self.point.states, delta), tangents)
        M, _ = _expressed(self.seen, self._seen(delta))
        s = len(delta)
        return np.concatenate([traces[:-s], M.T @ traces[-s:]])

    @staticmethod
    def _first(point: ResidualEvaluation, tangents: list[Array]) -> Array:
        """``tr(V^-1 V_r)`` for the tangents of G and the directions of R at a point."""
        nothing = np.zeros_like(point.eliminated.S)
        adjoint = point.eliminated.adjoint(nothing)
        products = point.eliminated.products_adjoint(nothing, adjoint)
        parts = [np.einsum("rab,ab->r", dG, G) for dG, G in zip(tangents, adjoint.G, strict=True)]
        own = point.whitened.whitening.trace + point.whitened.adjoint(products)
        return np.concatenate([*parts, own])


def _expressed(directions: Array, others: Array) -> tuple[Array, float]:
    """M in ``directions = others M``, (m, s) each, and what is left, relative to the directions."""
    size, length = (np.linalg.norm(D, axis=0) for D in (others, directions))
    size, length = np.where(size > 0.0, size, 1.0), np.where(length > 0.0, length, 1.0)
    M = np.linalg.lstsq(others / size, directions, rcond=None)[0] / size[:, None]
    rest = np.linalg.norm(directions - others @ M, axis=0)
    return M, float((rest / length).max(initial=0.0))
