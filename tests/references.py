"""Reference fits by R: data, calls and full-precision results, in tests/reference.

`tests/reference/expected/ID.json` holds one fit of R each, with the call that made it and the
versions of the packages; `tests/reference/data` the data, with types and levels in SCHEMA.json.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import mixedfit as mf

ROOT = Path(__file__).parent / "reference"


def ids(kind: str) -> list[str]:
    """Names of the fits of a kind: "lmer", "lme", "gls"."""
    return sorted(path.stem for path in (ROOT / "expected").glob(f"{kind}_*.json"))


@cache
def reference(name: str) -> dict[str, Any]:
    return json.loads((ROOT / "expected" / f"{name}.json").read_text(encoding="utf-8"))


@cache
def schema() -> dict[str, Any]:
    return json.loads((ROOT / "data" / "SCHEMA.json").read_text(encoding="utf-8"))


@cache
def data(name: str) -> pd.DataFrame:
    """A data set with its types and levels; the generated ones are made."""
    if name.startswith("generator:"):
        return {"big_slope": _big_slope, "big_crossed": _big_crossed}[name.split(":")[1]]()
    about = schema()[name]
    text = {c: str for c, s in about["columns"].items() if s["type"] in ("factor", "string")}
    path = ROOT / "data" / about["file"]
    return typed(pd.read_csv(path, dtype=text, keep_default_na=False, na_values=[""]), name)


def typed(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """The columns of a frame with the types of a data set; unknown labels join as levels."""
    for column, spec in schema()[name]["columns"].items():
        if column not in frame or spec["type"] != "factor":
            continue
        levels = [str(level) for level in spec["levels"]]
        values = frame[column].map(lambda v: v if pd.isna(v) else str(v))
        extra = [v for v in values.dropna().unique() if v not in levels]
        frame[column] = pd.Categorical(values, levels + extra, ordered=spec["ordered"])
    return frame


def _big_slope() -> pd.DataFrame:
    n, groups = 1_000_000, 10_000
    rng = np.random.default_rng(20250101)
    g, x = rng.integers(0, groups, n), rng.standard_normal(n)
    root = np.linalg.cholesky(np.array([[4.0, 0.6], [0.6, 1.0]]))
    b = rng.standard_normal((groups, 2)) @ root.T
    y = 10 + 2 * x + b[g, 0] + b[g, 1] * x + 3 * rng.standard_normal(n)
    return pd.DataFrame({"g": g, "x": x, "y": y})


def _big_crossed() -> pd.DataFrame:
    n, subjects, items = 200_000, 10_000, 500
    rng = np.random.default_rng(20250102)
    s, i, x = rng.integers(0, subjects, n), rng.integers(0, items, n), rng.standard_normal(n)
    u, v = rng.standard_normal(subjects), 0.5 * rng.standard_normal(items)
    y = 5 + 0.3 * x + u[s] + v[i] + 1.5 * rng.standard_normal(n)
    return pd.DataFrame({"s": s, "i": i, "x": x, "y": y})


def polynomial_contrasts(formula: str, frame: pd.DataFrame) -> dict[str, str]:
    """R gives ordered factors polynomial contrasts."""
    ordered = [
        c
        for c in frame
        if isinstance(frame[c].dtype, pd.CategoricalDtype) and frame[c].dtype.ordered
    ]
    fixed = re.sub(r"\([^()]*\|[^()]*\)", "", formula)
    return {c: "poly" for c in ordered if re.search(rf"(?<![\w.]){re.escape(c)}(?![\w.])", fixed)}


@cache
def lmer(name: str) -> mf.MixedResults:
    """Our fit of a reference model of lme4, made once."""
    about, hint = reference(name), reference(name)["mixedfit_hint"]
    frame = data(about["data"])
    options = {key: hint[key] for key in ("weights", "offset", "subset") if hint.get(key)}
    return mf.lmer(
        hint["formula"],
        frame,
        method="REML" if hint.get("REML", True) else "ML",
        contrasts=polynomial_contrasts(hint["formula"], frame) or None,
        **options,
    )


def spelling(name: str) -> str:
    """One spelling for R's names of coefficients and ours."""
    name = name.replace("(Intercept)", "Intercept").replace("**", "^")
    name = re.sub(r"\[(?:T\.)?|\]|`|\s|\.", "", name)
    return ":".join(sorted(name.split(":")))


def matched(series: pd.Series, names: list[str]) -> np.ndarray:
    """Our values in R's order."""
    ours = {spelling(str(key)): value for key, value in series.items()}
    return np.array([ours[spelling(name)] for name in names])


def numbers(block: Any) -> np.ndarray:
    """The first numbers of a long vector, null as nan."""
    values = block["first"] if isinstance(block, dict) else block
    return np.array([np.nan if v is None else v for v in values], dtype=float)
