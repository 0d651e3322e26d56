import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest

from mixedfit.correlation import CorAR1
from mixedfit.covariance import AR1, CompoundSymmetry, Diagonal, Unstructured
from mixedfit.design import Design, ResidualSpec
from mixedfit.errors import DataError, ModelError
from mixedfit.formula import parse
from mixedfit.frames import read_frame
from mixedfit.rows import RowOptions
from mixedfit.variance_function import VarPower
from tests.cases import frame


def build(formula, data=None, contrasts=None, **options):
    data = frame() if data is None else data
    return Design.build(parse(formula), data, RowOptions(**options), contrasts)


def test_terms_and_factors_come_by_decreasing_number_of_levels():
    design = build("y ~ x + (1 | h) + (x | g) + (1 | a) + (0 + z | h)")
    assert [f.name for f in design.factors] == ["g", "h", "a"]
    assert [t.effect.label for t in design.terms] == [
        "(x | g)",
        "(0 + z | h)",
        "(1 | h)",
        "(1 | a)",
    ]


def test_terms_that_come_so_already_keep_their_order():
    design = build("y ~ x + (x | g) + (1 | h) + (0 + z | h)")
    assert [t.effect.label for t in design.terms] == ["(x | g)", "(1 | h)", "(0 + z | h)"]


def test_nested_groups_come_innermost_first_before_the_terms_that_follow():
    data = frame()
    data["b"] = data["h"]
    design = build("y ~ x + (1 | a/b) + (0 + z | a)", data)
    assert [t.effect.label for t in design.terms] == ["(1 | a:b)", "(1 | a)", "(0 + z | a)"]


@pytest.mark.parametrize(
    ("term", "structure"),
    [
        ("(1 | g)", Diagonal(1)),
        ("(x | g)", Unstructured(2)),
        ("diag(0 + f | g)", Diagonal(4)),
        ("diag(0 + f | g, hom = TRUE)", Diagonal(4, homogeneous=True)),
        ("cs(0 + f | g)", CompoundSymmetry(4)),
        ("ar1(0 + f | g)", AR1(4)),
        ("ar1(0 + f | g, hom = FALSE)", AR1(4, homogeneous=False)),
    ],
)
def test_structures(term, structure):
    assert build(f"y ~ x + {term}").terms[0].structure == structure


def test_one_matrix_serves_a_fixed_part_and_a_random_term_alike():
    design = build("y ~ x + (x | g)")
    assert design.terms[0].Z is design.X


@pytest.mark.parametrize(
    "column",
    [
        ["s2", "s10", "s2", "s1"],
        [2, 10, 2, 1],
        [2.0, 10.0, 2.0, 1.0],
        [True, False, True, False],
        pd.Categorical(["b", "a", "b", "c"], ["c", "b", "a", "unused"]),
    ],
    ids=["strings", "ints", "floats", "booleans", "categories"],
)
def test_grouping_columns_of_every_kind(column):
    data = pd.concat([pd.DataFrame({"g": column})] * 8, ignore_index=True)
    data["y"] = np.random.default_rng(0).standard_normal(len(data))
    factor = build("y ~ 1 + (1 | g)", data).factors[0]
    labels = factor.levels[factor.codes]
    assert list(labels) == list(data["g"])
    if isinstance(column, pd.Categorical):
        assert list(factor.levels) == ["c", "b", "a"]
    else:
        assert list(factor.levels) == sorted(set(column))


def test_combinations_are_the_pairs_that_occur():
    data = frame()
    design = build("y ~ 1 + (1 | a/b)", data)
    factor = design.factors[0]
    assert factor.name == "a:b"
    assert set(factor.levels) == set(zip(data["a"], data["b"], strict=True))
    assert list(factor.levels[factor.codes]) == list(zip(data["a"], data["b"], strict=True))
    new = pd.DataFrame({"a": [0, 0, 99], "b": [int(data.loc[data["a"] == 0, "b"].iloc[0]), 19, 1]})
    codes = factor.encode(read_frame(new, ["a", "b"]))
    assert codes[0] == factor.levels.get_loc(tuple(new.iloc[0]))
    assert codes[1:].tolist() == [-1, -1]


