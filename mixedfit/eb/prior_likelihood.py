"""Priors with a few parameters, fitted by maximum marginal likelihood.

Each shape gives the log marginal density of an estimate at distance d from the prior's centre, with
exact derivatives in its (unbounded) parameters and in d. The centre is a regression.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import copy
from dataclasses import dataclass

import numpy as np
import scipy
from scipy.special import digamma, expit, gammaln, log_expit, logit

from mixedfit.arrays import Array, BoolArray
from mixedfit.eb.hyperparameters import size_of_tau
from mixedfit.eb.parts import parts
from mixedfit.eb.prior_mixtures import (
    LaplaceMixture,
    MixturePrior,
    NormalMixture,
    log_exponential_side,
)

__all__ = ["SHAPES", "MarginalLikelihood", "PriorFit", "PriorShape", "fit_prior"]

_LOG_ROOT_2PI = 0.5 * np.log(2.0 * np.pi)
_CHUNK = 50_000
# Fits of more units than this start from the fit of so many.
_SAMPLE = 20_000
_FAR = 15.0  # on the logit scale a share is 0 or 1 here


class PriorShape(ABC):
    """A family of priors with its centre at 0.

    Attributes
    ----------
    names : tuple of str
        Natural parameters.
    bounds : tuple of (float, float)
        Of the working parameters.
    """

    names: tuple[str, ...]
    bounds: tuple[tuple[float, float], ...]

    @abstractmethod
    def evaluate(self, d: Array, s: Array, theta: Array) -> tuple[Array, Array, Array]:
        """Log densities (n,), their derivatives in theta (n, m) and in d (n,)."""

    @abstractmethod
    def natural(self, theta: Array, scale: float) -> tuple[Array, Array]:
        """Natural parameters and their derivatives in each working one, both (m,).

        Distances were divided by `scale`.
        """

    def log_prior(self, theta: Array) -> float:
        """Log density of theta when shares are uniform and the scale is flat."""
        return float(theta[-1])

    @abstractmethod
    def starts(self, spread: float) -> list[Array]:
        """Where to start, for a standard deviation of the true values."""

    @abstractmethod
    def mixture(self, theta: Array, scale: float) -> MixturePrior:
        """The prior as a mixture, in the user's units."""


class PointNormal(PriorShape):
    """A point at the centre with probability pi0, else normal with variance tau2."""

    names = ("pi0", "tau2")
    bounds = ((-_FAR, _FAR), (-10.0, 10.0))

    def evaluate(self, d: Array, s: Array, theta: Array) -> tuple[Array, Array, Array]:
        pi0, tau2 = expit(theta[0]), np.exp(2.0 * theta[1])
        v = s**2
        V = v + tau2
        null = np.log(pi0) - 0.5 * (d**2 / v + np.log(v)) - _LOG_ROOT_2PI
        slab = np.log1p(-pi0) - 0.5 * (d**2 / V + np.log(V)) - _LOG_ROOT_2PI
        value = np.logaddexp(null, slab)
        at_null = np.exp(null - value)
        at_slab = 1.0 - at_null
        slopes = np.stack([at_null - pi0, at_slab * tau2 * (d**2 / V - 1.0) / V], axis=1)
        return value, slopes, -d * (at_null / v + at_slab / V)

    def natural(self, theta: Array, scale: float) -> tuple[Array, Array]:
        pi0, tau2 = expit(theta[0]), scale**2 * np.exp(2.0 * theta[1])
        return np.array([pi0, tau2]), np.array([pi0 * (1.0 - pi0), 2.0 * tau2])

    def log_prior(self, theta: Array) -> float:
        return float(log_expit(theta[0]) + log_expit(-theta[0]) + theta[1])

    def starts(self, spread: float) -> list[Array]:
        return [
            np.array([logit(p), np.log(spread / np.sqrt(1.0 - p))]) for p in (0.05, 0.5, 0.9, 0.99)
        ]

    def mixture(self, theta: Array, scale: float) -> MixturePrior:
        (pi0, tau2), _ = self.natural(theta, scale)
        sds = np.array([0.0, np.sqrt(tau2)])
        return NormalMixture(np.array([pi0, 1.0 - pi0]), np.zeros(2), sds)


def _laplace(d: Array, s: Array, log_scale: float) -> tuple[Array, Array, Array]:
    """A Laplace prior's log marginal density and its derivatives in log scale and in d."""
    rate = np.exp(-log_scale)
    z, shift = d / s, rate * s
    left, left_slope = log_exponential_side(z, shift)
    right, right_slope = log_exponential_side(-z, shift)
    both = np.logaddexp(left, right)
    value = np.log(0.5 * rate) + both
    to_left, to_right = np.exp(left - both), np.exp(right - both)
    in_shift = to_left * left_slope + to_right * right_slope
    return value, -1.0 - shift * in_shift, rate * (to_left - to_right)


