"""What all correlation structures of the residuals share: arguments, groups, times, patterns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, TypeAlias

import numpy as np

from mixedfit.arrays import Array, IntArray
from mixedfit.correlation_kernels import (
    Batch,
    Blocks,
    Chain,
    CorrelationAt,
    Exchangeable,
    by_group,
)
from mixedfit.errors import DataError, ModelError
from mixedfit.frames import Frame
from mixedfit.residual_form import Classes, ResidualForm, call_text, classify, parse_form

__all__ = [
    "FARTHEST",
    "BoundCorrelation",
    "CorStructure",
    "Kernel",
    "batches_of",
    "check_distinct",
    "places",
    "wide",
]

Kernel: TypeAlias = Chain | Exchangeable | Blocks

FARTHEST = 20.0  # a correlation within 4e-9 of its limit is at it
MOST_ROWS = 11_000  # a matrix of more rows takes more than a gigabyte


@dataclass(frozen=True)
class BoundCorrelation:
    """A correlation structure over the rows of a model.

    Attributes
    ----------
    kernel : Chain, Exchangeable or Blocks
    groups : Classes
        Rows of different groups are uncorrelated.
    initial : array
        Coordinates to start from, or to stay at.
    bounds : pair of arrays
        Where a coordinate is as good as at its limit.
    fixed : bool
        Whether the coordinates stay where they are.
    elsewhere : array of shape (m, r)
        Other coordinates worth a look, where the likelihood may have several maxima.
    """

    kernel: Kernel
    groups: Classes
    initial: Array
    bounds: tuple[Array, Array]
    fixed: bool
    elsewhere: Array

    @property
    def n_params(self) -> int:
        """Number of free coordinates."""
        return 0 if self.fixed else len(self.initial)

    def at(self, delta: Array) -> CorrelationAt:
        """The correlation matrix at free coordinates."""
        return self.kernel.at(self.initial if self.fixed else delta)

    def natural(self, delta: Array) -> tuple[list[str], Array]:
        """Names and values on their own scale, those of a fixed structure too."""
        return self.kernel.natural(self.initial if self.fixed else delta)


class CorStructure(ABC):
    """Base of the correlation structures."""

    value: float | Sequence[float] | None
    form: str
    fixed: bool

    def __post_init__(self) -> None:
        if not isinstance(self.fixed, bool):
            raise ModelError(
                f"fixed of {self._name} is True or False, not {self.fixed!r}; the value to hold "
                "goes to value="
            )
        if self.fixed and self.value is None:
            raise ModelError(
                f"{self._name}: fixed=True needs the value to hold, as in "
                f"{self._name}({self._example}, fixed=True)"
            )
        if self.value is not None:
            self._check(self._values)
        if self._form.from_fit:
            raise ModelError(f"form of {self._name} cannot use fitted values or residuals")

    _example: ClassVar[str] = "0.5"

    def __repr__(self) -> str:
        return call_text(self)

    @property
    def _name(self) -> str:
        return type(self).__name__

    @property
    def _form(self) -> ResidualForm:
        return parse_form(self.form, self._name)

    @property
    def _values(self) -> Array:
        try:
            values = np.atleast_1d(np.asarray(self.value, dtype=float))
        except (TypeError, ValueError):
            values = np.array([np.nan])
        if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
            raise ModelError(f"value of {self._name} must be numbers, not {self.value!r}")
        return values

    @abstractmethod
    def _check(self, values: Array) -> None:
        """Refuse values outside the family."""

    @property
    def variables(self) -> tuple[str, ...]:
        """Columns of the data it reads, besides the groups of the model."""
        return self._form.variables

    @property
    def groups(self) -> tuple[str, ...]:
        """Columns that `form` groups rows by; empty where it does not say."""
        return self._form.groups

    def bind(self, frame: Frame, groups: Sequence[str]) -> BoundCorrelation:
        """The structure over the rows of a model.

        Parameters
        ----------
        frame : Frame
        groups : sequence of str
            Columns whose combinations are the groups where `form` names none.

        Raises
        ------
        DataError, ModelError
        """
        classes = classify(self._form.groups or groups, frame)
        if len(classes.labels) == frame.n and not self.fixed:
            raise ModelError(
                f"{self._name}: every group has one row, so there is no correlation to estimate; "
                "its groups are what rows have in common, '~ time | subject'"
            )
        kernel, initial, bounds = self._bind(frame, classes)
        nowhere = np.zeros((0, len(initial)))
        elsewhere = nowhere if self.fixed else self._elsewhere(kernel, initial)
        return BoundCorrelation(kernel, classes, initial, bounds, self.fixed, elsewhere)

    def _elsewhere(self, kernel: Kernel, initial: Array) -> Array:
        """Other coordinates worth a look, (m, r), where the likelihood may have several maxima."""
        del kernel
        return np.zeros((0, len(initial)))

    def held_at(self, values: Array) -> CorStructure:
        """The same structure with its parameters held at natural values."""
        value = float(values[0]) if len(values) == 1 else values.tolist()
        return replace(self, value=value, fixed=True)  # type: ignore[type-var]

    @abstractmethod
    def _bind(self, frame: Frame, classes: Classes) -> tuple[Kernel, Array, tuple[Array, Array]]:
        """The kernel, where to start and the bounds."""

    def _times(self, frame: Frame, classes: Classes) -> Array:
        """Time of each row, no two alike in a group: the covariate, or the order of the rows."""
        form = self._form
        if form.covariate is None:
            return places(classes.codes).astype(float)
        times = form.numbers(frame, self._name)
        check_distinct(times[:, None], classes, self._name, form)
        return times


def places(codes: IntArray) -> IntArray:
    """Place of each row within its group, from 0, in the order of the rows."""
    order, starts = by_group(codes)
    sizes = np.diff(np.append(starts, len(codes)))
    out = np.empty(len(codes), dtype=np.int64)
    out[order] = np.arange(len(codes)) - np.repeat(starts, sizes)
    return out


def check_distinct(
    coordinates: Array,
    classes: Classes,
    what: str,
    form: ResidualForm,
    kind: Literal["time", "position"] = "time",
    levels: Sequence[str] = (),
) -> None:
    """Refuse rows of one group at the same place.

    Parameters
    ----------
    coordinates : array of shape (n, d)
        Or codes of `levels`, of shape (n, 1).
    classes : Classes
        The groups.
    what : str
        The structure, for the message.
    form : ResidualForm
    kind : {"time", "position"}
    levels : sequence of str

    Raises
    ------
    DataError
    """
    order = np.lexsort((*coordinates.T[::-1], classes.codes))
    same = (np.diff(classes.codes[order]) == 0) & (np.diff(coordinates[order], axis=0) == 0.0).all(
        axis=1
    )
    if not same.any():
        return
    row = order[np.flatnonzero(same)[0]]
    group = classes.labels[classes.codes[row]]
    where = f" in group {group!r}" if group else ""
    if levels:
        place = repr(levels[int(coordinates[row, 0])])
    else:
        place = ", ".join(f"{v:g}" for v in coordinates[row])
    remedy = (
        "name the groups, '~ x + y | group', or allow a nugget"
        if kind == "position"
        else "give each row of a group a time of its own, or name the groups, '~ time | group'"
    )
    name = form.left
    raise DataError(f"{what}: the {kind} {name!r} is {place} in more than one row{where}; {remedy}")


def wide(count: int, lower: float = -FARTHEST, upper: float = FARTHEST) -> tuple[Array, Array]:
    """Bounds of coordinates."""
    return np.full(count, lower), np.full(count, upper)


def batches_of(
    what: str, classes: Classes, keys: Array, entry: Callable[[Array], IntArray]
) -> tuple[Batch, ...]:
    """Groups by size and by pattern of their keys.

    Parameters
    ----------
    what : str
        The structure, for the message.
    classes : Classes
    keys : array of shape (n, d)
    entry : callable
        Turns patterns of shape (P, k, d) into places in the table, shape (P, k, k).

    Raises
    ------
    ModelError
        If a group is too large for a matrix of its rows.
    """
    order, starts = by_group(classes.codes)
    sizes = np.diff(np.append(starts, len(order)))
    largest = int(sizes.max())
    if largest > MOST_ROWS:
        raise ModelError(
            f"{what}: a group of {largest:,} rows would need a matrix of {largest:,} by "
            f"{largest:,} correlations; name smaller groups of rows, as in '~ x | group', or use "
            "CorAR1 or CorCAR1, which need no matrix"
        )
    out = []
    for size in np.unique(sizes):
        rows = order[starts[sizes == size][:, None] + np.arange(size)]
        flat = keys[rows].reshape(len(rows), -1)
        patterns, pattern = np.unique(flat, axis=0, return_inverse=True)
        index_of = entry(patterns.reshape(len(patterns), size, -1))
        out.append(Batch(rows, pattern.ravel(), index_of))
    return tuple(out)
