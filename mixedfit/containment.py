"""Denominator degrees of freedom by containment: counting levels, rows and coefficients.

A column of X that is constant within the levels of a grouping factor is estimated between those
levels, any other one within all of them. Each grouping factor is a *stratum*, the residual the last
one. A stratum has

    J - sum of the degrees of freedom of the coarser strata        (residual: J is the rows n)

degrees of freedom, the grand mean being the coarsest with one, less the coefficients estimated in
it; a factor is coarser than another whose levels are each within one of its levels. For factors
nested in one another that is nlme's rule (Pinheiro & Bates 2000, section 2.4.2); for crossed
factors it is the count of an analysis of variance (Tjur 1984, Int. Stat. Rev. 52). A column
constant within several factors belongs to the coarsest of them, or to the one with fewest degrees
of freedom.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mixedfit.arrays import Array, BoolArray, IntArray
from mixedfit.frames import is_nested

__all__ = ["Containment"]

_CONSTANT = 1e-8  # of a column, relative to its root mean square


@dataclass(frozen=True)
class Containment:
    """Strata of the columns of a design and their degrees of freedom.

    Attributes
    ----------
    X : array of shape (n, p)
    codes : tuple of int arrays of shape (n,)
        Levels of each grouping factor.
    """

    X: Array
    codes: tuple[IntArray, ...]

    @cached_property
    def sizes(self) -> IntArray:
        """Levels of each factor, and the rows."""
        return np.array([*(int(c.max()) + 1 for c in self.codes), len(self.X)])

    @cached_property
    def coarser(self) -> BoolArray:
        """Whether stratum f is coarser than stratum g, shape (factors + 1, factors + 1)."""
        m = len(self.codes)
        out = np.zeros((m + 1, m + 1), dtype=bool)
        out[:m, m] = True
        for f in range(m):
            for g in range(m):
                larger = self.sizes[g] > self.sizes[f]
                out[f, g] = larger and is_nested(self.codes[g], self.codes[f])
        return out

    @cached_property
    def constant(self) -> BoolArray:
        """Whether a column is constant in the whole, shape (p,)."""
        return _constant_within(self.X, np.zeros(len(self.X), dtype=np.intp), 1)

    @cached_property
    def between(self) -> IntArray:
        """Degrees of freedom of each stratum before coefficients are counted."""
        out = np.zeros(len(self.sizes), dtype=np.int64)
        for f in np.argsort(self.sizes):
            out[f] = self.sizes[f] - 1 - out[self.coarser[:, f]].sum()
        return out

    @cached_property
    def strata(self) -> IntArray:
        """Stratum of each column of X, shape (p,); that of a constant one is the residual's."""
        m = len(self.codes)
        within = np.ones((m + 1, self.X.shape[1]), dtype=bool)
        for f in range(m):
            within[f] = _constant_within(self.X, self.codes[f], int(self.sizes[f]))
        out = np.empty(self.X.shape[1], dtype=np.int64)
        for column, strata in enumerate(within.T):
            candidates = np.flatnonzero(strata)
            coarsest = [f for f in candidates if not any(self.coarser[g, f] for g in candidates)]
            out[column] = min(coarsest, key=lambda f: self.between[f])
        out[self.constant] = m
        return out

    def left(self, strata: IntArray) -> IntArray:
        """Degrees of freedom of each stratum less the coefficients in it.

        Without a constant column, each has the degree of freedom of the mean too, as in nlme.
        """
        out = self.between.copy()
        np.subtract.at(out, strata, 1)
        return out if self.constant.any() else out + 1

    @cached_property
    def of_columns(self) -> Array:
        """Degrees of freedom of each coefficient, shape (p,); nan where none are left.

        A constant column gets the most any stratum has, as in nlme.
        """
        left = self.left(self.strata[~self.constant]).astype(float)
        out = left[self.strata]
        out[self.constant] = left.max()
        return np.where(out > 0, out, np.nan)

    @cached_property
    def of_means(self) -> Array:
        """The same where coefficients stand for means over the groups, shape (p,).

        A mean over groups is known no better than their number allows: a constant column gets the
        levels of the outermost factor less one (the one with fewest levels, if several are), as
        emmeans counts.
        """
        outermost = self.sizes[:-1][~np.any(self.coarser[:, :-1], axis=0)]
        out = self.of_columns.copy()
        if len(outermost):
            out[self.constant] = float(outermost.min()) - 1.0
        return out

    def of_terms(self, terms: list[IntArray]) -> Array:
        """Degrees of freedom of each term, a set of columns: all count in its finest stratum."""
        varying = [columns for columns in terms if not self.constant[columns].all()]
        finest = [self._finest(columns) for columns in varying]
        strata = np.repeat(finest, [len(columns) for columns in varying]).astype(np.int64)
        left = self.left(strata).astype(float)
        out = [
            left.max() if self.constant[columns].all() else left[self._finest(columns)]
            for columns in terms
        ]
        return np.where(np.array(out) > 0, out, np.nan)

    def _finest(self, columns: IntArray) -> int:
        return max(
            (int(f) for f in self.strata[columns[~self.constant[columns]]]),
            key=lambda f: (self.coarser[:, f].sum(), self.sizes[f]),
        )


def _constant_within(X: Array, codes: IntArray, n_levels: int) -> BoolArray:
    """Whether each column of X is constant within each level."""
    first = np.full(n_levels, len(X), dtype=np.int64)
    np.minimum.at(first, codes, np.arange(len(X)))
    size = np.sqrt(np.einsum("ij,ij->j", X, X) / len(X))
    return np.asarray(np.abs(X - X[first[codes]]).max(axis=0, initial=0.0) <= _CONSTANT * size)
