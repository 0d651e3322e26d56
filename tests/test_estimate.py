import numpy as np
import pytest

from mixedfit.fit import fit_design
from tests.cases import PATTERNS, frame
from tests.dense import relative_covariance


@pytest.fixture(scope="module", params=PATTERNS, ids=str)
def fit(request):
    return fit_design(PATTERNS[request.param].design())


@pytest.fixture(scope="module")
def dense(fit):
    """Henderson's quantities with every matrix written out."""
    design, estimate = fit.design, fit.estimate
    G = [term.root @ term.root.T for term in estimate.terms]
    V = relative_covariance(design, G)
    X = design.X
    y = design.y - (0.0 if design.offset is None else design.offset)
    V_inverse = np.linalg.inv(V)
    unscaled = np.linalg.inv(X.T @ V_inverse @ X) if X.shape[1] else np.zeros((0, 0))
    b = unscaled @ X.T @ V_inverse @ y
    return {"V_inverse": V_inverse, "unscaled": unscaled, "b": b, "e": y - X @ b, "G": G}


def test_fixed_effects_and_their_covariance(fit, dense):
    np.testing.assert_allclose(fit.estimate.beta, dense["b"], rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(
        fit.estimate.unscaled_covariance, dense["unscaled"], rtol=1e-8, atol=1e-12
    )


def test_residual_standard_deviation(fit, dense):
    r2 = dense["e"] @ dense["V_inverse"] @ dense["e"]
    assert fit.estimate.sigma == pytest.approx(np.sqrt(r2 / (fit.n - fit.p)), rel=1e-9)


def test_effects_are_G_times_the_transposed_design_times_the_scaled_residuals(fit, dense):
    scaled = dense["V_inverse"] @ dense["e"]
    for term, estimate, G in zip(fit.design.terms, fit.estimate.terms, dense["G"], strict=True):
        factor = fit.design.factors[term.factor]
        sums = np.array([np.bincount(factor.codes, z * scaled, factor.n_levels) for z in term.Z.T])
        got = fit.estimate.effects[term.factor][:, estimate.columns]
        np.testing.assert_allclose(got, (G @ sums).T, atol=1e-8)


def test_conditional_covariances(fit, dense):
    """``sigma^2 (G - G Z'V^-1 Z G)`` at the first level of each factor."""
    for f, factor in enumerate(fit.design.factors):
        parts, blocks = [], []
        for term, G in zip(fit.design.terms, dense["G"], strict=True):
            if term.factor == f:
                parts.append(term.Z * (factor.codes == 0)[:, None])
                blocks.append(G)
        Z = np.hstack(parts)
        G = np.zeros((Z.shape[1],) * 2)
        start = 0
        for block in blocks:
            G[start : start + len(block), start : start + len(block)] = block
            start += len(block)
        expected = fit.estimate.sigma**2 * (G - G @ Z.T @ dense["V_inverse"] @ Z @ G)
        np.testing.assert_allclose(fit.estimate.conditional_covariances[f][0], expected, atol=1e-8)


def test_linear_predictor_of_unknown_levels_is_zero(fit):
    effects = fit.estimate.effects
    rows = [np.ones((2, e.shape[1])) for e in effects]
    codes = [np.array([0, -1]) for _ in effects]
    expected = sum(e[0].sum() for e in effects)
    np.testing.assert_allclose(fit.estimate.linear_predictor(rows, codes), [expected, 0.0])


def test_theta_rebuilds_the_covariances():
    fit = fit_design(PATTERNS["three columns"].design(frame(600)))
    T = np.zeros((3, 3))
    columns, rows = np.triu_indices(3)
    T[rows, columns] = fit.estimate.theta
    np.testing.assert_allclose(
        fit.estimate.sigma**2 * T @ T.T, fit.estimate.covariances[0], rtol=1e-9
    )
