from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from mixedfit import deletion
from mixedfit.arrays import Array
from mixedfit.deletion import delete_groups, delete_rows, row_parts
from mixedfit.fit import Fit, fit_design
from tests.cases import PATTERNS, Pattern, frame
from tests.dense import relative_covariance

WITH_FIXED = [name for name in PATTERNS if name != "no fixed effects"]


@cache
def fitted(name: str) -> Fit:
    return fit_design(PATTERNS[name].design())


def dense(fit: Fit) -> tuple[Array, Array]:
    """Sigma over sigma^2, and the response less its offset."""
    design = fit.design
    V = relative_covariance(design, [t.root @ t.root.T for t in fit.estimate.terms])
    return V, design.y - (0.0 if design.offset is None else design.offset)


def generalised_least_squares(X: Array, V: Array, y: Array) -> tuple[Array, Array]:
    inverse = np.linalg.inv(V)
    C = np.linalg.inv(X.T @ inverse @ X)
    return C @ X.T @ inverse @ y, C


@pytest.mark.parametrize("name", PATTERNS)
def test_parts_of_rows_are_those_of_the_dense_covariance(name: str) -> None:
    fit = fitted(name)
    V, y = dense(fit)
    X, inverse = fit.design.X, np.linalg.inv(V)
    C = np.linalg.inv(X.T @ inverse @ X)
    P = inverse - inverse @ X @ C @ X.T @ inverse
    R = np.ones(fit.n) if fit.design.weights is None else 1.0 / fit.design.weights
    parts = row_parts(fit)
    np.testing.assert_allclose(parts.P, P.diagonal() * R, rtol=1e-9)
    np.testing.assert_allclose(parts.N, inverse.diagonal() * R, rtol=1e-9)
    np.testing.assert_allclose(parts.fixed, (X @ C @ X.T @ inverse).diagonal(), atol=1e-12)
    scale = fit.estimate.basis.scale
    np.testing.assert_allclose(scale * parts.Py * np.sqrt(R), R * (P @ y), atol=1e-9)
    marginal = y - X @ (C @ X.T @ inverse @ y)
    np.testing.assert_allclose(scale * parts.marginal * np.sqrt(R), marginal, atol=1e-9)
    variance = (V - X @ C @ X.T).diagonal()
    np.testing.assert_allclose(parts.marginal_variance * R, variance, rtol=1e-9)


@pytest.mark.parametrize("grouping", ["row", "own", "a", "h", "g"])
@pytest.mark.parametrize("name", WITH_FIXED)
def test_deletions_are_those_of_brute_force(name: str, grouping: str) -> None:
    fit = fitted(name)
    V, y = dense(fit)
    X, parts = fit.design.X, row_parts(fit)
    if grouping == "row":
        codes = np.arange(fit.n)
    elif grouping == "own":
        codes = fit.design.factors[0].codes
    else:
        codes = frame()[grouping].to_numpy()
    m = int(codes.max()) + 1
    found = delete_rows(fit, parts) if grouping == "row" else delete_groups(fit, parts, codes, m)
    b, C = generalised_least_squares(X, V, y)
    inverse, p = np.linalg.inv(fit.estimate.sigma**2 * C), X.shape[1]
    for j in range(0, m, 17 if grouping == "row" else 3):
        kept = codes != j
        other, variance = generalised_least_squares(X[kept], V[np.ix_(kept, kept)], y[kept])
        change = b - other
        size = np.sqrt(C.diagonal().max())
        np.testing.assert_allclose(found.change[j], change, atol=1e-9 * size)
        se = fit.estimate.sigma * np.sqrt(variance.diagonal())
        np.testing.assert_allclose(found.se[j], se, rtol=1e-8)
        cook = change @ inverse @ change / p
        np.testing.assert_allclose(found.cooks_distance[j], cook, rtol=1e-6, atol=1e-12)
        own = change @ np.linalg.solve(variance, change) / (p * fit.estimate.sigma**2)
        np.testing.assert_allclose(found.mdffits[j], own, rtol=1e-6, atol=1e-12)
        ratio = np.linalg.det(variance) / np.linalg.det(C)
        np.testing.assert_allclose(found.covratio[j], ratio, rtol=1e-8)


def test_large_groups_are_deleted_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    fit = fitted("crossed slopes")
    parts, codes = row_parts(fit), frame()["b"].to_numpy()
    whole = delete_groups(fit, parts, codes, 20)
    monkeypatch.setattr(deletion, "_ROOM", 20_000)
    pieces = delete_groups(fit, parts, codes, 20)
    np.testing.assert_allclose(pieces.change, whole.change, atol=1e-14)


def test_effects_that_lose_their_rows_are_missing() -> None:
    data = frame()
    data["only"] = (data["g"] == 3).astype(float)
    fit = fit_design(Pattern("y ~ x + only + (1 | g) + (1 | h)").design(data))
    found = delete_groups(fit, row_parts(fit), data["g"].to_numpy(), 12)
    assert np.flatnonzero(np.isnan(found.covratio)).tolist() == [3]
    assert np.isnan(found.change[3]).all()
    assert np.isfinite(found.change[[0, 1, 2, 4]]).all()
