"""The errors of predictions: their variance, and how estimating the covariances moves them.

With ``V = I + Z G Z'`` and ``M = (G^-1 + Z'Z)^-1``, relative to sigma^2, Henderson's mixed model
equations give for ``t = x'b + z'u``

    Var(t^ - t) = (x - Z_x'M z)' P (x - Z_x'M z) + z'M z,    Z_x = Z'X,  P = (X'V^-1 X)^-1.

In a coordinate of G it has the derivative ``z~'dG z~`` with ``z~ = z - Z'(weights of y in t^)``,
and t^ itself ``z~'dG h`` with ``h = Z'(y - X b - Z u)``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mixedfit.arrays import Array, IntArray
from mixedfit.fit import Fit
from mixedfit.predict import PredictionRows

__all__ = ["Errors", "Predictor"]

# Numbers in the largest array of a block of rows.
_ROOM = 2**22


@dataclass(frozen=True)
class Errors:
    """What the errors of some rows' predictions depend on, relative to sigma.

    Attributes
    ----------
    variance : array of shape (m,)
        ``Var(t^ - t) / sigma^2``.
    slopes : array of shape (m, r)
        Its derivatives in the coordinates.
    moves : array of shape (m, r)
        Derivatives of the predictions, in working units of the response.
    """

    variance: Array
    slopes: Array
    moves: Array

    @classmethod
    def joined(cls, parts: Iterable[Errors]) -> Errors:
        """The errors of blocks of rows, one after the other."""
        found = list(parts)
        return cls(
            np.concatenate([part.variance for part in found]),
            np.concatenate([part.slopes for part in found]),
            np.concatenate([part.moves for part in found]),
        )


class Predictor:
    """The errors of predictions from one fit, in working coordinates."""

    def __init__(self, fit: Fit) -> None:
        self.fit, self.point = fit, fit.evaluation
        self.like = self.point.likelihood
        self.r = self.like.n_params
        self.P = self.point.remainder.P
        self.dG = self.point.tangents
        _, self.h = self.point.eliminated.effects(self.point.remainder.v)

    @cached_property
    def WX(self) -> list[Array]:
        """``M Z'X``, (p, k, J) a factor."""
        ZX = [sums.ZE[:-1] for sums in self.like.products.factors]
        return self.point.eliminated.solve(ZX)

    def working(self, rows: PredictionRows) -> tuple[Array, list[Array]]:
        """The rows' x and z in the working basis; z is zero for unknown levels."""
        x = rows.X @ self.fit.estimate.basis.fixed.total
        z = [
            own * (codes >= 0)[:, None]
            for own, codes in zip(self.columns(rows), rows.codes, strict=True)
        ]
        return x, z

    def columns(self, rows: PredictionRows) -> list[Array]:
        """The columns of each grouping factor in the working basis, (m, k)."""
        out = []
        for f, Z in enumerate(rows.Z):
            own = np.empty_like(Z)
            for term in self.fit.estimate.terms:
                if term.factor == f:
                    own[:, term.columns] = Z[:, term.columns] @ term.total
            out.append(own)
        return out

    def ordered(self, parts: list[Array]) -> Array:
        """Columns listed factor by factor, put in the order of the terms."""
        joined = np.concatenate([np.zeros((len(parts[0]), 0)), *parts], axis=1)
        place = self.like.by_term
        return joined if place is None else joined[:, place]

    def errors(self, rows: PredictionRows) -> Errors:
        """The errors of the rows' predictions."""
        x, z = self.working(rows)
        if not z:
            none = np.zeros((len(x), 0))
            return Errors(np.einsum("me,ef,mf->m", x, self.P, x, optimize=True), none, none)
        if len(z) == 1:
            return self._one_factor(x, z[0], rows.codes[0])
        return Errors.joined(self._blocks(x, z, rows.codes))

    def _one_factor(self, x: Array, z: Array, codes: IntArray) -> Errors:
        """With one grouping factor a row meets its own level only, and the others through b."""
        state = self.point.eliminated.states[0]
        dG, v = self.dG[0], self.point.remainder.v
        dS = self.point.remainder_tangents[: self.r]
        own = np.maximum(codes, 0)
        D = state.D.transpose(2, 0, 1)[own]
        ZZ = state.ZZ.transpose(2, 0, 1)[own]
        Dz = np.einsum("mab,mb->ma", D, z)
        Qz = z - np.einsum("mab,mb->ma", ZZ, Dz)
        adjusted = x - np.einsum("eam,ma->me", state.E[:-1, :, own], Dz)
        b = adjusted @ self.P
        variance = np.einsum("me,me->m", adjusted, b) + np.einsum("ma,ma->m", z, Dz)
        moved = np.einsum("me,eam->ma", b, state.B[:-1, :, own])
        slopes = np.einsum("ma,rab,mb->mr", Qz, dG, Qz - 2.0 * moved, optimize=True)
        slopes -= np.einsum("me,ref,mf->mr", b, dS[:, :-1, :-1], b, optimize=True)
        db = np.einsum("ref,f->re", dS[:, :-1], v) @ self.P
        moves = adjusted @ db.T
        moves += np.einsum("ma,rab,bm->mr", Qz, dG, self.h[0][:, own], optimize=True)
        return Errors(variance, self.ordered([slopes]), self.ordered([moves]))

    def _blocks(self, x: Array, z: list[Array], codes: list[IntArray]) -> Iterator[Errors]:
        products = self.like.products
        size = max(1, _ROOM // sum(sums.k * sums.n_levels for sums in products.factors))
        for start in range(0, len(x), size):
            rows = slice(start, start + size)
            yield self._several(x[rows], [own[rows] for own in z], [c[rows] for c in codes])

    def _several(self, x: Array, z: list[Array], codes: list[IntArray]) -> Errors:
        """Any number of grouping factors: each row's z solved for over all levels."""
        factors = self.like.products.factors
        R = self.spread(z, codes)
        W = self.point.eliminated.solve(R)
        adjusted = x.copy()
        for sums, w in zip(factors, W, strict=True):
            adjusted -= np.tensordot(w, sums.ZE[:-1], axes=([1, 2], [1, 2]))
        b = adjusted @ self.P
        variance = np.einsum("me,me->m", adjusted, b)
        u = []
        for r, w, wx in zip(R, W, self.WX, strict=True):
            variance += np.einsum("maj,maj->m", r, w)
            u.append(w - np.tensordot(b, wx, axes=(1, 0)))
        rest = [
            r - np.tensordot(b, sums.ZE[:-1], axes=(1, 0))
            for r, sums in zip(R, factors, strict=True)
        ]
        for f, own in enumerate(u):
            for g, product in enumerate(self.like.products.multiply(f, own)):
                rest[g] -= product
        return Errors(variance, *self.in_G(rest))

    def spread(self, z: list[Array], codes: list[IntArray]) -> list[Array]:
        """Columns of each row (m, k) at its level, (m, k, J); nothing where that is -1."""
        out = []
        for sums, own, levels in zip(self.like.products.factors, z, codes, strict=True):
            R = np.zeros((*own.shape, sums.n_levels))
            known = np.flatnonzero(levels >= 0)
            R[known, :, levels[known]] = own[known]
            out.append(R)
        return out

    def in_G(self, rest: list[Array]) -> tuple[Array, Array]:
        """``z~'dG z~`` and ``z~'dG h``, (m, r), of z~ over all levels, (m, k, J) a factor."""
        slopes = [
            np.einsum("maj,rab,mbj->mr", q, dG, q, optimize=True)
            for q, dG in zip(rest, self.dG, strict=True)
        ]
        moves = [
            np.einsum("maj,rab,bj->mr", q, dG, h, optimize=True)
            for q, dG, h in zip(rest, self.dG, self.h, strict=True)
        ]
        return self.ordered(slopes), self.ordered(moves)

    def unseen(self, rows: PredictionRows) -> tuple[Array, Array]:
        """``z'G z`` over the levels not known, (m,), and its derivatives, (m, r)."""
        variance = np.zeros(len(rows.X))
        slopes = []
        for z, codes, dG, T in zip(
            self.columns(rows), rows.codes, self.dG, self.point.eliminated.T, strict=True
        ):
            z = z * (codes < 0)[:, None]  # noqa: PLW2901
            variance += np.einsum("ma,ma->m", z @ T, z @ T)
            slopes.append(np.einsum("ma,rab,mb->mr", z, dG, z, optimize=True))
        return variance, self.ordered(slopes) if slopes else np.zeros((len(variance), 0))
