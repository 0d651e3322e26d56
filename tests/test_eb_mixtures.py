"""Mixtures of normals: moments and quantiles."""

import numpy as np
from scipy import stats

from mixedfit.eb.mixtures import mixture_moments, mixture_quantiles


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
