"""Variances and moderated t: against limma, the formulas, and bad input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import mixedfit as mf
from mixedfit.errors import DataError, ModelError
from tests.references import data, reference


@pytest.mark.parametrize("name", ["equal_df", "mixed_df", "robust", "trend"])
def test_squeezed_variances_are_limmas(name):
    expected = reference(f"eb_squeezevar_{name}")
    hint = expected["mixedfit_hint"]
    frame = data("genevars")
    covariate = frame[hint["covariate"]] if hint["covariate"] else None
    result = mf.eb.variances(
        frame[hint["s2"]], frame[hint["df"]], covariate=covariate, robust=hint["robust"]
    )
    mean = result.posterior["mean"]
    np.testing.assert_allclose(mean[:50], expected["s2_post"]["first"], rtol=1e-9)
    assert mean.sum() == pytest.approx(expected["s2_post"]["sum"], rel=1e-9)
    if hint["robust"]:
        assert result.posterior["prior_df"].sum() == pytest.approx(expected["df_prior"]["sum"])
    else:
        assert result.prior["df"] == pytest.approx(expected["df_prior"], rel=1e-9)


@pytest.mark.parametrize("k", range(6))
@pytest.mark.parametrize("case", range(4))
def test_small_sets_with_outliers_and_ties_are_limmas(k, case):
    given_set = reference("squeezevar_small")["sets"][k]
    expected = given_set["cases"][case]
    s2, df = np.array(given_set["s2"], float), np.array(given_set["df"], float)
    covariate = np.array(given_set["x"]) if expected["covariate"] else None
    result = mf.eb.variances(s2, df, covariate=covariate, robust=expected["robust"])
    np.testing.assert_allclose(result.posterior["mean"], expected["post"], rtol=1e-6)
    prior_df = np.array(np.atleast_1d(expected["df_prior"]), dtype=float)
    np.testing.assert_allclose(
        result.posterior["prior_df"], np.broadcast_to(prior_df, s2.shape), rtol=1e-5
    )


def two_groups():
    frame = data("expression").set_index("gene")
    a, b = frame[["a1", "a2", "a3"]], frame[["b1", "b2", "b3"]]
    return b.mean(axis=1) - a.mean(axis=1), (a.var(axis=1) + b.var(axis=1)) / 2.0


def test_moderated_t_is_limmas():
    expected = reference("eb_limma_two_group")
    effect, s2 = two_groups()
    result = mf.eb.moderated_t(effect, np.sqrt(2 / 3), s2, 4)
    assert result.prior["df"] == pytest.approx(expected["df_prior"], rel=1e-9)
    assert result.prior["scale"] == pytest.approx(expected["s2_prior"], rel=1e-9)
    names = {"t": "t", "p": "p_value", "log_odds": "lods", "variance": "s2_post"}
    for ours, theirs in names.items():
        column = result.posterior[ours]
        np.testing.assert_allclose(column[:50], expected[theirs]["first"], rtol=1e-9)
        assert column.sum() == pytest.approx(expected[theirs]["sum"], rel=1e-9)
    top = result.posterior.set_index("label").loc[expected["top20"]["row"]]
    np.testing.assert_allclose(top["p_adjusted"], expected["top20"]["adj.P.Val"], rtol=1e-9)


@pytest.mark.parametrize("k", range(4))
def test_moderated_t_of_small_sets_is_limmas(k):
    given_set = reference("moderated_t_small")["sets"][k]
    numbers = {name: np.array(given_set[name], float) for name in ("b", "su", "s2", "df", "x")}
    for expected in given_set["cases"]:
        table = mf.eb.moderated_t(
            *(numbers[name] for name in ("b", "su", "s2", "df")),
            covariate=numbers["x"] if expected["covariate"] else None,
            robust=expected["robust"],
        ).posterior
        for name in ("t", "p", "log_odds"):
            np.testing.assert_allclose(table[name], expected[name], rtol=1e-6, atol=1e-8)


def test_moderated_interval_and_test_agree():
    effect, s2 = two_groups()
    table = mf.eb.moderated_t(effect, np.sqrt(2 / 3), s2, 4).posterior
    outside = (table["lower"] > 0.0) | (table["upper"] < 0.0)
    assert (outside == (table["p"] < 0.05)).all()
    assert table["label"].tolist() == effect.index.tolist()


def test_the_interval_holds_sigma2_at_the_nominal_rate():
    rng = np.random.default_rng(4)
    sigma2 = 8.0 * 0.5 / rng.chisquare(8.0, 20_000)
    s2 = sigma2 * rng.chisquare(3.0, 20_000) / 3.0
    result = mf.eb.variances(s2, 3)
    table = result.posterior
    assert result.prior["df"] == pytest.approx(8.0, abs=4 * result.prior_se["df"])
    assert result.prior["scale"] == pytest.approx(0.5, abs=4 * result.prior_se["scale"])
    covered = (table["lower"] < sigma2) & (sigma2 < table["upper"])
    assert covered.mean() == pytest.approx(0.95, abs=0.01)
    # The squeezed variance beats the raw one for the precision it stands for.
    error = (1.0 / table["mean"] - 1.0 / sigma2) ** 2
    assert error.mean() < ((1.0 / s2 - 1.0 / sigma2) ** 2).mean()


def test_the_posterior_is_the_conjugate_one():
    s2 = np.array([0.4, 1.1, 0.2, 2.9, 0.7, 0.1])
    result = mf.eb.variances(s2, 3)
    d0, s0 = result.prior["df"], result.prior["scale"]
    shape, scale = (d0 + 3) / 2, (d0 * s0 + 3 * s2) / 2
    law = stats.invgamma(shape, scale=scale)
    table = result.posterior
    np.testing.assert_allclose(table["mean"], scale / shape)
    np.testing.assert_allclose(table["sd"], law.std())
    np.testing.assert_allclose(table["lower"], law.ppf(0.025))
    np.testing.assert_allclose(table["upper"], law.ppf(0.975))
    draws = result.sample(20_000, seed=1)
    np.testing.assert_allclose(draws.median(), law.median(), rtol=0.03)
    values = np.array([0.2, 0.9])
    np.testing.assert_allclose(
        result.prior_density(values), stats.invgamma.pdf(values, d0 / 2, scale=d0 * s0 / 2)
    )


def test_equal_variances_are_pooled_and_it_is_said():
    s2 = 1.0 + np.linspace(-0.1, 0.1, 12)
    result = mf.eb.variances(s2, 5)
    assert np.isinf(result.prior["df"])
    np.testing.assert_allclose(result.posterior["mean"], s2.mean())
    assert (result.posterior["weight"] == 0.0).all()
    assert (result.posterior["sd"] == 0.0).all()
    assert "infinite" in result.notes[0]
    assert "infinite" in str(result.summary())


def test_units_without_degrees_of_freedom_get_the_prior():
    s2 = np.array([0.4, 1.1, np.nan, 2.9, 0.7, 0.1])
    df = np.array([3, 3, 0, 3, 3, 3])
    result = mf.eb.variances(s2, df)
    others = mf.eb.variances(np.delete(s2, 2), 3)
    assert result.prior["scale"] == pytest.approx(others.prior["scale"])
    assert result.posterior["mean"][2] == pytest.approx(others.prior["scale"])
    assert result.posterior["weight"][2] == 0.0
    assert "Without degrees of freedom: 1 unit" in result.notes[0]


def test_zero_variances_are_said():
    result = mf.eb.variances([0.0, 1.0, 2.0, 0.5, 0.7], 4)
    assert np.isfinite(result.posterior["mean"]).all()
    assert "Zero: 1 variance," in result.notes[0]


@pytest.mark.parametrize(
    ("s2", "df", "message"),
    [
        ([1.0, -2.0, 1.0], 3, "s2 is negative in 1 unit"),
        ([1.0, 2.0, 1.0], [3, -1, 3], "df is negative"),
        ([1.0, np.nan, 1.0], 3, "s2 is missing in 1 unit"),
        ([1.0, np.inf, 1.0], 3, "s2 is infinite"),
        ([1.0, 2.0, 1.0], [3, np.inf, 3], "df is infinite"),
        ([1.0, 2.0], [3, 3, 3], "s2 has 2 values but df has 3"),
        ([1.0], 3, "at least two units"),
        ([1.0, 2.0, 3.0], 0, "at least two units"),
        ([], 3, "s2 is empty"),
    ],
)
def test_bad_variances_have_one_clear_error(s2, df, message):
    with pytest.raises(DataError, match=message):
        mf.eb.variances(s2, df)


def test_bad_effects_have_one_clear_error():
    with pytest.raises(DataError, match="unscaled_se is not positive"):
        mf.eb.moderated_t([1.0, 2.0], [0.5, 0.0], [1.0, 2.0], 4)
    with pytest.raises(DataError, match="s2 must have one variance"):
        mf.eb.moderated_t([1.0, 2.0], 0.5, [1.0, 2.0, 3.0], 4)
    with pytest.raises(DataError, match="proportion"):
        mf.eb.moderated_t([1.0, 2.0], 0.5, [1.0, 2.0], 4, proportion=0.0)


@settings(deadline=None)
@given(st.floats(0.01, 100.0))
def test_units_of_measurement_do_not_matter(factor):
    s2 = np.array([0.4, 1.1, 0.2, 2.9, 0.7, 0.1, 0.3])
    plain, scaled = mf.eb.variances(s2, 3), mf.eb.variances(factor * s2, 3)
    assert scaled.prior["df"] == pytest.approx(plain.prior["df"])
    np.testing.assert_allclose(scaled.posterior["mean"], factor * plain.posterior["mean"])


def test_a_zero_variance_counts_as_in_limma_when_robust():
    # squeezeVar(s2, 4, robust = TRUE) of limma 3.54.1.
    s2 = [0, 1.2, 0.8, 2.1, 0.4, 3.3, 0.9, 1.5, 0.7, 2.6, 0.3, 1.1]
    table = mf.eb.variances(s2, 4, robust=True).posterior
    assert table["prior_scale"][0] == pytest.approx(0.07060958508488, rel=1e-6)
    np.testing.assert_allclose(table["mean"][[0, 5]], [0.00967221812266, 2.92019184476680], 1e-6)
    np.testing.assert_allclose(
        table["prior_df"][[0, 5]], [0.63489570388895, 0.53314222313497], 1e-6
    )


def test_units_without_df_get_the_spline_at_their_covariate():
    # squeezeVar(s2, df, covariate = x) of limma 3.54.1; beyond the knots the spline is straight.
    x = np.array([1, 2, 3, 4, 5, 6, 7, 8, 9, 12])
    df = np.array([4, 4, 0, 4, 4, 4, 4, 4, 4, 0])
    s2 = np.array([0.5, 1.1, 9, 0.7, 2.2, 1.3, 4.0, 2.9, 5.1, 9])
    mean = mf.eb.variances(s2, df, covariate=x).posterior["mean"]
    expected = [1.190566395164, 18.054137145076, 0.796018110782]
    np.testing.assert_allclose(mean[[2, 9, 0]], expected, 1e-9)


def test_an_outlier_beyond_the_smallest_number_keeps_some_prior_df():
    # squeezeVar(s2, 50, robust = TRUE) of limma 3.54.1.
    s2 = stats.chi2.ppf((np.arange(20) + 0.5) / 20, 50) / 50 * np.tile([0.8, 1.25], 10)
    table = mf.eb.variances(np.append(s2, 1e4), 50, robust=True).posterior
    np.testing.assert_allclose(table["mean"][[0, 20]], [0.679781703594, 9975.290260085398], 1e-6)
    np.testing.assert_allclose(table["prior_df"][[0, 20]], [25.699175340780, 0.123867097856], 1e-6)


@pytest.mark.filterwarnings("error")
def test_variances_all_equal_or_mostly_zero_with_robust():
    equal = mf.eb.variances(np.ones(10), 5, robust=True)
    np.testing.assert_allclose(equal.posterior["mean"], 1.237802, rtol=1e-6)  # as in limma
    with pytest.raises(ModelError, match="more than half of the variances are 0"):
        mf.eb.variances([0.0] * 6 + [1.0, 2.0], 5, robust=True)
