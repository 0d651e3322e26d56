"""The criterion as a function of the random effects' covariances and of a residual structure.

With ``Var e = sigma^2 R(delta)``, rows are whitened and reduced (`whitened`); at one delta the
criterion is that of the whitened rows (`likelihood`) plus ``log|R|``. Its derivatives in delta are

    tr(R^-1 dR) - <B M B', dR>,    B = R^-1 [Z X y],

with M the derivative in the cross-products, which the elimination carries back. Coordinates of a
point are those of G, term by term, then delta.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mixedfit.arrays import Array
from mixedfit.covariance import Structure, joined_room
from mixedfit.errors import ModelError
from mixedfit.layout import Layout
from mixedfit.likelihood import Evaluation, Likelihood, Method, States
from mixedfit.optimize import Control, Minimum, minimise
from mixedfit.residual import ResidualStructure
from mixedfit.whitened import WhitenedProducts, WhitenedRows
from mixedfit.working import WorkingRows

__all__ = ["ResidualEvaluation", "ResidualLikelihood", "SearchPoint", "minimum_near"]

# Step of the central differences of the gradient, in a coordinate of delta.
_STEP = 1e-4
# Change of the logarithm of the residuals' variances that a step may make.
_LARGEST_CHANGE = 200.0


class ResidualLikelihood:
    """Criterion of a model with a residual structure.

    Parameters
    ----------
    rows : WorkingRows
    residual : ResidualStructure
        Bound to the same rows.
    structures : list of (factor, Structure)
        One a random term.
    method : {"REML", "ML"}
    """

    def __init__(
        self,
        rows: WorkingRows,
        residual: ResidualStructure,
        structures: list[tuple[int, Structure]],
        method: Method,
    ) -> None:
        groups = residual.groups
        self.rows = WhitenedRows(rows, None if groups is None else groups.codes)
        self.residual = residual
        self.structures = structures
        self.method = method
        self._layout: Layout | None = None

    def with_response(self, rows: WorkingRows) -> ResidualLikelihood:
        """The same criterion for another response to the same rows."""
        return self._replaced(self.rows.with_response(rows), self.residual)

    def with_residual(self, residual: ResidualStructure) -> ResidualLikelihood:
        """The same criterion with another residual structure over the same groups."""
        return self._replaced(self.rows, residual)

    def _replaced(self, rows: WhitenedRows, residual: ResidualStructure) -> ResidualLikelihood:
        other = copy(self)
        other.rows, other.residual = rows, residual
        other.__dict__.pop("units", None)
        return other

    @cached_property
    def units(self) -> Array:
        """How far each parameter moves for a unit step of its coordinate, shape (s,).

        Such a step changes the logarithm of R by one in root mean square over the rows, which
        covariates of any size then share with correlations. Measured on one vector of random signs.
        """
        n = len(self.rows.rows.y)
        signs = np.sign(np.random.default_rng(0).standard_normal(n))
        whitening = self.residual.at(self.residual.start)
        moved = whitening.whiten(
            whitening.derivative(whitening.whiten_transposed(signs[None]))[:, 0]
        )
        size = np.sqrt(np.einsum("sn,sn->s", moved, moved) / n)
        return np.asarray(1.0 / np.where(size > 0.0, size, 1.0))

    def likelihood(self, delta: Array) -> tuple[Likelihood, WhitenedProducts]:
        """The criterion of the covariances alone at one delta.

        Raises
        ------
        ModelError
            If the residuals' covariance is not positive definite or not finite there.
        """
        try:
            whitened = self.rows.at(self.residual.at(delta))
        except np.linalg.LinAlgError:
            raise ModelError("the covariance of the residuals is not positive definite") from None
        if not np.isfinite(whitened.products.EE[-1, -1]):
            raise ModelError("the covariance of the residuals is not finite")
        if self._layout is None:
            self._layout = Layout.of(whitened.products, refreshable=True)
        layout = self._layout.with_products(whitened.products)
        return Likelihood(whitened.products, self.structures, self.method, layout), whitened

    def at(self, states: States, delta: Array) -> ResidualEvaluation:
        """Evaluate the criterion.

        Raises
        ------
        ModelError
            If the model leaves no residual variation.
        """
        with np.errstate(all="ignore"):
            likelihood, whitened = self.likelihood(delta)
            point = likelihood.at(states)
        return ResidualEvaluation(
            likelihood, states, point.eliminated, point.remainder, self, np.array(delta), whitened
        )

    def start_points(self) -> Iterator[Evaluation]:
        """The criterion where a search may start: moment estimates at the structure's own start."""
        start = self.residual.start
        likelihood, _ = self.likelihood(start)
        return (self.at(states, start) for states in likelihood.starts())

    def points_at(self, delta: Array, states: States) -> list[Evaluation]:
        """The criterion at delta: at given states, and at the moment estimates there.

        A correlation of longer range leaves less for G to explain.
        """
        if not states:
            return [self.at(states, delta)]
        likelihood, _ = self.likelihood(delta)
        return [self.at(own, delta) for own in (states, *likelihood.starts())]


