"""Variance functions: how the residual standard deviation changes from row to row.

What a user writes, ``VarPower(form="~ x")``, is frozen and knows no data; bound to the rows of a
model it answers ``log_sd(delta)``: the logarithm of each row's standard deviation relative to
sigma, and its derivatives in free coordinates. Names, arguments and coordinates are nlme's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import numpy as np

from mixedfit.arrays import Array, IntArray
from mixedfit.errors import DataError, ModelError
from mixedfit.frames import Frame, label_text
from mixedfit.residual_form import ResidualForm, call_text, classify, parse_form
from mixedfit.variance_kernels import BoundVariance, ConstPower, LogLinear, Product

__all__ = [
    "VarComb",
    "VarConstPower",
    "VarExp",
    "VarFixed",
    "VarFunction",
    "VarIdent",
    "VarPower",
]

Values: TypeAlias = float | Sequence[float] | Mapping[str, float] | None
"""One number, one for each stratum, or numbers by stratum."""


class VarFunction(ABC):
    """Base of the variance functions."""

    def __repr__(self) -> str:
        return call_text(self)

    @property
    @abstractmethod
    def variables(self) -> tuple[str, ...]:
        """Columns of the data it reads."""

    @property
    @abstractmethod
    def strata(self) -> tuple[tuple[str, ...], ...]:
        """Columns whose combinations are the strata, for each function that has any."""

    @abstractmethod
    def bind(self, frame: Frame, order: IntArray) -> BoundVariance:
        """The function over the rows of a model.

        Parameters
        ----------
        frame : Frame
        order : int array of shape (n,)
            The rows sorted by the model's groups: strata count in the order of first occurrence
            there.

        Raises
        ------
        DataError, ModelError
        """


class _OfForm(VarFunction):
    """A variance function that one formula says."""

    form: str

    @property
    def _form(self) -> ResidualForm:
        return parse_form(self.form, type(self).__name__)

    @property
    def variables(self) -> tuple[str, ...]:
        return self._form.variables

    @property
    def strata(self) -> tuple[tuple[str, ...], ...]:
        return (self._form.groups,) if self._form.groups else ()


@dataclass(frozen=True)
class _Strata:
    """Strata in the order in which they occur."""

    codes: IntArray
    labels: tuple[str, ...]

    @classmethod
    def of(cls, form: ResidualForm, frame: Frame, order: IntArray) -> _Strata:
        if not form.groups:
            return cls(np.zeros(frame.n, dtype=np.int64), ("",))
        classes = classify(form.groups, frame)
        found, first = np.unique(classes.codes[order], return_index=True)
        sequence = found[np.argsort(first)]
        place = np.empty(len(sequence), dtype=np.int64)
        place[sequence] = np.arange(len(sequence))
        return cls(place[classes.codes], tuple(classes.labels[i] for i in sequence))

    def listed_as(self, values: Values | bool) -> _Strata:
        """The strata in the order in which a dict names them, the others before."""
        if not isinstance(values, Mapping):
            return self
        named = [text for text in map(label_text, values) if text in self.labels]
        labels = [label for label in self.labels if label not in named] + named
        place = np.array([labels.index(label) for label in self.labels])
        return _Strata(place[self.codes], tuple(labels))

    @property
    def plain(self) -> bool:
        """Whether all rows are in one."""
        return len(self.labels) == 1

    def read(self, values: Values, what: str, among: Sequence[str] | None = None) -> Array:
        """Numbers by stratum, shape (strata,); nan where none is given."""
        labels = list(self.labels if among is None else among)
        out = np.full(len(self.labels), np.nan)
        if values is None:
            return out
        if isinstance(values, Mapping):
            text = {label_text(key): value for key, value in values.items()}
            unknown = [key for key in text if key not in labels]
            if unknown:
                raise DataError(
                    f"{what} names {unknown[0]!r}, but the strata are "
                    f"{', '.join(repr(label) for label in self.labels)}"
                )
            for key, value in text.items():
                out[self.labels.index(key)] = float(value)
            return out
        numbers = np.atleast_1d(np.asarray(values, dtype=float))
        if len(numbers) == 1:
            numbers = np.repeat(numbers, len(labels))
        if numbers.shape != (len(labels),):
            raise DataError(
                f"{what} has {len(numbers)} numbers for {len(labels)} strata: "
                f"{', '.join(repr(label) for label in labels)}; a dict by stratum is plainer"
            )
        for label, number in zip(labels, numbers, strict=True):
            out[self.labels.index(label)] = number
        return out


def _held(value: Values, fixed: Values | bool, what: str) -> tuple[Values, Values]:
    """Start values and fixed values; ``fixed=True`` holds everything at `value`."""
    if fixed is True:
        if value is None:
            raise ModelError(f"{what}: fixed=True needs the value to hold, as in value=0.5")
        return None, value
    return value, None if fixed is False else fixed


def _check_numbers(values: Values | bool, what: str, positive: bool = False) -> None:
    """Refuse what is not finite numbers."""
    if values is None or isinstance(values, bool):
        return
    try:
        listed = list(values.values()) if isinstance(values, Mapping) else values
        numbers = np.atleast_1d(np.asarray(listed, dtype=float))
    except (TypeError, ValueError):
        raise ModelError(f"{what} must be numbers, not {values!r}") from None
    if not np.isfinite(numbers).all() or (positive and (numbers <= 0.0).any()):
        kind = "positive and finite" if positive else "finite"
        raise ModelError(f"{what} must be {kind}, not {values!r}")


@dataclass(frozen=True, repr=False)
class VarIdent(_OfForm):
    """A residual standard deviation for each stratum.

    Parameters
    ----------
    value : float or dict, optional
        Ratios to start from, by stratum; a dict that names all strata but one makes that one the
        reference.
    form : str
        ``"~ 1 | s"``, or ``"~ 1 | a*b"`` for the combinations of several columns.
    fixed : dict, optional
        Ratios held fixed, by stratum; True holds those of `value`.

    Notes
    -----
    ``sd_i = sigma * ratio[s_i]``, with ratio 1 in the reference stratum: the first that occurs
    when rows are sorted by the model's groups (Pinheiro & Bates 2000, section 5.2.1).

    Examples
    --------
    >>> VarIdent(form="~ 1 | Sex").variables
    ('Sex',)
    """

    value: Values = None
    form: str = "~ 1"
    fixed: Values | bool = None

    def __post_init__(self) -> None:
        _check_numbers(self.value, "value of VarIdent", positive=True)
        _check_numbers(self.fixed, "fixed of VarIdent", positive=True)
        _held(self.value, self.fixed, "VarIdent")
        form = self._form
        if form.covariate is not None or form.from_fit:
            raise ModelError(
                f"form of VarIdent is '~ 1 | stratum', not {self.form!r}: it has no covariate"
            )
        if not form.groups:
            raise ModelError("VarIdent needs strata: write form='~ 1 | stratum'")

    def bind(self, frame: Frame, order: IntArray) -> BoundVariance:
        strata = _Strata.of(self._form, frame, order).listed_as(self.value)
        self._check_rows(strata)
        value, fixed = _held(self.value, self.fixed, "VarIdent")
        if fixed is not None and not isinstance(fixed, Mapping):
            raise ModelError(
                "VarIdent: say which stratum a fixed ratio belongs to, as in fixed={'Female': 0.5}"
            )
        held = np.log(strata.read(fixed, "fixed of VarIdent"))
        named = set(map(label_text, value)) if isinstance(value, Mapping) else set()
        candidates = [i for i in np.flatnonzero(np.isnan(held)) if strata.labels[i] not in named]
        if not candidates:
            raise ModelError(
                "VarIdent: one stratum must be left as the reference, whose ratio is 1: name all "
                "strata but one"
            )
        held[candidates[0]] = 0.0
        free = [strata.labels[i] for i in np.flatnonzero(np.isnan(held))]
        ratios = strata.read(value, "value of VarIdent", free)[np.isnan(held)]
        start = np.log(np.where(np.isnan(ratios), 1.0, ratios))
        return LogLinear(
            start, tuple(free), held, strata.codes, np.ones(frame.n), exponentiate=True
        )

    def _check_rows(self, strata: _Strata) -> None:
        counts = np.bincount(strata.codes)
        if self.fixed is None and (counts < 2).any():
            label = strata.labels[int(np.flatnonzero(counts < 2)[0])]
            raise ModelError(
                f"VarIdent: stratum {label!r} has one row, from which no variance can be "
                "estimated; use coarser strata"
            )


@dataclass(frozen=True, repr=False)
class _OneCovariate(_OfForm):
    """A variance function with one parameter a stratum."""

    value: Values = None
    form: str = "~ fitted(.)"
    fixed: Values | bool = None
    _parameter: ClassVar[str]
    _logarithm: ClassVar[bool]

    def __post_init__(self) -> None:
        what = type(self).__name__
        _check_numbers(self.value, f"value of {what}")
        _check_numbers(self.fixed, f"fixed of {what}")
        _held(self.value, self.fixed, what)
        _check_covariate(self._form, what)

    def bind(self, frame: Frame, order: IntArray) -> BoundVariance:
        what, form = type(self).__name__, self._form
        strata = _Strata.of(form, frame, order).listed_as(self.value)
        value, fixed = _held(self.value, self.fixed, what)
        held = strata.read(fixed, f"fixed of {what}")
        free = np.isnan(held)
        names = [strata.labels[i] for i in np.flatnonzero(free)]
        start = strata.read(value, f"value of {what}", names)[free]
        x = None
        if form.from_fit is None:
            x = form.numbers(frame, what)
            x = _log_size(x, form, what) if self._logarithm else x
        return LogLinear(
            np.where(np.isnan(start), 0.0, start),
            tuple([self._parameter] if strata.plain and names else names),
            held,
            strata.codes,
            x,
            from_fit=form.from_fit,
            logarithm=self._logarithm,
        )


def _check_covariate(form: ResidualForm, what: str) -> None:
    if form.covariate is None and form.from_fit is None:
        raise ModelError(
            f"{what} needs a covariate: write form='~ x', '~ x | stratum' or '~ fitted(.)', not "
            f"{form.text!r}"
        )


def _log_size(x: Array, form: ResidualForm, what: str) -> Array:
    zero = x == 0.0
    if zero.any():
        raise DataError(
            f"{what}: the covariate {form.left!r} is zero in {int(zero.sum())} of "
            f"{len(x)} rows, where the variance would be zero or infinite; shift it, or use "
            "VarConstPower or VarExp"
        )
    return np.log(np.abs(x))


@dataclass(frozen=True, repr=False)
class VarPower(_OneCovariate):
    """A residual standard deviation that is a power of a covariate.

    Parameters
    ----------
    value : float, list or dict, optional
        Powers to start from, by stratum where there are strata.
    form : str
        ``"~ x"``, ``"~ x | s"`` with a power for each stratum, or ``"~ fitted(.)"``, the default.
    fixed : float or dict, optional
        Powers held fixed; True holds `value`.

    Notes
    -----
    ``sd_i = sigma * abs(x_i)**power`` (Pinheiro & Bates 2000, section 5.2.1).

    Examples
    --------
    >>> VarPower(0.5, form="~ age | Sex").variables
    ('age', 'Sex')
    """

    _parameter: ClassVar[str] = "power"
    _logarithm: ClassVar[bool] = True


@dataclass(frozen=True, repr=False)
class VarExp(_OneCovariate):
    """A residual standard deviation that is exponential in a covariate.

    Parameters
    ----------
    value : float, list or dict, optional
        Coefficients to start from, by stratum where there are strata.
    form : str
        ``"~ x"``, ``"~ x | s"`` with a coefficient for each stratum, or ``"~ fitted(.)"``.
    fixed : float or dict, optional
        Coefficients held fixed; True holds `value`.

    Notes
    -----
    ``sd_i = sigma * exp(expon * x_i)`` (Pinheiro & Bates 2000, section 5.2.1).

    Examples
    --------
    >>> VarExp(form="~ age").variables
    ('age',)
    """

    _parameter: ClassVar[str] = "expon"
    _logarithm: ClassVar[bool] = False


@dataclass(frozen=True, repr=False)
class VarConstPower(_OfForm):
    """A residual standard deviation that is a constant plus a power of a covariate.

    Parameters
    ----------
    const, power : float, list or dict, optional
        Values to start from, by stratum where there are strata.
    form : str
        ``"~ x"``, ``"~ x | s"`` or ``"~ fitted(.)"``, the default.
    fixed : dict, optional
        ``{"const": ..., "power": ...}``, either or both, held fixed; by stratum where there are
        strata.

    Notes
    -----
    ``sd_i = sigma * (const + abs(x_i)**power)`` (Pinheiro & Bates 2000, section 5.2.1).

    Examples
    --------
    >>> VarConstPower(form="~ pressure", fixed={"power": 0.5}).variables
    ('pressure',)
    """

    const: Values = None
    power: Values = None
    form: str = "~ fitted(.)"
    fixed: Mapping[str, Values] | bool | None = None

    def __post_init__(self) -> None:
        _check_numbers(self.const, "const of VarConstPower", positive=True)
        _check_numbers(self.power, "power of VarConstPower")
        _check_covariate(self._form, "VarConstPower")
        for name, held in self._fixed.items():
            _check_numbers(held, f"fixed {name} of VarConstPower", positive=name == "const")

    @property
    def _fixed(self) -> dict[str, Values]:
        if self.fixed is True:
            if self.const is None or self.power is None:
                raise ModelError(
                    "VarConstPower: fixed=True needs the values to hold, both const and power"
                )
            return {"const": self.const, "power": self.power}
        if not self.fixed:
            return {}
        if not isinstance(self.fixed, Mapping) or set(self.fixed) - {"const", "power"}:
            raise ModelError(
                "fixed of VarConstPower is a dict with 'const', 'power' or both, not "
                f"{self.fixed!r}"
            )
        return dict(self.fixed)

    def bind(self, frame: Frame, order: IntArray) -> BoundVariance:
        form = self._form
        strata = _Strata.of(form, frame, order)
        size = None
        if form.from_fit is None:
            size = np.abs(form.numbers(frame, "VarConstPower"))
        held, starts, names = {}, [], []
        # A power of zero would tell rows of a zero covariate from all others.
        default_power = 0.5 if size is not None and (size == 0.0).any() else 0.0
        for name, given, default in (
            ("const", self.const, 0.1),
            ("power", self.power, default_power),
        ):
            held[name] = strata.read(self._fixed.get(name), f"fixed {name} of VarConstPower")
            free = np.isnan(held[name])
            labels = [strata.labels[i] for i in np.flatnonzero(free)]
            if name not in self._fixed or labels:
                start = strata.read(
                    given if free.any() else None, f"{name} of VarConstPower", labels
                )[free]
                starts.append(np.where(np.isnan(start), default, start))
            names += [name if strata.plain else f"{name}.{label}" for label in labels]
            if name == "const":
                held[name] = np.log(held[name])
                starts = [np.log(start) for start in starts]
        start = np.concatenate(starts) if starts else np.zeros(0)
        return ConstPower(
            start, tuple(names), held["const"], held["power"], strata.codes, size, form.from_fit
        )


@dataclass(frozen=True, repr=False)
class VarFixed(_OfForm):
    """A residual variance proportional to a covariate.

    Parameters
    ----------
    value : str
        A one-sided formula, ``"~ x"``: the variance of row i is ``sigma**2 * x_i``.

    Examples
    --------
    >>> VarFixed("~ age").variables
    ('age',)
    """

    value: str

    def __post_init__(self) -> None:
        form = self._form
        if form.covariate is None or form.groups:
            raise ModelError(f"VarFixed takes a covariate, as in '~ x', not {self.value!r}")

    @property
    def _form(self) -> ResidualForm:
        return parse_form(self.value, "VarFixed")

    def bind(self, frame: Frame, order: IntArray) -> BoundVariance:
        del order
        x = self._form.numbers(frame, "VarFixed")
        if (x <= 0.0).any():
            raise DataError(
                f"VarFixed: the variance covariate {self._form.left!r} must be positive; "
                f"{int((x <= 0.0).sum())} of {len(x)} rows are not"
            )
        none = np.zeros(0)
        codes = np.zeros(frame.n, dtype=np.int64)
        return LogLinear(none, (), np.zeros(1), codes, np.zeros(frame.n), base=0.5 * np.log(x))


@dataclass(frozen=True, init=False, repr=False)
class VarComb(VarFunction):
    """The product of several variance functions.

    Parameters
    ----------
    *functions : VarFunction

    Examples
    --------
    >>> VarComb(VarIdent(form="~ 1 | Sex"), VarExp(form="~ age")).variables
    ('Sex', 'age')
    """

    functions: tuple[VarFunction, ...]

    def __init__(self, *functions: VarFunction) -> None:
        object.__setattr__(self, "functions", functions)
        if len(functions) < 1 or not all(isinstance(f, VarFunction) for f in functions):
            raise ModelError(
                "VarComb takes variance functions, as in VarComb(VarIdent(form='~ 1 | g'), "
                "VarPower(form='~ x'))"
            )

    def __repr__(self) -> str:
        return f"VarComb({', '.join(map(repr, self.functions))})"

    @property
    def variables(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(v for f in self.functions for v in f.variables))

    @property
    def strata(self) -> tuple[tuple[str, ...], ...]:
        return tuple(groups for f in self.functions for groups in f.strata)

    def bind(self, frame: Frame, order: IntArray) -> BoundVariance:
        labels = tuple(_letters(i) for i in range(len(self.functions)))
        return Product(tuple(f.bind(frame, order) for f in self.functions), labels)


def _letters(i: int) -> str:
    """A, B, ..., Z, AA, ..."""
    return (_letters(i // 26 - 1) if i >= 26 else "") + chr(ord("A") + i % 26)
