"""What a user gives for each unit, read into arrays with errors that name the unit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from mixedfit.arrays import Array, BoolArray
from mixedfit.errors import DataError

__all__ = [
    "counted",
    "covariate_frame",
    "read_covariate",
    "read_covariates",
    "read_labels",
    "read_units",
    "refuse",
]


def read_units(name: str, values: ArrayLike, n: int | None = None, like: str = "") -> Array:
    """One finite number a unit.

    Parameters
    ----------
    name : str
        The argument's, for messages.
    values : array-like of shape (J,), or one number for all units
    n : int, optional
        Number of units, once known.
    like : str
        The argument that fixed n.

    Returns
    -------
    array of shape (J,)
        A copy.
    """
    try:
        array = np.array(values, dtype=float)
    except (TypeError, ValueError):
        raise DataError(f"{name} must be numbers, one a unit") from None
    if array.ndim == 0:
        array = np.full(1 if n is None else n, float(array))
    if array.ndim != 1:
        raise DataError(f"{name} must be one number a unit, not an array of shape {array.shape}")
    if n is not None and len(array) != n:
        raise DataError(f"{name} has {len(array)} values but {like} has {n}; give one a unit")
    if len(array) == 0:
        raise DataError(f"{name} is empty; give one number a unit")
    refuse(name, np.isnan(array), "is missing in", "leave those units out")
    refuse(name, np.isinf(array), "is infinite in", "give finite numbers")
    return array


def refuse(name: str, bad: BoolArray, what: str, remedy: str) -> None:
    """Raise a `DataError` that counts the bad units and names the first, where there are any."""
    places = np.flatnonzero(bad)
    if len(places):
        units = counted(len(places), "unit")
        raise DataError(f"{name} {what} {units} (the first at place {places[0]}); {remedy}")


def counted(n: int, noun: str) -> str:
    """A number with its noun.

    Examples
    --------
    >>> counted(1, "unit"), counted(3, "unit")
    ('1 unit', '3 units')
    """
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def read_labels(labels: Sequence[Any] | pd.Index | None, values: Any, n: int) -> pd.Index:
    """Labels given, or the index of a labelled Series, or 0 to n - 1."""
    if labels is None:
        return values.index if isinstance(values, pd.Series) else pd.RangeIndex(n)
    try:
        index = pd.Index(labels)
    except TypeError:
        raise DataError(f"labels must be a sequence, one a unit, not {labels!r}") from None
    if len(index) != n:
        raise DataError(f"labels has {len(index)} values for {n} units; give one a unit")
    return index


def read_covariates(X: Any, n: int) -> tuple[Array, list[str]]:
    """Covariates with an intercept before them, shape (n, p), and the columns' names.

    X is None, an array of shape (n,) or (n, m), a Series, a frame or a dict of columns.
    """
    if X is None:
        return np.ones((n, 1)), ["Intercept"]
    frame = covariate_frame(X)
    names = list(frame.columns)
    if len(frame) != n:
        raise DataError(f"X has {len(frame)} rows for {n} units; give one a unit")
    columns = [read_covariate(name, frame.iloc[:, i]) for i, name in enumerate(names)]
    if columns and any(np.ptp(c) == 0.0 for c in columns):
        constant = next(c for c, v in zip(names, columns, strict=True) if np.ptp(v) == 0.0)
        raise DataError(f"column {constant!r} of X is constant; the intercept is there already")
    matrix = np.column_stack([np.ones(n), *columns])
    if np.linalg.matrix_rank(matrix / np.abs(matrix).max(axis=0)) < matrix.shape[1]:
        raise DataError("columns of X repeat one another; leave out those that others make up")
    return matrix, ["Intercept", *names]


def read_covariate(name: str, values: pd.Series) -> Array:
    """One column of X as finite numbers, or an error that names it."""
    labelled = isinstance(values.dtype, pd.CategoricalDtype)
    if not labelled:
        try:
            np.asarray(values, dtype=float)
        except (TypeError, ValueError):
            labelled = True
    if labelled:
        raise DataError(
            f"column {name!r} of X holds labels, not numbers; give a column of 0 and 1 for each "
            "level but one, such as pandas.get_dummies(..., drop_first=True)"
        )
    return read_units(f"column {name!r} of X", values)


def covariate_frame(X: Any) -> pd.DataFrame:
    """Covariates of any kind as a pandas frame with a name a column."""
    if not hasattr(X, "to_pandas"):
        frame = pd.DataFrame(X)
    elif hasattr(X, "columns"):
        native = nw.from_native(X, eager_only=True)
        frame = pd.DataFrame({column.name: column.to_numpy() for column in native.iter_columns()})
    else:
        frame = pd.DataFrame({getattr(X, "name", "") or "x1": np.asarray(X)})
    places = list[Any](frame.columns)
    names = [f"x{c + 1}" if isinstance(c, int | np.integer) else str(c) for c in places]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise DataError(f"X has {len(twice)} columns named {twice[0]!r}; give each its own name")
    return frame.set_axis(names, axis=1)
