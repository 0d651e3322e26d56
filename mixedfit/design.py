"""A formula and data made into arrays: response, fixed columns, random terms over grouping factors.

`Design` is the first waist of the package: no data frame is needed after it, and it keeps the
recipes that turn new data into the same columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from mixedfit.arrays import Array, IntArray
from mixedfit.covariance import AR1, CompoundSymmetry, Diagonal, Structure, Unstructured
from mixedfit.errors import DataError, ModelError
from mixedfit.formula import Expression, Formula, RandomEffect, with_contrasts
from mixedfit.frames import Frame, Labels, combinations
from mixedfit.linalg import independent_columns
from mixedfit.matrices import CONTRASTS, Recipe, evaluate, variables
from mixedfit.residual import (
    ResidualStructure,
    bind_residual,
    check_within,
    residual_variables,
)
from mixedfit.rows import RowOptions, UsedRows, use_rows

if TYPE_CHECKING:
    from mixedfit.correlation_structure import CorStructure
    from mixedfit.variance_function import VarFunction

__all__ = ["Design", "GroupingFactor", "RandomTerm", "ResidualSpec", "Response"]

_CONTRASTS = {
    "treatment": "contr.treatment",
    "sum": "contr.sum",
    "helmert": "contr.helmert",
    "poly": "contr.poly",
}


@dataclass(frozen=True)
class GroupingFactor:
    """A factor whose levels carry random effects.

    Attributes
    ----------
    variables : tuple of str
        The columns whose combinations are the levels.
    codes : int array of shape (n,)
        Level of each row.
    levels : pandas.Index or MultiIndex
        Labels of the levels, J of them, each in use.
    """

    variables: tuple[str, ...]
    codes: IntArray
    levels: pd.Index

    @property
    def name(self) -> str:
        """``"School:Class"`` for combinations."""
        return ":".join(self.variables)

    @property
    def n_levels(self) -> int:
        """Number of levels J."""
        return len(self.levels)

    @classmethod
    def learn(cls, names: tuple[str, ...], frame: Frame) -> GroupingFactor:
        """The levels of one column, or the combinations of several that occur."""
        columns = [_labels(name, frame).used() for name in names]
        if len(columns) == 1:
            levels = columns[0].levels
            levels = levels if levels.name == names[0] else levels.rename(names[0])
            return cls(names, columns[0].codes, levels)
        codes, places = combinations(columns)
        labels: list[Any] = [column.levels for column in columns]
        own: list[Any] = list(places)
        return cls(names, codes, pd.MultiIndex(levels=labels, codes=own, names=list(names)))

    def encode(self, frame: Frame) -> IntArray:
        """Levels of other rows, shape (m,); -1 where the fit did not have the level."""
        if len(self.variables) == 1:
            return _labels(self.variables[0], frame).matched(self.levels).codes
        assert isinstance(self.levels, pd.MultiIndex)
        columns = [
            _labels(name, frame).matched(levels).categorical()
            for name, levels in zip(self.variables, self.levels.levels, strict=True)
        ]
        unknown = np.logical_or.reduce([column.codes < 0 for column in columns])
        codes = self.levels.get_indexer(pd.MultiIndex.from_arrays(columns))
        return np.where(unknown, -1, codes)


def _labels(name: str, frame: Frame) -> Labels:
    """A grouping column as labels."""
    labels = Labels.of(frame[name])
    if labels.levels.dtype.kind == "f" and not np.isfinite(labels.levels).all():
        raise DataError(f"grouping column {name!r} holds infinite values")
    return labels


@dataclass(frozen=True)
class RandomTerm:
    """One random term.

    Attributes
    ----------
    effect : RandomEffect
        The term as the formula has it.
    factor : int
        Which grouping factor of the design.
    recipe : Recipe
        Of its columns.
    Z : array of shape (n, k)
        Its columns; row i acts on the effects of row i's level.
    structure : Structure
        Of the k x k covariance of one level's effects.
    """

    effect: RandomEffect
    factor: int
    recipe: Recipe
    Z: Array
    structure: Structure

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return self.recipe.names

    @property
    def intercept(self) -> int | None:
        """Which column is constant."""
        return _intercept(self.recipe)


def _intercept(recipe: Recipe) -> int | None:
    return next((term.start for term in recipe.terms if term.label == "1"), None)


@dataclass(frozen=True)
class Response:
    """The left side of the formula: its expression and its values of shape (n,)."""

    expression: Expression
    y: Array

    @property
    def name(self) -> str:
        """As the user wrote it."""
        return self.expression.user_names([self.expression.text])[0]


@dataclass(frozen=True)
class ResidualSpec:
    """What the caller said about the residuals, not yet bound to rows.

    Attributes
    ----------
    correlation : CorStructure or None
    variance : VarFunction or None
    groups : tuple of str
        Columns whose combinations group rows where a form does not say.
    within : tuple of str
        Columns whose combinations hold the groups of the correlation, as lme requires.
    """

    correlation: CorStructure | None = None
    variance: VarFunction | None = None
    groups: tuple[str, ...] = ()
    within: tuple[str, ...] = ()

    @property
    def parts(self) -> list[str]:
        """The correlation structure and the variance function as they were written."""
        return [repr(part) for part in (self.correlation, self.variance) if part is not None]

    @property
    def variables(self) -> tuple[str, ...]:
        """Columns of the data that binding reads."""
        if self.correlation is None and self.variance is None:
            return ()
        own = residual_variables(self.correlation, self.variance)
        return tuple(dict.fromkeys([*own, *self.groups]))

    def bind(self, frame: Frame) -> ResidualStructure | None:
        """The structure of the rows used."""
        if self.correlation is not None and self.within:
            check_within(self.correlation, frame, self.within)
        return bind_residual(self.correlation, self.variance, frame, self.groups)


@dataclass(frozen=True)
class Design:
    """A model's arrays, one row an observation used.

    Attributes
    ----------
    formula : Formula
    response : Response
    recipe : Recipe
        Of the fixed part, aliased columns included.
    X : array of shape (n, p)
        Fixed columns that are linearly independent.
    kept : int array of shape (p,)
        Which of the recipe's columns they are.
    terms : tuple of RandomTerm
        In lme4's order: by decreasing number of levels.
    factors : tuple of GroupingFactor
    weights, offset : array of shape (n,) or None
    offsets : tuple of Expression or None
        What ``offset`` is the sum of; None where part of it was given as numbers.
    positions : int array of shape (n,) or None
        Places of the rows in the data; None where all are used.
    n_missing : int
        Rows left out because a value is missing.
    index : pandas.Index
        Of the rows used, in the data's own index where it has one.
    frame : Frame or None
        The columns of the data that the fixed part and the offsets read, in the rows used.
    residual : ResidualStructure or None
        Of the rows once they are scaled by the roots of their weights.
    residual_spec : ResidualSpec
        What it was made from.
    """

    formula: Formula
    response: Response
    recipe: Recipe
    X: Array
    kept: IntArray
    terms: tuple[RandomTerm, ...]
    factors: tuple[GroupingFactor, ...]
    weights: Array | None = None
    offset: Array | None = None
    offsets: tuple[Expression, ...] | None = ()
    positions: IntArray | None = None
    n_missing: int = 0
    index: pd.Index | None = None
    frame: Frame | None = None
    residual: ResidualStructure | None = None
    residual_spec: ResidualSpec = ResidualSpec()

    @property
    def y(self) -> Array:
        """The response, shape (n,)."""
        return self.response.y

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.response.y)

    @cached_property
    def names(self) -> pd.Index:
        """Names of the columns of X."""
        return pd.Index([self.recipe.names[i] for i in self.kept])

    @property
    def dropped(self) -> list[str]:
        """Names of the fixed columns left out because they repeat others."""
        kept = set(self.kept.tolist())
        return [name for i, name in enumerate(self.recipe.names) if i not in kept]

    @property
    def intercept(self) -> int | None:
        """Which column of X is constant."""
        place = _intercept(self.recipe)
        return None if place is None else int(np.searchsorted(self.kept, place))

    @property
    def factor_columns(self) -> list[Array]:
        """The columns (n, k) of each grouping factor, its terms side by side."""
        parts: list[list[Array]] = [[] for _ in self.factors]
        for term in self.terms:
            parts[term.factor].append(term.Z)
        return [part[0] if len(part) == 1 else np.hstack(part) for part in parts]

    @classmethod
    def build(
        cls,
        formula: Formula,
        data: Any,
        rows: RowOptions | None = None,
        contrasts: Mapping[str, str | ArrayLike] | None = None,
        residual: ResidualSpec | None = None,
    ) -> Design:
        """Evaluate a formula on data.

        Parameters
        ----------
        formula : Formula
        data : pandas, polars or pyarrow frame, or dict of columns
        rows : RowOptions, optional
        contrasts : dict, optional
            Coding of factors: "treatment", "sum", "helmert", "poly", or a matrix with one row a
            level.
        residual : ResidualSpec, optional
            Correlation and variances of the residuals.

        Raises
        ------
        DataError, FormulaError, ModelError
            Naming the column, level or term, and what to do.
        """
        rows = rows or RowOptions()
        residual = residual or ResidualSpec()
        names = _variables(formula)
        also = [name for name in residual.variables if name not in names]
        used = use_rows(data, [*names, *also], rows)
        frame = Frame(
            used.frame.n,
            {k: c.used() if isinstance(c, Labels) else c for k, c in used.frame.columns.items()},
        )
        codings, matrices = _codings(contrasts or {}, names, frame)
        fixed, recipe = Recipe.learn(with_contrasts(formula.fixed, codings), frame, matrices)
        response = Response(formula.response, evaluate(formula.response, frame, "response"))
        kept = _independent(fixed, recipe, response.name)
        factors, terms = _random_part(formula.random, frame, codings, matrices, (fixed, recipe))
        offset, offsets = _offset(formula, used, frame)
        X = fixed if len(kept) == fixed.shape[1] else np.ascontiguousarray(fixed[:, kept])
        index = data.index if isinstance(data, pd.DataFrame) else pd.RangeIndex(used.total)
        index = index if used.positions is None else index[used.positions]
        return cls(
            formula,
            response,
            recipe,
            X,
            kept,
            terms,
            factors,
            used.weights,
            offset,
            offsets,
            used.positions,
            used.n_missing,
            index,
            _covariates(frame, formula, offsets),
            residual.bind(frame),
            residual,
        )

    def with_response(self, y: Array) -> Design:
        """The same design for another response of shape (n,)."""
        other = replace(self, response=Response(self.response.expression, y))
        other.__dict__["names"] = self.names
        return other

    def take(self, rows: NDArray[np.bool_] | slice) -> Design:
        """Some of the rows, with all levels kept: a chunk."""
        if self.residual is not None:
            raise ModelError("rows with correlated or unequal residuals cannot be taken in chunks")
        return replace(
            self,
            response=Response(self.response.expression, self.y[rows]),
            X=self.X[rows],
            terms=tuple(replace(term, Z=term.Z[rows]) for term in self.terms),
            factors=tuple(replace(factor, codes=factor.codes[rows]) for factor in self.factors),
            weights=None if self.weights is None else self.weights[rows],
            offset=None if self.offset is None else self.offset[rows],
            frame=None if self.frame is None else self.frame.take(rows),
        )


def _variables(formula: Formula) -> list[str]:
    """Columns the formula reads, in its order."""
    out: dict[str, None] = {}
    for expression in (formula.response, formula.fixed, *formula.offsets):
        out.update(dict.fromkeys(sorted(variables(expression.text))))
    for effect in formula.random:
        out.update(dict.fromkeys(sorted(variables(effect.columns.text))))
        out.update(dict.fromkeys(effect.group))
    return list(out)


def _offset(
    formula: Formula, used: UsedRows, frame: Frame
) -> tuple[Array | None, tuple[Expression, ...] | None]:
    """The formula's offsets and the one given beside it: their sum, and the expressions in it."""
    parts = [evaluate(expression, frame, "offset") for expression in formula.offsets]
    if used.offset is None:
        return (sum(parts, np.zeros(frame.n)) if parts else None), formula.offsets
    offset = sum(parts, used.offset)
    given = used.offset_expression
    return offset, None if given is None else (*formula.offsets, given)


