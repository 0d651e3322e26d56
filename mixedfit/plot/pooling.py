"""Pictures of many estimates: intervals, shrinkage, funnels, the distribution behind them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from mixedfit.arrays import Array, IntArray
from mixedfit.plot.canvas import (
    BAND,
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

__all__ = ["density", "funnel", "intervals", "shrinkage_arrows", "shrinkage_lines"]

Points: TypeAlias = tuple[Array | IntArray, Array | IntArray]

# Intervals drawn one by one; more are drawn as one band.
_MOST_LINES = 300


def intervals(
    estimate: ArrayLike,
    lower: ArrayLike,
    upper: ArrayLike,
    labels: Labels,
    *,
    reference: float | None = 0.0,
    sort: bool = True,
    xlabel: str = "Estimate",
    ylabel: str = "",
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Estimates with their intervals, one below the other: a caterpillar, or ranks.

    Parameters
    ----------
    estimate, lower, upper : array-like of shape (n,)
    labels : sequence of n
        Written at the axis where there is room.
    reference : float, optional
        Where to draw a vertical line; intervals that exclude it are marked.
    sort : bool
        By estimate, the smallest at the bottom.
    """
    x, low, high = array(estimate), array(lower), array(upper)
    n = len(x)
    ax = new_axes(ax, 5.4, float(np.clip(0.9 + 0.19 * n, 2.4, 9.0)))
    order = np.argsort(x, kind="stable") if sort else np.arange(n)[::-1]
    x, low, high = x[order], low[order], high[order]
    apart = np.zeros(n, dtype=bool)
    if reference is not None:
        ax.axvline(reference, color=GREY, linewidth=0.9, zorder=0)
        apart = (low > reference) | (high < reference)
    places = np.arange(n)
    band = n > _MOST_LINES
    if band:
        ax.fill_betweenx(places, low, high, color=BAND, linewidth=0.0, zorder=0)
    for chosen, color in ((~apart, BLUE), (apart, RED)):
        if not band:
            width = 1.6 if n <= LABELS else max(0.4, 80.0 / n)
            ax.hlines(places[chosen], low[chosen], high[chosen], color=color, linewidth=width)
        ax.plot(x[chosen], places[chosen], "o", color=color, markersize=4.5 if n <= LABELS else 2.0)
    return finish(ax, xlabel, _name_units(ax, [labels[i] for i in order], ylabel), title)


