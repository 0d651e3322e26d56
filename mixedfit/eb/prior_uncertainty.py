"""Priors with a few parameters, their uncertainty carried into the units' posteriors."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from mixedfit.arrays import Array
from mixedfit.eb.hyperparameters import (
    Bootstrap,
    Hyperprior,
    Integrate,
    Nodes,
    log_hyperprior,
    nodes_on_line,
    nodes_on_plane,
)
from mixedfit.eb.mixture_posterior import MixtureModel, summarise_pieces
from mixedfit.eb.pieces import Pieces
from mixedfit.eb.prior_likelihood import PriorFit, fit_prior
from mixedfit.eb.prior_mixtures import MixturePrior
from mixedfit.eb.sensitivity import Answer, sensitivity_table
from mixedfit.eb.shrinkage import Behaviour
from mixedfit.errors import DataError, ModelError

__all__ = ["AveragedModel", "averaged"]

# Nodes of less weight than this, relative to the heaviest, are dropped.
_LIGHT = 1e-4
_POINTS = {1: 61, 2: 25}
_HYPERPRIORS: tuple[Hyperprior, ...] = ("flat", "half-cauchy", "half-normal")


@dataclass(frozen=True)
class AveragedModel(Behaviour):
    """Posteriors averaged over several priors: a distribution of the hyperparameters.

    Attributes
    ----------
    plain : MixtureModel
        At the estimate.
    fit : PriorFit
    priors : tuple of MixturePrior
    centres : array of shape (K, J)
    weights : array of shape (K,)
    scales : array of shape (K,)
        The prior's scale at each.
    """

    plain: MixtureModel
    fit: PriorFit
    priors: tuple[MixturePrior, ...]
    centres: Array
    weights: Array
    scales: Array

    def _pieces(self, part: slice) -> Pieces:
        """Posteriors as distances from the plain centre."""
        y, s, origin = self.plain.y[part], self.plain.s[part], self.plain.centre[part]
        stack: list[Pieces] = []
        for prior, centre, weight in zip(self.priors, self.centres, self.weights, strict=True):
            shift = (centre[part] - origin)[:, None]
            one, _ = prior.posterior(y - centre[part], s)
            stack.append(
                Pieces(
                    weight * one.weights,
                    one.loc + shift,
                    one.scale,
                    None if one.low is None else one.low + shift,
                    None if one.high is None else one.high + shift,
                )
            )
        return _stacked(stack)

    def posterior(self, level: float) -> dict[str, Array]:
        """Columns of the posterior table, each of shape (J,)."""
        K = sum(len(prior.weights) for prior in self.priors)
        out = summarise_pieces(self._pieces, self.plain.centre, self.plain.s, K, level)
        out["weight"] = np.minimum(out["weight"], 1.0)
        return out

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        out = np.empty((n, len(self.plain.y)))
        chosen = rng.choice(len(self.weights), size=n, p=self.weights)
        for k in np.unique(chosen):
            rows = np.flatnonzero(chosen == k)
            one = replace(self.plain, prior=self.priors[k], centre=self.centres[k])
            out[rows] = one.sample(len(rows), rng)
        return out

    def predict(self, X: Any, level: float) -> pd.DataFrame:
        return self.plain.predict(X, level)

    def prior_points(self) -> tuple[Array, Array]:
        return self.plain.prior_points()

    def prior_density(self, values: Array) -> Array:
        self.plain.prior_points()  # refuses centres that depend on covariates
        return sum(
            (
                weight * prior.density(values - centre[0])
                for prior, centre, weight in zip(
                    self.priors, self.centres, self.weights, strict=True
                )
            ),
            np.zeros_like(values),
        )

    def prior_sensitivity(self, level: float) -> pd.DataFrame:
        return _sensitivity(self.fit, self.plain, level)


@dataclass(frozen=True)
class _Plain(MixtureModel):
    """At the estimate, with other answers only a call away."""

    fit: PriorFit | None = None

    def prior_sensitivity(self, level: float) -> pd.DataFrame:
        assert self.fit is not None
        return _sensitivity(self.fit, self, level)


def averaged(
    fit: PriorFit,
    plain: MixtureModel,
    uncertainty: Literal["plugin", "laplace"] | Bootstrap | Integrate,
) -> MixtureModel | AveragedModel:
    """The model with the uncertainty of its prior as asked for.

    Parameters
    ----------
    fit : PriorFit
    plain : MixtureModel
        At the estimate.
    uncertainty : "plugin", "laplace", Bootstrap or Integrate

    Raises
    ------
    DataError
        If the way does not fit the number of hyperparameters.
    """
    if uncertainty == "plugin":
        return _Plain(**{f.name: getattr(plain, f.name) for f in fields(plain)}, fit=fit)
    if isinstance(uncertainty, Bootstrap):
        xs = _refits(fit, plain, uncertainty)
        weights = np.full(len(xs), 1.0 / len(xs))
    elif isinstance(uncertainty, Integrate):
        xs, weights = _nodes(fit, uncertainty)
    else:
        xs, weights = _around_mode(fit)
    both = [fit.likelihood.prior_at(x) for x in xs]
    centres = np.array([centre for _, centre in both])
    scales = np.array([_scale(fit, x) for x in xs])
    return AveragedModel(plain, fit, tuple(prior for prior, _ in both), centres, weights, scales)


def _scale(fit: PriorFit, x: Array) -> float:
    """The prior's scale in the user's units."""
    return fit.likelihood.scale * float(np.exp(x[_scale_place(fit)]))


def _scale_place(fit: PriorFit) -> int:
    names = fit.likelihood.shape.names
    return names.index("tau2" if "tau2" in names else "scale")


def _refits(fit: PriorFit, plain: MixtureModel, options: Bootstrap) -> Array:
    """Working parameters of refits to data simulated from the fitted prior."""
    rng = np.random.default_rng(options.seed)
    likelihood = fit.likelihood
    vague = replace(plain, s=np.full(len(plain.y), 1e6 * plain.s.max()), y=plain.centre)
    out = []
    for _ in range(options.n):
        # The posterior of estimates that say nothing is the prior.
        y = vague.sample(1, rng)[0] + plain.s * rng.standard_normal(len(plain.s))
        X = likelihood.Q @ likelihood.R
        again = fit_prior(likelihood.shape, y, plain.s, X, likelihood.mode)
        out.append(_in_working(fit, again))
    return np.array(out)


def _in_working(fit: PriorFit, other: PriorFit) -> Array:
    """Another fit's parameters in the working units of this one."""
    ours, theirs = fit.likelihood, other.likelihood
    x = other.x.copy()
    x[_scale_place(fit)] += np.log(theirs.scale / ours.scale)
    x[ours.m :] = (theirs.c + theirs.scale * other.x[ours.m :] - ours.c) / ours.scale
    return x


