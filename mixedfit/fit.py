"""A design fitted: the steps from cross-products to a certified optimum, and what they leave."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from mixedfit.arrays import Array
from mixedfit.certificate import Optimum, certify
from mixedfit.crossproducts import CrossProducts
from mixedfit.design import Design
from mixedfit.errors import ModelError
from mixedfit.estimate import Estimate
from mixedfit.identify import check_identified
from mixedfit.kinks import rest_at_kink
from mixedfit.likelihood import Evaluation, Likelihood, Method, States
from mixedfit.optimize import Control, Minimum
from mixedfit.residual import Whitening
from mixedfit.residual_likelihood import ResidualEvaluation, ResidualLikelihood, minimum_near
from mixedfit.threads import one_thread
from mixedfit.working import WorkingRows

__all__ = ["Fit", "Verb", "fit_design", "fitted_of", "problem_of", "refit"]

Verb = Literal["lmer", "lme", "gls"]

# Residual parameters whose central differences cost less than several steps.
_FEW = 6

# Random effects that correlated residuals may tie together: they are one dense matrix.
_MOST_TIED = 20_000

# Relative change of the criterion and the residual parameters at which a covariate taken from the
# fit has settled, and the rounds after which it is given up.
_SETTLED = 1e-7
_MOST_ROUNDS = 50

# Other residual parameters from which to search again: one for so many looked at, how far apart,
# and how much higher the criterion may be there than at the optimum found.
_POINTS_A_SEARCH = 10
_APART = 0.1
_NEAR = 6.0
# How often to look, each time from the lowest minimum so far, and how much lower one must be.
_MOST_LOOKS = 4
_LOWER = 1e-3
_GLANCE = Control(tolerance=1e-4, max_evaluations=15)

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
    verb : {"lmer", "lme", "gls"}
        What was called: nlme counts rows its own way.
    """

    design: Design
    method: Method
    optimum: Optimum
    verb: Verb = "lmer"

    @cached_property
    def evaluation(self) -> Evaluation:
        """The likelihood at the optimum, made again from the design where it was not kept."""
        with one_thread():
            problem = problem_of(self.design, self.method)
            if isinstance(problem, ResidualLikelihood):
                return problem.at(self.optimum.states, self.optimum.delta)
            return problem.at(self.optimum.states)

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
        """The criterion as a function of the random effects' covariances."""
        return self.evaluation.likelihood

    @property
    def problem(self) -> Likelihood | ResidualLikelihood:
        """The criterion that was minimised."""
        point = self.evaluation
        return point.problem if isinstance(point, ResidualEvaluation) else point.likelihood

    @cached_property
    def whitening(self) -> Whitening | None:
        """R of the rows scaled by the roots of their weights; None for the identity."""
        residual = self.design.residual
        return None if residual is None else residual.at(self.optimum.delta)

    def __getstate__(self) -> dict[str, Any]:
        names = ("design", "method", "optimum", "verb")
        return {name: getattr(self, name) for name in names}

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
        """Fixed effects, covariance and residual parameters, and the residual variance."""
        return self.p + len(self.optimum.gradient) + 1

    @property
    def llf(self) -> float:
        """Log-likelihood; restricted when the method is REML."""
        return -0.5 * self.optimum.fun


def problem_of(design: Design, method: Method) -> Likelihood | ResidualLikelihood:
    """The criterion of a design."""
    structures = [(term.factor, term.structure) for term in design.terms]
    if design.residual is None:
        return Likelihood(CrossProducts.of(design), structures, method)
    problem = ResidualLikelihood(WorkingRows.of(design), design.residual, structures, method)
    _check_coupled(design, problem)
    return problem


