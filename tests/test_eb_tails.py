"""Tail probabilities against scipy.stats."""

import numpy as np
import pytest
from scipy import stats

from mixedfit.eb.tails import normal_density, student_quantile, two_sided


@pytest.mark.parametrize("df", [1.0, 7.5, 200.0, np.inf])
def test_students_t(df):
    for p in (1e-10, 0.025, 0.5, 0.9):
        np.testing.assert_allclose(
            student_quantile(p, df), stats.t.ppf(p, df), rtol=1e-9, atol=1e-12
        )
    x = np.array([-30.0, -1.0, 0.0, 2.5])
    np.testing.assert_allclose(two_sided(x, df), 2 * stats.t.sf(np.abs(x), df), rtol=1e-9)


def test_the_normal_density_and_its_limit():
    x = np.array([-1.0, 0.5, 2.0])
    np.testing.assert_allclose(normal_density(x, 0.5, 2.0), stats.norm.pdf(x, 0.5, 2.0))
    assert normal_density(x, 0.5, 0.0).tolist() == [0.0, np.inf, 0.0]
