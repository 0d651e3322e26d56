from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import mixedfit as mf
from mixedfit.diagnostics import standardized_effects, unpooled_effects
from mixedfit.errors import DataError, ModelError
from mixedfit.fit import fit_design
from tests.cases import PATTERNS
from tests.dense import relative_covariance

FORMULA = "Reaction ~ Days + (Days | Subject)"


@pytest.fixture(scope="module")
def sleep() -> mf.MixedResults:
    return mf.lmer(FORMULA, mf.datasets.load("sleepstudy"))


@pytest.mark.parametrize("weights", [None, "w"])
def test_residuals_and_their_standard_deviations(weights: str | None) -> None:
    """Every kind against the covariance of the rows written out."""
    data = mf.datasets.load("sleepstudy")
    data["w"] = np.random.default_rng(1).uniform(0.5, 3.0, len(data))
    fit = mf.lmer(FORMULA, data, weights=weights)
    design, sigma = fit.fit.design, fit.sigma
    V = sigma**2 * relative_covariance(design, [t.root @ t.root.T for t in fit.fit.estimate.terms])
    R = sigma**2 * (np.eye(180) if weights is None else np.diag(1.0 / data["w"]))
    X, inverse = design.X, np.linalg.inv(V)
    C = np.linalg.inv(X.T @ inverse @ X)
    P = inverse - inverse @ X @ C @ X.T @ inverse
    table = fit.diagnostics.residuals()
    conditional = R @ P @ design.y
    np.testing.assert_allclose(table["conditional"], conditional, atol=1e-8)
    sd = np.sqrt((R @ P @ R).diagonal())
    np.testing.assert_allclose(table["studentized"], conditional / sd, atol=1e-8)
    marginal = design.y - X @ C @ X.T @ inverse @ design.y
    np.testing.assert_allclose(table["marginal"], marginal, atol=1e-8)
    sd = np.sqrt((V - X @ C @ X.T).diagonal())
    np.testing.assert_allclose(table["marginal_studentized"], marginal / sd, atol=1e-8)
    np.testing.assert_allclose(table["deleted"], (P @ design.y) / P.diagonal(), atol=1e-7)
    np.testing.assert_allclose(table["pearson"], fit.residuals("pearson"), atol=1e-12)


def test_deleted_residuals_predict_a_row_from_all_others(sleep: mf.MixedResults) -> None:
    design = sleep.fit.design
    V = relative_covariance(design, [t.root @ t.root.T for t in sleep.fit.estimate.terms])
    i, kept = 56, np.arange(180) != 56
    X, y, inverse = design.X[kept], design.y[kept], np.linalg.inv(V[np.ix_(kept, kept)])
    b = np.linalg.solve(X.T @ inverse @ X, X.T @ inverse @ y)
    predicted = design.X[i] @ b + V[i, kept] @ inverse @ (y - X @ b)
    deleted = sleep.diagnostics.residuals()["deleted"].iloc[i]
    assert deleted == pytest.approx(design.y[i] - predicted, rel=1e-8)


@pytest.mark.parametrize("name", ["slope, weighted, offset", "crossed slopes", "nested"])
def test_standardised_effects(name: str) -> None:
    fit = fit_design(PATTERNS[name].design())
    design, estimate = fit.design, fit.estimate
    V = relative_covariance(design, [t.root @ t.root.T for t in estimate.terms])
    inverse = np.linalg.inv(V)
    C = np.linalg.inv(design.X.T @ inverse @ design.X)
    P = inverse - inverse @ design.X @ C @ design.X.T @ inverse
    for f, own in enumerate(standardized_effects(fit)):
        factor = design.factors[f]
        Z = np.hstack([term.Z for term in design.terms if term.factor == f])
        G = estimate.covariances[f] / estimate.sigma**2
        for j in (0, factor.n_levels - 1):
            Zj = Z * (factor.codes == j)[:, None]
            variance = estimate.sigma**2 * (G @ Zj.T @ P @ Zj @ G).diagonal()
            expected = estimate.effects[f][j] / np.sqrt(variance)
            np.testing.assert_allclose(own.effects[j], expected, rtol=1e-6)


def test_quantiles_of_residuals_and_effects(sleep: mf.MixedResults) -> None:
    residuals = sleep.diagnostics.qq()
    assert residuals["term"].unique().tolist() == ["residual"]
    assert residuals["label"].iloc[-1] == 56
    assert residuals["observed"].is_monotonic_increasing
    effects = sleep.diagnostics.qq("Subject")
    assert effects.groupby("term", sort=False).size().to_dict() == {"Intercept": 18, "Days": 18}
    inside = effects["observed"].between(effects["lower"], effects["upper"])
    assert inside.all()
    with pytest.raises(DataError, match=r"of must be 'residuals' or a grouping factor \('Subject'"):
        sleep.diagnostics.qq("Days")
    with pytest.raises(ModelError, match="level must be a number between 0 and 1"):
        sleep.diagnostics.qq(level=95)


def test_effects_without_variance_have_no_quantiles() -> None:
    fit = mf.lmer("Yield ~ 1 + (1 | Batch)", mf.datasets.load("dyestuff2"))
    with pytest.raises(ModelError, match="all random effects of 'Batch' are zero"):
        fit.diagnostics.qq("Batch")
    row = fit.diagnostics.normality().iloc[1]
    assert row["n"] == 0
    assert np.isnan(row["p"])


