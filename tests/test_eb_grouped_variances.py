"""Groups that differ in mean and in variance: against brute force, lmer and simulation."""

import numpy as np
import pytest
from scipy import stats

import mixedfit as mf
from mixedfit.eb.unequal_likelihood import Hyperparameters
from mixedfit.errors import DataError, ModelError
from tests.eb_cases import GROUP_FEW, Y_FEW, simulated


def test_posterior_is_brute_force_integration_over_both_parameters():
    result = mf.eb.one_way(Y_FEW, GROUP_FEW)
    h = Hyperparameters(*result.prior)
    assert np.isfinite(h.nu0)
    assert h.tau2 > 0.0
    theta = np.linspace(h.mu - 9.0, h.mu + 9.0, 801)
    x = np.linspace(-7.0, 9.0, 801)
    T, X = np.meshgrid(theta, x, indexing="ij")
    prior = stats.norm.logpdf(T, h.mu, np.sqrt(h.tau2)) + X
    prior += stats.invgamma.logpdf(np.exp(X), h.nu0 / 2, scale=h.nu0 * h.s02 / 2)
    for j in range(7):
        rows = Y_FEW[j == GROUP_FEW]
        log = prior + sum(stats.norm.logpdf(v, T, np.exp(X / 2)) for v in rows)
        weight = np.exp(log - log.max())
        weight /= weight.sum()
        row = result.posterior.iloc[j]
        of_theta, of_x = weight.sum(axis=1), weight.sum(axis=0)
        mean = of_theta @ theta
        assert row["mean"] == pytest.approx(mean, abs=1e-4)
        assert row["sd"] == pytest.approx(np.sqrt(of_theta @ (theta - mean) ** 2), rel=1e-3)
        limits = np.interp([0.025, 0.975], np.cumsum(of_theta), theta)
        np.testing.assert_allclose(row[["lower", "upper"]].astype(float), limits, atol=0.02)
        limits = np.exp(np.interp([0.025, 0.975], np.cumsum(of_x), x))
        names = ["variance_lower", "variance_upper"]
        np.testing.assert_allclose(row[names].astype(float), limits, rtol=0.02)
        if h.nu0 + row["n"] > 6:
            assert row["variance"] == pytest.approx(of_x @ np.exp(x), rel=0.01)


def test_equal_variances_are_the_classical_layout():
    _, _, y, group = simulated(20, 5, nu0=np.inf, smallest=4)
    result = mf.eb.one_way(y, group)
    fit = mf.lmer("y ~ 1 + (1 | g)", {"y": y, "g": group}, method="ML")
    if np.isfinite(result.prior["nu0"]):
        assert result.llf > fit.llf - 1e-8
        return
    assert result.llf == pytest.approx(fit.llf)
    assert result.prior["mu"] == pytest.approx(fit.params.iloc[0])
    assert result.prior["s02"] == pytest.approx(fit.scale, rel=1e-5)
    assert result.prior["tau2"] == pytest.approx(fit.varcorr.sd["g"].iloc[0] ** 2, rel=1e-4)
    np.testing.assert_allclose(result.posterior["mean"], fit.coef()["g"].iloc[:, 0], rtol=1e-5)
    assert "nu0 is infinite" in result.notes[0]


def test_both_are_estimated_better_than_raw_and_covered():
    theta, sigma2, y, group = simulated(1000, 11, smallest=2)
    result = mf.eb.one_way(y, group)
    table, prior, se = result.posterior, result.prior, result.prior_se
    for name, true in {"mu": 10.0, "tau2": 2.25, "s02": 4.0, "nu0": 6.0}.items():
        assert prior[name] == pytest.approx(true, abs=4.0 * se[name])
    assert ((table["mean"] - theta) ** 2).mean() < 0.8 * ((table["estimate"] - theta) ** 2).mean()
    assert (np.log(table["variance"] / sigma2) ** 2).mean() < (
        np.log(table["s2"] / sigma2) ** 2
    ).mean()
    covered = (table["lower"] < theta) & (theta < table["upper"])
    assert covered.mean() == pytest.approx(0.95, abs=0.02)
    covered = (table["variance_lower"] < sigma2) & (sigma2 < table["variance_upper"])
    assert covered.mean() == pytest.approx(0.95, abs=0.02)


def test_draws_follow_the_posterior_and_laplace_widens_it():
    result = mf.eb.one_way(Y_FEW, GROUP_FEW)
    draws = result.sample(20_000, seed=1)
    np.testing.assert_allclose(draws.mean(), result.posterior["mean"], atol=0.05)
    np.testing.assert_allclose(draws.std(), result.posterior["sd"], rtol=0.05)
    wide = mf.eb.one_way(Y_FEW, GROUP_FEW, uncertainty="laplace")
    assert (wide.posterior["sd"] > result.posterior["sd"]).all()
    assert (wide.posterior["upper"] > result.posterior["upper"]).all()
    draws = wide.sample(20_000, seed=1)
    np.testing.assert_allclose(draws.std(), wide.posterior["sd"], rtol=0.05)
    assert result.rank()["p_top"].sum() == pytest.approx(1.0)


def test_summaries_and_rows_agree_and_units_do_not_matter():
    rows = mf.eb.one_way(Y_FEW, GROUP_FEW)
    table = rows.posterior
    summary = mf.eb.one_way_summary(table["estimate"], table["s2"], table["n"])
    np.testing.assert_allclose(summary.posterior["mean"], table["mean"], rtol=1e-7)
    scaled = mf.eb.one_way(1e6 * Y_FEW + 3e6, GROUP_FEW)
    np.testing.assert_allclose(scaled.posterior["mean"], 1e6 * table["mean"] + 3e6, rtol=1e-6)
    assert scaled.prior["nu0"] == pytest.approx(rows.prior["nu0"], rel=1e-4)


def test_bad_groups_have_one_clear_error():
    with pytest.raises(DataError, match="y is missing in 1 unit"):
        mf.eb.one_way([1.0, np.nan, 2.0], ["a", "b", "c"])
    with pytest.raises(DataError, match="group has 2 values"):
        mf.eb.one_way([1.0, 3.0, 2.0], ["a", "b"])
    with pytest.raises(DataError, match="group is missing"):
        mf.eb.one_way([1.0, 3.0, 2.0], ["a", None, "b"])
    with pytest.raises(ModelError, match="give 3 or more"):
        mf.eb.one_way([1.0, 3.0, 2.0], ["a", "b", "b"])
    with pytest.raises(ModelError, match="every group has one observation"):
        mf.eb.one_way([1.0, 3.0, 2.0], ["a", "b", "c"])
    with pytest.raises(ModelError, match="no group varies"):
        mf.eb.one_way([1.0, 1.0, 2.0, 2.0, 3.0, 3.0], list("aabbcc"))
    with pytest.raises(DataError, match="s2 is negative"):
        mf.eb.one_way_summary([1.0, 2.0, 3.0], [1.0, -1.0, 2.0], 4)
    with pytest.raises(DataError, match="not a positive whole number"):
        mf.eb.one_way_summary([1.0, 2.0, 3.0], [1.0, 1.0, 2.0], 2.5)
    with pytest.raises(DataError, match="'plugin' or 'laplace'"):
        mf.eb.one_way(Y_FEW, GROUP_FEW, uncertainty="bootstrap")


def test_a_table_of_groups_is_one_clear_error():
    with pytest.raises(DataError, match="group must be one label an observation"):
        mf.eb.one_way([1.0, 2.0, 3.0, 5.0], [["a"], ["a"], ["b"], ["b"]])