def _check_coupled(design: Design, problem: ResidualLikelihood) -> None:
    """Refuse models whose correlated residuals tie too many random effects together."""
    tied = [
        (factor.name, local.k * local.J)
        for factor, local in zip(design.factors, problem.rows.factors, strict=True)
        if local.L > 1
    ]
    if sum(count for _, count in tied) > _MOST_TIED:
        names = " and ".join(f"the {count} effects of {name!r}" for name, count in tied)
        raise ModelError(
            f"correlated residuals tie {names} together, and no more than {_MOST_TIED} can be "
            "solved at once; let each group of the correlation lie within one level, as in "
            "form='~ time | group'"
        )


def fit_design(
    design: Design,
    method: Method = "REML",
    *,
    start: ArrayLike | None = None,
    control: Control | None = None,
    verb: Verb = "lmer",
) -> Fit:
    """Fit a model.

    Parameters
    ----------
    design : Design
    method : {"REML", "ML"}
    start : array-like, optional
        theta in lme4's order; by default moment estimates.
    control : Control, optional
    verb : {"lmer", "lme", "gls"}

    Returns
    -------
    Fit

    Raises
    ------
    ModelError
        If the data cannot separate the random terms, or leave no residual variation.
    """
    if control is not None and not isinstance(control, Control):
        raise ModelError(f"control must be mf.Control(...), not {type(control).__name__}")
    with one_thread():
        problem = problem_of(design, method)
        identified, starts = True, None
        if design.terms:
            at_start = problem
            if isinstance(problem, ResidualLikelihood):
                at_start, _ = problem.likelihood(problem.residual.start)
            assert isinstance(at_start, Likelihood)
            labels = [term.effect.label for term in design.terms]
            identified = check_identified(at_start, labels, [t.names for t in design.terms])
            if start is not None:
                starts = [_user_start(problem, at_start, start)]
        return _search(design, problem, identified, starts, control, verb)


def refit(fit: Fit, y: Array) -> Fit:
    """Fit the model of a fit to another response of shape (n,), from the same prepared rows."""
    design = fit.design.with_response(y)
    with one_thread():
        problem = fit.problem.with_response(fit.rows.with_response(design))
        return _search(design, problem, fit.optimum.identified, verb=fit.verb)


def _search(
    design: Design,
    problem: Likelihood | ResidualLikelihood,
    identified: bool,
    starts: Iterable[Evaluation] | None = None,
    control: Control | None = None,
    verb: Verb = "lmer",
) -> Fit:
    """Find the optimum, from each start, and certify the best."""
    starts = problem.start_points() if starts is None else starts
    minima = [_minimised(point, control) for point in starts]
    best = min(minima, key=lambda minimum: minimum.point.fun)
    if isinstance(problem, ResidualLikelihood):
        for _ in range(_MOST_LOOKS):
            before, best = best, _looked_elsewhere(problem, best, control)
            if not best.point.fun < before.point.fun - _LOWER:
                break  # the same minimum; from a lower one others may come near
    if isinstance(problem, ResidualLikelihood) and problem.residual.fitted_dependent:
        best = _settled(design, best, control)
        assert isinstance(best.point, ResidualEvaluation)
        design = replace(design, residual=best.point.problem.residual)
    if not best.converged and best.point.remainder.r2 < _NO_RESIDUAL * best.point.likelihood.df:
        raise ModelError(
            f"the random effects reproduce {design.response.name!r} exactly: no residual variation "
            "is left; use fewer random effects, or check for duplicated responses"
        )
    labels = [term.effect.label for term in design.terms]
    optimum, evaluation = certify(best, labels, identified, _residual_names(design))
    fit = Fit(design, problem.method, optimum, verb)
    fit.__dict__["evaluation"] = evaluation.without_scratch()
    return fit


def _minimised(
    point: Evaluation, control: Control | None, radius: float | None = None
) -> Minimum[Evaluation]:
    """Search from a point; few residual parameters make the Hessian worth its differences."""
    few = 0 < len(point.delta) <= _FEW
    return minimum_near(point, control, radius, exact_when_slow=few)


