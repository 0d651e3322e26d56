"""Kenward and Roger's covariance of the fixed effects and denominator degrees of freedom.

Where the covariance of the rows is a linear function ``V = sum_r c_r V_r``, with ``Phi =
(X'V^-1 X)^-1``, ``P_r = -X'V^-1 V_r V^-1 X`` and ``Q_rs = X'V^-1 V_r V^-1 V_s V^-1 X``, the REML
estimates of c have the expected information ``I_rs / 2`` for

    I_rs = tr(V^-1 V_r V^-1 V_s) - 2 tr(Phi Q_rs) + tr(Phi P_r Phi P_s)

and, with ``W = 2 I^-1``, the covariance of the fixed effects is estimated by

    Phi_A = Phi + 2 Phi [sum_rs W_rs (Q_rs - P_r Phi P_s)] Phi

(Kenward & Roger 1997, Biometrics 53, eqs. 3-8). All of it depends only on the space the V_r span,
so V itself is taken as one of them in place of the residual's: ``V^-1`` alone then needs no powers.
Nothing is of order n: with ``K = Z'V^-1 Z`` and ``B = Z'V^-1 X``, ``V_r = Z dG_r Z'`` gives

    P_r = -B'dG_r B,   Q_rs = B'dG_r K dG_s B,   tr(V^-1 V_r V^-1 V_s) = tr(K dG_r K dG_s).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mixedfit.arrays import Array
from mixedfit.curvature import second_order
from mixedfit.likelihood import Evaluation
from mixedfit.linalg import symmetric_eigen

__all__ = ["KenwardRoger", "Moments", "RowDirections", "kenward_roger", "moments"]

# Right-hand sides of all random effects held at a time, in numbers.
_AT_ONCE = 20_000_000
# Smallest eigenvalue of the scaled information that counts as different from zero.
_NOTHING = 1e-10


@dataclass(frozen=True)
class Moments:
    """What the formulas need of the directions V_r, residual variance 1.

    Attributes
    ----------
    P : array of shape (m, p, p)
        ``-X'V^-1 V_r V^-1 X``.
    Q : array of shape (m, m, p, p)
        ``X'V^-1 V_r V^-1 V_s V^-1 X``.
    T : array of shape (m, m)
        ``tr(V^-1 V_r V^-1 V_s)``.
    """

    P: Array
    Q: Array
    T: Array


@dataclass(frozen=True)
class KenwardRoger:
    """The adjusted covariance and what tests need, residual variance 1.

    Attributes
    ----------
    phi : array of shape (p, p)
        ``(X'V^-1 X)^-1``.
    P : array of shape (m, p, p)
        Derivatives of its inverse.
    W : array of shape (m, m)
        Asymptotic covariance of the variance parameters.
    adjusted : array of shape (p, p)
        The covariance to use in place of phi.
    """

    phi: Array
    P: Array
    W: Array
    adjusted: Array

    @classmethod
    def of(cls, phi: Array, moments: Moments) -> KenwardRoger:
        """Solve the equations in the module's heading."""
        P, Q = moments.P, moments.Q
        phi_P = phi @ P
        information = moments.T - 2.0 * np.einsum("ab,rsba->rs", phi, Q)
        information += np.einsum("rab,sba->rs", phi_P, phi_P)
        W = 2.0 * _pseudo_inverse(information)
        spread = np.einsum("rs,rsab->ab", W, Q) - np.einsum(
            "rab,rs,sbc->ac", P, W, phi_P, optimize=True
        )
        adjusted = phi + phi @ (spread + spread.T) @ phi
        return cls(phi, P, W, adjusted)

    def transformed(self, total: Array) -> KenwardRoger:
        """The same for coefficients that are these times ``total`` of shape (p, p)."""
        inverse = np.linalg.inv(total)
        return KenwardRoger(
            total @ self.phi @ total.T,
            inverse.T @ self.P @ inverse,
            self.W,
            total @ self.adjusted @ total.T,
        )

    def df(self, L: Array) -> Array:
        """Denominator degrees of freedom of each row of L, shape (m, p) to (m,)."""
        rotated = L @ self.phi
        variance = np.einsum("ia,ia->i", rotated, L)
        slopes = np.einsum("ia,rab,ib->ri", rotated, self.P, rotated, optimize=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            slopes = slopes / variance
            return 2.0 / np.einsum("ri,rs,si->i", slopes, self.W, slopes)

    def joint(self, L: Array) -> tuple[float, float]:
        """Denominator degrees of freedom and the factor of F for L of shape (q, p) and rank q.

        Notes
        -----
        The mean and variance of F are matched to those of a scaled F distribution, exactly so for
        Hotelling's T^2 and the usual analysis of variance (Kenward & Roger 1997, section 3.3).
        """
        q = len(L)
        rotated = L @ self.phi
        root = np.linalg.inv(np.linalg.cholesky(rotated @ L.T)) @ rotated
        slopes = root @ self.P @ root.T
        traces = np.einsum("raa->r", slopes)
        A1 = float(traces @ self.W @ traces)
        A2 = float(np.einsum("rab,rs,sba->", slopes, self.W, slopes, optimize=True))
        return _scaled_f(q, A1, A2)


def _scaled_f(q: int, A1: float, A2: float) -> tuple[float, float]:
    """Kenward and Roger's df and scale from the two sums their section 3.3 calls A1 and A2.

    Both nan where no F distribution has these moments, as with very few rows.
    """
    if q == 1:
        return 2.0 / A2, 1.0
    B = (A1 + 6.0 * A2) / (2.0 * q)
    g = ((q + 1.0) * A1 - (q + 4.0) * A2) / ((q + 2.0) * A2)
    below = 3.0 * q + 2.0 * (1.0 - g)
    c1, c2, c3 = g / below, (q - g) / below, (q + 2.0 - g) / below
    mean = 1.0 - A2 / q  # of which E* is the reciprocal
    first, second, third = 1.0 + c1 * B, 1.0 - c2 * B, 1.0 - c3 * B
    first = 0.0 if abs(first) < 1e-10 else first
    # In the cases that are exact both are zero together, and their ratio is one.
    ratio = 1.0 if abs(mean) < 1e-14 and abs(second) < 1e-14 else mean / second
    rho = ratio**2 * first / (third * q)
    df = 4.0 + (q + 2.0) / (q * rho - 1.0)
    scale = 1.0 if abs(df - 2.0) < 1e-2 else df * mean / (df - 2.0)
    return (df, scale) if df > 0.0 and scale > 0.0 else (math.nan, math.nan)


def _pseudo_inverse(A: Array) -> Array:
    """Inverse of a positive semidefinite matrix, over the directions it determines."""
    scale = np.sqrt(np.maximum(A.diagonal(), 0.0))
    scale = np.where(scale > 0.0, scale, 1.0)
    values, vectors = symmetric_eigen(A / (scale * scale[:, None]))
    used = values > _NOTHING * max(float(values[-1]), 0.0)
    vectors = vectors[:, used] / scale[:, None]
    return (vectors / values[used]) @ vectors.T


class RowDirections(Protocol):
    """Directions V_r that act on the rows: derivatives of a residual covariance.

    Rows come last in every array; the residual variance is 1.
    """

    @property
    def fixed(self) -> Array:
        """``V^-1 X``, transposed, shape (p, n)."""

    @property
    def moved(self) -> Array:
        """``V_r V^-1 X``, transposed, for each direction, shape (s, p, n)."""

    def solve(self, rows: Array) -> tuple[list[Array], Array]:
        """``Z'V^-1 v``, (m, k, J) a grouping factor, and ``V^-1 v``, (m, n), for m rows v."""

    def traces(self, tangents: list[Array]) -> Array:
        """``tr(V^-1 V_r V^-1 V_s)``: a column a direction s, shape (1 + m + s, s).

        By rows: V itself, ``Z dG_r Z'`` for the m tangents factor by factor, the directions.
        """


def kenward_roger(point: Evaluation, rows: RowDirections | None = None) -> KenwardRoger | None:
    """Kenward and Roger's method at a REML fit, in the working basis of its columns.

    Parameters
    ----------
    point : Evaluation
    rows : RowDirections, optional
        Of a residual covariance with parameters in which it is linear.

    Returns
    -------
    KenwardRoger or None
        None where a covariance is no linear function of its parameters.
    """
    tangents = point.likelihood.linear_tangents
    if tangents is None or (rows is None and len(point.gradient) != point.likelihood.n_params):
        return None
    return KenwardRoger.of(point.remainder.P, moments(point, tangents, rows))


def moments(point: Evaluation, tangents: list[Array], rows: RowDirections | None = None) -> Moments:
    """The moments of V itself (first), of ``Z dG_r Z'`` for each tangent, and of the rows' own.

    Parameters
    ----------
    point : Evaluation
    tangents : list of arrays of shape (m_f, k, k)
        One a grouping factor; the directions are numbered factor by factor.
    rows : RowDirections, optional
    """
    products = point.likelihood.products
    p, n_directions = products.p, sum(map(len, tangents))
    nothing = np.zeros((p + 1, p + 1))
    adjoint = point.eliminated.adjoint(nothing)
    dS, hessian = second_order(point.eliminated, adjoint, nothing, tangents)
    T = np.empty((n_directions + 1, n_directions + 1))
    T[0, 0] = products.n
    T[0, 1:] = T[1:, 0] = _first_derivatives(tangents, adjoint.G)
    T[1:, 1:] = -hessian
    P = np.empty((n_directions + 1, p, p))
    P[0] = -point.eliminated.S[:p, :p]
    P[1:] = dS[:, :p, :p]
    Q = np.empty((n_directions + 1, n_directions + 1, p, p))
    Q[0], Q[:, 0] = -P, -P
    B = _without_effects(point, [sums.ZE[:p] for sums in products.factors])
    if p:
        Q[1:, 1:] = _products_of_directions(point, tangents, B)
    own = Moments(P, Q, T)
    return own if rows is None else _with_rows(own, rows, tangents, B)


def _first_derivatives(tangents: list[Array], G: list[Array]) -> Array:
    parts = [np.einsum("rab,ab->r", dG, own) for dG, own in zip(tangents, G, strict=True)]
    return np.concatenate([np.zeros(0), *parts])


def _products_of_directions(point: Evaluation, tangents: list[Array], B: list[Array]) -> Array:
    """``B'dG_r K dG_s B`` for all pairs of directions, shape (m, m, p, p)."""
    products = point.likelihood.products
    p, m = products.p, sum(map(len, tangents))
    starts = np.cumsum([0, *map(len, tangents)])
    columns = max(1, sum(b[0].size for b in B) * p)
    at_once = max(1, _AT_ONCE // columns)
    out = np.empty((m, m, p, p))
    for f, (dG, b) in enumerate(zip(tangents, B, strict=True)):
        for start in range(0, len(dG), at_once):
            some = dG[start : start + at_once]
            t = np.einsum("sab,ebj->seaj", some, b).reshape(-1, *b.shape[1:])
            moved = _without_effects(point, products.multiply(f, t))  # K dG_s B
            mine = starts[f] + start + np.arange(len(some))
            out[:, mine] = _against(tangents, B, moved)
    return out


def _against(tangents: list[Array], B: list[Array], right: list[Array]) -> Array:
    """``B'dG_r y_s`` for y_s = ``Z'V^-1 v_s``, (s p, k, J) a factor: shape (m, s, p, p)."""
    parts = []
    for dG, b, y in zip(tangents, B, right, strict=True):
        p, k, J = b.shape
        sums = b.reshape(-1, J) @ y.reshape(-1, J).T
        sums = sums.reshape(p, k, len(y) // max(p, 1), p, k)
        parts.append(np.einsum("rab,easfb->rsef", dG, sums, optimize=True))
    return np.concatenate(parts)


def _with_rows(own: Moments, rows: RowDirections, tangents: list[Array], B: list[Array]) -> Moments:
    """The moments with those of the rows' directions behind them."""
    moved = rows.moved
    s, p, n = moved.shape
    m = len(own.P)
    P = np.concatenate([own.P, -np.einsum("en,sfn->sef", rows.fixed, moved)])
    of_effects, solved = rows.solve(moved.reshape(s * p, n))
    Q = np.empty((m + s, m + s, p, p))
    Q[:m, :m] = own.Q
    Q[0, m:] = Q[m:, 0] = -P[m:]
    if tangents:
        Q[1:m, m:] = _against(tangents, B, of_effects)
        Q[m:, 1:m] = Q[1:m, m:].transpose(1, 0, 3, 2)
    Q[m:, m:] = np.einsum("ren,sfn->rsef", moved, solved.reshape(s, p, n), optimize=True)
    T = np.empty((m + s, m + s))
    T[:m, :m] = own.T
    T[:, m:] = rows.traces(tangents)
    T[m:, :m] = T[:m, m:].T
    return Moments(P, Q, T)


def _without_effects(point: Evaluation, R: list[Array]) -> list[Array]:
    """``R - C_zz (G^-1 + C_zz)^-1 R``: ``Z'V^-1 v`` from ``Z'v``, one (m, k, J) a factor."""
    products = point.likelihood.products
    out = [r.copy() for r in R]
    for f, x in enumerate(point.eliminated.solve(R) if R and len(R[0]) else []):
        for g, taken in enumerate(products.multiply(f, x)):
            out[g] -= taken
    return out
