"""Beta-binomial and gamma-Poisson: other software, printed digits, regressions, bad input."""

import numpy as np
import pandas as pd
import pytest

import mixedfit as mf
from mixedfit.errors import DataError, ModelError
from tests.eb_cases import SALES, VISITS
from tests.references import data, reference


def fitted(name):
    expected = reference(f"eb_{name}")
    hint, frame = expected["mixedfit_hint"], data(expected["data"])
    if expected.get("subset"):
        frame = frame[frame["grp"] == "1"]
    if "betabinomial" in name:
        return mf.eb.beta_binomial(frame[hint["y"]], frame[hint["n"]]), expected
    return mf.eb.gamma_poisson(frame[hint["y"]], frame[hint["exposure"]]), expected


@pytest.mark.parametrize(
    "name",
    [
        "stores_betabinomial",
        "baseball_betabinomial",
        "lirat_betabinomial_grp1",
        "claims_gamma_poisson",
        "insurance_gamma_poisson",
    ],
)
def test_maximum_and_posterior_are_those_of_the_reference(name):
    result, expected = fitted(name)
    names = ("alpha", "beta") if "betabinomial" in name else ("shape", "rate")
    for parameter in names:
        assert result.prior[parameter] == pytest.approx(expected[parameter], rel=2e-6)
    assert result.llf == pytest.approx(expected["logLik"], rel=1e-10)
    columns = {"mean": "mean", "sd": "sd", "lower": "q025", "upper": "q975"}
    for ours, theirs in columns.items():
        wanted = expected[f"posterior_{theirs}"]
        np.testing.assert_allclose(result.posterior[ours][: len(wanted)], wanted, rtol=1e-6)
    V = np.array(expected[f"vcov_log_{names[0]}_{names[1]}"]["values"])
    relative = result.prior_se[list(names)] / result.prior[list(names)]
    np.testing.assert_allclose(relative, np.sqrt(np.diag(V)), rtol=1e-4)


def test_regressions_are_those_of_mass_and_vgam():
    # glm.nb(Claims ~ old + small + offset(log(Holders))), MASS 7.3-58.2.
    claims = data("insurance")
    X = {
        "old": (claims["Age"] == ">35").astype(float),
        "small": claims["Group"].astype(str).str.startswith("<").astype(float),
    }
    result = mf.eb.gamma_poisson(claims["Claims"], claims["Holders"], X=X)
    np.testing.assert_allclose(
        result.coefficients["estimate"], [-1.67361577, -0.276468532, -0.311547967], rtol=1e-7
    )
    assert result.prior["shape"] == pytest.approx(38.3013857, rel=1e-7)
    assert result.llf == pytest.approx(-212.1455387, abs=1e-7)
    # vglm(cbind(R, N - R) ~ factor(grp) + hb, betabinomial(zero = 2)), VGAM 1.1-7.
    rats = data("lirat")
    X = {f"grp{k}": (rats["grp"] == k).astype(float) for k in "234"} | {"hb": rats["hb"]}
    result = mf.eb.beta_binomial(rats["R"], rats["N"], X=X)
    expected = [2.129124232, -2.440303533, -2.836818728, -2.286557001, -0.169293973]
    np.testing.assert_allclose(result.coefficients["estimate"], expected, rtol=1e-6)
    rho = result.prior["rho"]
    assert np.log(rho / (1.0 - rho)) == pytest.approx(-1.177181072, rel=1e-6)
    assert result.llf == pytest.approx(-93.01592232, abs=1e-7)


def test_teaching_examples_to_the_printed_digits():
    one = mf.eb.beta_binomial([2], [20], prior=mf.eb.Beta(5, 95))
    assert round(one.posterior["mean"][0], 6) == 0.058333
    ten = mf.eb.beta_binomial([2, 40], [20, 400], prior=mf.eb.Beta(10, 190))
    assert ten.posterior["mean"].round(4).tolist() == [0.0545, 0.0833]
    six = mf.eb.beta_binomial([3, 20], [30, 200], prior=mf.eb.Beta(6, 114))
    assert six.posterior["mean"].round(5).tolist() == [0.06, 0.08125]
    assert one.prior.to_dict() == pytest.approx(
        {"alpha": 5.0, "beta": 95.0, "mean": 0.05, "rho": 1 / 101}
    )
    np.testing.assert_allclose(one.posterior["weight"], 20 / 120)


