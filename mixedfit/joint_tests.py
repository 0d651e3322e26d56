"""Joint tests of each effect on a reference grid, whatever the coding of the factors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from mixedfit.arrays import Array, BoolArray, IntArray
from mixedfit.comparisons import comparisons, interaction
from mixedfit.ddf import FixedInference
from mixedfit.errors import ModelError
from mixedfit.fit import Fit
from mixedfit.linear_estimates import LinearEstimates
from mixedfit.marginal_specs import MarginalSpecs
from mixedfit.noted import NotedFrame, beside, noted
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
    rows: list[tuple[int, dict[str, Any], dict[str, Any]]] = []
    incomplete = []
    matrix, offset = grid.matrix(), grid.offset()
    for order in range(1, len(names) + 1):
        for effect in combinations(names, order):
            nested = {outer for name in effect for outer in grid.nested.get(name, ())}
            crossed = set(effect) - nested
            complete = nested <= {*effect, *within}
            if not complete or not any(crossed <= term for term in terms):
                continue
            label = ":".join(effect)
            found, partial = _effect(fit, inference, grid, effect, within, matrix, offset)
            incomplete += [label] if partial else []
            rows += [(i, place, {"term": label, **test}) for i, place, test in found]
    rows.sort(key=lambda row: row[0])
    places = {name: [place[name] for _, place, _ in rows] for name in within}
    columns = ("term", "num_df", "den_df", "F", "p")
    tests = {name: [test[name] for *_, test in rows] for name in columns}
    frame = beside(places, tests)
    left_out = (
        f"Contrasts that the data cannot estimate are left out of {', '.join(incomplete)}."
        if incomplete
        else ""
    )
    return noted(frame, inference.sentence, inference.note, left_out, ddf=inference.method)


def _effect(
    fit: Fit,
    inference: FixedInference,
    grid: ReferenceGrid,
    effect: tuple[str, ...],
    within: tuple[str, ...],
    matrix: Array,
    offset: Array,
) -> tuple[list[tuple[int, dict[str, Any], dict[str, float]]], bool]:
    """One effect's test in each combination of the levels of others, and whether part is lost."""
    names = (*effect, *within)
    average = grid.averages(names, "equal")
    target, m = grid.place(names)
    possible = np.bincount(target, grid.possible, m) > 0
    means = LinearEstimates(fit, inference, average @ matrix, average @ offset, ~possible)
    shape = tuple(len(grid.variables[name].levels) for name in names)
    places = dict(zip(names, np.unravel_index(np.arange(m), shape, order="F"), strict=True))
    out, partial = [], False
    for i, group in enumerate(_groups(places, within, possible)):
        tested = means.combined(_contrasts(grid, places, effect, group))
        partial |= not tested.estimable.all()
        test = inference.joint(tested.estimable_rows())
        first = int(np.flatnonzero(group)[0])
        where = {name: grid.variables[name].levels[int(places[name][first])] for name in within}
        if test.num_df or not tested.estimable.all():
            numbers = {"num_df": test.num_df, "den_df": test.den_df, "F": test.F, "p": test.p}
            out.append((i, where, numbers))
    return out, partial


def _contrasts(
    grid: ReferenceGrid,
    places: dict[str, IntArray],
    effect: tuple[str, ...],
    group: BoolArray,
) -> Array:
    """Interaction contrasts of an effect among some of m combinations, shape (q, m).

    A factor nested in another of the effect is compared within its levels.
    """
    outer = {o for name in effect for o in grid.nested.get(name, ())} & set(effect)
    crossed = [name for name in effect if name not in outer]
    blocks = []
    for members in _groups(places, outer, group):
        chosen = np.flatnonzero(members)
        families = []
        for name in crossed:
            labels = grid.variables[name].labels()
            present = np.unique(places[name][chosen])
            families.append(comparisons("consecutive", [labels[j] for j in present]))
        C = interaction(families)[1]
        block = np.zeros((len(C), len(group)))
        # Combinations are numbered with the first factor running fastest, as the products are.
        block[:, chosen] = C
        blocks.append(block)
    return np.vstack(blocks)


def _groups(
    places: dict[str, IntArray], names: Iterable[str], among: BoolArray
) -> Iterator[BoolArray]:
    """The combinations that share their levels of some factors, as masks."""
    columns = [places[name] for name in names][::-1]  # the first factor runs fastest
    keys = np.stack([*columns, np.zeros(len(among), dtype=np.int64)], axis=1)
    for key in np.unique(keys[among], axis=0):
        yield among & (keys == key).all(axis=1)
