"""Every reference fit of lme4, at the precision its numbers bear.

An optimum may be better than R's, never worse. Where a variance is at its boundary, or two terms
share one, the parameters of the covariance are not unique: only what the likelihood determines is
compared.
"""

import re

import numpy as np
import pandas as pd
import pytest

from tests.references import ids, lmer, matched, numbers, reference, spelling, typed

LMER = ids("lmer")
LARGE = [name for name in LMER if "big" in name or "insteval" in name]
NAMES = [pytest.param(n, marks=pytest.mark.slow) if n in LARGE else n for n in LMER]

# R's two optimisers end with thetas that differ a hundredfold, at one likelihood: (f || g) with a
# factor f has a variance too many.
SHARED = {"lmer_machines_dbar_factor"}


def unique(name: str) -> bool:
    return not reference(name).get("singular") and name not in SHARED


@pytest.fixture(params=NAMES)
def case(request):
    name = request.param
    return name, reference(name), lmer(name)


def test_the_optimum_is_never_worse(case):
    _, expected, fit = case
    assert fit.llf >= expected["logLik"] - 1e-8 * abs(expected["logLik"]) - 1e-6
    assert fit.status in ("optimal", "boundary")
    # Nor better, beyond what R's optimisers leave: else it would be another model.
    assert fit.llf <= expected["logLik"] + 1e-3


def test_fixed_effects(case):
    _, expected, fit = case
    names = [n for n, value in expected["fixef"].items() if value is not None]
    se = np.array([expected["fixef_se"][n] for n in names])
    estimates = np.array([expected["fixef"][n] for n in names])
    np.testing.assert_allclose((matched(fit.params, names) - estimates) / se, 0.0, atol=1e-5)
    np.testing.assert_allclose(matched(fit.bse, names), se, rtol=1e-5)
    assert len(fit.params) == len(names)
    dropped = expected.get("fixef_dropped") or []
    assert len(fit.dropped_columns) == len([dropped] if isinstance(dropped, str) else dropped)


def test_counts_and_criteria(case):
    _, expected, fit = case
    assert fit.nobs == expected["nobs"]
    assert sorted(fit.ngroups.values()) == sorted(expected_levels(expected))
    assert fit.aic == pytest.approx(expected["AIC"], abs=2e-3)
    assert fit.bic == pytest.approx(expected["BIC"], abs=2e-3)


def expected_levels(expected) -> list[int]:
    """Levels of each grouping factor; lme4 lists one twice for ``||``."""
    return list({re.sub(r"\.\d+$", "", g): n for g, n in expected["ngroups"].items()}.values())


def test_variances(case):
    name, expected, fit = case
    assert fit.sigma == pytest.approx(expected["sigma"], rel=1e-5 if unique(name) else 1e-3)
    if not unique(name):
        return
    theta = np.array(list(expected["theta"].values()))
    np.testing.assert_allclose(fit.theta, theta, rtol=1e-5, atol=1e-5 * np.abs(theta).max())


def test_fitted_values_and_residuals(case):
    _, expected, fit = case
    for key, ours in (("fitted", fit.fittedvalues), ("residuals", fit.resid)):
        want = numbers(expected[key])
        np.testing.assert_allclose(ours.to_numpy()[: len(want)], want, atol=1e-4 * fit.sigma)


def test_random_effects(case):
    name, expected, fit = case
    if name in SHARED:
        return
    for group, block in expected["ranef"].items():
        ours = fit.ranef(sd=True)[our_group(fit, group)]
        columns = [next(c for c in ours if spelling(c) == spelling(t)) for t in terms_of(block)]
        levels = [label(level, ours.index) for level in np.atleast_1d(block["levels"])]
        want = np.array(block["values"], dtype=float).reshape(len(block["values"]), -1)
        got = ours.loc[levels[: len(want)], columns].to_numpy()
        np.testing.assert_allclose(got, want, atol=1e-4 * fit.sigma)
        if unique(name) and block.get("condSD"):
            sd = np.array(block["condSD"], dtype=float).reshape(len(block["condSD"]), -1)
            got = ours.loc[levels[: len(sd)], [f"{c}_sd" for c in columns]].to_numpy()
            np.testing.assert_allclose(got, sd, rtol=1e-3, atol=1e-4 * fit.sigma)


def our_group(fit, group: str) -> str:
    parts = set(re.sub(r"\.\d+$", "", group).split(":"))
    return next(name for name in fit.ngroups if set(name.split(":")) == parts)


def terms_of(block) -> list[str]:
    terms = block["terms"]
    return [terms] if isinstance(terms, str) else terms


def label(level: str, index: pd.Index):
    """R's "1:a" or "a:1" as one of our labels."""
    if not isinstance(index, pd.MultiIndex):
        return next(i for i in (level, str(level), *_as_number(level)) if i in index)
    parts = str(level).split(":")
    return next(tuple(p) for p in (parts, parts[::-1]) if tuple(p) in index)


def _as_number(level) -> list[int]:
    return [int(level)] if re.fullmatch(r"-?\d+", str(level)) else []


PREDICTED = [n for n in LMER if isinstance(reference(n).get("predict"), dict)]


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in LARGE else n for n in PREDICTED]
)
def test_predictions(name):
    expected, fit = reference(name), lmer(name)
    predict = expected["predict"]
    new = typed(pd.DataFrame(predict["newdata"]), expected["data"])
    kinds = {
        "predict": {},
        "re_form_NULL_allow_new_levels": {"new_levels": "population"},
        "re_form_NA": {"groups": "none"},
    }
    compared = 0
    for key, options in kinds.items():
        if isinstance(predict.get(key), list):
            want = numbers(predict[key])
            got = fit.predict(new, **options).to_numpy()
            np.testing.assert_allclose(got, want, atol=1e-4 * fit.sigma, equal_nan=True)
            compared += 1
    assert compared