def test_a_regression_is_the_maximum_and_recovers_its_coefficients():
    rng = np.random.default_rng(3)
    x = rng.normal(size=3000)
    n = rng.integers(5, 80, 3000)
    mu = 1.0 / (1.0 + np.exp(2.0 - 0.5 * x))
    y = rng.binomial(n, rng.beta(mu * 40, (1 - mu) * 40))
    result = mf.eb.beta_binomial(y, n, X={"x": 100.0 + 10.0 * x})
    table = result.coefficients.set_index("term")
    assert table.loc["x", "estimate"] == pytest.approx(0.05, abs=4 * table.loc["x", "se"])
    se = result.prior_se["precision"]
    assert result.prior["precision"] == pytest.approx(40.0, abs=4 * se)
    again = mf.eb.beta_binomial(y, n, X={"x": x})
    assert again.llf == pytest.approx(result.llf, rel=1e-9)
    predicted = result.predict({"x": [100.0, 110.0]})
    np.testing.assert_allclose(predicted["estimate"], 1.0 / (1.0 + np.exp([2.0, 1.5])), rtol=0.05)
    events = rng.poisson(n * np.exp(0.3 * x) * rng.gamma(5.0, 0.2, 3000))
    rates = mf.eb.gamma_poisson(events, n, X=pd.DataFrame({"x": x}))
    table = rates.coefficients.set_index("term")
    assert table.loc["x", "estimate"] == pytest.approx(0.3, abs=4 * table.loc["x", "se"])
    assert rates.prior["shape"] == pytest.approx(5.0, abs=4 * rates.prior_se["shape"])


@pytest.mark.parametrize(
    ("y", "n", "error", "message"),
    [
        ([3, 5], [10, 4], DataError, "successes exceeds trials in 1 unit"),
        ([3, -5], [10, 10], DataError, "successes is negative"),
        ([3, 0.5], [10, 10], DataError, "not a whole number"),
        ([3, np.nan], [10, 10], DataError, "successes is missing in 1 unit"),
        ([3, 2], [10, np.inf], DataError, "trials is infinite"),
        ([3, 2, 1], [10, 10], DataError, "successes has 3 values but trials has 2"),
        ([3], [10], ModelError, "1 observed unit and 1 coefficient leave nothing to learn"),
        ([0, 0, 0], [10, 10, 9], ModelError, "no event in any unit"),
        ([10, 10], [10, 10], ModelError, "every trial is a success"),
        ([1, 0, 1], [1, 1, 1], ModelError, "one trial a unit"),
        ([4, 0, 7], [4, 6, 7], ModelError, "all successes or all failures"),
        ([], [], DataError, "empty"),
    ],
)
def test_bad_proportions_have_one_clear_error(y, n, error, message):
    with pytest.raises(error, match=message):
        mf.eb.beta_binomial(y, n)


@pytest.mark.parametrize(
    ("y", "e", "error", "message"),
    [
        ([3, 5], [1.0, np.inf], DataError, "exposure is infinite in 1 unit"),
        ([3, 5], [1.0, -1.0], DataError, "exposure is negative"),
        ([3, 5], [1.0, 0.0], DataError, "counts is above 0 without exposure"),
        ([0, 0], [1.0, 2.0], ModelError, "no event in any unit"),
        ([3], [1.0], ModelError, "nothing to learn a prior from"),
        (["a", "b"], 1.0, DataError, "counts must be numbers"),
    ],
)
def test_bad_rates_have_one_clear_error(y, e, error, message):
    with pytest.raises(error, match=message):
        mf.eb.gamma_poisson(y, e)


def test_bad_options_have_one_clear_error():
    with pytest.raises(DataError, match="method must be 'ml' or 'moments'"):
        mf.eb.beta_binomial(SALES, VISITS, method="reml")
    with pytest.raises(DataError, match="prior must be mf.eb.Beta"):
        mf.eb.beta_binomial(SALES, VISITS, prior=mf.eb.Gamma(1, 1))
    with pytest.raises(DataError, match="leave X out"):
        mf.eb.beta_binomial(SALES, VISITS, prior=mf.eb.Beta(1, 1), X=np.arange(6.0))
    with pytest.raises(DataError, match="has no covariates"):
        mf.eb.gamma_poisson(SALES, VISITS, X=np.arange(6.0), method="moments")
    with pytest.raises(DataError, match="needs method='ml'"):
        mf.eb.gamma_poisson(SALES, VISITS, method="moments", uncertainty="laplace")
    with pytest.raises(DataError, match="known"):
        mf.eb.beta_binomial([2], [20], prior=mf.eb.Beta(5, 95), uncertainty="laplace")
    with pytest.raises(DataError, match="reference prior"):
        mf.eb.beta_binomial(SALES, VISITS, uncertainty=mf.eb.Integrate("reference"))


@pytest.mark.parametrize("verb", [mf.eb.beta_binomial, mf.eb.gamma_poisson])
def test_a_level_without_events_is_one_clear_error(verb):
    counts, trials = np.array([0, 0, 0, 3, 8, 2, 9, 4]), np.array([20, 18, 25, 20, 20, 20, 25, 20])
    level = np.array([1.0, 1, 1, 0, 0, 0, 0, 0])
    with pytest.raises(ModelError, match="a whole level of a category"):
        verb(counts, trials, X=level)
    # One event in the level is enough.
    counts[0] = 1
    assert np.isfinite(verb(counts, trials, X=level).coefficients["se"]).all()


def test_a_level_of_nothing_but_successes_is_one_clear_error():
    successes, level = np.array([20, 20, 20, 3, 8, 2, 9, 4]), np.array([1.0, 1, 1, 0, 0, 0, 0, 0])
    with pytest.raises(ModelError, match="nothing but events"):
        mf.eb.beta_binomial(successes, 20, X=level)
