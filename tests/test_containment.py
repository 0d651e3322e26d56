"""Containment against nlme, and on designs that nlme does not have."""

import numpy as np
import pandas as pd
import pytest

import mixedfit as mf
from mixedfit.containment import Containment
from tests import references
from tests.references import matched, reference

# nlme's models as lmer formulas.
NESTED = {
    "lme_alfalfa_splitplot": "Yield ~ Date * Variety + (1 | Block/Variety)",
    "lme_glucose2": "glucose ~ Time + I(Time^2) + (1 | Subject/Date)",
    "lme_machines_nested": "score ~ Machine + (1 | Worker/Machine)",
    "lme_mathach_full": "MathAch ~ MEANSES * cSES + Sector * cSES + (cSES | School)",
    "lme_pastes_nested": "strength ~ 1 + (1 | batch/cask)",
}


@pytest.fixture(scope="module", params=sorted(NESTED))
def fitted(request):
    about = reference(request.param)
    return mf.lmer(NESTED[request.param], references.data(about["data"])), about


def test_coefficients_have_nlmes_degrees_of_freedom(fitted):
    fit, about = fitted
    df = fit.coef_table(ddf="containment").set_index("term")["df"]
    np.testing.assert_array_equal(matched(df, list(about["fixef"])), about["tTable"]["DF"])


@pytest.mark.parametrize("kind", ["sequential", "marginal"])
def test_terms_have_nlmes_tests(fitted, kind):
    fit, about = fitted
    block = about[f"anova_{kind}"]
    table = fit.anova(type=kind, ddf="containment")
    assert table["term"].iloc[0] == "Intercept"
    want = np.column_stack([block[key] for key in ("numDF", "denDF", "F-value")])
    np.testing.assert_allclose(table[["num_df", "den_df", "F"]].to_numpy(float), want, rtol=1e-4)


def test_without_an_intercept_each_stratum_has_one_more():
    # nlme 3.1-162: lme(score ~ 0 + Machine, random = ~ 1 | Worker, Machines)$fixDF
    X = np.kron(np.ones((6, 1)), np.kron(np.eye(3), np.ones((3, 1))))
    worker = np.repeat(np.arange(6), 9)
    np.testing.assert_array_equal(Containment(X, (worker,)).of_columns, [46.0, 46.0, 46.0])
    # lme(y ~ 0 + z + v + x, random = ~ 1 | g/h), 8 groups of 5 of 6 rows; z of each g, v of each h
    rng = np.random.default_rng(0)
    g, h = np.repeat(np.arange(8), 30), np.repeat(np.arange(40), 6)
    z, v, x = rng.standard_normal(8)[g], rng.standard_normal(40)[h], rng.standard_normal(240)
    without, given = np.column_stack([z, v, x]), np.column_stack([np.ones(240), z, v, x])
    np.testing.assert_array_equal(Containment(without, (h, g)).of_columns, [7, 32, 200])
    np.testing.assert_array_equal(Containment(given, (h, g)).of_columns, [199, 6, 31, 199])


def test_crossed_factors_count_as_an_analysis_of_variance():
    a, b, r = (v.ravel() for v in np.meshgrid(range(7), range(4), range(3), indexing="ij"))
    within = (r - 1.0)[:, None]
    between_a, between_b = (a > 3)[:, None] * 1.0, (b > 1)[:, None] * 1.0
    both = between_a * between_b
    X = np.hstack([np.ones((84, 1)), between_a, between_b, both, within])
    crossed = Containment(X, (a, b))
    # Levels less one less the coefficient; the interaction belongs to the residual.
    residual = 84 - 1 - 6 - 3 - 2
    np.testing.assert_array_equal(crossed.of_columns, [residual, 5, 2, residual, residual])
    cells = Containment(X, (a * 4 + b, a, b))
    np.testing.assert_array_equal(cells.of_columns, [84 - 28 - 1, 5, 2, 18 - 1, 84 - 28 - 1])


def test_contrasts_take_the_fewest_degrees_of_freedom():
    fit = mf.lmer(
        NESTED["lme_alfalfa_splitplot"],
        references.data("alfalfa"),
    )
    df = fit.coef_table(ddf="containment").set_index("term")["df"]
    variety, date = "Variety[T.Ladak]", "Date[T.S1]"
    both = fit.contrast(f"{variety} + {date}", ddf="containment")
    assert both.df.item() == df[variety] < df[date]


def test_nothing_left_is_missing_not_negative():
    rng = np.random.default_rng(0)
    g = np.repeat(np.arange(3), 5)
    data = pd.DataFrame({"g": g, "a": (g == 1) * 1.0, "b": (g == 2) * 1.0})
    data["y"] = rng.standard_normal(15)
    X = np.column_stack([np.ones(15), data["a"], data["b"]])
    assert np.isnan(Containment(X, (g,)).of_columns[1:]).all()