@dataclass(frozen=True)
class ResidualEvaluation(Evaluation):
    """The criterion at one point; derivatives in the coordinates of G, then in delta."""

    problem: ResidualLikelihood
    at_delta: Array
    whitened: WhitenedProducts

    @property
    def delta(self) -> Array:
        """Parameters of the residual structure, shape (s,)."""
        return self.at_delta

    @property
    def units(self) -> Array:
        """How far each of them moves for a unit step of its coordinate."""
        return self.problem.units

    @cached_property
    def room(self) -> tuple[Array, Array] | None:
        """How far each coordinate may fall and rise; None where none has a bound."""
        residual = self.problem.residual.room(self.delta)
        if residual is not None:
            residual = residual[0] / self.units, residual[1] / self.units
        return joined_room([self.covariance_room(), residual], [self.n_covariance, len(self.delta)])

    def move(self, step: Array) -> ResidualEvaluation:
        """The criterion where a step in the coordinates leads."""
        delta = self.delta + self.units * step[self.n_covariance :]
        return self.problem.at(self.moved_states(step[: self.n_covariance]), delta)

    def sizes(self) -> Array:
        """Steps in each coordinate of G that change G by about its own size, shape (r,)."""
        parts = [np.zeros(0)]
        for structure, state, _ in self._terms():
            T = structure.factor(state)
            size = float(np.linalg.norm(T @ T.T))
            moves = np.linalg.norm(structure.tangents(state), axis=(1, 2))
            floor = np.maximum(moves, float(np.linalg.norm(T)))
            parts.append(size / floor if size > 0.0 else np.ones(len(moves)))
        return np.concatenate(parts)

    def growth(self) -> Array:
        """The coordinates of G along which it grows in proportion, shape (r,)."""
        parts = [structure.growth(state) for structure, state, _ in self._terms()]
        return np.concatenate([np.zeros(0), *parts])

    def with_residual(self, residual: ResidualStructure) -> ResidualEvaluation:
        """The criterion with another structure over the same groups, at the same delta.

        G goes along with the residual variances of the rows, as in `SearchPoint`.
        """
        before, delta = self.problem.residual, self.delta
        change = residual.mean_log_variance(delta) - before.mean_log_variance(delta)
        states = self.scaled_states(self.states, change)
        return self.problem.with_residual(residual).at(states, delta)

    def scaled_states(self, states: States, change: float) -> States:
        """States of G multiplied by ``exp(change)``."""
        root = np.exp(0.5 * change)
        return tuple(
            structure.rebase(state, root * np.eye(structure.size))
            for (_, structure), state in zip(self.likelihood.structures, states, strict=True)
        )

    def with_states(self, states: States) -> ResidualEvaluation:
        """The criterion at other states of the covariance structures."""
        return self.problem.at(states, self.delta)

    @cached_property
    def gradient(self) -> Array:
        """First derivatives, shape (r,)."""
        adjoint = self.eliminated.products_adjoint(self._N, self.adjoint)
        own = self.whitened.whitening.trace + self.whitened.adjoint(adjoint)
        return np.concatenate([self.covariance_gradient(), self.units * own])

    @cached_property
    def _solved_residuals(self) -> Array:
        """``R^-1 (y - X b - Z u)`` of the working response, shape (n,)."""
        u, _ = self.eliminated.effects(self.remainder.v)
        return self.whitened.combine([-own for own in u], self.remainder.v)

    @cached_property
    def residual_variates(self) -> Array:
        """``dR_s R^-1 (y - X b - Z u)`` of the working response, by coordinate, shape (s, n)."""
        moved = self.whitened.whitening.derivative(self._solved_residuals[None])[:, 0]
        return moved * self.units[:, None]

    @cached_property
    def solved_columns(self) -> Array:
        """``V^-1 [X y]`` of the working columns, shape (p + 1, n)."""
        out = []
        for v in np.eye(self.likelihood.products.p + 1):
            u, _ = self.eliminated.effects(v)
            out.append(self.whitened.combine([-own for own in u], v))
        return np.array(out)

    @cached_property
    def remainder_tangents(self) -> Array:
        """Derivatives of ``[X y]'V^-1 [X y]`` in each coordinate, shape (r, p + 1, p + 1)."""
        of_covariances = Evaluation.remainder_tangents.func(self)  # type: ignore[attr-defined]
        F = self.solved_columns
        moved = self.whitened.whitening.derivative(F) * self.units[:, None, None]
        return np.concatenate([of_covariances, -np.einsum("en,sfn->sef", F, moved)])

    @cached_property
    def average_information(self) -> Array:
        """A cheap positive part of the Hessian, exact on average at the optimum, shape (r, r).

        As without a residual structure, with working variates ``w_s = dR_s R^-1 (y - X b - Z u)``
        for delta.
        """
        R, EW, WW = self.covariance_variates()
        whitened = self.whitened.whitening.whiten(self.residual_variates)
        Z, E = self.whitened.products_with(whitened)
        _, h = self.eliminated.effects(self.remainder.v)
        cross = np.zeros((WW.shape[0], len(whitened)))
        start = 0
        for own, dG, hf in zip(Z, self.tangents, h, strict=True):
            t = np.einsum("rab,bj->raj", dG, hf)
            cross[start : start + len(t)] = np.tensordot(t, own, axes=([1, 2], [1, 2]))
            start += len(t)
        WW = np.block([[WW, cross], [cross.T, whitened @ whitened.T]])
        joined = [np.concatenate(parts) for parts in zip(R, Z, strict=True)]
        information = self.information_of(joined, np.hstack([EW, E.T]), WW)
        r = self.n_covariance
        out = self._joint_ordered(information)
        out[:r, :r] += self._curvature()
        return out

    def _joint_ordered(self, H: Array) -> Array:
        inverse = self.likelihood.by_term
        if inverse is None:
            return H
        index = np.append(inverse, np.arange(self.n_covariance, len(H)))
        return H[index[:, None], index]

    def _gradient_slope(self, step: Array) -> Array:
        """Change of the gradient a step of delta makes, from both sides where R allows."""
        ends, width = [], 0.0
        for side in (1.0, -1.0):
            try:
                ends.append(self.problem.at(self.states, self.delta + side * step).gradient)
                width += 1.0
            except ModelError:  # R is not positive definite there
                ends.append(self.gradient)
        if not width:
            raise ModelError("the covariance of the residuals is at the edge of being singular")
        return (ends[0] - ends[1]) / width

    @cached_property
    def hessian(self) -> Array:
        """Second derivatives, shape (r, r).

        Those among the coordinates of G are exact; the rest are central differences of the exact
        gradient in delta.
        """
        r, n = self.n_covariance, self.n_covariance + len(self.delta)
        H = np.zeros((n, n))
        H[:r, :r] = self.covariance_hessian()
        for s, step in enumerate(_STEP * np.diag(self.units)):
            column = self._gradient_slope(step) / _STEP
            H[r + s, :r] = H[:r, r + s] = column[:r]
            H[r + s, r:] += 0.5 * column[r:]
            H[r:, r + s] += 0.5 * column[r:]
        return H

    @property
    def model_hessian(self) -> Array:
        """The average information while far from the optimum, then the Hessian."""
        if "hessian" in self.__dict__:
            return self.hessian
        return self.average_information

    @cached_property
    def delta_information(self) -> Array:
        """Squared change of R with each coordinate relative to R, as the residuals see it."""
        whitened = self.whitened.whitening.whiten(self.residual_variates)
        return np.einsum("sn,sn->s", whitened, whitened) / self.remainder.r2

    def without_scratch(self) -> ResidualEvaluation:
        """The same point; derivatives already taken are kept."""
        return self


