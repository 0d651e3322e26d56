"""Pictures of residuals: against fitted values, quantiles, lags and distances."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from mixedfit.plot.canvas import (
    BAND,
    BLUE,
    GREY,
    RED,
    Labels,
    array,
    finish,
    name_largest,
    new_axes,
    points,
    smooth,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "autocorrelation",
    "quantile_quantile",
    "residuals",
    "scale_location",
    "scaled_residuals",
    "semivariogram",
]


def residuals(
    fitted: ArrayLike,
    residuals: ArrayLike,
    *,
    labels: Labels | None = None,
    n_labels: int = 3,
    xlabel: str = "Fitted value",
    ylabel: str = "Residual",
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Residuals against fitted values with a smooth line: curvature is a mean that misses.

    Parameters
    ----------
    fitted, residuals : array-like of shape (n,)
    labels : sequence of n, optional
        To name the `n_labels` largest residuals with.
    """
    ax = new_axes(ax)
    x, y = array(fitted), array(residuals)
    ax.axhline(0.0, color=GREY, linewidth=0.9, zorder=0)
    points(ax, x, y)
    if len(np.unique(x)) > 4:
        ax.plot(*smooth(x, y), color=RED, linewidth=1.6)
    name_largest(ax, x, y, labels, np.abs(y), n_labels)
    return finish(ax, xlabel, ylabel, title)


