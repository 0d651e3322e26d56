from __future__ import annotations

import numpy as np
import pytest

import mixedfit as mf
from mixedfit import resampling
from mixedfit.fit import Fit, fit_design
from mixedfit.resampling import (
    case_designs,
    leave_out_designs,
    parametric_responses,
    resampled_factor,
    residual_responses,
)

from .cases import PATTERNS


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
