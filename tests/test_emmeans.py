import json
import pickle
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest

import mixedfit as mf
from mixedfit.errors import DataError, FormulaError, MixedfitError
from tests import references

EXPECTED = json.loads((references.ROOT / "expected" / "emmeans.json").read_text(encoding="utf-8"))
NUMBERS = {
    "estimate": ("emmean", "response", "estimate", "ratio", "Time.trend", "log(Time).trend"),
    "se": ("SE",),
    "df": ("df",),
    "t": ("t.ratio",),
    "p": ("p.value",),
    "lower": ("lower.CL",),
    "upper": ("upper.CL",),
}


def column(table, name):
    found = next((n for n in NUMBERS[name] if n in table), None)
    return None if found is None else np.array(table[found], dtype=float)


def assert_like(ours, name, p_tolerance=1e-6, limits=1e-3):
    """The numbers and labels of a table against R's, matched by label."""
    table = EXPECTED[name]
    known = {name for names in NUMBERS.values() for name in names} | {"null"}
    keys = [key for key in table if key not in known]
    theirs = list(zip(*(map(str, table[key]) for key in keys), strict=True))
    own = list(zip(*(map(str, ours[key]) for key in keys), strict=True))
    assert sorted(own) == sorted(theirs)
    order = [own.index(key) for key in theirs]
    se, df = column(table, "se"), column(table, "df")
    half = (
        (column(table, "upper") - column(table, "lower")) / 2
        if column(table, "upper") is not None
        else se
    )
    tolerance = {
        "estimate": 1e-4 * se,
        "se": 2e-4 * se,
        "df": 2e-3 * df,
        "t": 1e-3,
        "p": p_tolerance,
        "lower": limits * half,
        "upper": limits * half,
    }
    for what, allowed in tolerance.items():
        want = column(table, what)
        if want is None or what not in ours:
            continue
        got = ours[what].to_numpy(dtype=float)[order]
        np.testing.assert_array_equal(np.isnan(got), np.isnan(want), err_msg=what)
        known = ~np.isnan(want)
        error = np.abs(got - want)[known]
        assert (error <= np.broadcast_to(allowed, want.shape)[known] + 1e-9).all(), (
            what,
            got,
            want,
        )


@cache
def alfalfa():
    return mf.lmer("Yield ~ Date * Variety + (1 | Block/Variety)", references.data("alfalfa"))


@cache
def unbalanced():
    data = references.data("mathachieve")
    return mf.lmer("MathAch ~ Minority * Sex + Sector + SES + (1 | School)", data)


@cache
def two_valued():
    data = references.data("mathachieve").copy()
    data["late"] = (data["School"].astype(int) > 5000).astype(int)
    data["other"] = data["SES"] > 0
    return mf.lmer("MathAch ~ late + other * Sex + SES + (1 | School)", data)


@cache
def machines(response):
    return mf.lmer(f"{response} ~ Machine + (1 | Worker)", references.data("machines"))


@cache
def curved(time):
    return mf.lmer(f"weight ~ {time} * Diet + (1 | Rat)", references.data("bodyweight"))


@cache
def empty():
    data = references.data("alfalfa")
    data = data[~((data["Date"] == "S1") & (data["Variety"] == "Ladak"))]
    return mf.lmer("Yield ~ Date * Variety + (1 | Block)", data)


# -- against R -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("adjust", "tolerance"),
    [
        ("tukey", 1e-5),
        ("mvt", 2e-3),
        ("scheffe", 1e-5),
        ("sidak", 1e-5),
        ("bonferroni", 1e-5),
        ("holm", 1e-5),
        ("fdr", 1e-5),
        ("none", 1e-5),
    ],
)
def test_pairs_and_adjustments_are_emmeans(adjust, tolerance):
    pairs = alfalfa().emmeans("Date").pairs(adjust=adjust)
    limits = 5e-3 if adjust == "mvt" else 1e-3
    assert_like(pairs, f"pairs_{adjust}", p_tolerance=tolerance, limits=limits)


@pytest.mark.parametrize(
    "method", ["trt.vs.ctrl", "eff", "del.eff", "poly", "consec", "mean_chg", "revpairwise"]
)
def test_contrast_methods_are_emmeans(method):
    means = alfalfa().emmeans("Date")
    assert_like(means.contrast(method, adjust="none"), f"method_{method}")


def test_comparison_with_a_control_is_the_multivariate_t():
    control = alfalfa().emmeans("Date").contrast("control")
    assert_like(control, "dunnett", p_tolerance=2e-3, limits=5e-3)