def test_unused_levels_and_dropped_rows():
    data = frame()
    data.loc[data["f"] == "top", "x"] = np.nan
    data.index = [f"row {i}" for i in range(len(data))]
    design = build("y ~ x + f + (1 | g)", data)
    assert list(design.names) == ["Intercept", "x", "f[T.mid]", "f[T.hi]"]
    assert design.n_missing == int((data["f"] == "top").sum())
    assert list(design.index) == list(data.index[data["f"] != "top"])
    assert design.dropped == []


def test_aliased_columns_are_dropped_and_named():
    data = frame().assign(twice=lambda d: 2 * d["x"] + 1, zero=0.0)
    design = build("y ~ x + twice + zero + z + (1 | g)", data)
    assert list(design.names) == ["Intercept", "x", "z"]
    assert design.dropped == ["twice", "zero"]
    assert design.X.shape == (240, 3)
    assert design.intercept == 0


@pytest.mark.parametrize("offset", [0.0, 1e4, 1e8])
def test_a_common_offset_does_not_make_a_column_aliased(offset):
    data = frame().assign(x=lambda d: d["x"] + offset)
    assert build("y ~ x + (x | g)", data).dropped == []


@pytest.mark.parametrize(
    ("contrast", "suffixes"),
    [
        ("treatment", ["T.mid", "T.hi", "T.top"]),
        ("sum", ["S.lo", "S.mid", "S.hi"]),
        ("helmert", ["H.mid", "H.hi", "H.top"]),
        ("poly", [".L", ".Q", ".C"]),
        (np.eye(4)[:, 1:], ["1", "2", "3"]),
    ],
)
def test_contrasts(contrast, suffixes):
    design = build("y ~ f + (f | g)", contrasts={"f": contrast})
    assert list(design.names) == ["Intercept", *(f"f[{suffix}]" for suffix in suffixes)]
    assert design.terms[0].names == tuple(design.names)
    assert np.linalg.matrix_rank(np.column_stack([design.X, build("y ~ f + (1 | g)").X])) == 4


def test_offsets_add_up():
    data = frame()
    design = build("y ~ x + offset(o) + offset(2 * z) + (1 | g)", data, offset="w")
    np.testing.assert_allclose(design.offset, data["o"] + 2 * data["z"] + data["w"])
    assert [e.text for e in design.offsets] == ["o", "I(2 * z)", "w"]
    assert build("y ~ x + (1 | g)", data, offset=np.ones(len(data))).offsets is None


def test_pickling_keeps_the_recipe():
    design = pickle.loads(pickle.dumps(build("log(y + 20) ~ poly(x, 2) + (f | g)")))
    assert design.response.name == "log(y + 20)"
    assert design.recipe.names[1] == "poly(x, 2)[1]"


def test_polars_and_pandas_give_one_design():
    data = frame()
    one, two = (
        build("y ~ f * x + (x | g)", data),
        build(
            "y ~ f * x + (x | g)",
            pl.from_pandas(data.assign(f=data["f"].astype(str))).with_columns(
                pl.col("f").cast(pl.Enum(["lo", "mid", "hi", "top"]))
            ),
        ),
    )
    np.testing.assert_array_equal(one.X, two.X)
    np.testing.assert_array_equal(one.factors[0].codes, two.factors[0].codes)


# What is wrong, and what the message must name.
MISTAKES = [
    ("y ~ xx + (1 | g)", {}, DataError, "no column 'xx'"),
    ("y ~ x + (1 | gg)", {}, DataError, "no column 'gg'"),
    ("f ~ x + (1 | g)", {}, DataError, "response 'f' must be numeric"),
    ("y ~ x + (1 | g)", {"g": 1}, ModelError, "'g' has one level, '1'"),
    (
        "y ~ x + (1 | g)",
        {"g": np.arange(240)},
        ModelError,
        "'g' has as many levels as there are rows",
    ),
    ("y ~ x + (1 | g)", {"x": np.nan}, DataError, "'x' is missing in all 240 rows"),
    ("y ~ x + (1 | g)", {"x": np.inf}, DataError, "'x' is not finite in 240 of 240 rows"),
    ("y ~ x + (1 | g)", {"y": -np.inf}, DataError, "'y' is not finite"),
    ("y ~ x + (1 | g)", {"g": np.inf}, DataError, "grouping column 'g' holds infinite"),
    ("y ~ z + (x | g)", {"x": 2.0}, ModelError, "(x | g): column 'x' is constant or repeats"),
    ("y ~ z + (0 + x | g)", {"x": 0.0}, ModelError, "(0 + x | g): column 'x' is constant"),
    ("y ~ x + (0 | g)", {}, ModelError, "(0 | g) has no columns"),
    ("y ~ x + cs(1 | g)", {}, ModelError, "cs(1 | g) has one column"),
    ("y ~ x + (f * x | s)", {}, ModelError, "random effects"),
]


