"""A fit told in tables: the summary, and broom's tidy, glance and augment."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from mixedfit.arrays import Array
from mixedfit.coefficients import coefficient_table, t_table
from mixedfit.ddf import Ddf, inference
from mixedfit.errors import MixedfitError
from mixedfit.explain import zero_columns
from mixedfit.fit import Fit
from mixedfit.frames import label_text
from mixedfit.noted import beside
from mixedfit.predict import fitted_values, residuals
from mixedfit.residual_form import classify, parse_form
from mixedfit.summary import Summary, Table, TableColumn, format_numbers, format_p_values
from mixedfit.varcorr import VarCorr, variance_components
from mixedfit.variance_function import VarIdent
from mixedfit.vcov import model_covariance

__all__ = [
    "augment",
    "glance",
    "residual_parameters",
    "singular_text",
    "summarise",
    "tidy",
]


def summarise(fit: Fit, ddf: Ddf | None = None) -> Summary:
    """The whole fit for reading."""
    design, optimum = fit.design, fit.optimum
    criterion = "REML criterion" if fit.method == "REML" else "-2 log likelihood"
    maximised = (
        "restricted maximum likelihood (REML)" if fit.method == "REML" else "maximum likelihood"
    )
    counts = ", ".join(f"{f.name} {f.n_levels}" for f in design.factors)
    facts = [
        ("Formula", " ".join(design.formula.text.split())),
        ("Observations", f"{design.n}; levels: {counts}" if counts else str(design.n)),
        (criterion, f"{optimum.fun:.4f}"),
        ("AIC, BIC", f"{akaike(fit):.2f}, {bayes(fit):.2f}"),
        ("Verdict", f"{optimum.status}: {optimum.message}"),
    ]
    facts += [("Without variance", text) for text in singular_text(fit)]
    facts += _known(fit)
    if design.n_missing:
        rows = "1 row" if design.n_missing == 1 else f"{design.n_missing} rows"
        facts.append(("Left out", f"{rows} with missing values"))
    if design.dropped:
        facts.append(
            ("Dropped columns", f"{', '.join(design.dropped)} (they repeat other columns)")
        )
    tables = [
        _scaled_residuals(fit),
        _random_effects(variance_components(fit)),
        _fixed_effects(fit, ddf),
    ]
    if design.residual is not None:
        tables.insert(2, _residual_structure(fit))
    model = "Linear mixed model" if design.terms else "Linear model by generalised least squares,"
    return Summary(f"{model} fitted by {maximised}", facts, tables)


def _known(fit: Fit) -> list[tuple[str, str]]:
    """Weights and offset, which the formula does not show."""
    design, facts = fit.design, []
    if design.weights is not None:
        low, high = format_numbers([design.weights.min(), design.weights.max()])
        facts.append(("Precision weights", f"{low} to {high}"))
    if design.offset is not None:
        low, high = format_numbers([design.offset.min(), design.offset.max()])
        facts.append(("Offset", f"{low} to {high}"))
    return facts


def residual_parameters(fit: Fit) -> pd.Series:
    """Correlation and variance-function parameters on their own scale, named as nlme does."""
    residual = fit.design.residual
    names, values = ([], np.zeros(0)) if residual is None else residual.describe(fit.optimum.delta)
    return pd.Series(values, index=pd.Index(names, dtype=object), name="residual_params")


def _residual_structure(fit: Fit) -> Table:
    parameters = residual_parameters(fit)
    columns = [
        TableColumn("Structure", _structures(fit, len(parameters)), "left"),
        TableColumn("Parameter", list(parameters.index), "left"),
        TableColumn("Estimate", format_numbers(parameters.to_numpy())),
    ]
    notes = [*fit.design.residual_spec.parts, *_reference_stratum(fit, list(parameters.index))]
    return Table("Residual correlation and variance", columns, notes)


def _reference_stratum(fit: Fit, names: list[str]) -> list[str]:
    """Where the standard deviation is sigma, to which those of VarIdent are ratios."""
    variance, residual = fit.design.residual_spec.variance, fit.design.residual
    if not isinstance(variance, VarIdent) or residual is None or residual.columns is None:
        return []
    groups = parse_form(variance.form, "VarIdent").groups
    held = variance.fixed if isinstance(variance.fixed, Mapping) else ()
    known = {*names, *map(label_text, held)}
    strata = classify(groups, residual.columns).labels
    reference = [label for label in strata if label not in known]
    where = " and ".join(groups)
    return [f"VarIdent: ratios to the standard deviation where {where} is {reference[0]}"]


def _structures(fit: Fit, count: int) -> list[str]:
    """The class each residual parameter belongs to, said once."""
    spec, residual = fit.design.residual_spec, fit.design.residual
    assert residual is not None
    n_variance = 0 if residual.variance is None else residual.variance.n_params
    n_correlation = count - n_variance
    out = [""] * count
    if n_correlation:
        out[0] = type(spec.correlation).__name__
    if n_variance:
        out[n_correlation] = type(spec.variance).__name__
    return out


def _scaled_residuals(fit: Fit) -> Table:
    quantiles = np.quantile(residuals(fit, "pearson"), [0.0, 0.25, 0.5, 0.75, 1.0])
    names = ("Min", "1Q", "Median", "3Q", "Max")
    columns = [TableColumn(n, [f"{q:.3f}"]) for n, q in zip(names, quantiles, strict=True)]
    return Table("Scaled residuals", columns)


def _random_effects(varcorr: VarCorr) -> Table:
    groups, names, sds, correlations = [], [], [], []
    corr = varcorr.corr
    for group, sd in varcorr.sd.items():
        R = corr[group].to_numpy()
        before: dict[int, list[int]] = {
            i: block[:place] for block in varcorr.blocks[group] for place, i in enumerate(block)
        }
        for i, (name, value) in enumerate(sd.items()):
            groups.append(group if i == 0 else "")
            names.append(str(name))
            sds.append(float(value))
            correlations.append(["" if np.isnan(r) else f"{r:.2f}" for r in R[i, before[i]]])
    groups.append("Residual")
    names.append("")
    sds.append(varcorr.sigma)
    correlations.append([])
    width = max(map(len, correlations))
    columns = [
        TableColumn("Group", groups, "left"),
        TableColumn("Name", names, "left"),
        TableColumn("Variance", format_numbers(np.square(sds))),
        TableColumn("Std. dev.", format_numbers(sds)),
    ]
    for j in range(width):
        cells = [row[j] if j < len(row) else "" for row in correlations]
        columns.append(TableColumn("Corr." if j == 0 else "", cells))
    if not varcorr.sd:
        del columns[1]
    return Table("Random effects" if varcorr.sd else "Residual variance", columns)


def _fixed_effects(fit: Fit, ddf: Ddf | None) -> Table:
    inferred = inference(fit, ddf)
    table = t_table(inferred, np.eye(fit.p))
    normal = inferred.method == "normal"
    columns = [
        TableColumn("", list(fit.design.names), "left"),
        TableColumn("Estimate", format_numbers(table["estimate"])),
        TableColumn("Std. error", format_numbers(table["se"])),
        TableColumn("df", _decimals(table["df"], 1)),
        TableColumn("z value" if normal else "t value", _decimals(table["t"], 3)),
        TableColumn("p value", format_p_values(table["p"])),
    ]
    if normal:
        del columns[3]
    notes = [inferred.sentence, inferred.note]
    return Table("Fixed effects", columns, [note for note in notes if note])


def _decimals(values: pd.Series, decimals: int) -> list[str]:
    """Numbers with so many decimals; missing ones are blank."""
    return ["" if np.isnan(value) else f"{value:.{decimals}f}" for value in values]


def singular_text(fit: Fit) -> list[str]:
    """For each direction without variance, what it means in the user's columns."""
    out = []
    for t, columns in _singular_terms(fit).items():
        term, estimate = fit.design.terms[t], fit.estimate.terms[t]
        T, zero = estimate.root, zero_columns(fit, t)
        if zero.all():
            out.append(f"{term.effect.label}: all its variances are zero")
        elif zero.any():
            names = ", ".join(n for n, z in zip(term.names, zero, strict=True) if z)
            out.append(f"{term.effect.label}: the variance of {names} is zero")
        elif len(T) == 2:
            sign = "+1" if T[0] @ T[1] > 0.0 else "-1"
            out.append(
                f"{term.effect.label}: the correlation of {' and '.join(term.names)} is {sign}"
            )
        else:
            out.append(
                f"{term.effect.label}: its covariance has rank {len(T) - columns} of {len(T)}"
            )
    return out


