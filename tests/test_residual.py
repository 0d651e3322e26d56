"""Residual structures against dense matrices and central differences."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import mixedfit as mf
from mixedfit.correlation import CorAR1, CorARMA, CorCAR1, CorCompSymm, CorSymm
from mixedfit.correlation_spatial import CorExp, CorLin
from mixedfit.errors import DataError, MixedfitError, ModelError
from mixedfit.frames import read_frame
from mixedfit.residual import bind_residual, residual_variables
from mixedfit.variance_function import VarComb, VarConstPower, VarExp, VarIdent, VarPower
from tests.residual_cases import (
    CLASSES,
    DATA,
    RNG,
    STRUCTURES,
    TIED,
    bind_to_ties,
    bound,
    dense,
    random_delta,
    refused_rows,
    rows,
)


@pytest.mark.parametrize("name", STRUCTURES)
def test_verbs_agree_with_the_dense_matrix(name: str) -> None:
    structure = bound(name)
    delta = random_delta(structure)
    at, R = structure.at(delta), dense(structure, delta)
    V = RNG.standard_normal((3, structure.n))
    identity = np.eye(structure.n)
    np.testing.assert_allclose(R, R.T, atol=1e-12)
    W = at.whiten(identity).T
    np.testing.assert_allclose(W.T @ W, np.linalg.inv(R), rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(at.whiten_transposed(V), V @ W, atol=1e-10)
    L = at.multiply_root(identity).T
    np.testing.assert_allclose(L @ L.T, R, atol=1e-10)
    np.testing.assert_allclose(at.logdet, np.linalg.slogdet(R)[1], rtol=1e-10)
    np.testing.assert_allclose(at.sd, np.sqrt(np.diag(R)), rtol=1e-12)
    N = at.normalize(identity).T
    np.testing.assert_allclose(N @ R @ N.T, identity, atol=1e-9)


@pytest.mark.parametrize("name", STRUCTURES)
def test_derivatives_agree_with_central_differences(name: str) -> None:
    structure = bound(name)
    delta = random_delta(structure)
    at = structure.at(delta)
    A, B = RNG.standard_normal((2, 3, structure.n))
    derivative, adjoint, trace = at.derivative(B), at.adjoint(A, B), at.trace
    assert derivative.shape == (structure.n_params, 3, structure.n)
    assert adjoint.shape == trace.shape == (structure.n_params,)
    np.testing.assert_allclose(at.adjoint(A, A), np.einsum("mi,rmi->r", A, at.derivative(A)))
    h = 1e-5
    for i in range(structure.n_params):
        step = h * (np.arange(structure.n_params) == i)
        dR = (dense(structure, delta + step) - dense(structure, delta - step)) / (2.0 * h)
        np.testing.assert_allclose(derivative[i], B @ dR, atol=1e-8)
        np.testing.assert_allclose(adjoint[i], np.einsum("mi,ij,mj->", A, dR, B), atol=1e-7)
        slope = structure.at(delta + step).logdet - structure.at(delta - step).logdet
        np.testing.assert_allclose(trace[i], slope / (2.0 * h), atol=1e-7)


@pytest.mark.parametrize("name", STRUCTURES)
def test_start_is_inside_the_bounds_and_survives_pickling(name: str) -> None:
    structure = bound(name)
    lower, upper = structure.bounds
    assert ((lower <= structure.start) & (structure.start <= upper)).all()
    again = pickle.loads(pickle.dumps(structure))
    np.testing.assert_array_equal(dense(again, again.start), dense(structure, structure.start))
    names, values = structure.describe(structure.start)
    assert len(names) == len(values)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: "w", "must be a variance function here"),
        (lambda: VarPower, "call it"),
    ],
)
def test_what_is_no_structure_is_told(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(MixedfitError, match=message):
        bind_to_ties(make)


def test_unknown_columns_are_named() -> None:
    with pytest.raises(DataError, match="'z'"):
        read_frame(TIED, list(residual_variables(CorAR1(form="~ z | g"), None)))


@pytest.mark.parametrize(
    ("variance", "message"),
    [
        (VarExp(form="~ one"), "cannot be told from sigma"),
        (VarPower(form="~ two | s"), "cannot be told from sigma"),
        (VarComb(VarPower(form="~ x"), VarPower(form="~ I(x^2)")), "two functions say the same"),
    ],
)
def test_variances_that_cannot_be_told_apart_are_refused(variance, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ModelError, match=message):
        bind_residual(None, variance, refused_rows())


def test_correlations_reach_across_groups_only_in_lmer() -> None:
    data = mf.datasets.load("orthodont")
    across = CorCompSymm(0.01, form="~ 1 | Sex")
    with pytest.raises(DataError, match="reach across those of the random effects, 'Subject'"):
        mf.lme("distance ~ age", "~ 1 | Subject", data, correlation=across)
    fit = mf.lmer("distance ~ age + (1 | Subject)", data, correlation=across)
    assert fit.converged
    crossed = "diameter ~ 1 + (1 | plate) + (1 | sample)"
    with pytest.raises(ModelError, match="must name the groups of rows, as in '~ 1 | plate'"):
        mf.lmer(crossed, mf.datasets.load("penicillin"), correlation=CorAR1())
    with pytest.raises(ModelError, match="variance=VarPower"):
        mf.lmer("distance ~ age + (1 | Subject)", data, weights=VarPower())  # type: ignore[arg-type]


def test_strata_named_by_long_numbers_stay_apart() -> None:
    data = DATA.assign(id=10000001.0 + (DATA["s"] == "b"))
    frame = read_frame(data, list(data.columns))
    power = VarPower(0.5, form="~ v | id", fixed=True)
    assert bind_residual(None, power, frame).n_params == 0
    of_dict = VarIdent(form="~ 1 | id", fixed={10000002.0: 0.5})
    R = bind_residual(None, of_dict, frame).at(np.zeros(0))
    np.testing.assert_allclose(R.sd, np.where(data["id"] > 10000001.0, 0.5, 1.0))


def test_labels_that_stand_twice_in_a_group_are_named() -> None:
    with pytest.raises(DataError, match=r"time 'u' is 'r' in more than one row in group 'b'; give"):
        bind_residual(CorSymm(form="~ u | g"), None, read_frame(TIED, list(TIED)))


def test_structures_with_arrays_read_as_they_are_written() -> None:
    structure = VarConstPower(0.1, power=np.array([0.5, 1.0]), form="~ x | s")
    assert repr(structure) == "VarConstPower(0.1, power=array([0.5, 1. ]), form='~ x | s')"


@pytest.mark.parametrize("structure", [CorAR1, CorCAR1, CorCompSymm])
def test_a_correlation_held_where_every_group_has_one_row(structure: type) -> None:
    data = DATA.assign(i=np.arange(len(DATA)))
    held = structure(0.5, form="~ t | i", fixed=True)
    R = bind_residual(held, None, read_frame(data, list(data.columns))).at(np.zeros(0))
    np.testing.assert_allclose(R.multiply(np.eye(len(DATA))), np.eye(len(DATA)))


@pytest.mark.parametrize("call", ["VarFixed('~ I(x - 1)')", "VarPower(form='~ I(x - x)')"])
def test_covariates_are_named_as_they_are_written(call: str) -> None:
    frame = read_frame(TIED, list(TIED))
    with pytest.raises(DataError, match=r"covariate 'I\(x - [1x]\)' (must be positive|is zero)"):
        bind_residual(None, eval(call, CLASSES), frame)


@pytest.mark.parametrize("structure", [CorExp, CorLin, CorSymm, CorAR1])
def test_a_value_without_numbers_is_told(structure: type) -> None:
    with pytest.raises(ModelError, match=r"must be numbers, not \[\]"):
        structure([])


def test_times_too_far_apart_to_count_steps_are_told() -> None:
    frame = read_frame({"s": [0, 10**7, 2, 5], "g": ["a", "a", "b", "b"]}, ["s", "g"])
    with pytest.raises(DataError, match=r"times 's' of one group reach 1e\+07 apart.*longer steps"):
        bind_residual(CorARMA(form="~ s | g", p=1, q=1), None, frame)


def test_no_vectors_at_all_are_multiplied() -> None:
    data = rows()
    fit = mf.lme("x ~ 0", "~ 1 | g", data, correlation=CorAR1())
    whitening = fit.fit.whitening
    assert whitening is not None
    nothing = np.zeros((0, len(data)))
    for result in (whitening.multiply(nothing), whitening.multiply_root(nothing)):
        assert result.shape == nothing.shape
    table = fit.diagnostics.residuals()
    np.testing.assert_allclose(table["marginal"], data["x"])
