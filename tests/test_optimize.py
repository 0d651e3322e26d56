from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from mixedfit.errors import ModelError
from mixedfit.optimize import Control, held_at_bounds, minimise


@dataclass(frozen=True)
class Valley:
    """Rosenbrock's function: a curved valley with its minimum at (1, 1)."""

    x: np.ndarray
    lower: float = -np.inf
    upper: float = np.inf

    @property
    def fun(self):
        return 100.0 * (self.x[1] - self.x[0] ** 2) ** 2 + (1.0 - self.x[0]) ** 2

    @property
    def gradient(self):
        a, b = self.x
        return np.array([-400.0 * a * (b - a * a) - 2.0 * (1.0 - a), 200.0 * (b - a * a)])

    @property
    def hessian(self):
        a, b = self.x
        return np.array([[1200.0 * a * a - 400.0 * b + 2.0, -400.0 * a], [-400.0 * a, 200.0]])

    @property
    def model_hessian(self):
        return self.hessian

    @property
    def room(self):
        if not np.isfinite([self.lower, self.upper]).any():
            return None
        return np.minimum(self.lower - self.x, 0.0), np.maximum(self.upper - self.x, 0.0)

    @property
    def scale(self):
        return float(np.linalg.norm(self.x))

    def move(self, step):
        return type(self)(self.x + step, self.lower, self.upper)


class Saddle(Valley):
    """``x^4 / 4 - x^2 / 2 + y^2``: a saddle at zero, minima at (+-1, 0)."""

    @property
    def fun(self):
        return self.x[0] ** 4 / 4.0 - self.x[0] ** 2 / 2.0 + self.x[1] ** 2

    @property
    def gradient(self):
        return np.array([self.x[0] ** 3 - self.x[0], 2.0 * self.x[1]])

    @property
    def hessian(self):
        return np.diag([3.0 * self.x[0] ** 2 - 1.0, 2.0])


class Rough(Valley):
    """The valley with a positive definite stand-in for its Hessian, counting the true ones."""

    asked = 0

    @property
    def hessian(self):
        type(self).asked += 1
        return super().hessian

    @property
    def model_hessian(self):
        return super().hessian + 5.0 * np.eye(2)


class Cliff(Valley):
    """The valley where it exists, above -1: the first Newton step from (-1.2, 1) leads out."""

    refused = 0

    def move(self, step):
        if self.x[1] + step[1] < -1.0:
            type(self).refused += 1
            raise ModelError("no function there")
        return super().move(step)


@pytest.mark.parametrize("start", [(-1.2, 1.0), (3.0, -4.0), (0.0, 0.0), (1.0, 1.0)])
def test_finds_the_end_of_a_curved_valley(start):
    found = minimise(Valley(np.array(start)))
    assert found.converged
    np.testing.assert_allclose(found.point.x, [1.0, 1.0], atol=1e-6)
    assert found.nfev < 40


def test_leaves_a_saddle_along_negative_curvature():
    found = minimise(Saddle(np.zeros(2)))
    np.testing.assert_allclose(np.abs(found.point.x), [1.0, 0.0], atol=1e-5)


def test_bounds_hold_and_the_gradient_tells_which():
    found = minimise(Valley(np.array([0.2, 0.2]), lower=-2.0, upper=0.5))
    assert found.converged
    np.testing.assert_allclose(found.point.x, [0.5, 0.25], atol=1e-6)
    assert held_at_bounds(found.point).tolist() == [True, False]


def test_a_saddle_at_a_bound_is_left_on_the_inner_side():
    found = minimise(Saddle(np.zeros(2), lower=0.0))
    np.testing.assert_allclose(found.point.x, [1.0, 0.0], atol=1e-5)


def test_the_end_is_judged_by_the_true_hessian():
    Rough.asked = 0
    found = minimise(Rough(np.array([-1.2, 1.0])))
    assert found.converged
    assert Rough.asked > 0
    np.testing.assert_allclose(found.point.x, [1.0, 1.0], atol=1e-5)


def test_steps_out_of_the_functions_domain_are_taken_back():
    found = minimise(Cliff(np.array([-1.2, 1.0])))
    assert Cliff.refused > 0
    np.testing.assert_allclose(found.point.x, [1.0, 1.0], atol=1e-6)


def test_gives_up_after_the_allowed_evaluations():
    found = minimise(Valley(np.array([-1.2, 1.0])), Control(max_evaluations=3))
    assert not found.converged
    assert found.nfev == 3
    assert found.decrement > 0.0


@pytest.mark.parametrize(
    "options", [{"tolerance": 0.0}, {"tolerance": 2.0}, {"max_evaluations": 0}]
)
def test_control_refuses_impossible_options(options):
    with pytest.raises(ModelError, match=next(iter(options))):
        Control(**options)


def test_a_first_step_goes_no_farther_than_the_radius():
    start = Valley(np.array([-1.2, 1.0]))
    seen = []

    class Watched(Valley):
        def move(self, step):
            seen.append(float(np.linalg.norm(step)))
            return super().move(step)

    minimise(Watched(start.x), radius=0.01)
    assert seen[0] <= 0.0101


def test_slow_steps_give_way_to_the_hessian_where_that_is_asked_for():
    class Slow(Valley):
        @property
        def model_hessian(self):
            return 4.0 * self.hessian

    start = Slow(np.array([0.9, 0.8]))
    patient, hasty = minimise(start), minimise(start, exact_when_slow=True)
    np.testing.assert_allclose(hasty.point.x, patient.point.x, atol=1e-6)
    assert hasty.nfev < patient.nfev
