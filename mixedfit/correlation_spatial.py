"""Correlation of residuals that decays with distance: exponential, Gaussian, linear and others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, TypeAlias

import numpy as np
import scipy

from mixedfit.arrays import Array, IntArray
from mixedfit.correlation_kernels import Batch, Blocks, Table
from mixedfit.correlation_structure import (
    FARTHEST,
    CorStructure,
    Kernel,
    batches_of,
    check_distinct,
    places,
)
from mixedfit.correlation_tables import DECAYS, SpatialTable
from mixedfit.errors import DataError, ModelError
from mixedfit.frames import Frame
from mixedfit.residual_form import Classes

__all__ = ["CorExp", "CorGaus", "CorLin", "CorRatio", "CorSpher"]

Metric: TypeAlias = Literal["euclidean", "manhattan", "maximum"]


@dataclass(frozen=True, repr=False)
class _Spatial(CorStructure):
    """A correlation that decays with distance."""

    value: float | Sequence[float] | None = None
    form: str = "~ 1"
    nugget: bool = False
    metric: Metric = "euclidean"
    fixed: bool = False
    _decay: ClassVar[str]
    _finite_reach: ClassVar[bool] = False
    _n_ranges: ClassVar[int] = 0  # to be looked at besides the start
    _example: ClassVar[str] = "10"

    def __post_init__(self) -> None:
        if self.metric not in ("euclidean", "manhattan", "maximum"):
            raise ModelError(
                f"metric of {self._name} must be 'euclidean', 'manhattan' or 'maximum', not "
                f"{self.metric!r}"
            )
        if not isinstance(self.nugget, bool):
            raise ModelError(
                f"nugget of {self._name} is True or False, not {self.nugget!r}; a nugget to start "
                "from goes to value=[range, nugget]"
            )
        super().__post_init__()

    def _check(self, values: Array) -> None:
        if len(values) > (2 if self.nugget else 1):
            remedy = "" if self.nugget else " (nugget=True allows a second)"
            raise ModelError(
                f"value of {self._name} is the range{remedy}, not {len(values)} numbers"
            )
        if values[0] <= 0.0:
            raise ModelError(f"range of {self._name} must be positive, not {values[0]:g}")
        if len(values) == 2 and not 0.0 < values[1] < 1.0:
            raise ModelError(f"nugget of {self._name} lies between 0 and 1, not {values[1]:g}")

    def _bind(self, frame: Frame, classes: Classes) -> tuple[Kernel, Array, tuple[Array, Array]]:
        if self._form.covariate is None:
            coordinates = places(classes.codes)[:, None].astype(float)
        else:
            coordinates = self._form.coordinates(frame, self._name)
            if not self.nugget:
                check_distinct(coordinates, classes, self._name, self._form, "position")
        found: list[Array] = []

        def entry(patterns: Array) -> IntArray:
            d = _distances(patterns, self.metric)
            first = sum(map(len, found))
            found.append(d.ravel())
            return np.arange(first, first + d.size).reshape(d.shape)

        batches = batches_of(self._name, classes, coordinates, entry)
        distances, place = np.unique(np.concatenate(found), return_inverse=True)
        batches = tuple(
            replace(batch, index=_with_diagonal(place.ravel()[batch.index] + 1))
            for batch in batches
        )
        positive = distances[distances > 0.0]
        if not len(positive):
            raise DataError(f"{self._name}: no two rows of a group are apart; see its form")
        farthest, nearest = float(positive[-1]), float(positive[0])
        start, shift = self._start(nearest, _typical(batches, distances))
        table: Table = SpatialTable(distances, DECAYS[self._decay], shift, self.nugget)
        kernel = Blocks(frame.n, batches, table)
        start = self._positive_definite(kernel, start)
        lower = [np.log(nearest) - 8.0]
        upper = [np.log(farthest) + 20.0]
        if self.nugget:
            lower, upper = [*lower, -FARTHEST], [*upper, FARTHEST]
        bounds = np.minimum(lower, start), np.maximum(upper, start)
        return kernel, start, bounds

    def _positive_definite(self, kernel: Blocks, start: Array) -> Array:
        """The start, at a shorter range if the matrix is singular there."""
        start = start.copy()
        for _ in range(30):
            try:
                kernel.at(start)
            except np.linalg.LinAlgError:
                if self.fixed:
                    raise ModelError(
                        f"value of {self._name}: the correlation matrix is not positive definite "
                        f"at {self.value!r}; a shorter range or nugget=True makes it so"
                    ) from None
                start[0] -= np.log(2.0)
            else:
                break
        return start

    def _elsewhere(self, kernel: Kernel, initial: Array) -> Array:
        # A correlation that ends at the range has a kink wherever the range is a distance.
        if not self._n_ranges:
            return super()._elsewhere(kernel, initial)
        assert isinstance(kernel, Blocks)
        assert isinstance(kernel.table, SpatialTable)
        distances, shift = kernel.table.distances, kernel.table.shift
        apart = distances[distances > 0.0]
        ranges = np.geomspace(1.2 * apart[0], 1.5 * apart[-1], self._n_ranges)
        stretch = np.log(ranges - shift)[:, None]
        if not self.nugget:
            return stretch
        nuggets = scipy.special.logit([0.1, 0.3])[:, None]
        return np.hstack([np.repeat(stretch, 2, axis=0), np.tile(nuggets, (self._n_ranges, 1))])

    def _start(self, nearest: float, typical: float) -> tuple[Array, float]:
        """Coordinates to start from, and the smallest range."""
        values = [] if self.value is None else self._values.tolist()
        reach = values[0] if values else (1.1 if self._finite_reach else 0.9) * typical
        shift = nearest if self._finite_reach else 0.0
        if reach <= shift:
            if self.fixed:
                shift = 0.0  # nothing is searched
            else:
                reach = 1.1 * nearest
        start = [np.log(reach - shift)]
        if self.nugget:
            start.append(scipy.special.logit(values[1] if len(values) > 1 else 0.1))
        return np.array(start), shift


def _typical(batches: Sequence[Batch], distances: Array) -> float:
    """The median distance of a row to the nearest other one."""
    apart = np.append(np.inf, np.where(distances > 0.0, distances, np.inf))
    found = np.concatenate([apart[batch.index].min(axis=2).ravel() for batch in batches])
    return float(np.median(found[np.isfinite(found)]))


def _distances(patterns: Array, metric: Metric) -> Array:
    """Distances between the points of each pattern, (P, k, d) to (P, k, k)."""
    apart = np.abs(patterns[:, :, None, :] - patterns[:, None, :, :])
    if metric == "manhattan":
        return apart.sum(axis=-1)
    return apart.max(axis=-1) if metric == "maximum" else np.sqrt((apart**2).sum(axis=-1))


def _with_diagonal(index: IntArray) -> IntArray:
    """Diagonal entries point to the table's first, which is 1."""
    k = np.arange(index.shape[1])
    index[:, k, k] = 0
    return index


