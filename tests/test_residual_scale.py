"""Residual parameters and their slopes against the formulas of their coordinates."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

import mixedfit as mf
from mixedfit.residual_scale import own_coordinates, residual_slopes, residual_values

from .test_conditional_residuals import OLD


@cache
def fitted(name: str) -> mf.MixedResults:
    structures = {
        "ar1, power": {
            "correlation": mf.CorAR1(form="~ t | g"),
            "weights": mf.VarPower(form="~ x"),
        },
        "car1, ratio": {
            "correlation": mf.CorCAR1(form="~ t | g"),
            "weights": mf.VarIdent(form="~ 1 | s"),
        },
        "ar2": {"correlation": mf.CorARMA(form="~ t | g", p=2)},
        "range and nugget": {"correlation": mf.CorExp(form="~ t | g", nugget=True)},
        "held": {"correlation": mf.CorAR1(0.5, form="~ t | g", fixed=True)},
        "none": {},
    }
    return mf.gls("y ~ x", OLD, **structures[name])


def sigmoid(d: float) -> float:
    return float(1.0 / (1.0 + np.exp(-d)))


def test_values_are_those_reported_and_those_of_another_point() -> None:
    result = fitted("ar1, power")
    np.testing.assert_array_equal(residual_values(result.fit), result.residual_params)
    np.testing.assert_allclose(
        residual_values(result.fit, np.array([0.8, -0.3])), [np.tanh(0.4), -0.3]
    )
    ratio = residual_values(fitted("car1, ratio").fit, np.array([0.8, -0.3]))
    np.testing.assert_allclose(ratio, [sigmoid(0.8), np.exp(-0.3)])


def test_slopes_are_those_of_the_formulas() -> None:
    d = np.array([0.8, -0.3])
    slopes = residual_slopes(fitted("ar1, power").fit, d)
    np.testing.assert_allclose(slopes, np.diag([0.5 / np.cosh(0.4) ** 2, 1.0]), atol=1e-9)
    slopes = residual_slopes(fitted("car1, ratio").fit, d)
    p = sigmoid(0.8)
    np.testing.assert_allclose(slopes, np.diag([p * (1.0 - p), np.exp(-0.3)]), atol=1e-9)
    # Phi1 = a1 (1 - a2) and Phi2 = a2 of partial autocorrelations a = tanh(d / 2).
    a, da = np.tanh(0.5 * d), 0.5 / np.cosh(0.5 * d) ** 2
    expected = [[da[0] * (1.0 - a[1]), -a[0] * da[1]], [0.0, da[1]]]
    np.testing.assert_allclose(residual_slopes(fitted("ar2").fit, d), expected, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("ar1, power", [True, True]),
        ("car1, ratio", [True, True]),
        ("ar2", [False, True]),
        ("range and nugget", [True, True]),
        ("none", []),
        ("held", []),
    ],
)
def test_parameters_of_one_coordinate_are_told_from_those_that_share(
    name: str, own: list[bool]
) -> None:
    assert own_coordinates(fitted(name).fit) == own


@pytest.mark.parametrize("name", ["none", "held"])
def test_nothing_free_has_no_values(name: str) -> None:
    fit = fitted(name).fit
    assert residual_values(fit).shape == (0,)
    assert residual_slopes(fit, np.zeros(0)).shape == (0, 0)
