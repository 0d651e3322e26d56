"""Classical data sets of mixed models, bundled with the package.

``datasets.load("sleepstudy")`` and ``datasets.sleepstudy()`` give the same frame. What the columns
mean, their units, types and levels are in ``mixedfit/data/catalog.json``.
"""

from __future__ import annotations

import builtins
import difflib
import functools
import importlib.resources
import json
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from mixedfit.errors import DataError

__all__ = ["describe", "list", "load"]


@dataclass(frozen=True)
class _Column:
    """What the catalog says about a column.

    Attributes
    ----------
    description : str
        A few words.
    unit : str or None
        ``"1"`` for pure numbers; None for labels.
    type : {"numeric", "integer", "categorical", "string"}
    levels : list of str, "sorted" or None
        Labels in order; ``"sorted"`` where they are those of the file in numeric order.
    ordered : bool
        Whether the order of the levels means something.
    """

    description: str
    unit: str | None
    type: Literal["numeric", "integer", "categorical", "string"]
    levels: builtins.list[str] | Literal["sorted"] | None = None
    ordered: bool = False

    def dtype(self) -> Any:
        """What pandas is to read the column as."""
        if self.type == "categorical":
            if isinstance(self.levels, builtins.list):
                return pd.CategoricalDtype(self.levels, self.ordered)
            return "str"  # their levels are known once they are read
        return {"numeric": "float64", "integer": "int64", "string": "str"}[self.type]

    def kind(self) -> str:
        """Type and unit in words."""
        kind = f"ordered {self.type}" if self.ordered else self.type
        return f"{kind}, unit {self.unit}" if self.unit else kind


@dataclass(frozen=True)
class _DataSet:
    """What the catalog says about a data set."""

    title: str
    source: str
    file: str
    rows: int
    columns: dict[str, _Column]


@functools.cache
def _catalog() -> dict[str, _DataSet]:
    """All data sets by name."""
    file = importlib.resources.files("mixedfit.data") / "catalog.json"
    entries = json.loads(file.read_text(encoding="utf-8"))
    for entry in entries.values():
        entry["columns"] = {name: _Column(**column) for name, column in entry["columns"].items()}
    return {name: _DataSet(**entry) for name, entry in sorted(entries.items())}


def _data_set(name: str) -> _DataSet:
    try:
        return _catalog()[name]
    except KeyError:
        raise DataError(f"no data set {name!r}{_suggestion(name)}") from None


def _suggestion(name: str) -> str:
    close = difflib.get_close_matches(name.lower(), _catalog(), n=3, cutoff=0.6)
    if close:
        return f"; did you mean {' or '.join(repr(c) for c in close)}?"
    return "; datasets.list() shows their names"


def load(name: str) -> pd.DataFrame:
    """Read a bundled data set.

    Parameters
    ----------
    name : str
        One of `list`.

    Returns
    -------
    pandas.DataFrame
        A new frame at each call. Labels are categories with their levels in order, counts are
        integers, measurements floats; ``attrs`` holds the ``title`` and the ``source``.

    Raises
    ------
    DataError
        If there is no data set of that name.

    Examples
    --------
    >>> from mixedfit import datasets
    >>> sleepstudy = datasets.load("sleepstudy")
    >>> sleepstudy.head(3)
       Reaction  Days Subject
    0  249.5600     0     308
    1  258.7047     1     308
    2  250.8006     2     308
    >>> sleepstudy.attrs["title"]
    'Reaction times of 18 subjects on ten days of a study of sleep deprivation.'
    """
    data_set = _data_set(name)
    file = importlib.resources.files("mixedfit.data") / data_set.file
    with file.open("rb") as stream:
        frame = pd.read_csv(
            stream,
            dtype={column: about.dtype() for column, about in data_set.columns.items()},
            compression="gzip" if data_set.file.endswith(".gz") else None,
            keep_default_na=False,  # "None" is a level of alfalfa's dates
            na_values=[""],
        )
    for column, about in data_set.columns.items():
        if about.levels == "sorted":
            levels = sorted(frame[column].unique(), key=int)
            frame[column] = frame[column].astype(pd.CategoricalDtype(levels, about.ordered))
    frame.attrs.update(title=data_set.title, source=data_set.source)
    return frame


def list() -> builtins.list[str]:  # noqa: A001  # read as datasets.list()
    """Names of the bundled data sets, sorted.

    Examples
    --------
    >>> from mixedfit import datasets
    >>> datasets.list()[:5]
    ['alfalfa', 'arabidopsis', 'assay', 'baseball', 'bcg']
    """
    return [*_catalog()]


def describe(name: str) -> str:
    """What a data set is: title, source, rows, and the unit and meaning of each column.

    Parameters
    ----------
    name : str
        One of `list`.

    Raises
    ------
    DataError
        If there is no data set of that name.

    Examples
    --------
    >>> from mixedfit import datasets
    >>> print(datasets.describe("orthodont"))
    Distance between two points of the skull of 27 children at four ages.
    Source: Potthoff, R. F. and Roy, S. N. (1964), A generalized multivariate analysis of
      variance model useful especially for growth curve problems, Biometrika 51, 313-326; data
      set Orthodont of the R package nlme 3.1-162
    Rows: 108
    <BLANKLINE>
    distance  mm     distance from the pituitary to the pterygomaxillary fissure
    age       years  age of the child
    Subject   -      child, M for boys and F for girls; ordered, 27 levels
    Sex       -      sex; levels Male, Female
    """
    data_set = _data_set(name)
    columns = data_set.columns
    names = max(len(column) for column in columns)
    units = max(len(about.unit or "-") for about in columns.values())
    source = _wrapped(f"Source: {data_set.source}", indent="  ")
    lines = [data_set.title, *source, f"Rows: {data_set.rows}", ""]
    for column, about in columns.items():
        meaning = about.description + _levels(about)
        lines.append(f"{column:{names}}  {about.unit or '-':{units}}  {meaning}")
    return "\n".join(lines)


def _levels(about: _Column, at_most: int = 8) -> str:
    """The levels of a column in words, or how many there are."""
    if not isinstance(about.levels, builtins.list):
        return ""
    if len(about.levels) > at_most:
        return f"; {'ordered, ' if about.ordered else ''}{len(about.levels)} levels"
    return f"; levels {(' < ' if about.ordered else ', ').join(about.levels)}"


def _wrapped(text: str, indent: str = "") -> builtins.list[str]:
    return textwrap.wrap(text, 90, subsequent_indent=indent, break_on_hyphens=False)


@functools.cache
def _loader(name: str) -> Callable[[], pd.DataFrame]:
    """The function `mixedfit.datasets` shows under the name of a data set."""
    data_set = _catalog()[name]

    def loader() -> pd.DataFrame:
        return load(name)

    section = [data_set.title, ""]
    section += ["Source", "------", *_wrapped(data_set.source), ""]
    section += ["Columns", "-------"]
    for column, about in data_set.columns.items():
        section += [f"{column} : {about.kind()}", f"    {about.description}{_levels(about)}"]
    section += ["", "Returns", "-------", "pandas.DataFrame", f"    {data_set.rows} rows."]
    loader.__doc__ = "\n".join(section)
    loader.__name__ = loader.__qualname__ = name
    return loader


def __getattr__(name: str) -> Callable[[], pd.DataFrame]:
    if name.startswith("_") or name not in _catalog():
        raise AttributeError(f"mixedfit.datasets has no {name!r}{_suggestion(name)}")
    return _loader(name)


def __dir__() -> builtins.list[str]:
    return sorted([*__all__, *_catalog()])
