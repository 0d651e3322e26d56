"""Approximate confidence intervals of correlation and variance-function parameters."""

from __future__ import annotations

import numpy as np
import pandas as pd
import scipy

from mixedfit.arrays import Array
from mixedfit.correlation_kernels import Blocks
from mixedfit.correlation_tables import GeneralTable
from mixedfit.fit import Fit
from mixedfit.residual import ResidualStructure
from mixedfit.residual_likelihood import ResidualEvaluation
from mixedfit.residual_scale import own_coordinates, residual_slopes, residual_values
from mixedfit.vcov import component_covariance

__all__ = ["delta_covariance", "residual_intervals"]


def delta_covariance(fit: Fit) -> Array:
    """Asymptotic covariance of the residual structure's coordinates delta, shape (r, r)."""
    point = fit.evaluation
    if not isinstance(point, ResidualEvaluation):
        return np.zeros((0, 0))
    rows = slice(point.n_covariance, point.n_covariance + len(point.delta))
    return component_covariance(point)[rows, rows] * np.outer(point.units, point.units)


def residual_intervals(fit: Fit, level: float = 0.95) -> pd.DataFrame:
    """Intervals of the residual structure's free parameters, on their own scale.

    Parameters
    ----------
    fit : Fit
    level : float

    Returns
    -------
    DataFrame
        One row a parameter: lower, upper; nan at a limit.

    Notes
    -----
    Each coordinate, a real number, gets its estimate plus and minus normal quantiles of its
    standard error; the ends are turned into parameters as the estimates are, and the correlations
    of a general structure are taken on the scale of Fisher's z (Pinheiro & Bates 2000, section
    2.4.3). Parameters that several coordinates move (autoregressive ones beyond the first order)
    get theirs by the delta method instead: ends of all coordinates at once can lie on one side of
    the estimate.
    """
    residual = fit.design.residual
    if residual is None or not residual.n_params:
        return pd.DataFrame({"lower": [], "upper": []}, dtype=float)
    delta, covariance = fit.optimum.delta, delta_covariance(fit)
    quantile = float(scipy.special.ndtri(0.5 + 0.5 * level))
    half = quantile * np.sqrt(np.maximum(covariance.diagonal(), 0.0))
    with np.errstate(over="ignore"):  # a range may reach to infinity
        ends = np.stack([residual_values(fit, delta + sign * half) for sign in (-1.0, 1.0)], axis=1)
    slopes = residual_slopes(fit, delta)
    shared = ~np.array(own_coordinates(fit))
    se = np.sqrt(np.einsum("ir,rs,is->i", slopes, covariance, slopes))
    by_delta = residual_values(fit)[:, None] + quantile * se[:, None] * np.array([-1.0, 1.0])
    ends[shared] = by_delta[shared]
    ends[half == 0.0] = np.nan
    general = _general(residual)
    if general is not None:
        k = len(general.pairs)
        ends[:k] = _by_fisher(general, delta[:k], covariance[:k, :k], quantile)
    names, _ = residual.free_parameters(delta)
    return pd.DataFrame(ends, index=pd.Index(names), columns=["lower", "upper"])


def _general(residual: ResidualStructure) -> GeneralTable | None:
    """The table of a general correlation structure that is estimated."""
    correlation = residual.correlation
    if correlation is None or correlation.fixed or not isinstance(correlation.kernel, Blocks):
        return None
    table = correlation.kernel.table
    return table if isinstance(table, GeneralTable) else None


def _by_fisher(table: GeneralTable, delta: Array, covariance: Array, quantile: float) -> Array:
    """Intervals of correlations, ``tanh(atanh(rho) +- q se / (1 - rho^2))``, shape (k, 2)."""
    values, derivatives = table(delta)
    entries = np.array([i * table.order + j for i, j in table.pairs])
    rho, slopes = values[entries], derivatives[:, entries]
    se = np.sqrt(np.einsum("rk,rs,sk->k", slopes, covariance, slopes))
    half = quantile * se / (1.0 - rho**2)
    centre = np.arctanh(rho)
    return np.tanh(np.stack([centre - half, centre + half], axis=1))
