"""Estimates with standard errors, one a unit, as the caller gave them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from mixedfit.arrays import Array
from mixedfit.eb.units import read_covariates, read_labels, read_units, refuse
from mixedfit.errors import ModelError

__all__ = ["Estimates", "enough_units", "read_estimates"]


@dataclass(frozen=True)
class Estimates:
    """One estimate a unit.

    Attributes
    ----------
    y : array of shape (J,)
    se : array of shape (J,)
        Positive standard errors.
    labels : pandas.Index of length J
    X : array of shape (J, p)
        Covariates of the prior mean, the intercept first; of full rank.
    names : tuple of str
        Of its columns.
    """

    y: Array
    se: Array
    labels: pd.Index
    X: Array
    names: tuple[str, ...]

    @property
    def v(self) -> Array:
        """Sampling variances."""
        return self.se**2


def read_estimates(
    estimate: ArrayLike, se: ArrayLike, X: Any = None, labels: Any = None
) -> Estimates:
    """Check estimates, standard errors, covariates and labels against each other.

    Raises
    ------
    DataError
        Naming what is missing, not finite, not positive, or of another length.
    """
    y = read_units("estimate", estimate)
    s = read_standard_errors(se, len(y))
    matrix, names = read_covariates(X, len(y))
    return Estimates(y, s, read_labels(labels, estimate, len(y)), matrix, tuple(names))


def read_standard_errors(se: ArrayLike, n: int, like: str = "estimate") -> Array:
    """Positive standard errors, shape (n,)."""
    s = read_units("se", se, n, like)
    refuse("se", s < 0.0, "is negative in", "give standard errors, which are positive")
    with np.errstate(under="ignore"):
        refuse(
            "se",
            s**2 == 0.0,
            "is zero in",
            "a unit measured without error needs no shrinking: leave it out, or correct it",
        )
    return s


def enough_units(data: Estimates) -> None:
    """Refuse data that leave nothing to learn the prior from."""
    J, p = data.X.shape
    if p >= J:
        what = "one unit" if J == 1 else f"{J} units and {p} coefficients of the prior mean"
        raise ModelError(
            f"{what}: nothing is left to learn the prior's variance from; give more units, or "
            "state the prior, prior=mf.eb.Normal(mean, variance)"
        )
