"""Marginal likelihoods of counts with a conjugate prior, and their maximum.

Both families have a mean with a regression and one number c that says how alike the units are:

- beta-binomial: ``logit mu_j = x_j'b``, prior Beta(mu_j M, (1 - mu_j) M), ``c = log M``;
- gamma-Poisson: ``log m_j = x_j'b``, prior Gamma(shape a, rate a / m_j), ``c = log a``.

As c grows the prior closes on its mean and the likelihood goes to the binomial or Poisson one; the
formulas hold their accuracy there (`rising`), so data no more spread than that limit are recognised
by comparing the best finite c with the limit itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import scipy
from scipy import special

from mixedfit.arrays import Array
from mixedfit.eb.conjugate import BetaLaw, ConjugateLaw, GammaLaw
from mixedfit.eb.rising import log1p_less, log_rising_excess
from mixedfit.errors import ModelError

__all__ = ["BetaBinomial", "CountFit", "CountLikelihood", "GammaPoisson", "Pieces", "maximise"]

# Log precision beyond which the prior cannot be told from a point; the search stops before it.
_TIGHT = 34.0
_FLAT = 20.0
_LOOSE = -23.0
# Variance of a coefficient, its covariate scaled, that says it has run off to infinity.
_SEPARATED = 1e6


class Pieces(NamedTuple):
    """Log-likelihood of each unit and its derivatives in eta = x'b and c, shape (J,) each."""

    value: Array
    eta: Array
    c: Array
    eta_eta: Array
    eta_c: Array
    c_c: Array


@dataclass(frozen=True)
class CountLikelihood(ABC):
    """Counts y with sizes n (trials or exposures), each occurring w times.

    Attributes
    ----------
    y, n, w : arrays of shape (J,)
    X : array of shape (J, p)
    """

    y: Array
    n: Array
    w: Array
    X: Array
    law: ClassVar[ConjugateLaw]

    @abstractmethod
    def pieces(self, eta: Array, c: float) -> Pieces:
        """Every unit's log-likelihood and its derivatives."""

    @abstractmethod
    def limit(self, eta: Array) -> tuple[Array, Array, Array]:
        """Every unit's log-likelihood and two derivatives in eta when the prior is a point."""

    @abstractmethod
    def prior_parameters(self, eta: Array, c: Array | float) -> tuple[Array, Array]:
        """The conjugate prior's two parameters."""

    @abstractmethod
    def spread(self, c: Array) -> tuple[Array, Array]:
        """The prior's relative standard deviation s(c), and ``log |ds / dc|``."""

    @property
    @abstractmethod
    def own(self) -> tuple[Array, Array]:
        """What each unit's data add to the two parameters."""

    @abstractmethod
    def simulate(self, b: Array, c: float, rng: np.random.Generator) -> Array:
        """New counts of every unit (J,), from a prior of finite c or a point."""

    @abstractmethod
    def inverse_link(self, eta: Array) -> Array:
        """The mean of a linear predictor."""

    @abstractmethod
    def link(self, mean: float) -> float:
        """The linear predictor of a mean."""

    @abstractmethod
    def moments(self) -> tuple[float, float]:
        """Mean and log precision c by moments; c is infinite without extra variation."""

    def value(self, b: Array, c: float) -> float:
        """Log-likelihood."""
        eta = self.X @ b
        values = self.limit(eta)[0] if np.isinf(c) else self.pieces(eta, c).value
        return float(self.w @ values)

    def derivatives(self, b: Array, c: float) -> tuple[float, Array, Array]:
        """Log-likelihood, gradient (p + 1,) and Hessian (p + 1, p + 1) in (b, c)."""
        X, w, p = self.X, self.w, self.X.shape[1]
        # Without covariates all units share one prior, whose own part is computed once.
        at = self.pieces(b if p == 1 else X @ b, c)
        gradient = np.append(X.T @ (w * at.eta), w @ at.c)
        H = np.empty((p + 1, p + 1))
        H[:p, :p] = (X * (w * at.eta_eta)[:, None]).T @ X
        H[:p, p] = H[p, :p] = X.T @ (w * at.eta_c)
        H[p, p] = w @ at.c_c
        return float(w @ at.value), gradient, H

    def limit_fit(self, start: Array) -> tuple[Array, Array, float]:
        """Coefficients, their covariance and the log-likelihood when the prior is a point.

        Raises
        ------
        ModelError
            If the covariates separate units without events, or with nothing else, from the others;
            then no prior of these families has a likelihood with a maximum.
        """
        b = start.copy()
        try:
            for _ in range(100):
                value, score, curvature = self.limit(self.X @ b)
                H = (self.X * (-self.w * curvature)[:, None]).T @ self.X
                step = np.linalg.solve(H, self.X.T @ (self.w * score))
                b = b + step / max(1.0, np.abs(step).max())
                if np.abs(step).max() < 1e-11:
                    break
            covariance = np.asarray(np.linalg.inv(H), dtype=float)
        except np.linalg.LinAlgError:
            covariance = np.full((len(b), len(b)), np.inf)
        if not (covariance.diagonal() < _SEPARATED).all():
            raise ModelError(
                "the covariates set apart units that have no events (or nothing but events), such "
                "as a whole level of a category, so a coefficient has no finite estimate; leave "
                "that covariate out or merge the level with another"
            )
        return b, covariance, float(self.w @ value)


