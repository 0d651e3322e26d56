"""Measurements as tables, and the verdict on each bar."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

from benchmarks.problems import FASTEST, GROWTH, Problem
from benchmarks.processes import Tally

__all__ = ["Section", "growth_section", "problem_section"]

# How far above the best criterion a fit still counts as the same optimum.
_SAME_OPTIMUM = 0.01

_HEADERS = (
    "library",
    "version",
    "median ms",
    "min ms",
    "max ms",
    "fits",
    "mixedfit/peer",
    "criterion - best",
    "evaluations",
    "peak MB",
    "added MB",
    "note",
)


@dataclass(frozen=True)
class Section:
    """One problem of the report.

    Attributes
    ----------
    title : str
        "NAME: FORMULA".
    about : str
    headers : tuple of str
    rows : list of tuple of str
    remarks : list of str
        Lines after the table, the verdict last.
    """

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
        return "\n".join([self.title, self.about, "", *lines, *self.remarks, ""])

    def as_markdown(self) -> str:
        """The section as a Markdown table."""
        rule = tuple("---" for _ in self.headers)
        lines = ["| " + " | ".join(row) + " |" for row in (self.headers, rule, *self.rows)]
        remarks = [line for remark in self.remarks for line in ("", remark)]
        name, _, formula = self.title.partition(": ")
        return "\n".join([f"## {name}: `{formula}`", "", self.about, "", *lines, *remarks, ""])


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


def _row(tally: Tally, own: Tally | None, best: float | None) -> tuple[str, ...]:
    if not tally.measured:
        empty = ("-",) * (len(_HEADERS) - 3)
        return (tally.library, tally.version or "-", *empty, tally.skipped)
    ratio = f"{own.median / tally.median:.3g}" if own and own is not tally else "-"
    notes = [tally.note, "" if _reached(tally, best) else "not at the optimum"]
    if tally.skipped:
        notes.append(f"a later round: {tally.skipped}")
    return (
        tally.library,
        tally.version or "-",
        _milliseconds(tally.median),
        _milliseconds(min(tally.seconds)),
        _milliseconds(max(tally.seconds)),
        str(len(tally.seconds)),
        ratio,
        _excess(tally.criterion, best),
        "-" if tally.evaluations is None else str(tally.evaluations),
        _megabytes(tally.peak_mb),
        _megabytes(tally.added_mb),
        "; ".join(filter(None, notes)),
    )


def _verdict(problem: Problem, tallies: list[Tally]) -> str:
    """The bar and whether the medians of this run meet it."""
    best = _best(tallies)
    own = next((t for t in tallies if t.library == "mixedfit" and t.measured), None)
    peers = [t for t in tallies if t.library != "mixedfit" and _reached(t, best) and t.measured]
    if problem.bar.peer != FASTEST:
        peers = [t for t in peers if t.library == problem.bar.peer]
    name = "the fastest peer" if problem.bar.peer == FASTEST else problem.bar.peer
    bar = f"Bar: at most {problem.bar.ratio:g} times the time of {name}"
    if own is None or not peers:
        missing = "mixedfit" if own is None else "a peer at the optimum"
        return f"{bar}: not judged without {missing}."
    peer = min(peers, key=lambda t: t.median)
    if not _reached(own, best):
        return f"{bar}: missed, mixedfit is not at the optimum."
    ratio = own.median / peer.median
    word = "met" if ratio <= problem.bar.ratio else "missed"
    return f"{bar}: {word}, {ratio:.3g} times {peer.library}."


def problem_section(problem: Problem, tallies: list[Tally]) -> Section:
    """The libraries side by side on one problem."""
    best = _best(tallies)
    own = next((t for t in tallies if t.library == "mixedfit" and t.measured), None)
    remarks = [f"{problem.method} criterion, best of the run: {best:.6f}."] if best else []
    if own and own.refit_seconds:
        refit = _milliseconds(statistics.median(own.refit_seconds))
        remarks.append(f"mixedfit, refit of another response: {refit} ms.")
    remarks.append(_verdict(problem, tallies))
    rows = [_row(tally, own, best) for tally in tallies]
    return Section(f"{problem.name}: {problem.formula}", problem.about, _HEADERS, rows, remarks)


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
    return Section(f"{GROWTH.name}: {GROWTH.formula}", GROWTH.about, headers, rows, [remark])
