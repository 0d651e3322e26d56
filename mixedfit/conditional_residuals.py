"""Residuals to expect in new rows, given those of the rows they are correlated with."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixedfit.arrays import Array, BoolArray
from mixedfit.errors import ModelError
from mixedfit.fit import Fit, fitted_of
from mixedfit.new_rows import NewCorrelation, read_new_rows, scale_of_new_rows

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
    new = read_new_rows(newdata, list(residual.columns.columns), rows)
    complete = new.complete()
    out = np.full(new.n, np.nan)
    correlation = NewCorrelation(fit, new.take(complete))
    fitted = fitted_of(fit.design, fit.estimate)
    whitening = residual.at(fit.optimum.delta)
    solved = whitening.whiten_transposed(whitening.whiten((fit.design.y - fitted)[None]))
    log_sd, _ = scale_of_new_rows(fit, newdata, rows, predicted)
    correlated = correlation.products(solved * whitening.sd)[0]
    out[complete] = correlated * np.exp(log_sd[complete])
    return out
