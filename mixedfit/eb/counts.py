"""Proportions and rates estimated together: beta-binomial and gamma-Poisson."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from mixedfit.arrays import Array
from mixedfit.eb.count_likelihood import BetaBinomial, GammaPoisson
from mixedfit.eb.count_shrinkage import CountData, CountMethod, shrink_counts
from mixedfit.eb.hyperparameters import Uncertainty
from mixedfit.eb.prior import Beta, Gamma
from mixedfit.eb.shrinkage import Shrinkage
from mixedfit.eb.units import read_covariates, read_labels, read_units, refuse
from mixedfit.errors import DataError, check_level

__all__ = ["beta_binomial", "gamma_poisson"]


def beta_binomial(
    successes: ArrayLike,
    trials: ArrayLike,
    *,
    X: Any = None,
    prior: Beta | None = None,
    method: Literal["ml", "moments"] = "ml",
    uncertainty: Uncertainty = "plugin",
    labels: Sequence[Any] | None = None,
    level: float = 0.95,
) -> Shrinkage:
    """Shrink proportions toward what they have in common.

    Parameters
    ----------
    successes : array-like of shape (J,)
        Whole numbers, one a unit (store, batter, hospital). The index of a Series labels the units.
    trials : array-like of shape (J,), or one number
        Whole numbers, at least the successes.
    X : array, frame or Series of shape (J,) or (J, m), optional
        Covariates of the prior mean, on the logit scale; an intercept is added.
    prior : Beta, optional
        A stated prior, ``mf.eb.Beta(10, 190)``: nothing is estimated.
    method : {"ml", "moments"}
        Maximum marginal likelihood, or the weighted moments of Kleinman (1973).
    uncertainty : {"plugin", "laplace", "bootstrap", "integrate"}, Bootstrap or Integrate
        How the uncertainty of the prior's parameters enters the posterior: not at all; to first
        order; by refitting simulated data; or by integration, where `mf.eb.Integrate` states the
        prior on the prior's relative standard deviation ``1 / sqrt(1 + alpha + beta)``.
    labels : sequence of length J, optional
        Names of the units.
    level : float
        Of all intervals.

    Returns
    -------
    Shrinkage
        ``prior`` has ``alpha``, ``beta``, ``mean`` and ``rho = 1 / (1 + alpha + beta)``, the
        correlation of two trials of a unit; with covariates ``precision = alpha + beta`` and
        ``rho``. ``coefficients`` are of the logit of the prior mean. In ``posterior``, ``estimate``
        is the raw proportion.

    Raises
    ------
    DataError
        If a count is missing, negative, infinite or not whole, or successes exceed trials.
    ModelError
        If the data cannot tell a prior: one unit, one trial each, or no successes at all, in a
        whole level of a covariate either.

    Notes
    -----
    ``y_j ~ Binomial(n_j, p_j)``, ``p_j ~ Beta(mu_j M, (1 - mu_j) M)``; the posterior is
    ``Beta(mu_j M + y_j, (1 - mu_j) M + n_j - y_j)`` and the weight of a unit's own proportion
    ``n_j / (n_j + M)``. Proportions no more spread than one common binomial make ``M`` infinite,
    which is a result: every unit gets the common proportion. Standard errors of the prior come from
    the observed information.

    Examples
    --------
    >>> import mixedfit as mf
    >>> one = mf.eb.beta_binomial([2], [20], prior=mf.eb.Beta(5, 95))
    >>> round(float(one.posterior["mean"][0]), 6)
    0.058333
    >>> stores = mf.eb.beta_binomial([3, 5, 1, 9, 0, 30], [70, 27, 114, 95, 41, 200])
    >>> stores.prior[["alpha", "beta"]].round(2).to_dict()
    {'alpha': 1.06, 'beta': 12.53}
    >>> stores.posterior["mean"].round(3).tolist()
    [0.049, 0.149, 0.016, 0.093, 0.019, 0.145]
    """
    check_level(level)
    n = read_units("trials", trials)
    y = read_units("successes", successes, len(n) if np.ndim(trials) else None, "trials")
    n = np.broadcast_to(n, y.shape).astype(float)
    _refuse_counts("successes", y)
    _refuse_counts("trials", n)
    refuse("successes", y > n, "exceeds trials in", "trials count successes and failures")
    with np.errstate(invalid="ignore", divide="ignore"):
        raw = y / n
        se = np.sqrt(raw * (1.0 - raw) / n)
    data = _data(BetaBinomial, successes, y, n, raw, se, X, labels)
    stated = None if prior is None else _stated(prior, Beta, X)
    start = None if stated is None else (stated.alpha, stated.beta)
    return shrink_counts(data, start, _method(method), uncertainty, level)


def gamma_poisson(
    counts: ArrayLike,
    exposure: ArrayLike = 1.0,
    *,
    X: Any = None,
    prior: Gamma | None = None,
    method: Literal["ml", "moments"] = "ml",
    uncertainty: Uncertainty = "plugin",
    labels: Sequence[Any] | None = None,
    level: float = 0.95,
) -> Shrinkage:
    """Shrink rates toward what they have in common.

    Parameters
    ----------
    counts : array-like of shape (J,)
        Whole numbers of events, one a unit. The index of a Series labels the units.
    exposure : array-like of shape (J,), or one number
        How much each unit was watched (years, policies, expected events), finite and at least 0.
    X : array, frame or Series of shape (J,) or (J, m), optional
        Covariates of the prior mean, on the log scale; an intercept is added.
    prior : Gamma, optional
        A stated prior, ``mf.eb.Gamma(shape, rate)``: nothing is estimated.
    method : {"ml", "moments"}
        Maximum marginal likelihood, or moments weighted by exposure (Buhlmann & Straub 1970).
    uncertainty : {"plugin", "laplace", "bootstrap", "integrate"}, Bootstrap or Integrate
        How the uncertainty of the prior's parameters enters the posterior: not at all; to first
        order; by refitting simulated data; or by integration, where `mf.eb.Integrate` states the
        prior on the prior's coefficient of variation ``1 / sqrt(shape)``.
    labels : sequence of length J, optional
        Names of the units.
    level : float
        Of all intervals.

    Returns
    -------
    Shrinkage
        ``prior`` has ``shape``, ``rate`` (in units of exposure) and ``mean`` (events per unit of
        exposure); with covariates ``shape`` alone. ``coefficients`` are of the log of the prior
        mean. In ``posterior``, ``estimate`` is the raw rate.

    Raises
    ------
    DataError
        If a count is missing, negative or not whole, or an exposure negative or infinite.
    ModelError
        If the data cannot tell a prior: one unit, or no events at all, in a whole level of a
        covariate either.

    Notes
    -----
    ``y_j ~ Poisson(e_j r_j)``, ``r_j ~ Gamma(a, a / m_j)``; the posterior is ``Gamma(a + y_j, a /
    m_j + e_j)``, marginally y_j is negative binomial. Rates no more spread than one common Poisson
    make the shape infinite, which is a result: every unit gets the common rate. Standard errors of
    the prior come from the observed information.

    Examples
    --------
    >>> import mixedfit as mf
    >>> result = mf.eb.gamma_poisson([8, 10, 2, 0, 21], [9.6, 7.2, 3.4, 5.1, 6.8])
    >>> result.prior.round(3).to_dict()
    {'shape': 1.155, 'rate': 0.962, 'mean': 1.2}
    >>> result.posterior["mean"].round(2).tolist()
    [0.87, 1.37, 0.72, 0.19, 2.85]
    """
    check_level(level)
    y = read_units("counts", counts)
    e = read_units("exposure", exposure, len(y), "counts")
    _refuse_counts("counts", y)
    refuse("exposure", e < 0.0, "is negative in", "exposures are at least 0")
    refuse("counts", (e == 0.0) & (y > 0.0), "is above 0 without exposure in", "correct one")
    with np.errstate(invalid="ignore", divide="ignore"):
        raw, se = y / e, np.sqrt(y) / e
    data = _data(GammaPoisson, counts, y, e, raw, se, X, labels)
    stated = None if prior is None else _stated(prior, Gamma, X)
    start = None if stated is None else (stated.shape, stated.rate)
    return shrink_counts(data, start, _method(method), uncertainty, level)


def _refuse_counts(name: str, values: Array) -> None:
    refuse(name, values < 0.0, "is negative in", "counts are at least 0")
    refuse(name, values != np.floor(values), "is not a whole number in", "give counts, not rates")


def _data(
    family: type[BetaBinomial | GammaPoisson],
    given: Any,
    y: Array,
    n: Array,
    raw: Array,
    se: Array,
    X: Any,
    labels: Sequence[Any] | None,
) -> CountData:
    matrix, names = read_covariates(X, len(y))
    index: pd.Index = read_labels(labels, given, len(y))
    likelihood = family(y, n, np.ones(len(y)), matrix)
    return CountData(likelihood, raw, se, index, tuple(names))


def _stated(prior: Any, kind: type[Any], X: Any) -> Any:
    if not isinstance(prior, kind):
        raise DataError(
            f"prior must be mf.eb.{kind.__name__}(...) or left out to be estimated, not {prior!r}"
        )
    if X is not None:
        raise DataError("a stated prior has a stated mean; leave X out")
    return prior


def _method(method: str) -> CountMethod:
    for known in get_args(CountMethod):
        if method == known:
            return known
    raise DataError(f"method must be 'ml' or 'moments', not {method!r}")
