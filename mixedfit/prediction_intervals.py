"""Intervals of predictions: for the mean of a row, and for a new observation.

A prediction ``t = x'b + z'u`` of a row is off for three reasons, and a new observation for a
fourth. With ``V = I + Z G Z'`` and ``M = (G^-1 + Z'Z)^-1``, all relative to sigma^2,

- b and u are estimated together. Henderson's mixed model equations give their joint covariance,

      Var(t^ - t) = (x - Z_x'M z)' P (x - Z_x'M z) + z'M z,    Z_x = Z'X,  P = (X'V^-1 X)^-1;

- the covariances are estimated. By the delta method t^ moves with their coordinates c by
  ``d_r = z~'dG_r h``, where ``h = Z'(y - X b - Z u)`` and ``z~ = z - Z'(weights of y in t^)``,
  which adds ``d'Var(c) d``. It counts twice: once for t^ (Kackar & Harville 1984, J. Am. Stat.
  Assoc. 79) and once because the first part, at estimated covariances, is too small by as much on
  average (Prasad & Rao 1990, J. Am. Stat. Assoc. 85);
- an observation adds the residual variance, and for each level the fit has not seen ``z'G z``.

The quantiles are those of t with Satterthwaite's degrees of freedom, ``2 v^2 / Var(v)`` for the
total variance v, whose gradient is ``z~'dG_r z~`` in c and v itself in ``log sigma^2``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd
import scipy

from mixedfit.arrays import Array, IntArray
from mixedfit.errors import ModelError
from mixedfit.fit import Fit
from mixedfit.predict import Groups, NewLevels, PredictionRows, prediction_rows
from mixedfit.profile import quantile_of
from mixedfit.threads import one_thread
from mixedfit.variance_parameters import has_plain_residuals
from mixedfit.vcov import component_covariance

__all__ = ["Interval", "PredictionVariance", "predict_interval", "prediction_variance"]

Interval = Literal["confidence", "prediction"]

# Numbers in the largest array of a block of rows.
_ROOM = 2**22


@dataclass(frozen=True)
class PredictionVariance:
    """The variance of predictions, part by part, in squared units of the response.

    Attributes
    ----------
    joint : array of shape (m,)
        Of the estimates of b and u together, covariances taken as known.
    covariances : array of shape (m,)
        What estimating the covariances adds to the variance of the prediction.
    effects : array of shape (m,)
        Of the effects of levels the fit has not seen; zero for a mean.
    residual : array of shape (m,)
        Of the residual; zero for a mean.
    df : array of shape (m,)
        Satterthwaite's degrees of freedom of the total.
    """

    joint: Array
    covariances: Array
    effects: Array
    residual: Array
    df: Array

    @property
    def total(self) -> Array:
        """All parts, the covariances' twice."""
        return self.joint + 2.0 * self.covariances + self.effects + self.residual


@dataclass(frozen=True)
class _Errors:
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


