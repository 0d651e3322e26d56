"""Pictures of a fit as a whole: profiles, influence, fitted lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from mixedfit.arrays import Array
from mixedfit.plot.canvas import (
    BLUE,
    GREY,
    INK,
    LABELS,
    RED,
    Labels,
    array,
    finish,
    legend,
    name_largest,
    new_axes,
    points,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["fitted_lines", "influence", "profile_zeta"]


def profile_zeta(
    value: ArrayLike,
    zeta: ArrayLike,
    *,
    estimate: float | None = None,
    levels: Sequence[float] = (0.5, 0.8, 0.9, 0.95, 0.99),
    absolute: bool = False,
    xlabel: str = "Parameter",
    ylabel: str | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Signed square root of the profile deviance: straight where the estimate is normal.

    Parameters
    ----------
    value, zeta : array-like of shape (m,)
        Of one parameter.
    estimate : float, optional
    levels : sequence of float
        Intervals to draw, where the profile reaches far enough.
    absolute : bool
        Draw the size of zeta.
    """
    from scipy.stats import norm  # noqa: PLC0415

    ax = new_axes(ax, 4.6, 3.8)
    order = np.argsort(array(value))
    x, z = array(value)[order], array(zeta)[order]
    for level in levels:
        reach = float(norm.ppf(0.5 + level / 2.0))
        ends = [_crossing(x, z, side * reach) for side in (-1.0, 1.0)]
        for side, end in zip((-1.0, 1.0), ends, strict=True):
            if end is not None:
                height = reach if absolute else side * reach
                ax.plot([end, end], [0.0, height], color=BLUE, linewidth=0.9, zorder=1)
        left, right = ends
        if left is not None and right is not None:
            height = reach if absolute else 0.0
            ax.plot([left, right], [height, height], color=BLUE, linewidth=0.9, zorder=1)
    ax.axhline(0.0, color=GREY, linewidth=0.9, zorder=0)
    fine_x, fine_z = _interpolated(x, z)
    ax.plot(fine_x, np.abs(fine_z) if absolute else fine_z, color=RED, linewidth=1.6)
    if estimate is not None:
        ax.plot(estimate, 0.0, "o", color=INK, markersize=4.5)
    sign = "Root deviance |ζ|" if absolute else "Signed root deviance ζ"
    return finish(ax, xlabel, sign if ylabel is None else ylabel, title)


def _interpolated(x: Array, y: Array) -> tuple[Array, Array]:
    from scipy.interpolate import PchipInterpolator  # noqa: PLC0415

    known = np.isfinite(x) & np.isfinite(y)
    x, first = np.unique(x[known], return_index=True)
    y = y[known][first]
    if len(x) < 3:
        return x, y
    fine = np.linspace(x[0], x[-1], 300)
    return fine, PchipInterpolator(x, y)(fine)


def _crossing(x: Array, z: Array, height: float) -> float | None:
    """Where an increasing curve reaches a height."""
    fine, values = _interpolated(x, z)
    if len(fine) < 2 or not values.min() <= height <= values.max():
        return None
    return float(np.interp(height, np.maximum.accumulate(values), fine))


def influence(
    values: ArrayLike,
    labels: Labels,
    *,
    threshold: float | None = None,
    n_labels: int = 5,
    xlabel: str = "",
    ylabel: str = "Cook's distance",
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """A stem a deletion, the largest named.

    Parameters
    ----------
    values : array-like of shape (n,)
        A measure of influence, not negative; missing ones are left out.
    labels : sequence of n
    threshold : float, optional
        Where to draw a line.
    """
    y = array(values)
    ax = new_axes(ax, float(np.clip(3.2 + 0.14 * len(y), 5.0, 9.0)), 3.8)
    x = np.arange(len(y), dtype=float)
    high = np.zeros(len(y), dtype=bool) if threshold is None else y > threshold
    few = len(y) <= LABELS
    for chosen, color in ((~high, BLUE), (high, RED)):
        ax.vlines(x[chosen], 0.0, y[chosen], color=color, linewidth=1.4 if few else 0.6)
        ax.plot(x[chosen], y[chosen], "o", color=color, markersize=4.5 if few else 2.0)
    if threshold is not None and threshold <= 1.5 * np.nanmax(y):
        ax.axhline(threshold, color=GREY, linewidth=0.9, linestyle=(0, (4, 3)), zorder=0)
    ax.set_ylim(bottom=0.0, top=1.1 * max(float(ax.dataLim.y1), 1e-300))
    ax.set_xlim(-0.8, len(y) - 0.2)
    if len(y) <= 40:
        turned = max(len(str(label)) for label in labels) > 2
        ax.set_xticks(x, [str(label) for label in labels], fontsize="small", parse_math=False)
        ax.tick_params(axis="x", length=0, labelrotation=90.0 if turned else 0.0)
    else:
        ax.set_xticks([])
        xlabel = f"{xlabel} ({len(y)}, in order)" if xlabel else ""
        name_largest(ax, x, y, labels, y, n_labels)
    return finish(ax, xlabel, ylabel, title)


def fitted_lines(
    x: ArrayLike,
    observed: ArrayLike,
    fitted: ArrayLike,
    groups: ArrayLike,
    *,
    population: tuple[ArrayLike, ArrayLike] | None = None,
    xlabel: str = "x",
    ylabel: str = "Response",
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Observations and a fitted line for each group.

    Parameters
    ----------
    x, observed, fitted : array-like of shape (n,)
    groups : array-like of shape (n,)
        Label of each row's group.
    population : tuple of two array-like, optional
        A line for the population: x and fitted value.
    """
    ax = new_axes(ax)
    at, y, line = array(x), array(observed), array(fitted)
    labels = np.asarray(groups)
    names, codes = np.unique(labels, return_inverse=True)
    many = len(names) > 12
    points(ax, at, y, color=GREY, s=9.0, alpha=float(np.clip(300.0 / len(y), 0.06, 0.45)))
    for g in range(len(names)):
        rows = np.flatnonzero(codes == g)
        rows = rows[np.argsort(at[rows], kind="stable")]
        ax.plot(
            at[rows],
            line[rows],
            color=BLUE,
            linewidth=0.8 if many else 1.1,
            alpha=float(np.clip(15.0 / len(names), 0.2, 0.8)),
        )
    ax.plot([], [], color=BLUE, linewidth=1.1, label="group")
    if population is not None:
        own, height = (array(values) for values in population)
        order = np.argsort(own, kind="stable")
        ax.plot(own[order], height[order], color=RED, linewidth=2.4, label="population")
    legend(ax)
    return finish(ax, xlabel, ylabel, title)
