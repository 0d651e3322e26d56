"""Residual structures over the rows of a model: ``Var e = sigma^2 R``, ``R = S C S``.

S is diagonal, from a variance function and known weights; C is block diagonal, from a correlation
structure. `bind_residual` makes the structure, `ResidualStructure.at` gives R at coordinates
delta, as verbs on arrays whose last axis is the rows of data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from mixedfit.arrays import Array, IntArray
from mixedfit.correlation_kernels import CorrelationAt, by_group
from mixedfit.correlation_structure import BoundCorrelation, CorStructure
from mixedfit.errors import DataError, ModelError
from mixedfit.frames import Frame, is_nested
from mixedfit.residual_form import Classes, classify
from mixedfit.variance_function import VarFunction
from mixedfit.variance_kernels import BoundVariance

__all__ = [
    "ResidualStructure",
    "Whitening",
    "bind_residual",
    "check_within",
    "residual_variables",
    "rows_by_group",
]


@dataclass(frozen=True)
class Whitening:
    """R at one delta: ``R = S C S``, ``W'W = R^-1``.

    Attributes
    ----------
    correlation : CorrelationAt or None
        C; None for the identity.
    n_correlation : int
        Coordinates that belong to C; they come first.
    log_sd : array of shape (n,)
        Logarithms of the diagonal of S.
    log_sd_derivatives : array of shape (s, n)
        In the coordinates of the variance function.
    """

    correlation: CorrelationAt | None
    n_correlation: int
    log_sd: Array
    log_sd_derivatives: Array

    @cached_property
    def sd(self) -> Array:
        """Square roots of the diagonal of R, shape (n,)."""
        return np.exp(self.log_sd)

    @cached_property
    def logdet(self) -> float:
        """``log |R|``."""
        own = 2.0 * float(self.log_sd.sum())
        return own if self.correlation is None else own + self.correlation.logdet

    @cached_property
    def trace(self) -> Array:
        """``tr(R^-1 dR)`` for each coordinate, shape (r,): derivatives of `logdet`."""
        return self._join(
            None if self.correlation is None else self.correlation.trace,
            2.0 * self.log_sd_derivatives.sum(axis=1),
        )

    def _join(self, correlation: Array | None, variance: Array) -> Array:
        if correlation is None or not self.n_correlation:
            return variance
        return np.concatenate([correlation, variance])

    def whiten(self, V: Array) -> Array:
        """``W v`` for each row v of V, shape (m, n)."""
        V = V / self.sd
        return V if self.correlation is None else self.correlation.whiten(V)

    def whiten_transposed(self, V: Array) -> Array:
        """``W' v`` for each row v of V."""
        return (V if self.correlation is None else self.correlation.whiten_transposed(V)) / self.sd

    def normalize(self, V: Array) -> Array:
        """Rows of V made uncorrelated and of equal variance, as nlme orders the contrasts."""
        V = V / self.sd
        return V if self.correlation is None else self.correlation.normalize(V)

    def multiply(self, V: Array) -> Array:
        """``R v`` for each row v of V."""
        V = V * self.sd
        return (V if self.correlation is None else self.correlation.multiply(V)) * self.sd

    def multiply_root(self, V: Array) -> Array:
        """``L v`` for each row v of V, where ``L L' = R``."""
        return (V if self.correlation is None else self.correlation.multiply_root(V)) * self.sd

    def derivative(self, V: Array) -> Array:
        """``dR v`` for each coordinate and row v of V, shape (r, m, n)."""
        D = self.log_sd_derivatives[:, None, :]
        variance = np.zeros((len(D), *V.shape))
        if len(D):
            RV = self.multiply(V)
            for row, d in enumerate(D):
                variance[row] = d * RV + self.multiply(d * V)
        if self.correlation is None or not self.n_correlation:
            return variance
        correlation = self.correlation.derivative(V * self.sd) * self.sd
        return np.concatenate([correlation, variance])

    def adjoint(self, A: Array, B: Array) -> Array:
        """``sum_m a_m' dR b_m`` for each coordinate, shape (r,)."""
        variance = np.zeros(len(self.log_sd_derivatives))
        if len(variance):
            pairs = np.einsum("mi,mi->i", A, self.multiply(B))
            pairs += pairs if A is B else np.einsum("mi,mi->i", self.multiply(A), B)
            variance = self.log_sd_derivatives @ pairs
        if self.correlation is None or not self.n_correlation:
            return variance
        first = A * self.sd
        return np.concatenate(
            [self.correlation.adjoint(first, first if A is B else B * self.sd), variance]
        )

    def adjoint_of_mixture(self, V: Array, solved: Array, mix: Callable[[Array], Array]) -> Array:
        """``sum_m h_m' dR b_m`` for ``b = R^-1 v`` and ``h = mix(b)``, for each coordinate, (r,).

        Parameters
        ----------
        V, solved : arrays of shape (m, n)
            The rows v and b.
        mix : callable
            A symmetric map of the m rows of an array, the same for all columns of a residual group:
            then ``R h = mix(v)``, and little is left to solve.
        """
        correlation, free = self.correlation, self.n_correlation
        mixed = None
        variance = np.zeros(len(self.log_sd_derivatives))
        if len(variance):
            mixed = mix(V)
            variance = 2.0 * self.log_sd_derivatives @ np.einsum("mi,mi->i", mixed, solved)
        if correlation is None or not free:
            return variance
        if correlation.knows_inverse:
            mixed = mix(V) if mixed is None else mixed
            own = correlation.adjoint_of_products(mixed / self.sd, V / self.sd)
        else:
            own = correlation.adjoint(mix(solved) * self.sd, solved * self.sd)
        return np.concatenate([own, variance])


