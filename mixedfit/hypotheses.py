"""Hypotheses about whole terms: which combinations of coefficients an analysis of variance tests.

Each function returns one matrix L of shape (q, p) a term, for the hypothesis ``L b = 0``; q is the
rank, 0 where nothing is left of a term. None depends on how a factor is coded, except "marginal".
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.linalg import solve_triangular

from mixedfit.arrays import Array, BoolArray, IntArray
from mixedfit.linalg import cholesky
from mixedfit.matrices import IndicatorTerm

__all__ = ["marginal", "sequential", "type_1", "type_2", "type_3"]

# What counts as zero among singular values and scaled coefficients.
_NOTHING = 1e-8


def sequential(information: Array, terms: Sequence[IntArray]) -> list[Array]:
    """Each term after those before it, for coefficients with this information matrix.

    Parameters
    ----------
    information : array of shape (p, p)
        ``X'X``, or ``X'V^-1 X``.
    terms : sequence of int arrays
        Columns of each term.

    Notes
    -----
    With the Cholesky factor of the information, ``R'R``, the rows of R at a term's columns.
    """
    p = len(information)
    order = np.concatenate([np.zeros(0, dtype=np.intp), *terms]).astype(np.intp)
    scale = 1.0 / np.sqrt(information.diagonal()[order])
    R = np.zeros((p, p))
    R[:, order] = cholesky(information[np.ix_(order, order)] * scale * scale[:, None]).T / scale
    ends = np.cumsum([0, *(len(term) for term in terms)])
    return [R[start : start + len(term)] for start, term in zip(ends, terms, strict=False)]


def type_1(gram: Array, terms: Sequence[IntArray]) -> list[Array]:
    """Each term after those before it, whatever the covariance; ``gram`` is ``X'X``."""
    return sequential(gram, terms)


def type_2(
    gram: Array, terms: Sequence[IntArray], indicators: Sequence[IndicatorTerm]
) -> list[Array]:
    """Each term after all others that do not contain it; ``gram`` is ``X'X``."""
    out = []
    for t, own in enumerate(indicators):
        contained = [own.within(other) for other in indicators]
        before = [c for u, c in enumerate(terms) if u != t and not contained[u]]
        after = [c for u, c in enumerate(terms) if contained[u]]
        out.append(sequential(gram, [*before, terms[t], *after])[len(before)])
    return out


def type_3(columns: Array, indicators: Sequence[IndicatorTerm], X: Array) -> list[Array]:
    """Each term's contrasts that involve only it and the terms that contain it.

    Parameters
    ----------
    columns : array of shape (n, k)
        The terms with an indicator for each level.
    indicators : sequence of IndicatorTerm
    X : array of shape (n, p)
        The independent columns that were fitted.

    Notes
    -----
    The estimable functions of the k coefficients of `columns` are the combinations of the rows of
    A in ``columns = X A``. Those of a term are the ones without any coefficient of terms that do
    not contain it, orthogonal to those of the terms that do (Goodnight 1980, Commun. Stat. A 9;
    SAS/STAT, "The Four Types of Estimable Functions").
    """
    A, scale = _in_terms_of(X, columns)
    spaces = [_involving_only(A, scale, _own(indicators, t)) for t in range(len(indicators))]
    out = []
    for t, own in enumerate(indicators):
        above = [spaces[u] for u, other in enumerate(indicators) if own.within(other)]
        out.append(_orthogonal(spaces[t], above, A))
    return out


def _in_terms_of(X: Array, columns: Array) -> tuple[Array, Array]:
    """A in ``columns = X A``, and the scale of X's coefficients relative to 1, (p,)."""
    size = np.sqrt(np.einsum("ij,ij->j", X, X))
    Q, R = np.linalg.qr(X / size)
    return solve_triangular(R, Q.T @ columns) / size[:, None], size


def _own(indicators: Sequence[IndicatorTerm], t: int) -> list[slice]:
    """Columns of a term and of those that contain it."""
    return [
        slice(other.start, other.stop)
        for u, other in enumerate(indicators)
        if u == t or indicators[t].within(other)
    ]


def _involving_only(A: Array, scale: Array, own: list[slice]) -> Array:
    """Combinations, (q, p), of the rows of A without any column but these."""
    others: BoolArray = np.ones(A.shape[1], dtype=bool)
    for columns in own:
        others[columns] = False
    rest = A[:, others] * scale[:, None]
    length = np.linalg.norm(rest, axis=0)
    rest = rest[:, length > 0.0] / length[length > 0.0]
    if not rest.shape[1]:
        return np.diag(scale)
    U, values, _ = np.linalg.svd(rest)
    rank = int((values > _NOTHING * values[0]).sum())
    return U[:, rank:].T * scale


def _orthogonal(space: Array, above: list[Array], A: Array) -> Array:
    """The combinations in a space whose coefficients are orthogonal to those of other spaces."""
    if not above or not len(space):
        return space
    taken = np.concatenate(above) @ A
    own = space @ A
    taken = taken / np.maximum(np.linalg.norm(taken, axis=1, keepdims=True), 1e-300)
    length = np.linalg.norm(own, axis=1, keepdims=True)
    U, values, _ = np.linalg.svd(own / length @ taken.T)
    rank = int((values > _NOTHING).sum())
    return U[:, rank:].T @ (space / length)


def marginal(p: int, terms: Sequence[IntArray]) -> list[Array]:
    """Each term's coefficients as they are coded, among p of them."""
    return [np.eye(p)[term] for term in terms]
