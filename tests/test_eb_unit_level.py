"""The nested-error model: Battese, Harter and Fuller's counties, dense algebra, simulation."""

import numpy as np
import pandas as pd
import pytest

import mixedfit as mf
from mixedfit.errors import DataError, FormulaError

# Battese, Harter & Fuller (1988), table 1: hectares of corn in 37 segments of 12 Iowa counties, and
# pixels that a satellite classified as corn and soybeans. The second segment of Hardin is left out,
# as they did.
COUNTY = [1, 2, 3, 4, 4, 5, 5, 5, 6, 6, 6, 7, 7, 7, 8, 8, 8, 9, 9, 9, 9]
COUNTY += [10, 10, 10, 10, 10, 11, 11, 11, 11, 11, 12, 12, 12, 12, 12]
CORN = [165.76, 96.32, 76.08, 185.35, 116.43, 162.08, 152.04, 161.75, 92.88, 149.94, 64.75, 127.07]
CORN += [133.55, 77.70, 206.39, 108.33, 118.17, 99.96, 140.43, 98.95, 131.04, 114.12, 100.60]
CORN += [127.88, 116.90, 87.41, 93.48, 121.00, 109.91, 122.66, 104.21, 88.59, 165.35, 104.00]
CORN += [88.63, 153.70]
CORN_PIXELS = [374, 209, 253, 432, 367, 361, 288, 369, 206, 316, 145, 355, 295, 223, 459, 290, 307]
CORN_PIXELS += [252, 293, 206, 302, 313, 246, 353, 271, 237, 221, 369, 343, 342, 294, 220, 355, 261]
CORN_PIXELS += [187, 350]
SOY_PIXELS = [55, 218, 250, 96, 178, 137, 206, 165, 218, 221, 338, 128, 147, 204, 77, 217, 258, 303]
SOY_PIXELS += [221, 222, 274, 190, 270, 172, 228, 297, 167, 191, 249, 182, 179, 262, 160, 221, 345]
SOY_PIXELS += [190]
MEANS = pd.DataFrame(
    {
        "county": range(1, 13),
        "corn_pixels": [
            295.29,
            300.4,
            289.6,
            290.74,
            318.21,
            257.17,
            291.77,
            301.26,
            262.17,
            314.28,
            298.65,
            325.99,
        ],
        "soy_pixels": [
            189.7,
            196.65,
            205.28,
            220.22,
            188.06,
            247.13,
            185.37,
            221.36,
            247.09,
            198.66,
            204.61,
            177.05,
        ],
    }
)
SIZES = dict(
    zip(range(1, 13), [545, 566, 394, 424, 564, 570, 402, 567, 687, 569, 965, 556], strict=True)
)
FORMULA = "corn ~ corn_pixels + soy_pixels"


def counties():
    return pd.DataFrame(
        {"county": COUNTY, "corn": CORN, "corn_pixels": CORN_PIXELS, "soy_pixels": SOY_PIXELS}
    )


def test_corn_in_twelve_counties():
    result = mf.eb.nested_error(FORMULA, counties(), "county", population_means=MEANS)
    # Their table 3 (fitting of constants: variances 140 and 147, b = 51, 0.329, -0.134).
    np.testing.assert_allclose(result.coefficients["estimate"], [51, 0.329, -0.134], rtol=0.02)
    np.testing.assert_allclose(result.prior, [140, 147], rtol=0.05)
    published = [122.2, 126.3, 106.2, 108.0, 145.0, 112.6]
    published += [112.4, 122.1, 115.8, 124.3, 106.3, 143.6]
    np.testing.assert_allclose(result.posterior["mean"], published, atol=0.8)
    errors = [9.6, 9.5, 9.3, 8.1, 6.5, 6.6, 6.6, 6.7, 5.8, 5.3, 5.2, 5.7]
    np.testing.assert_allclose(np.sqrt(result.mse), errors, rtol=0.06)


def test_finite_populations_are_close_to_infinite_ones():
    options = {"population_means": MEANS}
    infinite = mf.eb.nested_error(FORMULA, counties(), "county", **options)
    finite = mf.eb.nested_error(FORMULA, counties(), "county", population_sizes=SIZES, **options)
    np.testing.assert_allclose(finite.posterior["mean"], infinite.posterior["mean"], rtol=1e-2)
    sampled = dict(zip(range(1, 13), np.bincount(COUNTY)[1:], strict=True))
    census = mf.eb.nested_error(FORMULA, counties(), "county", population_sizes=sampled)
    means = counties().groupby("county")["corn"].mean()
    np.testing.assert_allclose(census.posterior["mean"], means)
    np.testing.assert_allclose(census.mse, 0.0, atol=1e-12)


