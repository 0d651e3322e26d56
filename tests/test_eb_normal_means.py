"""Normal means: the teaching examples, metafor, every estimator, bad options."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mixedfit as mf
from mixedfit.errors import DataError, ModelError
from tests.eb_cases import ERRORS, SCHOOLS
from tests.references import data, ids, reference
from tests.test_eb_heterogeneity import NAMES


def test_three_means():
    result = mf.eb.normal_means([9.0, 11.0, 10.0], np.sqrt(4 / 5), method="moments")
    np.testing.assert_allclose(result.prior["tau2"], 0.2)
    np.testing.assert_allclose(result.posterior["mean"][0], 9.8)


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


@settings(max_examples=30, deadline=None)
@given(scale=st.floats(1e-5, 1e5), shift=st.floats(-1e4, 1e4))
def test_units_of_measurement_do_not_matter(scale, shift):
    plain = mf.eb.normal_means(SCHOOLS, ERRORS / 3).posterior
    moved = mf.eb.normal_means(scale * (SCHOOLS + shift), scale * ERRORS / 3).posterior
    np.testing.assert_allclose(moved["mean"] / scale - shift, plain["mean"], atol=1e-5)
    np.testing.assert_allclose(moved["sd"] / scale, plain["sd"], rtol=1e-6)


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


def test_the_data_are_not_changed():
    y, se = SCHOOLS.copy(), ERRORS.copy()
    mf.eb.normal_means(y, se, prior="point-normal")
    np.testing.assert_array_equal(y, SCHOOLS)
    np.testing.assert_array_equal(se, ERRORS)


def test_a_mode_is_any_finite_number():
    y, se = [1.0, 4.0, 2.5, 9.0, 3.0], [0.5, 0.6, 1.0, 0.4, 0.7]
    plain = mf.eb.normal_means(y, se, prior="laplace", mode=3.0)
    integer = mf.eb.normal_means(y, se, prior="laplace", mode=np.int64(3))
    assert integer.prior["scale"] == plain.prior["scale"]
    for mode in (np.nan, [1.0], "mean"):
        with pytest.raises(DataError, match="mode must be a finite number or 'estimate'"):
            mf.eb.normal_means(y, se, prior="laplace", mode=mode)
    with pytest.raises(ModelError, match="grid must be a whole number of at least 2, not 2.5"):
        mf.eb.normal_means(y, se, prior="npmle", grid=2.5)
