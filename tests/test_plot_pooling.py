"""Pictures of shrinkage: order, marks, names, what is left out."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_hex

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
