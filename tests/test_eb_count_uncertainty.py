"""Uncertainty of the priors of counts: against a dense grid and simulation."""

import numpy as np
import pytest
from scipy import stats

import mixedfit as mf
from tests.eb_cases import EVENTS, SALES, VISITS, YEARS


def brute_force(log_likelihood, spread, mean_of, law):
    """Posterior means and upper limits by a dense grid over (eta, c)."""
    eta, c = np.linspace(-7.0, 3.0, 161), np.linspace(-4.0, 24.0, 225)
    E, C = (g.ravel() for g in np.meshgrid(eta, c, indexing="ij"))
    log_weight = log_likelihood(E, C) + spread(C)
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    first, second = law(E, C)
    return weight @ mean_of(first, second), weight, first, second


def test_integration_is_the_integral():
    y, n = SALES[:5], VISITS[:5]
    result = mf.eb.beta_binomial(y, n, uncertainty="integrate")

    def log_likelihood(E, C):
        mu, M = 1.0 / (1.0 + np.exp(-E)), np.exp(C)
        parts = (mu * M)[:, None], ((1 - mu) * M)[:, None]
        return stats.betabinom.logpmf(y, n, *parts).sum(axis=1)

    def spread(C):  # flat on s = (1 + M)^(-1/2): |ds / dc| = s (1 - s^2) / 2
        s = (1.0 + np.exp(C)) ** -0.5
        return np.log(s) + np.log1p(-(s**2))

    def law(E, C):
        mu, M = 1.0 / (1.0 + np.exp(-E)), np.exp(C)
        return (mu * M)[:, None] + y, ((1 - mu) * M)[:, None] + n - y

    mean, weight, first, second = brute_force(log_likelihood, spread, lambda a, b: a / (a + b), law)
    np.testing.assert_allclose(result.posterior["mean"], mean, rtol=2e-3)
    between = weight @ (first / (first + second) - mean) ** 2
    sd = np.sqrt(weight @ stats.beta.var(first, second) + between)
    np.testing.assert_allclose(result.posterior["sd"], sd, rtol=3e-3)
    below = weight @ stats.beta.cdf(result.posterior["upper"].to_numpy(), first, second)
    np.testing.assert_allclose(below, 0.975, atol=5e-4)


@pytest.mark.parametrize("way", ["laplace", "integrate", mf.eb.Bootstrap(60, seed=2)])
@pytest.mark.parametrize("family", ["beta", "gamma"])
def test_honest_intervals_are_wider_and_draws_agree(way, family):
    verb = mf.eb.beta_binomial if family == "beta" else mf.eb.gamma_poisson
    counts = (SALES, VISITS) if family == "beta" else (EVENTS, YEARS)
    plugin = verb(*counts).posterior
    result = verb(*counts, uncertainty=way)
    assert result.posterior["sd"].mean() > plugin["sd"].mean()
    draws = result.sample(8000, seed=3)
    # Laplace keeps the plug-in mean, which draws of the prior's logarithms shift a little.
    rtol = 0.2 if way == "laplace" else 0.05
    np.testing.assert_allclose(draws.mean(), result.posterior["mean"], rtol=rtol)
    np.testing.assert_allclose(draws.std(), result.posterior["sd"], rtol=0.15)


@pytest.mark.slow
def test_integrated_intervals_cover_where_plugin_falls_short():
    rng = np.random.default_rng(8)
    covered = {"plugin": [], "integrate": []}
    for _ in range(150):
        p = rng.beta(6.0, 54.0, 8)
        y = rng.binomial(40, p)
        if y.sum() == 0:
            continue
        for way, hits in covered.items():
            how = mf.eb.Integrate(points=41) if way == "integrate" else way
            table = mf.eb.beta_binomial(y, 40, uncertainty=how).posterior
            hits.append(((table["lower"] <= p) & (p <= table["upper"])).mean())
    assert np.mean(covered["plugin"]) < 0.85
    assert np.mean(covered["integrate"]) == pytest.approx(0.95, abs=0.025)
