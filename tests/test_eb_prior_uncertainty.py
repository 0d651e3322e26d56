"""Uncertainty of priors with a few parameters."""

import numpy as np
import pytest
from scipy import stats

import mixedfit as mf
from mixedfit.errors import DataError, ModelError

RNG = np.random.default_rng(6)
S = RNG.uniform(0.5, 1.5, 30)
TRUTH = np.where(RNG.random(30) < 0.6, 0.0, 2.5 * RNG.standard_normal(30))
Y = TRUTH + S * RNG.standard_normal(30)


def test_two_hyperparameters_are_integrated_out():
    """Against sums over a fine grid of pi0 and tau, written out."""
    result = mf.eb.normal_means(
        Y, S, prior="point-normal", uncertainty=mf.eb.Integrate("half-normal", scale=3.0)
    )
    pi0 = np.linspace(0.0025, 0.9975, 200)[:, None]
    tau = np.linspace(0.02, 12.0, 300)[None, :]
    log_posterior = stats.halfnorm.logpdf(tau, scale=3.0) + 0.0 * pi0
    for y, s in zip(Y, S, strict=True):
        slab = stats.norm.pdf(y, 0.0, np.sqrt(s**2 + tau**2))
        log_posterior = log_posterior + np.log(pi0 * stats.norm.pdf(y, 0, s) + (1 - pi0) * slab)
    weight = np.exp(log_posterior - log_posterior.max())
    weight /= weight.sum()
    for j in (0, 7, 19):
        y, s = Y[j], S[j]
        null = pi0 * stats.norm.pdf(y, 0.0, s)
        slab = (1 - pi0) * stats.norm.pdf(y, 0.0, np.sqrt(s**2 + tau**2))
        share, own = slab / (null + slab), tau**2 / (tau**2 + s**2)
        mean = (weight * share * own * y).sum()
        square = (weight * share * (own**2 * y**2 + own * s**2)).sum()
        row = result.posterior.iloc[j]
        np.testing.assert_allclose(row["mean"], mean, atol=4e-3)
        np.testing.assert_allclose(row["sd"], np.sqrt(square - mean**2), rtol=4e-3)


def test_a_centre_and_a_scale_are_integrated_out():
    """Laplace with its mean estimated: against a fine grid of scale and mean."""
    y, s = Y[:8] + 5.0, S[:8]
    result = mf.eb.normal_means(y, s, prior="laplace", uncertainty="integrate")
    x = np.linspace(-20.0, 30.0, 2001)
    likelihood = stats.norm.pdf(y[:, None], x, s[:, None])
    total, first = 0.0, 0.0
    for b in np.geomspace(0.02, 60.0, 90):
        for mu in np.linspace(-8.0, 18.0, 105):
            prior = (
                stats.laplace.pdf(x, mu, b)
                if b > 0.1
                else stats.laplace.pdf(x, x[np.abs(x - mu).argmin()], b)
            )
            prior = prior / prior.sum()
            evidence = likelihood @ prior
            weight = b * np.prod(evidence)  # flat in b, equal steps of log b
            total += weight
            first += weight * (likelihood[0] * prior) @ x / evidence[0]
    np.testing.assert_allclose(result.posterior["mean"][0], first / total, atol=5e-3)


@pytest.mark.parametrize("prior", ["point-normal", "laplace", "point-laplace"])
@pytest.mark.parametrize("uncertainty", [mf.eb.Bootstrap(30), "integrate"])
def test_draws_are_joint_over_hyperparameters(prior, uncertainty):
    options = {"mode": 0.0} if prior == "laplace" else {}
    result = mf.eb.normal_means(Y, S, prior=prior, uncertainty=uncertainty, **options)
    draws = result.sample(4000, seed=2).to_numpy()
    error = result.posterior["sd"].to_numpy() / np.sqrt(4000)
    assert (np.abs(draws.mean(axis=0) - result.posterior["mean"]) < 5 * error).all()
    np.testing.assert_allclose(draws.std(axis=0), result.posterior["sd"], rtol=0.12)
    below = (draws < result.posterior["lower"].to_numpy() - 1e-9).mean(axis=0)
    assert (below <= 0.025 + 0.012).all()


def test_honest_intervals_of_few_units_are_wider():
    y, s = Y[:10], S[:10]
    width = {}
    for uncertainty in ("plugin", "laplace", "integrate"):
        p = mf.eb.normal_means(y, s, prior="laplace", mode=0, uncertainty=uncertainty).posterior
        width[uncertainty] = (p["upper"] - p["lower"]).mean()
    assert width["plugin"] < width["laplace"]
    assert width["plugin"] < width["integrate"]


def test_sensitivity_is_tabulated():
    table = mf.eb.normal_means(Y, S, prior="point-normal").prior_sensitivity()
    assert table["hyperprior"].tolist() == ["plug-in", "flat", "half-cauchy", "half-normal"]
    assert (table["tau_lower"][1:] < table["tau"][1:]).all()
    assert (table["tau"][1:] < table["tau_upper"][1:]).all()


def test_what_is_refused():
    with pytest.raises(DataError, match="at most two"):
        mf.eb.normal_means(Y, S, prior="point-normal", mode="estimate", uncertainty="integrate")
    with pytest.raises(DataError, match="reference prior"):
        mf.eb.normal_means(Y, S, prior="point-normal", uncertainty=mf.eb.Integrate("reference"))
    with pytest.raises(DataError, match="plugin"):
        mf.eb.normal_means(Y, S, prior="npmle", uncertainty="bootstrap")
    rng = np.random.default_rng(0)
    with pytest.raises(ModelError, match="at its limit"):
        mf.eb.normal_means(
            rng.standard_normal(200), 1.0, prior="t", uncertainty="laplace", mode=0.0
        )
