"""Units with a normal prior whose mean is a regression: from estimates to a `Shrinkage`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from scipy.special import chdtrc, fdtrc, ndtr

from mixedfit.arrays import Array
from mixedfit.eb.estimates import Estimates, enough_units
from mixedfit.eb.heterogeneity import METHODS, Method, Units, Weighted, estimate_tau2, tau2_se
from mixedfit.eb.heterogeneity import q_profile as q_profile_interval
from mixedfit.eb.hyperparameters import (
    HYPERPRIORS,
    Bootstrap,
    Integrate,
    Nodes,
    Uncertainty,
    laplace_moments,
    log_hyperprior,
    nodes_on_line,
    read_uncertainty,
    size_of_tau,
)
from mixedfit.eb.mixtures import mixture_moments, mixture_quantiles
from mixedfit.eb.parts import parts
from mixedfit.eb.regression import new_unit_table, regression_table
from mixedfit.eb.sensitivity import Answer, sensitivity_table
from mixedfit.eb.shrinkage import Behaviour, Shrinkage
from mixedfit.eb.tails import normal_density, student_quantile
from mixedfit.errors import DataError, ModelError

__all__ = [
    "NormalFit",
    "NormalModel",
    "Test",
    "fit_normal",
    "heterogeneity",
    "read_method",
    "shrink_normal",
]

Test = Literal["z", "knapp-hartung"]


def read_method(method: str) -> Method:
    """A method of estimating tau^2, or an error that lists them."""
    for known in METHODS:
        if method == known:
            return known
    raise DataError(f"method must be one of {', '.join(map(repr, METHODS))}, not {method!r}")


@dataclass(frozen=True)
class NormalFit:
    """Normal means with a fitted normal prior, in arrays.

    Attributes
    ----------
    data : Estimates
    units : Units
    tau2 : float
        Variance of the prior, in squared units of the estimates.
    method : Method
    test : {"z", "knapp-hartung"}
    """

    data: Estimates
    units: Units
    tau2: float
    method: Method
    test: Test

    @cached_property
    def at(self) -> Weighted:
        """Weighted least squares at the estimate."""
        return self.units.at(self.tau2)

    @cached_property
    def variance_factor(self) -> float:
        """Knapp and Hartung's factor on the covariance of b; 1 for z tests."""
        if self.test == "z":
            return 1.0
        return float(self.at.quadratic[0]) / self.units.df

    @property
    def test_df(self) -> float:
        """Degrees of freedom of the tests of b; infinite for z tests."""
        return np.inf if self.test == "z" else float(self.units.df)

    @cached_property
    def b(self) -> Array:
        """Coefficients of the prior mean, shape (p,)."""
        return self.at.b[0]

    @cached_property
    def b_covariance(self) -> Array:
        """Their covariance, shape (p, p)."""
        return self.variance_factor * self.at.b_covariance[0]

    def critical(self, level: float) -> float:
        """The quantile that makes an interval of b."""
        return student_quantile(0.5 + 0.5 * level, self.test_df)

    @property
    def likelihood(self) -> Literal["reml", "ml"]:
        """Which likelihood the method reports."""
        return "reml" if self.method == "reml" else "ml"

    def posterior(self) -> tuple[Array, Array]:
        """Means and variances of the units given tau^2, each of shape (J,)."""
        mean, variance = self.at.posterior()
        if self.test != "z":
            toward = self.units.v * self.at.w[0]
            variance = variance + (self.variance_factor - 1.0) * toward**2 * self.at.leverage
        return mean[0], variance[0]


def fit_normal(data: Estimates, method: str, test: str) -> NormalFit:
    """Estimate tau^2.

    Raises
    ------
    DataError
        If the method or test is none of the known ones.
    ModelError
        If there are no more units than coefficients.
    """
    known = read_method(method)
    if test not in get_args(Test):
        raise DataError(f"test must be 'z' or 'knapp-hartung', not {test!r}")
    enough_units(data)
    units = Units.of(data.y, data.v, data.X)
    tau2 = float(estimate_tau2(units, known)[0])
    return NormalFit(data, units, tau2, known, "z" if test == "z" else "knapp-hartung")


