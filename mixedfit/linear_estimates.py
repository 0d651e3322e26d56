"""Linear functions of the fixed effects: estimates, standard errors, tests, intervals.

Marginal means, trends and contrasts are all rows of ``L b + constant``; rows the data cannot
estimate are nan throughout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, get_args

import numpy as np

from mixedfit.adjustment import Adjustment, Family, adjusted_p_values, critical_values
from mixedfit.arrays import Array, BoolArray, IntArray
from mixedfit.ddf import FixedInference
from mixedfit.errors import ModelError
from mixedfit.estimable import aliases, estimable
from mixedfit.fit import Fit
from mixedfit.transformation import Transformation

__all__ = ["LinearEstimates", "Scale", "check_scale", "table"]

Scale = Literal["link", "response"]


def check_scale(scale: str) -> None:
    """Refuse a scale that is none of `Scale`.

    Raises
    ------
    ModelError
    """
    if scale not in get_args(Scale):
        raise ModelError(f"type must be 'link' or 'response', not {scale!r}")


@dataclass(frozen=True)
class LinearEstimates:
    """m linear functions of the fixed effects.

    Attributes
    ----------
    fit : Fit
    inference : FixedInference
    full : array of shape (m, P)
        Coefficients of all fixed columns, those left out because they repeat others included.
    constant : array of shape (m,)
        Added to ``L b``: offsets.
    void : bool array of shape (m,)
        Rows without data behind them.
    """

    fit: Fit
    inference: FixedInference
    full: Array
    constant: Array
    void: BoolArray

    def combined(self, C: Array) -> LinearEstimates:
        """Linear combinations, C of shape (q, m)."""
        full, size = C @ self.full, np.abs(C) @ np.abs(self.full)
        full = np.where(np.abs(full) <= 1e-13 * size, 0.0, full)  # what cancels leaves nothing
        void = (C != 0.0) @ self.void > 0
        return replace(self, full=full, constant=C @ self.constant, void=void)

    @property
    def L(self) -> Array:
        """Coefficients of the kept columns, shape (m, p)."""
        return self.full[:, self.fit.design.kept]

    @cached_property
    def estimable(self) -> BoolArray:
        """Which rows the data can estimate, shape (m,)."""
        return estimable(self.fit, self.full) & ~self.void

    @cached_property
    def value(self) -> Array:
        """Estimates, shape (m,)."""
        return self._or_nan(self.L @ self.inference.estimates + self.constant)

    @cached_property
    def se(self) -> Array:
        """Standard errors, shape (m,)."""
        return self._or_nan(self.inference.se(self.L))

    @cached_property
    def df(self) -> Array:
        """Degrees of freedom of each row on its own, shape (m,)."""
        out = np.full(len(self.L), np.nan)
        rows = self.estimable & (np.abs(self.L).max(axis=1, initial=0.0) > 0.0)
        if rows.any():
            out[rows] = self.inference.df(self.L[rows])
        return out

    @cached_property
    def correlation(self) -> Array:
        """Of the estimates, shape (m, m)."""
        covariance = self.L @ self.inference.covariance @ self.L.T
        sd = np.sqrt(np.maximum(covariance.diagonal(), 0.0))
        sd = np.where(sd > 0.0, sd, 1.0)
        correlation = np.clip(covariance / np.outer(sd, sd), -1.0, 1.0)
        np.fill_diagonal(correlation, 1.0)
        return correlation

    def estimable_rows(self) -> Array:
        """Combinations of the rows that span all the data can estimate, shape (r, p)."""
        if self.estimable.all():
            return self.L
        A = aliases(self.fit)
        rest = np.delete(self.full, self.fit.design.kept, axis=1)
        size = np.abs(self.L) @ np.abs(A) + np.abs(rest)
        U, s, _ = np.linalg.svd((rest - self.L @ A) / max(float(size.max()), 1e-300))
        rank = int(np.sum(s > 1e-7))
        return np.asarray(U[:, rank:].T @ self.L)

    def _or_nan(self, values: Array) -> Array:
        return np.where(self.estimable, values, np.nan)

    def on_response(self, transformation: Transformation) -> LinearEstimates:
        """The response's own scale to first order: the same estimates, linearised rows.

        Rows that no response has the value of are void.
        """
        slope, back = transformation.derivative(self.value), transformation.back(self.value)
        known = np.isfinite(slope) & np.isfinite(back)
        full = np.where(known, slope, 0.0)[:, None] * self.full
        linear = full[:, self.fit.design.kept] @ self.inference.estimates
        constant = np.where(known, back, 0.0) - linear
        return replace(self, full=full, constant=constant, void=~known)


def intervals(
    rows: LinearEstimates,
    adjust: Adjustment,
    families: Sequence[tuple[IntArray, int]],
    level: float,
) -> tuple[Array, Array]:
    """Limits of confidence intervals that hold for each family, shapes (m,)."""
    half = np.full(len(rows.full), np.nan)
    for members, n_means in families:
        half[members] = critical_values(
            level, rows.df[members], adjust, _family(rows, members, n_means)
        )
    half *= rows.se
    return rows.value - half, rows.value + half


def significance(
    rows: LinearEstimates, adjust: Adjustment, families: Sequence[tuple[IntArray, int]]
) -> tuple[Array, Array]:
    """The t statistics and p-values that hold for each family, shapes (m,)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        t = rows.value / rows.se
    p = np.full(len(t), np.nan)
    for members, n_means in families:
        family = _family(rows, members, n_means)
        p[members] = adjusted_p_values(t[members], rows.df[members], adjust, family)
    return t, p


def _family(rows: LinearEstimates, members: IntArray, n_means: int) -> Family:
    correlation = rows.correlation[np.ix_(members, members)]
    used = rows.estimable[members]
    rank = np.linalg.matrix_rank(correlation[np.ix_(used, used)], tol=1e-8, hermitian=True)
    return Family(correlation, n_means, int(rank))


def table(
    rows: LinearEstimates,
    adjust: Adjustment,
    families: Sequence[tuple[IntArray, int]],
    level: float,
    with_tests: bool,
) -> dict[str, Array]:
    """Columns estimate, se, df, (t, p,) lower, upper."""
    lower, upper = intervals(rows, adjust, families, level)
    out = {"estimate": rows.value, "se": rows.se, "df": rows.df}
    if with_tests:
        out["t"], out["p"] = significance(rows, adjust, families)
    return {**out, "lower": lower, "upper": upper}
