"""Responses and designs drawn anew from a fit: the raw material of a bootstrap."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd

from mixedfit.arrays import Array, IntArray
from mixedfit.design import Design, GroupingFactor, Response
from mixedfit.errors import ModelError
from mixedfit.fit import Fit
from mixedfit.frames import Labels, is_nested
from mixedfit.predict import fitted_values, residuals, simulate
from mixedfit.residual import ResidualStructure

__all__ = [
    "case_designs",
    "leave_out_designs",
    "parametric_responses",
    "resampled_factor",
    "residual_responses",
]

# Numbers held at once by a block of responses.
_ROOM = 2**24


def _blocks(fit: Fit, n: int) -> Iterator[int]:
    """Sizes of blocks of responses that add to n."""
    size = max(1, _ROOM // fit.n)
    while n > 0:
        yield min(size, n)
        n -= size


def parametric_responses(fit: Fit, n: int, rng: np.random.Generator) -> Iterator[Array]:
    """Blocks of responses drawn from the model, (rows, m)."""
    for m in _blocks(fit, n):
        yield simulate(fit, m, rng).to_numpy()


def residual_responses(fit: Fit, n: int, rng: np.random.Generator) -> Iterator[Array]:
    """Blocks of responses made of resampled effects and residuals, (rows, m).

    Notes
    -----
    Predicted effects vary less than the effects they predict. As in Carpenter, Goldstein & Rasbash
    (2003, J. R. Stat. Soc. C 52) they are centred and multiplied by ``R^(1/2) S^(-1/2)``, with S
    their empirical covariance and R the estimated one, before levels are drawn with replacement;
    residuals likewise. Residuals with a structure are whitened first, and what is drawn is given
    the estimated covariance.
    """
    estimate, design = fit.estimate, fit.design
    fixed = fitted_values(fit, "population")[:, None]
    pools = [
        _reflated(effects, covariance)
        for effects, covariance in zip(estimate.effects, estimate.covariances, strict=True)
    ]
    noise = _whitened_residuals(fit)[:, None]
    pool = _reflated(noise, np.array([[estimate.sigma**2]]))[:, 0]
    spread = np.ones(fit.n) if design.weights is None else 1.0 / np.sqrt(design.weights)
    for m in _blocks(fit, n):
        drawn = pool[rng.integers(0, fit.n, (fit.n, m))]
        if fit.whitening is not None:
            drawn = fit.whitening.multiply_root(drawn.T).T
        y = fixed + spread[:, None] * drawn
        for factor, columns, effects in zip(
            design.factors, design.factor_columns, pools, strict=True
        ):
            drawn = effects[rng.integers(0, len(effects), (len(effects), m))]
            for a in range(columns.shape[1]):
                y += columns[:, a, None] * drawn[factor.codes, :, a]
        yield y


def _whitened_residuals(fit: Fit) -> Array:
    """Residuals made uncorrelated and of one variance, shape (n,)."""
    if fit.whitening is None:
        return residuals(fit, "pearson")
    response, weights = residuals(fit), fit.design.weights
    scaled = response if weights is None else response * np.sqrt(weights)
    return fit.whitening.whiten(scaled[None])[0]


def _reflated(effects: Array, covariance: Array) -> Array:
    """Effects (J, k), centred and given a covariance."""
    centred = effects - effects.mean(axis=0)
    S = centred.T @ centred / len(centred)
    return centred @ _power(S, -0.5) @ _power(covariance, 0.5)


def _power(C: Array, exponent: float) -> Array:
    """A power of a symmetric positive semidefinite matrix, on the directions that have any size."""
    scale = np.sqrt(np.maximum(C.diagonal(), 1e-300))
    values, vectors = np.linalg.eigh(C / np.outer(scale, scale))
    kept = values > 1e-10 * max(float(values.max(initial=0.0)), 1e-300)
    if exponent > 0.0:
        root = vectors[:, kept] * np.sqrt(values[kept])
        return (root @ vectors[:, kept].T) * scale
    inverse = (vectors[:, kept] / np.sqrt(values[kept])) @ vectors[:, kept].T
    return inverse / scale[:, None]


def resampled_factor(design: Design, group: str | None) -> int:
    """Which grouping factor's levels are the units that are drawn.

    Returns
    -------
    int
        Place of the factor; -1, in models without, for the groups of the residual correlation.

    Raises
    ------
    ModelError
        If the name is unknown, none was given and no factor contains all others, or residuals are
        correlated across the levels.
    """
    names = [factor.name for factor in design.factors]
    if not names and (unit := _residual_groups(design)) is not None:
        names, chosen = [unit.name], -1
    elif not names:
        raise ModelError("a model without grouping factors has no levels to draw")
    else:
        chosen = int(np.argmin([factor.n_levels for factor in design.factors]))
    known = ", ".join(repr(name) for name in names)
    if group is not None:
        if group not in names:
            raise ModelError(f"group must be one of {known}, not {group!r}")
        chosen = names.index(group) if design.factors else -1
    elif not all(is_nested(f.codes, _unit(design, chosen).codes) for f in design.factors):
        raise ModelError(
            f"the grouping factors {known} are crossed: say whose levels are drawn with group="
        )
    correlated = None if design.residual is None else design.residual.groups
    if correlated is not None and not is_nested(correlated.codes, _unit(design, chosen).codes):
        raise ModelError(
            f"residuals are correlated across levels of {names[chosen]!r}, which cannot be drawn "
            "one by one; use kind='parametric'"
        )
    return chosen


def _unit(design: Design, factor: int) -> GroupingFactor:
    """A grouping factor, or the groups of the residual correlation (-1)."""
    if factor >= 0:
        return design.factors[factor]
    unit = _residual_groups(design)
    assert unit is not None
    return unit


def _residual_groups(design: Design) -> GroupingFactor | None:
    """The groups of rows that may be correlated, where there is more than one."""
    residual, spec = design.residual, design.residual_spec
    groups = None if residual is None else residual.groups
    if groups is None or spec.correlation is None or len(groups.labels) < 2:
        return None
    names = tuple(spec.correlation.groups or spec.groups)
    return GroupingFactor(names, groups.codes, pd.Index(groups.labels))


def case_designs(design: Design, factor: int, n: int, rng: np.random.Generator) -> Iterator[Design]:
    """Designs whose levels of one factor are drawn with replacement, rows and all.

    Levels of factors nested in it are new in each draw; those of crossed factors keep their
    identity.
    """
    outer = _unit(design, factor)
    rows_of = _rows_of_levels(outer)
    nested = [is_nested(other.codes, outer.codes) for other in design.factors]
    for _ in range(n):
        drawn = rng.integers(0, outer.n_levels, outer.n_levels)
        yield _taken(design, [rows_of[level] for level in drawn], nested)


def leave_out_designs(design: Design, factor: int, most: int = 100) -> Iterator[Design]:
    """Designs without each level of a factor in turn, or without blocks of levels if many."""
    outer = _unit(design, factor)
    rows_of = _rows_of_levels(outer)
    nested = [is_nested(other.codes, outer.codes) for other in design.factors]
    blocks = np.array_split(np.arange(outer.n_levels), min(most, outer.n_levels))
    for block in blocks:
        left_out = set(block.tolist())
        kept = [rows for level, rows in enumerate(rows_of) if level not in left_out]
        yield _taken(design, kept, nested)


def _rows_of_levels(factor: GroupingFactor) -> list[IntArray]:
    order = np.argsort(factor.codes, kind="stable")
    counts = np.bincount(factor.codes, minlength=factor.n_levels)
    return np.split(order, np.cumsum(counts)[:-1])


def _taken(design: Design, parts: list[IntArray], nested: list[bool]) -> Design:
    """The rows of some draws; nested factors' levels are told apart by draw."""
    rows = np.concatenate(parts)
    draw = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    factors = []
    for other, own in zip(design.factors, nested, strict=True):
        key = other.codes[rows].astype(np.int64)
        if own:
            key += draw * other.n_levels
        codes, found = pd.factorize(key)
        factors.append(GroupingFactor(other.variables, codes, pd.RangeIndex(len(found))))
    residual = None if design.residual is None else _residual_of_draws(design, rows, draw)
    return replace(
        design,
        response=Response(design.response.expression, design.y[rows]),
        X=design.X[rows],
        terms=tuple(replace(term, Z=term.Z[rows]) for term in design.terms),
        factors=tuple(factors),
        weights=None if design.weights is None else design.weights[rows],
        offset=None if design.offset is None else design.offset[rows],
        positions=None,
        index=pd.RangeIndex(len(rows)),
        frame=None if design.frame is None else design.frame.take(rows),
        residual=residual,
    )


def _residual_of_draws(design: Design, rows: IntArray, draw: IntArray) -> ResidualStructure:
    """The residual structure over drawn rows; rows of different draws are uncorrelated."""
    own, spec = design.residual, design.residual_spec
    assert own is not None
    assert own.columns is not None
    frame = own.columns.take(rows)
    if spec.correlation is not None:
        name = next(iter(spec.correlation.groups or spec.groups))
        labels = Labels.of(frame[name])
        apart, found = pd.factorize(labels.codes + draw * len(labels.levels))
        by_draw = Labels(apart, pd.RangeIndex(len(found)))
        frame = replace(frame, columns={**frame.columns, name: by_draw})
    bound = None if spec.correlation is None else spec.correlation.bind(frame, spec.groups)
    variance = None if own.variance is None else own.variance.take(rows)
    return ResidualStructure(len(rows), bound, variance, frame)
