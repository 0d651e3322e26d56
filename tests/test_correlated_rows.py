from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest

import mixedfit as mf
from mixedfit.arrays import Array
from mixedfit.deletion import delete_groups, delete_rows, row_parts
from mixedfit.diagnostics import standardized_effects
from tests.cases import frame


def rows() -> pd.DataFrame:
    data = frame(120, seed=4).sort_values(["a", "b"]).reset_index(drop=True)
    data["t"] = data.groupby("b").cumcount() + 1
    return data


FITS = {
    "autoregression within subjects": lambda d: mf.lme(
        "y ~ x", "~ 1 | b", d, correlation=mf.CorAR1(form="~ t | b")
    ),
    "variances by a factor": lambda d: mf.lme(
        "y ~ x", "~ x | g", d, weights=mf.VarIdent(form="~ 1 | f")
    ),
    "crossed, autoregression": lambda d: mf.lmer(
        "y ~ x + (1 | g) + (1 | h)", d, correlation=mf.CorAR1(form="~ t | b"), weights="w"
    ),
    "no random effects": lambda d: mf.gls("y ~ x", d, correlation=mf.CorCompSymm(form="~ 1 | b")),
}


@cache
def fitted(name: str) -> mf.MixedResults:
    return FITS[name](rows())


def dense(fit: mf.MixedResults) -> tuple[Array, Array]:
    """V and R over sigma^2, written out."""
    design, n = fit.fit.design, fit.nobs
    root = np.ones(n) if design.weights is None else 1.0 / np.sqrt(design.weights)
    assert fit.fit.whitening is not None
    R = fit.fit.whitening.multiply(np.eye(n)) * root * root[:, None]
    V = R.copy()
    for term, estimate in zip(design.terms, fit.fit.estimate.terms, strict=True):
        codes = design.factors[term.factor].codes
        G = estimate.root @ estimate.root.T
        V += (term.Z @ G @ term.Z.T) * (codes[:, None] == codes)
    return V, R


@pytest.mark.parametrize("name", FITS)
def test_parts_of_rows_are_those_of_the_dense_covariance(name: str) -> None:
    fit = fitted(name)
    V, R = dense(fit)
    design, sigma = fit.fit.design, fit.sigma
    X, y, inverse = design.X, design.y, np.linalg.inv(V)
    C = np.linalg.inv(X.T @ inverse @ X)
    P = inverse - inverse @ X @ C @ X.T @ inverse
    table = fit.diagnostics.residuals()
    np.testing.assert_allclose(table["leverage"], 1.0 - (R @ P).diagonal(), atol=1e-9)
    fixed = (X @ C @ X.T @ inverse).diagonal()
    np.testing.assert_allclose(table["fixed_leverage"], fixed, atol=1e-10)
    conditional = R @ P @ y
    np.testing.assert_allclose(table["conditional"], conditional, atol=1e-8)
    sd = sigma * np.sqrt((R @ P @ R).diagonal())
    np.testing.assert_allclose(table["studentized"], conditional / sd, atol=1e-8)
    sd = sigma * np.sqrt((V - X @ C @ X.T).diagonal())
    marginal = (y - X @ C @ X.T @ inverse @ y) / sd
    np.testing.assert_allclose(table["marginal_studentized"], marginal, atol=1e-8)
    np.testing.assert_allclose(table["deleted"], (P @ y) / P.diagonal(), atol=1e-7)


@pytest.mark.parametrize("grouping", ["row", "b", "g", "h"])
@pytest.mark.parametrize("name", FITS)
def test_deletions_are_those_of_brute_force(name: str, grouping: str) -> None:
    fit = fitted(name)
    V, _ = dense(fit)
    X, y, parts = fit.fit.design.X, fit.fit.design.y, row_parts(fit.fit)
    codes = np.arange(fit.nobs)
    if grouping != "row":
        codes = pd.factorize(rows()[grouping], sort=True)[0]
    m = int(codes.max()) + 1
    whole = grouping == "row"
    found = delete_rows(fit.fit, parts) if whole else delete_groups(fit.fit, parts, codes, m)
    for j in range(0, m, 11 if whole else 2):
        kept = codes != j
        inverse = np.linalg.inv(V[np.ix_(kept, kept)])
        C = np.linalg.inv(X[kept].T @ inverse @ X[kept])
        change = fit.params.to_numpy() - C @ X[kept].T @ inverse @ y[kept]
        np.testing.assert_allclose(found.change[j], change, atol=1e-8)
        np.testing.assert_allclose(found.se[j], fit.sigma * np.sqrt(C.diagonal()), rtol=1e-7)


def test_standardised_effects_with_correlated_residuals() -> None:
    fit = fitted("autoregression within subjects")
    V, _ = dense(fit)
    design, inverse = fit.fit.design, np.linalg.inv(V)
    C = np.linalg.inv(design.X.T @ inverse @ design.X)
    P = inverse - inverse @ design.X @ C @ design.X.T @ inverse
    (own,) = standardized_effects(fit.fit)
    G = fit.fit.estimate.covariances[0] / fit.scale
    for j in range(3):
        Z = design.terms[0].Z * (design.factors[0].codes == j)[:, None]
        variance = fit.scale * (G @ Z.T @ P @ Z @ G).diagonal()
        expected = fit.fit.estimate.effects[0][j] / np.sqrt(variance)
        np.testing.assert_allclose(own.effects[j], expected, rtol=1e-6)


def test_refits_keep_the_residual_structure() -> None:
    fit, data = fitted("autoregression within subjects"), rows()
    found = fit.influence("b", refit=True)
    level = found.params.index[2]
    other = FITS["autoregression within subjects"](data[data["b"] != level])
    np.testing.assert_allclose(found.params.loc[level], other.params, rtol=1e-6)


def test_simulated_residuals_follow_the_correlation() -> None:
    fit = fitted("autoregression within subjects")
    for effects in ("new", "fitted"):
        tests = fit.diagnostics.scaled(n=99, seed=1, effects=effects).tests  # type: ignore[arg-type]
        assert (tests["p"] > 0.01).all()


def test_explanations_read_formulas_of_lme_and_gls() -> None:
    for name in FITS:
        assert fitted(name).explain().verdict == fitted(name).status
        str(fitted(name).explain())


def test_boundaries_of_lme_suggest_formulas_of_lmer() -> None:
    fit = mf.lme("Yield ~ 1", "~ 1 | Batch", mf.datasets.load("dyestuff2"))
    assert fit.explain().simpler[0][0] == "Yield ~ 1"
