"""Shares of several categories estimated together: the Dirichlet-multinomial."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import scipy
from scipy import special

from mixedfit.arrays import Array
from mixedfit.eb.conjugate import BetaLaw, Moments, summarise_mixture
from mixedfit.eb.hyperparameters import (
    Bootstrap,
    Integrate,
    Uncertainty,
    read_uncertainty,
    refits,
)
from mixedfit.eb.prior import Dirichlet
from mixedfit.eb.regression import regression_table
from mixedfit.eb.rising import log_rising_excess
from mixedfit.eb.shrinkage import Behaviour, Shrinkage
from mixedfit.eb.units import read_labels, refuse
from mixedfit.errors import DataError, ModelError, check_level

__all__ = ["DirichletFit", "dirichlet_multinomial", "maximise_shares"]

# Log alpha beyond which the prior cannot be told from a point; the search stops before it.
_TIGHT = 34.0
_FLAT = 20.0


class DirichletFit(NamedTuple):
    """A fitted Dirichlet prior.

    Attributes
    ----------
    shares : array of shape (K,)
        The prior mean.
    weight : float
        Sum of alpha; infinite when the prior is a point.
    covariance : array of shape (K, K)
        Of log alpha; missing where there is none.
    llf : float
    """

    shares: Array
    weight: float
    covariance: Array
    llf: float

    @property
    def alpha(self) -> Array:
        """``weight * shares``, with a finite stand-in for an infinite weight."""
        return self.shares * min(self.weight, 1e9)


def dirichlet_multinomial(
    counts: Any,
    *,
    prior: Dirichlet | None = None,
    method: Literal["ml", "moments"] = "ml",
    uncertainty: Uncertainty = "plugin",
    labels: Sequence[Any] | None = None,
    level: float = 0.95,
) -> Shrinkage:
    """Shrink shares of categories toward what the units have in common.

    Parameters
    ----------
    counts : array-like or frame of shape (J, K)
        Whole numbers: a row a unit, a column a category. A frame names both.
    prior : Dirichlet, optional
        A stated prior, ``mf.eb.Dirichlet((2, 1, 1))``: nothing is estimated.
    method : {"ml", "moments"}
        Maximum marginal likelihood, or moments (one correlation for all categories).
    uncertainty : {"plugin", "laplace", "bootstrap"} or Bootstrap
        How the uncertainty of alpha enters the posterior.
    labels : sequence of length J, optional
        Names of the units.
    level : float
        Of all intervals.

    Returns
    -------
    Shrinkage
        ``prior`` has ``alpha_CATEGORY`` for each and ``rho = 1 / (1 + sum of alpha)``.
        ``posterior`` has a row for every unit and category, ``label`` being ``UNIT/CATEGORY``,
        with columns ``unit`` and ``category`` after the usual ones; intervals are of one share at
        a time.

    Raises
    ------
    DataError
        If a count is missing, negative or not whole, or there is one category only.
    ModelError
        If the data cannot tell a prior: one unit, or a category without any count.

    Notes
    -----
    ``y_j ~ Multinomial(n_j, p_j)``, ``p_j ~ Dirichlet(alpha)``; the posterior is ``Dirichlet(alpha
    + y_j)`` and each share's marginal a beta. Newton's method uses that the Hessian is diagonal
    plus a matrix of rank one (Minka 2000).

    Examples
    --------
    >>> import mixedfit as mf
    >>> sales = {"red": [12, 3, 8], "green": [5, 9, 1], "blue": [3, 8, 11]}
    >>> result = mf.eb.dirichlet_multinomial(sales, labels=["a", "b", "c"])
    >>> result.prior.round(2).to_dict()
    {'alpha_red': 3.43, 'alpha_green': 2.2, 'alpha_blue': 3.33, 'rho': 0.1}
    >>> result.posterior[["label", "estimate", "mean"]].round(3).values.tolist()[0]
    ['a/red', 0.6, 0.533]
    """
    check_level(level)
    y, units, categories = _read(counts, labels)
    how = read_uncertainty(uncertainty)
    if isinstance(how, Integrate):
        raise DataError("uncertainty for shares is 'plugin', 'laplace' or 'bootstrap'")
    if method not in ("ml", "moments"):
        raise DataError(f"method must be 'ml' or 'moments', not {method!r}")
    fit = _fit(y, categories, prior, method, how)
    behaviour = _Shares(y, fit, how)
    moments = behaviour.moments(level)
    posterior = _table(y, units, categories, behaviour, moments)
    values, se = _prior_series(fit, categories)
    notes = []
    if np.isinf(fit.weight):
        notes.append(
            "The units differ no more than samples of one multinomial would: the best prior is a "
            "point, the pooled shares."
        )
    return Shrinkage(
        prior=values,
        prior_se=se,
        coefficients=regression_table((), np.zeros(0), np.zeros(0), np.inf, level),
        posterior=posterior,
        llf=fit.llf,
        method="stated" if prior is not None else method,
        family="Dirichlet-multinomial",
        prior_name="Dirichlet" if prior is None else "stated Dirichlet",
        uncertainty=how if isinstance(how, str) else "bootstrap",
        behaviour=behaviour,
        level=level,
        notes=tuple(notes),
    )


def _read(counts: Any, labels: Sequence[Any] | None) -> tuple[Array, pd.Index, list[str]]:
    frame = counts.to_pandas() if hasattr(counts, "to_pandas") else counts
    if isinstance(frame, dict):
        frame = pd.DataFrame(frame)
    try:
        y = np.array(frame, dtype=float)
    except (TypeError, ValueError) as error:
        raise DataError("counts must be numbers, a row a unit and a column a category") from error
    if y.ndim != 2 or y.shape[1] < 2 or y.shape[0] == 0:
        raise DataError(
            "counts must have a row for each unit and a column for each of at least two "
            f"categories, not shape {y.shape}"
        )
    refuse(
        "counts",
        np.asarray(~np.isfinite(y).all(axis=1)),
        "is missing or infinite in",
        "leave them out",
    )
    refuse("counts", np.asarray((y < 0.0).any(axis=1)), "is negative in", "counts are at least 0")
    whole = (y == np.floor(y)).all(axis=1)
    refuse("counts", np.asarray(~whole), "is not a whole number in", "give counts, not shares")
    names = frame.columns if isinstance(frame, pd.DataFrame) else range(1, y.shape[1] + 1)
    index = frame.index if isinstance(frame, pd.DataFrame) and labels is None else None
    return y, read_labels(labels if index is None else index, None, len(y)), [str(n) for n in names]


def _fit(
    y: Array,
    categories: list[str],
    prior: Dirichlet | None,
    method: str,
    how: str | Bootstrap,
) -> DirichletFit:
    K = y.shape[1]
    nothing = np.full((K, K), np.nan)
    if prior is not None:
        if not isinstance(prior, Dirichlet) or len(prior.alpha) != K:
            raise DataError(f"prior must be mf.eb.Dirichlet of {K} alphas, not {prior!r}")
        if how != "plugin":
            raise DataError("a stated prior is known; leave uncertainty='plugin'")
        alpha = np.array(prior.alpha, dtype=float)
        total = float(alpha.sum())
        return DirichletFit(alpha / total, total, nothing, _value(alpha, y))
    _check_estimable(y, categories)
    seen = y.sum(axis=1) > 0.0
    if method == "moments":
        if how == "laplace":
            raise DataError("uncertainty='laplace' needs method='ml'")
        shares, weight = _moments(y[seen])
        return DirichletFit(shares, weight, nothing, _value_of(shares, weight, y))
    return maximise_shares(y[seen])


def _check_estimable(y: Array, categories: list[str]) -> None:
    """Refuse counts from which no prior can be learned, saying what to do."""
    seen = y.sum(axis=1) > 0.0
    if seen.sum() < 2:
        raise ModelError(
            f"{seen.sum()} unit with counts leaves nothing to learn a prior from; state one, "
            "prior=mf.eb.Dirichlet(...)"
        )
    empty = [c for c, total in zip(categories, y.sum(axis=0), strict=True) if total == 0.0]
    if empty:
        raise ModelError(
            f"no unit has a count of category {empty[0]!r}, so its alpha goes to 0; leave the "
            "category out, or state a prior, prior=mf.eb.Dirichlet(...)"
        )
    if (y.sum(axis=1) <= 1.0).all() or ((y > 0.0).sum(axis=1) <= 1).all():
        raise ModelError(
            "every unit has counts in one category only, so all alphas go to 0; state a prior, "
            "prior=mf.eb.Dirichlet(...)"
        )


def _moments(y: Array) -> tuple[Array, float]:
    """Pooled shares and the weight by moments of all categories together."""
    n = y.sum(axis=1)
    N, J = float(n.sum()), len(y)
    shares = y.sum(axis=0) / N
    spread = float(np.sum(n[:, None] * (y / n[:, None] - shares) ** 2))
    slope = float(np.sum((n - 1.0) * (1.0 - n / N)))
    rho = (spread / float(np.sum(shares * (1.0 - shares))) - (J - 1.0)) / slope
    rho = min(rho, 1.0 - 1e-9)
    return shares, 1.0 / rho - 1.0 if rho > 0.0 else np.inf


def _multinomial(shares: Array, y: Array) -> float:
    """Log-likelihood of counts with common shares."""
    n = y.sum(axis=1)
    choose = special.gammaln(n + 1.0).sum() - special.gammaln(y + 1.0).sum()
    return float(choose + np.sum(special.xlogy(y, shares)))


def _value(alpha: Array, y: Array) -> float:
    """Marginal log-likelihood."""
    total = float(alpha.sum())
    n = y.sum(axis=1)
    excess = log_rising_excess(np.broadcast_to(alpha, y.shape), y)[0].sum()
    excess -= log_rising_excess(np.full_like(n, total), n)[0].sum()
    return _multinomial(alpha / total, y) + float(excess)


def _value_of(shares: Array, weight: float, y: Array) -> float:
    return _multinomial(shares, y) if np.isinf(weight) else _value(weight * shares, y)


class _Derivatives(NamedTuple):
    """Log-likelihood in log alpha: gradient (K,), Hessian ``diag(d) + z alpha alpha'``."""

    value: float
    gradient: Array
    d: Array
    z: float