@dataclass(frozen=True)
class BetaBinomial(CountLikelihood):
    """Successes y of n trials; c is the log of alpha + beta."""

    law = BetaLaw()

    def pieces(self, eta: Array, c: float) -> Pieces:
        y, rest, M = self.y, self.n - self.y, np.exp(c)
        mu, nu = special.expit(eta), special.expit(-eta)
        v = mu * nu
        F, F1, F2 = log_rising_excess(mu * M, y)
        G, G1, G2 = log_rising_excess(nu * M, rest)
        H, H1, H2 = log_rising_excess(np.array(M), self.n)
        value = self._binomial(eta) + F + G - H
        slope = M * (F1 - G1)
        return Pieces(
            value=value,
            eta=y * nu - rest * mu + v * slope,
            c=M * (mu * F1 + nu * G1 - H1),
            eta_eta=-self.n * v + v * (nu - mu) * slope + (v * M) ** 2 * (F2 + G2),
            eta_c=v * slope + v * M**2 * (mu * F2 - nu * G2),
            c_c=M * (mu * F1 + nu * G1 - H1) + M**2 * (mu**2 * F2 + nu**2 * G2 - H2),
        )

    def _binomial(self, eta: Array) -> Array:
        y, n = self.y, self.n
        choose = -special.betaln(y + 1.0, n - y + 1.0) - np.log1p(n)
        return choose - y * np.logaddexp(0.0, -eta) - (n - y) * np.logaddexp(0.0, eta)

    def limit(self, eta: Array) -> tuple[Array, Array, Array]:
        mu, nu = special.expit(eta), special.expit(-eta)
        return self._binomial(eta), self.y * nu - (self.n - self.y) * mu, -self.n * mu * nu

    def prior_parameters(self, eta: Array, c: Array | float) -> tuple[Array, Array]:
        M = np.exp(c)
        return special.expit(eta) * M, special.expit(-eta) * M

    def spread(self, c: Array) -> tuple[Array, Array]:
        # s^2 = 1 / (1 + M) is the prior's variance over mu (1 - mu).
        log_s = -0.5 * np.logaddexp(0.0, c)
        return np.exp(log_s), log_s - np.logaddexp(0.0, -c)

    @property
    def own(self) -> tuple[Array, Array]:
        return self.y, self.n - self.y

    def simulate(self, b: Array, c: float, rng: np.random.Generator) -> Array:
        p = special.expit(self.X @ b)
        if np.isfinite(c):
            p = rng.beta(*self.prior_parameters(self.X @ b, c))
        return rng.binomial(self.n.astype(np.int64), p).astype(float)

    def inverse_link(self, eta: Array) -> Array:
        return special.expit(eta)

    def link(self, mean: float) -> float:
        return float(special.logit(mean))

    def moments(self) -> tuple[float, float]:
        # E sum n (p - mu)^2 = mu (1 - mu) [J - 1 + rho (sum (n - 1)(1 - n / N))] (Kleinman 1973).
        N, J = float(self.w @ self.n), float(self.w.sum())
        mu = float(self.w @ self.y) / N
        spread = float(self.w @ (self.n * (self.y / self.n - mu) ** 2))
        slope = float(self.w @ ((self.n - 1.0) * (1.0 - self.n / N)))
        rho = (spread / (mu * (1.0 - mu)) - (J - 1.0)) / slope if slope > 0.0 else 0.0
        rho = min(rho, 1.0 - 1e-9)
        return mu, float(np.log(1.0 / rho - 1.0)) if rho > 0.0 else np.inf


