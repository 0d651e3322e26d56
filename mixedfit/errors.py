"""The tree of errors and warnings, and checks of options that many calls share."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

__all__ = [
    "DataError",
    "FormulaError",
    "MixedfitError",
    "MixedfitWarning",
    "ModelError",
    "check_count",
    "check_level",
    "check_names",
]


class MixedfitError(ValueError):
    """Base of every error mixedfit raises on purpose."""


class FormulaError(MixedfitError):
    """The formula cannot be read."""


class DataError(MixedfitError):
    """The data do not fit the formula: columns, levels, missing or impossible values."""


class ModelError(MixedfitError):
    """The model cannot be estimated from these data, or a result cannot be had from this fit."""


class MixedfitWarning(UserWarning):
    """Base of every warning mixedfit issues."""


def check_level(level: Any, name: str = "level") -> float:
    """A probability strictly between 0 and 1.

    Raises
    ------
    ModelError
        If it is anything else.

    Examples
    --------
    >>> check_level(95)
    Traceback (most recent call last):
    mixedfit.errors.ModelError: level must be a number between 0 and 1, such as 0.95, not 95
    """
    if not (isinstance(level, int | float) and 0.0 < level < 1.0):
        such = 0.95 if name == "level" else 0.05
        raise ModelError(f"{name} must be a number between 0 and 1, such as {such}, not {level!r}")
    return float(level)


def check_count(count: Any, least: int, name: str = "n") -> int:
    """A whole number of at least `least`.

    Raises
    ------
    ModelError
        If it is anything else.

    Examples
    --------
    >>> check_count(2.5, 1)
    Traceback (most recent call last):
    mixedfit.errors.ModelError: n must be a whole number of at least 1, not 2.5
    """
    try:
        number = operator.index(count)
    except TypeError:
        number = least - 1
    if number < least:
        raise ModelError(f"{name} must be a whole number of at least {least}, not {count!r}")
    return number


def check_names(names: Any, name: str) -> tuple[str, ...]:
    """A name, or several.

    Raises
    ------
    ModelError
        If it is anything else.

    Examples
    --------
    >>> check_names("age", "by"), check_names(["age", "sex"], "by")
    (('age',), ('age', 'sex'))
    """
    several = (names,) if isinstance(names, str) else names
    if not isinstance(several, Iterable) or not all(isinstance(one, str) for one in several):
        raise ModelError(f"{name} must be a name or a list of names, not {names!r}")
    return tuple(several)
