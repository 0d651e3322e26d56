"""Small areas from rows within areas: the nested-error regression of Battese, Harter and Fuller."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.special import ndtri

from mixedfit.arrays import Array
from mixedfit.design import Design
from mixedfit.eb.regression import regression_table
from mixedfit.eb.shrinkage import Behaviour, Shrinkage
from mixedfit.errors import DataError, FormulaError, ModelError, check_level
from mixedfit.fit import Fit, fit_design
from mixedfit.formula import parse
from mixedfit.frames import Frame, Labels, column_names, read_frame

__all__ = ["nested_error"]


def nested_error(
    formula: str,
    data: Any,
    area: str,
    *,
    population_means: Any = None,
    population_sizes: Any = None,
    method: Literal["REML", "ML"] = "REML",
    level: float = 0.95,
) -> Shrinkage:
    """Estimate area means from sampled rows and known population means of the covariates.

    Parameters
    ----------
    formula : str
        Response and covariates of the rows, ``"corn ~ corn_pixels + soy_pixels"``.
    data : pandas, polars or pyarrow frame, or dict of columns
        One row a sampled unit.
    area : str
        Column that names each row's area.
    population_means : frame, optional
        One row an area: a column `area` (or the index) and one column for each column of the
        model, by name (``mean of I(x^2)`` under ``I(x^2)``). Areas without sampled rows get the
        regression's value. Without it, the sample means of the covariates are used.
    population_sizes : Series or dict, optional
        Units of each area's population, by area. With it the mean of that finite population is
        estimated; without it, its expectation.
    method : {"REML", "ML"}
        Of estimating the two variances.
    level : float
        Of the intervals, which rest on ``mse``.

    Returns
    -------
    Shrinkage
        ``posterior`` has a row an area: ``estimate`` (the survey regression estimate ``ybar + (Xbar
        - xbar)'b``), ``se`` (its standard error given b), ``mean`` (the area mean's best
        prediction), ``sd``, ``weight`` and ``n``; ``mse`` counts the estimated variances too.

    Raises
    ------
    FormulaError
        If the formula has random terms already.
    DataError
        If a population mean is missing, or a population is smaller than its sample.

    Notes
    -----
    ``y_ij = x_ij' b + v_i + e_ij``; with ``gamma_i = s_v^2 / (s_v^2 + s_e^2 / n_i)`` the mean is
    ``Xbar_i' b + gamma_i (ybar_i - xbar_i' b)`` and ``mse = g1 + g2 + 2 g3`` (Battese, Harter &
    Fuller 1988, JASA 83; Prasad & Rao 1990, JASA 85): ``g1 = gamma_i s_e^2 / n_i``, ``g2`` the
    variance through b, ``g3`` through the variances, from their expected information. For ML the
    bias of g1 is taken off (Datta & Lahiri 2000). For finite populations only the units not
    sampled are predicted (Rao & Molina 2015, Small Area Estimation, section 7.1).

    Examples
    --------
    >>> import mixedfit as mf
    >>> result = mf.eb.nested_error("Yield ~ 1", mf.datasets.load("dyestuff"), "Batch")
    >>> result.posterior["mean"].round(1).tolist()
    [1509.9, 1527.9, 1556.1, 1504.4, 1584.2, 1482.5]
    """
    check_level(level)
    if method not in ("REML", "ML"):
        raise DataError(f"method must be 'REML' or 'ML', not {method!r}")
    if parse(formula).random:
        raise FormulaError(f"{formula!r} has random terms; nested_error adds the one it needs")
    name = area if re.fullmatch(r"[A-Za-z_.][\w.]*", area) else f"`{area}`"
    fit = fit_design(Design.build(parse(f"{formula} + (1 | {name})"), data), method)
    model = NestedError(fit)
    return _tabulate(model, _population(model, area, population_means, population_sizes), level)


@dataclass(frozen=True)
class NestedError:
    """A fitted random-intercept model and the sums over its areas.

    Attributes
    ----------
    fit : Fit
    """

    fit: Fit

    @property
    def areas(self) -> pd.Index:
        """The sampled areas."""
        return self.fit.design.factors[0].levels

    @cached_property
    def n(self) -> Array:
        """Sampled rows of each area, shape (J,)."""
        return np.bincount(self._codes, minlength=len(self.areas)).astype(float)

    @property
    def _codes(self) -> Any:
        return self.fit.design.factors[0].codes

    @cached_property
    def y_mean(self) -> Array:
        """Sample means of the response (less any offset), shape (J,)."""
        design = self.fit.design
        y = design.y if design.offset is None else design.y - design.offset
        return np.bincount(self._codes, y, len(self.areas)) / self.n

    @cached_property
    def x_mean(self) -> Array:
        """Sample means of the columns of X, shape (J, p)."""
        sums = np.zeros((len(self.areas), self.fit.design.X.shape[1]))
        np.add.at(sums, self._codes, self.fit.design.X)
        return sums / self.n[:, None]

    @cached_property
    def variances(self) -> tuple[float, float]:
        """Variance between areas and of rows within them."""
        estimate = self.fit.estimate
        return float(estimate.covariances[0][0, 0]), float(estimate.sigma) ** 2

    @cached_property
    def b_covariance(self) -> Array:
        """Covariance of the coefficients, shape (p, p)."""
        estimate = self.fit.estimate
        return estimate.sigma**2 * estimate.unscaled_covariance

    @cached_property
    def variance_covariance(self) -> Array:
        """Covariance of the two variances' estimates, from their expected information, (2, 2)."""
        between, within = self.variances
        a = within + self.n * between
        both = 0.5 * float((self.n / a**2).sum())
        information = np.array(
            [
                [0.5 * float((self.n**2 / a**2).sum()), both],
                [both, 0.5 * float(((self.n - 1.0) / within**2 + 1.0 / a**2).sum())],
            ]
        )
        return np.linalg.inv(information)

    @cached_property
    def variance_bias(self) -> Array:
        """Bias of the two variances' estimates to order 1/J; 0 for REML."""
        if self.fit.method == "REML":
            return np.zeros(2)
        between, within = self.variances
        a = within + self.n * between
        X, means = self.fit.design.X, self.x_mean
        total = np.einsum("jp,j,jq->pq", means, self.n, means)
        rows = [
            np.einsum("jp,j,jq->pq", means, self.n**2 / a**2, means),
            (X.T @ X - total) / within**2 + np.einsum("jp,j,jq->pq", means, self.n / a**2, means),
        ]
        lost = np.array([np.trace(self.b_covariance @ row) for row in rows])
        return -0.5 * self.variance_covariance @ lost


