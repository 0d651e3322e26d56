"""Pictures of shrinkage: order, marks, names, what is left out."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_hex
from scipy.stats import norm

from mixedfit import plot
from mixedfit.plot.canvas import RED
from tests.plot_cases import (
    no_windows,  # noqa: F401  a fixture
    texts,
)


def test_intervals_are_sorted_and_those_apart_from_the_reference_marked() -> None:
    ax = plot.intervals([2.0, 0.1, -3.0], [1.0, -1.0, -4.0], [3.0, 1.0, -2.0], ["a", "b", "c"])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["c", "b", "a"]
    marked = [
        line for line in ax.lines if to_hex(line.get_color()) == RED and len(line.get_xdata())
    ]
    assert sorted(marked[-1].get_xdata()) == [-3.0, 2.0]


def test_many_intervals_leave_their_names_out() -> None:
    n = 500
    ax = plot.intervals(np.zeros(n), -np.ones(n), np.ones(n), np.arange(n), ylabel="School")
    assert ax.get_yticklabels() == []
    assert ax.get_ylabel() == "School (500, sorted)"


def test_missing_estimates_without_pooling_are_left_out() -> None:
    raw = np.array([[1.0, 2.0], [np.nan, 1.0], [0.0, 1.0]])
    ax = plot.shrinkage_arrows(raw, np.nan_to_num(raw) / 2, ["a", "b", "c"])
    assert texts(ax) == ["a", "c"]
    plot.shrinkage_lines(raw[:, 0], raw[:, 1], ["a", "b", "c"]).figure.canvas.draw()


def test_a_prior_of_point_masses_alone_is_drawn() -> None:
    ax = plot.density([], [], atoms=([-1.0, 2.0], [0.3, 0.7]))
    assert ax.get_ylim()[1] == pytest.approx(0.756)


def test_lines_join_each_unit_at_its_own_height() -> None:
    raw, shrunken = np.array([3.0, -1.0, 0.5]), np.array([1.0, -0.5, 0.25])
    size = np.array([1.0, 4.0, 2.0])
    ax = plot.shrinkage_lines(raw, shrunken, ["a", "b", "c"], centre=0.1, size=size)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["b", "c", "a"]
    joined, own, pulled = ax.collections
    order = [1, 2, 0]
    ends = np.array([segment[:, 0] for segment in joined.get_segments()])
    np.testing.assert_allclose(ends, np.c_[raw, shrunken][order])
    np.testing.assert_allclose(own.get_offsets(), np.c_[raw[order], [0, 1, 2]])
    np.testing.assert_allclose(pulled.get_offsets(), np.c_[shrunken[order], [0, 1, 2]])
    np.testing.assert_allclose(own.get_sizes() / own.get_sizes().max(), size[order] / 4.0)


def test_arrows_lead_from_raw_to_shrunken() -> None:
    raw = np.array([[1.0, 2.0], [np.nan, 1.0], [0.0, 1.0]])
    shrunken = np.array([[0.5, 1.5], [0.2, 0.2], [0.1, 0.7]])
    ax = plot.shrinkage_arrows(raw, shrunken, centre=[0.0, 0.5])
    arrows = ax.collections[0]
    np.testing.assert_allclose(np.c_[arrows.X, arrows.Y], raw[[0, 2]])
    np.testing.assert_allclose(np.c_[arrows.U, arrows.V], (shrunken - raw)[[0, 2]])
    # A unit without estimates of its own still has shrunken ones.
    assert len(ax.collections[2].get_offsets()) == 3


def test_points_outside_the_outermost_limits_are_marked_and_named() -> None:
    grid = np.array([1.0, 4.0, 100.0])
    limits = [(level, -z / np.sqrt(grid), z / np.sqrt(grid)) for level, z in ((0.99, 3), (0.9, 2))]
    estimate, size = np.array([2.5, 1.4, -2.6, 0.9]), np.array([1.0, 4.0, 4.0, 100.0])
    ax = plot.funnel(
        estimate, size, centre=0.0, limits=limits, grid=grid, labels=list("abcd"), n_labels=1
    )
    inside, outside = ax.collections
    np.testing.assert_allclose(inside.get_offsets(), [[1.0, 2.5], [4.0, 1.4]])
    np.testing.assert_allclose(outside.get_offsets(), [[4.0, -2.6], [100.0, 0.9]])
    assert texts(ax) == ["d"]  # outside by a whole width of 0.6, c by 1.1 of 3
    assert {line.get_label() for line in ax.lines} >= {"90% limits", "99% limits"}


def test_point_masses_stand_on_an_axis_of_their_own() -> None:
    x = np.linspace(-3.0, 3.0, 50)
    ax = plot.density(x, norm.pdf(x), atoms=([0.0, 1.0], [0.4, 0.1]), rug=[0.5, 2.0])
    left, right = ax.figure.axes
    np.testing.assert_allclose(left.lines[0].get_ydata(), norm.pdf(x))
    np.testing.assert_allclose(left.lines[1].get_xdata(), [0.5, 2.0])
    heights = [segment[1, 1] for segment in right.collections[0].get_segments()]
    np.testing.assert_allclose(heights, [0.4, 0.1])
    assert left.get_ylim()[0] == right.get_ylim()[0] == 0.0
