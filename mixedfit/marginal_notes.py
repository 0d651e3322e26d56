"""What to know when reading marginal means: sentences for below their tables."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixedfit.adjustment import Adjustment
from mixedfit.arrays import BoolArray, IntArray
from mixedfit.reference_grid import ReferenceGrid, Weights

__all__ = ["NON_ESTIMABLE", "adjustment_notes", "grid_notes"]

NON_ESTIMABLE = (
    "Without a number: non-estimable, as no rows could tell (empty cells or repeated columns)."
)


def adjustment_notes(
    adjust: Adjustment, families: list[tuple[IntArray, int]], estimable: BoolArray
) -> list[str]:
    """How p-values were adjusted, where there is more than one in a family."""
    sizes = sorted({int(estimable[members].sum()) for members, _ in families} - {0})
    if not sizes or sizes[-1] < 2:
        return []
    shown = " or ".join(str(size) for size in sizes) if len(sizes) < 4 else f"up to {sizes[-1]}"
    if adjust == "none":
        return [f"p-values are not adjusted for {shown} tests."]
    if adjust == "tukey":
        means = sorted({n_means for _, n_means in families})
        shown = " or ".join(str(size) for size in means) if len(means) < 4 else f"up to {means[-1]}"
        return [f"p-values adjusted by Tukey's method for comparing {shown} means."]
    intervals = "; intervals by Bonferroni's" if adjust in ("holm", "fdr") else ""
    return [f"p-values adjusted by the {adjust} method for {shown} tests{intervals}."]


def grid_notes(
    grid: ReferenceGrid, names: tuple[str, ...], weights: Weights, slope: str | None
) -> list[str]:
    """What each mean averages over or holds, and where that hides an interaction."""
    others = {name: v for name, v in grid.variables.items() if name not in names}
    averaged = [name for name, v in others.items() if len(v.levels) > 1]
    held = [name for name, v in others.items() if len(v.levels) == 1]
    notes = []
    if averaged:
        notes.append(f"Averaged over {', '.join(averaged)} ({weights} weights).")
    notes += [f"{inner} is nested in {', '.join(outer)}." for inner, outer in grid.nested.items()]
    if held:
        values = ", ".join(f"{name} = {_shown(others[name].levels[0])}" for name in held)
        notes.append(f"At {values}.")
    hidden = [
        term.label
        for term in grid.design.recipe.terms
        if term.variables & {*names, slope} and term.variables & (set(others) - {slope})
    ]
    if hidden:
        what = "interaction" if len(hidden) == 1 else "interactions"
        notes.append(
            f"The model has the {what} {', '.join(hidden)}, which these average over or hold at a "
            "value; by= and at= show it."
        )
    return notes


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float | np.floating) else str(value)
