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
from mixedfit.errors import ModelError, check_level
from mixedfit.fit import Fit
from mixedfit.profile import (
    chosen_parameters,
    parameter_labels,
    places_of,
    profile_interval,
    quantile_of,
)
from mixedfit.residual_intervals import residual_intervals
from mixedfit.tails import t_quantile
from mixedfit.variance_parameters import (
    VarianceParameter,
    parameter_gradients,
    parameter_values,
    variance_parameters,
)
from mixedfit.vcov import component_covariance

__all__ = ["IntervalMethod", "confidence_intervals", "wald_intervals"]

IntervalMethod = Literal["wald", "profile", "boot"]

# A level below it is taken for the share of misses that other software asks for, as alpha.
_LOWEST_LEVEL = 0.5


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
    check_level(level)
    if level < _LOWEST_LEVEL:
        raise ModelError(
            f"level={level:g} asks for intervals that hold the parameter that rarely; level is the "
            f"share that hold it, not the share that miss it: write level={1.0 - level:g}"
        )
    if method == "profile":
        return profile_interval(fit, level, parameters)
    if method == "wald":
        table = wald_intervals(fit, level, ddf)
        return table.iloc[places_of(parameters, list(table.index))]
    chosen = chosen_parameters(fit, parameters)
    if method == "boot":
        return bootstrap(fit, n, seed).conf_int(level, interval).iloc[chosen]
    raise ModelError(f"method must be 'wald', 'profile' or 'boot', not {method!r}")


def wald_intervals(fit: Fit, level: float = 0.95, ddf: Ddf | None = None) -> pd.DataFrame:
    """Intervals from standard errors.

    Fixed effects get quantiles of t with the degrees of freedom of the method; standard deviations
    are taken on the log scale and correlations on that of Fisher's z (of compound symmetry from its
    lowest value), with normal quantiles; parameters of a residual structure on that of its
    coordinates.

    Returns
    -------
    DataFrame
        One row a parameter: lower, upper; nan for variance parameters at a limit.
    """
    fixed = inference(fit, ddf)
    unit = np.eye(fit.p)
    half = t_quantile(0.5 + 0.5 * level, fixed.df(unit)) * np.sqrt(fixed.covariance.diagonal())
    beta = fit.estimate.beta
    rows = np.vstack([np.column_stack([beta - half, beta + half]), _variances(fit, level)])
    table = pd.DataFrame(rows, index=pd.Index(parameter_labels(fit)), columns=["lower", "upper"])
    if fit.design.residual is None:
        return table
    residual = residual_intervals(fit, level)
    of_residuals = [f"residual[{name}]" for name in residual.index]
    table.loc[of_residuals] = residual.to_numpy()
    return table


def _variances(fit: Fit, level: float) -> Array:
    """Wald intervals of the variance parameters, (m, 2)."""
    if not len(fit.optimum.gradient):
        return _of_chi_square(fit, level)
    parameters = variance_parameters(fit)
    of_residuals = np.array([p.kind == "residual" for p in parameters])
    values = np.where(of_residuals, np.nan, parameter_values(fit, parameters))
    gradients = parameter_gradients(fit, parameters)
    covariance = component_covariance(fit.evaluation)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):  # an end may be infinite
        se = np.sqrt(np.einsum("ir,rs,is->i", gradients, covariance, gradients))
        half = quantile_of(level) * se
        is_cor = np.array([p.kind == "cor" for p in parameters])
        lowest = np.array([_lowest(fit, p) for p in parameters])
        width = 1.0 - lowest
        inside = np.where(is_cor, (values > lowest + 1e-9) & (values < 1.0 - 1e-9), values > 0.0)
        scale = np.where(is_cor, (values - lowest) * (1.0 - values) / width, values)
        centre = np.where(is_cor, np.log((values - lowest) / (1.0 - values)), np.log(values))
        ends = np.stack([centre - half / scale, centre + half / scale], axis=1)
        correlations = lowest[:, None] + width[:, None] / (1.0 + np.exp(-ends))
        out = np.where(is_cor[:, None], correlations, np.exp(ends))
    out[~inside | ~(half > 0.0)] = np.nan
    return out


def _of_chi_square(fit: Fit, level: float) -> Array:
    """The exact interval of sigma where it is the only variance parameter, (1, 2)."""
    df = fit.n - fit.p
    tails = scipy.stats.chi2.ppf([0.5 + 0.5 * level, 0.5 - 0.5 * level], df)
    return fit.estimate.sigma * np.sqrt(df / tails)[None, :]


def _lowest(fit: Fit, parameter: VarianceParameter) -> float:
    """The lowest value of a correlation; -1 for other parameters."""
    if parameter.kind != "cor":
        return -1.0
    return fit.design.terms[parameter.term].structure.lowest_correlation
