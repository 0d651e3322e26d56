import dataclasses
import pickle

import numpy as np
import pandas as pd
import pytest

import mixedfit as mf
from tests.cases import PATTERNS, frame


@pytest.fixture(scope="module")
def fit():
    return mf.lmer("y ~ x + (x | g) + (1 | a/b)", frame(), weights="w")


def test_labels(fit):
    assert fit.params.index.tolist() == ["Intercept", "x"]
    assert fit.fixef.equals(fit.params)
    assert fit.bse.index.tolist() == fit.tvalues.index.tolist() == ["Intercept", "x"]
    assert fit.cov_params().shape == (2, 2)
    assert list(fit.varcorr.cov) == list(fit.ngroups) == list(fit.ranef())
    assert fit.ngroups == {"a:b": 20, "g": 12, "a": 5}
    assert fit.ranef()["a:b"].index.names == ["a", "b"]


def test_standard_errors_are_roots_of_the_covariance(fit):
    np.testing.assert_allclose(fit.bse**2, np.diag(fit.cov_params()))
    np.testing.assert_allclose(fit.tvalues, fit.params / fit.bse)


def test_information_criteria_count_as_lme4_does(fit):
    assert fit.n_params == 2 + 3 + 1 + 1 + 1
    assert fit.deviance == pytest.approx(-2 * fit.llf)
    assert fit.aic == pytest.approx(-2 * fit.llf + 2 * 8)
    assert fit.bic == pytest.approx(-2 * fit.llf + np.log(240) * 8)


def test_coefficients_of_levels(fit):
    coef = fit.coef()["g"]
    np.testing.assert_allclose(coef.to_numpy(), fit.params.to_numpy() + fit.ranef()["g"].to_numpy())
    slopes_only = mf.lmer("y ~ 1 + (0 + x | g)", frame()).coef()["g"]
    assert slopes_only.columns.tolist() == ["Intercept", "x"]


def test_conditional_standard_deviations(fit):
    with_sd = fit.ranef(sd=True)["g"]
    assert with_sd.columns.tolist() == ["Intercept", "x", "Intercept_sd", "x_sd"]
    assert (with_sd["x_sd"] > 0).all()
    assert (with_sd["x_sd"] < fit.varcorr.sd["g"]["x"]).all()


def test_icc():
    data = mf.datasets.load("mathachieve")
    fit = mf.lmer("MathAch ~ 1 + (1 | School)", data)
    tau2, sigma2 = fit.varcorr.cov["School"].iloc[0, 0], fit.scale
    assert fit.icc()["School"] == pytest.approx(tau2 / (tau2 + sigma2))
    crossed = mf.lmer("y ~ x + (x | g) + (1 | h)", frame()).icc()
    assert crossed.index.tolist() == ["g", "h"]
    assert 0.0 < crossed.sum() < 1.0


def test_the_verdict(fit):
    assert fit.status in ("optimal", "boundary")
    assert fit.converged
    assert fit.is_singular == bool(fit.optimum.singular)
    assert fit.optimum.fun == fit.deviance
    stalled = mf.lmer("y ~ x + (x | g)", frame(), control=mf.Control(max_evaluations=1))
    assert stalled.status == "stalled"
    assert not stalled.converged


def test_results_are_frozen(fit):
    with pytest.raises(dataclasses.FrozenInstanceError):
        fit.fit = None
    with pytest.raises(AttributeError):
        fit.sigma = 1.0


def test_one_line_repr(fit):
    assert "\n" not in repr(fit)
    for part in ("y ~ x + (x | g) + (1 | a/b)", "REML", "n=240", "g 12", fit.status):
        assert part in repr(fit)


@pytest.mark.parametrize("name", PATTERNS)
def test_pickling(name):
    pattern = PATTERNS[name]
    fit = mf.lmer(pattern.formula, frame())
    again = pickle.loads(pickle.dumps(fit))
    np.testing.assert_allclose(again.params, fit.params, rtol=1e-9)
    assert again.llf == fit.llf
    np.testing.assert_allclose(again.fittedvalues, fit.fittedvalues, rtol=1e-8)
    np.testing.assert_allclose(again.predict(frame()), fit.fittedvalues, rtol=1e-8)


def test_rows_keep_the_datas_index():
    data = frame().set_index(pd.Index([f"r{i}" for i in range(240)]))
    data.loc["r3", "x"] = np.nan
    fit = mf.lmer("y ~ x + (1 | g)", data)
    assert fit.nobs == 239
    assert fit.n_missing == 1
    for rows in (fit.fittedvalues, fit.resid, fit.augment(), fit.simulate(1, seed=0)):
        assert "r3" not in rows.index
        assert rows.index[3] == "r4"


@pytest.mark.parametrize("name", PATTERNS)
def test_refit_is_a_fit_to_the_new_response(name):
    pattern, data = PATTERNS[name], frame()
    options = {
        "weights": "w" if pattern.weighted else None,
        "offset": "o" if pattern.offset else None,
    }
    fit = mf.lmer(pattern.formula, data, **options)
    before = fit.fittedvalues.copy()
    other = 100.0 + data["y"] ** 2
    again = fit.refit(other)
    direct = mf.lmer(pattern.formula, data.assign(y=other), **options)
    assert again.llf == pytest.approx(direct.llf, abs=1e-7)
    np.testing.assert_allclose(again.params, direct.params, rtol=1e-6)
    np.testing.assert_allclose(again.fittedvalues, direct.fittedvalues, rtol=1e-5)
    np.testing.assert_array_equal(fit.fittedvalues, before)


def test_responses_that_cannot_be_refitted():
    fit = mf.lmer("y ~ x + (x | g)", frame())
    with pytest.raises(mf.DataError, match="one value for each of 240 rows"):
        fit.refit([1.0, 2.0])
    with pytest.raises(mf.DataError, match="finite"):
        fit.refit(np.full(240, np.nan))


@pytest.mark.parametrize(
    "name",
    ["params", "bse", "tvalues", "pvalues", "theta", "fittedvalues", "resid", "residual_params"],
)
def test_what_a_user_changes_of_a_table_is_not_the_results(name):
    fit = mf.lme(
        "distance ~ age",
        "~ 1 | Subject",
        mf.datasets.load("orthodont"),
        correlation=mf.CorAR1(),
    )
    before = np.array(getattr(fit, name))
    table = getattr(fit, name)
    table[:] = 0.0
    assert len(before)
    np.testing.assert_array_equal(getattr(fit, name), before)


@pytest.mark.parametrize("kind", ["model", "kenward-roger", "CR2"])
def test_changing_a_covariance_changes_no_other(kind):
    fit = mf.lmer("Reaction ~ Days + (Days | Subject)", mf.datasets.load("sleepstudy"))
    before = fit.cov_params(kind).to_numpy(copy=True)
    table = fit.cov_params(kind)
    table.iloc[:] = 0.0
    np.testing.assert_array_equal(fit.cov_params(kind), before)
    cov = fit.varcorr.cov["Subject"].to_numpy(copy=True)
    table = fit.varcorr.cov["Subject"]
    table.iloc[:] = 0.0
    np.testing.assert_array_equal(fit.varcorr.cov["Subject"], cov)
