"""Comparisons of fits as a user calls them."""

import pytest

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
