"""The likelihood ratio test of two nested fits, its reference distribution simulated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mixedfit.arrays import Array
from mixedfit.errors import ModelError, check_count
from mixedfit.fit import Fit, fit_design
from mixedfit.likelihood import Method
from mixedfit.likelihood_ratio import not_nested, same_weights
from mixedfit.lockstep import refit_many
from mixedfit.progress import reporter
from mixedfit.resampling import parametric_responses
from mixedfit.seeds import generator_of

__all__ = ["BootstrapTest", "bootstrap_test_of"]


@dataclass(frozen=True)
class BootstrapTest:
    """A parametric bootstrap likelihood ratio test.

    Attributes
    ----------
    statistic : float
        Twice the difference of the log-likelihoods.
    p : float
        Share of the simulated statistics that are no smaller, the observed one counted with them.
    simulated : array of shape (n,)
        Statistics of responses drawn from the smaller model.
    method : {"REML", "ML"}
        Which likelihood was compared.
    smaller, larger : str
        The formulas.
    """

    statistic: float
    p: float
    simulated: Array
    method: str
    smaller: str
    larger: str

    def __repr__(self) -> str:
        return (
            f"Parametric bootstrap likelihood ratio test ({self.method}, "
            f"{len(self.simulated)} samples)\n"
            f"  {self.smaller}\n  {self.larger}\n"
            f"  statistic {self.statistic:.4f}, p = {self.p:.4g}"
        )


def bootstrap_test_of(
    smaller: Fit,
    larger: Fit,
    n: int = 1000,
    seed: int | np.random.Generator | None = None,
    progress: bool | None = None,
) -> BootstrapTest:
    """Test a fit against a larger one that contains it.

    Raises
    ------
    ModelError
        If the fits are not of the same rows, or the larger one does not fit better.
    """
    n = check_count(n, 2)
    method = _check(smaller, larger)
    small, large = (
        fit if fit.method == method else fit_design(fit.design, method) for fit in (smaller, larger)
    )
    statistic = small.optimum.fun - large.optimum.fun
    if statistic < -1e-6:
        raise ModelError(
            "the first model fits better than the second, so it is not nested in it: pass the "
            "smaller model first"
        )
    rng = generator_of(seed)
    tell = reporter("bootstrap test", 2 * n, progress)
    parts, done = [], 0
    for Y in parametric_responses(small, n, rng):
        of_small = refit_many(small, Y, lambda more, before=done: tell(before + more))  # type: ignore[misc]
        done += Y.shape[1]
        of_large = refit_many(large, Y, lambda more, before=done: tell(before + more))  # type: ignore[misc]
        done += Y.shape[1]
        parts.append(of_small.fun - of_large.fun)
    simulated = np.maximum(np.concatenate(parts), 0.0)
    # Statistics of zero are equal up to rounding.
    exceeding = int((simulated >= max(statistic, 0.0) - 1e-6).sum())
    return BootstrapTest(
        max(float(statistic), 0.0),
        (1 + exceeding) / (n + 1),
        simulated,
        method,
        _name(small, large),
        _name(large, small),
    )


def _check(smaller: Fit, larger: Fit) -> Method:
    """The likelihood both fits can be compared by: REML where they share the fixed part."""
    a, b = smaller.design, larger.design
    if a.n != b.n or not np.array_equal(a.y, b.y):
        raise ModelError(
            f"the fits must be of the same rows and response, but one uses {a.n} and the other "
            f"{b.n} rows; fit both to the rows that are complete in all columns"
            if a.n != b.n
            else "the fits must be of the same response"
        )
    if larger.n_params <= smaller.n_params:
        raise ModelError(
            f"the second model must have more parameters than the first, but has {larger.n_params} "
            f"against {smaller.n_params}: pass the smaller model first"
        )
    problem = not_nested(smaller, larger)
    if problem or not same_weights(smaller, larger):
        raise ModelError(
            "the first model must be a special case of the second: "
            f"{problem or 'their precision weights differ'}"
        )
    same = np.array_equal(a.X, b.X)
    return smaller.method if same and smaller.method == larger.method else "ML"


def _name(fit: Fit, other: Fit) -> str:
    """The formula, with the residual structure where the other fit has another."""
    own = fit.design.residual_spec.parts
    parts = own if own != other.design.residual_spec.parts else []
    return ", ".join([fit.design.formula.text, *parts])
