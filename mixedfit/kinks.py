"""Minima at kinks, where the gradient jumps instead of passing zero.

A correlation that ends at its range has a derivative that jumps wherever the range passes a
distance between rows; the criterion may have its minimum there, and no search by derivatives comes
to rest.
"""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import Any

import numpy as np

from mixedfit.arrays import Array
from mixedfit.errors import ModelError
from mixedfit.optimize import P

__all__ = ["every_step_rises", "rest_at_kink"]

# Size of the first simplex, and of the steps that must all lead up from a minimum.
_AROUND = 0.02
_STEP = 1e-3
# Coordinates of which all combinations of steps are tried.
_MOST = 4


def rest_at_kink(point: P, max_evaluations: int = 400) -> tuple[P, int]:
    """The lowest point a simplex finds around a point, and how often it looked (Nelder-Mead)."""
    from scipy.optimize import minimize  # noqa: PLC0415  # slow to import, rarely needed

    r = len(point.gradient)
    options: Any = {
        "initial_simplex": np.vstack([np.zeros(r), _AROUND * np.eye(r)]),
        "xatol": 1e-7,
        "fatol": 1e-9,
        "maxfev": max_evaluations,
    }
    criterion: Any = partial(_fun, point)
    found = minimize(criterion, np.zeros(r), method="Nelder-Mead", options=options)
    return (point.move(found.x) if found.fun < point.fun else point), int(found.nfev)


def every_step_rises(point: P) -> bool:
    """Whether the criterion is higher in every direction tried around a point."""
    r = len(point.gradient)
    if r > _MOST:
        return False
    for signs in product((-1.0, 0.0, 1.0), repeat=r):
        if any(signs) and _fun(point, _STEP * np.array(signs)) <= point.fun:
            return False
    return True


def _fun(point: P, step: Array) -> float:
    try:
        return float(point.move(step).fun)
    except ModelError:  # out of the region where the function exists
        return np.inf
