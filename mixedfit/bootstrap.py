"""Bootstrap of a fit: estimates from responses or cases drawn anew, and what they say."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import scipy

from mixedfit.arrays import Array
from mixedfit.design import Design
from mixedfit.errors import MixedfitError, ModelError, check_count
from mixedfit.fit import Fit, fit_design, refit
from mixedfit.linalg import independent_columns
from mixedfit.lockstep import ManyFits, refit_many
from mixedfit.profile import parameter_labels, quantile_of
from mixedfit.progress import reporter
from mixedfit.resampling import (
    case_designs,
    leave_out_designs,
    parametric_responses,
    resampled_factor,
    residual_responses,
)
from mixedfit.seeds import generator_of
from mixedfit.variance_parameters import (
    parameter_values,
    parameters_of_matrices,
    variance_parameters,
)

__all__ = [
    "Bootstrap",
    "BootstrapInterval",
    "BootstrapKind",
    "Statistic",
    "bootstrap",
]

BootstrapKind = Literal["parametric", "residual", "case"]
BootstrapInterval = Literal["percentile", "basic", "bca", "normal"]
Statistic = Callable[[Fit], Any]


@dataclass(frozen=True, repr=False)
class Bootstrap:
    """Estimates from n bootstrap samples.

    Attributes
    ----------
    kind : {"parametric", "residual", "case"}
    estimate : Series
        What was estimated from the data: fixed effects, standard deviations, correlations and
        sigma, or the statistic.
    replicates : DataFrame
        The same from each sample, one row a sample; missing where a fit failed, and correlations
        also where a variance is zero.
    singular : float
        Share of the samples fitted that have a combination of random effects without variance.
    failed : int
        Number of samples that could not be fitted.
    """

    kind: BootstrapKind
    estimate: pd.Series
    replicates: pd.DataFrame
    singular: float
    failed: int
    _fit: Fit
    _n_fixed: int
    _group: str | None = None
    _statistic: Statistic | None = None

    @property
    def params(self) -> pd.DataFrame:
        """Fixed effects, one row a sample."""
        return self.replicates.iloc[:, : self._n_fixed]

    @property
    def varcorr(self) -> pd.DataFrame:
        """Standard deviations, correlations and sigma, one row a sample."""
        return self.replicates.iloc[:, self._n_fixed :]

    @property
    def bse(self) -> pd.Series:
        """Standard errors: standard deviations over the samples."""
        return self.replicates.std(ddof=1).rename("bse")

    @property
    def bias(self) -> pd.Series:
        """Mean over the samples less the estimate."""
        return (self.replicates.mean() - self.estimate).rename("bias")

    def to_frame(self) -> pd.DataFrame:
        """The replicates, one row a sample, one column a parameter."""
        return self.replicates.copy()

    def conf_int(
        self, level: float = 0.95, method: BootstrapInterval = "percentile"
    ) -> pd.DataFrame:
        """Confidence intervals.

        Parameters
        ----------
        level : float
        method : {"percentile", "basic", "bca", "normal"}
            Quantiles of the replicates; the same reflected in the estimate; quantiles corrected
            for bias and acceleration; the estimate less its bias with normal quantiles.

        Returns
        -------
        DataFrame
            One row a parameter: lower, upper.

        Notes
        -----
        The acceleration of "bca" is that of the jackknife over the levels of the outermost
        grouping factor (Efron 1987, J. Am. Stat. Assoc. 82), which fits the model once more for
        each of them, or for each of 100 blocks of them.
        """
        z = quantile_of(level)
        if method not in get_args(BootstrapInterval):
            allowed = ", ".join(repr(name) for name in get_args(BootstrapInterval))
            raise ModelError(f"method must be one of {allowed}, not {method!r}")
        values, estimate = self.replicates.to_numpy(), self.estimate.to_numpy()
        alpha = 0.5 - 0.5 * level
        plain = np.full(len(estimate), alpha)
        if method == "percentile":
            ends = _quantiles(values, plain, 1.0 - plain)
        elif method == "basic":
            ends = 2.0 * estimate[:, None] - _quantiles(values, plain, 1.0 - plain)[:, ::-1]
        elif method == "normal":
            centre, half = estimate - self.bias.to_numpy(), z * self.bse.to_numpy()
            ends = np.column_stack([centre - half, centre + half])
        else:
            ends = self._accelerated(z)
        return pd.DataFrame(ends, index=self.estimate.index, columns=["lower", "upper"])

    def _accelerated(self, z: float) -> Array:
        """Ends by the bias-corrected and accelerated method, (m, 2)."""
        values, estimate = self.replicates.to_numpy(), self.estimate.to_numpy()
        known = np.isfinite(values)
        with np.errstate(invalid="ignore", divide="ignore"):
            below = (values < estimate) & known
            ties = (values == estimate) & known
            share = (below.sum(axis=0) + 0.5 * ties.sum(axis=0)) / known.sum(axis=0)
            z0 = scipy.stats.norm.ppf(share)
            a = self._acceleration
            low, high = (
                scipy.stats.norm.cdf(z0 + (z0 + e) / (1.0 - a * (z0 + e))) for e in (-z, z)
            )
        return _quantiles(values, low, high)

    @cached_property
    def _acceleration(self) -> Array:
        """Skewness of the jackknife over levels, divided by 6, (m,)."""
        design = self._fit.design
        factor = resampled_factor(design, self._group)
        values = [
            _values_of(fit, self._statistic)
            for fit in _fits(leave_out_designs(design, factor), self._fit)
            if fit is not None
        ]
        rest = np.nanmean(values, axis=0) - np.array(values)
        squares = np.nansum(rest**2, axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            out = np.nansum(rest**3, axis=0) / (6.0 * squares**1.5)
        return np.where(squares > 0.0, out, 0.0)

    def __repr__(self) -> str:
        table = pd.DataFrame({"estimate": self.estimate, "bias": self.bias, "bse": self.bse})
        notes = [f"{self.kind} bootstrap, {len(self.replicates)} samples"]
        if self.singular > 0.0:
            notes.append(f"{self.singular:.1%} singular fits")
        if self.failed:
            notes.append(f"{self.failed} could not be fitted")
        return f"{', '.join(notes)}\n{table.to_string()}"


def _quantiles(values: Array, low: Array, high: Array) -> Array:
    """Quantiles of each column, its missing values left out, (m, 2)."""
    ends = np.full((values.shape[1], 2), np.nan)
    for i, (column, a, b) in enumerate(zip(values.T, low, high, strict=True)):
        known = column[np.isfinite(column)]
        if len(known) and np.isfinite(a) and np.isfinite(b):
            ends[i] = np.quantile(known, [a, b])
    return ends


def bootstrap(
    fit: Fit,
    n: int = 1000,
    seed: int | np.random.Generator | None = None,
    kind: BootstrapKind = "parametric",
    *,
    group: str | None = None,
    statistic: Statistic | None = None,
    progress: bool | None = None,
) -> Bootstrap:
    """Estimate anew from samples drawn from a fit or from its data.

    Parameters
    ----------
    fit : Fit
    n : int
        Number of samples.
    seed : int or numpy Generator, optional
    kind : {"parametric", "residual", "case"}
    group : str, optional
        The grouping factor whose levels a case bootstrap draws; by default the outermost.
    statistic : callable, optional
        What to compute from each fit; by default all parameters.
    progress : bool, optional
        Whether long runs tell how far they are; by default on a terminal.

    Returns
    -------
    Bootstrap
    """
    n = check_count(n, 2)
    if kind not in get_args(BootstrapKind):
        allowed = ", ".join(repr(name) for name in get_args(BootstrapKind))
        raise ModelError(f"kind must be one of {allowed}, not {kind!r}")
    if group is not None:
        resampled_factor(fit.design, group)
    rng = generator_of(seed)
    tell = reporter(f"{kind} bootstrap", n, progress)
    if kind == "case":
        factor = resampled_factor(fit.design, group)
        return _one_by_one(
            fit, _fits(case_designs(fit.design, factor, n, rng), fit), kind, group, statistic, tell
        )
    draw = parametric_responses if kind == "parametric" else residual_responses
    if statistic is not None or fit.design.residual is not None:
        fits = _refits(fit, draw(fit, n, rng))
        return _one_by_one(fit, fits, kind, group, statistic, tell)
    parts, done = [], 0
    for Y in draw(fit, n, rng):
        parts.append(refit_many(fit, Y, lambda more, before=done: tell(before + more)))  # type: ignore[misc]
        done += Y.shape[1]
    return _of_many(fit, ManyFits.joined(parts), kind, group)


def _of_many(fit: Fit, many: ManyFits, kind: BootstrapKind, group: str | None) -> Bootstrap:
    parameters = variance_parameters(fit)
    variances = parameters_of_matrices(parameters, list(many.covariances), many.sigma)
    labels = pd.Index(parameter_labels(fit))
    estimate = pd.Series(_values_of(fit, None), index=labels, name="estimate")
    replicates = pd.DataFrame(np.column_stack([many.beta, variances]), columns=labels)
    return Bootstrap(kind, estimate, replicates, float(many.singular.mean()), 0, fit, fit.p, group)


def _refits(fit: Fit, responses: Iterator[Array]) -> Iterator[Fit | None]:
    """Fits of the responses in the columns of some arrays; None where one cannot be fitted."""
    for Y in responses:
        for y in Y.T:
            try:
                yield refit(fit, y)
            except (MixedfitError, np.linalg.LinAlgError):
                yield None


def _fits(designs: Iterator[Any], fit: Fit) -> Iterator[Fit | None]:
    """Fits of designs; None where one cannot be fitted."""
    for design in designs:
        matrices = [design.X, *(term.Z for term in design.terms)]
        if any(len(independent_columns(M)) < M.shape[1] for M in matrices):
            yield None
            continue
        if not _same_residual_parameters(design, fit.design):
            yield None
            continue
        try:
            yield fit_design(design, fit.method, verb=fit.verb)
        except (MixedfitError, np.linalg.LinAlgError):
            yield None


def _same_residual_parameters(design: Design, whole: Design) -> bool:
    """Whether a sample determines the residual parameters of all data, strata among them."""
    own, residual = design.residual, whole.residual
    if own is None or residual is None:
        return own is residual
    if own.describe(own.start)[0] != residual.describe(residual.start)[0]:
        return False
    return own.variance is None or own.variance.identified


def _one_by_one(
    fit: Fit,
    fits: Iterator[Fit | None],
    kind: BootstrapKind,
    group: str | None,
    statistic: Statistic | None,
    tell: Callable[[int], None],
) -> Bootstrap:
    labels: pd.Index
    original = _values_of(fit, statistic)
    if statistic is None:
        labels = pd.Index(parameter_labels(fit))
    else:
        labels = _labels_of(statistic(fit), len(original))
    values, singular, failed = [], [], 0
    for i, one in enumerate(fits):
        if one is None:
            failed += 1
            values.append(np.full(len(original), np.nan))
        else:
            values.append(_values_of(one, statistic))
            singular.append(bool(one.optimum.singular))
        tell(i + 1)
    if failed == len(values):
        raise ModelError(
            "no sample could be fitted: the samples lack levels the model needs, or leave too few "
            "rows; use kind='parametric'"
        )
    return Bootstrap(
        kind,
        pd.Series(original, index=labels, name="estimate"),
        pd.DataFrame(values, columns=labels),
        float(np.mean(singular)),
        failed,
        fit,
        fit.p if statistic is None else 0,
        group,
        statistic,
    )


def _values_of(fit: Fit, statistic: Statistic | None) -> Array:
    """All parameters of a fit, or the statistic, as a vector."""
    if statistic is None:
        return np.concatenate([fit.estimate.beta, parameter_values(fit)])
    value = statistic(fit)
    if isinstance(value, Mapping):
        value = list(value.values())
    try:
        out = np.atleast_1d(np.asarray(value, dtype=float)).ravel()
    except (TypeError, ValueError):
        raise ModelError(f"the statistic must return numbers, not {type(value).__name__}") from None
    return out


def _labels_of(value: Any, length: int) -> pd.Index:
    if isinstance(value, pd.Series):
        return value.index
    if isinstance(value, Mapping):
        return pd.Index(list(value))
    return pd.Index(["statistic"] if length == 1 else [f"statistic_{i + 1}" for i in range(length)])
