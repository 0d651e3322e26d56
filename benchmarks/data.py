"""The data of a problem or an operation as CSV, for every library to read the same numbers."""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from benchmarks.operations import OPERATIONS, Operation
from benchmarks.problems import PROBLEMS, Problem

__all__ = ["read_data", "write_data"]


def write_data(problem: Problem | Operation, path: Path) -> None:
    """Write the data as CSV."""
    problem.make().to_csv(path, index=False)


def read_data(problem: Problem | Operation, path: Path | None) -> pd.DataFrame:
    """The data from a file of `write_data` or made here; labels are categories."""
    if path is None:
        return problem.make()
    types = dict.fromkeys(problem.factors, "str")
    frame = pd.read_csv(path, dtype=types, float_precision="round_trip", keep_default_na=False)
    return frame.astype(dict.fromkeys(problem.factors, "category"))


def main() -> None:
    """Write the data of one problem: ``python -m benchmarks.data NAME FILE``."""
    known = PROBLEMS | OPERATIONS
    parser = argparse.ArgumentParser(description="Write the data of a problem as CSV.")
    parser.add_argument("problem", choices=known)
    parser.add_argument("file", type=Path)
    arguments = parser.parse_args()
    write_data(known[arguments.problem], arguments.file)


if __name__ == "__main__":
    main()
