"""Transformations of the response named in a formula, and the way back to its own scale."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mixedfit.arrays import Array
from mixedfit.formula import Expression

__all__ = ["Transformation"]


@dataclass(frozen=True)
class Transformation:
    """A monotone function ``eta = f(a + b y)`` of a response y.

    Attributes
    ----------
    name : str
        As it is told, such as "log" or "sqrt".
    family : {"log", "power", "log1p", "exp", "expm1"}
        What f is.
    parameter : float
        The base of a logarithm, or the exponent of a power.
    shift, scale : float
        a and b.
    response : str
        What y is, the column's name or the expression that is left.
    """

    name: str
    family: str
    parameter: float = 1.0
    shift: float = 0.0
    scale: float = 1.0
    response: str = ""

    @classmethod
    def of(cls, expression: Expression) -> Transformation | None:
        """The transformation a response expression applies; None where there is none known.

        Examples
        --------
        >>> Transformation.of(Expression("log(Reaction)")).name
        'log'
        >>> Transformation.of(Expression("Reaction")) is None
        True
        """
        text = _outer(expression.text.strip())
        for function, (family, parameter) in _FUNCTIONS.items():
            inner = _argument(text, function)
            if inner is not None:
                return cls._with_inner(function, family, parameter, _outer(inner))
        reciprocal = re.fullmatch(rf"1(?:\.0*)?\s*/\s*{_COLUMN}", text)
        if reciprocal:
            return cls._with_inner("inverse", "power", -1.0, reciprocal[1])
        power = re.fullmatch(rf"{_COLUMN}\s*\*\*\s*\(?\s*(-?\s*[\d.]+(?:\s*/\s*\d+)?)\s*\)?", text)
        if power:
            numerator, _, denominator = power[2].replace(" ", "").partition("/")
            exponent = float(numerator) / float(denominator or 1.0)
            if exponent:
                return cls._with_inner(f"power {exponent:g}", "power", exponent, power[1])
        return None

    @classmethod
    def _with_inner(cls, name: str, family: str, parameter: float, inner: str) -> Transformation:
        inner = re.sub(rf"^{_NUMBER}\s*([+*])\s*{_COLUMN}$", r"\3 \2 \1", inner)
        shifted = re.fullmatch(rf"{_COLUMN}\s*([+-])\s*{_NUMBER}", inner)
        scaled = re.fullmatch(rf"{_COLUMN}\s*([*/])\s*{_NUMBER}", inner)
        shift, scale, response = 0.0, 1.0, inner.strip("`")
        if shifted:
            shift = float(shifted[3]) * (1.0 if shifted[2] == "+" else -1.0)
            response = shifted[1].strip("`")
        elif scaled:
            scale = float(scaled[3]) if scaled[2] == "*" else 1.0 / float(scaled[3])
            response = scaled[1].strip("`")
        return cls(name, family, parameter, shift, scale, response)

    @property
    def is_log(self) -> bool:
        """Whether differences are logarithms of ratios."""
        return self.family == "log"

    def back(self, eta: Array) -> Array:
        """The response's own scale; nan where no response has that eta."""
        return (_INVERSE[self.family](eta, self.parameter)[0] - self.shift) / self.scale

    def back_ends(self, eta: Array, lower: Array, upper: Array) -> tuple[Array, Array]:
        """Ends of intervals about eta on the response's own scale.

        An end beyond the values that eta can take becomes their limit, for ``1 / y`` infinity.
        """
        limit = _LEAST.get(self.family, -np.inf)
        ends = self.back(np.where(eta < limit, lower, np.maximum(lower, limit)))
        others = self.back(np.where(eta < limit, np.minimum(upper, -0.0), upper))
        known = np.where(np.isnan(self.back(eta)), np.nan, 0.0)
        return np.minimum(ends, others) + known, np.maximum(ends, others) + known

    def derivative(self, eta: Array) -> Array:
        """Change of the response per unit of eta."""
        return _INVERSE[self.family](eta, self.parameter)[1] / self.scale

    def ratio(self, difference: Array) -> Array:
        """A difference on this logarithmic scale as a ratio."""
        return np.exp(np.log(self.parameter) * difference)


_COLUMN = r"(`[^`]+`|[A-Za-z_.][\w.]*)"
_NUMBER = r"(\d+\.?\d*(?:[eE][+-]?\d+)?)"

# The family and parameter of a function in a formula.
_FUNCTIONS = {
    "log": ("log", float(np.e)),
    "log10": ("log", 10.0),
    "log2": ("log", 2.0),
    "log1p": ("log1p", 1.0),
    "sqrt": ("power", 0.5),
    "exp": ("exp", 1.0),
    "expm1": ("expm1", 1.0),
}


def _exponential(eta: Array, base: float) -> tuple[Array, Array]:
    rate = float(np.log(base))
    back = np.exp(rate * eta)
    return back, rate * back


def _root(eta: Array, exponent: float) -> tuple[Array, Array]:
    root = 1.0 / exponent
    odd = exponent % 2.0 == 1.0  # of negative responses too
    size = np.abs(eta) if odd else np.where(eta < 0.0, np.nan, eta)
    with np.errstate(divide="ignore"):
        return np.copysign(size**root, eta), root * size ** (root - 1.0)


def _logarithm(eta: Array, least: float) -> tuple[Array, Array]:
    size = np.where(eta < least, np.nan, eta - least)
    with np.errstate(divide="ignore"):
        return np.log(size), 1.0 / size


# The least value of eta, where there is one; odd powers of negative responses lie below.
_LEAST = {"power": 0.0, "exp": 0.0, "expm1": -1.0}

# What undoes each family, and its derivative.
_INVERSE: dict[str, Callable[[Array, float], tuple[Array, Array]]] = {
    "log": _exponential,
    "power": _root,
    "log1p": lambda eta, _: (np.expm1(eta), np.exp(eta)),
    "exp": lambda eta, _: _logarithm(eta, 0.0),
    "expm1": lambda eta, _: _logarithm(eta, -1.0),
}


def _outer(text: str) -> str:
    """Without ``I( )`` and parentheses around the whole."""
    text = text.strip()
    for opening in ("I", ""):
        inner = _argument(text, opening)
        if inner is not None:
            return _outer(inner)
    return text


def _argument(text: str, function: str) -> str | None:
    """What stands in a call of a function that spans the whole text, else None."""
    names = [function, f"np.{function}"] if function else [""]
    for name in names:
        match = re.match(rf"{re.escape(name)}\s*\(" if name else r"\(", text)
        if match and text.endswith(")"):
            depth = 0
            for place, character in enumerate(text[match.end() - 1 :]):
                depth += (character == "(") - (character == ")")
                if depth == 0:
                    whole = place == len(text) - match.end()
                    return text[match.end() : -1] if whole else None
    return None
