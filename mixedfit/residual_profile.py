"""The likelihood with one parameter of a residual structure held fixed."""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np

from mixedfit.arrays import Array
from mixedfit.fit import Fit
from mixedfit.likelihood import Evaluation, States
from mixedfit.ml_criterion import MLCriterion
from mixedfit.profile_criteria import Path, PathPoint
from mixedfit.residual_scale import residual_slopes, residual_values

__all__ = ["ResidualPath"]


class ResidualPath(Path):
    """A parameter of a residual structure; x is its coordinate in delta, with the sign it has.

    x grows with the parameter.

    Parameters
    ----------
    fit : Fit
    optimum : Evaluation
        Of the ML criterion.
    place : int
        Which coordinate.
    """

    def __init__(self, fit: Fit, optimum: Evaluation, place: int) -> None:
        self.criterion, self.fit, self.place = MLCriterion.of(optimum), fit, place
        assert self.criterion.problem is not None
        residual = self.criterion.problem.residual
        slope = residual_slopes(fit, optimum.delta)[place, place]
        self.sign = -1.0 if slope < 0.0 else 1.0
        self.x = self.sign * float(optimum.delta[place])
        ends = sorted(self.sign * float(bound[place]) for bound in residual.bounds)
        self.limits = (ends[0], ends[1])
        self.trusted = float(self.criterion.units[place])

    def _delta(self, x: float) -> Array:
        delta = self.states[-1].copy()
        delta[self.place] = self.sign * x
        return delta

    def value(self, x: float) -> float:
        if math.isinf(x):  # no limit
            return x
        return float(residual_values(self.fit, self._delta(x))[self.place])

    def value_slope(self, x: float) -> float:
        slope = residual_slopes(self.fit, self._delta(x))[self.place, self.place]
        return self.sign * float(slope)

    @property
    def coordinate(self) -> int:
        """The parameter among all coordinates."""
        return self.likelihood.n_params + self.place

    def at(self, x: float, states: States) -> ResidualPoint:
        delta = states[-1].copy()
        delta[self.place] = self.sign * x
        return ResidualPoint(self, x, self.criterion.at((*states[:-1], delta)))

    def moved(self, states: States, step: Array) -> States:
        return super().moved(states, np.insert(step, self.coordinate, 0.0))


class ResidualPoint(PathPoint):
    """The criterion with one residual parameter fixed, in the other coordinates."""

    @property
    def _place(self) -> int:
        assert isinstance(self.path, ResidualPath)
        return self.path.coordinate

    @property
    def _unit(self) -> float:
        """Change of x for a unit step of the coordinate."""
        assert isinstance(self.path, ResidualPath)
        return self.path.sign * float(self.path.criterion.units[self.path.place])

    @property
    def gradient(self) -> Array:
        return np.delete(self.evaluation.gradient, self._place)

    @cached_property
    def hessian(self) -> Array:
        H = np.delete(self.evaluation.hessian, self._place, axis=0)
        return np.delete(H, self._place, axis=1)

    @property
    def room(self) -> tuple[Array, Array] | None:
        room = self.evaluation.room
        if room is None:
            return None
        return np.delete(room[0], self._place), np.delete(room[1], self._place)

    @property
    def slope(self) -> float:
        return float(self.evaluation.gradient[self._place]) / self._unit

    @property
    def bend(self) -> float:
        return float(self.evaluation.hessian[self._place, self._place]) / self._unit**2

    @property
    def mixed(self) -> Array:
        return np.delete(self.evaluation.hessian[self._place], self._place) / self._unit
