"""Minimisation of a smooth function with exact derivatives.

A trust-region Newton method: each step minimises the quadratic model exactly (through its
eigenvalues, so that a saddle is left along its negative curvature), and the method stops on the
*Newton decrement* ``g'H^-1 g``, the decrease the model still promises: a measure without units,
where differences of the function itself drown in rounding.

The function lives on points that carry their own local coordinates; a step in those leads to a new
point, with coordinates of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

import numpy as np
from scipy.linalg import lapack

from mixedfit.arrays import Array, BoolArray, IntArray
from mixedfit.errors import ModelError, check_count
from mixedfit.linalg import symmetric_eigen

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
    def room(self) -> tuple[Array, Array] | None:
        """How far each coordinate may fall (not positive) and rise, two arrays of shape (r,).

        None where no coordinate has a bound.
        """

    @property
    def scale(self) -> float:
        """The size of the coordinates: a first step goes about this far."""

    def move(self, step: Array) -> Self:
        """The function where a step of shape (r,) leads."""


P = TypeVar("P", bound=Point)

# Newton decrement below which steps with the cheaper matrix should shrink it tenfold.
_NEAR = 1.0
# Newton decrement that counts as zero where rounding lets no step improve on it.
_ROUNDING = 1e-8


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
        if not (isinstance(self.tolerance, int | float) and 0.0 < self.tolerance < 1.0):
            raise ModelError(f"tolerance must lie between 0 and 1, not {self.tolerance!r}")
        check_count(self.max_evaluations, 1, "max_evaluations")


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


def minimise(
    start: P,
    control: Control | None = None,
    radius: float | None = None,
    exact_when_slow: bool = False,
) -> Minimum[P]:
    """Minimise a function.

    Parameters
    ----------
    start : Point
        The function where the search starts.
    control : Control, optional
    radius : float, optional
        How far the first step may go; by default twice the size of the coordinates.
    exact_when_slow : bool
        Whether the Hessian is worth its cost as soon as steps with the cheaper matrix shrink the
        decrement by less than ten, near the minimum.

    Returns
    -------
    Minimum
    """
    control = control or Control()
    if not len(start.gradient):
        return Minimum(start, 0.0, 1, True)
    point, nfev, exact = start, 1, False
    radius = 2.0 * max(1.0, start.scale) if radius is None else radius
    before = np.inf
    while True:
        H = point.hessian if exact else point.model_hessian
        model = _Model(point.gradient, H)
        step = model.step(radius) if point.room is None else model.step_within(*point.room, radius)
        slow = 0.1 * before < model.decrement < _NEAR
        before = model.decrement
        if slow and exact_when_slow and not exact:
            exact = True
            continue
        if model.decrement <= control.tolerance and model.convex:
            if exact or H is point.hessian:
                return Minimum(point, model.decrement, nfev, True)
            exact = True
            continue
        if nfev >= control.max_evaluations or radius < 1e-10:
            done = exact and model.convex and model.decrement <= _ROUNDING
            return Minimum(point, model.decrement, nfev, done)
        gain, trial = _try(point, step, model)
        nfev += 1
        length = math.sqrt(step @ step)
        if gain < 0.25:
            radius = 0.25 * length
        elif gain > 0.75 and length > 0.8 * radius:
            radius *= 3.0
        if gain > 1e-4:
            point = trial


def _try(point: P, step: Array, model: _Model) -> tuple[float, P]:
    """The function after a step, and its decrease relative to the expected one."""
    expected = -float(model.g @ step + 0.5 * step @ model.H @ step)
    try:
        trial = point.move(step)
    except ModelError:  # out of the region where the function exists
        return -1.0, point
    if expected > 1e-12 * (1.0 + abs(point.fun)):
        return (point.fun - trial.fun) / expected, trial
    # The decrease drowns in rounding: judge by the decrement.
    return (1.0 if model.promise(trial.gradient) < model.decrement else -1.0), trial


def held_at_bounds(point: Point) -> BoolArray:
    """Coordinates the gradient holds at a bound, shape (r,)."""
    if point.room is None:
        return np.zeros(len(point.gradient), dtype=bool)
    return _held(*point.room, point.gradient)


def _held(fall: Array, rise: Array, g: Array) -> BoolArray:
    """Coordinates at a bound where the function falls outward."""
    return ((fall >= 0.0) & (g > 0.0)) | ((rise <= 0.0) & (g < 0.0))


class _Model:
    """The quadratic model ``g's + s'Hs / 2`` over the coordinates that are free to move."""

    def __init__(self, g: Array, H: Array) -> None:
        self.g, self.H = g, H
        self._restrict(np.arange(len(g)))

    def _restrict(self, free: IntArray) -> None:
        """Let only some coordinates move."""
        self._free = free
        whole = len(free) == len(self.g)
        H = self.H if whole else self.H[np.ix_(free, free)]
        g = self.g if whole else self.g[free]
        factor, info = lapack.dpotrf(H, lower=1, clean=0)
        pivots = factor.diagonal()
        self.convex = not info and len(g) > 0 and pivots.min() > 1e-4 * pivots.max()
        self._factor: Array | None = factor if self.convex else None
        if self._factor is not None:  # far from singular: no need for eigenvalues
            self._newton = lapack.dpotrs(factor, -g, lower=1)[0]
            self.decrement = -float(g @ self._newton)
        else:
            self._decompose(H, g)

    def _decompose(self, H: Array, g: Array) -> None:
        values, vectors = symmetric_eigen(H)
        slopes = g @ vectors
        sizes = np.abs(values)
        largest = sizes.max(initial=0.0)
        # Flat directions have neither slope nor curvature above rounding: coordinates that do not
        # matter there (a rotation of zero variance).
        active = (sizes > 1e-9 * largest) | (slopes * slopes > 1e-9 * largest)
        self._values, self._slopes = values[active], slopes[active]
        self._vectors = vectors[:, active]
        self._weights = 1.0 / np.maximum(np.abs(self._values), 1e-300)
        self.convex = bool(self._values.min(initial=np.inf) > 0.0)
        self.decrement = float(self._slopes**2 @ self._weights)

    def promise(self, g: Array) -> float:
        """``g'H^-1 g`` for any gradient g, coordinates that do not move left out."""
        g = g[self._free]
        if self._factor is not None:
            return float(g @ lapack.dpotrs(self._factor, g, lower=1)[0])
        return float((g @ self._vectors) ** 2 @ self._weights)

    def step(self, radius: float, sign: float = 1.0) -> Array:
        """The minimiser of the model within a radius, shape (r,).

        Where there are two, at a stationary point of negative curvature, ``sign`` chooses.
        """
        out = np.zeros_like(self.g)
        if self._factor is not None:
            if self._newton @ self._newton <= radius * radius:
                out[self._free] = self._newton
                return out
            free = self._free
            self._factor = None
            self._decompose(self.H[np.ix_(free, free)], self.g[free])
        values, slopes = self._values, self._slopes
        shift = 0.0
        if not self.convex or np.linalg.norm(slopes / values) > radius:
            shift = _shift(values, slopes, radius)
        s = -slopes / (values + shift)
        if not self.convex:
            # At a stationary point the gradient gives no direction: complete the step to the
            # boundary along the most negative curvature.
            missing = radius**2 - float(s @ s)
            lowest = int(values.argmin())
            if missing > 1e-8 * radius**2:
                s[lowest] += sign * np.copysign(np.sqrt(missing), s[lowest])
        out[self._free] = self._vectors @ s
        return out

    def step_within(self, fall: Array, rise: Array, radius: float) -> Array:
        """The same within bounds.

        Coordinates whose step would leave the bounds at once stay where they are from now on; the
        rest of the step is cut short where it meets a bound.
        """
        held = _held(fall, rise, self.g)
        if held.any():
            self._restrict(np.flatnonzero(~held))
        while True:
            for sign in (1.0, -1.0):  # both ways along negative curvature may lead down, one out
                step = self.step(radius, sign)
                out = ((fall >= 0.0) & (step < 0.0)) | ((rise <= 0.0) & (step > 0.0))
                if not out.any():
                    break
            if not out.any():
                break
            self._restrict(self._free[~out[self._free]])
        with np.errstate(divide="ignore", invalid="ignore"):
            towards = np.where(step < 0.0, fall / step, rise / step)
        return step * min(1.0, float(towards[step != 0.0].min(initial=np.inf)))


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
