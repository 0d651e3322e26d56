"""From counts and their family to a `Shrinkage`: fit, points of the hyperparameters, posterior."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd
import scipy

from mixedfit.arrays import Array, IntArray
from mixedfit.eb.conjugate import Moments, summarise_mixture
from mixedfit.eb.count_likelihood import (
    BetaBinomial,
    CountFit,
    CountLikelihood,
    maximise,
)
from mixedfit.eb.count_uncertainty import (
    CountNodes,
    bootstrap_nodes,
    integration_nodes,
    plugin_node,
)
from mixedfit.eb.hyperparameters import (
    Bootstrap,
    Hyperprior,
    Integrate,
    Nodes,
    Uncertainty,
    read_uncertainty,
)
from mixedfit.eb.regression import read_new, regression_table
from mixedfit.eb.sensitivity import Answer, sensitivity_table
from mixedfit.eb.shrinkage import Behaviour, Shrinkage
from mixedfit.eb.units import counted
from mixedfit.errors import DataError, ModelError

__all__ = ["CountData", "CountMethod", "shrink_counts"]

CountMethod = Literal["ml", "moments"]
_HYPERPRIORS: tuple[Hyperprior, ...] = ("flat", "half-cauchy", "half-normal")


@dataclass(frozen=True)
class CountData:
    """Counts as the caller gave them.

    Attributes
    ----------
    likelihood : CountLikelihood
        Of all units in the caller's order, each of weight 1.
    raw, se : arrays of shape (J,)
        Raw proportions or rates and their standard errors.
    labels : pandas.Index of length J
    names : tuple of str
        Of the columns of X.
    """

    likelihood: CountLikelihood
    raw: Array
    se: Array
    labels: pd.Index
    names: tuple[str, ...]

    @property
    def has_covariates(self) -> bool:
        """Whether the prior mean is a regression."""
        return len(self.names) > 1

    @cached_property
    def distinct(self) -> tuple[CountLikelihood, IntArray]:
        """Units that differ, with weights, and where each unit is among them."""
        return _distinct(self.likelihood, self.has_covariates)

    @cached_property
    def informative(self) -> CountLikelihood:
        """The distinct units that were observed at all."""
        distinct, _ = self.distinct
        seen = distinct.n > 0.0
        parts = (distinct.y[seen], distinct.n[seen], distinct.w[seen], distinct.X[seen])
        return type(distinct)(*parts)


def _distinct(likelihood: CountLikelihood, covariates: bool) -> tuple[CountLikelihood, IntArray]:
    y, n = likelihood.y, likelihood.n
    if covariates:
        return likelihood, np.arange(len(y))
    # A complex number sorts by its real part, then by its imaginary one.
    pairs, inverse, count = np.unique(y + 1j * n, return_inverse=True, return_counts=True)
    ones = np.ones((len(pairs), 1))
    return type(likelihood)(pairs.real, pairs.imag, count.astype(float), ones), inverse


def shrink_counts(
    data: CountData,
    stated: tuple[float, float] | None,
    method: CountMethod,
    uncertainty: Uncertainty,
    level: float,
) -> Shrinkage:
    """Fit the prior, unless it is stated, and give every unit's posterior."""
    how = read_uncertainty(uncertainty)
    if stated is not None:
        if how != "plugin":
            raise DataError("a stated prior is known; leave uncertainty='plugin'")
        fit = _stated_fit(data, *stated)
    else:
        _check_estimable(data)
        fit = maximise(data.informative) if method == "ml" else _moments_fit(data)
    behaviour = CountBehaviour(data, fit, how, stated is not None)
    prior, prior_se = _prior_series(data, fit, stated)
    return Shrinkage(
        prior=prior,
        prior_se=prior_se,
        coefficients=_coefficients(data, fit, stated, level),
        posterior=_posterior(data, behaviour, level),
        llf=fit.llf,
        method="stated" if stated else method,
        family="beta-binomial" if _is_beta(data) else "gamma-Poisson",
        prior_name=("stated " if stated else "") + ("beta" if _is_beta(data) else "gamma"),
        uncertainty=how if isinstance(how, str) else type(how).__name__.lower(),
        behaviour=behaviour,
        level=level,
        notes=tuple(_notes(data, fit)),
    )


def _posterior(data: CountData, behaviour: CountBehaviour, level: float) -> pd.DataFrame:
    """One row a unit."""
    moments = behaviour.moments(level)
    return pd.DataFrame(
        {
            "label": data.labels,
            "estimate": data.raw,
            "se": data.se,
            "mean": moments.mean,
            "sd": moments.sd,
            "lower": moments.lower,
            "upper": moments.upper,
            "weight": behaviour.own_weight(),
        }
    )


