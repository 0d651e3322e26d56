"""Smooth lines, names and dots of pictures."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from mixedfit import plot
from mixedfit.errors import MixedfitError
from mixedfit.plot.canvas import name_largest, new_axes, points, smooth
from tests.plot_cases import (
    X,
    Y,
    no_windows,  # noqa: F401  a fixture
    texts,
)


def test_smooth_lines_follow_straight_ones() -> None:
    grid, values = smooth(X, 2.0 + 3.0 * X)
    np.testing.assert_allclose(values, 2.0 + 3.0 * grid, atol=1e-9)


def test_without_matplotlib_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(MixedfitError, match=r"pip install 'mixedfit\[plot\]'"):
        plot.residuals(X, Y)


def test_smooth_lines_are_local_regressions() -> None:
    y = np.sin(X) + 0.1 * Y
    grid, values = smooth(X, y, span=0.5)
    for at, value in zip(grid, values, strict=True):
        distance = np.abs(X - at)
        reach = np.sort(distance)[len(X) // 2 - 1]
        root = np.clip(1.0 - (distance / reach) ** 3, 0.0, None) ** 1.5
        line = np.polynomial.polynomial.polyfit(X - at, y, 1, w=root)
        assert value == pytest.approx(line[0], abs=1e-9)
    assert (grid[0], grid[-1]) == (X[0], X[-1])


def test_smooth_lines_through_ties_are_means() -> None:
    grid, values = smooth(np.array([1.0, 1.0, 1.0]), np.array([0.0, 3.0, 6.0]))
    np.testing.assert_allclose(values, 3.0)
    np.testing.assert_array_equal(grid, [1.0])


def test_names_stand_beside_the_largest_that_are_known() -> None:
    ax = new_axes(None)
    ax.set_xlim(0.0, 4.0)
    x, y = np.array([1.0, 2.0, 3.5]), np.array([5.0, 6.0, 7.0])
    name_largest(ax, x, y, ["a", "b", "c"], np.array([0.2, np.nan, 0.9]), 2)
    assert texts(ax) == ["c", "a"]
    # Names point to the middle, where there is room.
    assert [text.get_ha() for text in ax.texts] == ["right", "left"]
    name_largest(ax, x, y, None, y, 2)
    assert len(ax.texts) == 2


def test_many_points_are_drawn_faint() -> None:
    ax = new_axes(None)
    few, many = np.zeros(10), np.zeros(20_000)
    points(ax, few, few)
    points(ax, many, many)
    alpha = [dots.get_alpha() for dots in ax.collections]
    assert alpha[1] < alpha[0]
    assert [dots.get_rasterized() for dots in ax.collections] == [False, True]


def test_smooth_lines_leave_out_what_is_missing() -> None:
    y = 2.0 + 3.0 * X
    y[3] = np.nan
    grid, values = smooth(X, y)
    np.testing.assert_allclose(values, 2.0 + 3.0 * grid, atol=1e-9)
