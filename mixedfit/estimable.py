"""Which combinations of coefficients the data determine."""

from __future__ import annotations

from typing import cast

import numpy as np

from mixedfit.arrays import Array, BoolArray
from mixedfit.fit import Fit

__all__ = ["aliases", "estimable"]

_NOTHING = 1e-7


def aliases(fit: Fit) -> Array:
    """The dropped columns in terms of the kept ones, shape (p, dropped)."""
    if "aliases" not in fit.computed:
        fit.computed["aliases"] = _aliases(fit)
    return cast("Array", fit.computed["aliases"])


def _aliases(fit: Fit) -> Array:
    design = fit.design
    if not design.dropped or design.frame is None:
        return np.zeros((fit.p, 0))
    columns = design.recipe.apply(design.frame)
    dropped = np.delete(columns, design.kept, axis=1)
    size = np.sqrt(np.einsum("ij,ij->j", design.X, design.X))
    solution = np.linalg.lstsq(design.X / size, dropped, rcond=None)[0] / size[:, None]
    negligible = np.abs(solution) * size[:, None] <= 1e-9 * np.linalg.norm(dropped, axis=0)
    return np.where(negligible, 0.0, solution)


def estimable(fit: Fit, L: Array) -> BoolArray:
    """Whether the data determine combinations of the coefficients of all columns.

    Parameters
    ----------
    fit : Fit
    L : array of shape (m, columns)
        Over all columns of the fixed part, those left out because they repeat others included
        (``fit.design.recipe.names``).

    Returns
    -------
    array of bool of shape (m,)
        Where true, the combination is ``L[:, fit.design.kept] @ b``.

    Notes
    -----
    A combination is determined when it lies in the row space of the columns: those of the dropped
    ones must be what their aliases make of the kept ones.
    """
    kept = fit.design.kept
    if len(kept) == L.shape[1]:
        return np.ones(len(L), dtype=bool)
    own, rest = L[:, kept], np.delete(L, kept, axis=1)
    A = aliases(fit)
    size = np.abs(own) @ np.abs(A) + np.abs(rest)
    return np.asarray((np.abs(rest - own @ A) <= _NOTHING * size).all(axis=1))
