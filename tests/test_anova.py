"""Tests of terms against lmerTest; what they must not depend on; what is refused."""

from functools import cache
from itertools import product

import numpy as np
import pandas as pd
import pytest

import mixedfit as mf
from mixedfit.errors import MixedfitError
from tests import references
from tests.references import lmer, reference
from tests.test_ddf import BIG, WEIGHTED

TYPES = {"I": 1, "II": 2, "III": 3}
DDF = {"Satterthwaite": "satterthwaite", "Kenward-Roger": "kenward-roger"}
CODINGS = {"contr.sum": "sum", "contr.helmert": "helmert"}

# lmerTest overlooks factors that R codes with an indicator for each level: for it (3.1-3), a is
# not contained in a:b without an intercept, and a:x is contained in b.
OVERLOOKED = {
    ("crossed_slopes", "II"),
    ("no_intercept", "II"),
    ("no_intercept", "III"),
}


def _cases():
    for name in references.ids("lmer"):
        if "insteval" in name or name in BIG:
            continue
        for key, block in (reference(name).get("lmerTest") or {}).items():
            if key.startswith("anova") and isinstance(block, dict) and block.get("row"):
                _, kind, ddf = key.split("_", 2)
                if not (ddf == "kenward_roger" and name in WEIGHTED):
                    yield name, kind, ddf.replace("_", "-")


def _numbers(table):
    return table[["num_df", "den_df", "F"]].to_numpy(float)


def _wanted(block, keys):
    columns = [[np.nan if v in (None, "NA") else v for v in block[key]] for key in keys]
    return np.column_stack(columns).astype(float)


@pytest.mark.parametrize(("name", "kind", "ddf"), list(_cases()))
def test_terms_have_lmertests_tests(name, kind, ddf):
    block = reference(name)["lmerTest"][f"anova_{kind}_{ddf.replace('-', '_')}"]
    table = lmer(name).anova(type=TYPES[kind], ddf=ddf)
    want = _wanted(block, ("NumDF", "DenDF", "F value"))
    np.testing.assert_allclose(_numbers(table), want, rtol=3e-5)
    np.testing.assert_allclose(
        table["p"], _wanted(block, ("Pr(>F)",))[:, 0], rtol=1e-3, atol=1e-300
    )


@cache
def _unbalanced(model):
    about = reference("terms")
    spec = about["models"][model]
    codings = {a: CODINGS[c] for a, c in (spec.get("contrasts") or {}).items()}
    data = pd.DataFrame(about["data"]).iloc[spec["used"]]
    return mf.lmer(spec["formula"], data, contrasts=codings or None)


@pytest.mark.parametrize("ddf", list(DDF))
@pytest.mark.parametrize(
    ("model", "kind"),
    [case for case in product(reference("terms")["models"], TYPES) if case not in OVERLOOKED],
)
def test_unbalanced_data_empty_cells_and_codings(model, kind, ddf):
    block = reference("terms")["models"][model]["tables"][f"{kind}_{ddf}"]
    table = _unbalanced(model).anova(type=TYPES[kind], ddf=DDF[ddf])
    want = _wanted(block, ("num_df", "den_df", "F"))
    np.testing.assert_allclose(_numbers(table), want, rtol=5e-5)


def _two_way(n=80, seed=1):
    rng = np.random.default_rng(seed)
    data = pd.DataFrame(
        {
            "a": rng.choice(list("pqr"), n, p=[0.5, 0.3, 0.2]),
            "b": rng.choice(list("uv"), n, p=[0.7, 0.3]),
            "g": rng.integers(0, 10, n),
        }
    )
    data["y"] = (data["a"] == "q") + rng.standard_normal(10)[data["g"]] + rng.standard_normal(n)
    return data


@pytest.mark.parametrize("kind", [1, 2, 3])
@pytest.mark.parametrize("coding", ["sum", "helmert", "poly"])
def test_codings_do_not_matter(kind, coding):
    data = _two_way()
    first = mf.lmer("y ~ a * b + (1 | g)", data)
    other = mf.lmer("y ~ a * b + (1 | g)", data, contrasts={"a": coding, "b": coding})
    for ddf in ("kenward-roger", "normal"):
        np.testing.assert_allclose(
            _numbers(other.anova(type=kind, ddf=ddf)),
            _numbers(first.anova(type=kind, ddf=ddf)),
            rtol=1e-5,
        )