def _is_beta(data: CountData) -> bool:
    return isinstance(data.likelihood, BetaBinomial)


def _check_estimable(data: CountData) -> None:
    """Refuse data from which no prior can be learned, saying what to do."""
    units, p = data.informative, data.likelihood.X.shape[1]
    remedy = "state a prior, such as prior=mf.eb." + (
        "Beta(1, 1)" if _is_beta(data) else "Gamma(1, 1)"
    )
    J = round(float(units.w.sum()))
    if p >= J:
        raise ModelError(
            f"{counted(J, 'observed unit')} and {counted(p, 'coefficient')} leave nothing to learn "
            f"a prior from; {remedy}"
        )
    if not (units.y > 0.0).any():
        raise ModelError(f"there is no event in any unit, so the prior has no maximum; {remedy}")
    if not _is_beta(data):
        return
    if not (units.y < units.n).any():
        raise ModelError(f"every trial is a success, so the prior has no maximum; {remedy}")
    if (units.n <= 1.0).all():
        raise ModelError(
            f"with one trial a unit nothing tells how units differ from chance; {remedy}"
        )
    if ((units.y == 0.0) | (units.y == units.n)).all():
        raise ModelError(
            "every unit is all successes or all failures, so alpha and beta go to 0; " + remedy
        )


def _stated_fit(data: CountData, first: float, second: float) -> CountFit:
    if _is_beta(data):
        b, c = np.log(first) - np.log(second), np.log(first + second)
    else:
        b, c = np.log(first) - np.log(second), np.log(first)
    start = np.array([b])
    return CountFit(start, float(c), np.full((2, 2), np.nan), _llf(data, start, float(c)))


def _llf(data: CountData, b: Array, c: float) -> float:
    return data.informative.value(b, c)


def _moments_fit(data: CountData) -> CountFit:
    if data.has_covariates:
        raise DataError("method='moments' has no covariates; use method='ml' or leave X out")
    mean, c = data.informative.moments()
    b = np.array([data.likelihood.link(mean)])
    return CountFit(b, c, np.full((2, 2), np.nan), _llf(data, b, c))


def _prior_series(
    data: CountData, fit: CountFit, stated: tuple[float, float] | None
) -> tuple[pd.Series, pd.Series]:
    """The prior's parameters and their standard errors by the delta method."""
    mean = float(data.likelihood.inverse_link(fit.b[:1])[0])
    weight = float(np.exp(fit.c))
    rows = {}  # name: (value, its derivative in (intercept, c))
    if _is_beta(data):
        spread = 0.0 if fit.boundary else 1.0 / (1.0 + weight)
        rho = (spread, (0.0, -spread * (1.0 - spread)))
        if data.has_covariates:
            rows = {"precision": (weight, (0.0, weight)), "rho": rho}
        else:
            alpha, beta, rest = mean * weight, (1.0 - mean) * weight, 1.0 - mean
            rows = {
                "alpha": (alpha, (rest * alpha, alpha)),
                "beta": (beta, (-mean * beta, beta)),
                "mean": (mean, (mean * rest, 0.0)),
                "rho": rho,
            }
    elif data.has_covariates:
        rows = {"shape": (weight, (0.0, weight))}
    else:
        rate = weight / mean
        rows = {
            "shape": (weight, (0.0, weight)),
            "rate": (rate, (-rate, rate)),
            "mean": (mean, (mean, 0.0)),
        }
    if stated is not None:
        names = ("alpha", "beta") if _is_beta(data) else ("shape", "rate")
        rows.update({n: (v, (0.0, 0.0)) for n, v in zip(names, stated, strict=True)})
    values = pd.Series({name: value for name, (value, _) in rows.items()})
    corner = [0, -1]
    V = fit.covariance[np.ix_(corner, corner)]
    slopes = np.array([slope for _, slope in rows.values()])
    if fit.boundary:
        se = np.full(len(rows), np.nan)
        if "mean" in rows:
            se[list(rows).index("mean")] = abs(rows["mean"][1][0]) * np.sqrt(V[0, 0])
    else:
        se = np.sqrt(np.einsum("ra,ab,rb->r", slopes, V, slopes))
    return values, pd.Series(se, index=values.index)


def _coefficients(
    data: CountData, fit: CountFit, stated: tuple[float, float] | None, level: float
) -> pd.DataFrame:
    if stated is not None:
        return regression_table((), np.zeros(0), np.zeros(0), np.inf, level)
    p = len(fit.b)
    se = np.sqrt(fit.covariance.diagonal()[:p])
    return regression_table(data.names, fit.b, se, np.inf, level)


