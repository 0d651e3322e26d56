"""Units under a mixture prior: tables in parts, draws, predictions of new units."""

import numpy as np
import pytest
from scipy import optimize, stats

import mixedfit as mf
from mixedfit.eb import mixture_posterior
from mixedfit.eb.mixture_posterior import MixtureModel, summarise_pieces
from mixedfit.eb.prior_mixtures import LaplaceMixture, NormalMixture, UniformMixture
from mixedfit.errors import DataError, ModelError

Y, S = np.array([-2.0, 0.1, 1.5, 7.0, 0.4]), np.array([0.5, 1.0, 0.8, 2.0, 0.3])
NORMALS = NormalMixture(np.array([0.6, 0.4]), np.array([-1.0, 2.0]), np.array([0.5, 1.5]))
SPIKED = NormalMixture(np.array([0.7, 0.3]), np.zeros(2), np.array([0.0, 2.0]))


def model(prior, centre=0.5, **options):
    given = {"encode": None, "b": np.zeros(0), "b_covariance": np.zeros((0, 0)), **options}
    return MixtureModel(prior, np.full(5, centre), Y, S, **given)


def test_columns_are_those_of_conjugate_normals():
    table = model(NORMALS).posterior(0.9)
    for j, (y, s) in enumerate(zip(Y, S, strict=True)):
        prior_mean = 0.5 + NORMALS.means
        total = NORMALS.sds**2 + s**2
        share = NORMALS.weights * stats.norm.pdf(y, prior_mean, np.sqrt(total))
        share /= share.sum()
        loc = prior_mean + NORMALS.sds**2 / total * (y - prior_mean)
        sd = np.sqrt(NORMALS.sds**2 * s**2 / total)
        mean = share @ loc
        variance = share @ (sd**2 + (loc - mean) ** 2)
        assert table["mean"][j] == pytest.approx(mean)
        assert table["sd"][j] == pytest.approx(np.sqrt(variance))

        def cdf(x, share=share, loc=loc, sd=sd):
            return share @ stats.norm.cdf(x, loc, sd)

        for name, p in (("lower", 0.05), ("upper", 0.95)):
            limit = optimize.brentq(lambda x, cdf=cdf, p=p: cdf(x) - p, -30.0, 30.0, xtol=1e-12)
            assert table[name][j] == pytest.approx(limit, abs=1e-8)
        assert table["lfsr"][j] == pytest.approx(min(cdf(0.0), 1.0 - cdf(0.0)), abs=1e-10)


def test_the_weight_is_the_slope_of_the_posterior_mean():
    # Tweedie's formula, differentiated.
    h = 1e-5
    for prior in (NORMALS, SPIKED, LaplaceMixture(np.array([0.4, 0.3, 0.3]), 1.2)):
        means = [
            MixtureModel(
                prior, np.zeros(5), Y + d, S, None, np.zeros(0), np.zeros((0, 0))
            ).posterior(0.9)["mean"]
            for d in (h, -h)
        ]
        weight = model(prior, 0.0).posterior(0.9)["weight"]
        np.testing.assert_allclose(weight, (means[0] - means[1]) / (2 * h), rtol=1e-6)


def test_a_point_at_zero_counts_for_either_sign():
    table = model(SPIKED, centre=0.0).posterior(0.95)
    spike = 0.7 * stats.norm.pdf(Y, 0.0, S)
    slab = 0.3 * stats.norm.pdf(Y, 0.0, np.hypot(2.0, S))
    zero = spike / (spike + slab)
    own = 4.0 / (4.0 + S**2)
    right = stats.norm.sf(0.0, own * Y, np.sqrt(own) * S)
    wrong = np.minimum(1.0 - right, right)
    np.testing.assert_allclose(table["lfsr"], zero + (1.0 - zero) * wrong)


def test_likelihood_and_draws_are_those_of_the_mixture():
    made = model(NORMALS)
    marginal = sum(
        w * stats.norm.pdf(Y, 0.5 + m, np.hypot(sd, S))
        for w, m, sd in zip(NORMALS.weights, NORMALS.means, NORMALS.sds, strict=True)
    )
    assert made.llf == pytest.approx(np.log(marginal).sum())
    draws = made.sample(8000, np.random.default_rng(0))
    table = made.posterior(0.9)
    error = table["sd"] / np.sqrt(8000)
    assert (np.abs(draws.mean(axis=0) - table["mean"]) < 5.0 * error).all()
    np.testing.assert_allclose((draws < table["lower"]).mean(axis=0), 0.05, atol=0.012)


