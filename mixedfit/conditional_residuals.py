"""Residuals to expect in new rows, given those of the rows they are correlated with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from mixedfit.arrays import Array, BoolArray
from mixedfit.errors import DataError, MixedfitError, ModelError
from mixedfit.fit import Fit, fitted_of
from mixedfit.frames import Column, Frame, Labels, read_frame
from mixedfit.residual import ResidualStructure, bind_residual, rows_by_group

__all__ = ["conditional_residuals"]


def conditional_residuals(fit: Fit, newdata: Any, rows: BoolArray, predicted: Array) -> Array:
    """Expected residuals of new rows.

    Parameters
    ----------
    fit : Fit
    newdata : frame of any kind
    rows : bool array
        The rows of `newdata` that can be predicted, m of them.
    predicted : array of shape (m,)
        Their predictions without residuals.

    Returns
    -------
    array of shape (m,)
        Zero in groups the fit did not have; nan where a column of the structure is missing.

    Raises
    ------
    DataError, ModelError
        If the model has no residual correlation, or a new row stands where the structure says
        nothing.

    Notes
    -----
    ``E(e_new | y) = R_no R_oo^-1 (y - X b - Z u)`` over the fit's rows o and new rows n: with
    ``X b + Z u`` it is the best linear unbiased prediction (Pinheiro & Bates 2000, section 5.3;
    Harville 1976, Ann. Statist. 4).
    """
    residual, spec = fit.design.residual, fit.design.residual_spec
    if residual is None or residual.correlation is None or spec.correlation is None:
        raise ModelError(
            "residual='conditional' needs correlated residuals, and this model has none; give the "
            "fit a correlation structure"
        )
    if fit.design.weights is not None:
        raise ModelError(
            "residual='conditional' is not available for fits with precision weights: those of the "
            "new rows are unknown"
        )
    assert residual.columns is not None
    new = read_frame(newdata, residual.columns.columns).take(rows)
    missing = [mask for name in new.columns if (mask := new.missing(name)) is not None]
    complete = ~np.logical_or.reduce(missing) if missing else np.ones(new.n, dtype=bool)
    out = np.full(new.n, np.nan)
    out[complete] = _expected(fit, residual, new.take(complete), predicted[complete])
    return out


def _expected(fit: Fit, residual: ResidualStructure, new: Frame, predicted: Array) -> Array:
    assert residual.columns is not None
    spec, n = fit.design.residual_spec, residual.n
    joined = _joined(residual.columns, new)
    both = _joined_correlation(fit, residual, joined)
    fitted = fitted_of(fit.design, fit.estimate)
    whitening = residual.at(fit.optimum.delta)
    solved = whitening.whiten_transposed(whitening.whiten((fit.design.y - fitted)[None]))
    padded = np.concatenate([solved[0] * whitening.sd, np.zeros(new.n)])[None]
    correlated = both.at(np.zeros(0)).multiply(padded)[0, n:]
    if spec.variance is None:
        return correlated
    order = rows_by_group(spec.correlation, residual.columns, spec.groups)
    variance = spec.variance.bind(joined, np.append(order, n + np.arange(new.n)))
    assert residual.variance is not None
    if variance.n_params != residual.variance.n_params:
        raise DataError("new rows are in a stratum of the variance function the fit did not have")
    if variance.from_fit == "resid":
        raise ModelError("a variance function of residuals says nothing of new rows")
    means = np.concatenate([fitted, predicted])
    variance = variance.with_covariate(means, np.zeros_like(means))
    delta = fit.optimum.delta[residual.n_params - variance.n_params :]
    return correlated * np.exp(variance.log_sd(delta)[0][n:])


def _joined_correlation(fit: Fit, residual: ResidualStructure, joined: Frame) -> ResidualStructure:
    """The correlation of the fit's rows and new ones, at its estimates."""
    spec = fit.design.residual_spec
    assert spec.correlation is not None
    assert residual.correlation is not None
    delta = fit.optimum.delta[: residual.correlation.n_params]
    held = spec.correlation.held_at(residual.correlation.natural(delta)[1])
    try:
        both = bind_residual(held, None, joined, spec.groups)
    except MixedfitError as error:
        raise DataError(
            f"residuals of new rows cannot be told from the fit's: {error}. New rows must stand "
            "at times or positions of their own, where the structure gives a correlation"
        ) from None
    assert both is not None
    return both


def _joined(own: Frame, new: Frame) -> Frame:
    """Rows of two frames, one below the other."""
    columns = {name: _stacked(own[name], new[name]) for name in own.columns}
    return Frame(own.n + new.n, columns)


def _stacked(own: Column, new: Column) -> Column:
    if not isinstance(own, Labels) and not isinstance(new, Labels):
        return np.concatenate([own, new])
    own, new = _as_labels(own), _as_labels(new)
    unknown = new.matched(own.levels).codes < 0
    levels = own.levels.append(new.levels[np.unique(new.codes[unknown])]).astype(object)
    codes = new.matched(levels).codes
    return Labels(np.concatenate([own.codes, codes]), levels, own.ordered)


def _as_labels(column: Column) -> Labels:
    if isinstance(column, Labels):
        return column
    codes, levels = pd.factorize(column, sort=True)
    return Labels(codes, pd.Index(levels))
