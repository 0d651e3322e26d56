"""A point of the likelihood in the user's units: coefficients, variances, effects.

The likelihood works on working columns ``X B`` and ``Z B`` and a scaled response (`crossproducts`);
here its solution is mapped back.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mixedfit.arrays import Array, IntArray
from mixedfit.covariance import Structure
from mixedfit.likelihood import Evaluation

__all__ = ["Estimate", "TermEstimate"]


@dataclass(frozen=True)
class TermEstimate:
    """One random term.

    Attributes
    ----------
    factor : int
    structure : Structure
    columns : slice
        The term's columns among those of its factor.
    total : array of shape (k, k)
        Working columns are the user's times this.
    state : array
        Of the structure, for the user's columns.
    """

    factor: int
    structure: Structure
    columns: slice
    total: Array
    state: Array

    @cached_property
    def root(self) -> Array:
        """A square root T of the relative covariance, (k, k)."""
        return self.structure.factor(self.state)

    @property
    def theta(self) -> Array:
        """Relative Cholesky parameters as lme4 lists them."""
        return self.structure.theta(self.state)


class Estimate:
    """Everything a fitted model says, computed when asked.

    Parameters
    ----------
    evaluation : Evaluation
        The likelihood at the optimum.
    """

    def __init__(self, evaluation: Evaluation) -> None:
        self.evaluation = evaluation
        self.basis = evaluation.likelihood.products.basis

    @cached_property
    def sigma(self) -> float:
        """Residual standard deviation, in units of the response."""
        remainder = self.evaluation.remainder
        return self.basis.scale * float(np.sqrt(remainder.r2 / self.evaluation.likelihood.df))

    @cached_property
    def beta(self) -> Array:
        """Fixed effects, shape (p,)."""
        working = self.basis.coefficients + self.basis.scale * self.evaluation.remainder.b
        return self.basis.fixed.total @ working

    @property
    def least_squares(self) -> Array:
        """Fixed effects by (weighted) least squares, random effects ignored, shape (p,)."""
        return self.basis.fixed.total @ self.basis.coefficients

    @cached_property
    def unscaled_covariance(self) -> Array:
        """Covariance of the fixed effects divided by the residual variance, shape (p, p)."""
        total = self.basis.fixed.total
        return total @ self.evaluation.remainder.P @ total.T

    @cached_property
    def terms(self) -> tuple[TermEstimate, ...]:
        """The random terms, in the design's order."""
        likelihood = self.evaluation.likelihood
        out = []
        for t, (factor, structure) in enumerate(likelihood.structures):
            total = self.basis.random[t].total
            state = structure.rebase(self.evaluation.states[t], total)
            out.append(TermEstimate(factor, structure, likelihood.columns_of(t), total, state))
        return tuple(out)

    @cached_property
    def theta(self) -> Array:
        """Relative Cholesky parameters of all terms, as lme4 lists them."""
        return np.concatenate([np.zeros(0), *(term.theta for term in self.terms)])

    def _to_user(self, factor: int) -> Array:
        """Working effects to the user's, block diagonal (k, k)."""
        k = self.evaluation.likelihood.products.factors[factor].k
        total = np.zeros((k, k))
        for term in self.terms:
            if term.factor == factor:
                total[term.columns, term.columns] = term.total
        return total

    @cached_property
    def covariances(self) -> list[Array]:
        """Covariance of one level's effects, (k, k) a grouping factor, in squared units."""
        out = [np.zeros((f.k, f.k)) for f in self.evaluation.likelihood.products.factors]
        for term in self.terms:
            T = term.root
            out[term.factor][term.columns, term.columns] = self.sigma**2 * T @ T.T
        return out

    @cached_property
    def effects(self) -> list[Array]:
        """Predicted random effects (BLUPs), (J, k) a grouping factor."""
        u, _ = self.evaluation.eliminated.effects(self.evaluation.remainder.v)
        return [self.basis.scale * (self._to_user(f) @ working).T for f, working in enumerate(u)]

    @cached_property
    def conditional_covariances(self) -> list[Array]:
        """Covariance of each level's effects given the data, (J, k, k) a grouping factor.

        Fixed effects and covariance parameters are taken as known, as in lme4's `condVar`.
        """
        return self._level_covariances(np.zeros((len(self.beta) + 1, len(self.beta) + 1)))

    @cached_property
    def prediction_error_covariances(self) -> list[Array]:
        """Covariance of predicted less true effects, (J, k, k) a grouping factor.

        The estimation of the fixed effects counts; covariance parameters are taken as known.
        """
        N = np.zeros((len(self.beta) + 1, len(self.beta) + 1))
        N[:-1, :-1] = self.evaluation.remainder.P
        return self._level_covariances(N)

    def _level_covariances(self, N: Array) -> list[Array]:
        """``sigma^2`` times the levels' blocks of the inverse with what N adds, user's columns."""
        blocks = self.evaluation.eliminated.inverse_blocks(N)
        out = []
        for f, D in enumerate(blocks):
            total = self._to_user(f)
            out.append(self.sigma**2 * np.einsum("ac,cdj,bd->jab", total, D, total, optimize=True))
        return out

    def linear_predictor(self, Z: list[Array], codes: list[IntArray]) -> Array:
        """``Z u`` for rows with given columns (n, k) and levels of each factor; -1 gives 0."""
        total = np.zeros(len(codes[0])) if codes else np.zeros(0)
        for columns, levels, effects in zip(Z, codes, self.effects, strict=True):
            with_none = np.vstack([effects, np.zeros(effects.shape[1])])
            total += np.einsum("na,na->n", columns, with_none[levels])
        return total