def test_units_are_done_in_parts(monkeypatch):
    whole, llf = model(NORMALS).posterior(0.9), model(NORMALS).llf
    monkeypatch.setattr(mixture_posterior, "_CHUNK", 4)  # two units a part
    parts = model(NORMALS)
    for name, column in parts.posterior(0.9).items():
        np.testing.assert_allclose(column, whole[name])
    assert parts.llf == pytest.approx(llf)
    assert parts.sample(3, np.random.default_rng(0)).shape == (3, 5)


@pytest.mark.parametrize(
    ("prior", "quantile"),
    [
        (
            NORMALS,
            lambda p: optimize.brentq(
                lambda x: NORMALS.weights @ stats.norm.cdf(x, NORMALS.means, NORMALS.sds) - p,
                -20.0,
                20.0,
            ),
        ),
        # A quarter of the mass left of -1, none of it beyond -2; half of it right of 0.
        (
            UniformMixture(np.array([0.5, 0.5]), np.array([-2.0, 0.0]), np.array([0.0, 4.0])),
            lambda p: 4.0 * p - 2.0 if p < 0.5 else 8.0 * (p - 0.5),
        ),
        (
            LaplaceMixture(np.array([0.2, 0.4, 0.4]), 1.5),
            lambda p: np.sign(p - 0.5) * 1.5 * np.log(0.4 / min(p, 1.0 - p)),
        ),
    ],
    ids=["normals", "uniforms", "exponentials"],
)
def test_new_units_lie_between_the_quantiles_of_the_prior(prior, quantile):
    row = model(prior).predict(None, 0.9).iloc[0]
    assert row["estimate"] == row["lower"] == row["upper"] == 0.5
    assert row["prediction_lower"] == pytest.approx(0.5 + quantile(0.05), abs=1e-4)
    assert row["prediction_upper"] == pytest.approx(0.5 + quantile(0.95), abs=1e-4)


def test_a_prior_nearly_all_at_a_point_has_its_limits_there():
    spiked = LaplaceMixture(np.array([0.96, 0.02, 0.02]), 1.5)
    row = model(spiked).predict(None, 0.9).iloc[0]
    assert row["prediction_lower"] == row["prediction_upper"] == 0.5


def test_a_centre_that_is_a_regression_has_its_error():
    covariance = np.array([[0.04, 0.01], [0.01, 0.09]])

    def encode(X):
        return np.column_stack([np.ones(len(X)), X])

    made = model(NORMALS, encode=encode, b=np.array([1.0, 2.0]), b_covariance=covariance)
    new = made.predict(np.array([0.0, 3.0]), 0.95)
    np.testing.assert_allclose(new["estimate"], [1.0, 7.0])
    se = np.sqrt([0.04, 0.04 + 2 * 3.0 * 0.01 + 9.0 * 0.09])
    np.testing.assert_allclose(new["se"], se)
    np.testing.assert_allclose(new["upper"], stats.norm.ppf(0.975, new["estimate"], se))
    with pytest.raises(DataError, match="no covariates"):
        model(NORMALS).predict(np.zeros(1), 0.95)


def test_the_prior_stands_at_the_centre():
    places, masses = model(SPIKED).prior_points()
    assert (places.tolist(), masses.tolist()) == ([0.5], [0.7])
    x = np.array([-1.0, 0.5, 2.0])
    np.testing.assert_allclose(model(SPIKED).prior_density(x), 0.3 * stats.norm.pdf(x, 0.5, 2.0))
    several = MixtureModel(SPIKED, Y, Y, S, None, np.zeros(0), np.zeros((0, 0)))
    with pytest.raises(ModelError, match="covariates"):
        several.prior_points()


def test_pieces_asked_for_are_those_of_the_slice():
    pieces = NORMALS.posterior(Y - 0.5, S)[0]
    asked = []

    def some(part):
        asked.append((part.start, part.stop))
        return pieces

    columns = summarise_pieces(some, np.full(5, 0.5), S, 2, 0.9)
    assert asked[0][0] == 0
    assert asked[-1][1] >= 5
    np.testing.assert_allclose(columns["mean"], 0.5 + pieces.moments[0])


@pytest.mark.parametrize("prior", ["npmle", "scale-mixture", "unimodal"])
def test_new_units_of_a_prior_at_one_point_are_there(prior):
    result = mf.eb.normal_means(np.zeros(12), 0.5, prior=prior)
    row = result.predict().iloc[0]
    np.testing.assert_allclose(row[["prediction_lower", "prediction_upper"]], 0.0, atol=1e-6)
