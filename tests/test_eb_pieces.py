"""Truncated normals and their mixtures."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mixedfit.eb.pieces import Pieces, log_interval, truncated_moments


@pytest.mark.parametrize(
    ("a", "b"), [(-1.0, 2.0), (3.0, 4.0), (-9.0, -7.5), (-np.inf, -3.0), (1.5, np.inf), (-5.0, 0.1)]
)
def test_moments_of_a_truncated_normal(a, b):
    law = stats.truncnorm(a, b)
    mean, variance = truncated_moments(np.array([a]), np.array([b]))
    np.testing.assert_allclose(mean, law.mean(), rtol=1e-8)
    np.testing.assert_allclose(variance, law.var(), rtol=1e-6)
    mass = stats.norm.cdf(b) - stats.norm.cdf(a) if a < 0 else stats.norm.sf(a) - stats.norm.sf(b)
    np.testing.assert_allclose(log_interval(np.array([a]), np.array([b])), np.log(mass), rtol=1e-9)


def test_far_and_narrow_intervals_keep_their_digits():
    # Beyond a = 2000 the law is exponential with rate a; a narrow interval is uniform.
    mean, variance = truncated_moments(np.array([2e3, 1.0]), np.array([np.inf, 1.0 + 1e-6]))
    np.testing.assert_allclose(mean[0] - 2e3, 1 / 2e3, rtol=1e-5)
    np.testing.assert_allclose(variance, [1 / 4e6, 1e-12 / 12], rtol=1e-5)
    np.testing.assert_allclose(mean[1], 1.0 + 5e-7, rtol=1e-12)
    assert np.isfinite(log_interval(np.array([-1e4]), np.array([-9.9e3])))[0]


@settings(max_examples=80, deadline=None)
@given(a=st.floats(-40.0, 40.0), width=st.floats(1e-6, 50.0))
def test_moments_stay_inside_the_interval(a, width):
    mean, variance = truncated_moments(np.array([a]), np.array([a + width]))
    assert a <= mean[0] <= a + width
    assert 0.0 <= variance[0] <= min(1.0, width**2 / 12) * (1 + 1e-6)


def pieces():
    """A point at 0, a left and a right piece, for three units."""
    weights = np.array([[0.5, 0.2, 0.3], [0.0, 0.6, 0.4], [0.01, 0.01, 0.98]])
    loc = np.array([[0.0, 1.0, -1.0], [0.0, -2.0, 3.0], [0.0, 0.5, 6.0]])
    scale = np.array([[0.0, 1.0, 1.0]] * 3) * np.array([[1.0], [0.5], [2.0]])
    return Pieces(weights, loc, scale, np.array([0.0, -np.inf, 0.0]), np.array([0.0, 0.0, np.inf]))


def test_probabilities_quantiles_and_draws_agree():
    mixture = pieces()
    for p in (0.025, 0.3, 0.6, 0.975):
        x = mixture.quantile(p)
        assert (mixture.below(x) >= p - 1e-9).all()
        assert (mixture.below(x, or_equal=False) <= p + 1e-9).all()
    rng = np.random.default_rng(0)
    draws = np.array([mixture.draw(rng) for _ in range(20_000)])
    mean, variance = mixture.moments
    np.testing.assert_allclose(draws.mean(axis=0), mean, atol=0.06)
    np.testing.assert_allclose(draws.std(axis=0), np.sqrt(variance), rtol=0.03)
    np.testing.assert_allclose((draws <= 0).mean(axis=0), mixture.below(np.zeros(3)), atol=0.02)


def test_closed_form_quantiles_are_those_of_the_search():
    mixture = pieces()
    # Overlapping copies of the same pieces have to be searched.
    doubled = Pieces(
        0.5 * np.hstack([mixture.weights] * 2),
        np.hstack([mixture.loc] * 2),
        np.hstack([mixture.scale] * 2),
        np.tile(mixture.low, 2),
        np.tile(mixture.high, 2),
    )
    for p in (0.01, 0.025, 0.2, 0.5, 0.9, 0.99):
        np.testing.assert_allclose(doubled.quantile(p), mixture.quantile(p), atol=1e-8)


def test_a_spike_and_a_normal():
    weights, loc = np.array([[0.3, 0.7], [0.9, 0.1]]), np.array([[0.0, 1.0], [0.0, -1.0]])
    mixture = Pieces(weights, loc, np.array([[0.0, 1.0], [0.0, 2.0]]))
    for p in (0.025, 0.2, 0.5, 0.975):
        x = mixture.quantile(p)
        assert (mixture.below(x) >= p - 1e-9).all()
        assert (mixture.below(x, or_equal=False) <= p + 1e-9).all()
    assert mixture.quantile(0.5)[1] == 0.0
