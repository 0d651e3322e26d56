"""Families of contrasts: coefficients that compare the means of m levels."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from mixedfit.adjustment import Adjustment
from mixedfit.arrays import Array
from mixedfit.errors import ModelError

__all__ = ["Comparisons", "Method", "as_ratio", "comparisons", "interaction"]

Method: TypeAlias = str | Mapping[str, ArrayLike] | ArrayLike


@dataclass(frozen=True)
class Comparisons:
    """Contrasts of m means.

    Attributes
    ----------
    names : tuple of str
        Of the q contrasts, such as ``"a - b"``.
    coefficients : array of shape (q, m)
    adjust : Adjustment
        What is usual for such a family.
    pairwise : bool
        Whether they are all differences of two means, for which Tukey's method is made.
    """

    names: tuple[str, ...]
    coefficients: Array
    adjust: Adjustment
    pairwise: bool = False


def as_ratio(name: str) -> str:
    """The name of a difference of logarithms, told as a ratio.

    Examples
    --------
    >>> as_ratio("(10 - 19) - (20 - 29)")
    '(10 - 19) / (20 - 29)'
    """
    return re.sub(r" - (?![^()]*\))", " / ", name)


def _enclosed(label: str) -> str:
    """A label in parentheses where it has an operator of its own, as emmeans writes it."""
    return f"({label})" if re.search(r"[-+*/]", label) else label


def comparisons(
    method: Method, labels: Sequence[str], reference: str | int | None = None
) -> Comparisons:
    """Coefficients of a family of contrasts.

    Parameters
    ----------
    method : str, dict or array
        One of "pairwise" (a - b), "revpairwise" (b - a), "control" (each less the reference; R's
        "trt.vs.ctrl"), "effects" (each less the mean of all; "eff"), "deleted-effects" (each less
        the mean of the others; "del.eff"), "consecutive" ("consec"), "mean-change" (later levels
        less earlier ones; "mean_chg"), "polynomial" ("poly"), "identity"; or a dict from names to
        m coefficients; or an array of shape (q, m).
    labels : sequence of str
        Of the m levels; names put those with an operator in parentheses, ``"(10-19) - (20-29)"``.
    reference : str or int, optional
        Label or place of the level that "control" compares with; the first by default.

    Raises
    ------
    ModelError
        If the method or the reference is unknown, or coefficients have the wrong length.

    Examples
    --------
    >>> comparisons("control", ["placebo", "low", "high"]).names
    ('low - placebo', 'high - placebo')
    >>> comparisons("polynomial", ["1", "2", "3", "4"]).coefficients
    array([[-3., -1.,  1.,  3.],
           [ 1., -1., -1.,  1.],
           [-1.,  3., -3.,  1.]])
    """
    named = method if isinstance(method, str) else None
    if reference is not None and named not in ("control", "trt.vs.ctrl", "dunnett"):
        raise ModelError("reference= is for method='control' only")
    if isinstance(method, str):
        shown = [_enclosed(label) for label in labels]
        made = _METHODS.get(_ALIASES.get(method, method))
        if made is not None:
            return made(shown)
        if _ALIASES.get(method, method) != "control":
            allowed = ", ".join(repr(name) for name in ("control", *_METHODS))
            raise ModelError(
                f"contrast method {method!r} is none of {allowed}; a dict of coefficients or a "
                "matrix works too"
            )
        place = len(labels) - 1 if method == "trt.vs.ctrlk" else _place(reference, labels)
        return _control(shown, place)
    return _custom(method, labels)


def interaction(families: Sequence[Comparisons]) -> tuple[list[tuple[str, ...]], Array]:
    """Products of contrasts of several factors, the first factor running fastest.

    Returns
    -------
    names : list of tuples
        One a contrast, with a name a factor.
    coefficients : array of shape (q, m)
        q and m the products of the families'.
    """
    names: list[tuple[str, ...]] = [()]
    C: Array = np.ones((1, 1))
    for family in families:
        names = [(*done, name) for name in family.names for done in names]
        C = np.asarray(np.kron(family.coefficients, C), dtype=np.float64)
    return names, C


def _place(reference: str | int | None, labels: Sequence[str]) -> int:
    if reference is None:
        return 0
    if isinstance(reference, int) and -len(labels) <= reference < len(labels):
        return reference % len(labels)
    if str(reference) not in labels:
        known = ", ".join(repr(label) for label in labels)
        raise ModelError(f"reference {reference!r} is none of the levels {known}")
    return list(labels).index(str(reference))


def _differences(labels: list[str], pairs: list[tuple[int, int]]) -> tuple[tuple[str, ...], Array]:
    C = np.zeros((len(pairs), len(labels)))
    for row, (plus, minus) in zip(C, pairs, strict=True):
        row[plus], row[minus] = 1.0, -1.0
    return tuple(f"{labels[plus]} - {labels[minus]}" for plus, minus in pairs), C


def _pairwise(labels: list[str]) -> Comparisons:
    m = len(labels)
    pairs = [(i, j) for i in range(m) for j in range(i + 1, m)]
    return Comparisons(*_differences(labels, pairs), "tukey", pairwise=True)


def _reversed_pairwise(labels: list[str]) -> Comparisons:
    pairs = [(j, i) for j in range(len(labels)) for i in range(j)]
    return Comparisons(*_differences(labels, pairs), "tukey", pairwise=True)


def _control(labels: list[str], reference: int) -> Comparisons:
    pairs = [(i, reference) for i in range(len(labels)) if i != reference]
    return Comparisons(*_differences(labels, pairs), "dunnett")


def _consecutive(labels: list[str]) -> Comparisons:
    pairs = [(i + 1, i) for i in range(len(labels) - 1)]
    return Comparisons(*_differences(labels, pairs), "mvt")


def _effects(labels: list[str]) -> Comparisons:
    m = len(labels)
    return Comparisons(tuple(f"{a} effect" for a in labels), np.eye(m) - 1.0 / m, "fdr")


def _deleted_effects(labels: list[str]) -> Comparisons:
    m = len(labels)
    C = np.eye(m) - (1.0 - np.eye(m)) / max(m - 1, 1)
    return Comparisons(tuple(f"{a} effect" for a in labels), C, "fdr")


def _mean_change(labels: list[str]) -> Comparisons:
    m = len(labels)
    C = np.zeros((m - 1, m))
    for cut in range(1, m):
        C[cut - 1, :cut], C[cut - 1, cut:] = -1.0 / cut, 1.0 / (m - cut)
    return Comparisons(tuple(f"{a}|{b}" for a, b in itertools.pairwise(labels)), C, "mvt")


def _polynomial(labels: list[str]) -> Comparisons:
    """Orthogonal polynomials in the levels' places, as the smallest whole numbers.

    Discrete Chebyshev polynomials ``sum_k (-1)^(n-k) C(m-1-k, n-k) C(n+k, n) C(x, k)``.
    """
    m = len(labels)
    names = ("linear", "quadratic", "cubic", "quartic", "degree 5", "degree 6")[: m - 1]
    rows = []
    for n in range(1, len(names) + 1):
        values = [
            sum(
                (-1) ** (n - k)
                * math.comb(m - 1 - k, n - k)
                * math.comb(n + k, n)
                * math.comb(x, k)
                for k in range(n + 1)
            )
            for x in range(m)
        ]
        rows.append(np.array(values, dtype=float) / math.gcd(*values))
    return Comparisons(names, np.array(rows).reshape(len(names), m), "none")


def _identity(labels: list[str]) -> Comparisons:
    return Comparisons(tuple(labels), np.eye(len(labels)), "none")


_METHODS: dict[str, Callable[[list[str]], Comparisons]] = {
    "pairwise": _pairwise,
    "revpairwise": _reversed_pairwise,
    "consecutive": _consecutive,
    "effects": _effects,
    "deleted-effects": _deleted_effects,
    "mean-change": _mean_change,
    "polynomial": _polynomial,
    "identity": _identity,
}
_ALIASES = {
    "trt.vs.ctrl": "control",
    "trt.vs.ctrl1": "control",
    "trt.vs.ctrlk": "control",
    "dunnett": "control",
    "tukey": "pairwise",
    "eff": "effects",
    "del.eff": "deleted-effects",
    "consec": "consecutive",
    "mean_chg": "mean-change",
    "poly": "polynomial",
}


def _custom(method: Mapping[str, ArrayLike] | ArrayLike, labels: Sequence[str]) -> Comparisons:
    m = len(labels)
    if isinstance(method, Mapping):
        names = tuple(str(name) for name in method)
        rows = [_numbers(value, f"contrast {name!r}") for name, value in method.items()]
    else:
        rows = list(np.atleast_2d(_numbers(method, "the contrast matrix")))
        names = tuple(f"contrast {i + 1}" for i in range(len(rows)))
    if not rows:
        raise ModelError("no contrasts were given")
    for name, row in zip(names, rows, strict=True):
        if row.shape != (m,):
            shown = ", ".join(labels[:8]) + (", ..." if m > 8 else "")
            raise ModelError(
                f"{name!r} must have {m} coefficients, one for each of {shown}, not shape "
                f"{row.shape}"
            )
    return Comparisons(names, np.array(rows), "none")


def _numbers(values: ArrayLike, what: str) -> Array:
    try:
        array = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise ModelError(f"{what} must be numbers, not {values!r}") from None
    if not np.isfinite(array).all():
        raise ModelError(f"{what} must be finite")
    return array
