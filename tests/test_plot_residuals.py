"""Pictures of residuals: which points are marked and named."""

from __future__ import annotations

import numpy as np

from mixedfit import plot
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
