"""What every part of a result stands on: the fit itself, and the facts about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mixedfit import report
from mixedfit.certificate import Optimum
from mixedfit.fit import Fit

__all__ = ["FittedModel"]


@dataclass(frozen=True, repr=False)
class FittedModel:
    """A fitted model and the facts about the fit.

    Attributes
    ----------
    fit : Fit
        The model in arrays.
    """

    fit: Fit

    @property
    def llf(self) -> float:
        """Log-likelihood; the restricted one when the method is REML."""
        return self.fit.llf

    @property
    def deviance(self) -> float:
        """-2 log-likelihood (the REML criterion when the method is REML)."""
        return self.fit.optimum.fun

    @property
    def n_params(self) -> int:
        """Number of fixed effects, covariance parameters and the residual variance."""
        return self.fit.n_params

    @property
    def aic(self) -> float:
        """Akaike's information criterion."""
        return report.akaike(self.fit)

    @property
    def bic(self) -> float:
        """The Bayesian information criterion."""
        return report.bayes(self.fit)

    @property
    def nobs(self) -> int:
        """Number of rows used."""
        return self.fit.n

    @property
    def n_missing(self) -> int:
        """Number of rows left out because a value was missing."""
        return self.fit.design.n_missing

    @property
    def dropped_columns(self) -> list[str]:
        """Fixed columns left out because they repeat others."""
        return self.fit.design.dropped

    @property
    def ngroups(self) -> dict[str, int]:
        """Number of levels of each grouping factor."""
        return {factor.name: factor.n_levels for factor in self.fit.design.factors}

    @property
    def method(self) -> str:
        """What was maximised: "REML" or "ML"."""
        return self.fit.method

    @property
    def formula(self) -> str:
        """The formula as it was written."""
        return self.fit.design.formula.text

    @property
    def optimum(self) -> Optimum:
        """Where the search ended: fun, gradient, decrement, smallest_eigenvalue, nfev, message."""
        return self.fit.optimum

    @property
    def status(self) -> Literal["optimal", "boundary", "stalled"]:
        """The verdict; "boundary" is a variance or correlation at its limit."""
        return self.fit.optimum.status

    @property
    def converged(self) -> bool:
        """Whether the verdict is not "stalled"."""
        return self.status != "stalled"

    @property
    def is_singular(self) -> bool:
        """Whether some combination of random effects has no variance."""
        return bool(self.fit.optimum.singular)