def _singular_terms(fit: Fit) -> dict[int, int]:
    """Number of directions without variance, by term."""
    out: dict[int, int] = {}
    for direction in fit.optimum.singular:
        out[direction.term] = out.get(direction.term, 0) + 1
    return out


def standard_errors(fit: Fit) -> Array:
    """Standard errors of the fixed effects, shape (p,)."""
    return np.sqrt(model_covariance(fit).diagonal())


def fixed_covariance(fit: Fit, kind: str) -> Array:
    """Covariance of the fixed effects, (p, p): "model" or "kenward-roger"."""
    if kind == "model":
        return model_covariance(fit)
    if kind == "kenward-roger":
        return inference(fit, "kenward-roger").covariance
    raise MixedfitError(
        f"kind must be 'model', 'kenward-roger', 'CR0', 'CR1' or 'CR2', not {kind!r}"
    )


def akaike(fit: Fit) -> float:
    """Akaike's information criterion, -2 log L + 2 parameters."""
    return fit.optimum.fun + 2.0 * fit.n_params


def bayes(fit: Fit) -> float:
    """The Bayesian information criterion, ``-2 log L + parameters * log(rows)``.

    lme4 counts all rows, nlme under REML those left after the fixed effects.
    """
    rows = fit.n - fit.p if fit.verb != "lmer" and fit.method == "REML" else fit.n
    return fit.optimum.fun + np.log(rows) * fit.n_params


