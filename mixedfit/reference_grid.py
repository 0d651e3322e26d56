"""The reference grid of a design: combinations of levels and values at which its mean is told."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from mixedfit.arrays import Array, BoolArray, IntArray
from mixedfit.design import Design
from mixedfit.errors import DataError, ModelError
from mixedfit.frames import Column, Frame, Labels, label_text
from mixedfit.matrices import evaluate, variables

__all__ = ["GridVariable", "ReferenceGrid", "Weights"]

Weights = Literal["equal", "proportional", "outer", "cells", "flat"]

_MAX_NUMBERS = 100_000_000


@dataclass(frozen=True)
class GridVariable:
    """One variable of a grid.

    Attributes
    ----------
    name : str
    levels : pandas.Index
        Levels of a factor, values of a covariate.
    column : Column
        The same as a column of data, one row a value.
    codes : int array of shape (n,) or None
        Which value each row of the data has, -1 where none; None for a covariate, which is
        averaged or set.
    """

    name: str
    levels: pd.Index
    column: Column
    codes: IntArray | None

    @property
    def is_factor(self) -> bool:
        """Whether its values are those that occur in the data."""
        return self.codes is not None

    def labels(self) -> list[str]:
        """The levels as contrasts name them; numbers carry the variable's name, ``"Days9"``."""
        texts = [label_text(v) for v in self.levels]
        if all(_is_number(text) for text in texts):
            return [f"{self.name}{text}" for text in texts]
        return texts


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@dataclass(frozen=True)
class ReferenceGrid:
    """All combinations of the values of the variables a model's mean reads.

    Attributes
    ----------
    design : Design
    variables : dict of GridVariable
        In the formula's order.
    averaged : frozenset of str
        Covariates that stand at their mean because nobody set them.
    """

    design: Design
    variables: dict[str, GridVariable]
    averaged: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls,
        design: Design,
        at: Mapping[str, Any] | None = None,
        covariates: Collection[str] = (),
        spread: float | None = None,
    ) -> ReferenceGrid:
        """The grid of a design.

        Parameters
        ----------
        design : Design
        at : dict, optional
            Values to use, by variable: some levels of a factor, or numbers.
        covariates : collection of str
            Numeric variables set to their mean even where they take two values only.
        spread : float, optional
            Set covariates to their mean less and plus this, instead of the mean.

        Raises
        ------
        DataError, ModelError
            If a variable or a level is unknown, or the grid is too large.

        Notes
        -----
        Factors (labels, truth values, numbers inside ``factor()``) keep their levels, numbers with
        two distinct values keep both, other numbers are set to their mean: R's rules.
        """
        frame = design.frame
        if frame is None:
            raise ModelError("this design has kept no data to make a reference grid from")
        if not isinstance(at, Mapping | None):
            raise DataError(f"at= must be a dict such as {{'x': [0, 1]}}, not {at!r}")
        at = dict(at or {})
        names = list(dict.fromkeys(_names(design)))
        for name in at:
            if name not in names:
                known = ", ".join(repr(known) for known in names)
                raise DataError(
                    f"at= names {name!r}, which is none of the mean's variables {known}"
                )
        coerced = _coerced(design)
        made = {
            name: _variable(
                name, frame[name], at.get(name), name in coerced, name in covariates, spread
            )
            for name in names
        }
        averaged = [n for n, v in made.items() if not v.is_factor and n not in at]
        grid = cls(design, made, frozenset(averaged if spread is None else ()))
        if grid.n * len(design.recipe.names) > _MAX_NUMBERS:
            raise ModelError(
                f"the reference grid has {grid.n} combinations: hold some variables at a value "
                "with at={'variable': [value]}"
            )
        return grid

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of values of each variable."""
        return tuple(len(variable.levels) for variable in self.variables.values())

    @property
    def n(self) -> int:
        """Number of combinations."""
        return int(np.prod(self.shape, dtype=np.int64))

    @cached_property
    def codes(self) -> dict[str, IntArray]:
        """For each variable, which value each combination has; the first variable runs fastest."""
        places = np.unravel_index(np.arange(self.n), self.shape, order="F") if self.shape else ()
        return dict(zip(self.variables, places, strict=True))

    def frame(self, **other: Array) -> Frame:
        """The combinations as data, some columns replaced by other numbers of shape (n,)."""
        columns: dict[str, Column] = {}
        for name, variable in self.variables.items():
            codes, column = self.codes[name], variable.column
            columns[name] = (
                Labels(column.codes[codes], column.levels, column.ordered)
                if isinstance(column, Labels)
                else column[codes]
            )
        return Frame(self.n, {**columns, **other})

    def matrix(self, frame: Frame | None = None) -> Array:
        """The fixed columns at the combinations, aliased ones included, shape (n, P)."""
        return self.design.recipe.apply(self.frame() if frame is None else frame)

    def offset(self, frame: Frame | None = None) -> Array:
        """The offset at the combinations, shape (n,).

        The mean over the rows of one that was given as numbers, or whose variables all stand at
        their means: that of ``log(x)`` is not ``log`` of the mean.
        """
        design = self.design
        total = np.zeros(self.n)
        if design.offset is None:
            return total
        if design.offsets is None:
            return total + float(np.mean(design.offset))
        assert design.frame is not None
        at = self.frame() if frame is None else frame
        for expression in design.offsets:
            if frame is None and variables(expression.text) <= self.averaged:
                total += float(np.mean(evaluate(expression, design.frame, "offset")))
            else:
                total += evaluate(expression, at, "offset")
        return total

    @cached_property
    def nested(self) -> dict[str, tuple[str, ...]]:
        """For each factor, those it is nested in: each of its levels occurs in one of theirs.

        Of two factors that divide the data alike the later one is nested in the earlier.
        """
        factors = [v for v in self.variables.values() if v.is_factor and len(v.levels) > 1]
        out: dict[str, tuple[str, ...]] = {}
        for i, inner in enumerate(factors):
            outer = tuple(
                other.name
                for j, other in enumerate(factors)
                if i != j and _within(inner, other) and not (i < j and _within(other, inner))
            )
            if outer:
                out[inner.name] = outer
        return out

    @cached_property
    def possible(self) -> BoolArray:
        """Which combinations respect the nesting of factors, shape (n,)."""
        possible = np.ones(self.n, dtype=bool)
        for inner, outer in self.nested.items():
            possible &= self.frequencies([inner, *outer]) > 0.0
        return possible

    def averages(self, kept: Sequence[str], weights: Weights) -> sparse.csr_array:
        """Weights that average the combinations over all variables but some.

        Parameters
        ----------
        kept : sequence of str
            Variables that are not averaged over; the first runs fastest.
        weights : {"equal", "proportional", "outer", "cells", "flat"}

        Returns
        -------
        sparse array of shape (m, n)
            Rows sum to one, or are empty where no row of the data bears weight.
        """
        if weights not in get_args(Weights):
            allowed = ", ".join(repr(name) for name in get_args(Weights))
            raise ModelError(
                f"weights must be one of {allowed}, not {weights!r}; `.averaged_over` shows the "
                "levels and weights used"
            )
        target, m = self.place(kept)
        averaged = [v.name for v in self.variables.values() if v.is_factor and v.name not in kept]
        weight = self._cell_weights(kept, averaged, weights) * self.possible
        total = np.bincount(target, weight, m)
        with np.errstate(invalid="ignore", divide="ignore"):
            share = np.where(total[target] > 0.0, weight / total[target], 0.0)
        return sparse.coo_array((share, (target, np.arange(self.n))), shape=(m, self.n)).tocsr()

    def place(self, names: Sequence[str]) -> tuple[IntArray, int]:
        """Which combination of some variables each of the grid has, and how many there are."""
        target, m = np.zeros(self.n, dtype=np.int64), 1
        for name in names:
            target += m * self.codes[name]
            m *= len(self.variables[name].levels)
        return target, m

    def _cell_weights(self, kept: Sequence[str], averaged: list[str], weights: Weights) -> Array:
        if weights == "equal" or (weights != "flat" and not averaged):
            return np.ones(self.n)
        if weights == "proportional":
            return self.frequencies(averaged)
        if weights == "outer":
            return np.prod([self.frequencies([name]) for name in averaged], axis=0)
        factors = [name for name in kept if self.variables[name].is_factor]
        counts = self.frequencies([*factors, *averaged])
        return counts if weights == "cells" else (counts > 0.0).astype(float)

    def frequencies(self, names: Sequence[str]) -> Array:
        """How much of the data has each combination's values of some factors, shape (n,)."""
        row, used = np.zeros(self.design.n, dtype=np.int64), np.ones(self.design.n, dtype=bool)
        size = 1
        for name in names:
            codes = self.variables[name].codes
            assert codes is not None
            used &= codes >= 0
            row += size * codes
            size *= len(self.variables[name].levels)
        target, _ = self.place(names)
        own = None if self.design.weights is None else self.design.weights[used]
        return np.bincount(row[used], own, size)[target].astype(float)


