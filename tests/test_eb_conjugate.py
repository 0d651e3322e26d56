"""Beta and gamma laws, and their mixtures, against scipy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, special, stats

from mixedfit.eb.conjugate import BetaLaw, GammaLaw, summarise_mixture

LAWS = {
    "beta": (BetaLaw(), stats.beta),
    "gamma": (GammaLaw(), lambda shape, rate: stats.gamma(shape, scale=1.0 / rate)),
}
FIRST, SECOND = np.array([0.3, 1.0, 2.5, 40.0]), np.array([2.0, 0.7, 9.0, 300.0])


@pytest.fixture(params=LAWS)
def law(request):
    return LAWS[request.param]


@pytest.mark.parametrize("p", [1e-3, 0.025, 0.5, 0.9995])
def test_beta_quantiles_are_the_library_s(p):
    rng = np.random.default_rng(0)
    a, b = 10.0 ** rng.uniform(-1, 6, (2, 3000))
    expected = special.betaincinv(a, b, p)
    np.testing.assert_allclose(BetaLaw().ppf(p, a, b), expected, rtol=1e-11)


def test_laws_are_those_of_scipy(law):
    ours, theirs = law
    expected = theirs(FIRST, SECOND)
    np.testing.assert_allclose(ours.mean(FIRST, SECOND), expected.mean())
    np.testing.assert_allclose(ours.variance(FIRST, SECOND), expected.var())
    for x in (0.02, 0.3, 0.9):
        np.testing.assert_allclose(ours.cdf(x, FIRST, SECOND), expected.cdf(x), rtol=1e-10)
        np.testing.assert_allclose(
            ours.pdf(np.full(4, x), FIRST, SECOND), expected.pdf(x), rtol=1e-9
        )
    moments = ours.moments(FIRST, SECOND, 0.9)
    np.testing.assert_allclose(moments.sd, expected.std())
    np.testing.assert_allclose(moments.lower, expected.ppf(0.05), rtol=1e-9)
    np.testing.assert_allclose(moments.upper, expected.ppf(0.95), rtol=1e-9)


def test_laws_with_given_moments_have_them(law):
    ours, theirs = law
    first, second = ours.matching(theirs(FIRST, SECOND).mean(), theirs(FIRST, SECOND).var())
    np.testing.assert_allclose(first, FIRST, rtol=1e-9)
    np.testing.assert_allclose(second, SECOND, rtol=1e-9)


def test_draws_follow_the_law(law):
    ours, theirs = law
    rng = np.random.default_rng(1)
    draws = ours.rvs(np.full(4000, 2.5), np.full(4000, 9.0), rng)
    assert stats.kstest(draws, theirs(2.5, 9.0).cdf).pvalue > 0.01


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(LAWS)), st.integers(0, 2**32 - 1), st.floats(0.3, 0.999))
def test_mixtures_have_their_moments_and_quantiles(name, seed, level):
    ours, theirs = LAWS[name]
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.ones(5))
    # A second parameter below 1 would put quantiles of a beta law within rounding of 1.
    first, second = 10.0 ** rng.uniform([[[-0.5]], [[0.0]]], 3.0, (2, 5, 3))
    got = summarise_mixture(ours, weights, first, second, level)
    parts = theirs(first, second)
    mean = weights @ parts.mean()
    np.testing.assert_allclose(got.mean, mean)
    square = weights @ (parts.var() + parts.mean() ** 2)
    np.testing.assert_allclose(got.sd**2, square - mean**2, rtol=1e-6)
    tail = 0.5 - 0.5 * level
    np.testing.assert_allclose(weights @ parts.cdf(got.lower), tail, rtol=1e-5)
    np.testing.assert_allclose(weights @ parts.sf(got.upper), tail, rtol=1e-5)


def test_mixtures_far_apart_are_inverted_between_their_parts():
    # Half the mass near 0.001, half near 0.9: the median lies where the density nearly vanishes.
    first = np.array([[1e3], [9e5]])
    second = np.array([[1e6], [1e5]])
    got = summarise_mixture(BetaLaw(), np.array([0.4, 0.6]), first, second, 0.3)
    parts = stats.beta(first[:, 0], second[:, 0])
    for limit, p in ((got.lower[0], 0.35), (got.upper[0], 0.65)):
        assert np.array([0.4, 0.6]) @ parts.cdf(limit) == pytest.approx(p, abs=1e-8)


@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_units_of_exposure_do_not_matter(unit):
    rng = np.random.default_rng(2)
    weights = rng.dirichlet(np.ones(4))
    shape, rate = 10.0 ** rng.uniform(-0.5, 2.0, (2, 4, 6))
    plain = summarise_mixture(GammaLaw(), weights, shape, rate, 0.95)
    scaled = summarise_mixture(GammaLaw(), weights, shape, unit * rate, 0.95)
    for name in ("mean", "sd", "lower", "upper"):
        ours = unit * getattr(scaled, name)
        np.testing.assert_allclose(ours, getattr(plain, name), rtol=1e-8)


def test_densities_have_mass_one(law):
    ours, _ = law
    total, _ = integrate.quad(lambda x: ours.pdf(np.array(x), 2.5, 9.0), 0.0, ours.highest)
    assert total == pytest.approx(1.0, abs=1e-8)


@pytest.mark.parametrize("scale", [1e-30, 1e-8, 1.0, 1e8, 1e40])
def test_limits_of_mixtures_of_rates_have_any_unit(scale):
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.ones(5))
    a, b = 10.0 ** rng.uniform(-1.0, 3.0, (2, 5, 3))
    found = summarise_mixture(GammaLaw(), weights, a, scale * b, 0.95)
    for limit, p in ((found.lower, 0.025), (found.upper, 0.975)):
        np.testing.assert_allclose(weights @ stats.gamma.cdf(limit * scale * b, a), p, rtol=1e-6)


def test_limits_of_mixtures_of_shares_hold_where_densities_are_infinite():
    for seed in range(60):
        rng = np.random.default_rng(seed)
        weights = rng.dirichlet(np.ones(rng.integers(1, 8)))
        a, b = 10.0 ** rng.uniform(-2.0, 4.0, (2, len(weights), 4))
        found = summarise_mixture(BetaLaw(), weights, a, b, 0.5)
        for limit, p in ((found.lower, 0.25), (found.upper, 0.75)):
            # Next to 0 and 1 the distribution jumps within the rounding of its argument.
            below = weights @ stats.beta.cdf(limit * (1.0 - 1e-9), a, b)
            above = weights @ stats.beta.cdf(limit * (1.0 + 1e-9), a, b)
            assert (below <= p + 1e-8).all()
            assert (above >= p - 1e-8).all()