def _covariates(frame: Frame, formula: Formula, offsets: tuple[Expression, ...] | None) -> Frame:
    """The columns that the mean reads."""
    names = dict.fromkeys(
        name
        for expression in (formula.fixed, *(offsets or ()))
        for name in sorted(variables(expression.text))
    )
    return Frame(frame.n, {name: frame[name] for name in names})


def _codings(
    contrasts: Mapping[str, str | ArrayLike], names: Sequence[str], frame: Frame
) -> tuple[dict[str, str], dict[str, Array]]:
    """Formulaic's spelling of the contrasts, and the matrices it then looks up."""
    if not isinstance(contrasts, Mapping):
        raise DataError(
            "contrasts must be a dict from factors to codings, such as {'f': 'sum'}, not "
            f"{contrasts!r}"
        )
    codings, matrices = {}, {}
    for name, contrast in contrasts.items():
        if name not in names:
            raise DataError(f"contrasts name {name!r}, which the formula does not use")
        column = frame[name]
        if not isinstance(column, Labels) and column.dtype.kind != "b":
            raise DataError(
                f"contrasts name {name!r}, which holds numbers; make it categorical in the data, "
                f"or write 'C({name}, contr.sum)' in the formula"
            )
        if isinstance(contrast, str):
            if contrast not in _CONTRASTS:
                allowed = ", ".join(repr(c) for c in _CONTRASTS)
                raise DataError(
                    f"contrasts of {name!r}: {contrast!r} is none of {allowed}; a matrix works too"
                )
            codings[name] = _CONTRASTS[contrast]
            continue
        matrix = np.array(contrast, dtype=float)
        J = len(_labels(name, frame).levels)
        if matrix.ndim != 2 or matrix.shape[0] != J or matrix.shape[1] >= J:
            raise DataError(
                f"contrasts of {name!r} must have a row for each of its {J} levels and fewer "
                f"columns, not shape {matrix.shape}"
            )
        matrices[name] = matrix
        codings[name] = f"contr.custom(`{CONTRASTS}{name}`)"
    return codings, matrices


