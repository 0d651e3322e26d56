import numpy as np
import pytest

import mixedfit as mf
from mixedfit.ddf import inference
from mixedfit.errors import ModelError, check_level
from mixedfit.linear_estimates import LinearEstimates, table
from mixedfit.transformation import Transformation
from tests import references


@pytest.fixture(scope="module")
def fit():
    data = references.data("alfalfa")
    data = data[~((data["Date"] == "S1") & (data["Variety"] == "Ladak"))]
    return mf.lmer("Yield ~ Date * Variety + (1 | Block)", data).fit


def estimates(fit, full, constant=None):
    full = np.atleast_2d(np.asarray(full, dtype=float))
    constant = np.zeros(len(full)) if constant is None else np.asarray(constant, dtype=float)
    return LinearEstimates(fit, inference(fit), full, constant, np.zeros(len(full), dtype=bool))


def test_rows_of_the_identity_are_the_coefficients(fit):
    rows = estimates(fit, np.eye(len(fit.design.recipe.names)))
    kept = fit.design.kept
    np.testing.assert_allclose(rows.value[kept], fit.estimate.beta)
    np.testing.assert_allclose(rows.df[kept], inference(fit).df(np.eye(fit.p)))
    dropped = np.setdiff1d(np.arange(len(fit.design.recipe.names)), kept)
    assert np.isnan(rows.value[dropped]).all()
    assert np.isnan(rows.df[dropped]).all()


def test_what_cancels_can_be_estimated(fit):
    P = len(fit.design.recipe.names)
    dropped = np.setdiff1d(np.arange(P), fit.design.kept)[0]
    full = np.zeros((2, P))
    full[:, dropped] = 0.1 + 0.2
    full[0, 0] = 1.0
    both = estimates(fit, full)
    assert not both.estimable.any()
    difference = both.combined(np.array([[1.0, -1.0]]))
    assert difference.estimable.all()
    np.testing.assert_allclose(difference.value, fit.estimate.beta[0])


def test_the_estimable_part_of_several_rows(fit):
    P = len(fit.design.recipe.names)
    rows = estimates(fit, np.eye(P))
    assert rows.estimable_rows().shape == (fit.p, fit.p)
    assert np.linalg.matrix_rank(rows.estimable_rows()) == fit.p
    all_estimable = estimates(fit, np.eye(P)[fit.design.kept])
    np.testing.assert_array_equal(all_estimable.estimable_rows(), np.eye(fit.p))


def test_constants_move_estimates_only(fit):
    full = np.eye(len(fit.design.recipe.names))[:1]
    plain, moved = estimates(fit, full), estimates(fit, full, [5.0])
    np.testing.assert_allclose(moved.value, plain.value + 5.0)
    np.testing.assert_array_equal(moved.se, plain.se)


def test_the_delta_method(fit):
    full = np.eye(len(fit.design.recipe.names))[:1]
    squared = Transformation("sqrt", "power", 0.5)
    rows = estimates(fit, full)
    back = rows.on_response(squared)
    np.testing.assert_allclose(back.value, rows.value**2)
    np.testing.assert_allclose(back.se, 2.0 * rows.value * rows.se)
    np.testing.assert_allclose(back.df, rows.df)


def test_tables_hold_what_they_say(fit):
    rows = estimates(fit, np.eye(len(fit.design.recipe.names))[:3])
    made = table(rows, "bonferroni", [(np.arange(3), 3)], 0.9, with_tests=True)
    assert list(made) == ["estimate", "se", "df", "t", "p", "lower", "upper"]
    np.testing.assert_allclose(made["t"], made["estimate"] / made["se"])
    np.testing.assert_allclose(made["upper"] + made["lower"], 2.0 * made["estimate"])


@pytest.mark.parametrize("level", [0.0, 1.0, 95, -1])
def test_a_level_is_a_probability(level):
    with pytest.raises(ModelError, match=r"0\.95"):
        check_level(level)
