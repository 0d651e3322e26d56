"""Measurements as tables, and the verdict on each bar."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.operations import Operation
from benchmarks.problems import FASTEST, GROWTH, Bar, Problem
from benchmarks.processes import Tally

__all__ = ["Section", "growth_section", "operation_section", "problem_section"]

# How far above the best criterion a fit still counts as the same optimum.
_SAME_OPTIMUM = 0.01

_TIMES = ("library", "version", "median ms", "min ms", "max ms", "calls", "mixedfit/peer")
_MEMORY = ("peak MB", "added MB", "note")
_OF_PROBLEMS = (*_TIMES, "criterion - best", "evaluations", *_MEMORY)
_OF_OPERATIONS = (*_TIMES, "difference", *_MEMORY)


@dataclass(frozen=True)
class Section:
    """One problem or operation of the report.

    Attributes
    ----------
    name : str
    title : str
        The formula, or the call.
    about : str
    headers : tuple of str
    rows : list of tuple of str
    remarks : list of str
        Lines after the table, the verdict last.
    """

    name: str
    title: str
    about: str
    headers: tuple[str, ...]
    rows: list[tuple[str, ...]]
    remarks: list[str]

    def as_text(self) -> str:
        """The section in columns of a fixed width."""
        cells = [self.headers, *self.rows]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        last = len(widths) - 1
        lines = [
            "  ".join(
                cell.ljust(width) if place in (0, 1, last) else cell.rjust(width)
                for place, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in cells
        ]
        heading = f"{self.name}: {self.title}"
        return "\n".join([heading, self.about, "", *lines, *self.remarks, ""])

    def as_markdown(self) -> str:
        """The section as a Markdown table."""
        rule = tuple("---" for _ in self.headers)
        lines = ["| " + " | ".join(row) + " |" for row in (self.headers, rule, *self.rows)]
        remarks = [line for remark in self.remarks for line in ("", remark)]
        return "\n".join(
            [f"## {self.name}: `{self.title}`", "", self.about, "", *lines, *remarks, ""]
        )


def _megabytes(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _milliseconds(seconds: float) -> str:
    value = 1e3 * seconds
    return f"{value:,.0f}" if value >= 1e3 else f"{value:.3g}"


def _excess(criterion: float | None, best: float | None) -> str:
    """How far a criterion is above the best, in two digits."""
    if criterion is None or best is None:
        return "-"
    return "0" if criterion - best < 1e-7 else f"{criterion - best:.1e}"


def _best(tallies: list[Tally]) -> float | None:
    return min((t.criterion for t in tallies if t.criterion is not None), default=None)


def _reached(tally: Tally, best: float | None) -> bool:
    """Whether a fit ended at the optimum, as far as the criteria of this run tell."""
    if tally.criterion is None or best is None:
        return False
    return tally.criterion - best <= _SAME_OPTIMUM


def _row(
    tally: Tally, own: Tally | None, found: tuple[str, ...], notes: list[str]
) -> tuple[str, ...]:
    """A library's row; ``found`` stands between its times and its memory."""
    if not tally.measured:
        empty = ("-",) * (len(_TIMES) + len(found) + len(_MEMORY) - 3)
        return (tally.library, tally.version or "-", *empty, tally.skipped)
    ratio = f"{own.median / tally.median:.3g}" if own and own is not tally else "-"
    if tally.skipped:
        notes = [*notes, f"a later round: {tally.skipped}"]
    return (
        tally.library,
        tally.version or "-",
        _milliseconds(tally.median),
        _milliseconds(min(tally.seconds)),
        _milliseconds(max(tally.seconds)),
        str(len(tally.seconds)),
        ratio,
        *found,
        _megabytes(tally.peak_mb),
        _megabytes(tally.added_mb),
        "; ".join(filter(None, notes)),
    )


def _own(tallies: list[Tally]) -> Tally | None:
    """The measurement of mixedfit."""
    return next((t for t in tallies if t.library == "mixedfit" and t.measured), None)


