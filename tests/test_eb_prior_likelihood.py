"""Parametric priors: densities by quadrature, derivatives, standard errors, recovery."""

import numpy as np
import pytest
from scipy import integrate, stats

from mixedfit.eb.prior_likelihood import SHAPES, fit_prior

THETA = {
    "point-normal": np.array([0.4, 0.2]),
    "laplace": np.array([0.3]),
    "point-laplace": np.array([-0.5, 0.3]),
    "t": np.array([0.1, np.log(5.0)]),
}
D, S = np.array([-3.0, -0.2, 0.0, 1.0, 9.0]), np.array([0.5, 1.0, 2.0, 1.0, 0.7])


def prior_pdf(name, x):
    theta = THETA[name]
    if name == "t":
        return stats.t.pdf(x, np.exp(theta[1]), scale=np.exp(theta[0]))
    if "laplace" in name:
        return stats.laplace.pdf(x, scale=np.exp(theta[-1]))
    return stats.norm.pdf(x, scale=np.exp(theta[1]))


@pytest.mark.parametrize("name", list(SHAPES))
def test_marginal_densities_are_integrals(name):
    value, _, _ = SHAPES[name].evaluate(D, S, THETA[name])
    spike = 1 / (1 + np.exp(-THETA[name][0])) if name.startswith("point") else 0.0
    for d, s, ours in zip(D, S, value, strict=True):
        slab = integrate.quad(
            lambda x, d=d, s=s: prior_pdf(name, x) * stats.norm.pdf(d, x, s),
            -60,
            60,
            points=[0.0, d],
            limit=300,
        )[0]
        expected = spike * stats.norm.pdf(d, 0, s) + (1 - spike) * slab
        np.testing.assert_allclose(np.exp(ours), expected, rtol=1e-4)


@pytest.mark.parametrize("name", list(SHAPES))
def test_derivatives_are_central_differences(name):
    shape, theta, h = SHAPES[name], THETA[name], 1e-5
    _, slopes, in_d = shape.evaluate(D, S, theta)
    for i in range(len(theta)):
        e = np.zeros_like(theta)
        e[i] = h
        up, down = shape.evaluate(D, S, theta + e)[0], shape.evaluate(D, S, theta - e)[0]
        np.testing.assert_allclose(slopes[:, i], (up - down) / (2 * h), atol=1e-7)
    up, down = shape.evaluate(D + h, S, theta)[0], shape.evaluate(D - h, S, theta)[0]
    np.testing.assert_allclose(in_d, (up - down) / (2 * h), atol=1e-7)
    natural, jacobian = shape.natural(theta, 2.0)
    for i in range(len(theta)):
        e = np.zeros_like(theta)
        e[i] = h
        moved = (shape.natural(theta + e, 2.0)[0] - shape.natural(theta - e, 2.0)[0]) / (2 * h)
        np.testing.assert_allclose(jacobian[i], moved[i], rtol=1e-6)
    np.testing.assert_allclose(
        shape.mixture(theta, 1.0).posterior(D, S)[1], shape.evaluate(D, S, theta)[0], rtol=1e-9
    )
    assert natural.shape == theta.shape


@pytest.mark.parametrize("name", list(SHAPES))
def test_parameters_come_back_within_their_errors(name):
    rng = np.random.default_rng(8)
    J = 6000
    theta = {
        "point-normal": np.where(rng.random(J) < 0.6, 0.0, 1.5 * rng.standard_normal(J)),
        "laplace": rng.laplace(0.0, 1.5, J),
        "point-laplace": np.where(rng.random(J) < 0.6, 0.0, rng.laplace(0.0, 1.5, J)),
        "t": 1.5 * rng.standard_t(5.0, J),
    }[name]
    true = {
        "point-normal": [0.6, 2.25],
        "laplace": [1.5],
        "point-laplace": [0.6, 1.5],
        "t": [1.5, 5],
    }
    s = rng.uniform(0.3, 1.0, J)
    fit = fit_prior(SHAPES[name], 3.0 + theta + s * rng.standard_normal(J), s, np.ones((J, 1)))
    values, errors = fit.natural
    assert (np.abs(values - true[name]) < 3.5 * errors).all()
    assert (errors < 0.3 * np.array(true[name])).all()
    assert abs(fit.b[0] - 3.0) < 4 * np.sqrt(fit.b_covariance[0, 0]) < 0.2


def test_the_likelihood_is_in_the_users_units():
    rng = np.random.default_rng(1)
    y, s = 100.0 * rng.standard_normal(50) + 4000.0, rng.uniform(20.0, 60.0, 50)
    fit = fit_prior(SHAPES["point-normal"], y, s, np.ones((50, 1)))
    prior, centre = fit.likelihood.prior_at(fit.x)
    np.testing.assert_allclose(centre, fit.b[0])
    by_mixture = prior.posterior(y - centre, s)[1].sum()
    np.testing.assert_allclose(fit.likelihood.llf(fit.x), by_mixture)


@pytest.mark.parametrize("name", list(SHAPES))
def test_a_large_fit_is_that_of_the_whole(name, monkeypatch):
    rng = np.random.default_rng(9)
    y, s = rng.laplace(size=3000) + rng.standard_normal(3000), np.ones(3000)
    whole = fit_prior(SHAPES[name], y, s, np.zeros((3000, 0)))
    monkeypatch.setattr("mixedfit.eb.prior_likelihood._SAMPLE", 500)
    monkeypatch.setattr("mixedfit.eb.prior_likelihood._CHUNK", 700)
    sampled = fit_prior(SHAPES[name], y, s, np.zeros((3000, 0)))
    ours, theirs = sampled.likelihood.llf(sampled.x), whole.likelihood.llf(whole.x)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_a_unit_that_says_nothing_changes_nothing():
    rng = np.random.default_rng(4)
    y, s = rng.laplace(size=60) * 2 + rng.standard_normal(60), np.ones(60)
    for name in SHAPES:
        plain = fit_prior(SHAPES[name], y, s, np.zeros((60, 0))).natural[0]
        more = fit_prior(
            SHAPES[name], np.append(y, 1.0), np.append(s, 1e6), np.zeros((61, 0))
        ).natural[0]
        np.testing.assert_allclose(more, plain, rtol=2e-3, atol=1e-6)
