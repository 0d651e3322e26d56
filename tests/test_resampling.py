from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import block_diag

import mixedfit as mf
from mixedfit import resampling
from mixedfit.errors import ModelError
from mixedfit.fit import Fit, fit_design
from mixedfit.resampling import (
    case_designs,
    leave_out_designs,
    parametric_responses,
    resampled_factor,
    residual_responses,
)

from .cases import PATTERNS
from .test_conditional_residuals import OLD


def fitted(name: str) -> Fit:
    return fit_design(PATTERNS[name].design(), "REML")


def test_blocks_of_responses(monkeypatch: pytest.MonkeyPatch) -> None:
    fit = fitted("slope")
    monkeypatch.setattr(resampling, "_ROOM", 3 * fit.n)
    for draw in (parametric_responses, residual_responses):
        blocks = list(draw(fit, 8, np.random.default_rng(0)))
        assert [block.shape for block in blocks] == [(fit.n, 3), (fit.n, 3), (fit.n, 2)]


@pytest.mark.parametrize("name", ["slope", "slope, weighted, offset", "crossed slopes"])
def test_reflated_residual_responses_have_the_models_moments(name: str) -> None:
    fit = fitted(name)
    Y = np.hstack(list(residual_responses(fit, 4000, np.random.default_rng(1))))
    design, estimate = fit.design, fit.estimate
    mean = design.X @ estimate.beta + (0.0 if design.offset is None else design.offset)
    weights = np.ones(fit.n) if design.weights is None else design.weights
    variance = estimate.sigma**2 / weights
    for f, covariance in enumerate(estimate.covariances):
        Z = np.hstack([term.Z for term in design.terms if term.factor == f])
        variance = variance + np.einsum("ia,ab,ib->i", Z, covariance, Z)
    error = Y.std(axis=1) / np.sqrt(Y.shape[1])
    assert np.abs((Y.mean(axis=1) - mean) / error).max() < 5.0
    np.testing.assert_allclose(Y.var(axis=1), variance, rtol=0.2)
    assert np.mean(Y.var(axis=1) / variance) == pytest.approx(1.0, abs=0.02)


def test_reflated_effects_have_the_covariance_even_when_singular() -> None:
    rng = np.random.default_rng(0)
    effects = rng.standard_normal((20, 2))
    C = np.array([[2.0, 0.5], [0.5, 1.0]])
    made = resampling._reflated(effects, C)
    np.testing.assert_allclose(made.mean(axis=0), 0.0, atol=1e-12)
    np.testing.assert_allclose(made.T @ made / 20, C, rtol=1e-10)
    line = np.outer(
        rng.standard_normal(20), [1.0, 0.5]
    )  # effects on a line, as is their covariance
    C = np.outer([2.0, 1.0], [2.0, 1.0])
    made = resampling._reflated(line, C)
    np.testing.assert_allclose(made.T @ made / 20, C, rtol=1e-8)
    np.testing.assert_allclose(resampling._reflated(np.zeros((20, 2)), C), 0.0)


def test_cases_come_with_all_their_rows() -> None:
    design = PATTERNS["slope, weighted, offset"].design()
    (drawn,) = case_designs(design, 0, 1, np.random.default_rng(0))
    factor, own = design.factors[0], drawn.factors[0]
    assert own.n_levels == factor.n_levels
    original = {
        j: (design.y[factor.codes == j], design.weights[factor.codes == j])  # type: ignore[index]
        for j in range(factor.n_levels)
    }
    used = set()
    for j in range(own.n_levels):
        y, w = drawn.y[own.codes == j], drawn.weights[own.codes == j]  # type: ignore[index]
        source = next(i for i, (values, _) in original.items() if np.array_equal(values, y))
        np.testing.assert_array_equal(original[source][1], w)
        used.add(source)
    assert len(used) < own.n_levels  # with replacement
    assert drawn.n == len(drawn.X) == len(drawn.terms[0].Z)


def test_nested_levels_are_new_in_each_draw_and_crossed_ones_are_not() -> None:
    nested = PATTERNS["nested"].design()  # a:b, then a
    (drawn,) = case_designs(nested, 1, 1, np.random.default_rng(1))
    inner, outer = drawn.factors
    pairs = np.unique(np.column_stack([inner.codes, outer.codes]), axis=0)
    assert len(pairs) == inner.n_levels
    crossed = PATTERNS["crossed"].design()
    (drawn,) = case_designs(crossed, 0, 1, np.random.default_rng(1))
    assert drawn.factors[1].n_levels <= crossed.factors[1].n_levels


def test_leaving_out() -> None:
    design = PATTERNS["slope"].design()
    parts = list(leave_out_designs(design, 0))
    J = design.factors[0].n_levels
    assert len(parts) == J
    assert sum(design.n - part.n for part in parts) == design.n
    assert {part.factors[0].n_levels for part in parts} == {J - 1}
    assert len(list(leave_out_designs(design, 0, most=4))) == 4


