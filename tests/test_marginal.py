import numpy as np
import pytest

import mixedfit as mf
from mixedfit.marginal import residual_sd, solve_marginal
from tests.cases import frame
from tests.dense import relative_covariance

DATA = frame(120)
AR1 = mf.CorAR1(form="~ 1 | b")
EXP = mf.VarExp(form="~ x")

FITS = {
    "lmer": lambda: mf.lmer("y ~ x + (x | g)", DATA),
    "weighted, crossed": lambda: mf.lmer("y ~ x + (1 | g) + (1 | h)", DATA, weights="w"),
    "correlated across factors": lambda: mf.lmer(
        "y ~ x + (1 | g) + (x | h)", DATA, weights="w", correlation=AR1, variance=EXP
    ),
    "nested": lambda: mf.lme("y ~ x", "~ 1 | a/b", DATA, correlation=AR1),
    "gls": lambda: mf.gls("y ~ x", DATA, correlation=AR1, weights=EXP),
}


@pytest.fixture(params=FITS, scope="module")
def fit(request):
    return FITS[request.param]().fit


def marginal(fit):
    covariances = [term.root @ term.root.T for term in fit.estimate.terms]
    R = None if fit.whitening is None else fit.whitening.multiply(np.eye(fit.n))
    return fit.estimate.sigma**2 * relative_covariance(fit.design, covariances, R)


def test_solving_agrees_with_the_dense_covariance(fit):
    rows = np.random.default_rng(0).standard_normal((3, fit.n))
    np.testing.assert_allclose(solve_marginal(fit, rows) @ marginal(fit), rows, atol=1e-8)


def test_residual_sds_are_those_of_the_rows(fit):
    root = np.ones(fit.n) if fit.design.weights is None else 1.0 / np.sqrt(fit.design.weights)
    R = np.eye(fit.n) if fit.whitening is None else fit.whitening.multiply(np.eye(fit.n))
    np.testing.assert_allclose(residual_sd(fit), np.sqrt(R.diagonal()) * root)
