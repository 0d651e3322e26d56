"""The likelihood with one parameter held fixed, as a function the optimiser can minimise.

Each *path* is one parameter: its values, and at each value the criterion -2 log L over everything
else, with exact derivatives. Fixed effects and the residual variance are profiled out:

- a fixed effect ``t'b = x`` leaves ``b = x t / |t|^2 + Q z``, so the remainder S of the elimination
  becomes ``R'S R`` with ``R = [[Q, -x t / |t|^2], [0, 1]]``, and the criterion keeps its form;
- a standard deviation ``tau`` of a column fixes the residual variance, ``sigma^2 = tau^2 / g(c)``
  with g the column's relative variance, and ``f = log|M| + n log(2 pi sigma^2) + r^2 / sigma^2``
  (g = 1 for the residual standard deviation);
- a correlation is a coordinate of a chart of its own (`held`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mixedfit.arrays import Array, BoolArray
from mixedfit.errors import ModelError
from mixedfit.held import Held
from mixedfit.likelihood import Evaluation, Likelihood, Remainder, States
from mixedfit.ml_criterion import MLCriterion
from mixedfit.parameter_charts import parameter_chart

__all__ = ["CorrelationPath", "FixedEffectPath", "Path", "PathPoint", "ScalePath"]


# Standard deviation relative to its estimate below which it counts as zero.
_SMALLEST = 1e-6
# How near to its limit an estimated correlation counts as at it.
_AT_LIMIT = 1e-6


class PathPoint(ABC):
    """The criterion at one value x of a path and one state of the other parameters.

    Parameters
    ----------
    path : Path
    x : float
    evaluation : Evaluation
    """

    def __init__(self, path: Path, x: float, evaluation: Evaluation) -> None:
        self.path, self.x, self.evaluation = path, x, evaluation

    @property
    def fun(self) -> float:
        """-2 log likelihood."""
        return self.evaluation.fun

    @property
    def gradient(self) -> Array:
        """Derivatives in the other parameters' coordinates, shape (r,)."""
        return self.evaluation.gradient

    @property
    def hessian(self) -> Array:
        """Second derivatives, shape (r, r)."""
        return self.evaluation.hessian

    @property
    def model_hessian(self) -> Array:
        """The Hessian."""
        return self.hessian

    @property
    def room(self) -> tuple[Array, Array] | None:
        """How far each coordinate may fall and rise."""
        return self.evaluation.room

    @property
    def scale(self) -> float:
        """The size of the coordinates."""
        return self.evaluation.scale

    def move(self, step: Array) -> PathPoint:
        """The criterion where a step in the coordinates leads."""
        return self.path.at(self.x, self.path.moved(self.states, step))

    @property
    def states(self) -> States:
        """The states of the other parameters, as the path tells them."""
        return self.path.criterion.states_of(self.evaluation)

    @property
    @abstractmethod
    def slope(self) -> float:
        """Derivative in x."""

    @property
    @abstractmethod
    def bend(self) -> float:
        """Second derivative in x."""

    @property
    @abstractmethod
    def mixed(self) -> Array:
        """Second derivatives in x and the coordinates, shape (r,)."""

    @property
    def free(self) -> BoolArray:
        """Coordinates that may move, shape (r,)."""
        if self.room is None:
            return np.ones(len(self.gradient), dtype=bool)
        return (self.room[0] < 0.0) | (self.room[1] > 0.0)

    @cached_property
    def following(self) -> Array:
        """How the minimum over the coordinates moves with x, shape (r,)."""
        free = np.flatnonzero(self.free)
        out = np.zeros(len(self.gradient))
        values, vectors = np.linalg.eigh(self.hessian[np.ix_(free, free)])
        kept = values > 1e-8 * np.abs(values).max(initial=0.0)
        inverse = (vectors[:, kept] / values[kept]) @ vectors[:, kept].T
        out[free] = -inverse @ self.mixed[free]
        return out

    @property
    def profile_bend(self) -> float:
        """Second derivative in x of the minimum over the coordinates."""
        return self.bend + float(self.mixed @ self.following)