@dataclass(frozen=True)
class SearchPoint:
    """A point in the coordinates a search steps in.

    G is relative to sigma^2, and a variance function moves sigma by orders of magnitude where its
    covariate is far from one. Here a step in its parameters takes G along, by the factor by which
    the variances of the rows change on average, so that the effects' own variances stay; and a unit
    step in a coordinate of G changes G by about its own size.
    """

    evaluation: ResidualEvaluation

    @property
    def fun(self) -> float:
        """The criterion."""
        return self.evaluation.fun

    @property
    def scale(self) -> float:
        """The size of the coordinates."""
        return 1.0

    @property
    def room(self) -> tuple[Array, Array] | None:
        """How far each coordinate may fall and rise; None where none has a bound."""
        room = self.evaluation.room
        if room is None:
            return None
        units = np.concatenate([self._units, np.ones(len(self.evaluation.delta))])
        return room[0] / units, room[1] / units

    @cached_property
    def _units(self) -> Array:
        """How far the coordinates of G move for a unit step, shape (r,)."""
        return self.evaluation.sizes()

    @cached_property
    def _taken_along(self) -> Array:
        """Change of the coordinates of G for a unit step in those of delta, shape (r, s)."""
        point = self.evaluation
        own = point.whitened.whitening.log_sd_derivatives
        rate = np.zeros(len(point.delta))
        rate[len(rate) - len(own) :] = 2.0 * own.mean(axis=1)
        return np.outer(point.growth(), rate * point.units)

    @cached_property
    def gradient(self) -> Array:
        """First derivatives, shape (r + s,)."""
        return self._steps.T @ self.evaluation.gradient

    @cached_property
    def _steps(self) -> Array:
        """What a unit step in each coordinate is in those of the evaluation, a column each."""
        r, s = self.evaluation.n_covariance, len(self.evaluation.delta)
        J = np.diag(np.concatenate([self._units, np.ones(s)]))
        J[:r, r:] = self._taken_along
        return J

    def _along(self, H: Array) -> Array:
        return self._steps.T @ H @ self._steps

    @cached_property
    def hessian(self) -> Array:
        """Second derivatives, but for terms that vanish with the gradient."""
        return self._along(self.evaluation.hessian)

    @property
    def model_hessian(self) -> Array:
        """The average information, or the Hessian where it is known."""
        if "hessian" in self.__dict__:
            return self.hessian
        return self._along(self.evaluation.average_information)

    def move(self, step: Array) -> SearchPoint:
        """The point where a step leads."""
        point, r = self.evaluation, self.evaluation.n_covariance
        residual = point.problem.residual
        delta = point.delta + point.units * step[r:]
        try:
            change = residual.mean_log_variance(delta) - residual.mean_log_variance(point.delta)
        except np.linalg.LinAlgError:
            change = np.inf
        if not abs(change) < _LARGEST_CHANGE:
            raise ModelError("the variances of the residuals are not finite")
        states = point.moved_states(self._units * step[:r])
        return SearchPoint(point.problem.at(point.scaled_states(states, change), delta))


def minimum_near(
    point: Evaluation,
    control: Control | None = None,
    radius: float | None = None,
    exact_when_slow: bool = False,
) -> Minimum[Evaluation]:
    """Search for the minimum near a point, as `minimise` does.

    Variance functions move sigma, and G relative to it: there the search takes G along.
    """
    if isinstance(point, ResidualEvaluation) and point.problem.residual.variance is not None:
        found = minimise(SearchPoint(point), control, radius, exact_when_slow)
        return Minimum(found.point.evaluation, found.decrement, found.nfev, found.converged)
    return minimise(point, control, radius, exact_when_slow)
