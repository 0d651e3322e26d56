"""Degrees of freedom against lmerTest, pbkrtest and nlme, and what the methods refuse."""

import pickle

import numpy as np
import pandas as pd
import pytest

import mixedfit as mf
from mixedfit.ddf import default_ddf, inference
from mixedfit.errors import MixedfitError, ModelError
from tests import references
from tests.references import lmer, matched, reference

# pbkrtest takes the covariance of the fixed effects with the weights and that of the rows without
# them; with weights throughout, `test_kenward_roger` compares with the formulas written out.
WEIGHTED = {"lmer_sleep_weights"}
BIG = {"lmer_big_slope", "lmer_big_crossed"}


def _with(block: str, column: str) -> list[str]:
    names = []
    for name in references.ids("lmer"):
        found = (reference(name).get("lmerTest") or {}).get(block)
        slow = "insteval" in name or name in BIG
        if isinstance(found, dict) and found.get(column) and not slow:
            names.append(name)
    return names


@pytest.mark.parametrize("name", _with("satterthwaite", "df"))
def test_satterthwaite_is_lmertests(name):
    fit, about = lmer(name), reference(name)
    names = [n for n, value in about["fixef"].items() if value is not None]
    df = pd.Series(inference(fit.fit).df(np.eye(fit.fit.p)), index=fit.params.index)
    np.testing.assert_allclose(
        matched(df, names), about["lmerTest"]["satterthwaite"]["df"], rtol=2e-5
    )


@pytest.mark.parametrize("name", sorted(set(_with("kenward_roger", "df")) - WEIGHTED))
def test_kenward_roger_is_pbkrtests(name):
    fit, about = lmer(name), reference(name)
    table = fit.coef_table(ddf="kenward-roger").set_index("term")
    names = list(about["fixef"])
    adjusted = np.array(about["pbkrtest"]["vcovAdj"]["values"])
    df = [about["pbkrtest"]["Lb_ddf"][n] for n in names]
    np.testing.assert_allclose(matched(table["se"], names) ** 2, np.diag(adjusted), rtol=5e-6)
    np.testing.assert_allclose(matched(table["df"], names), df, rtol=2e-5)


KRMODCOMP = [n for n in references.ids("lmer") if "test" in (reference(n).get("KRmodcomp") or {})]
SMALLER = {  # names of the coefficients that the smaller model lacks
    "lmer_cake_int": "recipe.*:temperature",
    "lmer_ergostool": "Type",
    "lmer_meat": "Storage",
    "lmer_orthodont": ".*:",
    "lmer_sleep_poly": r"poly.*\[2\]",
    "lmer_sleep_slope_reml": "Days",
}


@pytest.mark.parametrize("name", KRMODCOMP)
def test_joint_tests_are_those_of_krmodcomp(name):
    fit, test = lmer(name), reference(name)["KRmodcomp"]["test"]
    L = np.eye(fit.fit.p)[fit.params.index.str.match(SMALLER[name])]
    joint = inference(fit.fit, "kenward-roger").joint(L)
    want = [test["ndf"][0], test["ddf"][0], test["stat"][0]]
    np.testing.assert_allclose([joint.num_df, joint.den_df, joint.F], want, rtol=1e-5)
    np.testing.assert_allclose(joint.p, test["p.value"][0], rtol=1e-3)


def test_the_joint_test_of_one_row_is_the_t_test():
    fit = lmer("lmer_orthodont")
    for ddf in ("satterthwaite", "kenward-roger", "containment", "residual", "normal"):
        inferred = inference(fit.fit, ddf)
        L = np.array([[1.0, 11.0, 0.0, 0.0]])
        joint = inferred.joint(L)
        t = (L @ inferred.estimates / inferred.se(L)).item()
        assert joint.num_df == 1
        np.testing.assert_allclose([joint.F, joint.den_df], [t**2, inferred.df(L).item()])


def test_joint_tests_do_not_depend_on_how_kenward_rogers_rows_are_written():
    fit = lmer("lmer_machines_slope")
    inferred = inference(fit.fit, "kenward-roger")
    L = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    first = inferred.joint(L)
    mixed = np.array([[1.0, -3.0], [0.01, 5.0], [2.0, 2.0]]) @ L
    other = inferred.joint(mixed)
    assert other.num_df == 2
    np.testing.assert_allclose([other.F, other.den_df], [first.F, first.den_df], rtol=1e-9)