def _within(inner: GridVariable, outer: GridVariable) -> bool:
    """Whether each level of one factor occurs in one level of another, in the data."""
    assert inner.codes is not None
    assert outer.codes is not None
    used = (inner.codes >= 0) & (outer.codes >= 0)
    shape = (len(inner.levels), len(outer.levels))
    pairs = inner.codes[used].astype(np.int64) * shape[1] + outer.codes[used]
    met = np.bincount(pairs, minlength=shape[0] * shape[1]).reshape(shape) > 0
    return bool(met.any() and (met.sum(axis=1) <= 1).all())


def _names(design: Design) -> list[str]:
    """Variables the mean reads, in the formula's order."""
    out: list[str] = []
    for term in design.recipe.terms:
        label = term.label
        out.extend(sorted(term.variables, key=lambda name, label=label: label.find(name)))  # type: ignore[misc]
    for expression in design.offsets or ():
        out.extend(sorted(variables(expression.text)))
    return out


def _coerced(design: Design) -> set[str]:
    """Numeric variables the formula makes factors of, as in ``factor(x)``."""
    calls = [
        re.match(r"C\((`[^`]+`|[\w.]+)\s*[,)]", e) for e in design.recipe.categorical_expressions
    ]
    return {call[1].strip("`") for call in calls if call}


