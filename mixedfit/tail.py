"""The dense last block of an elimination: everything that is left, factored by LAPACK at once.

The tail holds whole sets of levels of one or more factors. Its q columns are numbered factor by
factor and, within a factor with k columns a level, component by component: column ``a * J + l`` of
a block belongs to component a of level l. `S` is the q x q cross-product of those columns after all
earlier levels are gone; only its lower triangle is used unless some k > 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import blas, lapack

from mixedfit.arrays import Array, IntArray
from mixedfit.errors import ModelError
from mixedfit.threads import threads_for

__all__ = ["Tail", "TailAdjoint", "TailBlock", "TailState"]

# Below this value of (variance ratio) * (rows a level) the inverse route to K loses digits.
_SMALLEST_SIGNAL = 1e-5


@dataclass(frozen=True)
class TailBlock:
    """The levels of one factor in the tail: their columns are ``start : start + k * J``."""

    factor: int
    levels: IntArray
    k: int
    start: int

    @property
    def J(self) -> int:
        """Number of levels."""
        return len(self.levels)

    @property
    def columns(self) -> slice:
        """Their columns in the tail."""
        return slice(self.start, self.start + self.k * self.J)

    def split(self, X: Array) -> Array:
        """View of the block's part of X, (m, q) -> (m, k, J)."""
        return X[:, self.columns].reshape(len(X), self.k, self.J)


@dataclass(frozen=True)
class Tail:
    """Layout of the tail.

    Attributes
    ----------
    blocks : tuple of TailBlock
    full : bool
        Whether S comes with both triangles.
    """

    blocks: tuple[TailBlock, ...]
    full: bool

    @cached_property
    def q(self) -> int:
        """Number of columns."""
        return self.blocks[-1].columns.stop

    @cached_property
    def scalar(self) -> bool:
        """Whether every level has one column: T then only scales, and triangles stay triangles."""
        return all(block.k == 1 for block in self.blocks)

    def multiply(self, matrices: list[Array], X: Array) -> Array:
        """``(A_block x) for every level``: X of shape (m, q), ``matrices[block]`` of (k, k)."""
        out = np.empty_like(X)
        for block, A in zip(self.blocks, matrices, strict=True):
            part = np.einsum("ab,mbj->maj", A, block.split(X))
            out[:, block.columns] = part.reshape(len(X), -1)
        return out

    def rows(self, matrices: list[Array], S: Array) -> Array:
        """``A S`` with A block diagonal, ``matrices[block]`` at every level; S of (q, m)."""
        out = np.empty_like(S)
        for block, A in zip(self.blocks, matrices, strict=True):
            out[block.columns] = (A @ S[block.columns].reshape(block.k, -1)).reshape(-1, S.shape[1])
        return out

    def congruence(self, matrices: list[Array], S: Array) -> Array:
        """``A S A'`` with A block diagonal, ``matrices[block]`` at every level; S of (q, q)."""
        if self.scalar:
            scale = self.scales(matrices)
            out = S * scale
            out *= scale[:, None]
            return out
        return self.rows(matrices, np.ascontiguousarray(self.rows(matrices, S).T))

    def scales(self, matrices: list[Array]) -> Array:
        """The numbers A holds at every column, where all blocks are scalar."""
        return np.concatenate(
            [np.full(b.J, A[0, 0]) for b, A in zip(self.blocks, matrices, strict=True)]
        )

    def symmetric(self, S: Array) -> Array:
        """The full matrix, where the store keeps a lower triangle."""
        lower = np.tril(S)
        return lower + np.tril(S, -1).T

    def forward(self, S: Array, E: Array, T: list[Array]) -> TailState:
        """Factor ``M = T'S T + I`` and solve for E.

        Parameters
        ----------
        S : array of shape (q, q)
            Lower triangle, upper triangle zero or mirrored.
        E : array of shape (p + 1, q)
        T : list of arrays of shape (k, k), one a block
        """
        full = S if self.scalar or self.full else self.symmetric(S)
        transposed = [t.T for t in T]
        M = self.congruence(transposed, full)
        M.reshape(-1)[:: self.q + 1] += 1.0
        with threads_for(self.q):
            R, info = lapack.dpotrf(M.T, lower=0, clean=0, overwrite_a=1)
        logdet = 2.0 * float(np.log(R.diagonal()).sum()) if not info else np.nan
        if not np.isfinite(logdet):  # LAPACK factors what is not a number without a word
            raise ModelError(
                "the cross-products of the random effects are not finite or not positive definite; "
                "check the data for extreme values"
            )
        X, _ = lapack.dpotrs(R, self.multiply(transposed, E).T, lower=0)
        U = self.multiply(T, np.ascontiguousarray(X.T))
        return TailState(self, T, full, E, R, U, logdet)


@dataclass(frozen=True)
class TailAdjoint:
    """Derivatives of a scalar in what entered the tail.

    Attributes
    ----------
    S : array of shape (q, q)
        In each number stored of S: both triangles, or the lower one with a symmetric pair counted
        twice.
    E : array of shape (p + 1, q)
    G : list of arrays of shape (k, k)
        In the relative covariance of each block.
    """

    S: Array
    E: Array
    G: list[Array]


