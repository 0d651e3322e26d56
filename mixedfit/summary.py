"""Tables in, text, HTML and LaTeX out; knows nothing of models."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["Summary", "Table", "TableColumn", "format_numbers", "format_p_values"]

Align = Literal["left", "right"]


def format_numbers(values: ArrayLike, digits: int = 4) -> list[str]:
    """Numbers of one column with a common number of decimals; missing ones are blank.

    Parameters
    ----------
    values : array-like of float
    digits : int
        Significant digits of the number with the fewest before the point.

    Examples
    --------
    >>> format_numbers([251.40510, 10.46729])
    ['251.41', '10.47']
    >>> format_numbers([1.5e-7, 2.0])
    ['1.500e-07', '2.000']
    """
    array = np.asarray(values, dtype=float)
    present = np.isfinite(array)
    sizes = np.abs(array[present & (array != 0.0)])
    if len(sizes) and (sizes.max() > 1e5 * sizes.min() or sizes.max() < 1e-4 or sizes.min() >= 1e9):
        return [
            _significant(v, digits) if ok else _blank(v)
            for v, ok in zip(array, present, strict=True)
        ]
    smallest = int(np.floor(np.log10(sizes.min()))) if len(sizes) else 0
    decimals = max(0, digits - 1 - smallest)
    return [f"{v:.{decimals}f}" if ok else _blank(v) for v, ok in zip(array, present, strict=True)]


def _significant(value: float, digits: int) -> str:
    """With so many digits, zeros at the end included."""
    return f"{value:#.{digits}g}".removesuffix(".")


def _blank(value: float) -> str:
    return "" if np.isnan(value) else f"{value:g}"


def format_p_values(values: ArrayLike) -> list[str]:
    """p-values with three digits, the smallest as a bound.

    Examples
    --------
    >>> format_p_values([0.0321, 3e-20])
    ['0.0321', '<1e-16']
    """
    out = []
    for value in np.asarray(values, dtype=float):
        if np.isnan(value):
            out.append("")
        elif value < 1e-16:
            out.append("<1e-16")
        else:
            out.append(f"{value:.2e}" if value < 1e-4 else f"{value:.4f}")
    return out


@dataclass(frozen=True)
class TableColumn:
    """One column: its heading, its cells as text, and how they are aligned."""

    heading: str
    cells: Sequence[str]
    align: Align = "right"


@dataclass(frozen=True)
class Table:
    """A titled table of text.

    Attributes
    ----------
    title : str
    columns : sequence of TableColumn
    notes : sequence of str
        Lines below the table.
    """

    title: str
    columns: Sequence[TableColumn]
    notes: Sequence[str] = ()

    def as_text(self) -> str:
        """Aligned with spaces."""
        widths = [max(map(len, (c.heading, *c.cells)), default=0) for c in self.columns]
        rows = [
            [c.heading for c in self.columns],
            *zip(*(c.cells for c in self.columns), strict=True),
        ]
        lines = [self.title] if self.title else []
        for row in rows:
            cells = [
                cell.ljust(w) if c.align == "left" else cell.rjust(w)
                for cell, w, c in zip(row, widths, self.columns, strict=True)
            ]
            lines.append(("  " + "  ".join(cells)).rstrip())
        return "\n".join([*lines, *self.notes])

    def as_html(self) -> str:
        """As a table element."""
        style = {"left": "text-align:left", "right": "text-align:right"}
        head = "".join(
            f'<th style="{style[c.align]}">{html.escape(c.heading)}</th>' for c in self.columns
        )
        body = "".join(
            "<tr>"
            + "".join(
                f'<td style="{style[c.align]}">{html.escape(cell)}</td>'
                for cell, c in zip(row, self.columns, strict=True)
            )
            + "</tr>"
            for row in zip(*(c.cells for c in self.columns), strict=True)
        )
        caption = (
            '<caption style="caption-side:top;text-align:left;font-weight:bold;'
            'white-space:nowrap">'
            f"{html.escape(self.title)}</caption>"
        )
        notes = "".join(f"<p>{html.escape(note)}</p>" for note in self.notes)
        return (
            f"<table>{caption if self.title else ''}<thead><tr>{head}</tr></thead>"
            f"<tbody>{body}</tbody></table>{notes}"
        )

    def as_latex(self) -> str:
        """As a tabular environment with booktabs rules."""
        spec = "".join("l" if c.align == "left" else "r" for c in self.columns)
        lines = [f"\\begin{{tabular}}{{{spec}}}", "\\toprule"]
        lines.append(" & ".join(_latex(c.heading) for c in self.columns) + r" \\")
        lines.append("\\midrule")
        rows = zip(*(c.cells for c in self.columns), strict=True)
        lines.extend(" & ".join(map(_latex, row)) + r" \\" for row in rows)
        lines.extend(["\\bottomrule", "\\end{tabular}"])
        heading = [f"\\textbf{{{_latex(self.title)}}}\n"] if self.title else []
        notes = [f"\n{_latex(note)}" for note in self.notes]
        return "\n".join([*heading, *lines, *notes])


_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


@dataclass(frozen=True)
class Summary:
    """A report of tables: prints as text, shows as HTML in notebooks.

    Attributes
    ----------
    title : str
    facts : sequence of (str, str)
        Name and value, a line each, above the tables.
    tables : sequence of Table
    notes : sequence of str
        Lines at the end.
    """

    title: str
    facts: Sequence[tuple[str, str]]
    tables: Sequence[Table]
    notes: Sequence[str] = field(default=())

    def __str__(self) -> str:
        facts = [f"{name}: {value}" for name, value in self.facts]
        parts = ["\n".join([self.title, *facts]), *(table.as_text() for table in self.tables)]
        if self.notes:
            parts.append("\n".join(self.notes))
        return "\n\n".join(parts)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        facts = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
            f"<td style='text-align:left'>{html.escape(value)}</td></tr>"
            for name, value in self.facts
        )
        tables = "".join(table.as_html() for table in self.tables)
        notes = "".join(f"<p>{html.escape(note)}</p>" for note in self.notes)
        return (
            f"<div><p><strong>{html.escape(self.title)}</strong></p>"
            f"<table>{facts}</table>{tables}{notes}</div>"
        )

    def as_html(self) -> str:
        """A page of its own."""
        return (
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            f"<title>{html.escape(self.title)}</title><style>"
            "body{font-family:system-ui,sans-serif;margin:2em;color:#222}"
            "table{border-collapse:collapse;margin:0 0 1.5em}"
            "th,td{padding:.25em .8em;font-variant-numeric:tabular-nums}"
            "thead th{border-bottom:1px solid #888}caption{padding:.4em .8em}"
            f"</style></head><body>{self._repr_html_()}</body></html>\n"
        )

    def as_latex(self) -> str:
        """Tabular environments (booktabs), one after the other."""
        facts = "\n\n".join(f"{_latex(name)}: {_latex(value)}" for name, value in self.facts)
        tables = "\n\n".join(table.as_latex() for table in self.tables)
        notes = "\n\n".join(map(_latex, self.notes))
        return "\n\n".join(part for part in (_latex(self.title), facts, tables, notes) if part)
