"""Nested grouping levels, as nlme counts them: fitted values, covariances within a group."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pandas as pd

from mixedfit.arrays import Array, IntArray
from mixedfit.errors import DataError, ModelError
from mixedfit.fit import Fit
from mixedfit.frames import is_nested, label_text
from mixedfit.predict import predict

__all__ = ["CovarianceType", "fitted_at", "group_covariance", "nested_factors"]

CovarianceType = Literal["marginal", "conditional"]


def nested_factors(
    fit: Fit, remedy: str = "name factors instead, as in predict(groups=['name'])"
) -> list[int]:
    """The grouping factors from the outermost to the innermost.

    Parameters
    ----------
    fit : Fit
    remedy : str
        What to do where they are not nested, for the message.

    Raises
    ------
    ModelError
        If they are not nested.
    """
    factors = fit.design.factors
    order = sorted(range(len(factors)), key=lambda f: factors[f].n_levels)
    for outer, inner in pairwise(order):
        if not is_nested(factors[inner].codes, factors[outer].codes):
            raise ModelError(
                f"{factors[inner].name!r} is not nested in {factors[outer].name!r}, so that there "
                f"is no order of levels; {remedy}"
            )
    return order


def fitted_at(fit: Fit, level: int | None = None) -> pd.Series:
    """Fitted values at a level: 0 the population, 1 the outermost groups, ... the innermost.

    Raises
    ------
    ModelError
        If there is no such level, or the grouping factors are not nested.
    """
    order = nested_factors(fit)
    deepest = len(order)
    chosen = deepest if level is None else level
    if isinstance(chosen, bool) or not isinstance(chosen, int | np.integer):
        raise ModelError(f"level must be a whole number from 0 to {deepest}, not {level!r}")
    if not 0 <= chosen <= deepest:
        names = " > ".join(fit.design.factors[f].name for f in order) or "none"
        raise ModelError(
            f"level must be from 0 (population) to {deepest} (grouping factors, outermost first: "
            f"{names}), not {level!r}"
        )
    groups = [fit.design.factors[f].name for f in order[:chosen]]
    return predict(fit, groups=groups or "none")


def group_covariance(
    fit: Fit, level: Any, kind: CovarianceType = "marginal", group: str | None = None
) -> pd.DataFrame:
    """Covariance of the responses of one group.

    Parameters
    ----------
    fit : Fit
    level : label
        The group's; a tuple or ``"a/b"`` for combinations.
    kind : {"marginal", "conditional"}
        Over all groups like it, ``Z G Z' + sigma^2 R``, or given its random effects,
        ``sigma^2 R``.
    group : str, optional
        A grouping factor; by default the outermost, or the groups of the correlation in gls.

    Returns
    -------
    DataFrame
        One row and column a row of the group, in squared units of the response.

    Raises
    ------
    DataError, ModelError
        If there is no such group.
    """
    if kind not in ("marginal", "conditional"):
        raise ModelError(f"type must be 'marginal' or 'conditional', not {kind!r}")
    rows = _rows_of(fit, level, group)
    V = _residual_covariance(fit, rows)
    if kind == "marginal":
        design = fit.design
        for factor, Z, C in zip(
            design.factors, design.factor_columns, fit.estimate.covariances, strict=True
        ):
            codes = factor.codes[rows]
            V += np.where(codes[:, None] == codes, Z[rows] @ C @ Z[rows].T, 0.0)
    index = pd.RangeIndex(fit.n) if fit.design.index is None else fit.design.index
    return pd.DataFrame(V, index=index[rows], columns=index[rows])


def _residual_covariance(fit: Fit, rows: IntArray) -> Array:
    """``sigma^2 R`` of some rows."""
    unit = np.zeros((len(rows), fit.n))
    unit[np.arange(len(rows)), rows] = 1.0
    R = unit[:, rows] if fit.whitening is None else fit.whitening.multiply(unit)[:, rows]
    V = fit.estimate.sigma**2 * R
    if fit.design.weights is not None:
        root = np.sqrt(fit.design.weights[rows])
        V /= np.outer(root, root)
    return V


def _rows_of(fit: Fit, level: Any, group: str | None) -> IntArray:
    """The rows of one group."""
    codes, labels, name = _groups(fit, group)
    wanted = _spelled(level)
    places = [i for i, label in enumerate(labels) if label == wanted]
    if not places:
        shown = ", ".join(repr(label) for label in labels[:5])
        raise DataError(
            f"{name} has no level {wanted!r}; its levels are {shown}"
            f"{', ...' if len(labels) > 5 else ''}"
        )
    return np.flatnonzero(codes == places[0])


def _groups(fit: Fit, group: str | None) -> tuple[IntArray, list[str], str]:
    """Codes, labels and name of the groups asked for."""
    factors, residual = fit.design.factors, fit.design.residual
    if factors:
        names = [factor.name for factor in factors]
        if group is not None and group not in names:
            raise ModelError(f"group must be one of {', '.join(map(repr, names))}, not {group!r}")
        remedy = "say whose level this is with group="
        chosen = nested_factors(fit, remedy)[0] if group is None else names.index(group)
        factor = factors[chosen]
        return factor.codes, [_spelled(label) for label in factor.levels], repr(factor.name)
    if group is not None:
        raise ModelError("this fit has no grouping factors; leave group out")
    if residual is None or residual.groups is None:
        raise ModelError(
            "no two rows of this model are correlated: it has neither random effects nor a "
            "correlation structure"
        )
    labels = [label.replace("*", ":") for label in residual.groups.labels]
    return residual.groups.codes, labels, "the correlation"


def _spelled(level: Any) -> str:
    """One spelling of a level's label: parts joined by a colon."""
    if isinstance(level, tuple):
        return ":".join(_spelled(part) for part in level)
    return label_text(level).replace("/", ":").replace("*", ":")