def _derivatives(alpha: Array, y: Array) -> _Derivatives:
    total, n = float(alpha.sum()), y.sum(axis=1)
    F, F1, F2 = log_rising_excess(np.broadcast_to(alpha, y.shape), y)
    G, G1, G2 = log_rising_excess(np.full_like(n, total), n)
    counts, N = y.sum(axis=0), float(n.sum())
    first = F1.sum(axis=0) + counts / alpha - (G1.sum() + N / total)
    gradient = alpha * first
    d = alpha**2 * (F2.sum(axis=0) - counts / alpha**2) + gradient
    z = -float(G2.sum() - N / total**2)
    value = _multinomial(alpha / total, y) + float(F.sum() - G.sum())
    return _Derivatives(value, gradient, d, z)


def maximise_shares(y: Array, start: Array | None = None) -> DirichletFit:
    """Maximise the marginal likelihood over log alpha.

    Parameters
    ----------
    y : array of shape (J, K)
        Every row and column with a count.
    start : array of shape (K,), optional
        alpha to begin with; by default from moments.
    """
    K = y.shape[1]
    shares, weight = _moments(y)
    pooled = _multinomial(shares, y)
    alpha = shares * (weight if np.isfinite(weight) else 10.0 * float(y.sum(axis=1).mean()))
    x0: Any = np.log(np.maximum(alpha if start is None else start, 1e-6))

    kept: dict[bytes, _Derivatives] = {}

    def at(x: Array) -> _Derivatives:
        key = x.tobytes()
        if key not in kept:
            kept.clear()
            # Far out the surface is flat; steps beyond are taken from the edge.
            kept[key] = _derivatives(np.exp(np.clip(x, -_TIGHT, _TIGHT)), y)
        return kept[key]

    def curve(x: Array, direction: Array) -> Array:
        now, alpha = at(x), np.exp(np.clip(x, -_TIGHT, _TIGHT))
        return -(now.d * direction + now.z * alpha * float(alpha @ direction))

    def stop(x: Array) -> None:
        if x.max() > _FLAT:
            raise StopIteration

    options: Any = {"gtol": 1e-7 * len(y) ** 0.5, "maxiter": 500}
    found = scipy.optimize.minimize(  # type: ignore[call-overload]
        lambda x: -at(x).value,
        x0,
        jac=lambda x: -at(x).gradient,
        hessp=curve,
        method="trust-ncg",
        callback=stop,
        options=options,
    )
    alpha = np.exp(found.x)
    total = float(alpha.sum())
    if -found.fun <= pooled + 1e-9 * abs(pooled) ** 0.5 or found.x.max() > _FLAT:
        return DirichletFit(shares, np.inf, np.full((K, K), np.nan), pooled)
    now = _derivatives(alpha, y)
    covariance = _rank_one_inverse(-now.d, -now.z, alpha)
    return DirichletFit(alpha / total, total, covariance, now.value)


