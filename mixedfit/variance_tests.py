"""Tests of variances, whose null hypothesis lies on the boundary of what they may be.

Twice the log-likelihood ratio of a random term with and without some of its effects is not
chi-squared: its limit is the squared length of a normal vector's projection on the cone of
directions in which the larger model can leave the smaller one (Self & Liang 1987, J. Am. Stat.
Assoc. 82; Stram & Lee 1994, Biometrics 50), a mixture of chi-squared distributions.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from mixedfit.arrays import Array, BoolArray
from mixedfit.cone import cone_p_value
from mixedfit.errors import ModelError
from mixedfit.fit import Fit, fit_design
from mixedfit.kenward_roger import moments
from mixedfit.likelihood import Evaluation
from mixedfit.noted import noted
from mixedfit.reduction import Reduction, reductions, without
from mixedfit.tails import chi2_tail
from mixedfit.threads import one_thread

__all__ = [
    "beyond_rounding",
    "mixture_p_value",
    "one_more_effect",
    "random_effects_table",
    "without_effects",
]

# A likelihood ratio statistic that is rounding: both fits end where the other does.
_ROUNDING = 1e-6


def random_effects_table(fit: Fit) -> pd.DataFrame:
    """One row a reduction of the random part (`MixedResults.ranova`)."""
    if not fit.design.terms:
        raise ModelError("ranova tests random effects, and this model has none; see fit.anova()")
    rows = [("<none>", fit.n_params, fit.llf, np.nan, np.nan, np.nan, np.nan)]
    with one_thread():
        for reduction in reductions(fit.design):
            design = without(fit.design, reduction)
            null = fit_design(design, fit.method, verb=fit.verb)
            llf, n_params = null.llf, null.n_params
            statistic, df = beyond_rounding(2.0 * (fit.llf - llf)), fit.n_params - n_params
            plain = chi2_tail(statistic, df)
            mixture = mixture_p_value(fit, reduction, null, statistic)
            rows.append((reduction.label, n_params, llf, statistic, float(df), plain, mixture))
    columns = ["term", "n_params", "llf", "chi2", "df", "p", "p_mixture"]
    table = pd.DataFrame(rows, columns=columns)
    table.insert(3, "aic", 2.0 * table["n_params"] - 2.0 * table["llf"])
    return noted(
        table,
        "p is chi-squared and too large for a variance, which cannot be negative; p_mixture counts "
        "that, in the limit of many levels.",
    )


def beyond_rounding(statistic: float) -> float:
    """A likelihood ratio statistic, zero where it is no more than rounding."""
    return float(statistic) if statistic > _ROUNDING else 0.0


def without_effects(fit: Fit) -> Evaluation:
    """The likelihood of the same model with all variances zero."""
    likelihood = fit.likelihood
    zero = tuple(
        structure.rebase(state, np.zeros((structure.size, structure.size)))
        for (_, structure), state in zip(likelihood.structures, likelihood.unit, strict=True)
    )
    return likelihood.at(zero)


def mixture_p_value(fit: Fit, reduction: Reduction, null: Fit, statistic: float) -> float:
    """The p-value of the limiting mixture; nan where a covariance is not linear."""
    structure = fit.design.terms[reduction.term].structure
    m, k0 = reduction.gone.shape[1], reduction.kept.shape[1]
    if structure.linear_basis() is None:
        return np.nan
    if structure.uncorrelated:
        variances = min(m, structure.n_params)
        if variances == 1:
            return one_more_effect(statistic, 0)
        return cone_p_value(statistic, _information(fit, reduction, null)[0], 0, None)
    if structure.equivariance != "linear":
        return np.nan
    if m == 1:
        return one_more_effect(statistic, k0)
    information, covariances = _information(fit, reduction, null)
    return cone_p_value(statistic, information, covariances, m)


def one_more_effect(statistic: float, covariances: int) -> float:
    """Half a chi-squared with a degree of freedom a covariance, half one with one more.

    Exact in the limit for one more effect beside others it may be correlated with (Stram & Lee
    1994); without covariances the first half sits at zero.
    """
    fewer = chi2_tail(statistic, covariances) if covariances else float(statistic <= 0.0)
    return 0.5 * float(fewer + chi2_tail(statistic, covariances + 1))


def _information(fit: Fit, reduction: Reduction, null: Fit) -> tuple[Array, int]:
    """Information about the variances that are tested, at the null hypothesis.

    Returns
    -------
    information : array of shape (d, d)
        Of the variances and covariances of the effects that go, the lower triangle column by
        column (or the variances alone where effects are uncorrelated); of what is free under the
        null hypothesis nothing is taken as known.
    covariances : int
        How many covariances with the effects that stay are tested too.
    """
    point = _at_null(fit, reduction, null)
    tangents, tested, covariances = _directions(fit, point, reduction)
    parts = moments(point, tangents)
    information = 0.5 * parts.T
    if fit.method == "REML":
        phi = point.remainder.P
        phi_P = phi @ parts.P
        information -= np.einsum("ab,rsba->rs", phi, parts.Q)
        information += 0.5 * np.einsum("rab,sba->rs", phi_P, phi_P)
    own = information[np.ix_(tested, tested)]
    cross = information[np.ix_(tested, ~tested)]
    rest = np.linalg.pinv(information[np.ix_(~tested, ~tested)], hermitian=True)
    return own - cross @ rest @ cross.T, covariances


def _at_null(fit: Fit, reduction: Reduction, null: Fit) -> Evaluation:
    """The larger model's likelihood where the smaller one has its optimum."""
    likelihood = fit.likelihood
    estimated = [term.root @ term.root.T for term in null.estimate.terms]
    if reduction.structure is None:
        k = reduction.kept.shape[0]
        estimated.insert(reduction.term, np.zeros((k, k)))
    else:
        own = estimated[reduction.term]
        estimated[reduction.term] = reduction.kept @ own @ reduction.kept.T
    states = []
    for (_, structure), G, basis in zip(
        likelihood.structures, estimated, likelihood.products.basis.random, strict=True
    ):
        states.append(structure.start(basis.inverse @ G @ basis.inverse.T))
    return likelihood.at(tuple(states))