@dataclass(frozen=True, repr=False)
class CorExp(_Spatial):
    """Correlation that decays exponentially with distance.

    Parameters
    ----------
    value : float or list, optional
        The range to start from, or ``[range, nugget]``, in units of distance; 0.9 times the
        median distance to the nearest row and a nugget of 0.1 by default.
    form : str
        ``"~ x + y | g"``, any number of coordinates; ``"~ 1 | g"`` places rows at 1, 2, ...
    nugget : bool
        Whether a share of the variance is not common to even the nearest rows.
    metric : {"euclidean", "manhattan", "maximum"}
        How distance is measured.
    fixed : bool
        Hold the parameters at `value`.

    Notes
    -----
    Correlation ``exp(-d / range)`` at distance d,
    times ``1 - nugget`` for different rows (Pinheiro & Bates 2000, section 5.3.2).

    Examples
    --------
    >>> CorExp(form="~ x + y", nugget=True).variables
    ('x', 'y')
    """

    _decay: ClassVar[str] = "exponential"


@dataclass(frozen=True, repr=False)
class CorGaus(_Spatial):
    """Correlation that decays as a normal density with distance.

    Parameters
    ----------
    value : float or list, optional
        The range to start from, or ``[range, nugget]``, in units of distance; 0.9 times the
        median distance to the nearest row and a nugget of 0.1 by default.
    form : str
        ``"~ x + y | g"``, any number of coordinates; ``"~ 1 | g"`` places rows at 1, 2, ...
    nugget : bool
        Whether a share of the variance is not common to even the nearest rows.
    metric : {"euclidean", "manhattan", "maximum"}
        How distance is measured.
    fixed : bool
        Hold the parameters at `value`.

    Notes
    -----
    Correlation ``exp(-(d / range)**2)`` at distance d,
    times ``1 - nugget`` for different rows (Pinheiro & Bates 2000, section 5.3.2).

    Examples
    --------
    >>> CorGaus(form="~ x + y", nugget=True).variables
    ('x', 'y')
    """

    _decay: ClassVar[str] = "gaussian"


