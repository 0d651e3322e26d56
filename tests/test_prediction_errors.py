"""Errors of predictions against dense covariances and central differences."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.linalg import block_diag

import mixedfit as mf
from mixedfit.fit import Fit, fit_design
from mixedfit.predict import PredictionRows, prediction_rows
from mixedfit.prediction_errors import Predictor

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


def test_blocks_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    fit = mf.lmer("y ~ x + (1 | g) + (1 | h)", frame())
    whole = fit.predict(interval="confidence")
    monkeypatch.setattr("mixedfit.prediction_errors._ROOM", 100)
    pd.testing.assert_frame_equal(fit.predict(interval="confidence"), whole)
