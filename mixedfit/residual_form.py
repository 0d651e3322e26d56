"""One-sided formulas of residual structures: ``~ t | g``, ``~ x + y``, ``~ fitted(.)``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from mixedfit.arrays import Array, IntArray
from mixedfit.errors import DataError, FormulaError
from mixedfit.formula import Expression, parse_expression
from mixedfit.frames import Frame, Labels, combinations
from mixedfit.matrices import Recipe, evaluate, variables

__all__ = ["Classes", "FromFit", "ResidualForm", "call_text", "classify", "parse_form"]

FromFit = Literal["fitted", "resid"]
_OF_FIT: dict[str, FromFit] = {
    "fitted(.)": "fitted",
    "resid(.)": "resid",
    "residuals(.)": "resid",
}


@dataclass(frozen=True)
class ResidualForm:
    """A one-sided formula read.

    Attributes
    ----------
    text : str
        As written.
    left : str
        Left of the bar, as written.
    covariate : Expression or None
        The same as one number a row, arithmetic included; None for ``~ 1`` and for fitted values or
        residuals.
    from_fit : {"fitted", "resid"} or None
        Where the covariate is taken from the fit.
    groups : tuple of str
        Columns right of the bar, whose combinations are the groups or strata.
    """

    text: str
    left: str
    covariate: Expression | None
    from_fit: FromFit | None
    groups: tuple[str, ...]

    @property
    def variables(self) -> tuple[str, ...]:
        """Columns of the data the formula reads."""
        covariate = sorted(variables(self.covariate.text)) if self.covariate else []
        return tuple(dict.fromkeys([*covariate, *self.groups]))

    def numbers(self, frame: Frame, what: str) -> Array:
        """The covariate as one number a row, shape (n,).

        Raises
        ------
        DataError
            If it is not numeric.
        """
        assert self.covariate is not None
        try:
            return evaluate(self.covariate, frame, f"covariate of {what}")
        except FormulaError:
            for name in sorted(variables(self.covariate.text)):
                if isinstance(frame.columns.get(name), Labels):
                    raise DataError(
                        f"{what}: {self.left!r} must be numbers, but {name!r} holds labels; groups "
                        f"stand right of a bar, '~ time | {name}'"
                    ) from None
            raise

    def labels(self, frame: Frame) -> Labels | None:
        """The covariate's labels where it is a categorical column."""
        if self.covariate is None:
            return None
        column = frame.columns.get(self.covariate.text.strip("`"))
        return column if isinstance(column, Labels) else None

    def coordinates(self, frame: Frame, what: str) -> Array:
        """The covariates as one column a term, shape (n, d).

        Raises
        ------
        DataError
            If one is not numeric.
        """
        terms = parse_expression(self.left)
        for name in sorted(variables(terms.text)):
            if isinstance(frame[name], Labels):
                raise DataError(
                    f"the position {name!r} of {what} must be numeric, but holds labels"
                )
        text = Expression(f"0 + {terms.text}", terms.spelling)
        return Recipe.learn(text, frame)[0]


def parse_form(text: str, what: str) -> ResidualForm:
    """Read the ``form`` of a residual structure.

    Parameters
    ----------
    text : str
        Such as ``"~ time | Subject"``.
    what : str
        The structure it belongs to, for messages.

    Raises
    ------
    FormulaError

    Examples
    --------
    >>> parse_form("~ time | School/Class", "CorAR1").groups
    ('School', 'Class')
    >>> parse_form("~ fitted(.) | Sex*Age", "VarPower").from_fit
    'fitted'
    """
    if not isinstance(text, str) or not text.strip().startswith("~"):
        raise FormulaError(
            f"form of {what} must be a one-sided formula such as '~ time | subject', not {text!r}"
        )
    return _parse_form(text, what)


@lru_cache(maxsize=256)
def _parse_form(text: str, what: str) -> ResidualForm:
    body = text.strip()[1:]
    left, bar, right = body.partition("|")
    left = left.strip()
    if not left or (bar and not right.strip()):
        raise FormulaError(
            f"form of {what} is incomplete: {text!r}; write '~ 1 | group' or '~ time | group'"
        )
    groups = _groups(right, text, what) if bar else ()
    from_fit = _OF_FIT.get(re.sub(r"\s", "", left))
    covariate = None if from_fit or left == "1" else _arithmetic(left, what, text)
    return ResidualForm(text, left, covariate, from_fit, groups)


def _arithmetic(left: str, what: str, text: str) -> Expression:
    """A covariate as R evaluates it: ``x / 2`` and ``age - 8`` are arithmetic, not terms."""
    plain = re.fullmatch(r"[^\W\d][\w.]*|`[^`]+`", left)
    try:
        return parse_expression(left if plain else f"I({left})")
    except FormulaError as error:
        raise FormulaError(f"form of {what}, {text!r}: {error}") from None


def _groups(right: str, text: str, what: str) -> tuple[str, ...]:
    names = tuple(name.strip().strip("`") for name in re.split(r"[/*:]", right))
    if "|" in right or not all(re.fullmatch(r"[^\W\d][\w.]*|.*\s.*", name) for name in names):
        raise FormulaError(
            f"form of {what}: right of the bar stand grouping columns, 'g', 'a/b' or 'a*b', not "
            f"{right.strip()!r} in {text!r}"
        )
    if len(set(names)) < len(names):
        raise FormulaError(f"form of {what}: {text!r} names a grouping column twice")
    return names


def call_text(structure: Any) -> str:
    """How a user would write a frozen dataclass: its class and what is not a default.

    Examples
    --------
    >>> from mixedfit.correlation import CorAR1
    >>> CorAR1(0.2, form="~ week | subject")
    CorAR1(0.2, form='~ week | subject')
    """
    parts = []
    for place, field in enumerate(fields(structure)):
        value = getattr(structure, field.name)
        if place == 0 and value is not None:
            parts.append(repr(value))
        elif repr(value) != repr(field.default):
            parts.append(f"{field.name}={value!r}")
    return f"{type(structure).__name__}({', '.join(parts)})"


@dataclass(frozen=True)
class Classes:
    """Rows sorted into classes: groups or strata.

    Attributes
    ----------
    codes : int array of shape (n,)
        Class of each row; classes count in the order of their labels.
    labels : tuple of str
        One a class in use, ``"Male*8"`` for combinations.
    """

    codes: IntArray
    labels: tuple[str, ...]


def classify(names: Sequence[str], frame: Frame, separator: str = "*") -> Classes:
    """The classes of rows that some columns' combinations make.

    Raises
    ------
    DataError
        If a value is missing.
    """
    if not names:
        return Classes(np.zeros(frame.n, dtype=np.int64), ("",))
    parts = [_labels(name, frame) for name in names]
    codes, places = combinations(parts)
    texts = [map(part.texts.__getitem__, place) for part, place in zip(parts, places, strict=True)]
    return Classes(codes, tuple(separator.join(row) for row in zip(*texts, strict=True)))


def _labels(name: str, frame: Frame) -> Labels:
    labels = Labels.of(frame[name])
    if labels.codes.min(initial=0) < 0:
        raise DataError(f"grouping column {name!r} has missing values")
    return labels
