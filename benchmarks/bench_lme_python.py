"""lme-python on one problem: ``python -m benchmarks.bench_lme_python PROBLEM``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from benchmarks.adapter import Adapter, Outcome, main
from benchmarks.problems import Problem

TOO_SLOW = {
    "insteval": "version 0.2.7 had not finished one fit after nine minutes",
    "nested": "version 0.2.7 asks for 80 GB of memory and aborts",
}

# Interactions within the bars are refused ("malformed random-effect expression"): columns instead.
_PRODUCTS = {"a:b": ("a", "b"), "a:c": ("a", "c")}


def prepare(problem: Problem, frame: pd.DataFrame) -> Callable[[], Any]:
    """The fit to be timed; labels are strings in a polars frame."""
    import lme_python  # noqa: PLC0415  # after it was found that it can be imported
    import polars as pl  # noqa: PLC0415

    if problem.method != "REML":
        raise NotImplementedError("lmer of lme-python is called for REML here")
    formula, columns = problem.formula, {name: frame[name].tolist() for name in frame}
    for term, (left, right) in _PRODUCTS.items():
        if term in formula:
            formula = formula.replace(term, left + right)
            columns[left + right] = (frame[left] * frame[right]).tolist()
    data = pl.DataFrame(columns)

    def fit() -> Any:
        result = lme_python.lmer(formula, data)
        assert len(result.coefficients)
        return result

    return fit


def outcome(result: Any) -> Outcome:
    """What the fit found."""
    note = "" if result.converged else "says it did not converge"
    return Outcome(float(result.reml_criterion), None, note)


if __name__ == "__main__":
    main(Adapter("lme-python", "lme_python", prepare, outcome, too_slow=TOO_SLOW))
