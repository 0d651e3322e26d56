"""The between-unit variance tau^2 of normal means with known variances.

The model is ``y_j ~ N(x_j' b, v_j + tau^2)``. Everything is batched over datasets that share X and
v, so that a bootstrap is one call. With ``W = diag(1 / (v + tau^2))`` and
``P = W - W X (X' W X)^{-1} X' W``, all estimators need only traces of powers of P and the quadratic
forms ``y' P^k y``, each a weighted sum over units plus p x p algebra.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from scipy.special import chdtri

from mixedfit.arrays import Array, BoolArray

__all__ = ["METHODS", "Method", "Units", "Weighted", "estimate_tau2", "q_profile", "tau2_se"]

Method = Literal[
    "reml",
    "ml",
    "moments",
    "dersimonian-laird",
    "paule-mandel",
    "hedges",
    "hunter-schmidt",
    "sidik-jonkman",
    "sure",
    "fixed",
]
METHODS: tuple[Method, ...] = (
    "reml",
    "ml",
    "moments",
    "dersimonian-laird",
    "paule-mandel",
    "hedges",
    "hunter-schmidt",
    "sidik-jonkman",
    "sure",
    "fixed",
)

_STEPS = 100
# Relative size of a last step; quadratic convergence leaves the error far below it.
_SMALL = 1e-9
# Up to this many numbers a criterion is tried at many tau^2 first, in case it has two maxima.
_MANY = 2_000_000


@dataclass(frozen=True)
class Units:
    """Estimates of J units, or B sets of them, with known variances.

    Attributes
    ----------
    y : array of shape (B, J)
    v : array of shape (J,)
        Sampling variances, positive.
    Q : array of shape (J, p)
        Covariates with orthonormal columns; ``X = Q R``.
    R : array of shape (p, p)
    """

    y: Array
    v: Array
    Q: Array
    R: Array

    @classmethod
    def of(cls, y: Array, v: Array, X: Array) -> Units:
        """From estimates (J,) or (B, J), variances (J,) and covariates (J, p) of full rank."""
        if X.shape[1] == 1 and (X == 1.0).all():
            root = np.sqrt(float(len(X)))
            return cls(np.atleast_2d(y), v, X / root, np.array([[root]]))
        Q, R = np.linalg.qr(X)
        return cls(np.atleast_2d(y), v, Q, R)

    def with_estimates(self, y: Array) -> Units:
        """The same variances and covariates for other estimates, (J,) or (B, J)."""
        return Units(np.atleast_2d(y), self.v, self.Q, self.R)

    @property
    def df(self) -> int:
        """J - p."""
        return self.Q.shape[0] - self.Q.shape[1]

    @cached_property
    def products(self) -> Array:
        """The p^2 products of columns of Q, shape (J, p^2)."""
        J, p = self.Q.shape
        return (self.Q[:, :, None] * self.Q[:, None, :]).reshape(J, p * p)

    @cached_property
    def ordinary_residuals(self) -> Array:
        """Residuals of unweighted least squares, shape (B, J)."""
        return self.y - (self.y @ self.Q) @ self.Q.T

    @cached_property
    def scale(self) -> Array:
        """A size for tau^2 to be measured against, shape (B,)."""
        spread = (self.ordinary_residuals**2).sum(axis=1) / max(self.df, 1)
        return spread + float(np.median(self.v))

    def at(self, tau2: Array | float) -> Weighted:
        """Weighted least squares with weights ``1 / (v + tau2)``; tau2 of shape (B,) or a number.

        A single data set may be met with many tau2.
        """
        return Weighted(self, np.atleast_1d(np.asarray(tau2, dtype=float)))

    def where(self, mask: BoolArray) -> Units:
        """Some of the data sets."""
        return self.with_estimates(self.y[mask])


class Weighted:
    """Generalised least squares at given tau^2, and what the criteria need.

    Parameters
    ----------
    units : Units
    tau2 : array of shape (B,)
    """

    def __init__(self, units: Units, tau2: Array) -> None:
        self.units = units
        self.tau2 = tau2
        self.w = 1.0 / (units.v + tau2[:, None])
        information = self.moment(self.w)
        self.inverse = np.linalg.inv(information)
        self.logdet = np.linalg.slogdet(information)[1]
        normal = (self.w * units.y) @ units.Q
        self.c = np.einsum("bpq,bq->bp", self.inverse, normal)
        self.r = units.y - self.c @ units.Q.T

    def moment(self, weights: Array) -> Array:
        """``Q' diag(weights) Q`` for weights of shape (B, J)."""
        p = self.units.Q.shape[1]
        return (weights @ self.units.products).reshape(len(weights), p, p)

    @property
    def b(self) -> Array:
        """Coefficients of X, shape (B, p)."""
        return np.linalg.solve(self.units.R, self.c.T).T

    @property
    def b_covariance(self) -> Array:
        """``(X' W X)^{-1}``, shape (B, p, p)."""
        back = np.linalg.inv(self.units.R)
        return back @ self.inverse @ back.T

    @cached_property
    def wr(self) -> Array:
        """``P y``, shape (B, J)."""
        return self.w * self.r

    @cached_property
    def quadratic(self) -> Array:
        """``y' P y``, Cochran's Q at tau^2 = 0; shape (B,)."""
        return np.einsum("bj,bj->b", self.wr, self.r)

    @cached_property
    def quadratic2(self) -> Array:
        """``y' P^2 y``, shape (B,)."""
        return np.einsum("bj,bj->b", self.wr, self.wr)

    @cached_property
    def quadratic3(self) -> Array:
        """``y' P^3 y``, shape (B,)."""
        weighted = self.w * self.wr
        c = weighted @ self.units.Q
        return np.einsum("bj,bj->b", weighted, self.wr) - np.einsum(
            "bp,bpq,bq->b", c, self.inverse, c
        )

    @cached_property
    def trace(self) -> Array:
        """``tr P``, shape (B,)."""
        return self.trace_of(None)

    @cached_property
    def trace2(self) -> Array:
        """``tr P^2``, shape (B,)."""
        return self.trace_of_two(None)

    @cached_property
    def basis(self) -> Array:
        """Orthonormal columns U of ``W^{1/2} X``, shape (B, J, p).

        Traces by way of U keep their digits where some variances are far smaller than others.
        """
        return np.linalg.qr(np.sqrt(self.w)[:, :, None] * self.units.Q)[0]

    @cached_property
    def hat(self) -> Array:
        """Diagonal of ``U U'``: how much of its fitted mean each estimate is, shape (B, J)."""
        return np.einsum("bjp,bjp->bj", self.basis, self.basis)

    def trace_of(self, d: Array | None) -> Array:
        """``tr(P D)`` for a diagonal D of shape (J,) or (B, J); the identity when None."""
        scaled = self.w if d is None else self.w * d
        return np.einsum("bj,bj->b", scaled, 1.0 - self.hat)

    def trace_of_two(self, d: Array | None) -> Array:
        """``tr(P D P D)`` for a diagonal D of shape (J,) or (B, J); the identity when None."""
        scaled = self.w if d is None else self.w * d
        inner = np.swapaxes(self.basis, 1, 2) @ (scaled[:, :, None] * self.basis)
        alone = ((scaled * (1.0 - self.hat)) ** 2).sum(axis=1)
        # A sum of squares too, so that what is below 0 is rounding.
        between = np.einsum("bpq,bpq->b", inner, inner) - ((scaled * self.hat) ** 2).sum(axis=1)
        return alone + np.maximum(between, 0.0)

    def llf(self, method: Literal["reml", "ml"]) -> Array:
        """The (restricted) log-likelihood, b profiled or integrated out; shape (B,).

        The restricted one is that of J - p orthonormal contrasts, so it does not depend on the
        units of X.
        """
        J, p = self.units.Q.shape
        value = 0.5 * (np.log(self.w).sum(axis=1) - self.quadratic)
        if method == "ml":
            return value - 0.5 * J * np.log(2.0 * np.pi)
        return value - 0.5 * self.logdet - 0.5 * (J - p) * np.log(2.0 * np.pi)

    def score(self, method: Literal["reml", "ml"]) -> tuple[Array, Array, Array]:
        """First derivative in tau^2, observed and expected information; each of shape (B,)."""
        if method == "ml":
            one, two = self.w.sum(axis=1), np.einsum("bj,bj->b", self.w, self.w)
        else:
            one, two = self.trace, self.trace2
        gradient = 0.5 * (self.quadratic2 - one)
        return gradient, self.quadratic3 - 0.5 * two, 0.5 * two

    @cached_property
    def risk(self) -> Array:
        """Stein's unbiased estimate of the total squared error of the posterior means, (B,).

        ``sum v + |V P y|^2 - 2 tr(V P V)``: the estimator is ``(I - V P) y`` at a given tau^2.
        """
        v = self.units.v
        change = v * self.wr
        return v.sum() + np.einsum("bj,bj->b", change, change) - 2.0 * self.trace_of(v**2)

    def posterior(self) -> tuple[Array, Array]:
        """Posterior means and variances of the units at this tau^2, b integrated out; (B, J).

        With ``B_j = v_j / (v_j + tau^2)`` the mean is ``y_j - B_j (y_j - x_j'b)`` and the variance
        ``(1 - B_j) v_j + B_j^2 x_j' (X' W X)^{-1} x_j``.
        """
        v = self.units.v
        toward = v * self.w
        mean = self.units.y - toward * self.r
        return mean, self.tau2[:, None] * toward + toward**2 * self.leverage

    @cached_property
    def leverage(self) -> Array:
        """``x_j' (X' W X)^{-1} x_j``: variances of the fitted means, shape (B, J)."""
        Q = self.units.Q
        if Q.shape[1] == 0:
            return np.zeros_like(self.w)
        return np.einsum("bjp,jp->bj", Q[None] @ self.inverse, Q)


