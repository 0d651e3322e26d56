"""Normal means under priors other than the normal: from estimates to a `Shrinkage`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from mixedfit.arrays import Array, IntArray
from mixedfit.eb.estimates import Estimates, enough_units
from mixedfit.eb.hyperparameters import Uncertainty, read_uncertainty
from mixedfit.eb.mixture_posterior import MixtureModel
from mixedfit.eb.mixture_weights import Weights, maximise_weights_in_chunks
from mixedfit.eb.parts import parts
from mixedfit.eb.prior_likelihood import SHAPES, PriorFit, fit_prior
from mixedfit.eb.prior_mixtures import LaplaceMixture, MixturePrior, NormalMixture, UniformMixture
from mixedfit.eb.prior_uncertainty import AveragedModel, averaged
from mixedfit.eb.regression import regression_table
from mixedfit.eb.shrinkage import Shrinkage

__all__ = ["MIXTURES", "PRIORS", "shrink_mixture", "shrink_shape"]

MIXTURES = ("scale-mixture", "unimodal", "npmle")
PRIORS = ("normal", *SHAPES, *MIXTURES)
# Numbers held at once while units are summarised.
_CHUNK = 1_000_000


def shrink_shape(
    data: Estimates,
    name: str,
    mode: float | None,
    level: float,
    encode: Callable[[Any], Array],
    uncertainty: Uncertainty,
) -> Shrinkage:
    """Fit a prior with a few parameters and tabulate.

    Parameters
    ----------
    data : Estimates
    name : str
        A key of `SHAPES`.
    mode : float or None
        The prior's centre; None for the regression on ``data.X``.
    level : float
    encode : function
        From covariates of new units to rows of X.
    uncertainty : str, Bootstrap or Integrate
    """
    stated = mode is not None
    X = data.X[:, :0] if stated else data.X
    enough_units(data)
    fit = fit_prior(SHAPES[name], data.y, data.se, X, 0.0 if mode is None else mode)
    values, errors = fit.natural
    names = list(SHAPES[name].names)
    prior, centre = fit.likelihood.prior_at(fit.x)
    covariance = fit.b_covariance
    plain = MixtureModel(
        prior, centre, data.y, data.se, None if stated else encode, fit.b, covariance
    )
    model = averaged(fit, plain, read_uncertainty(uncertainty))
    table = regression_table(
        () if stated else data.names, fit.b, np.sqrt(np.diag(covariance)), np.inf, level
    )
    return _tabulate(
        data,
        model,
        name,
        level,
        prior=pd.Series(values, index=names, name="prior"),
        prior_se=pd.Series(errors, index=names, name="prior_se"),
        coefficients=table,
        llf=fit.likelihood.llf(fit.x),
        notes=_at_bounds(fit),
        components=_components(prior),
        uncertainty=uncertainty,
    )


def _at_bounds(fit: PriorFit) -> tuple[str, ...]:
    shape = fit.likelihood.shape
    values, _ = fit.natural
    out = []
    for name, value, at, (low, high) in zip(
        shape.names, values, fit.theta, shape.bounds, strict=True
    ):
        if at <= low + 1e-3 or at >= high - 1e-3:
            out.append(f"The estimate of {name} is at its limit ({value:.3g}) and has no error.")
    return tuple(out)


def shrink_mixture(
    data: Estimates, name: str, grid: int | None, mode: float, level: float
) -> Shrinkage:
    """Fit a mixture on a grid of components, a convex problem, and tabulate.

    Parameters
    ----------
    data : Estimates
    name : {"scale-mixture", "unimodal", "npmle"}
    grid : int, optional
        Number of points (npmle) or of scales.
    mode : float
        Where the components share their centre or an end.
    level : float
    """
    y, s = data.y - mode, data.se
    prior = _grid_prior(y, s, name, grid)
    solved = _solve(prior, y, s)
    kept = np.flatnonzero(solved.w > 1e-7)
    fitted = _columns(prior, kept, solved.w[kept] / solved.w[kept].sum())
    none = np.zeros(0)
    centre = np.full(len(y), mode)
    model = MixtureModel(fitted, centre, data.y, s, None, none, np.zeros((0, 0)))
    values = _described(fitted, mode)
    return _tabulate(
        data,
        model,
        name,
        level,
        prior=values,
        prior_se=pd.Series(np.nan, index=values.index, name="prior_se"),
        coefficients=regression_table((), none, none, np.inf, level),
        llf=model.llf,
        notes=(
            f"{len(kept)} of {len(prior.weights)} components have weight; the log-likelihood is "
            f"within {solved.gap:.1g} of the highest on this grid.",
        ),
        components=_components(fitted),
        uncertainty="plugin",
    )


def _solve(prior: MixturePrior, y: Array, s: Array) -> Weights:
    """Weights of the components that make the estimates likeliest."""
    K = len(prior.weights)
    top = np.empty(len(y))
    for part in parts(len(y), K, _CHUNK):
        top[part] = prior.log_components(y[part], s[part]).max(axis=1)

    def densities(rows: slice, columns: IntArray | None) -> Array:
        some = prior if columns is None else _columns(prior, columns)
        L = some.log_components(y[rows], s[rows])
        L -= top[rows, None]
        return np.exp(L, out=L)

    def compressed() -> tuple[Array, Array]:
        middles, widths, counts = _alike(y, s)
        L = prior.log_components(middles, widths)
        return np.exp(L - L.max(axis=1)[:, None]), counts

    return maximise_weights_in_chunks(densities, len(y), K, compressed)


def _alike(y: Array, s: Array) -> tuple[Array, Array, Array]:
    """Estimates gathered where they and their standard errors are nearly the same.

    Means of the estimates and errors in each cell, and how many it has; cells are a twentieth of a
    standard error wide.
    """
    edges = np.unique(np.quantile(s, np.linspace(0.0, 1.0, 25)))
    group = np.clip(np.searchsorted(edges, s, side="right") - 1, 0, max(len(edges) - 2, 0))
    sums = np.bincount(group, s)
    typical = sums / np.maximum(np.bincount(group), 1)
    cell = np.floor((y - y.min()) / (0.05 * typical[group])).astype(np.int64)
    _, place = np.unique(group + len(edges) * cell, return_inverse=True)
    counts = np.bincount(place).astype(float)
    return np.bincount(place, y) / counts, np.bincount(place, s) / counts, counts


def _grid_prior(y: Array, s: Array, name: str, grid: int | None) -> MixturePrior:
    if name == "npmle":
        K = 300 if grid is None else grid
        low, high = float(y.min()), float(y.max())
        points = np.linspace(low, high, K) if high > low else np.array([low])
        return NormalMixture(np.full(len(points), 1.0 / len(points)), points, np.zeros(len(points)))
    smallest = float(s.min()) / 10.0
    largest = max(2.0 * float(np.sqrt(max(np.max(y**2 - s**2), 0.0))), 8.0 * smallest)
    steps = int(np.ceil(np.log(largest / smallest) / np.log(np.sqrt(2.0)))) + 1
    scales = np.geomspace(smallest, largest, steps if grid is None else grid)
    if name == "scale-mixture":
        sds = np.concatenate([[0.0], scales])
        return NormalMixture(np.full(len(sds), 1.0 / len(sds)), np.zeros(len(sds)), sds)
    ends = scales * np.sqrt(3.0)
    zero, none = np.zeros(1), np.zeros(len(ends))
    left, right = np.concatenate([-ends[::-1], zero, none]), np.concatenate([none, zero, ends])
    return UniformMixture(np.full(len(left), 1.0 / len(left)), left, right)


def _columns(prior: MixturePrior, columns: IntArray, weights: Array | None = None) -> MixturePrior:
    w = prior.weights[columns] if weights is None else weights
    if isinstance(prior, NormalMixture):
        return NormalMixture(w, prior.means[columns], prior.sds[columns])
    assert isinstance(prior, UniformMixture)
    return UniformMixture(w, prior.low[columns], prior.high[columns])


def _described(prior: MixturePrior, mode: float) -> pd.Series:
    if isinstance(prior, NormalMixture):
        means, variances, point = prior.means, prior.sds**2, prior.sds == 0.0
    else:
        assert isinstance(prior, UniformMixture)
        means = 0.5 * (prior.low + prior.high)
        variances, point = (prior.high - prior.low) ** 2 / 12.0, prior.low == prior.high
    mean = float(prior.weights @ means)
    sd = float(np.sqrt(prior.weights @ (variances + (means - mean) ** 2)))
    values = {"mean": mode + mean, "sd": sd}
    if not point.all():
        values = {"pi0": float(prior.weights[point].sum())} | values
    return pd.Series(values, name="prior")


def _components(prior: MixturePrior) -> pd.DataFrame:
    """The prior about its centre, a row a component."""
    if isinstance(prior, NormalMixture):
        return pd.DataFrame({"weight": prior.weights, "mean": prior.means, "sd": prior.sds})
    if isinstance(prior, UniformMixture):
        return pd.DataFrame({"weight": prior.weights, "low": prior.low, "high": prior.high})
    assert isinstance(prior, LaplaceMixture)
    sides = ["point", "left", "right"]
    return pd.DataFrame(
        {"component": sides, "weight": prior.weights, "scale": [0.0, prior.scale, prior.scale]}
    )


def _tabulate(
    data: Estimates,
    model: MixtureModel | AveragedModel,
    name: str,
    level: float,
    *,
    prior: pd.Series,
    prior_se: pd.Series,
    coefficients: pd.DataFrame,
    llf: float,
    notes: tuple[str, ...],
    components: pd.DataFrame,
    uncertainty: Uncertainty,
) -> Shrinkage:
    columns = {"label": data.labels, "estimate": data.y, "se": data.se}
    return Shrinkage(
        prior=prior,
        prior_se=prior_se,
        coefficients=coefficients,
        posterior=pd.DataFrame(columns | model.posterior(level)),
        llf=llf,
        method="ml",
        family="normal",
        behaviour=model,
        prior_name=name,
        level=level,
        notes=notes,
        components=components,
        uncertainty=uncertainty if isinstance(uncertainty, str) else repr(uncertainty),
    )