def test_normality_table(sleep: mf.MixedResults) -> None:
    table = sleep.diagnostics.normality()
    assert table[["group", "term"]].to_numpy().tolist() == [
        ["Residual", ""],
        ["Subject", "Intercept"],
        ["Subject", "Days"],
    ]
    assert table["p"].iloc[0] < 1e-6  # sleepstudy's residuals have three outliers
    assert (table["p"].iloc[1:] > 0.1).all()
    large = mf.lmer("MathAch ~ SES + (1 | School)", mf.datasets.load("mathachieve"))
    assert large.diagnostics.normality()["test"].tolist() == ["D'Agostino-Pearson", "Shapiro-Wilk"]


def test_serial_dependence_by_group_and_time() -> None:
    data = mf.datasets.load("bodyweight")
    fit = mf.lmer("weight ~ Time * Diet + (1 | Rat)", data)
    by_default, by_name = fit.diagnostics.acf(), fit.diagnostics.acf("Rat", time=data["Time"])
    pd.testing.assert_frame_equal(by_default, by_name)
    by_column = fit.diagnostics.acf(data["Rat"], max_lag=3)
    np.testing.assert_allclose(by_column["acf"], by_default["acf"][:4])
    assert (by_default["upper"].iloc[1:] > 0.0).all()
    classes = fit.diagnostics.semivariogram(data["Time"], n_classes=5)
    assert len(classes) == 5
    response = fit.diagnostics.semivariogram(data["Time"], n_classes=5, kind="response")
    ratio = response["semivariance"] / classes["semivariance"]
    np.testing.assert_allclose(ratio, fit.scale, rtol=1e-10)


def test_coordinates_of_all_rows_are_cut_to_those_used() -> None:
    data = mf.datasets.load("bodyweight")
    fit = mf.lmer("weight ~ Time + (1 | Rat)", data, subset="Time > 1")
    used = data.loc[data["Time"] > 1, "Time"]
    one, other = (fit.diagnostics.semivariogram(c) for c in (data["Time"], used))
    pd.testing.assert_frame_equal(one, other)
    with pytest.raises(DataError, match="coordinates has shape"):
        fit.diagnostics.semivariogram(np.arange(7.0))
    with pytest.raises(DataError, match="time must be numbers"):
        fit.diagnostics.acf(time=["a"] * fit.nobs)
    with pytest.raises(DataError, match="finite"):
        fit.diagnostics.acf(time=np.full(fit.nobs, np.nan))


def test_unpooled_effects_are_least_squares_within_levels(sleep: mf.MixedResults) -> None:
    raw = unpooled_effects(sleep.fit, 0) + sleep.params.to_numpy()
    data = mf.datasets.load("sleepstudy")
    for j, (_, rows) in enumerate(data.groupby("Subject", observed=True)):
        slope, intercept = np.polyfit(rows["Days"], rows["Reaction"], 1)
        np.testing.assert_allclose(raw[j], [intercept, slope], rtol=1e-9)
    np.testing.assert_allclose(
        sleep.fit.estimate.least_squares[::-1], np.polyfit(data["Days"], data["Reaction"], 1)
    )


def test_levels_without_enough_rows_have_no_effects_of_their_own() -> None:
    data = mf.datasets.load("sleepstudy")
    fit = mf.lmer(FORMULA, data.drop(index=range(1, 10)))
    raw = unpooled_effects(fit.fit, 0)
    assert np.isnan(raw[0]).all()
    assert np.isfinite(raw[1:]).all()


def test_rows_that_determine_a_fixed_effect_have_no_studentised_residual() -> None:
    data = mf.datasets.load("sleepstudy").assign(only=lambda d: (d.index == 7).astype(float))
    fit = mf.lmer("Reaction ~ Days + only + (Days | Subject)", data)
    table = fit.diagnostics.residuals()
    assert np.flatnonzero(table["studentized"].isna()).tolist() == [7]
    assert np.isnan(table["deleted"][7])
    assert table["leverage"][7] == pytest.approx(1.0)
    assert len(fit.diagnostics.qq()) == 179
    influence = fit.influence()
    assert influence.cooks_distance.isna().sum() == 1
    assert np.isnan(influence.covratio[7])


def test_correlated_groups_are_those_of_fits_without_factors() -> None:
    data = mf.datasets.load("ovary")
    fit = mf.gls("follicles ~ sin(2 * pi * Time)", data, correlation=mf.CorAR1(form="~ 1 | Mare"))
    by_hand = fit.diagnostics.acf(data["Mare"])
    pd.testing.assert_frame_equal(fit.diagnostics.acf(), by_hand)
    assert fit.diagnostics.acf(kind="normalized")["acf"].iloc[1] < 0.2 < by_hand["acf"].iloc[1]
    plain = mf.gls("follicles ~ Time", data)
    with pytest.raises(DataError, match="pass group="):
        plain.diagnostics.acf()


def test_without_grouping_factors_there_are_residuals_only():
    fit = mf.gls("Yield ~ 1", mf.datasets.load("dyestuff"))
    with pytest.raises(DataError, match=r"'residuals' or a grouping factor \(none\), not 'Batch'"):
        fit.diagnostics.qq("Batch")


def test_a_row_known_for_sure_has_no_standardised_residual():
    data = mf.datasets.load("sleepstudy")
    data["first"] = (np.arange(len(data)) == 0).astype(float)
    table = mf.gls("Reaction ~ Days + first", data).diagnostics.residuals()
    assert table[["studentized", "marginal_studentized", "deleted"]].iloc[0].isna().all()
    assert np.isfinite(table.iloc[1:]).all(axis=None)
