"""Variance functions over rows: formulas, derivatives, strata, covariates of the fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mixedfit.variance_kernels import BoundVariance, ConstPower, LogLinear, Product

RNG = np.random.default_rng(9)
STRATA = np.array([0, 1, 2, 1, 0, 2, 1, 0])
V = np.array([0.5, 2.0, 1.0, 3.0, 0.2, 0.0, 1.5, 4.0])
NAN = np.nan

POWER = LogLinear(np.zeros(2), ("a", "c"), np.array([NAN, 0.3, NAN]), STRATA, np.log(V + 0.1))
RATIOS = LogLinear(
    np.zeros(2), ("b", "c"), np.array([0.0, NAN, NAN]), STRATA, np.ones(8), exponentiate=True
)
KNOWN = LogLinear(np.zeros(0), (), np.zeros(0), STRATA, None, base=0.5 * np.log(V + 1.0))
CONST = ConstPower(
    np.zeros(4),
    ("const.a", "const.c", "power.a", "power.b"),
    np.array([NAN, np.log(0.4), NAN]),
    np.array([NAN, NAN, 1.5]),
    STRATA,
    V,
)
FUNCTIONS: dict[str, BoundVariance] = {
    "power": POWER,
    "ratios": RATIOS,
    "known": KNOWN,
    "constant and power": CONST,
    "product": Product((POWER, KNOWN, CONST), ("A", "B", "C")),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_derivatives_are_central_differences(name: str) -> None:
    function, h = FUNCTIONS[name], 1e-6
    delta = RNG.normal(0.1, 0.5, function.n_params)
    _, derivatives = function.log_sd(delta)
    assert derivatives.shape == (function.n_params, 8)
    for row, step in zip(derivatives, h * np.eye(len(delta)), strict=True):
        numeric = (function.log_sd(delta + step)[0] - function.log_sd(delta - step)[0]) / (2 * h)
        np.testing.assert_allclose(row, numeric, atol=1e-8)


def test_standard_deviations_are_their_formulas() -> None:
    delta = np.array([0.7, -0.2])
    powers = np.array([0.7, 0.3, -0.2])[STRATA]
    np.testing.assert_allclose(np.exp(POWER.log_sd(delta)[0]), (V + 0.1) ** powers)
    ratios = np.array([1.0, np.exp(0.7), np.exp(-0.2)])
    np.testing.assert_allclose(np.exp(RATIOS.log_sd(delta)[0]), ratios[STRATA])
    np.testing.assert_allclose(RATIOS.natural(delta)[1], ratios[1:])
    np.testing.assert_allclose(np.exp(KNOWN.log_sd(np.zeros(0))[0]) ** 2, V + 1.0)
    delta = np.array([np.log(2.0), np.log(0.1), 0.5, 1.0])
    const, power = np.array([2.0, 0.4, 0.1])[STRATA], np.array([0.5, 1.0, 1.5])[STRATA]
    # 0**1.5 is 0: a zero covariate leaves the constant alone.
    np.testing.assert_allclose(np.exp(CONST.log_sd(delta)[0]), const + V**power)
    np.testing.assert_allclose(CONST.natural(delta)[1], [2.0, 0.1, 0.5, 1.0])


def test_a_product_multiplies_and_splits_its_coordinates() -> None:
    product = FUNCTIONS["product"]
    delta = RNG.normal(0.0, 0.4, 6)
    parts = [POWER.log_sd(delta[:2])[0], KNOWN.log_sd(delta[:0])[0], CONST.log_sd(delta[2:])[0]]
    np.testing.assert_allclose(np.exp(product.log_sd(delta)[0]), np.exp(parts).prod(axis=0))
    names, values = product.natural(delta)
    assert names == ["A.a", "A.c", "C.const.a", "C.const.c", "C.power.a", "C.power.b"]
    np.testing.assert_allclose(values, [*delta[:2], *np.exp(delta[2:4]), *delta[4:]])
    np.testing.assert_array_equal(product.start, np.zeros(6))
    assert all(len(side) == 6 for side in product.bounds)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_rows_taken_keep_their_standard_deviations(name: str) -> None:
    function, rows = FUNCTIONS[name], np.array([6, 0, 0, 3])
    delta = RNG.normal(0.1, 0.5, function.n_params)
    log_sd, derivatives = function.log_sd(delta)
    taken = function.take(rows).log_sd(delta)
    np.testing.assert_array_equal(taken[0], log_sd[rows])
    np.testing.assert_array_equal(taken[1], derivatives[:, rows])


def test_covariates_of_the_fit_come_from_where_they_are_asked_of() -> None:
    fitted, resid = RNG.normal(5.0, 2.0, 8), RNG.normal(0.0, 2.0, 8)
    by_mean = replace(POWER, x=None, from_fit="fitted", logarithm=True)
    by_residual = replace(CONST, size=None, from_fit="resid")
    delta = np.array([0.7, -0.2])
    # All rows are alike until the fit is known.
    np.testing.assert_array_equal(by_mean.log_sd(delta)[0], 0.0)
    np.testing.assert_array_equal(by_residual.log_sd(np.zeros(4))[0], 0.0)
    both = Product((by_mean, by_residual), ("A", "B"))
    assert both.from_fit == "resid"
    renewed = both.with_covariate(fitted, resid)
    delta = np.array([0.7, -0.2, 0.1, 0.2, 0.5, 1.0])
    power = np.abs(fitted) ** np.array([0.7, 0.3, -0.2])[STRATA]
    const = np.exp(np.array([0.1, np.log(0.4), 0.2]))[STRATA]
    added = const + np.abs(resid) ** np.array([0.5, 1.0, 1.5])[STRATA]
    np.testing.assert_allclose(np.exp(renewed.log_sd(delta)[0]), power * added)
    assert POWER.with_covariate(fitted, resid) is POWER


def test_a_negative_power_of_a_zero_covariate_is_refused() -> None:
    free = replace(CONST, held_power=np.array([NAN, NAN, NAN]))
    with pytest.raises(np.linalg.LinAlgError, match="infinite"):
        free.log_sd(np.array([0.0, 0.0, 0.5, 0.5, -1.0]))


def test_other_coordinates_worth_a_look_have_both_signs_and_are_usable() -> None:
    positive = replace(CONST, size=V + 0.1)
    looked_at = positive.elsewhere
    assert {np.sign(delta[-1]) for delta in looked_at} == {-1.0, 1.0}
    assert all(np.isfinite(positive.log_sd(delta)[0]).all() for delta in looked_at)
    assert replace(CONST, size=None).elsewhere == []
