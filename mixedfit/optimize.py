"""Minimisation of a smooth function with exact derivatives, within bounds.

A trust-region Newton method: each step minimises the quadratic model exactly (through its
eigenvalues, so that a saddle is left along its negative curvature), and the method stops on the
*Newton decrement* ``g'H^-1 g``, the decrease the model still promises: a measure without units,
where differences of the function itself drown in rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np

from mixedfit.arrays import Array, IntArray
from mixedfit.errors import ModelError

__all__ = ["Control", "Minimum", "Point", "minimise"]


class Point(Protocol):
    """A function at one point."""

    @property
    def fun(self) -> float:
        """Its value."""

    @property
    def gradient(self) -> Array:
        """Its gradient, shape (r,)."""

    @property
    def hessian(self) -> Array:
        """Its Hessian, shape (r, r)."""

    @property
    def model_hessian(self) -> Array:
        """A cheaper matrix to step with, where the Hessian itself is dear."""


P = TypeVar("P", bound=Point)


@dataclass(frozen=True)
class Control:
    """How far and how long to search.

    Parameters
    ----------
    tolerance : float
        Newton decrement (on the scale of -2 log likelihood) at which the search ends.
    max_evaluations : int
        Evaluations of function and gradient after which it gives up.
    """

    tolerance: float = 1e-10
    max_evaluations: int = 200

    def __post_init__(self) -> None:
        if not 0.0 < self.tolerance < 1.0:
            raise ModelError(f"tolerance must lie between 0 and 1, not {self.tolerance!r}")
        if self.max_evaluations < 1:
            raise ModelError(f"max_evaluations must be at least 1, not {self.max_evaluations!r}")


@dataclass(frozen=True)
class Minimum(Generic[P]):
    """Where a search ended.

    Attributes
    ----------
    x : array of shape (r,)
    point : Point
        The function there.
    decrement : float
        Newton decrement left.
    nfev : int
        Evaluations of function and gradient.
    converged : bool
    """

    x: Array
    point: P
    decrement: float
    nfev: int
    converged: bool


def minimise(
    function: Callable[[Array], P],
    start: Array,
    bounds: tuple[Array, Array],
    control: Control | None = None,
) -> Minimum[P]:
    """Minimise a function.

    Parameters
    ----------
    function : callable
        From x to the function's `Point` there.
    start : array of shape (r,)
    bounds : pair of arrays of shape (r,)
        Lower and upper bounds, infinite where there are none.
    control : Control, optional

    Returns
    -------
    Minimum
    """
    control = control or Control()
    lower, upper = bounds
    x = np.clip(start, lower, upper)
    point = function(x)
    nfev, radius = 1, 2.0 * max(1.0, float(np.linalg.norm(x)))
    exact = False
    while True:
        H = point.hessian if exact else point.model_hessian
        free = _free(x, point.gradient, lower, upper)
        model = _Quadratic(point.gradient[free], H[np.ix_(free, free)])
        if model.decrement <= control.tolerance and model.convex:
            if exact or H is point.hessian:
                return Minimum(x, point, model.decrement, nfev, True)
            exact = True
            continue
        if nfev >= control.max_evaluations or radius < 1e-12:
            return Minimum(x, point, model.decrement, nfev, False)
        step = np.zeros_like(x)
        step[free] = model.step(radius)
        new = np.clip(x + step, lower, upper)
        trial = function(new)
        nfev += 1
        step = new - x
        expected = -float(point.gradient @ step + 0.5 * step @ H @ step)
        length = float(np.linalg.norm(step))
        if expected > 1e-12 * (1.0 + abs(point.fun)):
            gain = (point.fun - trial.fun) / expected
        else:  # the decrease drowns in rounding: judge by the decrement
            gain = 1.0 if model.promise(trial.gradient[free]) < model.decrement else -1.0
        if gain < 0.25:
            radius = 0.25 * length
        elif gain > 0.75 and length > 0.8 * radius:
            radius *= 3.0
        if gain > 1e-4:
            x, point = new, trial


def _free(x: Array, gradient: Array, lower: Array, upper: Array) -> IntArray:
    """Coordinates not held at a bound by the gradient."""
    held = ((x <= lower) & (gradient > 0.0)) | ((x >= upper) & (gradient < 0.0))
    return np.flatnonzero(~held)


class _Quadratic:
    """The model ``g's + s'Hs / 2`` in the coordinates of H's eigenvectors."""

    def __init__(self, g: Array, H: Array) -> None:
        self.values: Array = np.zeros(0)
        self.vectors: Array = np.zeros((0, 0))
        if len(g):
            self.values, self.vectors = np.linalg.eigh(H)
        self.g = g @ self.vectors
        size = np.abs(self.values)
        largest = size.max(initial=0.0)
        # Directions in which neither slope nor curvature is above rounding: parameters that do
        # not matter there (a rotation of zero variance).
        self.active = (size > 1e-9 * largest) | (self.g**2 > 1e-9 * largest)
        self.convex = self.values[self.active].min(initial=np.inf) > 0.0
        self._weights = self.active / np.maximum(size, 1e-300)
        self.decrement = self.promise(g)

    def promise(self, g: Array) -> float:
        """``g'H^-1 g`` for any gradient g, flat directions left out."""
        return float((g @ self.vectors) ** 2 @ self._weights)

    def step(self, radius: float) -> Array:
        """The minimiser of the model within a radius."""
        values, g = self.values[self.active], self.g[self.active]
        lowest = float(values.min(initial=np.inf))
        shift = 0.0
        if lowest <= 0.0 or np.linalg.norm(g / values) > radius:
            shift = _shift(values, g, radius)
        inside = np.zeros_like(self.g)
        s = -g / (values + shift)
        if lowest < 0.0:
            # At a stationary point of negative curvature the gradient gives no direction: complete
            # the step to the boundary along the most negative one.
            missing = radius**2 - float(s @ s)
            lowest_at = int(values.argmin())
            if missing > 1e-8 * radius**2:
                s[lowest_at] += np.copysign(np.sqrt(missing), s[lowest_at])
        inside[self.active] = s
        return self.vectors @ inside


def _shift(values: Array, g: Array, radius: float) -> float:
    """The number to add to the eigenvalues so that the step has length radius (at most)."""
    low = max(0.0, -float(values.min()))
    floor = low + 1e-10 * (1.0 + np.abs(values).max())
    if np.linalg.norm(g / (values + floor)) <= radius:
        return floor
    high = floor + float(np.linalg.norm(g)) / radius
    shift = floor
    for _ in range(60):
        s = g / (values + shift)
        length = float(np.linalg.norm(s))
        if abs(length - radius) <= 0.01 * radius:
            break
        low, high = (shift, high) if length > radius else (low, shift)
        slope = float(np.sum(s * s / (values + shift)))
        shift += (length - radius) / radius * length * length / slope
        if not low < shift < high:
            shift = 0.5 * (low + high)
    return shift
