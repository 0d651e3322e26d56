"""Ranks from draws, counted."""

import numpy as np
import pandas as pd

from mixedfit.eb.ranking import ranks_from_draws


def test_ranks_are_counted():
    draws = np.array([[3.0, 1.0, 2.0], [1.0, 2.0, 3.0], [3.0, 2.0, 1.0], [3.0, 1.0, 2.0]])
    table = ranks_from_draws(draws, pd.Index(["a", "b", "c"]), k=2, level=0.5)
    assert table["expected_rank"].tolist() == [1.5, 2.5, 2.0]
    assert table["p_top"].tolist() == [0.75, 0.5, 0.75]
    lowest = ranks_from_draws(draws, pd.Index(["a", "b", "c"]), k=1, highest_first=False)
    assert lowest["p_top"].tolist() == [0.25, 0.5, 0.25]


def test_the_credible_set_holds_the_top_with_its_probability():
    rng = np.random.default_rng(0)
    draws = rng.normal(np.linspace(0, 3, 12), 1.0, (4000, 12))
    for k in (1, 3):
        table = ranks_from_draws(draws, pd.RangeIndex(12), k=k, level=0.9)
        chosen = table["in_top_set"].to_numpy().copy()
        top = np.argsort(-draws, axis=1)[:, :k]
        held = chosen[top].all(axis=1).mean()
        assert held >= 0.9
        # One unit fewer would not do.
        weakest = table.index[chosen][table.loc[chosen, "p_top"].argmin()]
        chosen[weakest] = False
        assert chosen[top].all(axis=1).mean() < 0.9
