"""The regression of a prior's mean: its table, and covariates of new units."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from mixedfit.arrays import Array
from mixedfit.eb.tails import student_quantile, two_sided
from mixedfit.eb.units import covariate_frame, read_covariate
from mixedfit.errors import DataError

__all__ = ["new_unit_table", "read_new", "regression_table"]


def regression_table(
    names: tuple[str, ...], b: Array, se: Array, df: float, level: float
) -> pd.DataFrame:
    """Coefficients with t (or z, infinite df) tests and intervals."""
    with np.errstate(divide="ignore", invalid="ignore"):
        stat = b / se  # infinite where all estimates agree exactly
    critical = student_quantile(0.5 + 0.5 * level, df)
    return pd.DataFrame(
        {
            "term": list(names),
            "estimate": b,
            "se": se,
            "stat": stat,
            "df": df,
            "p": two_sided(stat, df),
            "lower": b - critical * se,
            "upper": b + critical * se,
        }
    )


def new_unit_table(
    mean: ArrayLike, variance: ArrayLike, tau2: float, level: float, df: float = np.inf
) -> pd.DataFrame:
    """Means of a normal prior with their error variances, and where new units' values will be."""
    centre = np.atleast_1d(np.asarray(mean, dtype=float))
    error = np.atleast_1d(np.asarray(variance, dtype=float))
    critical = student_quantile(0.5 + 0.5 * level, df)
    se, spread = np.sqrt(error), np.sqrt(error + tau2)
    return pd.DataFrame(
        {
            "estimate": centre,
            "se": se,
            "lower": centre - critical * se,
            "upper": centre + critical * se,
            "prediction_lower": centre - critical * spread,
            "prediction_upper": centre + critical * spread,
        }
    )


def read_new(new: Any, names: tuple[str, ...]) -> Array:
    """Rows of X for new units of a model with these columns, the intercept first.

    Columns are found by name in a frame, by place in an array; without covariates new is None.
    """
    wanted = list(names[1:])
    if not wanted:
        if new is not None:
            raise DataError("the model has no covariates; leave X out")
        return np.ones((1, 1))
    if new is None:
        raise DataError(f"the model has covariates; give X with {', '.join(wanted)}")
    if hasattr(new, "columns") or isinstance(new, dict):
        frame = covariate_frame(new)
        missing = [name for name in wanted if name not in frame]
        if missing:
            raise DataError(f"X lacks the column {missing[0]!r}; it needs {', '.join(wanted)}")
    else:
        matrix = np.asarray(new)
        matrix = matrix.reshape(-1, len(wanted)) if matrix.ndim < 2 else matrix
        if matrix.ndim != 2 or matrix.shape[1] != len(wanted):
            raise DataError(
                f"X must have {len(wanted)} columns of finite numbers, {', '.join(wanted)}"
            )
        frame = pd.DataFrame(matrix, columns=wanted)
    columns = [read_covariate(name, frame[name]) for name in wanted]
    return np.column_stack([np.ones(len(frame)), *columns])
