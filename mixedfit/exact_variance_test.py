"""The exact test of the only variance component of a model, by its spectral representation.

Without the component, twice the log restricted likelihood ratio has the distribution of

    sup_l  (n - p) log(1 + N(l) / D(l)) - sum_s log(1 + l mu_s),
    N(l) = sum_s l mu_s / (1 + l mu_s) w_s^2,   D(l) = sum_s w_s^2 / (1 + l mu_s) + w_0^2,

with independent standard normal w_s, ``w_0^2`` chi-squared with the degrees of freedom that are
left, and mu_s the eigenvalues of ``Z'(I - H)Z`` for the projection H on X; for the likelihood ratio
n stands for n - p in front and the eigenvalues of ``Z'Z`` in the last sum (Crainiceanu & Ruppert
2004, J. R. Stat. Soc. B 66, theorems 1 and 2). It depends on the design alone, and draws from it
cost no fits.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mixedfit.arrays import Array
from mixedfit.errors import ModelError, check_count
from mixedfit.fit import Fit
from mixedfit.seeds import generator_of
from mixedfit.threads import one_thread
from mixedfit.variance_tests import beyond_rounding, one_more_effect, without_effects

__all__ = ["VarianceTest", "exact_variance_test", "null_draws"]

# Levels beyond which the eigenvalues take long and the limit is good.
_MOST_LEVELS = 4000
# Values of l times the mean eigenvalue among which the supremum is looked for.
_GRID = np.geomspace(1e-3, 1e6, 181)
_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class VarianceTest:
    """A test that the only random effects of a model have no variance.

    Attributes
    ----------
    statistic : float
        Twice the log (restricted) likelihood ratio.
    p : float
        The share of draws from its exact null distribution that are at least as large, itself
        counted among them.
    p_mixture : float
        By its limit for many levels: half the chi-squared p-value with one degree of freedom.
    draws : array of shape (n,)
        From the null distribution.
    method : {"REML", "ML"}
        Which likelihood.
    """

    statistic: float
    p: float
    p_mixture: float
    draws: Array = field(repr=False)
    method: str


def exact_variance_test(fit: Fit, n: int, seed: int | np.random.Generator | None) -> VarianceTest:
    """Test the only variance component (`MixedResults.variance_test`)."""
    _check(fit, n)
    with one_thread():
        statistic = beyond_rounding(without_effects(fit).fun - fit.optimum.fun)
        restricted, marginal = _eigenvalues(fit)
        draws = null_draws(
            restricted,
            None if fit.method == "REML" else marginal,
            fit.n,
            fit.p,
            n,
            generator_of(seed),
        )
    p = 1.0 if statistic == 0.0 else float((1 + (draws >= statistic).sum()) / (1 + n))
    return VarianceTest(statistic, p, one_more_effect(statistic, 0), draws, fit.method)


def _check(fit: Fit, n: int) -> None:
    terms = fit.design.terms
    if len(terms) != 1 or terms[0].structure.n_params != 1 or len(fit.optimum.gradient) != 1:
        labels = [term.effect.label for term in terms] or ["no random effects"]
        has = ", ".join([*labels, *fit.design.residual_spec.parts])
        raise ModelError(
            "the exact test is for models with one variance component, such as (1 | group), and "
            f"this one has {has}; ranova() tests each effect by the limiting mixture"
        )
    J = fit.design.factors[0].n_levels
    if J > _MOST_LEVELS:
        raise ModelError(
            f"the exact test is for at most {_MOST_LEVELS} levels, not {J}; with that many the "
            "limiting mixture of ranova() is as good"
        )
    check_count(n, 100)


def _eigenvalues(fit: Fit) -> tuple[Array, Array]:
    """Those of ``Z'(I - H)Z`` and of ``Z'Z``, for Z with an effect's columns side by side."""
    products = fit.likelihood.products
    sums, p = products.factors[0], products.p
    k, J = sums.k, sums.n_levels
    gram = np.zeros((k, J, k, J))
    levels = np.arange(J)
    gram[:, levels, :, levels] = sums.ZZ.transpose(2, 0, 1)
    whole = gram.reshape(k * J, k * J)
    A = sums.ZE[:p].reshape(p, k * J)
    marginal = np.linalg.eigvalsh(whole)
    restricted = np.linalg.eigvalsh(whole - A.T @ np.linalg.solve(products.EE[:p, :p], A))
    return np.asarray(restricted), np.asarray(marginal)


def null_draws(
    restricted: Array,
    marginal: Array | None,
    n: int,
    p: int,
    draws: int,
    rng: np.random.Generator,
) -> Array:
    """Draws from the null distribution.

    Parameters
    ----------
    restricted : array of shape (q,)
        Eigenvalues of ``Z'(I - H)Z``.
    marginal : array of shape (q,) or None
        Those of ``Z'Z`` for the likelihood ratio; None for the restricted one.
    n, p : int
        Rows and fixed effects.
    draws : int
    rng : numpy Generator

    Returns
    -------
    array of shape (draws,)
    """
    scale = restricted.mean()
    mu, count = _distinct(restricted / scale)
    determinant = mu if marginal is None else marginal / scale
    times = count if marginal is None else np.ones(len(determinant))
    shrunk = 1.0 / (1.0 + _GRID * mu[:, None])
    penalty = times @ np.log1p(_GRID * determinant[:, None])
    rows = n - p if marginal is None else n
    left = n - p - int(count.sum())
    out = []
    per_chunk = max(1, _AT_ONCE // max(len(mu), len(_GRID)))
    for start in range(0, draws, per_chunk):
        m = min(per_chunk, draws - start)
        w2 = rng.chisquare(count, (m, len(mu)))
        rest = rng.chisquare(left, m) if left else np.zeros(m)
        D = w2 @ shrunk + rest[:, None]
        total = w2.sum(axis=1) + rest  # N + D
        values = rows * np.log(total[:, None] / D) - penalty
        out.append(np.maximum(_peak(values), 0.0))
    return np.concatenate(out)


def _distinct(values: Array) -> tuple[Array, Array]:
    """Positive values and how often each occurs, equal ones (to rounding) once."""
    positive = np.sort(values[values > 1e-10 * values.max()])
    new = np.concatenate([[True], np.diff(positive) > 1e-9 * positive[1:]])
    starts = np.flatnonzero(new)
    count = np.diff(np.append(starts, len(positive)))
    return np.add.reduceat(positive, starts) / count, count.astype(float)


def _peak(values: Array) -> Array:
    """Largest value of each row, by the parabola through the largest and its neighbours."""
    best = np.clip(values.argmax(axis=1), 1, values.shape[1] - 2)
    row = np.arange(len(values))
    a, b, c = (values[row, best + step] for step in (-1, 0, 1))
    bend = np.minimum(a - 2.0 * b + c, -1e-300)
    peak = b - 0.125 * (a - c) ** 2 / bend
    inside = (b >= a) & (b >= c)
    return np.where(inside, peak, np.maximum(np.maximum(a, b), c))
