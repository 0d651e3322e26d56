"""The pictures of a `Shrinkage`: its tables handed to `plot`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy

from mixedfit import plot
from mixedfit.arrays import Array
from mixedfit.errors import DataError, ModelError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from mixedfit.eb.shrinkage import Shrinkage

__all__ = ["ShrinkagePictures"]

_LIMITS = (0.95, 0.998)
_VALUES = {"beta-binomial": "Proportion", "gamma-Poisson": "Rate", "variances": "Variance"}


@dataclass(frozen=True, repr=False)
class ShrinkagePictures:
    """The pictures of one result.

    Every method draws on the matplotlib Axes it is given as ``ax=``, or on a figure of its own, and
    returns the Axes. They need matplotlib: ``pip install 'mixedfit[plot]'``.

    Attributes
    ----------
    result : Shrinkage
    """

    result: Shrinkage

    @property
    def _labels(self) -> Any:
        return self.result.posterior["label"].to_numpy()

    def _centre(self) -> float | None:
        """The prior mean where all units share one."""
        try:
            return float(self.result.predict()["estimate"].iloc[0])
        except (DataError, ModelError):
            return None

    def shrinkage(self, ax: Axes | None = None) -> Axes:
        """Each unit's raw estimate and the shrunken one, joined: how far each was pulled.

        With two random coefficients a unit, an arrow from one pair to the other.
        """
        table = self.result.posterior
        if "term" in table:
            return self._arrows(ax)
        sizes = self.result.behaviour.sizes
        return plot.shrinkage_lines(
            table["estimate"],
            table["mean"],
            self._labels,
            centre=self._centre(),
            size=None if sizes is None else sizes[1],
            ax=ax,
        )

    def _arrows(self, ax: Axes | None) -> Axes:
        table = self.result.posterior
        terms = table["term"].unique()
        if len(terms) != 2:
            raise ModelError(
                f"{len(terms)} coefficients a level do not fit on one picture; ask for one term"
            )
        first = table[table["term"] == terms[0]]
        pairs = [table[name].to_numpy().reshape(-1, 2) for name in ("estimate", "mean")]
        return plot.shrinkage_arrows(
            pairs[0],
            pairs[1],
            first["level"].to_numpy(),
            centre=table["complete_pooling"].to_numpy()[:2],
            xlabel=str(terms[0]),
            ylabel=str(terms[1]),
            ax=ax,
        )

    def intervals(self, ax: Axes | None = None) -> Axes:
        """Shrunken estimates with their intervals, sorted; a line at the prior mean."""
        table = self.result.posterior
        return plot.intervals(
            table["mean"],
            table["lower"],
            table["upper"],
            self._labels,
            reference=self._centre(),
            xlabel=f"Shrunken estimate, {100 * self.result.level:g}% interval",
            ax=ax,
        )

    def ranks(
        self,
        *,
        highest_first: bool = True,
        level: float | None = None,
        n: int = 4000,
        seed: int | np.random.Generator | None = 0,
        ax: Axes | None = None,
    ) -> Axes:
        """Expected ranks with their intervals, the first rank at the top.

        Parameters
        ----------
        highest_first, level, n, seed
            As in `Shrinkage.rank`.
        """
        level = self.result.level if level is None else level
        table = self.result.rank(highest_first=highest_first, level=level, n=n, seed=seed)
        order = table["expected_rank"].argsort(kind="stable")
        table = table.iloc[order.to_numpy()]
        ax = plot.intervals(
            table["expected_rank"],
            table["lower"],
            table["upper"],
            table["label"].to_numpy(),
            reference=None,
            sort=False,
            xlabel=f"Rank, {100 * level:g}% interval",
            ax=ax,
        )
        ax.set_xlim(0.5, len(table) + 0.5)
        ax.locator_params(axis="x", integer=True)
        return ax

    def funnel(self, ax: Axes | None = None) -> Axes:
        """Raw estimates against the amount of data, with limits the fitted prior allows them.

        The limits hold 95% and 99.8% of raw estimates of units of that size under the fitted prior;
        units outside are named.
        """
        table, behaviour = self.result.posterior, self.result.behaviour
        if "term" in table or "category" in table:
            raise ModelError("a funnel shows one value a unit; ask for one term or category")
        centre = self._centre()
        if centre is None:
            raise ModelError(
                "the units have prior means of their own, or none: a funnel needs one that they "
                "share; see plot.shrinkage() or plot.intervals()"
            )
        if behaviour.sizes is None:
            name, size = "Precision, 1 / se²", table["se"].to_numpy() ** -2.0
        else:
            name, size = behaviour.sizes
        seen = np.isfinite(table["estimate"].to_numpy()) & np.isfinite(size) & (size > 0.0)
        grid = np.geomspace(size[seen].min(), size[seen].max(), 200)
        return plot.funnel(
            table["estimate"].to_numpy()[seen],
            size[seen],
            centre=centre,
            limits=self._limits(grid, centre),
            grid=grid,
            labels=self._labels[seen],
            xlabel=name,
            ax=ax,
        )

    def _limits(self, grid: Array, centre: float) -> list[tuple[float, Array, Array]]:
        behaviour, prior = self.result.behaviour, self.result.prior
        if behaviour.sizes is not None:
            return [(level, *behaviour.raw_limits(grid, level)) for level in _LIMITS]
        if "tau2" not in prior:
            return []
        out = []
        for level in _LIMITS:
            half = scipy.stats.norm.ppf(0.5 + 0.5 * level) * np.sqrt(prior["tau2"] + 1.0 / grid)
            out.append((level, centre - half, centre + half))
        return out

    def prior(self, ax: Axes | None = None) -> Axes:
        """The fitted prior's density and points, the raw estimates marked below them."""
        raw = self.result.posterior["estimate"].to_numpy()
        raw = raw[np.isfinite(raw)]
        # A single far value should not squeeze the density of all the others.
        low, high = (float(q) for q in np.quantile(raw, [0.005, 0.995]))
        reach = 0.25 * (high - low)
        start = low - reach
        if self.result.family in _VALUES:
            start = max(start, 0.0)
        grid = np.linspace(start, high + reach, 401)[1:-1]
        raw = raw[(raw >= grid[0] - reach) & (raw <= grid[-1])]
        name = _VALUES.get(self.result.family, "Value")
        places, masses = self.result.behaviour.prior_points()
        heights = self.result.prior_density(grid)
        atoms = (places, masses) if masses.sum() > 1e-6 else None
        ylabel = "Fitted prior density"
        if masses.sum() > 1.0 - 1e-9:  # points alone have no density to draw
            grid, heights, ylabel = grid[:0], heights[:0], "Fitted prior probability"
        return plot.density(grid, heights, atoms=atoms, rug=raw, xlabel=name, ylabel=ylabel, ax=ax)