@dataclass(frozen=True)
class _Population:
    """Areas to be estimated.

    Attributes
    ----------
    areas : pandas.Index of length m
    place : int array of shape (m,)
        Of each among the sampled areas; -1 for areas without sampled rows.
    means : array of shape (m, p)
    sizes : array of shape (m,)
        Infinite where they were not given.
    """

    areas: pd.Index
    place: Any
    means: Array
    sizes: Array


def _population(model: NestedError, area: str, means: Any, sizes: Any) -> _Population:
    areas, matrix = model.areas, model.x_mean
    if means is not None:
        areas, matrix = _means(model, area, means)
    place = model.areas.get_indexer(areas)
    counts = np.full(len(areas), np.inf)
    if sizes is not None:
        counts = _sizes(sizes, areas).reindex(areas).to_numpy()
        lacking = areas[np.isnan(counts)]
        if len(lacking):
            raise DataError(f"population_sizes has no size for area {lacking[0]!r}")
        sampled = np.where(place >= 0, model.n[place], 0.0)
        small = counts < np.maximum(sampled, 1.0)
        if small.any():
            raise DataError(
                f"the population of area {areas[small][0]!r} has {counts[small][0]:g} units, fewer "
                f"than its {sampled[small][0]:g} sampled rows"
            )
    return _Population(areas, place, matrix, counts)


