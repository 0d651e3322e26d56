"""The errors of predictions where residuals are correlated or have different variances.

With ``V = R + Z G Z'`` the prediction of ``t = x'b + z'u + e`` is ``t^ = L'y`` with

    L = V^-1 (c + X P (x - X'V^-1 c)),    c = Z G z + r,    r = Cov(e_rows, e) / sigma^2,

where e is the row's own residual, or left out. L minimises ``Var(t^ - t)`` among unbiased weights,
so that in a coordinate of R the variance has the derivative ``L'dR L - 2 L'dr + dR_00`` (the last
for the row's own residual variance), and t^ moves by ``(dr - dR L)' V^-1 (y - X b)``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse

from mixedfit.arrays import Array, BoolArray, IntArray
from mixedfit.fit import Fit
from mixedfit.frames import Frame
from mixedfit.new_rows import NewCorrelation, read_new_rows, scale_of_new_rows
from mixedfit.predict import PredictionRows
from mixedfit.prediction_errors import Errors, Predictor
from mixedfit.residual_directions import ResidualDirections
from mixedfit.residual_likelihood import ResidualEvaluation

__all__ = ["NewResiduals", "ResidualPredictor"]

# Numbers in the largest array of a block of rows.
_ROOM = 2**22
# Step of the central differences of a correlation, in a coordinate of delta.
_STEP = 1e-4


class NewResiduals:
    """The residuals of rows to be predicted.

    Parameters
    ----------
    fit : Fit
        With a residual structure.
    newdata : frame of any kind or None
        None for the rows of the fit.
    rows : PredictionRows
        The m rows.
    predicted : array of shape (m,)
        Their predictions, for variance functions of fitted values.
    """

    def __init__(self, fit: Fit, newdata: Any, rows: PredictionRows, predicted: Array) -> None:
        self.fit, self.newdata, self.rows = fit, newdata, rows
        if newdata is None:
            assert fit.whitening is not None
            self.log_sd = fit.whitening.log_sd
            own = fit.whitening.log_sd_derivatives
            self.derivatives = np.zeros((len(fit.optimum.delta), fit.n))
            self.derivatives[len(self.derivatives) - len(own) :] = own
        else:
            found = scale_of_new_rows(fit, newdata, rows.complete, predicted)
            self.log_sd, self.derivatives = found

    @property
    def variance(self) -> Array:
        """Their variances relative to sigma^2, shape (m,)."""
        return np.asarray(np.exp(2.0 * self.log_sd))

    @property
    def slopes(self) -> Array:
        """Derivatives of the variances in delta, shape (m, s)."""
        return np.asarray(2.0 * (self.variance * self.derivatives).T)

    @cached_property
    def known(self) -> BoolArray:
        """Which rows have all columns of the structure, shape (m,)."""
        return self._columns.complete()

    @cached_property
    def _columns(self) -> Frame:
        residual = self.fit.design.residual
        assert residual is not None
        assert residual.columns is not None
        return read_new_rows(self.newdata, list(residual.columns.columns), self.rows.complete)

    @cached_property
    def _correlation(self) -> NewCorrelation:
        return NewCorrelation(self.fit, self._columns.take(self.known))

    def covariances(self, which: slice) -> tuple[Array, Array]:
        """Covariances of known new rows with the fit's, relative to sigma^2.

        Returns
        -------
        cross : array of shape (l, n)
        slopes : array of shape (s, l, n)
            Derivatives in delta.
        """
        whitening, delta = self.fit.whitening, self.fit.optimum.delta
        assert whitening is not None
        own = self.derivatives[:, self.known][:, which]
        scale = np.exp(self.log_sd[self.known][which])[:, None] * whitening.sd
        cross = self._correlation.rows(which) * scale
        slopes = np.zeros((len(delta), *cross.shape))
        for s in range(len(delta)):
            if s < whitening.n_correlation:
                step = np.zeros(len(delta))
                step[s] = _STEP
                ends = [self._correlation.rows(which, delta + side * step) for side in (1.0, -1.0)]
                slopes[s] = (ends[0] - ends[1]) / (2.0 * _STEP) * scale
            else:
                here = whitening.log_sd_derivatives[s - whitening.n_correlation]
                slopes[s] = cross * (own[s][:, None] + here)
        return cross, slopes


@dataclass(frozen=True)
class _Sums:
    """What every row's prediction shares, for levels that hold whole residual groups.

    With ``F = V^-1 X`` and ``B = R^-1 Z``, over the rows of each of J levels.

    Attributes
    ----------
    FF : array of shape (s, p, p)
        ``F'dR F``.
    FB : array of shape (s, p, k, J)
        ``F'dR B``.
    BB : array of shape (s, k, k, J)
        ``B'dR B``.
    Fe : array of shape (s, p)
        ``F'dR V^-1 (y - X b)``.
    Be : array of shape (s, k, J)
        ``B'dR V^-1 (y - X b)``.
    """

    FF: Array
    FB: Array
    BB: Array
    Fe: Array
    Be: Array


class ResidualPredictor(Predictor):
    """The errors of predictions from a fit with a residual structure.

    Coordinates are those of G, then those of delta.
    """

    def __init__(self, fit: Fit) -> None:
        super().__init__(fit)
        assert isinstance(fit.evaluation, ResidualEvaluation)
        self.residual_point = fit.evaluation
        self.directions = ResidualDirections(fit.evaluation)
        self.whitening = fit.evaluation.whitened.whitening
        self.units = fit.evaluation.units

    def errors(self, rows: PredictionRows) -> Errors:
        """The errors of the rows' predictions without their residuals."""
        x, z = self.working(rows)
        local = self.residual_point.whitened.layout.factors
        if len(z) > 1 or any(factor.L > 1 for factor in local):
            return Errors.joined(self._blocks(x, z, rows.codes))
        return self._separate(x, z, rows.codes)

    def errors_with_residuals(self, rows: PredictionRows, new: NewResiduals) -> Errors:
        """The errors of predictions with the residuals to expect given those observed.

        Rows that lack a column of the structure are nan. The row's own residual counts: its
        variance is part of the errors'.
        """
        x, z = self.working(rows)
        known = np.flatnonzero(new.known)
        r, s = self.r, len(self.units)
        out = Errors(
            np.full(len(x), np.nan), np.full((len(x), r + s), np.nan), np.zeros((len(x), r + s))
        )
        variance, slopes = new.variance[known], new.slopes[known] * self.units
        for start in range(0, len(known), self._size):
            here = slice(start, start + self._size)
            own = known[here]
            found = self._dense(
                x[own], [f[own] for f in z], [c[own] for c in rows.codes], new.covariances(here)
            )
            out.variance[own] = found.variance + variance[here]
            out.slopes[own] = found.slopes
            out.slopes[own, r:] += slopes[here]
            out.moves[own] = found.moves
        return out

    @cached_property
    def _solved(self) -> Array:
        """``V^-1 (y - X b)`` of the working response, shape (n,)."""
        point = self.residual_point
        u, _ = point.eliminated.effects(point.remainder.v)
        return point.whitened.combine([-own for own in u], point.remainder.v)

    @cached_property
    def _size(self) -> int:
        """Rows in a block."""
        return max(1, _ROOM // ((1 + len(self.units)) * self.fit.n))

    def _blocks(self, x: Array, z: list[Array], codes: list[IntArray]) -> Iterator[Errors]:
        for start in range(0, len(x), self._size):
            here = slice(start, start + self._size)
            yield self._dense(x[here], [f[here] for f in z], [c[here] for c in codes])

    def _dense(
        self,
        x: Array,
        z: list[Array],
        codes: list[IntArray],
        residual: tuple[Array, Array] | None = None,
    ) -> Errors:
        """By the weights of all rows of the fit in each prediction."""
        point, F = self.residual_point, self.directions.fixed
        R = self.spread(z, codes)
        W = point.eliminated.solve(R) if R else []
        nothing = np.zeros(len(point.remainder.v))
        solved = np.zeros((len(x), self.fit.n))
        for i in range(len(x) if R else 0):  # V^-1 Z G z
            solved[i] = point.whitened.combine([w[i] for w in W], nothing)
        adjusted = x.copy()
        variance = np.zeros(len(x))
        rest = [r.copy() for r in R]
        for r, w, sums in zip(R, W, self.like.products.factors, strict=True):
            adjusted -= np.tensordot(w, sums.ZE[:-1], axes=([1, 2], [1, 2]))
            variance += np.einsum("maj,maj->m", r, w)
        if residual is not None:
            cross = residual[0]
            ZS, own = self.directions.solve(cross)
            adjusted -= cross @ F.T
            variance -= np.einsum("mn,mn->m", cross, own + 2.0 * solved)
            solved += own
            rest = [left - taken for left, taken in zip(rest, ZS, strict=True)]
        b = adjusted @ self.P
        variance += np.einsum("me,me->m", adjusted, b)
        weights = solved + b @ F
        for f, (w, wx) in enumerate(zip(W, self.WX if W else [], strict=True)):
            rest[f] -= np.tensordot(b, self.like.products.factors[f].ZE[:-1], axes=(1, 0))
            moved = self.like.products.multiply(f, w - np.tensordot(b, wx, axes=(1, 0)))
            for g, taken in enumerate(moved):
                rest[g] -= taken
        return self._derivatives(variance, rest, weights, residual)

    def _derivatives(
        self,
        variance: Array,
        rest: list[Array],
        weights: Array,
        residual: tuple[Array, Array] | None,
    ) -> Errors:
        """Derivatives from z~ (m, k, J) a factor and the weights L (m, n)."""
        point = self.residual_point
        moved = self.whitening.derivative(weights)
        in_delta = np.einsum("mn,smn->ms", weights, moved) * self.units
        shift = -weights @ point.residual_variates.T
        if residual is not None:
            dr = residual[1]
            in_delta -= 2.0 * np.einsum("mn,smn->ms", weights, dr) * self.units
            shift += np.einsum("smn,n->ms", dr, self._solved) * self.units
        none = np.zeros((len(variance), 0))
        slopes, moves = self.in_G(rest) if rest else (none, none)
        return Errors(variance, np.hstack([slopes, in_delta]), np.hstack([moves, shift]))

    @cached_property
    def _sums(self) -> _Sums:
        point, F = self.residual_point, self.directions.fixed
        n, e = self.fit.n, self._solved
        factors = self.like.products.factors
        k = factors[0].k if factors else 0
        codes = point.problem.rows.rows.codes[0] if factors else np.zeros(n, dtype=np.intp)
        J = factors[0].n_levels if factors else 1
        B = point.whitened.solved[:k]
        columns = np.concatenate([F, B])
        moved = self.whitening.derivative(columns)
        p, s = len(F), len(self.units)
        over_levels = sparse.csr_array((np.ones(n), (np.arange(n), codes)), shape=(n, J))

        def sums(left: Array, right: Array) -> Array:
            products = left[None, :, None] * right[:, None]
            flat = products.reshape(-1, n) @ over_levels
            return np.asarray(flat).reshape(s, len(left), right.shape[1], J)

        return _Sums(
            np.einsum("en,sfn->sef", F, moved[:, :p]),
            sums(F, moved[:, p:]),
            sums(B, moved[:, p:]),
            moved[:, :p] @ e,
            sums(e[None], moved[:, p:])[:, 0],
        )

    def _separate(self, x: Array, z: list[Array], codes: list[IntArray]) -> Errors:
        """With levels that hold whole residual groups a row meets its own level only."""
        sums = self._sums
        if z:
            in_G = self._one_factor(x, z[0], codes[0])
            own = np.maximum(codes[0], 0)
            state = self.point.eliminated.states[0]
            Dz = np.einsum("mab,mb->ma", state.D.transpose(2, 0, 1)[own], z[0])
            adjusted = x - np.einsum("eam,ma->me", state.E[:-1, :, own], Dz)
        else:
            own, Dz, adjusted = np.zeros(len(x), dtype=np.intp), np.zeros((len(x), 0)), x
            none = np.zeros((len(x), 0))
            in_G = Errors(np.einsum("me,ef,mf->m", x, self.P, x, optimize=True), none, none)
        b = adjusted @ self.P
        slopes = np.einsum("me,sef,mf->ms", b, sums.FF, b, optimize=True)
        moves = -(b @ sums.Fe.T)
        for i, (FB, BB, Be) in enumerate(zip(sums.FB, sums.BB, sums.Be, strict=True)):
            slopes[:, i] += 2.0 * np.einsum("me,eam,ma->m", b, FB[:, :, own], Dz)
            slopes[:, i] += np.einsum("ma,abm,mb->m", Dz, BB[:, :, own], Dz)
            moves[:, i] -= np.einsum("ma,am->m", Dz, Be[:, own])
        return Errors(
            in_G.variance,
            np.hstack([in_G.slopes, slopes * self.units]),
            np.hstack([in_G.moves, moves * self.units]),
        )