def _rank_one_inverse(d: Array, z: float, a: Array) -> Array:
    """Inverse of ``diag(d) + z a a'``."""
    scaled = a / d
    return np.diag(1.0 / d) - np.outer(scaled, scaled) * z / (1.0 + z * float(a @ scaled))


def _prior_series(fit: DirichletFit, categories: list[str]) -> tuple[pd.Series, pd.Series]:
    alpha = fit.shares * fit.weight
    rho = 0.0 if np.isinf(fit.weight) else 1.0 / (1.0 + fit.weight)
    se_log = np.sqrt(fit.covariance.diagonal())
    slope = fit.alpha * rho**2
    se = [*(alpha * se_log), float(np.sqrt(slope @ fit.covariance @ slope))]
    index = [*(f"alpha_{c}" for c in categories), "rho"]
    return pd.Series([*alpha, rho], index=index), pd.Series(se, index=index)


def _table(
    y: Array, units: pd.Index, categories: list[str], behaviour: _Shares, moments: Moments
) -> pd.DataFrame:
    J, K = y.shape
    n = y.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        raw = y / n
        se = np.sqrt(raw * (1.0 - raw) / n)
    unit = np.repeat(np.asarray(units), K)
    category = np.tile(np.asarray(categories, dtype=object), J)
    return pd.DataFrame(
        {
            "label": [f"{u}/{c}" for u, c in zip(unit, category, strict=True)],
            "estimate": raw.ravel(),
            "se": se.ravel(),
            "mean": moments.mean,
            "sd": moments.sd,
            "lower": moments.lower,
            "upper": moments.upper,
            "weight": np.repeat(behaviour.own_weight(), K),
            "unit": unit,
            "category": category,
        }
    )


