"""The fitting verbs: each composes the steps, nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import ArrayLike

from mixedfit.correlation_structure import CorStructure
from mixedfit.design import Design, ResidualSpec
from mixedfit.errors import FormulaError, MixedfitError, ModelError
from mixedfit.fit import fit_design
from mixedfit.formula import Formula, parse
from mixedfit.likelihood import Method
from mixedfit.optimize import Control
from mixedfit.random_part import Random, lme_formula
from mixedfit.results import MixedResults
from mixedfit.rows import NaAction, RowOptions
from mixedfit.variance_function import VarFixed, VarFunction

__all__ = ["gls", "lme", "lmer"]


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
    correlation: CorStructure | None = None,
    variance: VarFunction | None = None,
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
    correlation : CorStructure, optional
        Correlation of the residuals, such as ``CorAR1(form="~ Days | Subject")``. The form names
        its groups, which may cut across the grouping factors of the formula.
    variance : VarFunction, optional
        Variance of the residuals, such as ``VarPower(form="~ Days")``, on top of the weights.
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
    The model is ``y = X b + Z u + e`` with ``u ~ N(0, sigma^2 G)``, ``e ~ N(0, sigma^2 R)``, where
    R is ``1 / w`` on the diagonal unless correlation or variance say more; the criterion is
    profiled over b and sigma as in Bates et al. (2015), J. Stat. Softw. 67(1).

    Examples
    --------
    >>> import mixedfit as mf
    >>> sleepstudy = mf.datasets.load("sleepstudy")
    >>> fit = mf.lmer("Reaction ~ Days + (Days | Subject)", sleepstudy)
    >>> fit.params.round(3).to_dict()
    {'Intercept': 251.405, 'Days': 10.467}
    >>> ar1 = mf.CorAR1(form="~ Days | Subject")
    >>> fit = mf.lmer("Reaction ~ Days + (1 | Subject)", sleepstudy, correlation=ar1)
    >>> fit.residual_params.round(3).to_dict()
    {'Phi': 0.653}
    """
    parsed = parse(formula)
    if not parsed.random:
        raise FormulaError(
            f"{formula!r} has no random term; add one, such as '(1 | group)', or call gls()"
        )
    _check_method(method)
    if isinstance(weights, VarFunction):
        raise ModelError(
            f"lmer takes precision weights in weights= and variance functions in variance=: write "
            f"variance={weights!r}"
        )
    residual = ResidualSpec(correlation, variance, _default_groups(parsed, correlation))
    design = Design.build(
        parsed, data, RowOptions(subset, weights, offset, na_action), contrasts, residual
    )
    return MixedResults(fit_design(design, method, start=start, control=control))


def lme(
    fixed: str,
    random: Random,
    data: Any,
    *,
    method: Method = "REML",
    correlation: CorStructure | None = None,
    weights: VarFunction | str | None = None,
    subset: str | ArrayLike | None = None,
    na_action: NaAction = "raise",
    contrasts: Mapping[str, str | ArrayLike] | None = None,
    control: Control | None = None,
) -> MixedResults:
    """Fit a linear mixed model written as a call of nlme's lme.

    Parameters
    ----------
    fixed : str
        Response and fixed effects, ``"distance ~ age"``.
    random : str or dict
        ``"~ age | Subject"``; nested groups ``"~ 1 | School/Class"``; or by level, outermost first,
        ``{"School": "~ x", "Class": PdDiag("~ x")}``.
    data : pandas, polars or pyarrow frame, or dict of columns
        Not changed.
    method : {"REML", "ML"}
        Restricted or full maximum likelihood.
    correlation : CorStructure, optional
        Correlation of the residuals within groups, such as ``CorAR1(form="~ age | Subject")``; a
        form without groups takes the innermost ones.
    weights : VarFunction or str, optional
        Variance of the residuals, such as ``VarIdent(form="~ 1 | Sex")``; a formula ``"~ v"`` is
        ``VarFixed("~ v")``.
    subset : str or array of bool, optional
        Rows to use: an expression such as ``"age >= 10"``, or a mask.
    na_action : {"raise", "drop"}
        Refuse rows with missing values, as nlme does, or leave them out
        (`MixedResults.n_missing` counts them).
    contrasts : dict, optional
        Coding of factors by name: "treatment" (the default), "sum", "helmert", "poly" or a matrix.
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
    The model is ``y = X b + Z u + e`` with ``u ~ N(0, sigma^2 G)`` and ``e ~ N(0, sigma^2 R)``,
    ``R = S C S`` of the variance function S and the correlation C (Pinheiro & Bates 2000,
    Mixed-Effects Models in S and S-PLUS, chapter 5). A variance function of the fitted values is
    held at those of the last round while the criterion is minimised, until neither moves.

    Examples
    --------
    >>> import mixedfit as mf
    >>> sleepstudy = mf.datasets.load("sleepstudy")
    >>> ar1 = mf.CorAR1(form="~ Days | Subject")
    >>> fit = mf.lme("Reaction ~ Days", "~ Days | Subject", sleepstudy, correlation=ar1)
    >>> fit.residual_params.round(3).to_dict()
    {'Phi': 0.492}
    """
    parsed = lme_formula(fixed, random)
    _check_method(method)
    groups = parsed.random[-1].group
    residual = ResidualSpec(correlation, _variance(weights), groups, within=groups)
    rows = RowOptions(subset, na_action=na_action)
    design = Design.build(parsed, data, rows, contrasts, residual)
    return MixedResults(fit_design(design, method, control=control, verb="lme"))


