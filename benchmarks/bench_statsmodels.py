"""MixedLM of statsmodels on one problem: ``python -m benchmarks.bench_statsmodels PROBLEM``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from benchmarks.adapter import Adapter, Outcome, main
from benchmarks.problems import Problem


@dataclass(frozen=True)
class Call:
    """A problem in the words of MixedLM.

    Attributes
    ----------
    fixed : str
    groups : str
        The one grouping factor.
    columns : str
        Formula of its correlated effects.
    components : dict of str to str, optional
        Formulas of independent effects within a group.
    """

    fixed: str
    groups: str
    columns: str
    components: dict[str, str] | None = None


CALLS = {
    "sleepstudy": Call("Reaction ~ Days", "Subject", "~ Days"),
    "mathachieve": Call("MathAch ~ SES", "School", "~ SES"),
    "many_groups": Call("y ~ x", "g", "~ x"),
    "nested": Call("y ~ x", "school", "~ 1", {"class": "0 + C(class_)"}),
}

NOT_EXPRESSED = {
    "insteval": "crossed factors would be one dense group of 73,421 rows",
    "maximal": "crossed factors are variance components, which have no correlations",
}


def prepare(problem: Problem, frame: pd.DataFrame) -> Callable[[], Any]:
    """The fit to be timed."""
    import statsmodels.formula.api as smf  # noqa: PLC0415  # after it was found to be there

    call = CALLS[problem.name]
    data = frame.rename(columns={"class": "class_"})  # patsy reads names as Python

    def fit() -> Any:
        model = smf.mixedlm(call.fixed, data, call.columns, call.components, groups=call.groups)
        result = model.fit(reml=problem.method == "REML")
        assert len(result.fe_params)
        return result

    return fit


def outcome(result: Any) -> Outcome:
    """What the fit found."""
    note = "" if result.converged else "says it did not converge"
    return Outcome(-2.0 * float(result.llf), None, note)


if __name__ == "__main__":
    main(Adapter("statsmodels", "statsmodels", prepare, outcome, NOT_EXPRESSED))
