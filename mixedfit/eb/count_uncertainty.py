"""What is not known of a count prior's parameters, as points with weights.

A point is ``(b, c)`` of `count_likelihood`; the units' posterior is then a mixture of conjugate
laws over the points, which carries the uncertainty shared by all units.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from mixedfit.arrays import Array
from mixedfit.eb.count_likelihood import CountFit, CountLikelihood, maximise
from mixedfit.eb.hyperparameters import (
    Bootstrap,
    Hyperprior,
    Integrate,
    log_hyperprior,
    nodes_on_line,
)
from mixedfit.errors import DataError, ModelError

__all__ = ["CountNodes", "bootstrap_nodes", "integration_nodes", "plugin_node"]

# A prior this tight is a point for every practical purpose, and still a proper law.
_TIGHTEST = float(np.log(1e9))
_GROUPED = 48


class CountNodes(NamedTuple):
    """Points of the hyperparameters.

    Attributes
    ----------
    b : array of shape (K, p)
    c : array of shape (K,)
    weights : array of shape (K,)
        Adding up to 1.
    """

    b: Array
    c: Array
    weights: Array


def plugin_node(fit: CountFit) -> CountNodes:
    """The estimate alone."""
    return CountNodes(fit.b[None], np.array([min(fit.c, _TIGHTEST)]), np.ones(1))


def bootstrap_nodes(
    fit: CountFit,
    simulate: Callable[[np.random.Generator], CountLikelihood],
    options: Bootstrap,
) -> CountNodes:
    """Refits of data sets simulated from the fitted model (Laird & Louis 1987, type III).

    Data sets without a maximum, such as those without any event, are drawn again.
    """
    rng = np.random.default_rng(options.seed)
    start = (fit.b, min(fit.c, 10.0))
    fits: list[CountFit] = []
    failed = 0
    while len(fits) < options.n:
        try:
            fits.append(maximise(simulate(rng), start))
        except (ModelError, np.linalg.LinAlgError):
            failed += 1
            if failed > options.n:
                raise ModelError(
                    "most data sets simulated from the fitted model have no maximum: too few "
                    "events for the bootstrap; use uncertainty='integrate'"
                ) from None
    b = np.array([refit.b for refit in fits])
    c = np.minimum([refit.c for refit in fits], _TIGHTEST)
    return CountNodes(b, c, np.full(options.n, 1.0 / options.n))


def integration_nodes(
    likelihood: CountLikelihood,
    fit: CountFit,
    options: Integrate,
) -> CountNodes:
    """The posterior of the hyperparameters: c on a line, b given c by its normal approximation.

    Notes
    -----
    The hyperprior is on the prior's relative standard deviation, s(c); b has a flat prior. Given c,
    b is taken as normal about its conditional maximum, and represented by a rule exact for cubics;
    the rule in c is trapezoidal.
    """
    if options.prior == "reference":
        raise DataError(
            "the reference prior is not known for counts; use 'flat', 'half-normal' or "
            "'half-cauchy'"
        )
    conditional = _ConditionalMaxima(likelihood, fit.b)
    scale = 1.0 if options.scale is None else options.scale
    prior: Hyperprior = options.prior

    def log_density(c: Array) -> Array:
        s, jacobian = likelihood.spread(c)
        heights = np.array([conditional.at(float(x))[2] for x in c])
        return heights + log_hyperprior(prior, s, scale, np.zeros_like(s)) + jacobian

    highest = min(max(fit.c, 6.0), 12.0) + 48.0
    line = nodes_on_line(log_density, -16.0, highest, options.points)
    c, weights = _grouped(line.at, line.weights)
    points, rule = _cubic_rule(likelihood.X.shape[1])
    b, all_c, all_weights = [], [], []
    for value, weight in zip(c, weights, strict=True):
        centre_b, root, _ = conditional.at(float(value))
        b.append(centre_b + points @ root.T)
        all_c.append(np.full(len(rule), min(value, _TIGHTEST)))
        all_weights.append(weight * rule)
    return CountNodes(np.vstack(b), np.concatenate(all_c), np.concatenate(all_weights))


class _ConditionalMaxima:
    """For each c: the best b, a root of its covariance, and the log-likelihood with b integrated.

    Each search starts from the nearest c searched before.
    """

    def __init__(self, likelihood: CountLikelihood, start: Array) -> None:
        self.likelihood = likelihood
        self.start = start
        self.kept: dict[float, tuple[Array, Array, float]] = {}

    def at(self, c: float) -> tuple[Array, Array, float]:
        if c not in self.kept:
            self.kept[c] = self._find(c)
        return self.kept[c]

    def _find(self, c: float) -> tuple[Array, Array, float]:
        p = self.likelihood.X.shape[1]
        b = self.kept[min(self.kept, key=lambda k: abs(k - c))][0] if self.kept else self.start
        for _ in range(50):
            value, gradient, H = self.likelihood.derivatives(b, c)
            step = np.linalg.solve(-H[:p, :p], gradient[:p])
            b = b + step / max(1.0, float(np.abs(step).max()))
            if np.abs(step).max() < 1e-8:
                break
        try:
            root = np.linalg.cholesky(np.linalg.inv(-H[:p, :p]))
        except np.linalg.LinAlgError:  # only where c is far too small to matter
            return b, np.zeros((p, p)), -np.inf
        return b, root, value + float(np.log(root.diagonal()).sum())


def _grouped(c: Array, weights: Array) -> tuple[Array, Array]:
    """Neighbouring points joined into some 48 of about equal weight, keeping their mean."""
    kept = weights > 1e-9
    c, weights = c[kept], weights[kept]
    place = np.minimum((np.cumsum(weights) - 0.5 * weights) * _GROUPED, _GROUPED - 1).astype(int)
    total = np.bincount(place, weights, minlength=_GROUPED)
    mean = np.bincount(place, weights * c, minlength=_GROUPED)
    filled = total > 0.0
    return mean[filled] / total[filled], total[filled] / total.sum()


def _cubic_rule(p: int) -> tuple[Array, Array]:
    """Points (K, p) and weights (K,) of a rule exact for cubics under a standard normal."""
    if p == 1:
        return np.array([[-np.sqrt(3.0)], [0.0], [np.sqrt(3.0)]]), np.array([1.0, 4.0, 1.0]) / 6.0
    points = np.sqrt(p) * np.vstack([np.eye(p), -np.eye(p)])
    return points, np.full(2 * p, 0.5 / p)
