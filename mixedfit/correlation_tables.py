"""Entries of correlation matrices and their derivatives: ARMA, general, and spatial families."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import scipy

from mixedfit.arrays import Array

__all__ = ["DECAYS", "ArmaTable", "GeneralTable", "SpatialTable", "angles_of", "partial_of"]


# -- ARMA -----------------------------------------------------------------------------------------


def _from_partial(partial: Array, sign: float) -> tuple[Array, Array]:
    """Coefficients of order m from partial autocorrelations, and the (m, m) Jacobian.

    The Durbin-Levinson recursion ``c_j <- c_j - sign c_{k-j} p_k``; `sign` is 1 for an
    autoregression, -1 for a moving average (whose polynomial has the other sign).
    """
    m = len(partial)
    c, J = np.zeros(m), np.zeros((m, m))
    for k in range(m):
        mirrored, J_mirrored = c[:k][::-1].copy(), J[:k][::-1].copy()
        c[:k] -= sign * partial[k] * mirrored
        J[:k] -= sign * partial[k] * J_mirrored
        J[:k, k] -= sign * mirrored
        c[k] = partial[k]
        J[k, k] = 1.0
    return c, J


def partial_of(coefficients: Array, sign: float) -> Array | None:
    """Partial autocorrelations of coefficients; None where not stationary (invertible)."""
    c = np.array(coefficients, dtype=float)
    partial = np.zeros(len(c))
    for k in range(len(c) - 1, -1, -1):
        partial[k] = c[k]
        if abs(partial[k]) >= 1.0:
            return None
        c[:k] = (c[:k] + sign * partial[k] * c[:k][::-1]) / (1.0 - partial[k] ** 2)
    return partial


@dataclass(frozen=True)
class ArmaTable:
    """Autocorrelations of an ARMA(p, q) process at lags 0 to `longest`.

    Coordinates are ``log((1 + a) / (1 - a))`` of the partial autocorrelations a, autoregressive
    ones first: every value gives a stationary, invertible process.
    """

    p: int
    q: int
    longest: int

    def coefficients(self, delta: Array) -> tuple[Array, Array, Array]:
        """Phi, (p,), Theta, (q,), and the Jacobian of both, (p + q, p + q)."""
        partial = np.tanh(0.5 * delta)
        slope = 0.5 / np.cosh(0.5 * np.clip(delta, -700.0, 700.0)) ** 2
        phi, J_phi = _from_partial(partial[: self.p], 1.0)
        theta, J_theta = _from_partial(partial[self.p :], -1.0)
        J = np.zeros((self.p + self.q,) * 2)
        J[: self.p, : self.p], J[self.p :, self.p :] = J_phi, J_theta
        return phi, theta, J * slope

    def natural(self, delta: Array) -> tuple[list[str], Array]:
        """``Phi1, ..., Theta1, ...``."""
        phi, theta, _ = self.coefficients(delta)
        names = [f"Phi{i + 1}" for i in range(self.p)] + [f"Theta{i + 1}" for i in range(self.q)]
        return names, np.concatenate([phi, theta])

    def __call__(self, delta: Array) -> tuple[Array, Array]:
        """Autocorrelations, (longest + 1,), and derivatives, (p + q, longest + 1).

        The autocovariances solve ``g_k - sum_i phi_i g_|k-i| = sum_{j >= k} theta_j psi_{j-k}``
        for k = 0 ... max(p, q) and follow the autoregression beyond (Brockwell & Davis 1991,
        section 3.3).
        """
        phi, theta, J = self.coefficients(delta)
        g, dg = self._covariances(phi, theta)
        rho = g / g[0]
        drho = (dg - rho * dg[:, :1]) / g[0]
        return rho, J.T @ drho

    def _covariances(self, phi: Array, theta: Array) -> tuple[Array, Array]:
        """Autocovariances at all lags, and derivatives in (phi, theta)."""
        p, q = self.p, self.q
        r, order = p + q, max(p, q)
        psi, dpsi = self._impulses(phi, theta)
        weights = np.concatenate([[1.0], theta])
        A = np.eye(order + 1)
        dA = np.zeros((r, order + 1, order + 1))
        b, db = np.zeros(order + 1), np.zeros((r, order + 1))
        for k in range(order + 1):
            for i in range(1, p + 1):
                A[k, abs(k - i)] -= phi[i - 1]
                dA[i - 1, k, abs(k - i)] -= 1.0
            for j in range(k, q + 1):
                b[k] += weights[j] * psi[j - k]
                db[:, k] += weights[j] * dpsi[:, j - k]
                if j > 0:
                    db[p + j - 1, k] += psi[j - k]
        solved = np.linalg.solve(A, b)
        dsolved = np.linalg.solve(A, (db - dA @ solved).T).T
        length = max(self.longest, order) + 1
        g, dg = np.zeros(length), np.zeros((r, length))
        g[: order + 1], dg[:, : order + 1] = solved, dsolved
        for k in range(order + 1, length if p else 0):
            past = g[k - p : k][::-1]
            g[k] = phi @ past
            dg[:, k] = dg[:, k - p : k][:, ::-1] @ phi
            dg[:p, k] += past
        return g[: self.longest + 1], dg[:, : self.longest + 1]

    def _impulses(self, phi: Array, theta: Array) -> tuple[Array, Array]:
        """Weights psi of the infinite moving average, up to lag q, and derivatives."""
        p, q = self.p, self.q
        psi, dpsi = np.zeros(q + 1), np.zeros((p + q, q + 1))
        psi[0] = 1.0
        for j in range(1, q + 1):
            psi[j] = theta[j - 1]
            dpsi[p + j - 1, j] = 1.0
            for i in range(1, min(p, j) + 1):
                psi[j] += phi[i - 1] * psi[j - i]
                dpsi[:, j] += phi[i - 1] * dpsi[:, j - i]
                dpsi[i - 1, j] += psi[j - i]
        return psi, dpsi


# -- general --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GeneralTable:
    """Any correlation matrix of order M, its M x M entries by rows.

    Row i of the Cholesky factor is a point on the unit sphere with i angles in (0, pi); a
    coordinate is ``log(angle / (pi - angle))`` (Pinheiro & Bates 1996, Stat. Comput. 6).
    """

    order: int

    @cached_property
    def pairs(self) -> list[tuple[int, int]]:
        """Pairs of positions, as natural parameters are listed: (1, 2), (1, 3), ..., (2, 3)."""
        return [(i, j) for i in range(self.order) for j in range(i + 1, self.order)]

    def natural(self, delta: Array) -> tuple[list[str], Array]:
        """``cor(1,2), cor(1,3), ...``."""
        C = self(delta)[0].reshape(self.order, self.order)
        return [f"cor({i + 1},{j + 1})" for i, j in self.pairs], np.array(
            [C[i, j] for i, j in self.pairs]
        )

    def __call__(self, delta: Array) -> tuple[Array, Array]:
        """Entries, (M M,), and derivatives, (r, M M)."""
        M = self.order
        L, dL = self._factor(delta)
        C = L @ L.T
        half = dL @ L.T
        dC = half + half.transpose(0, 2, 1)
        index = np.arange(M)
        C[index, index] = 1.0
        dC[:, index, index] = 0.0
        return C.ravel(), dC.reshape(len(delta), M * M)

    def _factor(self, delta: Array) -> tuple[Array, Array]:
        M, r = self.order, len(delta)
        angle = np.pi * scipy.special.expit(delta)
        slope = np.pi * scipy.special.expit(delta) * scipy.special.expit(-delta)
        L, dL = np.zeros((M, M)), np.zeros((r, M, M))
        L[0, 0] = 1.0
        start = 0
        for i in range(1, M):
            cosine, sine = np.cos(angle[start : start + i]), np.sin(angle[start : start + i])
            left = 1.0
            d_left = np.zeros(i)  # derivatives of the running product of sines in the angles
            for a in range(i):
                L[i, a] = left * cosine[a]
                dL[start : start + i, i, a] = d_left * cosine[a]
                dL[start + a, i, a] = -left * sine[a]
                d_left = d_left * sine[a]
                d_left[a] = left * cosine[a]
                left *= sine[a]
            L[i, i] = left
            dL[start : start + i, i, i] = d_left
            dL[start : start + i, i] *= slope[start : start + i, None]
            start += i
        return L, dL


def angles_of(C: Array) -> Array:
    """Coordinates of a positive definite correlation matrix, shape (M (M - 1) / 2,).

    Raises
    ------
    numpy.linalg.LinAlgError
        If it is not positive definite.
    """
    L = np.linalg.cholesky(C)
    out = []
    for i in range(1, len(C)):
        left = np.sqrt(np.cumsum(L[i, i::-1] ** 2))[::-1][:i]
        angle = np.arccos(np.clip(L[i, :i] / left, -1.0, 1.0))
        out.append(np.log(angle) - np.log(np.pi - angle))
    return np.concatenate(out) if out else np.zeros(0)


# -- spatial --------------------------------------------------------------------------------------

Decay: TypeAlias = Callable[[Array], tuple[Array, Array]]
"""Scaled distance u to correlation f(u) and the slope f'(u)."""


