"""Slopes of a design's mean in a covariate, on a reference grid."""

from __future__ import annotations

import numpy as np

from mixedfit.arrays import Array
from mixedfit.design import Design
from mixedfit.errors import ModelError
from mixedfit.formula import Expression, parse_expression
from mixedfit.frames import Labels
from mixedfit.matrices import evaluate, variables
from mixedfit.reference_grid import ReferenceGrid

__all__ = ["slopes", "trend_variable"]

# Central differences of fourth order: exact for quartics, error h^4 for the rest.
_STEPS = np.array([-2.0, -1.0, 1.0, 2.0])
_WEIGHTS = np.array([1.0, -8.0, 8.0, -1.0]) / 12.0


def trend_variable(design: Design, var: str) -> tuple[str, Expression | None]:
    """The covariate that a slope is asked in, and the function of it, if it is one.

    Raises
    ------
    ModelError
        If it is not one numeric variable of the fixed part, or a function of one.
    """
    frame = design.frame
    assert frame is not None
    numeric = [
        n for n, c in frame.columns.items() if not isinstance(c, Labels) and c.dtype.kind != "b"
    ]
    if not isinstance(var, str):
        raise ModelError(f"trends are asked in one variable, by name, not {var!r}")
    if var in numeric:
        return var, None
    along = None if var in frame.columns else parse_expression(var)
    read = variables(along.text) if along else frozenset([var])
    if len(read) != 1 or not read <= set(numeric):
        there = ", ".join(repr(name) for name in numeric) or "none"
        raise ModelError(
            f"trends are asked in {var!r}, which must be a numeric variable of the fixed part "
            f"({there}) or a function of one, such as 'log(x)'"
        )
    return next(iter(read)), along


def slopes(grid: ReferenceGrid, name: str, along: Expression | None) -> tuple[Array, Array]:
    """Derivatives of the fixed columns, (n, P), and of the offset, (n,), at each combination.

    Notes
    -----
    With ``along`` = f the derivative is in f(x): dX / dx divided by df / dx.
    """
    assert grid.design.frame is not None
    column = np.asarray(grid.design.frame[name], dtype=float)
    here = np.asarray(grid.frame()[name], dtype=float)
    h = 1e-3 * (float(np.std(column)) or 1.0)
    rows = np.zeros((grid.n, len(grid.design.recipe.names)))
    constant, denominator = np.zeros(grid.n), np.zeros(grid.n)
    for step, weight in zip(_STEPS, _WEIGHTS, strict=True):
        frame = grid.frame(**{name: here + step * h})
        rows += weight * grid.matrix(frame)
        constant += weight * grid.offset(frame)
        moved = here + step * h if along is None else evaluate(along, frame, "trend")
        denominator += weight * moved
    return rows / denominator[:, None], constant / denominator