class Path(ABC):
    """One parameter of a maximum likelihood fit.

    Attributes
    ----------
    criterion : MLCriterion
        The ML criterion at the optimum, in a chart that suits the path.
    x : float
        The estimate, on the path's own scale.
    limits : tuple of float
        Ends of that scale.
    trusted : float
        How far in x the others are moved along at once.
    """

    criterion: MLCriterion
    x: float
    limits: tuple[float, float] = (-np.inf, np.inf)
    trusted: float = np.inf

    @property
    def likelihood(self) -> Likelihood:
        """The criterion of the covariances at the optimum."""
        return self.criterion.likelihood

    @property
    def states(self) -> States:
        """The optimum."""
        return self.criterion.states

    @abstractmethod
    def at(self, x: float, states: States) -> PathPoint:
        """The criterion with the parameter fixed."""

    @abstractmethod
    def value(self, x: float) -> float:
        """The parameter in the user's units."""

    @abstractmethod
    def value_slope(self, x: float) -> float:
        """Derivative of the value in x."""

    def moved(self, states: States, step: Array) -> States:
        """The states where a step in the coordinates leads."""
        return self.criterion.moved(states, step)

    def common_states(self, states: States) -> States:
        """States in the likelihood's own charts, where a search could start."""
        return states

    def onward(self, point: PathPoint, x: float) -> PathPoint:
        """Another value of the parameter, the others moved along to first order."""
        step = point.following * min(max(x - point.x, -self.trusted), self.trusted)
        if point.room is not None:
            step = np.clip(step, *point.room)
        return self.at(x, self.moved(point.states, step))


class FixedEffectPath(Path):
    """A fixed effect.

    Parameters
    ----------
    optimum : Evaluation
        Of the ML criterion.
    column : int
        Which of the user's columns.
    """

    def __init__(self, optimum: Evaluation, column: int) -> None:
        self.criterion = MLCriterion.of(optimum)
        basis = self.likelihood.products.basis
        self._t = basis.fixed.total[column]
        self._origin, self._unit = float(self._t @ basis.coefficients), basis.scale
        self.x = float(self._t @ optimum.remainder.b)
        self._direction = np.append(-self._t / (self._t @ self._t), 0.0)
        basis_of_rest = np.linalg.svd(self._t[None])[2][1:]
        self._complement = np.vstack([basis_of_rest.T, np.zeros(len(basis_of_rest))])

    def value(self, x: float) -> float:
        return self._origin + self._unit * x

    def value_slope(self, x: float) -> float:
        return self._unit

    def at(self, x: float, states: States) -> FixedEffectPoint:
        last = x * self._direction
        last[-1] = 1.0
        R = np.column_stack([self._complement, last])
        df = self.likelihood.df
        weights = np.full((R.shape[1],) * 2, float(df))
        weights[:-1, :-1] = 0.0

        def remainder_of(S: Array, _: States) -> Remainder:
            inner = Remainder.of(R.T @ S @ R, df, weights)
            return _Projected(inner.V, inner.r2, inner.weights, inner.fun, R)

        return FixedEffectPoint(self, x, self.criterion.replaced(states, remainder_of))

    @property
    def direction(self) -> Array:
        """Derivative in x of the last column of R, shape (p + 1,)."""
        return self._direction


@dataclass(frozen=True)
class _Projected(Remainder):
    """The remainder ``R'S R``, its derivatives in S."""

    R: Array

    @property
    def inner(self) -> Remainder:
        return Remainder(self.V, self.r2, self.weights, self.fun)

    @property
    def N(self) -> Array:
        return self.R @ self.inner.N @ self.R.T

    def second_order(self, dS: Array) -> Array:
        return self.inner.second_order(self.R.T @ dS @ self.R)


class FixedEffectPoint(PathPoint):
    """The criterion with one fixed effect fixed."""

    @cached_property
    def _second_order(self) -> tuple[float, Array]:
        """First derivative in x; second derivatives with x last."""
        remainder = self.evaluation.remainder
        assert isinstance(remainder, _Projected)
        R, inner = remainder.R, remainder.inner
        S, dS = self.evaluation.eliminated.S, self.evaluation.remainder_tangents
        D = np.zeros_like(R)
        assert isinstance(self.path, FixedEffectPath)
        D[:, -1] = self.path.direction
        half = R.T @ S @ D
        tangent = half + half.T
        tangents = np.concatenate([R.T @ dS @ R, tangent[None]])
        out = inner.second_order(tangents)[-1]
        moved = R.T @ dS @ D
        out[:-1] += 2.0 * np.einsum("ab,rab->r", inner.N, moved)
        out[-1] += 2.0 * float(np.vdot(inner.N, D.T @ S @ D))
        return float(np.vdot(inner.N, tangent)), out

    @property
    def slope(self) -> float:
        return self._second_order[0]

    @property
    def bend(self) -> float:
        return float(self._second_order[1][-1])

    @property
    def mixed(self) -> Array:
        return self._second_order[1][:-1]


