import pickle

import numpy as np
import pandas as pd
import pytest

from mixedfit.errors import DataError, FormulaError
from mixedfit.formula import parse_expression
from mixedfit.frames import read_frame
from mixedfit.matrices import Recipe, evaluate, variables

DATA = pd.DataFrame(
    {
        "x": np.linspace(1.0, 3.0, 9),
        "z": np.arange(9.0) ** 1.5,
        "k": np.arange(9) % 3,
        "f": pd.Categorical(list("abcabcabc")),
        "t": np.arange(9) > 4,
        "total.fruits": np.arange(9.0) + 1.0,
    }
)


def learn(text, data=DATA, contrasts=None):
    expression = parse_expression(text)
    return Recipe.learn(expression, read_frame(data, list(data.columns)), contrasts)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("x", ["Intercept", "x"]),
        ("0 + x + x:z", ["x", "x:z"]),
        ("f", ["Intercept", "f[T.b]", "f[T.c]"]),
        ("0 + f", ["f[a]", "f[b]", "f[c]"]),
        ("t", ["Intercept", "t[T.True]"]),
        ("I(x^2)", ["Intercept", "I(x^2)"]),
        ("factor(k)", ["Intercept", "factor(k)[T.1]", "factor(k)[T.2]"]),
        ("poly(x, 2)", ["Intercept", "poly(x, 2)[1]", "poly(x, 2)[2]"]),
        ("log(total.fruits)", ["Intercept", "log(total.fruits)"]),
        ("f * x", ["Intercept", "f[T.b]", "f[T.c]", "x", "f[T.b]:x", "f[T.c]:x"]),
        ("1", ["Intercept"]),
        ("0", []),
    ],
)
def test_columns_and_their_names(text, names):
    matrix, recipe = learn(text)
    assert matrix.shape == (9, len(names))
    assert list(recipe.names) == names


def test_plain_products_agree_with_formulaic():
    plain, _ = learn("x * z + x:z:k")
    general, _ = learn("I(x) * I(z) + I(x):I(z):I(k)")
    np.testing.assert_allclose(plain, general)


def test_terms_know_their_columns_and_variables():
    _, recipe = learn("f * poly(x, 2) + I(z^2)")
    terms = {term.label: (term.stop - term.start, sorted(term.variables)) for term in recipe.terms}
    assert terms == {
        "1": (1, []),
        "f": (2, ["f"]),
        "poly(x, 2)": (2, ["x"]),
        "I(z^2)": (1, ["z"]),
        "f:poly(x, 2)": (4, ["f", "x"]),
    }


@pytest.mark.parametrize(
    "text",
    ["x + z", "f * x", "poly(x, 2) + scale(z)", "factor(k) + t", "np.log(x) + sqrt(z)", "0 + f:x"],
)
def test_a_recipe_does_the_same_to_other_rows_and_survives_pickling(text):
    matrix, recipe = learn(text)
    some = DATA.iloc[[7, 2, 2]]
    for each in (recipe, pickle.loads(pickle.dumps(recipe))):
        again = each.apply(read_frame(some, list(DATA.columns)))
        np.testing.assert_allclose(again, matrix[[7, 2, 2]])


def test_contrast_matrices():
    matrix = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
    by_name, _ = learn("C(f, contr.sum)")
    given, recipe = learn("C(f, contr.custom(`contrasts of f`))", contrasts={"f": matrix})
    np.testing.assert_allclose(given, by_name)
    np.testing.assert_allclose(recipe.apply(read_frame(DATA, list(DATA.columns))), by_name)


def test_levels_the_fit_did_not_have():
    _, recipe = learn("f")
    with pytest.raises(DataError, match="'f' holds 'q'.*'a', 'b', 'c'"):
        recipe.apply(read_frame({"f": ["a", "q"]}, ["f"]))
    _, recipe = learn("x + factor(k)")
    with pytest.raises(DataError):
        recipe.apply(read_frame({"x": [1.0, 2.0], "k": [0, 7]}, ["x", "k"]))


def test_labels_where_the_fit_had_numbers():
    _, recipe = learn("x")
    with pytest.raises(DataError, match="'x' holds labels"):
        recipe.apply(read_frame({"x": ["a", "b"]}, ["x"]))


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("log(x - 2)", DataError, "'log(x - 2)' is not finite in"),
        ("nosuch(x)", FormulaError, "there is no function 'nosuch' here"),
        ("x + I(x / f)", FormulaError, "cannot be evaluated"),
    ],
)
def test_what_cannot_be_evaluated_is_named(text, error, message):
    with pytest.raises(error) as raised:
        learn(text)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_infinite_values_name_the_column_and_row():
    with pytest.raises(DataError, match="'x' is not finite in 1 of 9 rows .*row 4"):
        learn("x", DATA.assign(x=np.where(np.arange(9) == 4, np.inf, 1.0)))


def test_responses():
    frame = read_frame(DATA, list(DATA.columns))
    np.testing.assert_array_equal(evaluate(parse_expression("k"), frame, "response"), DATA["k"])
    logged = evaluate(parse_expression("log(x)"), frame, "response")
    np.testing.assert_allclose(logged, np.log(DATA["x"]))
    truth = evaluate(parse_expression("t"), frame, "response")
    np.testing.assert_array_equal(truth, DATA["t"].astype(float))
    with pytest.raises(DataError, match="response 'f' must be numeric.*'a', 'b', 'c'"):
        evaluate(parse_expression("f"), frame, "response")
    with pytest.raises(DataError, match="one numeric column, but gives 2"):
        evaluate(parse_expression("poly(x, 2)"), frame, "response")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("scale(x) + poly(z, 2)", {"x", "z"}),
        ("sin(2 * pi * x)", {"x"}),
        ("C(f, Treatment('a')) * np.log(`total fruits`)", {"f", "total fruits"}),
        ("C(f, contr.sum)", {"f"}),
        ("1", set()),
    ],
)
def test_variables(text, expected):
    assert variables(text) == expected


@pytest.mark.parametrize("dtype", ["int8", "uint8", "uint64", "float16"])
def test_arithmetic_of_narrow_numbers_does_not_overflow(dtype):
    x = np.array([0, 3, 20, 100])
    frame = read_frame({"x": x.astype(dtype)}, ["x"])
    matrix, _ = Recipe.learn(parse_expression("I(x - 5) + I(x^3)"), frame)
    np.testing.assert_array_equal(matrix[:, 1:], np.column_stack([x - 5, x**3]))
