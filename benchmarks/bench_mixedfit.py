"""mixedfit on one problem: ``python -m benchmarks.bench_mixedfit PROBLEM``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pandas as pd

from benchmarks.adapter import Adapter, Outcome, main, time_repeats
from benchmarks.problems import Problem

if TYPE_CHECKING:
    from mixedfit import MixedResults

# Problems on which a fit to another response is timed too.
_REFITTED = ("sleepstudy",)


def prepare(problem: Problem, frame: pd.DataFrame) -> Callable[[], MixedResults]:
    """The fit to be timed."""
    import mixedfit  # noqa: PLC0415  # after it was found that it can be imported

    call = problem.calls.get("mixedfit")
    code = compile(call, problem.name, "eval") if call else None

    def fit() -> MixedResults:
        if code is not None:
            return eval(code, {"mf": mixedfit, "data": frame})  # our own code
        result = mixedfit.lmer(problem.formula, frame, method=problem.method)
        result.params  # noqa: B018  # computed when asked
        return result

    return fit


def outcome(result: MixedResults) -> Outcome:
    """What the fit found."""
    return Outcome(float(result.deviance), result.optimum.nfev, result.status)


def extras(problem: Problem, frame: pd.DataFrame, repeats: int) -> dict[str, Any]:
    """Time of a refit from the prepared design."""
    if problem.name not in _REFITTED:
        return {}
    result = prepare(problem, frame)()
    response = result.simulate(1, seed=1).iloc[:, 0].to_numpy()
    seconds, _, _ = time_repeats(lambda: result.refit(response).params, repeats, budget=10.0)
    return {"refit_seconds": seconds}


if __name__ == "__main__":
    main(Adapter("mixedfit", "mixedfit", prepare, outcome, extras=extras))