def _directions(
    fit: Fit, point: Evaluation, reduction: Reduction
) -> tuple[list[Array], BoolArray, int]:
    """Directions of every factor's G, which of them are tested (V first), and how many are free.

    Covariances of effects that go with effects that stay are among those that are not tested: they
    have no constraint, and what is left of the test is that of the variances.
    """
    likelihood = point.likelihood
    parts, tested = [], []
    for t, ((_, structure), state) in enumerate(
        zip(likelihood.structures, point.states, strict=True)
    ):
        basis = structure.linear_basis()
        own = structure.tangents(state) if basis is None else basis
        if t == reduction.term:
            inverse = likelihood.products.basis.random[t].inverse
            U = inverse @ np.hstack([reduction.kept, reduction.gone])
            own, flags = _split(U, reduction.kept.shape[1], structure.uncorrelated)
        else:
            flags = np.zeros(len(own), dtype=bool)
        parts.append(own)
        tested.append(flags)
    order = [t for terms in likelihood.terms_of for t, _ in terms]
    flags = np.concatenate([[False], *(tested[t] for t in order)])
    covariances = reduction.kept.shape[1] * reduction.gone.shape[1]
    uncorrelated = fit.design.terms[reduction.term].structure.uncorrelated
    return likelihood.by_factor(parts), flags, 0 if uncorrelated else covariances


def _split(U: Array, kept: int, uncorrelated: bool) -> tuple[Array, BoolArray]:
    """Directions of ``U H U'`` for each entry of a symmetric H, and which are among those gone."""
    k = U.shape[1]
    columns, rows = np.triu_indices(k)
    if uncorrelated:
        columns = rows = np.arange(k)
    directions = np.einsum("ar,br->rab", U[:, rows], U[:, columns])
    directions = directions + directions.transpose(0, 2, 1)
    directions[rows == columns] *= 0.5
    return directions, (rows >= kept) & (columns >= kept)
