"""Minimisation of a smooth function with exact derivatives.

A trust-region Newton method: each step minimises the quadratic model exactly (through its
eigenvalues, so that a saddle is left along its negative curvature), and the method stops on the
*Newton decrement* ``g'H^-1 g``, the decrease the model still promises: a measure without units,
where differences of the function itself drown in rounding.

The function lives on points that carry their own local coordinates; a step in those leads to a new
point, with coordinates of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

import numpy as np

from mixedfit.arrays import Array, BoolArray, IntArray
from mixedfit.errors import ModelError

__all__ = ["Control", "Minimum", "Point", "held_at_bounds", "minimise"]


class Point(Protocol):
    """A function at one point, in r local coordinates around it."""

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

    @property
    def room(self) -> tuple[Array, Array]:
        """How far each coordinate may fall (not positive) and rise, two arrays of shape (r,)."""

    @property
    def scale(self) -> float:
        """The size of the coordinates: a first step goes about this far."""

    def move(self, step: Array) -> Self:
        """The function where a step of shape (r,) leads."""


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
    point : Point
    decrement : float
        Newton decrement left.
    nfev : int
        Evaluations of function and gradient.
    converged : bool
    """

    point: P
    decrement: float
    nfev: int
    converged: bool


def minimise(start: P, control: Control | None = None) -> Minimum[P]:
    """Minimise a function.

    Parameters
    ----------
    start : Point
        The function where the search starts.
    control : Control, optional

    Returns
    -------
    Minimum
    """
    control = control or Control()
    point, nfev, radius, exact = start, 1, 2.0 * max(1.0, start.scale), False
    while True:
        H = point.hessian if exact else point.model_hessian
        model, free, step = _within_bounds(point, H, radius)
        if model.decrement <= control.tolerance and model.convex:
            if exact or H is point.hessian:
                return Minimum(point, model.decrement, nfev, True)
            exact = True
            continue
        if nfev >= control.max_evaluations or radius < 1e-10:
            return Minimum(point, model.decrement, nfev, False)
        gain, trial = _try(point, step, H, model, free)
        nfev += 1
        length = float(np.linalg.norm(step))
        if gain < 0.25:
            radius = 0.25 * length
        elif gain > 0.75 and length > 0.8 * radius:
            radius *= 3.0
        if gain > 1e-4:
            point = trial


def _within_bounds(point: Point, H: Array, radius: float) -> tuple[_Quadratic, IntArray, Array]:
    """The quadratic model, the coordinates that can move in it, and its step within a radius.

    Coordinates whose step would leave the bounds at once stay where they are; the rest of the step
    is cut short where it meets a bound.
    """
    fall, rise = point.room
    free = np.flatnonzero(~held_at_bounds(point))
    while True:
        model = _Quadratic(point.gradient[free], H[np.ix_(free, free)])
        step = np.zeros_like(point.gradient)
        for sign in (1.0, -1.0):  # along negative curvature both ways may lead down, one outside
            step[free] = model.step(radius, sign)
            stopped = ((fall >= 0.0) & (step < 0.0)) | ((rise <= 0.0) & (step > 0.0))
            if not stopped.any():
                break
        if not stopped.any():
            break
        free = free[~stopped[free]]
    with np.errstate(divide="ignore", invalid="ignore"):
        fractions = np.where(step < 0.0, fall / step, np.where(step > 0.0, rise / step, np.inf))
    return model, free, step * min(1.0, float(fractions.min(initial=np.inf)))


def _try(point: P, step: Array, H: Array, model: _Quadratic, free: IntArray) -> tuple[float, P]:
    """The function after a step, and its decrease relative to the expected one."""
    expected = -float(point.gradient @ step + 0.5 * step @ H @ step)
    try:
        trial = point.move(step)
    except ModelError:  # out of the region where the function exists
        return -1.0, point
    if expected > 1e-12 * (1.0 + abs(point.fun)):
        return (point.fun - trial.fun) / expected, trial
    # The decrease drowns in rounding: judge by the decrement.
    left = model.promise(trial.gradient[free])
    return (1.0 if left < model.decrement else -1.0), trial


def held_at_bounds(point: Point) -> BoolArray:
    """Coordinates the gradient holds at a bound, shape (r,)."""
    fall, rise = point.room
    return ((fall >= 0.0) & (point.gradient > 0.0)) | ((rise <= 0.0) & (point.gradient < 0.0))


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

    def step(self, radius: float, sign: float = 1.0) -> Array:
        """The minimiser of the model within a radius.

        Where there are two, at a stationary point of negative curvature, ``sign`` chooses.
        """
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
                s[lowest_at] += sign * np.copysign(np.sqrt(missing), s[lowest_at])
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
