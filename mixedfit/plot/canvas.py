"""What all pictures share: axes, colours, points, labels, a smooth line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixedfit.arrays import Array
from mixedfit.errors import MixedfitError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "BAND",
    "BLUE",
    "GREY",
    "INK",
    "LABELS",
    "RED",
    "Labels",
    "array",
    "finish",
    "legend",
    "name_largest",
    "new_axes",
    "points",
    "smooth",
]

BLUE, RED, GREY, BAND, INK = "#2a6099", "#c0492b", "#8a8f98", "#dbe6f2", "#333a44"
# Names of points: one each.
Labels: TypeAlias = Sequence[Any] | NDArray[Any]
# Labels an axis can hold.
LABELS = 60
# Points beyond which each is drawn faint and small.
_MANY = 2000


def new_axes(ax: Axes | None, width: float = 6.0, height: float = 4.2) -> Axes:
    """The Axes given, or those of a new figure."""
    if ax is not None:
        return ax
    try:
        import matplotlib.pyplot as plt  # noqa: PLC0415  an optional dependency
    except ModuleNotFoundError:
        raise MixedfitError(
            "pictures need matplotlib, which is not installed: pip install 'mixedfit[plot]'"
        ) from None
    return plt.subplots(figsize=(width, height), layout="constrained")[1]


def finish(ax: Axes, x: str, y: str, title: str | None) -> Axes:
    """Labels as they stand (dollar signs are no formulas), and a quiet frame."""
    ax.set_xlabel(x, parse_math=False)
    ax.set_ylabel(y, parse_math=False)
    if title:
        ax.set_title(title, loc="left", fontsize="medium", parse_math=False)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(GREY)
    ax.tick_params(color=GREY)
    return ax


def array(values: ArrayLike) -> Array:
    """Numbers."""
    return np.asarray(values, dtype=float)


def points(ax: Axes, x: Array, y: Array, **style: Any) -> None:
    """A dot a point, faint where there are many."""
    many = len(x) > _MANY
    look: dict[str, Any] = {
        "s": 6.0 if many else 20.0,
        "alpha": max(0.1, (_MANY / len(x)) ** 0.5 * 0.5) if many else 0.75,
        "color": BLUE,
        "linewidths": 0.0,
        "rasterized": many,
    }
    ax.scatter(x, y, **(look | style))


def smooth(x: Array, y: Array, span: float = 0.66) -> tuple[Array, Array]:
    """A local linear fit on a grid, with tricube weights over a share of the points known."""
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    grid = np.unique(np.quantile(x, np.linspace(0.0, 1.0, 60)))
    reach = max(3, int(np.ceil(span * len(x))))
    values = np.empty(len(grid))
    for i, at in enumerate(grid):
        distance = np.abs(x - at)
        width = np.partition(distance, min(reach, len(x)) - 1)[min(reach, len(x)) - 1]
        w = np.clip(1.0 - (distance / max(width, 1e-300)) ** 3, 0.0, None) ** 3
        w = w if w.sum() > 0.0 else np.ones(len(x))
        centre, mean = np.average(x, weights=w), np.average(y, weights=w)
        spread = float((w * (x - centre) ** 2).sum())
        slope = float((w * (x - centre) * (y - mean)).sum()) / spread if spread > 0.0 else 0.0
        values[i] = mean + slope * (at - centre)
    return grid, values


def name_largest(ax: Axes, x: Array, y: Array, labels: Labels | None, size: Array, n: int) -> None:
    """Write the labels of the points that stand out most."""
    if labels is None:
        return
    middle = 0.5 * sum(ax.get_xlim())
    known = np.flatnonzero(np.isfinite(size))
    for i in known[np.argsort(size[known])[::-1][:n]]:
        left = x[i] > middle
        ax.annotate(
            str(labels[i]),
            (x[i], y[i]),
            xytext=(-5 if left else 5, 3),
            textcoords="offset points",
            ha="right" if left else "left",
            fontsize="small",
            color=INK,
            parse_math=False,
        )


def legend(ax: Axes) -> None:
    """A legend above the picture, where nothing is drawn."""
    ax.legend(
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        ncols=3,
        frameon=False,
        fontsize="small",
        handletextpad=0.3,
        columnspacing=1.2,
        borderaxespad=0.2,
    )
