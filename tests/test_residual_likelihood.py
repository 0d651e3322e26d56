"""The criterion with a residual structure against the density of the multivariate normal."""

from __future__ import annotations

import numpy as np
import pytest

import mixedfit as mf
from mixedfit.design import Design, ResidualSpec
from mixedfit.formula import parse
from mixedfit.frames import read_frame
from mixedfit.optimize import minimise
from mixedfit.residual import bind_residual
from mixedfit.residual_likelihood import ResidualLikelihood, SearchPoint
from mixedfit.variance_function import VarExp, VarPower
from mixedfit.working import WorkingRows
from tests.cases import PATTERNS, Pattern, frame
from tests.dense import criterion
from tests.dense_whitening import GROUPINGS, structure
from tests.residual_cases import DATA, STRUCTURES
from tests.residual_fits import crossed


def problem(pattern: Pattern, grouping: str, method="REML", data=None):
    design = pattern.design(data)
    structures = [(term.factor, term.structure) for term in design.terms]
    rows = WorkingRows.of(design)
    return design, ResidualLikelihood(rows, structure(design, grouping), structures, method)


def random_point(likelihood, seed: int = 0):
    rng = np.random.default_rng(seed)
    states = []
    for _, s in likelihood.structures:
        F = rng.standard_normal((s.size, s.size + 2))
        states.append(s.start(F @ F.T / s.size))
    return tuple(states), np.array([0.4, 0.3])


@pytest.fixture(params=PATTERNS.values(), ids=PATTERNS)
def pattern(request):
    return request.param


@pytest.fixture(params=GROUPINGS)
def grouping(request):
    return request.param


@pytest.fixture(params=["REML", "ML"])
def method(request):
    return request.param


def user_covariances(likelihood, states):
    out = []
    bases = likelihood.rows.rows.basis.random
    for (_, s), state, basis in zip(likelihood.structures, states, bases, strict=True):
        T = basis.total @ s.factor(state)
        out.append(T @ T.T)
    return out


def test_criterion_is_the_density_of_the_multivariate_normal(pattern, grouping, method):
    design, likelihood = problem(pattern, grouping, method, frame(120))
    states, delta = random_point(likelihood)
    likelihood.at(states, delta + 0.1)  # the layout is then refreshed
    R = likelihood.residual.at(delta).R
    expected = criterion(design, user_covariances(likelihood, states), method, R)
    assert likelihood.at(states, delta).fun == pytest.approx(expected, rel=1e-10)


def test_gradient_agrees_with_central_differences(pattern, grouping, method):
    _, likelihood = problem(pattern, grouping, method, frame(120))
    point, h = likelihood.at(*random_point(likelihood)), 1e-5
    steps = h * np.eye(len(point.gradient))
    numeric = [(point.move(s).fun - point.move(-s).fun) / (2 * h) for s in steps]
    np.testing.assert_allclose(point.gradient, numeric, atol=1e-6 * max(1.0, abs(point.fun)))


def test_hessian_agrees_with_central_differences_of_the_gradient(grouping, method):
    for name in ("slope", "nested", "crossed slopes", "cs"):
        _, likelihood = problem(PATTERNS[name], grouping, method, frame(120))
        point, h = likelihood.at(*random_point(likelihood)), 1e-4
        numeric = [
            (point.move(s).fun - 2 * point.fun + point.move(-s).fun) / h**2
            for s in h * np.eye(len(point.gradient))
        ]
        tolerance = 1e-4 * np.abs(numeric).max() + 1e-3
        np.testing.assert_allclose(point.hessian.diagonal(), numeric, atol=tolerance)
        np.testing.assert_allclose(point.hessian, point.hessian.T, atol=1e-9 * tolerance)


@pytest.mark.parametrize("name", ["slope", "nested", "crossed slopes", "crossed, sparse, slopes"])
def test_average_information_is_the_gram_matrix_of_the_working_variates(name, grouping, method):
    design, likelihood = problem(PATTERNS[name], grouping, method, frame(120))
    states, delta = random_point(likelihood)
    point = likelihood.at(states, delta)
    rows, whitening = likelihood.rows.rows, likelihood.residual.at(delta)
    V, dV = whitening.R.copy(), []
    bases = rows.basis.random
    root = np.ones(design.n) if design.weights is None else np.sqrt(design.weights)
    for (f, s), state, term, basis in zip(
        likelihood.structures, states, design.terms, bases, strict=True
    ):
        z = basis.apply(term.Z).T * root[:, None]
        same = rows.codes[f][:, None] == rows.codes[f]
        T = s.factor(state)
        V += (z @ T @ T.T @ z.T) * same
        dV += [(z @ t @ z.T) * same for t in s.tangents(state)]
    dV += list(whitening.dR * point.units[:, None, None])
    inverse = np.linalg.inv(V)
    X, y = rows.X.T, rows.y
    P = inverse - inverse @ X @ np.linalg.inv(X.T @ inverse @ X) @ X.T @ inverse
    W = np.column_stack([dv @ P @ y for dv in dV])
    r2 = y @ P @ y
    expected = point.likelihood.df / r2 * (W.T @ P @ W - np.outer(W.T @ P @ y, y @ P @ W) / r2)
    got = point.average_information
    r = point.n_covariance
    got[:r, :r] -= point._curvature()
    np.testing.assert_allclose(got, expected, atol=1e-8 * np.abs(expected).max())


MODELS = {
    "no random effects": "y ~ x",
    "slope": "y ~ x + (x | g)",
    "crossed": "y ~ x + (1 | g) + (x | h)",
}


