"""Integration over hyperparameters."""

import numpy as np
import pytest
from scipy import integrate, stats

import mixedfit as mf
from mixedfit.eb.hyperparameters import (
    Bootstrap,
    Integrate,
    laplace_moments,
    log_hyperprior,
    nodes_on_line,
    nodes_on_plane,
    read_uncertainty,
)
from mixedfit.errors import DataError, ModelError


def test_nodes_on_a_line_integrate_a_density():
    nodes = nodes_on_line(lambda x: stats.gamma.logpdf(np.exp(x), 3.0) + x, -30.0, 30.0, 161)
    values = np.exp(nodes.at)
    np.testing.assert_allclose(nodes.weights @ values, 3.0, rtol=1e-6)
    np.testing.assert_allclose(nodes.weights @ values**2, 12.0, rtol=1e-5)
    np.testing.assert_allclose(
        np.exp(nodes.quantile(np.array([0.5]))), stats.gamma.ppf(0.5, 3.0), rtol=1e-2
    )


def test_an_improper_density_is_refused():
    with pytest.raises(ModelError, match="improper"):
        nodes_on_line(lambda x: np.minimum(x, 0.0), -20.0, 20.0, 161)


def test_nodes_on_a_plane_integrate_a_density():
    covariance = np.array([[2.0, 0.9], [0.9, 0.7]])
    law = stats.multivariate_t([1.0, -1.0], covariance, df=12)
    nodes = nodes_on_plane(law.logpdf, np.array([0.8, -0.9]), 0.5 * covariance)
    np.testing.assert_allclose(nodes.weights @ nodes.at, [1.0, -1.0], atol=1e-3)
    centred = nodes.at - [1.0, -1.0]
    np.testing.assert_allclose(
        np.einsum("k,ki,kj->ij", nodes.weights, centred, centred), 1.2 * covariance, rtol=2e-2
    )


def test_the_second_order_expectation_of_a_skewed_law():
    # phi = log of a gamma with a large shape: E exp(phi) and Var exp(phi) to second order.
    shape = 60.0

    def log_density(x):
        return shape * x - np.exp(x)

    mean, variance = laplace_moments(
        lambda x: (np.array([np.exp(x)]), np.array([0.0])), log_density, np.log(shape)
    )
    np.testing.assert_allclose(mean, shape, rtol=1e-3)
    np.testing.assert_allclose(variance, shape, rtol=3e-2)


def test_hyperpriors_are_their_densities():
    tau = np.array([0.3, 1.0, 4.0])
    flat = np.zeros(3)
    for prior, law in (("half-normal", stats.halfnorm), ("half-cauchy", stats.halfcauchy)):
        ours = log_hyperprior(prior, tau, 2.0, flat)
        theirs = law.logpdf(tau, scale=2.0)
        np.testing.assert_allclose(ours - ours[0], theirs - theirs[0])
    information = -np.log(tau)
    reference = log_hyperprior("reference", tau, 1.0, information)
    np.testing.assert_allclose(reference, np.log(tau) + 0.5 * information)


def test_integration_is_double_quadrature():
    y, s = np.array([28.0, 8.0, -3.0, 7.0]), np.array([15.0, 10.0, 16.0, 11.0])
    result = mf.eb.normal_means(y, s, uncertainty=Integrate("half-normal", scale=10.0))

    def joint(mu, tau, power):
        # theta_1 integrated out given mu and tau.
        w = tau**2 / (tau**2 + s[0] ** 2)
        mean = w * y[0] + (1 - w) * mu
        moment = (1.0, mean, mean**2 + w * s[0] ** 2)[power]
        likelihood = np.prod(stats.norm.pdf(y, mu, np.sqrt(s**2 + tau**2)))
        return moment * likelihood * stats.halfnorm.pdf(tau, scale=10.0)

    total, first, second = (
        integrate.dblquad(joint, 0.0, 70.0, -90.0, 110.0, args=(k,), epsabs=0, epsrel=1e-6)[0]
        for k in range(3)
    )
    row = result.posterior.iloc[0]
    np.testing.assert_allclose(row["mean"], first / total, rtol=1e-4)
    np.testing.assert_allclose(row["sd"], np.sqrt(second / total - (first / total) ** 2), rtol=1e-4)


def test_what_is_asked_for_is_checked():
    assert read_uncertainty("bootstrap") == Bootstrap()
    assert read_uncertainty(Integrate("reference")) == Integrate("reference")
    with pytest.raises(DataError, match="uncertainty must be"):
        read_uncertainty("bayes")
    with pytest.raises(DataError, match="one of"):
        Integrate("jeffreys")
    with pytest.raises(DataError, match="positive"):
        Integrate("half-normal", scale=0.0)
    with pytest.raises(ModelError, match="points"):
        Integrate(points=3)
    with pytest.raises(ModelError, match="at least 2"):
        Bootstrap(n=1)


@pytest.mark.filterwarnings("error")
def test_equal_estimates_have_a_default_scale():
    for y in ([1.0] * 5, [0.1] * 5):
        for prior in ("normal", "laplace"):
            result = mf.eb.normal_means(y, 2.0, prior=prior, uncertainty="integrate")
            assert (result.posterior["sd"] > 0.5).all()
            table = result.prior_sensitivity().set_index("hyperprior")
            assert table.loc["half-normal", "scale"] == 2.0
