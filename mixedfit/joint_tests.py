"""Joint tests of each effect on a reference grid, whatever the coding of the factors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from mixedfit.arrays import Array
from mixedfit.comparisons import comparisons, interaction
from mixedfit.ddf import FixedInference
from mixedfit.errors import ModelError
from mixedfit.fit import Fit
from mixedfit.linear_estimates import LinearEstimates
from mixedfit.marginal_specs import MarginalSpecs
from mixedfit.noted import NotedFrame, noted
from mixedfit.reference_grid import ReferenceGrid

__all__ = ["joint_tests"]


def joint_tests(
    fit: Fit,
    inference: FixedInference,
    by: str | Sequence[str] | None = None,
    at: Mapping[str, Any] | None = None,
) -> NotedFrame:
    """Test each main effect and interaction of marginal means; see `MixedResults.joint_tests`."""
    grid = ReferenceGrid.of(fit.design, at, spread=1.0)
    within = MarginalSpecs.of((), by, grid.variables).by
    names = [name for name, v in grid.variables.items() if len(v.levels) > 1 and name not in within]
    if not names:
        raise ModelError("no variable takes two values in the reference grid: nothing to test")
    terms = [term.variables for term in fit.design.recipe.terms]
    rows, incomplete = [], []
    matrix, offset = grid.matrix(), grid.offset()
    for order in range(1, len(names) + 1):
        for effect in combinations(names, order):
            if not any(set(effect) <= term for term in terms):
                continue
            label = ":".join(effect)
            found, partial = _effect(fit, inference, grid, effect, within, matrix, offset)
            incomplete += [label] if partial else []
            rows += [{**place, "term": label, **test} for place, test in found]
    columns = [*within, "term", "num_df", "den_df", "F", "p"]
    frame = pd.DataFrame(rows, columns=columns)
    if within and len(frame):
        frame = frame.sort_values(list(within), kind="stable", ignore_index=True)
    left_out = (
        f"Contrasts that the data cannot estimate are left out of {', '.join(incomplete)}."
        if incomplete
        else ""
    )
    described = f"{inference.described[0].upper()}{inference.described[1:]}."
    return noted(frame, described, inference.note, left_out, ddf=inference.method)


def _effect(
    fit: Fit,
    inference: FixedInference,
    grid: ReferenceGrid,
    effect: tuple[str, ...],
    within: tuple[str, ...],
    matrix: Array,
    offset: Array,
) -> tuple[list[tuple[dict[str, Any], dict[str, float]]], bool]:
    """One effect's test in each combination of the levels of others."""
    average = grid.averages((*effect, *within), "equal")
    means = LinearEstimates(
        fit,
        inference,
        average @ matrix,
        average @ offset,
        np.zeros(average.shape[0], dtype=bool),
    )
    families = [comparisons("consecutive", grid.variables[name].labels()) for name in effect]
    _, C = interaction(families)
    q, m = C.shape
    shape = tuple(len(grid.variables[name].levels) for name in within)
    out, partial = [], False
    for group in range(int(np.prod(shape, dtype=int))):
        whole = np.zeros((q, len(means.full)))
        whole[:, group * m : (group + 1) * m] = C
        tested = means.combined(whole)
        partial |= not tested.estimable.all()
        test = inference.joint(tested.L[tested.estimable])
        places = np.unravel_index(group, shape, order="F") if shape else ()
        where = {
            name: grid.variables[name].levels[int(i)]
            for name, i in zip(within, places, strict=True)
        }
        if test.num_df or not tested.estimable.all():
            numbers = {"num_df": test.num_df, "den_df": test.den_df, "F": test.F, "p": test.p}
            out.append((where, numbers))
    return out, partial