def test_whose_levels_are_drawn() -> None:
    assert resampled_factor(PATTERNS["slope"].design(), None) == 0
    nested = PATTERNS["nested"].design()
    assert nested.factors[resampled_factor(nested, None)].name == "a"
    crossed = PATTERNS["crossed"].design()
    assert resampled_factor(crossed, "h") == 1
    with pytest.raises(mf.ModelError, match="'g', 'h' are crossed: say whose levels"):
        resampled_factor(crossed, None)
    with pytest.raises(mf.ModelError, match="group must be one of 'g', 'h', not 'q'"):
        resampled_factor(crossed, "q")


STRUCTURES = [
    (mf.CorAR1(form="~ t | g"), mf.VarIdent(form="~ 1 | s")),
    (mf.CorCompSymm(form="~ 1 | g"), mf.VarConstPower(form="~ x | s")),
    (mf.CorExp(form="~ t | g"), mf.VarComb(mf.VarIdent(form="~ 1 | s"), mf.VarExp(form="~ x"))),
    (None, mf.VarPower(form="~ x")),
]


@pytest.mark.parametrize(("correlation", "variance"), STRUCTURES)
def test_drawn_groups_keep_their_residual_covariance(correlation, variance) -> None:  # type: ignore[no-untyped-def]
    design = mf.lme("y ~ x", "~ 1 | g", OLD, correlation=correlation, weights=variance).fit.design
    delta = np.full(design.residual.n_params, 0.4)
    R = design.residual.at(delta).multiply(np.eye(design.n))
    rng = np.random.default_rng(4)
    (drawn,) = case_designs(design, 0, 1, rng)
    J = design.factors[0].n_levels
    chosen = np.random.default_rng(4).integers(0, J, J)
    assert len(set(chosen)) < J
    rows = [np.flatnonzero(design.factors[0].codes == j) for j in chosen]
    expected = block_diag(*(R[np.ix_(own, own)] for own in rows))
    got = drawn.residual.at(delta).multiply(np.eye(drawn.n))
    np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-12)
    names = design.residual.describe(delta)[0]
    assert drawn.residual.describe(delta)[0] == names


def test_groups_of_correlated_residuals_are_units() -> None:
    alone = mf.gls("y ~ x", OLD, correlation=mf.CorAR1(form="~ t | g")).fit.design
    assert resampled_factor(alone, None) == resampled_factor(alone, "g") == -1
    assert next(case_designs(alone, -1, 1, np.random.default_rng(0))).n == alone.n
    with pytest.raises(ModelError, match="must be one of 'g', not 'h'"):
        resampled_factor(alone, "h")
    across = mf.lmer("y ~ x + (1 | s)", OLD, correlation=mf.CorAR1(form="~ t | g")).fit.design
    with pytest.raises(ModelError, match="correlated across levels of 's'"):
        resampled_factor(across, "s")
    one = mf.gls("y ~ x", OLD, weights=mf.VarPower(form="~ x")).fit.design
    with pytest.raises(ModelError, match="no levels to draw"):
        resampled_factor(one, None)


def test_whitened_residuals_are_drawn_and_coloured() -> None:
    fit = mf.gls(
        "y ~ x", OLD, correlation=mf.CorAR1(form="~ t | g"), weights=mf.VarIdent(form="~ 1 | s")
    ).fit
    Y = np.hstack(list(residual_responses(fit, 4000, np.random.default_rng(2))))
    assert fit.whitening is not None
    R = fit.estimate.sigma**2 * fit.whitening.multiply(np.eye(fit.n))[:6, :6]
    np.testing.assert_allclose(np.cov(Y[:6]), R, atol=0.08 * R.max())
    np.testing.assert_allclose(Y.mean(axis=1), fit.design.X @ fit.estimate.beta, atol=0.1)


def test_levels_that_one_group_of_residuals_joins_are_no_units() -> None:
    data = OLD.assign(one="all", order=np.arange(len(OLD)))
    across = mf.CorAR1(form="~ order | one")
    joined = mf.lmer("y ~ x + (1 | g)", data, correlation=across).fit.design
    with pytest.raises(ModelError, match="correlated across levels of 'g'"):
        resampled_factor(joined, None)


def test_drawn_designs_hold_the_covariates_of_their_rows() -> None:
    design = mf.lmer("y ~ x + (1 | g)", OLD.iloc[:-3]).fit.design
    for drawn in case_designs(design, 0, 3, np.random.default_rng(4)):
        assert drawn.frame is not None
        np.testing.assert_array_equal(drawn.frame["x"], drawn.X[:, 1])
