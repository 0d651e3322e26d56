"""Variance functions over the rows of a model: logarithms of relative standard deviations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import numpy as np

from mixedfit.arrays import Array, IntArray
from mixedfit.linalg import independent_columns
from mixedfit.residual_form import FromFit

__all__ = ["BoundVariance", "ConstPower", "LogLinear", "Product"]


class BoundVariance(ABC):
    """A variance function over the n rows of a model.

    Attributes
    ----------
    start : array of shape (r,)
        Free coordinates to start from.
    bounds : pair of arrays of shape (r,)
        Where a coordinate is as good as at its limit.
    from_fit : {"fitted", "resid"} or None
        Where the covariate is taken from the fit, and so changes with it; "resid" where several
        functions take both.
    """

    start: Array
    bounds: tuple[Array, Array]
    from_fit: FromFit | None = None

    @property
    def n_params(self) -> int:
        """Number of free coordinates r."""
        return len(self.start)

    @property
    def elsewhere(self) -> list[Array]:
        """Other coordinates worth a look, where the likelihood may have several maxima."""
        return []

    @property
    def identified(self) -> bool:
        """Whether these rows tell its parameters from each other and from sigma."""
        _, D = self.log_sd(self.start + 0.3)  # away from zeros, where derivatives may vanish
        length = np.linalg.norm(D, axis=1, keepdims=True)
        same = np.ones(D.shape[1])  # what sigma does: all rows move alike
        columns = np.vstack([D / np.where(length > 0.0, length, 1.0), same]).T
        return len(independent_columns(columns)) == columns.shape[1]

    @abstractmethod
    def log_sd(self, delta: Array) -> tuple[Array, Array]:
        """Logarithms of the relative standard deviations, (n,), and derivatives, (r, n)."""

    @abstractmethod
    def natural(self, delta: Array) -> tuple[list[str], Array]:
        """Names and values of the free parameters on their own scale."""

    @abstractmethod
    def with_covariate(self, fitted: Array, resid: Array) -> BoundVariance:
        """The same with the covariate taken from a fit, each of shape (n,)."""

    @abstractmethod
    def take(self, rows: IntArray) -> BoundVariance:
        """The same function over some of the rows, which may repeat."""


@dataclass(frozen=True)
class LogLinear(BoundVariance):
    """``log sd = base + sum_s delta_s x [stratum s]``: VarIdent, VarPower, VarExp, VarFixed.

    `x` is None until a covariate that comes from the fit is known: all rows are then alike.
    """

    start: Array
    names: tuple[str, ...]
    held: Array
    """Coordinate of each stratum where it is held fixed, else nan; shape (strata,)."""
    strata: IntArray
    x: Array | None
    base: Array | None = None
    exponentiate: bool = False
    """Whether the natural parameter is the exponential of the coordinate."""
    from_fit: FromFit | None = None
    logarithm: bool = False
    """Whether a covariate from the fit enters by the logarithm of its size."""

    @property
    def bounds(self) -> tuple[Array, Array]:  # type: ignore[override]
        limit = np.full(self.n_params, 30.0 if self.exponentiate else np.inf)
        return -limit, limit

    def log_sd(self, delta: Array) -> tuple[Array, Array]:
        x = np.zeros(len(self.strata)) if self.x is None else self.x
        coefficients = self.held.copy()
        free = np.flatnonzero(np.isnan(self.held))
        coefficients[free] = delta
        derivatives = np.zeros((len(free), len(x)))
        for row, stratum in enumerate(free):
            inside = self.strata == stratum
            derivatives[row, inside] = x[inside]
        log_sd = coefficients[self.strata] * x if len(coefficients) else np.zeros(len(x))
        return log_sd if self.base is None else log_sd + self.base, derivatives

    def natural(self, delta: Array) -> tuple[list[str], Array]:
        return list(self.names), np.exp(delta) if self.exponentiate else np.asarray(delta)

    def with_covariate(self, fitted: Array, resid: Array) -> BoundVariance:
        if self.from_fit is None:
            return self
        return replace(self, x=_from_fit(self.from_fit, fitted, resid, self.logarithm))

    def take(self, rows: IntArray) -> BoundVariance:
        x = None if self.x is None else self.x[rows]
        base = None if self.base is None else self.base[rows]
        return replace(self, strata=self.strata[rows], x=x, base=base)


def _from_fit(source: FromFit, fitted: Array, resid: Array, logarithm: bool) -> Array:
    values = fitted if source == "fitted" else resid
    return np.log(np.maximum(np.abs(values), 1e-300)) if logarithm else values


@dataclass(frozen=True)
class ConstPower(BoundVariance):
    """``sd = const_s + |v|**power_s`` by strata s: VarConstPower.

    Coordinates are the logarithms of the free constants, then the free powers.
    """

    start: Array
    names: tuple[str, ...]
    held_const: Array
    held_power: Array
    strata: IntArray
    size: Array | None
    """``|v|``, shape (n,)."""
    from_fit: FromFit | None = None

    @property
    def _n_const(self) -> int:
        return int(np.isnan(self.held_const).sum())

    @property
    def bounds(self) -> tuple[Array, Array]:  # type: ignore[override]
        n_power = self.n_params - self._n_const
        limit = np.concatenate([np.full(self._n_const, 100.0), np.full(n_power, np.inf)])
        return -limit, limit

    @property
    def elsewhere(self) -> list[Array]:
        """Powers of either sign, with constants smaller than, like and larger than the rest."""
        if self.size is None or not self.n_params or not self._n_const:
            return []
        typical = float(np.median(np.log(self.size[self.size > 0.0])))
        found, n_power = [], self.n_params - self._n_const
        for power in (-4.0, -1.0, 0.5, 1.0, 2.0) if n_power else (0.0,):
            for share in (-3.0, 0.0, 3.0):
                const = power * typical + share
                found.append(np.repeat([const, power], [self._n_const, n_power]))
        return found

    def log_sd(self, delta: Array) -> tuple[Array, Array]:
        if self.size is None:
            return np.zeros(len(self.strata)), np.zeros((self.n_params, len(self.strata)))
        log_const, power = self.held_const.copy(), self.held_power.copy()
        free_const, free_power = np.isnan(log_const), np.isnan(power)
        log_const[free_const], power[free_power] = delta[: self._n_const], delta[self._n_const :]
        const, exponent = np.exp(log_const)[self.strata], power[self.strata]
        with np.errstate(divide="ignore", over="ignore"):
            powered = self.size**exponent
        sd = const + powered
        if not np.isfinite(sd).all():
            raise np.linalg.LinAlgError("a residual standard deviation is infinite")
        log_size = np.log(self.size, out=np.zeros_like(self.size), where=self.size > 0.0)
        rows = [const / sd * (self.strata == s) for s in np.flatnonzero(free_const)]
        rows += [powered * log_size / sd * (self.strata == s) for s in np.flatnonzero(free_power)]
        return np.log(sd), np.array(rows).reshape(len(rows), len(sd))

    def natural(self, delta: Array) -> tuple[list[str], Array]:
        k = self._n_const
        return list(self.names), np.concatenate([np.exp(delta[:k]), delta[k:]])

    def with_covariate(self, fitted: Array, resid: Array) -> BoundVariance:
        if self.from_fit is None:
            return self
        return replace(self, size=np.abs(_from_fit(self.from_fit, fitted, resid, False)))

    def take(self, rows: IntArray) -> BoundVariance:
        size = None if self.size is None else self.size[rows]
        return replace(self, strata=self.strata[rows], size=size)


@dataclass(frozen=True)
class Product(BoundVariance):
    """The product of several variance functions."""

    parts: tuple[BoundVariance, ...]
    labels: tuple[str, ...]

    @property
    def start(self) -> Array:  # type: ignore[override]
        return np.concatenate([part.start for part in self.parts])

    @property
    def bounds(self) -> tuple[Array, Array]:  # type: ignore[override]
        lower, upper = zip(*(part.bounds for part in self.parts), strict=True)
        return np.concatenate(lower), np.concatenate(upper)

    @property
    def from_fit(self) -> FromFit | None:  # type: ignore[override]
        sources = {part.from_fit for part in self.parts}
        return "resid" if "resid" in sources else "fitted" if "fitted" in sources else None

    def _split(self, delta: Array) -> list[Array]:
        ends = np.cumsum([part.n_params for part in self.parts])
        return np.split(np.asarray(delta, dtype=float), ends[:-1])

    def log_sd(self, delta: Array) -> tuple[Array, Array]:
        pieces = [part.log_sd(d) for part, d in zip(self.parts, self._split(delta), strict=True)]
        return sum(log_sd for log_sd, _ in pieces), np.concatenate([d for _, d in pieces])  # type: ignore[return-value]

    def natural(self, delta: Array) -> tuple[list[str], Array]:
        names, values = [], []
        for label, part, d in zip(self.labels, self.parts, self._split(delta), strict=True):
            own, value = part.natural(d)
            names += [f"{label}.{name}" for name in own]
            values.append(value)
        return names, np.concatenate(values)

    def with_covariate(self, fitted: Array, resid: Array) -> BoundVariance:
        return replace(self, parts=tuple(part.with_covariate(fitted, resid) for part in self.parts))

    def take(self, rows: IntArray) -> BoundVariance:
        return replace(self, parts=tuple(part.take(rows) for part in self.parts))
