"""The fitting verbs: each composes the steps, nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import ArrayLike

from mixedfit.design import Design
from mixedfit.errors import FormulaError, MixedfitError
from mixedfit.fit import fit_design
from mixedfit.formula import parse
from mixedfit.likelihood import Method
from mixedfit.optimize import Control
from mixedfit.results import MixedResults
from mixedfit.rows import NaAction, RowOptions

__all__ = ["lmer"]


def lmer(
    formula: str,
    data: Any,
    *,
    method: Method = "REML",
    weights: str | ArrayLike | None = None,
    offset: str | ArrayLike | None = None,
    subset: str | ArrayLike | None = None,
    na_action: NaAction = "drop",
    contrasts: Mapping[str, str | ArrayLike] | None = None,
    start: ArrayLike | None = None,
    control: Control | None = None,
) -> MixedResults:
    """Fit a linear mixed model written as an lme4 formula.

    Parameters
    ----------
    formula : str
        Such as ``"Reaction ~ Days + (Days | Subject)"``: lme4's language, R's spellings included.
    data : pandas, polars or pyarrow frame, or dict of columns
        Not changed.
    method : {"REML", "ML"}
        Restricted or full maximum likelihood.
    weights : str or array, optional
        Precision weights w, a column or one number a row: residual variance ``sigma**2 / w``.
    offset : str or array, optional
        A known part of the mean, in units of the response.
    subset : str or array of bool, optional
        Rows to use: an expression such as ``"Days >= 2"``, or a mask.
    na_action : {"drop", "raise"}
        Leave out rows with missing values (`MixedResults.n_missing` counts them) or refuse them.
    contrasts : dict, optional
        Coding of factors by name: "treatment" (the default), "sum", "helmert", "poly" or a matrix.
    start : array, optional
        Where to start the search: theta as lme4 lists it.
    control : Control, optional
        How far and how long to search.

    Returns
    -------
    MixedResults

    Raises
    ------
    FormulaError, DataError, ModelError
        All of them `MixedfitError` and `ValueError`; the message names the term, column or level.

    Notes
    -----
    The model is ``y = X b + Z u + e`` with ``u ~ N(0, sigma^2 G)``, ``e ~ N(0, sigma^2 / w)``; the
    criterion is profiled over b and sigma as in Bates et al. (2015), J. Stat. Softw. 67(1).

    Examples
    --------
    >>> import mixedfit as mf
    >>> fit = mf.lmer("Reaction ~ Days + (Days | Subject)", mf.datasets.load("sleepstudy"))
    >>> fit.params.round(3).to_dict()
    {'Intercept': 251.405, 'Days': 10.467}
    """
    if method not in ("REML", "ML"):
        raise MixedfitError(f"method must be 'REML' or 'ML', not {method!r}")
    parsed = parse(formula)
    if not parsed.random:
        raise FormulaError(f"{formula!r} has no random term; add one, such as '(1 | group)'")
    design = Design.build(parsed, data, RowOptions(subset, weights, offset, na_action), contrasts)
    return MixedResults(fit_design(design, method, start=start, control=control))
