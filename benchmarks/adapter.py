"""What the adapters share: the protocol, the clock, the memory, the line of JSON."""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import resource
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.data import read_data
from benchmarks.operations import Operation
from benchmarks.problems import PROBLEMS, Problem

__all__ = ["Adapter", "Outcome", "main", "memory_mb", "reset_peak", "time_repeats"]

_STATUS = Path("/proc/self/status")

# Seconds from which a fit leaves enough behind to be collected before the next.
_LONG = 0.1


@dataclass(frozen=True)
class Outcome:
    """What a fit found.

    Attributes
    ----------
    criterion : float or None
        REML criterion, or -2 log likelihood, on lme4's scale.
    evaluations : int or None
        Evaluations of the criterion.
    note : str
        What a reader should know, such as a warning of the library itself.
    numbers : list of float
        What an operation found, for comparison with its peer.
    """

    criterion: float | None
    evaluations: int | None
    note: str = ""
    numbers: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Adapter:
    """How one library answers.

    Attributes
    ----------
    library : str
        Its name on PyPI and in the tables.
    module : str
        Its name when imported.
    prepare : callable
        From a problem (or an operation) and its frame to a function without arguments; that of a
        problem takes the formula as a string and ends with the estimates of the fixed effects. What
        is done before is not timed.
    outcome : callable
        From what that function returns to an `Outcome`.
    not_expressed : mapping of str to str
        Problems whose model the library does not have, and why.
    too_slow : mapping of str to str
        Problems left out unless all are to be attempted, and why.
    extras : callable, optional
        From a problem, its frame and the number of repeats to further entries of the answer.
    """

    library: str
    module: str
    prepare: Callable[[Any, pd.DataFrame], Callable[[], Any]]
    outcome: Callable[[Any], Outcome]
    not_expressed: Mapping[str, str] = field(default_factory=dict)
    too_slow: Mapping[str, str] = field(default_factory=dict)
    extras: Callable[[Problem, pd.DataFrame, int], dict[str, Any]] | None = None


def memory_mb() -> tuple[float, float]:
    """Resident memory in MB: now, and the peak since `reset_peak` (or since the start)."""
    if _STATUS.exists():  # ru_maxrss there starts at the size of the parent process
        lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
        return tuple(int(lines[key].split()[0]) / 1024 for key in ("VmRSS", "VmHWM"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak /= 1024**2 if sys.platform == "darwin" else 1024
    return peak, peak


def reset_peak() -> None:
    """Forget the peak of making the data, where the system can."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def time_repeats(
    fit: Callable[[], Any], repeats: int, budget: float
) -> tuple[list[float], float, Any]:
    """Time a fit again and again.

    Parameters
    ----------
    fit : callable
    repeats : int
        How often, after one call to warm up.
    budget : float
        Seconds, the warm-up included, that another repeat must fit in. A warm-up that leaves no
        room for a repeat is itself the measurement.

    Returns
    -------
    seconds : list of float
    first : float
        Seconds of the warm-up.
    result
        Of the last call.
    """
    begin = time.perf_counter()
    result = fit()
    first = time.perf_counter() - begin
    seconds: list[float] = []
    longest = first
    while len(seconds) < repeats and time.perf_counter() - begin + longest <= budget:
        result = None  # two results at once would count twice in the peak of memory
        if longest > _LONG:  # before a short fit a collection would only empty the caches
            gc.collect()
        start = time.perf_counter()
        result = fit()
        seconds.append(time.perf_counter() - start)
        longest = statistics.median(seconds)
    return seconds or [first], first, result


def _measure(
    adapter: Adapter, problem: Problem | Operation, data: Path | None, repeats: int, budget: float
) -> dict[str, Any]:
    """Everything known about one library on one problem."""
    frame = read_data(problem, data)
    fit = adapter.prepare(problem, frame)
    gc.collect()
    reset_peak()
    before, _ = memory_mb()
    seconds, first, result = time_repeats(fit, repeats, budget)
    _, peak = memory_mb()
    answer = {"seconds": seconds, "first_seconds": first}
    answer |= {"memory_before_mb": before, "memory_peak_mb": peak}
    answer |= asdict(adapter.outcome(result))
    if adapter.extras:
        answer |= adapter.extras(problem, frame, repeats)
    return answer


def _answer(
    adapter: Adapter, problem: Problem | Operation, arguments: argparse.Namespace
) -> dict[str, Any]:
    """What the process has to say: a measurement, or why there is none."""
    head = {"library": adapter.library, "version": None, "problem": problem.name}
    reason = adapter.not_expressed.get(problem.name)
    if adapter.library not in problem.libraries:
        reason = "it has no such model"
    if not (reason or arguments.attempt_all):
        reason = adapter.too_slow.get(problem.name)
    if reason:
        return head | {"skipped": f"not attempted: {reason}"}
    try:
        importlib.import_module(adapter.module)
    except ImportError as error:
        return head | {"skipped": f"cannot be imported: {error}"}
    head["version"] = metadata.version(adapter.library)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the criterion tells whether the optimum was reached
            return head | _measure(
                adapter, problem, arguments.data, arguments.repeats, arguments.budget
            )
    except Exception as error:
        return head | {"skipped": f"failed: {type(error).__name__}: {error}"}


def main(adapter: Adapter, problems: Mapping[str, Problem | Operation] = PROBLEMS) -> None:
    """Measure one library on one problem and print a line of JSON."""
    parser = argparse.ArgumentParser(description=f"Time {adapter.library} on one problem.")
    parser.add_argument("problem", choices=problems)
    parser.add_argument("--repeats", type=int, default=5, help="calls timed after one warm-up")
    parser.add_argument("--budget", type=float, default=60.0, help="seconds for all calls")
    parser.add_argument("--data", type=Path, help="CSV of benchmarks.data; else made here")
    parser.add_argument("--attempt-all", action="store_true", help="even what takes too long")
    arguments = parser.parse_args()
    print(json.dumps(_answer(adapter, problems[arguments.problem], arguments)))
