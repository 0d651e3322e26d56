"""Locally weighted regression against R and against statsmodels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.nonparametric import smoothers_lowess

from mixedfit.eb.lowess import lowess


def test_lowess_is_that_of_r():
    # lowess(x, y, f = 0.6, iter = 3, delta = 0) in R 4.2.2; one point lies far off.
    x = np.array([2.3, 0.2, 0.5, 0.9, 1.4, 1.6, 2.9, 3.1, 3.8, 4.4])
    y = np.array([2.6, 1.1, 0.7, 1.9, 2.2, 9.0, 3.3, 2.9, 4.1, 4.0])
    expected = [0.8741935804, 1.2143217572, 1.6599184494, 2.1490675267, 2.2577217620]
    expected += [2.6877333424, 3.0927085293, 3.2759548247, 3.7479610275, 4.1642076377]
    np.testing.assert_allclose(np.sort(lowess(x, y, 0.6)), expected, rtol=1e-9)


@pytest.mark.parametrize("iterations", [0, 1, 3])
@pytest.mark.parametrize(("n", "span"), [(60, 0.3), (33, 0.75)])
def test_curves_are_those_of_statsmodels(n, span, iterations):
    rng = np.random.default_rng(7)
    x = rng.uniform(0.0, 10.0, n)
    y = np.sin(x) + 0.3 * rng.standard_t(2.0, n)
    expected = smoothers_lowess.lowess(y, x, span, iterations, return_sorted=False)
    # Each rounds robustness weights near 0 and 1 in its own way.
    np.testing.assert_allclose(lowess(x, y, span, iterations), expected, atol=1e-6)


def test_each_value_is_that_of_a_weighted_line():
    rng = np.random.default_rng(8)
    x, y = rng.uniform(0.0, 1.0, 30), rng.standard_normal(30)
    curve = lowess(x, y, 0.5, iterations=0)
    for at, value in zip(x, curve, strict=True):
        distance = np.abs(x - at)
        reach = np.sort(distance)[14]  # the fifteenth nearest of thirty
        root = np.clip(1.0 - (distance / reach) ** 3, 0.0, None) ** 1.5
        line = np.polynomial.polynomial.polyfit(x - at, y, 1, w=root)
        # Cleveland's code rounds weights within a thousandth of 0 and 1.
        assert value == pytest.approx(line[0], abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(-5.0, 5.0), st.floats(-3.0, 3.0))
def test_lines_are_kept_and_order_and_units_do_not_matter(seed, shift, size):
    rng = np.random.default_rng(seed)
    x, unit = rng.uniform(0.0, 1.0, 25), 10.0**size
    np.testing.assert_allclose(lowess(x, 2.0 - 3.0 * x, 0.5), 2.0 - 3.0 * x, atol=1e-9)
    y = rng.standard_normal(25)
    curve, order = lowess(x, y, 0.5), rng.permutation(25)
    np.testing.assert_allclose(lowess(x[order], y[order], 0.5), curve[order], atol=1e-9)
    moved = lowess(unit * (x + shift), unit * (y + shift), 0.5)
    np.testing.assert_allclose(moved / unit - shift, curve, atol=1e-6)


def test_a_point_far_off_loses_its_weight():
    rng = np.random.default_rng(9)
    x = np.linspace(0.0, 1.0, 41)
    y = 1.0 + x + 0.1 * rng.standard_normal(41)
    far, farther = y.copy(), y.copy()
    far[20] += 5.0
    farther[20] += 50.0
    np.testing.assert_allclose(lowess(x, far, 0.6), lowess(x, y, 0.6), atol=0.1)
    np.testing.assert_allclose(lowess(x, farther, 0.6), lowess(x, far, 0.6), atol=0.1)
    assert lowess(x, farther, 0.6, iterations=0)[20] > 4.0


def test_points_nearer_than_delta_are_interpolated():
    x = np.linspace(0.0, 1.0, 101)
    y = np.sin(6.0 * x)
    exact, quick = lowess(x, y, 0.3, 0), lowess(x, y, 0.3, 0, delta=0.045)
    fitted = np.flatnonzero(np.isclose(exact, quick, atol=1e-12))
    np.testing.assert_array_equal(fitted[[0, -1]], [0, 100])
    assert (np.diff(x[fitted]) <= 0.045).all()
    np.testing.assert_allclose(quick, np.interp(x, x[fitted], exact[fitted]), atol=1e-12)
    assert len(fitted) < 40


def test_tied_points_share_a_value():
    x = np.array([0.0, 1.0, 1.0, 1.0, 2.0, 3.0, 4.0, 4.0])
    curve = lowess(x, np.array([0.0, 1.0, 2.0, 6.0, 2.0, 4.0, 3.0, 5.0]), 0.7)
    assert np.ptp(curve[1:4]) == np.ptp(curve[6:]) == 0.0