def _notes(data: CountData, fit: CountFit) -> list[str]:
    notes = []
    unseen = int((data.likelihood.n == 0.0).sum())
    if unseen:
        what = "trials" if _is_beta(data) else "exposure"
        notes.append(f"Without {what}: {counted(unseen, 'unit')}, given the prior.")
    if fit.boundary:
        law = "binomial proportion" if _is_beta(data) else "Poisson rate"
        notes.append(
            f"The units differ no more than samples of one {law} would: the best prior is a point, "
            "the prior mean."
        )
    return notes


@dataclass(frozen=True)
class CountBehaviour(Behaviour):
    """Posterior, draws and predictions of count data.

    Attributes
    ----------
    data : CountData
    fit : CountFit
    how : "plugin", "laplace", Bootstrap or Integrate
    stated : bool
        Whether the prior was given rather than estimated.
    """

    data: CountData
    fit: CountFit
    how: Literal["plugin", "laplace"] | Bootstrap | Integrate
    stated: bool

    @cached_property
    def nodes(self) -> CountNodes:
        """Points of the hyperparameters with weights; the estimate alone for laplace."""
        if isinstance(self.how, Bootstrap):
            return bootstrap_nodes(self.fit, self._simulated, self.how)
        if isinstance(self.how, Integrate):
            return integration_nodes(self.data.informative, self.fit, self.how)
        return plugin_node(self.fit)

    def _simulated(self, rng: np.random.Generator) -> CountLikelihood:
        units = self.data.likelihood
        y = units.simulate(self.fit.b, self.fit.c, rng)
        return replace(self.data, likelihood=replace(units, y=y)).informative

    def _parameters(self, units: CountLikelihood, nodes: CountNodes) -> tuple[Array, Array]:
        """Posterior parameters (K, J) of units at every point."""
        first, second = units.prior_parameters(nodes.b @ units.X.T, nodes.c[:, None])
        own = units.own
        return first + own[0], second + own[1]

    def moments(self, level: float) -> Moments:
        """Posterior moments and intervals of all units."""
        units, inverse = self.data.distinct
        found = self._moments(units, self.nodes, level)
        return Moments(*(getattr(found, f)[inverse] for f in ("mean", "sd", "lower", "upper")))

    def _moments(self, units: CountLikelihood, nodes: CountNodes, level: float) -> Moments:
        first, second = self._parameters(units, nodes)
        if len(nodes.c) > 1:
            return summarise_mixture(units.law, nodes.weights, first, second, level)
        if self.how == "laplace":
            return self._laplace(units, first[0], second[0], level)
        if self.fit.boundary:
            mean = units.inverse_link(units.X @ self.fit.b)
            return Moments(mean, np.zeros_like(mean), mean, mean)
        return units.law.moments(first[0], second[0], level)

    def _laplace(
        self, units: CountLikelihood, first: Array, second: Array, level: float
    ) -> Moments:
        """The variance of the conditional mean added (Kass & Steffey 1989), in the same law."""
        if np.isnan(self.fit.covariance).any():
            raise DataError("uncertainty='laplace' needs method='ml'")
        law, x = units.law, np.append(self.fit.b, self.nodes.c)
        size = len(self.fit.covariance)
        J = np.empty((size, len(first)))
        for i in range(size):
            step = 1e-4 * np.eye(len(x))[i]
            ends = [
                law.mean(*(part[0] for part in self._parameters(units, _one_node(x + sign * step))))
                for sign in (1.0, -1.0)
            ]
            J[i] = (ends[0] - ends[1]) / 2e-4
        mean = law.mean(first, second)
        own = 0.0 if self.fit.boundary else law.variance(first, second)
        variance = own + np.einsum("aj,ab,bj->j", J, self.fit.covariance, J)
        matched = law.moments(*law.matching(mean, variance), level)
        return Moments(mean, np.sqrt(variance), matched.lower, matched.upper)

    def own_weight(self) -> Array:
        """Weight of each unit's own rate in its posterior mean, shape (J,)."""
        if self.fit.boundary and len(self.nodes.c) == 1:
            return np.zeros(len(self.data.raw))
        units, inverse = self.data.distinct
        first, second = units.prior_parameters(self.nodes.b @ units.X.T, self.nodes.c[:, None])
        size = first + second if _is_beta(self.data) else second
        return (self.nodes.weights @ (units.n / (units.n + size)))[inverse]

    def _draw_nodes(self, n: int, rng: np.random.Generator) -> CountNodes:
        """One point of the hyperparameters a draw."""
        if self.how == "laplace":
            size = len(self.fit.covariance)
            draws = np.tile(np.append(self.fit.b, self.nodes.c), (n, 1))
            draws[:, :size] += rng.multivariate_normal(np.zeros(size), self.fit.covariance, n)
            return CountNodes(draws[:, :-1], draws[:, -1], np.full(n, 1.0 / n))
        place = rng.choice(len(self.nodes.c), size=n, p=self.nodes.weights)
        return CountNodes(self.nodes.b[place], self.nodes.c[place], np.full(n, 1.0 / n))

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        units = self.data.likelihood
        first, second = self._parameters(units, self._draw_nodes(n, rng))
        return units.law.rvs(first, second, rng)

    def predict(self, X: Any, level: float) -> pd.DataFrame:
        units = self.data.likelihood
        rows = read_new(X, self.data.names)
        p = len(self.fit.b)
        eta = rows @ self.fit.b
        V = np.zeros((p, p)) if self.stated else self.fit.covariance[:p, :p]
        se_eta = np.sqrt(np.einsum("ja,ab,jb->j", rows, V, rows))
        mean = units.inverse_link(eta)
        slope = mean * (1.0 - mean) if _is_beta(self.data) else mean
        z = scipy.stats.norm.ppf(0.5 + 0.5 * level)
        first, second = units.prior_parameters(self.nodes.b @ rows.T, self.nodes.c[:, None])
        new = summarise_mixture(units.law, self.nodes.weights, first, second, level)
        return pd.DataFrame(
            {
                "estimate": mean,
                "se": slope * se_eta,
                "lower": units.inverse_link(eta - z * se_eta),
                "upper": units.inverse_link(eta + z * se_eta),
                "prediction_lower": new.lower,
                "prediction_upper": new.upper,
            }
        )

    @property
    def sizes(self) -> tuple[str, Array]:
        return "Trials" if _is_beta(self.data) else "Exposure", self.data.likelihood.n

    @property
    def _relative_sd(self) -> float:
        """The prior's relative standard deviation at the estimate; 0 when it is a point."""
        if self.fit.boundary:
            return 0.0
        return float(self.data.likelihood.spread(np.array([self.fit.c]))[0][0])

    def raw_limits(self, size: Array, level: float) -> tuple[Array, Array]:
        # The marginal law of a raw proportion or rate, as the conjugate law with its moments; where
        # no event, or nothing but events, is likelier than the tail, the limit is that extreme.
        units = self.data.likelihood
        mean = float(units.inverse_link(self.fit.b[:1])[0])
        prior = self._relative_sd**2
        if _is_beta(self.data):
            variance = mean * (1.0 - mean) * (prior + (1.0 - prior) / size)
        else:
            variance = mean**2 * prior + mean / size
        first, second = units.law.matching(np.full_like(size, mean), variance)
        tail = 0.5 * (1.0 - level)
        lower, upper = units.law.ppf(tail, first, second), units.law.ppf(1.0 - tail, first, second)
        lower[self._marginal(np.zeros_like(size), size) > tail] = 0.0
        if _is_beta(self.data):
            upper[self._marginal(size, size) > tail] = 1.0
        return lower, upper

    def _marginal(self, y: Array, n: Array) -> Array:
        """Probability of counts y of new units of sizes n under the fitted prior."""
        units = type(self.data.likelihood)(y, n, np.ones_like(y), np.ones((len(y), 1)))
        eta = np.full_like(y, self.fit.b[0])
        boundary = self.fit.boundary
        return np.exp(units.limit(eta)[0] if boundary else units.pieces(eta, self.fit.c).value)

    def prior_density(self, values: Array) -> Array:
        if self.data.has_covariates:
            raise ModelError("with covariates every unit has a prior of its own: none to show")
        if self.fit.boundary and len(self.nodes.c) == 1:
            raise ModelError("the prior is a point; it has no density")
        units = self.data.likelihood
        first, second = units.prior_parameters(self.nodes.b, self.nodes.c[:, None])
        return self.nodes.weights @ units.law.pdf(values, first, second)

    def prior_sensitivity(self, level: float) -> pd.DataFrame:
        if self.stated:
            return super().prior_sensitivity(level)
        units, _ = self.data.distinct
        plain = replace(self, how="plugin").moments(level)
        plugin = Answer(
            "plug-in", np.nan, np.array([self._relative_sd, np.nan, np.nan]), vars(plain)
        )
        given = self.how.scale if isinstance(self.how, Integrate) else None
        answers = []
        for prior in _HYPERPRIORS:
            integrated = replace(self, how=Integrate(prior, given))
            nodes = Nodes(units.spread(integrated.nodes.c)[0], integrated.nodes.weights)
            limits = nodes.limits(level)
            scale = (given or 1.0) if prior.startswith("half") else np.nan
            answers.append(Answer(prior, scale, limits, vars(integrated.moments(level))))
        return sensitivity_table("relative_sd", plugin, answers)


def _one_node(x: Array) -> CountNodes:
    return CountNodes(x[None, :-1], x[-1:], np.ones(1))