@dataclass(frozen=True)
class GammaPoisson(CountLikelihood):
    """Events y in exposure n; c is the log of the prior's shape."""

    law = GammaLaw()

    def pieces(self, eta: Array, c: float) -> Pieces:
        y, a = self.y, np.exp(c)
        m = self.n * np.exp(eta)
        t, total = m / a, a + m
        F, F1, F2 = log_rising_excess(np.array(a), y)
        log, share = np.log1p(t), m / total
        value = self._poisson(eta, 0.0) + F - (a + y) * log
        # share - log(1 + t), the first way without cancellation where t is small.
        in_a = F1 + y * share / a + np.where(t < 0.5, -log1p_less(t) - t * share, share - log)
        in_a_a = F2 + t * share / total - y * share * (2.0 * a + m) / (a**2 * total)
        return Pieces(
            value=value,
            eta=(y - m) * a / total,
            c=a * in_a,
            eta_eta=-share * a * (a + y) / total,
            eta_c=(y - m) * a * share / total,
            c_c=a * in_a + a**2 * in_a_a,
        )

    def _poisson(self, eta: Array, m: Array | float) -> Array:
        return self.y * (eta + np.log(self.n)) - m - special.gammaln(self.y + 1.0)

    def limit(self, eta: Array) -> tuple[Array, Array, Array]:
        m = self.n * np.exp(eta)
        return self._poisson(eta, m), self.y - m, -m

    def prior_parameters(self, eta: Array, c: Array | float) -> tuple[Array, Array]:
        return np.broadcast_to(np.exp(c), np.shape(eta + c)), np.exp(c - eta)

    def spread(self, c: Array) -> tuple[Array, Array]:
        # s = 1 / sqrt(shape) is the prior's coefficient of variation.
        return np.exp(-0.5 * c), -0.5 * c

    @property
    def own(self) -> tuple[Array, Array]:
        return self.y, self.n

    def simulate(self, b: Array, c: float, rng: np.random.Generator) -> Array:
        rate = np.exp(self.X @ b)
        if np.isfinite(c):
            rate = rate * rng.gamma(np.exp(c), np.exp(-c), size=len(rate))
        return rng.poisson(self.n * rate).astype(float)

    def inverse_link(self, eta: Array) -> Array:
        return np.exp(eta)

    def link(self, mean: float) -> float:
        return float(np.log(mean))

    def moments(self) -> tuple[float, float]:
        # E sum e (r - m)^2 = (J - 1) m + tau^2 (E - sum e^2 / E) (Buhlmann and Straub 1970).
        E, J = float(self.w @ self.n), float(self.w.sum())
        m = float(self.w @ self.y) / E
        spread = float(self.w @ (self.n * (self.y / self.n - m) ** 2))
        room = E - float(self.w @ self.n**2) / E
        tau2 = (spread - (J - 1.0) * m) / room if room > 0.0 else 0.0
        return m, float(np.log(m**2 / tau2)) if tau2 > 0.0 else np.inf


class CountFit(NamedTuple):
    """The maximum.

    Attributes
    ----------
    b : array of shape (p,)
    c : float
        Infinite when the prior is a point.
    covariance : array of shape (p + 1, p + 1) or (p, p)
        Of (b, c), inverse observed information; of b alone when c is infinite.
    llf : float
    """

    b: Array
    c: float
    covariance: Array
    llf: float

    @property
    def boundary(self) -> bool:
        """Whether the prior is a point."""
        return bool(np.isinf(self.c))