def test_predictions_and_their_error_are_those_of_dense_algebra():
    frame = counties()
    result = mf.eb.nested_error(FORMULA, frame, "county", population_means=MEANS)
    between, within = result.prior
    X = np.column_stack([np.ones(36), CORN_PIXELS, SOY_PIXELS])
    Z = (np.array(COUNTY)[:, None] == np.arange(1, 13)).astype(float)
    V = within * np.eye(36) + between * Z @ Z.T
    inverse = np.linalg.inv(V)
    covariance = np.linalg.inv(X.T @ inverse @ X)
    b = covariance @ X.T @ inverse @ CORN
    v = between * Z.T @ inverse @ (CORN - X @ b)
    means = np.column_stack([np.ones(12), MEANS["corn_pixels"], MEANS["soy_pixels"]])
    np.testing.assert_allclose(result.posterior["mean"], means @ b + v, rtol=1e-6)
    own = means - between * Z.T @ inverse @ X
    g1 = between - between**2 * np.diag(Z.T @ inverse @ Z)
    g2 = np.einsum("jp,pq,jq->j", own, covariance, own)
    np.testing.assert_allclose(result.posterior["sd"], np.sqrt(g1 + g2), rtol=1e-6)
    G = [Z @ Z.T, np.eye(36)]
    information = 0.5 * np.array([[np.trace(inverse @ A @ inverse @ B) for B in G] for A in G])
    # g3 = tr(D V D' Cov), D the derivatives of the weights of y in the variances (Prasad & Rao).
    weights = [Z.T @ inverse - between * Z.T @ inverse @ G[0] @ inverse]
    weights.append(-between * Z.T @ inverse @ inverse)
    spread = np.linalg.inv(information)
    g3 = sum(
        spread[i, k] * np.einsum("jn,nm,jm->j", weights[i], V, weights[k])
        for i in range(2)
        for k in range(2)
    )
    np.testing.assert_allclose(result.mse, g1 + g2 + 2 * g3, rtol=1e-6)


def test_draws_have_the_moments_of_the_table():
    result = mf.eb.nested_error(FORMULA, counties(), "county", population_means=MEANS)
    draws = result.sample(20_000, seed=0)
    np.testing.assert_allclose(draws.std(), result.posterior["sd"], rtol=0.03)
    assert result.rank(k=1).set_index("label")["p_top"].idxmax() == 5


def test_areas_without_rows_get_the_regressions_value():
    few = counties().query("county != 12")
    result = mf.eb.nested_error(FORMULA, few, "county", population_means=MEANS)
    row = result.posterior.iloc[11]
    b = result.coefficients["estimate"].to_numpy()
    np.testing.assert_allclose(row["mean"], b @ [1.0, 325.99, 177.05])
    assert row["n"] == row["weight"] == 0
    assert np.isnan(row["estimate"])
    assert result.mse.iloc[11] > result.prior["between"]


@pytest.mark.parametrize("method", ["REML", "ML"])
def test_mean_squared_errors_are_right_on_average(method):
    rng = np.random.default_rng(4)
    area = np.repeat(np.arange(15), 4)
    loss = estimated = 0.0
    for _ in range(60):
        x = rng.uniform(size=60)
        v = rng.standard_normal(15)
        frame = {"y": 1 + x + v[area] + 1.5 * rng.standard_normal(60), "x": x, "area": area}
        means = pd.DataFrame({"x": np.full(15, 0.5)}, index=pd.RangeIndex(15))
        result = mf.eb.nested_error("y ~ x", frame, "area", population_means=means, method=method)
        loss += ((result.posterior["mean"] - 1.5 - v) ** 2).sum()
        estimated += result.mse.sum()
    np.testing.assert_allclose(estimated, loss, rtol=0.15)


def test_what_is_refused():
    frame = counties()
    with pytest.raises(FormulaError, match="random terms"):
        mf.eb.nested_error("corn ~ 1 + (1 | county)", frame, "county")
    with pytest.raises(DataError, match="no column 'soy_pixels'"):
        mf.eb.nested_error(
            FORMULA, frame, "county", population_means=MEANS.drop(columns="soy_pixels")
        )
    with pytest.raises(DataError, match="more than one row"):
        mf.eb.nested_error(FORMULA, frame, "county", population_means=pd.concat([MEANS, MEANS]))
    with pytest.raises(DataError, match="fewer than its"):
        mf.eb.nested_error(
            FORMULA, frame, "county", population_sizes=dict.fromkeys(range(1, 13), 3)
        )
    with pytest.raises(DataError, match="no size"):
        mf.eb.nested_error(FORMULA, frame, "county", population_sizes={1: 100})
    with pytest.raises(DataError, match="method"):
        mf.eb.nested_error(FORMULA, frame, "county", method="reml")
    with pytest.raises(DataError, match="missing or infinite"):
        mf.eb.nested_error(
            FORMULA, frame, "county", population_means=MEANS.assign(soy_pixels=np.nan)
        )


def test_populations_that_are_no_numbers_are_one_clear_error():
    sleep = mf.datasets.load("sleepstudy")
    labelled = pd.DataFrame({"Subject": ["308"], "Days": ["a"]})
    with pytest.raises(DataError, match="'Days' of population_means holds labels"):
        mf.eb.nested_error("Reaction ~ Days", sleep, "Subject", population_means=labelled)
    twice = pd.Series([5.0] * 7, index=list("ABCDEFA"))
    cases = [("x", "Series or dict of numbers"), (twice, "more than one size for area")]
    for sizes, words in cases:
        with pytest.raises(DataError, match=words):
            mf.eb.nested_error(
                "Yield ~ 1", mf.datasets.load("dyestuff"), "Batch", population_sizes=sizes
            )