def exponential(u: Array) -> tuple[Array, Array]:
    """``exp(-u)``."""
    f = np.exp(-u)
    return f, -f


def gaussian(u: Array) -> tuple[Array, Array]:
    """``exp(-u^2)``."""
    f = np.exp(-(u**2))
    return f, -2.0 * u * f


def linear(u: Array) -> tuple[Array, Array]:
    """``1 - u`` up to 1, then zero."""
    inside = u < 1.0
    return np.where(inside, 1.0 - u, 0.0), np.where(inside, -1.0, 0.0)


def rational(u: Array) -> tuple[Array, Array]:
    """``1 / (1 + u^2)``."""
    f = 1.0 / (1.0 + u**2)
    return f, -2.0 * u * f**2


def spherical(u: Array) -> tuple[Array, Array]:
    """``1 - 1.5 u + 0.5 u^3`` up to 1, then zero."""
    inside = u < 1.0
    return np.where(inside, 1.0 - 1.5 * u + 0.5 * u**3, 0.0), np.where(
        inside, -1.5 + 1.5 * u**2, 0.0
    )


DECAYS: dict[str, Decay] = {
    "exponential": exponential,
    "gaussian": gaussian,
    "linear": linear,
    "rational": rational,
    "spherical": spherical,
}


@dataclass(frozen=True)
class SpatialTable:
    """Correlations at given distances, ``(1 - nugget) f(distance / range)``, after a 1 for entry 0.

    Coordinates are ``log(range - shift)`` and, with a nugget, its logit.

    Attributes
    ----------
    distances : array of shape (T - 1,)
    decay : callable
    shift : float
        The smallest range allowed: the shortest distance where the correlation has a finite reach.
    nugget : bool
    """

    distances: Array
    decay: Decay
    shift: float
    nugget: bool

    def natural(self, delta: Array) -> tuple[list[str], Array]:
        """``range`` and ``nugget``."""
        reach = self.shift + np.exp(delta[:1])
        if not self.nugget:
            return ["range"], reach
        return ["range", "nugget"], np.append(reach, scipy.special.expit(delta[1]))

    def __call__(self, delta: Array) -> tuple[Array, Array]:
        """Entries, (T,), and derivatives, (r, T)."""
        stretch = np.exp(delta[0])
        reach = self.shift + stretch
        u = self.distances / reach
        f, slope = self.decay(u)
        keep = float(scipy.special.expit(-delta[1])) if self.nugget else 1.0
        values = np.concatenate([[1.0], keep * f])
        derivatives = np.zeros((len(delta), len(values)))
        derivatives[0, 1:] = -keep * slope * u * (stretch / reach)
        if self.nugget:
            derivatives[1, 1:] = -keep * float(scipy.special.expit(delta[1])) * f
        return values, derivatives
