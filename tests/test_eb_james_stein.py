"""James-Stein: the baseball data, its risk, its targets."""

import numpy as np
import pytest

import mixedfit as mf
from mixedfit.errors import DataError, ModelError
from tests.references import reference

RNG = np.random.default_rng(3)
Y = RNG.normal(2.0, 1.5, 9)
SE = RNG.uniform(0.5, 1.5, 9)


def test_baseball():
    expected = reference("eb_baseball_james_stein")
    result = mf.eb.james_stein(expected["z"], 1.0)
    np.testing.assert_allclose(result.prior["factor"], 1 - 15 / expected["sum_sq"])
    np.testing.assert_allclose(result.prior["factor"], expected["c"])
    np.testing.assert_allclose(result.posterior["mean"], expected["js_z"])
    truth = np.array(expected["truth_z"])
    raw = ((np.array(expected["z"]) - truth) ** 2).sum()
    shrunk = ((result.posterior["mean"] - truth) ** 2).sum()
    # Efron & Morris (1975, JASA 70) print 17.56 and 5.01, from averages with three digits.
    np.testing.assert_allclose(raw, 17.56, atol=0.02)
    np.testing.assert_allclose(shrunk, 5.01, atol=0.02)
    assert round(raw / shrunk, 1) == 3.5


def test_baseball_on_the_raw_scale():
    expected = reference("eb_baseball_james_stein")
    raw = expected["raw"]
    result = mf.eb.james_stein(raw["p"], np.sqrt(raw["sigma2"]))
    np.testing.assert_allclose(result.posterior["mean"], raw["js"])
    truth = np.array(
        [
            0.346,
            0.298,
            0.276,
            0.222,
            0.273,
            0.27,
            0.263,
            0.21,
            0.269,
            0.23,
            0.264,
            0.256,
            0.303,
            0.264,
            0.226,
            0.286,
            0.316,
            0.2,
        ]
    )
    assert round(((np.array(raw["p"]) - truth) ** 2).sum(), 3) == round(raw["sse_mle"], 3)
    assert round(((result.posterior["mean"] - truth) ** 2).sum(), 3) == 0.021


@pytest.mark.parametrize("toward", ["mean", 1.0, "covariates"])
@pytest.mark.parametrize("options", [{}, {"positive_part": True}, {"limit": 0.4}])
def test_the_risk_estimate_is_steins(toward, options):
    where = np.linspace(0, 1, 9)[:, None] if toward == "covariates" else toward

    def estimate(y):
        return mf.eb.james_stein(y, SE, toward=where, **options)

    result = estimate(Y)
    slopes = []
    for j in range(9):
        e = np.zeros(9)
        e[j] = 1e-5
        up, down = estimate(Y + e).posterior["mean"][j], estimate(Y - e).posterior["mean"][j]
        slopes.append((up - down) / 2e-5)
    move = result.posterior["mean"] - Y
    expected = (move**2).sum() + (SE**2 * (2 * np.array(slopes) - 1)).sum()
    np.testing.assert_allclose(result.heterogeneity["risk"], expected, rtol=1e-6)


def test_the_risk_is_below_no_pooling_wherever_the_truth_is():
    rng = np.random.default_rng(0)
    for spread in (0.0, 1.0, 5.0):
        truth = spread * rng.standard_normal(8)
        raw = plain = positive = estimated = 0.0
        for _ in range(400):
            y = truth + rng.standard_normal(8)
            raw += 8.0
            result = mf.eb.james_stein(y, 1.0)
            plain += ((result.posterior["mean"] - truth) ** 2).sum()
            estimated += result.heterogeneity["risk"]
            part = mf.eb.james_stein(y, 1.0, positive_part=True)
            positive += ((part.posterior["mean"] - truth) ** 2).sum()
        assert positive <= plain < raw * 1.02
        np.testing.assert_allclose(estimated, plain, rtol=0.15)


def test_unequal_errors_with_one_size_are_the_classical_estimator():
    common = mf.eb.james_stein(Y, 0.8).posterior["mean"]
    S = ((Y - Y.mean()) ** 2).sum()
    np.testing.assert_allclose(common, Y.mean() + (1 - 6 * 0.64 / S) * (Y - Y.mean()))
    mean = np.average(Y, weights=SE**-2.0)
    unequal = mf.eb.james_stein(Y, SE)
    np.testing.assert_allclose(unequal.coefficients["estimate"][0], mean)
    np.testing.assert_allclose(
        unequal.posterior["mean"], mean + unequal.prior["factor"] * (Y - mean)
    )


def test_limited_translation_protects_unusual_units():
    y = np.array([0.1, -0.3, 0.5, 0.2, -0.1, 0.3, 8.0])
    plain = mf.eb.james_stein(y, 1.0, toward=0.0)
    limited = mf.eb.james_stein(y, 1.0, toward=0.0, limit=0.2)
    np.testing.assert_allclose(limited.posterior["mean"][6], 7.8)
    assert plain.posterior["mean"][6] < 7.8
    np.testing.assert_allclose(limited.posterior["mean"][:6], plain.posterior["mean"][:6])


def test_targets():
    points = np.linspace(0.0, 3.0, 9)
    result = mf.eb.james_stein(Y, SE, toward=points)
    factor = 1 - 7 / (((Y - points) / SE) ** 2).sum()
    np.testing.assert_allclose(result.posterior["mean"], points + factor * (Y - points))
    line = mf.eb.james_stein(Y, SE, toward=points[:, None])
    assert line.coefficients["term"].tolist() == ["Intercept", "x1"]


def test_equal_estimates_are_their_mean():
    result = mf.eb.james_stein(np.full(5, 2.0), 1.0)
    np.testing.assert_allclose(result.posterior["mean"], 2.0)
    assert result.prior["factor"] == 0.0
    # sum v - 2 sum v (1 - 1/5): unbiased, and so below the mean's own error 1 when all agree.
    np.testing.assert_allclose(result.heterogeneity["risk"], -3.0)


def test_what_is_refused():
    with pytest.raises(ModelError, match="at least 4 units"):
        mf.eb.james_stein([1.0, 2.0, 3.0], 1.0)
    assert len(mf.eb.james_stein([1.0, 2.0, 3.0], 1.0, toward=0.0).posterior) == 3
    with pytest.raises(DataError, match="toward must be"):
        mf.eb.james_stein(Y, SE, toward="median")
    with pytest.raises(DataError, match="limit"):
        mf.eb.james_stein(Y, SE, limit=-1.0)
    with pytest.raises(ModelError, match="no posterior to draw"):
        mf.eb.james_stein(Y, SE).rank()
    with pytest.raises(DataError, match="zero"):
        mf.eb.james_stein(Y, 0.0)
