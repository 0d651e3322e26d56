"""Correlation of residuals in time and between positions: AR(1), ARMA, compound symmetry, general.

``CorAR1(form="~ time | subject")`` is frozen and knows no data. Bound to the rows of a model it
holds a block-diagonal correlation matrix in free coordinates (`correlation_kernels`). Names,
arguments, defaults and coordinates are nlme's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import scipy

from mixedfit.arrays import Array, IntArray
from mixedfit.correlation_kernels import Blocks, Chain, Exchangeable, by_group
from mixedfit.correlation_structure import (
    FARTHEST,
    CorStructure,
    Kernel,
    batches_of,
    check_distinct,
    wide,
)
from mixedfit.correlation_tables import ArmaTable, GeneralTable, angles_of, partial_of
from mixedfit.errors import DataError, ModelError
from mixedfit.frames import Frame
from mixedfit.residual_form import Classes, ResidualForm

__all__ = ["CorAR1", "CorARMA", "CorCAR1", "CorCompSymm", "CorSymm"]

# Steps of time over which autocorrelations are computed one by one.
_LONGEST = 1_000_000

# -- in time --------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class CorAR1(CorStructure):
    """First-order autoregression: correlation ``Phi**|t - t'|`` within groups.

    Parameters
    ----------
    value : float, optional
        Phi to start from, in (-1, 1).
    form : str
        ``"~ t | g"`` with whole-numbered times t, which may have gaps and come in any order, or
        ``"~ 1 | g"``, where rows follow each other. Without groups, those of the model.
    fixed : bool
        Hold Phi at `value`.

    Notes
    -----
    Pinheiro & Bates (2000), section 5.3.1.

    Examples
    --------
    >>> CorAR1(0.2, form="~ week | subject").variables
    ('week', 'subject')
    """

    value: float | None = None
    form: str = "~ 1"
    fixed: bool = False

    def _check(self, values: Array) -> None:
        if len(values) != 1 or abs(values[0]) >= 1.0:
            raise ModelError(f"value of CorAR1 is one number between -1 and 1, not {self.value!r}")

    def _bind(self, frame: Frame, classes: Classes) -> tuple[Kernel, Array, tuple[Array, Array]]:
        times = _whole(self._times(frame, classes), self._name, self._form)
        start = 0.0 if self.value is None else 2.0 * np.arctanh(self._values[0])
        return _chain(times, classes, True, "Phi"), np.array([start]), wide(1)


@dataclass(frozen=True, repr=False)
class CorCAR1(CorStructure):
    """Continuous-time first-order autoregression: correlation ``Phi**|t - t'|``, any times.

    Parameters
    ----------
    value : float, optional
        Phi to start from, in (0, 1): the correlation one unit of time apart. By default 0.2 at the
        median time between neighbours.
    form : str
        ``"~ t | g"``, times in any order, or ``"~ 1 | g"``, where rows follow each other.
    fixed : bool
        Hold Phi at `value`.

    Notes
    -----
    Pinheiro & Bates (2000), section 5.3.1.

    Examples
    --------
    >>> CorCAR1(form="~ hours | subject").groups
    ('subject',)
    """

    value: float | None = None
    form: str = "~ 1"
    fixed: bool = False

    def _check(self, values: Array) -> None:
        if len(values) != 1 or not 0.0 < values[0] < 1.0:
            raise ModelError(f"value of CorCAR1 is one number between 0 and 1, not {self.value!r}")

    def _bind(self, frame: Frame, classes: Classes) -> tuple[Kernel, Array, tuple[Array, Array]]:
        times = self._times(frame, classes)
        kernel = _chain(times, classes, False, "Phi")
        lags = kernel.lag[np.isfinite(kernel.lag)]
        if self.value is not None:
            start = scipy.special.logit(self._values[0])
        else:
            start = _logit_of_decay(-np.log(0.2) / float(np.median(lags)))
        if not len(lags):  # held, and every group has one row
            return kernel, np.array([start]), wide(1)
        # Where rows next to each other are all but unrelated, and rows far apart all but equal.
        lower, upper = (
            _logit_of_decay(FARTHEST / float(lags.min())),
            _logit_of_decay(np.exp(-FARTHEST) / float(lags.max())),
        )
        bounds = np.array([min(lower, start)]), np.array([max(upper, start)])
        return kernel, np.array([start]), bounds


@dataclass(frozen=True, repr=False)
class CorARMA(CorStructure):
    """Autoregressive moving average of orders p and q.

    Parameters
    ----------
    value : list of float, optional
        Phi_1, ..., Phi_p, Theta_1, ..., Theta_q to start from; zeros by default.
    form : str
        As for `CorAR1`.
    p, q : int
        Orders.
    fixed : bool
        Hold the coefficients at `value`.

    Notes
    -----
    ``e_t = sum_i Phi_i e_{t-i} + a_t + sum_j Theta_j a_{t-j}`` (Pinheiro & Bates 2000, section
    5.3.1), kept stationary and invertible by partial autocorrelations (Jones 1980, Technometrics
    22).

    Examples
    --------
    >>> CorARMA(form="~ week | subject", p=1, q=1).variables
    ('week', 'subject')
    """

    value: float | Sequence[float] | None = None
    form: str = "~ 1"
    p: int = 0
    q: int = 0
    fixed: bool = False
    _example: ClassVar[str] = "[0.5], p=1"

    def __post_init__(self) -> None:
        for name, order in (("p", self.p), ("q", self.q)):
            if not isinstance(order, int | np.integer) or order < 0:
                raise ModelError(f"{name} of CorARMA is a whole number from 0, not {order!r}")
        if self.p + self.q == 0:
            raise ModelError("CorARMA needs an order: p for autoregression, q for moving average")
        super().__post_init__()

    def _check(self, values: Array) -> None:
        if len(values) != self.p + self.q:
            raise ModelError(
                f"value of CorARMA has {len(values)} numbers for p + q = {self.p + self.q}"
            )
        self._coordinates(values)

    def _coordinates(self, values: Array) -> Array:
        parts = []
        for coefficients, sign, wanted in (
            (values[: self.p], 1.0, "stationary"),
            (values[self.p :], -1.0, "invertible"),
        ):
            partial = partial_of(coefficients, sign)
            if partial is None:
                raise ModelError(
                    f"value of CorARMA: {coefficients.tolist()} is not {wanted}; start nearer to 0"
                )
            parts.append(2.0 * np.arctanh(partial))
        return np.concatenate(parts)

    def _bind(self, frame: Frame, classes: Classes) -> tuple[Kernel, Array, tuple[Array, Array]]:
        times = _whole(self._times(frame, classes), self._name, self._form)
        count = self.p + self.q
        start = np.zeros(count) if self.value is None else self._coordinates(self._values)
        if (self.p, self.q) == (1, 0):
            return _chain(times, classes, True, "Phi1"), start, wide(1)
        order, starts = by_group(classes.codes)
        since = times - times[order[starts]][classes.codes]
        spread = np.maximum.reduceat(since[order], starts) - np.minimum.reduceat(
            since[order], starts
        )
        if spread.max() > _LONGEST:
            raise DataError(
                f"CorARMA: times {self._form.left!r} of one group reach {spread.max():g} apart, "
                f"more than the {_LONGEST} that are computed one by one; count in longer steps"
            )
        table = ArmaTable(self.p, self.q, int(spread.max()))
        batches = batches_of(self._name, classes, since[:, None], _lags)
        return Blocks(frame.n, batches, table), start, wide(count)


def _lags(patterns: Array) -> IntArray:
    t = patterns[..., 0]
    return np.abs(t[:, :, None] - t[:, None, :]).astype(np.int64)


def _logit_of_decay(decay: float) -> float:
    """``logit(exp(-decay))``."""
    return float(-decay - np.log(-np.expm1(-decay)))


def _whole(times: Array, what: str, form: ResidualForm) -> Array:
    if (times != np.round(times)).any():
        raise DataError(
            f"{what} needs whole-numbered times, and {form.text!r} has "
            f"{times[times != np.round(times)][0]:g}; CorCAR1 takes any"
        )
    return times


def _chain(times: Array, classes: Classes, signed: bool, name: str) -> Chain:
    order = np.lexsort((times, classes.codes))
    codes, sorted_times = classes.codes[order], times[order]
    lag = np.diff(sorted_times, prepend=0.0)
    lag[np.flatnonzero(np.diff(codes, prepend=codes[:1] - 1))] = np.inf
    return Chain(order, lag, signed, name)


# -- at positions ---------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class CorCompSymm(CorStructure):
    """Compound symmetry: one correlation between all rows of a group.

    Parameters
    ----------
    value : float, optional
        Rho to start from; 0 by default.
    form : str
        ``"~ 1 | g"``; a covariate is read and ignored, as in nlme.
    fixed : bool
        Hold Rho at `value`.

    Notes
    -----
    Pinheiro & Bates (2000), section 5.3.1. Rho may be negative, down to ``-1 / (m - 1)`` for
    groups of up to m rows.

    Examples
    --------
    >>> CorCompSymm(form="~ 1 | block").groups
    ('block',)
    """

    value: float | None = None
    form: str = "~ 1"
    fixed: bool = False

    def _check(self, values: Array) -> None:
        if len(values) != 1 or abs(values[0]) >= 1.0:
            raise ModelError(
                f"value of CorCompSymm is one number between -1 and 1, not {self.value!r}"
            )

    def _bind(self, frame: Frame, classes: Classes) -> tuple[Kernel, Array, tuple[Array, Array]]:
        if len(classes.labels) < 2 and not self.fixed:
            raise ModelError(
                "CorCompSymm: all rows are in one group, and a correlation between all of them "
                "cannot be told from their mean; name the groups, as in '~ 1 | block'"
            )
        sizes = np.bincount(classes.codes).astype(float)
        kernel = Exchangeable(classes.codes, sizes)
        rho = 0.0 if self.value is None else float(self._values[0])
        if rho <= kernel.lowest:
            raise ModelError(
                f"value of CorCompSymm must be above {kernel.lowest:.4g} for groups of "
                f"{int(sizes.max())} rows, not {rho:g}: the correlation matrix would not be "
                "positive definite"
            )
        start = np.log((rho - kernel.lowest) / (1.0 - rho))
        return kernel, np.array([start]), wide(1)


@dataclass(frozen=True, repr=False)
class CorSymm(CorStructure):
    """A correlation of its own for each pair of positions within groups.

    Parameters
    ----------
    value : list of float, optional
        Correlations to start from: of positions 1 and 2, 1 and 3, ..., 2 and 3, ...; zeros by
        default.
    form : str
        ``"~ t | g"``: the positions are the distinct values of t (or the levels of a categorical
        column) in their order; ``"~ 1 | g"``: first row, second row, ...
    fixed : bool
        Hold the correlations at `value`.

    Notes
    -----
    Pinheiro & Bates (2000), section 5.3.1; coordinates are angles of the Cholesky factor
    (Pinheiro & Bates 1996, Stat. Comput. 6).

    Examples
    --------
    >>> CorSymm(form="~ visit | subject").variables
    ('visit', 'subject')
    """

    value: Sequence[float] | float | None = None
    form: str = "~ 1"
    fixed: bool = False

    def _check(self, values: Array) -> None:
        if (np.abs(values) >= 1.0).any():
            raise ModelError(f"value of CorSymm must lie between -1 and 1, not {self.value!r}")

    def _bind(self, frame: Frame, classes: Classes) -> tuple[Kernel, Array, tuple[Array, Array]]:
        place = self._positions(frame, classes)
        order = int(place.max()) + 1
        if not self.fixed:
            self._check_estimable(place, order, classes)
        table = GeneralTable(order)
        count = order * (order - 1) // 2
        start = self._start(table) if self.value is not None else np.zeros(count)

        def entry(patterns: Array) -> IntArray:
            p = patterns[..., 0].astype(np.int64)
            return p[:, :, None] * order + p[:, None, :]

        batches = batches_of(self._name, classes, place[:, None].astype(float), entry)
        return Blocks(frame.n, batches, table), start, wide(count)

    def _positions(self, frame: Frame, classes: Classes) -> IntArray:
        """Position of each row, from 0."""
        labels = self._form.labels(frame)
        if labels is None:
            times = self._times(frame, classes)
            return np.unique(times, return_inverse=True)[1].ravel()
        codes = labels.codes[:, None].astype(float)
        check_distinct(codes, classes, self._name, self._form, levels=labels.texts)
        return labels.used().codes.astype(np.int64)

    def _check_estimable(self, place: IntArray, order: int, classes: Classes) -> None:
        counts = np.zeros((len(classes.labels), order), dtype=bool)
        if order > len(classes.labels):
            raise ModelError(
                f"CorSymm has {order * (order - 1) // 2} correlations between {order} positions, "
                f"which {len(classes.labels)} group{'s' if len(classes.labels) > 1 else ''} cannot "
                "estimate: name the groups, '~ position | group', use a structure with fewer "
                "parameters such as CorAR1, or fix the correlations"
            )
        counts[classes.codes, place] = True
        together = counts.T.astype(float) @ counts
        missing = np.argwhere(np.triu(together == 0.0, 1))
        if len(missing):
            i, j = missing[0] + 1
            raise ModelError(
                f"CorSymm: positions {i} and {j} never occur in the same group, so their "
                "correlation cannot be estimated; use a structure with fewer parameters"
            )

    def _start(self, table: GeneralTable) -> Array:
        values, order = self._values, table.order
        if len(values) != len(table.pairs):
            raise ModelError(
                f"value of CorSymm has {len(values)} correlations; {order} positions have "
                f"{len(table.pairs)} pairs"
            )
        C = np.eye(order)
        for (i, j), rho in zip(table.pairs, values, strict=True):
            C[i, j] = C[j, i] = rho
        try:
            return angles_of(C)
        except np.linalg.LinAlgError:
            raise ModelError(
                f"value of CorSymm: these correlations are not a positive definite matrix: "
                f"{self.value!r}"
            ) from None
