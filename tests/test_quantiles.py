from __future__ import annotations

import numpy as np
import pytest

from mixedfit.quantiles import normal_quantiles


@pytest.mark.parametrize(("n", "level"), [(8, 0.95), (60, 0.8), (400, 0.95)])
def test_the_band_holds_whole_normal_samples_at_its_level(n: int, level: float) -> None:
    band = normal_quantiles(np.zeros(n), level)
    samples = np.sort(np.random.default_rng(n).standard_normal((4000, n)), axis=1)
    inside = ((samples >= band.lower) & (samples <= band.upper)).all(axis=1)
    assert inside.mean() == pytest.approx(level, abs=0.02)


def test_the_band_is_narrow_in_the_tails() -> None:
    """Outliers show: Kolmogorov's band of 200 values has no limit at the largest of them."""
    band = normal_quantiles(np.zeros(200))
    assert 3.5 < band.upper[-1] < 4.8
    assert band.lower[-1] > 1.2


def test_points_are_sorted_and_know_where_they_came_from() -> None:
    values = np.array([0.3, -2.0, 1.5, 0.0])
    points = normal_quantiles(values)
    np.testing.assert_array_equal(points.observed, np.sort(values))
    np.testing.assert_array_equal(values[points.order], points.observed)
    np.testing.assert_allclose(points.theoretical, -points.theoretical[::-1], atol=1e-12)
    np.testing.assert_allclose(points.lower, -points.upper[::-1], atol=1e-9)


def test_one_value_has_the_interval_of_one() -> None:
    band = normal_quantiles(np.zeros(1))
    assert band.upper[0] == pytest.approx(1.96, abs=0.06)