class ScalePath(Path):
    """A standard deviation, of a random effect or the residual; x is the logarithm of its square.

    Parameters
    ----------
    optimum : Evaluation
        Of the ML criterion.
    term : int, optional
        The random term; by default the residual.
    column : int, optional
        The term's column.
    """

    trusted = 1.0  # at 2 a relative standard deviation would reach zero

    def __init__(self, optimum: Evaluation, term: int | None = None, column: int = 0) -> None:
        self.criterion = MLCriterion.of(optimum)
        self.term, self.column = term, column
        self._basis = self.likelihood.products.basis
        self._t = None if term is None else self._basis.random[term].total[column]
        self._unit = self._basis.scale
        sigma2 = optimum.remainder.r2 / self.likelihood.df
        relative = self.relative(self.states)
        self.x = math.log(relative * sigma2) if relative > 0.0 else -math.inf
        if term is not None and relative > 0.0:
            self.limits = (self.x + 2.0 * math.log(_SMALLEST), math.inf)
        self.sigma2 = sigma2

    def value(self, x: float) -> float:
        return self._unit * math.exp(0.5 * x)

    def value_slope(self, x: float) -> float:
        return 0.5 * self.value(x)

    def relative(self, states: States) -> float:
        """The column's variance relative to the residual's; 0 where it is no more than rounding."""
        if self.term is None or self._t is None:
            return 1.0
        root = self._t @ self.likelihood.structures[self.term][1].factor(states[self.term])
        relative = float(root @ root)
        return relative if relative > 1e-18 * float(self._t @ self._t) else 0.0

    def relative_derivatives(self, states: States) -> tuple[Array, Array]:
        """Of the relative variance in the coordinates: first (r,) and second (r, r)."""
        like, r = self.likelihood, self.criterion.n_params
        first, second = np.zeros(r), np.zeros((r, r))
        if self.term is not None and self._t is not None:
            structure, state = like.structures[self.term][1], states[self.term]
            rows, t = like.slices[self.term], self._t
            first[rows] = t @ structure.tangents(state) @ t
            second[rows, rows] = structure.curvature(state, np.outer(t, t))
        return first, second

    def at(self, x: float, states: States) -> ScalePoint:
        like = self.likelihood
        weights = _ml_weights(like)

        def remainder_of(S: Array, states: States) -> Remainder:
            relative = self.relative(states)
            if not relative > 0.0:
                raise ModelError("a column without variance has no positive standard deviation")
            inner = Remainder.of(S, like.df, weights)
            sigma2 = math.exp(x) / relative
            fun = like.df * math.log(2.0 * math.pi * sigma2) + inner.r2 / sigma2
            return _KnownScale(inner.V, inner.r2, inner.weights, fun, sigma2)

        return ScalePoint(self, x, self.criterion.replaced(states, remainder_of))

    def lifted(self, relative: float) -> States:
        """The optimum with a relative variance added to the column's own."""
        assert self.term is not None
        structure = self.likelihood.structures[self.term][1]
        T = structure.factor(self.states[self.term])
        own = self._basis.random[self.term].inverse[:, self.column]
        state = structure.start(T @ T.T + relative * np.outer(own, own))
        return (*self.states[: self.term], state, *self.states[self.term + 1 :])

    def at_zero(self) -> Evaluation:
        """The ML criterion with the column's variance held at zero, near the optimum."""
        assert self.term is not None
        structure, state = self.likelihood.structures[self.term][1], self.states[self.term]
        basis = self._basis.random[self.term]
        chart = parameter_chart(structure, state, (self.column,), basis.total, basis.inverse)
        if chart is None:
            raise ModelError(
                "a standard deviation is no coordinate of its covariance structure and cannot be "
                "profiled; leave it out with parameters="
            )
        state = chart.state.copy()
        state[chart.place] = 0.0
        held = Held(chart.structure, chart.coordinate)
        other = self.criterion.with_structure(self.term, held, state)
        return other.at(other.states)


@dataclass(frozen=True)
class _KnownScale(Remainder):
    """``n log(2 pi sigma^2) + r^2 / sigma^2`` with sigma^2 known."""

    sigma2: float

    @property
    def N(self) -> Array:
        return np.outer(self.v, self.v) / self.sigma2

    def second_order(self, dS: Array) -> Array:
        moved = (dS @ self.v)[:, :-1]
        return -2.0 / self.sigma2 * moved @ self.P @ moved.T


