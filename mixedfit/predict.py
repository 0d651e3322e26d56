"""Fitted values, residuals, predictions for new data, and simulated responses."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from mixedfit.arrays import Array, BoolArray, IntArray
from mixedfit.conditional_residuals import conditional_residuals
from mixedfit.design import Design, GroupingFactor
from mixedfit.errors import DataError, ModelError, check_count
from mixedfit.fit import Fit, fitted_of
from mixedfit.formula import Expression
from mixedfit.frames import Frame, Labels, label_text, read_frame
from mixedfit.marginal import residual_sd
from mixedfit.matrices import evaluate, variables
from mixedfit.seeds import generator_of

__all__ = [
    "Groups",
    "NewLevels",
    "PredictionRows",
    "ResidualKind",
    "ResidualPart",
    "check_residual_part",
    "fitted_values",
    "predict",
    "predicted_means",
    "prediction_rows",
    "residuals",
    "simulate",
]

Groups = Literal["all", "none"] | Sequence[str]
NewLevels = Literal["raise", "population"]
ResidualKind = Literal["response", "pearson", "normalized"]
ResidualPart = Literal["conditional"] | None


def fitted_values(fit: Fit, level: Literal["population", "groups"] = "groups") -> Array:
    """Fitted values of the rows used, shape (n,): the fixed part, or with the random effects."""
    return fitted_of(fit.design, fit.estimate, level == "groups")


def residuals(fit: Fit, kind: ResidualKind = "response", fitted: Array | None = None) -> Array:
    """Residuals of the rows used, shape (n,), from other fitted values if given.

    "response" is observed less fitted; "pearson" divides by each row's residual standard deviation;
    "normalized" also removes the residual correlation.
    """
    response = fit.design.y - (fitted_values(fit) if fitted is None else fitted)
    if kind == "response":
        return response
    if kind not in ("pearson", "normalized"):
        raise ModelError(
            f"kind of residuals must be 'response', 'pearson' or 'normalized', not {kind!r}"
        )
    if kind == "pearson" or fit.whitening is None:
        return response / (fit.estimate.sigma * residual_sd(fit))
    weights = fit.design.weights
    scaled = (response if weights is None else response * np.sqrt(weights)) / fit.estimate.sigma
    return fit.whitening.normalize(scaled[None])[0]


def predict(
    fit: Fit,
    newdata: Any = None,
    groups: Groups = "all",
    new_levels: NewLevels = "raise",
    residual: ResidualPart = None,
) -> pd.Series:
    """Predictions of the mean response, or of new rows of known groups.

    Parameters
    ----------
    fit : Fit
    newdata : frame of any kind, optional
        By default the rows of the fit.
    groups : "all", "none" or list of str
        The grouping factors whose random effects are included.
    new_levels : {"raise", "population"}
        For levels the fit did not have: an error with their names, or effects of zero.
    residual : {None, "conditional"}
        Add the residual to expect given those of the rows it is correlated with.

    Returns
    -------
    Series
        One value a row of ``newdata``; missing where a value it needs is.
    """
    check_residual_part(fit, newdata, groups, residual)
    rows = prediction_rows(fit.design, newdata, groups, new_levels)
    means = predicted_means(fit, rows)
    if residual is not None:
        means = means + conditional_residuals(fit, newdata, rows.complete, means)
    values = np.full(len(rows.complete), np.nan)
    values[rows.complete] = means
    return pd.Series(values, index=rows.index, name="predicted")


@dataclass(frozen=True)
class PredictionRows:
    """The rows to be predicted.

    Attributes
    ----------
    X : array of shape (m, p)
    offset : array of shape (m,) or float
    Z : list of arrays of shape (m, k)
        Columns of each grouping factor; zero where they are not needed.
    codes : list of int arrays of shape (m,)
        Levels of each grouping factor; -1 where it is left out or the fit did not have the level.
    complete : array of bool of shape (rows of the data,)
        Which rows of the data these m are: those in which nothing is missing.
    index : pandas.Index or None
        Of the rows of the data.
    """

    X: Array
    offset: Array | float
    Z: list[Array]
    codes: list[IntArray]
    complete: BoolArray
    index: pd.Index | None


def prediction_rows(
    design: Design, newdata: Any, groups: Groups, new_levels: NewLevels, every: bool = False
) -> PredictionRows:
    """The rows of new data, or those of the fit, as prediction needs them.

    Parameters
    ----------
    design : Design
    newdata : frame of any kind or None
    groups : "all", "none" or list of str
        The grouping factors whose levels are looked up.
    new_levels : {"raise", "population"}
    every : bool
        Whether the columns of the other grouping factors are wanted too.
    """
    if new_levels not in ("raise", "population"):
        raise ModelError(f"new_levels must be 'raise' or 'population', not {new_levels!r}")
    included = _included(design, groups)
    if newdata is None:
        codes = [
            f.codes if i in included else np.full(design.n, -1)
            for i, f in enumerate(design.factors)
        ]
        offset = 0.0 if design.offset is None else design.offset
        complete, index = np.ones(design.n, dtype=bool), design.index
        return PredictionRows(design.X, offset, design.factor_columns, codes, complete, index)
    frame, complete = _new_rows(design, newdata, included, new_levels, every)
    offset = 0.0
    for expression in _offsets(design):
        offset = offset + evaluate(expression, frame, "offset")
    codes, columns = [], []
    for i, factor in enumerate(design.factors):
        terms = [term for term in design.terms if term.factor == i]
        wanted = i in included
        codes.append(_levels(factor, frame, new_levels) if wanted else np.full(frame.n, -1))
        if wanted or every:
            columns.append(np.hstack([term.recipe.apply(frame) for term in terms]))
        else:
            columns.append(np.zeros((frame.n, sum(len(term.names) for term in terms))))
    index = newdata.index if isinstance(newdata, pd.DataFrame) else None
    X = design.recipe.apply(frame)[:, design.kept]
    return PredictionRows(X, offset, columns, codes, complete, index)


def predicted_means(fit: Fit, rows: PredictionRows) -> Array:
    """Means of the rows given the levels that are included, shape (m,)."""
    means = rows.X @ fit.estimate.beta + rows.offset
    if any((codes >= 0).any() for codes in rows.codes):
        means = means + fit.estimate.linear_predictor(rows.Z, rows.codes)
    return means


def check_residual_part(fit: Fit, newdata: Any, groups: Groups, residual: ResidualPart) -> None:
    """Refuse residuals of rows or groups for which there are none to predict.

    Raises
    ------
    ModelError
    """
    if residual is None:
        return
    if residual != "conditional":
        raise ModelError(f"residual must be None or 'conditional', not {residual!r}")
    if newdata is None:
        raise ModelError("residual='conditional' is for new rows: those of the fit are observed")
    if len(_included(fit.design, groups)) < len(fit.design.factors):
        raise ModelError(
            "residual='conditional' goes with all random effects, groups='all': the residuals are "
            "what they leave"
        )


def _included(design: Design, groups: Groups) -> set[int]:
    """Places of the grouping factors whose effects are asked for."""
    names = [factor.name for factor in design.factors]
    if isinstance(groups, str):
        if groups in ("all", "none"):
            return set(range(len(names))) if groups == "all" else set()
        groups = [groups]
    if not isinstance(groups, Collection):
        raise ModelError(f"groups must be 'all', 'none' or a list of names, not {groups!r}")
    unknown = [group for group in groups if group not in names]
    if unknown:
        known = ", ".join(repr(name) for name in names)
        raise ModelError(
            f"groups must be 'all', 'none' or names among {known}; {unknown[0]!r} is none of them"
        )
    return {names.index(group) for group in groups}


def _new_rows(
    design: Design,
    newdata: Any,
    included: Collection[int],
    new_levels: NewLevels,
    every: bool,
) -> tuple[Frame, BoolArray]:
    """The columns prediction needs, in the rows that have them all, and which rows those are."""
    expressions = [design.recipe.expression, *_offsets(design)]
    expressions += [
        term.recipe.expression for term in design.terms if every or term.factor in included
    ]
    needed = dict.fromkeys(v for e in expressions for v in sorted(variables(e.text)))
    labels = dict.fromkeys(v for i in sorted(included) for v in design.factors[i].variables)
    frame = read_frame(newdata, [*needed, *(name for name in labels if name not in needed)])
    checked = needed if new_levels == "population" else {**needed, **labels}
    complete = frame.complete(checked)
    return (frame if complete.all() else frame.take(complete)), complete


def _offsets(design: Design) -> list[Expression]:
    if design.offset is None:
        return []
    if design.offsets is None:
        raise DataError(
            "the fit used an offset given as numbers, which new data cannot have; make it a column "
            "and refit with offset='its name'"
        )
    return list(design.offsets)


def _levels(factor: GroupingFactor, frame: Frame, new_levels: NewLevels) -> IntArray:
    codes = factor.encode(frame)
    if new_levels == "population" or codes.min(initial=0) >= 0:
        return codes
    rows = np.flatnonzero(codes < 0)
    shown = dict.fromkeys(_label(factor, frame, row) for row in rows[:1000])
    names = ", ".join(repr(label) for label in list(shown)[:5])
    raise DataError(
        f"{factor.name!r} has levels the fit did not have: {names}"
        f"{', ...' if len(shown) > 5 else ''}; new_levels='population' predicts them without "
        "random effects"
    )


def _label(factor: GroupingFactor, frame: Frame, row: int) -> str:
    parts = []
    for name in factor.variables:
        column = frame[name]
        value = column.levels[column.codes[row]] if isinstance(column, Labels) else column[row]
        parts.append(label_text(value))
    return ":".join(parts)


def simulate(fit: Fit, n: int = 1, seed: int | np.random.Generator | None = None) -> pd.DataFrame:
    """Responses drawn from the fitted model, new random effects included.

    Parameters
    ----------
    fit : Fit
    n : int
        How many.
    seed : int or numpy Generator, optional

    Returns
    -------
    DataFrame
        One row an observation used, columns ``sim_1`` to ``sim_n``.
    """
    n = check_count(n, 1)
    rng = generator_of(seed)
    design, estimate = fit.design, fit.estimate
    draws = np.repeat(fitted_values(fit, "population")[:, None], n, axis=1)
    for factor, Z, term in _effects(fit):
        T = estimate.sigma * term.root
        u = rng.standard_normal((factor.n_levels, n, len(T))) @ T.T
        draws += np.einsum("ia,isa->is", Z, u[factor.codes])
    noise = estimate.sigma * rng.standard_normal(draws.shape)
    if fit.whitening is not None:
        noise = fit.whitening.multiply_root(noise.T).T
    if design.weights is not None:
        noise /= np.sqrt(design.weights)[:, None]
    names = [f"sim_{i + 1}" for i in range(n)]
    return pd.DataFrame(draws + noise, index=design.index, columns=names)


def _effects(fit: Fit) -> list[tuple[GroupingFactor, Array, Any]]:
    return [
        (fit.design.factors[term.factor], term.Z, estimate)
        for term, estimate in zip(fit.design.terms, fit.estimate.terms, strict=True)
    ]