@pytest.mark.parametrize(("formula", "columns", "error", "message"), MISTAKES)
def test_mistakes_are_named(formula, columns, error, message):
    with pytest.raises(error) as raised:
        build(formula, frame().assign(**columns))
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_more_fixed_effects_than_rows():
    with pytest.raises(ModelError, match="cannot be estimated from 6 rows"):
        build("y ~ factor(s) + (1 | g)", frame().iloc[:6].assign(s=range(6), g=[1, 1, 1, 2, 2, 2]))


@pytest.mark.parametrize(
    ("contrasts", "message"),
    [
        ("sum", "contrasts must be a dict from factors to codings"),
        ({"nosuch": "sum"}, "contrasts name 'nosuch', which the formula does not use"),
        ({"f": "deviation"}, "'deviation' is none of 'treatment', 'sum', 'helmert', 'poly'"),
        ({"x": "sum"}, "contrasts name 'x', which holds numbers"),
        ({"f": np.eye(3)}, "a row for each of its 4 levels"),
    ],
)
def test_contrasts_that_do_not_fit(contrasts, message):
    with pytest.raises(DataError) as raised:
        build("y ~ f + x + (1 | g)", contrasts=contrasts)
    assert message in str(raised.value)


def test_what_the_caller_changes_later_does_not_reach_the_fit():
    data = {
        "y": np.array([1.0, 3.0, 2.0, 5.0, 4.0, 6.5, 5.0, 8.0]),
        "x": np.array([0.0, 1.0, 2.0, 3.0, 0.0, 1.0, 2.0, 3.0]),
        "g": np.repeat([1, 2], 4),
        "w": np.linspace(1.0, 2.0, 8),
        "o": np.linspace(0.0, 1.0, 8),
    }
    given = {name: column.copy() for name, column in data.items()}
    spec = ResidualSpec(CorAR1(form="~ x | g"), VarPower(form="~ w"))
    rows = RowOptions(weights=given["w"], offset="o")
    design = Design.build(parse("y ~ x + offset(o) + (1 | g)"), given, rows, residual=spec)
    same = Design.build(parse("y ~ x + offset(o) + (1 | g)"), data, rows, residual=spec)
    for column in given.values():
        column[:] = 0
    for name in ("y", "X", "weights", "offset"):
        np.testing.assert_array_equal(getattr(design, name), getattr(same, name))
    np.testing.assert_array_equal(design.factors[0].codes, same.factors[0].codes)
    for name in ("x", "o"):
        np.testing.assert_array_equal(design.frame[name], same.frame[name])
    for name in ("x", "g", "w"):
        np.testing.assert_array_equal(design.residual.columns[name], same.residual.columns[name])


@pytest.mark.parametrize("kind", ["boolean", "object", "bool[pyarrow]", "polars"])
def test_truth_values_stay_such_where_some_are_missing(kind):
    data = frame()
    whole = data.assign(flag=data["z"] > 0)
    missing = whole["flag"].astype(object).where(whole.index > 2)
    given = whole.assign(flag=missing.astype("object" if kind == "polars" else kind))
    given = pl.from_pandas(given.assign(flag=missing)) if kind == "polars" else given
    design = build("y ~ flag + (0 + flag | g)", given)
    same = build("y ~ flag + (0 + flag | g)", whole.iloc[3:])
    assert list(design.names) == list(same.names) == ["Intercept", "flag[T.True]"]
    assert design.terms[0].names == same.terms[0].names
    np.testing.assert_array_equal(design.X, same.X)
