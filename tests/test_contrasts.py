import numpy as np
import pandas as pd
import pytest

from mixedfit.contrasts import read_contrasts
from mixedfit.errors import DataError

NAMES = ("Intercept", "a[T.q]", "x", "I(x^2)", "a[T.q]:x")
KEPT = (0, 1, 2, 4)


def _read(contrasts):
    return read_contrasts(contrasts, NAMES, KEPT)


@pytest.mark.parametrize(
    ("text", "weights", "value"),
    [
        ("x", [0, 0, 1, 0, 0], 0),
        ("x = 0", [0, 0, 1, 0, 0], 0),
        ("2*x - a[T.q] = 3", [0, -1, 2, 0, 0], 3),
        ("a[T.q]:x", [0, 0, 0, 0, 1], 0),
        ("a[T.q]:x = x", [0, 0, -1, 0, 1], 0),
        ("(Intercept) + 1e1 * x", [1, 0, 10, 0, 0], 0),
        ("1 + x = x + Intercept", [-1, 0, 0, 0, 0], -1),
        ("-(x - a[T.q]) / 2", [0, 0.5, -0.5, 0, 0], 0),
        ("I(x^2) + `x`", [0, 0, 1, 1, 0], 0),
        ("3 * (x + 2) = 0", [0, 0, 3, 0, 0], -6),
    ],
)
def test_equations(text, weights, value):
    hypothesis = _read(text)
    np.testing.assert_allclose(hypothesis.L, [weights])
    np.testing.assert_allclose(hypothesis.value, [value])
    assert hypothesis.labels == (text,)


def test_several_equations_in_one_text():
    hypothesis = _read("x = 1, a[T.q]; Intercept")
    assert hypothesis.labels == ("x = 1", "a[T.q]", "Intercept")
    np.testing.assert_array_equal(hypothesis.value, [1, 0, 0])


def test_weights_by_name_and_labels():
    one = _read({"x": 2, "(Intercept)": -1})
    np.testing.assert_array_equal(one.L, [[-1, 0, 2, 0, 0]])
    assert one.labels == ("-Intercept + 2 * x",)
    several = _read({"first": {"x": 1}, "second": "x = 2", "third": [1, 0, 0, 1]})
    assert several.labels == ("first", "second", "third")
    np.testing.assert_array_equal(several.L[2], [1, 0, 0, 0, 1])
    frame = pd.DataFrame({"x": [1.0, 0.0], "Intercept": [0.0, 1.0]}, index=["r", "s"])
    assert _read(frame).labels == ("r", "s")
    np.testing.assert_array_equal(_read(frame).L[:, 2], [1, 0])
    series = pd.Series({"x": 1.0, "a[T.q]": -1.0})
    np.testing.assert_array_equal(_read(series).L, [[0, -1, 1, 0, 0]])
    np.testing.assert_array_equal(_read([{"x": 1}, "x"]).L[0], _read([{"x": 1}, "x"]).L[1])


def test_arrays_over_the_kept_or_over_all_columns():
    np.testing.assert_array_equal(_read([0, 0, 1, 1]).L, [[0, 0, 1, 0, 1]])
    np.testing.assert_array_equal(_read(np.eye(5)).L, np.eye(5))
    assert _read(np.zeros((1, 5))).labels == ("0",)


@pytest.mark.parametrize(
    ("contrasts", "message"),
    [
        ([1, 2, 3], "4 weights \\(or 5, with the columns left out\\)"),
        (np.zeros((2, 2, 4)), "got shape"),
        ("z = 0", "no coefficient 'z'"),
        ("a[T.r]", "did you mean 'a\\[T.q\\]'"),
        ("x =", "no equation"),
        ("x = 1 = 2", "no equation"),
        ("", "no equation"),
        ("x x", "at 'x'"),
        ("x * x", "at its end"),
        ("2 / x", "cannot be read"),
        ("(x", "at its end"),
        ("x / 0", "cannot be read"),
        ({"x": "one"}, "no coefficient 'one'"),
        ({"r": {"x": np.nan}}, "must be finite"),
        ([np.inf, 0, 0, 0], "must be finite"),
        (object(), "must be numbers, equations"),
        ({"r": np.zeros((2, 4))}, "must be one row, not 2"),
        ({}, "no contrast was given"),
        (pd.DataFrame({"x": []}), "no contrast was given"),
    ],
)
def test_mistakes_are_named(contrasts, message):
    with pytest.raises(DataError, match=message):
        _read(contrasts)


def test_names_keep_their_commas():
    names = ("Intercept", "poly(x, 2)[1]", "poly(x, 2)[2]", "x")
    for text in (
        "poly(x, 2)[1] = 1, poly(x, 2)[2]; x",
        "`poly(x, 2)[1]` = 1\n`poly(x, 2)[2]`,\n x,",
    ):
        read = read_contrasts(text, names, range(4))
        np.testing.assert_array_equal(read.L, np.eye(4)[1:])
        np.testing.assert_array_equal(read.value, [1, 0, 0])


def test_weights_are_numbers():
    with pytest.raises(DataError, match="weight of 'x' must be finite, not None"):
        _read([{"x": None}])
