import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import mixedfit as mf
from mixedfit.letters import letters
from tests import references


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 9), st.integers(0, 10_000), st.floats(0.0, 1.0))
def test_two_share_a_letter_exactly_when_not_told_apart(m, seed, share):
    rng = np.random.default_rng(seed)
    upper = np.triu(rng.random((m, m)) < share, 1)
    different = upper | upper.T
    made = letters(rng.standard_normal(m), different)
    assert all(made)
    for i in range(m):
        for j in range(i):
            assert bool(set(made[i]) & set(made[j])) != different[i, j]


def test_the_largest_mean_has_the_first_letter_and_none_is_needless():
    values = np.array([1.0, 5.0, 3.0, np.nan])
    nothing = np.zeros((4, 4), dtype=bool)
    assert letters(values, nothing) == ["a", "a", "a", ""]
    assert letters(values, ~np.eye(4, dtype=bool)) == ["c", "a", "b", ""]


def test_letters_follow_the_pairwise_tests():
    fit = mf.lmer("Yield ~ Date * Variety + (1 | Block/Variety)", references.data("alfalfa"))
    means = fit.emmeans("Date")
    shown = means.letters()
    assert shown["letters"].tolist() == ["a", "c", "b", "ab"]
    assert "not told apart at the level 0.05" in shown.note
    strict = means.letters(alpha=1e-4, adjust="bonferroni").set_index("Date")["letters"]
    for _, row in means.pairs(adjust="bonferroni").iterrows():
        a, b = row["contrast"].split(" - ")
        assert bool(set(strict[a]) & set(strict[b])) == (row["p"] >= 1e-4)
    within = fit.emmeans("Date", by="Variety").letters()
    assert within.groupby("Variety")["letters"].nunique().to_dict() == {
        "Cossack": 2,
        "Ladak": 2,
        "Ranger": 3,
    }
