"""How answers change with the prior on the hyperparameters, as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mixedfit.arrays import Array

__all__ = ["Answer", "sensitivity_table"]


@dataclass(frozen=True)
class Answer:
    """What follows from one prior on the hyperparameters.

    Attributes
    ----------
    hyperprior : str
    scale : float
        Its own; missing for one without.
    parameter : array of shape (3,)
        Median and limits of the prior's scale.
    units : mapping of str to arrays of shape (J,)
        ``mean``, ``sd``, ``lower`` and ``upper`` of the units' posteriors.
    """

    hyperprior: str
    scale: float
    parameter: Array
    units: Mapping[str, Array]


def sensitivity_table(name: str, plugin: Answer, others: Sequence[Answer]) -> pd.DataFrame:
    """One row an answer, the plug-in one first.

    Parameters
    ----------
    name : str
        Of the prior's scale.
    plugin : Answer
    others : sequence of Answer

    Returns
    -------
    DataFrame
        The hyperprior and its scale; the prior's scale with limits; averages over the units of
        the sd, the interval's width and the sd over the plug-in one; the largest shift of a mean.
    """
    columns = ["hyperprior", "scale", name, f"{name}_lower", f"{name}_upper"]
    columns += ["mean_sd", "mean_width", "sd_ratio", "largest_shift"]
    rows = [
        (one.hyperprior, one.scale, *one.parameter, *_differences(one.units, plugin.units))
        for one in (plugin, *others)
    ]
    return pd.DataFrame(rows, columns=columns)


def _differences(
    units: Mapping[str, Array], plugin: Mapping[str, Array]
) -> tuple[float, float, float, float]:
    """Mean sd, mean width, mean ratio of sds to plug-in, largest shift of a mean."""
    sd, base = units["sd"], plugin["sd"]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(sd == base, 1.0, sd / base)
    return (
        float(sd.mean()),
        float((units["upper"] - units["lower"]).mean()),
        float(ratio.mean()),
        float(np.abs(units["mean"] - plugin["mean"]).max()),
    )
