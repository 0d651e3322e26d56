"""What formulas may call by R's names, beyond formulaic's own transforms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from mixedfit.arrays import IntArray
from mixedfit.errors import FormulaError

__all__ = ["FUNCTIONS"]


def _as_numeric(values: Any) -> Any:
    """R's as.numeric: numbers as they are, the codes 1, 2, ... of a factor."""
    if isinstance(getattr(values, "dtype", None), pd.CategoricalDtype):
        return pd.Series(values).cat.codes.to_numpy() + 1.0
    return np.asarray(values, dtype=float)


def _as_integer(values: Any) -> Any:
    """R's as.integer: numbers cut towards zero, the codes of a factor."""
    return np.trunc(_as_numeric(values))


def _categorical(values: Any) -> pd.Series:
    series = pd.Series(values)
    return series if isinstance(series.dtype, pd.CategoricalDtype) else series.astype("category")


def _relevel(values: Any, ref: Any) -> pd.Series:
    """R's relevel: the same factor with another level first."""
    series = _categorical(values)
    levels = series.cat.categories
    place = next((i for i, level in enumerate(levels) if str(level) == str(ref)), None)
    if place is None:
        listed = ", ".join(repr(str(level)) for level in levels[:8])
        raise FormulaError(f"relevel() has no level {ref!r} to put first; there are {listed}")
    return series.cat.reorder_categories([levels[place], *np.delete(levels, place)])


def _interaction(*factors: Any) -> pd.Series:
    """R's interaction: the factor of all combinations, the first varying fastest."""
    parts = [_categorical(values) for values in factors]
    labels, size = [""], 1
    codes: IntArray = np.zeros(len(parts[0]), dtype=np.int64)
    for k, part in enumerate(parts):
        own = [str(level) for level in part.cat.categories]
        joined = ["" if k == 0 else f"{label}." for label in labels]
        labels = [before + level for level in own for before in joined]
        codes += size * part.cat.codes.to_numpy()
        size *= len(own)
    return pd.Series(pd.Categorical.from_codes(codes, pd.Index(labels)), index=parts[0].index)


FUNCTIONS: dict[str, Any] = {
    "abs": np.abs,
    "as_integer": _as_integer,
    "as_numeric": _as_numeric,
    "c": lambda *values: list(values),
    "ceiling": np.ceil,
    "cos": np.cos,
    "expm1": np.expm1,
    "floor": np.floor,
    "ifelse": np.where,
    "interaction": _interaction,
    "log1p": np.log1p,
    "pi": np.pi,
    "pmax": np.maximum,
    "pmin": np.minimum,
    "relevel": _relevel,
    "round": np.round,
    "sign": np.sign,
    "sin": np.sin,
    "sqrt": np.sqrt,
    "tan": np.tan,
    "tanh": np.tanh,
}
