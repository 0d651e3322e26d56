"""The regression of a prior's mean: tests, intervals, covariates of new units."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import stats

from mixedfit.eb.regression import new_unit_table, read_new, regression_table
from mixedfit.errors import DataError

NAMES = ("Intercept", "age", "size")


@pytest.mark.parametrize("df", [3.0, 17.5, np.inf])
def test_tests_and_intervals_are_those_of_students_t(df):
    b, se = np.array([1.0, -0.4, 2.5]), np.array([0.5, 0.3, 0.8])
    table = regression_table(NAMES, b, se, df, 0.9)
    law = stats.norm() if np.isinf(df) else stats.t(df)
    assert table["term"].tolist() == list(NAMES)
    np.testing.assert_allclose(table["p"], 2.0 * law.sf(np.abs(b / se)))
    np.testing.assert_allclose(table["lower"], b + law.ppf(0.05) * se)
    np.testing.assert_allclose(table["upper"], b + law.ppf(0.95) * se)
    # A test at 10% and an interval at 90% agree.
    outside = (table["lower"] > 0.0) | (table["upper"] < 0.0)
    assert (outside == (table["p"] < 0.1)).all()


def test_estimates_without_error_are_infinitely_far_from_zero():
    table = regression_table(("a", "b"), np.array([2.0, -1.0]), np.zeros(2), np.inf, 0.95)
    assert table["stat"].tolist() == [np.inf, -np.inf]
    assert table["p"].tolist() == [0.0, 0.0]


def test_a_new_unit_adds_its_own_variance():
    row = new_unit_table(3.0, 0.09, 0.16, 0.95).iloc[0]
    mean, unit = stats.norm(3.0, 0.3), stats.norm(3.0, 0.5)
    np.testing.assert_allclose(row[["lower", "upper"]], mean.interval(0.95))
    np.testing.assert_allclose(row[["prediction_lower", "prediction_upper"]], unit.interval(0.95))


def test_covariates_come_by_name_from_frames_and_by_place_from_arrays():
    expected = np.array([[1.0, 30.0, 2.0], [1.0, 40.0, 5.0]])
    columns = {"size": [2.0, 5.0], "other": [0.0, 0.0], "age": [30.0, 40.0]}
    for new in (columns, pd.DataFrame(columns), pl.DataFrame(columns)):
        np.testing.assert_array_equal(read_new(new, NAMES), expected)
    np.testing.assert_array_equal(read_new([[30, 2], [40, 5]], NAMES), expected)
    # One row, or one column, may be a plain list.
    np.testing.assert_array_equal(read_new([30, 2], NAMES), expected[:1])
    np.testing.assert_array_equal(read_new([30, 40], NAMES[:2]), expected[:, :2])


@pytest.mark.parametrize(
    ("new", "message"),
    [
        ({"age": [1.0]}, "X lacks the column 'size'; it needs age, size"),
        ([[1.0, 2.0, 3.0]], "X must have 2 columns of finite numbers, age, size"),
        ([[1.0, np.nan]], "size"),
    ],
)
def test_bad_covariates_are_told(new, message):
    with pytest.raises(DataError, match=message):
        read_new(new, NAMES)


def test_without_covariates_there_is_nothing_to_read():
    np.testing.assert_array_equal(read_new(None, NAMES[:1]), [[1.0]])
    with pytest.raises(DataError, match="leave X out"):
        read_new([[1.0]], NAMES[:1])
    with pytest.raises(DataError, match="give X with age, size"):
        read_new(None, NAMES)
