"""Confidence intervals of all parameters of a fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
import scipy

from mixedfit.arrays import Array
from mixedfit.bootstrap import BootstrapInterval, bootstrap
from mixedfit.ddf import Ddf, inference
from mixedfit.errors import ModelError
from mixedfit.fit import Fit
from mixedfit.profile import chosen_parameters, parameter_labels, profile_interval, quantile_of
from mixedfit.variance_parameters import parameter_gradients, parameter_values, variance_parameters
from mixedfit.vcov import component_covariance

__all__ = ["IntervalMethod", "confidence_intervals", "wald_intervals"]

IntervalMethod = Literal["wald", "profile", "boot"]


def confidence_intervals(
    fit: Fit,
    level: float = 0.95,
    method: IntervalMethod = "wald",
    parameters: Sequence[str] | str | None = None,
    *,
    ddf: Ddf | None = None,
    n: int = 999,
    seed: int | np.random.Generator | None = None,
    interval: BootstrapInterval = "percentile",
) -> pd.DataFrame:
    """Intervals of fixed effects and variance parameters.

    Parameters
    ----------
    fit : Fit
    level : float
    method : {"wald", "profile", "boot"}
    parameters : str or list of str, optional
        By default all.
    ddf : str, optional
        For Wald intervals of fixed effects; by default the fit's.
    n, seed, interval
        For the parametric bootstrap: how many refits, and the kind of interval.

    Returns
    -------
    DataFrame
        One row a parameter: lower, upper.
    """
    quantile_of(level)
    if method == "profile":
        return profile_interval(fit, level, parameters)
    chosen = chosen_parameters(fit, parameters)
    if method == "wald":
        return wald_intervals(fit, level, ddf).iloc[chosen]
    if method == "boot":
        return bootstrap(fit, n, seed).conf_int(level, interval).iloc[chosen]
    raise ModelError(f"method must be 'wald', 'profile' or 'boot', not {method!r}")


def wald_intervals(fit: Fit, level: float = 0.95, ddf: Ddf | None = None) -> pd.DataFrame:
    """Intervals from standard errors.

    Fixed effects get quantiles of t with the degrees of freedom of the method; standard deviations
    are taken on the log scale and correlations on that of Fisher's z, with normal quantiles.

    Returns
    -------
    DataFrame
        One row a parameter: lower, upper; nan for variance parameters at a limit.
    """
    fixed = inference(fit, ddf)
    unit = np.eye(fit.p)
    half = scipy.stats.t.ppf(0.5 + 0.5 * level, fixed.df(unit)) * fixed.se(unit)
    beta = fit.estimate.beta
    rows = np.vstack([np.column_stack([beta - half, beta + half]), _variances(fit, level)])
    return pd.DataFrame(rows, index=pd.Index(parameter_labels(fit)), columns=["lower", "upper"])


def _variances(fit: Fit, level: float) -> Array:
    """Wald intervals of the variance parameters, (m, 2)."""
    parameters = variance_parameters(fit)
    values = parameter_values(fit, parameters)
    gradients = parameter_gradients(fit, parameters)
    covariance = component_covariance(fit.evaluation)
    with np.errstate(invalid="ignore", divide="ignore"):
        se = np.sqrt(np.einsum("ir,rs,is->i", gradients, covariance, gradients))
        half = quantile_of(level) * se
        is_cor = np.array([p.kind == "cor" for p in parameters])
        inside = np.where(is_cor, np.abs(values) < 1.0 - 1e-9, values > 0.0)
        scale = np.where(is_cor, 1.0 - values**2, values)
        centre = np.where(is_cor, np.arctanh(values), np.log(values))
        ends = np.stack([centre - half / scale, centre + half / scale], axis=1)
        out = np.where(is_cor[:, None], np.tanh(ends), np.exp(ends))
    out[~inside | ~(half > 0.0)] = np.nan
    return out
