"""A fit's residual structure at rows it did not have: their variances and correlations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mixedfit.arrays import Array, BoolArray
from mixedfit.errors import DataError, MixedfitError, ModelError
from mixedfit.fit import Fit, fitted_of
from mixedfit.frames import Column, Frame, Labels, read_frame
from mixedfit.residual import ResidualStructure, bind_residual, rows_by_group
from mixedfit.residual_form import Classes, classify
from mixedfit.variance_function import VarFunction

__all__ = ["NewCorrelation", "read_new_rows", "scale_of_new_rows"]


def read_new_rows(newdata: Any, columns: Sequence[str], rows: BoolArray) -> Frame:
    """Some columns of some rows of new data."""
    if not columns:
        return Frame(int(rows.sum()), {})
    return read_frame(newdata, list(columns)).take(rows)


def scale_of_new_rows(
    fit: Fit, newdata: Any, rows: BoolArray, predicted: Array
) -> tuple[Array, Array]:
    """Residual standard deviations of new rows relative to sigma.

    Parameters
    ----------
    fit : Fit
    newdata : frame of any kind
    rows : bool array
        The rows of ``newdata`` that are wanted, m of them.
    predicted : array of shape (m,)
        Their predictions, for variance functions of fitted values.

    Returns
    -------
    log_sd : array of shape (m,)
        Logarithms; nan where a covariate is missing.
    derivatives : array of shape (s, m)
        In the residual structure's coordinates delta.

    Raises
    ------
    DataError, ModelError
        If the variance function says nothing of a row.
    """
    residual, variance = fit.design.residual, fit.design.residual_spec.variance
    m = len(predicted)
    derivatives = np.zeros((0 if residual is None else residual.n_params, m))
    log_sd = np.zeros(m)
    if residual is None or variance is None:
        return log_sd, derivatives
    new = read_new_rows(newdata, variance.variables, rows)
    complete = new.complete()
    log_sd[~complete] = derivatives[:, ~complete] = np.nan
    found = _scale(fit, residual, new.take(complete), predicted[complete])
    log_sd[complete] = found[0]
    derivatives[:, complete] = 0.0
    derivatives[len(derivatives) - len(found[1]) :, complete] = found[1]
    return log_sd, derivatives


def _scale(
    fit: Fit, residual: ResidualStructure, new: Frame, predicted: Array
) -> tuple[Array, Array]:
    spec, n = fit.design.residual_spec, residual.n
    assert spec.variance is not None
    assert residual.variance is not None
    assert residual.columns is not None
    own = residual.columns
    joined = _joined(Frame(n, {name: own[name] for name in spec.variance.variables}), new)
    for groups in spec.variance.strata:
        _check_strata(classify(groups, joined), n, spec.variance)
    order = rows_by_group(spec.correlation, own, spec.groups)
    variance = spec.variance.bind(joined, np.append(order, n + np.arange(new.n)))
    if variance.from_fit == "resid":
        raise ModelError("a variance function of residuals says nothing of new rows")
    means = np.concatenate([fitted_of(fit.design, fit.estimate), predicted])
    variance = variance.with_covariate(means, np.zeros_like(means))
    delta = fit.optimum.delta[residual.n_params - variance.n_params :]
    log_sd, derivatives = variance.log_sd(delta)
    return log_sd[n:], derivatives[:, n:]


def _check_strata(strata: Classes, n: int, variance: VarFunction) -> None:
    """Refuse rows after the first n that are in none of their strata."""
    unknown = np.setdiff1d(strata.codes[n:], strata.codes[:n])
    if len(unknown):
        names = ", ".join(repr(strata.labels[i]) for i in unknown[:5])
        raise DataError(
            f"{variance!r}: new rows are in a stratum the fit did not have, {names}, of unknown "
            "variance; leave them out"
        )


class NewCorrelation:
    """The residual correlation of a fit's rows and new ones.

    Parameters
    ----------
    fit : Fit
        With a correlation structure.
    new : Frame
        The m new rows, with the columns of the structure and nothing missing.
    """

    def __init__(self, fit: Fit, new: Frame) -> None:
        residual, self.spec = fit.design.residual, fit.design.residual_spec
        assert residual is not None
        assert residual.columns is not None
        self.residual, self.delta = residual, fit.optimum.delta
        self.n, self.m = residual.n, new.n
        self.joined = _joined(residual.columns, new)

    def products(self, own: Array, delta: Array | None = None) -> Array:
        """``C_no v`` for rows v over the fit's rows, (l, n) to (l, m)."""
        padded = np.concatenate([own, np.zeros((len(own), self.m))], axis=1)
        return self._multiply(padded, delta)[:, self.n :]

    def rows(self, which: slice, delta: Array | None = None) -> Array:
        """Rows of ``C_no``, (l, n)."""
        places = np.arange(self.n, self.n + self.m)[which]
        units = np.zeros((len(places), self.n + self.m))
        units[np.arange(len(places)), places] = 1.0
        return self._multiply(units, delta)[:, : self.n]

    def _multiply(self, V: Array, delta: Array | None) -> Array:
        both = self._bound(self.delta if delta is None else delta)
        return both.at(np.zeros(0)).multiply(V)

    def _bound(self, delta: Array) -> ResidualStructure:
        """The correlation held at coordinates delta of the fit's structure."""
        own = self.residual.correlation
        assert self.spec.correlation is not None
        assert own is not None
        held = self.spec.correlation.held_at(own.natural(delta[: own.n_params])[1])
        try:
            both = bind_residual(held, None, self.joined, self.spec.groups)
        except MixedfitError as error:
            raise DataError(
                f"residuals of new rows cannot be told from the fit's: {error}. New rows must "
                "stand at times or positions of their own, where the structure gives a correlation"
            ) from None
        assert both is not None
        return both


def _joined(own: Frame, new: Frame) -> Frame:
    """Rows of two frames, one below the other."""
    columns = {name: _stacked(own[name], new[name]) for name in own.columns}
    return Frame(own.n + new.n, columns)


def _stacked(own: Column, new: Column) -> Column:
    if not isinstance(own, Labels) and not isinstance(new, Labels):
        return np.concatenate([own, new])
    own, new = Labels.of(own), Labels.of(new)
    codes = new.matched(own.levels).codes
    unknown = codes < 0
    fresh, places = np.unique(new.codes[unknown], return_inverse=True)
    codes[unknown] = len(own.levels) + places
    levels = own.levels.append(new.levels[fresh])
    return Labels(np.concatenate([own.codes, codes]), levels, own.ordered)
