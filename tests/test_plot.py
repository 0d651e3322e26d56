from __future__ import annotations

from collections.abc import Callable

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes
from scipy.stats import norm

from mixedfit import plot
from tests.plot_cases import (
    GRID,
    NAMES,
    N,
    X,
    Y,
    no_windows,  # noqa: F401  a fixture
)

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
