from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mixedfit as mf
from mixedfit import lockstep
from mixedfit.fit import Fit, fit_design, refit
from mixedfit.lockstep import ManyFits, refit_many
from mixedfit.moments import (
    moment_covariances,
    moment_covariances_of_many,
    moment_matrix,
    moment_right,
)
from mixedfit.predict import simulate

from . import references
from .cases import PATTERNS

IN_STEP = [
    "intercept",
    "slope",
    "slope, weighted, offset",
    "three columns",
    "four columns",
    "no fixed effects",
    "double bar",
    "diag",
    "common variance",
]


def fitted(name: str, method: str = "REML") -> Fit:
    return fit_design(PATTERNS[name].design(), method)  # type: ignore[arg-type]


def agree(many: ManyFits, each: ManyFits, scale: float) -> None:
    """The same optima: criterion to rounding, estimates as near as that determines them."""
    np.testing.assert_allclose(many.fun, each.fun, rtol=0, atol=1e-8)
    np.testing.assert_array_equal(many.singular, each.singular)
    np.testing.assert_allclose(many.beta, each.beta, rtol=1e-5, atol=1e-5 * scale)
    np.testing.assert_allclose(many.sigma, each.sigma, rtol=1e-5)
    for ours, theirs in zip(many.covariances, each.covariances, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * scale**2)
    assert many.converged.all()


@pytest.mark.parametrize(
    ("name", "method"), [*((name, "REML") for name in IN_STEP), ("three columns", "ML")]
)
def test_the_same_as_refits(name: str, method: str) -> None:
    fit = fitted(name, method)
    assert lockstep._in_step(fit)
    Y = simulate(fit, 12, 1).to_numpy()
    noise = np.random.default_rng(2).standard_normal((fit.n, 12))  # many singular fits
    for responses in (Y, noise):
        many = refit_many(fit, responses)
        each = ManyFits.of([refit(fit, y) for y in responses.T])
        agree(many, each, float(responses.std()))


def test_balanced_data_with_many_singular_fits() -> None:
    fit = mf.lmer("Reaction ~ Days + (Days | Subject)", references.data("sleepstudy")).fit
    rng = np.random.default_rng(3)
    u = rng.standard_normal((18, 60)) * 10.0
    Y = 250.0 + 25.0 * rng.standard_normal((180, 60)) + u[fit.design.factors[0].codes]
    many = refit_many(fit, Y)
    assert 0.3 < many.singular.mean() < 1.0
    agree(many, ManyFits.of([refit(fit, y) for y in Y.T]), 25.0)


def test_a_singular_fit_is_no_trap() -> None:
    fit = fitted("slope")
    rng = np.random.default_rng(4)
    noise = rng.standard_normal((fit.n, 40))
    singular = next(f for f in (refit(fit, y) for y in noise.T) if f.optimum.singular)
    Y = simulate(fit, 20, 5).to_numpy()
    agree(refit_many(singular, Y), refit_many(fit, Y), float(Y.std()))


@pytest.mark.parametrize("name", ["nested", "crossed", "cs"])
def test_other_designs_are_refitted_one_by_one(name: str) -> None:
    fit = fitted(name)
    assert not lockstep._in_step(fit)
    Y = simulate(fit, 3, 1).to_numpy()
    many = refit_many(fit, Y)
    assert many.fun.tolist() == [refit(fit, y).optimum.fun for y in Y.T]


def test_blocks_of_responses(monkeypatch: pytest.MonkeyPatch) -> None:
    fit = fitted("slope")
    Y = simulate(fit, 40, 1).to_numpy()
    whole = refit_many(fit, Y)
    told: list[int] = []
    monkeypatch.setattr(lockstep, "_ROOM", 1)
    parts = refit_many(fit, Y, told.append)
    assert told == [16, 32, 40]
    np.testing.assert_allclose(parts.fun, whole.fun, atol=1e-9)
    assert len(parts) == 40


