"""Shrinkage and ranks read off a fitted model: against formulas, dense algebra and R."""

import numpy as np
import pandas as pd
import pytest

import mixedfit as mf
from mixedfit.eb.from_fit import Levels
from mixedfit.errors import DataError, ModelError
from tests.cases import frame
from tests.references import reference


def rows(name):
    return mf.datasets.load(name)


@pytest.mark.parametrize("method", ["REML", "ML"])
def test_one_way_models_are_those_of_the_reference(method):
    expected = reference(f"lme_rail_{method.lower()}")["shrinkage"]
    fit = mf.lmer("travel ~ 1 + (1 | Rail)", rows("rail"), method=method)
    table = fit.shrinkage("Rail").posterior
    table = table.set_index(table["label"].astype(str)).loc[expected["levels"]]
    names = {"n": "n", "estimate": "raw_mean", "weight": "lambda", "mean": "eb_mean"}
    for ours, theirs in names.items():
        np.testing.assert_allclose(table[ours], expected[theirs], rtol=1e-6)


def test_columns_of_a_random_intercept_are_the_textbook_formulas():
    data = frame(200)
    fit = mf.lmer("x ~ 1 + (1 | g)", data.assign(x=data["x"] + 0.4 * data["g"]))
    result = fit.shrinkage()
    table, tau2, sigma2 = result.posterior, result.prior["tau2"], result.prior["sigma2"]
    y = data["x"] + 0.4 * data["g"]
    np.testing.assert_allclose(table["no_pooling"], y.groupby(data["g"]).mean())
    np.testing.assert_allclose(table["complete_pooling"], y.mean())
    n = data.groupby("g").size().to_numpy()
    kappa = n * tau2 / (n * tau2 + sigma2)
    np.testing.assert_allclose(table["weight"], kappa)
    mu = fit.params.iloc[0]
    np.testing.assert_allclose(table["mean"], kappa * table["estimate"] + (1 - kappa) * mu)
    np.testing.assert_allclose(table["se"], np.sqrt(sigma2 / n))
    variance = kappa * sigma2 / n + (1 - kappa) ** 2 * fit.bse.iloc[0] ** 2
    np.testing.assert_allclose(table["sd"], np.sqrt(variance))


def test_slopes_have_least_squares_within_subjects_and_matrix_weights():
    data = rows("sleepstudy")
    fit = mf.lmer("Reaction ~ Days + (Days | Subject)", data)
    table = fit.shrinkage("Subject").posterior
    within = [
        np.polyfit(part["Days"], part["Reaction"], 1)[::-1]
        for _, part in data.groupby("Subject", observed=True)
    ]
    np.testing.assert_allclose(table["estimate"], np.ravel(within))
    np.testing.assert_allclose(table["mean"], fit.coef()["Subject"].to_numpy().ravel())
    pooled = np.polyfit(data["Days"], data["Reaction"], 1)[::-1]
    np.testing.assert_allclose(table["complete_pooling"][:2], pooled)
    K = table[["weight_Intercept", "weight_Days"]].to_numpy().reshape(-1, 2, 2)
    away = (table["estimate"] - table["prior_mean"]).to_numpy().reshape(-1, 2)
    moved = (table["mean"] - table["prior_mean"]).to_numpy().reshape(-1, 2)
    np.testing.assert_allclose(np.einsum("jab,jb->ja", K, away), moved, rtol=1e-8)
    assert table["label"].tolist()[:2] == ["308/Intercept", "308/Days"]
    one = fit.shrinkage("Subject", "Days").posterior
    np.testing.assert_allclose(one["mean"], table["mean"][1::2])
    assert one["label"].tolist()[0] == data["Subject"].cat.categories[0]


FORMULAS = {
    "covariate of rows": "y ~ x + (1 | g)",
    "slope": "y ~ x + (x | g)",
    "uncorrelated, no fixed slope": "y ~ 1 + (x || g)",
    "crossed": "y ~ x + (1 | g) + (1 | h)",
    "nested": "y ~ x + (1 | a/b)",
    "weights": "y ~ x + (1 | g)",
}


