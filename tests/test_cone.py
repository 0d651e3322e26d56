import numpy as np
import pytest
from scipy import optimize, stats

from mixedfit.cone import _project, cone_p_value


def test_one_variance_is_half_a_chi_squared():
    for t in (0.3, 2.7, 30.0):
        p = cone_p_value(t, np.array([[3.0]]), 0, 1)
        assert p == pytest.approx(0.5 * stats.chi2.sf(t, 1), rel=0.04)


def test_one_variance_beside_free_covariances_is_stram_and_lees_mixture():
    p = cone_p_value(6.0, np.array([[0.7]]), 2, 1)
    assert p == pytest.approx(0.5 * (stats.chi2.sf(6.0, 2) + stats.chi2.sf(6.0, 3)), rel=0.03)


def test_independent_variances_are_a_binomial_mixture():
    p = cone_p_value(5.0, np.diag([1.0, 9.0, 0.2]), 0, None)
    weights = np.array([3, 3, 1]) / 8
    expected = weights @ [stats.chi2.sf(5.0, k) for k in (1, 2, 3)]
    assert p == pytest.approx(expected, rel=0.03)


def test_two_correlated_variances():
    # Self & Liang (1987), case 7: the angle between the axes gives the weights.
    H = np.array([[1.0, -0.6], [-0.6, 1.0]])
    inverse = np.linalg.inv(H)
    rho = inverse[0, 1] / np.sqrt(inverse[0, 0] * inverse[1, 1])
    both = np.arccos(-rho) / (2 * np.pi)
    expected = 0.5 * stats.chi2.sf(4.0, 1) + both * stats.chi2.sf(4.0, 2)
    assert cone_p_value(4.0, H, 0, None) == pytest.approx(expected, rel=0.03)


def test_the_projection_on_covariance_matrices_is_the_nearest_point():
    rng = np.random.default_rng(0)
    R = rng.standard_normal((5, 3))
    H = R.T @ R
    scale = np.array([1.0, np.sqrt(2.0), 1.0])
    z = rng.standard_normal((4, 3))
    for point, projected in zip(z, _project(z, H, 2, scale), strict=True):

        def distance(root, point=point):
            a, b, c = root
            s = np.array([a * a, np.sqrt(2.0) * a * b, b * b + c * c])
            return (s - point) @ H @ (s - point)

        best = min(optimize.minimize(distance, start).fun for start in rng.standard_normal((6, 3)))
        own = (projected - point) @ H @ (projected - point)
        assert own == pytest.approx(best, abs=1e-4)


def test_nothing_gained_is_no_evidence_and_tails_stay_precise():
    assert cone_p_value(0.0, np.eye(1), 0, 1) == 1.0
    p = cone_p_value(120.0, np.eye(3), 2, 2)
    assert stats.chi2.sf(120.0, 2) < p < stats.chi2.sf(120.0, 5)
