"""Likelihood ratio tests between fits to the same rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mixedfit.arrays import Array
from mixedfit.design import Design
from mixedfit.errors import DataError, ModelError
from mixedfit.fit import Fit, fit_design
from mixedfit.noted import NotedFrame, noted
from mixedfit.reduction import reductions, without
from mixedfit.tails import chi2_tail
from mixedfit.threads import one_thread
from mixedfit.variance_tests import beyond_rounding, mixture_p_value

__all__ = ["likelihood_ratio_table", "not_nested", "same_weights"]


def likelihood_ratio_table(
    fits: Sequence[Fit], names: Sequence[str], refit: bool | None = None
) -> NotedFrame:
    """Compare each fit with the next smaller one (`anova`).

    Parameters
    ----------
    fits : sequence of Fit
    names : sequence of str
    refit : bool, optional
        Fit by maximum likelihood first those that were not; by default where fixed parts or
        methods differ.

    Raises
    ------
    DataError
        If the fits are to different rows or responses.
    ModelError
        If their restricted likelihoods cannot be compared and ``refit`` is False.
    """
    for fit, name in zip(fits[1:], names[1:], strict=True):
        _check_same_rows(fits[0], fit, names[0], name)
    order = sorted(range(len(fits)), key=lambda i: fits[i].n_params)
    fits, names = [fits[i] for i in order], [names[i] for i in order]
    same_fixed = all(np.array_equal(fits[0].design.X, fit.design.X) for fit in fits)
    comparable = same_fixed and len({fit.method for fit in fits}) == 1
    comparable |= all(fit.method == "ML" for fit in fits)
    if not comparable and refit is False:
        raise ModelError(
            "restricted likelihoods of different fixed parts, or of different methods, cannot be "
            "compared: leave refit at its default, or fit with method='ML'"
        )
    refitted = ""
    if refit or not comparable:
        names_refitted = [name for fit, name in zip(fits, names, strict=True) if fit.method != "ML"]
        fits = [
            fit if fit.method == "ML" else fit_design(fit.design, "ML", verb=fit.verb)
            for fit in fits
        ]
        if names_refitted:
            refitted = f"Refitted by maximum likelihood: {', '.join(names_refitted)}."
    return _table(fits, names, refitted)


def _table(fits: Sequence[Fit], names: Sequence[str], refitted: str) -> NotedFrame:
    chi2, df, p, mixture = (np.full(len(fits), np.nan) for _ in range(4))
    notes = [refitted]
    for i in range(1, len(fits)):
        small, large = fits[i - 1], fits[i]
        chi2[i], df[i] = 2.0 * (large.llf - small.llf), large.n_params - small.n_params
        problem = not_nested(small, large)
        if problem:
            notes.append(f"{names[i - 1]} is not nested in {names[i]} ({problem}): no test.")
            chi2[i] = df[i] = np.nan
            continue
        p[i] = chi2_tail(max(chi2[i], 0.0), df[i])
        mixture[i] = _mixture(small, large, chi2[i])
    table = pd.DataFrame(
        {
            "model": list(names),
            "n_params": [fit.n_params for fit in fits],
            "llf": [fit.llf for fit in fits],
            "aic": [-2.0 * fit.llf + 2.0 * fit.n_params for fit in fits],
            "bic": [-2.0 * fit.llf + np.log(fit.n) * fit.n_params for fit in fits],
            "deviance": [-2.0 * fit.llf for fit in fits],
            "chi2": chi2,
            "df": df,
            "p": p,
        }
    )
    if np.isfinite(mixture).any():
        table["p_mixture"] = mixture
        notes.append(
            "p is too large where a variance is tested, which cannot be negative; p_mixture counts "
            "that."
        )
    elif any(_signature(fits[0].design) != _signature(fit.design) for fit in fits):
        notes.append(
            "The random parts differ: p is too large where a variance is tested, which cannot be "
            "negative; see bootstrap_test()."
        )
    return noted(table, *notes, method=fits[0].method)


def _mixture(small: Fit, large: Fit, statistic: float) -> float:
    """The boundary-aware p-value where one fit is a reduction of the other; else nan."""
    if small.p != large.p or small.design.residual_spec != large.design.residual_spec:
        return np.nan
    own = _signature(small.design)
    with one_thread():
        for reduction in reductions(large.design):
            if _signature(without(large.design, reduction)) == own:
                return mixture_p_value(large, reduction, small, beyond_rounding(statistic))
    return np.nan


Signature = list[tuple[tuple[str, ...], tuple[str, ...], str]]


def _signature(design: Design) -> Signature:
    """What the random part consists of."""
    return sorted(
        (design.factors[term.factor].variables, tuple(sorted(term.names)), repr(term.structure))
        for term in design.terms
    )


def not_nested(small: Fit, large: Fit) -> str:
    """Why a fit cannot be nested in another, or nothing."""
    if small.n_params == large.n_params:
        return "both have the same number of parameters"
    Z, offset = large.design.X, _offset(small) - _offset(large)
    if np.array_equal(small.design.X, Z) and not offset.any():
        return ""
    mean = np.column_stack([small.design.X, offset])
    size = np.linalg.norm(Z, axis=0)
    rest = mean - (Z / size) @ np.linalg.lstsq(Z / size, mean, rcond=None)[0]
    lost = np.linalg.norm(rest, axis=0) > 1e-6 * np.linalg.norm(mean, axis=0)
    if lost[-1]:
        return "their offsets differ"
    missing = ", ".join(str(name) for name in small.design.names[lost[:-1]])
    return f"its fixed part has {missing}, which the larger one does not" if missing else ""


def _offset(fit: Fit) -> Array:
    """The known part of the mean, shape (n,)."""
    offset = fit.design.offset
    return np.zeros(fit.n) if offset is None else offset


def _check_same_rows(first: Fit, other: Fit, first_name: str, name: str) -> None:
    if first.n != other.n:
        raise DataError(
            f"{first_name} was fitted to {first.n} rows and {name} to {other.n}: fits can only be "
            "compared on the same rows; leave out rows with missing values in any variable first"
        )
    if not np.array_equal(first.design.y, other.design.y):
        a, b = first.design.response.name, other.design.response.name
        what = "different rows" if a == b else f"different responses, {a!r} and {b!r}"
        raise DataError(
            f"{first_name} and {name} were fitted to {what}: fits can only be compared on the "
            "same rows of one response"
        )
    if not same_weights(first, other):
        raise DataError(
            f"{first_name} and {name} have different precision weights: compare fits with the same"
        )


def same_weights(first: Fit, other: Fit) -> bool:
    """Whether two fits to the same rows have the same precision weights."""
    w, v = first.design.weights, other.design.weights
    return w is v if w is None or v is None else np.array_equal(w, v)
