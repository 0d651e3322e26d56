import numpy as np
import pandas as pd
import pytest

from mixedfit.design import Design
from mixedfit.errors import MixedfitError
from mixedfit.formula import parse
from mixedfit.reference_grid import ReferenceGrid
from mixedfit.trends import slopes, trend_variable


def design(formula, n=50):
    rng = np.random.default_rng(8)
    frame = pd.DataFrame(
        {
            "g": rng.integers(0, 6, n),
            "f": rng.choice(["a", "b"], n),
            "x": rng.uniform(1.0, 3.0, n),
            "y": rng.standard_normal(n),
        }
    )
    return Design.build(parse(f"{formula} + (1 | g)"), frame)


@pytest.mark.parametrize(
    ("formula", "derivative"),
    [
        ("y ~ x", lambda _: [0.0, 1.0]),
        ("y ~ x + I(x^2) + I(x^3)", lambda x: [0.0, 1.0, 2.0 * x, 3.0 * x**2]),
        ("y ~ log(x)", lambda x: [0.0, 1.0 / x]),
        ("y ~ sin(x)", lambda x: [0.0, np.cos(x)]),
    ],
)
def test_columns_are_differentiated(formula, derivative):
    made = design(formula)
    grid = ReferenceGrid.of(made, {"x": [1.3, 2.0]})
    rows, constant = slopes(grid, *trend_variable(made, "x"))
    np.testing.assert_allclose(rows, [derivative(1.3), derivative(2.0)], atol=1e-9)
    np.testing.assert_array_equal(constant, 0.0)


def test_splines_and_orthogonal_polynomials_too():
    made = design("y ~ poly(x, 3) * f")
    grid = ReferenceGrid.of(made, {"x": 2.0})
    rows, _ = slopes(grid, *trend_variable(made, "x"))
    h = 1e-5
    ends = [ReferenceGrid.of(made, {"x": 2.0 + step}).matrix() for step in (-h, h)]
    np.testing.assert_allclose(rows, (ends[1] - ends[0]) / (2.0 * h), atol=1e-6)


def test_slopes_in_a_function_follow_the_chain_rule():
    made = design("y ~ x")
    grid = ReferenceGrid.of(made, {"x": [1.5, 2.5]})
    rows, _ = slopes(grid, *trend_variable(made, "log(x)"))
    np.testing.assert_allclose(rows[:, 1], [1.5, 2.5], rtol=1e-9)


def test_offsets_have_slopes():
    made = design("y ~ f + x + offset(3 * x)")
    _, constant = slopes(ReferenceGrid.of(made), *trend_variable(made, "x"))
    np.testing.assert_allclose(constant, 3.0)


@pytest.mark.parametrize("var", ["f", "z", "x * f", "log(g)"])
def test_what_has_no_slope_is_refused(var):
    with pytest.raises(MixedfitError, match="'x'"):
        trend_variable(design("y ~ x + f"), var)
