"""Robust locally weighted regression of one variable on another (Cleveland 1979).

At each point a line is fitted to the nearest share of the data with tricube weights; points close
together share a fit by interpolation; then residuals larger than six times their median lose
their weight and the fits are repeated.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mixedfit.arrays import Array

__all__ = ["lowess"]


def lowess(x: Array, y: Array, span: float, iterations: int = 3, delta: float = 0.0) -> Array:
    """Smooth y over x.

    Parameters
    ----------
    x, y : arrays of shape (n,)
    span : float
        Share of the points in each local fit, 0 to 1.
    iterations : int
        Robustifying repeats.
    delta : float
        Points nearer than this to a fitted one are interpolated, in units of x.

    Returns
    -------
    array of shape (n,)
        The curve at x, in the order of x.

    Examples
    --------
    >>> lowess(np.arange(5.0), 2.0 * np.arange(5.0) + 1.0, span=0.8).round(6).tolist()
    [1.0, 3.0, 5.0, 7.0, 9.0]
    """
    order = np.argsort(x, kind="stable")
    xs, ys = x[order], y[order]
    robustness = np.ones(len(x))
    curve = _pass(xs, ys, span, delta, robustness)
    for _ in range(iterations):
        size = np.abs(ys - curve)
        limit = 6.0 * float(np.median(size))
        if limit < 1e-7 * float(size.mean()) or limit == 0.0:
            break
        ratio = size / limit
        robustness = np.where(ratio <= 0.001, 1.0, np.maximum(1.0 - ratio**2, 0.0) ** 2)
        robustness[ratio > 0.999] = 0.0
        curve = _pass(xs, ys, span, delta, robustness)
    out = np.empty_like(curve)
    out[order] = curve
    return out


def _pass(x: Array, y: Array, span: float, delta: float, robustness: Array) -> Array:
    """One sweep of local fits over sorted x."""
    n = len(x)
    size = max(min(int(span * n + 1e-7), n), 2)
    fitted_at, values = [], []
    for i, left in _anchors(x, size, delta):
        right = left + size - 1
        value = _local_line(x, y, robustness, i, left, right)
        fitted_at.append(i)
        values.append(y[i] if value is None else value)
    places = x[fitted_at]
    first = np.concatenate([[True], np.diff(places) > 0.0])
    return np.interp(x, places[first], np.asarray(values)[first])


def _anchors(x: Array, size: int, delta: float) -> Iterator[tuple[int, int]]:
    """Points to fit at, and where the window of their nearest neighbours begins."""
    n, left, i = len(x), 0, 0
    while i < n:
        while left + size < n and x[i] - x[left] > x[left + size] - x[i]:
            left += 1
        yield i, left
        tied = int(np.searchsorted(x, x[i], side="right")) - 1
        beyond = int(np.searchsorted(x, x[i] + delta, side="right"))
        if tied >= n - 1:
            return
        i = max(tied + 1, beyond - 1)


def _local_line(
    x: Array, y: Array, robustness: Array, i: int, left: int, right: int
) -> float | None:
    """Value at x[i] of the weighted line through a window; None where no point has weight."""
    width = max(x[i] - x[left], x[right] - x[i])
    stop = int(np.searchsorted(x, x[i] + width, side="right"))
    start = int(np.searchsorted(x, x[i] - width, side="left"))
    near = x[start:stop]
    distance = np.abs(near - x[i])
    if width > 0.0:
        weight = np.where(distance <= 0.001 * width, 1.0, (1.0 - (distance / width) ** 3) ** 3)
        weight[distance > 0.999 * width] = 0.0
    else:
        weight = np.ones(len(near))
    weight *= robustness[start:stop]
    total = float(weight.sum())
    if total <= 0.0:
        return None
    weight /= total
    centre = float(weight @ near)
    spread = float(weight @ (near - centre) ** 2)
    if np.sqrt(spread) > 0.001 * (x[-1] - x[0]):
        weight *= 1.0 + (x[i] - centre) * (near - centre) / spread
    return float(weight @ y[start:stop])
