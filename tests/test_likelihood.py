import numpy as np
import pytest

from mixedfit.errors import ModelError
from mixedfit.likelihood import Likelihood
from tests.cases import PATTERNS, Pattern, frame
from tests.dense import criterion


def random_states(likelihood: Likelihood, seed: int = 0):
    rng = np.random.default_rng(seed)
    out = []
    for _, structure in likelihood.structures:
        F = rng.standard_normal((structure.size, structure.size + 2))
        out.append(structure.start(F @ F.T / structure.size))
    return tuple(out)


@pytest.fixture(params=PATTERNS.values(), ids=PATTERNS)
def pattern(request):
    return request.param


@pytest.fixture(params=["REML", "ML"])
def method(request):
    return request.param


def test_criterion_is_the_density_of_the_multivariate_normal(pattern, method):
    design, likelihood = pattern.design(), pattern.likelihood(method)
    states = random_states(likelihood)
    user = []
    for (_, structure), state, basis in zip(
        likelihood.structures, states, likelihood.products.basis.random, strict=True
    ):
        T = basis.total @ structure.factor(state)
        user.append(T @ T.T)
    expected = criterion(design, user, method)
    assert likelihood.at(states).fun == pytest.approx(expected, rel=1e-10)


def test_gradient_agrees_with_central_differences(pattern, method):
    likelihood = pattern.likelihood(method)
    point, h = likelihood.at(random_states(likelihood)), 1e-5
    steps = h * np.eye(likelihood.n_params)
    numeric = [(point.move(s).fun - point.move(-s).fun) / (2 * h) for s in steps]
    np.testing.assert_allclose(point.gradient, numeric, atol=1e-6 * max(1.0, abs(point.fun)))


def second_differences(point, h):
    steps = h * np.eye(len(point.gradient))
    return np.array(
        [
            [
                (
                    point.move(s + t).fun
                    - point.move(s - t).fun
                    - point.move(t - s).fun
                    + point.move(-s - t).fun
                )
                / (4 * h * h)
                for t in steps
            ]
            for s in steps
        ]
    )


def test_hessian_agrees_with_central_differences_of_the_criterion(pattern, method):
    likelihood = pattern.likelihood(method)
    point = likelihood.at(random_states(likelihood))
    coarse, fine = second_differences(point, 4e-3), second_differences(point, 2e-3)
    extrapolated = (4.0 * fine - coarse) / 3.0
    tolerance = 1e-4 * np.abs(extrapolated).max() + 1e-3
    np.testing.assert_allclose(point.hessian, extrapolated, atol=tolerance)


def test_average_information_is_close_to_the_hessian_at_a_good_fit():
    likelihood = PATTERNS["slope"].likelihood(data=frame(4000))
    from mixedfit.optimize import minimise  # noqa: PLC0415

    point = minimise(likelihood.at(next(likelihood.starts()))).point
    ratio = np.linalg.solve(point.hessian, point.average_information)
    np.testing.assert_allclose(np.linalg.eigvals(ratio).real, 1.0, atol=0.8)


def test_average_information_is_the_gram_matrix_of_the_working_variates(pattern, method):
    design, likelihood = pattern.design(), pattern.likelihood(method)
    states = random_states(likelihood)
    point = likelihood.at(states)
    basis = likelihood.products.basis
    Z = [b.apply(term.Z).T for b, term in zip(basis.random, design.terms, strict=True)]
    n = design.n
    root = np.ones(n) if design.weights is None else np.sqrt(design.weights)
    X = basis.fixed.apply(design.X).T
    y = (
        design.y - (0.0 if design.offset is None else design.offset) - X @ basis.coefficients
    ) * root
    y /= basis.scale
    X = X * root[:, None]
    same = [f.codes[:, None] == f.codes for f in design.factors]
    V, dV = np.eye(n), []
    for (factor, structure), state, z in zip(likelihood.structures, states, Z, strict=True):
        zw = z * root[:, None]
        T = structure.factor(state)
        V += (zw @ T @ T.T @ zw.T) * same[factor]
        dV += [(zw @ t @ zw.T) * same[factor] for t in structure.tangents(state)]
    inverse = np.linalg.inv(V)
    P = inverse - inverse @ X @ np.linalg.pinv(X.T @ inverse @ X) @ X.T @ inverse
    W = np.column_stack([dv @ P @ y for dv in dV])
    r2 = y @ P @ y
    expected = likelihood.df / r2 * (W.T @ P @ W - np.outer(W.T @ P @ y, y @ P @ W) / r2)
    got = point.average_information - point._curvature()
    np.testing.assert_allclose(got, expected, atol=1e-7 * np.abs(expected).max())


def test_remainder_tangents_are_the_derivatives_of_the_remainder(pattern):
    likelihood = pattern.likelihood()
    point, h = likelihood.at(random_states(likelihood)), 1e-5
    for step, tangent in zip(
        h * np.eye(likelihood.n_params), point.remainder_tangents, strict=True
    ):
        numeric = (point.move(step).eliminated.S - point.move(-step).eliminated.S) / (2 * h)
        np.testing.assert_allclose(tangent, numeric, atol=1e-6 * np.abs(numeric).max() + 1e-6)


def test_moment_start_is_near_the_optimum_in_a_balanced_design():
    rng = np.random.default_rng(0)
    data = frame(2000)
    data["g"] = np.arange(2000) % 100
    data["y"] = 2.0 * rng.standard_normal(100)[data["g"]] + rng.standard_normal(2000)
    likelihood = PATTERNS["intercept"].likelihood(data=data)
    start = next(likelihood.starts())[0]
    assert start[0] == pytest.approx(2.0, rel=0.2)


def test_terms_of_one_factor_interleaved_with_another_keep_their_own_coordinates():
    pattern = Pattern("y ~ x + (1 | g) + (1 | h) + (0 + x | g) + (0 + z | h)")
    likelihood = pattern.likelihood()
    assert likelihood.by_term is None  # sorted by number of levels, g's terms stand together
    data = frame().assign(h=frame()["g"].to_numpy()[::-1].copy())
    mixed = pattern.likelihood(data=data)
    assert mixed.by_term is not None
    point, h = mixed.at(random_states(mixed)), 1e-5
    numeric = [
        (point.move(s).fun - point.move(-s).fun) / (2 * h) for s in h * np.eye(mixed.n_params)
    ]
    np.testing.assert_allclose(point.gradient, numeric, atol=1e-4)


def test_a_model_that_reproduces_every_row_is_refused():
    likelihood = PATTERNS["intercept"].likelihood()
    huge = tuple(
        structure.start(np.eye(structure.size) * 1e300) for _, structure in likelihood.structures
    )
    with pytest.raises(ModelError), np.errstate(all="ignore"):
        likelihood.at(huge)
