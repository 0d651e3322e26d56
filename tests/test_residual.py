"""Residual structures against dense matrices and central differences."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mixedfit as mf
from mixedfit.correlation import CorAR1, CorARMA, CorCAR1, CorCompSymm, CorSymm
from mixedfit.correlation_spatial import CorExp, CorGaus, CorLin, CorRatio, CorSpher
from mixedfit.errors import DataError, MixedfitError, ModelError
from mixedfit.frames import read_frame
from mixedfit.residual import ResidualStructure, bind_residual, residual_variables
from mixedfit.variance_function import (
    VarComb,
    VarConstPower,
    VarExp,
    VarFixed,
    VarIdent,
    VarPower,
)

RNG = np.random.default_rng(20)


def rows() -> pd.DataFrame:
    """Groups of unequal sizes, interleaved, times with gaps and out of order."""
    parts = []
    for g, size in enumerate([4, 1, 3, 4, 5, 5, 3, 4]):
        t = np.sort(RNG.choice(7, size, replace=False)) if g % 2 else np.arange(size)
        parts.append(pd.DataFrame({"g": f"g{g}", "t": t, "visit": np.arange(size)}))
    data = pd.concat(parts, ignore_index=True).sample(frac=1.0, random_state=3)
    n = len(data)
    return data.assign(
        x=RNG.uniform(0.5, 3.0, n),
        v=RNG.uniform(0.5, 3.0, n),
        s=np.where(RNG.random(n) < 0.5, "a", "b"),
        r=np.where(RNG.random(n) < 0.5, "p", "q"),
    ).reset_index(drop=True)


DATA = rows()

STRUCTURES = {
    "ar1": (CorAR1(form="~ t | g"), None),
    "ar1 rows in order": (CorAR1(form="~ 1 | g"), None),
    "car1": (CorCAR1(form="~ x | g"), None),
    "arma(1,0)": (CorARMA(form="~ t | g", p=1), None),
    "arma(2,0)": (CorARMA(form="~ t | g", p=2), None),
    "arma(0,2)": (CorARMA(form="~ t | g", q=2), None),
    "arma(1,2)": (CorARMA(form="~ t | g", p=1, q=2), None),
    "arma(3,1)": (CorARMA(form="~ t | g", p=3, q=1), None),
    "compsymm": (CorCompSymm(form="~ 1 | g"), None),
    "symm": (CorSymm(form="~ visit | g"), None),
    "exp": (CorExp(form="~ x + v | g"), None),
    "exp nugget": (CorExp(form="~ x + v | g", nugget=True, metric="manhattan"), None),
    "exp one group": (CorExp(form="~ x + v"), None),
    "gaus": (CorGaus(form="~ x + v | g", nugget=True, metric="maximum"), None),
    "lin": (CorLin(form="~ t | g", nugget=True), None),
    "ratio": (CorRatio(form="~ x | g"), None),
    "spher": (CorSpher(form="~ t | g", nugget=True), None),
    "ident": (None, VarIdent(form="~ 1 | s*r")),
    "power": (None, VarPower(form="~ x")),
    "power by strata": (None, VarPower(form="~ x | s")),
    "exponential": (None, VarExp(form="~ x | s", fixed={"a": 0.3})),
    "constpower": (None, VarConstPower(form="~ x | s")),
    "constpower, power fixed": (None, VarConstPower(form="~ x", fixed={"power": 0.5})),
    "fixed": (None, VarFixed("~ x")),
    "comb": (None, VarComb(VarIdent(form="~ 1 | s"), VarPower(form="~ x"), VarFixed("~ v"))),
    "symm with ident": (CorSymm(form="~ visit | g"), VarIdent(form="~ 1 | visit")),
    "car1 with comb": (
        CorCAR1(form="~ x | g"),
        VarComb(VarIdent(form="~ 1 | s"), VarExp(form="~ v")),
    ),
    "compsymm with constpower": (CorCompSymm(form="~ 1 | g"), VarConstPower(form="~ v")),
    "fixed ar1 with power": (CorAR1(0.4, form="~ t | g", fixed=True), VarPower(form="~ x")),
}


def bound(name: str, weights: np.ndarray | None = None) -> ResidualStructure:
    correlation, variance = STRUCTURES[name]
    frame = read_frame(DATA, list(DATA.columns))
    structure = bind_residual(correlation, variance, frame, ("g",), weights)
    assert structure is not None
    return structure


def random_delta(structure: ResidualStructure) -> np.ndarray:
    return structure.start + 0.4 * RNG.standard_normal(structure.n_params) + 0.2


def dense(structure: ResidualStructure, delta: np.ndarray) -> np.ndarray:
    return structure.at(delta).multiply(np.eye(structure.n))


@pytest.mark.parametrize("name", STRUCTURES)
def test_verbs_agree_with_the_dense_matrix(name: str) -> None:
    structure = bound(name, weights=DATA["v"].to_numpy())
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


def test_correlations_by_their_formulas() -> None:
    data = {"t": [1.0, 2.0, 4.0], "g": ["a", "a", "a"]}
    frame = read_frame(data, ["t", "g"])
    apart = np.abs(np.subtract.outer(data["t"], data["t"]))
    expected = {
        CorAR1(-0.4, form="~ t | g"): (-0.4) ** apart,
        CorCAR1(0.3, form="~ t | g"): 0.3**apart,
        CorCompSymm(-0.2, form="~ 1 | g", fixed=True): np.where(apart > 0, -0.2, 1.0),
        CorExp(2.0, form="~ t | g"): np.exp(-apart / 2.0),
        CorGaus(2.0, form="~ t | g"): np.exp(-((apart / 2.0) ** 2)),
        CorLin(2.5, form="~ t | g"): np.maximum(1.0 - apart / 2.5, 0.0),
        CorRatio(2.0, form="~ t | g"): 1.0 / (1.0 + (apart / 2.0) ** 2),
        CorSpher(2.5, form="~ t | g"): np.where(
            apart < 2.5, 1.0 - 1.5 * apart / 2.5 + 0.5 * (apart / 2.5) ** 3, 0.0
        ),
    }
    for structure, R in expected.items():
        structure_bound = bind_residual(structure, None, frame)
        assert structure_bound is not None
        np.testing.assert_allclose(
            structure_bound.at(structure_bound.start).multiply(np.eye(3)),
            R,
            atol=1e-12,
            err_msg=repr(structure),
        )


def test_arma_correlations_follow_the_infinite_moving_average() -> None:
    phi, theta = [0.5, -0.3], [0.4, 0.2, -0.3]
    frame = read_frame({"g": ["a"] * 12}, ["g"])
    structure = bind_residual(CorARMA([*phi, *theta], form="~ 1 | g", p=2, q=3), None, frame)
    assert structure is not None
    psi = np.zeros(400)
    for j in range(400):
        moving = 1.0 if j == 0 else (theta[j - 1] if j <= 3 else 0.0)
        psi[j] = moving + sum(phi[i] * psi[j - 1 - i] for i in range(2) if j - 1 - i >= 0)
    covariance = np.array([psi[: 400 - k] @ psi[k:] for k in range(12)])
    np.testing.assert_allclose(dense(structure, structure.start)[0], covariance / covariance[0])
    assert structure.describe(structure.start)[0] == ["Phi1", "Phi2", "Theta1", "Theta2", "Theta3"]
    np.testing.assert_allclose(structure.describe(structure.start)[1], [*phi, *theta])


def test_general_correlations_start_where_told() -> None:
    frame = read_frame({"g": list("aaabbbcccdd")}, ["g"])
    structure = bind_residual(CorSymm([0.5, -0.2, 0.3], form="~ 1 | g"), None, frame)
    assert structure is not None
    names, values = structure.describe(structure.start)
    assert names == ["cor(1,2)", "cor(1,3)", "cor(2,3)"]
    np.testing.assert_allclose(values, [0.5, -0.2, 0.3])


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


TIED = {
    "t": [1, 1, 2, 3],
    "u": ["p", "q", "r", "r"],
    "g": ["a", "a", "b", "b"],
    "x": [0.0, 1.0, 2.0, 3.0],
}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CorAR1(form="~ t | g"), "time 't' is 1 in more than one row in group 'a'"),
        (lambda: CorCAR1(form="~ t | g"), "more than one row"),
        (lambda: CorARMA(form="~ t | g", p=2), "more than one row"),
        (lambda: CorExp(form="~ t | g"), "position 't' is 1 in more than one row"),
        (lambda: CorAR1(form="~ x/2 | g"), "needs whole-numbered times"),
        (lambda: CorCAR1(form="~ u | g"), "must be numeric"),
        (lambda: CorSymm(form="~ x"), "cannot estimate"),
        (lambda: CorSymm(form="~ x | g"), "cannot estimate|never occur"),
        (lambda: CorAR1(fixed=True), "needs the value to hold"),
        (lambda: CorExp(form="~ x", fixed=True), "needs the value to hold"),
        (lambda: CorAR1(1.0), "between -1 and 1"),
        (lambda: CorARMA([1.5], p=1), "not stationary"),
        (lambda: CorARMA([2.0], q=1), "not invertible"),
        (lambda: CorARMA([0.2], p=1, q=1), "1 numbers for p \\+ q = 2"),
        (CorARMA, "needs an order"),
        (lambda: CorCompSymm(-0.9, form="~ 1", fixed=True), "positive definite"),
        (lambda: CorSymm([0.9, 0.9, 0, -0.9, 0, 0], form="~ x", fixed=True), "positive definite"),
        (lambda: CorExp([2.0, 0.1], form="~ x"), "nugget=True"),
        (lambda: CorExp(-1.0, form="~ x"), "must be positive"),
        (lambda: CorExp(form="~ x", metric="cosine"), "'euclidean', 'manhattan' or 'maximum'"),
        (lambda: CorAR1(form="t | g"), "one-sided formula"),
        (lambda: CorAR1(form=["~ t"]), "one-sided formula"),
        (lambda: CorAR1(form="~ fitted(.)"), "cannot use fitted values"),
        (lambda: CorAR1(form="~ t | "), "incomplete"),
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
        (lambda: "w", "must be a variance function here"),
        (lambda: VarPower, "call it"),
    ],
)
def test_bad_input_is_told(make, message: str) -> None:  # type: ignore[no-untyped-def]
    def attempt() -> None:
        given = make()
        correlation, variance = (
            (given, None) if type(given).__name__.startswith("Cor") else (None, given)
        )
        residual_variables(correlation, variance)
        bind_residual(correlation, variance, read_frame(TIED, list(TIED)))

    with pytest.raises(MixedfitError, match=message):
        attempt()


def test_unknown_columns_are_named() -> None:
    with pytest.raises(DataError, match="'z'"):
        read_frame(TIED, list(residual_variables(CorAR1(form="~ z | g"), None)))


NLME = json.loads(
    (Path(__file__).parent / "reference" / "structures" / "structures.json").read_text("utf-8")
)
CLASSES = {name: value for name, value in vars(mf).items() if name.startswith(("Cor", "Var"))}


@pytest.mark.parametrize("call", NLME["correlations"])
def test_correlations_agree_with_nlme(call: str) -> None:
    frame = read_frame(NLME["data"], list(NLME["data"]))
    structure = bind_residual(eval(call, CLASSES), None, frame)
    assert structure is not None
    expected = NLME["correlations"][call]
    np.testing.assert_allclose(dense(structure, structure.start), expected["matrix"], atol=1e-9)
    np.testing.assert_allclose(structure.describe(structure.start)[1], expected["coef"], rtol=1e-9)
    np.testing.assert_allclose(
        structure.at(structure.start).logdet, expected["logDet"][0], rtol=1e-8
    )
    np.testing.assert_allclose(structure.start, expected["unconstrained"], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("call", NLME["acf"])
def test_autocorrelations_agree_with_stats(call: str) -> None:
    frame = read_frame({"g": ["a"] * 10}, ["g"])
    structure = bind_residual(eval(call, CLASSES), None, frame)
    assert structure is not None
    np.testing.assert_allclose(dense(structure, structure.start)[0], NLME["acf"][call], atol=1e-12)


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


def test_structures_read_as_they_are_written() -> None:
    for call in (
        "CorAR1(0.2, form='~ t | g')",
        "CorARMA(form='~ t | g', p=1, q=2)",
        "CorExp([2.0, 0.1], form='~ x + y', nugget=True)",
        "VarComb(VarIdent(form='~ 1 | s'), VarPower(form='~ x'))",
        "VarConstPower(0.1, form='~ x', fixed={'power': 1.0})",
    ):
        assert repr(eval(call, CLASSES)) == call


@pytest.mark.parametrize(
    ("correlation", "variance", "message"),
    [
        (CorAR1(form="~ 1 | i"), None, "every group has one row"),
        (CorCompSymm(), None, "cannot be told from their mean"),
        (None, VarIdent(form="~ 1 | i"), "stratum '0' has one row"),
        (None, VarExp(form="~ one"), "cannot be told from sigma"),
        (None, VarPower(form="~ two | s"), "cannot be told from sigma"),
        (
            None,
            VarComb(VarPower(form="~ x"), VarPower(form="~ I(x^2)")),
            "two functions say the same",
        ),
    ],
)
def test_what_cannot_be_estimated_is_told(correlation, variance, message: str) -> None:  # type: ignore[no-untyped-def]
    data = DATA.assign(i=np.arange(len(DATA)), one=1.0, two=2.0)
    with pytest.raises(ModelError, match=message):
        bind_residual(correlation, variance, read_frame(data, list(data.columns)))


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


def test_starts_suit_the_unit_of_time_and_distance() -> None:
    rng = np.random.default_rng(2)
    time = np.cumsum(rng.uniform(0.5, 1.5, 40))
    for unit in (1e-4, 1.0, 1e4):
        frame = read_frame({"t": unit * time}, ["t"])
        for structure in (CorCAR1(form="~ t"), CorExp(form="~ t"), CorGaus(form="~ t")):
            bound_structure = bind_residual(structure, None, frame)
            assert bound_structure is not None
            R = dense(bound_structure, bound_structure.start)
            neighbours = np.diagonal(R, 1)
            assert 0.1 < np.median(neighbours) < 0.7
            lower, upper = bound_structure.bounds
            assert (np.diagonal(dense(bound_structure, lower), 1) < 1e-3).all()
            assert lower < bound_structure.start < upper


def test_a_start_where_the_matrix_is_singular_moves_to_a_shorter_range() -> None:
    frame = read_frame({"x": np.arange(60) / 10.0}, ["x"])
    structure = bind_residual(CorGaus(30.0, form="~ x"), None, frame)
    assert structure is not None
    structure.at(structure.start)
    assert structure.describe(structure.start)[1][0] < 30.0
    with pytest.raises(ModelError, match="not positive definite at 30"):
        bind_residual(CorGaus(30.0, form="~ x", fixed=True), None, frame)


def test_a_correlation_that_repeats_a_random_effect_is_no_optimum() -> None:
    data = mf.datasets.load("orthodont")
    fit = mf.lme("distance ~ age", "~ 1 | Subject", data, correlation=CorCompSymm())
    assert fit.status == "stalled"
    assert "flat in some direction" in fit.optimum.message


def test_covariates_may_be_arithmetic() -> None:
    frame = read_frame({"t": [2.0, 4.0, 8.0], "x": [1.0, 2.0, 3.0]}, ["t", "x"])
    halved = bind_residual(CorAR1(0.5, form="~ t/2"), None, frame)
    assert halved is not None
    np.testing.assert_allclose(dense(halved, halved.start)[0], [1.0, 0.5, 0.125])
    data = {"f": pd.Categorical(["u", "w", "v"], ["u", "v", "w"])}
    coded = bind_residual(CorAR1(0.5, form="~ as.integer(f)"), None, read_frame(data, ["f"]))
    assert coded is not None
    np.testing.assert_allclose(dense(coded, coded.start)[0], [1.0, 0.25, 0.5])
    power = bind_residual(None, VarPower(2.0, form="~ (x - 4)^2"), frame)
    assert power is not None
    np.testing.assert_allclose(power.at(power.start).sd, [81.0, 16.0, 1.0])


def test_a_formula_as_weights_is_a_known_variance() -> None:
    data = mf.datasets.load("orthodont")
    written = mf.gls("distance ~ age", data, weights="~ age")
    named = mf.gls("distance ~ age", data, weights=VarFixed("~ age"))
    assert written.llf == named.llf
    with pytest.raises(ModelError, match=r"not 'age'; for known weights w write VarFixed"):
        mf.lme("distance ~ age", "~ 1 | Subject", data, weights="age")


def test_a_covariate_of_labels_is_told_where_groups_stand() -> None:
    data = {"t": [1.0, 2.0, 3.0], "f": ["u", "v", "w"]}
    with pytest.raises(DataError, match=r"'f' holds labels; groups stand right of a bar"):
        bind_residual(CorAR1(0.5, form="~ t + f"), None, read_frame(data, ["t", "f"]))