def test_groups_of_by_are_families():
    for means in (alfalfa().emmeans("~ Date | Variety"), alfalfa().emmeans("Date", by="Variety")):
        assert_like(means.pairs(), "within", p_tolerance=1e-5)
    cells = alfalfa().emmeans("~ Date * Variety")
    assert_like(cells.to_frame(), "cells")
    assert_like(cells.pairs(by="Variety"), "within", p_tolerance=1e-5)


def test_contrasts_of_contrasts():
    means = alfalfa().emmeans("~ Date * Variety")
    assert_like(means.contrast(interaction=["poly", "pairwise"]), "interaction")


@pytest.mark.parametrize("weights", ["equal", "proportional", "outer", "cells", "flat"])
def test_weights_are_emmeans(weights):
    assert_like(unbalanced().emmeans("Minority", weights=weights).to_frame(), f"weights_{weights}")


def test_values_of_the_grid_can_be_set():
    at = {"SES": 1, "Minority": "Yes", "Sector": ["Catholic"]}
    assert_like(unbalanced().emmeans("~ Sex | Minority", at=at).to_frame(), "at")


def test_two_valued_numbers_and_truth_values_keep_both_values():
    assert_like(two_valued().emmeans("Sex").to_frame(), "two_valued")
    assert_like(two_valued().emmeans("late").to_frame(), "two_valued_shown")
    shown = two_valued().emmeans("~ other | Sex").to_frame()
    shown["other"] = shown["other"].map({True: "TRUE", False: "FALSE"})
    want = EXPECTED["logical"]
    want["other"] = [str(v).upper() for v in want["other"]]
    assert_like(shown, "logical")


def test_prior_weights_count_in_frequencies():
    fit = mf.lmer(
        "Reaction ~ grp * factor(Days) + (1 | Subject)", references.data("sleepstudy"), weights="w"
    )
    assert_like(fit.emmeans("grp", weights="proportional").to_frame(), "prior_weights")
    assert_like(fit.emmeans("Days", weights="cells").to_frame(), "prior_weights_cells")


def test_offsets_are_evaluated_on_the_grid():
    data = references.data("sleepstudy")
    fit = mf.lmer("Reaction ~ Days + grp + offset(off) + (1 | Subject)", data)
    assert_like(fit.emmeans("grp").to_frame(), "offset")
    given = mf.lmer("Reaction ~ Days + grp + (1 | Subject)", data, offset=data["off"].to_numpy())
    assert_like(given.emmeans("grp").to_frame(), "offset")


def test_a_curved_offset_is_averaged_unless_its_variable_is_set():
    data = references.data("sleepstudy").assign(e=lambda d: np.exp(d["off"]))
    plain = mf.lmer("Reaction ~ Days + grp + offset(off) + (1 | Subject)", data)
    curved = mf.lmer("Reaction ~ Days + grp + offset(log(e)) + (1 | Subject)", data)
    means = [fit.emmeans("grp").to_frame()["estimate"] for fit in (plain, curved)]
    np.testing.assert_allclose(means[1], means[0], rtol=1e-9)
    means = [
        plain.emmeans("grp", at={"off": 0.5}).to_frame()["estimate"],
        curved.emmeans("grp", at={"e": np.exp(0.5)}).to_frame()["estimate"],
    ]
    np.testing.assert_allclose(means[1], means[0], rtol=1e-9)


def test_transformed_responses_come_back():
    logged = machines("log(score)").emmeans("Machine")
    assert_like(logged.to_frame(type="response"), "log_response")
    assert_like(logged.pairs(type="response"), "log_ratios", p_tolerance=1e-5)
    assert_like(
        machines("sqrt(score)").emmeans("Machine").to_frame(type="response"), "sqrt_response"
    )
    shifted = machines("log10(score + 10)").emmeans("Machine")
    assert_like(shifted.to_frame(type="response"), "log10_response")


def test_trends_are_emmeans():
    fit = curved("poly(Time, 2)")
    assert_like(fit.emtrends("Diet", "Time").to_frame(), "trend_diet")
    assert_like(
        fit.emtrends("~ Time | Diet", "Time", at={"Time": [1, 30, 60]}).to_frame(), "trend_at"
    )
    assert_like(fit.emtrends("Diet", "Time").pairs(), "trend_pairs", p_tolerance=1e-5)


def test_a_trend_may_be_in_a_function():
    fit = curved("log(Time)")
    slopes = fit.emtrends("Diet", "log(Time)").to_frame()
    np.testing.assert_allclose(slopes["estimate"][0], fit.params["log(Time)"], rtol=1e-9)
    np.testing.assert_allclose(slopes["se"][0], fit.bse["log(Time)"], rtol=1e-9)
    np.testing.assert_allclose(
        slopes["estimate"], EXPECTED["trend_log"]["log(Time).trend"], rtol=1e-5
    )


