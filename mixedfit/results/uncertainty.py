"""Intervals of the parameters of a result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import pandas as pd

from mixedfit.bootstrap import Bootstrap, BootstrapInterval, BootstrapKind, bootstrap
from mixedfit.ddf import Ddf
from mixedfit.intervals import IntervalMethod, confidence_intervals
from mixedfit.profile import Profile, profile
from mixedfit.results.fitted import FittedModel

__all__ = ["Uncertainty"]


class Uncertainty(FittedModel):
    """Intervals, profiles and bootstraps."""

    def conf_int(
        self,
        level: float = 0.95,
        method: IntervalMethod = "wald",
        parameters: str | Sequence[str] | None = None,
        *,
        ddf: Ddf | None = None,
        n: int = 1000,
        seed: int | np.random.Generator | None = None,
        interval: BootstrapInterval = "percentile",
    ) -> pd.DataFrame:
        """Confidence intervals of the fixed effects and of the variance parameters.

        Parameters
        ----------
        level : float
            Confidence, between 0 and 1.
        method : {"wald", "profile", "boot"}
            From standard errors; from the profile likelihood (of maximum likelihood also for a
            REML fit, as in lme4); from a parametric bootstrap.
        parameters : str or list of str, optional
            Which rows to compute; by default all.
        ddf : {"satterthwaite", "kenward-roger", "containment", "residual", "normal"}, optional
            Of the t quantiles of Wald intervals of fixed effects.
        n, seed : int, optional
            Number of bootstrap samples, and their seed.
        interval : {"percentile", "basic", "bca", "normal"}
            Kind of bootstrap interval.

        Returns
        -------
        DataFrame
            One row a parameter: lower, upper. Rows are the fixed effects, standard deviations
            ``sd[Subject, Days]``, correlations ``cor[Subject, Intercept, Days]``, parameters of a
            residual structure, ``residual[Phi]``, and ``sigma``.
            The lower end of a standard deviation is zero where the data do not exclude zero; a
            Wald interval of a parameter at its limit is missing.

        Examples
        --------
        >>> import mixedfit as mf
        >>> fit = mf.lmer("Reaction ~ Days + (Days | Subject)", mf.datasets.load("sleepstudy"))
        >>> fit.conf_int(method="profile").round(2)
                                        lower   upper
        Intercept                      237.68  265.13
        Days                             7.36   13.58
        sd[Subject, Intercept]          14.38   37.72
        sd[Subject, Days]                3.80    8.75
        cor[Subject, Intercept, Days]   -0.48    0.69
        sigma                           22.90   28.86
        """
        return confidence_intervals(
            self.fit, level, method, parameters, ddf=ddf, n=n, seed=seed, interval=interval
        )

    def profile(
        self, level: float = 0.99, parameters: str | Sequence[str] | None = None
    ) -> Profile:
        """Profile likelihood of the parameters.

        Parameters
        ----------
        level : float
            The highest level of intervals the curves reach.
        parameters : str or list of str, optional
            By default all.

        Returns
        -------
        Profile
            ``.to_frame()`` has the columns parameter, value, zeta; ``.conf_int(level)`` intervals.
        """
        return profile(self.fit, level, parameters)

    def bootstrap(
        self,
        n: int = 1000,
        seed: int | np.random.Generator | None = None,
        kind: BootstrapKind = "parametric",
        *,
        group: str | None = None,
        statistic: Callable[[Self], Any] | None = None,
        progress: bool | None = None,
    ) -> Bootstrap:
        """Estimate anew from samples drawn from the fitted model or from its data.

        Parameters
        ----------
        n : int
            Number of samples.
        seed : int or numpy Generator, optional
        kind : {"parametric", "residual", "case"}
            Draw responses from the fitted model; or predicted effects and residuals with
            replacement, reflated to the estimated variances (residuals with a structure whitened
            before); or whole levels of a grouping factor.
        group : str, optional
            The grouping factor whose levels a case bootstrap draws; by default the outermost, and
            without grouping factors the groups of the residual correlation.
        statistic : callable, optional
            What to compute from the fit of each sample: takes a `MixedResults`, returns a number,
            an array, a Series or a dict. By default all parameters, which is much faster.
        progress : bool, optional
            Whether runs of more than two seconds tell on standard error how far they are; by
            default when that is a terminal.

        Returns
        -------
        Bootstrap

        Examples
        --------
        >>> import mixedfit as mf
        >>> fit = mf.lmer("Reaction ~ Days + (Days | Subject)", mf.datasets.load("sleepstudy"))
        >>> boot = fit.bootstrap(200, seed=1)
        >>> boot.replicates.shape
        (200, 6)
        """
        own = None if statistic is None else lambda fit: statistic(type(self)(fit))
        return bootstrap(self.fit, n, seed, kind, group=group, statistic=own, progress=progress)
