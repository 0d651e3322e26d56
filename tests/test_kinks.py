from dataclasses import dataclass

import numpy as np
import pytest

from mixedfit.errors import ModelError
from mixedfit.kinks import every_step_rises, rest_at_kink


@dataclass(frozen=True)
class Roof:
    """``|a - b| + (b - 1)^2``, defined for a below 3: a kink all along a = b."""

    a: float
    b: float

    @property
    def fun(self):
        return abs(self.a - self.b) + (self.b - 1.0) ** 2

    @property
    def gradient(self):
        side = np.sign(self.a - self.b)
        return np.array([side, -side + 2.0 * (self.b - 1.0)])

    def move(self, step):
        if self.a + step[0] >= 3.0:
            raise ModelError("outside")
        return Roof(self.a + step[0], self.b + step[1])


@pytest.mark.parametrize("start", [Roof(0.9, 1.1), Roof(2.9, 2.5), Roof(1.0, 1.0)])
def test_a_simplex_comes_to_rest_in_the_kink(start):
    point, looked = rest_at_kink(start)
    assert point.fun < 1e-6
    assert 0 < looked <= 401
    assert every_step_rises(point)


def test_a_point_beside_the_minimum_has_a_step_that_leads_down():
    assert not every_step_rises(Roof(1.4, 1.4))
    assert not every_step_rises(Roof(1.2, 1.0))


def test_many_coordinates_are_not_tried():
    class Many(Roof):
        gradient = np.zeros(9)

    assert not every_step_rises(Many(1.0, 1.0))