@pytest.mark.parametrize(
    ("name", "fit", "by"),
    [
        ("joint", alfalfa, None),
        ("joint_by", alfalfa, "Variety"),
        ("joint_unbalanced", unbalanced, None),
        ("joint_covariate", lambda: curved("Time"), None),
    ],
)
def test_joint_tests_are_emmeans(name, fit, by):
    ours, theirs = fit().joint_tests(by=by), EXPECTED[name]
    assert list(ours["term"]) == theirs["model.term"]
    assert list(ours["num_df"]) == theirs["df1"]
    np.testing.assert_allclose(ours["den_df"], theirs["df2"], rtol=5e-3)
    np.testing.assert_allclose(ours["F"], theirs["F.ratio"], rtol=1e-3, atol=1e-3)


def test_nested_factors_are_averaged_within_their_own():
    data = references.data("alfalfa").copy()
    date, variety = data["Date"].astype(str), data["Variety"].astype(str)
    data["kind"] = variety.str[0] + np.where(date == "None", "0", "1")
    data["kind"] += np.where((variety == "Ladak") & (date == "O7"), "x", "")
    fit = mf.lmer("Yield ~ Variety / kind + (1 | Block)", data)
    means = fit.emmeans("Variety")
    assert_like(means.to_frame(), "nested_outer")
    assert "kind is nested in Variety" in " ".join(means.notes)
    both = fit.emmeans("~ kind | Variety")
    assert_like(both.to_frame(), "nested_inner")
    assert_like(fit.emmeans("kind").to_frame().merge(both.to_frame()), "nested_inner")
    assert_like(both.pairs(), "nested_pairs", p_tolerance=1e-5)
    joint, theirs = fit.joint_tests(), EXPECTED["nested_joint"]
    assert list(joint["term"]) == theirs["model.term"]
    assert list(joint["num_df"]) == theirs["df1"]
    np.testing.assert_allclose(joint["F"], theirs["F.ratio"], rtol=1e-3)
    with pytest.raises(MixedfitError, match="nested"):
        fit.emmeans("~ kind * Variety").contrast(interaction="pairwise")


def test_joint_tests_keep_what_can_be_estimated():
    ours, theirs = empty().joint_tests(), EXPECTED["empty_joint"]
    assert list(ours["term"]) == theirs["model.term"][:3]
    assert list(ours["num_df"]) == theirs["df1"][:3]
    np.testing.assert_allclose(ours["F"], theirs["F.ratio"][:3], rtol=1e-3, atol=1e-3)
    assert "left out of Date, Variety, Date:Variety" in ours.note


def test_what_the_data_cannot_estimate_has_no_number():
    cells = empty().emmeans("~ Date * Variety")
    assert_like(cells.to_frame(), "empty_cells")
    means = empty().emmeans("Variety")
    assert_like(means.to_frame(), "empty_margin")
    assert_like(means.pairs(adjust="none"), "empty_pairs")
    assert any("non-estimable" in note for note in means.notes)
    assert "non-estimable" in means.pairs().note


# -- invariance ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_means_average_predictions(seed):
    rng = np.random.default_rng(seed)
    n = 120
    data = pd.DataFrame({"g": rng.integers(0, 10, n), "x": rng.standard_normal(n)})
    data["a"], data["b"] = rng.choice(list("pqr"), n), rng.choice(list("st"), n)
    data["y"] = rng.standard_normal(n) + rng.standard_normal(10)[data["g"]]
    fit = mf.lmer("y ~ a * b + b * poly(x, 2) + (1 | g)", data)
    new = data.groupby(["a", "b"]).size().rename("count").reset_index()
    new["predicted"] = fit.predict(new.assign(x=data["x"].mean()), groups="none").to_numpy()
    equal = new.groupby("a")["predicted"].mean()
    np.testing.assert_allclose(fit.emmeans("a").to_frame()["estimate"], equal)
    total = (new["predicted"] * new["count"]).groupby(new["a"]).sum()
    cells = total / new.groupby("a")["count"].sum()
    np.testing.assert_allclose(fit.emmeans("a", weights="cells").to_frame()["estimate"], cells)


