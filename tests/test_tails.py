import numpy as np
from scipy import stats

from mixedfit.tails import chi2_tail, f_tail, t_quantile, two_sided_t


def test_they_are_scipys():
    t, df = np.array([0.0, -1.3, 8.0, 40.0]), np.array([3.5, 17.0, 160.0, 1e5])
    np.testing.assert_allclose(two_sided_t(t, df), 2 * stats.t.sf(np.abs(t), df), rtol=1e-12)
    np.testing.assert_allclose(two_sided_t(t, np.inf), 2 * stats.norm.sf(np.abs(t)), rtol=1e-12)
    np.testing.assert_allclose(t_quantile(0.975, df), stats.t.ppf(0.975, df), rtol=1e-10)
    np.testing.assert_allclose(t_quantile(0.9, np.inf), stats.norm.ppf(0.9))
    np.testing.assert_allclose(f_tail(3.0, 2, 17.5), stats.f.sf(3.0, 2, 17.5), rtol=1e-12)
    np.testing.assert_allclose(f_tail(3.0, 2, np.inf), stats.chi2.sf(6.0, 2), rtol=1e-12)
    np.testing.assert_allclose(chi2_tail(60.0, 2), stats.chi2.sf(60.0, 2), rtol=1e-12)


def test_missing_degrees_of_freedom_give_missing_numbers():
    assert np.isnan(two_sided_t(1.0, np.nan))
    assert np.isnan(t_quantile(0.9, np.nan))
    assert np.isnan(f_tail(1.0, 2, np.nan))