@dataclass(frozen=True)
class _Shares(Behaviour):
    """Posterior and draws of shares; units and categories are raveled, categories fastest."""

    y: Array
    fit: DirichletFit
    how: Literal["plugin", "laplace"] | Bootstrap

    @property
    def not_ranked(self) -> str:
        return (
            "shares of different categories cannot be ranked together; take one category's columns "
            "of sample(), or fit it alone with mf.eb.beta_binomial"
        )

    @cached_property
    def nodes(self) -> tuple[Array, Array]:
        """Alpha (B, K) at points with weights (B,)."""
        if not isinstance(self.how, Bootstrap):
            return self.fit.alpha[None], np.ones(1)
        n = self.y.sum(axis=1).astype(np.int64)
        categories = [str(k) for k in range(self.y.shape[1])]

        def refit(rng: np.random.Generator) -> Array:
            p = self.fit.shares
            if np.isfinite(self.fit.weight):
                p = rng.dirichlet(self.fit.alpha, size=len(n))
            y = rng.multinomial(n, p).astype(float)
            _check_estimable(y, categories)
            return maximise_shares(y[n > 0], self.fit.alpha).alpha

        remedy = "there are too few counts for the bootstrap: use uncertainty='laplace'"
        return np.array(refits(refit, self.how, remedy)), np.full(self.how.n, 1.0 / self.how.n)

    def moments(self, level: float) -> Moments:
        """Marginal posterior moments of every share."""
        y, n, law = self.y, self.y.sum(axis=1, keepdims=True), BetaLaw()
        if np.isinf(self.fit.weight) and not isinstance(self.how, Bootstrap):
            mean = np.tile(self.fit.shares, len(y))
            return Moments(mean, np.zeros_like(mean), mean, mean)
        alpha, weights = self.nodes
        first = alpha[:, None, :] + y
        second = alpha.sum(axis=1)[:, None, None] + n - first
        flat = [part.reshape(len(alpha), -1) for part in (first, second)]
        if len(alpha) > 1:
            return summarise_mixture(law, weights, flat[0], flat[1], level)
        if self.how == "plugin":
            return law.moments(flat[0][0], flat[1][0], level)
        mean = first[0] / (first[0] + second[0])
        variance = law.variance(first[0], second[0]) + self._between(mean)
        matched = law.moments(*law.matching(mean.ravel(), variance.ravel()), level)
        return Moments(mean.ravel(), np.sqrt(variance.ravel()), matched.lower, matched.upper)

    def _between(self, mean: Array) -> Array:
        """Variance of the conditional means over log alpha, (J, K), to first order."""
        a, V = self.fit.alpha, self.fit.covariance
        Va = V @ a
        total = a.sum() + self.y.sum(axis=1, keepdims=True)
        spread = V.diagonal() * a**2 - 2.0 * a * mean * Va + mean**2 * float(a @ Va)
        return spread / total**2

    def own_weight(self) -> Array:
        """Weight of each unit's own shares, (J,)."""
        n = self.y.sum(axis=1)
        return np.zeros_like(n) if np.isinf(self.fit.weight) else n / (n + self.fit.weight)

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        if self.how == "laplace":
            z = rng.multivariate_normal(np.zeros(len(self.fit.alpha)), self.fit.covariance, n)
            alpha = self.fit.alpha * np.exp(z)
        else:
            points, weights = self.nodes
            alpha = points[rng.choice(len(points), size=n, p=weights)]
        gammas = rng.standard_gamma(alpha[:, None, :] + self.y)
        return (gammas / gammas.sum(axis=2, keepdims=True)).reshape(n, -1)

    def prior_density(self, values: Array) -> Array:
        raise ModelError("the prior of several shares has no density on a line to show")
