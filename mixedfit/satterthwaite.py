"""Satterthwaite's degrees of freedom from the exact derivatives of the likelihood.

With ``f = l'Phi l`` the variance of a contrast and A the asymptotic covariance of the variance
parameters, ``df = 2 f^2 / (g'A g)`` for the gradient g of f (Giesbrecht & Burns 1985, Biometrics
41). A is twice the inverse Hessian of -2 log L in all variance parameters, the residual's included;
only those that are free at the optimum vary.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mixedfit.arrays import Array
from mixedfit.likelihood import Evaluation
from mixedfit.linalg import symmetric_eigen
from mixedfit.vcov import component_covariance

__all__ = ["Satterthwaite", "joint_df", "satterthwaite"]


@dataclass(frozen=True)
class Satterthwaite:
    """What the degrees of freedom of any contrast need, residual variance 1.

    Attributes
    ----------
    phi : array of shape (p, p)
        ``(X'V^-1 X)^-1``.
    P : array of shape (r, p, p)
        Derivatives of its inverse in the covariance coordinates.
    A : array of shape (r + 1, r + 1)
        Covariance of the coordinates and the logarithm of the residual variance.
    """

    phi: Array
    P: Array
    A: Array

    def transformed(self, total: Array) -> Satterthwaite:
        """The same for coefficients that are these times ``total`` of shape (p, p)."""
        inverse = np.linalg.inv(total)
        return Satterthwaite(total @ self.phi @ total.T, inverse.T @ self.P @ inverse, self.A)

    def df(self, L: Array) -> Array:
        """Degrees of freedom of each row of L, shape (m, p) to (m,)."""
        rotated = L @ self.phi
        variance = np.einsum("ia,ia->i", rotated, L)
        with np.errstate(divide="ignore", invalid="ignore"):
            slopes = -np.einsum("ia,rab,ib->ri", rotated, self.P, rotated, optimize=True) / variance
            slopes = np.concatenate([slopes, np.ones((1, len(L)))])
            df = 2.0 / np.einsum("ri,rs,si->i", slopes, self.A, slopes)
        return np.where(variance > 0.0, df, np.nan)

    def joint(self, L: Array) -> tuple[float, float]:
        """Denominator degrees of freedom for L of shape (q, p) and rank q, and the factor of F, 1.

        Notes
        -----
        The rows are made uncorrelated; F is then the mean of q squared t statistics, and its
        denominator is chosen to have their expectation (Fai & Cornelius 1996, J. Stat. Comput.
        Simul. 54; as lmerTest has it).
        """
        _, vectors = symmetric_eigen(L @ self.phi @ L.T)
        return joint_df(self.df(vectors.T @ L)), 1.0


def joint_df(df: Array) -> float:
    """Denominator of F as the mean of squared t statistics with these degrees of freedom."""
    q = len(df)
    if q == 1 or np.all(np.abs(df - df[0]) < 1e-8):
        return float(df.mean())
    if df.min() <= 2.0:
        return 2.0
    expected = float((df / (df - 2.0)).sum())
    return 2.0 * expected / (expected - q)


def satterthwaite(point: Evaluation) -> Satterthwaite:
    """The method at a fit, in the working basis of its columns."""
    return Satterthwaite(point.remainder.P, point.fixed_tangents, component_covariance(point))
