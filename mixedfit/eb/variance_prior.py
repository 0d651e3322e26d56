"""The prior of many variances: a scaled inverse chi-square fitted by moments of log variances.

With ``s2_j | sigma2_j ~ sigma2_j chi2(d_j) / d_j`` and ``1 / sigma2_j ~ chi2(d0) / (d0 s0^2)``, the
ratio ``s2_j / s0^2`` is F with (d_j, d0) degrees of freedom, and its logarithm has

    E log s2_j   = log s0^2 + psi(d_j / 2) - log(d_j / 2) - psi(d0 / 2) + log(d0 / 2)
    Var log s2_j = psi'(d_j / 2) + psi'(d0 / 2)

(Smyth 2004). The trend lets ``log s0^2`` be a natural cubic spline of a covariate; the robust fit
matches the moments of Winsorised log variances and lowers d0 for single variances that are too
large for the prior (Phipson et al. 2016).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
from scipy import special

from mixedfit.arrays import Array, BoolArray
from mixedfit.eb.lowess import lowess
from mixedfit.errors import ModelError

__all__ = [
    "OFFSET",
    "ROBUST_OFFSET",
    "VariancePrior",
    "fit_prior",
    "fit_prior_robustly",
    "inverse_trigamma",
    "natural_spline",
]

WINSORISED = (0.05, 0.10)
# Shares of the median to which variances near zero are raised.
OFFSET, ROBUST_OFFSET = 1e-5, 1e-12
_SPAN = 0.4
_LEGENDRE = np.polynomial.legendre.leggauss(128)


@dataclass(frozen=True)
class VariancePrior:
    """A fitted scaled inverse chi-square prior.

    Attributes
    ----------
    df : float
        Prior degrees of freedom d0; infinite when the variances are no more spread than one common
        variance would give.
    scale : float or array of shape (n,)
        Prior variance s0^2; an array where it follows a covariate.
    df_each : array of shape (n,) or None
        d0 of each variance after a robust fit: lower for outlying ones.
    df_se, log_scale_se : float
        Standard errors of d0 and of log s0^2 from the spread of the log variances; missing for the
        robust fit, a trend, or an infinite d0.
    """

    df: float
    scale: float | Array
    df_each: Array | None = None
    df_se: float = np.nan
    log_scale_se: float = np.nan


def inverse_trigamma(y: float) -> float:
    """Solve ``psi'(x) = y`` for x > 0 by Newton's method on ``1 / psi'``, which is nearly linear.

    Examples
    --------
    >>> round(inverse_trigamma(float(special.polygamma(1, 3.0))), 10)
    3.0
    """
    if y > 1e7:
        return float(1.0 / np.sqrt(y))
    if y < 1e-6:
        return float(1.0 / y)
    x = 0.5 + 1.0 / y
    for _ in range(50):
        value = float(special.polygamma(1, x))
        step = value * (1.0 - value / y) / float(special.polygamma(2, x))
        x += step
        if -step / x < 1e-10:
            break
    return x


def natural_spline(x: Array, df: int, at: Array | None = None) -> Array:
    """Natural cubic splines with ``df - 2`` interior knots at quantiles of x, shape (n, df).

    The columns are the cardinal splines (1 at one knot, 0 at the others); they span the constant
    and the line. They are evaluated at x, or elsewhere; beyond the outer knots they are straight.
    """
    at = x if at is None else at
    knots = np.unique(np.quantile(x, np.linspace(0.0, 1.0, df)))
    if len(knots) == 1:
        return np.ones((len(at), 1))
    curve = scipy.interpolate.CubicSpline(knots, np.eye(len(knots)), bc_type="natural")
    inside = np.clip(at, knots[0], knots[-1])
    return curve(inside) + (at - inside)[:, None] * curve(inside, 1)


def trend_df(covariate: Array) -> int:
    """Number of spline columns that n variances bear: 2 from 3 on, 3 from 6 on, 4 from 30 on."""
    n = len(covariate)
    wanted = 1 + (n >= 3) + (n >= 6) + (n >= 30)
    return min(int(wanted), len(np.unique(covariate)))


def _offset_from_zero(s2: Array, share: float) -> Array:
    """Variances with those near zero raised to a share of the median, so that logarithms exist."""
    median = float(np.median(s2))
    return np.maximum(s2, share * (median if median > 0.0 else 1.0))


def fit_prior(s2: Array, df: Array, covariate: Array | None = None) -> VariancePrior:
    """Fit the prior by the mean and variance of ``log s2``.

    Parameters
    ----------
    s2 : array of shape (n,)
        Variances; those near zero count as `OFFSET` of the median.
    df : array of shape (n,)
        Their degrees of freedom. Variances with 0 are not used, and get the scale at their
        covariate.
    covariate : array of shape (n,), optional
        ``log s0^2`` follows a natural spline of it.
    """
    used = df > 0.0
    s2 = _offset_from_zero(s2[used], OFFSET)
    expected, noise = _log_chi2(df[used] / 2.0)
    e = np.log(s2) - expected
    columns = 1 if covariate is None else trend_df(covariate[used])
    trend = columns > 1
    basis = np.ones((len(df), 1))
    if trend and covariate is not None:
        basis = natural_spline(covariate[used], columns, covariate)
    if len(e) <= basis.shape[1]:
        raise ModelError(
            f"{len(e)} variances are too few to estimate how variances differ; "
            "give more, or leave out the covariate"
        )
    centre = basis @ np.linalg.lstsq(basis[used], e, rcond=None)[0]
    left = e - centre[used]
    extra = float(np.sum(left**2) / (len(e) - basis.shape[1])) - float(np.mean(noise))
    if extra <= 0.0:
        return VariancePrior(np.inf, np.exp(centre) if trend else float(s2.mean()))
    d0 = 2.0 * inverse_trigamma(extra)
    scale = np.exp(centre + special.digamma(d0 / 2.0) - np.log(d0 / 2.0))
    if trend:
        return VariancePrior(d0, scale)
    return VariancePrior(d0, float(scale[0]), None, *_standard_errors(left, noise, d0))


def _log_chi2(half: Array) -> tuple[Array, Array]:
    """Mean and variance of ``log(chi2(d) / d)`` for ``half = d / 2``, each that differs once."""
    distinct, place = np.unique(half, return_inverse=True)
    mean = special.digamma(distinct) - np.log(distinct)
    return mean[place], special.polygamma(1, distinct)[place]


def _standard_errors(centred: Array, noise: Array, d0: float) -> tuple[float, float]:
    """Standard errors of d0 and log s0^2 by the delta method on the two moments."""
    of_variance = centred**2 - noise
    of_variance = of_variance - of_variance.mean()
    of_df = 2.0 / float(special.polygamma(2, d0 / 2.0)) * of_variance
    slope = float(special.polygamma(1, d0 / 2.0)) / 2.0 - 1.0 / d0
    of_scale = centred + slope * of_df
    n = len(centred)
    return float(np.sqrt(np.mean(of_df**2) / n)), float(np.sqrt(np.mean(of_scale**2) / n))


def fit_prior_robustly(s2: Array, df: Array, covariate: Array | None = None) -> VariancePrior:
    """Fit the prior to Winsorised log variances and find those too large for it.

    Parameters are those of `fit_prior`; near zero is `ROBUST_OFFSET` of the median. The lowest 5%
    and the highest 10% are Winsorised.

    Raises
    ------
    ModelError
        If more than half of the variances are 0.
    """
    used = df > 0.0
    if not used.all():
        own = None if covariate is None else covariate[used]
        return _extended(fit_prior_robustly(s2[used], df[used], own), covariate, used)
    if np.median(s2) == 0.0:
        raise ModelError(
            "more than half of the variances are 0, so the prior has no robust fit; leave out "
            "units that cannot vary, or use robust=False"
        )
    s2 = _offset_from_zero(s2, ROBUST_OFFSET)
    plain = fit_prior(s2, df, covariate)
    n = len(s2)
    as_plain = VariancePrior(plain.df, plain.scale, np.full(n, plain.df))
    if 1.0 / n > max(WINSORISED):
        return as_plain
    common = float(df.max())
    z = np.log(_with_common_df(s2, df, plain, common))
    trend = _trend(z, covariate)
    low, high = np.quantile(z - trend, [WINSORISED[0], 1.0 - WINSORISED[1]])
    winsorised = np.clip(z - trend, low, high)
    mean, variance = float(winsorised.mean()), float(winsorised.var(ddof=1))
    d0 = _match_variance(variance, common, plain.df)
    if d0 is None:
        return as_plain
    centre = trend + mean - _winsorised_moments(common, d0)[0]
    each = _df_of_each(np.exp(z - centre), common, d0)
    return VariancePrior(
        d0, np.exp(centre) if covariate is not None else float(np.exp(centre[0])), each
    )


def _extended(prior: VariancePrior, covariate: Array | None, used: BoolArray) -> VariancePrior:
    """A prior of the used units given to all; scales between covariates are interpolated."""
    scale, each = prior.scale, np.full(len(used), prior.df)
    if covariate is not None and isinstance(scale, np.ndarray):
        x, first = np.unique(covariate[used], return_index=True)
        scale = np.exp(np.interp(covariate, x, np.log(scale[first])))
    each[used] = prior.df_each
    return VariancePrior(prior.df, scale, each)


def _with_common_df(s2: Array, df: Array, prior: VariancePrior, common: float) -> Array:
    """Variances moved to equally likely ones with the largest degrees of freedom."""
    moved = df < common - 1e-14
    if not moved.any():
        return s2
    scale = np.broadcast_to(prior.scale, s2.shape)[moved]
    ratio = s2[moved] / scale
    upper = _f_tail(ratio, df[moved], prior.df, upper=True)
    lower = _f_tail(ratio, df[moved], prior.df, upper=False)
    in_upper = upper < lower
    out = s2.copy()
    tail = np.where(in_upper, upper, lower)
    quantile = np.where(
        in_upper,
        _f_quantile(tail, common, prior.df, upper=True),
        _f_quantile(tail, common, prior.df, upper=False),
    )
    out[moved] = quantile * scale
    return out


def _f_tail(f: Array, df: Array | float, d0: float, upper: bool) -> Array:
    """Log tail probability of F(df, d0); of chi2(df) / df when d0 is infinite."""
    half = 0.5 * np.asarray(df)
    if np.isinf(d0):
        gamma = special.gammaincc if upper else special.gammainc
        with np.errstate(divide="ignore"):
            return np.log(np.asarray(gamma(half, half * f), dtype=float))
    if upper:
        return _log_betainc(0.5 * d0, half, d0 / (d0 + df * f))
    return _log_betainc(half, 0.5 * d0, df * f / (d0 + df * f))


def _log_betainc(a: Array | float, b: Array | float, x: Array) -> Array:
    """Log of the regularised incomplete beta function, also where it underflows (DLMF 8.17.8)."""
    a, b, x = np.broadcast_arrays(a, b, x)
    value = special.betainc(a, b, x)
    with np.errstate(divide="ignore"):
        out = np.log(value)
    tiny = (value < 1e-290) & (x > 0.0)
    a, b, x = a[tiny], b[tiny], x[tiny]
    series = np.log(special.hyp2f1(a + b, 1.0, a + 1.0, x) / a)
    out[tiny] = a * np.log(x) + b * np.log1p(-x) - special.betaln(a, b) + series
    return out


def _f_quantile(log_tail: Array, df: float, d0: float, upper: bool) -> Array:
    """Quantiles of F(df, d0) by the logarithm of a tail probability."""
    tail = np.exp(np.maximum(log_tail, -700.0))
    if np.isinf(d0):
        inverse = special.gammainccinv if upper else special.gammaincinv
        return np.asarray(2.0 / df * inverse(0.5 * df, tail), dtype=float)
    a, b = (0.5 * d0, 0.5 * df) if upper else (0.5 * df, 0.5 * d0)
    x, rest = special.betaincinv(a, b, tail), special.betaincinv(b, a, 1.0 - tail)
    return np.asarray(d0 / df * (rest / x if upper else x / rest), dtype=float)


def _trend(z: Array, covariate: Array | None) -> Array:
    """Trimmed mean of z, or its lowess curve on the covariate, shape (n,)."""
    if covariate is None:
        return np.full(len(z), scipy.stats.trim_mean(z, WINSORISED[1]))
    return lowess(covariate, z, _SPAN, iterations=3, delta=0.01 * float(np.ptp(covariate)))


def _winsorised_moments(df: float, d0: float) -> tuple[float, float]:
    """Mean and variance of Winsorised ``log F(df, d0)``, by quadrature in ``f / (1 + f)``."""
    law = scipy.stats.chi2(df, scale=1.0 / df) if np.isinf(d0) else scipy.stats.f(df, d0)
    low, high = np.log(WINSORISED)
    f_ends = np.array(
        [float(_f_quantile(low, df, d0, upper=False)), float(_f_quantile(high, df, d0, upper=True))]
    )
    z_ends, (start, stop) = np.log(f_ends), f_ends / (1.0 + f_ends)
    nodes, weights = _LEGENDRE
    x = start + (stop - start) * (nodes + 1.0) / 2.0
    f = x / (1.0 - x)
    density = weights / 2.0 * (stop - start) * law.pdf(f) / (1.0 - x) ** 2
    tails = np.array(WINSORISED)
    mean = float(density @ np.log(f) + tails @ z_ends)
    variance = float(density @ (np.log(f) - mean) ** 2 + tails @ (z_ends - mean) ** 2)
    return mean, variance


def _match_variance(variance: float, df: float, at_least: float) -> float | None:
    """The d0 whose Winsorised variance is the observed one; None when the plain fit stands."""
    if variance <= _winsorised_moments(df, np.inf)[1]:
        return np.inf

    def excess(x: float) -> float:
        d0 = np.inf if x >= 1.0 else x / (1.0 - x)
        return float(np.log(variance / _winsorised_moments(df, d0)[1]))

    if np.isinf(at_least):
        return None
    lowest = at_least / (1.0 + at_least)
    if excess(lowest) >= 0.0:
        return at_least
    x = float(scipy.optimize.brentq(excess, lowest, 1.0, xtol=1e-12))
    return x / (1.0 - x)


def _df_of_each(f: Array, df: float, d0: float) -> Array:
    """Prior degrees of freedom of each variance: d0, or less in proportion to being an outlier.

    A variance is an outlier as far as its tail probability under F(df, d0) is below the share of
    variances beyond it; outliers get a d0 that makes the largest one the median of its law.
    """
    n = len(f)
    log_tail = _f_tail(f, df, d0, upper=True)
    log_empirical = np.log(n - scipy.stats.rankdata(f) + 0.5) - np.log(n)
    typical = np.exp(np.minimum(log_tail - log_empirical, 0.0))
    if (typical >= 1.0).all():
        return np.full(n, d0)
    order = np.argsort(log_tail, kind="stable")
    if np.isinf(d0):
        each = np.where(typical < 1.0, typical * n * df, np.inf)
        each[order] = np.maximum.accumulate(each[order])
        return each
    outlying_df = _df_of_outliers(float(f.max()), float(log_tail.min()), df, d0)
    each = (1.0 - typical) * outlying_df + typical * d0
    ordered = each[order]
    running = np.cumsum(ordered) / np.arange(1, n + 1)
    lowest = int(np.argmin(running))
    ordered[: lowest + 1] = running[lowest]
    each[order] = np.maximum.accumulate(ordered)
    return each


def _df_of_outliers(largest: float, log_tail: float, df: float, d0: float) -> float:
    if np.isneginf(log_tail):
        return 0.0
    first = np.log(0.5) / log_tail * d0
    again = float(_f_tail(np.array([largest]), df, first, upper=True)[0])
    return float(np.log(0.5) / again * first)
