"""Mixture priors: marginal densities and posteriors by quadrature."""

import itertools

import numpy as np
import pytest
from scipy import integrate, special, stats

from mixedfit.eb.prior_mixtures import (
    LaplaceMixture,
    NormalMixture,
    UniformMixture,
    log_exponential_side,
)

D, S = np.array([-3.0, -0.4, 0.0, 1.2, 6.0]), np.array([0.5, 1.0, 2.0, 0.8, 1.5])
PRIORS = {
    "normals": NormalMixture(
        np.array([0.3, 0.5, 0.2]), np.array([0.0, 0.0, 1.5]), np.array([0.0, 1.2, 0.4])
    ),
    "uniforms": UniformMixture(
        np.array([0.2, 0.4, 0.4]), np.array([0.0, -2.0, 0.0]), np.array([0.0, 0.0, 3.0])
    ),
    "exponentials": LaplaceMixture(np.array([0.4, 0.25, 0.35]), 1.3),
}
# Each component as scipy has it; None for a point at 0.
PARTS = {
    "normals": [None, stats.norm(0.0, 1.2), stats.norm(1.5, 0.4)],
    "uniforms": [None, stats.uniform(-2.0, 2.0), stats.uniform(0.0, 3.0)],
    "exponentials": [None, None, stats.expon(scale=1.3)],
}


@pytest.fixture(params=PRIORS)
def name(request):
    return request.param


def part_pdf(name, k, x):
    if name == "exponentials" and k == 1:
        return stats.expon.pdf(-x, scale=1.3)
    return PARTS[name][k].pdf(x)


def integral(name, k, g, d, s):
    """Integral of g(x) against component k and the likelihood of an estimate at d."""
    if k == 0:
        return g(0.0) * stats.norm.pdf(d, 0.0, s)
    low, high = {
        ("normals", 1): (-12.0, 12.0),
        ("normals", 2): (-2.5, 5.5),
        ("uniforms", 1): (-2.0, 0.0),
        ("uniforms", 2): (0.0, 3.0),
        ("exponentials", 1): (-50.0, 0.0),
        ("exponentials", 2): (0.0, 50.0),
    }[name, k]
    near = np.unique(np.clip([d - 4 * s, d, d + 4 * s, low, high, -1.0, 1.0], low, high))
    return sum(
        integrate.quad(lambda x: g(x) * part_pdf(name, k, x) * stats.norm.pdf(d, x, s), a, b)[0]
        for a, b in itertools.pairwise(near)
    )


def test_marginal_densities_are_integrals(name):
    prior = PRIORS[name]
    components = np.exp(prior.log_components(D, S))
    for j, (d, s) in enumerate(zip(D, S, strict=True)):
        for k in range(3):
            expected = integral(name, k, lambda _: 1.0, d, s)
            assert components[j, k] == pytest.approx(expected, rel=1e-6, abs=1e-14)
    _, log_marginal = prior.posterior(D, S)
    np.testing.assert_allclose(np.exp(log_marginal), components @ prior.weights)


def test_posteriors_are_bayes_rule(name):
    prior = PRIORS[name]
    pieces, _ = prior.posterior(D, S)
    mean, variance = pieces.moments
    below = pieces.below(np.full(5, 0.7))
    for j, (d, s) in enumerate(zip(D, S, strict=True)):

        def total(g, d=d, s=s):
            return sum(w * integral(name, k, g, d, s) for k, w in enumerate(prior.weights))

        mass = total(lambda _: 1.0)
        expected = total(lambda x: x) / mass
        assert mean[j] == pytest.approx(expected, abs=1e-6)
        spread = total(lambda x, m=expected: (x - m) ** 2) / mass
        assert variance[j] == pytest.approx(spread, rel=1e-5, abs=1e-9)
        assert below[j] == pytest.approx(total(lambda x: float(x <= 0.7)) / mass, abs=1e-3)


def test_the_density_and_the_points_make_up_the_prior(name):
    prior = PRIORS[name]
    at, masses = prior.points
    np.testing.assert_array_equal(at, [0.0])
    x = np.array([-1.7, -0.3, 0.6, 1.5, 2.9])
    expected = sum(w * part_pdf(name, k + 1, x) for k, w in enumerate(prior.weights[1:]))
    np.testing.assert_allclose(prior.density(x), expected)
    # Away from the point at 0, where uniforms and exponentials jump.
    edges = [-40.0, -2.0, -1e-12, 1e-12, 3.0, 40.0]
    mass = sum(
        integrate.quad(lambda v: prior.density(np.array([v]))[0], a, b)[0]
        for a, b in itertools.pairwise(edges)
    )
    assert mass + masses.sum() == pytest.approx(1.0, abs=1e-6)


def test_components_without_weight_change_nothing():
    prior = PRIORS["normals"]
    more = NormalMixture(
        np.append(prior.weights, 0.0), np.append(prior.means, 5.0), np.append(prior.sds, 2.0)
    )
    one, two = prior.posterior(D, S), more.posterior(D, S)
    np.testing.assert_allclose(two[1], one[1])
    np.testing.assert_allclose(two[0].moments, one[0].moments)


def test_estimates_far_from_every_component_keep_their_density():
    far, s = np.array([200.0]), np.array([1.0])
    _, log_marginal = PRIORS["uniforms"].posterior(far, s)
    # The nearest part is uniform on (0, 3); there 0.4 / 3 times a normal tail at 197.
    expected = np.log(0.4 / 3.0) + stats.norm.logsf(197.0)
    np.testing.assert_allclose(log_marginal, expected, rtol=1e-10)


def test_a_side_of_the_laplace_keeps_its_digits():
    z = np.array([-1e6, -30.0, -1.0, 0.5, 3.0, 0.0, 0.0, -2.0])
    shift = np.array([1e-6, 2.0, 0.5, 2.0, 30.0, 80.0, 1e6, 1e6])
    value, slope = log_exponential_side(z, shift)
    plain = shift * z + 0.5 * shift**2 + special.log_ndtr(-z - shift)
    np.testing.assert_allclose(value[:5], plain[:5], rtol=1e-9)
    np.testing.assert_allclose(value[6], -np.log(1e6 * np.sqrt(2 * np.pi)), rtol=1e-10)
    h = 1e-5
    up, down = log_exponential_side(z, shift + h)[0], log_exponential_side(z, shift - h)[0]
    np.testing.assert_allclose(slope[1:6], ((up - down) / (2 * h))[1:6], rtol=1e-6)
    np.testing.assert_allclose(slope[6:], -1e-6, rtol=1e-5)