def maximise(likelihood: CountLikelihood, start: tuple[Array, float] | None = None) -> CountFit:
    """Maximise the marginal likelihood by Newton's method in a trust region.

    Parameters
    ----------
    likelihood : CountLikelihood
    start : (b, c), optional
        By default from moments.
    """
    scaled, back = _standardised(likelihood)
    p = likelihood.X.shape[1]
    if start is None:
        mean, c = likelihood.moments()
        b = np.zeros(p)
        b[0] = likelihood.link(mean)
        start = (b, c if np.isfinite(c) else np.log(float(np.mean(likelihood.n)) * 10.0))
    else:
        own = np.asarray(np.linalg.solve(back, start[0]), dtype=float)
        start = (own, min(start[1], _TIGHT - 10.0))
    limit_b, limit_covariance, limit_llf = scaled.limit_fit(start[0])
    b, c, H, llf = _ascend(scaled, limit_b if p > 1 else start[0], start[1])
    if llf <= limit_llf + 1e-9 * abs(limit_llf) ** 0.5 or c > _FLAT:
        return CountFit(back @ limit_b, np.inf, back @ limit_covariance @ back.T, limit_llf)
    if c < _LOOSE:
        raise ModelError(
            "the prior's weight goes to 0: every unit is at an extreme, so the likelihood has no "
            "maximum; state a prior, such as prior=mf.eb.Beta(1, 1)"
        )
    full = np.eye(p + 1)
    full[:p, :p] = back
    return CountFit(back @ b, c, full @ np.linalg.inv(-H) @ full.T, llf)


def _standardised(likelihood: CountLikelihood) -> tuple[CountLikelihood, Array]:
    """The likelihood with centred and scaled covariates, and the map of coefficients back."""
    X, w = likelihood.X, likelihood.w
    p = X.shape[1]
    if p == 1:
        return likelihood, np.eye(1)
    mean = (w @ X) / w.sum()
    mean[0] = 0.0
    scale = np.sqrt((w @ (X - mean) ** 2) / w.sum())
    scale[0] = 1.0
    back = np.diag(1.0 / scale)
    back[0, 1:] = -mean[1:] / scale[1:]
    return type(likelihood)(likelihood.y, likelihood.n, w, (X - mean) / scale), back


def _ascend(likelihood: CountLikelihood, b: Array, c: float) -> tuple[Array, float, Array, float]:
    """The best finite point: b, c, Hessian and log-likelihood."""
    kept: dict[bytes, tuple[float, Array, Array]] = {}

    def at(x: Array) -> tuple[float, Array, Array]:
        key = x.tobytes()
        if key not in kept:
            kept.clear()
            # A step into overflow is refused by its value.
            if not _LOOSE - 10.0 < x[-1] < _TIGHT + 10.0 or np.abs(x[:-1]).max() > 600.0:
                return -np.inf, np.zeros_like(x), -np.eye(len(x))
            kept[key] = likelihood.derivatives(x[:-1], float(x[-1]))
        return kept[key]

    x0: Any = np.append(b, c)
    options: Any = {"gtol": 1e-7 * max(1.0, float(likelihood.w.sum())) ** 0.5, "maxiter": 200}

    def stop(x: Array) -> None:
        if x[-1] > _FLAT:
            raise StopIteration

    found = scipy.optimize.minimize(  # type: ignore[call-overload]
        lambda x: -at(x)[0],
        x0,
        jac=lambda x: -at(x)[1],
        hess=lambda x: -at(x)[2],
        method="trust-exact",
        callback=stop,
        options=options,
    )
    x = found.x
    llf, gradient, H = at(x)
    for _ in range(3):
        if not (np.isfinite(H).all() and np.linalg.eigvalsh(H).max() < 0.0):
            break
        step = -np.linalg.solve(H, gradient)
        if np.abs(step).max() > 1e-3:
            break
        x = x + step
        llf, gradient, H = at(x)
    return x[:-1], float(x[-1]), H, llf
