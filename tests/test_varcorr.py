"""Variances and correlations of random effects, labelled."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mixedfit as mf
from mixedfit.varcorr import VarCorr, correlation_of, factor_columns
from tests.cases import PATTERNS, frame


@pytest.fixture(scope="module")
def fit():
    return mf.lmer("y ~ x + (x | g) + (1 | a/b)", frame(), weights="w")


def test_variances(fit):
    varcorr = fit.varcorr
    C = varcorr.cov["g"].to_numpy()
    np.testing.assert_allclose(varcorr.sd["g"], np.sqrt(np.diag(C)))
    R = varcorr.corr["g"].to_numpy()
    np.testing.assert_allclose(R[0, 1], C[0, 1] / np.sqrt(C[0, 0] * C[1, 1]))
    table = varcorr.to_frame()
    assert table["group"].tolist() == ["a:b", "g", "g", "g", "a", "Residual"]
    np.testing.assert_allclose(table["sdcor"].iloc[3], R[0, 1])
    np.testing.assert_allclose(table["sdcor"].iloc[-1], fit.sigma)
    assert "Residual" in repr(varcorr)


@settings(deadline=None)
@given(st.integers(1, 5), st.integers(0, 2**32 - 1), st.floats(-8.0, 8.0))
def test_correlations_are_those_of_numpy_whatever_the_units(k, seed, size):
    rows = np.random.default_rng(seed).standard_normal((k, k + 3))
    units = 10.0 ** np.linspace(0.0, size, k)
    expected = np.atleast_2d(np.corrcoef(rows))
    got = correlation_of(np.atleast_2d(np.cov(rows)) * np.outer(units, units))
    np.testing.assert_allclose(got, expected, atol=1e-12)
    np.testing.assert_array_equal(np.diag(got), 1.0)
    assert (np.abs(got) <= 1.0).all()


def test_effects_without_variance_have_no_correlation():
    R = correlation_of(np.array([[4.0, 0.0, 6.0], [0.0, 0.0, 0.0], [6.0, 0.0, 9.0]]))
    assert np.isnan(R[1]).all()
    assert np.isnan(R[:, 1]).all()
    np.testing.assert_array_equal(R[np.ix_([0, 2], [0, 2])], 1.0)


def test_the_table_has_a_row_a_parameter():
    names = ["a", "b", "c"]
    C = pd.DataFrame([[4.0, 3.0, 0.0], [3.0, 9.0, 0.0], [0.0, 0.0, 1.0]], names, names)
    table = VarCorr({"g": C}, 0.5, {"g": [[0, 1], [2]]}).to_frame()
    assert table["name1"].tolist()[:4] == ["a", "b", "c", "a"]
    assert table["name2"].tolist()[3] == "b"
    assert table["name2"].isna().tolist() == [True, True, True, False, True]
    np.testing.assert_allclose(table["cov"], [4.0, 9.0, 1.0, 3.0, 0.25])
    np.testing.assert_allclose(table["sdcor"], [2.0, 3.0, 1.0, 0.5, 0.5])


@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        ("slope", {"g": [[0, 1]]}),
        ("double bar", {"g": [[0], [1]]}),
        ("diag", {"g": [[0], [1], [2], [3]]}),
        ("crossed slopes", {"g": [[0, 1], [2]], "h": [[0, 1, 2]]}),
    ],
)
def test_columns_may_be_correlated_within_their_term_alone(name, blocks):
    fit = mf.lmer(PATTERNS[name].formula, frame())
    assert fit.varcorr.blocks == blocks
    for group, columns in zip(blocks, factor_columns(fit.fit), strict=True):
        C = fit.varcorr.cov[group]
        assert C.index.tolist() == columns
        together = np.zeros(C.shape, dtype=bool)
        for block in blocks[group]:
            together[np.ix_(block, block)] = True
        np.testing.assert_array_equal(C.to_numpy()[~together], 0.0)
