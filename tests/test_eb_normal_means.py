"""Normal means: the teaching examples, metafor, simulations, other priors, bad input."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

import mixedfit as mf
from mixedfit.errors import DataError, ModelError
from tests.references import data, ids, reference
from tests.test_eb_heterogeneity import NAMES

SCHOOLS = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
ERRORS = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
OTHERS = ["point-normal", "laplace", "point-laplace", "t", "scale-mixture", "unimodal", "npmle"]


def sparse(J=300, seed=0):
    rng = np.random.default_rng(seed)
    truth = np.where(rng.random(J) < 0.8, 0.0, rng.normal(0.0, 2.0, J))
    se = rng.uniform(0.5, 1.5, J)
    return truth, truth + se * rng.standard_normal(J), se


# -- printed digits --------------------------------------------------------------------------------


def test_three_means():
    result = mf.eb.normal_means([9.0, 11.0, 10.0], np.sqrt(4 / 5), method="moments")
    np.testing.assert_allclose(result.prior["tau2"], 0.2)
    np.testing.assert_allclose(result.posterior["mean"][0], 9.8)


def test_a_stated_prior_and_one_unit():
    result = mf.eb.normal_means(10.0, np.sqrt(4 / 5), prior=mf.eb.Normal(8.0, 1.0))
    assert round(result.posterior["mean"][0], 4) == 9.1111
    np.testing.assert_allclose(result.posterior["weight"][0], 5 / 9)


def test_a_stated_prior_and_two_units():
    prior = mf.eb.Normal(10, 4)
    result = mf.eb.normal_means([12.0, 8.0], [np.sqrt(0.9), np.sqrt(4.5)], prior=prior)
    # 10 + 2 * 4 / 4.9 and 10 - 2 * 4 / 8.5
    assert result.posterior["mean"].round(3).tolist() == [11.633, 9.059]
    assert (result.posterior["sd"] ** 2).round(4).tolist() == [0.7347, 2.1176]


def test_five_means():
    y = [4.8, 5.1, 4.9, 5.0, 6.2]
    moments = mf.eb.normal_means(y, np.sqrt(1 / 5), method="moments")
    np.testing.assert_allclose(moments.prior["tau2"], 0.125)
    # With equal variances REML is the moment estimator and ML divides by J.
    np.testing.assert_allclose(mf.eb.normal_means(y, np.sqrt(0.2)).prior["tau2"], 0.125)
    ml = mf.eb.normal_means(y, np.sqrt(0.2), method="ml")
    np.testing.assert_allclose(ml.prior["tau2"], 0.06)


def test_four_means():
    result = mf.eb.normal_means([5.2, 4.8, 6.1, 5.5], np.sqrt(1 / 10), method="moments")
    np.testing.assert_allclose(result.prior["tau2"], 0.2)
    assert round(result.posterior["mean"][2], 4) == 5.8667


def test_eight_schools():
    # Gelman et al., Bayesian Data Analysis, section 5.5: flat prior on tau.
    result = mf.eb.normal_means(SCHOOLS, ERRORS, labels=list("ABCDEFGH"), uncertainty="integrate")
    assert result.prior["tau2"] == 0.0
    means = result.posterior.set_index("label")["mean"]
    assert round(means["A"]) == 11
    assert round(means["E"]) == 5
    assert "estimate of tau2 is 0" in result.notes[0]


# -- metafor ---------------------------------------------------------------------------------------


COVARIATES = ("ablat", "mods", "alloc")


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in ids("rma_bcg")
        if name != "rma_bcg_fixed" and not any(covariate in name for covariate in COVARIATES)
    ],
)
def test_posteriors_and_heterogeneity_are_metafors(name):
    expected = reference(name)
    test = "knapp-hartung" if expected["test"] == "knha" else "z"
    frame = data("bcg")
    result = mf.eb.normal_means(
        frame["yi"], frame["vi"] ** 0.5, method=NAMES[expected["method"]], test=test
    )
    row = result.coefficients.iloc[0]
    np.testing.assert_allclose(row["estimate"], expected["fixef"]["intrcpt"], rtol=1e-4)
    np.testing.assert_allclose(row["se"], expected["fixef_se"]["intrcpt"], rtol=1e-4)
    np.testing.assert_allclose(row["p"], expected["pval"][0], rtol=1e-3)
    np.testing.assert_allclose(row["lower"], expected["ci_lb"][0], rtol=1e-4)
    h = result.heterogeneity
    for ours, theirs in (("Q", "QE"), ("I2", "I2"), ("H2", "H2")):
        np.testing.assert_allclose(h[ours], expected[theirs], rtol=1e-4)
    q = expected["confint_tau2_Qprofile"]
    np.testing.assert_allclose(h["tau2_upper"], q["ci.ub"][0], rtol=1e-3)
    blup = expected["blup"]
    np.testing.assert_allclose(result.posterior["mean"], blup["pred"], rtol=1e-4)
    np.testing.assert_allclose(result.posterior["sd"], blup["se"], rtol=1e-3)
    np.testing.assert_allclose(result.posterior["lower"], blup["pi.lb"], rtol=1e-3, atol=1e-4)
    new = result.predict().iloc[0]
    theirs = expected["predict_at_data"]
    np.testing.assert_allclose(new["prediction_lower"], theirs["pi.lb"][0], rtol=1e-3)
    np.testing.assert_allclose(new["upper"], theirs["ci.ub"][0], rtol=1e-3)


def test_complete_pooling_is_metafors_equal_effects():
    expected = reference("rma_bcg_fixed")
    frame = data("bcg")
    result = mf.eb.normal_means(frame["yi"], frame["vi"] ** 0.5, method="fixed")
    row = result.coefficients.iloc[0]
    np.testing.assert_allclose(row["estimate"], expected["fixef"]["intrcpt"], rtol=1e-6)
    np.testing.assert_allclose(row["se"], expected["fixef_se"]["intrcpt"], rtol=1e-6)
    np.testing.assert_allclose(result.posterior["mean"], row["estimate"])
    np.testing.assert_allclose(result.posterior["sd"], row["se"])
    np.testing.assert_allclose(result.heterogeneity["I2"], expected["I2"], rtol=1e-6)


def test_moderators_are_tested_together():
    expected = reference("rma_bcg_mods_knha")
    frame = data("bcg")
    result = mf.eb.normal_means(
        frame["yi"], frame["vi"] ** 0.5, X=frame[["ablat", "year"]], test="knapp-hartung"
    )
    h = result.heterogeneity
    np.testing.assert_allclose(h["Q_moderators"], expected["QM"], rtol=1e-4)
    np.testing.assert_allclose(h["p_moderators"], expected["QMp"], rtol=1e-4)
    np.testing.assert_allclose(h["R2"], expected["R2"], rtol=1e-3)
    given_, theirs = expected["predict"]["newmods"], expected["predict"]["predict"]
    new = result.predict(np.array(given_))
    np.testing.assert_allclose(new["estimate"], theirs["pred"], rtol=1e-4)
    np.testing.assert_allclose(new["prediction_upper"], theirs["pi.ub"], rtol=1e-3)
    named = pd.DataFrame(given_, columns=["ablat", "year"])[["year", "ablat"]]
    pd.testing.assert_frame_equal(result.predict(named), new)


# -- the joint posterior ---------------------------------------------------------------------------


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


@settings(max_examples=30, deadline=None)
@given(scale=st.floats(1e-5, 1e5), shift=st.floats(-1e4, 1e4))
def test_units_of_measurement_do_not_matter(scale, shift):
    plain = mf.eb.normal_means(SCHOOLS, ERRORS / 3).posterior
    moved = mf.eb.normal_means(scale * (SCHOOLS + shift), scale * ERRORS / 3).posterior
    np.testing.assert_allclose(moved["mean"] / scale - shift, plain["mean"], atol=1e-5)
    np.testing.assert_allclose(moved["sd"] / scale, plain["sd"], rtol=1e-6)


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


# -- simulations -----------------------------------------------------------------------------------


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


@pytest.mark.parametrize("method", ["reml", "ml", "moments", "dersimonian-laird", "sure", "fixed"])
def test_every_estimator_beats_no_pooling_on_exchangeable_units(method):
    rng = np.random.default_rng(2)
    raw = shrunk = 0.0
    for _ in range(60):
        truth = 3.0 + 0.7 * rng.standard_normal(20)
        y = truth + rng.standard_normal(20)
        raw += ((y - truth) ** 2).sum()
        mean = mf.eb.normal_means(y, 1.0, method=method).posterior["mean"]
        shrunk += ((mean - truth) ** 2).sum()
    assert shrunk < 0.6 * raw


@pytest.mark.parametrize("prior", OTHERS)
def test_every_prior_beats_the_normal_on_sparse_units(prior):
    raw = shrunk = normal = 0.0
    for seed in range(3):
        truth, y, se = sparse(1000, seed)
        raw += ((y - truth) ** 2).sum()
        shrunk += ((mf.eb.normal_means(y, se, prior=prior).posterior["mean"] - truth) ** 2).sum()
        normal += ((mf.eb.normal_means(y, se).posterior["mean"] - truth) ** 2).sum()
    assert shrunk < normal < raw


def test_sensitivity_to_the_hyperprior_is_tabulated():
    result = mf.eb.normal_means(SCHOOLS, ERRORS)
    table = result.prior_sensitivity().set_index("hyperprior")
    assert table.index.tolist() == ["plug-in", "flat", "half-cauchy", "half-normal", "reference"]
    assert (table["sd_ratio"].iloc[1:] > 1.2).all()
    assert table.loc["half-normal", "tau_upper"] < table.loc["flat", "tau_upper"]
    narrow = mf.eb.normal_means(SCHOOLS, ERRORS, uncertainty=mf.eb.Integrate("half-normal", 1.0))
    assert narrow.prior_sensitivity()["tau"].iloc[3] < 1.5


# -- other priors ----------------------------------------------------------------------------------


@pytest.mark.parametrize("prior", OTHERS)
def test_posteriors_are_bayes_rule(prior):
    _, y, se = sparse()
    result = mf.eb.normal_means(y, se, prior=prior)
    atoms = result.components.query("weight > 1e-7")
    if prior == "t":
        atoms = pd.DataFrame({"weight": [1.0], "mean": [0.0], "sd": [100 * result.prior["scale"]]})
    centre = result.predict()["estimate"][0]

    def marginal(g):
        """Integral of g(theta) against prior and likelihood of unit 0."""
        total = 0.0
        for row in atoms.itertuples():
            if hasattr(row, "sd"):
                low, high, point = row.mean - 9 * row.sd, row.mean + 9 * row.sd, row.sd == 0.0
                law = None if point else stats.norm(row.mean, row.sd).pdf
                if prior == "t":
                    law = stats.t(result.prior["df"], scale=result.prior["scale"]).pdf
                at = row.mean
            elif hasattr(row, "low"):
                low, high, point, at = row.low, row.high, row.low == row.high, row.low
                law = None if point else stats.uniform(row.low, row.high - row.low).pdf
            else:
                point, at, b = row.scale == 0.0, 0.0, row.scale
                side = 1.0 if row.component == "right" else -1.0
                low, high = (0.0, 40 * b) if side > 0 else (-40 * b, 0.0)

                def law(x, side=side, b=b):
                    return np.exp(-side * x / b) / b

            def f(x):
                return g(centre + x) * stats.norm.pdf(y[0] - centre, x, se[0])

            if point:
                total += row.weight * f(at)
            else:
                near = np.clip([y[0] - centre, at, -8.0, 8.0], low, high)
                edges = np.unique(np.concatenate([[low, high], near]))
                total += row.weight * sum(
                    integrate.quad(lambda x, law=law: f(x) * law(x), a, b, limit=200)[0]
                    for a, b in itertools.pairwise(edges)
                )
        return total

    total = marginal(lambda _: 1.0)
    mean = marginal(lambda x: x) / total
    row = result.posterior.iloc[0]
    np.testing.assert_allclose(row["mean"], mean, atol=1e-4 if prior == "t" else 1e-5)
    variance = marginal(lambda x: (x - mean) ** 2) / total
    np.testing.assert_allclose(row["sd"], np.sqrt(variance), rtol=1e-4)
    np.testing.assert_allclose(row["weight"], variance / se[0] ** 2, rtol=1e-3)


@pytest.mark.parametrize("prior", OTHERS)
def test_draws_and_limits_agree(prior):
    _, y, se = sparse(40)
    result = mf.eb.normal_means(y, se, prior=prior)
    draws = result.sample(4000, seed=1).to_numpy()
    error = result.posterior["sd"].to_numpy() / np.sqrt(4000)
    assert (np.abs(draws.mean(axis=0) - result.posterior["mean"]) < 5 * error + 1e-9).all()
    low, high = result.posterior["lower"].to_numpy(), result.posterior["upper"].to_numpy()
    assert ((draws < low - 1e-9).mean(axis=0) <= 0.025 + 0.012).all()
    assert ((draws > high + 1e-9).mean(axis=0) <= 0.025 + 0.012).all()
    assert ((draws <= low + 1e-9).mean(axis=0) >= 0.025 - 0.012).all()
    signs = np.minimum((draws <= 0).mean(axis=0), (draws >= 0).mean(axis=0))
    np.testing.assert_allclose(signs, result.posterior["lfsr"], atol=0.045)


def test_richer_priors_fit_at_least_as_well():
    _, y, se = sparse()
    llf = {p: mf.eb.normal_means(y, se, prior=p).llf for p in OTHERS}
    assert llf["npmle"] > llf["unimodal"] > llf["scale-mixture"] - 0.1
    assert llf["point-laplace"] >= mf.eb.normal_means(y, se, prior="laplace", mode=0).llf - 1e-6
    assert llf["scale-mixture"] > llf["point-normal"] - 0.1


@pytest.mark.parametrize("prior", ["point-normal", "laplace", "point-laplace", "t"])
def test_a_centre_is_a_regression(prior):
    truth, y, se = sparse(600)
    x = np.linspace(-1.0, 1.0, 600)
    result = mf.eb.normal_means(y + 5.0 + 2.0 * x, se, prior=prior, X=x)
    b = result.coefficients.set_index("term")
    assert abs(b.loc["Intercept", "estimate"] - 5.0) < 4 * b.loc["Intercept", "se"] < 0.6
    assert abs(b.loc["x1", "estimate"] - 2.0) < 4 * b.loc["x1", "se"] < 1.0
    risk = ((result.posterior["mean"] - truth - 5.0 - 2.0 * x) ** 2).mean()
    assert risk < 0.7 * (se**2).mean()


@pytest.mark.parametrize("prior", ["point-normal", "point-laplace", "scale-mixture", "unimodal"])
def test_the_mode_moves_with_the_data(prior):
    _, y, se = sparse(100)
    plain = mf.eb.normal_means(y, se, prior=prior)
    moved = mf.eb.normal_means(y + 7.0, se, prior=prior, mode=7.0)
    np.testing.assert_allclose(moved.posterior["mean"] - 7.0, plain.posterior["mean"], atol=1e-4)
    assert (moved.posterior["lfsr"] < 0.5).all()


def test_a_prior_without_spread_is_a_result():
    y = np.tile([0.1, -0.1], 20)
    result = mf.eb.normal_means(y, 1.0, prior="point-normal")
    np.testing.assert_allclose(result.posterior["mean"], 0.0, atol=1e-2)
    npmle = mf.eb.normal_means(np.full(10, 2.0), 1.0, prior="npmle")
    np.testing.assert_allclose(npmle.posterior["mean"], 2.0)


# -- input -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("y", "se", "message"),
    [
        ([1.0, 2.0], [1.0, 0.0], "zero"),
        ([1.0, 2.0], [1.0, -1.0], "negative"),
        ([1.0, np.nan], [1.0, 1.0], "missing"),
        ([1.0, np.inf], [1.0, 1.0], "infinite"),
        ([1.0, 2.0], [1.0, np.inf], "infinite"),
        ([1.0, 2.0], [1.0, 1.0, 1.0], "values"),
        ([], [], "empty"),
        (["a", "b"], 1.0, "numbers"),
    ],
)
def test_bad_estimates_are_named(y, se, message):
    with pytest.raises(DataError, match=message):
        mf.eb.normal_means(y, se)


def test_one_unit_has_nothing_to_learn_from():
    for prior in ("normal", "t", "point-normal"):
        with pytest.raises(ModelError, match="one unit"):
            mf.eb.normal_means(3.0, 1.0, prior=prior)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prior": "cauchy"}, "prior must be one of"),
        ({"method": "REML!"}, "method must be one of"),
        ({"test": "t"}, "test must be"),
        ({"uncertainty": "full"}, "uncertainty must be"),
        ({"prior": "laplace", "method": "sure"}, "maximum likelihood"),
        ({"prior": "npmle", "X": [1.0, 2.0, 3.0, 5.0]}, "no covariates"),
        ({"prior": "npmle", "mode": 1.0}, "mode"),
        ({"prior": "normal", "mode": 1.0}, "mode and grid"),
        ({"prior": "t", "grid": 10}, "grid"),
        ({"prior": mf.eb.Normal(0, 1), "X": [1.0, 2.0, 3.0, 5.0]}, "leave X out"),
        ({"prior": mf.eb.Normal(0, 1), "uncertainty": "integrate"}, "prior is known"),
        ({"labels": ["a"]}, "labels"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(DataError, match=message):
        mf.eb.normal_means([1.0, 2.0, 3.0, 4.5], 1.0, **options)


def test_a_stated_prior_is_checked():
    with pytest.raises(DataError, match="variance"):
        mf.eb.Normal(0.0, -1.0)
    with pytest.raises(DataError, match="mean"):
        mf.eb.Normal(np.inf, 1.0)


def test_labels_come_from_a_series():
    y = pd.Series([1.0, 2.0, 4.0], index=["a", "b", "c"])
    assert mf.eb.normal_means(y, 1.0).posterior["label"].tolist() == ["a", "b", "c"]


def test_the_data_are_not_changed():
    y, se = SCHOOLS.copy(), ERRORS.copy()
    mf.eb.normal_means(y, se, prior="point-normal")
    np.testing.assert_array_equal(y, SCHOOLS)
    np.testing.assert_array_equal(se, ERRORS)
