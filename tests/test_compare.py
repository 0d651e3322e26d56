"""Comparisons of fits as a user calls them."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import mixedfit as mf
from mixedfit.errors import MixedfitError
from tests.cases import frame
from tests.references import lmer


def test_what_is_no_fit_is_refused():
    fit = lmer("lmer_sleep_slope_reml")
    with pytest.raises(MixedfitError, match="two or more"):
        mf.anova(fit)
    with pytest.raises(MixedfitError, match="not int"):
        mf.anova(fit, 3)


def test_residual_structures_are_named_where_they_differ() -> None:
    data = mf.datasets.load("orthodont")
    plain = mf.lme("distance ~ age", "~ 1 | Subject", data)
    strata = mf.lme("distance ~ age", "~ 1 | Subject", data, weights=mf.VarIdent(form="~ 1 | Sex"))
    compound = mf.gls("distance ~ age", data, correlation=mf.CorCompSymm(form="~ 1 | Subject"))
    table = mf.anova(plain, strata)
    assert list(table["model"]) == [plain.formula, f"{strata.formula}, VarIdent(form='~ 1 | Sex')"]
    assert table["df"].iloc[1] == 1
    same = mf.anova(plain, compound)
    assert same[["chi2", "df", "p"]].isna().all(axis=None)
    assert same["llf"].iloc[0] == pytest.approx(same["llf"].iloc[1])


def test_fits_are_put_in_order_and_names_told_apart():
    data = frame()
    fits = [mf.lmer("y ~ x + z + (1 | g)", data, method="ML")]
    fits += [mf.lmer("y ~ x + (1 | g)", data, method="ML")] * 2
    table = mf.anova(*fits)
    assert table["n_params"].tolist() == [4, 4, 5]
    assert table["model"].iloc[0].startswith("2: ")
    assert table["p"].isna().tolist() == [True, True, False]
    assert "same number of parameters" in table.note


def test_the_bootstrap_is_that_of_the_two_fits() -> None:
    data = frame()
    smaller = mf.lmer("y ~ x + (1 | g)", data, method="ML")
    larger = mf.lmer("y ~ x + z + (1 | g)", data, method="ML")
    test = mf.bootstrap_test(smaller, larger, n=299, seed=3)
    assert test.statistic == pytest.approx(2.0 * (larger.llf - smaller.llf), abs=1e-6)
    assert test.p == pytest.approx((1 + (test.simulated >= test.statistic).sum()) / 300)
    # One fixed effect more: nearly chi-squared with one degree of freedom.
    assert stats.kstest(test.simulated, stats.chi2(1).cdf).pvalue > 0.001
    with pytest.raises(MixedfitError):
        mf.bootstrap_test(larger, smaller, n=19)


def test_tables_are_the_textbook_test_whatever_the_order() -> None:
    data = frame()
    fits = [mf.lmer(f"y ~ {x} + (1 | g)", data, method="ML") for x in ("1", "x", "x + f")]
    table = mf.anova(*fits)
    llf, k = np.array([fit.llf for fit in fits]), np.array([3, 4, 7])
    np.testing.assert_allclose(table["chi2"].iloc[1:], 2.0 * np.diff(llf))
    np.testing.assert_allclose(table["p"].iloc[1:], stats.chi2.sf(2.0 * np.diff(llf), np.diff(k)))
    np.testing.assert_allclose(table["aic"], 2.0 * k - 2.0 * llf)
    np.testing.assert_allclose(table["bic"], np.log(240) * k - 2.0 * llf)
    pd.testing.assert_frame_equal(mf.anova(*fits[::-1]), table)
