"""James-Stein estimators: shrinkage without a prior, its risk estimated without bias."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import chdtrc

from mixedfit.arrays import Array, BoolArray
from mixedfit.eb.estimates import Estimates, read_estimates
from mixedfit.eb.heterogeneity import Units
from mixedfit.eb.regression import regression_table
from mixedfit.eb.shrinkage import Behaviour, Shrinkage
from mixedfit.eb.units import read_covariates, read_units
from mixedfit.errors import DataError, ModelError

__all__ = ["james_stein"]


def james_stein(
    estimate: ArrayLike,
    se: ArrayLike,
    *,
    toward: Any = "mean",
    positive_part: bool = False,
    limit: float | None = None,
    labels: Any = None,
) -> Shrinkage:
    """Shrink three or more estimates toward a point, their mean or a regression.

    Parameters
    ----------
    estimate : array-like of shape (J,)
        One estimate a unit.
    se : array-like of shape (J,), or one number
        Their standard errors, taken as known.
    toward : "mean", number, array of shape (J,), or array or frame of shape (J, m)
        The (precision-weighted) mean of the estimates; a known point, or one for each unit; or the
        regression on m covariates, an intercept added.
    positive_part : bool
        Never shrink beyond the target: a negative factor becomes 0. This lowers the risk.
    limit : float, optional
        Efron and Morris' limited translation: no estimate moves by more than this many standard
        errors, which protects unusual units.
    labels : sequence of length J, optional
        Names of the units.

    Returns
    -------
    Shrinkage
        ``prior["factor"]`` is what is left of each distance to the target. ``heterogeneity`` holds
        Stein's unbiased estimate of the total squared error (``risk``), that of the raw estimates
        (``risk_raw``), and the share saved. There are no posterior standard deviations: the
        estimator has no prior. `normal_means` has.

    Raises
    ------
    DataError
        As `normal_means`.
    ModelError
        With fewer than 3 units for a point, 4 for the mean, p + 3 for p coefficients.

    Notes
    -----
    With r the distances to the target and ``S = sum r_j^2 / s_j^2``, the estimate is ``target +
    (1 - (J - p - 2) / S) r`` (James & Stein 1961; with p = 1 fitted mean Lindley's 3 in place of
    2). With unequal standard errors all units keep the same share of their distance, which
    dominates the raw estimates in squared error relative to ``s_j^2``. Risk: Stein (1981), Ann.
    Stat. 9. Limited translation: Efron & Morris (1972), JASA 67.

    Examples
    --------
    >>> import mixedfit as mf
    >>> result = mf.eb.james_stein([1.0, 2.0, 3.0, 4.0, 10.0], 1.0)
    >>> round(float(result.prior["factor"]), 4)
    0.96
    >>> result.posterior["mean"].round(2).tolist()
    [1.12, 2.08, 3.04, 4.0, 9.76]
    """
    data = read_estimates(estimate, se, None, labels)
    target = _target(data, toward)
    J, p = len(data.y), len(target.b)
    if p + 3 > J:
        raise ModelError(
            f"James-Stein shrinkage toward {target.words} needs at least {p + 3} units, not {J}"
        )
    if limit is not None and not (np.isfinite(limit) and limit >= 0.0):
        raise DataError(f"limit must be a number of standard errors, at least 0, not {limit!r}")
    r, S = target.residuals, target.size(data.v)
    factor = 1.0 - (J - p - 2) / S if S > 0.0 else 0.0
    if positive_part:
        factor = max(factor, 0.0)
    move = (factor - 1.0) * r
    held = np.zeros(J, dtype=bool)
    if limit is not None:
        held = np.abs(move) > limit * data.se
        move = np.where(held, np.sign(move) * limit * data.se, move)
    risk = _risk(data.v, target, factor, move, held)
    return _result(data, target, factor, move, (S, risk))


@dataclass(frozen=True)
class _Target:
    """Where the estimates are shrunk to.

    Attributes
    ----------
    words : str
    residuals : array of shape (J,)
        Estimates less their targets.
    leverage : array of shape (J,)
        How much of its own target each estimate is.
    names : tuple of str
    b, b_se : arrays of shape (p,)
        Fitted coefficients.
    """

    words: str
    residuals: Array
    leverage: Array
    names: tuple[str, ...]
    b: Array
    b_se: Array

    def size(self, v: Array) -> float:
        """``sum r^2 / v``."""
        return float((self.residuals**2 / v).sum())


def _target(data: Estimates, toward: Any) -> _Target:
    J = len(data.y)
    if isinstance(toward, str):
        if toward != "mean":
            raise DataError(
                f"toward must be 'mean', a number, one number a unit, or covariates, not {toward!r}"
            )
        return _regression(data, data.X, data.names, "the mean")
    shape = np.shape(toward)
    if len(shape) < 2:
        point = read_units("toward", toward, J, "estimate")
        words = "a point" if shape == () else "given points"
        none = np.zeros(0)
        return _Target(words, data.y - point, np.zeros(J), (), none, none)
    X, names = read_covariates(toward, J)
    return _regression(data, X, tuple(names), "a regression")


def _regression(data: Estimates, X: Array, names: tuple[str, ...], words: str) -> _Target:
    if X.shape[1] > len(data.y):
        raise ModelError(
            f"{len(data.y)} units are too few for {X.shape[1]} coefficients of the target"
        )
    at = Units.of(data.y, data.v, X).at(0.0)
    se = np.sqrt(np.diag(at.b_covariance[0]))
    # What is left of estimates that are all on their target is rounding.
    r = np.where(np.abs(at.r[0]) > 1e-12 * np.abs(data.y).max(), at.r[0], 0.0)
    return _Target(words, r, at.leverage[0] / data.v, names, at.b[0], se)


def _risk(v: Array, target: _Target, factor: float, move: Array, held: BoolArray) -> float:
    """Stein's unbiased estimate of the total squared error of ``y + move(y)``.

    ``sum v + sum move^2 + 2 sum v d move / d y``. Where the factor was cut to 0 the move is the
    whole distance, a linear function; where it was limited its derivative is 0.
    """
    r, S = target.residuals, target.size(v)
    slope = (factor - 1.0) * (1.0 - target.leverage)
    if factor > 0.0 or (S > 0.0 and factor < 0.0):
        slope = slope + 2.0 * (1.0 - factor) * r**2 / v / S
    return float(v.sum() + (move**2).sum() + 2.0 * (v * np.where(held, 0.0, slope)).sum())


def _result(
    data: Estimates, target: _Target, factor: float, move: Array, sizes: tuple[float, float]
) -> Shrinkage:
    J = len(data.y)
    missing = np.full(J, np.nan)
    distance = np.where(target.residuals == 0.0, 1.0, target.residuals)
    posterior = pd.DataFrame(
        {
            "label": data.labels,
            "estimate": data.y,
            "se": data.se,
            "mean": data.y + move,
            "sd": missing,
            "lower": missing,
            "upper": missing,
            "weight": np.where(target.residuals == 0.0, factor, 1.0 + move / distance),
        }
    )
    notes = ["James-Stein estimates have no posterior spread; for intervals use normal_means()."]
    if factor < 0.0:
        notes.append(
            "The factor is negative: estimates are moved past the target; positive_part=True has "
            "lower risk."
        )
    return Shrinkage(
        prior=pd.Series({"factor": factor}, name="prior"),
        prior_se=pd.Series({"factor": np.nan}, name="prior_se"),
        coefficients=regression_table(target.names, target.b, target.b_se, np.inf, 0.95),
        posterior=posterior,
        llf=np.nan,
        method="james-stein",
        family="normal",
        behaviour=_PointEstimates(),
        heterogeneity=_sizes(data, target, *sizes),
        prior_name=f"none (toward {target.words})",
        uncertainty="",
        notes=tuple(notes),
    )


def _sizes(data: Estimates, target: _Target, S: float, risk: float) -> pd.Series:
    df = len(data.y) - len(target.b)
    raw = float(data.v.sum())
    values = {
        "Q": S,
        "df": float(df),
        "p": float(chdtrc(df, S)),
        "risk": risk,
        "risk_raw": raw,
        "saved": 1.0 - risk / raw,
    }
    return pd.Series(values, name="heterogeneity")


class _PointEstimates(Behaviour):
    """No prior, so nothing to draw from."""

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        raise ModelError("James-Stein estimates have no posterior to draw from; use normal_means()")
