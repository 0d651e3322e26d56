"""R's functions in formulas."""

import numpy as np
import pandas as pd
import pytest

import mixedfit as mf
from mixedfit.formula_functions import FUNCTIONS


def machines(formula):
    return mf.lmer(f"score ~ {formula} + (1 | Worker)", mf.datasets.load("machines"))


def test_factors_are_numbers_by_their_codes():
    factor = pd.Series(["b", "a", "b"], dtype=pd.CategoricalDtype(["b", "a"]))
    assert FUNCTIONS["as_numeric"](factor).tolist() == [1.0, 2.0, 1.0]
    assert FUNCTIONS["as_numeric"]([1.7, -1.7]).tolist() == [1.7, -1.7]
    assert FUNCTIONS["as_integer"]([1.7, -1.7]).tolist() == [1.0, -1.0]


@pytest.mark.parametrize(
    "spelling",
    [
        "relevel(Machine, ref = 'B')",
        'relevel(Machine, "B")',
        "factor(Machine, levels = c('B', 'A'))",
    ],
)
def test_another_level_comes_first(spelling):
    data = mf.datasets.load("machines")
    data = data[data["Machine"] != "C"]
    fit = mf.lmer(f"score ~ {spelling} + (1 | Worker)", data)
    plain = mf.lmer("score ~ Machine + (1 | Worker)", data)
    assert [name.endswith("[T.A]") for name in fit.params.index] == [False, True]
    intercept, difference = plain.params
    np.testing.assert_allclose(fit.params, [intercept + difference, -difference], rtol=1e-8)
    new = {"Machine": ["A"], "Worker": ["3"]}
    np.testing.assert_allclose(fit.predict(new), plain.predict(new), rtol=1e-8)


def test_labels_that_are_numbers_can_come_first():
    data = mf.datasets.load("sleepstudy")
    fit = mf.lmer("Reaction ~ relevel(factor(Days), ref = '3') + (1 | Subject)", data)
    assert fit.params["Intercept"] == pytest.approx(data[data["Days"] == 3]["Reaction"].mean())
    with pytest.raises(mf.FormulaError, match="relevel\\(\\) has no level 'Z' to put first; there"):
        machines("relevel(Machine, ref = 'Z')")


def test_interactions_are_factors_of_all_combinations():
    a = pd.Series(["x", "y", "y"], dtype="category")
    b = pd.Series([2, 1, 2], dtype="category")
    both = FUNCTIONS["interaction"](a, b)
    assert both.cat.categories.tolist() == ["x.1", "y.1", "x.2", "y.2"]  # as in R
    assert both.tolist() == ["x.2", "y.1", "y.2"]
    data = mf.datasets.load("machines").assign(half=lambda d: np.arange(len(d)) % 2 > 0)
    cells = mf.lmer("score ~ interaction(Machine, half) + (1 | Worker)", data)
    product = mf.lmer("score ~ Machine * half + (1 | Worker)", data)
    assert len(cells.params) == 6
    np.testing.assert_allclose(cells.fittedvalues, product.fittedvalues, rtol=1e-7)
