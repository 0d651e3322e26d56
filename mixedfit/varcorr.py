"""Variances and correlations of the random effects, labelled."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from mixedfit.arrays import Array
from mixedfit.fit import Fit

__all__ = ["VarCorr", "correlation_of", "factor_columns", "variance_components"]


@dataclass(frozen=True)
class VarCorr:
    """Estimated variances of the random effects and the residual.

    Attributes
    ----------
    cov : dict of DataFrame
        Covariance matrix of the effects of each grouping factor, in squared units of the response.
    sigma : float
        Residual standard deviation.
    blocks : dict
        For each grouping factor, the columns whose effects may be correlated.
    """

    cov: dict[str, pd.DataFrame]
    sigma: float
    blocks: dict[str, list[list[int]]]

    @property
    def sd(self) -> dict[str, pd.Series]:
        """Standard deviations of the effects of each grouping factor."""
        return {
            group: pd.Series(np.sqrt(np.diagonal(C.to_numpy())), index=C.index, name="sd")
            for group, C in self.cov.items()
        }

    @property
    def corr(self) -> dict[str, pd.DataFrame]:
        """Correlation matrices; missing where a variance is zero."""
        return {
            group: pd.DataFrame(correlation_of(C.to_numpy()), index=C.index, columns=C.columns)
            for group, C in self.cov.items()
        }

    def to_frame(self) -> pd.DataFrame:
        """One row a parameter: group, name1, name2, cov, sdcor.

        ``name2`` is missing for a variance, whose ``sdcor`` is a standard deviation; for a
        covariance ``sdcor`` is the correlation. The residual comes last.
        """
        rows: list[tuple[str, str | None, str | None, float, float]] = []
        for group, frame in self.cov.items():
            C, names = frame.to_numpy(), list(frame.index)
            R = correlation_of(C)
            for i, name in enumerate(names):
                rows.append((group, name, None, C[i, i], np.sqrt(C[i, i])))
            for block in self.blocks[group]:
                rows += [
                    (group, names[i], names[j], C[i, j], R[i, j]) for i, j in combinations(block, 2)
                ]
        rows.append(("Residual", None, None, self.sigma**2, self.sigma))
        return pd.DataFrame(rows, columns=["group", "name1", "name2", "cov", "sdcor"])

    def __repr__(self) -> str:
        frame = self.to_frame()
        names = ["name1", "name2"]
        frame[names] = frame[names].fillna("")  # which pandas 2 would print as None
        return frame.to_string(index=False, na_rep="")


def correlation_of(C: Array) -> Array:
    """Correlations from covariances; nan where a variance is zero."""
    sd = np.sqrt(np.diagonal(C))
    with np.errstate(invalid="ignore", divide="ignore"):
        R = C / np.outer(sd, sd)
    R[np.diag_indices_from(R)] = np.where(sd > 0.0, 1.0, np.nan)
    return np.clip(R, -1.0, 1.0)


def factor_columns(fit: Fit) -> list[list[str]]:
    """Names of the columns of each grouping factor, its terms side by side."""
    names: list[list[str]] = [[] for _ in fit.design.factors]
    for term in fit.design.terms:
        names[term.factor].extend(term.names)
    return names


def variance_components(fit: Fit) -> VarCorr:
    """The variances and correlations of a fit."""
    cov, blocks = {}, {}
    for factor, names, C in zip(
        fit.design.factors, factor_columns(fit), fit.estimate.covariances, strict=True
    ):
        cov[factor.name] = pd.DataFrame(C, index=names, columns=names)
        blocks[factor.name] = list[list[int]]()
    for term in fit.estimate.terms:
        columns = list(range(term.columns.start, term.columns.stop))
        name = fit.design.factors[term.factor].name
        if term.structure.uncorrelated:
            blocks[name].extend([i] for i in columns)
        else:
            blocks[name].append(columns)
    return VarCorr(cov, fit.estimate.sigma, blocks)