def gls(
    formula: str,
    data: Any,
    *,
    method: Method = "REML",
    correlation: CorStructure | None = None,
    weights: VarFunction | str | None = None,
    subset: str | ArrayLike | None = None,
    na_action: NaAction = "raise",
    contrasts: Mapping[str, str | ArrayLike] | None = None,
    control: Control | None = None,
) -> MixedResults:
    """Fit a linear model with correlated or unequal residuals, as nlme's gls.

    Parameters
    ----------
    formula : str
        Response and coefficients, ``"follicles ~ sin(2 * pi * Time)"``.
    data : pandas, polars or pyarrow frame, or dict of columns
        Not changed.
    method : {"REML", "ML"}
        Restricted or full maximum likelihood.
    correlation : CorStructure, optional
        Correlation of the residuals, such as ``CorAR1(form="~ Time | Mare")``; a form without
        groups puts all rows in one.
    weights : VarFunction or str, optional
        Variance of the residuals, such as ``VarPower(form="~ Time")``; a formula ``"~ v"`` is
        ``VarFixed("~ v")``.
    subset : str or array of bool, optional
        Rows to use: an expression such as ``"Time >= 0"``, or a mask.
    na_action : {"raise", "drop"}
        Refuse rows with missing values, as nlme does, or leave them out
        (`MixedResults.n_missing` counts them).
    contrasts : dict, optional
        Coding of factors by name: "treatment" (the default), "sum", "helmert", "poly" or a matrix.
    control : Control, optional
        How far and how long to search.

    Returns
    -------
    MixedResults
        Without random effects: ``ranef()``, ``coef()`` and ``varcorr.cov`` are empty.

    Raises
    ------
    FormulaError, DataError, ModelError
        All of them `MixedfitError` and `ValueError`; the message names the term, column or level.

    Notes
    -----
    The model is ``y = X b + e`` with ``e ~ N(0, sigma^2 R)``; see `lme` for R.

    Examples
    --------
    >>> import mixedfit as mf
    >>> sleepstudy = mf.datasets.load("sleepstudy")
    >>> ar1 = mf.CorAR1(form="~ Days | Subject")
    >>> fit = mf.gls("Reaction ~ Days", sleepstudy, correlation=ar1)
    >>> fit.residual_params.round(3).to_dict()
    {'Phi': 0.8}
    """
    parsed = _without_bars(formula, "gls", "random= of lme()")
    _check_method(method)
    residual = ResidualSpec(correlation, _variance(weights))
    rows = RowOptions(subset, na_action=na_action)
    design = Design.build(parsed, data, rows, contrasts, residual)
    return MixedResults(fit_design(design, method, control=control, verb="gls"))


def _default_groups(formula: Formula, correlation: CorStructure | None) -> tuple[str, ...]:
    """Columns of the innermost grouping factor, where the others hold it."""
    groups = [effect.group for effect in formula.random]
    innermost = max(groups, key=len)
    if all(set(group) <= set(innermost) for group in groups):
        return innermost
    if isinstance(correlation, CorStructure) and not correlation.groups:
        raise ModelError(
            f"{type(correlation).__name__}: the grouping factors are not nested, so its form must "
            f"name the groups of rows, as in '~ 1 | {groups[0][0]}'"
        )
    return ()


def _variance(weights: VarFunction | str | None) -> VarFunction | None:
    """A variance function; a one-sided formula is a known variance, as in nlme."""
    if isinstance(weights, str) and weights.strip().startswith("~"):
        return VarFixed(weights)
    return weights  # type: ignore[return-value]


def _check_method(method: str) -> None:
    if method not in ("REML", "ML"):
        raise MixedfitError(f"method must be 'REML' or 'ML', not {method!r}")


def _without_bars(formula: str, verb: str, where: str) -> Formula:
    """A formula whose random terms, if any, stand in the wrong place."""
    parsed = parse(formula)
    if parsed.random:
        raise FormulaError(
            f"{verb}() takes random effects in {where}, not in the formula; {formula!r} has "
            f"{parsed.random[0].label}: move it there, or call lmer()"
        )
    return parsed
