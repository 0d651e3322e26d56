"""Posteriors made of truncated normals and points, one mixture a unit."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import log_ndtr, ndtr, ndtri, ndtri_exp

from mixedfit.arrays import Array, BoolArray
from mixedfit.eb.mixtures import quantiles

__all__ = ["Pieces", "log_interval", "truncated_moments"]

_LOG_ROOT_2PI = 0.5 * np.log(2.0 * np.pi)
# Below this width, in standard deviations, an interval is treated as nearly uniform.
_NARROW = 1e-3


def log_interval(a: Array, b: Array) -> Array:
    """``log(Phi(b) - Phi(a))`` without cancellation in either tail, for ``a < b``."""
    swap = a + b > 0.0
    low, high = np.where(swap, -b, a), np.where(swap, -a, b)
    top = log_ndtr(high)
    with np.errstate(divide="ignore", invalid="ignore"):
        out = top + np.log1p(-np.exp(log_ndtr(low) - top))
        width = b - a
        middle = 0.5 * (a + b)
        flat = np.log(width) - 0.5 * middle**2 - _LOG_ROOT_2PI
    return np.where(width < _NARROW, flat, out)


def truncated_moments(a: Array, b: Array) -> tuple[Array, Array]:
    """Mean and variance of a standard normal restricted to ``a < x < b``.

    Parameters
    ----------
    a, b : arrays
        Limits, infinite ones allowed; ``a < b``.
    """
    swap = a + b > 0.0
    low, high = np.where(swap, -b, a), np.where(swap, -a, b)
    mass = log_interval(low, high)
    with np.errstate(invalid="ignore", over="ignore"):
        at_low = np.exp(-0.5 * low**2 - _LOG_ROOT_2PI - mass)
        at_high = np.exp(-0.5 * high**2 - _LOG_ROOT_2PI - mass)
        mean = at_low - at_high
        turn = np.where(np.isinf(low), 0.0, low * at_low) - np.where(
            np.isinf(high), 0.0, high * at_high
        )
        variance = 1.0 + turn - mean**2
        width = high - low
        middle = 0.5 * (low + high)
        narrow = width < _NARROW
        # Far in the tail the restriction is exponential with rate |high|.
        tail = ~narrow & (high < -1e3)
    mean = np.where(narrow, middle * (1.0 - width**2 / 12.0), mean)
    variance = np.where(narrow, width**2 / 12.0, variance)
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = np.where(tail, -high, 1.0)
        mean = np.where(tail, high - 1.0 / rate, mean)
        variance = np.where(tail, 1.0 / rate**2, variance)
    mean = np.clip(mean, low, high)
    return np.where(swap, -mean, mean), np.maximum(variance, 0.0)


@dataclass(frozen=True)
class Pieces:
    """For each of n units a mixture of K normals, each restricted to an interval.

    Attributes
    ----------
    weights : array of shape (n, K)
        Adding up to 1 over K.
    loc, scale : arrays of shape (n, K)
        Of the normals before restriction; a scale of 0 is a point at ``loc``.
    low, high : arrays of shape (K,) or (n, K), or None
        The intervals; None where nothing is restricted.
    """

    weights: Array
    loc: Array
    scale: Array
    low: Array | None = None
    high: Array | None = None

    @cached_property
    def points(self) -> BoolArray:
        """Which pieces are points, shape (K,)."""
        return (self.scale == 0.0).all(axis=0)

    @cached_property
    def _unit(self) -> Array:
        return np.where(self.scale == 0.0, 1.0, self.scale)

    @cached_property
    def _limits(self) -> tuple[Array, Array]:
        assert self.low is not None
        assert self.high is not None
        a = np.where(self.points, -1.0, (self.low - self.loc) / self._unit)
        b = np.where(self.points, 1.0, (self.high - self.loc) / self._unit)
        return a, b

    @cached_property
    def _mass(self) -> Array:
        return log_interval(*self._limits)

    @cached_property
    def moments(self) -> tuple[Array, Array]:
        """Means and variances of the mixtures, each of shape (n,)."""
        mean, variance = self.loc, self.scale**2
        if self.low is not None:
            shift, shrink = truncated_moments(*self._limits)
            mean, variance = self.loc + self.scale * shift, variance * shrink
        whole = np.einsum("nk,nk->n", self.weights, mean)
        spread = (mean - whole[:, None]) ** 2 + variance
        return whole, np.einsum("nk,nk->n", self.weights, spread)

    def below(self, x: Array, *, or_equal: bool = True) -> Array:
        """Probability of a value below x (or equal to it), for x of shape (n,)."""
        z = (x[:, None] - self.loc) / self._unit
        if self.low is None:
            inside = ndtr(z)
        else:
            a, b = self._limits
            clipped = np.clip(z, a, b)
            with np.errstate(divide="ignore"):
                share = np.exp(log_interval(a, np.maximum(clipped, a)) - self._mass)
            inside = np.where(clipped <= a, 0.0, np.where(clipped >= b, 1.0, share))
        if self.points.any():
            step = self.loc <= x[:, None] if or_equal else self.loc < x[:, None]
            inside = np.where(self.points, step, inside)
        return np.minimum(np.einsum("nk,nk->n", self.weights, inside), 1.0)

    def density(self, x: Array) -> Array:
        """Density of the continuous part at x of shape (n,)."""
        z = (x[:, None] - self.loc) / self._unit
        log_density = -0.5 * z * z - _LOG_ROOT_2PI
        if self.low is not None:
            a, b = self._limits
            log_density = np.where((z < a) | (z > b), -np.inf, log_density - self._mass)
        values = np.where(self.points, 0.0, np.exp(log_density) / self._unit)
        return np.einsum("nk,nk->n", self.weights, values)

    def quantile(self, p: float) -> Array:
        """The smallest x with a probability of at least p at or below it, shape (n,)."""
        if self.points.all():
            return self._point_quantile(p)
        if self._apart:
            return self._quantile_apart(p)
        out = np.empty(len(self.loc))
        left = np.ones(len(out), dtype=bool)
        for k in np.flatnonzero(self.points):
            x = self.loc[:, k]
            at = (self.below(x, or_equal=False) < p) & (p <= self.below(x))
            out[at] = x[at]
            left &= ~at
        if left.any():
            part = self.take(left)
            mean, variance = part.moments
            sd = np.sqrt(variance)
            low, high = part.bracket(p)
            start = np.clip(mean + ndtri(p) * sd, low, high)
            out[left] = quantiles(p, part.below, part.density, low, high, start)
        return out

    @cached_property
    def _apart(self) -> bool:
        """Whether, points aside, no two pieces overlap."""
        if (~self.points).sum() == 1:
            return True
        if self.low is None or self.high is None or self.low.ndim != 1:
            return False
        order = np.argsort(self.low + self.high)
        return bool((self.high[order][:-1] <= self.low[order][1:]).all())

    def _quantile_apart(self, p: float) -> Array:
        """Quantiles in closed form: find the piece, then invert it."""
        n, K = self.loc.shape
        rows = np.arange(n)
        wide = np.flatnonzero(~self.points)
        if len(wide) == 1 and self.low is None:
            k = int(wide[0])
            return self._quantile_with_points(p, k)
        order = np.argsort(self.low + self.high)  # type: ignore[operator]
        total = np.cumsum(self.weights[:, order], axis=1)
        place = np.minimum((total < p * total[:, -1:]).sum(axis=1), K - 1)
        before = np.where(place > 0, total[rows, place - 1], 0.0)
        k = order[place]
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.clip((p * total[:, -1] - before) / self.weights[rows, k], 0.0, 1.0)
        a, b = (limit[rows, k] for limit in self._limits)
        inside = self.loc[rows, k] + self.scale[rows, k] * _between(a, b, share)
        return np.where(self.points[k], self.loc[rows, k], inside)

    def _quantile_with_points(self, p: float, k: int) -> Array:
        """One normal and any points: either a point, or the normal less the points below."""
        loc, scale, weight = self.loc[:, k], self.scale[:, k], self.weights[:, k]
        points = np.flatnonzero(self.points)
        points = points[np.argsort(self.loc[0, points])]
        below = np.zeros(len(loc))
        out = np.full(len(loc), np.nan)
        for point in points:
            x = self.loc[:, point]
            reached = below + weight * ndtr((x - loc) / scale)
            with np.errstate(invalid="ignore", divide="ignore"):
                normal = loc + scale * ndtri(np.clip((p - below) / weight, 0.0, 1.0))
            here = np.isnan(out) & (p <= reached + self.weights[:, point])
            out = np.where(here, np.where(p < reached, normal, x), out)
            below = below + self.weights[:, point]
        with np.errstate(invalid="ignore", divide="ignore"):
            normal = loc + scale * ndtri(np.clip((p - below) / weight, 0.0, 1.0))
        return np.where(np.isnan(out), normal, out)

    def take(self, mask: BoolArray) -> Pieces:
        """Some of the units."""

        def part(limit: Array | None) -> Array | None:
            return limit if limit is None or limit.ndim == 1 else limit[mask]

        return Pieces(
            self.weights[mask], self.loc[mask], self.scale[mask], part(self.low), part(self.high)
        )

    def bracket(self, p: float) -> tuple[Array, Array]:
        """Limits that hold the quantile at p of every unit, each of shape (n,)."""
        reach = abs(float(ndtri(min(p, 1.0 - p)))) + 1.0
        low, high = self.loc - reach * self.scale, self.loc + reach * self.scale
        if self.low is not None and self.high is not None:
            # A normal far outside its interval lives within a few scales of the nearer limit.
            nearest = np.clip(self.loc, self.low, self.high)
            wide = (reach + 4.0) ** 2 * self.scale
            low = np.where(self.points, self.loc, np.maximum(nearest - wide, self.low))
            high = np.where(self.points, self.loc, np.minimum(nearest + wide, self.high))
        return low.min(axis=1), high.max(axis=1)

    def _point_quantile(self, p: float) -> Array:
        order = np.argsort(self.loc[0])
        total = np.cumsum(self.weights[:, order], axis=1)
        place = np.argmax(total >= min(p, 1.0) * total[:, -1:], axis=1)
        rows = np.arange(len(total))
        return self.loc[:, order][rows, place]

    def draw(self, rng: np.random.Generator) -> Array:
        """One value a unit, shape (n,)."""
        n = len(self.loc)
        total = np.cumsum(self.weights, axis=1)
        chosen = np.minimum(
            (total < rng.random(n)[:, None] * total[:, -1:]).sum(axis=1), total.shape[1] - 1
        )
        rows = np.arange(n)
        loc, scale = self.loc[rows, chosen], self.scale[rows, chosen]
        if self.low is None:
            return loc + scale * rng.standard_normal(n)
        a, b = (limit[rows, chosen] for limit in self._limits)
        return loc + scale * _between(a, b, rng.random(n))


def _between(a: Array, b: Array, u: Array) -> Array:
    """Quantiles u of standard normals restricted to a < x < b, on the log scale in the tails."""
    swap = a + b > 0.0
    low, high = np.where(swap, -b, a), np.where(swap, -a, b)
    u = np.where(swap, 1.0 - u, u)
    top, bottom = log_ndtr(high), log_ndtr(low)
    with np.errstate(divide="ignore"):
        log_p = top + np.log(u + (1.0 - u) * np.exp(bottom - top))
    x = np.clip(ndtri_exp(log_p), low, high)
    return np.where(swap, -x, x)