def _variable(
    name: str, column: Column, at: Any, coerced: bool, covariate: bool, spread: float | None
) -> GridVariable:
    if isinstance(column, Labels):
        return _factor(name, pd.Index(column.levels), column.codes, at, column)
    discrete = coerced or column.dtype.kind == "b"
    if discrete or (at is None and not covariate and _two_valued(column)):
        values, codes = np.unique(column, return_inverse=True)
        return _factor(name, pd.Index(_whole(values)), codes, at, None)
    if at is None:
        mean = float(np.mean(column, dtype=float))
        given = np.array([mean] if spread is None else [mean - spread, mean + spread])
    else:
        given = _numbers(name, at)
    return GridVariable(name, pd.Index(_whole(given)), given, None)


def _two_valued(column: NDArray[Any]) -> bool:
    low, high = column.min(), column.max()
    return bool(low < high and ((column == low) | (column == high)).all())


def _factor(
    name: str, levels: pd.Index, codes: IntArray, at: Any, labels: Labels | None
) -> GridVariable:
    places = np.arange(len(levels)) if at is None else _places(name, levels, at)
    back = np.full(len(levels) + 1, -1, dtype=np.int64)
    back[places] = np.arange(len(places))
    column: Column = (
        Labels(places, labels.levels, labels.ordered)
        if labels is not None
        else np.asarray(levels.to_numpy())[places]
    )
    return GridVariable(name, levels[places], column, back[codes])


def _places(name: str, levels: pd.Index, at: Any) -> IntArray:
    wanted = [at] if isinstance(at, str | int | float | bool | np.generic) else list(at)
    texts = [str(level) for level in levels]
    out = []
    for value in wanted:
        if value in levels:
            out.append(int(levels.get_indexer(pd.Index([value]))[0]))
        elif str(value) in texts:
            out.append(texts.index(str(value)))
        else:
            known = ", ".join(repr(text) for text in texts[:10])
            raise DataError(
                f"at= sets {name!r} to {value!r}, which is none of its levels {known}"
                f"{', ...' if len(texts) > 10 else ''}"
            )
    if not out:
        raise DataError(f"at= gives no level for {name!r}")
    return np.array(list(dict.fromkeys(out)))


def _numbers(name: str, at: Any) -> Array:
    try:
        values = np.atleast_1d(np.asarray(at, dtype=float))
    except (TypeError, ValueError):
        raise DataError(f"at= must set {name!r} to numbers, not {at!r}") from None
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise DataError(f"at= must set {name!r} to one or more finite numbers, not {at!r}")
    return values


def _whole(values: NDArray[Any]) -> NDArray[Any]:
    """Whole numbers without a decimal point."""
    if values.dtype.kind == "f" and np.all(values == np.round(values)):
        return values.astype(np.int64)
    return values
