"""The same model fitted by other software, and how far apart the results are."""

from __future__ import annotations

import csv
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mixedfit.arrays import Array, IntArray
from mixedfit.covariance import Diagonal, Unstructured
from mixedfit.errors import MixedfitError
from mixedfit.fit import Fit
from mixedfit.frames import is_nested
from mixedfit.report import standard_errors
from mixedfit.results import MixedResults
from mixedfit.varcorr import variance_components
from mixedfit.vcov import standard_errors_of_sds

__all__ = ["CrossCheck", "crosscheck"]

# Dense random-effects columns (rows times columns) above which MixedLM takes hours.
_MOST_DENSE = 500_000

_NO_OTHER = (
    "statsmodels, lme4: not compared, both take random effects and residuals without a structure; "
    "nlme takes any of them"
)


@dataclass(frozen=True)
class CrossCheck:
    """Results of other software beside ours.

    Attributes
    ----------
    table : DataFrame
        One row a quantity and software: software, quantity, ours, theirs, in_se (the difference in
        our standard errors; missing for the log-likelihood).
    notes : tuple of str
        What could not be compared, and why.
    """

    table: pd.DataFrame
    notes: tuple[str, ...]

    def to_frame(self) -> pd.DataFrame:
        """The table."""
        return self.table

    @property
    def largest(self) -> float:
        """The largest difference, in standard errors; nan where nothing was compared."""
        return float(self.table["in_se"].abs().max())

    def __repr__(self) -> str:
        parts = []
        if not self.table.empty:
            shown = {"in_se": lambda x: "" if np.isnan(x) else f"{x:.1e}"}
            parts.append(self.table.to_string(index=False, formatters=shown))
        return "\n".join([*parts, *self.notes])


@dataclass(frozen=True)
class _Quantities:
    """What is compared: fixed effects, standard deviations by factor, sigma, log-likelihood."""

    params: Array
    sds: list[Array]
    sigma: float
    llf: float


class _CannotError(Exception):
    """The other software cannot express or fit the model."""


def crosscheck(fit: MixedResults) -> CrossCheck:
    """Fit the same model with statsmodels and, where it is on the machine, with R's lme4.

    Both are given the arrays of our fit, not the formula, so a difference is one of estimation.

    Parameters
    ----------
    fit : MixedResults

    Returns
    -------
    CrossCheck
        It prints as a table, with a line for each software that could not be asked.

    Examples
    --------
    >>> import mixedfit as mf
    >>> fit = mf.lmer("Reaction ~ Days + (1 | Subject)", mf.datasets.load("sleepstudy"))
    >>> mf.crosscheck(fit).largest < 0.01
    True
    """
    if not isinstance(fit, MixedResults):
        raise MixedfitError(f"crosscheck takes a fit such as lmer() returns, not {fit!r}")
    core = fit.fit
    if not core.design.terms or core.design.residual is not None:
        return CrossCheck(_table([]), (_NO_OTHER,))
    rows: list[tuple[str, str, float, float, float]] = []
    notes = []
    for software, run in (("statsmodels", _statsmodels), ("lme4", _lme4)):
        try:
            theirs = run(core)
        except _CannotError as reason:
            notes.append(f"{software}: not compared, {reason}")
            continue
        rows.extend((software, *row) for row in _compared(core, theirs))
    return CrossCheck(_table(rows), tuple(notes))


