"""Every reference fit of nlme, at the precision its numbers bear.

An optimum may be better than R's, never worse; where it is better, or where variance parameters
are not unique, only the likelihood is compared.
"""

import numpy as np
import pandas as pd
import pytest

from tests.nlme_calls import nlme_fit
from tests.references import ids, matched, numbers, reference, typed

NAMES = [*ids("lme"), *ids("gls")]
# The range and the nugget run off together: only what the likelihood determines is unique.
RIDGE = {"gls_wheat2_exp"}
# A likelihood with many kinks and bumps: ours is the highest known maximum.
BUMPS = {"gls_wheat2_lin", "gls_wheat2_spher"}


@pytest.fixture(params=NAMES)
def case(request):
    return request.param, reference(request.param), nlme_fit(request.param)


def unique(name, expected, fit) -> bool:
    better = fit.llf > expected["logLik"] + 1e-4
    return not (expected.get("singular") or name in RIDGE | BUMPS or better)


def test_the_optimum_is_never_worse(case):
    name, expected, fit = case
    assert fit.llf >= expected["logLik"] - 1e-5
    assert fit.status in ("optimal", "boundary")
    if name not in BUMPS:
        assert fit.llf <= expected["logLik"] + 2e-3


def test_fixed_effects(case):
    name, expected, fit = case
    if not unique(name, expected, fit):
        pytest.skip("not unique")
    names = list(expected["fixef"])
    se = np.array([expected["fixef_se"][n] for n in names])
    estimates = np.array([expected["fixef"][n] for n in names])
    np.testing.assert_allclose((matched(fit.params, names) - estimates) / se, 0.0, atol=2e-4)
    np.testing.assert_allclose(matched(fit.bse, names), se, rtol=2e-4)


def test_tests_of_the_coefficients(case):
    name, expected, fit = case
    if not unique(name, expected, fit) or "tTable" not in expected:
        pytest.skip("not unique")
    table = fit.coef_table().set_index("term")
    rows, want = expected["tTable"]["row"], expected["tTable"]
    for ours, theirs in (("se", "Std.Error"), ("df", "DF"), ("t", "t-value")):
        if theirs in want:
            got = matched(table[ours], rows)
            np.testing.assert_allclose(got, want[theirs], rtol=5e-4, atol=1e-8)


def test_counts_and_criteria(case):
    name, expected, fit = case
    assert fit.nobs == expected["nobs"]
    assert fit.n_params == expected["df"]
    if name not in BUMPS:
        assert fit.aic == pytest.approx(expected["AIC"], abs=5e-3)
        assert fit.bic == pytest.approx(expected["BIC"], abs=5e-3)


def test_sigma_and_residual_parameters(case):
    name, expected, fit = case
    if not unique(name, expected, fit):
        pytest.skip("not unique")
    assert fit.sigma == pytest.approx(expected["sigma"], rel=2e-4)
    want = [
        value
        for part in (expected.get("modelStruct") or {}).values()
        if isinstance(part, dict)
        for value in (
            part["coef"].values() if isinstance(part["coef"], dict) else np.atleast_1d(part["coef"])
        )
    ]
    np.testing.assert_allclose(fit.residual_params, want, rtol=1e-3, atol=1e-4)


def test_fitted_values_and_residuals(case):
    name, expected, fit = case
    if not unique(name, expected, fit):
        pytest.skip("not unique")
    fitted = expected["fitted"]
    if isinstance(fitted, dict) and "first" not in fitted:
        fitted = fitted[max(fitted)]
    want = numbers(fitted)
    np.testing.assert_allclose(fit.fittedvalues[: len(want)], want, atol=2e-4 * fit.sigma)
    for kind in ("pearson", "normalized"):
        if isinstance(expected["residuals"], dict) and kind in expected["residuals"]:
            want = numbers(expected["residuals"][kind])
            got = fit.residuals(kind)[: len(want)]
            np.testing.assert_allclose(got, want, atol=1e-3)


PREDICTED = [n for n in NAMES if isinstance(reference(n).get("predict"), dict)]


@pytest.mark.parametrize("name", PREDICTED)
def test_predictions(name):
    expected, fit = reference(name), nlme_fit(name)
    if not unique(name, expected, fit):
        pytest.skip("not unique")
    predict = expected["predict"]
    new = typed(pd.DataFrame(predict["newdata"]), expected["data"])
    if isinstance(predict["predict"], list):
        want = {"all": predict["predict"]}
    else:
        levels = list(predict["predict"])
        want = {"none": predict["predict"][levels[0]], "all": predict["predict"][levels[-1]]}
    for groups, values in want.items():
        expected_values = numbers(values)
        got = fit.predict(new, groups=groups, new_levels="population").to_numpy()
        known = np.isfinite(expected_values)
        np.testing.assert_allclose(got[known], expected_values[known], atol=2e-4 * fit.sigma)