class Laplace(PriorShape):
    """Two-sided exponential with mean absolute deviation `scale`."""

    names = ("scale",)
    bounds = ((-10.0, 10.0),)

    def evaluate(self, d: Array, s: Array, theta: Array) -> tuple[Array, Array, Array]:
        value, slope, in_d = _laplace(d, s, float(theta[0]))
        return value, slope[:, None], in_d

    def natural(self, theta: Array, scale: float) -> tuple[Array, Array]:
        b = scale * np.exp(theta)
        return b, b

    def starts(self, spread: float) -> list[Array]:
        return [np.array([np.log(spread / np.sqrt(2.0))])]

    def mixture(self, theta: Array, scale: float) -> MixturePrior:
        return LaplaceMixture(np.array([0.0, 0.5, 0.5]), float(scale * np.exp(theta[0])))


class PointLaplace(PriorShape):
    """A point at the centre with probability pi0, else Laplace."""

    names = ("pi0", "scale")
    bounds = ((-_FAR, _FAR), (-10.0, 10.0))

    def evaluate(self, d: Array, s: Array, theta: Array) -> tuple[Array, Array, Array]:
        pi0 = expit(theta[0])
        z = d / s
        null = np.log(pi0) - 0.5 * z**2 - np.log(s) - _LOG_ROOT_2PI
        slab, in_scale, in_d = _laplace(d, s, float(theta[1]))
        slab = slab + np.log1p(-pi0)
        value = np.logaddexp(null, slab)
        at_null = np.exp(null - value)
        at_slab = 1.0 - at_null
        slopes = np.stack([at_null - pi0, at_slab * in_scale], axis=1)
        return value, slopes, -at_null * z / s + at_slab * in_d

    def natural(self, theta: Array, scale: float) -> tuple[Array, Array]:
        pi0, b = expit(theta[0]), scale * np.exp(theta[1])
        return np.array([pi0, b]), np.array([pi0 * (1.0 - pi0), b])

    def log_prior(self, theta: Array) -> float:
        return float(log_expit(theta[0]) + log_expit(-theta[0]) + theta[1])

    def starts(self, spread: float) -> list[Array]:
        return [
            np.array([logit(p), np.log(spread / np.sqrt(2.0 * (1.0 - p)))])
            for p in (0.05, 0.5, 0.9, 0.99)
        ]

    def mixture(self, theta: Array, scale: float) -> MixturePrior:
        (pi0, b), _ = self.natural(theta, scale)
        return LaplaceMixture(np.array([pi0, 0.5 - 0.5 * pi0, 0.5 - 0.5 * pi0]), float(b))


class StudentT(PriorShape):
    """Student's t with `df` degrees of freedom, as a mixture of normals over their precision.

    The precision's gamma distribution is put on a grid of its logarithm, where the trapezoidal
    rule is exact to about 1e-4 for df up to 60; more degrees of freedom are as good as normal.
    """

    names = ("scale", "df")
    bounds = ((-10.0, 10.0), (0.0, float(np.log(60.0))))
    _log_precision = np.linspace(-20.0, 3.5, 95)

    def _grid(self, theta: Array) -> tuple[Array, Array, Array]:
        """Weights, variances, and derivatives of the log weights in log df; each (K,)."""
        u, half = self._log_precision, 0.5 * np.exp(theta[1])
        log_weights = half * np.log(half) - gammaln(half) + half * (u - np.exp(u))
        weights = np.exp(log_weights)
        weights /= weights.sum()
        slopes = half * (np.log(half) + 1.0 - digamma(half) + u - np.exp(u))
        return weights, np.exp(2.0 * theta[0] - u), slopes - weights @ slopes

    def evaluate(self, d: Array, s: Array, theta: Array) -> tuple[Array, Array, Array]:
        weights, variances, in_df = self._grid(theta)
        kept = weights > 1e-14
        weights, variances, in_df = weights[kept], variances[kept], in_df[kept]
        V = s[:, None] ** 2 + variances
        ratio = d[:, None] ** 2 / V
        joint = np.log(weights) - 0.5 * (ratio + np.log(V)) - _LOG_ROOT_2PI
        top = joint.max(axis=1)
        share = np.exp(joint - top[:, None])
        total = share.sum(axis=1)
        share /= total[:, None]
        in_scale = np.einsum("nk,nk->n", share, variances * (ratio - 1.0) / V)
        slopes = np.stack([in_scale, share @ in_df], axis=1)
        return top + np.log(total), slopes, -d * (share / V).sum(axis=1)

    def natural(self, theta: Array, scale: float) -> tuple[Array, Array]:
        values = np.array([scale * np.exp(theta[0]), np.exp(theta[1])])
        return values, values

    def log_prior(self, theta: Array) -> float:
        return float(theta[0] - theta[1])  # uniform on 1 / df

    def starts(self, spread: float) -> list[Array]:
        return [np.array([np.log(0.7 * spread), np.log(df)]) for df in (4.0, 20.0)]

    def mixture(self, theta: Array, scale: float) -> MixturePrior:
        weights, variances, _ = self._grid(theta)
        kept = weights > 1e-14
        sds = scale * np.sqrt(variances[kept])
        return NormalMixture(weights[kept] / weights[kept].sum(), np.zeros_like(sds), sds)


