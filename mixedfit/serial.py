"""Dependence of values within groups: autocorrelation by lag and semivariance by distance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy

from mixedfit.arrays import Array, BoolArray, IntArray
from mixedfit.errors import DataError, ModelError, check_count

__all__ = ["Autocorrelation", "Semivariogram", "autocorrelation", "semivariogram"]

# Pairs of rows beyond which a semivariogram asks for smaller groups.
_MOST_PAIRS = 20_000_000


@dataclass(frozen=True)
class Autocorrelation:
    """Empirical autocorrelation.

    Attributes
    ----------
    lag, n_pairs : int arrays of shape (m,)
    acf : array of shape (m,)
    bound : array of shape (m,)
        Half-width of the interval that holds each in white noise.
    """

    lag: IntArray
    n_pairs: IntArray
    acf: Array
    bound: Array


@dataclass(frozen=True)
class Semivariogram:
    """Empirical semivariogram: arrays of shape (m,), by increasing distance.

    Attributes
    ----------
    distance : array
        Median of the distances of a class.
    semivariance : array
        Half the mean squared difference of two rows.
    n_pairs : int array
    """

    distance: Array
    semivariance: Array
    n_pairs: IntArray


def _ordered(codes: IntArray, time: Array | None) -> IntArray:
    """Rows group by group, in time within each."""
    keys = (codes,) if time is None else (time, codes)
    return np.lexsort(keys)


def autocorrelation(
    values: Array,
    codes: IntArray,
    *,
    time: Array | None = None,
    max_lag: int | None = None,
    level: float = 0.95,
) -> Autocorrelation:
    """Autocorrelation of values within groups.

    Parameters
    ----------
    values : array of shape (n,)
        With mean zero, such as residuals.
    codes : int array of shape (n,)
        Group of each row.
    time : array of shape (n,), optional
        Order within groups; by default that of the rows.
    max_lag : int, optional
        By default ``10 log10`` of the largest group's size.
    level : float
        Coverage of the white-noise interval of each lag.

    Notes
    -----
    ``acf(l)`` is the mean product of rows l places apart in one group over the mean square
    (Pinheiro & Bates 2000, eq. 5.29).
    """
    order = _ordered(codes, time)
    e, group = values[order], codes[order]
    largest = int(np.bincount(codes).max()) - 1
    if largest < 1:
        raise DataError("every group has one row: there is nothing to correlate within groups")
    if max_lag is None:
        max_lag = min(largest, int(10.0 * np.log10(largest + 1)))
    check_count(max_lag, 1, "max_lag")
    lags = np.arange(min(max_lag, largest) + 1)
    sums, counts = np.empty(len(lags)), np.empty(len(lags), dtype=np.int64)
    for lag in lags:
        together = group[lag:] == group[: len(group) - lag]
        sums[lag] = (e[lag:] * e[: len(e) - lag])[together].sum()
        counts[lag] = int(together.sum())
    acf = sums / counts / (sums[0] / counts[0])
    bound = scipy.stats.norm.ppf(0.5 + level / 2.0) / np.sqrt(counts)
    bound[0] = 0.0
    return Autocorrelation(lags, counts, acf, bound)


def semivariogram(
    values: Array,
    codes: IntArray,
    *,
    coordinates: Array | None = None,
    n_classes: int = 20,
    max_distance: float | None = None,
    robust: bool = False,
) -> Semivariogram:
    """Semivariance of values within groups by distance.

    Parameters
    ----------
    values : array of shape (n,)
    codes : int array of shape (n,)
        Group of each row.
    coordinates : array of shape (n,) or (n, d), optional
        Distances are Euclidean; by default rows of a group are one apart.
    n_classes : int
        Classes of distance with about as many pairs each; where there are no more distinct
        distances than that, each is a class of its own.
    max_distance : float, optional
        Leave out pairs farther apart.
    robust : bool
        The fourth power of the mean root difference instead of the mean square (Cressie & Hawkins
        1980, Math. Geol. 12).
    """
    check_count(n_classes, 1, "n_classes")
    if max_distance is not None and not isinstance(max_distance, int | float):
        raise ModelError(f"max_distance must be a number, not {max_distance!r}")
    distance, squares = _pairs(values, codes, coordinates, max_distance)
    classes = _classes(distance, n_classes)
    n_pairs = np.bincount(classes)
    if robust:
        roots = np.bincount(classes, squares**0.25) / n_pairs
        semivariance = roots**4 / (0.457 + 0.494 / n_pairs)
    else:
        semivariance = np.bincount(classes, squares) / n_pairs
    order = np.lexsort((distance, classes))
    ends = np.cumsum(n_pairs)
    starts = ends - n_pairs
    middle = 0.5 * (
        distance[order][starts + (n_pairs - 1) // 2] + distance[order][starts + n_pairs // 2]
    )
    return Semivariogram(middle, semivariance, n_pairs)


def _pairs(
    values: Array, codes: IntArray, coordinates: Array | None, max_distance: float | None
) -> tuple[Array, Array]:
    """Distance and half the squared difference of all pairs of rows of one group."""
    counts = np.bincount(codes)
    total = int((counts * (counts - 1) // 2).sum())
    if total == 0:
        raise DataError("every group has one row: there are no pairs within groups")
    if total > _MOST_PAIRS:
        raise DataError(
            f"the groups hold {total:,} pairs of rows, more than {_MOST_PAIRS:,}; pass a grouping "
            "with smaller groups"
        )
    order = np.argsort(codes, kind="stable")
    points = _coordinates(codes, coordinates, order)
    distances, squares = [], []
    for first, second in _meetings(codes[order], int(counts.max())):
        gap = points[second] - points[first]
        distance = np.sqrt(np.einsum("nd,nd->n", gap, gap))
        near: BoolArray | slice = slice(None) if max_distance is None else distance <= max_distance
        difference = values[order[second]] - values[order[first]]
        distances.append(distance[near])
        squares.append(0.5 * difference[near] ** 2)
    found = np.concatenate(distances)
    if not len(found):
        raise DataError(f"no two rows of a group are within max_distance={max_distance:g}")
    return found, np.concatenate(squares)


def _coordinates(codes: IntArray, coordinates: Array | None, order: IntArray) -> Array:
    if coordinates is None:
        counts = np.bincount(codes)
        place = np.arange(len(codes)) - np.repeat(np.cumsum(counts) - counts, counts)
        return place[:, None].astype(float)
    points = coordinates[:, None] if coordinates.ndim == 1 else coordinates
    return points[order]


def _meetings(codes: IntArray, largest: int) -> Iterator[tuple[IntArray, IntArray]]:
    """Places of both rows of all pairs in sorted groups, those equally far apart at a time."""
    for lag in range(1, largest):
        first = np.flatnonzero(codes[lag:] == codes[: len(codes) - lag])
        yield first, first + lag


def _classes(distance: Array, n_classes: int) -> IntArray:
    """Class of each distance, all of them used."""
    distinct, own = np.unique(distance, return_inverse=True)
    if len(distinct) <= n_classes:
        return own.ravel()
    breaks = np.unique(np.quantile(distance, np.linspace(0.0, 1.0, n_classes + 1)))
    classes = np.searchsorted(breaks[1:-1], distance, side="left")
    return np.unique(classes, return_inverse=True)[1].ravel()
