"""Rising factorials against sums of logarithms."""

import numpy as np
import pytest

from mixedfit.eb.rising import log_rising_excess


@pytest.mark.parametrize("a", [1e-6, 0.3, 5.0, 29.9, 30.1, 1e3, 1e7, 1e13])
def test_rising_factorials_are_sums_of_logarithms(a):
    k = np.array([0.0, 1.0, 2.0, 17.0, 500.0])
    F, F1, F2 = log_rising_excess(np.full(5, a), k)
    terms = [np.arange(int(n)) for n in k]
    near = {"rtol": 1e-9, "atol": 1e-13}
    np.testing.assert_allclose(F, [np.log1p(i / a).sum() for i in terms], **near)
    slopes = [-(i / (a + i)).sum() for i in terms]
    np.testing.assert_allclose(a * F1, slopes, **near)
    bends = [(i * (2 * a + i) / (a + i) ** 2).sum() for i in terms]
    np.testing.assert_allclose(a**2 * F2, bends, **near)