def _independent(X: Array, recipe: Recipe, response: str) -> IntArray:
    """Which fixed columns to keep: the first of each aliased set."""
    n, p = X.shape
    if p == 0:
        return np.arange(0)
    center = np.zeros(p)
    intercept = _intercept(recipe)
    if intercept is not None:
        center = X.sum(axis=0) / n
        center[intercept] = 0.0
    centred = X - center
    length = np.sqrt(np.einsum("ij,ij->j", centred, centred))
    # What is left of a constant column after centring is rounding.
    offset = np.sqrt(n) * np.abs(center)
    constant = length <= 1e-13 * offset
    centred[:, constant] = 0.0
    kept = independent_columns(centred)
    if len(kept) >= n:
        raise ModelError(
            f"{len(kept)} fixed effects cannot be estimated from {n} rows of {response!r}: no "
            "variation would be left; use fewer terms"
        )
    return kept


def _random_part(
    effects: tuple[RandomEffect, ...],
    frame: Frame,
    codings: Mapping[str, str],
    matrices: Mapping[str, Array],
    fixed: tuple[Array, Recipe],
) -> tuple[tuple[GroupingFactor, ...], tuple[RandomTerm, ...]]:
    """Grouping factors and terms, both by decreasing number of levels as lme4 lists them."""
    by_group = {
        group: GroupingFactor.learn(group, frame) for group in {e.group: None for e in effects}
    }
    for factor in by_group.values():
        _check_factor(factor, frame.n)
    sizes = [by_group[effect.group].n_levels for effect in effects]
    ordered = list(effects)
    if any(a < b for a, b in pairwise(sizes)):  # lme4 then turns the order of equals round
        ordered = [effects[i] for i in np.argsort(sizes, kind="stable")[::-1]]
    learned = [by_group[group] for group in {effect.group: None for effect in ordered}]
    place = {factor.variables: i for i, factor in enumerate(learned)}
    terms = tuple(
        _random_term(
            effect,
            place[effect.group],
            learned[place[effect.group]],
            frame,
            codings,
            matrices,
            fixed,
        )
        for effect in ordered
    )
    return tuple(learned), terms


