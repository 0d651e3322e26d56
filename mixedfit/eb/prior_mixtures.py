"""Priors that are mixtures: of normals, of uniforms from one mode, of two-sided exponentials.

Each knows the marginal density of an estimate under each of its components, and the posterior that
follows. Values are distances from the prior's centre.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from scipy.special import erfcx, log_ndtr

from mixedfit.arrays import Array
from mixedfit.eb.pieces import Pieces, log_interval

__all__ = [
    "LaplaceMixture",
    "MixturePrior",
    "NormalMixture",
    "UniformMixture",
    "log_exponential_side",
]

_LOG_ROOT_2PI = 0.5 * np.log(2.0 * np.pi)
_ROOT_2 = np.sqrt(2.0)


def log_exponential_side(z: Array, shift: Array) -> tuple[Array, Array]:
    """``log(exp(shift z + shift^2 / 2) Phi(-z - shift))`` and its derivative in shift.

    The convolution of a standard normal with one side of an exponential, whatever the sizes: where
    the exponent and the tail would cancel, their product is written with ``erfcx``.
    """
    u = z + shift
    scaled = erfcx(u / _ROOT_2)
    left = u < 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        tail = np.log(0.5 * np.where(left, 1.0, scaled)) - 0.5 * z**2
        body = shift * z + 0.5 * shift**2 + log_ndtr(np.maximum(-u, 0.0))
    far = u > 70.0
    inverse = 1.0 / np.where(far, u, 1.0)
    series = -inverse + 2.0 * inverse**3 - 10.0 * inverse**5
    slope = np.where(far, series, u - np.sqrt(2.0 / np.pi) / scaled)
    return np.where(left, body, tail), slope


@dataclass(frozen=True)
class MixturePrior(ABC):
    """A prior with K components.

    Attributes
    ----------
    weights : array of shape (K,)
        Adding up to 1.
    """

    weights: Array

    @abstractmethod
    def log_components(self, d: Array, s: Array) -> Array:
        """Log density of estimates at distances d with standard errors s, (n, K)."""

    @abstractmethod
    def density(self, x: Array) -> Array:
        """Density of the prior's continuous part at x of shape (m,)."""

    @property
    @abstractmethod
    def points(self) -> tuple[Array, Array]:
        """Values that have positive probability, and the probabilities."""

    @abstractmethod
    def _pieces(self, d: Array, s: Array, weights: Array) -> Pieces:
        """Posteriors given the weights of the components, (n, K)."""

    def posterior(self, d: Array, s: Array) -> tuple[Pieces, Array]:
        """Posteriors of units, and the log marginal densities of their estimates, (n,)."""
        joint = self.log_components(d, s)
        with np.errstate(divide="ignore"):
            joint += np.log(self.weights)
        top = joint.max(axis=1)
        np.exp(joint - top[:, None], out=joint)
        total = joint.sum(axis=1)
        joint /= total[:, None]
        return self._pieces(d, s, joint), top + np.log(total)


@dataclass(frozen=True)
class NormalMixture(MixturePrior):
    """Normals.

    Attributes
    ----------
    weights : array of shape (K,)
    means, sds : arrays of shape (K,)
        A standard deviation of 0 is a point.
    """

    means: Array
    sds: Array

    def log_components(self, d: Array, s: Array) -> Array:
        # One column is enough where all components are equally wide.
        widths = self.sds[:1] if np.ptp(self.sds) == 0.0 else self.sds
        variance = s[:, None] ** 2 + widths**2
        out = d[:, None] - self.means
        out *= out
        out /= variance
        out += np.log(variance)
        out *= -0.5
        out -= _LOG_ROOT_2PI
        return out

    def density(self, x: Array) -> Array:
        wide = self.sds > 0.0
        z = (x[:, None] - self.means[wide]) / self.sds[wide]
        return np.exp(-0.5 * z * z - _LOG_ROOT_2PI) / self.sds[wide] @ self.weights[wide]

    @property
    def points(self) -> tuple[Array, Array]:
        at = self.sds == 0.0
        return self.means[at], self.weights[at]

    def _pieces(self, d: Array, s: Array, weights: Array) -> Pieces:
        own = self.sds**2 / (self.sds**2 + s[:, None] ** 2)
        loc = self.means + own * (d[:, None] - self.means)
        return Pieces(weights, loc, np.sqrt(own) * s[:, None])


@dataclass(frozen=True)
class UniformMixture(MixturePrior):
    """Uniform distributions that share an end at 0, so that the mixture has its mode there.

    Attributes
    ----------
    weights : array of shape (K,)
    low, high : arrays of shape (K,)
        Equal for the point at 0.
    """

    low: Array
    high: Array

    def log_components(self, d: Array, s: Array) -> Array:
        point = self.low == self.high
        z = d[:, None] / s[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            mass = log_interval(self.low / s[:, None] - z, self.high / s[:, None] - z)
            spread = mass - np.log(self.high - self.low)
        at_point = -0.5 * z * z - _LOG_ROOT_2PI - np.log(s[:, None])
        return np.where(point, at_point, spread)

    def density(self, x: Array) -> Array:
        wide = self.high > self.low
        low, high = self.low[wide], self.high[wide]
        inside = (x[:, None] >= low) & (x[:, None] <= high)
        return (inside / (high - low)) @ self.weights[wide]

    @property
    def points(self) -> tuple[Array, Array]:
        at = self.low == self.high
        return self.low[at], self.weights[at]

    def _pieces(self, d: Array, s: Array, weights: Array) -> Pieces:
        point = self.low == self.high
        loc = np.where(point, 0.0, d[:, None])
        scale = np.where(point, 0.0, s[:, None])
        return Pieces(weights, loc, scale, self.low, self.high)


@dataclass(frozen=True)
class LaplaceMixture(MixturePrior):
    """A point at 0 and exponentials to its left and right.

    Attributes
    ----------
    weights : array of shape (3,)
        Of the point, the left and the right side.
    scale : float
        Mean of each exponential.
    """

    scale: float

    def log_components(self, d: Array, s: Array) -> Array:
        z, shift = d / s, s / self.scale
        out = np.empty((len(d), 3))
        out[:, 0] = -0.5 * z * z - _LOG_ROOT_2PI - np.log(s)
        out[:, 1] = log_exponential_side(z, shift)[0] - np.log(self.scale)
        out[:, 2] = log_exponential_side(-z, shift)[0] - np.log(self.scale)
        return out

    def density(self, x: Array) -> Array:
        side = np.where(x < 0.0, self.weights[1], self.weights[2])
        return side * np.exp(-np.abs(x) / self.scale) / self.scale

    @property
    def points(self) -> tuple[Array, Array]:
        has = self.weights[:1] > 0.0
        return np.zeros(1)[has], self.weights[:1][has]

    def _pieces(self, d: Array, s: Array, weights: Array) -> Pieces:
        shift = s**2 / self.scale
        loc = np.stack([np.zeros_like(d), d + shift, d - shift], axis=1)
        scale = np.stack([np.zeros_like(s), s, s], axis=1)
        return Pieces(
            weights, loc, scale, np.array([0.0, -np.inf, 0.0]), np.array([0.0, 0.0, np.inf])
        )