@dataclass(frozen=True)
class TailState:
    """A factored tail.

    Attributes
    ----------
    T : list of arrays of shape (k, k)
    S : array of shape (q, q)
    E, U : arrays of shape (p + 1, q)
        Right-hand sides and ``U = E W`` with ``W = (G^-1 + S)^-1``.
    R : array of shape (q, q)
        Upper Cholesky factor of M, by columns.
    logdet : float
        ``log |M|``.
    """

    tail: Tail
    T: list[Array]
    S: Array
    E: Array
    R: Array
    U: Array
    logdet: float

    def solve(self, X: Array) -> Array:
        """``X W`` for X of shape (m, q)."""
        scaled = self.tail.multiply([t.T for t in self.T], X)
        with threads_for(self.tail.q):
            Y, _ = lapack.dpotrs(self.R, scaled.T, lower=0)
        return self.tail.multiply(self.T, np.ascontiguousarray(Y.T))

    @cached_property
    def M_inverse(self) -> Array:
        """Inverse of M, shape (q, q); lower triangle only where all blocks are scalar."""
        with threads_for(self.tail.q):
            inverse, _ = lapack.dpotri(self.R, lower=0)
        inverse = inverse.T
        return inverse if self.tail.scalar else self.tail.symmetric(inverse)

    @cached_property
    def regular(self) -> bool:
        """Whether every T is far enough from singular to go through its inverse."""
        diagonal = self.S.diagonal()[None]
        for block, T in zip(self.tail.blocks, self.T, strict=True):
            signal = block.split(diagonal).mean(axis=2).min()
            if np.linalg.norm(T, -2) ** 2 * signal < _SMALLEST_SIGNAL:
                return False
        return True

    @cached_property
    def inverses(self) -> list[Array]:
        """Inverses of T, where regular."""
        return [np.asarray(np.linalg.inv(t)) for t in self.T]

    @cached_property
    def B(self) -> Array:
        """``E - U S``, shape (p + 1, q)."""
        if self.tail.scalar:
            product = blas.dsymm(1.0, self.S.T, self.U.T, lower=0)
            return self.E - product.T
        return self.E - self.U @ self.S

    def diagonal_blocks(self, X: Array) -> list[Array]:
        """Each level's own k x k block of a (q, q) matrix, (k, k, J) a block; lower half read."""
        out = []
        for block in self.tail.blocks:
            D = np.empty((block.k, block.k, block.J))
            for a in range(block.k):
                rows = block.start + a * block.J + np.arange(block.J)
                for b in range(a + 1):
                    D[a, b] = D[b, a] = X[rows, block.start + b * block.J + np.arange(block.J)]
            out.append(D)
        return out

    def _K_diagonal(self) -> list[Array]:
        if self.regular:
            return [
                np.einsum("ca,cdj,db->abj", V, np.eye(len(V))[:, :, None] - inner, V)
                for V, inner in zip(
                    self.inverses, self.diagonal_blocks(self.M_inverse), strict=True
                )
            ]
        return self.diagonal_blocks(self.K)

    def adjoint(self, N: Array) -> TailAdjoint:
        """Derivatives of ``log|M| + sum(N * (S_ee - E W E'))`` for a symmetric N of (p+1, p+1)."""
        G = []
        for block, K in zip(self.tail.blocks, self._K_diagonal(), strict=True):
            B = block.split(self.B)
            G.append(K.sum(axis=2) - np.einsum("eaj,ef,fbj->ab", B, N, B, optimize=True))
        NU = N @ self.U
        if self.tail.full or not self.tail.scalar:
            S = self.W + self.U.T @ NU
            if not self.tail.full:
                S *= 2.0
        else:
            scale = self.tail.scales(self.T)
            S = self.M_inverse * scale
            S *= 2.0 * scale[:, None]
            S = blas.dgemm(2.0, self.U.T, NU.T, beta=1.0, c=S.T, trans_b=1, overwrite_c=1).T
        if not self.tail.full:
            S.reshape(-1)[:: self.tail.q + 1] *= 0.5
        return TailAdjoint(S, -2.0 * NU, G)

    @cached_property
    def W(self) -> Array:
        """``(G^-1 + S)^-1``, full and symmetric, shape (q, q)."""
        inverse = self.M_inverse
        full = self.tail.symmetric(inverse) if self.tail.scalar else inverse
        return self.tail.congruence(self.T, full)

    @cached_property
    def S_full(self) -> Array:
        """S, full and symmetric."""
        return self.tail.symmetric(self.S) if self.tail.scalar else self.S

    @cached_property
    def _G_inverses(self) -> list[Array]:
        """Inverses of G, where regular."""
        return [V.T @ V for V in self.inverses]

    @cached_property
    def Q(self) -> Array:
        """``I - W S = W G^-1``, shape (q, q)."""
        if self.regular:
            return np.ascontiguousarray(self.tail.rows(self._G_inverses, self.W).T)
        with threads_for(self.tail.q):
            Q = -(self.W @ self.S_full)
        Q.reshape(-1)[:: self.tail.q + 1] += 1.0
        return Q

    @cached_property
    def K(self) -> Array:
        """``S - S W S = G^-1 - G^-1 W G^-1``, shape (q, q)."""
        if not self.regular:
            with threads_for(self.tail.q):
                return self.S_full @ self.Q
        K = -self.tail.congruence(self._G_inverses, self.W)
        for block, inverse in zip(self.tail.blocks, self._G_inverses, strict=True):
            for a in range(block.k):
                rows = block.start + a * block.J + np.arange(block.J)
                for b in range(block.k):
                    K[rows, block.start + b * block.J + np.arange(block.J)] += inverse[a, b]
        return K
