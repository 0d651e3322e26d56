from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from scipy.stats import norm

from mixedfit import plot
from mixedfit.errors import MixedfitError
from mixedfit.plot.canvas import RED, smooth

RNG = np.random.default_rng(1)
N = 40
X, Y = np.sort(RNG.standard_normal(N)), RNG.standard_normal(N)
NAMES = [f"unit {i}" for i in range(N)]
GRID = np.linspace(-3.0, 3.0, 50)

PICTURES: dict[str, Callable[[Axes | None], Axes]] = {
    "residuals": lambda ax: plot.residuals(X, Y, labels=NAMES, ax=ax),
    "scale_location": lambda ax: plot.scale_location(X, Y, labels=NAMES, ax=ax),
    "quantile_quantile": lambda ax: plot.quantile_quantile(
        X, np.sort(Y), X - 0.3, X + 0.3, labels=NAMES, ax=ax
    ),
    "scaled_residuals": lambda ax: plot.scaled_residuals(X, norm.cdf(Y), ax=ax),
    "intervals": lambda ax: plot.intervals(Y, Y - 0.5, Y + 0.5, NAMES, ax=ax),
    "shrinkage_lines": lambda ax: plot.shrinkage_lines(
        Y, Y / 2, NAMES, centre=0.0, size=np.arange(1, N + 1), ax=ax
    ),
    "shrinkage_arrows": lambda ax: plot.shrinkage_arrows(
        np.c_[X, Y], np.c_[X, Y] / 2, NAMES, centre=[0.0, 0.0], ax=ax
    ),
    "profile_zeta": lambda ax: plot.profile_zeta(np.exp(GRID), GRID, estimate=1.0, ax=ax),
    "influence": lambda ax: plot.influence(Y**2, NAMES, threshold=1.0, ax=ax),
    "autocorrelation": lambda ax: plot.autocorrelation(
        np.arange(8), 0.8 ** np.arange(8), np.full(8, 0.3), ax=ax
    ),
    "semivariogram": lambda ax: plot.semivariogram(
        np.arange(1.0, 9.0), np.arange(8.0), np.arange(1, 9), reference=1.0, ax=ax
    ),
    "fitted_lines": lambda ax: plot.fitted_lines(
        X, Y, X / 2, np.arange(N) % 4, population=(X, X / 2), ax=ax
    ),
    "funnel": lambda ax: plot.funnel(
        Y,
        np.arange(1, N + 1),
        centre=0.0,
        limits=[(0.95, -2 / np.sqrt(np.arange(1, 41)), 2 / np.sqrt(np.arange(1, 41)))],
        grid=np.arange(1, 41),
        labels=NAMES,
        ax=ax,
    ),
    "density": lambda ax: plot.density(GRID, norm.pdf(GRID), atoms=([0.0], [0.4]), rug=Y, ax=ax),
}


@pytest.fixture(autouse=True)
def _no_windows() -> Iterator[None]:
    plt.switch_backend("Agg")
    yield
    plt.close("all")


def test_every_picture_is_tried() -> None:
    assert sorted(PICTURES) == sorted(plot.__all__)


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_draw_on_the_axes_they_are_given(name: str) -> None:
    _, (left, right) = plt.subplots(1, 2)
    assert PICTURES[name](right) is right
    assert right.has_data()
    assert not left.has_data()
    right.figure.canvas.draw()


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_make_a_figure_with_labels_and_change_no_setting(name: str) -> None:
    before = dict(mpl.rcParams)
    ax = PICTURES[name](None)
    ax.figure.canvas.draw()
    assert dict(mpl.rcParams) == before
    assert ax.get_xlabel() or ax.get_ylabel()
    assert not ax.spines["top"].get_visible()


def test_without_matplotlib_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(MixedfitError, match=r"pip install 'mixedfit\[plot\]'"):
        plot.residuals(X, Y)


def texts(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.texts]


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


def test_zeta_intervals_end_where_the_profile_reaches_them() -> None:
    ax = plot.profile_zeta(np.exp(GRID / 2), GRID, levels=[0.95])
    sides = sorted(float(line.get_xdata()[0]) for line in ax.lines[:2])
    np.testing.assert_allclose(sides, np.exp([-0.98, 0.98]), rtol=1e-3)
    # A profile that ends at a boundary has one side.
    one_sided = plot.profile_zeta(np.exp(GRID / 2)[20:], GRID[20:], levels=[0.95])
    assert len(one_sided.lines) == len(ax.lines) - 2


def test_smooth_lines_follow_straight_ones() -> None:
    grid, values = smooth(X, 2.0 + 3.0 * X)
    np.testing.assert_allclose(values, 2.0 + 3.0 * grid, atol=1e-9)


def test_a_prior_of_point_masses_alone_is_drawn() -> None:
    ax = plot.density([], [], atoms=([-1.0, 2.0], [0.3, 0.7]))
    assert ax.get_ylim()[1] == pytest.approx(0.756)
