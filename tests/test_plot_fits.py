"""Pictures of profiles, influence and fitted lines."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_hex
from scipy.stats import norm

from mixedfit import plot
from mixedfit.plot.canvas import RED
from tests.plot_cases import (
    GRID,
    no_windows,  # noqa: F401  a fixture
    texts,
)


def test_zeta_intervals_end_where_the_profile_reaches_them() -> None:
    ax = plot.profile_zeta(np.exp(GRID / 2), GRID, levels=[0.95])
    sides = sorted(float(line.get_xdata()[0]) for line in ax.lines[:2])
    np.testing.assert_allclose(sides, np.exp([-0.98, 0.98]), rtol=1e-3)
    # A profile that ends at a boundary has one side.
    one_sided = plot.profile_zeta(np.exp(GRID / 2)[20:], GRID[20:], levels=[0.95])
    assert len(one_sided.lines) == len(ax.lines) - 2


@pytest.mark.parametrize("absolute", [False, True])
def test_a_normal_profile_is_a_line_with_intervals_of_normal_quantiles(absolute: bool) -> None:
    ax = plot.profile_zeta(
        2.0 + 0.5 * GRID[::-1], GRID[::-1], estimate=2.0, levels=[0.5, 0.95], absolute=absolute
    )
    curve = next(line for line in ax.lines if to_hex(line.get_color()) == RED)
    zeta = (curve.get_xdata() - 2.0) / 0.5
    np.testing.assert_allclose(curve.get_ydata(), np.abs(zeta) if absolute else zeta, atol=1e-9)
    across = [line for line in ax.lines if len(set(line.get_ydata())) == 1]
    for level in (0.5, 0.95):
        z = norm.ppf(0.5 + level / 2.0)
        ends = [2.0 - 0.5 * z, 2.0 + 0.5 * z]
        found = [line for line in across if np.allclose(line.get_xdata(), ends, atol=1e-6)]
        (interval,) = found
        assert interval.get_ydata()[0] == pytest.approx(z if absolute else 0.0)


def test_profiles_with_missing_points_are_drawn_without_them() -> None:
    zeta = GRID.copy()
    zeta[[3, 20]] = np.nan
    ax = plot.profile_zeta(GRID, zeta, levels=[])
    (curve,) = (line for line in ax.lines if to_hex(line.get_color()) == RED)
    np.testing.assert_allclose(curve.get_ydata(), curve.get_xdata(), atol=1e-9)


def test_deletions_beyond_the_threshold_are_marked() -> None:
    ax = plot.influence([0.1, 2.0, np.nan, 0.5], list("abcd"), threshold=0.4)
    marked = next(line for line in ax.lines if to_hex(line.get_color()) == RED)
    np.testing.assert_allclose(marked.get_xydata(), [[1.0, 2.0], [3.0, 0.5]])
    assert [label.get_text() for label in ax.get_xticklabels()] == list("abcd")


def test_of_many_deletions_the_largest_are_named() -> None:
    values = np.random.default_rng(0).random(100)
    ax = plot.influence(values, [f"u{i}" for i in range(100)], n_labels=3, xlabel="Unit")
    assert texts(ax) == [f"u{i}" for i in np.argsort(values)[::-1][:3]]
    assert ax.get_xlabel() == "Unit (100, in order)"


def test_each_group_has_its_line_by_increasing_x() -> None:
    x, groups = np.array([3.0, 1.0, 2.0, 2.0, 1.0]), np.array(["a", "b", "a", "b", "a"])
    fitted = 10.0 * x + (groups == "b")
    ax = plot.fitted_lines(x, fitted + 0.5, fitted, groups, population=([2.0, 0.0], [5.0, 1.0]))
    first, second = (line.get_xydata() for line in ax.lines[:2])
    np.testing.assert_allclose(first, [[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])
    np.testing.assert_allclose(second, [[1.0, 11.0], [2.0, 21.0]])
    (whole,) = (line for line in ax.lines if line.get_label() == "population")
    np.testing.assert_allclose(whole.get_xydata(), [[0.0, 1.0], [2.0, 5.0]])