@dataclass(frozen=True)
class ResidualStructure:
    """A residual structure bound to the rows of a model.

    Coordinates delta are real numbers: the correlation's, then the variance function's; parameters
    held fixed have none.

    Attributes
    ----------
    n : int
        Rows.
    correlation : BoundCorrelation or None
    variance : BoundVariance or None
    columns : Frame or None
        The columns of the data it was bound to.
    """

    n: int
    correlation: BoundCorrelation | None
    variance: BoundVariance | None
    columns: Frame | None = None

    @property
    def n_params(self) -> int:
        """Number of coordinates r."""
        return self._n_correlation + (0 if self.variance is None else self.variance.n_params)

    @property
    def _n_correlation(self) -> int:
        return 0 if self.correlation is None else self.correlation.n_params

    @property
    def start(self) -> Array:
        """Coordinates to start from, shape (r,)."""
        parts = [np.zeros(0)]
        if self.correlation is not None and self._n_correlation:
            parts.append(self.correlation.initial)
        if self.variance is not None:
            parts.append(self.variance.start)
        return np.concatenate(parts)

    def elsewhere(self, delta: Array) -> list[Array]:
        """Coordinates worth a look from those of a minimum, where there may be several.

        The correlation's change while the variances stay, and the other way round.
        """
        first, rest = np.split(delta, [self._n_correlation])
        found: list[Array] = []
        if self.correlation is not None:
            found += [np.concatenate([own, rest]) for own in self.correlation.elsewhere]
        if self.variance is not None:
            found += [np.concatenate([first, own]) for own in self.variance.elsewhere]
        return found

    @cached_property
    def bounds(self) -> tuple[Array, Array]:
        """Lower and upper ends of the coordinates, each (r,): there a parameter is at its limit."""
        parts = [(np.zeros(0), np.zeros(0))]
        if self.correlation is not None and self._n_correlation:
            parts.append(self.correlation.bounds)
        if self.variance is not None:
            parts.append(self.variance.bounds)
        return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])

    def room(self, delta: Array) -> tuple[Array, Array] | None:
        """How far each coordinate may fall (not positive) and rise, two arrays of shape (r,)."""
        lower, upper = self.bounds
        if not np.isfinite(lower).any() and not np.isfinite(upper).any():
            return None
        return np.minimum(lower - delta, 0.0), np.maximum(upper - delta, 0.0)

    def at(self, delta: Array) -> Whitening:
        """R at coordinates of shape (r,).

        Raises
        ------
        numpy.linalg.LinAlgError
            If R is not positive definite there.
        """
        delta = np.asarray(delta, dtype=float)
        k = self._n_correlation
        correlation = None if self.correlation is None else self.correlation.at(delta[:k])
        log_sd, derivatives = np.zeros(self.n), np.zeros((0, self.n))
        if self.variance is not None:
            log_sd, derivatives = self.variance.log_sd(delta[k:])
        return Whitening(correlation, k, log_sd, derivatives)

    def mean_log_variance(self, delta: Array) -> float:
        """Mean over the rows of the logarithm of the diagonal of R."""
        if self.variance is None:
            return 0.0
        return 2.0 * float(self.variance.log_sd(delta[self._n_correlation :])[0].mean())

    def describe(self, delta: Array) -> tuple[list[str], Array]:
        """Names and values of the parameters on their own scale.

        A correlation held fixed is listed, a variance function's fixed parameters are not: nlme's
        habit.
        """
        k = self._n_correlation
        names, values = list[str](), [np.zeros(0)]
        if self.correlation is not None:
            own, value = self.correlation.natural(delta[:k])
            names += own
            values.append(value)
        if self.variance is not None:
            own, value = self.variance.natural(delta[k:])
            names += own
            values.append(value)
        return names, np.concatenate(values)

    def free_parameters(self, delta: Array) -> tuple[list[str], Array]:
        """Those of `describe` that are not held fixed: one a coordinate."""
        names, values = self.describe(delta)
        held = len(names) - self.n_params
        return names[held:], values[held:]

    @property
    def groups(self) -> Classes | None:
        """Groups of rows that may be correlated; None where no rows are."""
        return None if self.correlation is None else self.correlation.groups

    @property
    def fitted_dependent(self) -> bool:
        """Whether a covariate comes from the fit, so that `with_covariate` must renew it."""
        return self.variance is not None and self.variance.from_fit is not None

    def with_covariate(self, fitted: Array, resid: Array) -> ResidualStructure:
        """The same with covariates taken from a fit: fitted values and residuals, each (n,).

        Before the first call such a variance function leaves all rows alike.
        """
        if self.variance is None:
            return self
        return replace(self, variance=self.variance.with_covariate(fitted, resid))


