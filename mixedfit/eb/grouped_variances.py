"""A one-way layout whose groups differ in mean and in variance: both are shrunk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd
import scipy
from numpy.typing import ArrayLike
from scipy import special

from mixedfit.arrays import Array
from mixedfit.eb.mixtures import quantiles
from mixedfit.eb.regression import new_unit_table, regression_table
from mixedfit.eb.shrinkage import Behaviour, Shrinkage
from mixedfit.eb.unequal_likelihood import (
    AtPoint,
    Groups,
    Hyperparameters,
    UnequalFit,
    fit_unequal,
)
from mixedfit.eb.units import counted, read_labels, read_units, refuse
from mixedfit.errors import DataError, ModelError, check_level

__all__ = ["one_way", "one_way_summary"]

Way = Literal["plugin", "laplace"]


def one_way(
    y: ArrayLike,
    group: ArrayLike,
    *,
    uncertainty: Way = "plugin",
    level: float = 0.95,
) -> Shrinkage:
    """Shrink the means and the variances of groups.

    Parameters
    ----------
    y : array-like of shape (n,)
        Observations.
    group : array-like of shape (n,)
        The group of each.
    uncertainty : {"plugin", "laplace"}
        Whether the uncertainty of the prior's parameters enters the posterior of the means.
    level : float
        Of all intervals.

    Returns
    -------
    Shrinkage
        ``prior`` has ``mu``, ``tau2`` (variance of the true means), ``s02`` (prior variance) and
        ``nu0`` (its degrees of freedom; infinite when variances differ no more than chance makes
        them). In ``posterior``, ``estimate`` is the group's mean with standard error ``s_j /
        sqrt(n_j)``; ``mean``, ``sd``, ``lower``, ``upper`` describe the true mean; ``weight`` is
        the expected weight of the group's own mean; ``n`` its size, ``s2`` its sample variance,
        ``variance``, ``variance_lower``, ``variance_upper`` the posterior of sigma_j^2.

    Raises
    ------
    DataError
        If a value is missing or the lengths differ.
    ModelError
        If there are fewer than three groups, or none with two observations, or no variation.

    Notes
    -----
    ``y_ij ~ N(theta_j, sigma_j^2)``, ``theta_j ~ N(mu, tau^2)``, ``sigma_j^2 ~ inverse-gamma(nu0 /
    2, nu0 s0^2 / 2)``; all four parameters by maximum marginal likelihood, theta_j integrated in
    closed form and sigma_j^2 by quadrature. With equal variances (nu0 infinite) this is the
    classical random-effects one-way layout by maximum likelihood (Gelman et al., Bayesian Data
    Analysis, 3rd ed., sections 5.4 and 11.6).

    Examples
    --------
    >>> import mixedfit as mf
    >>> y = [5.1, 4.9, 5.3, 7.9, 2.2, 9.1, 5.2, 6.0, 5.7, 4.1, 4.4, 3.9]
    >>> group = ["a"] * 3 + ["b"] * 3 + ["c"] * 3 + ["d"] * 3
    >>> table = mf.eb.one_way(y, group).posterior
    >>> table[["estimate", "mean", "s2", "variance"]].round(2).values.tolist()[1]
    [6.4, 5.14, 13.59, 16.2]
    """
    values = read_units("y", y)
    array = np.asarray(group)
    if array.ndim != 1:
        raise DataError(f"group must be one label an observation, not of shape {array.shape}")
    if len(array) != len(values):
        raise DataError(f"group has {len(array)} values for {len(values)} observations")
    keys = pd.Series(array)
    refuse("group", keys.isna().to_numpy(), "is missing in", "leave those observations out")
    codes, labels = pd.factorize(keys, sort=True)
    n = np.bincount(codes).astype(float)
    mean = np.asarray(np.bincount(codes, values) / n, dtype=float)
    ss = np.asarray(np.bincount(codes, (values - mean[codes]) ** 2), dtype=float)
    return _shrink(Groups(n, mean, ss), pd.Index(labels), uncertainty, level)


def one_way_summary(
    mean: ArrayLike,
    s2: ArrayLike,
    n: ArrayLike,
    *,
    uncertainty: Way = "plugin",
    labels: Sequence[Any] | None = None,
    level: float = 0.95,
) -> Shrinkage:
    """Shrink the means and the variances of groups given as summaries.

    Parameters
    ----------
    mean : array-like of shape (J,)
        The groups' means.
    s2 : array-like of shape (J,)
        Their sample variances; not used for a group of one.
    n : array-like of shape (J,), or one number
        Their sizes.
    uncertainty, level
        As in `one_way`.
    labels : sequence of length J, optional

    Returns
    -------
    Shrinkage
        As `one_way`.

    Examples
    --------
    >>> import mixedfit as mf
    >>> result = mf.eb.one_way_summary([4.8, 5.1, 4.9, 5.0, 6.2], [1.1, 0.1, 6.3, 0.9, 0.2], 5)
    >>> result.posterior["variance"].round(2).tolist()
    [1.22, 0.33, 5.36, 1.01, 0.5]
    """
    m = read_units("mean", mean)
    J = len(m)
    sizes = read_units("n", n, J, "mean")
    refuse("n", (sizes < 1.0) | (sizes != np.floor(sizes)), "is not a positive whole number in",
           "give the number of observations")  # fmt: skip
    alone = sizes == 1.0
    given = np.array(s2, dtype=float)
    if given.shape == (J,):
        given = np.where(alone, 0.0, given)
    variances = read_units("s2", given, J, "mean")
    refuse("s2", variances < 0.0, "is negative in", "variances are at least 0")
    groups = Groups(sizes, m, (sizes - 1.0) * variances)
    return _shrink(groups, read_labels(labels, mean, J), uncertainty, level)


def _shrink(groups: Groups, labels: pd.Index, uncertainty: Way, level: float) -> Shrinkage:
    check_level(level)
    if uncertainty not in ("plugin", "laplace"):
        raise DataError(f"uncertainty must be 'plugin' or 'laplace' here, not {uncertainty!r}")
    _check(groups)
    fit = fit_unequal(groups)
    behaviour = _Means(fit, uncertainty)
    h = fit.h
    prior = pd.Series({"mu": h.mu, "tau2": h.tau2, "s02": h.s02, "nu0": h.nu0})
    nu0 = h.nu0 if np.isfinite(h.nu0) else np.nan
    se = np.sqrt(fit.covariance.diagonal()) * np.array([1.0, 1.0, h.s02, nu0])
    return Shrinkage(
        prior=prior,
        prior_se=pd.Series(se, index=prior.index),
        coefficients=regression_table(("mu",), np.array([h.mu]), se[:1], np.inf, level),
        posterior=_table(groups, labels, behaviour, level),
        llf=fit.at.value,
        method="ml",
        family="one-way, unequal variances",
        prior_name="normal means, inverse-gamma variances",
        uncertainty=uncertainty,
        behaviour=behaviour,
        level=level,
        notes=_notes(h),
    )


def _check(groups: Groups) -> None:
    J = len(groups.n)
    if J < 3:
        raise ModelError(
            f"{counted(J, 'group')} cannot show how means and variances differ; give 3 or more"
        )
    if not (groups.n > 1.0).any():
        raise ModelError("every group has one observation: nothing tells means from variances")
    if groups.ss.sum() == 0.0:
        raise ModelError("no group varies within itself: the prior variance goes to 0")


def _notes(h: Hyperparameters) -> tuple[str, ...]:
    notes = []
    if np.isinf(h.nu0):
        notes.append(
            "The variances differ no more than samples of one variance would: nu0 is infinite and "
            "every group has the variance s02."
        )
    if h.tau2 == 0.0:
        notes.append("The estimate of tau2 is 0: every group is put at the common mean.")
    return tuple(notes)


def _table(groups: Groups, labels: pd.Index, behaviour: _Means, level: float) -> pd.DataFrame:
    df = groups.n - 1.0
    with np.errstate(invalid="ignore", divide="ignore"):
        s2 = np.where(df > 0.0, groups.ss / df, np.nan)
    mean, sd = behaviour.moments()
    tail = 0.5 * (1.0 - level)
    variance, (low, high) = behaviour.variances(np.array([tail, 1.0 - tail]))
    lower, upper = (behaviour.quantile(p) for p in (tail, 1.0 - tail))
    return pd.DataFrame(
        {
            "label": labels,
            "estimate": groups.mean,
            "se": np.sqrt(s2 / groups.n),
            "mean": mean,
            "sd": sd,
            "lower": lower,
            "upper": upper,
            "weight": behaviour.own_weight(),
            "n": groups.n.astype(int),
            "s2": s2,
            "variance": variance,
            "variance_lower": low,
            "variance_upper": high,
        }
    )


@dataclass(frozen=True)
class _Means(Behaviour):
    """Posterior of the means: given sigma2_j normal, mixed over its points."""

    fit: UnequalFit
    uncertainty: Way

    def _given_variances(self, at: AtPoint) -> tuple[Array, Array]:
        """Means and variances at every point, (K, J)."""
        error = np.exp(at.log_sigma2) / at.groups.n
        own = at.h.tau2 / (at.h.tau2 + error)
        return at.h.mu + own * (at.groups.mean - at.h.mu), own * error

    @cached_property
    def _slopes(self) -> Array:
        """Derivatives of the posterior means in (mu, tau2, log s02, log nu0), (4, J).

        Zero for parameters taken as known: all of them when plugged in, or one at a limit.
        """
        h, groups = self.fit.h, self.fit.at.groups
        V = self._covariance
        out = np.zeros((4, len(groups.n)))
        for i in np.flatnonzero(V.diagonal() > 0.0):
            step = 1e-4 * np.sqrt(V[i, i])
            ends = []
            for sign in (1.0, -1.0):
                d = sign * step * np.eye(4)[i]
                moved = Hyperparameters(
                    h.mu + d[0],
                    max(h.tau2 + d[1], 0.0),
                    h.s02 * float(np.exp(d[2])),
                    h.nu0 * float(np.exp(d[3])),
                )
                at = AtPoint(groups, moved)
                ends.append(np.sum(at.weights * self._given_variances(at)[0], axis=0))
            out[i] = (ends[0] - ends[1]) / (2.0 * step)
        return out

    @property
    def _covariance(self) -> Array:
        if self.uncertainty == "plugin":
            return np.zeros((4, 4))
        return np.nan_to_num(self.fit.covariance)

    @property
    def _between(self) -> Array:
        """Variance of the posterior means over the hyperparameters, to first order, (J,)."""
        return np.einsum("aj,ab,bj->j", self._slopes, self._covariance, self._slopes)

    def moments(self) -> tuple[Array, Array]:
        """Means and standard deviations, (J,) each."""
        w = self.fit.at.weights
        m, v = self._given_variances(self.fit.at)
        mean = np.sum(w * m, axis=0)
        variance = np.sum(w * (v + (m - mean) ** 2), axis=0) + self._between
        return mean, np.sqrt(variance)

    def quantile(self, p: float) -> Array:
        """Quantiles of the true means, (J,)."""
        w = self.fit.at.weights
        m, v = self._given_variances(self.fit.at)
        s = np.sqrt(v + self._between)
        if (s == 0.0).all():
            return m[0]
        reach = 40.0 * s.max(axis=0)
        return quantiles(
            p,
            lambda x: np.sum(w * special.ndtr((x - m) / s), axis=0),
            lambda x: np.sum(w * scipy.stats.norm.pdf((x - m) / s) / s, axis=0),
            m.min(axis=0) - reach,
            m.max(axis=0) + reach,
        )

    def own_weight(self) -> Array:
        """Expected weight of each group's own mean, (J,)."""
        at = self.fit.at
        own = at.h.tau2 / (at.h.tau2 + np.exp(at.log_sigma2) / at.groups.n)
        return np.sum(at.weights * own, axis=0)

    def variances(self, probabilities: Array) -> tuple[Array, Array]:
        """Posterior means (J,) and quantiles (P, J) of the variances."""
        at = self.fit.at
        if np.isinf(at.h.nu0):
            return np.exp(at.log_sigma2[0]), np.exp(np.tile(at.log_sigma2, (len(probabilities), 1)))
        mean = np.sum(at.weights * np.exp(at.log_sigma2), axis=0)
        mean[at.h.nu0 + at.groups.n <= 2.0] = np.inf
        cumulative = np.cumsum(at.weights, axis=0) - 0.5 * at.weights
        limits = [
            [np.interp(p, c, x) for c, x in zip(cumulative.T, at.log_sigma2.T, strict=True)]
            for p in probabilities
        ]
        return mean, np.exp(np.array(limits))

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        at = self.fit.at
        J = len(at.groups.n)
        m, v = self._given_variances(at)
        # One sorted list of all groups' cumulative weights, each group shifted by its number.
        cumulative = (np.cumsum(at.weights, axis=0).T + np.arange(J)[:, None]).ravel()
        u = rng.random((n, J)) * (1.0 - 1e-12) + np.arange(J)
        place = np.searchsorted(cumulative, u.ravel()).reshape(n, J)
        point = np.minimum(place - np.arange(J) * len(m), len(m) - 1)
        column = np.arange(J)
        own = m[point, column] + np.sqrt(v[point, column]) * rng.standard_normal((n, J))
        if self.uncertainty == "plugin":
            return own
        return own + rng.multivariate_normal(np.zeros(4), self._covariance, n) @ self._slopes

    def predict(self, X: Any, level: float) -> pd.DataFrame:
        if X is not None:
            raise DataError("the model has no covariates; leave X out")
        variance = np.nan_to_num(self.fit.covariance[0, 0])
        return new_unit_table(self.fit.h.mu, variance, self.fit.h.tau2, level)

    def prior_density(self, values: Array) -> Array:
        if self.fit.h.tau2 == 0.0:
            raise ModelError("the prior of the means is a point; it has no density")
        return scipy.stats.norm.pdf(values, self.fit.h.mu, np.sqrt(self.fit.h.tau2))
