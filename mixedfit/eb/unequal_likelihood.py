"""Marginal likelihood of a one-way layout whose groups differ in mean and in variance.

    y_ij ~ N(theta_j, sigma2_j),   theta_j ~ N(mu, tau2),   1 / sigma2_j ~ chi2(nu0) / (nu0 s0^2)

With n_j, mean and sum of squares SS_j of a group, theta_j and the scale of SS_j are integrated in
closed form: given sums of squares ``1 / sigma2_j ~ chi2(nu) / (nu0 s0^2 + SS_j)`` with
``nu = nu0 + n_j - 1``, and what is left is one integral a group,

    E [ N(ybar_j; mu, tau2 + sigma2_j / n_j) ],

taken by the trapezoidal rule in ``log sigma2``, which converges exponentially for this smooth,
double-exponentially vanishing density. Derivatives are Fisher's identity on the same points.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import scipy
from scipy import special

from mixedfit.arrays import Array
from mixedfit.eb.variance_prior import fit_prior

__all__ = ["Groups", "Hyperparameters", "UnequalFit", "fit_unequal"]

_POINTS = 121
_TAIL = 1e-11
# Prior degrees of freedom beyond which the variances cannot be told from equal ones.
_EQUAL = 1e6


@dataclass(frozen=True)
class Groups:
    """What the likelihood needs of each group.

    Attributes
    ----------
    n, mean, ss : arrays of shape (J,)
        Observations, their mean, and their sum of squares about it.
    """

    n: Array
    mean: Array
    ss: Array


class Hyperparameters(NamedTuple):
    """mu, tau2 (at least 0), s02 (prior variance) and nu0 (its degrees of freedom)."""

    mu: float
    tau2: float
    s02: float
    nu0: float


@dataclass(frozen=True)
class AtPoint:
    """The likelihood at given hyperparameters, and the posterior of the variances.

    Attributes
    ----------
    groups : Groups
    h : Hyperparameters
    """

    groups: Groups
    h: Hyperparameters

    @cached_property
    def log_sigma2(self) -> Array:
        """Points, shape (K, J); a single one when nu0 is infinite."""
        g, h = self.groups, self.h
        if np.isinf(h.nu0):
            return np.full((1, len(g.n)), np.log(h.s02))
        ends = []
        a, b = 0.5 * (h.nu0 + g.n - 1.0), 0.5 * (h.nu0 * h.s02 + g.ss)
        away = 0.5 * g.n * (g.mean - h.mu) ** 2
        for shape, scale in ((a, b), (a + 0.5, b + away)):
            for tail in (_TAIL, 1.0 - _TAIL):
                precision = special.gammaincinv(shape, tail)
                ends.append(np.log(scale) - np.log(np.maximum(precision, 1e-290)))
        low, high = np.min(ends, axis=0), np.max(ends, axis=0)
        return low + np.linspace(0.0, 1.0, _POINTS)[:, None] * (high - low)

    @cached_property
    def log_terms(self) -> Array:
        """Log of each point's share of each group's likelihood, shape (K, J)."""
        g, h, x = self.groups, self.h, self.log_sigma2
        df = g.n - 1.0
        V = h.tau2 + np.exp(x) / g.n
        of_mean = -0.5 * (np.log(2.0 * np.pi * V) + (g.mean - h.mu) ** 2 / V)
        # Rows rather than sufficient statistics: their density given the mean.
        of_rows = -0.5 * (df * (np.log(2.0 * np.pi) + x) + np.log(g.n) + g.ss * np.exp(-x))
        if np.isinf(h.nu0):
            return of_mean + of_rows
        half = 0.5 * h.nu0
        of_prior = half * (np.log(half * h.s02) - x) - special.gammaln(half)
        of_prior = of_prior - half * h.s02 * np.exp(-x)
        step = np.log(x[1] - x[0])
        return of_mean + of_rows + of_prior + step

    @cached_property
    def each(self) -> Array:
        """Log-likelihood of each group, shape (J,)."""
        return np.asarray(special.logsumexp(self.log_terms, axis=0))

    @cached_property
    def weights(self) -> Array:
        """Posterior of log sigma2 on its points, shape (K, J)."""
        return np.exp(self.log_terms - self.each)

    @property
    def value(self) -> float:
        """Log-likelihood."""
        return float(self.each.sum())

    @cached_property
    def gradient(self) -> Array:
        """In mu, tau2, log s02 and log nu0 (0 when infinite), shape (4,)."""
        g, h, x, w = self.groups, self.h, self.log_sigma2, self.weights
        V = h.tau2 + np.exp(x) / g.n
        away = (g.mean - h.mu) / V
        in_mu = np.sum(w * away)
        in_tau2 = 0.5 * np.sum(w * (away**2 - 1.0 / V))
        ratio = h.s02 * np.exp(-x)
        if np.isinf(h.nu0):
            sigma2 = np.exp(x)
            in_s02 = 0.5 * np.sum(
                w * ((away**2 - 1.0 / V) * sigma2 / g.n - (g.n - 1.0) + g.ss / sigma2)
            )
            return np.array([in_mu, in_tau2, in_s02, 0.0])
        in_s02 = 0.5 * h.nu0 * np.sum(w * (1.0 - ratio))
        half = 0.5 * h.nu0
        constant = np.log(half) + 1.0 - special.digamma(half) + np.log(h.s02)
        in_nu0 = half * np.sum(w * (constant - x - ratio))
        return np.array([in_mu, in_tau2, in_s02, in_nu0])


class UnequalFit(NamedTuple):
    """The maximum.

    Attributes
    ----------
    h : Hyperparameters
    at : AtPoint
    covariance : array of shape (4, 4)
        Of (mu, tau2, log s02, log nu0); rows of parameters at a limit are missing.
    """

    h: Hyperparameters
    at: AtPoint
    covariance: Array


def fit_unequal(groups: Groups) -> UnequalFit:
    """Maximise the marginal likelihood over mu, tau2 >= 0, s02 and nu0 up to infinity."""
    start = _start(groups)
    finite = _search(groups, start._replace(nu0=min(start.nu0, 100.0)))
    equal = _search(groups, start._replace(nu0=np.inf))
    best = equal if finite.h.nu0 >= _EQUAL or equal.value >= finite.value else finite
    return UnequalFit(best.h, best, _covariance(best))


def _start(groups: Groups) -> Hyperparameters:
    """Moments: of log variances for the prior of the variances, and of the means."""
    df = groups.n - 1.0
    used = df > 0.0
    prior = fit_prior(groups.ss[used] / df[used], df[used]) if used.sum() > 1 else None
    pooled = float(groups.ss.sum() / df.sum())
    s02, nu0 = (pooled, np.inf) if prior is None else (float(np.mean(prior.scale)), prior.df)
    mu = float(groups.mean.mean())
    between = float(np.var(groups.mean, ddof=1)) - pooled * float(np.mean(1.0 / groups.n))
    return Hyperparameters(mu, max(between, 0.1 * pooled / float(groups.n.mean())), s02, nu0)


def _search(groups: Groups, start: Hyperparameters) -> AtPoint:
    """Maximise, in units of the data's own spread; nu0 stays infinite if it starts so."""
    unit = np.sqrt(start.s02)
    equal = np.isinf(start.nu0)

    def point(z: Array) -> AtPoint:
        nu0 = np.inf if equal else float(np.exp(z[3]))
        h = Hyperparameters(
            start.mu + unit * float(z[0]), unit**2 * float(z[1]), float(np.exp(z[2])), nu0
        )
        return AtPoint(groups, h)

    scale = np.array([unit, unit**2, 1.0, 1.0])[: 3 if equal else 4]

    def both(z: Array) -> tuple[float, Array]:
        at = point(z)
        return -at.value, -(at.gradient[: len(z)] * scale)

    z0 = [0.0, start.tau2 / unit**2, np.log(start.s02)] + ([] if equal else [np.log(start.nu0)])
    bounds: Any = [(None, None), (0.0, None), (None, None), (-3.0, np.log(_EQUAL))]
    options: Any = {"maxiter": 500, "ftol": 1e-14, "gtol": 1e-8}
    z0_array: Any = np.array(z0)
    found = scipy.optimize.minimize(
        both, z0_array, jac=True, method="L-BFGS-B", bounds=bounds[: len(z0)], options=options
    )
    return point(_polished(both, found.x))


