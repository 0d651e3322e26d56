"""Posteriors of counts: at the edge, by moments, for units without data."""

import numpy as np
import pytest
from scipy import stats

import mixedfit as mf
from tests.eb_cases import EVENTS, SALES, VISITS, YEARS


def test_no_more_spread_than_chance_is_a_result():
    result = mf.eb.beta_binomial([5, 5, 5, 5], 50)
    assert np.isinf(result.prior["alpha"])
    assert result.prior["rho"] == 0.0
    assert result.posterior["mean"].tolist() == pytest.approx([0.1] * 4)
    assert (result.posterior["weight"] == 0.0).all()
    assert "differ no more than samples of one binomial" in result.notes[0]
    pooled = mf.eb.gamma_poisson([4, 5, 4, 5], 10)
    assert np.isinf(pooled.prior["shape"])
    assert pooled.posterior["mean"].tolist() == pytest.approx([0.45] * 4)
    assert pooled.llf == pytest.approx(stats.poisson.logpmf([4, 5, 4, 5], 4.5).sum())
    wide = mf.eb.beta_binomial([5, 5, 5, 5], 50, uncertainty="integrate")
    assert (wide.posterior["upper"] - wide.posterior["lower"] > 0.08).all()


def test_moments_are_kleinmans_and_buhlmann_straubs():
    result = mf.eb.beta_binomial([2, 8, 5, 9], 20, method="moments")
    p = np.array([2, 8, 5, 9]) / 20
    mu, rho = p.mean(), result.prior["rho"]
    assert result.prior["mean"] == pytest.approx(mu)
    # With equal trials the sample variance has expectation mu (1 - mu) (1 + 19 rho) / 20.
    assert p.var(ddof=1) == pytest.approx(mu * (1 - mu) * (1 + 19 * rho) / 20)
    rates = mf.eb.gamma_poisson([2, 8, 5, 9], 20, method="moments")
    tau2 = rates.prior["shape"] / rates.prior["rate"] ** 2
    assert p.var(ddof=1) == pytest.approx(tau2 + p.mean() / 20)


def test_units_without_data_get_the_prior():
    result = mf.eb.beta_binomial([*SALES, 0], [*VISITS, 0])
    others = mf.eb.beta_binomial(SALES, VISITS)
    assert result.prior["alpha"] == pytest.approx(others.prior["alpha"])
    assert result.posterior["mean"].iloc[-1] == pytest.approx(others.prior["mean"])
    assert result.posterior["weight"].iloc[-1] == 0.0
    assert "Without trials: 1 unit, given the prior." in result.notes[0]


def test_equal_units_share_one_answer_and_order_does_not_matter():
    y, n = np.tile(SALES, 50), np.tile(VISITS, 50)
    order = np.random.default_rng(0).permutation(len(y))
    result, shuffled = mf.eb.beta_binomial(y, n), mf.eb.beta_binomial(y[order], n[order])
    np.testing.assert_allclose(shuffled.posterior["mean"], result.posterior["mean"][order])
    assert result.posterior["mean"].nunique() == 6


def test_sensitivity_compares_priors():
    table = mf.eb.gamma_poisson(EVENTS, YEARS).prior_sensitivity()
    assert table["hyperprior"].tolist() == ["plug-in", "flat", "half-cauchy", "half-normal"]
    assert (table["mean_width"][1:] > table["mean_width"][0]).all()
    assert (table["relative_sd_lower"][1:] < table["relative_sd_upper"][1:]).all()


def test_prior_density_and_prediction_of_a_new_unit():
    result = mf.eb.gamma_poisson(EVENTS, YEARS)
    shape, rate = result.prior["shape"], result.prior["rate"]
    np.testing.assert_allclose(
        result.prior_density([0.5, 1.5]), stats.gamma.pdf([0.5, 1.5], shape, scale=1 / rate)
    )
    new = result.predict()
    assert new["estimate"][0] == pytest.approx(shape / rate)
    limits = stats.gamma.ppf([0.025, 0.975], shape, scale=1 / rate)
    np.testing.assert_allclose(new[["prediction_lower", "prediction_upper"]].iloc[0], limits)
