"""Beta-binomial, gamma-Poisson and Dirichlet-multinomial."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special, stats

import mixedfit as mf
from mixedfit.eb.conjugate import BetaLaw
from mixedfit.eb.count_likelihood import BetaBinomial, GammaPoisson, maximise
from mixedfit.eb.rising import log_rising_excess
from mixedfit.eb.shares import _derivatives, _value
from mixedfit.errors import DataError, ModelError
from tests.references import data, reference

SALES, VISITS = np.array([3, 5, 1, 9, 0, 30]), np.array([70, 27, 114, 95, 41, 200])
EVENTS, YEARS = np.array([8, 10, 2, 0, 21]), np.array([9.6, 7.2, 3.4, 5.1, 6.8])


# -- against other software ----------------------------------------------------------------------


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


# -- teaching examples ---------------------------------------------------------------------------


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


# -- likelihood ----------------------------------------------------------------------------------


@pytest.mark.parametrize("a", [1e-6, 0.3, 5.0, 29.9, 30.1, 1e3, 1e7, 1e13])
def test_rising_factorials_are_sums_of_logarithms(a):
    k = np.array([0.0, 1.0, 2.0, 17.0, 500.0])
    F, F1, F2 = log_rising_excess(np.full(5, a), k)
    terms = [np.arange(int(n)) for n in k]
    near = {"rtol": 1e-9, "atol": 1e-13}
    np.testing.assert_allclose(F, [np.log1p(i / a).sum() for i in terms], **near)
    slopes = [-(i / (a + i)).sum() for i in terms]
    np.testing.assert_allclose(a * F1, slopes, **near)
    bends = [(i * (2 * a + i) / (a + i) ** 2).sum() for i in terms]
    np.testing.assert_allclose(a**2 * F2, bends, **near)


@pytest.mark.parametrize("p", [1e-3, 0.025, 0.5, 0.9995])
def test_beta_quantiles_are_the_library_s(p):
    rng = np.random.default_rng(0)
    a, b = 10.0 ** rng.uniform(-1, 6, (2, 3000))
    expected = special.betaincinv(a, b, p)
    np.testing.assert_allclose(BetaLaw().ppf(p, a, b), expected, rtol=1e-11)


@pytest.mark.parametrize("family", [BetaBinomial, GammaPoisson])
@pytest.mark.parametrize("c", [-2.0, 1.0, 6.0, 15.0])
def test_derivatives_are_those_of_the_likelihood(family, c):
    X = np.column_stack([np.ones(6), [0.3, -1.0, 0.5, 2.0, 0.0, 1.0]])
    likelihood = family(SALES.astype(float), VISITS.astype(float), np.arange(1.0, 7.0), X)
    x = np.array([-2.0, 0.4, c])
    value, gradient, H = likelihood.derivatives(x[:2], x[2])
    assert value == pytest.approx(likelihood.value(x[:2], x[2]))

    def numeric(f):
        return np.array([(f(x + h) - f(x - h)) / 2e-5 for h in 1e-5 * np.eye(3)])

    scale = np.abs(H).max()
    np.testing.assert_allclose(
        gradient, numeric(lambda z: likelihood.value(z[:2], z[2])), atol=1e-8 * scale
    )
    np.testing.assert_allclose(
        H, numeric(lambda z: likelihood.derivatives(z[:2], z[2])[1]), atol=1e-8 * scale
    )


def test_likelihoods_are_the_textbook_ones():
    ones = np.ones((6, 1))
    y, n = SALES.astype(float), VISITS.astype(float)
    mu, M = 0.1, 20.0
    b = np.array([np.log(mu / (1 - mu))])
    likelihood = BetaBinomial(y, n, np.ones(6), ones)
    expected = stats.betabinom.logpmf(SALES, VISITS, mu * M, (1 - mu) * M).sum()
    assert likelihood.value(b, np.log(M)) == pytest.approx(expected)
    expected = stats.binom.logpmf(SALES, VISITS, mu).sum()
    assert likelihood.value(b, np.inf) == pytest.approx(expected)
    assert likelihood.value(b, 32.0) == pytest.approx(expected)
    likelihood = GammaPoisson(y, n, np.ones(6), ones)
    rate, a = 0.1, 3.0
    expected = stats.nbinom.logpmf(SALES, a, a / (a + n * rate)).sum()
    assert likelihood.value(np.log([rate]), np.log(a)) == pytest.approx(expected)
    expected = stats.poisson.logpmf(SALES, n * rate).sum()
    assert likelihood.value(np.log([rate]), np.inf) == pytest.approx(expected)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 12), st.floats(-1.0, 8.0))
def test_nothing_near_the_maximum_is_higher(seed, J, c):
    rng = np.random.default_rng(seed)
    n = rng.integers(2, 60, J)
    y = rng.binomial(n, rng.beta(0.3 * np.exp(c), 0.7 * np.exp(c), J))
    if ((y == 0) | (y == n)).all() or y.sum() == 0:
        return
    likelihood = BetaBinomial(y.astype(float), n.astype(float), np.ones(J), np.ones((J, 1)))
    best = maximise(likelihood)
    found = optimize.minimize(
        lambda x: -likelihood.value(x[:1], min(x[1], 30.0)), [0.0, 2.0], method="Nelder-Mead"
    )
    assert best.llf >= -found.fun - 1e-6


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


# -- results at the edge -------------------------------------------------------------------------


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


# -- uncertainty of the prior --------------------------------------------------------------------


def brute_force(log_likelihood, spread, mean_of, law):
    """Posterior means and upper limits by a dense grid over (eta, c)."""
    eta, c = np.linspace(-7.0, 3.0, 161), np.linspace(-4.0, 24.0, 225)
    E, C = (g.ravel() for g in np.meshgrid(eta, c, indexing="ij"))
    log_weight = log_likelihood(E, C) + spread(C)
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    first, second = law(E, C)
    return weight @ mean_of(first, second), weight, first, second


def test_integration_is_the_integral():
    y, n = SALES[:5], VISITS[:5]
    result = mf.eb.beta_binomial(y, n, uncertainty="integrate")

    def log_likelihood(E, C):
        mu, M = 1.0 / (1.0 + np.exp(-E)), np.exp(C)
        parts = (mu * M)[:, None], ((1 - mu) * M)[:, None]
        return stats.betabinom.logpmf(y, n, *parts).sum(axis=1)

    def spread(C):  # flat on s = (1 + M)^(-1/2): |ds / dc| = s (1 - s^2) / 2
        s = (1.0 + np.exp(C)) ** -0.5
        return np.log(s) + np.log1p(-(s**2))

    def law(E, C):
        mu, M = 1.0 / (1.0 + np.exp(-E)), np.exp(C)
        return (mu * M)[:, None] + y, ((1 - mu) * M)[:, None] + n - y

    mean, weight, first, second = brute_force(log_likelihood, spread, lambda a, b: a / (a + b), law)
    np.testing.assert_allclose(result.posterior["mean"], mean, rtol=2e-3)
    between = weight @ (first / (first + second) - mean) ** 2
    sd = np.sqrt(weight @ stats.beta.var(first, second) + between)
    np.testing.assert_allclose(result.posterior["sd"], sd, rtol=3e-3)
    below = weight @ stats.beta.cdf(result.posterior["upper"].to_numpy(), first, second)
    np.testing.assert_allclose(below, 0.975, atol=5e-4)


@pytest.mark.parametrize("way", ["laplace", "integrate", mf.eb.Bootstrap(60, seed=2)])
@pytest.mark.parametrize("family", ["beta", "gamma"])
def test_honest_intervals_are_wider_and_draws_agree(way, family):
    verb = mf.eb.beta_binomial if family == "beta" else mf.eb.gamma_poisson
    counts = (SALES, VISITS) if family == "beta" else (EVENTS, YEARS)
    plugin = verb(*counts).posterior
    result = verb(*counts, uncertainty=way)
    assert result.posterior["sd"].mean() > plugin["sd"].mean()
    draws = result.sample(8000, seed=3)
    # Laplace keeps the plug-in mean, which draws of the prior's logarithms shift a little.
    rtol = 0.2 if way == "laplace" else 0.05
    np.testing.assert_allclose(draws.mean(), result.posterior["mean"], rtol=rtol)
    np.testing.assert_allclose(draws.std(), result.posterior["sd"], rtol=0.15)


@pytest.mark.slow
def test_integrated_intervals_cover_where_plugin_falls_short():
    rng = np.random.default_rng(8)
    covered = {"plugin": [], "integrate": []}
    for _ in range(150):
        p = rng.beta(6.0, 54.0, 8)
        y = rng.binomial(40, p)
        if y.sum() == 0:
            continue
        for way, hits in covered.items():
            how = mf.eb.Integrate(points=41) if way == "integrate" else way
            table = mf.eb.beta_binomial(y, 40, uncertainty=how).posterior
            hits.append(((table["lower"] <= p) & (p <= table["upper"])).mean())
    assert np.mean(covered["plugin"]) < 0.85
    assert np.mean(covered["integrate"]) == pytest.approx(0.95, abs=0.025)


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


# -- shares --------------------------------------------------------------------------------------


def test_two_categories_are_a_beta_binomial():
    beta = mf.eb.beta_binomial(SALES, VISITS)
    result = mf.eb.dirichlet_multinomial(np.column_stack([SALES, VISITS - SALES]))
    np.testing.assert_allclose(result.prior, beta.prior[["alpha", "beta", "rho"]], rtol=1e-6)
    np.testing.assert_allclose(result.prior_se, beta.prior_se[["alpha", "beta", "rho"]], rtol=1e-5)
    assert result.llf == pytest.approx(beta.llf)
    first = result.posterior[result.posterior["category"] == "1"]
    for column in ("mean", "sd", "lower", "upper", "weight"):
        np.testing.assert_allclose(first[column], beta.posterior[column], rtol=1e-5)


def test_shares_have_exact_derivatives_and_the_textbook_likelihood():
    rng = np.random.default_rng(2)
    y = rng.multinomial(20, rng.dirichlet([2, 1, 4], size=12)).astype(float)
    alpha = np.array([1.0, 0.5, 3.0])
    expected = sum(stats.dirichlet_multinomial.logpmf(row.astype(int), alpha, 20) for row in y)
    assert _value(alpha, y) == pytest.approx(expected)
    at = _derivatives(alpha, y)
    steps = 1e-5 * np.eye(3)
    numeric = [(_value(alpha * np.exp(h), y) - _value(alpha * np.exp(-h), y)) / 2e-5 for h in steps]
    np.testing.assert_allclose(at.gradient, numeric, rtol=1e-6)
    H = np.diag(at.d) + at.z * np.outer(alpha, alpha)
    numeric = [
        (_derivatives(alpha * np.exp(h), y).gradient - _derivatives(alpha * np.exp(-h), y).gradient)
        / 2e-5
        for h in steps
    ]
    np.testing.assert_allclose(H, numeric, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("way", ["laplace", mf.eb.Bootstrap(40)])
def test_shares_allow_for_the_prior_s_uncertainty(way):
    rng = np.random.default_rng(5)
    y = rng.multinomial(30, rng.dirichlet([3, 2, 4], size=10))
    plugin = mf.eb.dirichlet_multinomial(y).posterior
    result = mf.eb.dirichlet_multinomial(y, uncertainty=way)
    assert result.posterior["sd"].mean() > plugin["sd"].mean()
    draws = result.sample(4000, seed=1)
    np.testing.assert_allclose(draws.std(), result.posterior["sd"], rtol=0.2)
    np.testing.assert_allclose(draws.to_numpy().reshape(4000, 10, 3).sum(axis=2), 1.0)
    with pytest.raises(ModelError, match="cannot be ranked together"):
        result.rank()


def test_a_stated_dirichlet_and_pooled_shares():
    stated = mf.eb.dirichlet_multinomial([[3, 1, 0]], prior=mf.eb.Dirichlet((2.0, 1.0, 1.0)))
    np.testing.assert_allclose(stated.posterior["mean"], [5 / 8, 2 / 8, 1 / 8])
    pooled = mf.eb.dirichlet_multinomial([[5, 5], [5, 5], [5, 5]])
    assert pooled.prior["rho"] == 0.0
    assert (pooled.posterior["mean"] == 0.5).all()
    assert "one multinomial" in pooled.notes[0]


# -- bad input -----------------------------------------------------------------------------------


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
    with pytest.raises(DataError, match="row for each unit"):
        mf.eb.dirichlet_multinomial([1, 2, 3])
    with pytest.raises(ModelError, match="category 'b'"):
        mf.eb.dirichlet_multinomial({"a": [3, 4], "b": [0, 0], "c": [1, 5]})
    with pytest.raises(DataError, match="'plugin', 'laplace' or 'bootstrap'"):
        mf.eb.dirichlet_multinomial([[3, 4], [1, 2]], uncertainty="integrate")
