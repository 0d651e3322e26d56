"""Ranks of units from joint draws of their values."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mixedfit.arrays import Array
from mixedfit.errors import DataError, check_count
from mixedfit.seeds import generator_of

__all__ = ["check_ranking", "ranks_from_draws"]

# Beyond this many numbers the ranks of all draws would take more than a gigabyte.
_LARGEST = 250_000_000


def check_ranking(n: int, J: int, k: int) -> None:
    """Refuse what cannot be ranked, before anything is drawn.

    Raises
    ------
    ModelError
        If n or k is not a whole number of at least 1.
    DataError
        If k exceeds the J units, or n draws of them are more than fit in memory.
    """
    check_count(n, 1)
    if check_count(k, 1, "k") > J:
        raise DataError(f"k must be between 1 and the {J} units, not {k}")
    if n * J > _LARGEST:
        raise DataError(
            f"{n} draws of {J} units are too many ranks to keep; ask for at most "
            f"{max(1, _LARGEST // J)} draws"
        )


def ranks_from_draws(
    draws: Array,
    labels: pd.Index,
    *,
    k: int,
    highest_first: bool = True,
    level: float = 0.95,
    seed: int | np.random.Generator | None = 0,
) -> pd.DataFrame:
    """Rank units in every draw and summarise the ranks.

    Parameters
    ----------
    draws : array of shape (n, J)
        Joint draws of the J units' values.
    labels : pandas.Index of length J
    k : int
        How many places are "the top", 1 to J; see `check_ranking`.
    highest_first : bool
        Whether rank 1 is the highest value.
    level : float
        Of the rank intervals and of the credible set.
    seed : int or numpy Generator, optional
        Of the order of ties.

    Returns
    -------
    DataFrame
        One row a unit, in the order of the draws' columns: ``label``, ``expected_rank``,
        ``rank_sd``, ``lower`` and ``upper`` (ranks), ``p_top`` (probability of a rank of at most
        k), ``in_top_set`` (whether the unit is in the credible set of the top k).

    Notes
    -----
    The credible set is the shortest list, units taken by decreasing ``p_top``, that holds all of
    the top k with probability `level`. Units that are equal in a draw, as all are under a prior
    that is a point, are put in random order in it.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> draws = np.array([[3.0, 1.0, 2.0], [3.0, 2.0, 1.0]])
    >>> ranks_from_draws(draws, pd.Index(["a", "b", "c"]), k=1)["expected_rank"].tolist()
    [1.0, 2.5, 2.5]
    """
    n, J = draws.shape
    columns = np.tile(np.arange(J, dtype=np.int32), (n, 1))
    shuffled = generator_of(seed).permuted(columns, axis=1)
    values = np.take_along_axis(draws, shuffled, axis=1)
    places = np.argsort(-values if highest_first else values, axis=1, kind="stable")
    order = np.take_along_axis(shuffled, places, axis=1)
    ranks = np.empty((n, J), dtype=np.int32)
    np.put_along_axis(ranks, order, np.arange(1, J + 1, dtype=np.int32)[None, :], axis=1)
    top = order[:, :k]
    p_top = np.bincount(top.ravel(), minlength=J) / n
    expected = ranks.mean(axis=0)
    tail = 0.5 * (1.0 - level)
    limits = np.quantile(ranks, [tail, 1.0 - tail], axis=0, method="inverted_cdf")
    preference = np.lexsort((expected, -p_top))
    place = np.empty(J, dtype=np.int64)
    place[preference] = np.arange(J)
    # In each draw the list must be long enough to reach the last of that draw's top k.
    length = int(np.quantile(place[top].max(axis=1), level, method="inverted_cdf")) + 1
    return pd.DataFrame(
        {
            "label": labels,
            "expected_rank": expected,
            "rank_sd": ranks.std(axis=0),
            "lower": limits[0].astype(np.int64),
            "upper": limits[1].astype(np.int64),
            "p_top": p_top,
            "in_top_set": place < length,
        }
    )
