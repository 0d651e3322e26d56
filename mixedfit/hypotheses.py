"""Hypotheses about whole terms: which combinations of coefficients an analysis of variance tests.

Each function returns one matrix L of shape (q, p) a term, for the hypothesis ``L b = 0``; q is the
rank, 0 where nothing is left of a term. No hypothesis depends on how a factor is coded, except the
"marginal" ones. Satterthwaite's denominator for several rows at once depends on which rows are
written for a hypothesis; they are those of lmerTest.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.linalg import solve_triangular

from mixedfit.arrays import Array, BoolArray, IntArray
from mixedfit.linalg import independent_columns
from mixedfit.matrices import IndicatorTerm

__all__ = ["marginal", "sequential", "type_1", "type_2", "type_3"]

# What counts as zero among singular values and scaled coefficients.
_NOTHING = 1e-8


def sequential(root: Array, terms: Sequence[IntArray]) -> list[Array]:
    """Each term after those before it.

    Parameters
    ----------
    root : array of shape (m, p)
        A square root of the coefficients' information matrix, ``root'root``: X, or X whitened.
    terms : sequence of int arrays
        Columns of each term.

    Notes
    -----
    The rows at a term's columns of R in ``root = Q R``, each divided by its diagonal entry.
    """
    order = np.concatenate([np.zeros(0, dtype=np.intp), *terms]).astype(np.intp)
    columns = root[:, order]
    size = np.linalg.norm(columns, axis=0)
    triangle = np.asarray(np.linalg.qr(columns / size, mode="r"))
    R = np.zeros((len(order), root.shape[1]))
    R[:, order] = triangle / triangle.diagonal()[:, None] * size / size[:, None]
    ends = np.cumsum([0, *(len(term) for term in terms)])
    return [R[start : start + len(term)] for start, term in zip(ends, terms, strict=False)]


def type_1(X: Array, terms: Sequence[IntArray]) -> list[Array]:
    """Each term after those before it, whatever the covariance; X of shape (n, p)."""
    return sequential(X, terms)


def type_2(X: Array, terms: Sequence[IntArray], indicators: Sequence[IndicatorTerm]) -> list[Array]:
    """Each term after all others that do not contain it; X of shape (n, p)."""
    size = np.linalg.norm(X, axis=0)
    root = np.asarray(np.linalg.qr(X / size, mode="r")) * size
    out = []
    for t, own in enumerate(indicators):
        contained = [own.within(other) for other in indicators]
        if not any(contained):
            out.append(np.eye(X.shape[1])[terms[t]])
            continue
        before = [c for u, c in enumerate(terms) if u != t and not contained[u]]
        after = [c for u, c in enumerate(terms) if contained[u]]
        out.append(sequential(root, [*before, terms[t], *after])[len(before)])
    return out


def type_3(columns: Array, indicators: Sequence[IndicatorTerm], X: Array) -> list[Array]:
    """Each term's contrasts that involve only it and the terms that contain it.

    Parameters
    ----------
    columns : array of shape (n, k)
        The terms with an indicator for each level.
    indicators : sequence of IndicatorTerm
        The terms that are tested; columns of no term are ignored.
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
    out = []
    for t, own in enumerate(indicators):
        others = _others(A, indicators, t)
        space = _involving_only(A, scale, others)
        if any(own.within(other) for other in indicators):
            others[own.start : own.stop] = True
            space = _orthogonal(space, _involving_only(A, scale, others), A)
        out.append(_against_first_levels(space, space @ A[:, own.start : own.stop]))
    return out


def _in_terms_of(X: Array, columns: Array) -> tuple[Array, Array]:
    """A in ``columns = X A``, and the scale of X's coefficients relative to 1, (p,)."""
    size = np.sqrt(np.einsum("ij,ij->j", X, X))
    Q, R = np.linalg.qr(X / size)
    return solve_triangular(R, Q.T @ columns) / size[:, None], size


def _others(A: Array, indicators: Sequence[IndicatorTerm], t: int) -> BoolArray:
    """Columns of terms that do not contain a term."""
    out: BoolArray = np.zeros(A.shape[1], dtype=bool)
    for u, other in enumerate(indicators):
        if u != t and not indicators[t].within(other):
            out[other.start : other.stop] = True
    return out


def _involving_only(A: Array, scale: Array, others: BoolArray) -> Array:
    """Combinations, (q, p), of the rows of A without any of the other columns."""
    rest = A[:, others] * scale[:, None]
    length = np.linalg.norm(rest, axis=0)
    rest = rest[:, length > 0.0] / length[length > 0.0]
    if not rest.shape[1]:
        return np.diag(scale)
    U, values, _ = np.linalg.svd(rest)
    rank = int((values > _NOTHING * values[0]).sum())
    return U[:, rank:].T * scale


def _orthogonal(space: Array, above: Array, A: Array) -> Array:
    """The combinations in a space whose coefficients are orthogonal to those of another."""
    if not len(above) or not len(space):
        return space
    taken, own = above @ A, space @ A
    taken = taken / np.maximum(np.linalg.norm(taken, axis=1, keepdims=True), 1e-300)
    length = np.linalg.norm(own, axis=1, keepdims=True)
    U, values, _ = np.linalg.svd(own / length @ taken.T)
    rank = int((values > _NOTHING).sum())
    return U[:, rank:].T @ (space / length)


def _against_first_levels(L: Array, own: Array) -> Array:
    """The same hypothesis as differences from the first levels.

    Parameters
    ----------
    L : array of shape (q, p)
    own : array of shape (q, k)
        Coefficients of the term's own indicators: those of the q last independent ones become the
        identity.
    """
    if not len(L):
        return L
    backwards = own[:, ::-1]
    length = np.maximum(np.linalg.norm(backwards, axis=0), 1e-300)
    picked = independent_columns(backwards / length)
    return np.asarray(np.linalg.solve(backwards[:, picked[::-1]], L))


def marginal(p: int, terms: Sequence[IntArray]) -> list[Array]:
    """Each term's coefficients as they are coded, among p of them."""
    return [np.eye(p)[term] for term in terms]
