"""The verdict on a fit: what kind of optimum was reached, and how sure that is.

With ``G = T T'`` and ``Gamma`` the derivative of the criterion in G, a minimum over positive
semidefinite G satisfies ``Gamma T = 0`` (stationarity) and ``Gamma >= 0`` on the null space of G
(no variance there is better than a little), and the criterion is strictly convex along every
direction in which G can move within its rank. The search ends at points that satisfy the first two
(`optimize`); the third is the smallest eigenvalue reported here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from mixedfit.arrays import Array, BoolArray
from mixedfit.covariance import Structure
from mixedfit.errors import ModelError
from mixedfit.identify import at_limit, moving_directions
from mixedfit.kinks import every_step_rises
from mixedfit.likelihood import Evaluation, Likelihood, States
from mixedfit.linalg import left_singular, symmetric_eigen
from mixedfit.optimize import Minimum, held_at_bounds

__all__ = ["Optimum", "SingularDirection", "Status", "certify", "settle", "without_lost_variances"]

Status = Literal["optimal", "boundary", "stalled"]

# Variance ratio times rows a level below which a direction counts as without variance.
_NO_VARIANCE = 1e-6
# Smallest eigenvalue relative to the largest at which the Hessian counts as singular.
_FLAT = 1e-9
# The same where the Hessian is partly a difference of gradients.
_FLAT_DIFFERENCED = 1e-5
# Smallest eigenvalue relative to the largest of residual parameters that may be on a ridge, and
# the rise of the criterion over a long step below which they are.
_SHALLOW = 1e-4
_NO_RISE = 1e-4


@dataclass(frozen=True)
class SingularDirection:
    """A combination of one term's columns whose effects do not vary.

    Attributes
    ----------
    term : int
    weights : array of shape (k,)
        Of the working columns, unit length.
    """

    term: int
    weights: Array


@dataclass(frozen=True)
class Optimum:
    """Where the search ended and what is certain about it.

    Attributes
    ----------
    fun : float
        Criterion: -2 log likelihood, or the REML criterion.
    states : tuple of arrays
        Of the covariance structures, in the working basis.
    gradient : array of shape (r,)
        Of the criterion there, zero in coordinates held at a bound.
    decrement : float
        Newton decrement: twice the decrease of the criterion a Newton step still promises.
    smallest_eigenvalue : float
        Of the Hessian, over the directions in which the covariances can move.
    nfev : int
        Evaluations of criterion and gradient.
    status : {"optimal", "boundary", "stalled"}
    message : str
    singular : tuple of SingularDirection
    identified : bool
        Whether the design determines every covariance parameter.
    delta : array of shape (s,)
        Parameters of the residual structure, on its unbounded scale; their gradient comes last.
    limits : tuple of str
        Parameters of the residual structure that are at a limit.
    """

    fun: float
    states: States
    gradient: Array
    decrement: float
    smallest_eigenvalue: float
    nfev: int
    status: Status
    message: str
    singular: tuple[SingularDirection, ...] = ()
    identified: bool = True
    delta: Array = field(default_factory=lambda: np.zeros(0))
    limits: tuple[str, ...] = ()


def _null_directions(point: Evaluation) -> list[Array]:
    """Orthonormal directions without variance of each term, (k, m)."""
    likelihood, out = point.likelihood, []
    for t, ((factor, structure), state) in enumerate(
        zip(likelihood.structures, point.states, strict=True)
    ):
        rows = likelihood.products.factors[factor].mean_rows[likelihood.columns_of(t)]
        root = np.sqrt(rows)
        U, values = left_singular(structure.factor(state) * root[:, None])
        null = U[:, values**2 < _NO_VARIANCE] * root[:, None]
        out.append(null / np.linalg.norm(null, axis=0) if null.size else null)
    return out


def without_lost_variances(point: Evaluation) -> Evaluation:
    """A minimum whose variances that converged to zero are set to zero."""
    null = _null_directions(point)
    return settle(point, null) if any(directions.size for directions in null) else point


def settle(point: Evaluation, null: list[Array]) -> Evaluation:
    """An optimum with variances that converged to zero set to zero.

    Parameters
    ----------
    point : Evaluation
    null : list of arrays of shape (k, m)
        Directions without variance of each term.
    """
    states = list(point.states)
    for t, ((_, structure), directions) in enumerate(
        zip(point.likelihood.structures, null, strict=True)
    ):
        projector = _projector(structure, directions)
        if projector is not None:
            states[t] = structure.rebase(states[t], projector)
    settled = point.with_states(tuple(states))
    return settled if settled.fun <= point.fun + 1e-7 else point


def _projector(structure: Structure, null: Array) -> Array | None:
    """The map that removes some directions, where the structure allows it."""
    if not null.shape[1]:
        return None
    Q, _ = np.linalg.qr(null)
    projector = np.eye(structure.size) - Q @ Q.T
    if structure.equivariance == "linear":
        return projector
    kept = np.round(projector.diagonal())
    axes = np.allclose(projector, np.diag(kept), atol=1e-8)
    if not axes or (structure.equivariance == "scalar" and kept.any()):
        return None
    return np.diag(kept)


def certify(
    minimum: Minimum[Evaluation],
    names: list[str],
    identified: bool,
    residual_names: Sequence[str] = (),
) -> tuple[Optimum, Evaluation]:
    """Judge the end of a search.

    Parameters
    ----------
    minimum : Minimum
    names : list of str
        Labels of the random terms.
    identified : bool
        Whether the design determines every parameter (`identify`).
    residual_names : sequence of str
        Of the parameters of the residual structure.

    Returns
    -------
    optimum : Optimum
    evaluation : Evaluation
        The likelihood there.
    """
    point = minimum.point
    likelihood, null = point.likelihood, _null_directions(point)
    if minimum.converged and any(directions.shape[1] for directions in null):
        point = settle(point, null)
        null = _null_directions(point)
    held = held_at_bounds(point)
    gradient = np.where(held, 0.0, point.gradient)
    limits = _limits(minimum.converged, point, held, residual_names)
    singular = tuple(
        SingularDirection(t, direction) for t, block in enumerate(null) for direction in block.T
    )
    status: Status = "boundary" if singular or limits or held.any() else "optimal"
    everywhere = identified and status == "optimal"
    moves = None if everywhere else moving_directions(point, held)
    smallest, largest = _extreme_curvature(point, moves)
    flat = _FLAT_DIFFERENCED if residual_names else _FLAT
    if not minimum.converged and residual_names and every_step_rises(point):
        message = "at a kink of the criterion, which rises with every step"
    elif not minimum.converged:
        status = "stalled"
        worst = int(np.argmax(np.abs(gradient)))
        message = _still_falling(minimum, _owner(likelihood, worst, names, residual_names))
    elif not limits and smallest <= flat * largest and np.isfinite(largest):
        status = "stalled"
        also = " and the parameters of the residuals" if residual_names else ""
        message = (
            "the criterion is flat in some direction: these data do not determine the variances"
            f"{also}"
        )
    else:
        message = _at_rest(status, limits)
    if status != "stalled" and not identified:
        message += "; terms share a variance of which only the sum is determined"
    optimum = Optimum(
        point.fun,
        point.states,
        gradient,
        minimum.decrement,
        smallest,
        minimum.nfev,
        status,
        message,
        singular,
        identified,
        point.delta,
        limits,
    )
    return optimum, point


def _limits(
    converged: bool, point: Evaluation, held: BoolArray, residual_names: Sequence[str]
) -> tuple[str, ...]:
    """Residual parameters at a limit, or on a ridge towards one."""
    gone = held[point.n_covariance :] | at_limit(point)
    limits = tuple(name for name, own in zip(residual_names, gone, strict=True) if own)
    return _ridge(point, residual_names) if converged and not limits else limits


def _still_falling(minimum: Minimum[Evaluation], steepest: str) -> str:
    return (
        f"stopped after {minimum.nfev} evaluations with the criterion still falling (a Newton step "
        f"promises {minimum.decrement / 2:.3g}), most steeply in {steepest}"
    )


def _at_rest(status: Status, limits: Sequence[str]) -> str:
    if limits:
        which = " and ".join(limits)
        return f"{which} of the residuals at the limit; the criterion rises inside"
    if status == "boundary":
        return "a variance is zero or a correlation is at its limit; the criterion rises inside"
    return "gradient zero, Hessian positive definite"


def _owner(
    likelihood: Likelihood, parameter: int, names: list[str], residual_names: Sequence[str]
) -> str:
    if parameter >= likelihood.n_params:
        return f"{residual_names[parameter - likelihood.n_params]} of the residuals"
    return next(
        n for n, s in zip(names, likelihood.slices, strict=True) if s.start <= parameter < s.stop
    )


def _ridge(point: Evaluation, names: Sequence[str]) -> tuple[str, ...]:
    """Residual parameters that can run off together without raising the criterion.

    A nugget that vanishes while a range grows without end does so: their gradient is as good as
    zero, but so is the curvature along a combination of the two, and a long step along it leads
    no higher.
    """
    r = point.n_covariance
    H = point.hessian[r:, r:]
    scale = 1.0 / np.sqrt(np.maximum(H.diagonal(), 1e-300))
    if len(H) < 2 or not np.isfinite(H).all():
        return ()
    values, vectors = symmetric_eigen(H * np.outer(scale, scale))
    if values[0] > _SHALLOW * values[-1]:
        return ()
    direction = scale * vectors[:, 0]
    step = np.zeros(len(point.gradient))
    step[r:] = direction / np.abs(direction).max()
    for far in (step, -step):
        try:
            moved = point.move(far)
        except ModelError:
            continue
        if moved.fun - point.fun < _NO_RISE:
            return tuple(n for n, d in zip(names, np.abs(far[r:]), strict=True) if d > 0.1)
    return ()


def _extreme_curvature(point: Evaluation, moves: Array | None) -> tuple[float, float]:
    """Smallest and largest eigenvalue of the Hessian along some directions."""
    H = point.hessian if moves is None else moves.T @ point.hessian @ moves
    if len(H) == 0:
        return np.inf, np.inf
    if len(point.delta):  # whose units are their own
        diagonal = np.abs(H.diagonal())
        scale = 1.0 / np.sqrt(np.maximum(diagonal, max(1e-12 * float(diagonal.max()), 1e-300)))
        H = H * np.outer(scale, scale)
    eigenvalues, _ = symmetric_eigen(H)
    return float(eigenvalues[0]), float(eigenvalues[-1])
