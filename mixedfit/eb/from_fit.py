"""Shrinkage of the levels of a grouping factor, read off a fitted mixed model.

For level j with columns Z_j (k of them), rows whitened by the residual structure and everything
else in the model at its estimate, the coefficients ``c_j = b_Z + u_j`` obey

    u_j = K_j (raw_j - b_Z),    K_j = (I + G Z_j'Z_j)^{-1} G Z_j'Z_j,

where ``raw_j`` is least squares within the level and G the relative covariance. With one random
intercept K_j is ``n_j tau^2 / (n_j tau^2 + sigma^2)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import scipy
from scipy import sparse

from mixedfit.arrays import Array, IntArray
from mixedfit.diagnostics import plain_labels
from mixedfit.eb.regression import new_unit_table, regression_table
from mixedfit.eb.shrinkage import Behaviour, Shrinkage
from mixedfit.eb.units import counted
from mixedfit.errors import ModelError, check_level
from mixedfit.fit import Fit
from mixedfit.linalg import solve_spd
from mixedfit.varcorr import correlation_of, factor_columns

__all__ = ["Levels", "shrink_fit"]

# Largest number of effects of one factor whose joint covariance is formed.
_LARGEST = 4000
_CHUNK = 256
# Draws made at once where that covariance is not formed.
_DRAWS = 64


@dataclass(frozen=True)
class Levels:
    """The levels of one grouping factor in a fitted model, in the user's units.

    Attributes
    ----------
    fit : Fit
    f : int
        Which factor.
    """

    fit: Fit
    f: int

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Columns of the effects, k of them."""
        return tuple(factor_columns(self.fit)[self.f])

    @cached_property
    def total(self) -> Array:
        """Working effects to the user's, shape (k, k)."""
        k = len(self.names)
        total = np.zeros((k, k))
        for term in self.fit.estimate.terms:
            if term.factor == self.f:
                total[term.columns, term.columns] = term.total
        return total

    @cached_property
    def ZZ(self) -> Array:
        """Working ``Z_j'Z_j``, shape (J, k, k)."""
        sums = self.fit.likelihood.products.factors[self.f]
        return np.ascontiguousarray(sums.ZZ.transpose(2, 0, 1))

    @cached_property
    def fixed_rows(self) -> Array:
        """Rows of the map from working fixed effects that belong to the columns, shape (k, p).

        Zero for a column without a fixed effect of its own.
        """
        fixed = list(self.fit.design.names)
        rows = np.zeros((len(self.names), len(fixed)))
        for a, name in enumerate(self.names):
            if name in fixed:
                rows[a] = self.fit.estimate.basis.fixed.total[fixed.index(name)]
        return rows

    def of_fixed(self, working: Array) -> Array:
        """Coefficients of the columns, shape (k,), for working fixed effects of shape (p,)."""
        basis = self.fit.estimate.basis
        return self.fixed_rows @ (basis.coefficients + basis.scale * working)

    @cached_property
    def population(self) -> Array:
        """Fixed effects of the columns: the prior mean, shape (k,)."""
        return self.of_fixed(self.fit.evaluation.remainder.b)

    @cached_property
    def complete_pooling(self) -> Array:
        """The same by least squares without random effects, shape (k,)."""
        EE = self.fit.likelihood.products.EE
        return self.of_fixed(solve_spd(EE[:-1, :-1], EE[:-1, -1]))

    @cached_property
    def coefficients(self) -> Array:
        """Shrunken coefficients, shape (J, k)."""
        return self.population + self.fit.estimate.effects[self.f]

    @cached_property
    def raw(self) -> tuple[Array, Array]:
        """Least squares within each level and its covariance, (J, k) and (J, k, k).

        Missing where a level's rows cannot tell its columns apart.
        """
        estimate = self.fit.estimate
        _, h = estimate.evaluation.eliminated.effects(estimate.evaluation.remainder.v)
        eigenvalues = np.linalg.eigvalsh(self.ZZ)
        known = eigenvalues[:, 0] > 1e-10 * eigenvalues[:, -1]
        inverse = np.full_like(self.ZZ, np.nan)
        inverse[known] = np.linalg.inv(self.ZZ[known])
        moved = np.einsum("ab,jbc,cj->ja", self.total, inverse, h[self.f], optimize=True)
        covariance = np.einsum("ab,jbc,dc->jad", self.total, inverse, self.total, optimize=True)
        return self.coefficients + estimate.basis.scale * moved, estimate.sigma**2 * covariance

    @cached_property
    def weights(self) -> Array:
        """K_j, shape (J, k, k)."""
        T = self.fit.evaluation.eliminated.T[self.f]
        GZZ = (T @ T.T) @ self.ZZ
        K = np.linalg.solve(np.eye(len(T)) + GZZ, GZZ)
        return np.einsum("ab,jbc,cd->jad", self.total, K, np.linalg.inv(self.total), optimize=True)

    @cached_property
    def of_error(self) -> Array:
        """How an error d of the working fixed effects moves each level's coefficients, (J, k, p).

        ``c_j`` moves by ``b_Z(d) - E(u_j | d)``.
        """
        evaluation = self.fit.evaluation
        p = self.fit.p
        ZX = [sums.ZE[:p] for sums in self.fit.likelihood.products.factors]
        W = evaluation.eliminated.solve(ZX)[self.f]
        return self.fixed_rows - np.einsum("ab,pbj->jap", self.total, W)

    @cached_property
    def covariances(self) -> Array:
        """Covariance of each level's coefficients given the variances, (J, k, k).

        The fixed effects' uncertainty is in it.
        """
        estimate = self.fit.estimate
        P = estimate.evaluation.remainder.P
        shared = np.einsum("jap,pq,jbq->jab", self.of_error, P, self.of_error, optimize=True)
        return estimate.conditional_covariances[self.f] + estimate.sigma**2 * shared

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Joint posterior draws of all coefficients given the variances, shape (n, J, k).

        The fixed effects are drawn once a draw, which is what levels share; the effects given them
        are independent between levels when the model has one factor.
        """
        estimate = self.fit.estimate
        P = estimate.evaluation.remainder.P
        d = estimate.sigma * rng.standard_normal((n, len(P))) @ _root(P).T
        J, k = self.coefficients.shape
        if len(self.fit.design.factors) == 1:
            roots = _roots(estimate.conditional_covariances[self.f])
            own = np.einsum("jab,njb->nja", roots, rng.standard_normal((n, J, k)))
        elif J * k <= _LARGEST:
            z = rng.standard_normal((n, J * k))
            own = (z @ self._joint_root().T).reshape(n, J, k)
        else:
            own = self._perturbed(n, rng)
        return self.coefficients + np.einsum("jap,np->nja", self.of_error, d, optimize=True) + own

    def _perturbed(self, n: int, rng: np.random.Generator) -> Array:
        """Draws of the effects about their prediction, shape (n, J, k), without their covariance.

        Effects u and errors e are drawn from the model and predicted back: ``u - E(u | Z u + e)``
        has exactly the covariance of the effects given the data.
        """
        evaluation, rows = self.fit.evaluation, self.fit.rows
        factors = self.fit.likelihood.products.factors
        Z = [
            [sparse.csr_array((z, (c, np.arange(len(c)))), shape=(s.n_levels, len(c))) for z in Zs]
            for Zs, c, s in zip(rows.Z, rows.codes, factors, strict=True)
        ]
        own = [(Za * Za).sum(axis=1) for Za in Z[self.f]]
        if not np.allclose(own, np.einsum("aaj->aj", factors[self.f].ZZ)):
            raise ModelError("too many levels to draw jointly with a residual structure")
        out = np.empty((n, *self.coefficients.shape))
        for start in range(0, n, _DRAWS):
            m = min(_DRAWS, n - start)
            e = rng.standard_normal((self.fit.n, m))
            R = [np.stack([(Za @ e).T for Za in Zs], axis=1) for Zs in Z]
            u = []
            for f, (T, sums) in enumerate(zip(evaluation.eliminated.T, factors, strict=True)):
                u.append(
                    np.einsum("ab,mbj->maj", T, rng.standard_normal((m, sums.k, sums.n_levels)))
                )
                shares = self.fit.likelihood.products.multiply(f, u[f])
                R = [r + share for r, share in zip(R, shares, strict=True)]
            error = u[self.f] - evaluation.eliminated.solve(R)[self.f]
            out[start : start + m] = np.einsum("ab,mbj->mja", self.total, error)
        return self.fit.estimate.sigma * out

    def _joint_root(self) -> Array:
        """A root of the covariance of all effects of the factor given the fixed ones."""
        J, k = self.coefficients.shape
        factors = self.fit.likelihood.products.factors
        blocks = []
        for start in range(0, J * k, _CHUNK):
            places = np.arange(start, min(start + _CHUNK, J * k))
            R = [np.zeros((len(places), sums.k, sums.n_levels)) for sums in factors]
            level, column = np.divmod(places, k)
            R[self.f][np.arange(len(places)), :, level] = self.total[column]
            solved = self.fit.evaluation.eliminated.solve(R)[self.f]
            user = np.einsum("ab,mbj->mja", self.total, solved)
            blocks.append(user.reshape(len(places), J * k))
        V = np.concatenate(blocks)
        return self.fit.estimate.sigma * _root(0.5 * (V + V.T))


def _root(V: Array) -> Array:
    """A root of a positive semidefinite matrix."""
    values, vectors = np.linalg.eigh(V)
    return vectors * np.sqrt(np.maximum(values, 0.0))


def _roots(V: Array) -> Array:
    """Roots of many, (J, k, k)."""
    values, vectors = np.linalg.eigh(V)
    return vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]


def shrink_fit(
    fit: Fit, group: str | None = None, term: str | None = None, level: float = 0.95
) -> Shrinkage:
    """The levels of a grouping factor as a `Shrinkage`.

    Parameters
    ----------
    fit : Fit
    group : str, optional
        The grouping factor; may be left out when there is one.
    term : str, optional
        One column of its effects; all of them by default.
    level : float
        Of the intervals.
    """
    check_level(level)
    levels = Levels(fit, _factor(fit, group))
    columns = _columns(levels, term)
    prior = _prior(levels, columns)
    return Shrinkage(
        prior=prior,
        prior_se=pd.Series(np.nan, index=prior.index),
        coefficients=regression_table(
            tuple(fit.design.names), fit.estimate.beta, _standard_errors(fit), np.inf, level
        ),
        posterior=_table(levels, columns, level),
        llf=fit.llf,
        method=fit.method,
        family="linear mixed model",
        prior_name=f"normal, levels of {fit.design.factors[levels.f].name}",
        behaviour=_OfLevels(levels, columns),
        level=level,
        notes=_notes(levels, columns),
    )


def _factor(fit: Fit, group: str | None) -> int:
    names = [factor.name for factor in fit.design.factors]
    if group is None and len(names) == 1:
        return 0
    if not names:
        raise ModelError("this model has no random effects, so nothing is shrunk")
    if group not in names:
        known = ", ".join(map(repr, names))
        raise ModelError(f"group must be a grouping factor of the model, {known}, not {group!r}")
    return names.index(group)


def _columns(levels: Levels, term: str | None) -> IntArray:
    if term is None:
        return np.arange(len(levels.names))
    if term not in levels.names:
        known = ", ".join(map(repr, levels.names))
        raise ModelError(f"term must be one of the random columns, {known}, not {term!r}")
    return np.array([levels.names.index(term)])


def _standard_errors(fit: Fit) -> Array:
    return fit.estimate.sigma * np.sqrt(fit.estimate.unscaled_covariance.diagonal())


def _prior(levels: Levels, columns: IntArray) -> pd.Series:
    """Prior means, variances and correlations, and the residual variance."""
    G = levels.fit.estimate.covariances[levels.f]
    names = [levels.names[a] for a in columns]
    several = len(names) > 1
    values = {}
    for a, name in zip(columns, names, strict=True):
        values[f"mean_{name}" if several else "mean"] = float(levels.population[a])
    for a, name in zip(columns, names, strict=True):
        values[f"tau2_{name}" if several else "tau2"] = float(G[a, a])
    R = correlation_of(G)
    for i, a in enumerate(columns):
        for b in columns[:i]:
            values[f"cor_{levels.names[b]}_{levels.names[a]}"] = float(R[a, b])
    values["sigma2"] = levels.fit.estimate.sigma**2
    return pd.Series(values)


def _table(levels: Levels, columns: IntArray, level: float) -> pd.DataFrame:
    """One row a level, or a level and column, columns of a level together."""
    factor = levels.fit.design.factors[levels.f]
    J, m = factor.n_levels, len(columns)
    raw, raw_covariance = levels.raw
    sd = np.sqrt(np.einsum("jaa->ja", levels.covariances))[:, columns].ravel()
    mean = levels.coefficients[:, columns].ravel()
    half = scipy.stats.norm.ppf(0.5 + 0.5 * level) * sd
    label = _labels(factor.levels, m)
    names = np.array(levels.names, dtype=object)[columns]
    no_pooling = raw[:, columns].ravel()
    frame = pd.DataFrame(
        {
            "label": [f"{x}/{n}" for x in label for n in names] if m > 1 else label,
            "estimate": no_pooling,
            "se": np.sqrt(np.einsum("jaa->ja", raw_covariance))[:, columns].ravel(),
            "mean": mean,
            "sd": sd,
            "lower": mean - half,
            "upper": mean + half,
            "weight": np.einsum("jaa->ja", levels.weights)[:, columns].ravel(),
            "n": np.repeat(np.bincount(factor.codes, minlength=J), m),
            "no_pooling": no_pooling,
            "complete_pooling": np.tile(levels.complete_pooling[columns], J),
            "prior_mean": np.tile(levels.population[columns], J),
        }
    )
    if m == 1:
        return frame
    frame["level"], frame["term"] = np.repeat(np.asarray(label), m), np.tile(names, J)
    for b, name in zip(columns, names, strict=True):
        frame[f"weight_{name}"] = levels.weights[:, columns, b].ravel()
    return frame


def _labels(levels: pd.Index, m: int) -> pd.Index:
    """Labels of the levels; as text where they are combinations or shared by several columns."""
    if isinstance(levels, pd.MultiIndex):
        return pd.Index(plain_labels(levels))
    return pd.Index(levels.map(str)) if m > 1 else levels


def _notes(levels: Levels, columns: IntArray) -> tuple[str, ...]:
    notes = []
    missing = int(np.isnan(levels.raw[0]).any(axis=1).sum())
    if missing:
        notes.append(
            f"Too few rows for coefficients of their own: {counted(missing, 'level')}, whose "
            "no-pooling estimates are missing."
        )
    G = levels.fit.estimate.covariances[levels.f]
    if (G.diagonal()[columns] == 0.0).any():
        notes.append("A variance is estimated as 0: its levels are pooled completely.")
    return tuple(notes)


@dataclass(frozen=True)
class _OfLevels(Behaviour):
    """Draws of the levels' coefficients, raveled as the posterior's rows."""

    levels: Levels
    columns: IntArray

    @property
    def not_ranked(self) -> str:
        if len(self.columns) == 1:
            return ""
        return "different coefficients cannot be ranked together; ask for one: term=" + " or ".join(
            repr(self.levels.names[a]) for a in self.columns
        )

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        return self.levels.sample(n, rng)[:, :, self.columns].reshape(n, -1)

    @property
    def sizes(self) -> tuple[str, Array] | None:
        if [self.levels.names[a] for a in self.columns] != ["Intercept"]:
            return None
        factor = self.levels.fit.design.factors[self.levels.f]
        n = np.bincount(factor.codes, minlength=factor.n_levels)
        return f"Rows a level of {factor.name}", n.astype(float)

    def raw_limits(self, size: Array, level: float) -> tuple[Array, Array]:
        estimate, a = self.levels.fit.estimate, int(self.columns[0])
        tau2 = estimate.covariances[self.levels.f][a, a]
        half = scipy.stats.norm.ppf(0.5 + 0.5 * level) * np.sqrt(tau2 + estimate.sigma**2 / size)
        centre = float(self.levels.population[a])
        return centre - half, centre + half

    def predict(self, X: Any, level: float) -> pd.DataFrame:
        if X is not None or len(self.columns) > 1:
            raise ModelError("a new level is predicted for one term and without covariates")
        a = int(self.columns[0])
        levels = self.levels
        P = levels.fit.estimate.evaluation.remainder.P
        row = levels.fixed_rows[a]
        variance = levels.fit.estimate.sigma**2 * float(row @ P @ row)
        tau2 = float(levels.fit.estimate.covariances[levels.f][a, a])
        return new_unit_table(levels.population[a], variance, tau2, level)

    def prior_density(self, values: Array) -> Array:
        if len(self.columns) > 1:
            raise ModelError("several coefficients have no density on one line; ask for one term")
        a = int(self.columns[0])
        tau2 = float(self.levels.fit.estimate.covariances[self.levels.f][a, a])
        if tau2 == 0.0:
            raise ModelError("the prior is a point; it has no density")
        return scipy.stats.norm.pdf(values, self.levels.population[a], np.sqrt(tau2))
