"""Likelihoods of counts: scipy's distributions, derivatives, the maximum."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from mixedfit.eb.count_likelihood import BetaBinomial, GammaPoisson, maximise
from tests.eb_cases import SALES, VISITS


@pytest.mark.parametrize("family", [BetaBinomial, GammaPoisson])
@pytest.mark.parametrize("c", [-2.0, 1.0, 6.0, 15.0])
def test_derivatives_are_those_of_the_likelihood(family, c):
    X = np.column_stack([np.ones(6), [0.3, -1.0, 0.5, 2.0, 0.0, 1.0]])
    likelihood = family(SALES.astype(float), VISITS.astype(float), np.arange(1.0, 7.0), X)
    x = np.array([-2.0, 0.4, c])
    value, gradient, H = likelihood.derivatives(x[:2], x[2])
    assert value == pytest.approx(likelihood.value(x[:2], x[2]))

    def numeric(f):
        return np.array([(f(x + h) - f(x - h)) / 2e-5 for h in 1e-5 * np.eye(3)])

    scale = np.abs(H).max()
    np.testing.assert_allclose(
        gradient, numeric(lambda z: likelihood.value(z[:2], z[2])), atol=1e-8 * scale
    )
    np.testing.assert_allclose(
        H, numeric(lambda z: likelihood.derivatives(z[:2], z[2])[1]), atol=1e-8 * scale
    )


def test_likelihoods_are_the_textbook_ones():
    ones = np.ones((6, 1))
    y, n = SALES.astype(float), VISITS.astype(float)
    mu, M = 0.1, 20.0
    b = np.array([np.log(mu / (1 - mu))])
    likelihood = BetaBinomial(y, n, np.ones(6), ones)
    expected = stats.betabinom.logpmf(SALES, VISITS, mu * M, (1 - mu) * M).sum()
    assert likelihood.value(b, np.log(M)) == pytest.approx(expected)
    expected = stats.binom.logpmf(SALES, VISITS, mu).sum()
    assert likelihood.value(b, np.inf) == pytest.approx(expected)
    assert likelihood.value(b, 32.0) == pytest.approx(expected)
    likelihood = GammaPoisson(y, n, np.ones(6), ones)
    rate, a = 0.1, 3.0
    expected = stats.nbinom.logpmf(SALES, a, a / (a + n * rate)).sum()
    assert likelihood.value(np.log([rate]), np.log(a)) == pytest.approx(expected)
    expected = stats.poisson.logpmf(SALES, n * rate).sum()
    assert likelihood.value(np.log([rate]), np.inf) == pytest.approx(expected)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 12), st.floats(-1.0, 8.0))
def test_nothing_near_the_maximum_is_higher(seed, J, c):
    rng = np.random.default_rng(seed)
    n = rng.integers(2, 60, J)
    y = rng.binomial(n, rng.beta(0.3 * np.exp(c), 0.7 * np.exp(c), J))
    if ((y == 0) | (y == n)).all() or y.sum() == 0:
        return
    likelihood = BetaBinomial(y.astype(float), n.astype(float), np.ones(J), np.ones((J, 1)))
    best = maximise(likelihood)
    found = optimize.minimize(
        lambda x: -likelihood.value(x[:1], min(x[1], 30.0)), [0.0, 2.0], method="Nelder-Mead"
    )
    assert best.llf >= -found.fun - 1e-6
