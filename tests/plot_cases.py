"""Numbers to draw, and figures closed after each test."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes

RNG = np.random.default_rng(1)
N = 40
X, Y = np.sort(RNG.standard_normal(N)), RNG.standard_normal(N)
NAMES = [f"unit {i}" for i in range(N)]
GRID = np.linspace(-3.0, 3.0, 50)


@pytest.fixture(autouse=True)
def no_windows() -> Iterator[None]:
    plt.switch_backend("Agg")
    yield
    plt.close("all")


def texts(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.texts]