@pytest.mark.parametrize("coding", ["sum", "helmert", "poly"])
def test_the_coding_of_factors_does_not_matter(coding):
    data, formula = references.data("alfalfa"), "Yield ~ Date * Variety + (1 | Block/Variety)"
    other = mf.lmer(formula, data, contrasts={"Date": coding, "Variety": coding})
    for specs in ("Variety", "~ Date | Variety"):
        ours, theirs = (fit.emmeans(specs).to_frame() for fit in (alfalfa(), other))
        np.testing.assert_allclose(
            ours[["estimate", "se", "df"]], theirs[["estimate", "se", "df"]], rtol=1e-6
        )
    np.testing.assert_allclose(alfalfa().joint_tests()["F"], other.joint_tests()["F"], rtol=1e-6)


def test_columns_that_repeat_others_change_nothing():
    data = references.data("machines")
    plain = mf.lmer("score ~ Machine + (1 | Worker)", data)
    doubled = mf.lmer("score ~ Machine + I(2 * (Machine == 'B')) + (1 | Worker)", data)
    assert doubled.dropped_columns
    ours, theirs = (fit.emmeans("Machine").to_frame() for fit in (doubled, plain))
    np.testing.assert_allclose(ours[["estimate", "se"]], theirs[["estimate", "se"]], rtol=1e-6)


def test_one_mean_over_everything_is_the_mean_of_means():
    means = alfalfa().emmeans("Date")
    overall = alfalfa().emmeans("1").to_frame()
    assert overall["estimate"][0] == pytest.approx(means.to_frame()["estimate"].mean())
    assert overall.columns.tolist() == ["estimate", "se", "df", "lower", "upper"]


def test_degrees_of_freedom_can_be_chosen():
    normal = alfalfa().emmeans("Date", ddf="normal").to_frame()
    adjusted = alfalfa().emmeans("Date", ddf="kenward-roger")
    assert np.isinf(normal["df"]).all()
    assert (adjusted.to_frame()["df"] < 100).all()
    p = alfalfa().emmeans("Date", ddf="normal").pairs(adjust="scheffe")["p"]
    assert ((p >= 0) & (p <= 1)).all()


def test_custom_contrasts_by_name_and_by_matrix():
    means = machines("score").emmeans("Machine")
    named = means.contrast({"new": [-1, 0.5, 0.5]})
    plain = means.contrast([[-1, 0.5, 0.5]])
    estimate = means.to_frame()["estimate"].to_numpy()
    assert named["contrast"].tolist() == ["new"]
    assert named["estimate"][0] == pytest.approx(estimate[1:].mean() - estimate[0])
    assert plain["se"][0] == named["se"][0]


def test_differences_on_the_response_scale():
    means = machines("sqrt(score)").emmeans("Machine")
    back = means.on_response()
    estimate = means.to_frame(type="response")
    np.testing.assert_allclose(back.to_frame()["estimate"], estimate["estimate"])
    np.testing.assert_allclose(back.to_frame()["se"], estimate["se"])
    pairs = back.pairs(adjust="none")
    assert pairs["estimate"][0] == pytest.approx(-np.diff(estimate["estimate"])[0])


# -- what is said ----------------------------------------------------------------------------------


def test_notes_say_what_is_averaged_held_and_hidden():
    notes = " ".join(unbalanced().emmeans("Minority").notes)
    assert "Averaged over Sex, Sector (equal weights)" in notes
    assert "At SES = 0.000143354" in notes
    assert "the interaction Minority:Sex" in notes
    assert "interaction" not in " ".join(unbalanced().emmeans("~ Minority * Sex").notes)
    assert "type='response' transforms back to score" in repr(
        machines("log(score)").emmeans("Machine")
    )


def test_what_was_averaged_over_can_be_seen():
    shown = unbalanced().emmeans("Minority", weights="cells").averaged_over
    assert shown.columns.tolist() == ["Minority", "Sex", "Sector", "SES", "weight"]
    assert shown.groupby("Minority")["weight"].sum().tolist() == pytest.approx([1.0, 1.0])


def test_pairwise_left_of_the_tilde():
    means = machines("score").emmeans("pairwise ~ Machine")
    assert means.contrasts["contrast"].tolist() == ["A - B", "A - C", "B - C"]
    control = machines("score").emmeans("trt.vs.ctrl ~ Machine").contrasts
    assert control["contrast"].tolist() == ["B - A", "C - A"]
    last = machines("score").emmeans("Machine").contrast("control", reference="C")
    assert last["contrast"].tolist() == ["A - C", "B - C"]


def test_means_can_be_kept():
    means = machines("log(score)").emmeans("Machine")
    again = pickle.loads(pickle.dumps(means))
    assert again.pairs(type="response").equals(means.pairs(type="response"))