def test_those_that_do_not_converge_in_step_are_refitted(monkeypatch: pytest.MonkeyPatch) -> None:
    fit = fitted("slope")
    Y = simulate(fit, 10, 1).to_numpy()
    whole = refit_many(fit, Y)
    monkeypatch.setattr(lockstep, "_MAX_STEPS", 2)
    np.testing.assert_allclose(refit_many(fit, Y).fun, whole.fun, atol=1e-8)


def test_the_fits_own_response() -> None:
    fit = fitted("slope, weighted, offset")
    many = refit_many(fit, fit.design.y[:, None])
    assert many.fun[0] == pytest.approx(fit.optimum.fun, abs=1e-8)
    np.testing.assert_allclose(many.beta[0], fit.estimate.beta, rtol=1e-6)
    np.testing.assert_allclose(many.covariances[0][0], fit.estimate.covariances[0], rtol=1e-4)


@settings(max_examples=10, deadline=None)
@given(st.floats(-1e6, 1e6), st.floats(1e-4, 1e4), st.integers(0, 100))
def test_shift_and_scale(shift: float, scale: float, seed: int) -> None:
    fit = fitted("slope")
    Y = simulate(fit, 4, seed).to_numpy()
    base, other = refit_many(fit, Y), refit_many(fit, shift + scale * Y)
    np.testing.assert_array_equal(base.singular, other.singular)
    np.testing.assert_allclose(other.sigma, scale * base.sigma, rtol=1e-4)
    np.testing.assert_allclose(
        other.beta[:, 1], scale * base.beta[:, 1], rtol=1e-4, atol=1e-4 * scale
    )


def test_of_several_minima_the_better_is_taken() -> None:
    rng = np.random.default_rng(0)
    g, x = np.repeat(np.arange(4), 4), rng.standard_normal(16)
    u = rng.standard_normal((4, 2, 400))
    Y = rng.standard_normal((16, 400)) + u[g, 0] + u[g, 1] * x[:, None]
    fit = mf.lmer("y ~ x + (x | g)", {"y": Y[:, 0], "x": x, "g": g}).fit
    many = refit_many(fit, Y)
    each = ManyFits.of([refit(fit, y) for y in Y.T])
    assert (many.fun > each.fun + 1e-6).sum() <= (many.fun < each.fun - 1e-6).sum()
    assert (np.abs(many.fun - each.fun) < 1e-6).mean() > 0.98


@pytest.mark.parametrize("name", ["slope", "diag", "common variance"])
def test_searches_start_where_refits_do(name: str) -> None:
    fit = fitted(name)
    Y = simulate(fit, 3, 1).to_numpy()
    shared = lockstep._Shared(fit)
    responses = lockstep._Responses.of(fit, shared, Y)
    like = shared.like
    unit = like.tangents(like.unit)
    G = moment_covariances_of_many(
        like.products, unit[0], moment_matrix(like.products, unit), responses.Zy, responses.yy
    )
    for y, own in zip(Y.T, G, strict=True):
        other = like.with_response(fit.rows.with_response(fit.design.with_response(y)))
        matrix, right = moment_matrix(other.products, unit), moment_right(other.products, unit)
        (want,) = moment_covariances(other.products, unit, matrix, right)
        np.testing.assert_allclose(own, want, rtol=1e-7, atol=1e-10)


def test_bad_responses() -> None:
    fit = fitted("slope")
    Y = simulate(fit, 2, 0).to_numpy().copy()
    with pytest.raises(mf.DataError, match="240 rows, one a row used, not shape \\(239, 2\\)"):
        refit_many(fit, Y[1:])
    with pytest.raises(mf.DataError, match="at least one"):
        refit_many(fit, Y[:, :0])
    Y[3, 1] = np.nan
    with pytest.raises(mf.DataError, match="finite"):
        refit_many(fit, Y)
    with pytest.raises(mf.DataError, match="explain a response exactly"):
        refit_many(fit, np.ones((fit.n, 1)))