def _looked_elsewhere(
    problem: ResidualLikelihood, best: Minimum[Evaluation], control: Control | None
) -> Minimum[Evaluation]:
    """Search again from the lowest of other residual parameters, where those lie lower or near."""
    points = []
    for delta in problem.residual.elsewhere(best.point.delta):
        try:
            points.extend(problem.points_at(delta, best.point.states))
        except ModelError:  # not positive definite there
            continue
    minima = [best]
    near = [point for point in points if point.fun < best.point.fun + _NEAR]
    chosen: list[Evaluation] = []
    for point in sorted(near, key=lambda point: point.fun):
        apart = [np.abs(point.delta - other.delta).max() > _APART for other in chosen]
        if all(apart) and len(chosen) <= len(points) // _POINTS_A_SEARCH:
            chosen.append(point)
            minima.append(_minimised(point, _GLANCE, _APART))
    found = min(minima, key=lambda minimum: minimum.point.fun)
    nfev = len(points) + sum(minimum.nfev for minimum in minima)
    if found is not best:
        found = _minimised(found.point, control, _APART)
        nfev += found.nfev
    if points and not found.converged:
        resting, looked = rest_at_kink(found.point)
        found, nfev = replace(found, point=resting), nfev + looked
    return replace(found, nfev=nfev)


def _residual_names(design: Design) -> list[str]:
    """A name for each coordinate of the residual structure; what is held fixed has none."""
    if design.residual is None:
        return []
    return design.residual.free_parameters(design.residual.start)[0]


def _settled(
    design: Design, minimum: Minimum[Evaluation], control: Control | None
) -> Minimum[Evaluation]:
    """Repeat a fit whose variances depend on its fitted values until it no longer moves them.

    Each round takes the covariate from the round before and minimises the criterion with it held
    fixed, as nlme does (Pinheiro & Bates 2000, section 5.2): the result is a fixed point, not a
    minimum over the covariate's own dependence on the parameters.
    """
    nfev, before, rounds = minimum.nfev, None, 0
    while True:
        point = minimum.point
        assert isinstance(point, ResidualEvaluation)
        now = np.concatenate([point.delta, [point.fun]])
        if before is not None and np.all(np.abs(now - before) <= _SETTLED * (1.0 + np.abs(now))):
            return replace(minimum, nfev=nfev)
        if rounds >= _MOST_ROUNDS:
            return replace(minimum, nfev=nfev, converged=False)
        before, rounds = now, rounds + 1
        fitted = fitted_of(design, Estimate(point))
        residual = point.problem.residual.with_covariate(fitted, design.y - fitted)
        start = point.with_residual(residual)
        if rounds == 1:  # before it, all rows were alike: the optimum may be far away
            others = [_minimised(p, _GLANCE) for p in start.problem.start_points()]
            best = min([_minimised(start, _GLANCE), *others], key=lambda m: m.point.fun)
            assert isinstance(best.point, ResidualEvaluation)
            start, nfev = best.point, nfev + sum(one.nfev for one in others)
        minimum = _minimised(start, control)
        nfev += minimum.nfev


def fitted_of(design: Design, estimate: Estimate, effects: bool = True) -> Array:
    """Fitted values of the rows used, shape (n,): the fixed part, or with the random effects."""
    fitted = design.X @ estimate.beta
    if design.offset is not None:
        fitted = fitted + design.offset
    if effects and design.factors:
        codes = [factor.codes for factor in design.factors]
        fitted = fitted + estimate.linear_predictor(design.factor_columns, codes)
    return fitted


def _user_start(
    problem: Likelihood | ResidualLikelihood, likelihood: Likelihood, start: ArrayLike
) -> Evaluation:
    """The criterion at the theta a user gave."""
    states = _states_of_theta(likelihood, start)
    if isinstance(problem, ResidualLikelihood):
        return problem.at(states, problem.residual.start)
    return problem.at(states)


def _states_of_theta(likelihood: Likelihood, start: ArrayLike) -> States:
    try:
        theta = np.asarray(start, dtype=float)
    except (TypeError, ValueError):
        raise ModelError(f"start must hold the numbers of theta, not {start!r}") from None
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
