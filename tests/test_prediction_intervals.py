from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.linalg import block_diag
from scipy.stats import t as student

import mixedfit as mf
from mixedfit.fit import Fit, fit_design, refit
from mixedfit.predict import PredictionRows, prediction_rows
from mixedfit.prediction_errors import Predictor
from mixedfit.prediction_intervals import prediction_variance

from . import references
from .cases import PATTERNS, frame

NAMES = [
    "intercept",
    "slope, weighted, offset",
    "four columns",
    "double bar",
    "nested",
    "crossed",
    "crossed slopes",
]


def moved(fit: Fit, step: np.ndarray) -> Fit:
    other = Fit(fit.design, fit.method, fit.optimum)
    other.__dict__["evaluation"] = fit.evaluation.move(step)
    return other


def inside(name: str) -> Fit:
    """A fit away from every limit, its variances not quite at the optimum."""
    fit = fit_design(PATTERNS[name].design(), "REML")
    rng = np.random.default_rng(0)
    return moved(fit, 0.05 * np.abs(rng.standard_normal(len(fit.evaluation.gradient))))


def some_rows(fit: Fit, every: int = 24) -> PredictionRows:
    """Some of the fit's rows; the first levels are not known."""
    rows = prediction_rows(fit.design, None, "all", "raise")
    codes = [c[::every].copy() for c in rows.codes]
    codes[0][:3] = -1
    Z = [z[::every] for z in rows.Z]
    return PredictionRows(rows.X[::every], 0.0, Z, codes, rows.complete[::every], None)


def dense_variance(fit: Fit, rows: PredictionRows) -> np.ndarray:
    """``Var(t^ - t)`` from the weights of y in t^ and the covariance of all rows."""
    design, estimate = fit.design, fit.estimate
    weights = np.ones(fit.n) if design.weights is None else design.weights
    Zs, Gs, zs = [], [], []
    for f, factor in enumerate(design.factors):
        own = np.hstack([term.Z for term in design.terms if term.factor == f])
        k = own.shape[1]
        Z = np.zeros((fit.n, k * factor.n_levels))
        z = np.zeros((len(rows.X), k * factor.n_levels))
        for i, j in enumerate(factor.codes):
            Z[i, j * k : (j + 1) * k] = own[i]
        for i, j in enumerate(rows.codes[f]):
            if j >= 0:
                z[i, j * k : (j + 1) * k] = rows.Z[f][i]
        Zs.append(Z)
        zs.append(z)
        Gs.append(np.kron(np.eye(factor.n_levels), estimate.covariances[f]))
    Z, z, G, X = np.hstack(Zs), np.hstack(zs), block_diag(*Gs), design.X
    V = Z @ G @ Z.T + np.diag(estimate.sigma**2 / weights)
    inverse = np.linalg.inv(V)
    covariance = np.linalg.inv(X.T @ inverse @ X)
    C = Z @ G @ z.T
    L = inverse @ (X @ covariance @ (rows.X.T - X.T @ inverse @ C) + C)
    return np.einsum("im,im->m", L, V @ L - 2.0 * C) + np.einsum("mi,ij,mj->m", z, G, z)