class _Predictor:
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

    def errors(self, rows: PredictionRows) -> _Errors:
        """The errors of the rows' predictions."""
        x, z = self.working(rows)
        if not z:
            none = np.zeros((len(x), 0))
            return _Errors(np.einsum("me,ef,mf->m", x, self.P, x, optimize=True), none, none)
        if len(z) == 1:
            return self._one_factor(x, z[0], rows.codes[0])
        parts = list(self._blocks(x, z, rows.codes))
        return _Errors(
            np.concatenate([part.variance for part in parts]),
            np.concatenate([part.slopes for part in parts]),
            np.concatenate([part.moves for part in parts]),
        )

    def _one_factor(self, x: Array, z: Array, codes: IntArray) -> _Errors:
        """With one grouping factor a row meets its own level only, and the others through b."""
        state = self.point.eliminated.states[0]
        dG, dS, v = self.dG[0], self.point.remainder_tangents, self.point.remainder.v
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
        return _Errors(variance, self.ordered([slopes]), self.ordered([moves]))

    def _blocks(self, x: Array, z: list[Array], codes: list[IntArray]) -> Iterator[_Errors]:
        products = self.like.products
        size = max(1, _ROOM // sum(sums.k * sums.n_levels for sums in products.factors))
        for start in range(0, len(x), size):
            rows = slice(start, start + size)
            yield self._several(x[rows], [own[rows] for own in z], [c[rows] for c in codes])

    def _several(self, x: Array, z: list[Array], codes: list[IntArray]) -> _Errors:
        """Any number of grouping factors: each row's z solved for over all levels."""
        factors = self.like.products.factors
        R = []
        for sums, own, levels in zip(factors, z, codes, strict=True):
            spread = np.zeros((len(x), sums.k, sums.n_levels))
            known = np.flatnonzero(levels >= 0)
            spread[known, :, levels[known]] = own[known]
            R.append(spread)
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
        slopes = [
            np.einsum("maj,rab,mbj->mr", q, dG, q, optimize=True)
            for q, dG in zip(rest, self.dG, strict=True)
        ]
        moves = [
            np.einsum("maj,rab,bj->mr", q, dG, h, optimize=True)
            for q, dG, h in zip(rest, self.dG, self.h, strict=True)
        ]
        return _Errors(variance, self.ordered(slopes), self.ordered(moves))

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


def prediction_variance(
    fit: Fit, rows: PredictionRows, interval: Interval, weights: Array | None = None
) -> PredictionVariance:
    """The variance of the rows' predictions.

    Parameters
    ----------
    fit : Fit
    rows : PredictionRows
    interval : {"confidence", "prediction"}
        Of the mean, or of a new observation.
    weights : array of shape (m,), optional
        Precision weights of the observations; by default 1.
    """
    predictor = _Predictor(fit)
    errors = predictor.errors(rows)
    r, estimate = predictor.r, fit.estimate
    sigma2 = estimate.sigma**2
    covariance = component_covariance(fit.evaluation)
    keep = np.append(np.arange(r), len(covariance) - 1)
    covariance = covariance[np.ix_(keep, keep)]
    moves = estimate.basis.scale * errors.moves
    added = np.einsum("mr,rs,ms->m", moves, covariance[:r, :r], moves, optimize=True)
    m = len(errors.variance)
    effects, residual, slopes = np.zeros(m), np.zeros(m), errors.slopes
    if interval == "prediction":
        unseen, own = predictor.unseen(rows)
        effects, slopes = sigma2 * unseen, slopes + own
        residual = np.full(m, sigma2) if weights is None else sigma2 / weights
    joint = sigma2 * errors.variance
    known = joint + effects + residual
    gradient = np.column_stack([sigma2 * slopes, known])
    spread = np.einsum("mr,rs,ms->m", gradient, covariance, gradient, optimize=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        df = np.where(spread > 0.0, 2.0 * (known + 2.0 * added) ** 2 / spread, np.inf)
    return PredictionVariance(joint, added, effects, residual, df)


def predict_interval(
    fit: Fit,
    newdata: Any,
    groups: Groups,
    new_levels: NewLevels,
    interval: Interval,
    level: float,
) -> pd.DataFrame:
    """Predictions with standard errors and intervals.

    Parameters
    ----------
    fit : Fit
    newdata : frame of any kind or None
    groups : "all", "none" or list of str
    new_levels : {"raise", "population"}
    interval : {"confidence", "prediction"}
    level : float

    Returns
    -------
    DataFrame
        One row a row of ``newdata``: estimate, se, lower, upper; missing where a value is.

    Raises
    ------
    ModelError
        If the interval or the level is none of those allowed.
    """
    if interval not in ("confidence", "prediction"):
        raise ModelError(f"interval must be None, 'confidence' or 'prediction', not {interval!r}")
    if interval == "prediction" and not has_plain_residuals(fit):
        raise ModelError(
            "intervals for a new observation need residuals that are independent and have one "
            "variance; interval='confidence' is for the mean"
        )
    quantile_of(level)
    rows = prediction_rows(fit.design, newdata, groups, new_levels, interval == "prediction")
    with one_thread():
        weights = fit.design.weights if newdata is None else None
        variance = prediction_variance(fit, rows, interval, weights)
    estimate = rows.X @ fit.estimate.beta + rows.offset
    if rows.codes:
        estimate = estimate + fit.estimate.linear_predictor(rows.Z, rows.codes)
    se = np.sqrt(variance.total)
    half = scipy.stats.t.ppf(0.5 + 0.5 * level, np.maximum(variance.df, 1.0)) * se
    out = np.full((len(rows.complete), 4), np.nan)
    out[rows.complete] = np.column_stack([estimate, se, estimate - half, estimate + half])
    return pd.DataFrame(out, index=rows.index, columns=["estimate", "se", "lower", "upper"])
