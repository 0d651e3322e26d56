import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from mixedfit.errors import DataError
from mixedfit.frames import (
    Labels,
    column_names,
    combinations,
    label_text,
    number_of_rows,
    read_frame,
)

VALUES = {
    "x": [1.5, 2.0, -3.0, 0.0],
    "i": [3, 1, 2, 1],
    "f": ["b", "a", "b", "c"],
    "t": [True, False, True, True],
}
FRAMES = {
    "pandas": pd.DataFrame(VALUES),
    "pandas objects": pd.DataFrame(VALUES).astype({"f": object}),
    "pandas nullable": pd.DataFrame(VALUES).convert_dtypes(),
    "polars": pl.DataFrame(VALUES),
    "pyarrow": pa.table(VALUES),
    "dict of lists": VALUES,
    "dict of arrays": {name: np.array(values) for name, values in VALUES.items()},
    "dict of series": {name: pl.Series(values) for name, values in VALUES.items()},
    "dict of pandas series": {name: pd.Series(values) for name, values in VALUES.items()},
}


@pytest.mark.parametrize("data", FRAMES.values(), ids=FRAMES)
def test_every_kind_of_frame_gives_the_same_columns(data):
    frame = read_frame(data, ["x", "i", "f", "t"])
    assert frame.n == number_of_rows(data) == 4
    np.testing.assert_array_equal(frame["x"], VALUES["x"])
    np.testing.assert_array_equal(frame["i"], VALUES["i"])
    np.testing.assert_array_equal(np.asarray(frame["t"], dtype=bool), VALUES["t"])
    assert isinstance(frame["f"], Labels)
    assert frame["f"].levels.tolist() == ["a", "b", "c"]
    assert frame["f"].codes.tolist() == [1, 0, 1, 2]
    assert column_names(data) == ["x", "i", "f", "t"]


ORDERED = {
    "pandas": pd.DataFrame({"f": pd.Categorical(["lo", "hi", "lo"], ["lo", "mid", "hi"])}),
    "polars enum": pl.DataFrame(
        {"f": pl.Series(["lo", "hi", "lo"], dtype=pl.Enum(["lo", "mid", "hi"]))}
    ),
    "pyarrow": pa.table(
        {"f": pa.DictionaryArray.from_arrays(pa.array([0, 2, 0]), pa.array(["lo", "mid", "hi"]))}
    ),
}


@pytest.mark.parametrize("data", ORDERED.values(), ids=ORDERED)
def test_categories_keep_their_order_and_unused_ones_can_go(data):
    labels = read_frame(data, ["f"])["f"]
    assert labels.levels.tolist() == ["lo", "mid", "hi"]
    used = labels.used()
    assert used.levels.tolist() == ["lo", "hi"]
    assert used.codes.tolist() == [0, 1, 0]
    assert used.used() is used


MISSING = {
    "pandas": pd.DataFrame({"x": [1.0, np.nan], "f": ["a", None], "t": pd.array([True, None])}),
    "polars": pl.DataFrame({"x": [1.0, None], "f": ["a", None], "t": [True, None]}),
    "polars ints": pl.DataFrame({"x": [1, None], "f": ["a", None], "t": [True, None]}),
    "pyarrow": pa.table({"x": [1.0, None], "f": ["a", None], "t": [True, None]}),
    "dict": {"x": [1.0, None], "f": ["a", None], "t": [True, None]},
}


@pytest.mark.parametrize("data", MISSING.values(), ids=MISSING)
def test_missing_values_are_found_in_every_kind(data):
    frame = read_frame(data, ["x", "f", "t"])
    for name in ("x", "f", "t"):
        assert frame.missing(name).tolist() == [False, True]
    complete = frame.take(np.array([True, False]))
    assert complete.n == 1
    assert all(complete.missing(name) is None for name in ("x", "f", "t"))


def test_polars_categories_have_no_order_of_their_own_and_are_sorted():
    data = pl.DataFrame({"f": pl.Series(["lo", "hi", "lo"], dtype=pl.Categorical)})
    labels = read_frame(data, ["f"])["f"]
    assert labels.levels.tolist() == ["hi", "lo"]
    assert labels.codes.tolist() == [1, 0, 1]


