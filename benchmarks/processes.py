"""Measurements, each made in a process of its own."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.operations import Operation
from benchmarks.problems import Problem

__all__ = ["LIBRARIES", "Settings", "Tally", "measure", "measure_growth"]

_IN_PYTHON = ("mixedfit", "mixedlm", "lme-python", "statsmodels")
_IN_R = ("lme4", "nlme", "glmmTMB", "pbkrtest", "metafor", "VGAM", "limma")
LIBRARIES = (*_IN_PYTHON, *_IN_R)

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Settings:
    """How a run is made.

    Attributes
    ----------
    peer_python : str
        Interpreter that has the Python peers; mixedfit runs under the present one.
    rscript : str
        Rscript of an R that has lme4.
    repeats : int
        Fits timed in all rounds together.
    rounds : int
        How often each library has its turn, in a new process each time.
    budget : float
        Seconds of fits for one library and problem, all rounds together.
    timeout : float
        Seconds after which a process is stopped.
    attempt_all : bool
        Also what an adapter leaves out.
    """

    peer_python: str = sys.executable
    rscript: str = "Rscript"
    repeats: int = 15
    rounds: int = 3
    budget: float = 60.0
    timeout: float = 300.0
    attempt_all: bool = False

    @property
    def repeats_a_round(self) -> int:
        """Fits timed in one process."""
        return -(-self.repeats // self.rounds)

    @property
    def budget_a_round(self) -> float:
        """Seconds of fits in one process."""
        return self.budget / self.rounds


@dataclass
class Tally:
    """What is known of one library on one problem after some rounds.

    Attributes
    ----------
    library : str
    version : str or None
    seconds, refit_seconds : list of float
    spent : float
        Seconds of all fits, warm-ups included.
    first : float
        Seconds of the longest warm-up.
    peak_mb, added_mb : float or None
        Largest resident memory during the fits, and how much more that was than before them.
    criterion, evaluations, note, numbers
        As in `benchmarks.adapter.Outcome`.
    skipped : str
        Why there is no measurement.
    """

    library: str
    version: str | None = None
    seconds: list[float] = field(default_factory=list)
    refit_seconds: list[float] = field(default_factory=list)
    spent: float = 0.0
    first: float = 0.0
    peak_mb: float | None = None
    added_mb: float | None = None
    criterion: float | None = None
    evaluations: int | None = None
    note: str = ""
    numbers: list[float] = field(default_factory=list)
    skipped: str = ""

    @property
    def median(self) -> float:
        """Median seconds of a fit."""
        return statistics.median(self.seconds)

    @property
    def measured(self) -> bool:
        """Whether there is a time."""
        return bool(self.seconds)

    def wants_more(self, budget: float) -> bool:
        """Whether another round fits in the budget."""
        return not self.skipped and self.spent + self.first <= budget

    def add(self, answer: dict[str, Any]) -> None:
        """Take in what a process printed."""
        self.version = answer.get("version") or self.version
        if "skipped" in answer:
            self.skipped = answer["skipped"]
            return
        self.seconds += answer["seconds"]
        self.refit_seconds += answer.get("refit_seconds", [])
        self.first = max(self.first, answer["first_seconds"])
        self.spent += sum(answer["seconds"])
        if answer["seconds"] != [answer["first_seconds"]]:  # else the warm-up was the measurement
            self.spent += answer["first_seconds"]
        self.criterion, self.evaluations = answer["criterion"], answer["evaluations"]
        self.note, self.numbers = answer["note"], answer.get("numbers", [])
        before, peak = answer["memory_before_mb"], answer["memory_peak_mb"]
        if peak is not None:
            self.peak_mb = max(peak, self.peak_mb or 0.0)
            self.added_mb = max(peak - before, self.added_mb or 0.0)


def _python_command(
    library: str, problem: Problem | Operation, data: Path, settings: Settings
) -> list[str]:
    interpreter = sys.executable if library == "mixedfit" else settings.peer_python
    script = "operation" if isinstance(problem, Operation) else library.replace("-", "_")
    command = [interpreter, "-m", f"benchmarks.bench_{script}", problem.name, "--data", str(data)]
    command += ["--repeats", str(settings.repeats_a_round)]
    command += ["--budget", str(settings.budget_a_round)]
    return [*command, "--attempt-all"] if settings.attempt_all else command


def _r_script(library: str, problem: Problem | Operation) -> tuple[str, dict[str, str]]:
    """The script that asks an R package, and what it is told besides the data."""
    if isinstance(problem, Operation):
        return "bench_operation.R", {"routine": problem.routine, "option": problem.option}
    if problem.calls:
        return "bench_nlme.R", {"call": problem.calls[library]}
    return "bench_lme4.R", {"formula": problem.formula, "method": problem.method}


def _r_command(
    library: str, problem: Problem | Operation, data: Path, settings: Settings
) -> list[str]:
    script, own = _r_script(library, problem)
    entries = own | {
        "library": library,
        "problem": problem.name,
        "data": data,
        "factors": ",".join(problem.factors),
        "repeats": settings.repeats_a_round,
        "budget": settings.budget_a_round,
    }
    return [settings.rscript, str(_HERE / script), *(f"{k}={v}" for k, v in entries.items())]


def _answer(command: list[str], timeout: float) -> dict[str, Any]:
    """The last line of JSON a process printed, or why there is none."""
    try:
        done = subprocess.run(
            command,
            cwd=_HERE.parent,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"skipped": f"no answer within {timeout:g} s"}
    except OSError as error:
        return {"skipped": f"cannot be run: {command[0]}: {error.strerror}"}
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        return {"skipped": f"failed with code {done.returncode}: {_reason(done.stderr)}"}
    return json.loads(lines[-1])


def _reason(errors: str) -> str:
    """The line of an error output that says most: a traceback's last, a crash's first."""
    lines = errors.strip().splitlines() or ["no output"]
    return lines[-1] if lines[0].startswith("Traceback") else lines[0]


def _make_data(problem: Problem | Operation, path: Path) -> None:
    """Make the data in a process that has gone when the calls are timed."""
    command = [sys.executable, "-m", "benchmarks.data", problem.name, str(path)]
    subprocess.run(command, cwd=_HERE.parent, check=True)


def measure(
    problem: Problem | Operation, libraries: Iterable[str], settings: Settings
) -> list[Tally]:
    """Give each library its turn, round after round, so that all meet the same machine."""
    tallies = [Tally(library) for library in problem.libraries if library in set(libraries)]
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / f"{problem.name}.csv"
        _make_data(problem, data)
        for turn in range(settings.rounds):
            for tally in tallies:
                if not tally.wants_more(settings.budget):
                    continue
                print(f"{problem.name}, round {turn + 1}: {tally.library}", file=sys.stderr)
                ask = _r_command if tally.library in _IN_R else _python_command
                command = ask(tally.library, problem, data, settings)
                tally.add(_answer(command, settings.timeout))
    return tallies


def measure_growth(settings: Settings) -> dict[str, Any]:
    """Time the steps of a fit at growing numbers of rows."""
    print("growth: mixedfit", file=sys.stderr)
    command = [sys.executable, "-m", "benchmarks.bench_growth"]
    return _answer([*command, "--repeats", str(settings.repeats_a_round)], settings.timeout)
