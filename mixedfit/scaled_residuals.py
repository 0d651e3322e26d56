"""Residuals scaled by simulation: where each observation falls among responses of the model.

For a model that holds, an observation and m responses simulated for its row are exchangeable, so
that its randomised rank is uniform (Dunn & Smyth 1996, J. Comput. Graph. Stat. 5), whatever the
model. Whole simulated responses are exchangeable with the observed one too: the same statistic of
each of them gives every test its exact null distribution, correlated rows included.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from mixedfit.arrays import Array
from mixedfit.errors import ModelError, check_count
from mixedfit.fit import Fit
from mixedfit.predict import fitted_values, simulate
from mixedfit.seeds import generator_of

__all__ = ["Effects", "ScaledResiduals", "scaled_residuals"]

Effects = Literal["new", "fitted"]

# Numbers a simulation may hold at once.
_ROOM = 2e8


@dataclass(frozen=True, repr=False)
class ScaledResiduals:
    """Randomised probability integral transforms of the observations.

    Attributes
    ----------
    residuals : Series
        One a row used, uniform between 0 and 1 where the model holds.
    tests : DataFrame
        A row a test: test, statistic, expected, p. *uniformity*: the largest distance between the
        residuals' distribution and the uniform one (Kolmogorov); *dispersion*: mean square about
        the simulated mean over its average in simulations; *outliers*: rows outside all
        simulations.
        p-values are two-sided (one-sided for uniformity), from the simulated responses.
    n_simulations : int
    effects : {"new", "fitted"}
        Whether random effects were drawn anew, or held at their predictions.
    """

    residuals: pd.Series
    tests: pd.DataFrame
    n_simulations: int
    effects: Effects

    def __repr__(self) -> str:
        drawn = "drawn anew" if self.effects == "new" else "held at their predictions"
        return (
            f"Scaled residuals of {len(self.residuals)} rows from {self.n_simulations} "
            f"simulations, random effects {drawn}\n{self.tests.to_string(index=False)}"
        )


def scaled_residuals(
    fit: Fit,
    n: int = 250,
    seed: int | np.random.Generator | None = None,
    effects: Effects = "new",
) -> ScaledResiduals:
    """Scale residuals by simulation and test them.

    Parameters
    ----------
    fit : Fit
    n : int
        Simulated responses.
    seed : int or numpy Generator, optional
    effects : {"new", "fitted"}
        Draw random effects anew, or hold them at their predictions.

    Raises
    ------
    ModelError
        If n is too small, or the simulations would not fit in memory.
    """
    if effects not in ("new", "fitted"):
        raise ModelError(f"effects must be 'new' or 'fitted', not {effects!r}")
    n = check_count(n, 20)
    if n * fit.n > _ROOM:
        raise ModelError(
            f"{n} simulations of {fit.n} rows do not fit in memory; pass n={int(_ROOM / fit.n)} "
            "or fewer"
        )
    rng = generator_of(seed)
    responses = np.column_stack([fit.design.y, _simulated(fit, n, rng, effects)])
    places = _ranks(responses)
    uniform = (places + rng.random(places.shape)) / (n + 1)
    mean = responses[:, 1:].mean(axis=1)
    squares = np.square(responses - mean[:, None]).mean(axis=0)
    outside = ((places == 0) | (places == n)).sum(axis=0)
    distance = _distance_from_uniform(uniform)
    tests = pd.DataFrame(
        {
            "test": ["uniformity", "dispersion", "outliers"],
            "statistic": [distance[0], squares[0] / squares[1:].mean(), float(outside[0])],
            "expected": [float(distance[1:].mean()), 1.0, float(outside[1:].mean())],
            "p": [_upper(distance), _two_sided(squares), _two_sided(outside)],
        }
    )
    residuals = pd.Series(uniform[:, 0], index=fit.design.index, name="scaled")
    return ScaledResiduals(residuals, tests, n, effects)


def _simulated(fit: Fit, n: int, rng: np.random.Generator, effects: Effects) -> Array:
    if effects == "new":
        return simulate(fit, n, rng).to_numpy()
    noise = fit.estimate.sigma * rng.standard_normal((fit.n, n))
    if fit.whitening is not None:
        noise = fit.whitening.multiply_root(noise.T).T
    if fit.design.weights is not None:
        noise /= np.sqrt(fit.design.weights)[:, None]
    return np.asarray(fitted_values(fit)[:, None] + noise)


def _ranks(responses: Array) -> Array:
    """Place of each number in its row, from 0."""
    order = np.argsort(responses, axis=1)
    ranks = np.empty(responses.shape)
    columns = np.broadcast_to(np.arange(responses.shape[1], dtype=float), responses.shape)
    np.put_along_axis(ranks, order, columns, axis=1)
    return ranks


def _distance_from_uniform(values: Array) -> Array:
    """Kolmogorov's distance of each column from the uniform distribution."""
    n = len(values)
    ordered = np.sort(values, axis=0)
    steps = np.arange(1, n + 1)[:, None] / n
    above, below = (steps - ordered).max(axis=0), (ordered - steps + 1.0 / n).max(axis=0)
    return np.maximum(above, below)


def _upper(statistic: Array) -> float:
    """Share of all that are at least as large as the first."""
    return float(np.mean(statistic >= statistic[0]))


def _two_sided(statistic: Array) -> float:
    return min(1.0, 2.0 * min(_upper(statistic), _upper(-statistic)))