def shrink_normal(
    data: Estimates,
    method: str,
    test: str,
    uncertainty: Uncertainty,
    level: float,
    encode: Callable[[Any], Array],
) -> Shrinkage:
    """Fit and tabulate.

    Parameters
    ----------
    data : Estimates
    method, test : str
    uncertainty : str, Bootstrap or Integrate
    level : float
    encode : function
        From a caller's covariates of new units to their rows of X, shape (m, p).
    """
    asked = read_uncertainty(uncertainty)
    fit = fit_normal(data, method, test)
    model = NormalModel(fit, asked, encode)
    posterior = pd.DataFrame(
        {"label": data.labels, "estimate": data.y, "se": data.se} | model.posterior(level)
    )
    se = float(tau2_se(fit.units, np.array([fit.tau2]), fit.method)[0])
    return Shrinkage(
        prior=pd.Series({"tau2": fit.tau2}, name="prior"),
        prior_se=pd.Series({"tau2": se}, name="prior_se"),
        coefficients=regression_table(
            data.names, fit.b, np.sqrt(np.diag(fit.b_covariance)), fit.test_df, level
        ),
        posterior=posterior,
        llf=float(fit.at.llf(fit.likelihood)[0]),
        method=fit.method,
        family="normal",
        behaviour=model,
        heterogeneity=heterogeneity(fit, level),
        prior_name="normal",
        uncertainty=uncertainty if isinstance(uncertainty, str) else repr(uncertainty),
        level=level,
        notes=tuple(model.notes(level)),
    )


def heterogeneity(fit: NormalFit, level: float) -> pd.Series:
    """What meta-analysts report about tau^2.

    Notes
    -----
    Q is the weighted sum of squares about the fit with ``tau^2 = 0``. With the typical sampling
    variance ``s^2 = (J - p) / tr P_0`` (Higgins & Thompson 2002), ``I2 = 100 tau^2 / (tau^2 +
    s^2)`` and ``H2 = tau^2 / s^2 + 1``; with method "fixed" they come from Q instead. With
    covariates the last rows test all but the intercept together, by chi-square or (Knapp-Hartung)
    F, and give the share of tau^2 that they explain, missing where there is none to explain.
    """
    zero = fit.units.at(0.0)
    Q, df = float(zero.quadratic[0]), fit.units.df
    if fit.method == "fixed":
        I2, H2 = 100.0 * max(0.0, (Q - df) / Q if Q > 0.0 else 0.0), Q / df
    else:
        typical = df / float(zero.trace[0])
        I2, H2 = 100.0 * fit.tau2 / (fit.tau2 + typical), fit.tau2 / typical + 1.0
    lower, upper = q_profile_interval(fit.units, level, fit.tau2)
    values = {
        "Q": Q,
        "df": float(df),
        "p": float(chdtrc(df, Q)),
        "I2": I2,
        "H2": H2,
        "tau2_lower": lower,
        "tau2_upper": upper,
    }
    if len(fit.b) > 1 and fit.data.names[0] == "Intercept":
        values |= _moderators(fit)
    return pd.Series(values, name="heterogeneity")


def _moderators(fit: NormalFit) -> dict[str, float]:
    m = len(fit.b) - 1
    b, covariance = fit.b[1:], fit.b_covariance[1:, 1:]
    joint = float(b @ np.linalg.solve(covariance, b))
    if fit.test != "z":
        joint /= m
    null = Units.of(fit.data.y, fit.data.v, fit.data.X[:, :1])
    without = float(estimate_tau2(null, fit.method)[0])
    explained = 100.0 * max(0.0, 1.0 - fit.tau2 / without) if without > 0.0 else np.nan
    p = float(chdtrc(m, joint) if fit.test == "z" else fdtrc(m, fit.test_df, joint))
    return {"Q_moderators": joint, "df_moderators": m, "p_moderators": p, "R2": explained}


