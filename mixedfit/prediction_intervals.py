"""Intervals of predictions: for the mean of a row, and for a new observation.

A prediction ``t = x'b + z'u`` of a row is off for three reasons, and a new observation for a
fourth.

- b and u are estimated together, and have a joint covariance (`prediction_errors`, and
  `residual_predictions` where residuals have a structure).
- The covariances are estimated. By the delta method t^ moves with their coordinates c, those of a
  residual structure among them, by its derivatives d, which adds ``d'Var(c) d``. It counts twice:
  once for t^ (Kackar & Harville 1984, J. Am. Stat. Assoc. 79) and once because the first part, at
  estimated covariances, is too small by as much on average (Prasad & Rao 1990, J. Am. Stat. Assoc.
  85).
- An observation adds its residual variance, and for each level the fit has not seen ``z'G z``. A
  residual predicted from those observed is part of t instead.

The quantiles are those of t with Satterthwaite's degrees of freedom, ``2 v^2 / Var(v)`` for the
total variance v, whose gradient is that of its parts in c and v itself in ``log sigma^2``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import scipy

from mixedfit.arrays import Array
from mixedfit.conditional_residuals import conditional_residuals
from mixedfit.errors import ModelError, check_level
from mixedfit.fit import Fit
from mixedfit.predict import (
    Groups,
    NewLevels,
    PredictionRows,
    ResidualPart,
    check_residual_part,
    predicted_means,
    prediction_rows,
)
from mixedfit.prediction_errors import Predictor
from mixedfit.residual_likelihood import ResidualEvaluation
from mixedfit.residual_predictions import NewResiduals, ResidualPredictor
from mixedfit.threads import one_thread
from mixedfit.vcov import component_covariance

__all__ = ["Interval", "PredictionVariance", "predict_interval", "prediction_variance"]

Interval = Literal["confidence", "prediction"]


@dataclass(frozen=True)
class PredictionVariance:
    """The variance of predictions, part by part, in squared units of the response.

    Attributes
    ----------
    joint : array of shape (m,)
        Of the estimates of b and u together, covariances taken as known.
    covariances : array of shape (m,)
        What estimating the covariances adds to the variance of the prediction.
    effects : array of shape (m,)
        Of the effects of levels the fit has not seen; zero for a mean.
    residual : array of shape (m,)
        Of the residual; zero for a mean, and where the residual is predicted: then it is part of
        ``joint``.
    df : array of shape (m,)
        Satterthwaite's degrees of freedom of the total.
    """

    joint: Array
    covariances: Array
    effects: Array
    residual: Array
    df: Array

    @property
    def total(self) -> Array:
        """All parts, the covariances' twice."""
        return self.joint + 2.0 * self.covariances + self.effects + self.residual


def prediction_variance(
    fit: Fit,
    rows: PredictionRows,
    interval: Interval,
    weights: Array | None = None,
    residuals: NewResiduals | None = None,
    conditional: bool = False,
) -> PredictionVariance:
    """The variance of the rows' predictions.

    Parameters
    ----------
    fit : Fit
    rows : PredictionRows
    interval : {"confidence", "prediction"}
        Of the mean, or of a new observation.
    weights : array of shape (m,), optional
        Precision weights of the observations; by default 1.
    residuals : NewResiduals, optional
        The rows' residuals in a fit with a residual structure; by default they have variance
        ``sigma^2``.
    conditional : bool
        Whether those are predicted too.
    """
    structured = isinstance(fit.evaluation, ResidualEvaluation)
    predictor = ResidualPredictor(fit) if structured else Predictor(fit)
    if conditional:
        assert isinstance(predictor, ResidualPredictor)
        assert residuals is not None
        errors = predictor.errors_with_residuals(rows, residuals)
    else:
        errors = predictor.errors(rows)
    r, estimate = predictor.r, fit.estimate
    sigma2 = estimate.sigma**2
    covariance = component_covariance(fit.evaluation)
    moves = estimate.basis.scale * errors.moves
    added = np.einsum("mr,rs,ms->m", moves, covariance[:-1, :-1], moves, optimize=True)
    m = len(errors.variance)
    effects, residual, slopes = np.zeros(m), np.zeros(m), errors.slopes.copy()
    if interval == "prediction":
        unseen, own = predictor.unseen(rows)
        effects = sigma2 * unseen
        slopes[:, :r] += own
    if interval == "prediction" and not conditional:
        w = np.ones(m) if weights is None else weights
        residual = sigma2 / w
        if isinstance(predictor, ResidualPredictor) and residuals is not None:
            residual = residual * residuals.variance
            slopes[:, r:] += residuals.slopes * predictor.units / w[:, None]
    joint = sigma2 * errors.variance
    known = joint + effects + residual
    gradient = np.column_stack([sigma2 * slopes, known])
    spread = np.einsum("mr,rs,ms->m", gradient, covariance, gradient, optimize=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        df = np.where(spread == 0.0, np.inf, 2.0 * (known + 2.0 * added) ** 2 / spread)
    return PredictionVariance(joint, added, effects, residual, df)


def predict_interval(
    fit: Fit,
    newdata: Any,
    groups: Groups,
    new_levels: NewLevels,
    interval: Interval,
    level: float,
    residual: ResidualPart = None,
) -> pd.DataFrame:
    """Predictions with standard errors and intervals.

    Parameters
    ----------
    fit : Fit
    newdata : frame of any kind or None
    groups : "all", "none" or list of str
    new_levels : {"raise", "population"}
    interval : {"confidence", "prediction"}
    level : float
    residual : {None, "conditional"}
        Whether the residuals to expect given those observed are part of the predictions.

    Returns
    -------
    DataFrame
        One row a row of ``newdata``: estimate, se, lower, upper; missing where a value is.

    Raises
    ------
    ModelError
        If the interval or the level is none of those allowed.
    """
    if interval not in ("confidence", "prediction"):
        raise ModelError(f"interval must be None, 'confidence' or 'prediction', not {interval!r}")
    if residual is not None and interval == "confidence":
        raise ModelError(
            "residual='conditional' predicts observations, not their mean: use "
            "interval='prediction' with it"
        )
    check_level(level)
    check_residual_part(fit, newdata, groups, residual)
    rows = prediction_rows(fit.design, newdata, groups, new_levels, interval == "prediction")
    estimate = means = predicted_means(fit, rows)
    if residual is not None:
        estimate = means + conditional_residuals(fit, newdata, rows.complete, means)
    with one_thread():
        own = None
        if fit.design.residual is not None and interval == "prediction":
            own = NewResiduals(fit, newdata, rows, means)
        weights = fit.design.weights if newdata is None else None
        variance = prediction_variance(fit, rows, interval, weights, own, residual is not None)
    se = np.sqrt(variance.total)
    out = np.full((len(rows.complete), 4), np.nan)
    half = scipy.stats.t.ppf(0.5 + 0.5 * level, np.maximum(variance.df, 1.0)) * se
    out[rows.complete] = np.column_stack([estimate, se, estimate - half, estimate + half])
    return pd.DataFrame(out, index=rows.index, columns=["estimate", "se", "lower", "upper"])
