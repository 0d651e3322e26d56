"""mixedlm on one problem: ``python -m benchmarks.bench_mixedlm PROBLEM``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from benchmarks.adapter import Adapter, Outcome, main
from benchmarks.problems import Problem


def prepare(problem: Problem, frame: pd.DataFrame) -> Callable[[], Any]:
    """The fit to be timed."""
    import mixedlm  # noqa: PLC0415  # after it was found that it can be imported

    def fit() -> Any:
        result = mixedlm.lmer(problem.formula, frame, REML=problem.method == "REML")
        assert len(result.fixef())
        return result

    return fit


def outcome(result: Any) -> Outcome:
    """What the fit found."""
    criterion = result.REMLcrit() if result.isREML() else -2.0 * result.logLik().value
    note = "singular" if result.isSingular() else ""
    return Outcome(float(criterion), result.function_evals, note)


if __name__ == "__main__":
    main(Adapter("mixedlm", "mixedlm", prepare, outcome))
