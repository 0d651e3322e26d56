import numpy as np
import pytest

from mixedfit.comparisons import as_ratio, comparisons, interaction
from mixedfit.errors import ModelError

LETTERS = ["a", "b", "c", "d"]
METHODS = (
    "pairwise",
    "revpairwise",
    "control",
    "effects",
    "deleted-effects",
    "consecutive",
    "mean-change",
    "polynomial",
)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("m", [2, 3, 7, 12])
def test_contrasts_sum_to_zero(method, m):
    C = comparisons(method, [str(i) for i in range(m)]).coefficients
    assert C.shape[1] == m
    np.testing.assert_allclose(C.sum(axis=1), 0.0, atol=1e-9)


@pytest.mark.parametrize("m", [3, 5, 10])
def test_polynomials_are_orthogonal_whole_numbers(m):
    C = comparisons("polynomial", [str(i) for i in range(m)]).coefficients
    gram = C @ C.T
    np.testing.assert_array_equal(gram, np.diag(gram.diagonal()))
    np.testing.assert_array_equal(C, np.round(C))
    for degree, row in enumerate(C, start=1):
        fitted = np.polynomial.Polynomial.fit(np.arange(m), row, degree)
        np.testing.assert_allclose(fitted(np.arange(m)), row, atol=1e-9 * np.abs(row).max())


def test_quintic_contrasts_of_eight_levels():
    C = comparisons("poly", [str(i) for i in range(8)]).coefficients
    assert C[4].tolist() == [-7, 23, -17, -15, 15, 17, -23, 7]


def test_names_and_signs():
    assert comparisons("pairwise", LETTERS[:3]).names == ("a - b", "a - c", "b - c")
    assert comparisons("revpairwise", LETTERS[:3]).names == ("b - a", "c - a", "c - b")
    assert comparisons("consec", LETTERS[:3]).names == ("b - a", "c - b")
    assert comparisons("trt.vs.ctrlk", LETTERS[:3]).names == ("a - c", "b - c")
    assert comparisons("control", LETTERS, reference="c").names == ("a - c", "b - c", "d - c")
    assert comparisons("control", LETTERS, reference=-1).names == ("a - d", "b - d", "c - d")


def test_products_run_the_first_factor_fastest():
    first, second = comparisons("pairwise", ["a", "b"]), comparisons("identity", ["u", "v"])
    names, C = interaction([first, second])
    assert names == [("a - b", "u"), ("a - b", "v")]
    np.testing.assert_array_equal(C, [[1, -1, 0, 0], [0, 0, 1, -1]])


@pytest.mark.parametrize(
    ("method", "reference", "match"),
    [
        ("all", None, "'pairwise'"),
        ("control", "z", "'a', 'b'"),
        ("pairwise", "a", "control"),
        ({"one": [1, -1]}, None, "'one' must have 4 coefficients"),
        ({}, None, "no contrasts"),
        ([["x", "y"]], None, "numbers"),
        ([[1, 2, np.nan, 1]], None, "finite"),
    ],
)
def test_errors(method, reference, match):
    with pytest.raises(ModelError, match=match):
        comparisons(method, LETTERS, reference)


def test_labels_with_operators_stand_in_parentheses():
    made = comparisons("pairwise", ["10 - 19", "20-29", "x|y"])
    assert made.names == ("(10 - 19) - (20-29)", "(10 - 19) - x|y", "(20-29) - x|y")
    assert as_ratio(made.names[0]) == "(10 - 19) / (20-29)"
    assert as_ratio("a - b") == "a / b"
    assert comparisons("control", ["a/b", "c"], reference="a/b").names == ("c - (a/b)",)
    assert comparisons("effects", ["a+b", "c"]).names[0] == "(a+b) effect"


def test_a_reference_goes_with_control_only():
    with pytest.raises(ModelError, match="control"):
        comparisons(np.array([[1.0, -1.0, 0.0, 0.0]]), LETTERS, 1)
