"""Analysis of variance of one fit: a test of each term of the fixed part."""

from __future__ import annotations

from typing import Literal, TypeAlias, cast, get_args

import numpy as np
import pandas as pd

from mixedfit.arrays import Array, IntArray
from mixedfit.ddf import Ddf, JointTest, containment, inference
from mixedfit.errors import MixedfitError
from mixedfit.fit import Fit
from mixedfit.hypotheses import marginal, sequential, type_1, type_2, type_3
from mixedfit.linalg import cholesky
from mixedfit.noted import NotedFrame, noted
from mixedfit.tails import f_tail

__all__ = ["AnovaType", "anova_table", "term_columns", "term_hypotheses"]

AnovaType: TypeAlias = Literal[1, 2, 3, "sequential", "marginal"]
_ROMAN = {"I": 1, "II": 2, "III": 3, "1": 1, "2": 2, "3": 3}


def term_columns(fit: Fit) -> list[IntArray]:
    """For each term of the fixed part, its columns among those of X."""
    kept = fit.design.kept
    return [
        np.flatnonzero((kept >= term.start) & (kept < term.stop))
        for term in fit.design.recipe.terms
    ]


def check_type(kind: AnovaType | str) -> AnovaType:
    """The name of a type, or an error that lists them."""
    known = _ROMAN.get(kind, kind) if isinstance(kind, str) else kind
    for allowed in get_args(AnovaType):
        if known == allowed:
            return cast("AnovaType", allowed)
    listed = ", ".join(repr(t) for t in get_args(AnovaType))
    raise MixedfitError(f"type must be one of {listed}, not {kind!r}")


def term_hypotheses(fit: Fit, kind: AnovaType) -> list[Array]:
    """For each term, the rows L of shape (q, p) that are tested."""
    terms = term_columns(fit)
    if kind == "marginal":
        return marginal(fit.p, terms)
    if kind == "sequential":
        return sequential(_whitened_root(fit), terms)
    if f"type {kind}" not in fit.computed:
        fit.computed[f"type {kind}"] = _by_type(fit, kind, terms)
    return cast("list[Array]", fit.computed[f"type {kind}"])


def _whitened_root(fit: Fit) -> Array:
    """A square root of ``X'V^-1 X``, shape (p, p)."""
    S = fit.evaluation.eliminated.S[: fit.p, : fit.p]
    return cholesky(S).T @ fit.estimate.basis.fixed.inverse


def _by_type(fit: Fit, kind: AnovaType, terms: list[IntArray]) -> list[Array]:
    design = fit.design
    several = sum(term.label != "1" for term in design.recipe.terms) > 1
    if kind == 1 or not several:
        return type_1(design.X, terms)
    if design.frame is None:
        raise MixedfitError("this fit does not keep its data: only type 1 tests can be had")
    columns, indicators = design.recipe.indicators(design.frame)
    left = [t for t, own in enumerate(terms) if len(own)]
    own, named = [terms[t] for t in left], [indicators[t] for t in left]
    found = type_2(design.X, own, named) if kind == 2 else type_3(columns, named, design.X)
    by_term = dict(zip(left, found, strict=True))
    return [by_term.get(t, np.zeros((0, fit.p))) for t in range(len(terms))]


def anova_table(fit: Fit, kind: AnovaType | str = 3, ddf: Ddf | None = None) -> NotedFrame:
    """One row a term: term, num_df, den_df, F, p (`MixedResults.anova`)."""
    kind = check_type(kind)
    inferred = inference(fit, ddf)
    terms, recipe = term_columns(fit), fit.design.recipe
    tests = [inferred.joint(L) for L in term_hypotheses(fit, kind)]
    if inferred.method == "containment":
        tests = _contained(fit, terms, tests)
    # Terms of which nothing is left come last, as in lmerTest.
    order = sorted(range(len(tests)), key=lambda t: tests[t].num_df == 0)
    with_intercept = kind in ("sequential", "marginal")
    rows = [
        ("Intercept" if recipe.terms[t].label == "1" else recipe.terms[t].label, tests[t])
        for t in order
        if recipe.terms[t].label != "1" or with_intercept
    ]
    table = pd.DataFrame(
        {
            "term": pd.Series([label for label, _ in rows], dtype=object),
            "num_df": _whole([test.num_df or np.nan for _, test in rows]),
            "den_df": np.array([test.den_df for _, test in rows], dtype=float),
            "F": np.array([test.F for _, test in rows], dtype=float),
            "p": np.array([test.p for _, test in rows], dtype=float),
        }
    )
    empty = ", ".join(label for label, test in rows if not test.num_df)
    lost = ", ".join(label for label, test in rows if test.num_df and np.isnan(test.F))
    return noted(
        table,
        f"{kind.capitalize() if isinstance(kind, str) else f'Type {kind}'} tests,",
        f"{inferred.described}.",
        inferred.note,
        f"Nothing can be tested of {empty}: other terms take its place." if empty else "",
        f"No F distribution approximates the test of {lost}: see another ddf=." if lost else "",
        type=kind,
        ddf=inferred.method,
    )


def _contained(fit: Fit, terms: list[IntArray], tests: list[JointTest]) -> list[JointTest]:
    """The tests with the degrees of freedom of whole terms, as nlme counts them."""
    full = [columns for columns in terms if len(columns)]
    df = iter(containment(fit).of_terms(full))
    out = []
    for columns, test in zip(terms, tests, strict=True):
        if not len(columns):
            out.append(test)
            continue
        den_df = float(next(df))
        p = f_tail(test.F, test.num_df, den_df)
        out.append(JointTest(test.num_df, den_df, test.F, p))
    return out


def _whole(numbers: list[float]) -> Array | IntArray:
    """Counts as integers where none is missing."""
    values = np.array(numbers, dtype=float)
    return values if np.isnan(values).any() else values.astype(np.int64)
