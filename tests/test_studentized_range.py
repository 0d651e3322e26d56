import numpy as np
import pytest
from scipy import stats

from mixedfit.studentized_range import range_quantile, range_tail

Q = np.array([0.0, 0.01, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0])


@pytest.mark.parametrize("k", [2, 3, 10, 100])
@pytest.mark.parametrize("df", [1.0, 2.5, 10.0, 500.0, np.inf])
def test_tails_are_scipys(k, df):
    ours, theirs = range_tail(Q, k, np.full(10, df)), stats.studentized_range.sf(Q, k, df)
    np.testing.assert_allclose(ours, theirs, atol=1e-9)


@pytest.mark.parametrize("df", [1.0, 5.0, 50.0, 1e5, np.inf])
def test_two_means_are_a_t_test_in_every_digit(df):
    t = np.array([0.1, 1.0, 10.0, 35.0])
    ours = range_tail(np.sqrt(2.0) * t, 2, np.full(4, df))
    np.testing.assert_allclose(ours, 2.0 * stats.t.sf(t, df), rtol=1e-8)


def test_small_tails_fall_smoothly():
    q = np.linspace(5.0, 40.0, 200)
    for k, df in ((3, 46.0), (20, np.inf), (8, 4.0)):
        tail = range_tail(q, k, np.full(200, df))
        assert (tail > 0.0).all()
        steps = np.diff(np.log(tail))
        assert (steps < 0.0).all()
        assert np.abs(np.diff(steps)).max() < 0.3
        t = 2.0 * stats.t.sf(q / np.sqrt(2.0), df)
        # Bonferroni's bound is met far out, where both are rounded.
        assert ((tail > t) & (tail < 0.5 * k * (k - 1) * t * (1.0 + 1e-9))).all()


@pytest.mark.parametrize(
    ("k", "df", "level"), [(2, 3.0, 0.9), (10, 150.3, 0.95), (4, np.inf, 0.99)]
)
def test_quantiles(k, df, level):
    q = range_quantile(level, k, df)
    assert q == pytest.approx(stats.studentized_range.ppf(level, k, df), rel=1e-6)
    assert range_tail(np.array([q]), k, np.array([df]))[0] == pytest.approx(1.0 - level, rel=1e-8)


def test_nothing_in_nothing_out():
    assert range_tail(np.zeros(0), 3, np.zeros(0)).shape == (0,)
