"""The classical analysis of variance of one-way and nested layouts, beside the model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy

from mixedfit.arrays import Array, IntArray
from mixedfit.errors import ModelError
from mixedfit.fit import Fit
from mixedfit.grouping_levels import nested_factors
from mixedfit.summary import Summary, Table, TableColumn, format_numbers

__all__ = ["ClassicalAnova", "classical_anova"]


@dataclass(frozen=True)
class ClassicalAnova:
    """Analysis of variance of a one-way or nested layout; prints as a table.

    Attributes
    ----------
    table : DataFrame
        One row a source, outermost first, "Residual" last: source, df, sum_sq, mean_sq,
        expected_mean_sq, F, den_df, p. F tests that the source's variance is zero.
    components : Series
        Moment estimates of the variances, in squared units of the response: expected and observed
        mean squares set equal. They may be negative.
    icc : Series
        Share of each source but the residual in the sum of the components, negative ones taken as
        zero.
    coefficients : DataFrame
        What multiplies each variance (columns) in each expected mean square (rows).
    """

    table: pd.DataFrame
    components: pd.Series
    icc: pd.Series
    coefficients: pd.DataFrame

    def summary(self) -> Summary:
        """Everything for reading: text when printed, HTML in notebooks, ``.as_latex()``."""
        table = self.table
        columns = [
            TableColumn("Source", list(table["source"]), "left"),
            TableColumn("df", [str(v) for v in table["df"]]),
            TableColumn("Sum of squares", format_numbers(table["sum_sq"].to_numpy())),
            TableColumn("Mean square", format_numbers(table["mean_sq"].to_numpy())),
            TableColumn("Expected mean square", list(table["expected_mean_sq"]), "left"),
            TableColumn("F", ["" if np.isnan(v) else f"{v:.4g}" for v in table["F"]]),
            TableColumn("p", ["" if np.isnan(v) else f"{v:.3g}" for v in table["p"]]),
        ]
        icc = self.icc.reindex(self.components.index)
        moments = [
            TableColumn("Source", [str(name) for name in self.components.index], "left"),
            TableColumn("Variance", format_numbers(self.components.to_numpy())),
            TableColumn("Share", ["" if np.isnan(v) else f"{v:.3f}" for v in icc]),
        ]
        return Summary(
            "Analysis of variance",
            [],
            [Table("Mean squares", columns), Table("Moment estimates", moments)],
        )

    def __repr__(self) -> str:
        return str(self.summary())


def classical_anova(fit: Fit) -> ClassicalAnova:
    """The analysis of variance of ``y ~ 1`` with nested random intercepts.

    Raises
    ------
    ModelError
        If the model is another.

    Notes
    -----
    Sums of squares between the means of one level within those of the level before. With ``H_q``
    the projection on the means of level q and ``Z_t`` the indicators of level t, a variance t has
    the coefficient ``tr((H_q - H_{q-1}) Z_t Z_t') / df_q`` in the expected mean square of q
    (Searle, Casella & McCulloch 1992, Variance Components, section 5.4). F divides by the
    combination of the mean squares below with the same expectation if the variance is zero; where
    that is not one of them its degrees of freedom are Satterthwaite's (1946, Biometrics 2).
    """
    order = nested_factors(fit, "test the variances of crossed factors with ranova()")
    _check(fit)
    factors = [fit.design.factors[f] for f in order]
    names = [factor.name for factor in factors]
    levels = [np.zeros(fit.n, dtype=np.int64), *(factor.codes for factor in factors)]
    levels.append(np.arange(fit.n))
    y = fit.design.y - float(fit.design.y.mean())
    explained = [_explained(codes, y) for codes in levels]
    counts = np.array([len(np.unique(codes)) for codes in levels])
    df, sum_sq = np.diff(counts), np.maximum(np.diff(explained), 0.0)
    if (df < 1).any():
        raise ModelError("every level needs more classes than the one before it, and replicates")
    mean_sq = sum_sq / df
    K = _expectations(levels, df)
    components = np.linalg.solve(K, mean_sq)
    F, den_df = _tests(K, mean_sq, df)
    sources = [*names, "Residual"]
    table = pd.DataFrame(
        {
            "source": sources,
            "df": df,
            "sum_sq": sum_sq,
            "mean_sq": mean_sq,
            "expected_mean_sq": [_expected_text(row, sources) for row in K],
            "F": F,
            "den_df": den_df,
            "p": scipy.stats.f.sf(F, df, den_df),
        }
    )
    positive = np.maximum(components, 0.0)
    return ClassicalAnova(
        table,
        pd.Series(components, index=sources, name="variance"),
        pd.Series(positive[:-1] / positive.sum(), index=names, name="icc"),
        pd.DataFrame(K, index=sources, columns=sources),
    )


def _check(fit: Fit) -> None:
    design = fit.design
    constant = design.X.shape[1] == 1 and design.intercept is not None
    intercepts = all(term.Z.shape[1] == 1 and term.intercept is not None for term in design.terms)
    if not (design.terms and constant and intercepts):
        raise ModelError(
            "the classical analysis of variance is for an intercept and nested random intercepts, "
            f"as in lme('y ~ 1', '~ 1 | a/b', data); this model is {design.formula.text!r}"
        )
    if design.weights is not None or design.offset is not None or design.residual is not None:
        raise ModelError(
            "the classical analysis of variance has no weights, offset, correlation or variance "
            "function"
        )


def _explained(codes: IntArray, y: Array) -> float:
    """Sum of squares of the classes' means."""
    sums, counts = np.bincount(codes, y), np.bincount(codes)
    return float(np.sum(sums[counts > 0] ** 2 / counts[counts > 0]))


def _expectations(levels: list[IntArray], df: IntArray) -> Array:
    """Coefficients of the variances (columns) in the expected mean squares (rows)."""
    sources = levels[1:]
    traces = np.array([[_trace(q, t) for t in sources] for q in levels])
    return np.diff(traces, axis=0) / df[:, None]


def _trace(q: IntArray, t: IntArray) -> float:
    """``tr(H_q Z_t Z_t')``: sums over pairs of classes of ``n_jk^2 / n_j``."""
    counts = np.bincount(q)
    pairs, size = np.unique(q.astype(np.int64) * (int(t.max()) + 1) + t, return_counts=True)
    return float(np.sum(size.astype(float) ** 2 / counts[pairs // (int(t.max()) + 1)]))


def _tests(K: Array, mean_sq: Array, df: IntArray) -> tuple[Array, Array]:
    """F statistics and their denominators' degrees of freedom, nan for the residual."""
    F, den_df = np.full(len(df), np.nan), np.full(len(df), np.nan)
    for q in range(len(df) - 1):
        below = slice(q + 1, None)
        weights = np.linalg.solve(K[below, below].T, K[q, below])
        parts = weights * mean_sq[below]
        denominator = parts.sum()
        if denominator > 0.0:
            F[q] = mean_sq[q] / denominator
            den_df[q] = denominator**2 / np.sum(parts**2 / df[below])
    return F, den_df


def _expected_text(row: Array, sources: list[str]) -> str:
    """``V[Residual] + 5 V[Batch]``."""
    parts = [f"V[{sources[-1]}]"]
    for value, source in zip(row[-2::-1], sources[-2::-1], strict=True):
        if value > 1e-9:
            parts.append(f"{value:.6g} V[{source}]" if abs(value - 1.0) > 1e-9 else f"V[{source}]")
    return " + ".join(parts)
