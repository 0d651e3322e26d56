"""All libraries side by side: ``python -m benchmarks.run --help``."""

from __future__ import annotations

import argparse
import datetime as dt
import os
import platform
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.operations import OPERATIONS, Operation
from benchmarks.problems import GROWTH, PROBLEMS
from benchmarks.processes import LIBRARIES, Settings, measure, measure_growth
from benchmarks.tables import Section, growth_section, operation_section, problem_section

__all__ = ["main"]

_RESULTS = Path(__file__).parent / "RESULTS.md"

_ALL = PROBLEMS | {GROWTH.name: GROWTH} | OPERATIONS
_TOPICS = tuple(dict.fromkeys(entry.topic for entry in _ALL.values()))

_THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "RAYON_NUM_THREADS")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.run",
        description="Do the same with several libraries and compare time and memory.",
    )
    default = Settings()
    parser.add_argument("--topic", nargs="+", choices=_TOPICS, default=_TOPICS)
    parser.add_argument(
        "--problem", nargs="+", choices=_ALL, metavar="NAME", help=f"of: {', '.join(_ALL)}"
    )
    parser.add_argument(
        "--library", nargs="+", choices=LIBRARIES, default=LIBRARIES, metavar="NAME"
    )
    parser.add_argument("--repeats", type=int, default=default.repeats, help="calls timed in all")
    parser.add_argument("--rounds", type=int, default=default.rounds, help="turns of a library")
    parser.add_argument(
        "--budget", type=float, default=default.budget, help="seconds of calls, library by problem"
    )
    parser.add_argument(
        "--timeout", type=float, default=default.timeout, help="seconds before a process is ended"
    )
    parser.add_argument(
        "--peer-python", default=default.peer_python, help="interpreter that has the peers"
    )
    parser.add_argument("--rscript", default=default.rscript, help="Rscript that has R's peers")
    parser.add_argument("--attempt-all", action="store_true", help="even what takes too long")
    parser.add_argument("--write", action="store_true", help=f"into {_RESULTS.name}")
    return parser


def _settings(arguments: argparse.Namespace) -> Settings:
    return Settings(
        peer_python=arguments.peer_python,
        rscript=arguments.rscript,
        repeats=arguments.repeats,
        rounds=max(1, min(arguments.rounds, arguments.repeats)),
        budget=arguments.budget,
        timeout=arguments.timeout,
        attempt_all=arguments.attempt_all,
    )


def _section(name: str, libraries: Sequence[str], settings: Settings) -> Section:
    """The measurement of one problem or operation."""
    if name == GROWTH.name:
        return growth_section(measure_growth(settings))
    entry = _ALL[name]
    tallies = measure(entry, libraries, settings)
    if isinstance(entry, Operation):
        return operation_section(entry, tallies)
    return problem_section(entry, tallies)


def _sections(
    names: Sequence[str], libraries: Sequence[str], settings: Settings
) -> Iterator[Section]:
    """Each section as soon as it is measured, with when and where."""
    for name in names:
        if "mixedfit" in libraries or name != GROWTH.name:
            section = _section(name, libraries, settings)
            yield replace(section, remarks=[*section.remarks, _circumstances(settings)])


def _processor() -> str:
    """Name of the processor."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _circumstances(settings: Settings) -> str:
    """When and where a measurement was made."""
    threads = [f"{name}={os.environ[name]}" for name in _THREAD_VARIABLES if name in os.environ]
    return (
        f"Measured {dt.datetime.now(dt.UTC):%d %b %Y} on {_processor()}, {os.cpu_count()} cores, "
        f"{platform.system()}, Python {platform.python_version()}, threads "
        f"{', '.join(threads) if threads else 'as the libraries choose'}: at most "
        f"{settings.repeats} calls in {settings.rounds} rounds, at most {settings.budget:g} s."
    )


def _written(page: str) -> dict[str, str]:
    """The sections of a page by name, as they stand."""
    parts = re.split(r"^(?=## )", page, flags=re.MULTILINE)[1:]
    return {part[3 : part.index(":")]: part for part in parts}


def _page(section: Section, before: str) -> str:
    """The text of RESULTS.md with a section in its place, the others kept."""
    texts = _written(before) | {section.name: section.as_markdown()}
    opening = (
        "# Results\n\nMade by `python -m benchmarks.run --write`; README.md tells what the columns "
        "mean, and each table when and where it was measured.\n\n"
    )
    return opening + "\n".join(texts[name].rstrip() + "\n" for name in _ALL if name in texts)


def main() -> None:
    """Measure and print; with ``--write`` also put the tables into RESULTS.md."""
    arguments = _parser().parse_args()
    settings = _settings(arguments)
    names = arguments.problem or [n for n, one in _ALL.items() if one.topic in arguments.topic]
    for section in _sections(names, arguments.library, settings):
        print(section.as_text(), flush=True)
        if arguments.write:
            before = _RESULTS.read_text(encoding="utf-8") if _RESULTS.exists() else ""
            _RESULTS.write_text(_page(section, before), encoding="utf-8")
            print(f"Wrote {section.name} to {_RESULTS.name}.", file=sys.stderr)


if __name__ == "__main__":
    main()