def _polished(both: Any, z: Array) -> Array:
    """Newton steps in the parameters that are not at a limit, while they gain."""
    free = np.array([i for i in range(len(z)) if not (i == 1 and z[1] <= 1e-12)])
    value, gradient = both(z)
    for _ in range(4):
        H = _slopes(lambda x: both(x)[1], z, free)
        if np.linalg.eigvalsh(H).min() <= 0.0:
            break
        step = np.zeros_like(z)
        step[free] = -np.linalg.solve(H, gradient[free])
        if len(z) > 3 and z[3] + step[3] >= np.log(_EQUAL):
            break
        moved = z + step
        if moved[1] < 0.0:
            break
        new_value, new_gradient = both(moved)
        if new_value > value + 1e-10 * abs(value):
            break
        z, value, gradient = moved, new_value, new_gradient
        if np.abs(step).max() < 1e-9:
            break
    return z


def _slopes(f: Any, z: Array, free: Array) -> Array:
    """Central differences of a gradient, symmetric, in the free parameters."""
    H = np.empty((len(free), len(free)))
    for row, i in enumerate(free):
        h = np.zeros_like(z)
        h[i] = 1e-5 * max(1.0, abs(z[i]))
        if i == 1:
            h[i] = min(1e-4 * z[i] + 1e-9, 0.5 * z[i])
        H[row] = (f(z + h)[free] - f(z - h)[free]) / (2.0 * h[i])
    return 0.5 * (H + H.T)


def _covariance(best: AtPoint) -> Array:
    """Inverse observed information of (mu, tau2, log s02, log nu0) where they are free."""
    h, groups = best.h, best.groups
    unit = np.sqrt(h.s02)
    free = np.array([i for i in range(4) if not (i == 1 and h.tau2 == 0.0)])
    if np.isinf(h.nu0):
        free = free[free < 3]
    z = np.array([h.mu / unit, h.tau2 / unit**2, np.log(h.s02), np.log(min(h.nu0, _EQUAL))])
    scale = np.array([unit, unit**2, 1.0, 1.0])

    def downhill(x: Array) -> Array:
        nu0 = np.inf if np.isinf(h.nu0) else float(np.exp(x[3]))
        values = Hyperparameters(
            unit * float(x[0]), unit**2 * float(x[1]), float(np.exp(x[2])), nu0
        )
        return -AtPoint(groups, values).gradient * scale

    out = np.full((4, 4), np.nan)
    H = _slopes(downhill, z, free)
    if np.linalg.eigvalsh(H).min() > 0.0:
        out[np.ix_(free, free)] = np.linalg.inv(H) * np.outer(scale[free], scale[free])
    return out
