"""How much the hyperparameters' own uncertainty widens the units' posteriors.

Plug-in empirical Bayes takes the estimated prior as known. Here it is allowed for: to second order
at the mode (`laplace`), by refitting simulated data (`Bootstrap`), or by integrating over the
hyperparameters under a stated prior (`Integrate`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar

import numpy as np

from mixedfit.arrays import Array
from mixedfit.errors import DataError, ModelError, check_count

__all__ = [
    "HYPERPRIORS",
    "Bootstrap",
    "Hyperprior",
    "Integrate",
    "Nodes",
    "Uncertainty",
    "laplace_moments",
    "log_hyperprior",
    "nodes_on_line",
    "nodes_on_plane",
    "read_uncertainty",
    "refits",
    "size_of_tau",
]

Refit = TypeVar("Refit")
Hyperprior = Literal["flat", "half-normal", "half-cauchy", "reference"]
HYPERPRIORS: tuple[Hyperprior, ...] = ("flat", "half-cauchy", "half-normal", "reference")
# The density is followed down to exp(-18) of its height: what lies beyond is below 1e-7.
_DEPTH = 18.0
# In two dimensions points cost more; exp(-11) leaves some 1e-4.
_DEPTH_ON_PLANE = 11.0


@dataclass(frozen=True)
class Bootstrap:
    """Laird and Louis' type III parametric bootstrap.

    Attributes
    ----------
    n : int
        Data sets simulated from the fitted model and refitted.
    seed : int
    """

    n: int = 400
    seed: int = 0

    def __post_init__(self) -> None:
        check_count(self.n, 2)


@dataclass(frozen=True)
class Integrate:
    """Numerical integration over the prior's scale under a stated prior on it.

    Attributes
    ----------
    prior : {"flat", "half-normal", "half-cauchy", "reference"}
        On tau: constant; normal or Cauchy restricted to tau > 0 with scale `scale`; or the
        reference prior of tau^2, the square root of its Fisher information.
    scale : float, optional
        Of the half-normal or half-Cauchy, in the units of the estimates. By default the standard
        deviation of the raw estimates about their mean, which is weak: tau is below it; where they
        all but agree, the median standard error.
    points : int
        Nodes of the quadrature; fewer are used where fewer do.
    """

    prior: Hyperprior = "flat"
    scale: float | None = None
    points: int = 161

    def __post_init__(self) -> None:
        if self.prior not in HYPERPRIORS:
            allowed = ", ".join(map(repr, HYPERPRIORS))
            raise DataError(f"the prior on tau must be one of {allowed}, not {self.prior!r}")
        if self.scale is not None and not (np.isfinite(self.scale) and self.scale > 0.0):
            raise DataError(f"the scale of the prior on tau must be positive, not {self.scale!r}")
        check_count(self.points, 11, "points")


Uncertainty: TypeAlias = (
    Literal["plugin", "laplace", "bootstrap", "integrate"] | Bootstrap | Integrate
)


def read_uncertainty(
    uncertainty: Uncertainty,
) -> Literal["plugin", "laplace"] | Bootstrap | Integrate:
    """What the caller asked for, with the options filled in.

    Raises
    ------
    DataError
        If it is none of the known ways.
    """
    if isinstance(uncertainty, (Bootstrap, Integrate)):
        return uncertainty
    if uncertainty == "bootstrap":
        return Bootstrap()
    if uncertainty == "integrate":
        return Integrate()
    if uncertainty == "plugin" or uncertainty == "laplace":  # noqa: PLR1714  the type narrows
        return uncertainty
    raise DataError(
        "uncertainty must be 'plugin', 'laplace', 'bootstrap' or 'integrate', or mf.eb.Bootstrap("
        f"...) or mf.eb.Integrate(...), not {uncertainty!r}"
    )


@dataclass(frozen=True)
class Nodes:
    """A distribution on a few points.

    Attributes
    ----------
    at : array of shape (K,) or (K, d)
    weights : array of shape (K,)
        Adding up to 1.
    """

    at: Array
    weights: Array

    def quantile(self, probabilities: Array) -> Array:
        """Quantiles of the (first) coordinate, interpolated between points."""
        values = self.at if self.at.ndim == 1 else self.at[:, 0]
        order = np.argsort(values)
        cumulative = np.cumsum(self.weights[order]) - 0.5 * self.weights[order]
        return np.interp(probabilities, cumulative, values[order])

    def limits(self, level: float) -> Array:
        """The median and the ends of an equal-tailed interval, shape (3,)."""
        tail = 0.5 * (1.0 - level)
        return self.quantile(np.array([0.5, tail, 1.0 - tail]))


def refits(
    refit: Callable[[np.random.Generator], Refit], options: Bootstrap, remedy: str
) -> list[Refit]:
    """Refits of simulated data sets; those without a maximum are drawn again.

    Parameters
    ----------
    refit : function of a Generator
        Simulates a data set and fits it, or raises.
    options : Bootstrap
    remedy : str
        What to do where most data sets have no maximum.

    Raises
    ------
    ModelError
        If more data sets fail than were asked for.
    """
    rng = np.random.default_rng(options.seed)
    fits: list[Refit] = []
    failed = 0
    while len(fits) < options.n:
        try:
            fits.append(refit(rng))
        except (ModelError, np.linalg.LinAlgError):
            failed += 1
            if failed > options.n:
                raise ModelError(
                    f"most data sets simulated from the fitted prior have no maximum; {remedy}"
                ) from None
    return fits


def size_of_tau(spread: float, se: Array) -> float:
    """What to measure tau by: the estimates' spread, or a typical error where they all but agree.

    Parameters
    ----------
    spread : float
        Standard deviation of the raw estimates about their mean.
    se : array of shape (J,)
        Their standard errors.
    """
    typical = float(np.median(se))
    return spread if spread > 1e-3 * typical else typical


def log_hyperprior(prior: Hyperprior, tau: Array, scale: float, log_information: Array) -> Array:
    """Log density of a prior on tau, up to a constant; all arrays of shape (K,).

    ``log_information`` is the log Fisher information of tau^2, which the reference prior uses:
    ``p(tau) = 2 tau sqrt(information)``.
    """
    if prior == "flat":
        return np.zeros_like(tau)
    if prior == "half-normal":
        return -0.5 * (tau / scale) ** 2
    if prior == "half-cauchy":
        return -np.log1p((tau / scale) ** 2)
    return np.log(tau) + 0.5 * log_information


def nodes_on_line(
    log_density: Callable[[Array], Array], low: float, high: float, points: int
) -> Nodes:
    """Trapezoidal nodes for a density on a line.

    Parameters
    ----------
    log_density : function of an array (K,) giving (K,)
        Up to a constant.
    low, high : float
        Generous limits between which the density rises and falls.
    points : int

    Returns
    -------
    Nodes

    Raises
    ------
    ModelError
        If the density has not fallen off at an end: the posterior is improper.

    Notes
    -----
    For a smooth density that vanishes at both ends the trapezoidal rule converges faster than any
    power of the step (Trefethen & Weideman 2014, SIAM Rev. 56).
    """
    for _ in range(3):  # each pass looks closer at where the density is
        x = np.linspace(low, high, points)
        height = log_density(x)
        height = height - np.max(height)
        inside = np.flatnonzero(height > -_DEPTH)
        first, last = max(inside[0] - 1, 0), min(inside[-1] + 1, points - 1)
        low, high = float(x[first]), float(x[last])
    x = np.linspace(low, high, points)
    height = log_density(x)
    height = height - np.max(height)
    if max(height[0], height[-1]) > -6.0:
        raise ModelError(
            "the posterior of the hyperparameter is improper or nearly so: too few units for this "
            "prior on it; use a half-normal or half-Cauchy prior, mf.eb.Integrate('half-normal')"
        )
    weights = np.exp(height)
    return Nodes(x, weights / weights.sum())


def nodes_on_plane(
    log_density: Callable[[Array], Array], mode: Array, covariance: Array, points: int = 41
) -> Nodes:
    """Trapezoidal nodes for a density of two hyperparameters.

    Parameters
    ----------
    log_density : function of an array (K, 2) giving (K,)
        Up to a constant, on scales without limits (logs).
    mode : array of shape (2,)
    covariance : array of shape (2, 2)
        Inverse of minus the Hessian at the mode; sets directions and first widths.
    points : int
        A side.

    Returns
    -------
    Nodes
        With ``at`` of shape (K, 2).
    """
    values, directions = np.linalg.eigh(covariance)
    axes = directions * np.sqrt(values)

    def evaluate(limits: Array, points: int) -> tuple[tuple[Array, Array], Array, Array]:
        a, b = (np.linspace(limit[0], limit[1], points) for limit in limits)
        grid = np.stack(np.meshgrid(a, b, indexing="ij"), axis=-1)
        at = mode + grid.reshape(-1, 2) @ axes.T
        height = log_density(at).reshape(points, points)
        return (a, b), at, height - np.max(height)

    limits = np.array([[-6.0, 6.0], [-6.0, 6.0]])
    for _ in range(6):  # widened or narrowed until the density just fits
        sides, _, height = evaluate(limits, 21)
        changed = limits.copy()
        for axis, (limit, side) in enumerate(zip(limits, sides, strict=True)):
            inside = np.flatnonzero(height.max(axis=1 - axis) > -_DEPTH_ON_PLANE)
            width = limit[1] - limit[0]
            step = width / 20
            changed[axis, 0] = side[inside[0]] - (width / 2 if inside[0] == 0 else step)
            changed[axis, 1] = side[inside[-1]] + (width / 2 if inside[-1] == 20 else step)
        if np.allclose(changed, limits, rtol=0.05):
            break
        limits = changed
    _, at, height = evaluate(limits, points)
    weights = np.exp(height).ravel()
    kept = weights > np.exp(-_DEPTH_ON_PLANE)
    return Nodes(at[kept], weights[kept] / weights[kept].sum())


def laplace_moments(
    moments: Callable[[float], tuple[Array, Array]],
    log_density: Callable[[Array], Array],
    mode: float,
    step: float = 1e-2,
) -> tuple[Array, Array]:
    """Posterior means and variances with a hyperparameter integrated out to second order.

    Parameters
    ----------
    moments : function of a number giving means and variances, each of shape (J,)
        Given the hyperparameter.
    log_density : function of an array (K,) giving (K,)
        Of the hyperparameter's posterior.
    mode : float
        Where it is highest.
    step : float
        Of the central differences.

    Returns
    -------
    mean, variance : arrays of shape (J,)

    Notes
    -----
    With ``s2 = -1 / l''`` at the mode, the expectation of a smooth g is ``g + s2 g'' / 2 + s2^2
    l''' g' / 2`` and the variance of the conditional mean m is ``s2 m'^2``, with errors of order
    ``J^-2`` (Kass & Steffey 1989, JASA 84; Tierney & Kadane 1986, JASA 81). Where the correction
    would leave less variance than is there at the mode, as it can with few units, that is kept.
    """
    at = mode + step * np.arange(-2.0, 3.0)
    height = log_density(at)
    second = (height[3] - 2.0 * height[2] + height[1]) / step**2
    third = (height[4] - 2.0 * height[3] + 2.0 * height[1] - height[0]) / (2.0 * step**3)
    spread = -1.0 / second
    below, here, above = (moments(float(x)) for x in at[1:4])

    def expectation(i: int) -> tuple[Array, Array]:
        slope = (above[i] - below[i]) / (2.0 * step)
        bend = (above[i] - 2.0 * here[i] + below[i]) / step**2
        return here[i] + 0.5 * spread * bend + 0.5 * spread**2 * third * slope, slope

    mean, slope = expectation(0)
    variance, _ = expectation(1)
    return mean, np.maximum(variance, here[1]) + spread * slope**2