def _table(rows: list[tuple[str, str, float, float, float]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["software", "quantity", "ours", "theirs", "in_se"])


def _compared(fit: Fit, theirs: _Quantities) -> Iterator[tuple[str, float, float, float]]:
    """Quantity, ours, theirs and their difference in standard errors."""
    for name, ours, other, se in zip(
        fit.design.names, fit.estimate.beta, theirs.params, standard_errors(fit), strict=True
    ):
        yield name, ours, other, (ours - other) / se
    errors, residual_error = standard_errors_of_sds(fit)
    for (group, sd), other_sds, error in zip(
        variance_components(fit).sd.items(), theirs.sds, errors, strict=True
    ):
        for name, ours, other, se in zip(sd.index, sd, other_sds, error, strict=True):
            yield f"sd({name} | {group})", ours, other, (ours - other) / se if se > 0 else np.nan
    sigma = fit.estimate.sigma
    yield "sigma", sigma, theirs.sigma, (sigma - theirs.sigma) / residual_error
    yield "log-likelihood", fit.llf, theirs.llf, np.nan


# -- statsmodels -------------------------------------------------------------------------------


def _statsmodels(fit: Fit) -> _Quantities:
    if find_spec("statsmodels") is None:
        raise _CannotError("it is not installed (pip install 'mixedfit[statsmodels]')")
    design = fit.design
    if design.weights is not None:
        raise _CannotError("MixedLM has no precision weights")
    groups, correlated, components = _as_mixed_lm(fit)
    import statsmodels.regression.mixed_linear_model as lm  # noqa: PLC0415  slow to import

    y = design.y if design.offset is None else design.y - design.offset
    exog_re = None if correlated is None else design.terms[correlated].Z
    model = lm.MixedLM(
        y, design.X, groups, exog_re=exog_re, exog_vc=_variance_exog(fit, groups, components)
    )
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = model.fit(reml=fit.method == "REML", method=["bfgs", "lbfgs", "cg"])
    scale = float(result.scale)
    sds = [np.zeros(len(C)) for C in fit.estimate.covariances]
    if correlated is not None:
        term = fit.estimate.terms[correlated]
        sds[term.factor][term.columns] = np.sqrt(np.diagonal(np.asarray(result.cov_re)))
    variances = dict(zip(model.exog_vc.names, np.asarray(result.vcomp), strict=True))
    for t, a in components:
        term = fit.estimate.terms[t]
        place = term.columns.start + a
        sds[term.factor][place] = np.sqrt(max(float(variances[f"{t}:{a}"]), 0.0))
    return _Quantities(np.asarray(result.fe_params), sds, np.sqrt(scale), float(result.llf))


def _as_mixed_lm(fit: Fit) -> tuple[IntArray, int | None, list[tuple[int, int]]]:
    """Groups of rows, the term with correlated columns, and (term, column) of the others."""
    design, n = fit.design, fit.n
    correlated = None
    components: list[tuple[int, int]] = []
    outermost = len(design.factors) - 1  # factors are sorted by decreasing number of levels
    codes: IntArray = design.factors[outermost].codes
    nested = all(is_nested(factor.codes, codes) for factor in design.factors)
    if not nested:
        codes = np.zeros(n, dtype=int)
        effects = sum(
            f.n_levels * C.shape[0]
            for f, C in zip(design.factors, fit.estimate.covariances, strict=True)
        )
        if n * effects > _MOST_DENSE:
            raise _CannotError(
                f"MixedLM holds crossed factors as dense columns, {n} x {effects} here: too many"
            )
    for t, term in enumerate(design.terms):
        k = term.Z.shape[1]
        if isinstance(term.structure, Diagonal) and (k == 1 or not term.structure.homogeneous):
            components.extend((t, a) for a in range(k))
        elif isinstance(term.structure, Unstructured) and nested and term.factor == outermost:
            if correlated is not None:
                raise _CannotError("MixedLM allows one term with correlated effects")
            correlated = t
        else:
            raise _CannotError(
                f"MixedLM has no {term.effect.label}: only the outermost factor has correlations"
            )
    return codes, correlated, components


def _variance_exog(fit: Fit, groups: IntArray, components: list[tuple[int, int]]) -> Any:
    """The columns of the uncorrelated effects, level by level, in each group of rows."""
    if not components:
        return None
    from statsmodels.regression.mixed_linear_model import VCSpec  # noqa: PLC0415

    design = fit.design
    rows_of = {g: np.flatnonzero(groups == g) for g in np.unique(groups)}
    names, columns, matrices = [], [], []
    for t, a in components:
        term = design.terms[t]
        codes, z = design.factors[term.factor].codes, term.Z[:, a]
        names.append(f"{t}:{a}")
        of_groups, labels = [], []
        for rows in rows_of.values():
            levels, place = np.unique(codes[rows], return_inverse=True)
            matrix = np.zeros((len(rows), len(levels)))
            matrix[np.arange(len(rows)), place] = z[rows]
            of_groups.append(matrix)
            labels.append([str(level) for level in levels])
        matrices.append(of_groups)
        columns.append(labels)
    return VCSpec(names, columns, matrices)


# -- lme4 --------------------------------------------------------------------------------------

_R_SCRIPT = """
args <- commandArgs(trailingOnly = TRUE)
if (!requireNamespace("lme4", quietly = TRUE)) quit(status = 3)
d <- read.csv(args[1])
for (g in grep("^g[0-9]+$", names(d), value = TRUE)) d[[g]] <- factor(d[[g]])
control <- lme4::lmerControl(check.rankX = "ignore", check.scaleX = "ignore", calc.derivs = FALSE,
  check.nobs.vs.nRE = "ignore", check.nobs.vs.rankZ = "ignore",
  optimizer = "nloptwrap", optCtrl = list(xtol_abs = 1e-10, ftol_abs = 1e-12, maxeval = 1e5))
fit <- suppressMessages(lme4::lmer(as.formula(args[2]), d, REML = args[3] == "REML",
  weights = d$w, offset = d$o, control = control))
out <- function(name, x) cat(name, format(x, digits = 17), sep = ",", fill = 1e6)
out("params", lme4::fixef(fit))
out("sigma", sigma(fit))
out("llf", as.numeric(logLik(fit)))
v <- as.data.frame(lme4::VarCorr(fit))
v <- v[is.na(v$var2) & v$grp != "Residual", ]
for (i in seq_len(nrow(v))) out(v$var1[i], v$sdcor[i])
"""


def _lme4(fit: Fit) -> _Quantities:
    rscript = shutil.which("Rscript")
    if rscript is None:
        raise _CannotError("Rscript is not on this machine")
    columns, formula = _as_lmer(fit)
    with tempfile.TemporaryDirectory() as folder:
        data, script = Path(folder) / "data.csv", Path(folder) / "fit.R"
        pd.DataFrame(columns).to_csv(data, index=False, float_format="%.17g")
        script.write_text(_R_SCRIPT, encoding="utf-8")
        done = subprocess.run(  # noqa: S603  our own script
            [rscript, "--vanilla", str(script), str(data), formula, fit.method],
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode == 3:
        raise _CannotError("R is here but lme4 is not")
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise _CannotError(f"lme4 stopped: {lines[-1]}")
    values = {
        row[0]: np.array([cell for cell in row[1:] if cell], dtype=float)
        for row in csv.reader(done.stdout.splitlines())
    }
    sds = [np.zeros(len(C)) for C in fit.estimate.covariances]
    for t, term in enumerate(fit.estimate.terms):
        sds[term.factor][term.columns] = [
            values[f"z{t}_{a}"][0] for a in range(term.structure.size)
        ]
    return _Quantities(values["params"], sds, float(values["sigma"][0]), float(values["llf"][0]))


def _as_lmer(fit: Fit) -> tuple[dict[str, Any], str]:
    """The design's arrays as columns, and an lme4 formula in them."""
    design = fit.design
    columns: dict[str, Any] = {
        "y": design.y,
        "w": np.ones(fit.n) if design.weights is None else design.weights,
        "o": np.zeros(fit.n) if design.offset is None else design.offset,
    }
    fixed = [f"x{j}" for j in range(fit.p)]
    columns.update(zip(fixed, design.X.T, strict=True))
    for f, factor in enumerate(design.factors):
        columns[f"g{f}"] = factor.codes
    parts = ["0", *fixed]
    for t, term in enumerate(design.terms):
        names = [f"z{t}_{a}" for a in range(term.Z.shape[1])]
        columns.update(zip(names, term.Z.T, strict=True))
        if isinstance(term.structure, Unstructured):
            parts.append(f"(0 + {' + '.join(names)} | g{term.factor})")
        elif isinstance(term.structure, Diagonal) and (
            len(names) == 1 or not term.structure.homogeneous
        ):
            parts.extend(f"(0 + {name} | g{term.factor})" for name in names)
        else:
            raise _CannotError(f"lme4 before 2.0 has no {term.effect.label}")
    return columns, f"y ~ {' + '.join(parts)}"
