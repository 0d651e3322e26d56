"""The full likelihood around its maximum, whole and with its remainder replaced."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy.stats import multivariate_normal

import mixedfit as mf
from mixedfit.arrays import Array
from mixedfit.fit import Fit
from mixedfit.likelihood import Remainder, States
from mixedfit.ml_criterion import MLCriterion, RemainderOf, minimum_from

from .cases import frame
from .dense import criterion as dense_criterion
from .dense import relative_covariance
from .test_conditional_residuals import OLD
from .test_residual_predictions import fitted

STRUCTURES = {"correlation": mf.CorCAR1(form="~ t | g"), "weights": mf.VarPower(form="~ x")}


@cache
def fit_of(name: str) -> Fit:
    if name == "lme":
        return mf.lme("y ~ x", "~ 1 | g", OLD, method="ML", **STRUCTURES).fit  # type: ignore[arg-type]
    if name == "gls":
        return mf.gls("y ~ x", OLD, method="ML", **STRUCTURES).fit  # type: ignore[arg-type]
    return mf.lmer("y ~ x + (x | g) + (1 | h)", frame(), weights="w", method="ML").fit


@pytest.fixture(params=["lmer", "lme", "gls"])
def fit(request: pytest.FixtureRequest) -> Fit:
    return fit_of(request.param)


def away(criterion: MLCriterion) -> States:
    """A point some way from the maximum."""
    step = 0.2 * np.random.default_rng(5).standard_normal(criterion.n_params)
    return criterion.moved(criterion.states, step)


def written_out(fit: Fit, criterion: MLCriterion, states: States) -> tuple[list[Array], Array]:
    """Covariances of the terms' own columns, and R, at a point."""
    structures = criterion.likelihood.structures
    bases = criterion.likelihood.products.basis.random
    roots = [
        basis.total @ structure.factor(state)
        for (_, structure), state, basis in zip(structures, states, bases, strict=False)
    ]
    R = np.eye(fit.n)
    if criterion.problem is not None:
        R = criterion.problem.residual.at(states[-1]).multiply(R)
    return [T @ T.T for T in roots], R


def test_the_criterion_is_the_density_of_the_multivariate_normal(fit: Fit) -> None:
    criterion = MLCriterion.of(fit.evaluation)
    for states in (criterion.states, away(criterion)):
        G, R = written_out(fit, criterion, states)
        expected = dense_criterion(fit.design, G, "ML", R)
        assert criterion.at(states).fun == pytest.approx(expected, rel=1e-9)


def with_sigma(criterion: MLCriterion, sigma: float) -> RemainderOf:
    """The remainder where sigma is known: ``n log(2 pi sigma^2) + r^2 / sigma^2``."""
    n, scale = criterion.likelihood.df, criterion.likelihood.products.basis.scale
    working = (sigma / scale) ** 2

    def remainder_of(S: Array, _: States) -> Remainder:
        weights = np.zeros_like(S)
        inner = Remainder.of(S, n, weights)
        weights[-1, -1] = inner.r2 / working  # times d log r^2, this is d r^2 / sigma^2
        fun = n * np.log(2.0 * np.pi * working) + inner.r2 / working
        return replace(inner, weights=weights, fun=float(fun))

    return remainder_of


def test_a_replaced_remainder_is_a_criterion_of_its_own(fit: Fit) -> None:
    criterion = MLCriterion.of(fit.evaluation)
    states, sigma = away(criterion), 1.3 * fit.estimate.sigma
    point = criterion.replaced(states, with_sigma(criterion, sigma))
    G, R = written_out(fit, criterion, states)
    V, design = relative_covariance(fit.design, G, R), fit.design
    inverse = np.linalg.inv(V)
    b = np.linalg.solve(design.X.T @ inverse @ design.X, design.X.T @ inverse @ design.y)
    density = multivariate_normal(design.X @ b, sigma**2 * V, allow_singular=False)
    assert point.fun == pytest.approx(-2.0 * density.logpdf(design.y), rel=1e-9)
    # Its gradient, in the residual structure's coordinates too, is its own.
    h = 1e-5
    for i, step in enumerate(h * np.eye(criterion.n_params)):
        ahead, behind = (
            criterion.replaced(
                MLCriterion.of(criterion.at(states)).moved(states, side * step),
                with_sigma(criterion, sigma),
            )
            for side in (1.0, -1.0)
        )
        numeric = (ahead.fun - behind.fun) / (2.0 * h)
        assert point.gradient[i] == pytest.approx(numeric, rel=1e-5, abs=1e-4)


def test_states_tell_points_of_the_criterion() -> None:
    point = fitted("lme car1 power").fit.evaluation
    criterion = MLCriterion.of(point)
    assert criterion.n_params == len(point.gradient)
    again = criterion.at(criterion.states_of(point))
    assert again.fun == pytest.approx(point.fun, rel=1e-12)
    step = np.full(criterion.n_params, 0.05)
    ahead = criterion.at(criterion.moved(criterion.states, step))
    assert ahead.fun == pytest.approx(point.move(step).fun, rel=1e-12)


def test_another_structure_of_one_term_keeps_the_others() -> None:
    fit = fit_of("lmer")
    criterion = MLCriterion.of(fit.evaluation)
    diagonal = mf.lmer("y ~ x + diag(x | g) + (1 | h)", frame(), weights="w", method="ML").fit
    structure = diagonal.likelihood.structures[0][1]
    other = criterion.with_structure(0, structure, diagonal.evaluation.states[0])
    states = (diagonal.evaluation.states[0], criterion.states[1])
    bases = criterion.likelihood.products.basis.random
    T = bases[0].total @ structure.factor(states[0])
    G, R = written_out(fit, criterion, criterion.states)
    expected = dense_criterion(fit.design, [T @ T.T, G[1]], "ML", R)
    assert other.at(other.states).fun == pytest.approx(expected, rel=1e-9)


def test_a_search_from_nearby_ends_at_the_maximum(fit: Fit) -> None:
    criterion = MLCriterion.of(fit.evaluation)
    found = minimum_from(criterion.at(away(criterion)))
    assert found.converged
    assert found.point.fun == pytest.approx(fit.optimum.fun, abs=1e-6)