def _ratio_verdict(bar: Bar, own: Tally | None, peers: list[Tally]) -> str:
    """The bar and whether the medians of this run meet it; peers are those that count."""
    if bar.peer != FASTEST:
        peers = [t for t in peers if t.library == bar.peer]
    name = "the fastest peer" if bar.peer == FASTEST else bar.peer
    text = f"Bar: at most {bar.ratio:.3g} times the time of {name}"
    if own is None or not peers:
        missing = "mixedfit" if own is None else "a measured peer"
        return f"{text}: not judged without {missing}."
    peer = min(peers, key=lambda t: t.median)
    ratio = own.median / peer.median
    word = "met" if ratio <= bar.ratio else "missed"
    return f"{text}: {word}, {ratio:.3g} times {peer.library}."


def _seconds_verdict(seconds: float | None, own: Tally | None) -> list[str]:
    """The bar on mixedfit's time alone, if there is one."""
    if seconds is None:
        return []
    text = f"Bar: at most {seconds:g} s"
    if own is None:
        return [f"{text}: not judged without mixedfit."]
    word = "met" if own.median <= seconds else "missed"
    return [f"{text}: {word}, {own.median:.3g} s."]


def problem_section(problem: Problem, tallies: list[Tally]) -> Section:
    """The libraries side by side on one problem."""
    best, own = _best(tallies), _own(tallies)
    remarks = [f"{problem.method} criterion, best of the run: {best:.6f}."] if best else []
    if own and own.refit_seconds:
        refit = _milliseconds(statistics.median(own.refit_seconds))
        remarks.append(f"mixedfit, refit of another response: {refit} ms.")
    if own and not _reached(own, best):
        remarks.append("Bar: missed, mixedfit is not at the optimum.")
    else:
        peers = [t for t in tallies if t is not own and t.measured and _reached(t, best)]
        remarks.append(_ratio_verdict(problem.bar, own, peers))
        remarks += _seconds_verdict(problem.seconds, own)
    rows = []
    for tally in tallies:
        evaluations = "-" if tally.evaluations is None else str(tally.evaluations)
        notes = [tally.note, "" if _reached(tally, best) else "not at the optimum"]
        found = (_excess(tally.criterion, best), evaluations)
        rows.append(_row(tally, own, found, notes))
    return Section(problem.name, problem.title, problem.about, _OF_PROBLEMS, rows, remarks)


def _difference(tally: Tally, own: Tally | None) -> str:
    """The largest relative difference between a peer's numbers and mixedfit's."""
    if own is None or tally is own or not tally.numbers or not own.numbers:
        return "-"
    found, ours = np.array(tally.numbers), np.array(own.numbers)
    if len(found) != len(ours):
        return f"{len(found)} numbers, not {len(ours)}"
    return f"{np.max(np.abs(found - ours) / np.maximum(np.abs(ours), 1e-300)):.1g}"


def operation_section(operation: Operation, tallies: list[Tally]) -> Section:
    """mixedfit and its peer side by side on one operation."""
    own = _own(tallies)
    peers = [t for t in tallies if t is not own and t.measured]
    remarks = [_ratio_verdict(operation.bar, own, peers)] if operation.bar else []
    remarks += _seconds_verdict(operation.seconds, own)
    rows = [_row(tally, own, (_difference(tally, own),), [tally.note]) for tally in tallies]
    return Section(operation.name, operation.title, operation.about, _OF_OPERATIONS, rows, remarks)


def growth_section(answer: dict[str, Any]) -> Section:
    """The steps of a fit at growing numbers of rows."""
    headers = (
        "rows",
        "design ms",
        "cross-products ms",
        "search ms",
        "search again ms",
        "evaluations",
    )
    steps = ("design", "cross_products", "search", "search_again")
    sizes = answer.get("sizes", [])
    rows = [
        (
            f"{size['rows']:,}",
            *(_milliseconds(size[step]) for step in steps),
            f"{size['evaluations']:g}",
        )
        for size in sizes
    ]
    bar = f"Bar: search again at the most rows at most {GROWTH.ratio:g} times that at the fewest"
    if rows:
        ratio = sizes[-1]["search_again"] / sizes[0]["search_again"]
        word = "met" if ratio <= GROWTH.ratio else "missed"
        remark = f"{bar}: {word}, {ratio:.3g} times."
    else:
        remark = f"{bar}: not judged: {answer['skipped']}."
    return Section(GROWTH.name, GROWTH.formula, GROWTH.about, headers, rows, [remark])