def _check_factor(factor: GroupingFactor, n: int) -> None:
    if factor.n_levels < 2:
        raise ModelError(
            f"grouping factor {factor.name!r} has one level, {str(factor.levels[0])!r}: its "
            "variance cannot be estimated; leave the term out"
        )
    if factor.n_levels >= n:
        raise ModelError(
            f"grouping factor {factor.name!r} has as many levels as there are rows ({n}): its "
            "effects cannot be told from the residual; group by a column whose levels repeat"
        )


def _random_term(
    effect: RandomEffect,
    place: int,
    factor: GroupingFactor,
    frame: Frame,
    codings: Mapping[str, str],
    matrices: Mapping[str, Array],
    fixed: tuple[Array, Recipe],
) -> RandomTerm:
    expression = with_contrasts(effect.columns, codings)
    if expression == fixed[1].expression:  # one matrix serves both
        Z, recipe = fixed
    else:
        Z, recipe = Recipe.learn(expression, frame, matrices)
    k = Z.shape[1]
    if k == 0:
        raise ModelError(f"{effect.label} has no columns: write 1 for an intercept")
    kept = _independent(Z, recipe, effect.label)
    if len(kept) < k:
        aliased = next(name for i, name in enumerate(recipe.names) if i not in kept)
        raise ModelError(
            f"{effect.label}: column {aliased!r} is constant or repeats the columns before it, "
            "so its effects cannot be told from theirs; leave it out"
        )
    if k * factor.n_levels >= frame.n:
        raise ModelError(
            f"{effect.label} has {k * factor.n_levels} random effects ({factor.n_levels} levels "
            f"with {k} columns) for {frame.n} rows: they cannot be told from the residual; use "
            "fewer columns"
        )
    return RandomTerm(effect, place, recipe, Z, _structure(effect, k))


def _structure(effect: RandomEffect, k: int) -> Structure:
    homogeneous = effect.homogeneous
    if effect.structure == "us":
        return Unstructured(k) if k > 1 else Diagonal(1)
    if effect.structure == "diag":
        return Diagonal(k, bool(homogeneous))
    if k < 2:
        raise ModelError(
            f"{effect.label} has one column, and {effect.structure}() models correlations between "
            "columns: write a factor left of the bar, as in 'ar1(0 + week | subject)'"
        )
    if effect.structure == "cs":
        return CompoundSymmetry(k, bool(homogeneous))
    return AR1(k, True if homogeneous is None else homogeneous)
