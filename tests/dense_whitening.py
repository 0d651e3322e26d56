"""Residual structures with R and its derivatives written out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class DenseWhitening:
    """R written out, with its derivatives."""

    R: np.ndarray
    dR: np.ndarray

    def __post_init__(self):
        object.__setattr__(self, "W", np.linalg.inv(np.linalg.cholesky(self.R)))

    @property
    def logdet(self):
        return np.linalg.slogdet(self.R)[1]

    def whiten(self, V):
        return V @ self.W.T

    def whiten_transposed(self, V):
        return V @ self.W

    def derivative(self, V):
        return np.einsum("sij,mj->smi", self.dR, V)

    def adjoint(self, A, B):
        return np.einsum("mi,sij,mj->s", A, self.dR, B, optimize=True)

    def adjoint_of_mixture(self, V, solved, mix):
        return self.adjoint(mix(solved), solved)

    @property
    def trace(self):
        return np.einsum("ij,sji->s", np.linalg.inv(self.R), self.dR)


@dataclass(frozen=True)
class PowerAndDecay:
    """``R_ij = |v_i v_j|^power rho^|t_i - t_j|`` within groups; rho is the logistic of delta."""

    codes: np.ndarray
    t: np.ndarray
    v: np.ndarray
    n_params = 2
    start = np.array([0.0, 0.0])

    @property
    def groups(self):
        return self

    def room(self, delta):
        return None

    def at(self, delta):
        power, rho = delta[0], 1.0 / (1.0 + np.exp(-delta[1]))
        same = self.codes[:, None] == self.codes
        lag = np.abs(self.t[:, None] - self.t)
        C = np.where(same, rho**lag, 0.0)
        dC = np.where(same & (lag > 0), lag * rho ** (lag - 1.0) * rho * (1.0 - rho), 0.0)
        s = np.abs(self.v) ** power
        log = np.log(np.abs(self.v))
        outer = np.outer(s, s)
        R = outer * C
        return DenseWhitening(R, np.stack([R * (log[:, None] + log), outer * dC]))


def structure(design, grouping: str, seed: int = 0) -> PowerAndDecay:
    rng = np.random.default_rng(seed)
    n = design.n
    if grouping == "within":
        key = np.zeros(n, dtype=int)
        for factor in design.factors:
            key = np.unique(key * factor.n_levels + factor.codes, return_inverse=True)[1]
        key = np.unique(key * 2 + rng.integers(0, 2, n), return_inverse=True)[1]
    elif grouping == "largest":
        key = design.factors[0].codes
    else:
        key = np.unique(rng.integers(0, n // 4, n), return_inverse=True)[1]
    t = rng.permutation(n).astype(float) / 10.0
    return PowerAndDecay(key, t, rng.uniform(0.5, 2.0, n))


GROUPINGS = ["within", "largest", "across"]
