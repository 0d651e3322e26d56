"""Pictures of residuals: which points are marked and named."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from scipy.special import gamma

from mixedfit import plot
from mixedfit.plot.canvas import RED
from tests.plot_cases import (
    NAMES,
    X,
    Y,
    no_windows,  # noqa: F401  a fixture
    texts,
)


def test_the_largest_residuals_are_named() -> None:
    ax = plot.residuals(X, Y, labels=NAMES, n_labels=2)
    largest = np.argsort(np.abs(Y))[::-1][:2]
    assert texts(ax) == [NAMES[i] for i in largest]


def test_points_outside_the_band_are_marked_and_named() -> None:
    observed = X.copy()
    observed[-1] += 5.0
    ax = plot.quantile_quantile(X, observed, X - 0.5, X + 0.5, labels=NAMES)
    assert texts(ax) == ["unit 39"]
    assert [len(points.get_offsets()) for points in ax.collections[1:]] == [39, 1]


def drawn(ax: Axes) -> np.ndarray:
    """All dots, in the order in which they were drawn."""
    return np.concatenate([np.asarray(dots.get_offsets()) for dots in ax.collections])


def test_residuals_are_drawn_where_they_are() -> None:
    np.testing.assert_allclose(drawn(plot.residuals(X, Y)), np.c_[X, Y])
    ax = plot.scale_location(X, Y, labels=NAMES, n_labels=1)
    np.testing.assert_allclose(drawn(ax), np.c_[X, np.sqrt(np.abs(Y))])
    assert texts(ax) == [NAMES[int(np.argmax(np.abs(Y)))]]


def test_the_line_of_a_constant_scale_is_the_mean_root_of_a_half_normal() -> None:
    (line,) = (line for line in plot.scale_location(X, Y).lines if len(line.get_ydata()) == 2)
    # E |Z|^(1/2) = 2^(1/4) Gamma(3/4) / sqrt(pi).
    expected = 2.0**0.25 * gamma(0.75) / np.sqrt(np.pi)
    assert line.get_ydata()[0] == pytest.approx(expected, abs=5e-4)


def test_running_quartiles_are_those_of_the_window() -> None:
    rng = np.random.default_rng(3)
    fitted, scaled = rng.standard_normal(300), rng.random(300)
    ax = plot.scaled_residuals(fitted, scaled)
    by_rank = scaled[np.argsort(fitted)]
    running = [line for line in ax.lines if len(line.get_xdata()) > 2]
    for line, level in zip(running, (0.25, 0.5, 0.75), strict=True):
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True):
            i = round(x * 300 - 0.5)
            window = by_rank[max(0, i - 30) : i + 31]
            assert y == pytest.approx(np.quantile(window, level))


def test_autocorrelations_outside_the_band_are_marked() -> None:
    ax = plot.autocorrelation([0, 1, 2, 3], [1.0, 0.5, 0.1, -0.6], [0.2, 0.2, 0.2, 0.2])
    marked = [line for line in ax.lines if to_hex(line.get_color()) == RED]
    # The first is 1 whatever the data.
    np.testing.assert_array_equal(np.concatenate([m.get_xdata() for m in marked]), [1.0, 3.0])


def test_semivariances_have_the_area_of_their_pairs() -> None:
    ax = plot.semivariogram([1.0, 2.0, 3.0], [0.2, 0.5, 0.9], [10, 40, 20], reference=1.0)
    (dots,) = ax.collections
    np.testing.assert_allclose(dots.get_offsets(), [[1.0, 0.2], [2.0, 0.5], [3.0, 0.9]])
    assert np.argsort(dots.get_sizes()).tolist() == [0, 2, 1]
    (line,) = ax.lines
    np.testing.assert_array_equal(line.get_ydata(), 1.0)
