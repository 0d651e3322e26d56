"""Estimated marginal means: the mean on a reference grid, averaged, compared, differentiated.

Searle, Speed & Milliken (1980), Population marginal means in the linear model, Am. Statist. 34(4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from mixedfit.adjustment import Adjustment, check_adjustment
from mixedfit.arrays import Array, IntArray
from mixedfit.comparisons import Comparisons, Method, as_ratio, comparisons, interaction
from mixedfit.ddf import FixedInference
from mixedfit.errors import ModelError, check_level, check_names
from mixedfit.fit import Fit
from mixedfit.letters import letters
from mixedfit.linear_estimates import LinearEstimates, Scale, check_scale, table
from mixedfit.marginal_notes import NON_ESTIMABLE, adjustment_notes, grid_notes
from mixedfit.marginal_specs import MarginalSpecs
from mixedfit.noted import NotedFrame, beside, noted
from mixedfit.reference_grid import ReferenceGrid, Weights
from mixedfit.transformation import Transformation
from mixedfit.trends import slopes, trend_variable

__all__ = ["MarginalMeans", "marginal_means", "marginal_trends"]


@dataclass(frozen=True, repr=False)
class MarginalMeans:
    """Marginal means or trends, one for each combination of some factors' levels.

    Attributes
    ----------
    specs, by : tuple of str
        The factors they are told for, and those within which they are compared.
    grid : ReferenceGrid
    cells : int array of shape (m,)
        Which combination of the levels of ``specs`` and ``by`` each mean is for, the first running
        fastest; those that nesting rules out are left out.
    average : sparse array of shape (m, n)
        Weights of the grid's n combinations in each mean.
    estimates : LinearEstimates
    transformation : Transformation or None
        Of the response.
    method : str or None
        Contrasts that the specification asks for, as in ``"pairwise ~ a"``.
    notes : tuple of str
        What to know when reading them.

    Examples
    --------
    >>> import mixedfit as mf
    >>> fit = mf.lmer("score ~ Machine + (1 | Worker)", mf.datasets.load("machines"))
    >>> fit.emmeans("Machine")
    Machine  estimate     se     df  lower  upper
          A    52.356 2.2293 5.8332 46.863 57.849
          B    60.322 2.2293 5.8332 54.829 65.815
          C    66.272 2.2293 5.8332 60.779 71.765
    Degrees of freedom by Satterthwaite's method.
    """

    specs: tuple[str, ...]
    by: tuple[str, ...]
    grid: ReferenceGrid
    cells: IntArray
    average: sparse.csr_array
    estimates: LinearEstimates
    transformation: Transformation | None
    method: str | None
    notes: tuple[str, ...]

    @cached_property
    def averaged_over(self) -> pd.DataFrame:
        """One row a combination of the grid, with its ``weight`` in the mean it belongs to."""
        columns = {
            name: variable.levels.take(self.grid.codes[name]).to_numpy()
            for name, variable in self.grid.variables.items()
        }
        weight = np.asarray(self.average.sum(axis=0)).ravel()
        return beside(columns, {"weight": weight})

    @cached_property
    def _places(self) -> dict[str, IntArray]:
        """Which value of each factor each mean is for."""
        names = (*self.specs, *self.by)
        shape = tuple(len(self.grid.variables[name].levels) for name in names)
        places = np.unravel_index(self.cells, shape, order="F") if names else ()
        return dict(zip(names, places, strict=True))

    def to_frame(
        self,
        level: float = 0.95,
        adjust: Adjustment = "none",
        type: Scale = "link",  # noqa: A002  R's name
    ) -> NotedFrame:
        """One row a mean.

        Parameters
        ----------
        level : float
            Of the confidence intervals.
        adjust : str
            Make the intervals hold together within each group of ``by``: "none", "bonferroni",
            "sidak", "scheffe" or "mvt".
        type : {"link", "response"}
            The scale of the model, or, where the formula transforms the response, its own scale,
            with standard errors by the delta method and limits transformed back.

        Returns
        -------
        DataFrame
            The factors' columns, estimate, se, df, lower, upper; nan where the data cannot
            estimate a mean.

        Examples
        --------
        >>> import mixedfit as mf
        >>> fit = mf.lmer("log(score) ~ Machine + (1 | Worker)", mf.datasets.load("machines"))
        >>> back = fit.emmeans("Machine").to_frame(type="response")
        >>> back[["Machine", "estimate", "lower", "upper"]].round(1)
          Machine  estimate  lower  upper
        0       A      52.2   47.4   57.6
        1       B      59.7   54.2   65.8
        2       C      66.1   60.0   72.9
        """
        check_level(level)
        check_adjustment(adjust)
        check_scale(type)
        if adjust in ("tukey", "dunnett"):
            raise ModelError(
                f"adjust={adjust!r} is for differences of means: use .pairs() or .contrast(), or "
                "adjust='mvt' for the means themselves"
            )
        rows = self.estimates
        families = [(members, 0) for members in self._groups(self.by)]
        columns = table(rows, adjust, families, level, with_tests=False)
        if type == "response":
            columns = _back_transformed(columns, self._known_transformation())
        frame = beside(self._labels((*self.specs, *self.by)), columns)
        ddf = self.estimates.inference.method
        return noted(frame, *self._scale_notes(type), *self.notes, ddf=ddf)

    def pairs(
        self,
        adjust: Adjustment | None = None,
        *,
        by: str | Sequence[str] | None = None,
        type: Scale = "link",  # noqa: A002
        level: float = 0.95,
        reverse: bool = False,
    ) -> NotedFrame:
        """All differences of two means: `contrast` with "pairwise", or "revpairwise"."""
        method = "revpairwise" if reverse else "pairwise"
        return self.contrast(method, adjust=adjust, by=by, type=type, level=level)

    @property
    def contrasts(self) -> NotedFrame:
        """The contrasts named left of ``~`` in the specification, pairwise ones otherwise."""
        return self.contrast(self.method or "pairwise")

    def contrast(
        self,
        method: Method = "effects",
        *,
        adjust: Adjustment | None = None,
        by: str | Sequence[str] | None = None,
        reference: str | int | None = None,
        interaction: str | Sequence[Method] | None = None,
        type: Scale = "link",  # noqa: A002
        level: float = 0.95,
    ) -> NotedFrame:
        """Compare the means.

        Parameters
        ----------
        method : str, dict or array
            "pairwise", "revpairwise", "control" ("trt.vs.ctrl"), "effects" ("eff"), "polynomial"
            ("poly"), "consecutive" ("consec"), "deleted-effects", "mean-change", "identity"; a dict
            from names to coefficients, one a mean of a ``by`` group; or a matrix of such rows.
        adjust : str, optional
            "tukey", "mvt", "dunnett", "scheffe", "sidak", "bonferroni", "holm", "fdr" or "none";
            by default what is usual for the method (R's choices). Each ``by`` group is a family.
        by : str or list of str, optional
            Compare within levels of these; by default those the means were asked for with.
        reference : str or int, optional
            What "control" compares with: a label or a place; the first by default.
        interaction : str or list of methods, optional
            Contrasts of contrasts: one method for each factor, or one name for all.
        type : {"link", "response"}
            With "response" and a log-transformed response, ratios with their intervals; the tests
            are on the log scale. For other transformations see `on_response`.
        level : float
            Of the confidence intervals, which are adjusted as the p-values are ("holm" and "fdr"
            have none: Bonferroni's are given).

        Returns
        -------
        DataFrame
            contrast (or a column a factor for interactions), the ``by`` columns, estimate, se, df,
            t, p, lower, upper; a note below says how p-values were adjusted.

        Raises
        ------
        ModelError
            If the method or adjustment is unknown, or coefficients have the wrong length.

        Notes
        -----
        Tukey's adjustment is exact for balanced means and conservative otherwise (Hayter 1984); it
        is refused for contrasts that are not differences of all pairs.

        Examples
        --------
        >>> import mixedfit as mf
        >>> fit = mf.lmer("score ~ Machine + (1 | Worker)", mf.datasets.load("machines"))
        >>> fit.emmeans("Machine").contrast("control")[["contrast", "estimate", "p"]].round(3)
          contrast  estimate    p
        0    B - A     7.967  0.0
        1    C - A    13.917  0.0
        """
        check_level(level)
        check_scale(type)
        by = self.by if by is None else _known_names(by, (*self.specs, *self.by))
        specs = tuple(name for name in (*self.specs, *self.by) if name not in by)
        plan = self._plan(specs, by, method, reference, interaction)
        adjust = plan.adjust if adjust is None else adjust
        check_adjustment(adjust)
        if adjust == "tukey" and not plan.pairwise:
            raise ModelError(
                "adjust='tukey' is for all pairwise differences; use 'mvt', 'sidak' or 'holm' here"
            )
        rows = self.estimates.combined(plan.C)
        columns = table(rows, adjust, plan.families, level, with_tests=True)
        notes = adjustment_notes(adjust, plan.families, rows.estimable)
        notes += self._scale_notes(type)
        labels = plan.labels
        if type == "response":
            columns, note = _ratios(columns, self._known_transformation())
            notes.append(note)
            if note.startswith("Ratios"):
                labels = {k: [as_ratio(name) for name in v] for k, v in labels.items()}
        frame = beside(self._labels(by, plan.first), {**labels, **columns})
        frame = frame[[*labels, *by, *columns]]
        if not rows.estimable.all() and NON_ESTIMABLE not in self.notes:
            notes.append(NON_ESTIMABLE)
        ddf = self.estimates.inference.method
        return noted(frame, *notes, *self.notes, ddf=ddf, adjust=adjust)

    def letters(self, alpha: float = 0.05, adjust: Adjustment = "tukey") -> NotedFrame:
        """The means with letters: two that share one are not told apart at a level.

        Parameters
        ----------
        alpha : float
            Of the pairwise tests.
        adjust : str
            Of their p-values, as for `pairs`; each ``by`` group is a family.

        Returns
        -------
        DataFrame
            That of `to_frame` with a column ``letters``, "a" at the largest mean; letters of
            different ``by`` groups have nothing to do with each other.

        Notes
        -----
        Sharing a letter is no evidence that two means are equal.

        Examples
        --------
        >>> import mixedfit as mf
        >>> fit = mf.lmer("effort ~ Type + (1 | Subject)", mf.datasets.load("ergostool"))
        >>> fit.emmeans("Type").letters()["letters"].tolist()
        ['c', 'a', 'b', 'c']
        """
        check_level(alpha, "alpha")
        check_adjustment(adjust)
        plan = self._plan(self.specs, self.by, "pairwise", None, None)
        p = table(self.estimates.combined(plan.C), adjust, plan.families, 1.0 - alpha, True)["p"]
        different = np.zeros((len(self.cells), len(self.cells)), dtype=bool)
        first, second = plan.C.argmax(axis=1), plan.C.argmin(axis=1)
        different[first, second] = different[second, first] = p < alpha
        shown = np.full(len(self.cells), "", dtype=object)
        for group in self._groups(self.by):
            own = different[np.ix_(group, group)]
            shown[group] = letters(self.estimates.value[group], own)
        means = {str(name): column for name, column in self.to_frame(1.0 - alpha).items()}
        frame = beside(means, {"letters": shown})
        notes = adjustment_notes(adjust, plan.families, np.isfinite(p))
        what = f"Means that share a letter are not told apart at the level {alpha:g}."
        return noted(frame, what, *notes, *self._scale_notes("link"), *self.notes, adjust=adjust)

    def on_response(self) -> MarginalMeans:
        """The same means on the response's own scale, so that differences are compared there.

        Raises
        ------
        ModelError
            If the formula does not transform the response.

        Notes
        -----
        To first order (the delta method): a contrast of back-transformed means is linearised in the
        fixed effects, whose degrees of freedom it takes.
        """
        transformation = self._known_transformation()
        note = f"Means are transformed back from the {transformation.name} scale before comparison."
        return replace(
            self,
            estimates=self.estimates.on_response(transformation),
            transformation=None,
            notes=(*self.notes, note),
        )

    # -- pieces --------------------------------------------------------------------------------

    def _labels(self, names: Sequence[str], rows: IntArray | None = None) -> dict[str, Any]:
        take = slice(None) if rows is None else rows
        return {
            name: self.grid.variables[name].levels.take(self._places[name][take]).to_numpy()
            for name in names
        }

    def _groups(self, by: Sequence[str]) -> list[IntArray]:
        """The means of each combination of the levels of some factors."""
        key, size = np.zeros(len(self.estimates.full), dtype=np.int64), 1
        for name in by:
            key += size * self._places[name]
            size *= len(self.grid.variables[name].levels)
        return [group for g in range(size) if len(group := np.flatnonzero(key == g))]

    def _plan(
        self,
        specs: tuple[str, ...],
        by: tuple[str, ...],
        method: Method,
        reference: str | int | None,
        of_contrasts: str | Sequence[Method] | None,
    ) -> _Plan:
        """The contrasts within each combination of the levels of ``by``."""
        if not specs:
            raise ModelError("nothing is left to compare: every factor is in by=")
        blocks, families, made = [], [], []
        labels: dict[str, list[str]] = {}
        first: list[int] = []
        for group in self._groups(by):
            # The first factor runs fastest.
            members = group[np.lexsort([self._places[name][group] for name in specs])]
            names, family = self._comparisons(members, specs, method, reference, of_contrasts)
            q = len(family.names)
            block = np.zeros((q, len(self.cells)))
            block[:, members] = family.coefficients
            families.append((len(first) + np.arange(q), len(members)))
            for key, values in names.items():
                labels.setdefault(key, []).extend(values)
            blocks.append(block)
            first += [int(members[0])] * q
            made.append(family)
        if not first:
            raise ModelError("nothing is left to compare: there is one mean")
        return _Plan(
            np.vstack(blocks),
            labels,
            families,
            np.array(first),
            made[0].adjust,
            made[0].pairwise,
        )

    def _comparisons(
        self,
        members: IntArray,
        specs: tuple[str, ...],
        method: Method,
        reference: str | int | None,
        of_contrasts: str | Sequence[Method] | None,
    ) -> tuple[dict[str, list[str]], Comparisons]:
        """The contrasts of some means, and their names by column."""
        texts = {name: self.grid.variables[name].labels() for name in specs}
        places = {name: self._places[name][members] for name in specs}
        if of_contrasts is None:
            labels = [" ".join(texts[n][places[n][i]] for n in specs) for i in range(len(members))]
            family = comparisons(method, labels, reference)
            return {"contrast": list(family.names)}, family
        methods = (
            [of_contrasts] * len(specs) if isinstance(of_contrasts, str) else list(of_contrasts)
        )
        if len(methods) != len(specs):
            raise ModelError(
                f"interaction= needs one method for each of {', '.join(specs)}, not {len(methods)}"
            )
        own = [[texts[name][i] for i in np.unique(places[name])] for name in specs]
        if np.prod([len(labels) for labels in own]) != len(members):
            raise ModelError(
                f"interaction= needs all combinations of {', '.join(specs)}, and one is nested in "
                "another: compare within it with by="
            )
        parts = [comparisons(m, labels) for m, labels in zip(methods, own, strict=True)]
        names, C = interaction(parts)
        columns = {
            f"{spec}_{method if isinstance(method, str) else 'contrast'}": [
                name[i] for name in names
            ]
            for i, (spec, method) in enumerate(zip(specs, methods, strict=True))
        }
        return columns, Comparisons(tuple(" ".join(name) for name in names), C, "none")

    def _known_transformation(self) -> Transformation:
        if self.transformation is None:
            raise ModelError(
                "type='response' needs a response that the formula transforms, such as log(y); "
                "these means are on the response's scale already, or its transformation is not one "
                "of log, log2, log10, log1p, sqrt, exp, expm1, 1/y and powers"
            )
        return self.transformation

    def _scale_notes(self, type: Scale) -> list[str]:  # noqa: A002
        if self.transformation is None or type == "response":
            return []
        return [
            f"On the {self.transformation.name} scale of the model; type='response' transforms "
            f"back to {self.transformation.response}."
        ]

    def __repr__(self) -> str:
        return repr(self.to_frame())

    def _repr_html_(self) -> str:
        return self.to_frame()._repr_html_()


@dataclass(frozen=True)
class _Plan:
    """Contrasts of means.

    Attributes
    ----------
    C : array of shape (q, m)
    labels : dict of list
        Columns of q names.
    families : list of (int array, int)
        Contrasts adjusted together, with the number of means they compare.
    first : int array of shape (q,)
        A mean of the group each contrast belongs to.
    adjust : Adjustment
        What is usual.
    pairwise : bool
    """

    C: Array
    labels: dict[str, list[str]]
    families: list[tuple[IntArray, int]]
    first: IntArray
    adjust: Adjustment
    pairwise: bool


def _known_names(names: str | Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    wanted = check_names(names, "by")
    for name in wanted:
        if name not in known:
            raise ModelError(f"by= names {name!r}, which is none of {', '.join(map(repr, known))}")
    return wanted


def _back_transformed(columns: dict[str, Array], back: Transformation) -> dict[str, Array]:
    eta = columns["estimate"]
    lower, upper = back.back_ends(eta, columns["lower"], columns["upper"])
    se = np.abs(back.derivative(eta)) * columns["se"]
    return {**columns, "estimate": back.back(eta), "se": se, "lower": lower, "upper": upper}


def _ratios(columns: dict[str, Array], back: Transformation) -> tuple[dict[str, Array], str]:
    if not back.is_log:
        return columns, (
            f"Differences stay on the {back.name} scale; .on_response() compares means on the "
            "response's own."
        )
    ratio = {name: back.ratio(columns[name]) for name in ("estimate", "lower", "upper")}
    se = np.log(back.parameter) * ratio["estimate"] * columns["se"]
    what = f"{back.response} + {back.shift:g}" if back.shift else back.response
    return {**columns, **ratio, "se": se}, f"Ratios of {what}; tests are on the {back.name} scale."


def marginal_means(
    fit: Fit,
    inference: FixedInference,
    specs: str | Sequence[str],
    by: str | Sequence[str] | None = None,
    at: Mapping[str, Any] | None = None,
    weights: Weights = "equal",
) -> MarginalMeans:
    """Marginal means of a fit; see `MixedResults.emmeans`."""
    grid = ReferenceGrid.of(fit.design, at)
    asked = MarginalSpecs.of(specs, by, grid.variables)
    return _averaged(fit, inference, grid, asked, weights, grid.matrix(), grid.offset())


def marginal_trends(
    fit: Fit,
    inference: FixedInference,
    specs: str | Sequence[str],
    var: str,
    by: str | Sequence[str] | None = None,
    at: Mapping[str, Any] | None = None,
    weights: Weights = "equal",
) -> MarginalMeans:
    """Slopes of the mean in a covariate; see `MixedResults.emtrends`."""
    name, along = trend_variable(fit.design, var)
    grid = ReferenceGrid.of(fit.design, at, covariates=[name])
    asked = MarginalSpecs.of(specs, by, grid.variables)
    rows, constant = slopes(grid, name, along)
    made = _averaged(fit, inference, grid, asked, weights, rows, constant, slope=name)
    note = f"Slopes of the mean in {var}."
    return replace(made, transformation=None, notes=(note, *made.notes))


def _averaged(
    fit: Fit,
    inference: FixedInference,
    grid: ReferenceGrid,
    asked: MarginalSpecs,
    weights: Weights,
    rows: Array,
    constant: Array,
    slope: str | None = None,
) -> MarginalMeans:
    inference = inference.for_means
    names = (*asked.specs, *asked.by)
    target, m = grid.place(names)
    cells = np.flatnonzero(np.bincount(target, grid.possible, m))
    average = grid.averages(names, weights)[cells]
    void = np.asarray(average.sum(axis=1)).ravel() == 0.0
    estimates = LinearEstimates(fit, inference, average @ rows, average @ constant, void)
    transformation = Transformation.of(fit.design.response.expression)
    notes = grid_notes(grid, names, weights, slope)
    notes += [inference.sentence, inference.note] if inference.note else [inference.sentence]
    if not estimates.estimable.all():
        notes.append(NON_ESTIMABLE)
    return MarginalMeans(
        asked.specs,
        asked.by,
        grid,
        cells,
        average,
        estimates,
        transformation,
        asked.method,
        tuple(notes),
    )