def made_up():
    data = frame(160)
    rng = np.random.default_rng(7)
    effects = {name: rng.normal(size=data[name].max() + 1) for name in "abgh"}
    y = 2.0 + 0.5 * data["x"] + rng.normal(size=160)
    for name, values in effects.items():
        y = y + 0.8 * values[data[name]]
    slopes = rng.normal(size=data["g"].max() + 1)
    return data.assign(y=y + 0.5 * slopes[data["g"]] * data["x"], w=rng.uniform(0.5, 2.0, 160))


def dense_joint_covariance(fit, f):
    """Covariance of b_Z + u for one factor by the dense mixed-model equations."""
    design, estimate = fit.fit.design, fit.fit.estimate
    Z_parts, G_parts, sizes = [], [], []
    for place, factor in enumerate(design.factors):
        Z = np.hstack([t.Z for t in design.terms if t.factor == place])
        k = Z.shape[1]
        wide = np.zeros((len(Z), factor.n_levels * k))
        for a in range(k):
            wide[np.arange(len(Z)), factor.codes * k + a] = Z[:, a]
        Z_parts.append(wide)
        G_parts.append(np.kron(np.eye(factor.n_levels), estimate.covariances[place]))
        sizes.append(factor.n_levels * k)
    W = np.ones(len(design.y)) if design.weights is None else design.weights
    full = np.hstack([design.X, *Z_parts])
    p = design.X.shape[1]
    M = full.T @ (W[:, None] * full) / estimate.sigma**2
    start = p
    for G in G_parts:
        M[start : start + len(G), start : start + len(G)] += np.linalg.inv(G)
        start += len(G)
    V = np.linalg.inv(M)
    levels = Levels(fit.fit, f)
    k = len(levels.names)
    begin = p + sum(sizes[:f])
    pick = np.zeros((sizes[f], len(V)))
    pick[:, begin : begin + sizes[f]] = np.eye(sizes[f])
    for a, name in enumerate(levels.names):
        if name in design.names:
            pick[a::k, list(design.names).index(name)] = 1.0
    return pick @ V @ pick.T


@pytest.mark.parametrize("name", FORMULAS)
def test_covariances_and_draws_are_those_of_the_mixed_model_equations(name):
    fit = mf.lmer(FORMULAS[name], made_up(), weights="w" if name == "weights" else None)
    assert fit.status == "optimal"
    for f, factor in enumerate(fit.fit.design.factors):
        V = dense_joint_covariance(fit, f)
        result = fit.shrinkage(factor.name)
        np.testing.assert_allclose(result.posterior["sd"], np.sqrt(V.diagonal()), rtol=1e-6)
        draws = result.sample(6000, seed=2).to_numpy()
        np.testing.assert_allclose(draws.mean(axis=0), result.posterior["mean"], atol=0.06)
        np.testing.assert_allclose(np.cov(draws.T), V, atol=0.06 * V.diagonal().max())