@dataclass(frozen=True, repr=False)
class CorLin(_Spatial):
    """Correlation that falls on a line to zero at the range.

    Parameters
    ----------
    value : float or list, optional
        The range to start from, or ``[range, nugget]``, in units of distance; 1.1 times the
        median distance to the nearest row and a nugget of 0.1 by default.
    form : str
        ``"~ x + y | g"``, any number of coordinates; ``"~ 1 | g"`` places rows at 1, 2, ...
    nugget : bool
        Whether a share of the variance is not common to even the nearest rows.
    metric : {"euclidean", "manhattan", "maximum"}
        How distance is measured.
    fixed : bool
        Hold the parameters at `value`.

    Notes
    -----
    Correlation ``1 - d / range`` at distances d below the range, then zero,
    times ``1 - nugget`` for different rows (Pinheiro & Bates 2000, section 5.3.2).

    Examples
    --------
    >>> CorLin(form="~ x + y", nugget=True).variables
    ('x', 'y')
    """

    _decay: ClassVar[str] = "linear"
    _finite_reach: ClassVar[bool] = True
    _n_ranges: ClassVar[int] = 40


@dataclass(frozen=True, repr=False)
class CorRatio(_Spatial):
    """Rational quadratic correlation.

    Parameters
    ----------
    value : float or list, optional
        The range to start from, or ``[range, nugget]``, in units of distance; 0.9 times the
        median distance to the nearest row and a nugget of 0.1 by default.
    form : str
        ``"~ x + y | g"``, any number of coordinates; ``"~ 1 | g"`` places rows at 1, 2, ...
    nugget : bool
        Whether a share of the variance is not common to even the nearest rows.
    metric : {"euclidean", "manhattan", "maximum"}
        How distance is measured.
    fixed : bool
        Hold the parameters at `value`.

    Notes
    -----
    Correlation ``1 / (1 + (d / range)**2)`` at distance d,
    times ``1 - nugget`` for different rows (Pinheiro & Bates 2000, section 5.3.2).

    Examples
    --------
    >>> CorRatio(form="~ x + y", nugget=True).variables
    ('x', 'y')
    """

    _decay: ClassVar[str] = "rational"


@dataclass(frozen=True, repr=False)
class CorSpher(_Spatial):
    """Spherical correlation, zero beyond the range.

    Parameters
    ----------
    value : float or list, optional
        The range to start from, or ``[range, nugget]``, in units of distance; 1.1 times the
        median distance to the nearest row and a nugget of 0.1 by default.
    form : str
        ``"~ x + y | g"``, any number of coordinates; ``"~ 1 | g"`` places rows at 1, 2, ...
    nugget : bool
        Whether a share of the variance is not common to even the nearest rows.
    metric : {"euclidean", "manhattan", "maximum"}
        How distance is measured.
    fixed : bool
        Hold the parameters at `value`.

    Notes
    -----
    ``1 - 1.5 d / range + 0.5 (d / range)**3`` at distances d below the range,
    times ``1 - nugget`` for different rows (Pinheiro & Bates 2000, section 5.3.2).

    Examples
    --------
    >>> CorSpher(form="~ x + y", nugget=True).variables
    ('x', 'y')
    """

    _decay: ClassVar[str] = "spherical"
    _finite_reach: ClassVar[bool] = True
    _n_ranges: ClassVar[int] = 10