SHAPES: dict[str, PriorShape] = {
    "point-normal": PointNormal(),
    "laplace": Laplace(),
    "point-laplace": PointLaplace(),
    "t": StudentT(),
}


class MarginalLikelihood:
    """Minus the mean log-likelihood of a shape's parameters and of its centre.

    Parameters
    ----------
    shape : PriorShape
    y, s : arrays of shape (J,)
        Estimates and standard errors.
    X : array of shape (J, p)
        Covariates of the centre; p = 0 for a stated one.
    mode : float
        What is added to the regression.

    Notes
    -----
    Estimates are taken about their least-squares fit and divided by their spread, so that the
    units of measurement do not matter; covariates are made orthonormal.
    """

    def __init__(self, shape: PriorShape, y: Array, s: Array, X: Array, mode: float) -> None:
        J, p = X.shape
        Q, R = np.linalg.qr(X) if p else (X, np.zeros((0, 0)))
        self.shape = shape
        self.Q, self.R = Q * np.sqrt(J), R / np.sqrt(J)
        self.mode = mode
        self.c = self.Q.T @ (y - mode) / J
        self.fitted = mode + self.Q @ self.c
        residuals = y - self.fitted
        self.scale = size_of_tau(float(np.sqrt(np.mean(residuals**2))), s)
        self.y, self.s = residuals / self.scale, s / self.scale

    @property
    def m(self) -> int:
        """Number of the shape's parameters."""
        return len(self.shape.names)

    @property
    def bounds(self) -> list[tuple[float, float]]:
        """Of all working parameters."""
        return [*self.shape.bounds, *[(-np.inf, np.inf)] * self.Q.shape[1]]

    def __call__(self, x: Array) -> tuple[float, Array]:
        theta, c = x[: self.m], x[self.m :]
        value, gradient = 0.0, np.zeros_like(x)
        for part in parts(len(self.y), 1, _CHUNK):
            Q = self.Q[part]
            d = self.y[part] - Q @ c
            log_density, slopes, in_d = self.shape.evaluate(d, self.s[part], theta)
            value += float(log_density.sum())
            gradient[: self.m] += slopes.sum(axis=0)
            gradient[self.m :] -= in_d @ Q
        return -value / len(self.y), -gradient / len(self.y)

    def llf(self, x: Array) -> float:
        """The log-likelihood of the estimates in the user's units."""
        return -len(self.y) * (self(x)[0] + float(np.log(self.scale)))

    def starts(self) -> list[Array]:
        """Where to search from: a moment estimate of the spread, and the spread of the estimates.

        At a far too small spread the likelihood is flat, so the moment alone would not do.
        """
        w = self.s**-2.0
        excess = float((w * self.y**2 - 1.0).sum() / w.sum())
        none = np.zeros(self.Q.shape[1])
        return [
            np.append(theta, none)
            for spread in (np.sqrt(max(excess, 1e-2)), 1.0)
            for theta in self.shape.starts(spread)
        ]

    def take(self, rows: Array) -> MarginalLikelihood:
        """Some of the units, in the same working parameters."""
        other = copy(self)
        other.y, other.s, other.Q = self.y[rows], self.s[rows], self.Q[rows]
        return other

    def hessian(self, x: Array, step: float = 1e-4) -> Array:
        """Central differences of the exact gradient."""
        out = np.empty((len(x), len(x)))
        for i in range(len(x)):
            e = np.zeros_like(x)
            e[i] = step
            out[i] = (self(x + e)[1] - self(x - e)[1]) / (2.0 * step)
        return 0.5 * (out + out.T)

    def prior_at(self, x: Array) -> tuple[MixturePrior, Array]:
        """The prior about its centre and the centre of each unit, in the user's units."""
        centre = self.fitted + self.scale * (self.Q @ x[self.m :])
        return self.shape.mixture(x[: self.m], self.scale), centre


