"""Priors a user states in full: their parameters are not estimated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mixedfit.errors import DataError

__all__ = ["Beta", "Dirichlet", "Gamma", "Normal"]


def _check(name: str, value: float, *, positive: bool) -> None:
    if not np.isfinite(value) or (positive and value <= 0.0):
        kind = "a positive finite number" if positive else "a finite number"
        raise DataError(f"the prior's {name} must be {kind}, not {value!r}")


@dataclass(frozen=True)
class Normal:
    """A normal prior with known mean and variance.

    Attributes
    ----------
    mean : float
        In the units of the estimates.
    variance : float
        In squared units; 0 fixes every unit at the mean.

    Examples
    --------
    >>> import mixedfit as mf
    >>> posterior = mf.eb.normal_means(10.0, (4 / 5) ** 0.5, prior=mf.eb.Normal(8, 1)).posterior
    >>> round(float(posterior["mean"][0]), 4)
    9.1111
    """

    mean: float
    variance: float

    def __post_init__(self) -> None:
        _check("mean", self.mean, positive=False)
        if not (np.isfinite(self.variance) and self.variance >= 0.0):
            raise DataError(
                f"the prior's variance must be a finite number of at least 0, not {self.variance!r}"
            )


@dataclass(frozen=True)
class Beta:
    """A beta prior for proportions.

    Attributes
    ----------
    alpha, beta : float
        Positive; the prior counts as ``alpha`` successes and ``beta`` failures.
    """

    alpha: float
    beta: float

    def __post_init__(self) -> None:
        _check("alpha", self.alpha, positive=True)
        _check("beta", self.beta, positive=True)


@dataclass(frozen=True)
class Dirichlet:
    """A Dirichlet prior for shares of categories.

    Attributes
    ----------
    alpha : tuple of float
        Positive, one a category; the prior counts as ``alpha`` observations of each.
    """

    alpha: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.alpha) < 2:
            raise DataError("a Dirichlet prior needs an alpha for each of at least two categories")
        for value in self.alpha:
            _check("alpha", value, positive=True)


@dataclass(frozen=True)
class Gamma:
    """A gamma prior for rates.

    Attributes
    ----------
    shape : float
        Positive.
    rate : float
        Positive, in units of exposure; the prior counts as ``shape`` events in exposure ``rate``.
    """

    shape: float
    rate: float

    def __post_init__(self) -> None:
        _check("shape", self.shape, positive=True)
        _check("rate", self.rate, positive=True)
