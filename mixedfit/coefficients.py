"""Tables of coefficients and of contrasts between them, with tests and intervals."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mixedfit.arrays import Array
from mixedfit.contrasts import read_contrasts
from mixedfit.ddf import FixedInference, JointTest
from mixedfit.errors import check_level
from mixedfit.estimable import estimable
from mixedfit.fit import Fit
from mixedfit.noted import NotedFrame, noted
from mixedfit.tails import t_quantile, two_sided_t

__all__ = ["Contrast", "coefficient_table", "contrast", "t_table"]


def t_table(inferred: FixedInference, L: Array, value: Array | None = None) -> pd.DataFrame:
    """Estimate, se, df, t and p of each row of L, two-sided, for ``L b = value``.

    Parameters
    ----------
    inferred : FixedInference
    L : array of shape (m, p)
    value : array of shape (m,), optional
        By default zero.
    """
    estimate, se, df = L @ inferred.estimates, inferred.se(L), inferred.df(L)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (estimate - (0.0 if value is None else value)) / se
    p = two_sided_t(t, df)
    return pd.DataFrame({"estimate": estimate, "se": se, "df": df, "t": t, "p": p})


def with_limits(table: pd.DataFrame, level: float) -> pd.DataFrame:
    """Add the columns lower and upper of an interval for each row."""
    half = t_quantile(0.5 + 0.5 * check_level(level), table["df"]) * table["se"]
    return table.assign(lower=table["estimate"] - half, upper=table["estimate"] + half)


def coefficient_table(inferred: FixedInference, names: pd.Index, level: float) -> NotedFrame:
    """One row a coefficient: term, estimate, se, df, t, p, lower, upper."""
    table = with_limits(t_table(inferred, np.eye(len(names))), level)
    table.insert(0, "term", list(names))
    return noted(table, inferred.sentence, inferred.note, ddf=inferred.method)


@dataclass(frozen=True, repr=False)
class Contrast:
    """Tests of combinations of the coefficients.

    Attributes
    ----------
    table : DataFrame
        One row a contrast: contrast, estimate, se, df, t, p, lower, upper. Missing where the data
        do not determine it.
    joint : JointTest
        All of them at once, those the data determine: num_df, den_df, F, p.
    ddf : str
        The method used.
    note : str
        Empty, or what to know about the numbers.
    """

    table: pd.DataFrame
    joint: JointTest
    ddf: str
    note: str

    def to_frame(self) -> pd.DataFrame:
        """A copy of the table."""
        return self.table.copy()

    @property
    def estimate(self) -> pd.Series:
        """Estimates by contrast."""
        return self._column("estimate")

    @property
    def se(self) -> pd.Series:
        """Standard errors by contrast."""
        return self._column("se")

    @property
    def df(self) -> pd.Series:
        """Degrees of freedom by contrast."""
        return self._column("df")

    @property
    def t(self) -> pd.Series:
        """Test statistics by contrast."""
        return self._column("t")

    @property
    def p(self) -> pd.Series:
        """Two-sided p-values by contrast."""
        return self._column("p")

    def _column(self, name: str) -> pd.Series:
        return self.table.set_index("contrast")[name]

    def _lines(self) -> list[str]:
        joint = self.joint
        lines = [f"ddf: {self.ddf}"]
        if len(self.table) > 1 and joint.num_df:
            lines.append(
                f"joint: F({joint.num_df}, {joint.den_df:.4g}) = {joint.F:.4g}, p = {joint.p:.4g}"
            )
        return [*lines, self.note] if self.note else lines

    def __repr__(self) -> str:
        shown = self.table.to_string(index=False, na_rep="", float_format="{:.5g}".format)
        return "\n".join([shown, *self._lines()])

    def _repr_html_(self) -> str:
        shown = self.table.to_html(index=False, na_rep="", float_format="{:.5g}".format)
        return shown + "".join(f"<p>{html.escape(line)}</p>" for line in self._lines())


def contrast(fit: Fit, contrasts: Any, inferred: FixedInference, level: float) -> Contrast:
    """Test combinations of the coefficients (`MixedResults.contrast`)."""
    design = fit.design
    hypothesis = read_contrasts(contrasts, design.recipe.names, design.kept.tolist())
    # Without weight on the columns left out, a contrast is one of the coefficients as they stand.
    fitted = ~np.delete(hypothesis.L, design.kept, axis=1).any(axis=1)
    known = fitted | estimable(fit, hypothesis.L)
    L = hypothesis.L[:, design.kept]
    table = with_limits(t_table(inferred, L, hypothesis.value), level)
    table.loc[~known] = np.nan
    table.insert(0, "contrast", list(hypothesis.labels))
    note = inferred.note
    if not known.all():
        unknown = ", ".join(
            repr(label) for label, k in zip(hypothesis.labels, known, strict=True) if not k
        )
        note = f"{note} " if note else ""
        note += (
            f"Non-estimable: {unknown}; the data do not determine the columns that were left out "
            f"({', '.join(design.dropped)})."
        )
    joint = inferred.joint(L[known], hypothesis.value[known])
    return Contrast(table, joint, inferred.method, note)
