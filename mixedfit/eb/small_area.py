"""Small areas: the Fay-Herriot model of direct estimates and its mean squared errors."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from mixedfit.arrays import Array
from mixedfit.design import Design
from mixedfit.eb.estimates import Estimates, read_standard_errors
from mixedfit.eb.heterogeneity import Method, Units, tau2_se
from mixedfit.eb.hyperparameters import Bootstrap, Uncertainty, read_uncertainty
from mixedfit.eb.normal_prior import NormalModel, shrink_normal
from mixedfit.eb.parts import parts
from mixedfit.eb.shrinkage import Shrinkage
from mixedfit.errors import DataError, FormulaError, check_level
from mixedfit.formula import parse
from mixedfit.frames import Labels, column_names, read_frame
from mixedfit.matrices import variables

__all__ = ["fay_herriot"]


def fay_herriot(
    formula: str,
    data: Any,
    se: str | ArrayLike,
    *,
    method: str = "reml",
    test: str = "z",
    uncertainty: Uncertainty = "plugin",
    labels: str | None = None,
    level: float = 0.95,
) -> Shrinkage:
    """Combine direct estimates of areas with a regression on covariates.

    Parameters
    ----------
    formula : str
        Direct estimate and covariates, ``"income ~ rent + C(region)"``.
    data : pandas, polars or pyarrow frame, or dict of columns
        One row an area. Rows that miss a value of the formula are left out.
    se : str or array-like of shape (rows,)
        Column of the direct estimates' standard errors, or the numbers.
    method, test, uncertainty, level
        As `normal_means`. "moments" is Prasad and Rao's estimator, "paule-mandel" Fay and Herriot's
        own.
    labels : str, optional
        Column that names the areas; the frame's index by default.

    Returns
    -------
    Shrinkage
        With ``mse``, the estimated mean squared error of each area's posterior mean, tau^2
        estimated: Prasad and Rao's for "moments", Datta and Lahiri's for "reml" and "ml", Datta,
        Rao and Smith's for "paule-mandel", Butar and Lahiri's parametric bootstrap with
        ``uncertainty="bootstrap"``; missing for other methods.

    Raises
    ------
    FormulaError
        If the formula cannot be read, or has random terms.
    DataError
        If a column is not there, or a standard error is missing, zero or negative.

    Notes
    -----
    With ``g1 = tau^2 B``, ``B = v / (v + tau^2)``, ``g2 = B^2 x' Cov(b) x`` and ``g3 = B^2
    Var(tau^2) / (v + tau^2)``, ``mse = g1 + g2 + 2 g3 - bias(tau^2) B^2`` (Prasad & Rao 1990, JASA
    85; Datta & Lahiri 2000, Stat. Sinica 10; Datta, Rao & Smith 2005, Biometrika 92). The variance
    is that of large J: ``2 / sum w^2`` for the likelihoods.

    Examples
    --------
    >>> import mixedfit as mf
    >>> bcg = mf.datasets.load("bcg")
    >>> result = mf.eb.fay_herriot("yi ~ ablat", bcg, bcg["vi"] ** 0.5, labels="trial")
    >>> round(float(result.prior["tau2"]), 4), round(float(result.mse.iloc[0]), 4)
    (0.0763, 0.0831)
    """
    check_level(level)
    design, estimates = _read(formula, data, se, labels)
    encode = partial(_rows_of, design)
    result = shrink_normal(estimates, method, test, uncertainty, level, encode)
    model = result.behaviour
    assert isinstance(model, NormalModel)
    bootstrap = isinstance(read_uncertainty(uncertainty), Bootstrap)
    values = bootstrap_mse(model) if bootstrap else prasad_rao(model)
    mse = pd.Series(values, index=estimates.labels, name="mse")
    return replace(result, mse=mse, family="fay-herriot")


def _read(
    formula: str, data: Any, se: str | ArrayLike, labels: str | None
) -> tuple[Design, Estimates]:
    parsed = parse(formula)
    if parsed.random:
        raise FormulaError(
            f"{formula!r} has random terms; fay_herriot has one effect an area already. For rows "
            "within areas use mf.eb.nested_error"
        )
    design = Design.build(parsed, data)
    if design.offset is not None:
        raise FormulaError("fay_herriot takes no offset(); subtract it from the response")
    names = [name for name in (se, labels) if isinstance(name, str)]
    frame = read_frame(data, names)
    rows = slice(None) if design.positions is None else design.positions
    given = frame[se] if isinstance(se, str) else se
    if isinstance(given, Labels):
        raise DataError(f"the column {se!r} of standard errors holds labels, not numbers")
    values = np.asarray(given)
    if values.ndim == 1 and len(values) != design.n:
        values = values[rows]
    index = design.index if design.index is not None else pd.RangeIndex(design.n)
    if labels is not None:
        column = frame[labels]
        whole = column.categorical() if isinstance(column, Labels) else column
        index = pd.Index(np.asarray(whole)[rows], name=labels)
    s = read_standard_errors(values, design.n, "the formula")
    estimates = Estimates(design.y, s, index, design.X, tuple(map(str, design.names)))
    return design, estimates


def _rows_of(design: Design, new: Any) -> Array:
    """Rows of X for new areas."""
    if new is None:
        if design.X.shape[1] == 1 and design.intercept == 0:
            return np.ones((1, 1))
        raise DataError("predict() needs a frame with the formula's covariates")
    needed = variables(design.recipe.expression.text)
    if isinstance(new, np.ndarray):
        raise DataError("predict() needs a frame with the formula's covariates, not an array")
    frame = read_frame(new, [name for name in column_names(new) if name in needed])
    if len(frame.columns) < len(needed):
        read_frame(new, sorted(needed))  # says which is missing
    return design.recipe.apply(frame)[:, design.kept]


def prasad_rao(model: NormalModel) -> Array:
    """Mean squared errors of the posterior means to second order, shape (J,).

    Parameters
    ----------
    model : NormalModel

    Returns
    -------
    array of shape (J,)
        In squared units of the estimates; missing for methods without a known bias.
    """
    fit = model.fit
    variance, bias = _tau2_moments(fit.units, fit.tau2, fit.method)
    v, at = fit.units.v, fit.at
    toward = v * at.w[0]
    g1, g2 = fit.tau2 * toward, toward**2 * at.leverage[0]
    g3 = toward**2 * at.w[0] * variance
    return g1 + g2 + 2.0 * g3 - bias * toward**2


def _tau2_moments(units: Units, tau2: float, method: Method) -> tuple[float, float]:
    """Large-sample variance and bias of the estimator of tau^2."""
    at = units.at(tau2)
    w, J = at.w[0], len(units.v)
    if method == "reml":
        return 2.0 / float((w**2).sum()), 0.0
    if method == "ml":
        squares = float((w**2).sum())
        lost = float(np.trace(at.inverse[0] @ at.moment(at.w**2)[0]))
        return 2.0 / squares, -lost / squares
    if method in ("moments", "hedges"):
        return 2.0 * float(((units.v + tau2) ** 2).sum()) / J**2, 0.0
    if method == "paule-mandel":
        one, two = float(w.sum()), float((w**2).sum())
        return 2.0 * J / one**2, 2.0 * (J * two - one**2) / one**3
    if method == "dersimonian-laird":
        return float(tau2_se(units, np.array([tau2]), method)[0]) ** 2, 0.0
    return np.nan, np.nan


def bootstrap_mse(model: NormalModel) -> Array:
    """Mean squared errors of the posterior means by parametric bootstrap, shape (J,).

    Butar and Lahiri (2003, J. Stat. Plan. Inference 112): ``2 g(tau^2) - E g(tau*^2) + E (mean at
    tau* - mean)^2`` with ``g = g1 + g2``, the expectations over refits of simulated data.
    """
    fit = model.fit
    tau2, c = model.replicates
    v, y = fit.units.v, fit.units.y[0]

    def known(values: Array) -> Array:
        at = fit.units.at(values)
        toward = v * at.w
        return at.tau2[:, None] * toward + toward**2 * at.leverage

    mean, _ = fit.at.posterior()
    again = np.zeros_like(v)
    moved = np.zeros_like(v)
    for part in parts(len(tau2), len(v), 2_000_000):
        toward = v / (v + tau2[part, None])
        there = y - toward * (y - c[part] @ fit.units.Q.T)
        again += known(tau2[part]).sum(axis=0)
        moved += ((there - mean[0]) ** 2).sum(axis=0)
    return 2.0 * known(np.array([fit.tau2]))[0] - again / len(tau2) + moved / len(tau2)
