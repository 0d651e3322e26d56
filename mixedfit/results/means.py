"""Marginal means of a result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from numpy.typing import ArrayLike

from mixedfit.ddf import Ddf
from mixedfit.emmeans import MarginalMeans, marginal_means, marginal_trends
from mixedfit.joint_tests import joint_tests
from mixedfit.reference_grid import Weights
from mixedfit.results.fitted import FittedModel
from mixedfit.robust import chosen_inference

__all__ = ["Means"]


class Means(FittedModel):
    """Marginal means, trends and tests on a reference grid."""

    def emmeans(
        self,
        specs: str | Sequence[str],
        by: str | Sequence[str] | None = None,
        at: Mapping[str, Any] | None = None,
        ddf: Ddf | None = None,
        weights: Weights = "equal",
        cov: str | None = None,
        cluster: str | ArrayLike | None = None,
    ) -> MarginalMeans:
        """Estimated marginal means: the mean response at each level, the rest averaged or held.

        Parameters
        ----------
        specs : str or list of str
            A factor, several, or R's ``"~ a * b | c"`` and ``"pairwise ~ a"``; "1" for one mean.
        by : str or list of str, optional
            Further factors, within whose levels means are compared.
        at : dict, optional
            Values to use instead: some levels of a factor, or numbers.
        ddf : {"satterthwaite", "kenward-roger", "containment", "residual", "normal"}, optional
            Degrees of freedom, and with "kenward-roger" the adjusted covariance.
        weights : {"equal", "proportional", "outer", "cells", "flat"}
            How combinations of other factors are averaged: all alike, by how often they occur
            jointly, by the product of how often each level occurs, by how often they occur at the
            level in question, or alike where they occur at all.
        cov : {"model", "CR0", "CR1", "CR2"}, optional
            Standard errors robust to any dependence within clusters, with degrees of freedom of
            their own; see `cov_params`.
        cluster : str or array-like, optional
            The clusters of a robust ``cov``.

        Returns
        -------
        MarginalMeans
            ``.to_frame()``, ``.pairs()``, ``.contrast()``, ``.notes``.

        Raises
        ------
        ModelError, DataError
            If a factor or level is unknown.

        Notes
        -----
        Factors keep their levels, numbers with two distinct values keep both, other numbers are
        set to their mean; transformations in the formula are evaluated there, and an offset whose
        variables are not in ``at`` is averaged. A mean is ``l'b + offset`` with standard error
        ``sqrt(l'C l)``.

        Examples
        --------
        >>> import mixedfit as mf
        >>> fit = mf.lmer("score ~ Machine + (1 | Worker)", mf.datasets.load("machines"))
        >>> fit.emmeans("Machine").to_frame()[["Machine", "estimate", "se"]].round(2)
          Machine  estimate    se
        0       A     52.36  2.23
        1       B     60.32  2.23
        2       C     66.27  2.23
        """
        inferred = chosen_inference(self.fit, ddf, cov, cluster)
        return marginal_means(self.fit, inferred, specs, by, at, weights)

    def emtrends(
        self,
        specs: str | Sequence[str],
        var: str,
        by: str | Sequence[str] | None = None,
        at: Mapping[str, Any] | None = None,
        ddf: Ddf | None = None,
        weights: Weights = "equal",
        cov: str | None = None,
        cluster: str | ArrayLike | None = None,
    ) -> MarginalMeans:
        """Estimated slopes of the mean response in a covariate, by level.

        Parameters
        ----------
        specs, by, at, ddf, weights, cov, cluster
            As for `emmeans`.
        var : str
            A numeric variable of the fixed part, or a function of one such as ``"log(x)"``.

        Returns
        -------
        MarginalMeans
            Slopes per unit of ``var``, at its mean unless ``at`` says otherwise.

        Raises
        ------
        ModelError, DataError
            If a factor or level is unknown, or ``var`` is no number.

        Examples
        --------
        >>> import mixedfit as mf
        >>> fit = mf.lmer("distance ~ age * Sex + (1 | Subject)", mf.datasets.load("orthodont"))
        >>> fit.emtrends("Sex", "age").to_frame()[["Sex", "estimate", "se"]].round(4)
              Sex  estimate      se
        0    Male    0.7844  0.0775
        1  Female    0.4795  0.0935
        """
        inferred = chosen_inference(self.fit, ddf, cov, cluster)
        return marginal_trends(self.fit, inferred, specs, var, by, at, weights)

    def joint_tests(
        self,
        by: str | Sequence[str] | None = None,
        at: Mapping[str, Any] | None = None,
        ddf: Ddf | None = None,
        cov: str | None = None,
        cluster: str | ArrayLike | None = None,
    ) -> pd.DataFrame:
        """Test each main effect and interaction of the marginal means.

        Parameters
        ----------
        by : str or list of str, optional
            Test within each level of these.
        at : dict, optional
            Values to use instead, as for `emmeans`.
        ddf : str, optional
            As for `emmeans`.
        cov, cluster
            As for `emmeans`.

        Returns
        -------
        DataFrame
            The ``by`` columns, term, num_df, den_df, F, p.

        Notes
        -----
        An effect is the interaction contrasts of its variables' levels, averaged over the others
        with equal weights, whatever the factors' coding; covariates vary by one about their mean.
        """
        inferred = chosen_inference(self.fit, ddf, cov, cluster)
        return joint_tests(self.fit, inferred, by, at)
