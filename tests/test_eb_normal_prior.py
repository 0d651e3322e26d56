"""A normal prior: draws, coverage, hyperpriors, many units."""

import numpy as np
import pandas as pd
import pytest

import mixedfit as mf
from tests.eb_cases import ERRORS, SCHOOLS


@pytest.mark.parametrize("uncertainty", ["plugin", "bootstrap", "integrate"])
def test_draws_have_the_posterior_moments(uncertainty):
    result = mf.eb.normal_means(SCHOOLS, ERRORS / 2, uncertainty=uncertainty)
    draws = result.sample(40_000, seed=3).to_numpy()
    error = result.posterior["sd"].to_numpy() / 200
    assert (np.abs(draws.mean(axis=0) - result.posterior["mean"]) < 5 * error).all()
    np.testing.assert_allclose(draws.std(axis=0), result.posterior["sd"], rtol=0.03)
    inside = (draws > result.posterior["lower"].to_numpy()).mean(axis=0)
    np.testing.assert_allclose(inside, 0.975, atol=0.006)
    signs = np.minimum((draws < 0).mean(axis=0), (draws > 0).mean(axis=0))
    np.testing.assert_allclose(signs, result.posterior["lfsr"], atol=0.015)


def test_draws_share_the_uncertainty_of_the_mean():
    # With tau2 = 0 all units are the mean: perfectly correlated.
    draws = mf.eb.normal_means([1.0, 1.1, 0.9], 1.0).sample(200, seed=0)
    np.testing.assert_allclose(np.corrcoef(draws.to_numpy().T), 1.0)


@pytest.mark.parametrize("uncertainty", [mf.eb.Integrate(points=41), mf.eb.Bootstrap(50)])
def test_many_units_are_done_in_parts(uncertainty, monkeypatch):
    rng = np.random.default_rng(0)
    y, s = rng.normal(size=500) * 1.5, rng.uniform(0.5, 1.5, 500)
    whole = mf.eb.normal_means(y, s, uncertainty=uncertainty)
    monkeypatch.setattr("mixedfit.eb.normal_prior._HELD", 3000)
    parts = mf.eb.normal_means(y, s, uncertainty=uncertainty)
    pd.testing.assert_frame_equal(parts.posterior, whole.posterior, rtol=1e-7)
    plain = mf.eb.normal_means(y, s)
    np.testing.assert_allclose(whole.posterior["mean"], plain.posterior["mean"], atol=0.1)
    assert parts.sample(30, seed=0).shape == (30, 500)


def coverage(uncertainty, tau, n=150):
    rng = np.random.default_rng(5)
    covered = 0.0
    for _ in range(n):
        truth = tau * rng.standard_normal(8)
        y = truth + rng.standard_normal(8)
        p = mf.eb.normal_means(y, 1.0, uncertainty=uncertainty).posterior
        covered += ((p["lower"] <= truth) & (truth <= p["upper"])).mean()
    return covered / n


def test_with_eight_units_plugin_intervals_fall_short_and_integration_does_not():
    error = np.sqrt(0.05 * 0.95 / (150 * 8)) * 2.0  # units of one data set share tau
    plugin, bootstrap = coverage("plugin", 1.0), coverage(mf.eb.Bootstrap(60), 1.0)
    integrated, second_order = coverage("integrate", 1.0), coverage("laplace", 1.0)
    assert plugin < 0.95 - 4 * error
    assert plugin + 2 * error < bootstrap < 0.95 + 3 * error
    assert abs(integrated - 0.95) < 3 * error
    assert abs(second_order - 0.95) < 4 * error


def test_sensitivity_to_the_hyperprior_is_tabulated():
    result = mf.eb.normal_means(SCHOOLS, ERRORS)
    table = result.prior_sensitivity().set_index("hyperprior")
    assert table.index.tolist() == ["plug-in", "flat", "half-cauchy", "half-normal", "reference"]
    assert (table["sd_ratio"].iloc[1:] > 1.2).all()
    assert table.loc["half-normal", "tau_upper"] < table.loc["flat", "tau_upper"]
    narrow = mf.eb.normal_means(SCHOOLS, ERRORS, uncertainty=mf.eb.Integrate("half-normal", 1.0))
    assert narrow.prior_sensitivity()["tau"].iloc[3] < 1.5


def test_units_that_are_all_equal_can_be_drawn_whatever_the_test():
    # Knapp and Hartung's factor is zero: the mean is known exactly.
    result = mf.eb.normal_means(np.full(6, 2.0), 0.7, test="knapp-hartung")
    np.testing.assert_allclose(result.sample(4, seed=1), 2.0)
    np.testing.assert_allclose(result.rank(n=4000)["expected_rank"], 3.5, atol=0.2)
