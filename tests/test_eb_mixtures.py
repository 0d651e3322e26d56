"""Mixtures of normals: moments and quantiles."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from mixedfit.eb import mixtures
from mixedfit.eb.mixtures import mixture_moments, mixture_quantiles, quantiles


def test_mixtures_of_normals():
    weights = np.array([0.2, 0.5, 0.3])
    means, sds = np.array([[0.0], [1.0], [4.0]]), np.array([[1.0], [0.1], [2.0]])
    mean, variance = mixture_moments(weights, means, sds**2)
    np.testing.assert_allclose(mean, 1.7)
    np.testing.assert_allclose(variance, 0.2 * 1 + 0.5 * 1.01 + 0.3 * 20 - 1.7**2)
    quantiles = mixture_quantiles((0.1, 0.9), weights, means, sds)[:, 0]
    reached = [weights @ stats.norm.cdf(q, means[:, 0], sds[:, 0]) for q in quantiles]
    np.testing.assert_allclose(reached, [0.1, 0.9])
    point = mixture_quantiles(
        (0.5,), np.array([0.6, 0.4]), np.array([[2.0], [5.0]]), np.zeros((2, 1))
    )
    np.testing.assert_allclose(point, 2.0, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.001, 0.999), st.floats(-6.0, 6.0))
def test_quantiles_are_roots_of_the_distribution_function(seed, p, size):
    rng = np.random.default_rng(seed)
    weights, unit = rng.dirichlet(np.ones(4)), 10.0**size
    means, sds = unit * rng.normal(0.0, 3.0, (4, 2)), unit * 10.0 ** rng.uniform(-2, 1, (4, 2))
    got = mixture_quantiles((p, 0.5), weights, means, sds)
    for j in range(2):
        for place, probability in enumerate((p, 0.5)):
            root = optimize.brentq(
                lambda x, j=j, probability=probability: (
                    weights @ stats.norm.cdf(x, means[:, j], sds[:, j]) - probability
                ),
                -200.0 * unit,
                200.0 * unit,
                xtol=1e-13 * unit,
            )
            assert got[place, j] == pytest.approx(root, abs=1e-8 * unit)


def test_moments_are_those_of_draws_written_out():
    rng = np.random.default_rng(3)
    weights, means = np.array([0.2, 0.5, 0.3]), rng.normal(size=(3, 4))
    variances = rng.uniform(0.1, 2.0, (3, 4))
    mean, variance = mixture_moments(weights, means, variances)
    # E x and E x^2 - (E x)^2.
    np.testing.assert_allclose(mean, weights @ means)
    np.testing.assert_allclose(variance, weights @ (variances + means**2) - (weights @ means) ** 2)


def test_units_are_done_in_parts(monkeypatch):
    rng = np.random.default_rng(4)
    weights, means = rng.dirichlet(np.ones(3)), rng.normal(size=(3, 50))
    sds = rng.uniform(0.1, 2.0, (3, 50))
    whole = mixture_quantiles((0.1, 0.7), weights, means, sds)
    monkeypatch.setattr(mixtures, "_CHUNK", 20)
    np.testing.assert_allclose(mixture_quantiles((0.1, 0.7), weights, means, sds), whole)


def test_a_jump_of_the_distribution_function_is_its_quantile():
    # Mass one half at 0.3; the rest uniform on (0, 1).
    def cdf(x):
        return 0.5 * np.clip(x, 0.0, 1.0) + 0.5 * (x >= 0.3)

    low, high = np.zeros(1), np.ones(1)
    for p, expected in ((0.05, 0.1), (0.15, 0.3), (0.4, 0.3), (0.65, 0.3), (0.9, 0.8)):
        got = quantiles(p, cdf, None, low, high)
        np.testing.assert_allclose(got, expected, atol=1e-9)
    np.testing.assert_array_equal([low[0], high[0]], [0.0, 1.0])  # the caller's own