def _log_posterior(fit: PriorFit, x: Array, options: Integrate) -> float:
    likelihood = fit.likelihood
    theta = x[: likelihood.m]
    low, high = np.array(likelihood.bounds).T
    if (x < low).any() or (x > high).any():
        return -np.inf
    tau = np.array([_scale(fit, x)])
    scale = options.scale or likelihood.scale
    prior = float(log_hyperprior(options.prior, tau, scale, np.zeros(1))[0])
    return likelihood.llf(x) + likelihood.shape.log_prior(theta) + prior


def _nodes(fit: PriorFit, options: Integrate) -> tuple[Array, Array]:
    """Hyperparameters and their posterior weights on a grid."""
    if options.prior == "reference":
        raise DataError("the reference prior is for a normal prior; use 'flat' or 'half-normal'")
    d = len(fit.x)
    if d > 2:
        raise DataError(
            f"uncertainty='integrate' takes at most two hyperparameters and here are {d}; state "
            "the prior's mode, or use 'bootstrap'"
        )
    if d == 1:
        middle = float(fit.x[0])
        line = nodes_on_line(
            lambda x: np.array([_log_posterior(fit, v[None], options) for v in x]),
            max(middle - 9.0, -9.9),
            min(middle + 9.0, 9.9),
            _POINTS[1],
        )
        at, weights = line.at.reshape(-1, 1), line.weights
    else:
        covariance = np.where(np.isfinite(fit.covariance), fit.covariance, 0.0)
        covariance = covariance + np.diag(np.where(np.diag(covariance) > 0.0, 0.0, 1.0))
        plane = nodes_on_plane(
            lambda x: np.array([_log_posterior(fit, v, options) for v in x]),
            np.clip(fit.x, -9.0, 9.0),
            covariance,
            _POINTS[2],
        )
        at, weights = plane.at, plane.weights
    kept = weights > _LIGHT * weights.max()
    return at[kept], weights[kept] / weights[kept].sum()


def _around_mode(fit: PriorFit) -> tuple[Array, Array]:
    """Points and weights with the mean and covariance of the estimates, exact to third order."""
    d = len(fit.x)
    known = np.isfinite(fit.covariance).all()
    reach = np.sqrt(d + 1.0) * np.linalg.cholesky(fit.covariance if known else np.eye(d)).T
    points = np.vstack([fit.x, fit.x + reach, fit.x - reach])
    low, high = np.array(fit.likelihood.bounds).T
    if not known or (points < low).any() or (points > high).any():
        raise ModelError(
            "a hyperparameter is at its limit or hardly determined, where the second-order "
            "approximation fails; use uncertainty='integrate' or 'bootstrap'"
        )
    weights = np.full(2 * d + 1, 0.5 / (d + 1.0))
    weights[0] = 1.0 / (d + 1.0)
    return points, weights


def _stacked(stack: list[Pieces]) -> Pieces:
    """One mixture of all pieces; points at the same place become one."""
    weights = np.concatenate([one.weights for one in stack], axis=1)
    loc = np.concatenate([one.loc for one in stack], axis=1)
    scale = np.concatenate([one.scale for one in stack], axis=1)
    bounded = stack[0].low is not None
    low = np.concatenate([one.low for one in stack], axis=1) if bounded else None
    high = np.concatenate([one.high for one in stack], axis=1) if bounded else None
    points = np.flatnonzero((scale == 0.0).all(axis=0))
    if len(points) > 1 and (loc[:, points] == loc[:, points[:1]]).all():
        weights[:, points[0]] = weights[:, points].sum(axis=1)
        kept = np.setdiff1d(np.arange(weights.shape[1]), points[1:])
        weights, loc, scale = weights[:, kept], loc[:, kept], scale[:, kept]
        if low is not None and high is not None:
            low, high = low[:, kept], high[:, kept]
    return Pieces(weights, loc, scale, low, high)


def _sensitivity(fit: PriorFit, plain: MixtureModel, level: float) -> pd.DataFrame:
    at_estimate = np.array([_scale(fit, fit.x), np.nan, np.nan])
    plugin = Answer("plug-in", np.nan, at_estimate, plain.posterior(level))
    answers = []
    for prior in _HYPERPRIORS:
        model = averaged(fit, plain, Integrate(prior))
        assert isinstance(model, AveragedModel)
        limits = Nodes(model.scales, model.weights).limits(level)
        scale = fit.likelihood.scale if prior.startswith("half") else np.nan
        answers.append(Answer(prior, scale, limits, model.posterior(level)))
    return sensitivity_table("tau", plugin, answers)
