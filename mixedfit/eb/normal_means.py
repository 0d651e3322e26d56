"""Normal means with known variances: the verb."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from mixedfit.arrays import Array
from mixedfit.eb.estimates import Estimates, read_estimates
from mixedfit.eb.hyperparameters import Uncertainty
from mixedfit.eb.normal_prior import shrink_normal
from mixedfit.eb.prior import Normal
from mixedfit.eb.regression import read_new, regression_table
from mixedfit.eb.shrinkage import Behaviour, Shrinkage, check_level
from mixedfit.errors import DataError

__all__ = ["normal_means"]


def normal_means(
    estimate: ArrayLike,
    se: ArrayLike,
    *,
    X: Any = None,
    prior: str | Normal = "normal",
    method: str = "reml",
    test: str = "z",
    uncertainty: Uncertainty = "plugin",
    labels: Any = None,
    level: float = 0.95,
) -> Shrinkage:
    """Shrink estimates with known standard errors toward what they have in common.

    Parameters
    ----------
    estimate : array-like of shape (J,)
        One estimate a unit (school, study, gene), all in the same units. The index of a Series
        labels the units.
    se : array-like of shape (J,), or one number
        Their standard errors, taken as known.
    X : array, frame or Series of shape (J,) or (J, m), optional
        Covariates of the prior mean; an intercept is added.
    prior : str or Normal
        What the true values are drawn from: "normal", or stated in full, ``mf.eb.Normal(8, 1)``.
    method : str
        How tau^2, the variance of a normal prior, is estimated: "reml", "ml", "moments",
        "dersimonian-laird", "paule-mandel", "hedges", "hunter-schmidt", "sidik-jonkman", "sure", or
        "fixed" (tau^2 = 0: complete pooling).
    test : {"z", "knapp-hartung"}
        Tests and intervals of the prior mean.
    uncertainty : {"plugin", "laplace", "bootstrap", "integrate"}, Bootstrap or Integrate
        How the uncertainty of tau^2 enters the posterior: not at all; to second order; by
        simulation; or by integration (`mf.eb.Integrate` states the prior on tau, flat by default).
    labels : sequence of length J, optional
        Names of the units.
    level : float
        Of all intervals.

    Returns
    -------
    Shrinkage

    Raises
    ------
    DataError
        If a value is missing, not finite or of the wrong length, or a standard error not positive.
    ModelError
        If there are no more units than coefficients of the prior mean.

    Notes
    -----
    ``y_j ~ N(theta_j, s_j^2)``, ``theta_j ~ N(x_j' b, tau^2)``. Given tau^2, b is estimated by
    generalised least squares and, under a flat prior, ``theta_j`` has mean ``w_j y_j + (1 - w_j)
    x_j' b`` with ``w_j = tau^2 / (tau^2 + s_j^2)`` and variance ``w_j s_j^2 + (1 - w_j)^2 x_j'
    Cov(b) x_j``. Estimators of tau^2: Viechtbauer (2005), J. Educ. Behav. Stat. 30.

    Examples
    --------
    Three group means of five observations each, residual variance 4:

    >>> import mixedfit as mf
    >>> result = mf.eb.normal_means([9.0, 11.0, 10.0], (4 / 5) ** 0.5, method="moments")
    >>> round(float(result.prior["tau2"]), 6)
    0.2
    >>> result.posterior["mean"].round(6).tolist()
    [9.8, 10.2, 10.0]
    """
    check_level(level)
    data = read_estimates(estimate, se, X, labels)
    if isinstance(prior, Normal):
        if X is not None:
            raise DataError("a stated prior has a stated mean; leave X out")
        return _stated(data, prior, level)
    if prior != "normal":
        raise DataError(f"prior must be 'normal' or mf.eb.Normal(mean, variance), not {prior!r}")
    return shrink_normal(data, method, test, uncertainty, level, _encoder(data, X))


def _encoder(data: Estimates, X: Any) -> Any:
    def encode(new: Any) -> Array:
        if X is None:
            if new is not None:
                raise DataError("the model has no covariates; leave X out")
            return np.ones((1, 1))
        if new is None:
            raise DataError(f"the model has covariates; give X with {', '.join(data.names[1:])}")
        return read_new(new, data.names)

    return encode


class _Stated(Behaviour):
    """Independent normal posteriors under a prior that is known."""

    def __init__(self, prior: Normal, mean: Array, sd: Array) -> None:
        self.prior = prior
        self.mean, self.sd = mean, sd

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        return self.mean + self.sd * rng.standard_normal((n, len(self.mean)))

    def predict(self, X: Any, level: float) -> pd.DataFrame:
        if X is not None:
            raise DataError("a stated prior has no covariates; leave X out")
        half = stats.norm.ppf(0.5 + 0.5 * level) * np.sqrt(self.prior.variance)
        m = self.prior.mean
        return pd.DataFrame(
            {
                "estimate": [m],
                "se": [0.0],
                "lower": [m],
                "upper": [m],
                "prediction_lower": [m - half],
                "prediction_upper": [m + half],
            }
        )

    def prior_density(self, values: Array) -> Array:
        return stats.norm.pdf(values, self.prior.mean, np.sqrt(self.prior.variance))


def _stated(data: Estimates, prior: Normal, level: float) -> Shrinkage:
    weight = prior.variance / (prior.variance + data.v)
    mean = prior.mean + weight * (data.y - prior.mean)
    sd = np.sqrt(weight * data.v)
    half = stats.norm.ppf(0.5 + 0.5 * level) * sd
    posterior = pd.DataFrame(
        {
            "label": data.labels,
            "estimate": data.y,
            "se": data.se,
            "mean": mean,
            "sd": sd,
            "lower": mean - half,
            "upper": mean + half,
            "weight": weight,
        }
    )
    llf = np.sum(stats.norm.logpdf(data.y, prior.mean, np.sqrt(prior.variance + data.v)))
    parameters = pd.Series({"mean": prior.mean, "tau2": prior.variance}, name="prior")
    return Shrinkage(
        prior=parameters,
        prior_se=pd.Series(np.nan, index=parameters.index, name="prior_se"),
        coefficients=regression_table((), np.zeros(0), np.zeros(0), np.inf, level),
        posterior=posterior,
        llf=float(llf),
        method="stated",
        family="normal",
        behaviour=_Stated(prior, mean, sd),
        prior_name="stated normal",
        level=level,
    )
