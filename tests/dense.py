"""The textbook computations, with every matrix written out."""

from __future__ import annotations

import numpy as np

from mixedfit.arrays import Array
from mixedfit.crossproducts import CrossProducts
from mixedfit.design import Design


class DenseEffects:
    """Cross-products of the random effects as one matrix, and what elimination should give.

    Effects are numbered factor by factor, component by component, level by level.
    """

    def __init__(self, products: CrossProducts) -> None:
        self.factors = products.factors
        sizes = [f.k * f.n_levels for f in products.factors]
        self.offsets = np.cumsum([0, *sizes])
        q = self.offsets[-1]
        self.C, self.E = np.zeros((q, q)), np.zeros((q, products.p + 1))
        self.EE = products.EE
        for f, sums in enumerate(products.factors):
            for a in range(sums.k):
                self.E[self._rows(f, a)] = sums.ZE[:, a].T
                for b in range(sums.k):
                    self.C[self._rows(f, a), self._rows(f, b)] = np.diag(sums.ZZ[a, b])
        for (f, g), pair in products.pairs.items():
            for (a, b), M in pair.items():
                self.C[self._rows(f, a), self._rows(g, b)] = M.toarray()
                self.C[self._rows(g, b), self._rows(f, a)] = M.toarray().T

    def _rows(self, f: int, a: int) -> slice:
        J = self.factors[f].n_levels
        return slice(self.offsets[f] + a * J, self.offsets[f] + (a + 1) * J)

    def over_levels(self, matrices: list[Array]) -> Array:
        """The matrix with each factor's (k, k) matrix at each of its levels."""
        out = np.zeros_like(self.C)
        for f, (sums, A) in enumerate(zip(self.factors, matrices, strict=True)):
            block = slice(self.offsets[f], self.offsets[f + 1])
            out[block, block] = np.kron(A, np.eye(sums.n_levels))
        return out

    def inverse(self, G: list[Array]) -> Array:
        """``(G^-1 + C)^-1``, also for a singular G."""
        full = self.over_levels(G)
        return np.linalg.solve(np.eye(len(full)) + full @ self.C, full)

    def logdet(self, G: list[Array]) -> float:
        full = self.over_levels(G)
        return float(np.linalg.slogdet(np.eye(len(full)) + self.C @ full)[1])

    def remainder(self, G: list[Array]) -> Array:
        return self.EE - self.E.T @ self.inverse(G) @ self.E

    def split(self, rows: Array) -> list[Array]:
        """Rows (m, q) as (m, k, J) a factor."""
        return [
            rows[:, self.offsets[f] : self.offsets[f + 1]].reshape(len(rows), s.k, s.n_levels)
            for f, s in enumerate(self.factors)
        ]


def relative_covariance(design: Design, G: list[Array], R: Array | None = None) -> Array:
    """``Sigma / sigma^2`` of the rows, for covariances of the terms' own columns, term by term.

    R is that of the residuals before weights.
    """
    n = design.n
    root = np.ones(n) if design.weights is None else 1.0 / np.sqrt(design.weights)
    V = (np.eye(n) if R is None else R) * np.outer(root, root)
    for term, covariance in zip(design.terms, G, strict=True):
        codes = design.factors[term.factor].codes
        V += (term.Z @ covariance @ term.Z.T) * (codes[:, None] == codes)
    return V


def criterion(design: Design, G: list[Array], method: str, R: Array | None = None) -> float:
    """-2 log likelihood, or the REML criterion, by the density of the multivariate normal."""
    V = relative_covariance(design, G, R)
    X, y = design.X, design.y - (0.0 if design.offset is None else design.offset)
    V_inverse = np.linalg.inv(V)
    XVX = X.T @ V_inverse @ X
    b = np.linalg.solve(XVX, X.T @ V_inverse @ y) if X.shape[1] else np.zeros(0)
    r2 = (y - X @ b) @ V_inverse @ (y - X @ b)
    df = len(y) - (X.shape[1] if method == "REML" else 0)
    value = np.linalg.slogdet(V)[1] + df * (1.0 + np.log(2.0 * np.pi * r2 / df))
    return float(value + (np.linalg.slogdet(XVX)[1] if method == "REML" else 0.0))
