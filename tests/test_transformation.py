import numpy as np
import pytest

from mixedfit.formula import parse
from mixedfit.transformation import Transformation

FORWARD = {
    "log(y)": np.log,
    "log(y + 1)": lambda y: np.log(y + 1.0),
    "log(y - 0.5)": lambda y: np.log(y - 0.5),
    "log2(y)": np.log2,
    "log10(y / 2)": lambda y: np.log10(y / 2.0),
    "log(y * 100)": lambda y: np.log(100.0 * y),
    "log1p(y)": np.log1p,
    "sqrt(y)": np.sqrt,
    "I(y^0.5)": np.sqrt,
    "y^(1/3)": np.cbrt,
    "I(y^2)": np.square,
    "I(1/y)": np.reciprocal,
    "exp(y)": np.exp,
    "np.log(y)": np.log,
}


@pytest.mark.parametrize("text", list(FORWARD))
def test_the_way_back_undoes_the_transformation(text):
    made = Transformation.of(parse(f"{text} ~ x + (1 | g)").response)
    y = np.linspace(1.0, 4.0, 7)
    np.testing.assert_allclose(made.back(FORWARD[text](y)), y, rtol=1e-12)
    assert made.response == "y"
    eta, h = FORWARD[text](y), 1e-6
    slope = (made.back(eta + h) - made.back(eta - h)) / (2.0 * h)
    np.testing.assert_allclose(made.derivative(eta), slope, rtol=1e-6)


@pytest.mark.parametrize("text", ["y", "log(y) + 1", "log(y) - log(z)", "f(y)", "y^0", "scale(y)"])
def test_others_are_not_guessed(text):
    assert Transformation.of(parse(f"{text} ~ x + (1 | g)").response) is None


def test_logarithms_make_ratios():
    tenfold = Transformation.of(parse("log10(y) ~ x + (1 | g)").response)
    np.testing.assert_allclose(tenfold.ratio(np.array([1.0, -1.0])), [10.0, 0.1])
    assert Transformation.of(parse("sqrt(y) ~ x + (1 | g)").response).is_log is False


@pytest.mark.parametrize(
    ("text", "forward"), [("log(1 + y)", np.log1p), ("log(100 * y)", lambda y: np.log(100.0 * y))]
)
def test_a_number_may_come_first(text, forward):
    made = Transformation.of(parse(f"{text} ~ x + (1 | g)").response)
    np.testing.assert_allclose(made.back(forward(np.array([1.0, 4.0]))), [1.0, 4.0])
    assert made.response == "y"


@pytest.mark.parametrize(
    ("text", "eta", "expected"),
    [
        ("sqrt(y)", (1.0, -2.0, 3.0), (0.0, 9.0)),
        ("sqrt(y)", (-1.0, -2.0, 3.0), (np.nan, np.nan)),  # no response has a negative root
        ("I(y^2)", (1.0, -2.0, 4.0), (0.0, 2.0)),
        ("I(y^3)", (-8.0, -27.0, 8.0), (-3.0, 0.0)),
        ("1/y", (1.0, 0.5, 2.0), (0.5, 2.0)),
        ("1/y", (1.0, -2.0, 4.0), (0.25, np.inf)),
        ("1/y", (-1.0, -4.0, 2.0), (-np.inf, -0.25)),
        ("exp(y)", (1.0, -1.0, np.e), (-np.inf, 1.0)),
        ("expm1(y)", (-2.0, -3.0, 1.0), (np.nan, np.nan)),
        ("log(y)", (0.0, -1.0, 1.0), (np.exp(-1.0), np.e)),
    ],
)
def test_ends_stay_within_what_the_response_can_be(text, eta, expected):
    made = Transformation.of(parse(f"{text} ~ x + (1 | g)").response)
    ends = made.back_ends(*(np.array([value]) for value in eta))
    np.testing.assert_allclose(np.concatenate(ends), expected)