@pytest.mark.parametrize("name", NAMES)
def test_effects_are_estimated_together(name: str) -> None:
    fit = inside(name)
    rows = some_rows(fit)
    got = fit.estimate.sigma**2 * Predictor(fit).errors(rows).variance
    np.testing.assert_allclose(got, dense_variance(fit, rows), rtol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_derivatives_in_the_covariances(name: str) -> None:
    fit = inside(name)
    rows = some_rows(fit)
    errors = Predictor(fit).errors(rows)
    h = 1e-5
    for i, e in enumerate(h * np.eye(errors.slopes.shape[1])):
        ahead, behind = moved(fit, e), moved(fit, -e)
        variances = [Predictor(f).errors(rows).variance for f in (ahead, behind)]
        slope = (variances[0] - variances[1]) / (2 * h)
        np.testing.assert_allclose(errors.slopes[:, i], slope, rtol=1e-5, atol=1e-8)
        predicted = [
            rows.X @ f.estimate.beta + f.estimate.linear_predictor(rows.Z, rows.codes)
            for f in (ahead, behind)
        ]
        move = (predicted[0] - predicted[1]) / (2 * h) / fit.estimate.basis.scale
        np.testing.assert_allclose(errors.moves[:, i], move, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["slope, weighted, offset", "four columns", "double bar"])
def test_one_factor_and_several_have_one_formula(name: str) -> None:
    fit = inside(name)
    rows = some_rows(fit)
    predictor = Predictor(fit)
    x, z = predictor.working(rows)
    quick, general = predictor.errors(rows), predictor._several(x, z, rows.codes)
    for part in ("variance", "slopes", "moves"):
        np.testing.assert_allclose(
            getattr(quick, part), getattr(general, part), rtol=1e-9, atol=1e-12
        )


def test_the_parts() -> None:
    fit = mf.lmer("Reaction ~ Days + (Days | Subject)", references.data("sleepstudy"))
    new = pd.DataFrame({"Days": [4.0, 4.0], "Subject": ["308", "none"]})
    rows = prediction_rows(fit.fit.design, new, "all", "population", every=True)
    mean = prediction_variance(fit.fit, rows, "confidence")
    observation = prediction_variance(fit.fit, rows, "prediction")
    np.testing.assert_allclose(observation.joint, mean.joint)
    np.testing.assert_allclose(observation.residual, fit.scale)
    assert not mean.residual.any()
    assert not mean.effects.any()
    z = np.array([1.0, 4.0])
    C = fit.varcorr.cov["Subject"].to_numpy()
    np.testing.assert_allclose(observation.effects, [0.0, z @ C @ z])
    # without its level a row's mean has the variance of the fixed part alone
    assert mean.joint[1] == pytest.approx(z @ fit.cov_params().to_numpy() @ z)
    assert mean.covariances[0] > 0.0
    weighted = prediction_variance(fit.fit, rows, "prediction", np.array([1.0, 4.0]))
    np.testing.assert_allclose(weighted.residual, fit.scale / np.array([1.0, 4.0]))


def test_satterthwaites_degrees_of_freedom() -> None:
    # with all levels new, the mean of a balanced one-way layout has exactly J - 1
    rng = np.random.default_rng(0)
    g = np.repeat(np.arange(7), 5)
    data = pd.DataFrame({"g": g, "y": 3.0 * rng.standard_normal(7)[g] + rng.standard_normal(35)})
    fit = mf.lmer("y ~ 1 + (1 | g)", data)
    rows = prediction_rows(fit.fit.design, {"g": [99]}, "all", "population", every=True)
    assert prediction_variance(fit.fit, rows, "confidence").df[0] == pytest.approx(6.0, rel=1e-6)
    got = fit.predict({"g": [99]}, new_levels="population", interval="confidence", level=0.9)
    table = fit.coef_table()
    half = student.ppf(0.95, 6.0) * table["se"][0]
    np.testing.assert_allclose(
        got[["lower", "upper"]], [[table["estimate"][0] - half, table["estimate"][0] + half]]
    )


def test_the_table() -> None:
    data = references.data("sleepstudy")
    fit = mf.lmer("Reaction ~ Days + (Days | Subject)", data)
    new = data.iloc[[3, 50]].copy()
    new.loc[new.index[1], "Days"] = np.nan
    got = fit.predict(new, interval="prediction")
    assert list(got.columns) == ["estimate", "se", "lower", "upper"]
    assert got.index.equals(new.index)
    assert got.iloc[1].isna().all()
    assert got["estimate"].iloc[0] == pytest.approx(fit.predict(new).iloc[0])
    own = fit.predict(interval="confidence")
    np.testing.assert_allclose(own["estimate"], fit.fittedvalues)
    assert (own["se"] > 0.0).all()
    wider = fit.predict(interval="confidence", level=0.99)
    assert (wider["upper"] > own["upper"]).all()
    prediction = fit.predict(interval="prediction")
    assert (prediction["se"] > own["se"]).all()


def test_groups_left_out_are_averaged_over_or_new() -> None:
    data = frame()
    fit = mf.lmer("y ~ x + (1 | g) + (1 | h)", data)
    new = data.iloc[:5]
    all_new = new.assign(g=99, h=99)
    for interval in ("confidence", "prediction"):
        none = fit.predict(new, groups="none", interval=interval)
        unseen = fit.predict(all_new, new_levels="population", interval=interval)
        pd.testing.assert_frame_equal(none, unseen)
        one = fit.predict(new, groups=["g"], interval=interval)
        other = fit.predict(new.assign(h=99), new_levels="population", interval=interval)
        pd.testing.assert_frame_equal(one, other)
    with pytest.raises(mf.DataError, match="'g' has levels the fit did not have"):
        fit.predict(all_new, interval="confidence")


def test_weights_of_the_fits_rows_count() -> None:
    data = frame()
    fit = mf.lmer("y ~ x + (1 | g)", data, weights="w")
    se = fit.predict(interval="prediction")["se"]
    mean = fit.predict(interval="confidence")["se"]
    np.testing.assert_allclose(se**2 - mean**2, fit.scale / data["w"], rtol=1e-8)
    fresh = fit.predict(data, interval="prediction")["se"]
    np.testing.assert_allclose(fresh**2 - mean**2, fit.scale, rtol=1e-8)


def test_a_shift_and_a_scale_of_the_response() -> None:
    data = frame()
    fit = mf.lmer("y ~ x + (x | g)", data)
    big = mf.lmer("y ~ x + (x | g)", data.assign(y=1e6 + 1e3 * data["y"]))
    for interval in ("confidence", "prediction"):
        small = fit.predict(interval=interval)
        np.testing.assert_allclose(
            big.predict(interval=interval), 1e3 * small + [1e6, 0.0, 1e6, 1e6], rtol=1e-6
        )


def test_blocks_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    fit = mf.lmer("y ~ x + (1 | g) + (1 | h)", frame())
    whole = fit.predict(interval="confidence")
    monkeypatch.setattr("mixedfit.prediction_errors._ROOM", 100)
    pd.testing.assert_frame_equal(fit.predict(interval="confidence"), whole)


def test_at_the_boundary() -> None:
    fit = mf.lmer("Yield ~ 1 + (1 | Batch)", references.data("dyestuff2"))
    got = fit.predict(interval="prediction")
    assert np.isfinite(got).all(axis=None)


@pytest.mark.parametrize("formula", ["y ~ x + (1 | g)", "y ~ x + (x | g)"])
def test_coverage(formula: str) -> None:
    # 8 levels with 5 rows each: the covariances are poorly known
    rng = np.random.default_rng(11)
    J, k, repeats = 8, 5, 150
    g, x = np.repeat(np.arange(J), k), np.tile(np.linspace(-1.0, 1.0, k), J)
    start = mf.lmer(formula, pd.DataFrame({"g": g, "x": x, "y": rng.standard_normal(J * k)}))
    places = [-0.5, 1.5]
    known = pd.DataFrame({"g": np.repeat(np.arange(J), 2), "x": places * J})
    fresh = pd.DataFrame({"g": [99, 99], "x": places})
    inside: dict[str, list[float]] = {}
    for _ in range(repeats):
        u = rng.standard_normal((J + 1, 2)) * [1.0, 0.7 if "(x" in formula else 0.0]

        def mean(level, at, u=u):
            return 1.0 + 2.0 * at + u[level, 0] + u[level, 1] * at

        fit = mf.MixedResults(refit(start.fit, mean(g, x) + rng.standard_normal(J * k)))
        for label, new, level in (
            ("known", known, known["g"].to_numpy()),
            ("new", fresh, np.array([J, J])),
        ):
            at = new["x"].to_numpy()
            observed = mean(level, at) + rng.standard_normal(len(at))
            for interval, truth in (("confidence", mean(level, at)), ("prediction", observed)):
                if label == "new" and interval == "confidence":
                    truth = 1.0 + 2.0 * at  # noqa: PLW2901  the mean over levels
                ends = fit.predict(new, new_levels="population", interval=interval)
                covered = (ends["lower"] <= truth) & (truth <= ends["upper"])
                inside.setdefault(f"{interval}, {label}", []).append(covered.mean())
    for what, shares in inside.items():
        error = np.std(shares) / np.sqrt(repeats)
        assert np.mean(shares) == pytest.approx(0.95, abs=3.0 * error + 0.01), what


def test_bad_input() -> None:
    fit = mf.lmer("y ~ x + (1 | g)", frame())
    with pytest.raises(mf.ModelError, match="None, 'confidence' or 'prediction', not 'mean'"):
        fit.predict(interval="mean")
    with pytest.raises(mf.ModelError, match="between 0 and 1"):
        fit.predict(interval="confidence", level=95)
