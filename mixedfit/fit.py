"""A design fitted: the steps from cross-products to a certified optimum, and what they leave."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mixedfit.arrays import Array
from mixedfit.certificate import Optimum, certify
from mixedfit.crossproducts import CrossProducts
from mixedfit.design import Design
from mixedfit.errors import ModelError
from mixedfit.estimate import Estimate
from mixedfit.identify import check_identified
from mixedfit.likelihood import Evaluation, Likelihood, Method, States
from mixedfit.optimize import Control, minimise
from mixedfit.threads import one_thread
from mixedfit.working import WorkingRows

__all__ = ["Fit", "fit_design", "likelihood_of", "refit"]

# Residual variance, relative to that of a least-squares fit, that is rounding.
_NO_RESIDUAL = 1e-12


@dataclass(frozen=True)
class Fit:
    """A fitted model in arrays: what every result is computed from.

    Attributes
    ----------
    design : Design
    method : {"REML", "ML"}
    optimum : Optimum
    """

    design: Design
    method: Method
    optimum: Optimum

    @cached_property
    def evaluation(self) -> Evaluation:
        """The likelihood at the optimum, made again from the design where it was not kept."""
        with one_thread():
            return likelihood_of(self.design, self.method).at(self.optimum.states)

    @cached_property
    def estimate(self) -> Estimate:
        """The optimum in the user's units."""
        return Estimate(self.evaluation)

    @cached_property
    def rows(self) -> WorkingRows:
        """The rows as they are reduced, kept for refits."""
        return WorkingRows.of(self.design)

    @cached_property
    def computed(self) -> dict[str, Any]:
        """What was computed from this fit and is kept for the next time, by name."""
        return {}

    @property
    def likelihood(self) -> Likelihood:
        """The criterion that was minimised."""
        return self.evaluation.likelihood

    def __getstate__(self) -> dict[str, Any]:
        return {"design": self.design, "method": self.method, "optimum": self.optimum}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    @property
    def n(self) -> int:
        """Rows used."""
        return self.design.n

    @property
    def p(self) -> int:
        """Fixed effects."""
        return self.design.X.shape[1]

    @property
    def n_params(self) -> int:
        """Fixed effects, covariance parameters and the residual variance."""
        return self.p + len(self.optimum.gradient) + 1

    @property
    def llf(self) -> float:
        """Log-likelihood; restricted when the method is REML."""
        return -0.5 * self.optimum.fun


def likelihood_of(design: Design, method: Method) -> Likelihood:
    """The criterion of a design."""
    structures = [(term.factor, term.structure) for term in design.terms]
    return Likelihood(CrossProducts.of(design), structures, method)


def fit_design(
    design: Design,
    method: Method = "REML",
    *,
    start: ArrayLike | None = None,
    control: Control | None = None,
) -> Fit:
    """Fit a model.

    Parameters
    ----------
    design : Design
    method : {"REML", "ML"}
    start : array-like, optional
        theta in lme4's order; by default moment estimates.
    control : Control, optional

    Returns
    -------
    Fit

    Raises
    ------
    ModelError
        If the data cannot separate the random terms, or leave no residual variation.
    """
    with one_thread():
        likelihood = likelihood_of(design, method)
        labels = [term.effect.label for term in design.terms]
        identified = check_identified(likelihood, labels, [term.names for term in design.terms])
        starts = None if start is None else [_user_start(likelihood, start)]
        return _search(design, likelihood, identified, starts, control)


def refit(fit: Fit, y: Array) -> Fit:
    """Fit the model of a fit to another response of shape (n,), from the same prepared rows."""
    design = fit.design.with_response(y)
    with one_thread():
        likelihood = fit.likelihood.with_response(fit.rows.with_response(design))
        return _search(design, likelihood, fit.optimum.identified)


def _search(
    design: Design,
    likelihood: Likelihood,
    identified: bool,
    starts: Iterable[States] | None = None,
    control: Control | None = None,
) -> Fit:
    """Find the optimum, from each start, and certify the best."""
    starts = likelihood.starts() if starts is None else starts
    minima = [minimise(likelihood.at(states), control) for states in starts]
    best = min(minima, key=lambda minimum: minimum.point.fun)
    if not best.converged and best.point.remainder.r2 < _NO_RESIDUAL * likelihood.df:
        raise ModelError(
            f"the random effects reproduce {design.response.name!r} exactly: no residual variation "
            "is left; use fewer random effects, or check for duplicated responses"
        )
    labels = [term.effect.label for term in design.terms]
    optimum, evaluation = certify(best, labels, identified)
    fit = Fit(design, likelihood.method, optimum)
    fit.__dict__["evaluation"] = evaluation.without_scratch()
    return fit


def _user_start(likelihood: Likelihood, start: ArrayLike) -> States:
    theta = np.asarray(start, dtype=float)
    lengths = [
        len(structure.theta(state))
        for (_, structure), state in zip(likelihood.structures, likelihood.unit, strict=True)
    ]
    if theta.shape != (sum(lengths),) or not np.isfinite(theta).all():
        raise ModelError(
            f"start must hold the {sum(lengths)} finite numbers of theta, not shape {theta.shape}"
        )
    parts = np.split(theta, np.cumsum(lengths)[:-1])
    bases = likelihood.products.basis.random
    return tuple(
        structure.rebase(structure.from_theta(part), basis.inverse)
        for (_, structure), part, basis in zip(likelihood.structures, parts, bases, strict=True)
    )
