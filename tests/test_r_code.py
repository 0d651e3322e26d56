"""R code and the Python code it becomes."""

import pytest

from mixedfit.r_code import python_code


@pytest.mark.parametrize(
    ("r", "python"),
    [
        ("x^2", "x**2"),
        ("a.b + a.c", "`a.b` + `a.c`"),
        ("x == TRUE & !z", "x == True & ~z"),
        ("x != 2", "x != 2"),
        ("as.numeric(f)", "as_numeric(f)"),
        ("np.log(x) * 1.5e-3", "np.log(x) * 1.5e-3"),
        ("x %% 2 || y", "x % 2 | y"),
        ("'a.b' == f", "'a.b' == f"),
        ("C(f, contr.helmert)", "C(f, contr.helmert)"),
    ],
)
def test_r_code_as_python(r, python):
    assert python_code(r) == python


@pytest.mark.parametrize(
    ("code", "columns", "expected"),
    [
        ("I(T * x)", None, "I(T * x)"),
        ("poly(T, 2, raw=T)", None, "poly(T, 2, raw=True)"),
        ("T == T", None, "T == T"),
        ("flag == T & F", ["flag"], "flag == True & False"),
        ("T > 2", ["T"], "T > 2"),
        ("f(a = F)", ["F"], "f(a = False)"),
    ],
)
def test_columns_named_as_rs_shorthand_for_truth(code, columns, expected):
    assert python_code(code, columns) == expected
