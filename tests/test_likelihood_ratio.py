import re

import numpy as np
import pytest
from scipy import stats

import mixedfit as mf
from mixedfit.errors import DataError, ModelError
from tests import references
from tests.cases import frame
from tests.references import lmer, reference

PAIRS = [
    (name, i)
    for name in references.ids("lmer")
    for i in range(len(reference(name).get("anova_lrt") or []))
]


@pytest.mark.parametrize(("name", "i"), PAIRS)
def test_likelihood_ratios_are_lme4s(name, i):
    pair = reference(name)["anova_lrt"][i]
    formula = re.match(r"lmer\((.*), data = d", pair["other_call"])[1]
    other = mf.lmer(
        formula, references.data(reference(name)["data"]), contrasts=_contrasts(name, formula)
    )
    table = mf.anova(lmer(name), other, refit=True)
    assert table["n_params"].tolist() == pair["npar"]
    np.testing.assert_allclose(table["llf"], pair["logLik"], rtol=1e-8)
    got = table[["chi2", "df", "p"]].iloc[1].to_numpy(float)
    np.testing.assert_allclose(got, [pair["Chisq"], pair["Df"], pair["p"]], rtol=1e-4)


def _contrasts(name, formula):
    data = references.data(reference(name)["data"])
    return references.polynomial_contrasts(formula, data) or None


def test_fixed_parts_that_differ_are_refitted_and_said_so():
    large = lmer("lmer_sleep_slope_reml")
    data = references.data("sleepstudy")
    small = mf.lmer("Reaction ~ 1 + (Days | Subject)", data)
    table = mf.anova(large, small)
    by_ml = [mf.lmer(fit.formula, data, method="ML").llf for fit in (small, large)]
    np.testing.assert_allclose(table["llf"], by_ml)
    chi2 = 2 * (by_ml[1] - by_ml[0])
    np.testing.assert_allclose(table["chi2"].iloc[1], chi2, rtol=1e-7)
    np.testing.assert_allclose(table["p"].iloc[1], stats.chi2.sf(chi2, 1), rtol=1e-6)
    assert "Refitted by maximum likelihood" in table.note
    assert table.note in repr(table)
    with pytest.raises(ModelError, match="restricted likelihoods of different fixed parts"):
        mf.anova(large, small, refit=False)


def test_random_parts_that_differ_are_compared_as_they_are():
    data = references.data("sleepstudy")
    small = mf.lmer("Reaction ~ Days + (1 | Subject)", data)
    large = lmer("lmer_sleep_slope_reml")
    table = mf.anova(small, large)
    np.testing.assert_allclose(table["llf"], [small.llf, large.llf])
    np.testing.assert_allclose(table["p_mixture"].iloc[1], large.ranova()["p_mixture"].iloc[1])
    assert "Refitted" not in table.note
    refitted = mf.anova(small, large, refit=True)
    assert refitted["llf"].iloc[0] > table["llf"].iloc[0] - 10
    assert refitted.attrs["method"] == "ML"


def test_methods_that_differ_are_refitted():
    data = references.data("sleepstudy")
    small = mf.lmer("Reaction ~ Days + (1 | Subject)", data, method="ML")
    table = mf.anova(small, lmer("lmer_sleep_slope_reml"))
    assert "Reaction ~ Days + (Days | Subject)" in table.note
    assert table["llf"].iloc[0] == small.llf


def test_models_that_are_not_nested_get_no_test():
    data = frame()
    table = mf.anova(
        mf.lmer("y ~ x + (1 | g)", data, method="ML"),
        mf.lmer("y ~ z + f + (1 | g)", data, method="ML"),
    )
    assert np.isnan(table["p"].iloc[1])
    assert "its fixed part has x, which the larger one does not" in table.note


def test_random_parts_without_a_simple_reduction_carry_a_warning():
    data = frame()
    table = mf.anova(mf.lmer("y ~ x + (1 | g)", data), mf.lmer("y ~ x + (x | g) + (1 | h)", data))
    assert "p_mixture" not in table
    assert "bootstrap_test()" in table.note


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"subset": "x > 0"}, "to 240 rows and .* to 1"),
        ({"weights": "w"}, "different precision weights"),
    ],
)
def test_other_data_are_refused(change, message):
    data = frame()
    fits = mf.lmer("y ~ x + (1 | g)", data), mf.lmer("y ~ x + (1 | h)", data, **change)
    with pytest.raises(DataError, match=message):
        mf.anova(*fits)


def test_other_responses_are_refused():
    data = frame()
    data["v"] = data["y"] + 1.0
    fits = mf.lmer("y ~ x + (1 | g)", data), mf.lmer("v ~ x + (1 | g)", data)
    with pytest.raises(DataError, match="different responses, 'y' and 'v'"):
        mf.anova(*fits)
    shuffled = mf.lmer("y ~ x + (1 | g)", data.iloc[::-1])
    with pytest.raises(DataError, match="different rows"):
        mf.anova(fits[0], shuffled)


def test_offsets_belong_to_the_mean():
    data = frame()
    data["o"] = np.sin(np.arange(len(data)))
    plain = mf.lmer("y ~ x + (1 | g)", data)
    table = mf.anova(plain, mf.lmer("y ~ x + z + offset(o) + (1 | g)", data))
    assert "not nested" in table.note
    assert "their offsets differ" in table.note
    assert table[["chi2", "p"]].isna().all(axis=None)
    # The larger model can make up for an offset in one of its columns.
    moved = mf.lmer("y ~ offset(2 * z) + x + (1 | g)", data)
    larger = mf.lmer("y ~ x + z + (1 | g)", data)
    assert mf.anova(moved, larger)["df"].iloc[1] == 1
    nothing = mf.lmer("y ~ 1 + (1 | g)", data), mf.lmer("y ~ 0 + (x | g)", data)
    assert "its fixed part has Intercept" in mf.anova(*nothing).note
