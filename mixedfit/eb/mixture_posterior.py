"""Units under a mixture prior: posteriors in chunks, draws, predictions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtri

from mixedfit.arrays import Array
from mixedfit.eb.parts import parts
from mixedfit.eb.pieces import Pieces
from mixedfit.eb.prior_mixtures import LaplaceMixture, MixturePrior, NormalMixture, UniformMixture
from mixedfit.eb.shrinkage import Behaviour
from mixedfit.errors import DataError, ModelError

__all__ = ["MixtureModel", "summarise_pieces"]

# Numbers held at once while units are summarised.
_CHUNK = 1_000_000
_COLUMNS = ("mean", "sd", "lower", "upper", "weight", "lfsr")


def summarise_pieces(
    pieces: Callable[[slice], Pieces], centre: Array, s: Array, K: int, level: float
) -> dict[str, Array]:
    """Columns of the posterior table, units in parts.

    Parameters
    ----------
    pieces : function of a slice of units
        Their posteriors, as distances from the centre.
    centre, s : arrays of shape (J,)
    K : int
        Pieces a unit.
    level : float

    Returns
    -------
    dict of arrays of shape (J,)
        ``weight`` is the derivative of the posterior mean in the unit's own estimate, which is its
        posterior variance over its sampling variance (Tweedie's formula, differentiated).
    """
    out = np.empty((len(_COLUMNS), len(s)))
    for part in parts(len(s), K, _CHUNK):
        there = pieces(part)
        mean, variance = there.moments
        at_most = there.below(-centre[part])
        at_least = 1.0 - there.below(-centre[part], or_equal=False)
        limits = [there.quantile(p) for p in (0.5 - 0.5 * level, 0.5 + 0.5 * level)]
        out[:, part] = (
            centre[part] + mean,
            np.sqrt(variance),
            centre[part] + limits[0],
            centre[part] + limits[1],
            variance / s[part] ** 2,
            np.clip(np.minimum(at_most, at_least), 0.0, 1.0),
        )
    return dict(zip(_COLUMNS, out, strict=True))


@dataclass(frozen=True)
class MixtureModel(Behaviour):
    """Independent posteriors under a fitted mixture prior.

    Attributes
    ----------
    prior : MixturePrior
        Of the distances from the centre.
    centre : array of shape (J,)
    y, s : arrays of shape (J,)
    encode : function or None
        From covariates of new units to rows of X; None where the centre is not estimated.
    b, b_covariance : arrays of shape (p,) and (p, p)
    """

    prior: MixturePrior
    centre: Array
    y: Array
    s: Array
    encode: Callable[[Any], Array] | None
    b: Array
    b_covariance: Array

    @property
    def _parts(self) -> list[slice]:
        return parts(len(self.y), len(self.prior.weights), _CHUNK)

    def posterior(self, level: float) -> dict[str, Array]:
        """Columns of the posterior table, each of shape (J,)."""

        def pieces(part: slice) -> Pieces:
            return self.prior.posterior(self.y[part] - self.centre[part], self.s[part])[0]

        return summarise_pieces(pieces, self.centre, self.s, len(self.prior.weights), level)

    @cached_property
    def llf(self) -> float:
        """Log-likelihood of the prior."""
        return float(
            sum(
                self.prior.posterior(self.y[p] - self.centre[p], self.s[p])[1].sum()
                for p in self._parts
            )
        )

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        out = np.empty((n, len(self.y)))
        for part in self._parts:
            pieces, _ = self.prior.posterior(self.y[part] - self.centre[part], self.s[part])
            for i in range(n):
                out[i, part] = self.centre[part] + pieces.draw(rng)
        return out

    def predict(self, X: Any, level: float) -> pd.DataFrame:
        if self.encode is None:
            if X is not None:
                raise DataError("the prior's centre has no covariates; leave X out")
            centre, se = self.centre[:1], np.zeros(1)
        else:
            rows = self.encode(X)
            centre = rows @ self.b
            se = np.sqrt(np.einsum("mp,pq,mq->m", rows, self.b_covariance, rows))
        half = ndtri(0.5 + 0.5 * level) * se
        limits = _prior_quantiles(self.prior, level)
        return pd.DataFrame(
            {
                "estimate": centre,
                "se": se,
                "lower": centre - half,
                "upper": centre + half,
                "prediction_lower": centre + limits[0],
                "prediction_upper": centre + limits[1],
            }
        )

    def prior_points(self) -> tuple[Array, Array]:
        places, weights = self.prior.points
        return self._one_centre() + places, weights

    def _one_centre(self) -> float:
        size = np.abs(self.centre).max() + self.s.max()
        if np.ptp(self.centre) > 1e-9 * size:
            raise ModelError("the prior's centre depends on covariates, so there is no one prior")
        return float(self.centre[0])

    def prior_density(self, values: Array) -> Array:
        return self.prior.density(values - self._one_centre())


def _prior_quantiles(prior: MixturePrior, level: float) -> tuple[float, float]:
    """Quantiles of the prior itself: of the posterior of an estimate that says nothing."""
    if isinstance(prior, LaplaceMixture):
        tail = 0.5 - 0.5 * level
        side = float(prior.weights[2])
        x = prior.scale * np.log(side / tail) if side > tail else 0.0
        return -x, x
    sizes = prior.sds if isinstance(prior, NormalMixture) else np.zeros(1)
    reach = float(np.max(np.abs(np.concatenate([sizes, *_ends(prior)]))))
    if not reach:  # all of it at the centre
        return 0.0, 0.0
    vague = np.array([1e6 * reach])
    pieces, _ = prior.posterior(np.zeros(1), vague)
    low, high = (float(pieces.quantile(p)[0]) for p in (0.5 - 0.5 * level, 0.5 + 0.5 * level))
    return low, high


def _ends(prior: MixturePrior) -> list[Array]:
    if isinstance(prior, NormalMixture):
        return [prior.means]
    if isinstance(prior, UniformMixture):
        return [prior.low, prior.high]
    return []