@pytest.mark.parametrize("name", ["crossed", "nested", "slope", "weights"])
def test_draws_without_the_joint_matrix_have_its_covariance(name):
    fit = mf.lmer(FORMULAS[name], made_up(), weights="w" if name == "weights" else None)
    for f in range(len(fit.fit.design.factors)):
        levels = Levels(fit.fit, f)
        root = levels._joint_root()
        draws = levels._perturbed(6000, np.random.default_rng(4)).reshape(6000, -1)
        V = root @ root.T
        np.testing.assert_allclose(np.cov(draws.T), V, atol=0.08 * V.diagonal().max())
        blocks = fit.fit.estimate.conditional_covariances[f]
        k = blocks.shape[1]
        for j, block in enumerate(blocks):
            here = slice(j * k, (j + 1) * k)
            np.testing.assert_allclose(V[here, here], block, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", FORMULAS)
def test_shrunken_is_weight_times_raw(name):
    fit = mf.lmer(FORMULAS[name], made_up(), weights="w" if name == "weights" else None)
    for f in range(len(fit.fit.design.factors)):
        levels = Levels(fit.fit, f)
        raw, _ = levels.raw
        moved = np.einsum("jab,jb->ja", levels.weights, raw - levels.population)
        np.testing.assert_allclose(
            moved + levels.population, levels.coefficients, rtol=1e-7, atol=1e-9
        )


def test_levels_with_one_row_have_no_slope_of_their_own():
    data = rows("sleepstudy")
    few = data.drop(data[(data["Subject"] == "308") & (data["Days"] > 0)].index)
    fit = mf.lmer("Reaction ~ Days + (Days | Subject)", few)
    result = fit.shrinkage()
    assert result.posterior["estimate"][:2].isna().all()
    assert result.posterior["mean"].notna().all()
    assert "of their own: 1 level," in result.notes[0]


def test_a_zero_variance_is_complete_pooling():
    fit = mf.lmer("Yield ~ 1 + (1 | Batch)", rows("dyestuff2"))
    result = fit.shrinkage()
    np.testing.assert_allclose(result.posterior["mean"], fit.params.iloc[0])
    np.testing.assert_allclose(result.posterior["weight"], 0.0)
    assert "pooled completely" in result.notes[0]
    with pytest.raises(ModelError, match="the prior is a point"):
        result.prior_density([1500.0])


def test_ranks_follow_the_joint_posterior():
    fit = mf.lmer("travel ~ 1 + (1 | Rail)", rows("rail"))
    table = fit.rank("Rail", k=2)
    assert table["p_top"].sum() == pytest.approx(2.0)
    assert table.set_index("label")["expected_rank"].idxmin() == "4"
    lowest = fit.rank(k=1, highest_first=False).set_index("label")
    assert lowest.loc["2", "p_top"] > 0.99
    slopes = mf.lmer("Reaction ~ Days + (Days | Subject)", rows("sleepstudy"))
    assert len(slopes.rank(k=3, term="Days")) == 18
    with pytest.raises(ModelError, match="term='Intercept' or 'Days'"):
        slopes.rank(k=3)


def test_labels_of_combinations_are_text():
    fit = mf.lmer("strength ~ 1 + (1 | batch/cask)", rows("pastes"))
    name = next(n for n in fit.ngroups if ":" in n)
    table = fit.shrinkage(name).posterior
    assert pd.api.types.is_string_dtype(table["label"])
    assert ":" in table["label"][0]


def test_bad_requests_have_one_clear_error():
    fit = mf.lmer("strength ~ 1 + (1 | batch/cask)", rows("pastes"))
    with pytest.raises(ModelError, match="group must be a grouping factor of the model, 'batch"):
        fit.shrinkage("plate")
    with pytest.raises(ModelError, match="not None"):
        fit.shrinkage()
    with pytest.raises(ModelError, match="term must be one of the random columns, 'Intercept'"):
        fit.shrinkage("batch", "Days")
    with pytest.raises(DataError, match="k must be between 1 and the 10 units"):
        fit.rank("batch", k=11)
    with pytest.raises(ModelError, match="level must be a number between 0 and 1"):
        fit.shrinkage("batch", level=95)


def test_a_fit_without_random_effects_shrinks_nothing():
    fit = mf.gls("Yield ~ 1", mf.datasets.load("dyestuff"))
    with pytest.raises(mf.ModelError, match="has no random effects"):
        fit.shrinkage("Batch")


def test_without_fixed_effects_levels_are_pulled_to_zero():
    fit = mf.lmer("Yield ~ 0 + (1 | Batch)", mf.datasets.load("dyestuff"))
    table = fit.shrinkage("Batch").posterior
    assert (table["prior_mean"] == 0.0).all()
    np.testing.assert_allclose(table["mean"], fit.ranef()["Batch"]["Intercept"])
    np.testing.assert_allclose(table["mean"], table["weight"] * table["estimate"])
    assert fit.rank("Batch")["expected_rank"].sum() == pytest.approx(21)
