import numpy as np
import pytest

import mixedfit as mf
from mixedfit.errors import MixedfitError
from tests import references


def test_without_interactions_they_are_type_three():
    data = references.data("mathachieve")
    fit = mf.lmer("MathAch ~ Minority + Sex + Sector + (1 | School)", data)
    ours, type3 = fit.joint_tests(), fit.anova(type=3)
    assert list(ours["term"]) == list(type3["term"])
    np.testing.assert_allclose(ours[["num_df", "den_df", "F"]], type3[["num_df", "den_df", "F"]])


def test_levels_of_by_keep_their_order():
    fit = mf.lmer("Yield ~ Date * Variety + (1 | Block/Variety)", references.data("alfalfa"))
    within = fit.joint_tests(by="Date")
    assert within["Date"].tolist() == ["None", "S1", "S20", "O7"]
    assert within["term"].tolist() == ["Variety"] * 4
    alone = fit.joint_tests(by="Date", at={"Variety": ["Cossack", "Ladak"]})
    pairs = fit.emmeans("Variety", by="Date", at={"Variety": ["Cossack", "Ladak"]}).pairs()
    np.testing.assert_allclose(alone["F"], pairs["t"] ** 2)


def test_kenward_roger_scales_them():
    fit = mf.lmer("Yield ~ Date * Variety + (1 | Block/Variety)", references.data("alfalfa"))
    ours, anova = fit.joint_tests(ddf="kenward-roger"), fit.anova(ddf="kenward-roger")
    np.testing.assert_allclose(ours["F"], anova["F"], rtol=1e-6)
    assert ours.attrs["ddf"] == "kenward-roger"


def test_nothing_to_test():
    fit = mf.lmer("Yield ~ 1 + (1 | Batch)", references.data("dyestuff"))
    with pytest.raises(MixedfitError, match="nothing to test"):
        fit.joint_tests()


def test_a_variable_named_as_a_column_is_refused():
    data = mf.datasets.load("machines").rename(columns={"Machine": "p"})
    data["k"] = np.arange(len(data)) % 2
    fit = mf.lmer("score ~ p * k + (1 | Worker)", data)
    assert fit.joint_tests(by="k")["term"].tolist() == ["p", "p"]
    with pytest.raises(MixedfitError, match="'p' has the name of another column"):
        fit.joint_tests(by="p")
