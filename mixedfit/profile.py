"""Profile likelihood: curves and intervals of any parameter.

With the parameter fixed at a value and -2 log L minimised over everything else,

    zeta = sign(value - estimate) sqrt(-2 log L(value) + 2 log L(estimate))

is the signed root of the likelihood ratio statistic; an interval holds the values with
``|zeta| <= z`` for the normal quantile z (Bates et al. 2015, J. Stat. Softw. 67(1), section 5.1).
As in lme4, the likelihood is the full one also where the fit maximised the restricted one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pandas as pd
import scipy

from mixedfit.arrays import Array
from mixedfit.certificate import without_lost_variances
from mixedfit.errors import ModelError, check_level, check_names
from mixedfit.fit import Fit
from mixedfit.likelihood import Evaluation, Likelihood, States
from mixedfit.ml_criterion import MLCriterion, minimum_from
from mixedfit.optimize import Control, minimise
from mixedfit.profile_criteria import CorrelationPath, FixedEffectPath, Path, PathPoint, ScalePath
from mixedfit.residual_likelihood import ResidualEvaluation
from mixedfit.residual_profile import ResidualPath
from mixedfit.residual_scale import own_coordinates
from mixedfit.threads import one_thread
from mixedfit.variance_parameters import variance_parameters

__all__ = [
    "Curve",
    "Profile",
    "chosen_parameters",
    "parameter_labels",
    "places_of",
    "profile",
    "profile_interval",
    "quantile_of",
]

T = TypeVar("T")

# Points of a curve between zeta = 0 and the cutoff, as in lme4.
_STEPS = 8
# How near zeta comes to the quantile at the ends of an interval.
_NEAR = 1e-6
# zeta up to which a variance counts as little.
_LITTLE = 0.3
# How much lower a minimum must be to count as another, and how often the search starts again there.
_LOWER = 1e-5
_MOST_RESTARTS = 10
_SEARCH = Control(tolerance=1e-9)


@dataclass(frozen=True)
class Curve:
    """The profile of one parameter.

    Attributes
    ----------
    parameter : str
    estimate : float
        Of maximum likelihood.
    value : array of shape (m,)
        Increasing.
    zeta : array of shape (m,)
        Signed root of the likelihood ratio statistic there.
    slope : array of shape (m,)
        Derivative of zeta in the value, or in its arcsine.
    limits : tuple of float
        Values the parameter can take.
    on_angle : bool
        Whether the slope is that in the arcsine: zeta of a correlation is smooth in that.
    """

    parameter: str
    estimate: float
    value: Array
    zeta: Array
    slope: Array
    limits: tuple[float, float]
    on_angle: bool = False

    def interval(self, z: float) -> tuple[float, float]:
        """The values with ``|zeta| <= z``; an end the curve does not cover is nan."""
        x = np.arcsin(self.value) if self.on_angle else self.value
        spline = scipy.interpolate.CubicHermiteSpline(x, self.zeta, self.slope)
        ends = []
        for side, last, limit in (
            (-1.0, self.zeta[0], self.limits[0]),
            (1.0, self.zeta[-1], self.limits[1]),
        ):
            if side * last < z:
                at_limit = self.value[0 if side < 0 else -1] == limit
                ends.append(limit if at_limit else math.nan)
                continue
            roots = spline.solve(side * z, extrapolate=False)
            root = float(roots[-1] if side < 0 else roots[0])
            ends.append(math.sin(root) if self.on_angle else root)
        return ends[0], ends[1]


@dataclass(frozen=True)
class Profile:
    """Profiles of the parameters of a fit.

    Attributes
    ----------
    curves : dict of Curve
        By parameter: fixed effects, standard deviations, correlations, sigma.
    cutoff : float
        The largest ``|zeta|`` that the curves reach.
    """

    curves: dict[str, Curve]
    cutoff: float

    def to_frame(self) -> pd.DataFrame:
        """One row a point: parameter, value (in the parameter's units), zeta."""
        parts = [
            pd.DataFrame({"parameter": name, "value": curve.value, "zeta": curve.zeta})
            for name, curve in self.curves.items()
        ]
        return pd.concat(parts, ignore_index=True)

    def conf_int(self, level: float = 0.95) -> pd.DataFrame:
        """Profile intervals, read off the curves.

        Parameters
        ----------
        level : float
            Confidence, no more than the profile was made for.

        Returns
        -------
        DataFrame
            One row a parameter: lower, upper. An end is the parameter's limit where the data do
            not exclude it: zero for a standard deviation.

        Raises
        ------
        ModelError
            If the curves do not reach that level.
        """
        z = quantile_of(level)
        if z > self.cutoff + 1e-9:
            reached = 2.0 * scipy.stats.norm.cdf(self.cutoff) - 1.0
            raise ModelError(
                f"the profile reaches intervals of level {reached:.4g}; for level {level} make it "
                f"with profile(level={level}) or a higher one"
            )
        ends = [curve.interval(z) for curve in self.curves.values()]
        return pd.DataFrame(ends, index=pd.Index(self.curves), columns=["lower", "upper"])

    def __repr__(self) -> str:
        points = sum(len(curve.value) for curve in self.curves.values())
        return f"<Profile of {len(self.curves)} parameters, {points} points>"


def quantile_of(level: float) -> float:
    """The normal quantile of a two-sided level.

    Raises
    ------
    ModelError
        If the level does not lie between 0 and 1.
    """
    return float(scipy.stats.norm.ppf(0.5 + 0.5 * check_level(level)))


def parameter_labels(fit: Fit) -> list[str]:
    """Names of all parameters: the fixed effects, then the variance parameters."""
    return [*map(str, fit.design.names), *(p.label for p in variance_parameters(fit))]


def chosen_parameters(fit: Fit, parameters: Sequence[str] | str | None) -> list[int]:
    """Places of the named parameters among all."""
    return places_of(parameters, parameter_labels(fit))


def places_of(parameters: Sequence[str] | str | None, labels: list[str]) -> list[int]:
    """Places of names among labels; all where none is given."""
    if parameters is None:
        return list(range(len(labels)))
    wanted = check_names(parameters, "parameters")
    for name in wanted:
        if name not in labels:
            known = ", ".join(repr(label) for label in labels)
            raise ModelError(f"{name!r} is no parameter of this fit; its parameters are {known}")
    return [labels.index(name) for name in wanted]


class _LowerMinimumError(Exception):
    """The criterion is lower somewhere along a path than at the optimum it starts from."""

    def __init__(self, states: States) -> None:
        super().__init__()
        self.states = states


class _Profiler:
    """The maximum likelihood optimum of a fit, and the path of each parameter."""

    def __init__(self, fit: Fit) -> None:
        self.fit = fit
        self.labels = parameter_labels(fit)
        self.variances = variance_parameters(fit)
        self.optimum = _ml_optimum(fit)

    def each(self, chosen: Sequence[int], told: Callable[[int], T]) -> list[T]:
        """What is told of each chosen parameter, all from the lowest minimum met on the way."""
        for _ in range(_MOST_RESTARTS):
            try:
                return [told(place) for place in chosen]
            except _LowerMinimumError as lower:
                criterion = MLCriterion.of(self.optimum)
                self.optimum = minimum_from(criterion.at(lower.states)).point
        raise ModelError(
            "the likelihood has too many maxima for a profile; use a simpler random part"
        )

    def path(self, place: int) -> Path:
        """The path of one parameter."""
        p = self.fit.p
        if place < p:
            return FixedEffectPath(self.optimum, place)
        parameter = self.variances[place - p]
        if parameter.kind == "sigma":
            return ScalePath(self.optimum)
        if parameter.kind == "sd":
            return ScalePath(self.optimum, parameter.term, parameter.columns[0])
        if parameter.kind == "residual":
            return ResidualPath(self.fit, self.optimum, parameter.columns[0])
        a, b = parameter.columns
        return CorrelationPath(self.optimum, parameter.term, (a, b), parameter.label)

    def shares_coordinates(self, place: int) -> bool:
        """Whether a residual parameter is no function of one coordinate, so that it has no path."""
        parameter = self.variances[place - self.fit.p] if place >= self.fit.p else None
        if parameter is None or parameter.kind != "residual":
            return False
        return not own_coordinates(self.fit)[parameter.columns[0]]

    def with_paths(self, chosen: Sequence[int], named: bool) -> list[int]:
        """The chosen parameters that have a path; an error where one without was named."""
        without = [place for place in chosen if self.shares_coordinates(place)]
        if without and named:
            raise ModelError(
                f"{self.labels[without[0]]} shares the coordinates of its correlation structure "
                "with other parameters and cannot be profiled; use method='wald' or method='boot'"
            )
        return [place for place in chosen if place not in without]

    def undefined(self, place: int) -> bool:
        """Whether a correlation is that of effects one of which does not vary."""
        parameter = self.variances[place - self.fit.p] if place >= self.fit.p else None
        return (
            parameter is not None
            and parameter.kind == "cor"
            and any(
                ScalePath(self.optimum, parameter.term, a).x == -math.inf for a in parameter.columns
            )
        )

    def search(self, place: int) -> _Search:
        """The search along one parameter."""
        path = self.path(place)
        ceiling = math.inf
        if isinstance(path, CorrelationPath) and path.on_angle:
            # Without variance in one of its columns any correlation will do.
            parameter = self.variances[place - self.fit.p]
            ceiling = min(
                minimise(ScalePath(self.optimum, parameter.term, a).at_zero(), _SEARCH).point.fun
                for a in parameter.columns
            )
        return _Search(path, self.optimum.fun, ceiling)


def _ml_optimum(fit: Fit) -> Evaluation:
    """Where the full likelihood is largest, from the fit's own optimum."""
    if fit.method == "ML":
        return fit.evaluation
    point, like = fit.evaluation, fit.likelihood
    start: Evaluation
    if isinstance(point, ResidualEvaluation):
        problem = copy(point.problem)
        problem.method = "ML"
        start = problem.at(point.states, point.delta)
    else:
        full = Likelihood(like.products, like.structures, "ML", like.elimination.layout)
        start = full.at(fit.optimum.states)
    minimum = minimum_from(start)
    if not minimum.converged:
        raise ModelError("the likelihood has no maximum near the estimates; there is no profile")
    return without_lost_variances(minimum.point)


@dataclass(frozen=True)
class _Solved:
    """The profile at one value: x, zeta and the derivative of zeta in x."""

    x: float
    zeta: float
    slope: float
    point: PathPoint | None = None


class _Search:
    """Points of one parameter's profile.

    Parameters
    ----------
    path : Path
    minimum : float
        -2 log L at the estimate.
    ceiling : float
        What -2 log L never exceeds along the path.
    """

    def __init__(self, path: Path, minimum: float, ceiling: float = math.inf) -> None:
        self.path, self.minimum = path, minimum
        self.ceiling = max(ceiling - minimum, 0.0)
        self.starts_at_zero = isinstance(path, ScalePath) and path.x == -math.inf
        self.origin = self._lifted() if self.starts_at_zero else self._origin()

    def _origin(self) -> _Solved:
        """The estimate."""
        point = self.path.at(self.path.x, self.path.states)
        bend = max(point.profile_bend, 1e-12 * abs(point.bend) + 1e-300)
        return _Solved(self.path.x, 0.0, math.sqrt(0.5 * bend), point)

    def _lifted(self) -> _Solved:
        """A point with a little variance, where the estimate has none."""
        path = self.path
        assert isinstance(path, ScalePath)
        assert path.term is not None
        factor = path.likelihood.structures[path.term][0]
        relative = 1.0 / float(path.likelihood.products.factors[factor].mean_rows.min())
        states = path.lifted(0.1 * relative)
        found = self._minimised(path.at(math.log(path.sigma2 * path.relative(states)), states))
        for _ in range(20):
            if found.zeta < _LITTLE:
                break
            # zeta grows about as fast as the standard deviation
            found = self.solve(found.x + 2.0 * math.log(0.5 * _LITTLE / found.zeta), found)
        return found

    def _minimised(self, point: PathPoint) -> _Solved:
        found: PathPoint = minimise(point, _SEARCH).point
        if found.fun < self.minimum - _LOWER:
            raise _LowerMinimumError(self.path.common_states(found.states))
        squared = max(found.fun - self.minimum, 0.0)
        side = 1.0 if found.x >= self.path.x else -1.0
        if squared >= self.ceiling:
            return _Solved(found.x, side * math.sqrt(self.ceiling), 0.0, found)
        zeta = side * math.sqrt(squared)
        if squared > 1e-10:
            slope = 0.5 * found.slope / zeta
        else:
            slope = math.sqrt(0.5 * max(found.profile_bend, 0.0))
        return _Solved(found.x, zeta, slope, found)

    def solve(self, x: float, near: _Solved) -> _Solved:
        """The profile at x, from a point nearby."""
        assert near.point is not None
        return self._minimised(self.path.onward(near.point, x))

    def at_zero(self) -> _Solved:
        """The profile of a standard deviation at zero."""
        assert isinstance(self.path, ScalePath)
        found = minimise(self.path.at_zero(), _SEARCH).point
        return _Solved(-math.inf, -math.sqrt(max(found.fun - self.minimum, 0.0)), 0.0)

    @property
    def reaches_zero(self) -> bool:
        """Whether the parameter can be zero at its lower end."""
        return isinstance(self.path, ScalePath) and self.path.term is not None

    def end(self, z: float, side: float) -> float:
        """The value at which zeta is ``side * z``, or the limit that comes before it."""
        path, target = self.path, side * z
        inner, outer = self.origin, None
        if self.ceiling < z * z:
            return path.value(path.limits[side > 0.0])
        to_zero = side < 0.0 and self.reaches_zero
        if to_zero and (self.starts_at_zero or self.at_zero().zeta > target):
            return 0.0
        x = self._first(side, z)
        for _ in range(60):
            x = min(max(x, path.limits[0]), path.limits[1])
            found = self.solve(x, inner)
            if abs(found.zeta - target) < _NEAR * max(1.0, z):
                break
            if abs(found.zeta) < z:
                if x in path.limits:
                    break
                inner = found
            else:
                outer = found
            x = self._next(found, inner, outer, target, side)
            if outer is not None and abs(outer.x - inner.x) < 1e-12 * max(1.0, abs(x)):
                break
        at_zero = found.x == path.limits[0] and self.reaches_zero
        return 0.0 if at_zero else path.value(found.x)

    def _first(self, side: float, z: float) -> float:
        if self.starts_at_zero:
            return self.origin.x + side
        return self.origin.x + side * min(z / self.origin.slope, self._longest)

    @property
    def _longest(self) -> float:
        """The longest step at once."""
        if isinstance(self.path, ScalePath):
            return 2.0
        low, high = self.path.limits
        return 0.5 * (high - low)

    def _next(
        self, found: _Solved, inner: _Solved, outer: _Solved | None, target: float, side: float
    ) -> float:
        """A Newton step for ``zeta = target``; half the bracket where it leaves that."""
        x = math.nan
        if found.slope > 0.0:
            step = (target - found.zeta) / found.slope
            x = found.x + min(max(step, -self._longest), self._longest)
        if outer is None:
            further = side * (x - inner.x)
            return x if further > 0.0 else inner.x + side * self._fallback(inner)
        inside = min(inner.x, outer.x) < x < max(inner.x, outer.x)
        return x if inside else 0.5 * (inner.x + outer.x)

    def _fallback(self, inner: _Solved) -> float:
        return max(abs(inner.x - self.origin.x), 0.1 / max(self.origin.slope, 0.05))

    def curve(self, name: str, cutoff: float) -> Curve:
        """Points from the estimate to both sides, about ``cutoff / 8`` apart in zeta."""
        path = self.path
        down = [] if self.starts_at_zero else self._walk(cutoff, -1.0)
        up = self._walk(cutoff, 1.0)
        if self.starts_at_zero:
            first = up[0] if up else self.origin
            middle = _Solved(-math.inf, 0.0, first.zeta / path.value(first.x))
        else:
            middle = self.origin
        points = [*reversed(down), middle, *up]
        values = np.array([0.0 if p.x == -math.inf else path.value(p.x) for p in points])
        zeta = np.array([p.zeta for p in points])
        slopes = np.array([self._value_slope(p) for p in points])
        limits = (-math.inf, math.inf)
        if isinstance(path, ScalePath):
            limits = (0.0, math.inf)
        elif isinstance(path, CorrelationPath | ResidualPath):
            limits = (path.value(path.limits[0]), path.value(path.limits[1]))
        estimate = float(values[len(down)])
        return Curve(name, estimate, values, zeta, slopes, limits, self._on_angle)

    @property
    def _on_angle(self) -> bool:
        return isinstance(self.path, CorrelationPath) and self.path.on_angle

    def _value_slope(self, solved: _Solved) -> float:
        """Derivative of zeta in the value, or in the angle."""
        if solved.x == -math.inf:
            return solved.slope if solved.zeta == 0.0 else 0.0
        return solved.slope if self._on_angle else solved.slope / self.path.value_slope(solved.x)

    def _walk(self, cutoff: float, side: float) -> list[_Solved]:
        """Points outwards until zeta reaches the cutoff or the parameter its limit."""
        path, step = self.path, cutoff / _STEPS
        zero = self.at_zero() if side < 0.0 and self.reaches_zero else None
        last = zero if zero is not None and abs(zero.zeta) < cutoff else None
        out: list[_Solved] = []
        if self.origin.x == path.limits[side > 0.0]:
            return out
        before = self.origin
        for _ in range(6 * _STEPS):
            move = min(step / before.slope if before.slope > 0.0 else math.inf, self._longest)
            x = min(max(before.x + side * move, path.limits[0]), path.limits[1])
            found = self.solve(x, before)
            if found.slope == 0.0 and self.ceiling < math.inf:
                last = _Solved(path.limits[side > 0.0], found.zeta, 0.0)
                break
            if last is not None and (x in path.limits or abs(last.zeta - found.zeta) < 0.25 * step):
                break
            out.append(found)
            if side * found.zeta >= cutoff or x in path.limits:
                break
            before = found
        return out if last is None else [*out, last]


def profile_interval(
    fit: Fit, level: float = 0.95, parameters: Sequence[str] | str | None = None
) -> pd.DataFrame:
    """Profile likelihood intervals, each end solved for.

    Parameters
    ----------
    fit : Fit
    level : float
    parameters : list of str, optional
        By default all.

    Returns
    -------
    DataFrame
        One row a parameter: lower, upper; nan for residual parameters that share coordinates, as
        the correlations of a general structure do.
    """
    z = quantile_of(level)
    chosen = chosen_parameters(fit, parameters)
    with one_thread():
        profiler = _Profiler(fit)

        def ends(place: int) -> tuple[float, float]:
            if profiler.undefined(place):
                return -1.0, 1.0
            search = profiler.search(place)
            return search.end(z, -1.0), search.end(z, 1.0)

        found = profiler.with_paths(chosen, parameters is not None)
        rows = dict(zip(found, profiler.each(found, ends), strict=True))
    index = pd.Index([profiler.labels[place] for place in chosen])
    nothing = (math.nan, math.nan)
    ends_of = [rows.get(place, nothing) for place in chosen]
    return pd.DataFrame(ends_of, index=index, columns=["lower", "upper"])


def profile(
    fit: Fit, level: float = 0.99, parameters: Sequence[str] | str | None = None
) -> Profile:
    """Profiles of the parameters, wide enough for intervals of a level.

    Parameters
    ----------
    fit : Fit
    level : float
    parameters : list of str, optional
        By default all, but for residual parameters that share coordinates.

    Returns
    -------
    Profile
    """
    cutoff = quantile_of(level)
    chosen = chosen_parameters(fit, parameters)
    with one_thread():
        profiler = _Profiler(fit)

        def curve(place: int) -> Curve:
            name = profiler.labels[place]
            if profiler.undefined(place):
                return _flat(name)
            return profiler.search(place).curve(name, cutoff)

        found = profiler.with_paths(chosen, parameters is not None)
        curves = profiler.each(found, curve)
    return Profile({made.parameter: made for made in curves}, cutoff)


def _flat(name: str) -> Curve:
    """The profile of the correlation of effects one of which does not vary."""
    return Curve(name, math.nan, np.array([-1.0, 1.0]), np.zeros(2), np.zeros(2), (-1.0, 1.0))
