"""The pictures of a fit: its numbers handed to `plot`, with labels in the user's words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy
from numpy.typing import ArrayLike, NDArray

from mixedfit import plot
from mixedfit.arrays import Array
from mixedfit.diagnostics import Diagnostics, plain_labels, unpooled_effects
from mixedfit.errors import DataError, ModelError, check_level
from mixedfit.fit import Fit
from mixedfit.influence import influence
from mixedfit.predict import fitted_values
from mixedfit.scaled_residuals import Effects, scaled_residuals
from mixedfit.varcorr import factor_columns
from mixedfit.variance_parameters import variance_parameters

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Pictures"]


@dataclass(frozen=True, repr=False)
class Pictures:
    """The pictures of one fit.

    Every method draws on the matplotlib Axes it is given as ``ax=``, or on a figure of its own, and
    returns the Axes. They need matplotlib: ``pip install 'mixedfit[plot]'``.

    Attributes
    ----------
    fit : Fit
    profile_frame : callable
        Makes the table of a parameter's profile likelihood: parameter, value, zeta.
    """

    fit: Fit
    profile_frame: Callable[[str], pd.DataFrame]

    @property
    def _response(self) -> str:
        return self.fit.design.response.name

    def residuals(self, ax: Axes | None = None) -> Axes:
        """Conditional residuals against fitted values, both in units of the response."""
        table = Diagnostics(self.fit).residuals()
        return plot.residuals(
            table["fitted"],
            table["conditional"],
            labels=self._rows(),
            xlabel=f"Fitted {self._response}",
            ylabel=f"Residual ({self._response})",
            ax=ax,
        )

    def scale_location(self, ax: Axes | None = None) -> Axes:
        """Root size of studentised residuals against fitted values: flat if the variance is."""
        table = Diagnostics(self.fit).residuals()
        return plot.scale_location(
            table["fitted"],
            table["studentized"],
            labels=self._rows(),
            xlabel=f"Fitted {self._response}",
            ax=ax,
        )

    def scaled(
        self,
        n: int = 250,
        seed: int | np.random.Generator | None = None,
        effects: Effects = "new",
        ax: Axes | None = None,
    ) -> Axes:
        """Residuals scaled by simulation against fitted values, with their running quartiles.

        Parameters
        ----------
        n : int
            Simulated responses.
        seed : int or numpy Generator, optional
        effects : {"new", "fitted"}
            Draw random effects anew, or hold them at their predictions.
        ax : Axes, optional
        """
        found = scaled_residuals(self.fit, n, seed, effects)
        return plot.scaled_residuals(
            fitted_values(self.fit, "population" if effects == "new" else "groups"),
            found.residuals,
            xlabel=f"Fitted {self._response} (rank)",
            ax=ax,
        )

    def qq(
        self,
        of: str = "residuals",
        term: str | None = None,
        level: float = 0.95,
        ax: Axes | None = None,
    ) -> Axes:
        """Normal quantile-quantile plot with a simultaneous band.

        Parameters
        ----------
        of : str
            "residuals" (studentised), or a grouping factor, for its standardised random effects.
        term : str, optional
            Which of its effects; by default the first that varies.
        level : float
            Probability that the band holds all points of a normal sample.
        ax : Axes, optional
        """
        table = Diagnostics(self.fit).qq(of, level)
        terms = list(dict.fromkeys(table["term"]))
        chosen = terms[0] if term is None else term
        if chosen not in terms:
            raise DataError(f"{term!r} is none of the effects of {of!r} that vary: {terms}")
        points = table[table["term"] == chosen]
        what = "Studentised residual" if of == "residuals" else f"Standardised {chosen} of {of}"
        return plot.quantile_quantile(
            points["theoretical"],
            points["observed"],
            points["lower"],
            points["upper"],
            labels=points["label"].to_numpy(),
            ylabel=what,
            ax=ax,
        )

    def caterpillar(
        self,
        group: str | None = None,
        term: str | None = None,
        level: float = 0.95,
        ax: Axes | None = None,
    ) -> Axes:
        """Predicted random effects with their intervals, sorted.

        Parameters
        ----------
        group : str, optional
            Grouping factor; by default the one with most levels.
        term : str, optional
            Which of its effects; by default the first.
        level : float
            Of the intervals, ``u +/- z sd`` with sd given the data, fixed effects and variances
            taken as known.
        ax : Axes, optional
        """
        check_level(level)
        f, a, name = self._effect(group, term)
        effects = self.fit.estimate.effects[f][:, a]
        variances = self.fit.estimate.conditional_covariances[f][:, a, a]
        half = scipy.stats.norm.ppf(0.5 + level / 2.0) * np.sqrt(np.maximum(variances, 0.0))
        factor = self.fit.design.factors[f]
        return plot.intervals(
            effects,
            effects - half,
            effects + half,
            plain_labels(factor.levels),
            xlabel=f"Random effect {name} ({self._unit(name)}), {100 * level:g}% intervals",
            ylabel=factor.name,
            ax=ax,
        )

    def shrinkage(
        self,
        group: str | None = None,
        terms: str | tuple[str, str] | None = None,
        ax: Axes | None = None,
    ) -> Axes:
        """No pooling, partial pooling and complete pooling of each level's coefficients.

        Parameters
        ----------
        group : str, optional
            Grouping factor; by default the one with most levels.
        terms : str or pair of str, optional
            One of its effects, or two to draw against each other; by default the first two.
        ax : Axes, optional

        Notes
        -----
        No pooling is least squares on a level's own rows, after the other terms of the model;
        complete pooling is least squares on all rows, random effects ignored.
        """
        f, _, _ = self._effect(group, None)
        names = factor_columns(self.fit)[f]
        pair = isinstance(terms, tuple) or (terms is None and len(names) > 1)
        chosen = terms if isinstance(terms, tuple) else (terms or names[0],)
        if terms is None and pair:
            chosen = (names[0], names[1])
        if len(chosen) > 2:
            raise DataError(f"terms must be one or two effects, not {len(chosen)}")
        places = [self._effect(group, name)[1] for name in chosen]
        estimate = self.fit.estimate
        mean = self._coefficients(estimate.beta, [names[a] for a in places])
        raw = unpooled_effects(self.fit, f)[:, places] + mean
        shrunken = estimate.effects[f][:, places] + mean
        centre = self._coefficients(estimate.least_squares, [names[a] for a in places])
        factor = self.fit.design.factors[f]
        labels = plain_labels(factor.levels)
        titles = [f"{names[a]} ({self._unit(names[a])})" for a in places]
        if pair:
            return plot.shrinkage_arrows(
                raw, shrunken, labels, centre=centre, xlabel=titles[0], ylabel=titles[1], ax=ax
            )
        counts = np.bincount(factor.codes, minlength=factor.n_levels)
        return plot.shrinkage_lines(
            raw[:, 0],
            shrunken[:, 0],
            labels,
            centre=float(centre[0]),
            size=counts,
            xlabel=titles[0],
            ylabel=factor.name,
            ax=ax,
        )

    def profile(
        self,
        parameter: str,
        profile: pd.DataFrame | None = None,
        absolute: bool = False,
        ax: Axes | None = None,
    ) -> Axes:
        """Profile zeta of one parameter: a straight line where Wald's interval is right.

        Parameters
        ----------
        parameter : str
            As the profile names it: ``"Days"``, ``"sd[Subject, Days]"``, ``"sigma"``.
        profile : DataFrame, optional
            The table of a profile made before (columns parameter, value, zeta).
        absolute : bool
            Draw the size of zeta instead.
        ax : Axes, optional
        """
        frame = self.profile_frame(parameter) if profile is None else profile
        own = frame[frame["parameter"] == parameter]
        if own.empty:
            known = ", ".join(repr(str(name)) for name in dict.fromkeys(frame["parameter"]))
            raise DataError(f"the profile has no parameter {parameter!r}; it has {known}")
        own = own.sort_values("value")
        value, zeta = own["value"].to_numpy(float), own["zeta"].to_numpy(float)
        estimate = value[np.nanargmin(np.abs(zeta))]
        return plot.profile_zeta(
            value,
            zeta,
            estimate=float(estimate),
            absolute=absolute,
            xlabel=self._parameter(parameter),
            ax=ax,
        )

    def influence(
        self,
        group: str | ArrayLike | None = None,
        refit: bool = False,
        measure: str = "cooks_distance",
        ax: Axes | None = None,
    ) -> Axes:
        """Cook's distance, or another measure, of each row or of each level left out.

        Parameters
        ----------
        group : str or array-like, optional
            A grouping factor, or one label a row; by default single rows.
        refit : bool
            Estimate the variance parameters again without each.
        measure : {"cooks_distance", "mdffits", "leverage"}
        ax : Axes, optional
        """
        names = {
            "cooks_distance": "Cook's distance",
            "mdffits": "MDFFITS",
            "leverage": "Leverage",
        }
        if measure not in names:
            raise DataError(f"measure must be one of {', '.join(map(repr, names))}")
        found = influence(self.fit, group, refit)
        values = found.to_frame()[measure]
        if values.isna().all():
            raise ModelError(
                f"without any level of {found.group!r} some fixed effect cannot be estimated: "
                "there is no influence to draw; leave out single rows, or levels of another factor"
            )
        what = "Row left out" if found.group == "row" else f"{found.group} left out"
        if measure == "leverage":
            what = what.removesuffix(" left out")
        threshold = 4.0 / len(values) if measure != "leverage" else None
        return plot.influence(
            values,
            plain_labels(values.index),
            threshold=threshold,
            xlabel=what,
            ylabel=names[measure],
            ax=ax,
        )

    def acf(
        self, group: str | ArrayLike | None = None, ax: Axes | None = None, **options: Any
    ) -> Axes:
        """Autocorrelation of residuals within groups, with the interval of white noise.

        Parameters
        ----------
        group : str or array-like, optional
            A grouping factor, or one label a row; by default the factor with most levels.
        ax : Axes, optional
        **options
            Of `Diagnostics.acf`: time, max_lag, kind, level.
        """
        table = Diagnostics(self.fit).acf(group, **options)
        unit = "rows" if options.get("time") is None else "rows in time"
        return plot.autocorrelation(
            table["lag"], table["acf"], table["upper"], xlabel=f"Lag ({unit})", ax=ax
        )

    def semivariogram(
        self,
        coordinates: ArrayLike | None = None,
        group: str | ArrayLike | None = None,
        ax: Axes | None = None,
        **options: Any,
    ) -> Axes:
        """Semivariance of residuals within groups by distance.

        Parameters
        ----------
        coordinates : array-like, optional
            Times or places; by default rows of a group are one apart.
        group : str or array-like, optional
            A grouping factor, or one label a row; by default the factor with most levels.
        ax : Axes, optional
        **options
            Of `Diagnostics.semivariogram`: n_classes, max_distance, kind, robust.
        """
        table = Diagnostics(self.fit).semivariogram(coordinates, group, **options)
        kind = str(options.get("kind", "pearson"))
        shown = kind.capitalize() if kind == "pearson" else kind
        name = coordinates.name if isinstance(coordinates, pd.Series) else None
        place = "rows" if coordinates is None else str(name or "units of the coordinates")
        return plot.semivariogram(
            table["distance"],
            table["semivariance"],
            table["n_pairs"],
            reference=None if kind == "response" else 1.0,
            xlabel=f"Distance ({place})",
            ylabel=f"Semivariance of {shown} residuals",
            ax=ax,
        )

    def fitted(self, x: str, group: str | None = None, ax: Axes | None = None) -> Axes:
        """Observations, each level's fitted line, and the population's, against one column.

        Parameters
        ----------
        x : str
            A column of the fixed or random part.
        group : str, optional
            Grouping factor; by default the one with most levels.
        ax : Axes, optional
        """
        f, _, _ = self._effect(group, None)
        design = self.fit.design
        values = self._column(x)
        factor = design.factors[f]
        fixed = pd.Series(fitted_values(self.fit, "population")).groupby(values).mean()
        return plot.fitted_lines(
            values,
            design.y,
            fitted_values(self.fit),
            plain_labels(factor.levels)[factor.codes],
            population=(fixed.index.to_numpy(float), fixed.to_numpy()),
            xlabel=x,
            ylabel=self._response,
            ax=ax,
        )

    def _rows(self) -> NDArray[Any]:
        index = self.fit.design.index
        return np.arange(self.fit.n) if index is None else plain_labels(index)

    def _effect(self, group: str | None, term: str | None) -> tuple[int, int, str]:
        """Places of a grouping factor and of one of its effects, and the effect's name."""
        factors = self.fit.design.factors
        names = [factor.name for factor in factors]
        if not names:
            raise ModelError("this fit has no random effects")
        if group is not None and group not in names:
            raise DataError(f"{group!r} is no grouping factor; this fit has {names}")
        f = 0 if group is None else names.index(group)
        columns = factor_columns(self.fit)[f]
        if term is not None and term not in columns:
            raise DataError(f"{term!r} is no random effect of {names[f]!r}; it has {columns}")
        a = 0 if term is None else columns.index(term)
        return f, a, columns[a]

    def _coefficients(self, values: Array, names: list[str]) -> Array:
        """Fixed coefficients by name; 0 for effects without a fixed counterpart."""
        by_name = dict(zip(map(str, self.fit.design.names), values, strict=True))
        return np.array([by_name.get(name, 0.0) for name in names])

    def _unit(self, name: str) -> str:
        return self._response if name == "Intercept" else f"{self._response} per unit of {name}"

    def _parameter(self, name: str) -> str:
        """A parameter's name with its unit."""
        own = {found.label: found for found in variance_parameters(self.fit)}.get(name)
        if own is None:
            return f"{name} ({self._unit(name)})"
        if own.kind == "sigma":
            return f"{name} ({self._response})"
        if own.kind == "sd":
            column = self.fit.design.terms[own.term].names[own.columns[0]]
            return f"{name} ({self._unit(column)})"
        return name

    def _column(self, name: str) -> Array:
        design = self.fit.design
        columns = {str(own): design.X[:, i] for i, own in enumerate(design.names)}
        for term in design.terms:
            columns |= {own: term.Z[:, a] for a, own in enumerate(term.names) if own not in columns}
        columns.pop("Intercept", None)
        if name not in columns:
            raise DataError(f"{name!r} is no column of this model; it has {', '.join(columns)}")
        return columns[name]
