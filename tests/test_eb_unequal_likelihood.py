"""Groups that differ in mean and variance: the likelihood and its maximum."""

import numpy as np
import pytest
from scipy import integrate, optimize, stats

import mixedfit as mf
from mixedfit.eb.unequal_likelihood import AtPoint, Hyperparameters, fit_unequal
from tests.eb_cases import GROUP_FEW, Y_FEW, groups_of, simulated


def test_likelihood_is_the_integral_over_the_rows():
    h = Hyperparameters(9.0, 1.2, 3.0, 4.0)
    at = AtPoint(groups_of(Y_FEW, GROUP_FEW), h)
    for j in range(7):
        rows = Y_FEW[j == GROUP_FEW]
        prior = stats.invgamma(h.nu0 / 2, scale=h.nu0 * h.s02 / 2)

        def density(x, rows=rows, prior=prior):
            V = h.tau2 + np.exp(x) * np.eye(len(rows))
            rows_given = stats.multivariate_normal.logpdf(rows, np.full(len(rows), h.mu), V)
            return np.exp(rows_given + prior.logpdf(np.exp(x)) + x)

        exact, _ = integrate.quad(density, -10, 14, epsabs=0, epsrel=1e-11, limit=400, points=[1])
        assert at.each[j] == pytest.approx(np.log(exact), abs=1e-9)


@pytest.mark.parametrize(
    "h",
    [
        Hyperparameters(9.0, 1.2, 3.0, 4.0),
        Hyperparameters(9.0, 1.2, 3.0, np.inf),
        Hyperparameters(10.0, 0.3, 3.0, 200.0),
    ],
)
def test_gradient_is_that_of_the_likelihood(h):
    groups = groups_of(Y_FEW, GROUP_FEW)

    def value(d):
        moved = (h.mu + d[0], h.tau2 + d[1], h.s02 * np.exp(d[2]), h.nu0 * np.exp(d[3]))
        return AtPoint(groups, Hyperparameters(*moved)).value

    numeric = [(value(d) - value(-d)) / 2e-5 for d in 1e-5 * np.eye(4)]
    np.testing.assert_allclose(AtPoint(groups, h).gradient, numeric, rtol=1e-5, atol=1e-6)


def test_the_maximum_is_one():
    groups = groups_of(*simulated(30, 1)[2:])
    best = fit_unequal(groups)
    h = best.h

    def fun(z):
        return -AtPoint(
            groups, Hyperparameters(z[0], np.exp(z[1]), np.exp(z[2]), np.exp(z[3]))
        ).value

    found = optimize.minimize(
        fun, [10.0, 0.0, 1.0, 1.0], method="Nelder-Mead", options={"maxiter": 2000}
    )
    assert best.at.value >= -found.fun - 1e-6
    assert np.abs(best.at.gradient).max() < 1e-5
    z = np.array([h.mu, np.log(h.tau2), np.log(h.s02), np.log(h.nu0)])
    np.testing.assert_allclose(z, found.x, atol=0.02)


def test_the_limit_of_equal_variances_is_lmers_maximum():
    y, group = simulated(15, 8)[2:]
    groups = groups_of(y, group)
    fit = mf.lmer("y ~ 1 + (1 | g)", {"y": y, "g": group}, method="ML")
    tau2 = fit.varcorr.sd["g"].iloc[0] ** 2
    at = AtPoint(groups, Hyperparameters(fit.params.iloc[0], tau2, fit.scale, np.inf))
    assert at.value == pytest.approx(fit.llf, abs=1e-8)
    np.testing.assert_allclose(at.gradient, 0.0, atol=1e-4)
    near = AtPoint(groups, Hyperparameters(fit.params.iloc[0], tau2, fit.scale, 1e6))
    assert near.value == pytest.approx(at.value, abs=1e-3)
    assert mf.eb.one_way(y, group).llf >= fit.llf
