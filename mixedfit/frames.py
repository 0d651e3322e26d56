"""Data frames of any kind as named columns: numbers, truth values or labels.

Truth values of which some are missing are labels until rows are chosen.

pandas frames and dicts of columns are read directly, every other eager frame (polars, pyarrow)
through narwhals. Only the columns asked for are touched, and nothing of the caller's is changed.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mixedfit.arrays import IntArray
from mixedfit.errors import DataError

__all__ = [
    "Column",
    "Frame",
    "Labels",
    "as_pandas",
    "as_wide",
    "column_names",
    "combinations",
    "is_nested",
    "label_text",
    "number_of_rows",
    "read_column",
    "read_frame",
]


Rows: TypeAlias = NDArray[np.bool_] | IntArray | slice
"""Those where a mask is true, those of a slice, or places, which may repeat."""


@dataclass(frozen=True)
class Labels:
    """A categorical column.

    Attributes
    ----------
    codes : int array of shape (n,)
        Place of each row's label among the levels; -1 where it is missing.
    levels : pandas.Index
        In the categories' own order; sorted where the column brought none.
    ordered : bool
    """

    codes: IntArray
    levels: pd.Index
    ordered: bool = False

    @classmethod
    def of(cls, column: Column) -> Labels:
        """A column as labels: numbers and truth values in their order, whole numbers as such."""
        if isinstance(column, Labels):
            return column
        codes, levels = pd.factorize(column, sort=True)
        if levels.dtype.kind == "f" and np.all(np.isfinite(levels) & (levels == np.round(levels))):
            levels = levels.astype(np.int64)
        return cls(codes, pd.Index(levels))

    @property
    def truth(self) -> bool:
        """Whether these are truth values, of which some may be missing."""
        return not self.ordered and self.levels.dtype == bool and list(self.levels) == [False, True]

    @property
    def texts(self) -> list[str]:
        """The levels as text."""
        return [label_text(level) for level in self.levels]

    def take(self, rows: Rows) -> Labels:
        """Some of the rows."""
        return Labels(self.codes[rows], self.levels, self.ordered)

    def used(self) -> Labels:
        """The same labels without levels that no row has."""
        counts = np.bincount(self.codes[self.codes >= 0], minlength=len(self.levels))
        if counts.all():
            return self
        kept = np.flatnonzero(counts)
        place = np.full(len(self.levels) + 1, -1, dtype=np.int64)  # the last stands for missing
        place[kept] = np.arange(len(kept))
        return Labels(place[self.codes], self.levels[kept], self.ordered)

    def categorical(self) -> pd.Categorical:
        """As pandas has it."""
        return pd.Categorical.from_codes(self.codes, categories=self.levels, ordered=self.ordered)

    def matched(self, levels: pd.Index) -> Labels:
        """The same labels coded by other levels; -1 where those do not have a label.

        Numbers match their text: 308 is the level "308".
        """
        own, others = self.levels, levels
        if pd.api.types.is_numeric_dtype(own.dtype) != pd.api.types.is_numeric_dtype(others.dtype):
            own, others = _as_text(own), _as_text(others)
        place = np.append(others.get_indexer(own), -1)
        return Labels(place[self.codes], levels, self.ordered)


Column: TypeAlias = NDArray[Any] | Labels


def _as_text(levels: pd.Index) -> pd.Index:
    return pd.Index([label_text(level) for level in levels], dtype=object)


def label_text(value: Any) -> str:
    """A level as text: numbers with all the digits they hold, whole ones without a point.

    Examples
    --------
    >>> label_text(308.0), label_text(10000001.5), label_text("a")
    ('308', '10000001.5', 'a')
    """
    if isinstance(value, float | np.floating):
        return f"{value:.{np.finfo(value).precision}g}"
    return str(value)


def combinations(columns: Sequence[Labels]) -> tuple[IntArray, list[IntArray]]:
    """The combinations of levels that occur.

    Returns
    -------
    codes : int array of shape (n,)
        Combination of each row; they count in the order of the first column's levels, then of the
        second's, and so on.
    levels : list of int arrays of shape (J,)
        Level of each combination in each column.
    """
    codes, first = pd.factorize(columns[0].codes, sort=True)
    levels = [first]
    for column in columns[1:]:
        key = codes.astype(np.int64) * len(column.levels) + column.codes
        codes, found = pd.factorize(key, sort=True)
        outer, own = np.divmod(found, len(column.levels))
        levels = [*(level[outer] for level in levels), own]
    return codes, levels


def is_nested(inner: IntArray, outer: IntArray) -> bool:
    """Whether rows of one level of `inner` have one level of `outer`, both codes of shape (n,)."""
    first = np.empty(int(inner.max()) + 1, dtype=outer.dtype)
    first[inner] = outer
    return bool(np.array_equal(first[inner], outer))


@dataclass(frozen=True)
class Frame:
    """Columns of equal length, by name: arrays of numbers or truth values, or `Labels`."""

    n: int
    columns: dict[str, Column]

    def __getitem__(self, name: str) -> Column:
        return self.columns[name]

    def take(self, rows: Rows) -> Frame:
        """Some of the rows."""
        taken = {name: _taken(column, rows) for name, column in self.columns.items()}
        return Frame(len(np.arange(self.n)[rows]), taken)

    def missing(self, name: str) -> NDArray[np.bool_] | None:
        """Which rows miss this column; None when none does."""
        column = self.columns[name]
        if isinstance(column, Labels):
            mask = column.codes < 0
        elif column.dtype.kind == "f":
            mask = np.isnan(column)
        else:
            return None
        return mask if mask.any() else None

    def complete(self, names: Iterable[str] | None = None) -> NDArray[np.bool_]:
        """Rows that miss nothing in some columns, by default in any, shape (n,)."""
        out = np.ones(self.n, dtype=bool)
        for name in self.columns if names is None else names:
            if (mask := self.missing(name)) is not None:
                out &= ~mask
        return out

    def pandas(self) -> pd.DataFrame:
        """All columns as a pandas frame: numbers as wide as they come, truth values categories."""
        return pd.DataFrame({name: _for_pandas(c) for name, c in self.columns.items()})


def _taken(column: Column, rows: Rows) -> Column:
    """Some rows of a column; truth values of which none is missing are an array."""
    if not isinstance(column, Labels):
        return column[rows]
    labels = column.take(rows)
    return labels.codes == 1 if labels.truth and (labels.codes >= 0).all() else labels


def _for_pandas(column: Column) -> Any:
    if isinstance(column, Labels):
        return column.categorical()
    if column.dtype.kind == "b":
        return pd.Categorical(column, categories=[False, True])
    return as_wide(column)


def as_wide(numbers: NDArray[Any]) -> NDArray[Any]:
    """Numbers as wide as they come: small integers overflow in silence, unsigned ones below 0."""
    whole = numbers.dtype.kind in "iu" and numbers.max(initial=0) <= np.iinfo(np.int64).max
    return numbers.astype(np.int64 if whole else float, copy=False)


def read_frame(data: Any, names: Iterable[str]) -> Frame:
    """Read columns of a data frame.

    Parameters
    ----------
    data : pandas, polars or pyarrow frame, or mapping of columns
    names : iterable of str

    Returns
    -------
    Frame

    Raises
    ------
    DataError
        Naming the column, if there is none of that name, or two, or it holds no numbers or labels.
    """
    get, available = _reader(data)
    columns: dict[str, Column] = {}
    for name in names:
        if name not in available:
            raise DataError(f"no column {name!r} in the data{_suggestion(name, available)}")
        columns[name] = get(name)
    n = number_of_rows(data)
    for name, column in columns.items():
        length = len(column.codes if isinstance(column, Labels) else column)
        if length != n:
            raise DataError(f"column {name!r} has {length} rows where others have {n}")
    return Frame(n, columns)


def column_names(data: Any) -> list[str]:
    """Names of all columns of a frame of any kind."""
    return [name for name in _reader(data)[1] if isinstance(name, str)]


def as_pandas(data: Any, names: Sequence[str]) -> pd.DataFrame:
    """Columns of a frame of any kind as they are, dates and the like included.

    Raises
    ------
    DataError
        If columns differ in length.
    """
    if isinstance(data, pd.DataFrame):
        return data[list(names)]
    if isinstance(data, Mapping):
        columns = {name: pd.Series(data[name]).array for name in names}
    else:
        frame = nw.from_native(data, eager_only=True)
        columns = {name: _plain(name, frame[name]) for name in names}
    n = number_of_rows(data)
    for name, column in columns.items():
        if len(column) != n:
            raise DataError(f"column {name!r} has {len(column)} rows where others have {n}")
    return pd.DataFrame(columns, index=pd.RangeIndex(n))


def _plain(name: str, series: nw.Series[Any]) -> Any:
    if series.dtype in (nw.Categorical, nw.Enum):
        return _for_pandas(_from_narwhals(name, series))
    return series.to_numpy()


def number_of_rows(data: Any) -> int:
    """Rows of a frame of any kind."""
    if isinstance(data, Mapping):
        try:
            return len(next(iter(data.values()))) if data else 0
        except TypeError:
            raise DataError("the columns of a dict must be sequences, one value a row") from None
    return len(data)


def _suggestion(name: str, available: Any) -> str:
    strings = [str(a) for a in available]
    if not strings:
        return ", which have no columns"
    close = difflib.get_close_matches(name, strings, n=3, cutoff=0.6)
    if not close:
        close = [a for a in strings if a.lower() == name.lower()]
    if close:
        return f"; did you mean {' or '.join(repr(c) for c in close)}?"
    shown = ", ".join(repr(a) for a in strings[:10])
    return f"; it has {shown}{', ...' if len(strings) > 10 else ''}"


def _reader(data: Any) -> tuple[Any, Any]:
    """A function from a name to its column, and the names there are."""
    if isinstance(data, pd.DataFrame):

        def from_frame(name: str) -> Column:
            found: pd.Series | pd.DataFrame = data[name]
            if isinstance(found, pd.DataFrame):
                raise DataError(
                    f"the data have {found.shape[1]} columns named {name!r}; rename them"
                )
            return _from_pandas(name, found)

        return from_frame, data.columns
    if isinstance(data, Mapping):
        return lambda name: read_column(name, data[name]), data.keys()
    try:
        frame = nw.from_native(data, eager_only=True)
    except TypeError:
        hint = "; call .collect() first" if hasattr(data, "collect") else ""
        raise DataError(
            "data must be a pandas, polars or pyarrow frame or a dict of columns, "
            f"not {type(data).__name__}{hint}"
        ) from None
    return lambda name: _from_narwhals(name, frame[name]), frame.columns


def read_column(name: str, values: Any) -> Column:
    """Read one column: a sequence, or a column of any frame.

    Raises
    ------
    DataError
        If it is not one-dimensional, or holds no numbers or labels.
    """
    if isinstance(values, pd.Series):
        return _from_pandas(name, values)
    if isinstance(values, pd.Categorical):
        return Labels(values.codes, values.categories, bool(values.ordered))
    if isinstance(values, np.ndarray) and values.dtype.kind in "fiub" and values.ndim == 1:
        return values
    series = nw.from_native(values, series_only=True, pass_through=True)
    if isinstance(series, nw.Series):
        return _from_narwhals(name, series)
    problem = DataError(f"column {name!r} is not one-dimensional")
    if isinstance(values, str) or not hasattr(values, "__len__"):
        raise problem
    try:
        made = pd.Series(values)
    except (TypeError, ValueError):
        raise problem from None
    return _from_pandas(name, made)


def _from_pandas(name: str, series: pd.Series) -> Column:
    dtype = series.dtype
    if isinstance(dtype, np.dtype):
        if dtype.kind in "fiub":
            return series.to_numpy()
        if dtype.kind == "O":
            return _from_objects(name, series)
    elif isinstance(dtype, pd.CategoricalDtype):
        values = series.array
        return Labels(values.codes, values.categories, bool(values.ordered))
    elif pd.api.types.is_string_dtype(dtype):
        return _labels(series.array)
    elif pd.api.types.is_bool_dtype(dtype) or pd.api.types.is_numeric_dtype(dtype):
        numbers = series.to_numpy(dtype=float, na_value=np.nan)
        return _truth(numbers) if pd.api.types.is_bool_dtype(dtype) else numbers
    elif isinstance(dtype, pd.ArrowDtype):  # a dictionary of labels
        arrow: Any = series.array
        return _from_narwhals(name, nw.from_native(arrow.__arrow_array__(), series_only=True))
    raise DataError(
        f"column {name!r} holds {dtype}: turn it into numbers (days since a date, say) or labels"
    )


def _from_objects(name: str, series: pd.Series) -> Column:
    kind = pd.api.types.infer_dtype(series, skipna=True)
    if kind == "string":
        return _labels(series.to_numpy())
    if kind == "boolean":
        return _truth(series.to_numpy(dtype=float, na_value=np.nan))
    if kind in ("integer", "floating", "mixed-integer-float", "decimal", "empty"):
        return series.to_numpy(dtype=float, na_value=np.nan)
    raise DataError(
        f"column {name!r} mixes kinds of values ({kind}); make it all numbers or all text"
    )


def _truth(numbers: NDArray[Any]) -> Column:
    """Truth values from zeros, ones and nan: an array, or labels where some are missing."""
    missing = np.isnan(numbers)
    if not missing.any():
        return numbers == 1.0
    return Labels(np.where(missing, -1, numbers == 1.0), pd.Index([False, True]))


def _labels(values: Any) -> Labels:
    codes, levels = pd.factorize(values, sort=True)
    return Labels(codes, pd.Index(levels))


def _from_narwhals(name: str, series: nw.Series[Any]) -> Column:
    dtype = series.dtype
    if dtype.is_numeric():
        values = series.to_numpy()
        return values if values.dtype.kind in "fiu" else values.astype(float)
    if dtype == nw.Boolean:
        return _truth(series.to_numpy().astype(float))
    if dtype == nw.String:
        return _labels(series.to_numpy())
    if dtype in (nw.Categorical, nw.Enum):
        levels = pd.Index(series.cat.get_categories().to_list())
        if dtype == nw.Categorical and series.implementation.is_polars():
            levels = levels.sort_values()  # polars keeps them in the order it happened to meet them
        text = series.cast(nw.String).to_numpy()
        codes, found = pd.factorize(text)
        return Labels(np.append(levels.get_indexer(pd.Index(found)), -1)[codes], levels)
    raise DataError(
        f"column {name!r} holds {dtype}: turn it into numbers (days since a date, say) or labels"
    )
