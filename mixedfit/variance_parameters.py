"""The variance parameters a user reads: standard deviations, correlations, those of the residuals.

They are functions of the coordinates in which the likelihood is searched and of ``log(sigma^2)``.
Which of a term's standard deviations and correlations are parameters of their own follows from its
structure's derivatives: one whose gradient lies in the span of those before it is not listed.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from mixedfit.arrays import Array
from mixedfit.covariance import Structure
from mixedfit.fit import Fit
from mixedfit.residual_likelihood import ResidualEvaluation
from mixedfit.residual_scale import residual_slopes, residual_values
from mixedfit.vcov import component_covariance

__all__ = [
    "VarianceParameter",
    "covariance_gradient",
    "has_plain_residuals",
    "parameter_covariance",
    "parameter_gradients",
    "parameter_values",
    "parameters_of_matrices",
    "variance_parameters",
]

Kind = Literal["sd", "cor", "residual", "sigma"]


@dataclass(frozen=True)
class VarianceParameter:
    """One standard deviation, correlation, or parameter of a residual structure.

    Attributes
    ----------
    label : str
        ``sd[Subject, Days]``, ``cor[Subject, Intercept, Days]``, ``residual[Phi]`` or ``sigma``.
    kind : {"sd", "cor", "residual", "sigma"}
    term : int
        Which random term; -1 for the residual.
    columns : tuple of int
        One of the term's columns, or the two whose effects are correlated; which of the residual
        structure's free parameters.
    """

    label: str
    kind: Kind
    term: int = -1
    columns: tuple[int, ...] = ()


def has_plain_residuals(fit: Fit) -> bool:
    """Whether residuals are independent and vary only by given weights.

    Every parameter of the search is then one of the random effects' covariances.
    """
    structured = fit.design.residual is not None
    return not structured and len(fit.optimum.gradient) == fit.likelihood.n_params


def variance_parameters(fit: Fit) -> tuple[VarianceParameter, ...]:
    """The parameters of a fit.

    Term by term standard deviations, then correlations; then a residual structure's; last sigma.
    """
    out = []
    for t, term in enumerate(fit.design.terms):
        group = fit.design.factors[term.factor].name
        chosen, shared = _independent(term.structure)
        for columns in sorted(chosen, key=len):
            kind: Kind = "sd" if len(columns) == 1 else "cor"
            names = ", ".join(term.names[a] for a in columns)
            if len(columns) in shared:
                names = f"{term.names[0]}..{term.names[-1]}"
            out.append(VarianceParameter(f"{kind}[{group}, {names}]", kind, t, columns))
    residual = fit.design.residual
    free = [] if residual is None else residual.free_parameters(residual.start)[0]
    for i, name in enumerate(free):
        out.append(VarianceParameter(f"residual[{name}]", "residual", -1, (i,)))
    return (*out, VarianceParameter("sigma", "sigma"))


def _independent(structure: Structure) -> tuple[list[tuple[int, ...]], set[int]]:
    """Standard deviations (a,) and correlations (a, b) that are parameters of their own.

    Returns
    -------
    kept : list of tuple
    shared : set of int
        1 where a standard deviation, 2 where a correlation serves other columns too; it is then
        named by the first and the last column.
    """
    k = structure.size
    index = np.arange(k)
    # No two variances or correlations of this matrix are the same.
    G = np.diag(1.0 + 0.1 * index) + 0.3 / (1.0 + np.abs(np.subtract.outer(index, index)))
    state = structure.start(G)
    tangents, root = structure.tangents(state), structure.factor(state)
    candidates: list[tuple[int, ...]] = [(a,) for a in range(k)]
    if not structure.uncorrelated:
        candidates.extend(combinations(range(k), 2))
    kept: list[tuple[int, ...]] = []
    shared = set()
    basis = np.zeros((0, structure.n_params))
    for columns in candidates:
        gradient = np.einsum("rab,ab->r", tangents, covariance_gradient(root @ root.T, columns))
        length = np.linalg.norm(gradient)
        rest = gradient - basis.T @ (basis @ gradient)
        rest -= basis.T @ (basis @ rest)
        if np.linalg.norm(rest) > 1e-8 * max(float(length), 1e-8):
            kept.append(columns)
            basis = np.vstack([basis, rest / np.linalg.norm(rest)])
        elif length > 1e-8:
            shared.add(len(columns))
    return kept, shared


def covariance_gradient(G: Array, columns: tuple[int, ...]) -> Array:
    """Derivative of a standard deviation or correlation in G, symmetric, shape (k, k)."""
    out = np.zeros_like(G)
    if len(columns) == 1:
        a = columns[0]
        out[a, a] = 0.5 / np.sqrt(G[a, a])
        return out
    a, b = columns
    rho = G[a, b] / np.sqrt(G[a, a] * G[b, b])
    out[a, b] = out[b, a] = 0.5 / np.sqrt(G[a, a] * G[b, b])
    out[a, a], out[b, b] = -0.5 * rho / G[a, a], -0.5 * rho / G[b, b]
    return out


def parameters_of_matrices(
    parameters: tuple[VarianceParameter, ...],
    matrices: list[Array],
    sigma: Array,
    residual: Array | None = None,
) -> Array:
    """Values from covariance matrices of many fits.

    Parameters
    ----------
    parameters : tuple of VarianceParameter
    matrices : list of arrays of shape (..., k, k)
        One a random term, in squared units of the response.
    sigma : array of shape (...)
    residual : array of shape (..., s), optional
        Parameters of the residual structure.

    Returns
    -------
    array of shape (..., number of parameters)
        Correlations are nan where a variance is zero.
    """
    out = []
    for parameter in parameters:
        if parameter.kind == "sigma":
            out.append(np.asarray(sigma, dtype=float))
            continue
        if parameter.kind == "residual":
            assert residual is not None
            out.append(residual[..., parameter.columns[0]])
            continue
        C, a, b = matrices[parameter.term], parameter.columns[0], parameter.columns[-1]
        if parameter.kind == "sd":
            out.append(np.sqrt(np.maximum(C[..., a, a], 0.0)))
            continue
        with np.errstate(divide="ignore", invalid="ignore"):
            rho = C[..., a, b] / np.sqrt(C[..., a, a] * C[..., b, b])
        out.append(np.clip(rho, -1.0, 1.0))
    return np.stack(out, axis=-1)


def parameter_values(fit: Fit, parameters: tuple[VarianceParameter, ...] | None = None) -> Array:
    """Estimates, in units of the response; correlations are nan where a variance is zero."""
    parameters = variance_parameters(fit) if parameters is None else parameters
    estimate = fit.estimate
    matrices = [estimate.sigma**2 * term.root @ term.root.T for term in estimate.terms]
    sigma = np.asarray(estimate.sigma)
    return parameters_of_matrices(parameters, matrices, sigma, residual_values(fit))


def parameter_gradients(fit: Fit, parameters: tuple[VarianceParameter, ...]) -> Array:
    """Derivatives in the coordinates at the optimum and ``log(sigma^2)``, (m, r + 1).

    Rows of standard deviations and correlations at their limits are nan.
    """
    point, estimate = fit.evaluation, fit.estimate
    like, r = point.likelihood, len(point.gradient)
    out = np.zeros((len(parameters), r + 1))
    own = np.zeros((0, 0))
    if isinstance(point, ResidualEvaluation):
        own = residual_slopes(fit, point.delta) * point.units
    for row, parameter in zip(out, parameters, strict=True):
        if parameter.kind == "sigma":
            row[r] = 0.5 * estimate.sigma
            continue
        if parameter.kind == "residual":
            row[like.n_params : r] = own[parameter.columns[0]]
            continue
        term, rows = estimate.terms[parameter.term], like.slices[parameter.term]
        tangents = like.structures[parameter.term][1].tangents(point.states[parameter.term])
        tangents = term.total @ tangents @ term.total.T
        with np.errstate(divide="ignore", invalid="ignore"):
            slopes = covariance_gradient(term.root @ term.root.T, parameter.columns)
            row[rows] = np.einsum("rab,ab->r", tangents, slopes)
        if parameter.kind == "sd":
            sd = estimate.sigma * float(np.linalg.norm(term.root[parameter.columns[0]]))
            row[rows] *= estimate.sigma
            row[r] = 0.5 * sd
    out[~np.isfinite(out).all(axis=1)] = np.nan
    return out


def parameter_covariance(fit: Fit, parameters: tuple[VarianceParameter, ...]) -> Array:
    """Asymptotic covariance of the estimates by the delta method, (m, m)."""
    gradients = parameter_gradients(fit, parameters)
    return gradients @ component_covariance(fit.evaluation) @ gradients.T