def estimate_tau2(units: Units, method: Method) -> Array:
    """Estimate tau^2 for each data set.

    Parameters
    ----------
    units : Units
    method : str
        One of `METHODS`.

    Returns
    -------
    array of shape (B,)
        At least 0.

    Notes
    -----
    "moments" is the unweighted ``max(0, S^2 - mean v)``, which with covariates is Hedges'
    estimator. "hunter-schmidt", "sidik-jonkman", "dersimonian-laird" and "hedges" follow
    Viechtbauer (2005, J. Educ. Behav. Stat. 30); "paule-mandel" solves ``Q(tau^2) = J - p`` and is
    also called the empirical-Bayes and the Fay-Herriot moment estimator; "sure" minimises Stein's
    unbiased risk estimate of the posterior means (Xie, Kou & Brown 2012, JASA 107).
    """
    B = len(units.y)
    if method == "fixed" or units.df < 1:
        return np.zeros(B)
    if method == "reml" or method == "ml":  # noqa: PLR1714  so that the type narrows
        return _likelihood(units, method)
    if method == "sure":
        return _least_risk(units)
    if method == "paule-mandel":
        return solve_q(units, np.full(B, float(units.df)))
    return np.maximum(_moments(units, method), 0.0)


def _moments(units: Units, method: Method) -> Array:
    J = len(units.v)
    if method in ("moments", "hedges"):
        leverage = np.einsum("jp,jp->j", units.Q, units.Q)
        known = float(((1.0 - leverage) * units.v).sum())
        return ((units.ordinary_residuals**2).sum(axis=1) - known) / units.df
    if method == "sidik-jonkman":
        rough = units.y.var(axis=1)
        return rough * units.at(rough).quadratic / units.df
    zero = units.at(np.zeros(len(units.y)))
    if method == "hunter-schmidt":
        return (zero.quadratic - J) / zero.w.sum(axis=1)
    return (zero.quadratic - units.df) / zero.trace