def scale_location(
    fitted: ArrayLike,
    standardized: ArrayLike,
    *,
    labels: Labels | None = None,
    n_labels: int = 3,
    xlabel: str = "Fitted value",
    ylabel: str = "√|studentised residual|",
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Root size of residuals against fitted values: a slope is a variance that changes.

    Parameters
    ----------
    fitted, standardized : array-like of shape (n,)
    labels : sequence of n, optional
    """
    ax = new_axes(ax)
    x, y = array(fitted), np.sqrt(np.abs(array(standardized)))
    points(ax, x, y)
    if len(np.unique(x)) > 4:
        ax.plot(*smooth(x, y), color=RED, linewidth=1.6)
    # The mean of the root of a half-normal variate: where the line should lie.
    ax.axhline(0.822, color=GREY, linewidth=0.9, linestyle=(0, (4, 3)), zorder=0)
    name_largest(ax, x, y, labels, y, n_labels)
    ax.set_ylim(bottom=0.0)
    return finish(ax, xlabel, ylabel, title)


def scaled_residuals(
    fitted: ArrayLike,
    scaled: ArrayLike,
    *,
    xlabel: str = "Fitted value (rank)",
    ylabel: str = "Scaled residual",
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Uniform residuals against the ranks of fitted values, with their running quartiles.

    Parameters
    ----------
    fitted : array-like of shape (n,)
    scaled : array-like of shape (n,)
        Uniform between 0 and 1 where the model holds: the quartiles then stay at 1/4, 1/2, 3/4.
    """
    ax = new_axes(ax)
    order = np.argsort(array(fitted), kind="stable")
    y = array(scaled)[order]
    n = len(y)
    rank = (np.arange(n) + 0.5) / n
    points(ax, rank, y)
    half = max(10, n // 10)
    centres = np.unique(np.linspace(0, n - 1, 50).astype(int))
    windows = [y[max(0, i - half) : i + half + 1] for i in centres]
    for level in (0.25, 0.5, 0.75):
        ax.axhline(level, color=GREY, linewidth=0.9, linestyle=(0, (4, 3)), zorder=0)
        running = [float(np.quantile(window, level)) for window in windows]
        ax.plot(rank[centres], running, color=RED, linewidth=1.6)
    ax.set_xlim(-0.02, 1.02)
    ax.set_ylim(-0.02, 1.02)
    return finish(ax, xlabel, ylabel, title)


def quantile_quantile(
    theoretical: ArrayLike,
    observed: ArrayLike,
    lower: ArrayLike | None = None,
    upper: ArrayLike | None = None,
    *,
    labels: Labels | None = None,
    n_labels: int = 3,
    xlabel: str = "Standard normal quantile",
    ylabel: str = "Standardised value",
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Sorted values against their quantiles; points outside the band are marked.

    Parameters
    ----------
    theoretical, observed : array-like of shape (n,)
        By increasing value.
    lower, upper : array-like of shape (n,), optional
        Band.
    labels : sequence of n, optional
        To name the `n_labels` points farthest outside the band with.
    """
    ax = new_axes(ax, 4.8, 4.6)
    x, y = array(theoretical), array(observed)
    outside = np.zeros(len(x), dtype=bool)
    beyond = np.full(len(x), -np.inf)
    if lower is not None and upper is not None:
        low, high = array(lower), array(upper)
        ax.fill_between(x, low, high, color=BAND, linewidth=0.0, zorder=0)
        beyond = np.maximum(low - y, y - high)
        outside = beyond > 0.0
    ax.axline((0.0, 0.0), slope=1.0, color=GREY, linewidth=0.9, zorder=1)
    points(ax, x[~outside], y[~outside])
    points(ax, x[outside], y[outside], color=RED, alpha=0.9)
    edge = 0.05 * float(np.ptp(x) or 1.0)
    ax.set_xlim(x.min() - edge, x.max() + edge)
    least, most = float(min(y.min(), x.min())), float(max(y.max(), x.max()))
    ax.set_ylim(least - 0.08 * (most - least), most + 0.08 * (most - least))
    name_largest(ax, x, y, labels, np.where(outside, beyond, np.nan), n_labels)
    return finish(ax, xlabel, ylabel, title)


def autocorrelation(
    lag: ArrayLike,
    acf: ArrayLike,
    bound: ArrayLike | None = None,
    *,
    xlabel: str = "Lag (rows)",
    ylabel: str = "Autocorrelation of residuals",
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Autocorrelations as stems, with the interval of white noise.

    Parameters
    ----------
    lag, acf : array-like of shape (m,)
    bound : array-like of shape (m,), optional
        Half-width of the interval.
    """
    ax = new_axes(ax, 5.4, 3.6)
    x, y = array(lag), array(acf)
    outside = np.zeros(len(x), dtype=bool)
    if bound is not None:
        half = array(bound)
        inner = x > 0
        ax.fill_between(x[inner], -half[inner], half[inner], color=BAND, linewidth=0.0, zorder=0)
        outside = inner & (np.abs(y) > half)
    ax.axhline(0.0, color=GREY, linewidth=0.9, zorder=0)
    for chosen, color in ((~outside, BLUE), (outside, RED)):
        ax.vlines(x[chosen], 0.0, y[chosen], color=color, linewidth=1.8)
        ax.plot(x[chosen], y[chosen], "o", color=color, markersize=4.5)
    ax.locator_params(axis="x", integer=True)
    return finish(ax, xlabel, ylabel, title)


def semivariogram(
    distance: ArrayLike,
    semivariance: ArrayLike,
    n_pairs: ArrayLike | None = None,
    *,
    reference: float | None = None,
    xlabel: str = "Distance",
    ylabel: str = "Semivariance of residuals",
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Semivariances by distance, with a smooth line.

    Parameters
    ----------
    distance, semivariance : array-like of shape (m,)
    n_pairs : array-like of shape (m,), optional
        The area of the points.
    reference : float, optional
        The semivariance without correlation.
    """
    ax = new_axes(ax, 5.4, 3.8)
    x, y = array(distance), array(semivariance)
    area: Any = 24.0
    if n_pairs is not None:
        counts = array(n_pairs)
        area = 8.0 + 42.0 * counts / counts.max()
    if reference is not None:
        ax.axhline(reference, color=GREY, linewidth=0.9, linestyle=(0, (4, 3)), zorder=0)
    if len(x) > 4:
        ax.plot(*smooth(x, y), color=RED, linewidth=1.6, zorder=1)
    ax.scatter(x, y, s=area, color=BLUE, linewidths=0.0, zorder=2)
    ax.set_ylim(bottom=0.0)
    ax.set_xlim(left=0.0)
    return finish(ax, xlabel, ylabel, title)
