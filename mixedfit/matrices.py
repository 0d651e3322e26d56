"""Expressions and data to numeric columns, with the recipe that does the same to new data."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
from formulaic import Formula as TermFormula
from formulaic import ModelSpec
from formulaic.errors import DataMismatchWarning, FormulaicError
from formulaic.parser.types import Factor, Term

from mixedfit.arrays import Array
from mixedfit.errors import DataError, FormulaError
from mixedfit.formula import Expression
from mixedfit.formula_functions import FUNCTIONS
from mixedfit.frames import Column, Frame, Labels, label_text

__all__ = [
    "CONTRASTS",
    "IndicatorTerm",
    "Recipe",
    "TermColumns",
    "evaluate",
    "variables",
]


# What an expression calls the contrast matrix given for a factor: this and the factor's name.
CONTRASTS = "contrasts of "

# A name that is no column: R's constant.
_CONSTANTS = {"pi"}
# Formulaic's names of contrasts, no columns where they say how C() codes one.
_CONTRAST_NAMES = {"Treatment", "Sum", "Helmert", "Poly", "Diff"}


@lru_cache(maxsize=512)
def _terms(text: str) -> TermFormula:
    try:
        terms = TermFormula(text)
        if all(len(term.factors) < 2 for term in terms):
            return terms
        written = TermFormula(text, _ordering="none")
    except FormulaicError as error:
        raise FormulaError(f"{text!r} cannot be read: {_cause(error)}") from None
    # As in R, a product names its factors in the order in which the formula first does.
    order = {factor: None for term in written for factor in term.factors}
    rank = {factor: place for place, factor in enumerate(order)}
    return TermFormula([Term(sorted(term.factors, key=rank.__getitem__)) for term in terms])


@lru_cache(maxsize=512)
def variables(text: str) -> frozenset[str]:
    """Columns an expression reads.

    Examples
    --------
    >>> sorted(variables("f * poly(x, 2) + I(`total fruits` - y)"))
    ['f', 'total fruits', 'x', 'y']
    """
    return frozenset[str]().union(*(_term_variables(term) for term in _terms(text)))


def _term_variables(term: Term) -> frozenset[str]:
    return frozenset[str]().union(*(_factor_variables(factor) for factor in term.factors))


def _factor_variables(factor: Factor) -> frozenset[str]:
    if factor.eval_method is Factor.EvalMethod.LOOKUP:
        return frozenset([factor.expr])
    if factor.eval_method is not Factor.EvalMethod.PYTHON:
        return frozenset()
    quoted: list[str] = []

    def placeholder(match: re.Match[str]) -> str:
        quoted.append(match[1])
        return f"_quoted_{len(quoted) - 1}_"

    try:
        tree = ast.parse(re.sub(r"`([^`]*)`", placeholder, factor.expr), mode="eval")
    except SyntaxError:
        raise FormulaError(f"{factor.expr!r} cannot be read") from None
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    owners = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    codings = {
        id(node)
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "C"
        for node in [*call.args[1:], *(keyword.value for keyword in call.keywords)]
        if isinstance(node, ast.Name) and node.id in _CONTRAST_NAMES
    }
    names = {
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and id(node) not in called | owners | codings
    }
    names -= _CONSTANTS
    plain = {name for name in names if not name.startswith("_quoted_")}
    return frozenset(plain | {name for name in quoted if not name.startswith(CONTRASTS)})


@lru_cache(maxsize=512)
def _products(text: str) -> tuple[tuple[str, ...], ...] | None:
    """Each term as the columns it multiplies; None where a term is more than a product."""
    out = []
    for term in _terms(text):
        names = []
        for factor in term.factors:
            if factor.eval_method is Factor.EvalMethod.LOOKUP:
                names.append(factor.expr)
            elif factor.expr != "1":
                return None
        out.append(tuple(names))
    return tuple(out)


@dataclass(frozen=True)
class TermColumns:
    """The columns of one term.

    Attributes
    ----------
    label : str
        As the user spelled it.
    start, stop : int
        Its columns.
    variables : frozenset of str
        Columns of the data it reads.
    """

    label: str
    start: int
    stop: int
    variables: frozenset[str]


@dataclass(frozen=True)
class IndicatorTerm:
    """The columns of one term where every categorical variable has an indicator for each level.

    Attributes
    ----------
    start, stop : int
        Its columns.
    categorical, numeric : frozenset of str
        The factors the term multiplies.
    """

    start: int
    stop: int
    categorical: frozenset[str]
    numeric: frozenset[str]

    def within(self, other: IndicatorTerm) -> bool:
        """Whether the term is contained in another: the same numbers, and fewer categories."""
        return self.numeric == other.numeric and self.categorical < other.categorical


@dataclass(frozen=True)
class Recipe:
    """How an expression was turned into columns.

    Attributes
    ----------
    expression : Expression
    names : tuple of str
        Of the columns.
    terms : tuple of TermColumns
    levels : dict
        Levels of the categorical columns it reads, truth values among them.
    contrasts : dict
        Contrast matrices it was given, by variable.
    """

    expression: Expression
    names: tuple[str, ...]
    terms: tuple[TermColumns, ...]
    levels: dict[str, pd.Index]
    contrasts: Mapping[str, Array]
    _spec: ModelSpec | None = None

    @classmethod
    def learn(
        cls, expression: Expression, frame: Frame, contrasts: Mapping[str, Array] | None = None
    ) -> tuple[Array, Recipe]:
        """Build the columns of an expression, shape (n, k), and the recipe to do it again.

        Raises
        ------
        DataError, FormulaError
            If a value is not finite, or the expression cannot be evaluated.
        """
        read = {name: frame[name] for name in variables(expression.text)}
        levels = {name: c.levels for name, c in read.items() if isinstance(c, Labels)}
        levels |= {name: _TRUTH for name, c in read.items() if name not in levels and _is_truth(c)}
        products = _products(expression.text)
        if products is not None and not levels:
            names = tuple(":".join(product) if product else "Intercept" for product in products)
            terms = tuple(
                TermColumns(name if product else "1", i, i + 1, frozenset(product))
                for i, (name, product) in enumerate(zip(names, products, strict=True))
            )
            recipe = cls(expression, names, terms, levels, {})
            return recipe.apply(frame), recipe
        matrix, spec = _materialise(_terms(expression.text), frame, contrasts or {}, expression)
        names = expression.user_names(spec.column_names)
        terms = tuple(
            TermColumns(
                expression.user_names([str(term)])[0],
                columns.start,
                columns.stop,
                _term_variables(term),
            )
            for term, columns in spec.term_slices.items()
        )
        recipe = cls(expression, names, terms, levels, contrasts or {}, spec)
        return _finite(matrix, names), recipe

    @property
    def categorical_expressions(self) -> list[str]:
        """What the expression treats as factors, as formulaic writes it: ``f``, ``C(Days)``."""
        if self._spec is None:
            return []
        return [str(factor) for factor in self._spec.factor_contrasts]

    def apply(self, frame: Frame) -> Array:
        """The same columns for other rows, shape (n, k).

        Raises
        ------
        DataError
            If a categorical column holds a level the recipe has not seen, or a value is not finite.
        """
        if self._spec is None:
            return _finite(self._multiply(frame), self.names)
        columns = dict(frame.columns)
        for name, levels in self.levels.items():
            columns[name] = _relevelled(name, columns[name], levels)
        matrix, _ = _materialise(
            self._spec, Frame(frame.n, columns), self.contrasts, self.expression
        )
        return _finite(matrix, self.names)

    def indicators(self, frame: Frame) -> tuple[Array, tuple[IndicatorTerm, ...]]:
        """The same terms without contrasts: an indicator for each level, aliased as they are.

        Returns
        -------
        columns : array of shape (n, k)
        terms : tuple of IndicatorTerm
            In the order of `terms`.
        """
        if self._spec is None:
            products = _products(self.expression.text) or ()
            plain = tuple(
                IndicatorTerm(i, i + 1, frozenset(), frozenset(product))
                for i, product in enumerate(products)
            )
            return self.apply(frame), plain
        spec = self._spec.update(ensure_full_rank=False, structure=None)
        matrix, made = _materialise(spec, frame, self.contrasts, self.expression)
        categorical = {
            name for name, (kind, _) in made.encoder_state.items() if kind.value == "categorical"
        }
        terms = []
        for term, columns in made.term_slices.items():
            factors = frozenset(factor.expr for factor in term.factors if factor.expr != "1")
            terms.append(
                IndicatorTerm(
                    columns.start, columns.stop, factors & categorical, factors - categorical
                )
            )
        return matrix, tuple(terms)

    def _multiply(self, frame: Frame) -> Array:
        products = _products(self.expression.text) or ()
        matrix = np.empty((frame.n, len(products)))
        for i, product in enumerate(products):
            if not product:
                matrix[:, i] = 1.0
                continue
            matrix[:, i] = _numbers(product[0], frame)
            for name in product[1:]:
                matrix[:, i] *= _numbers(name, frame)
        return matrix


_TRUTH = pd.Index([False, True])


def _is_truth(column: Column) -> bool:
    return not isinstance(column, Labels) and column.dtype.kind == "b"


def _numbers(name: str, frame: Frame) -> Array:
    column = frame[name]
    if isinstance(column, Labels):
        raise DataError(f"column {name!r} holds labels here, but numbers in the data of the fit")
    return column


def _relevelled(name: str, column: Column, levels: pd.Index) -> Labels:
    own = Labels.of(column)
    matched = own.matched(levels)
    unseen = np.unique(own.codes[(matched.codes < 0) & (own.codes >= 0)])
    if len(unseen):
        new = ", ".join(repr(label_text(v)) for v in own.levels[unseen][:5])
        known = ", ".join(repr(label_text(v)) for v in levels[:8])
        raise DataError(
            f"column {name!r} holds {new}, which the data of the fit did not have; its levels "
            f"there were {known}{', ...' if len(levels) > 8 else ''}"
        )
    return matched


def _materialise(
    what: TermFormula | ModelSpec,
    frame: Frame,
    contrasts: Mapping[str, Array],
    expression: Expression,
) -> tuple[Array, ModelSpec]:
    context = {
        **FUNCTIONS,
        **{CONTRASTS + name: matrix for name, matrix in contrasts.items()},
    }
    data = frame.pandas()
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", DataMismatchWarning)
            if isinstance(what, ModelSpec):
                built = what.get_model_matrix(data, context=context)
            else:
                built = what.get_model_matrix(
                    data, output="numpy", na_action="ignore", context=context
                )
    except DataMismatchWarning as warning:
        raise DataError(f"{expression.text!r}: {warning}") from None
    except (
        FormulaicError,
        ArithmeticError,
        LookupError,
        NameError,
        TypeError,
        ValueError,
    ) as error:
        raise FormulaError(f"{expression.text!r} cannot be evaluated: {_cause(error)}") from None
    matrix = np.asarray(built, dtype=float)
    return matrix, built.model_spec


def _cause(error: BaseException) -> str:
    cause = error.__cause__ or error
    if isinstance(cause, NameError):
        return f"there is no function {cause.name!r} here; make what it gives a column of the data"
    absent = re.fullmatch(r"(.+) is not in list", str(cause))
    if absent:
        return f"there is no level {absent[1]}; a contrast names a level by its label, in quotes"
    plain = re.sub(r"\x1b\[[\d;]*m", "", str(cause))
    return plain.strip().split("\n")[0] or type(cause).__name__


def _finite(matrix: Array, names: tuple[str, ...]) -> Array:
    if np.isfinite(matrix.sum()):
        return matrix
    bad = ~np.isfinite(matrix)
    for name, rows in zip(names, bad.T, strict=True):
        if rows.any():
            first = int(np.flatnonzero(rows)[0])
            raise DataError(
                f"{name!r} is not finite in {int(rows.sum())} of {len(rows)} rows (the first is "
                f"row {first} of those used); remove or correct them"
            )
    return matrix


def evaluate(expression: Expression, frame: Frame, what: str) -> Array:
    """One numeric column, shape (n,): the response or an offset.

    Raises
    ------
    DataError, FormulaError
        If it is not one column of finite numbers.
    """
    for name in variables(expression.text):
        if isinstance(frame[name], Labels) and name == expression.text.strip("`"):
            levels = ", ".join(repr(str(level)) for level in frame[name].levels[:4])  # type: ignore[union-attr]
            raise DataError(
                f"the {what} {name!r} must be numeric, but holds labels ({levels}, ...)"
            )
    products = _products(f"0 + {expression.text}")
    if products is not None and len(products) == 1 and len(products[0]) == 1:
        name = products[0][0]
        values = np.asarray(frame[name], dtype=float)
        return _finite(values[:, None], (name,))[:, 0]
    text = Expression(f"0 + {expression.text}", expression.spelling)
    matrix, _ = Recipe.learn(text, frame)
    if matrix.shape[1] != 1:
        raise DataError(
            f"the {what} {expression.user_names([expression.text])[0]!r} must be one numeric "
            f"column, but gives {matrix.shape[1]}"
        )
    return matrix[:, 0]
