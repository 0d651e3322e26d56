"""Contrasts of the coefficients as a user writes them: matrices, dicts, frames and equations."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mixedfit.arrays import Array
from mixedfit.errors import DataError

__all__ = ["Hypothesis", "read_contrasts"]


@dataclass(frozen=True)
class Hypothesis:
    """Rows ``L b = value``.

    Attributes
    ----------
    labels : tuple of str
    L : array of shape (m, k)
        Over all columns of the fixed part.
    value : array of shape (m,)
    """

    labels: tuple[str, ...]
    L: Array
    value: Array


def read_contrasts(contrasts: Any, names: Sequence[str], kept: Sequence[int]) -> Hypothesis:
    """Read contrasts.

    Parameters
    ----------
    contrasts : array, DataFrame, str, dict, or a list or dict of these
        See `MixedResults.contrast`.
    names : sequence of str
        Of all columns of the fixed part.
    kept : sequence of int
        Those that have coefficients.

    Raises
    ------
    DataError
        If the width is wrong, a name is unknown, or an equation cannot be read.
    """
    reader = _Reader(tuple(names), tuple(kept))
    rows = _labelled_rows(contrasts, names)
    if rows is None:
        return reader.matrix(contrasts)
    return reader.joined([reader.row(row, label) for label, row in rows])


def _labelled_rows(contrasts: Any, names: Sequence[str]) -> list[tuple[str | None, Any]] | None:
    """The rows with the labels they were given; None where it is a plain array."""
    if isinstance(contrasts, str):
        return [(None, part) for part in _equations(contrasts, names) or [contrasts]]
    if isinstance(contrasts, pd.DataFrame):
        return [(str(label), row) for label, row in contrasts.iterrows()]
    if isinstance(contrasts, Mapping | pd.Series):
        if len(contrasts) and all(
            isinstance(value, int | float | np.number) for _, value in contrasts.items()
        ):
            return [(None, contrasts)]
        return [(str(label), row) for label, row in contrasts.items()]
    if isinstance(contrasts, list | tuple) and any(
        isinstance(row, str | Mapping | pd.Series) for row in contrasts
    ):
        return [(None, row) for row in contrasts]
    return None


def _equations(text: str, names: Sequence[str]) -> list[str]:
    """The parts between commas, semicolons and line ends that belong to no name."""
    longest_first = sorted(names, key=len, reverse=True)
    pattern = "|".join(["`[^`]*`", *map(re.escape, longest_first), r"([,;\n])"])
    ends = [match.start() for match in re.finditer(pattern, text) if match[1]]
    starts = [0, *(end + 1 for end in ends)]
    parts = [text[start:end] for start, end in zip(starts, [*ends, len(text)], strict=True)]
    return [part for part in parts if part.strip()]


Row = tuple[str, Array, float]


@dataclass(frozen=True)
class _Reader:
    names: tuple[str, ...]
    kept: tuple[int, ...]

    def joined(self, rows: list[Row]) -> Hypothesis:
        if not rows:
            raise DataError("no contrast was given: give at least one row")
        labels, L, value = zip(*rows, strict=True)
        return Hypothesis(tuple(labels), np.stack(L), np.array(value))

    def row(self, contrast: Any, label: str | None) -> Row:
        """One contrast of any kind."""
        if isinstance(contrast, str):
            own, L, value = self.equation(contrast)
            return label or own, L, value
        if isinstance(contrast, pd.Series):
            return self.weights(contrast.to_dict(), label)
        if isinstance(contrast, Mapping):
            return self.weights(contrast, label)
        one = self.matrix(contrast)
        if len(one.L) != 1:
            raise DataError(f"contrast {label!r} must be one row, not {len(one.L)}")
        return label or one.labels[0], one.L[0], float(one.value[0])

    def matrix(self, contrasts: Any) -> Hypothesis:
        """Rows of weights, over the coefficients or over all columns."""
        try:
            L = np.atleast_2d(np.asarray(contrasts, dtype=float))
        except (TypeError, ValueError):
            raise DataError(
                "contrasts must be numbers, equations such as 'Days = 0', or dicts of weights "
                f"such as {{'Days': 1}}, not {contrasts!r}"
            ) from None
        if not np.isfinite(L).all():
            raise DataError("the weights of a contrast must be finite")
        p, k = len(self.kept), len(self.names)
        if L.ndim != 2 or L.shape[1] not in (p, k):
            also = f" (or {k}, with the columns left out)" if k != p else ""
            kept = ", ".join(self.names[i] for i in self.kept)
            raise DataError(
                f"a contrast must have {p} weights{also}, one for each of {kept}; "
                f"got shape {L.shape}"
            )
        full = L
        if L.shape[1] != k:
            full = np.zeros((len(L), k))
            full[:, list(self.kept)] = L
        return Hypothesis(tuple(map(self._described, full)), full, np.zeros(len(L)))

    def weights(self, weights: Mapping[Any, Any], label: str | None) -> Row:
        """Weights by name."""
        L = np.zeros(len(self.names))
        for name, weight in weights.items():
            try:
                number = float(weight)
            except (TypeError, ValueError):
                number = np.nan
            if not np.isfinite(number):
                raise DataError(f"the weight of {name!r} must be finite, not {weight!r}")
            L[self.place(str(name))] += number
        return label or self._described(L), L, 0.0

    def equation(self, text: str) -> Row:
        """``"2 * a - b = 3"``; without the equals sign the right side is zero."""
        sides = _split_equation(text, self.names)
        left = _Parser(sides[0], self, text).parse()
        right = _Parser(sides[1], self, text).parse() if len(sides) == 2 else (0.0 * left[0], 0.0)
        L, constant = left[0] - right[0], right[1] - left[1]
        return text.strip(), L, constant

    def place(self, name: str) -> int:
        plain = name.strip().strip("`")
        for candidate in (plain, {"(Intercept)": "Intercept", "1": "Intercept"}.get(plain, plain)):
            if candidate in self.names:
                return self.names.index(candidate)
        close = difflib.get_close_matches(plain, self.names, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise DataError(
            f"no coefficient {plain!r}{hint} (the coefficients are {', '.join(self.names)})"
        )

    def _described(self, L: Array) -> str:
        """Weights written out."""
        parts = []
        for name, weight in zip(self.names, L, strict=True):
            if weight == 0.0:
                continue
            sign = "-" if weight < 0 else "+"
            size = "" if abs(weight) == 1.0 else f"{abs(weight):.4g} * "
            parts.append(f"{sign} {size}{name}")
        text = " ".join(parts).removeprefix("+ ")
        return f"-{text[2:]}" if text.startswith("- ") else text or "0"


def _tokens(text: str, names: Sequence[str]) -> list[str]:
    """Numbers, operators and names; a coefficient's name is one token whatever it contains."""
    known = sorted({*names, "(Intercept)"}, key=len, reverse=True)
    pattern = re.compile(
        r"\s*(?:(`[^`]+`)|("
        + "|".join(map(re.escape, known))
        + r")(?![\w.\[:])|(\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?)|([-+*/()=])"
        r"|([^\s+*/()=-]+))"
    )
    out, position = [], 0
    text = text.rstrip()
    while position < len(text):
        match = pattern.match(text, position)
        assert match is not None
        out.append(next(group for group in match.groups() if group))
        position = match.end()
    return out


