"""The full likelihood around its maximum, as a surface of which profiles are sections.

A point of it is told by the states of the covariance structures and, where residuals have a
structure, by its coordinates delta as one array more. The part of the criterion that depends on the
remainder of the elimination can be replaced: by one with a fixed effect or a variance held fixed.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from mixedfit.arrays import Array
from mixedfit.covariance import Structure
from mixedfit.likelihood import Evaluation, Likelihood, Remainder, States
from mixedfit.optimize import Minimum
from mixedfit.residual_likelihood import ResidualEvaluation, ResidualLikelihood, minimum_near

__all__ = ["MLCriterion", "RemainderOf", "minimum_from"]

# What the criterion makes of a remainder S at some states.
RemainderOf: TypeAlias = Callable[[Array, States], Remainder]


class _Replaced(ResidualLikelihood):
    """A criterion with another part for the remainder; derivatives in delta follow it."""

    def __init__(self, problem: ResidualLikelihood, remainder_of: RemainderOf) -> None:
        self.__dict__.update(problem.__dict__)
        self.remainder_of = remainder_of

    def at(self, states: States, delta: Array) -> ResidualEvaluation:
        with np.errstate(all="ignore"):
            like, whitened = self.likelihood(delta)
            eliminated = like.elimination.forward(like.factors(states))
            remainder = self.remainder_of(eliminated.S, (*states, delta))
        return ResidualEvaluation(like, states, eliminated, remainder, self, delta, whitened)


@dataclass(frozen=True)
class MLCriterion:
    """The likelihood of a model, and a point of it.

    Attributes
    ----------
    likelihood : Likelihood
        Of the point; also tells the structures and the working basis, which are those of all.
    states : tuple of arrays
        The point: states of the covariance structures, then delta.
    problem : ResidualLikelihood or None
        None where residuals have no structure.
    """

    likelihood: Likelihood
    states: States
    problem: ResidualLikelihood | None = None

    @classmethod
    def of(cls, point: Evaluation) -> MLCriterion:
        """The criterion of a point, there."""
        if not isinstance(point, ResidualEvaluation):
            return cls(point.likelihood, point.states)
        _ = point.problem.units  # the same for all that is made of the problem
        return cls(point.likelihood, (*point.states, point.delta), point.problem)

    @property
    def n_params(self) -> int:
        """Coordinates r of a point: those of the structures, then those of delta."""
        return self.likelihood.n_params + (0 if self.problem is None else len(self.states[-1]))

    @property
    def units(self) -> Array:
        """How far each parameter in delta moves for a unit step of its coordinate."""
        return np.zeros(0) if self.problem is None else self.problem.units

    def states_of(self, point: Evaluation) -> States:
        """How a point is told."""
        return point.states if self.problem is None else (*point.states, point.delta)

    def at(self, states: States) -> Evaluation:
        """The criterion itself."""
        if self.problem is None:
            return self.likelihood.at(states)
        return self.problem.at(states[:-1], states[-1])

    def replaced(self, states: States, remainder_of: RemainderOf) -> Evaluation:
        """The criterion with another part for the remainder."""
        if self.problem is not None:
            return _Replaced(self.problem, remainder_of).at(states[:-1], states[-1])
        like = self.likelihood
        eliminated = like.elimination.forward(like.factors(states))
        return Evaluation(like, states, eliminated, remainder_of(eliminated.S, states))

    def moved(self, states: States, step: Array) -> States:
        """The states where a step in the coordinates leads."""
        like, own = self.likelihood, len(self.likelihood.structures)
        moved = tuple(
            structure.move(state, step[rows])
            for (_, structure), state, rows in zip(
                like.structures, states[:own], like.slices, strict=True
            )
        )
        if self.problem is None:
            return moved
        return (*moved, states[-1] + self.units * step[like.n_params :])

    def with_structure(self, term: int, structure: Structure, state: Array) -> MLCriterion:
        """The criterion with another structure for one term, at another state of it."""
        like = self.likelihood
        structures = list(like.structures)
        structures[term] = (structures[term][0], structure)
        states = (*self.states[:term], state, *self.states[term + 1 :])
        problem = None
        if self.problem is not None:
            problem = copy(self.problem)
            problem.structures = structures
        other = Likelihood(like.products, structures, "ML", like.elimination.layout)
        return MLCriterion(other, states, problem)


def minimum_from(point: Evaluation) -> Minimum[Evaluation]:
    """Search for the minimum near a point."""
    return minimum_near(point, exact_when_slow=len(point.delta) > 0)
