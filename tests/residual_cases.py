"""Residual structures of every kind on small data, bound, written out, or refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

import mixedfit as mf
from mixedfit.correlation import CorAR1, CorARMA, CorCAR1, CorCompSymm, CorSymm
from mixedfit.correlation_spatial import CorExp, CorGaus, CorLin, CorRatio, CorSpher
from mixedfit.frames import Frame, read_frame
from mixedfit.residual import ResidualStructure, bind_residual, residual_variables
from mixedfit.variance_function import VarComb, VarConstPower, VarExp, VarFixed, VarIdent, VarPower

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


def bound(name: str) -> ResidualStructure:
    correlation, variance = STRUCTURES[name]
    frame = read_frame(DATA, list(DATA.columns))
    structure = bind_residual(correlation, variance, frame, ("g",))
    assert structure is not None
    return structure


def random_delta(structure: ResidualStructure) -> np.ndarray:
    return structure.start + 0.4 * RNG.standard_normal(structure.n_params) + 0.2


def dense(structure: ResidualStructure, delta: np.ndarray) -> np.ndarray:
    return structure.at(delta).multiply(np.eye(structure.n))


TIED = {
    "t": [1, 1, 2, 3],
    "u": ["p", "q", "r", "r"],
    "g": ["a", "a", "b", "b"],
    "x": [0.0, 1.0, 2.0, 3.0],
}


def bind_to_ties(make) -> None:  # type: ignore[no-untyped-def]
    """Bind a structure to rows with tied times, as a verb does."""
    given = make()
    correlation, variance = (
        (given, None) if type(given).__name__.startswith("Cor") else (None, given)
    )
    residual_variables(correlation, variance)
    bind_residual(correlation, variance, read_frame(TIED, list(TIED)))


NLME = json.loads(
    (Path(__file__).parent / "reference" / "structures" / "structures.json").read_text("utf-8")
)


CLASSES = {name: value for name, value in vars(mf).items() if name.startswith(("Cor", "Var"))}


def agrees_with_nlme(call: str) -> None:
    """Matrix, coefficients, determinant and coordinates of a correlation are those of nlme."""
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


def calls_of(*kinds: type) -> list[str]:
    """The reference correlations of these classes."""
    return [call for call in NLME["correlations"] if isinstance(eval(call, CLASSES), kinds)]


def refused_rows() -> Frame:
    """The rows, each numbered, with columns that do not vary."""
    data = DATA.assign(i=np.arange(len(DATA)), one=1.0, two=2.0)
    return read_frame(data, list(data.columns))
