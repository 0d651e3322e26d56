"""Smooth lines, names and dots of pictures."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from mixedfit import plot
from mixedfit.errors import MixedfitError
from mixedfit.plot.canvas import smooth
from tests.plot_cases import (
    X,
    Y,
    no_windows,  # noqa: F401  a fixture
)


def test_smooth_lines_follow_straight_ones() -> None:
    grid, values = smooth(X, 2.0 + 3.0 * X)
    np.testing.assert_allclose(values, 2.0 + 3.0 * grid, atol=1e-9)


def test_without_matplotlib_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(MixedfitError, match=r"pip install 'mixedfit\[plot\]'"):
        plot.residuals(X, Y)
