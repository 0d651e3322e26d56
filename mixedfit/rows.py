"""Which rows of the data a model uses: subset, weights, offset and missing values."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from mixedfit.arrays import Array, IntArray
from mixedfit.errors import DataError, MixedfitError
from mixedfit.formula import Expression, parse_expression
from mixedfit.frames import (
    Column,
    Frame,
    Labels,
    as_wide,
    column_names,
    number_of_rows,
    read_column,
    read_frame,
)
from mixedfit.matrices import evaluate, variables
from mixedfit.r_code import python_code

__all__ = ["NaAction", "RowOptions", "UsedRows", "use_rows"]

NaAction = Literal["drop", "raise"]


@dataclass(frozen=True)
class RowOptions:
    """What the caller said about rows.

    Parameters
    ----------
    subset : str or array of bool, optional
        An expression in the columns (``"Days >= 2"``) or a mask with a value for each row.
    weights : str or array, optional
        Precision weights: a column, an expression in columns, or a number for each row.
    offset : str or array, optional
        A known part of the mean, likewise.
    na_action : {"drop", "raise"}
        What to do with rows that miss a value the model needs.
    """

    subset: str | ArrayLike | None = None
    weights: str | ArrayLike | None = None
    offset: str | ArrayLike | None = None
    na_action: NaAction = "drop"

    def __post_init__(self) -> None:
        if self.na_action not in ("drop", "raise"):
            raise MixedfitError(f"na_action must be 'drop' or 'raise', not {self.na_action!r}")


@dataclass(frozen=True)
class UsedRows:
    """The rows a model uses, and what they hold.

    Attributes
    ----------
    frame : Frame
        Own copies of the model's columns in those rows.
    positions : int array of shape (n,) or None
        Their places in the data; None where all are used.
    total : int
        Rows in the data.
    n_missing : int
        Rows left out because a value is missing.
    weights, offset : array of shape (n,) or None
    offset_expression : Expression or None
        Where the offset was given as one.
    """

    frame: Frame
    positions: IntArray | None
    total: int
    n_missing: int
    weights: Array | None
    offset: Array | None
    offset_expression: Expression | None


def use_rows(data: Any, names: list[str], options: RowOptions) -> UsedRows:
    """Read columns and keep the rows to be used.

    Parameters
    ----------
    data : frame of any kind
    names : list of str
        Columns the model reads.
    options : RowOptions

    Raises
    ------
    DataError
        If a column is not there, a value is impossible, or no row is left.
    """
    expressions = {
        what: _expression(value, data, what)
        for what, value in (("weights", options.weights), ("offset", options.offset))
        if value is not None
    }
    wanted = list(dict.fromkeys(names))
    for expression in expressions.values():
        if isinstance(expression, Expression):
            wanted.extend(v for v in sorted(variables(expression.text)) if v not in wanted)
    frame = read_frame(data, wanted)
    total = number_of_rows(data)
    if total == 0:
        raise DataError("the data have no rows")
    given = {
        what: _numbers(value, total, what)
        for what, value in expressions.items()
        if not isinstance(value, Expression)
    }
    subset = _subset(options.subset, data, total)
    keep = _complete(frame, given, subset, options.na_action)
    positions = None if keep.all() else np.flatnonzero(keep)
    frame = frame.take(keep)  # copies: what the caller changes later does not reach the fit
    given = {what: values[keep] for what, values in given.items()}
    for what, expression in expressions.items():
        if isinstance(expression, Expression):
            given[what] = evaluate(expression, frame, what)
    if "weights" in given:
        _check_weights(given["weights"])
    if "offset" in given:
        _check_offset(given["offset"])
    offset = expressions.get("offset")
    return UsedRows(
        frame,
        positions,
        total,
        int(subset.sum() - keep.sum()),
        given.get("weights"),
        given.get("offset"),
        offset if isinstance(offset, Expression) else None,
    )


def _expression(value: str | ArrayLike, data: Any, what: str) -> Expression | ArrayLike:
    """A column or an expression in columns, where the value is text."""
    if not isinstance(value, str):
        return value
    if value in column_names(data):
        plain = re.fullmatch(r"[A-Za-z_.][\w.]*", value)
        return Expression(value if plain else f"`{value}`")
    if re.fullmatch(r"[A-Za-z_.][\w.]*", value):
        return Expression(value)  # reading it says that there is no such column
    try:
        return parse_expression(f"I({value})")
    except MixedfitError as error:
        raise DataError(
            f"{what}={value!r} is neither a column nor an expression: {error}"
        ) from None


def _numbers(value: Any, total: int, what: str) -> Array:
    try:
        array = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        raise DataError(
            f"{what} must be a column name or numbers, not {type(value).__name__}"
        ) from None
    if array.ndim == 0:
        array = np.full(total, float(array))
    if array.shape != (total,):
        raise DataError(f"{what} has shape {array.shape}, but the data have {total} rows")
    return array


def _check_weights(weights: Array) -> None:
    bad = ~(np.isfinite(weights) & (weights > 0.0))
    if bad.any():
        count, first = int(bad.sum()), weights[bad][0]
        raise DataError(
            f"weights must be positive and finite; {count} {'is' if count == 1 else 'are'} not "
            f"(the first is {first:g}). Leave rows of weight zero out with subset="
        )


def _check_offset(offset: Array) -> None:
    infinite = ~np.isfinite(offset)
    if infinite.any():
        raise DataError(
            f"the offset is not finite in {int(infinite.sum())} of {len(offset)} rows; remove or "
            "correct them"
        )


def _complete(
    frame: Frame, given: dict[str, Array], keep: NDArray[np.bool_], na_action: NaAction
) -> NDArray[np.bool_]:
    """The kept rows in which nothing is missing."""
    missing = {name: mask for name in frame.columns if (mask := frame.missing(name)) is not None}
    missing |= {what: mask for what, v in given.items() if (mask := np.isnan(v)).any()}
    missing = {name: mask for name, mask in missing.items() if mask[keep].any()}
    if not missing:
        return keep
    counts = {name: int(mask[keep].sum()) for name, mask in missing.items()}
    shown = ", ".join(f"{name!r} ({count})" for name, count in counts.items())
    if na_action == "raise":
        raise DataError(
            f"values are missing in {shown}; fill them in, or leave those rows out with "
            "na_action='drop'"
        )
    total = int(keep.sum())
    for name, count in counts.items():
        if count == total:
            raise DataError(f"column {name!r} is missing in all {total} rows")
    complete = keep & ~np.logical_or.reduce(list(missing.values()))
    if not complete.any():
        raise DataError(f"no row is complete: values are missing in {shown} of {total} rows")
    return complete


def _subset(subset: str | ArrayLike | None, data: Any, total: int) -> NDArray[np.bool_]:
    """The rows a subset keeps, some at least."""
    if subset is None:
        return np.ones(total, dtype=bool)
    if isinstance(subset, str):
        keep = _subset_expression(subset, data, total)
    else:
        keep = _subset_mask(subset, total)
    if not keep.any():
        raise DataError(f"subset keeps none of the {total} rows")
    return keep


def _subset_mask(subset: ArrayLike, total: int) -> NDArray[np.bool_]:
    mask = _truth(read_column("subset", subset))
    if mask is None:
        raise DataError(
            "subset must be an expression such as 'Days >= 2' or an array of True and False"
        )
    if mask.shape != (total,):
        raise DataError(f"subset has shape {mask.shape}, but the data have {total} rows")
    return mask


def _truth(column: Column) -> NDArray[np.bool_] | None:
    """Truth values, missing ones false as in R and pandas; None where it holds others."""
    if isinstance(column, Labels):
        return column.codes == 1 if column.truth else None
    return column if column.dtype.kind == "b" else None


def _with_missing(column: Column) -> Any:
    """A column for pandas; a missing number is neither like nor unlike another, as in R."""
    if isinstance(column, Labels):
        if column.truth:
            return pd.arrays.BooleanArray(column.codes == 1, column.codes < 0)
        return column.categorical()
    if column.dtype.kind == "b":
        return column
    numbers = as_wide(column)
    missing = np.isnan(numbers)
    return pd.arrays.FloatingArray(numbers, missing) if missing.any() else numbers


_IN = re.compile(r"%in%\s*c\s*\(([^()]*)\)")


def _subset_expression(subset: str, data: Any, total: int) -> NDArray[np.bool_]:
    known = column_names(data)
    code = python_code(_IN.sub(r" in [\1]", subset), known)
    words = set(re.findall(r"[A-Za-z_.][\w.]*", code)) | set(re.findall(r"`([^`]+)`", code))
    names = [name for name in known if name in words]
    try:
        columns = read_frame(data, names).columns
        frame = pd.DataFrame({name: _with_missing(c) for name, c in columns.items()})
        values: Any = frame.eval(code)
        mask = _truth(read_column("subset", values)) if np.ndim(values) == 1 else None
    except DataError:
        raise
    except NameError as error:
        unknown = re.search(r"name '([^']+)' is not defined", str(error))
        read_frame(data, [unknown[1]] if unknown else [])  # says that there is no such column
        raise DataError(f"subset={subset!r} cannot be evaluated: {error}") from None
    except Exception as error:  # noqa: BLE001  pandas raises many kinds for code it cannot evaluate
        raise DataError(f"subset={subset!r} cannot be evaluated: {error}") from None
    if mask is None or mask.shape != (total,):
        raise DataError(f"subset={subset!r} does not give True or False for each row")
    return mask
