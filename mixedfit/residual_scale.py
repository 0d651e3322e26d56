"""A residual structure's parameters on the scale on which they are reported."""

from __future__ import annotations

import numpy as np

from mixedfit.arrays import Array
from mixedfit.fit import Fit

__all__ = ["own_coordinates", "residual_slopes", "residual_values"]

# Step of the central differences, in a coordinate of delta.
_STEP = 1e-5
# How far apart two points are at which parameters are told from each other's coordinates.
_AWAY = 0.1


def residual_values(fit: Fit, delta: Array | None = None) -> Array:
    """A residual structure's free parameters on their own scale, shape (s,).

    Parameters
    ----------
    fit : Fit
    delta : array of shape (s,), optional
        Where; by default the estimates.
    """
    residual = fit.design.residual
    if residual is None:
        return np.zeros(0)
    return residual.free_parameters(fit.optimum.delta if delta is None else delta)[1]


def residual_slopes(fit: Fit, delta: Array) -> Array:
    """Their derivatives in delta by central differences, shape (s, s): a row a parameter."""
    steps = _STEP * np.eye(len(delta))
    with np.errstate(all="ignore"):
        columns = [residual_values(fit, delta + h) - residual_values(fit, delta - h) for h in steps]
    return np.stack(columns, axis=1) / (2.0 * _STEP) if columns else np.zeros((0, 0))


def own_coordinates(fit: Fit) -> list[bool]:
    """Whether each parameter of the residual structure depends on one coordinate, its own."""
    delta = fit.optimum.delta
    alone = np.ones(len(delta), dtype=bool)
    for away in (0.0, _AWAY, -_AWAY):
        slopes = np.abs(residual_slopes(fit, delta + away))
        own = slopes.diagonal()
        alone &= slopes.sum(axis=1) - own <= 1e-6 * np.maximum(own, 1e-300)
    return alone.tolist()
