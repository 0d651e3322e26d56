"""mixedfit on one operation: ``python -m benchmarks.bench_operation NAME``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from benchmarks.adapter import Adapter, Outcome, main
from benchmarks.operations import OPERATIONS, Operation


def prepare(operation: Operation, frame: pd.DataFrame) -> Callable[[], tuple[Operation, Any]]:
    """The call to be timed."""
    call = operation.prepare(frame)
    return lambda: (operation, call())


def outcome(found: tuple[Operation, Any]) -> Outcome:
    """The numbers to be compared."""
    operation, result = found
    return Outcome(None, None, numbers=[float(value) for value in operation.numbers(result)])


if __name__ == "__main__":
    main(Adapter("mixedfit", "mixedfit", prepare, outcome), OPERATIONS)
