"""All libraries side by side: ``python -m benchmarks.run --help``."""

from __future__ import annotations

import argparse
import datetime as dt
import os
import platform
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.problems import GROWTH, PROBLEMS
from benchmarks.processes import LIBRARIES, Settings, measure, measure_growth, write_data
from benchmarks.tables import Section, growth_section, problem_section

__all__ = ["main"]

_RESULTS = Path(__file__).parent / "RESULTS.md"

_THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "RAYON_NUM_THREADS")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.run",
        description="Fit the same models with several libraries and compare time and memory.",
    )
    default = Settings()
    names = [*PROBLEMS, GROWTH.name]
    parser.add_argument("--problem", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument(
        "--library", nargs="+", choices=LIBRARIES, default=LIBRARIES, metavar="NAME"
    )
    parser.add_argument("--repeats", type=int, default=default.repeats, help="fits timed in all")
    parser.add_argument("--rounds", type=int, default=default.rounds, help="turns of a library")
    parser.add_argument(
        "--budget", type=float, default=default.budget, help="seconds of fits, library by problem"
    )
    parser.add_argument(
        "--timeout", type=float, default=default.timeout, help="seconds before a process is ended"
    )
    parser.add_argument(
        "--peer-python", default=default.peer_python, help="interpreter that has the peers"
    )
    parser.add_argument("--rscript", default=default.rscript, help="Rscript that has lme4")
    parser.add_argument("--attempt-all", action="store_true", help="even what takes too long")
    parser.add_argument("--write", action="store_true", help=f"write {_RESULTS.name}")
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


def _sections(
    names: Sequence[str], libraries: Sequence[str], settings: Settings
) -> Iterator[Section]:
    """Each problem as soon as it is measured."""
    for name in names:
        if name == GROWTH.name:
            if "mixedfit" in libraries:
                yield growth_section(measure_growth(settings))
            continue
        problem = PROBLEMS[name]
        with tempfile.TemporaryDirectory() as folder:
            data = Path(folder) / f"{name}.csv"
            write_data(problem, data)
            yield problem_section(problem, measure(problem, libraries, data, settings))


def _processor() -> str:
    """Name of the processor."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _circumstances(settings: Settings) -> list[str]:
    """When and where the run was made."""
    threads = [f"{name}={os.environ[name]}" for name in _THREAD_VARIABLES if name in os.environ]
    return [
        f"Date: {dt.datetime.now(dt.UTC):%d %b %Y}.",
        f"Machine: {_processor()}, {os.cpu_count()} cores, {platform.system()}, "
        f"Python {platform.python_version()}.",
        f"Threads: {', '.join(threads) if threads else 'as the libraries choose'}.",
        f"At most {settings.repeats} fits a library and problem in {settings.rounds} rounds, "
        f"at most {settings.budget:g} s of fits.",
    ]


def _page(sections: Sequence[Section], settings: Settings) -> str:
    """The text of RESULTS.md."""
    opening = [
        "# Results",
        "",
        *(f"- {line}" for line in _circumstances(settings)),
        "- Again: `python -m benchmarks.run --write` (README.md tells what the columns mean).",
        "",
    ]
    return "\n".join([*opening, *(section.as_markdown() for section in sections)])


def main() -> None:
    """Measure and print; with ``--write`` also write RESULTS.md."""
    arguments = _parser().parse_args()
    settings = _settings(arguments)
    print("\n".join(_circumstances(settings)), end="\n\n", flush=True)
    sections = []
    for section in _sections(arguments.problem, arguments.library, settings):
        print(section.as_text(), flush=True)
        sections.append(section)
    if arguments.write:
        _RESULTS.write_text(_page(sections, settings), encoding="utf-8")
        print(f"Wrote {_RESULTS.name}.", file=sys.stderr)


if __name__ == "__main__":
    main()