def _sizes(sizes: Any, areas: pd.Index) -> pd.Series:
    """Population sizes by area."""
    try:
        series = pd.Series(sizes, dtype=float)
    except (TypeError, ValueError):
        raise DataError("population_sizes must be a Series or dict of numbers by area") from None
    series.index = _like(pd.Index(series.index), areas)
    if series.index.has_duplicates:
        twice = series.index[series.index.duplicated()][0]
        raise DataError(f"population_sizes has more than one size for area {twice!r}")
    return series


def _like(own: pd.Index, other: pd.Index) -> pd.Index:
    """An index of areas as text where the other is text: 308 is "308"."""
    if pd.api.types.is_numeric_dtype(own.dtype) and not pd.api.types.is_numeric_dtype(other.dtype):
        return pd.Index([f"{v:g}" for v in own])
    return own


def _means(model: NestedError, area: str, means: Any) -> tuple[pd.Index, Array]:
    names = [str(name) for name in model.fit.design.names]
    given = column_names(means)
    needed = [name for name in names if name != "Intercept"]
    lacking = [name for name in needed if name not in given]
    if lacking:
        raise DataError(
            f"population_means has no column {lacking[0]!r}; it needs the mean of each column of "
            f"the model: {', '.join(needed)}"
        )
    by_column = area in given
    frame = read_frame(means, [*needed, *([area] if by_column else [])])
    if by_column:
        areas = _labels(frame, area)
    elif isinstance(means, pd.DataFrame):
        areas = means.index
    else:
        raise DataError(f"population_means needs a column {area!r} that names the areas")
    areas = _like(pd.Index(areas), model.areas)
    if areas.has_duplicates:
        twice = areas[areas.duplicated()][0]
        raise DataError(f"population_means has more than one row for area {twice!r}")
    matrix = np.ones((frame.n, len(names)))
    for i, name in enumerate(names):
        if name != "Intercept":
            column = frame[name]
            if isinstance(column, Labels):
                raise DataError(f"column {name!r} of population_means holds labels, not numbers")
            matrix[:, i] = np.asarray(column, dtype=float)
    if not np.isfinite(matrix).all():
        raise DataError("population_means has missing or infinite values; fill them in")
    return areas, matrix


def _labels(frame: Frame, area: str) -> pd.Index:
    column = frame[area]
    return pd.Index(np.asarray(column.categorical()) if isinstance(column, Labels) else column)


@dataclass(frozen=True)
class _AreaMeans:
    """Estimated means of m areas; arrays of shape (m,) unless said otherwise.

    Attributes
    ----------
    direct, se : array
        Survey regression estimates and their standard errors; missing without sampled rows.
    mean : array
    gamma : array
        Weight of an area's own rows.
    own : array of shape (m, p)
        How each prediction depends on b.
    rest : array
        Share of the population that was not sampled.
    noise : array
        Error variance of a finite population's unsampled units.
    g1, g2, g3, bias : array
        Parts of the mean squared error of the prediction.
    n : array
    """

    direct: Array
    se: Array
    mean: Array
    gamma: Array
    own: Array
    rest: Array
    noise: Array
    g1: Array
    g2: Array
    g3: Array
    bias: Array
    n: Array

    @property
    def mse(self) -> Array:
        """Mean squared errors, the variances estimated."""
        known = self.g1 + self.g2 + 2.0 * self.g3 - self.bias
        return self.rest**2 * known + self.noise

    @property
    def sd(self) -> Array:
        """Standard deviations given the variances."""
        return np.sqrt(self.rest**2 * (self.g1 + self.g2) + self.noise)


