"""Tables with a sentence below them."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any, ClassVar

import pandas as pd

from mixedfit.errors import ModelError

__all__ = ["NotedFrame", "beside", "noted"]


class NotedFrame(pd.DataFrame):
    """A DataFrame that shows a note below its rows; what is made from it is a plain DataFrame.

    Attributes
    ----------
    note : str
    """

    _metadata: ClassVar[list[str]] = ["note"]
    note: str

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return pd.DataFrame

    def __repr__(self) -> str:
        shown = "No rows."
        if len(self):
            shown = self.to_string(index=False, na_rep="", float_format="{:.5g}".format)
        return f"{shown}\n{self.note}" if self.note else shown

    def _repr_html_(self) -> str:
        shown = self.to_html(index=False, na_rep="", float_format="{:.5g}".format)
        return f"{shown}<p>{html.escape(self.note)}</p>" if self.note else shown


def beside(
    labels: Mapping[str, Any], columns: Mapping[str, Any], index: pd.Index | None = None
) -> pd.DataFrame:
    """A table of labels, named after variables of the model, and of columns with names of ours.

    Raises
    ------
    ModelError
        If a variable has the name of one of those columns.
    """
    for name in labels:
        if name in columns:
            raise ModelError(
                f"the variable {name!r} has the name of another column of this table "
                f"({', '.join(columns)}): rename it in the data and fit again"
            )
    return pd.DataFrame({**labels, **columns}, index=index)


def noted(table: pd.DataFrame, *sentences: str, **attrs: Any) -> NotedFrame:
    """A table with a note: the sentences that are not empty; attrs are the frame's."""
    out = NotedFrame(table)
    out.note = " ".join(sentence for sentence in sentences if sentence)
    out.attrs.update(attrs, note=out.note)
    return out