def tidy(fit: Fit, ddf: Ddf | None = None, level: float = 0.95) -> pd.DataFrame:
    """One row a parameter (`MixedResults.tidy`)."""
    table = coefficient_table(inference(fit, ddf), fit.design.names, level)
    fixed = table.rename(
        columns={
            "se": "std_error",
            "t": "statistic",
            "p": "p_value",
            "lower": "conf_low",
            "upper": "conf_high",
        }
    )
    fixed.insert(0, "effect", "fixed")
    fixed.insert(1, "group", None)
    fixed = fixed[[*fixed.columns[:5], "statistic", "df", "p_value", "conf_low", "conf_high"]]
    components = variance_components(fit).to_frame()
    kind = np.where(components["name2"].isna(), "sd", "cor")
    name1 = components["name1"].fillna("Observation")
    joined = np.where(kind == "sd", name1, name1 + "." + components["name2"].fillna(""))
    random = pd.DataFrame(
        {
            "effect": "ran_pars",
            "group": components["group"],
            "term": [f"{k}__{n}" for k, n in zip(kind, joined, strict=True)],
            "estimate": components["sdcor"],
        }
    )
    random[list(fixed.columns[4:])] = np.nan
    residual = residual_parameters(fit)
    own = pd.DataFrame(
        {
            "effect": "residual",
            "group": "Residual",
            "term": residual.index,
            "estimate": residual.to_numpy(),
        }
    )
    own[list(fixed.columns[4:])] = np.nan
    parts = [fixed, random] if residual.empty else [fixed, random, own]
    return pd.concat(parts, ignore_index=True)


def glance(fit: Fit) -> pd.DataFrame:
    """One row: how large the model is and how well it fits."""
    row = {
        "nobs": fit.n,
        "n_params": fit.n_params,
        "sigma": fit.estimate.sigma,
        "llf": fit.llf,
        "aic": akaike(fit),
        "bic": bayes(fit),
        "deviance": fit.optimum.fun,
        "df_resid": fit.n - fit.n_params,
        "method": fit.method,
        "status": fit.optimum.status,
    }
    return pd.DataFrame([row])


def augment(fit: Fit) -> pd.DataFrame:
    """One row an observation used: response, levels, fitted, fixed, resid."""
    own: dict[str, object] = {fit.design.response.name: fit.design.y}
    for factor in fit.design.factors:
        own[factor.name] = factor.levels[factor.codes].to_numpy()
    made = {
        "fitted": fitted_values(fit),
        "fixed": fitted_values(fit, "population"),
        "resid": residuals(fit),
    }
    return beside(own, made, fit.design.index)
