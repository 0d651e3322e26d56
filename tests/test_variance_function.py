"""Variance functions: formulas, nlme, strata, bad input."""

from __future__ import annotations

import numpy as np
import pytest

import mixedfit as mf
from mixedfit.errors import MixedfitError, ModelError
from mixedfit.frames import read_frame
from mixedfit.residual import bind_residual
from mixedfit.variance_function import VarComb, VarConstPower, VarExp, VarFixed, VarIdent, VarPower
from tests.residual_cases import CLASSES, NLME, bind_to_ties, refused_rows
from tests.residual_fits import DATA


def test_variances_by_their_formulas() -> None:
    data = {"x": [1.0, -2.0, 4.0, 0.5], "s": ["b", "a", "b", "a"]}
    frame = read_frame(data, ["x", "s"])
    x = np.array(data["x"])
    expected = [
        (VarPower(0.7, form="~ x"), np.abs(x) ** 0.7),
        (VarPower({"a": 0.7, "b": 0.1}, form="~ x | s"), np.abs(x) ** [0.1, 0.7, 0.1, 0.7]),
        (VarExp(0.3, form="~ x"), np.exp(0.3 * x)),
        (VarConstPower(0.5, 0.7, form="~ x"), 0.5 + np.abs(x) ** 0.7),
        (VarFixed("~ I(x^2)"), np.abs(x)),
        (VarIdent({"a": 2.0}, form="~ 1 | s"), [1.0, 2.0, 1.0, 2.0]),
        (VarIdent({"b": 2.0}, form="~ 1 | s"), [2.0, 1.0, 2.0, 1.0]),
        (VarIdent(3.0, form="~ 1 | s"), [1.0, 3.0, 1.0, 3.0]),
    ]
    for function, sd in expected:
        structure = bind_residual(None, function, frame)
        assert structure is not None
        np.testing.assert_allclose(structure.at(structure.start).sd, sd, err_msg=repr(function))


def test_reference_stratum_is_the_first_in_group_order() -> None:
    data = {"g": [2, 1, 2, 1, 3, 3], "s": ["u", "w", "v", "v", "u", "w"]}
    frame = read_frame(data, ["g", "s"])
    in_data = bind_residual(None, VarIdent(form="~ 1 | s"), frame)
    in_groups = bind_residual(None, VarIdent(form="~ 1 | s"), frame, ("g",))
    assert in_data is not None
    assert in_groups is not None
    assert in_data.describe(in_data.start)[0] == ["w", "v"]
    assert in_groups.describe(in_groups.start)[0] == ["v", "u"]


def test_covariates_from_the_fit_are_renewed() -> None:
    frame = read_frame({"s": ["a", "b", "b"]}, ["s"])
    structure = bind_residual(None, VarPower(0.5, form="~ fitted(.) | s"), frame)
    assert structure is not None
    assert structure.fitted_dependent
    np.testing.assert_array_equal(structure.at(structure.start).sd, 1.0)
    fitted = np.array([4.0, -9.0, 16.0])
    renewed = structure.with_covariate(fitted, fitted)
    np.testing.assert_allclose(renewed.at(renewed.start).sd, [2.0, 3.0, 4.0])


@pytest.mark.parametrize("call", NLME["variances"])
def test_variances_agree_with_nlme(call: str) -> None:
    frame = read_frame(NLME["data"], list(NLME["data"]))
    structure = bind_residual(None, eval(call, CLASSES), frame, ("g",))
    assert structure is not None
    expected = NLME["variances"][call]
    np.testing.assert_allclose(structure.at(structure.start).sd, expected["sd"], rtol=1e-12)
    names, values = structure.describe(structure.start)
    np.testing.assert_allclose(values, expected["coef"] or [], rtol=1e-12)
    np.testing.assert_allclose(structure.start, expected["unconstrained"] or [], rtol=1e-12)
    named = [name for one in expected["names"] for name in one]
    assert not named or names == named


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VarPower(form="~ x"), "'x' is zero in 1 of 4 rows"),
        (lambda: VarFixed("~ x"), "must be positive"),
        (lambda: VarPower(fixed=True), "needs the value to hold"),
        (lambda: VarPower(form="~ 1 | g"), "needs a covariate"),
        (VarIdent, "needs strata"),
        (lambda: VarIdent(form="~ x | g"), "has no covariate"),
        (lambda: VarIdent({"z": 2.0}, form="~ 1 | g"), "names 'z', but the strata are 'a', 'b'"),
        (lambda: VarIdent({"a": 2.0, "b": 1.0}, form="~ 1 | g"), "left as the reference"),
        (lambda: VarIdent({"a": -2.0}, form="~ 1 | g"), "positive and finite"),
        (lambda: VarPower([0.1, 0.2, 0.3], form="~ t | g"), "3 numbers for 2 strata"),
        (lambda: VarConstPower(form="~ t", fixed={"expon": 1.0}), "'const', 'power' or both"),
        (VarComb, "takes variance functions"),
    ],
)
def test_bad_variances_are_told(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(MixedfitError, match=message):
        bind_to_ties(make)


def test_a_stratum_of_one_row_has_no_variance() -> None:
    with pytest.raises(ModelError, match="stratum '0' has one row"):
        bind_residual(None, VarIdent(form="~ 1 | i"), refused_rows())


def test_known_variances_are_precision_weights():
    weighted = mf.lmer("y ~ x + (x | g)", DATA, weights="w")
    fixed = mf.lmer("y ~ x + (x | g)", DATA, variance=mf.VarFixed("~ v"))
    assert fixed.llf == pytest.approx(weighted.llf, abs=1e-8)
    np.testing.assert_allclose(fixed.params, weighted.params, rtol=1e-6)
    np.testing.assert_allclose(fixed.residuals("pearson"), weighted.residuals("pearson"), atol=1e-5)
    assert fixed.n_params == weighted.n_params