class NormalModel(Behaviour):
    """The joint posterior of units with a normal prior.

    Parameters
    ----------
    fit : NormalFit
    uncertainty : "plugin", "laplace", Bootstrap or Integrate
    encode : function
        From covariates of new units to rows of X.
    """

    def __init__(
        self,
        fit: NormalFit,
        uncertainty: Literal["plugin", "laplace"] | Bootstrap | Integrate,
        encode: Callable[[Any], Array],
    ) -> None:
        self.fit = fit
        self.uncertainty = uncertainty
        self.encode = encode

    # -- the prior's scale ---------------------------------------------------------------------

    def log_density(self, log_tau: Array, options: Integrate) -> Array:
        """Log posterior density of log tau, up to a constant; shape (K,)."""
        tau = np.exp(log_tau)
        out = np.empty(len(tau))
        for part in parts(len(tau), len(self.fit.data.y), _HELD):
            at = self.fit.units.at(tau[part] ** 2)
            information = (
                np.log(at.score("reml")[2]) if options.prior == "reference" else np.zeros(1)
            )
            out[part] = at.llf("reml") + log_hyperprior(
                options.prior, tau[part], self.hyperprior_scale(options), information
            )
        return out + log_tau

    def hyperprior_scale(self, options: Integrate) -> float:
        """The scale of a half-normal or half-Cauchy."""
        if options.scale is not None:
            return options.scale
        units = self.fit.units
        spread = float(np.sqrt((units.ordinary_residuals[0] ** 2).sum() / units.df))
        return size_of_tau(spread, self.fit.data.se)

    def tau_nodes(self, options: Integrate) -> Nodes:
        """The posterior of tau, on a few points."""
        if options.prior in ("flat", "reference") and self.fit.units.df < 2:
            raise ModelError(
                f"with {len(self.fit.data.y)} units the posterior of tau is improper under the "
                f"{options.prior} prior; use mf.eb.Integrate('half-normal', scale=...)"
            )
        scale = 0.5 * np.log(float(self.fit.units.scale[0]))
        # With many units log tau is all but normal, and 41 points over 12 deviations are plenty.
        points = options.points if len(self.fit.data.y) < 1000 else min(options.points, 41)
        nodes = nodes_on_line(
            lambda x: self.log_density(x, options), scale - 25.0, scale + 25.0, points
        )
        return Nodes(np.exp(nodes.at), nodes.weights)

    # -- posterior -----------------------------------------------------------------------------

    def posterior(self, level: float) -> dict[str, Array]:
        """Means, standard deviations, limits and weights of the own data, each of shape (J,)."""
        if isinstance(self.uncertainty, Integrate):
            return self._integrated(self.tau_nodes(self.uncertainty), level)
        if isinstance(self.uncertainty, Bootstrap):
            return self._bootstrapped(level)
        mean, variance = (
            self.fit.posterior() if self.uncertainty == "plugin" else self._second_order()
        )
        sd = np.sqrt(variance)
        half = self.fit.critical(level) * sd
        weight = self.fit.tau2 / (self.fit.tau2 + self.fit.units.v)
        lfsr = ndtr(-np.abs(mean) / np.where(sd > 0.0, sd, 1.0))
        lfsr = np.where(sd > 0.0, lfsr, 0.0)
        return dict(zip(_COLUMNS, (mean, sd, mean - half, mean + half, weight, lfsr), strict=True))

    def _solved(self, tau2: Array) -> tuple[Array, Array]:
        """Coefficients of Q and their covariances at each tau^2, (K, p) and (K, p, p)."""
        c, inverse = [], []
        for part in parts(len(tau2), len(self.fit.data.y), _HELD):
            at = self.fit.units.at(tau2[part])
            c.append(at.c)
            inverse.append(at.inverse)
        return np.concatenate(c), np.concatenate(inverse)

    def _integrated(self, nodes: Nodes, level: float) -> dict[str, Array]:
        units = self.fit.units
        tau2 = nodes.at**2
        c, inverse = self._solved(tau2)
        out = np.empty((6, len(units.v)))
        for part in parts(len(units.v), len(tau2), _HELD):
            v, y, Q = units.v[part], units.y[0, part], units.Q[part]
            toward = v / (v + tau2[:, None])
            leverage = np.einsum("kjp,jp->kj", Q[None] @ inverse, Q)
            means = y - toward * (y - c @ Q.T)
            variances = tau2[:, None] * toward + toward**2 * leverage
            out[:4, part] = _mixed(nodes.weights, means, variances, level)
            out[4, part] = nodes.weights @ (1.0 - toward)
            out[5, part] = _false_sign(nodes.weights, means, variances)
        return dict(zip(_COLUMNS, out, strict=True))

    def _second_order(self) -> tuple[Array, Array]:
        options = Integrate()
        nodes = self.tau_nodes(options)
        log_tau = np.log(nodes.at)
        peak = int(nodes.weights.argmax())
        a, b, c = nodes.weights[peak - 1 : peak + 2]
        # Three points around the peak of a smooth density give its place to a small error.
        bend = np.log(a) - 2.0 * np.log(b) + np.log(c)
        shift = 0.5 * (np.log(a) - np.log(c)) / bend
        mode = float(log_tau[peak] + shift * (log_tau[1] - log_tau[0]))

        def moments(x: float) -> tuple[Array, Array]:
            mean, variance = self.fit.units.at(np.exp(2.0 * x)).posterior()
            return mean[0], variance[0]

        return laplace_moments(moments, lambda x: self.log_density(x, options), mode)

    @cached_property
    def replicates(self) -> tuple[Array, Array]:
        """tau^2 and coefficients of Q refitted to simulated data, (n,) and (n, p)."""
        options = self.uncertainty if isinstance(self.uncertainty, Bootstrap) else Bootstrap()
        rng = np.random.default_rng(options.seed)
        units, at = self.fit.units, self.fit.at
        fitted = at.c[0] @ units.Q.T
        sd = np.sqrt(units.v + self.fit.tau2)
        tau2, c = [], []
        for part in parts(options.n, len(fitted), _HELD):
            n = part.stop - part.start
            simulated = units.with_estimates(fitted + sd * rng.standard_normal((n, len(sd))))
            again = estimate_tau2(simulated, self.fit.method)
            tau2.append(again)
            c.append(simulated.at(again).c)
        return np.concatenate(tau2), np.concatenate(c)

    def _bootstrapped(self, level: float) -> dict[str, Array]:
        tau2, c = self.replicates
        units = self.fit.units
        weights = np.full(len(tau2), 1.0 / len(tau2))
        out = np.empty((6, len(units.v)))
        for part in parts(len(units.v), len(tau2), _HELD):
            v, y = units.v[part], units.y[0, part]
            own = tau2[:, None] / (tau2[:, None] + v)
            centre = c @ units.Q[part].T
            means, variances = centre + own * (y - centre), own * v
            out[:4, part] = _mixed(weights, means, variances, level)
            out[4, part] = weights @ own
            out[5, part] = _false_sign(weights, means, variances)
        return dict(zip(_COLUMNS, out, strict=True))

    # -- what a Shrinkage asks -----------------------------------------------------------------

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        units = self.fit.units
        J, p = units.Q.shape
        if isinstance(self.uncertainty, Bootstrap):
            tau2s, cs = self.replicates
            chosen = rng.integers(len(tau2s), size=n)
            tau2, c = tau2s[chosen], cs[chosen]
        else:
            tau2 = np.full(n, self.fit.tau2)
            factor = self.fit.variance_factor
            if self.uncertainty != "plugin":
                options = self.uncertainty if isinstance(self.uncertainty, Integrate) else None
                nodes = self.tau_nodes(options or Integrate())
                tau2 = rng.choice(nodes.at, size=n, p=nodes.weights) ** 2
                factor = 1.0
            values, place = np.unique(tau2, return_inverse=True)
            solved, inverse = self._solved(values)
            roots = np.sqrt(factor) * np.linalg.cholesky(inverse)
            noise = rng.standard_normal((n, p))
            c = solved[place] + np.einsum("npq,nq->np", roots[place], noise)
        out = rng.standard_normal((n, J))
        for part in parts(n, J, _HELD):
            own = tau2[part, None] / (tau2[part, None] + units.v)
            centre = c[part] @ units.Q.T
            out[part] *= np.sqrt(own * units.v)
            out[part] += centre + own * (units.y - centre)
        return out

    def predict(self, X: Any, level: float) -> pd.DataFrame:
        rows = self.encode(X)
        estimate = rows @ self.fit.b
        variance = np.einsum("mp,pq,mq->m", rows, self.fit.b_covariance, rows)
        return new_unit_table(estimate, variance, self.fit.tau2, level, self.fit.test_df)

    def prior_points(self) -> tuple[Array, Array]:
        at = self.fit.b[: 1 if self.fit.tau2 == 0.0 and len(self.fit.b) == 1 else 0]
        return at, np.ones(len(at))

    def prior_density(self, values: Array) -> Array:
        if len(self.fit.b) != 1:
            raise ModelError(
                "the prior mean depends on covariates, so there is no one density; the spread "
                "about it is normal with variance prior['tau2']"
            )
        return normal_density(values, float(self.fit.b[0]), float(np.sqrt(self.fit.tau2)))

    def prior_sensitivity(self, level: float) -> pd.DataFrame:
        at_estimate = np.array([np.sqrt(self.fit.tau2), np.nan, np.nan])
        plain = NormalModel(self.fit, "plugin", self.encode).posterior(level)
        given = self.uncertainty.scale if isinstance(self.uncertainty, Integrate) else None
        answers = []
        for prior in HYPERPRIORS:
            options = Integrate(prior, given)
            nodes = self.tau_nodes(options)
            scale = self.hyperprior_scale(options) if prior.startswith("half") else np.nan
            tau = nodes.limits(level)
            answers.append(Answer(prior, scale, tau, self._integrated(nodes, level)))
        return sensitivity_table("tau", Answer("plug-in", np.nan, at_estimate, plain), answers)

    def notes(self, level: float) -> list[str]:
        """Sentences about the fit."""
        out = []
        if self.fit.tau2 == 0.0 and self.fit.method != "fixed":
            plugin = self.uncertainty == "plugin"
            out.append(
                "The estimate of tau2 is 0: the estimates differ no more than their standard "
                "errors allow" + (", and every unit is put at the prior mean." if plugin else ".")
            )
        if isinstance(self.uncertainty, Integrate):
            tau = self.tau_nodes(self.uncertainty).limits(level)
            out.append(
                f"Posterior of tau under the {self.uncertainty.prior} prior: median {tau[0]:.4g}, "
                f"{100 * level:g}% interval {tau[1]:.4g} to {tau[2]:.4g}."
            )
        return out


# Numbers held at once where units meet many tau^2.
_HELD = 4_000_000
_COLUMNS = ("mean", "sd", "lower", "upper", "weight", "lfsr")


def _mixed(weights: Array, means: Array, variances: Array, level: float) -> tuple[Array, ...]:
    """Means, standard deviations and limits of mixtures over the first axis."""
    mean, variance = mixture_moments(weights, means, variances)
    limits = mixture_quantiles(_tails(level), weights, means, np.sqrt(variances))
    return mean, np.sqrt(variance), limits[0], limits[1]


def _false_sign(weights: Array, means: Array, variances: Array) -> Array:
    """Probability that the sign is not the likelier one, in mixtures over the first axis."""
    sds = np.sqrt(np.maximum(variances, 1e-300))
    negative = weights @ ndtr(-means / sds)
    return np.clip(np.minimum(negative, 1.0 - negative), 0.0, 1.0)


def _tails(level: float) -> tuple[float, float]:
    return 0.5 * (1.0 - level), 0.5 * (1.0 + level)
