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
    inverse : callable
        From eta to ``a + b y``.
    slope : callable
        Its derivative.
    base : float or None
        Of the logarithm, where it is one: differences are then logarithms of ratios.
    shift, scale : float
        a and b.
    response : str
        What y is, the column's name or the expression that is left.
    """

    name: str
    inverse: Callable[[Array], Array]
    slope: Callable[[Array], Array]
    base: float | None = None
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
        for function, parts in _FUNCTIONS.items():
            inner = _argument(text, function)
            if inner is not None:
                return cls._with_inner(function, *parts, _outer(inner))
        reciprocal = re.fullmatch(r"1(?:\.0*)?\s*/\s*(`[^`]+`|[A-Za-z_.][\w.]*)", text)
        if reciprocal:
            return cls._with_inner("inverse", *_power(-1.0), None, reciprocal[1])
        power = re.fullmatch(
            r"(`[^`]+`|[A-Za-z_.][\w.]*)\s*\*\*\s*\(?\s*(-?\s*[\d.]+(?:\s*/\s*\d+)?)\s*\)?", text
        )
        if power:
            numerator, _, denominator = power[2].replace(" ", "").partition("/")
            exponent = float(numerator) / float(denominator or 1.0)
            name = f"power {exponent:g}"
            return cls._with_inner(name, *_power(exponent), None, power[1]) if exponent else None
        return None

    @classmethod
    def _with_inner(
        cls,
        name: str,
        inverse: Callable[[Array], Array],
        slope: Callable[[Array], Array],
        base: float | None,
        inner: str,
    ) -> Transformation:
        column = r"(`[^`]+`|[A-Za-z_.][\w.]*)"
        number = r"(\d+\.?\d*(?:[eE][+-]?\d+)?)"
        shifted = re.fullmatch(rf"{column}\s*([+-])\s*{number}", inner)
        scaled = re.fullmatch(rf"{column}\s*([*/])\s*{number}", inner)
        if shifted:
            shift = float(shifted[3]) * (1.0 if shifted[2] == "+" else -1.0)
            return cls(name, inverse, slope, base, shift, 1.0, shifted[1].strip("`"))
        if scaled:
            scale = float(scaled[3]) if scaled[2] == "*" else 1.0 / float(scaled[3])
            return cls(name, inverse, slope, base, 0.0, scale, scaled[1].strip("`"))
        return cls(name, inverse, slope, base, 0.0, 1.0, inner.strip("`"))

    def back(self, eta: Array) -> Array:
        """The response's own scale."""
        return (self.inverse(eta) - self.shift) / self.scale

    def derivative(self, eta: Array) -> Array:
        """Change of the response per unit of eta."""
        return self.slope(eta) / self.scale

    def ratio(self, difference: Array) -> Array:
        """A difference on this logarithmic scale as a ratio."""
        assert self.base is not None
        return np.exp(np.log(self.base) * difference)


def _power(
    exponent: float,
) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
    root = 1.0 / exponent

    def inverse(eta: Array) -> Array:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(eta**root)

    def slope(eta: Array) -> Array:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(root * eta ** (root - 1.0))

    return inverse, slope


def _exponential(base: float) -> tuple[Callable[[Array], Array], Callable[[Array], Array], float]:
    rate = float(np.log(base))
    return (lambda eta: np.exp(rate * eta)), (lambda eta: rate * np.exp(rate * eta)), base


# Inverse, its derivative, and the base of a logarithm, by the function's name in a formula.
_FUNCTIONS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array], float | None]] = {
    "log": _exponential(float(np.e)),
    "log10": _exponential(10.0),
    "log2": _exponential(2.0),
    "log1p": (np.expm1, np.exp, None),
    "sqrt": (np.square, lambda eta: 2.0 * eta, None),
    "exp": (np.log, np.reciprocal, None),
    "expm1": (np.log1p, lambda eta: 1.0 / (1.0 + eta), None),
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
