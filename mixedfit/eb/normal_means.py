"""Normal means with known variances: the verb."""

from __future__ import annotations

import numbers
from functools import partial
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import ndtri

from mixedfit.arrays import Array
from mixedfit.eb.estimates import Estimates, read_estimates
from mixedfit.eb.hyperparameters import Uncertainty, read_uncertainty
from mixedfit.eb.normal_prior import read_method, shrink_normal
from mixedfit.eb.other_priors import MIXTURES, PRIORS, shrink_mixture, shrink_shape
from mixedfit.eb.prior import Normal
from mixedfit.eb.regression import new_unit_table, read_new, regression_table
from mixedfit.eb.shrinkage import Behaviour, Shrinkage
from mixedfit.eb.tails import normal_density
from mixedfit.errors import DataError, check_count, check_level

__all__ = ["normal_means"]


def normal_means(
    estimate: ArrayLike,
    se: ArrayLike,
    *,
    X: Any = None,
    prior: str | Normal = "normal",
    mode: float | Literal["estimate"] | None = None,
    grid: int | None = None,
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
        What the true values are drawn from: "normal"; heavier tails, "laplace" or "t"; many values
        at exactly the mode, "point-normal" or "point-laplace"; any scale mixture of normals
        ("scale-mixture"), any distribution with one mode ("unimodal"), any distribution at all
        ("npmle"); or stated in full, ``mf.eb.Normal(8, 1)``.
    mode : float or "estimate", optional
        Centre of a prior other than the normal: by default estimated for "laplace" and "t" and with
        covariates, and 0 for the others. "npmle" has none.
    grid : int, optional
        Components of "scale-mixture", "unimodal" (scales) and "npmle" (points, 300 by default).
    method : str
        How tau^2, the variance of a normal prior, is estimated: "reml", "ml", "moments",
        "dersimonian-laird", "paule-mandel", "hedges", "hunter-schmidt", "sidik-jonkman", "sure", or
        "fixed" (tau^2 = 0: complete pooling).
    test : {"z", "knapp-hartung"}
        Tests and intervals of the prior mean.
    uncertainty : {"plugin", "laplace", "bootstrap", "integrate"}, Bootstrap or Integrate
        How the uncertainty of tau^2 enters the posterior: not at all; to second order; by
        simulation; or by integration (`mf.eb.Integrate` states the prior on tau, flat by default).
        `prior` and `coefficients` of the result are those of the plug-in fit in any case. With
        "laplace", "t" and the point priors it works likewise, with one or two hyperparameters.
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
    encode = partial(read_new, names=data.names)
    if isinstance(prior, Normal):
        if X is not None:
            raise DataError("a stated prior has a stated mean; leave X out")
        if mode is not None or grid is not None or read_uncertainty(uncertainty) != "plugin":
            raise DataError("a stated prior is known; leave mode, grid and uncertainty out")
        return _stated(data, prior, level)
    if prior not in PRIORS:
        known = ", ".join(map(repr, PRIORS))
        raise DataError(f"prior must be one of {known}, or mf.eb.Normal(...), not {prior!r}")
    if prior == "normal":
        if mode is not None or grid is not None:
            raise DataError("mode and grid belong to priors other than the normal")
        return shrink_normal(data, method, test, uncertainty, level, encode)
    if read_method(method) not in ("reml", "ml"):
        raise DataError(f"the {prior} prior is fitted by maximum likelihood, not by {method!r}")
    options = (X is not None, mode, grid)
    return _other(data, prior, options, uncertainty, level, encode)


def _other(
    data: Estimates,
    prior: str,
    options: tuple[bool, float | Literal["estimate"] | None, int | None],
    uncertainty: Uncertainty,
    level: float,
    encode: Any,
) -> Shrinkage:
    """Priors other than the normal."""
    covariates, mode, grid = options
    if read_uncertainty(uncertainty) != "plugin" and prior in MIXTURES:
        raise DataError(f"uncertainty of a {prior} prior must be 'plugin', not {uncertainty!r}")
    if prior in MIXTURES and covariates:
        raise DataError(f"a {prior} prior takes no covariates; shrink the residuals instead")
    stated = _stated_mode(mode)
    if mode is not None and stated is None and prior in MIXTURES:
        raise DataError(f"mode of a {prior} prior must be a number, not {mode!r}")
    if mode is not None and (covariates or prior == "npmle"):
        raise DataError("mode is the regression's, or the prior has none; leave mode out")
    if grid is not None and prior not in MIXTURES:
        raise DataError(f"grid belongs to mixture priors; leave it out for {prior!r}")
    if prior in MIXTURES:
        components = None if grid is None else check_count(grid, 2, "grid")
        return shrink_mixture(data, prior, components, stated or 0.0, level)
    if mode is None and not covariates and prior not in ("laplace", "t"):
        stated = 0.0
    return shrink_shape(data, prior, stated, level, encode, uncertainty)


def _stated_mode(mode: Any) -> float | None:
    """A mode that is a number; None where it is left out or estimated."""
    if mode is None or (isinstance(mode, str) and mode == "estimate"):
        return None
    if isinstance(mode, numbers.Real) and np.isfinite(float(mode)):
        return float(mode)
    raise DataError(f"mode must be a finite number or 'estimate', not {mode!r}")


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
        return new_unit_table(self.prior.mean, 0.0, self.prior.variance, level)

    def prior_density(self, values: Array) -> Array:
        return normal_density(values, self.prior.mean, float(np.sqrt(self.prior.variance)))


def _stated(data: Estimates, prior: Normal, level: float) -> Shrinkage:
    weight = prior.variance / (prior.variance + data.v)
    mean = prior.mean + weight * (data.y - prior.mean)
    sd = np.sqrt(weight * data.v)
    half = ndtri(0.5 + 0.5 * level) * sd
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
    total = prior.variance + data.v
    llf = -0.5 * np.sum((data.y - prior.mean) ** 2 / total + np.log(2.0 * np.pi * total))
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