def _starts(units: Units, value: Callable[[Weighted], Array]) -> Array:
    """Where a criterion to be maximised is best among some tau^2, shape (B,).

    They are three-fold apart from a tenth of the smallest variance to far beyond the spread.
    """
    best = np.maximum(_moments(units, "hedges"), 1e-3 * units.scale)
    low, high = 0.1 * float(units.v.min()), 30.0 * float(units.scale.max())
    steps = int(np.ceil(np.log(high / low) / np.log(3.0))) + 1
    if units.y.size * steps > _MANY:
        return best
    height = value(units.at(best))
    for tried in np.geomspace(low, high, steps):
        there = value(units.at(np.full(len(best), tried)))
        better = there > height
        best, height = np.where(better, tried, best), np.where(better, there, height)
    return best


def _likelihood(units: Units, method: Literal["reml", "ml"]) -> Array:
    """Maximise the (restricted) likelihood by Newton steps, held at 0 and never downhill."""
    tau2 = _starts(units, lambda at: at.llf(method))
    active = np.ones(len(tau2), dtype=bool)
    part, here = units, units.at(tau2)
    for _ in range(_STEPS):
        gradient, observed, expected = here.score(method)
        curvature = np.where(observed > 0.1 * expected, observed, expected)
        before = here.tau2
        here = _uphill(part, here, gradient / curvature, method)
        moved = here.tau2
        settled = np.abs(moved - before) <= _SMALL * (moved + 1e-6 * part.scale)
        tau2[active] = moved
        if settled.all():
            break
        if settled.any():
            active[np.flatnonzero(active)[settled]] = False
            part = units.where(active)
            here = part.at(tau2[active])
    at_best = here if part is units else units.at(tau2)
    at_zero = units.at(np.zeros_like(tau2))
    return np.where(at_zero.llf(method) >= at_best.llf(method), 0.0, tau2)


def _uphill(part: Units, here: Weighted, step: Array, method: Literal["reml", "ml"]) -> Weighted:
    """The Newton point, or one nearer where that is lower."""
    height = here.llf(method)
    there = part.at(np.maximum(here.tau2 + step, 0.0))
    tolerance = 1e-12 * (1.0 + np.abs(height))
    for _ in range(30):
        low = there.llf(method) < height - tolerance
        if not low.any():
            break
        there = part.at(np.where(low, 0.5 * (there.tau2 + here.tau2), there.tau2))
    return there