@dataclass(frozen=True)
class PriorFit:
    """A fitted shape.

    Attributes
    ----------
    likelihood : MarginalLikelihood
    x : array of shape (m + p,)
        Working parameters of the shape, then of the centre.
    covariance : array of shape (m + p, m + p)
        Of the working parameters; missing where one is at its bound.
    """

    likelihood: MarginalLikelihood
    x: Array
    covariance: Array

    @property
    def theta(self) -> Array:
        """The shape's working parameters, (m,)."""
        return self.x[: self.likelihood.m]

    @property
    def natural(self) -> tuple[Array, Array]:
        """The shape's parameters and their standard errors, both (m,)."""
        shape = self.likelihood.shape
        values, slopes = shape.natural(self.theta, self.likelihood.scale)
        variances = np.diag(self.covariance)[: len(values)]
        if shape.names[0] == "pi0" and abs(self.theta[0]) > _FAR - 1e-3:
            values[0] = round(values[0])  # at its limit a share is 0 or 1
        return values, np.abs(slopes) * np.sqrt(variances)

    @property
    def b(self) -> Array:
        """Coefficients of the centre, (p,)."""
        working = self.likelihood.c + self.likelihood.scale * self.x[self.likelihood.m :]
        return np.linalg.solve(self.likelihood.R, working)

    @property
    def b_covariance(self) -> Array:
        """Their covariance, (p, p)."""
        back = self.likelihood.scale * np.linalg.inv(self.likelihood.R)
        m = self.likelihood.m
        return back @ self.covariance[m:, m:] @ back.T


def fit_prior(shape: PriorShape, y: Array, s: Array, X: Array, mode: float = 0.0) -> PriorFit:
    """Maximise the marginal likelihood of a prior's parameters and its centre's coefficients.

    Parameters
    ----------
    shape : PriorShape
    y, s : arrays of shape (J,)
        Estimates and standard errors.
    X : array of shape (J, p)
        Covariates of the centre; p = 0 for a stated one.
    mode : float
        The stated centre.
    """
    likelihood = MarginalLikelihood(shape, y, s, X, mode)
    x = _search(_sampled(likelihood), likelihood.starts())
    if len(y) > _SAMPLE:
        x = _search(likelihood, [x])
    x, hessian, free = _polish(likelihood, x)
    covariance = np.full(hessian.shape, np.nan)
    inner = np.ix_(free, free)
    try:
        inverse = np.linalg.inv(hessian[inner]) / len(y)
    except np.linalg.LinAlgError:
        inverse = np.zeros((0, 0))  # a flat direction has no standard error
    if inverse.size and (np.diag(inverse) > 0.0).all():
        covariance[inner] = inverse
    return PriorFit(likelihood, x, covariance)


def _sampled(likelihood: MarginalLikelihood) -> MarginalLikelihood:
    J = len(likelihood.y)
    if J <= _SAMPLE:
        return likelihood
    return likelihood.take(np.sort(np.random.default_rng(0).choice(J, _SAMPLE, replace=False)))


def _search(likelihood: MarginalLikelihood, starts: list[Array]) -> Array:
    found = [
        scipy.optimize.minimize(
            likelihood,
            start,
            jac=True,
            method="L-BFGS-B",
            bounds=likelihood.bounds,
            options={"gtol": 1e-7},
        )
        for start in starts
    ]
    return np.asarray(min(found, key=lambda one: one.fun).x)


def _polish(likelihood: MarginalLikelihood, x: Array) -> tuple[Array, Array, BoolArray]:
    """Newton steps on the parameters that are not at a bound; the Hessian there."""
    low, high = np.array(likelihood.bounds).T
    free = (x > low + 1e-3) & (x < high - 1e-3)
    inner = np.flatnonzero(free)
    hessian = likelihood.hessian(x)
    value, gradient = likelihood(x)
    for _ in range(4):
        if not len(inner) or np.abs(gradient[inner]).max() < 1e-10:
            break
        step = np.zeros_like(x)
        step[inner] = -np.linalg.lstsq(hessian[np.ix_(inner, inner)], gradient[inner])[0]
        moved = np.clip(x + step, low, high)
        there, slope = likelihood(moved)
        if there > value:
            break
        x, value, gradient = moved, there, slope
    return x, hessian, free