def shrinkage_lines(
    raw: ArrayLike,
    shrunken: ArrayLike,
    labels: Labels,
    *,
    centre: float | None = None,
    size: ArrayLike | None = None,
    xlabel: str = "Estimate",
    ylabel: str = "",
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Each unit's own estimate and the shrunken one, joined by a line.

    Parameters
    ----------
    raw, shrunken : array-like of shape (n,)
        Without pooling, and with; a missing raw estimate is left out.
    labels : sequence of n
        Written at the axis where there is room.
    centre : float, optional
        The estimate with complete pooling.
    size : array-like of shape (n,), optional
        Amount of data of each unit: the area of its own point.
    """
    x, to = array(raw), array(shrunken)
    n = len(x)
    ax = new_axes(ax, 5.4, float(np.clip(1.3 + 0.19 * n, 2.6, 9.0)))
    order = np.argsort(to, kind="stable")
    places = np.arange(n)
    area: Any = 22.0
    if size is not None:
        amount = array(size)[order]
        area = 40.0 * amount / amount.max()
    few = n <= LABELS
    if centre is not None:
        ax.axvline(centre, color=GREY, linewidth=0.9, zorder=0, label="complete pooling")
    ax.hlines(places, x[order], to[order], color=GREY, linewidth=1.0 if few else 0.4, zorder=1)
    _draw_estimates(ax, (x[order], places), (to[order], places), area if few else 5.0, few)
    ylabel = _name_units(ax, [labels[i] for i in order], ylabel)
    legend(ax)
    return finish(ax, xlabel, ylabel, title)


def _name_units(ax: Axes, labels: Sequence[Any], ylabel: str) -> str:
    """Names beside the rows where there is room; else the axis' label counts them."""
    n = len(labels)
    ax.set_ylim(-0.8, n - 0.2)
    if n > LABELS:
        ax.set_yticks([])
        return ylabel and f"{ylabel} ({n}, sorted)"
    ax.set_yticks(
        np.arange(n), [str(label) for label in labels], fontsize="small", parse_math=False
    )
    ax.tick_params(axis="y", length=0)
    return ylabel


def _draw_estimates(ax: Axes, own: Points, shrunken: Points, area: Any, few: bool) -> None:
    """Each unit's own estimate, hollow and of some area, and the shrunken one."""
    ax.scatter(
        *own,
        s=area,
        facecolor="white",
        edgecolor=BLUE,
        linewidth=1.1 if few else 0.5,
        label="no pooling",
        zorder=2,
    )
    size = 24.0 if few else 6.0
    ax.scatter(*shrunken, s=size, color=RED, label="partial pooling", zorder=3)


def shrinkage_arrows(
    raw: ArrayLike,
    shrunken: ArrayLike,
    labels: Labels | None = None,
    *,
    centre: ArrayLike | None = None,
    xlabel: str = "First coefficient",
    ylabel: str = "Second coefficient",
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Pairs of coefficients, from each unit's own estimates to the shrunken ones.

    Parameters
    ----------
    raw, shrunken : array-like of shape (n, 2)
    labels : sequence of n, optional
        Written beside the points where there is room.
    centre : array-like of shape (2,), optional
        The estimates with complete pooling.
    """
    ax = new_axes(ax, 5.8, 4.8)
    x, to = array(raw), array(shrunken)
    few = len(x) <= LABELS
    known = np.isfinite(x).all(axis=1)
    ax.quiver(
        x[known, 0],
        x[known, 1],
        *(to[known] - x[known]).T,
        angles="xy",
        scale_units="xy",
        scale=1.0,
        width=0.003 if few else 0.0012,
        headwidth=4.5,
        headlength=5.5,
        color=GREY,
        zorder=1,
    )
    _draw_estimates(ax, (x[known, 0], x[known, 1]), (to[:, 0], to[:, 1]), 24.0 if few else 7.0, few)
    if centre is not None:
        a, b = array(centre)
        ax.scatter(a, b, marker="D", s=52.0, color=INK, label="complete pooling", zorder=4)
    if labels is not None and few:
        for label, (a, b) in zip(np.asarray(labels)[known], x[known], strict=True):
            ax.annotate(
                str(label),
                (a, b),
                xytext=(4, 4),
                textcoords="offset points",
                fontsize="x-small",
                color=INK,
                parse_math=False,
            )
    legend(ax)
    return finish(ax, xlabel, ylabel, title)


def funnel(
    estimate: ArrayLike,
    size: ArrayLike,
    *,
    centre: float,
    limits: Sequence[tuple[float, ArrayLike, ArrayLike]] = (),
    grid: ArrayLike | None = None,
    labels: Labels | None = None,
    n_labels: int = 5,
    xlabel: str = "Size",
    ylabel: str = "Estimate",
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Estimates against the amount of data behind each, with control limits around the centre.

    Parameters
    ----------
    estimate, size : array-like of shape (n,)
    centre : float
        What all would share.
    limits : sequence of (level, lower, upper)
        Probability limits on `grid`, each two arrays of shape (m,).
    grid : array-like of shape (m,), optional
        Sizes at which the limits are given.
    labels : sequence of n, optional
        To name the `n_labels` points farthest outside the outermost limits with.
    """
    ax = new_axes(ax)
    x, y = array(size), array(estimate)
    ax.axhline(centre, color=GREY, linewidth=0.9, zorder=0)
    outside = np.full(len(x), -np.inf)
    if limits and grid is not None:
        at = array(grid)
        order = np.argsort(at)
        for level, lower, upper in sorted(limits, key=lambda limit: limit[0]):
            low, high = array(lower)[order], array(upper)[order]
            style: dict[str, Any] = {
                "color": GREY,
                "linewidth": 1.0,
                "linestyle": (0, (6 * level**4, 2)),
            }
            ax.plot(at[order], low, label=f"{level:.1%} limits".replace(".0%", "%"), **style)
            ax.plot(at[order], high, **style)
            here_low, here_high = np.interp(x, at[order], low), np.interp(x, at[order], high)
            outside = np.maximum(here_low - y, y - here_high) / np.maximum(
                here_high - here_low, 1e-300
            )
        legend(ax)
    apart = outside > 0.0
    points(ax, x[~apart], y[~apart])
    points(ax, x[apart], y[apart], color=RED, alpha=0.9)
    name_largest(ax, x, y, labels, np.where(apart, outside, np.nan), n_labels)
    return finish(ax, xlabel, ylabel, title)


def density(
    grid: ArrayLike,
    density: ArrayLike,
    *,
    atoms: tuple[ArrayLike, ArrayLike] | None = None,
    rug: ArrayLike | None = None,
    xlabel: str = "Effect",
    ylabel: str = "Fitted prior density",
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """A density, with point masses and the values it was fitted to.

    Parameters
    ----------
    grid, density : array-like of shape (m,)
        May be empty for a distribution of point masses alone.
    atoms : tuple of two array-like, optional
        Places and probabilities of point masses, on an axis of their own at the right.
    rug : array-like of shape (n,), optional
        Values to mark at the bottom.
    """
    ax = new_axes(ax, 5.4, 3.8)
    x, y = array(grid), array(density)
    if len(x):
        ax.fill_between(x, 0.0, y, color=BAND, linewidth=0.0)
        ax.plot(x, y, color=BLUE, linewidth=1.6)
        ax.set_ylim(bottom=0.0)
    if rug is not None:
        marks = array(rug)
        ax.plot(
            marks,
            np.zeros(len(marks)),
            "|",
            color=INK,
            markersize=9.0,
            alpha=float(np.clip(30.0 / max(len(marks), 1), 0.1, 0.7)),
            clip_on=False,
        )
    if atoms is not None:
        places, masses = (array(values) for values in atoms)
        right = ax.twinx() if len(x) else ax
        right.vlines(places, 0.0, masses, color=RED, linewidth=2.0)
        right.plot(places, masses, "o", color=RED, markersize=4.5)
        right.set_ylim(0.0, 1.08 * max(float(masses.max()), 1e-300))
        if len(x):
            right.set_ylabel("Probability")
            right.spines[["top", "left"]].set_visible(False)
            right.spines["right"].set_color(GREY)
    return finish(ax, xlabel, ylabel, title)
