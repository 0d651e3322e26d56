"""Covariances of what is estimated: the fixed effects, and the variance components."""

from __future__ import annotations

import numpy as np

from mixedfit.arrays import Array
from mixedfit.fit import Fit
from mixedfit.identify import moving_directions
from mixedfit.likelihood import Evaluation
from mixedfit.optimize import held_at_bounds

__all__ = ["component_covariance", "model_covariance", "standard_errors_of_sds"]


def model_covariance(fit: Fit) -> Array:
    """``(X'V^-1 X)^-1`` with V as estimated, shape (p, p), in the user's units.

    For gls by ML it is multiplied by ``n / (n - p)``, as nlme does.
    """
    covariance = fit.estimate.sigma**2 * fit.estimate.unscaled_covariance
    if fit.verb == "gls" and fit.method == "ML":
        covariance *= fit.n / (fit.n - fit.p)
    return covariance


def component_covariance(point: Evaluation) -> Array:
    """Asymptotic covariance of the covariance coordinates and ``log(sigma**2)``, (r + 1, r + 1).

    Coordinates are those of the structures' charts at the optimum; those at a boundary do not move
    and have covariance zero.

    Notes
    -----
    With ``s = log(sigma^2)`` the criterion is ``f(c) + df (s + exp(-s) r^2(c) / df - 1 - log(r^2(c)
    / df))`` plus its profile, so that the joint Hessian has the profile's Hessian as its Schur
    complement, ``df`` in the corner and ``-df d log r^2`` between; the covariance is twice its
    inverse.
    """
    r, df = len(point.gradient), point.likelihood.df
    slope = point.log_r2_gradient
    moving = moving_directions(point, held_at_bounds(point))
    out = np.zeros((r + 1, r + 1))
    if moving.shape[1]:
        free = moving.T @ point.hessian @ moving
        out[:r, :r] = 2.0 * moving @ np.linalg.solve(free, moving.T)
    out[:r, r] = out[r, :r] = out[:r, :r] @ slope
    out[r, r] = 2.0 / df + slope @ out[:r, :r] @ slope
    return out


def standard_errors_of_sds(fit: Fit) -> tuple[list[Array], float]:
    """Delta-method standard errors of the standard deviations.

    Returns
    -------
    random : list of arrays of shape (k,)
        One a grouping factor, for the standard deviations of its effects.
    residual : float
        Of the residual standard deviation.
    """
    point, estimate = fit.evaluation, fit.estimate
    covariance = component_covariance(point)
    r = len(covariance) - 1
    out = [np.zeros(len(C)) for C in estimate.covariances]
    for (_, structure), state, rows, term in zip(
        point.likelihood.structures,
        point.states,
        point.likelihood.slices,
        estimate.terms,
        strict=True,
    ):
        # Tangents of G in the user's columns; the factor sigma^2 moves with log(sigma^2).
        tangents = term.total @ structure.tangents(state) @ term.total.T
        slopes = np.zeros((structure.size, r + 1))
        slopes[:, rows] = fit.estimate.sigma**2 * np.einsum("raa->ar", tangents)
        variances = estimate.covariances[term.factor].diagonal()[term.columns]
        slopes[:, r] = variances
        errors = np.sqrt(np.einsum("ar,rs,as->a", slopes, covariance, slopes))
        with np.errstate(divide="ignore", invalid="ignore"):
            out[term.factor][term.columns] = errors / (2.0 * np.sqrt(variances))
    return out, 0.5 * estimate.sigma * float(np.sqrt(covariance[r, r]))
