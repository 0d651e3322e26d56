from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from mixedfit.estimate import Estimate
from mixedfit.likelihood import Evaluation
from mixedfit.profile_criteria import CorrelationPath, FixedEffectPath, Path, ScalePath

from .cases import PATTERNS

NAMES = [
    "intercept",
    "slope, weighted, offset",
    "three columns",
    "double bar",
    "common variance",
    "cs",
    "ar1, own variances",
    "nested",
    "crossed slopes",
]


@cache
def inside(name: str) -> Evaluation:
    """A point of the ML criterion away from every limit."""
    like = PATTERNS[name].likelihood("ML")
    return like.at(next(iter(like.starts())))


def paths(name: str) -> dict[str, Path]:
    point = inside(name)
    like = point.likelihood
    out: dict[str, Path] = {"sigma": ScalePath(point)}
    for j in range(like.products.p):
        out[f"fixed {j}"] = FixedEffectPath(point, j)
    for t, (_, structure) in enumerate(like.structures):
        for a in range(structure.size):
            out[f"sd {t} {a}"] = ScalePath(point, t, a)
        if not structure.uncorrelated:
            out[f"cor {t}"] = CorrelationPath(point, t, (1, 0), "cor")
    return out


@pytest.mark.parametrize("name", NAMES)
def test_derivatives(name: str) -> None:
    for label, path in paths(name).items():
        r = path.likelihood.n_params
        rng = np.random.default_rng(3)
        x = path.x + 0.05
        point = path.at(x, path.moved(path.states, 0.02 * rng.standard_normal(r)))
        free = np.flatnonzero(point.free)
        h = 1e-5
        for e in h * np.eye(r)[free]:
            i = int(np.flatnonzero(e)[0])
            ahead, behind = point.move(e), point.move(-e)
            slope = (ahead.fun - behind.fun) / (2 * h)
            np.testing.assert_allclose(
                point.gradient[i], slope, rtol=1e-5, atol=1e-5, err_msg=label
            )
            bend = (ahead.fun - 2 * point.fun + behind.fun) / h**2
            np.testing.assert_allclose(
                point.hessian[i, i], bend, rtol=1e-3, atol=5e-2, err_msg=label
            )
        states = point.evaluation.states
        ahead, behind = path.at(x + h, states), path.at(x - h, states)
        slope = (ahead.fun - behind.fun) / (2 * h)
        np.testing.assert_allclose(point.slope, slope, rtol=1e-6, atol=1e-6, err_msg=label)
        bend = (ahead.slope - behind.slope) / (2 * h)
        np.testing.assert_allclose(point.bend, bend, rtol=1e-6, atol=1e-6, err_msg=label)
        mixed = (ahead.gradient - behind.gradient) / (2 * h)
        np.testing.assert_allclose(
            point.mixed[free], mixed[free], rtol=1e-6, atol=1e-6, err_msg=label
        )
        np.testing.assert_allclose(point.hessian, point.hessian.T, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["slope, weighted, offset", "cs", "crossed slopes"])
def test_a_path_starts_at_the_estimate(name: str) -> None:
    point = inside(name)
    for label, path in paths(name).items():
        start = path.at(path.x, path.states)
        if label.startswith("cor"):
            np.testing.assert_allclose(start.fun, point.fun, rtol=1e-10)
            continue
        np.testing.assert_allclose(start.fun, point.fun, rtol=1e-10, err_msg=label)
        np.testing.assert_allclose(start.slope, 0.0, atol=1e-6, err_msg=label)


def test_values_are_in_the_users_units() -> None:
    point = inside("slope, weighted, offset")
    found = paths("slope, weighted, offset")
    estimate = Estimate(point)
    np.testing.assert_allclose(
        [found[f"fixed {j}"].value(found[f"fixed {j}"].x) for j in range(2)], estimate.beta
    )
    np.testing.assert_allclose(found["sigma"].value(found["sigma"].x), estimate.sigma)
    C = estimate.covariances[0]
    np.testing.assert_allclose(found["sd 0 1"].value(found["sd 0 1"].x), np.sqrt(C[1, 1]))
    rho = C[0, 1] / np.sqrt(C[0, 0] * C[1, 1])
    np.testing.assert_allclose(found["cor 0"].value(found["cor 0"].x), rho)


def test_zero_variance() -> None:
    point = inside("three columns")
    path = ScalePath(point, 0, 1)
    held = path.at_zero()
    T = point.likelihood.products.basis.random[0].total @ held.eliminated.T[0]
    np.testing.assert_allclose(T[1], 0.0, atol=1e-12)
    G = T @ T.T
    assert G[0, 0] > 0.0
    assert G[2, 2] > 0.0
