import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mixedfit.adjustment import Family, adjusted_p_values, check_adjustment, critical_values
from mixedfit.errors import ModelError

ALL = ("tukey", "mvt", "dunnett", "scheffe", "sidak", "bonferroni", "holm", "fdr", "none")


def pairwise(m):
    rows = [(i, j) for i in range(m) for j in range(i + 1, m)]
    C = np.zeros((len(rows), m))
    for row, (i, j) in zip(C, rows, strict=True):
        row[i], row[j] = 1.0, -1.0
    return Family(C @ C.T / 2.0, n_means=m, rank=m - 1)


def independent(m):
    return Family(np.eye(m), n_means=m, rank=m)


@pytest.mark.parametrize("m", [3, 6, 12])
@pytest.mark.parametrize("df", [4.0, 17.5, np.inf])
def test_the_multivariate_t_of_all_pairs_is_the_studentized_range(m, df):
    family, t = pairwise(m), np.array([0.5, 2.0, 3.0, 5.0])
    q = len(family.correlation)
    size = np.resize(t, q)
    ours = adjusted_p_values(size, np.full(q, df), "mvt", family)
    theirs = stats.studentized_range.sf(np.sqrt(2.0) * size, m, df)
    np.testing.assert_allclose(ours, theirs, atol=6e-4)
    for level in (0.9, 0.99):
        np.testing.assert_allclose(
            critical_values(level, np.full(q, df), "mvt", family)[0],
            critical_values(level, np.full(q, df), "tukey", family)[0],
            rtol=2e-3,
        )


def test_small_tails_keep_their_digits():
    family, t = pairwise(3), np.array([8.0, 12.0, 30.0])
    ours = adjusted_p_values(t, np.full(3, 46.0), "tukey", family)
    raw = 2.0 * stats.t.sf(t, 46.0)
    assert (ours > raw).all()
    assert (ours < 3.0 * raw).all()
    # On both sides of where the library's tail gives way.
    sizes = np.array([7.9, 8.1])
    above, below = adjusted_p_values(sizes, np.full(2, 46.0), "tukey", Family(np.eye(2), 3, 2))
    ratio = stats.t.sf(7.9, 46.0) / stats.t.sf(8.1, 46.0)
    assert above == pytest.approx(below * ratio, rel=0.02)


def test_independent_statistics_multiply():
    family, t, df = independent(4), np.array([1.0, 2.0, 2.5, 3.0]), np.full(4, np.inf)
    ours = adjusted_p_values(t, df, "dunnett", family)
    np.testing.assert_allclose(ours, 1.0 - (1.0 - 2.0 * stats.norm.sf(t)) ** 4, atol=3e-4)
    np.testing.assert_allclose(
        adjusted_p_values(t, df, "sidak", family), 1.0 - (1.0 - 2.0 * stats.norm.sf(t)) ** 4
    )


def test_the_multivariate_t_is_scipys():
    rng = np.random.default_rng(3)
    root = rng.standard_normal((4, 4))
    covariance = root @ root.T
    sd = np.sqrt(covariance.diagonal())
    correlation = covariance / np.outer(sd, sd)
    size = np.full(4, 2.2)
    inside = stats.multivariate_t.cdf(
        size, shape=correlation, df=7, lower_limit=-size, maxpts=200_000, random_state=1
    )
    ours = adjusted_p_values(size, np.full(4, 7.0), "mvt", Family(correlation, 0, 4))
    np.testing.assert_allclose(ours, 1.0 - inside, atol=3e-4)


@pytest.mark.parametrize(
    ("adjust", "want"),
    [
        ("none", [0.01, 0.04, 0.03, 0.005]),
        ("bonferroni", [0.04, 0.16, 0.12, 0.02]),
        ("holm", [0.03, 0.06, 0.06, 0.02]),
        ("fdr", [0.02, 0.04, 0.04, 0.02]),
    ],
)
def test_p_values_by_hand(adjust, want):
    t = stats.norm.isf(np.array([0.01, 0.04, 0.03, 0.005]) / 2.0)
    ours = adjusted_p_values(t, np.full(4, np.inf), adjust, independent(4))
    np.testing.assert_allclose(ours, want, rtol=1e-9)


@pytest.mark.parametrize("adjust", ["tukey", "mvt", "scheffe", "sidak", "bonferroni", "none"])
def test_a_critical_value_has_the_p_value_of_its_level(adjust):
    family, df = pairwise(4), np.full(6, 11.0)
    half = critical_values(0.95, df, adjust, family)
    np.testing.assert_allclose(adjusted_p_values(half, df, adjust, family), 0.05, rtol=1e-5)


def test_many_degrees_of_freedom_are_interpolated():
    family = pairwise(7)
    df = np.linspace(3.0, 300.0, 21)
    ours = critical_values(0.95, df, "tukey", family)
    some = [0, 1, 10, 20]
    theirs = [stats.studentized_range.ppf(0.95, 7, df[i]) / np.sqrt(2.0) for i in some]
    np.testing.assert_allclose(ours[some], theirs, rtol=1e-5)


@pytest.mark.parametrize("adjust", ALL)
def test_what_is_missing_stays_missing_and_counts_for_nothing(adjust):
    family, df = independent(4), np.array([9.0, np.nan, 9.0, 9.0])
    t = np.array([2.0, np.nan, 3.0, 1.0])
    ours = adjusted_p_values(t, df, adjust, family)
    kept = [0, 2, 3]
    theirs = adjusted_p_values(t[kept], df[kept], adjust, Family(np.eye(3), 4, 4))
    assert np.isnan(ours[1])
    np.testing.assert_allclose(ours[kept], theirs)
    half = critical_values(0.95, df, adjust, family)
    assert np.isnan(half[1])
    assert np.isfinite(half[kept]).all()
    nothing = np.full(2, np.nan)
    assert np.isnan(adjusted_p_values(nothing, nothing, adjust, independent(2))).all()


@settings(max_examples=40, deadline=None)
@given(
    t=st.lists(st.floats(-8.0, 8.0), min_size=2, max_size=6),
    df=st.floats(2.0, 200.0),
    adjust=st.sampled_from(["mvt", "sidak", "bonferroni", "holm", "fdr"]),
)
def test_adjusting_never_makes_a_p_value_smaller(t, df, adjust):
    t, df = np.array(t), np.full(len(t), df)
    family = independent(len(t))
    raw = adjusted_p_values(t, df, "none", family)
    ours = adjusted_p_values(t, df, adjust, family)
    assert (ours >= raw - 3e-4 * (adjust == "mvt") - 1e-12).all()
    assert ((ours >= 0.0) & (ours <= 1.0)).all()
    order = np.argsort(-np.abs(t), kind="stable")
    assert (np.diff(ours[order]) >= -1e-9).all()


def test_an_unknown_adjustment_is_named():
    with pytest.raises(ModelError, match=r"'tukey', .*not 'hsd'"):
        check_adjustment("hsd")