def model_of(model: str, name: str, method: str = "REML"):
    rng = np.random.default_rng(5)
    n = len(DATA)
    data = DATA.assign(h=rng.permutation(n) % 4, y=rng.standard_normal(n))
    correlation, variance = STRUCTURES[name]
    design = Design.build(
        parse(MODELS[model]), data, residual=ResidualSpec(correlation, variance, ("g",))
    )
    structures = [(term.factor, term.structure) for term in design.terms]
    return design, ResidualLikelihood(WorkingRows.of(design), design.residual, structures, method)


@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.parametrize("model", MODELS)
def test_every_structure_has_the_right_criterion_and_gradient(model, name):
    design, likelihood = model_of(model, name)
    states, _ = random_point(likelihood)
    residual = likelihood.residual
    rng = np.random.default_rng(8)
    delta = residual.start + 0.3 * rng.standard_normal(residual.n_params) + 0.2
    if residual.fitted_dependent:
        residual = residual.with_covariate(design.X[:, 1], design.y)
        likelihood = likelihood.with_residual(residual)
    point, h = likelihood.at(states, delta), 1e-5
    R = residual.at(delta).multiply(np.eye(design.n))
    expected = criterion(design, user_covariances(likelihood, states), "REML", R)
    assert point.fun == pytest.approx(expected, rel=1e-9)
    steps = h * np.eye(len(point.gradient))
    numeric = [(point.move(s).fun - point.move(-s).fun) / (2 * h) for s in steps]
    np.testing.assert_allclose(point.gradient, numeric, atol=2e-6 * max(1.0, abs(point.fun)))


def test_coordinates_of_the_residuals_have_comparable_units():
    small = Pattern("y ~ x + (1 | g)").design(frame(120))
    rows = WorkingRows.of(small)
    structures = [(term.factor, term.structure) for term in small.terms]

    def hessian(size: float):
        residual = bind_residual(
            None, VarExp(form="~ v"), read_frame({"v": size * np.arange(120.0)}, ["v"])
        )
        point = ResidualLikelihood(rows, residual, structures, "REML")
        return next(iter(point.start_points())).hessian

    np.testing.assert_allclose(hessian(1e-6), hessian(1e6), rtol=1e-6)


def test_search_points_take_the_effects_along_with_the_variances():
    _, likelihood = problem(PATTERNS["slope"], "within", data=frame(120))
    design = PATTERNS["slope"].design(frame(120))
    columns = read_frame({"v": np.linspace(1.0, 50.0, 120)}, ["v"])
    residual = bind_residual(None, VarPower(form="~ v"), columns)
    structures = [(term.factor, term.structure) for term in design.terms]
    likelihood = ResidualLikelihood(WorkingRows.of(design), residual, structures, "REML")
    states, _ = random_point(likelihood)
    point, h = SearchPoint(likelihood.at(states, np.array([0.4]))), 1e-5
    steps = h * np.eye(len(point.gradient))
    numeric = [(point.move(s).fun - point.move(-s).fun) / (2 * h) for s in steps]
    np.testing.assert_allclose(point.gradient, numeric, atol=1e-6 * abs(point.fun))
    moved = point.move(np.array([0.0, 0.0, 0.0, 0.5])).evaluation
    T = [structures[0][1].factor(s[0]) for s in (states, moved.states)]
    grown = residual.mean_log_variance(moved.delta) - residual.mean_log_variance(np.array([0.4]))
    np.testing.assert_allclose(T[1] @ T[1].T, np.exp(grown) * T[0] @ T[0].T, rtol=1e-10)


def test_growth_is_the_direction_in_which_a_covariance_grows():
    for name in ("slope", "diag", "common variance", "cs", "ar1, own variances"):
        likelihood = PATTERNS[name].likelihood()
        for _, s in likelihood.structures:
            F = np.random.default_rng(0).standard_normal((s.size, s.size + 2))
            state = s.start(F @ F.T / s.size)
            T = s.factor(state)
            grown = np.einsum("r,rab->ab", s.growth(state), s.tangents(state))
            np.testing.assert_allclose(grown, T @ T.T, atol=1e-8 * np.abs(T @ T.T).max())


def test_a_crossed_model_with_correlated_residuals_ends_at_the_dense_optimum():
    fit = crossed(weights="w", variance=mf.VarExp(form="~ x"))
    core = fit.fit
    assert fit.status == "optimal"
    R = core.whitening.multiply(np.eye(core.n))
    G = [term.root @ term.root.T for term in core.estimate.terms]
    assert fit.deviance == pytest.approx(criterion(core.design, G, "REML", R), rel=1e-10)
    for scale in (0.97, 1.03):
        other = core.design.residual.at(scale * core.optimum.delta).multiply(np.eye(core.n))
        assert criterion(core.design, G, "REML", other) > fit.deviance
        assert criterion(core.design, [scale * g for g in G], "REML", R) > fit.deviance


def test_effects_many_orders_larger_than_sigma_are_searched_to_the_end():
    sleepstudy = mf.datasets.load("sleepstudy")
    fit = mf.lme("Reaction ~ Days", "~ Days | Subject", sleepstudy, weights=mf.VarPower())
    assert fit.status == "optimal"
    assert fit.theta[0] > 1e5
    point = fit.fit.evaluation
    away = point.problem.at(point.states, point.delta + 0.1)
    again = minimise(SearchPoint(away)).point
    assert again.fun == pytest.approx(fit.deviance, abs=1e-5)