def test_unknown_columns_are_named_with_the_likely_one():
    with pytest.raises(DataError, match="no column 'Dayz'.*'Days'"):
        read_frame({"Days": [1], "y": [2]}, ["Dayz"])
    with pytest.raises(DataError, match="no column 'q'.*it has 'Days', 'y'"):
        read_frame({"Days": [1], "y": [2]}, ["q"])
    with pytest.raises(DataError, match="'DAYS'"):
        read_frame({"DAYS": [1]}, ["days"])


def test_two_columns_of_one_name():
    data = pd.DataFrame([[1, 2, 3]], columns=["x", "x", "y"])
    with pytest.raises(DataError, match="2 columns named 'x'"):
        read_frame(data, ["x"])
    assert read_frame(data, ["y"]).n == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (3, "must be a pandas, polars or pyarrow frame or a dict of columns, not int"),
        (pl.LazyFrame({"x": [1]}), "call .collect"),
        ({"x": [1, 2], "y": [1]}, "'y' has 1 rows where others have 2"),
        ({"x": np.zeros((2, 2))}, "not one-dimensional"),
        ({"x": [1, "a"]}, "mixes kinds"),
        ({"x": 1}, "not one-dimensional"),
        ({"x": "label"}, "not one-dimensional"),
        ({}, "no column 'x' in the data, which have no columns"),
        ({"x": pd.to_datetime(["2020-01-01"])}, "'x' holds datetime64"),
        (pl.DataFrame({"x": [[1]]}), "'x' holds List"),
    ],
)
def test_what_is_not_a_column_of_numbers_or_labels(data, message):
    names = ["x", "y"] if isinstance(data, dict) and "y" in data else ["x"]
    with pytest.raises(DataError) as error:
        read_frame(data, names)
    assert message in str(error.value)


def test_labels_coded_by_other_levels():
    labels = read_frame({"f": ["a", "b", "z"]}, ["f"])["f"]
    assert labels.matched(pd.Index(["b", "a"])).codes.tolist() == [1, 0, -1]


def test_the_callers_frame_is_not_touched():
    data = pd.DataFrame(VALUES)
    before = data.copy(deep=True)
    frame = read_frame(data, list(VALUES))
    made = frame.pandas()
    made["x"] = 0.0
    pd.testing.assert_frame_equal(data, before)


def test_truth_values_become_categories_for_formulas():
    made = read_frame(pd.DataFrame(VALUES), ["t", "f"]).pandas()
    assert made["t"].cat.categories.tolist() == [False, True]
    assert made["f"].cat.categories.tolist() == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (8.0, "8"),
        (10000001.0, "10000001"),
        (0.1 + 0.2, "0.3"),
        (np.float32(0.1), "0.1"),
        (7, "7"),
        (True, "True"),
        ("a", "a"),
    ],
)
def test_levels_are_written_with_all_the_digits_they_hold(value, text):
    assert label_text(value) == text


def test_combinations_of_many_levels_stay_apart():
    # 4 columns of 100,000 levels have more combinations than an integer can number.
    rng = np.random.default_rng(2)
    columns = [Labels(rng.integers(0, 10**5, 300), pd.RangeIndex(10**5)) for _ in range(4)]
    codes, levels = combinations(columns)
    for column, level in zip(columns, levels, strict=True):
        np.testing.assert_array_equal(level[codes], column.codes)
    assert codes.max() + 1 == len(levels[0]) == len({tuple(row) for row in np.transpose(levels)})


def test_arrow_dictionaries_in_pandas_are_labels():
    arrow = pa.array(["b", "a", None, "b"]).dictionary_encode()
    data = pd.DataFrame({"f": pd.Series(arrow, dtype=pd.ArrowDtype(arrow.type))})
    labels, same = read_frame(data, ["f"])["f"], read_frame(pa.table({"f": arrow}), ["f"])["f"]
    assert labels.codes.tolist() == same.codes.tolist() == [0, 1, -1, 0]
    assert labels.levels.tolist() == same.levels.tolist()
    dates = pd.DataFrame({"f": pd.Series(pd.to_datetime(["2020"]), dtype="date32[pyarrow]")})
    with pytest.raises(DataError, match="'f' holds Date"):
        read_frame(dates, ["f"])
