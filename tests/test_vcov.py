import numpy as np
import pytest

from mixedfit.fit import fit_design
from mixedfit.vcov import component_covariance, standard_errors_of_sds
from tests.cases import PATTERNS, frame
from tests.dense import relative_covariance


def joint_criterion(fit, C, sigma2):
    """-2 log restricted likelihood in absolute variances."""
    design = fit.design
    V = sigma2 * relative_covariance(design, [C / sigma2])
    V_inverse = np.linalg.inv(V)
    XVX = design.X.T @ V_inverse @ design.X
    b = np.linalg.solve(XVX, design.X.T @ V_inverse @ design.y)
    e = design.y - design.X @ b
    return np.linalg.slogdet(V)[1] + np.linalg.slogdet(XVX)[1] + e @ V_inverse @ e


@pytest.mark.parametrize("name", ["intercept", "slope"])
def test_standard_errors_agree_with_the_hessian_of_the_joint_likelihood(name):
    fit = fit_design(PATTERNS[name].design(frame(120)))
    (C,) = fit.estimate.covariances
    k = len(C)
    lower = np.tril_indices(k)

    def value(x):
        T = np.zeros((k, k))
        T[lower] = x[:-1]
        return joint_criterion(fit, T @ T.T, x[-1] ** 2)

    x = np.append(np.linalg.cholesky(C)[lower], fit.estimate.sigma)
    h = 1e-4 * np.maximum(np.abs(x), 0.1)
    E = np.diag(h)
    H = np.array(
        [
            [
                (value(x + a + b) - value(x + a - b) - value(x - a + b) + value(x - a - b))
                / (4 * a.sum() * b.sum())
                for b in E
            ]
            for a in E
        ]
    )
    covariance = 2.0 * np.linalg.inv(H)
    rows = [np.flatnonzero(lower[0] == i) for i in range(k)]
    expected = []
    for i, row in enumerate(rows):
        slope = np.zeros(len(x))
        slope[row] = x[row] / np.sqrt(C[i, i])
        expected.append(np.sqrt(slope @ covariance @ slope))
    (sds,), residual = standard_errors_of_sds(fit)
    np.testing.assert_allclose(sds, expected, rtol=2e-3)
    assert residual == pytest.approx(np.sqrt(covariance[-1, -1]), rel=2e-3)


def test_what_is_at_its_boundary_does_not_move():
    rng = np.random.default_rng(0)
    data = frame().assign(y=rng.standard_normal(240))
    fit = fit_design(PATTERNS["double bar"].design(data))
    covariance = component_covariance(fit.evaluation)
    zero = np.flatnonzero(fit.estimate.theta == 0.0)
    assert len(zero)
    np.testing.assert_array_equal(covariance[zero], 0.0)
    assert covariance[-1, -1] > 0.0
