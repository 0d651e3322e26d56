import numpy as np
import pandas as pd
import polars as pl
import pytest

from mixedfit.errors import DataError, MixedfitError
from mixedfit.rows import RowOptions, use_rows

DATA = pd.DataFrame(
    {
        "y": [1.0, np.nan, 3.0, 4.0, 5.0, 6.0],
        "x": [1.0, 2.0, np.nan, 4.0, 5.0, 6.0],
        "g": ["a", "a", "b", "b", None, "c"],
        "w": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        "n.obs": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
    }
)


def use(**options):
    return use_rows(DATA, ["y", "x", "g"], RowOptions(**options))


def test_rows_with_a_missing_value_anywhere_are_dropped_and_counted():
    used = use()
    assert used.positions.tolist() == [0, 3, 5]
    assert (used.total, used.n_missing) == (6, 3)
    assert use_rows(DATA, ["w"], RowOptions()).positions is None


def test_or_refused_with_a_count_by_column():
    with pytest.raises(DataError, match=r"'y' \(1\), 'x' \(1\), 'g' \(1\).*na_action='drop'"):
        use(na_action="raise")
    with pytest.raises(MixedfitError, match="na_action"):
        use(na_action="ignore")


@pytest.mark.parametrize(
    "subset",
    [
        "w >= 4",
        "w >= 4 & x == x",
        DATA["w"] >= 4,
        (DATA["w"] >= 4).tolist(),
        pl.Series(DATA["w"] >= 4),
    ],
    ids=["expression", "r expression", "series", "list", "polars"],
)
def test_subsets(subset):
    used = use(subset=subset)
    assert used.positions.tolist() == [3, 5]
    assert used.n_missing == 1


@pytest.mark.parametrize(
    "subset", ["g %in% c('a', 'c')", "n.obs^2 == 1 | n.obs == 6", "g != 'b' & w != 2"]
)
def test_subset_expressions_in_r(subset):
    assert use(subset=subset).positions.tolist() == [0, 5]


@pytest.mark.parametrize("subset", ["ok | w > 5", "ok | (x > 4.5)", "!(!ok & w < 6)"])
def test_truth_values_may_stand_in_a_subset(subset):
    data = DATA.assign(ok=[True, False, False, True, False, False])
    used = use_rows(data, ["y", "x", "g"], RowOptions(subset=subset))
    assert used.positions.tolist() == [0, 3, 5]


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ("w", [1, 4, 6]),
        (DATA["w"], [1, 4, 6]),
        ("2 * w", [2, 8, 12]),
        ("1/w^2", [1, 1 / 16, 1 / 36]),
        (3, [3, 3, 3]),
    ],
)
def test_weights_follow_the_rows(weights, expected):
    np.testing.assert_allclose(use(weights=weights).weights, expected)


def test_offsets_follow_the_rows_and_remember_their_expression():
    by_name = use(offset="w")
    np.testing.assert_allclose(by_name.offset, [1, 4, 6])
    assert by_name.offset_expression.text == "w"
    assert use(offset=np.arange(6.0)).offset_expression is None


def test_missing_weights_are_missing_values():
    used = use(weights=[np.nan, 1, 1, 1, 1, 1])
    assert used.positions.tolist() == [3, 5]
    assert used.n_missing == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": "ww"}, "no column 'ww'"),
        ({"weights": [1, 2]}, "weights has shape (2,), but the data have 6 rows"),
        (
            {"weights": -DATA["w"]},
            "weights must be positive and finite; 3 are not (the first is -1)",
        ),
        ({"weights": 0.0}, "weights must be positive"),
        ({"weights": ["a"] * 6}, "weights must be a column name or numbers"),
        ({"subset": [1, 2]}, "subset must be an expression"),
        ({"subset": [True]}, "subset has shape (1,)"),
        ({"subset": "w > 100"}, "subset keeps none of the 6 rows"),
        ({"subset": "w >"}, "cannot be evaluated"),
        ({"subset": "w + 1"}, "does not give True or False"),
        ({"subset": "zz > 1"}, "no column 'zz' in the data"),
        ({"subset": "w == 2 | w == 3"}, "no row is complete"),
        ({"offset": "g"}, "offset 'g' must be numeric"),
        ({"offset": "w +"}, "neither a column nor an expression"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(DataError) as error:
        use(**options)
    assert message in str(error.value)


def test_a_column_missing_everywhere_and_no_rows_at_all():
    with pytest.raises(DataError, match="'x' is missing in all 6 rows"):
        use_rows(DATA.assign(x=np.nan), ["x"], RowOptions())
    with pytest.raises(DataError, match="no rows"):
        use_rows(DATA.iloc[:0], ["x"], RowOptions())


@pytest.mark.parametrize("offset", [[0, 0, 0, np.inf, 0, 0], np.full(6, -np.inf)])
def test_an_infinite_offset_is_refused(offset):
    with pytest.raises(DataError, match="the offset is not finite in"):
        use(offset=offset)


def test_one_bad_weight_is_told_in_the_singular():
    with pytest.raises(DataError, match="1 is not"):
        use(weights=[0, 1, 1, 1, 1, 1])


@pytest.mark.parametrize(
    "subset",
    [
        pd.array([True, False, None, True, True, True], dtype="boolean"),
        pl.Series([True, False, None, True, True, True]),
        [True, False, None, True, True, True],
        "flag",
        "flag & w > 0",
    ],
)
def test_a_missing_truth_value_leaves_its_row_out(subset):
    flag = pd.array([True, False, None, True, True, True], dtype="boolean")
    used = use_rows(DATA.assign(flag=flag), ["w"], RowOptions(subset=subset))
    assert used.positions.tolist() == [0, 3, 4, 5]
    negated = use_rows(DATA.assign(flag=flag), ["w"], RowOptions(subset="!flag"))
    assert negated.positions.tolist() == [1]


def test_a_subset_computes_with_wide_numbers():
    data = DATA.assign(k=np.array([1, 2, 3, 100, 100, 100], dtype="uint8"))
    used = use_rows(data, ["w"], RowOptions(subset="k - 2 < 0 | k * k > 300"))
    assert used.positions.tolist() == [0, 3, 4, 5]


def test_columns_named_t_are_columns():
    data = DATA.assign(T=DATA["w"])
    used = use_rows(data, ["w"], RowOptions(subset="T > 4", weights="1/T", offset="T"))
    assert used.positions.tolist() == [4, 5]
    np.testing.assert_allclose(used.weights, [1 / 5, 1 / 6])
    flagged = DATA.assign(flag=DATA["w"] > 4)
    assert use_rows(flagged, ["w"], RowOptions(subset="flag == T")).positions.tolist() == [4, 5]
    with pytest.raises(DataError, match="does not give True or False"):
        use_rows(data, ["w"], RowOptions(subset="1"))


@pytest.mark.parametrize(
    ("subset", "expected"),
    [
        ("x != 2", [0, 3, 4, 5]),
        ("!(x > 4)", [0, 1, 3]),
        ("g == 'a' | w > 4", [0, 1, 4, 5]),
        ("g %in% c('a', 'b')", [0, 1, 2, 3]),
        ("x * 2 > w", [0, 1, 3, 4, 5]),
    ],
)
def test_a_condition_on_a_missing_number_leaves_its_row_out_as_in_r(subset, expected):
    used = use_rows(DATA, ["w"], RowOptions(subset=subset))
    kept = np.arange(6) if used.positions is None else used.positions
    assert kept.tolist() == expected
