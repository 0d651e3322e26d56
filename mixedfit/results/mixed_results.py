"""The one class that every fitting verb returns."""

from __future__ import annotations

import pandas as pd

from mixedfit import report
from mixedfit.ddf import Ddf
from mixedfit.results.checks import Checks
from mixedfit.results.fixed_effects import FixedEffects
from mixedfit.results.means import Means
from mixedfit.results.random_effects import RandomEffects
from mixedfit.results.rows import Rows
from mixedfit.results.uncertainty import Uncertainty
from mixedfit.summary import Summary

__all__ = ["MixedResults"]


class MixedResults(FixedEffects, Means, RandomEffects, Uncertainty, Rows, Checks):
    """A fitted mixed model.

    Labels follow the data; nothing here can be changed. Names follow statsmodels where it has one,
    lme4 where it has none.

    Attributes
    ----------
    fit : Fit
        The model in arrays.
    """

    def summary(self, ddf: Ddf | None = None) -> Summary:
        """The whole fit for reading: text when printed, HTML in notebooks, ``.as_latex()``.

        Parameters
        ----------
        ddf : {"satterthwaite", "kenward-roger", "containment", "residual", "normal"}, optional
            Denominator degrees of freedom, as in `coef_table`.
        """
        return report.summarise(self.fit, ddf)

    def tidy(self, ddf: Ddf | None = None, level: float = 0.95) -> pd.DataFrame:
        """One row a parameter, in broom's columns.

        Parameters
        ----------
        ddf : {"satterthwaite", "kenward-roger", "containment", "residual", "normal"}, optional
            Denominator degrees of freedom, as in `coef_table`.
        level : float
            Of the intervals.

        Returns
        -------
        DataFrame
            effect, group, term, estimate, std_error, statistic, df, p_value, conf_low, conf_high;
            for standard deviations and correlations only the estimate.
        """
        return report.tidy(self.fit, ddf, level)

    def glance(self) -> pd.DataFrame:
        """One row about the whole model."""
        return report.glance(self.fit)

    def augment(self) -> pd.DataFrame:
        """One row an observation used: response, levels, fitted, fixed, resid."""
        return report.augment(self.fit)

    def __repr__(self) -> str:
        groups = "".join(f", {name} {count}" for name, count in self.ngroups.items())
        residuals = "".join(f", {part}" for part in self.fit.design.residual_spec.parts)
        return (
            f"<MixedResults {self.formula!r} {self.method}, n={self.nobs}{groups}{residuals}, "
            f"llf={self.llf:.4f}, {self.status}>"
        )
