"""Many variances estimated together, and the t tests that follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import scipy
from numpy.typing import ArrayLike

from mixedfit.arrays import Array, BoolArray
from mixedfit.eb.shrinkage import Behaviour, Shrinkage
from mixedfit.eb.units import counted, read_labels, read_units, refuse
from mixedfit.eb.variance_prior import (
    OFFSET,
    ROBUST_OFFSET,
    VariancePrior,
    fit_prior,
    fit_prior_robustly,
)
from mixedfit.errors import DataError, check_level

__all__ = ["moderated_t", "variances"]

_NO_COEFFICIENTS = ["term", "estimate", "se", "stat", "df", "p", "lower", "upper"]


def variances(
    s2: ArrayLike,
    df: ArrayLike,
    *,
    covariate: ArrayLike | None = None,
    robust: bool = False,
    labels: Sequence[Any] | None = None,
    level: float = 0.95,
) -> Shrinkage:
    """Shrink sample variances toward a common value or a trend.

    Parameters
    ----------
    s2 : array-like of shape (J,)
        Sample variances, in squared units of the data.
    df : array-like of shape (J,), or one number
        Their degrees of freedom. With 0 a unit says nothing of itself and gets the prior variance.
    covariate : array-like of shape (J,), optional
        The log prior variance follows a natural cubic spline of it, such as the mean expression of
        each gene.
    robust : bool
        Keep very large variances from inflating the prior, and shrink those themselves less.
    labels : sequence of length J, optional
        Names of the units; the index of s2 if it is a Series.
    level : float
        Of the intervals.

    Returns
    -------
    Shrinkage
        ``prior`` has ``df`` and, without a covariate, ``scale``: the prior variance s0^2. In
        ``posterior``, ``estimate`` is s_j^2 and ``se`` its standard error, ``mean`` the squeezed
        variance ``(d0 s0^2 + d_j s_j^2) / (d0 + d_j)``, ``sd``, ``lower`` and ``upper`` describe
        the posterior of sigma_j^2, ``weight`` is d_j / (d0 + d_j); ``df`` is d_j, ``prior_df`` and
        ``prior_scale`` are the unit's own d0 and s0^2.

    Raises
    ------
    DataError
        If a variance or its degrees of freedom is negative, infinite or missing, or there are
        fewer than two units with degrees of freedom.
    ModelError
        If there are no more units than coefficients of the trend, or ``robust=True`` and more than
        half of the variances are 0.

    Notes
    -----
    The model is ``s_j^2 ~ sigma_j^2 chi2(d_j) / d_j``, ``1 / sigma_j^2 ~ chi2(d0) / (d0 s0^2)``;
    d0, s0^2 come from the mean and variance of log s_j^2 (Smyth 2004, Stat. Appl. Genet. Mol. 3);
    the robust fit is that of Phipson et al. (2016, Ann. Appl. Stat. 10). The squeezed variance is
    1 / E(1 / sigma_j^2), the one a moderated t needs; the posterior's mean is larger by
    ``(d0 + d_j) / (d0 + d_j - 2)``. An infinite d0 is a result: the variances differ no more than
    samples of one variance would.

    Examples
    --------
    >>> import mixedfit as mf
    >>> result = mf.eb.variances([0.4, 1.1, 0.2, 2.9, 0.7, 0.1], 3)
    >>> result.prior.round(2).to_dict()
    {'df': 4.72, 'scale': 0.59}
    >>> result.posterior["mean"].round(2).tolist()
    [0.52, 0.79, 0.44, 1.49, 0.63, 0.4]
    """
    check_level(level)
    d = read_units("df", df)
    s = read_units("s2", _without_missing(s2, d), None if len(d) == 1 else len(d), "df")
    d = np.broadcast_to(d, s.shape).astype(float)
    refuse("s2", s < 0.0, "is negative in", "variances are at least 0")
    refuse("df", d < 0.0, "is negative in", "degrees of freedom are at least 0")
    at = None if covariate is None else read_units("covariate", covariate, len(s), "s2")
    used = d > 0.0
    if used.sum() < 2:
        raise DataError(
            f"{used.sum()} variance with degrees of freedom cannot show how variances differ; "
            "give at least two units with df above 0"
        )
    prior, notes = _fitted(s, d, at, used, robust)
    posterior = _posterior(s, d, prior, level)
    posterior.insert(0, "label", read_labels(labels, s2, len(s)))
    return Shrinkage(
        prior=_prior_series(prior, prior.df, prior.scale),
        prior_se=_prior_series(
            prior, prior.df_se, np.asarray(prior.scale, dtype=float).mean() * prior.log_scale_se
        ),
        coefficients=pd.DataFrame({name: [] for name in _NO_COEFFICIENTS}),
        posterior=posterior,
        llf=_log_likelihood(s[used], d[used], _of_units(prior, used)),
        method="robust moments of log variances" if robust else "moments of log variances",
        family="variances",
        prior_name="scaled inverse chi-square",
        behaviour=_Variances(prior.df, posterior),
        level=level,
        notes=notes,
    )


def _without_missing(s2: ArrayLike, d: Array) -> ArrayLike:
    """Variances with zero degrees of freedom may be missing: they are not used."""
    if not (d == 0.0).any():
        return s2
    values = np.array(s2, dtype=float)
    if values.shape == d.shape:
        values[d == 0.0] = 0.0
    return values


def _fitted(
    s: Array, d: Array, covariate: Array | None, used: BoolArray, robust: bool
) -> tuple[VariancePrior, tuple[str, ...]]:
    """The prior for all units from those with degrees of freedom, and what to say of it."""
    notes = []
    prior = (fit_prior_robustly if robust else fit_prior)(s, d, covariate)
    zero = int((s[used] == 0.0).sum())
    if zero:
        half = " More than half are 0: the prior is unreliable." if 2 * zero > used.sum() else ""
        share = ROBUST_OFFSET if robust else OFFSET
        notes.append(
            f"Zero: {counted(zero, 'variance')}, taken as {share:g} of the median variance for "
            f"the prior.{half}"
        )
    if np.isinf(prior.df):
        notes.append(
            "The variances differ no more than samples of one common variance would: prior df is "
            "infinite and every unit gets the prior variance."
        )
    if not used.all():
        unseen = counted(int((~used).sum()), "unit")
        notes.append(f"Without degrees of freedom: {unseen}, given the prior.")
    return prior, tuple(notes)


def _of_units(prior: VariancePrior, used: BoolArray) -> VariancePrior:
    scale = prior.scale[used] if isinstance(prior.scale, np.ndarray) else prior.scale
    each = None if prior.df_each is None else prior.df_each[used]
    return VariancePrior(prior.df, scale, each)


def _posterior(s: Array, d: Array, prior: VariancePrior, level: float) -> pd.DataFrame:
    d0 = np.broadcast_to(prior.df if prior.df_each is None else prior.df_each, s.shape)
    s0 = np.broadcast_to(prior.scale, s.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        own = np.where(np.isinf(d0), 0.0, d / (d + d0))
        squeezed = own * s + (1.0 - own) * s0
        total = d + d0
        factor = np.where(
            np.isinf(total), 0.0, total / (total - 2.0) * np.sqrt(2.0 / (total - 4.0))
        )
        sd = np.where(total > 4.0, squeezed * factor, np.inf)
        se = np.where(d > 0.0, s * np.sqrt(2.0 / d), np.inf)
    distinct, place = np.unique(total, return_inverse=True)
    finite = np.isfinite(distinct)
    reach = np.ones((2, len(distinct)))
    tail = 0.5 * (1.0 - level)
    for i, quantile in enumerate((scipy.stats.chi2.isf, scipy.stats.chi2.ppf)):
        reach[i, finite] = distinct[finite] / quantile(tail, distinct[finite])
    lower, upper = squeezed * reach[0, place], squeezed * reach[1, place]
    return pd.DataFrame(
        {
            "estimate": np.where(d > 0.0, s, np.nan),
            "se": se,
            "mean": squeezed,
            "sd": sd,
            "lower": lower,
            "upper": upper,
            "weight": own,
            "df": d,
            "prior_df": d0,
            "prior_scale": s0,
        }
    )


def _prior_series(prior: VariancePrior, df: float, scale: float | Array) -> pd.Series:
    values = {"df": float(df)}
    if not isinstance(prior.scale, np.ndarray):
        values["scale"] = float(scale)
    return pd.Series(values)


def _log_likelihood(s: Array, d: Array, prior: VariancePrior) -> float:
    """Log-likelihood of s2 under scaled F; of variances above zero."""
    positive = s > 0.0
    s, d = s[positive], d[positive]
    scale = np.broadcast_to(prior.scale, positive.shape)[positive]
    if np.isinf(prior.df):
        return float(np.sum(scipy.stats.chi2.logpdf(s, d, scale=scale / d)))
    return float(np.sum(scipy.stats.f.logpdf(s, d, prior.df, scale=scale)))


@dataclass(frozen=True)
class _Variances(Behaviour):
    """Draws of the variances: independent scaled inverse chi-squares given the prior."""

    prior_df: float
    posterior: pd.DataFrame

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        squeezed = self.posterior["mean"].to_numpy()
        total = (self.posterior["df"] + self.posterior["prior_df"]).to_numpy()
        finite = np.isfinite(total)
        draws = np.tile(squeezed, (n, 1))
        ratio = total[finite] / rng.chisquare(total[finite], size=(n, int(finite.sum())))
        draws[:, finite] *= ratio
        return draws

    def prior_density(self, values: Array) -> Array:
        scale = self.posterior["prior_scale"].to_numpy()
        if np.isinf(self.prior_df) or np.ptp(scale) > 0.0:
            return super().prior_density(values)
        half = self.prior_df / 2.0
        return scipy.stats.invgamma.pdf(values, half, scale=half * scale[0])


def moderated_t(
    estimate: ArrayLike,
    unscaled_se: ArrayLike,
    s2: ArrayLike,
    df: ArrayLike,
    *,
    covariate: ArrayLike | None = None,
    robust: bool = False,
    proportion: float = 0.01,
    labels: Sequence[Any] | None = None,
    level: float = 0.95,
) -> Shrinkage:
    """Test many effects with variances shrunk toward one another.

    Parameters
    ----------
    estimate : array-like of shape (J,)
        One effect a unit, such as a difference of two group means.
    unscaled_se : array-like of shape (J,), or one number
        Its standard error divided by s: for two groups of m, ``sqrt(2 / m)``.
    s2 : array-like of shape (J,)
        Residual variances.
    df : array-like of shape (J,), or one number
        Their degrees of freedom.
    covariate, robust
        Of the prior of the variances, as in `variances`.
    proportion : float
        Share of units taken to have an effect, for ``log_odds`` only.
    labels : sequence of length J, optional
    level : float
        Of the intervals.

    Returns
    -------
    Shrinkage
        ``prior`` is that of the variances. ``posterior`` is that of the effects with a flat prior
        on each effect: ``mean`` is the estimate, ``se`` the moderated standard error, ``lower`` and
        ``upper`` its t interval, ``weight`` the share of the unit's own variance. Further columns:
        ``t``, ``df``, ``p``, ``p_adjusted`` (Benjamini-Hochberg), ``log_odds`` (that the effect is
        not 0), ``variance`` (squeezed).

    Raises
    ------
    DataError
        As for `variances`; and if a standard error is not positive.

    Notes
    -----
    ``t = estimate / (unscaled_se * sqrt(squeezed s^2))`` has ``d0 + d_j`` degrees of freedom, at
    most the sum of all d_j. The log odds are those of Smyth (2004), with the variance of true
    effects from the largest t values.

    Examples
    --------
    >>> import mixedfit as mf
    >>> result = mf.eb.moderated_t([2.0, -0.1, 0.3], 0.8, [0.5, 0.4, 1.5], 4)
    >>> result.posterior[["t", "p"]].round(4).values.tolist()
    [[2.7951, 0.0162], [-0.1398, 0.8912], [0.4193, 0.6824]]
    """
    effect = read_units("estimate", estimate)
    J = len(effect)
    unscaled = read_units("unscaled_se", unscaled_se, J, "estimate")
    refuse("unscaled_se", unscaled <= 0.0, "is not positive in", "standard errors are above 0")
    if not 0.0 < proportion < 1.0:
        raise DataError(f"proportion must be between 0 and 1, such as 0.01, not {proportion!r}")
    if np.ndim(s2) != 1 or len(np.asarray(s2)) != J:
        raise DataError(f"s2 must have one variance for each of the {J} estimates")
    squeezed = variances(s2, df, covariate=covariate, robust=robust, level=level)
    own = squeezed.posterior
    table = _effects_table(effect, unscaled, own, proportion, level)
    table.insert(0, "label", read_labels(labels, estimate, J))
    return Shrinkage(
        prior=squeezed.prior,
        prior_se=squeezed.prior_se,
        coefficients=squeezed.coefficients,
        posterior=table,
        llf=squeezed.llf,
        method=squeezed.method,
        family="moderated t",
        prior_name="flat for effects, scaled inverse chi-square for variances",
        behaviour=_Effects(table),
        level=level,
        notes=squeezed.notes,
    )


def _effects_table(
    effect: Array, unscaled: Array, own: pd.DataFrame, proportion: float, level: float
) -> pd.DataFrame:
    """Moderated tests of effects, given the posterior table of their variances."""
    df = own["df"].to_numpy()
    total = np.minimum(df + own["prior_df"].to_numpy(), df.sum())
    variance = own["mean"].to_numpy()
    se = unscaled * np.sqrt(variance)
    t = effect / se
    law = scipy.stats.t(total)
    p = 2.0 * law.sf(np.abs(t))
    reach = law.isf(0.5 * (1.0 - level)) * se
    with np.errstate(divide="ignore", invalid="ignore"):
        sd = np.where(total > 2.0, se * np.sqrt(total / (total - 2.0)), np.inf)
    sd[np.isinf(total)] = se[np.isinf(total)]
    known = own["prior_df"].to_numpy() > 1e6
    effects = _effect_variance(t, unscaled, total, proportion, own["prior_scale"].to_numpy())
    return pd.DataFrame(
        {
            "estimate": effect,
            "se": se,
            "mean": effect,
            "sd": sd,
            "lower": effect - reach,
            "upper": effect + reach,
            "weight": own["weight"],
            "t": t,
            "df": total,
            "p": p,
            "p_adjusted": scipy.stats.false_discovery_control(p),
            "log_odds": _log_odds(t, unscaled, total, known, proportion, effects),
            "variance": variance,
        }
    )


def _effect_variance(
    t: Array, unscaled: Array, df: Array, proportion: float, scale: Array
) -> float:
    """Variance of true effects over the residual variance, from the largest t statistics.

    Each of the top ``proportion / 2`` of |t| is set against the quantile it would have if the top
    came from effects alone (Smyth 2004, section 6.3); standard deviations stay between 0.1 and 4.
    """
    J = len(t)
    n_top = int(np.ceil(proportion / 2.0 * J))
    share = max(n_top / J, proportion)
    largest = float(df.max())
    size = np.abs(t)
    fewer = df < largest
    if fewer.any():
        log_tail = scipy.stats.t.logsf(size[fewer], df[fewer])
        size[fewer] = scipy.stats.t.isf(np.exp(np.maximum(log_tail, -700.0)), largest)
    top = np.argsort(-size, kind="stable")[:n_top]
    null = 2.0 * scipy.stats.t.sf(size[top], largest)
    target = ((np.arange(1, n_top + 1) - 0.5) / J - (1.0 - share) * null) / share
    above = target > null
    ratio = size[top][above] / scipy.stats.t.isf(np.minimum(target[above], 1.0) / 2.0, largest)
    found = np.zeros(n_top)
    found[above] = unscaled[top][above] ** 2 * (ratio**2 - 1.0)
    centre = float(np.median(scale))
    return float(np.mean(np.clip(found, 0.1**2 / centre, 4.0**2 / centre)))


def _log_odds(
    t: Array, unscaled: Array, df: Array, known: BoolArray, proportion: float, effects: float
) -> Array:
    """Log posterior odds of an effect other than 0, shape (J,)."""
    r = (unscaled**2 + effects) / unscaled**2
    kernel = (1.0 + df) / 2.0 * np.log((t**2 + df) / (t**2 / r + df))
    # Under an infinite prior df the variances are known, however many df they were pooled from.
    kernel = np.where(known, t**2 * (1.0 - 1.0 / r) / 2.0, kernel)
    return np.log(proportion / (1.0 - proportion)) - np.log(r) / 2.0 + kernel


@dataclass(frozen=True)
class _Effects(Behaviour):
    """Draws of effects: t about each estimate."""

    table: pd.DataFrame

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        effect, se, df = (self.table[name].to_numpy() for name in ("mean", "se", "df"))
        z = rng.standard_normal((n, len(effect)))
        finite = np.isfinite(df)
        df = df[finite]
        z[:, finite] /= np.sqrt(rng.chisquare(df, size=(n, len(df))) / df)
        return effect + se * z
