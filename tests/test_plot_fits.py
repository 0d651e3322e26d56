"""Pictures of profiles, influence and fitted lines."""

from __future__ import annotations

import numpy as np

from mixedfit import plot
from tests.plot_cases import (
    GRID,
    no_windows,  # noqa: F401  a fixture
)


def test_zeta_intervals_end_where_the_profile_reaches_them() -> None:
    ax = plot.profile_zeta(np.exp(GRID / 2), GRID, levels=[0.95])
    sides = sorted(float(line.get_xdata()[0]) for line in ax.lines[:2])
    np.testing.assert_allclose(sides, np.exp([-0.98, 0.98]), rtol=1e-3)
    # A profile that ends at a boundary has one side.
    one_sided = plot.profile_zeta(np.exp(GRID / 2)[20:], GRID[20:], levels=[0.95])
    assert len(one_sided.lines) == len(ax.lines) - 2