def test_ratios_are_named_as_ratios():
    pairs = machines("log(score)").emmeans("Machine").pairs(type="response")
    assert pairs["contrast"][0] == "A / B"
    assert "Ratios of score" in pairs.note


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda f: f.emmeans("Machin"), MixedfitError, "'Machin'.*'Machine'"),
        (lambda f: f.emmeans("~ Machine |"), FormulaError, "nothing after"),
        (lambda f: f.emmeans("Machine", at={"Machine": "Z"}), DataError, "'Z'.*'A', 'B', 'C'"),
        (lambda f: f.emmeans("Machine", at={"x": 1}), DataError, "at= names 'x'"),
        (lambda f: f.emmeans("Machine", weights="show.levels"), MixedfitError, "averaged_over"),
        (lambda f: f.emmeans("Machine", ddf="kr"), MixedfitError, "kenward-roger"),
        (lambda f: f.emmeans("Machine").pairs(adjust="tuckey"), MixedfitError, "'tukey'"),
        (lambda f: f.emmeans("Machine").contrast("pairs"), MixedfitError, "'pairwise'"),
        (lambda f: f.emmeans("Machine").contrast({"a": [1, -1]}), MixedfitError, "3 coefficients"),
        (lambda f: f.emmeans("Machine").contrast("eff", adjust="tukey"), MixedfitError, "pairwise"),
        (lambda f: f.emmeans("Machine").to_frame(type="response"), MixedfitError, "log\\(y\\)"),
        (lambda f: f.emmeans("Machine").to_frame(level=95), MixedfitError, "0.95"),
        (lambda f: f.emmeans("Machine").pairs(by="Worker"), MixedfitError, "'Worker'"),
        (lambda f: f.emmeans("1").pairs(), MixedfitError, "nothing"),
        (lambda f: f.emtrends("Machine", "Machine"), MixedfitError, "numeric variable"),
    ],
)
def test_errors_name_the_thing_and_the_remedy(call, error, match):
    with pytest.raises(error, match=match):
        call(machines("score"))


def test_means_no_response_can_have_are_told_from_the_others():
    data = mf.datasets.load("machines")
    rng = np.random.default_rng(3)
    data["score"] = rng.uniform(0.1, 2.0, len(data)) ** 2 + 20.0 * (data["Machine"] == "B")
    fit = mf.lmer("1 / score ~ Machine + (1 | Worker)", data)
    table = fit.emmeans("Machine").to_frame(type="response")
    within = (table["lower"] <= table["estimate"]) & (table["estimate"] <= table["upper"])
    assert within.all()
    down = mf.lmer("sqrt(score) ~ Machine + (1 | Worker)", data).emmeans("Machine")
    below = replace(
        down, estimates=replace(down.estimates, constant=np.array([0.0, -100.0, 0.0]))
    ).on_response()
    assert below.to_frame()["estimate"].isna().tolist() == [False, True, False]
    assert below.pairs()["estimate"].isna().tolist() == [True, False, True]


def test_variables_named_as_columns_of_the_tables_are_told_from_them():
    data = mf.datasets.load("machines").rename(columns={"Machine": "t"})
    data["weight"] = np.arange(len(data)) % 2
    fit = mf.lmer("score ~ t * weight + (1 | Worker)", data)
    assert fit.emmeans("t").to_frame()["t"].tolist() == ["A", "B", "C"]
    for call in (
        lambda: fit.emmeans("weight", by="t").pairs(),
        lambda: fit.emmeans("t").averaged_over,
        lambda: fit.emmeans(["t", "weight"]).pairs(by="t"),
    ):
        with pytest.raises(MixedfitError, match="rename it in the data"):
            call()


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda means: means.to_frame(type="respnse"), "'link' or 'response', not 'respnse'"),
        (lambda means: means.pairs(type="log"), "'link' or 'response', not 'log'"),
    ],
)
def test_scales_are_known_by_name(call, match):
    fit = mf.lmer("log(score) ~ Machine + (1 | Worker)", mf.datasets.load("machines"))
    with pytest.raises(MixedfitError, match=match):
        call(fit.emmeans("Machine"))


def test_ratios_of_levels_with_a_dash_keep_it():
    data = mf.datasets.load("machines")
    data["Machine"] = data["Machine"].map({"A": "10 - 19", "B": "20 - 29", "C": "old"})
    fit = mf.lmer("log(score) ~ Machine + (1 | Worker)", data)
    names = fit.emmeans("Machine").pairs(type="response")["contrast"].tolist()
    assert names == ["(10 - 19) / (20 - 29)", "(10 - 19) / old", "(20 - 29) / old"]
