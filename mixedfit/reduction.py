"""Designs without one of their random terms, or with less of it: what tests of variances compare.

A term loses its slopes first, one at a time and those that no other one contains; a term that is
a factor alone gives way to an intercept, and an intercept alone leaves with its term.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mixedfit.arrays import Array, IntArray
from mixedfit.covariance import Diagonal, Structure
from mixedfit.design import Design, RandomTerm
from mixedfit.matrices import Recipe, TermColumns

__all__ = ["Reduction", "reductions", "separable", "without"]


@dataclass(frozen=True)
class Reduction:
    """One way to make a random term smaller.

    Attributes
    ----------
    term : int
    label : str
        Such as ``"Days in (Days | Subject)"``.
    kept : array of shape (k, k_0)
        What is left: combinations of the term's columns, one a column; none where it is removed.
    gone : array of shape (k, m)
        What else the term has; beside ``kept`` it makes an invertible matrix.
    structure : Structure or None
        Of what is left.
    """

    term: int
    label: str
    kept: Array
    gone: Array
    structure: Structure | None


def reductions(design: Design) -> Iterator[Reduction]:
    """Every reduction of every random term, term by term."""
    for t, term in enumerate(design.terms):
        label, k = term.effect.label, len(term.names)
        whole = Reduction(t, label, np.zeros((k, 0)), np.eye(k), None)
        parts = [part for part in term.recipe.terms if part.stop > part.start]
        slopes = [part for part in parts if part.label != "1"]
        if not slopes:
            yield whole
            continue
        free = separable(slopes)
        for part in free:
            columns = np.arange(part.start, part.stop)
            found = _without_columns(term, t, f"{part.label} in {label}", columns)
            if found is not None:
                yield found
            elif len(free) == 1:
                yield whole


def separable(parts: Sequence[TermColumns]) -> list[TermColumns]:
    """Parts of a term that no other one contains: without others the same columns would be left."""
    return [p for p in parts if not any(p.variables < other.variables for other in parts)]


def _without_columns(term: RandomTerm, t: int, label: str, gone: IntArray) -> Reduction | None:
    """A term without some columns; None where it cannot go without them alone."""
    k = len(term.names)
    kept = np.setdiff1d(np.arange(k), gone)
    identity = np.eye(k)
    if len(kept):
        structure = term.structure.of_columns(kept)
        if structure is None:
            return None
        return Reduction(t, label, identity[:, kept], identity[:, gone], structure)
    constant = _constant_combination(term.Z)
    if constant is None or k == 1 or term.structure.equivariance != "linear":
        return None
    rest = np.delete(identity, int(np.argmax(np.abs(constant))), axis=1)
    return Reduction(t, label, constant[:, None], rest, Diagonal(1))


def _constant_combination(Z: Array) -> Array | None:
    """Weights of the columns that add up to one in every row, where there are such."""
    weights = np.linalg.lstsq(Z.T @ Z, Z.sum(axis=0), rcond=None)[0]
    return weights if np.abs(Z @ weights - 1.0).max() < 1e-8 else None


def without(design: Design, reduction: Reduction) -> Design:
    """The reduced design; one without random terms where the only term is removed."""
    term = design.terms[reduction.term]
    terms = list(design.terms)
    if reduction.structure is None:
        del terms[reduction.term]
    else:
        Z = np.ascontiguousarray(term.Z @ reduction.kept)
        terms[reduction.term] = replace(
            term, Z=Z, structure=reduction.structure, recipe=_recipe(term, reduction)
        )
    used = sorted({term.factor for term in terms})
    place = {factor: i for i, factor in enumerate(used)}
    return replace(
        design,
        terms=tuple(replace(term, factor=place[term.factor]) for term in terms),
        factors=tuple(design.factors[factor] for factor in used),
    )


def _recipe(term: RandomTerm, reduction: Reduction) -> Recipe:
    """Names and terms of what is left."""
    recipe = term.recipe
    places = np.abs(reduction.kept).argmax(axis=0)
    if not np.array_equal(reduction.kept, np.eye(len(term.names))[:, places]):
        only = TermColumns("1", 0, 1, frozenset())
        return replace(recipe, names=("Intercept",), terms=(only,))
    terms, start = [], 0
    for part in recipe.terms:
        count = int(((places >= part.start) & (places < part.stop)).sum())
        if count:
            terms.append(replace(part, start=start, stop=start + count))
            start += count
    return replace(recipe, names=tuple(recipe.names[i] for i in places), terms=tuple(terms))
