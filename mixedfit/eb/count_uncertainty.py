"""What is not known of a count prior's parameters, as points with weights.

A point is ``(b, c)`` of `count_likelihood`; the units' posterior is then a mixture of conjugate
laws over the points, which carries the uncertainty shared by all units.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import special

from mixedfit.arrays import Array
from mixedfit.eb.count_likelihood import CountFit, CountLikelihood, maximise
from mixedfit.eb.hyperparameters import (
    Bootstrap,
    Hyperprior,
    Integrate,
    Nodes,
    log_hyperprior,
    nodes_on_line,
    refits,
)
from mixedfit.errors import DataError

__all__ = ["CountNodes", "bootstrap_nodes", "integration_nodes", "plugin_node"]

# A prior this tight is a point for every practical purpose, and still a proper law.
_TIGHTEST = float(np.log(1e9))


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
    start = (fit.b, min(fit.c, 10.0))
    fits = refits(
        lambda rng: maximise(simulate(rng), start),
        options,
        "there are too few events for the bootstrap: use uncertainty='integrate'",
    )
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
    a single b is integrated by adaptive Gauss-Hermite quadrature about its conditional maximum; a
    regression's b is taken as normal there and represented by a rule exact for cubics. The rule in
    c is trapezoidal.
    """
    if options.prior == "reference":
        raise DataError(
            "the reference prior is not known for counts; use 'flat', 'half-normal' or "
            "'half-cauchy'"
        )
    conditional = _GivenPrecision(likelihood, fit.b)
    scale = 1.0 if options.scale is None else options.scale
    prior: Hyperprior = options.prior

    def log_density(c: Array) -> Array:
        s, jacobian = likelihood.spread(c)
        heights = np.array([conditional.at(float(x)).log_integral for x in c])
        return heights + log_hyperprior(prior, s, scale, np.zeros_like(s)) + jacobian

    highest = min(max(fit.c, 6.0), 12.0) + 48.0
    line = nodes_on_line(log_density, -16.0, highest, max(options.points // 4, 25))
    c, weights = _thinned(line, 2 if conditional.near_normal else 1)
    rules = [conditional.at(float(value)) for value in c]
    b = np.vstack([rule.b for rule in rules])
    sizes = [len(rule.weights) for rule in rules]
    all_weights = np.concatenate([w * rule.weights for w, rule in zip(weights, rules, strict=True)])
    kept = all_weights > 1e-6
    tight = np.minimum(np.repeat(c, sizes), _TIGHTEST)
    return CountNodes(b[kept], tight[kept], all_weights[kept] / all_weights[kept].sum())


class _Rule(NamedTuple):
    """b given c: points (K, p), weights (K,), and the log of the likelihood's integral over b."""

    b: Array
    weights: Array
    log_integral: float
    centre: Array


class _GivenPrecision:
    """The distribution of b given c; each search starts from the nearest c searched before."""

    def __init__(self, likelihood: CountLikelihood, start: Array) -> None:
        self.likelihood = likelihood
        self.start = start
        self.near_normal = float(likelihood.w.sum()) >= 30.0
        self.kept: dict[float, _Rule] = {}

    def at(self, c: float) -> _Rule:
        if c not in self.kept:
            self.kept[c] = self._find(c)
        return self.kept[c]

    def _find(self, c: float) -> _Rule:
        p = self.likelihood.X.shape[1]
        nearest = min(self.kept, key=lambda k: abs(k - c)) if self.kept else None
        b = self.start if nearest is None else self.kept[nearest].centre
        for _ in range(50):
            value, gradient, H = self.likelihood.derivatives(b, c)
            step = np.linalg.solve(-H[:p, :p], gradient[:p])
            b = b + step / max(1.0, float(np.abs(step).max()))
            if np.abs(step).max() < 1e-8:
                break
        try:
            root = np.linalg.cholesky(np.linalg.inv(-H[:p, :p]))
        except np.linalg.LinAlgError:  # only where c is far too small to matter
            return _Rule(b[None], np.ones(1), -np.inf, b)
        log_root = float(np.log(root.diagonal()).sum())
        if p > 1:
            points, weights = _cubic_rule(p)
            return _Rule(b + points @ root.T, weights, value + log_root, b)
        points, log_rule = _MANY_UNITS if self.near_normal else _FEW_UNITS
        around = b + root[0, 0] * points[:, None]
        heights = np.full(len(points), -np.inf)
        # Where c is far too small to matter, b is so loose that its exponential would overflow.
        within = np.abs(around[:, 0]) < 300.0
        heights[within] = self.likelihood.pieces(around[within], c).value @ self.likelihood.w
        log_weights = log_rule + heights + 0.5 * points**2
        total = float(special.logsumexp(log_weights))
        return _Rule(around, np.exp(log_weights - total), total + log_root, b)


def _thinned(line: Nodes, step: int) -> tuple[Array, Array]:
    """Some of the points: for a density near the normal the rule keeps its accuracy."""
    c, weights = line.at[::step], line.weights[::step]
    kept = weights > 1e-6 * weights.max()
    return c[kept], weights[kept] / weights[kept].sum()


def _cubic_rule(p: int) -> tuple[Array, Array]:
    """Points (2 p, p) and weights of a rule exact for cubics under a standard normal."""
    points = np.sqrt(p) * np.vstack([np.eye(p), -np.eye(p)])
    return points, np.full(2 * p, 0.5 / p)


def _hermite(size: int) -> tuple[Array, Array]:
    """Points and log weights for integrals against a standard normal density."""
    points, weights = np.polynomial.hermite_e.hermegauss(size)
    return points, np.log(weights / weights.sum())


_FEW_UNITS, _MANY_UNITS = _hermite(9), _hermite(5)
