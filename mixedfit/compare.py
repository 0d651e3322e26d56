"""Comparing fits: the functions behind ``mf.anova`` and ``mf.bootstrap_test``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mixedfit.bootstrap_comparison import BootstrapTest, bootstrap_test_of
from mixedfit.errors import MixedfitError
from mixedfit.likelihood_ratio import likelihood_ratio_table
from mixedfit.noted import NotedFrame
from mixedfit.results import MixedResults

__all__ = ["anova", "bootstrap_test"]


def anova(*fits: MixedResults, refit: bool | None = None) -> NotedFrame:
    """Compare fits to the same rows by likelihood ratio tests.

    Parameters
    ----------
    *fits : MixedResults
        Two or more; each is tested against the next smaller one.
    refit : bool, optional
        Fit REML fits by maximum likelihood first. By default that is done where it is needed: where
        the fixed parts or the methods differ. What was refitted is said below the table.

    Returns
    -------
    DataFrame
        One row a fit, smallest first: model, n_params, llf, aic, bic, deviance, chi2, df, p. Where
        a fit is another one without some random effects, ``p_mixture`` counts that a variance
        cannot be negative. A note below says what to know.

    Raises
    ------
    DataError
        If the fits are to different rows, responses or weights.
    ModelError
        If restricted likelihoods cannot be compared and ``refit`` is False.

    Notes
    -----
    ``2 (log L_1 - log L_0)`` against the chi-squared distribution with as many degrees of freedom
    as there are parameters more; for variances the mixture of Stram & Lee (1994), Biometrics 50.

    Examples
    --------
    >>> import mixedfit as mf
    >>> data = mf.datasets.load("sleepstudy")
    >>> slopes = mf.lmer("Reaction ~ Days + (Days | Subject)", data)
    >>> intercepts = mf.lmer("Reaction ~ Days + (1 | Subject)", data)
    >>> mf.anova(slopes, intercepts)[["n_params", "chi2", "df"]].round(2)
       n_params   chi2   df
    0         4    NaN  NaN
    1         6  42.84  2.0
    """
    _check_fits("anova", fits)
    if len(fits) < 2:
        raise MixedfitError("anova compares two or more fits; for the terms of one: fit.anova()")
    names = _names(fits)
    if len(set(names)) < len(names):
        names = [f"{i + 1}: {name}" for i, name in enumerate(names)]
    return likelihood_ratio_table([fit.fit for fit in fits], names, refit)


def _check_fits(caller: str, fits: Sequence[MixedResults]) -> None:
    for fit in fits:
        if not isinstance(fit, MixedResults):
            raise MixedfitError(
                f"{caller} compares fits such as lmer() returns, not {type(fit).__name__}"
            )


def _names(fits: Sequence[MixedResults]) -> list[str]:
    """The formulas, with the residual structures where they differ."""
    parts = [fit.fit.design.residual_spec.parts for fit in fits]
    if all(own == parts[0] for own in parts):
        return [fit.formula for fit in fits]
    return [", ".join([fit.formula, *own]) for fit, own in zip(fits, parts, strict=True)]


def bootstrap_test(
    smaller: MixedResults,
    larger: MixedResults,
    n: int = 1000,
    seed: int | np.random.Generator | None = None,
    *,
    progress: bool | None = None,
) -> BootstrapTest:
    """Compare two nested fits by a likelihood ratio whose distribution is simulated.

    Needs no chi-squared distribution: it holds for variances on the boundary and for few levels.

    Parameters
    ----------
    smaller, larger : MixedResults
        Fits of the same rows, the first a special case of the second. They are compared by their
        own likelihood where they share it and the fixed part, and refitted by maximum likelihood
        otherwise.
    n : int
        Number of responses drawn from the smaller model.
    seed : int or numpy Generator, optional
    progress : bool, optional
        As in `MixedResults.bootstrap`.

    Returns
    -------
    BootstrapTest

    Raises
    ------
    ModelError
        If the fits are not of the same rows or not nested.

    Examples
    --------
    >>> import mixedfit as mf
    >>> data = mf.datasets.load("sleepstudy")
    >>> smaller = mf.lmer("Reaction ~ Days + (1 | Subject)", data)
    >>> larger = mf.lmer("Reaction ~ Days + (Days | Subject)", data)
    >>> mf.bootstrap_test(smaller, larger, n=99, seed=1).p
    0.01
    """
    _check_fits("bootstrap_test", (smaller, larger))
    return bootstrap_test_of(smaller.fit, larger.fit, n, seed, progress)