class ScalePoint(PathPoint):
    """The criterion with one standard deviation fixed.

    With ``s = log sigma^2 = x - log g``, F the criterion at known s and subscripts derivatives,
    ``f_r = F_r + F_s s_r`` and ``f_rq = F_rq + F_rs s_q + F_qs s_r + F_ss s_r s_q + F_s s_rq``.
    """

    @cached_property
    def _derivatives(self) -> tuple[Array, Array, float, float, Array]:
        """``s_r``, ``s_rq``, ``F_s``, ``F_ss``, ``F_rs``."""
        assert isinstance(self.path, ScalePath)
        remainder = self.evaluation.remainder
        assert isinstance(remainder, _KnownScale)
        states = self.evaluation.states
        g = self.path.relative(states)
        first, second = self.path.relative_derivatives(states)
        quadratic = remainder.r2 / remainder.sigma2
        slopes = np.einsum(
            "a,rab,b->r", remainder.v, self.evaluation.remainder_tangents, remainder.v
        )
        return (
            -first / g,
            np.outer(first, first) / g**2 - second / g,
            self.path.likelihood.df - quadratic,
            quadratic,
            -slopes / remainder.sigma2,
        )

    @cached_property
    def gradient(self) -> Array:
        assert isinstance(self.path, ScalePath)
        if self.path.term is None:
            return self.evaluation.gradient
        g = self.path.relative(self.evaluation.states)
        first, _ = self.path.relative_derivatives(self.evaluation.states)
        return self.evaluation.gradient - self.slope * first / g

    @cached_property
    def hessian(self) -> Array:
        s1, s2, F_s, F_ss, F_rs = self._derivatives
        cross = np.outer(F_rs, s1)
        return self.evaluation.hessian + cross + cross.T + F_ss * np.outer(s1, s1) + F_s * s2

    @property
    def slope(self) -> float:
        remainder = self.evaluation.remainder
        assert isinstance(remainder, _KnownScale)
        return self.path.likelihood.df - remainder.r2 / remainder.sigma2

    @property
    def bend(self) -> float:
        return self._derivatives[3]

    @property
    def mixed(self) -> Array:
        s1, _, _, F_ss, F_rs = self._derivatives
        return F_rs + F_ss * s1


class CorrelationPath(Path):
    """The correlation of two columns of a random term.

    x is the correlation where the structure has it as a coordinate, and otherwise the angle whose
    sine it is.

    Parameters
    ----------
    optimum : Evaluation
        Of the ML criterion.
    term : int
    columns : tuple of int
    label : str
        The parameter, for messages.

    Attributes
    ----------
    on_angle : bool
        Whether x is the angle.
    """

    def __init__(
        self, optimum: Evaluation, term: int, columns: tuple[int, int], label: str
    ) -> None:
        like = optimum.likelihood
        structure, state = like.structures[term][1], optimum.states[term]
        basis = like.products.basis.random[term]
        chart = parameter_chart(structure, state, columns, basis.total, basis.inverse)
        if chart is None:
            raise ModelError(
                f"{label} is no coordinate of its covariance structure and cannot be profiled; "
                "leave it out with parameters="
            )
        self.on_angle, self.term = chart.on_angle, term
        self.coordinate, self._place_in_state = chart.coordinate, chart.place
        self.x = float(chart.state[chart.place])
        if self.on_angle:
            self.limits = (-0.5 * np.pi, 0.5 * np.pi)
        else:
            room = chart.structure.room(chart.state)
            assert room is not None
            fall, rise = (float(side[chart.coordinate]) for side in room)
            self.limits = (self.x + fall, self.x + rise)
        state = chart.state.copy()
        for limit in self.limits:
            if abs(self.x - limit) < _AT_LIMIT:
                self.x = state[chart.place] = limit
        held = Held(chart.structure, chart.coordinate)
        self.criterion = MLCriterion.of(optimum).with_structure(term, held, state)
        self._own = like.structures[term][1]

    def common_states(self, states: States) -> States:
        T = self.likelihood.structures[self.term][1].factor(states[self.term])
        return (*states[: self.term], self._own.start(T @ T.T), *states[self.term + 1 :])

    def value(self, x: float) -> float:
        return math.sin(x) if self.on_angle else x

    def value_slope(self, x: float) -> float:
        return math.cos(x) if self.on_angle else 1.0

    @property
    def place(self) -> int:
        """The parameter among all coordinates."""
        return self.likelihood.slices[self.term].start + self.coordinate

    def at(self, x: float, states: States) -> CorrelationPoint:
        state = states[self.term].copy()
        state[self._place_in_state] = x
        states = (*states[: self.term], state, *states[self.term + 1 :])
        return CorrelationPoint(self, x, self.criterion.at(states))

    def moved(self, states: States, step: Array) -> States:
        step = step.copy()
        step[self.place] = 0.0
        return super().moved(states, step)


class CorrelationPoint(PathPoint):
    """The criterion with one correlation fixed."""

    @property
    def _place(self) -> int:
        assert isinstance(self.path, CorrelationPath)
        return self.path.place

    @property
    def slope(self) -> float:
        return float(self.gradient[self._place])

    @property
    def bend(self) -> float:
        return float(self.hessian[self._place, self._place])

    @property
    def mixed(self) -> Array:
        mixed = self.hessian[self._place].copy()
        mixed[self._place] = 0.0
        return mixed


def _ml_weights(like: Likelihood) -> Array:
    p = like.products.p
    weights = np.full((p + 1, p + 1), float(like.df))
    weights[:p, :p] = 0.0
    return weights
