"""Errors of predictions where residuals have a structure, against dense algebra and differences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import mixedfit as mf
from mixedfit.errors import ModelError
from mixedfit.fit import Fit
from mixedfit.predict import PredictionRows, predict, prediction_rows
from mixedfit.prediction_intervals import prediction_variance
from mixedfit.residual_predictions import NewResiduals, ResidualPredictor

from .test_conditional_residuals import NEW, OLD, dense_residual

CROSSED = OLD.assign(c=np.arange(len(OLD)) % 5)
LATER = NEW.assign(c=2)
# Two rows of a group the fit does not have, one of them with a level that it has.
LATER.iloc[:2, LATER.columns.get_loc("g")] = "new"

MODELS = {
    "lme ar1": (mf.CorAR1(form="~ t | g"), None),
    "lme ident": (None, mf.VarIdent(form="~ 1 | s")),
    "lme car1 power": (mf.CorCAR1(form="~ t | g"), mf.VarPower(form="~ x")),
    "lme exp": (mf.CorExp(form="~ t | g"), None),
    "lmer ar1 ident": (mf.CorAR1(form="~ t | g"), mf.VarIdent(form="~ 1 | s")),
    "gls ar1 power": (mf.CorAR1(form="~ t | g"), mf.VarPower(form="~ x")),
}


def fitted(name: str) -> mf.MixedResults:
    correlation, variance = MODELS[name]
    if name.startswith("gls"):
        return mf.gls("y ~ x", CROSSED, correlation=correlation, weights=variance)
    if name.startswith("lmer"):
        return mf.lmer(
            "y ~ x + (1 | g) + (1 | c)", CROSSED, correlation=correlation, variance=variance
        )
    return mf.lme("y ~ x", "~ 1 | g", CROSSED, correlation=correlation, weights=variance)


def moved(fit: Fit, step: np.ndarray) -> Fit:
    point = fit.evaluation.move(step)
    other = replace(fit, optimum=replace(fit.optimum, states=point.states, delta=point.delta))
    other.__dict__["evaluation"] = point
    return other


def inside(name: str) -> Fit:
    """A fit away from every limit and not quite at the optimum."""
    fit = fitted(name).fit
    return moved(fit, np.full(len(fit.evaluation.gradient), 0.1))


def errors_of(fit: Fit, rows: PredictionRows, conditional: bool):  # type: ignore[no-untyped-def]
    predictor = ResidualPredictor(fit)
    if not conditional:
        return predictor.errors(rows)
    return predictor.errors_with_residuals(
        rows, NewResiduals(fit, LATER, rows, np.zeros(len(LATER)))
    )


CASES = [(name, c) for name in MODELS for c in (False, True) if not (c and name[4:] == "ident")]


@pytest.mark.parametrize(("name", "conditional"), CASES)
def test_derivatives(name: str, conditional: bool) -> None:
    fit, h = inside(name), 1e-4
    rows = prediction_rows(fit.design, LATER, "all", "population", True)
    errors = errors_of(fit, rows, conditional)
    residual = "conditional" if conditional else None
    for i, e in enumerate(h * np.eye(errors.slopes.shape[1])):
        ahead, behind = moved(fit, e), moved(fit, -e)
        ends = [errors_of(f, rows, conditional).variance for f in (ahead, behind)]
        slope = (ends[0] - ends[1]) / (2 * h)
        np.testing.assert_allclose(errors.slopes[:, i], slope, rtol=1e-5, atol=1e-7)
        ends = [
            predict(f, LATER, "all", "population", residual).to_numpy() for f in (ahead, behind)
        ]
        move = (ends[0] - ends[1]) / (2 * h) / fit.estimate.basis.scale
        np.testing.assert_allclose(errors.moves[:, i], move, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "conditional"), CASES)
def test_variances_are_those_of_the_normal_distribution(name: str, conditional: bool) -> None:
    result = fitted(name)
    fit, (correlation, variance) = result.fit, MODELS[name]
    both = pd.concat([CROSSED, LATER], ignore_index=True)
    n, sigma2 = fit.n, result.scale
    if correlation is None:
        ratio = result.residual_params.iloc[0]
        R = np.diag(np.where(both["s"] == result.residual_params.index[0], ratio**2, 1.0))
    else:
        R = dense_residual(result, correlation, variance, both, n)
    effects = np.zeros_like(R)
    for factor, covariance in zip(fit.design.factors, fit.estimate.covariances, strict=True):
        labels = both[factor.variables[0]].to_numpy()
        effects += covariance[0, 0] * (labels[:, None] == labels)
    V = effects[:n, :n] + sigma2 * R[:n, :n]
    X = np.column_stack([np.ones(len(both)), both["x"]])
    inverse = np.linalg.inv(V)
    P = np.linalg.inv(X[:n].T @ inverse @ X[:n])
    C = effects[:n, n:] + (sigma2 * R[:n, n:] if conditional else 0.0)
    L = inverse @ (C + X[:n] @ P @ (X[n:].T - X[:n].T @ inverse @ C))
    own = effects.diagonal()[n:] + sigma2 * R.diagonal()[n:]
    expected = np.einsum("im,im->m", L, V @ L - 2.0 * C) + own
    rows = prediction_rows(fit.design, LATER, "all", "population", True)
    residuals = NewResiduals(fit, LATER, rows, np.zeros(len(LATER)))
    found = prediction_variance(fit, rows, "prediction", None, residuals, conditional)
    got = found.joint + found.effects + found.residual
    np.testing.assert_allclose(got, expected, rtol=1e-7)
    assert (found.covariances > 0.0).any()


@pytest.mark.parametrize("name", ["lme ar1", "lme car1 power", "gls ar1 power"])
def test_separate_levels_and_all_rows_have_one_formula(name: str) -> None:
    fit = inside(name)
    predictor = ResidualPredictor(fit)
    rows = prediction_rows(fit.design, LATER, "all", "population", True)
    x, z = predictor.working(rows)
    quick, general = predictor.errors(rows), next(predictor._blocks(x, z, rows.codes))
    for part in ("variance", "slopes", "moves"):
        np.testing.assert_allclose(
            getattr(quick, part), getattr(general, part), rtol=1e-9, atol=1e-12
        )


def test_what_a_user_sees() -> None:
    fit = fitted("lme car1 power")
    plain = fit.predict(LATER, new_levels="population", interval="prediction")
    given = fit.predict(
        LATER, new_levels="population", interval="prediction", residual="conditional"
    )
    np.testing.assert_allclose(plain["estimate"], fit.predict(LATER, new_levels="population"))
    np.testing.assert_allclose(
        given["estimate"], fit.predict(LATER, new_levels="population", residual="conditional")
    )
    known = LATER["g"] != "new"
    assert (given["se"] < plain["se"])[known].all()
    np.testing.assert_allclose(given["se"][~known], plain["se"][~known], rtol=1e-6)
    small, large = LATER.iloc[[4]].assign(x=0.5), LATER.iloc[[4]].assign(x=4.0)
    widths = [fit.predict(d, interval="prediction")["se"].iloc[0] for d in (small, large)]
    assert widths[1] > 1.5 * widths[0]
    gap = fit.predict(LATER.assign(x=np.nan), new_levels="population", interval="prediction")
    assert gap.isna().all(axis=None)
    inner = fit.predict(interval="prediction")
    assert (inner["lower"] < inner["upper"]).all()
    with pytest.raises(ModelError, match="interval='prediction'"):
        fit.predict(LATER, interval="confidence", residual="conditional")


@pytest.mark.slow
def test_intervals_of_later_rows_cover() -> None:
    rng = np.random.default_rng(5)
    hits = []
    for _ in range(60):
        n, J = 8, 20
        e = rng.standard_normal((J, n))
        for t in range(1, n):
            e[:, t] = 0.7 * e[:, t - 1] + np.sqrt(0.51) * e[:, t]
        y = 2.0 + rng.standard_normal(J)[:, None] + e
        data = pd.DataFrame(
            {"g": np.repeat(np.arange(J), n), "t": np.tile(np.arange(n), J), "y": y.ravel()}
        )
        old, new = data[data["t"] < n - 1], data[data["t"] == n - 1]
        fit = mf.lme("y ~ 1", "~ 1 | g", old, correlation=mf.CorAR1(form="~ t | g"))
        found = fit.predict(new, interval="prediction", residual="conditional", level=0.9)
        hits.append(((found["lower"] < new["y"]) & (new["y"] < found["upper"])).mean())
    assert abs(np.mean(hits) - 0.9) < 0.03


@pytest.mark.parametrize(
    "variance",
    [mf.VarIdent(form="~ 1 | s"), mf.VarComb(mf.VarPower([0.1, 0.2], form="~ x | s"))],
)
@pytest.mark.parametrize("m", [1, 2])
def test_new_strata_are_named(variance: mf.VarFunction, m: int) -> None:
    fit = mf.gls("y ~ x", OLD, weights=variance)
    with pytest.raises(mf.DataError, match="in a stratum the fit did not have, 'third'"):
        fit.predict(NEW.head(m).assign(s="third"), interval="prediction")


def test_variances_by_residuals_say_nothing_of_new_rows() -> None:
    both = mf.VarComb(mf.VarPower(form="~ fitted(.)"), mf.VarExp(form="~ resid(.)"))
    fit = mf.gls("y ~ x", OLD, weights=both)
    with pytest.raises(ModelError, match="says nothing of new rows"):
        fit.predict(NEW, interval="prediction")
