"""Influence of rows and of levels on a fit: leverage, Cook's distance, dfbetas, covratio."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from mixedfit.arrays import Array, IntArray
from mixedfit.deletion import Deleted, delete_groups, delete_rows, row_parts
from mixedfit.design import Design, GroupingFactor
from mixedfit.errors import DataError, MixedfitError, ModelError
from mixedfit.fit import Fit, fit_design
from mixedfit.frames import read_frame
from mixedfit.linalg import independent_columns
from mixedfit.variance_parameters import parameter_values, variance_parameters

__all__ = ["Influence", "grouping_of", "influence", "leverage"]


@dataclass(frozen=True, repr=False)
class Influence:
    """What leaving out each row, or each level of a grouping, does to a fit.

    Deletions after which the fixed effects cannot be estimated (the only level with some
    treatment, say) hold nan.

    Attributes
    ----------
    group : str
        What is left out at a time: "row", or the name of the grouping.
    refit : bool
        Whether the variance parameters were estimated again without it.
    nobs : Series
        Rows left out.
    params : DataFrame
        Fixed effects without it, in units of the response per unit of each column.
    dfbetas : DataFrame
        Change of each fixed effect (with less without) in its standard errors without.
    cooks_distance : Series
        Change of all fixed effects, ``(b - b_(I))' C^-1 (b - b_(I)) / p``, without unit.
    mdffits : Series
        The same in the covariance C_(I) without it.
    covratio : Series
        ``|C_(I)| / |C|``: above 1 where it adds precision.
    leverage : Series
        Derivative of a row's fitted value in its observed value, random effects included (the hat
        values); the mean over the rows of a level.
    fixed_leverage : Series
        The part of it through the fixed effects.
    variance_params : DataFrame or None
        Standard deviations and correlations without it, when refitted.
    """

    group: str
    refit: bool
    nobs: pd.Series
    params: pd.DataFrame
    dfbetas: pd.DataFrame
    cooks_distance: pd.Series
    mdffits: pd.Series
    covratio: pd.Series
    leverage: pd.Series
    fixed_leverage: pd.Series
    variance_params: pd.DataFrame | None = None

    def to_frame(self) -> pd.DataFrame:
        """One row a deletion: every measure, ``dfbetas`` as ``dfbetas[NAME]``."""
        parts: list[pd.Series | pd.DataFrame] = [
            self.nobs,
            self.cooks_distance,
            self.mdffits,
            self.covratio,
            self.leverage,
            self.fixed_leverage,
            self.dfbetas.add_prefix("dfbetas[").add_suffix("]"),
        ]
        if self.variance_params is not None:
            parts.append(self.variance_params)
        return pd.concat(parts, axis=1)

    def __repr__(self) -> str:
        largest = self.to_frame().sort_values("cooks_distance", ascending=False).head(10)
        fixed = "variance parameters " + ("estimated again" if self.refit else "held fixed")
        what = "rows" if self.group == "row" else f"levels of {self.group}"
        shown = f"the {len(largest)} of {len(self.nobs)} {what} with the largest Cook's distance"
        return f"Influence by deletion, {fixed}: {shown}\n{largest.to_string()}"


def grouping_of(fit: Fit, group: Any, argument: str = "group") -> tuple[str, IntArray, pd.Index]:
    """Name, level of each row used and labels of a grouping of the rows.

    Parameters
    ----------
    fit : Fit
    group : str or array-like
        A grouping factor of the fit, or one label a row used (or a row of the data).
    argument : str
        What the caller's argument is called.

    Raises
    ------
    DataError
        If there is no such factor, or the labels do not fit the rows.
    """
    design = fit.design
    if isinstance(group, str):
        for factor in design.factors:
            if factor.name == group:
                return group, factor.codes, factor.levels
        known = ", ".join(repr(f.name) for f in design.factors) or "none"
        raise DataError(
            f"{group!r} is no grouping factor of this fit (it has {known}); for another grouping "
            f"pass its column, as in {argument}=data['site']"
        )
    labels = group
    if not isinstance(group, pd.Series):
        labels = pd.Series(np.asarray(group), name=getattr(group, "name", None))
    name = str(labels.name) if labels.name is not None else argument
    if len(labels) != design.n and design.positions is not None:
        if len(labels) <= int(design.positions.max()):
            raise DataError(f"{argument} has {len(labels)} labels for {design.n} rows used")
        labels = labels.iloc[design.positions]
    if len(labels) != design.n:
        raise DataError(f"{argument} has {len(labels)} labels for {design.n} rows used")
    frame = read_frame({name: labels}, [name])
    missing = frame.missing(name)
    if missing is not None:
        raise DataError(f"{argument} {name!r} has {int(missing.sum())} missing labels")
    factor = GroupingFactor.learn((name,), frame)
    return name, factor.codes, factor.levels


def leverage(fit: Fit) -> tuple[Array, Array]:
    """Hat values of the rows, and the part of them through the fixed effects, two of shape (n,).

    Notes
    -----
    With ``Sigma = Z Omega Z' + Lambda`` the fitted values ``X b + Z u`` are ``(I - Lambda P) y``;
    the fixed part is ``X (X'Sigma^-1 X)^-1 X'Sigma^-1 y`` (Demidenko & Stukel 2005, Stat. Med.
    24).
    """
    parts = row_parts(fit)
    return parts.leverage, parts.fixed


def influence(fit: Fit, group: str | ArrayLike | None = None, refit: bool = False) -> Influence:
    """Leave out each row, or each level of a grouping.

    Parameters
    ----------
    fit : Fit
    group : str or array-like, optional
        A grouping factor of the fit, or one label a row; by default single rows.
    refit : bool
        Estimate the variance parameters again without each; by default they are held.

    Raises
    ------
    ModelError
        If the model has no fixed effects.
    DataError
        If the grouping does not fit the rows.
    """
    if not fit.p:
        raise ModelError("influence is measured on fixed effects, and this model has none")
    if group is None:
        name, codes, levels = "row", np.arange(fit.n), _row_labels(fit)
    else:
        name, codes, levels = grouping_of(fit, group)
    m = len(levels)
    if m < 2:
        raise DataError(f"{name!r} has one level: without it no row is left")
    parts = row_parts(fit)
    variance_params = None
    if refit:
        deleted, variance_params = _refitted(fit, codes, m)
        variance_params = variance_params.set_index(levels)
    elif group is None:
        deleted = delete_rows(fit, parts)
    else:
        deleted = delete_groups(fit, parts, codes, m)
    counts = np.bincount(codes, minlength=m)
    hat = np.bincount(codes, parts.leverage, m) / counts
    fixed = np.bincount(codes, parts.fixed, m) / counts

    def series(values: Any, label: str) -> pd.Series:
        return pd.Series(values, index=levels, name=label)

    def frame(values: Array) -> pd.DataFrame:
        return pd.DataFrame(values, index=levels, columns=fit.design.names)

    return Influence(
        name,
        refit,
        series(counts, "nobs"),
        frame(fit.estimate.beta - deleted.change),
        frame(deleted.change / deleted.se),
        series(deleted.cooks_distance, "cooks_distance"),
        series(deleted.mdffits, "mdffits"),
        series(deleted.covratio, "covratio"),
        series(hat, "leverage"),
        series(fixed, "fixed_leverage"),
        variance_params,
    )


def _row_labels(fit: Fit) -> pd.Index:
    index = fit.design.index
    return pd.RangeIndex(fit.n) if index is None else index


def _refitted(fit: Fit, codes: IntArray, m: int) -> tuple[Deleted, pd.DataFrame]:
    """Each deletion by a fit of its own, compared in the working coordinates of the whole."""
    p, basis = fit.p, fit.estimate.basis
    to_working = np.linalg.inv(basis.scale * basis.fixed.total)
    sigma2 = fit.evaluation.remainder.r2 / fit.likelihood.df
    change, variances = np.full((m, p), np.nan), np.full((m, p, p), np.nan)
    covratio = np.full(m, np.nan)
    _, logdet = np.linalg.slogdet(fit.evaluation.remainder.P)
    labels = _variance_params(fit)
    rows = []
    for j in range(m):
        other = _fit_without(fit, codes, j)
        if other is None:
            rows.append(dict.fromkeys(labels, np.nan))
            continue
        estimate = other.estimate
        change[j] = to_working @ (fit.estimate.beta - estimate.beta)
        C = estimate.sigma**2 * to_working @ estimate.unscaled_covariance @ to_working.T
        variances[j] = C / sigma2
        covratio[j] = np.exp(np.linalg.slogdet(variances[j])[1] - logdet)
        rows.append(_variance_params(other))
    return Deleted.of(fit, change, variances, covratio), pd.DataFrame(rows)


def _fit_without(fit: Fit, codes: IntArray, j: int) -> Fit | None:
    """The fit without one level's rows; None where they alone determine some fixed effect."""
    kept, residual = codes != j, fit.design.residual
    design = _without_empty_levels(replace(fit.design, residual=None).take(kept))
    if design.n <= fit.p or len(independent_columns(_centred(design.X, design.intercept))) < fit.p:
        return None
    start = fit.estimate.theta if fit.optimum.status == "optimal" else None
    try:
        if residual is not None:
            assert residual.columns is not None
            bound = fit.design.residual_spec.bind(residual.columns.take(kept))
            design = replace(design, residual=bound)
        return fit_design(design, fit.method, start=start, verb=fit.verb)
    except MixedfitError:
        return None


def _without_empty_levels(design: Design) -> Design:
    factors = []
    for factor in design.factors:
        used, codes = np.unique(factor.codes, return_inverse=True)
        factors.append(replace(factor, codes=codes.ravel(), levels=factor.levels[used]))
    return replace(design, factors=tuple(factors))


def _centred(X: Array, intercept: int | None) -> Array:
    if intercept is None:
        return X
    center = X.mean(axis=0)
    center[intercept] = 0.0
    return np.asarray(X - center)


def _variance_params(fit: Fit) -> dict[str, float]:
    """Standard deviations and correlations by name, the residual's last."""
    parameters = variance_parameters(fit)
    values = parameter_values(fit, parameters)
    return {own.label: float(value) for own, value in zip(parameters, values, strict=True)}