def _split_equation(text: str, names: Sequence[str]) -> list[list[str]]:
    sides: list[list[str]] = [[]]
    for token in _tokens(text, names):
        if token == "=":
            sides.append([])
        else:
            sides[-1].append(token)
    if len(sides) > 2 or not all(sides):
        raise DataError(
            f"{text!r} is no equation between coefficients: write it as 'a - b = 0' or 'a - b'"
        )
    return sides


Linear = tuple[Array, float]


class _Parser:
    """Linear expressions of coefficients: + - * / and parentheses."""

    def __init__(self, tokens: list[str], reader: _Reader, text: str) -> None:
        self.tokens = tokens
        self.reader = reader
        self.text = text
        self.position = 0

    def parse(self) -> Linear:
        value = self._sum()
        if self._next() is not None:
            raise self._error()
        return value

    def _next(self) -> str | None:
        return self.tokens[self.position] if self.position < len(self.tokens) else None

    def _take(self, *allowed: str) -> str | None:
        token = self._next()
        if token in allowed:
            self.position += 1
            return token
        return None

    def _error(self) -> DataError:
        token = self._next()
        where = f"at {token!r}" if token else "at its end"
        return DataError(
            f"{self.text!r} cannot be read {where}: write sums of coefficients with weights, such "
            "as '2 * a - b = 0'; quote odd names with backticks"
        )

    def _sum(self) -> Linear:
        sign = self._take("+", "-")
        L, c = self._product()
        if sign == "-":
            L, c = -L, -c
        while operator := self._take("+", "-"):
            L2, c2 = self._product()
            L, c = (L + L2, c + c2) if operator == "+" else (L - L2, c - c2)
        return L, c

    def _product(self) -> Linear:
        L, c = self._atom()
        while operator := self._take("*", "/"):
            L2, c2 = self._atom()
            if operator == "/":
                if L2.any() or c2 == 0.0:
                    raise self._error()
                L, c = L / c2, c / c2
            elif L.any() and L2.any():
                raise self._error()
            else:
                L, c = L * c2 + L2 * c, c * c2
        return L, c

    def _atom(self) -> Linear:
        zero = np.zeros(len(self.reader.names))
        if self._take("("):
            value = self._sum()
            if not self._take(")"):
                raise self._error()
            return value
        token = self._next()
        if token is None or token in "+-*/()":
            raise self._error()
        self.position += 1
        if re.fullmatch(r"\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?", token):
            return zero, float(token)
        zero[self.reader.place(token)] = 1.0
        return zero, 0.0