def residual_variables(
    correlation: CorStructure | None, variance: VarFunction | None
) -> tuple[str, ...]:
    """Columns of the data that the structures read.

    Raises
    ------
    ModelError
        If one of them is something else.
    """
    if correlation is not None and not isinstance(correlation, CorStructure):
        raise ModelError(
            "correlation must be a correlation structure, as in CorAR1(form='~ time | subject'), "
            f"not {_shown(correlation)}"
            + ("; it is a variance function: give it as such" if _is_variance(correlation) else "")
        )
    if variance is not None and not isinstance(variance, VarFunction):
        raise ModelError(
            "weights must be a variance function here, as in VarIdent(form='~ 1 | stratum') or "
            f"VarPower(form='~ x'), not {_shown(variance)}; for known weights w write "
            "VarFixed('~ I(1/w)'), or give them to lmer"
        )
    names = () if correlation is None else correlation.variables
    return tuple(dict.fromkeys([*names, *(() if variance is None else variance.variables)]))


def _is_variance(value: object) -> bool:
    return isinstance(value, VarFunction)


def _shown(value: object) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__} itself: call it"
    return repr(value) if isinstance(value, str | int | float) else type(value).__name__


def bind_residual(
    correlation: CorStructure | None,
    variance: VarFunction | None,
    frame: Frame,
    groups: Sequence[str] = (),
) -> ResidualStructure | None:
    """The residual structure of a model's rows.

    Parameters
    ----------
    correlation : CorStructure or None
    variance : VarFunction or None
    frame : Frame
        The rows used, with `residual_variables` and the groups among its columns.
    groups : sequence of str
        Columns whose combinations group rows where a form does not say: lme's grouping factors,
        outermost first.

    Returns
    -------
    ResidualStructure or None
        None where nothing was given.

    Raises
    ------
    DataError, ModelError
        Naming the structure and the column.
    """
    if correlation is None and variance is None:
        return None
    bound = None if correlation is None else correlation.bind(frame, groups)
    function = None
    if variance is not None:
        function = variance.bind(frame, rows_by_group(correlation, frame, groups))
        if function.from_fit is None and not function.identified:
            raise ModelError(
                f"{variance!r}: its parameters cannot be told from sigma or from each other; the "
                "covariate is constant, or two functions say the same"
            )
    read = (*residual_variables(correlation, variance), *groups)
    columns = Frame(frame.n, {name: frame[name] for name in read})
    return ResidualStructure(frame.n, bound, function, columns)


def rows_by_group(
    correlation: CorStructure | None, frame: Frame, groups: Sequence[str]
) -> IntArray:
    """The rows sorted by the model's groups: strata count as they first occur there."""
    sorting = groups or (() if correlation is None else correlation.groups)
    return by_group(classify(sorting, frame).codes)[0]


def check_within(correlation: CorStructure, frame: Frame, outer: Sequence[str]) -> None:
    """Refuse a correlation between rows of different groups.

    Parameters
    ----------
    correlation : CorStructure
    frame : Frame
    outer : sequence of str
        Columns whose combinations are the groups.

    Raises
    ------
    DataError
    """
    if not correlation.groups:
        return
    own, groups = classify(correlation.groups, frame), classify(outer, frame)
    if is_nested(own.codes, groups.codes):
        return
    name, inner = type(correlation).__name__, "/".join(outer)
    raise DataError(
        f"{name}: its groups '{'/'.join(correlation.groups)}' reach across those of the random "
        f"effects, '{inner}'; in lme rows are correlated within the innermost groups: write "
        f"'| {inner}', or call lmer, where they may be correlated in any groups"
    )