def _least_risk(units: Units) -> Array:
    """Minimise the unbiased risk estimate: the best of a grid, then golden sections around it."""
    scale = units.scale
    factors = np.concatenate([[0.0], np.geomspace(1e-4, 100.0, 40)])
    risks = np.array([units.at(factor * scale).risk for factor in factors])
    place = risks.argmin(axis=0)
    low = factors[np.maximum(place - 1, 0)] * scale
    high = factors[np.minimum(place + 1, len(factors) - 1)] * scale
    golden = 0.5 * (np.sqrt(5.0) - 1.0)
    for _ in range(60):
        width = golden * (high - low)
        left, right = high - width, low + width
        to_left = units.at(left).risk < units.at(right).risk
        low, high = np.where(to_left, low, left), np.where(to_left, right, high)
        if (high - low <= 1e-8 * scale).all():
            break
    middle = 0.5 * (low + high)
    return np.where(units.at(np.zeros_like(middle)).risk <= units.at(middle).risk, 0.0, middle)


def solve_q(units: Units, target: Array, start: Array | None = None) -> Array:
    """The tau^2 at which ``y' P y`` is `target`, or 0 where it is smaller already; shape (B,).

    Newton steps on ``1 / Q(tau^2)``, which is a straight line when all variances are equal, kept
    between what is known to be too small and too large.
    """
    low = np.zeros(len(target))
    high = np.full_like(low, np.inf)
    wanted = units.at(low).quadratic > target
    tau2 = np.where(wanted, 0.0 if start is None else start, 0.0)
    for _ in range(_STEPS):
        here = units.at(tau2)
        above = here.quadratic > target
        low, high = np.where(above, tau2, low), np.where(above, high, tau2)
        with np.errstate(all="ignore"):
            step = (here.quadratic / target - 1.0) * here.quadratic / here.quadratic2
        step = np.where(np.isfinite(step), step, 0.0)
        moved = tau2 + step
        outside = (moved <= low) | (moved >= high)
        middle = np.where(np.isfinite(high), 0.5 * (low + high), 2.0 * low + units.scale)
        moved = np.where(wanted, np.where(outside, middle, moved), 0.0)
        done = np.abs(moved - tau2) <= 1e-11 * (np.abs(moved) + 1e-6 * units.scale)
        tau2 = moved
        if done.all():
            break
    return tau2


def q_profile(units: Units, level: float, tau2: float = 0.0) -> tuple[float, float]:
    """Confidence interval of tau^2 by inverting ``Q(tau^2) ~ chi^2(J - p)`` (Viechtbauer 2007).

    Parameters
    ----------
    units : Units
        One data set.
    level : float
    tau2 : float
        An estimate, to search from.

    Returns
    -------
    lower, upper : float
        Missing when J = p; 0 where even tau^2 = 0 gives too small a Q.
    """
    if units.df < 1:
        return np.nan, np.nan
    tail = 0.5 * (1.0 - level)
    limits = chdtri(units.df, np.array([tail, 1.0 - tail]))
    start = np.array([tau2])
    lower, upper = (float(solve_q(units, np.array([limit]), start)[0]) for limit in limits)
    return lower, upper


def tau2_se(units: Units, tau2: Array, method: Method) -> Array:
    """Standard error of tau^2, shape (B,); missing for "sure" and "fixed".

    Likelihood methods use the expected information. A moment estimator is a quadratic form
    ``y' M y`` divided by a constant, whose variance under normality is ``2 tr(M S M S)`` with
    ``S = V + tau^2 I``. For "paule-mandel" it is ``2 J^2 / ((J - p) (sum w)^2)``.
    """
    J = len(units.v)
    here = units.at(tau2)
    if method == "reml" or method == "ml":  # noqa: PLR1714  so that the type narrows
        return np.sqrt(1.0 / here.score(method)[2])
    if method == "paule-mandel":
        return np.sqrt(2.0 * J**2 / units.df) / here.w.sum(axis=1)
    if method in ("sure", "fixed") or units.df < 1:
        return np.full(len(tau2), np.nan)
    total = units.v + tau2[:, None]
    if method in ("moments", "hedges"):
        flat = Units(units.y, np.ones(J), units.Q, units.R).at(np.zeros(len(tau2)))
        return np.sqrt(2.0 * flat.trace_of_two(total)) / units.df
    if method == "sidik-jonkman":
        rough = units.y.var(axis=1)
        return rough * np.sqrt(2.0 * units.at(rough).trace_of_two(total)) / units.df
    zero = units.at(np.zeros(len(tau2)))
    scale = zero.w.sum(axis=1) if method == "hunter-schmidt" else zero.trace
    return np.sqrt(2.0 * zero.trace_of_two(total)) / scale