def test_normal_and_residual():
    fit = lmer("lmer_sleep_slope_reml")
    assert np.isinf(inference(fit.fit, "normal").df(np.eye(2))).all()
    np.testing.assert_array_equal(inference(fit.fit, "residual").df(np.eye(2)), 178.0)
    joint = inference(fit.fit, "normal").joint(np.eye(2))
    z = fit.params.to_numpy()
    np.testing.assert_allclose(joint.F, z @ np.linalg.solve(fit.cov_params(), z) / 2)


def test_values_other_than_zero():
    inferred = inference(lmer("lmer_sleep_slope_reml").fit)
    at_estimate = inferred.joint(np.eye(2), inferred.estimates)
    assert at_estimate.F == 0.0
    assert at_estimate.p == 1.0
    with pytest.raises(ModelError, match="ask for different values"):
        inferred.joint(np.array([[0.0, 1.0], [0.0, 2.0]]), np.array([1.0, 1.0]))
    with pytest.raises(ModelError, match="contrast of zeros"):
        inferred.joint(np.zeros((1, 2)), np.array([1.0]))
    assert inferred.joint(np.zeros((1, 2))).num_df == 0


def test_boundary_fits_say_what_counts():
    fit = lmer("lmer_dyestuff2_reml")
    satterthwaite = inference(fit.fit, "satterthwaite")
    np.testing.assert_allclose(satterthwaite.df(np.eye(1)), 29.0, rtol=1e-8)
    assert "only the free ones" in satterthwaite.note
    kenward_roger = inference(fit.fit, "kenward-roger")
    np.testing.assert_allclose(kenward_roger.df(np.eye(1)), 5.0, rtol=1e-8)
    assert "estimated as zero too" in kenward_roger.note


def test_maximum_likelihood_is_refused_by_kenward_roger():
    with pytest.raises(ModelError, match="method='REML'"):
        inference(lmer("lmer_dyestuff_ml").fit, "kenward-roger")


def test_unknown_methods_are_listed():
    with pytest.raises(MixedfitError, match="'satterthwaite', 'kenward-roger'"):
        lmer("lmer_sleep_slope_reml").coef_table(ddf="kr")


def test_covariances_that_are_not_linear_take_satterthwaite():
    rng = np.random.default_rng(5)
    group, time = np.repeat(np.arange(25), 8), np.tile(np.arange(4), 50)
    effects = rng.standard_normal((25, 4)).cumsum(axis=1)
    data = pd.DataFrame({"g": group, "time": time.astype(str), "x": rng.standard_normal(200)})
    data["y"] = data["x"] + effects[group, time] + rng.standard_normal(200)
    fit = mf.lmer("y ~ x + ar1(0 + time | g)", data)
    inferred = inference(fit.fit, "kenward-roger")
    assert inferred.method == "satterthwaite"
    assert "linear" in inferred.note
    assert "Satterthwaite's method was used" in str(fit.summary("kenward-roger"))
    homogeneous = inference(
        mf.lmer("y ~ x + cs(0 + time | g, hom = TRUE)", data).fit, "kenward-roger"
    )
    assert homogeneous.method == "kenward-roger"


def test_results_are_kept_with_the_fit():
    fit = lmer("lmer_sleep_slope_reml").fit
    assert inference(fit) is inference(fit, "satterthwaite")
    assert default_ddf(fit) == "satterthwaite"


def test_models_without_fixed_effects_have_empty_tables():
    data = references.data("sleepstudy")
    fit = mf.lmer("Reaction ~ 0 + (Days | Subject)", data)
    for ddf in ("satterthwaite", "kenward-roger", "containment", "residual", "normal"):
        assert fit.coef_table(ddf=ddf).empty
        assert fit.anova(ddf=ddf).empty


def test_results_are_the_same_after_pickling():
    fit = lmer("lmer_sleep_slope_reml")
    again = pickle.loads(pickle.dumps(fit))
    for ddf in ("satterthwaite", "kenward-roger"):
        pd.testing.assert_frame_equal(
            pd.DataFrame(again.coef_table(ddf=ddf)), pd.DataFrame(fit.coef_table(ddf=ddf))
        )


def test_stalled_fits_carry_a_warning():
    data = references.data("sleepstudy")
    control = mf.Control(max_evaluations=2)
    fit = mf.lmer("Reaction ~ Days + (Days | Subject)", data, start=[5, 3, 4], control=control)
    assert fit.status == "stalled"
    for ddf in ("satterthwaite", "residual"):
        assert "do not trust" in inference(fit.fit, ddf).note