def test_type_3_tests_unweighted_means():
    data = _two_way()
    fit = mf.lmer("y ~ a * b + (1 | g)", data)
    cells = pd.DataFrame(
        {"a": np.repeat(list("pqr"), 2), "b": np.tile(list("uv"), 3), "g": 0, "y": 0.0}
    )
    X = fit.fit.design.recipe.apply(_frame(cells, fit))
    means = X.reshape(3, 2, -1).mean(axis=1)
    by_hand = fit.contrast(np.diff(means, axis=0)).joint
    table = fit.anova(type=3).set_index("term").loc["a"]
    np.testing.assert_allclose([by_hand.F, by_hand.num_df], [table["F"], table["num_df"]])


def _frame(cells, fit):
    from mixedfit.frames import read_frame  # noqa: PLC0415  only this test needs it

    return read_frame(cells, list(fit.fit.design.recipe.levels))


def test_all_types_agree_on_balanced_data():
    fit = lmer("lmer_cake_int")
    first = _numbers(fit.anova(type=1))
    for kind in (2, 3):
        np.testing.assert_allclose(_numbers(fit.anova(type=kind)), first, rtol=1e-6)


def test_an_empty_cell_leaves_fewer_interactions():
    fit = _unbalanced("hole")
    assert fit.dropped_columns
    table = fit.anova().set_index("term")
    assert table.loc["a:b", "num_df"] == 3
    alone = fit.anova(type=1).set_index("term")
    assert alone.loc["a:b", "num_df"] == 3


def test_terms_that_repeat_others_come_last_without_numbers():
    table = lmer("lmer_rough_rankdef").anova()
    assert table["term"].tolist() == ["x1", "x2", "f", "x3"]
    assert table.iloc[-1, 1:].isna().all()
    assert "Nothing can be tested of x3" in table.note


def test_types_by_name_and_what_is_refused():
    fit = lmer("lmer_sleep_slope_reml")
    pd.testing.assert_frame_equal(
        pd.DataFrame(fit.anova(type="III")), pd.DataFrame(fit.anova(type=3))
    )
    with pytest.raises(MixedfitError, match="type must be one of 1, 2, 3, 'sequential'"):
        fit.anova(type=4)


def test_models_with_only_an_intercept_have_no_terms():
    fit = lmer("lmer_dyestuff_reml")
    assert fit.anova().empty
    assert fit.anova(type="marginal")["term"].tolist() == ["Intercept"]


def test_the_table_says_how_it_was_made():
    shown = repr(lmer("lmer_sleep_slope_reml").anova(ddf="kenward-roger"))
    assert shown.splitlines()[-1] == (
        "Type 3 tests, standard errors and degrees of freedom by Kenward and Roger's method."
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["I", "II", "III"])
def test_large_crossed_designs(kind):
    block = reference("lmer_insteval_service")["lmerTest"][f"anova_{kind}_satterthwaite"]
    table = lmer("lmer_insteval_service").anova(type=TYPES[kind])
    np.testing.assert_allclose(
        _numbers(table), _wanted(block, ("NumDF", "DenDF", "F value")), rtol=1e-4
    )


def test_slopes_in_cells_of_one_row_belong_to_no_term():
    """What only terms that contain a term determine together is none of its hypothesis."""
    data = pd.DataFrame({"f": list("abc") * 5, "g": np.repeat(list("uvw"), 5)})
    lone = [0, 4, 5]  # the only rows of their cells
    data["k"] = np.where(data["f"] == "a", "n", "m")
    data.loc[lone, "k"] = np.where(data.loc[lone, "f"] == "a", "m", "n")
    rng = np.random.default_rng(19)
    data["x"], data["y"] = rng.standard_normal((2, 15))
    fit = mf.lmer("y ~ x * f * k + (1 | g)", data)
    table = fit.anova().set_index("term")
    # Slopes are known in one cell of a, b and c each: b and c can be compared within m.
    assert table["num_df"].dropna().to_dict() == {"x": 1, "f": 2, "k": 1, "x:f": 1, "f:k": 1}
    slopes = fit.contrast("x:f[T.b] - x:f[T.c]")
    assert table.loc["x:f", "F"] == pytest.approx(slopes.joint.F)