def _estimate(model: NestedError, population: _Population) -> _AreaMeans:
    known = population.place >= 0
    n = np.where(known, model.n[population.place], 0.0)
    between, within = model.variances
    if within <= 0.0:
        raise ModelError("the rows do not vary within areas; there is no error to model")
    b = model.fit.estimate.beta
    gamma = n * between / (within + n * between)
    x = np.where(known[:, None], model.x_mean[population.place], 0.0)
    y = np.where(known, model.y_mean[population.place], 0.0)
    # Only the units that were not sampled are predicted: the whole area when it is infinite.
    sampled = n / population.sizes
    rest = 1.0 - sampled
    share = np.where(sampled < 1.0, sampled, 0.0)[:, None]
    outside = (population.means - share * x) / (1.0 - share)
    predicted = outside @ b + gamma * (y - x @ b)
    own = outside - gamma[:, None] * x
    g3, bias = _through_variances(model, n)
    finite = np.isfinite(population.sizes)
    return _AreaMeans(
        direct=np.where(known, y + (population.means - x) @ b, np.nan),
        se=np.sqrt(within / np.where(known, n, np.nan)),
        mean=rest * predicted + sampled * y,
        gamma=gamma,
        own=own,
        rest=rest,
        noise=np.where(finite, rest * within / population.sizes, 0.0),
        g1=between * within / (within + n * between),
        g2=np.einsum("jp,pq,jq->j", own, model.b_covariance, own),
        g3=g3,
        bias=bias,
        n=n,
    )


def _tabulate(model: NestedError, population: _Population, level: float) -> Shrinkage:
    areas = _estimate(model, population)
    half = ndtri(0.5 + 0.5 * level) * np.sqrt(areas.mse)
    posterior = pd.DataFrame(
        {
            "label": population.areas,
            "estimate": areas.direct,
            "se": areas.se,
            "mean": areas.mean,
            "sd": areas.sd,
            "lower": areas.mean - half,
            "upper": areas.mean + half,
            "weight": areas.gamma,
            "n": areas.n.astype(np.int64),
        }
    )
    names = ["between", "within"]
    errors = np.sqrt(np.diag(model.variance_covariance))
    terms = tuple(map(str, model.fit.design.names))
    bse = np.sqrt(np.diag(model.b_covariance))
    return Shrinkage(
        prior=pd.Series(model.variances, index=names, name="prior"),
        prior_se=pd.Series(errors, index=names, name="prior_se"),
        coefficients=regression_table(terms, model.fit.estimate.beta, bse, np.inf, level),
        posterior=posterior,
        llf=model.fit.llf,
        method=model.fit.method,
        family="nested-error",
        behaviour=_Areas(model, areas),
        prior_name="normal",
        level=level,
        notes=(
            "Intervals rest on mse, which counts the uncertainty of the variances; sd does not.",
        ),
        mse=pd.Series(areas.mse, index=population.areas, name="mse"),
    )


def _through_variances(model: NestedError, n: Array) -> tuple[Array, Array]:
    """Prasad and Rao's g3 and the bias of g1, for areas of n sampled rows."""
    between, within = model.variances
    a = within + n * between
    V = model.variance_covariance
    spread = within**2 * V[0, 0] + between**2 * V[1, 1] - 2.0 * within * between * V[0, 1]
    # d g1 / d between = (within / a)^2; d g1 / d within = n (between / a)^2, both from g1 =
    # between within / a.
    slopes = np.stack([within**2 / a**2, n * between**2 / a**2])
    return n * spread / a**3, model.variance_bias @ slopes


class _Areas(Behaviour):
    """Joint draws of the area means given the variances: b shared, effects independent."""

    def __init__(self, model: NestedError, areas: _AreaMeans) -> None:
        self.model, self.areas = model, areas

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        areas = self.areas
        root = np.linalg.cholesky(self.model.b_covariance)
        shared = rng.standard_normal((n, len(root))) @ root.T @ areas.own.T
        alone = np.sqrt(areas.rest**2 * areas.g1 + areas.noise)
        return areas.mean + areas.rest * shared + alone * rng.standard_normal((n, len(alone)))
