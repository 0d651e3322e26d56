"""Models with residual structures through the verbs: what holds whatever the numbers."""

import pickle

import numpy as np
import pandas as pd
import pytest

import mixedfit as mf
from mixedfit.optimize import minimise
from mixedfit.residual_likelihood import SearchPoint
from tests.cases import frame
from tests.dense import criterion

DATA = frame(160).assign(t=lambda d: d.groupby("g").cumcount(), v=lambda d: 1.0 / d["w"])
AR1 = mf.CorAR1(form="~ t | g")


def crossed(**options) -> mf.MixedResults:
    return mf.lmer("y ~ x + (1 | g) + (1 | h)", DATA, correlation=AR1, **options)


def test_a_crossed_model_with_correlated_residuals_ends_at_the_dense_optimum():
    fit = crossed(weights="w", variance=mf.VarExp(form="~ x"))
    core = fit.fit
    assert fit.status == "optimal"
    R = core.whitening.multiply(np.eye(core.n))
    G = [term.root @ term.root.T for term in core.estimate.terms]
    assert fit.deviance == pytest.approx(criterion(core.design, G, "REML", R), rel=1e-10)
    for scale in (0.97, 1.03):
        other = core.design.residual.at(scale * core.optimum.delta).multiply(np.eye(core.n))
        assert criterion(core.design, G, "REML", other) > fit.deviance
        assert criterion(core.design, [scale * g for g in G], "REML", R) > fit.deviance


def test_known_variances_are_precision_weights():
    weighted = mf.lmer("y ~ x + (x | g)", DATA, weights="w")
    fixed = mf.lmer("y ~ x + (x | g)", DATA, variance=mf.VarFixed("~ v"))
    assert fixed.llf == pytest.approx(weighted.llf, abs=1e-8)
    np.testing.assert_allclose(fixed.params, weighted.params, rtol=1e-6)
    np.testing.assert_allclose(fixed.residuals("pearson"), weighted.residuals("pearson"), atol=1e-5)
    assert fixed.n_params == weighted.n_params


def test_lme_without_structures_is_lmer():
    nested = mf.lme("y ~ x", "~ 1 | a/b", DATA, method="ML")
    expected = mf.lmer("y ~ x + (1 | a/b)", DATA, method="ML")
    assert nested.llf == pytest.approx(expected.llf, abs=1e-10)
    assert nested.ngroups == expected.ngroups
    assert nested.bic == pytest.approx(expected.bic)


def test_gls_without_structures_is_least_squares():
    fit = mf.gls("y ~ x", DATA)
    X = np.column_stack([np.ones(len(DATA)), DATA["x"]])
    beta, rss, *_ = np.linalg.lstsq(X, DATA["y"].to_numpy(), rcond=None)
    np.testing.assert_allclose(fit.params, beta, rtol=1e-10)
    assert fit.sigma == pytest.approx(np.sqrt(rss[0] / (len(DATA) - 2)))
    assert fit.status == "optimal"
    assert fit.ranef() == {}
    assert fit.ngroups == {}
    assert fit.residual_params.empty
    pd.testing.assert_series_equal(
        fit.predict(DATA.head()), fit.fittedvalues.head(), check_names=False
    )


def test_the_order_of_the_rows_does_not_matter():
    fit = crossed()
    mixed = DATA.sample(frac=1.0, random_state=1)
    other = mf.lmer("y ~ x + (1 | g) + (1 | h)", mixed, correlation=AR1)
    assert other.llf == pytest.approx(fit.llf, abs=1e-8)
    np.testing.assert_allclose(other.residual_params, fit.residual_params, rtol=1e-5)
    np.testing.assert_allclose(
        other.residuals("normalized").sort_index(), fit.residuals("normalized"), atol=1e-5
    )


@pytest.mark.parametrize("size", [1e-6, 1e6])
def test_units_of_the_response_and_of_a_covariate_do_not_matter(size):
    fit = mf.gls("y ~ x", DATA, weights=mf.VarExp(form="~ t"), correlation=AR1)
    scaled = DATA.assign(y=size * DATA["y"], c=size * DATA["t"])
    other = mf.gls("y ~ x", scaled, weights=mf.VarExp(form="~ c"), correlation=AR1)
    assert other.sigma / size == pytest.approx(fit.sigma, rel=1e-5)
    np.testing.assert_allclose(other.residual_params["Phi"], fit.residual_params["Phi"], rtol=1e-5)
    assert other.residual_params["expon"] * size == pytest.approx(
        fit.residual_params["expon"], rel=1e-4
    )


def test_fits_survive_pickling():
    fit = crossed()
    again = pickle.loads(pickle.dumps(fit))
    assert again.llf == fit.llf
    np.testing.assert_allclose(again.fittedvalues, fit.fittedvalues, rtol=1e-12)
    np.testing.assert_allclose(again.residual_params, fit.residual_params)
    assert again.bic == fit.bic


def test_another_response_is_fitted_with_the_same_structure():
    fit = mf.lme("y ~ x", "~ 1 | g", DATA, correlation=AR1)
    y = DATA["y"] + np.sin(np.arange(len(DATA)))
    again = fit.refit(y)
    expected = mf.lme("y ~ x", "~ 1 | g", DATA.assign(y=y), correlation=AR1)
    assert again.llf == pytest.approx(expected.llf, abs=1e-8)
    assert again.bic == pytest.approx(expected.bic)
    np.testing.assert_allclose(again.residual_params, expected.residual_params, rtol=1e-5)


def test_simulated_responses_have_the_covariance_of_the_residuals():
    fit = mf.gls("y ~ x", DATA, correlation=mf.CorAR1(0.6, form="~ t | g", fixed=True))
    draws = fit.simulate(4000, seed=0).to_numpy() - fit.fittedvalues.to_numpy()[:, None]
    covariance = draws @ draws.T / draws.shape[1] / fit.scale
    R = fit.fit.whitening.multiply(np.eye(len(DATA)))
    assert np.abs(covariance - R).max() < 0.12


def test_variances_of_the_fitted_values_end_at_a_fixed_point():
    data = DATA.assign(y=DATA["y"] + 20.0)
    fit = mf.lme("y ~ x", "~ 1 | g", data, weights=mf.VarPower())
    log_sd = fit.residual_params["power"] * np.log(np.abs(fit.fittedvalues))
    np.testing.assert_allclose(fit.fit.whitening.log_sd, log_sd, atol=1e-6)
    assert fit.status == "optimal"


def test_a_nugget_that_vanishes_is_a_boundary_that_is_named():
    rng = np.random.default_rng(6)
    t = np.arange(60.0)
    C = np.exp(-np.abs(t[:, None] - t) / 5.0)
    data = pd.DataFrame({"t": t, "y": np.linalg.cholesky(C) @ rng.standard_normal(60)})
    fit = mf.gls("y ~ 1", data, correlation=mf.CorExp(form="~ t", nugget=True))
    assert fit.residual_params["nugget"] < 1e-4
    assert fit.status == "boundary"
    assert "nugget" in fit.optimum.message
    without = mf.gls("y ~ 1", data, correlation=mf.CorExp(form="~ t"))
    assert fit.llf == pytest.approx(without.llf, abs=1e-5)


def test_summary_and_tables_tell_the_residual_structure():
    fit = crossed(variance=mf.VarPower(form="~ w"))
    text = str(fit.summary())
    for part in ("Phi", "power", "CorAR1", "VarPower", "'~ t | g'"):
        assert part in text
    assert "CorAR1" in repr(fit)
    tidy = fit.tidy().set_index("term")
    assert tidy.loc["Phi", "effect"] == "residual"
    assert tidy.loc["Phi", "estimate"] == fit.residual_params["Phi"]


def test_missing_values_of_a_form_leave_rows_out_or_are_refused():
    holes = DATA.assign(t=DATA["t"].astype(float).mask(DATA.index < 3))
    fit = mf.lme("y ~ x", "~ 1 | g", holes, correlation=AR1, na_action="drop")
    assert (fit.nobs, fit.n_missing) == (157, 3)
    with pytest.raises(mf.DataError, match="'t' \\(3\\).*na_action='drop'"):
        mf.lme("y ~ x", "~ 1 | g", holes, correlation=AR1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mf.lme("y ~ x + (1 | g)", "~ 1 | g", DATA), "random terms go to random="),
        (lambda: mf.gls("y ~ x + (1 | g)", DATA), "gls.*random= of lme"),
        (lambda: mf.gls("y ~ x", DATA, method="reml"), "method must be 'REML' or 'ML'"),
        (lambda: mf.lme("y ~ x", "~ 1 | g", DATA, method="ols"), "method must be"),
        (lambda: mf.lmer("y ~ x", DATA), r"no random term.*gls\(\)"),
        (lambda: mf.gls("y ~ x", DATA, weights="w"), "variance function"),
        (lambda: mf.gls("y ~ x", DATA, correlation=mf.CorAR1), "call it"),
        (lambda: mf.gls("y ~ x", DATA, correlation=mf.CorAR1(form="~ u | g")), "no column 'u'"),
        (lambda: mf.gls("y ~ x", DATA, correlation=mf.CorAR1(form="~ t")), "CorAR1"),
        (lambda: mf.lme("y ~ x", "~ 1 | q", DATA), "no column 'q'"),
    ],
)
def test_bad_input_is_refused_in_words(call, message):
    with pytest.raises(mf.MixedfitError, match=message):
        call()


def test_too_many_effects_tied_together_are_refused(monkeypatch):
    monkeypatch.setattr("mixedfit.fit._MOST_TIED", 5)
    with pytest.raises(mf.ModelError, match="tie the 7 effects of 'h' together"):
        crossed()


def test_a_search_may_start_from_given_theta():
    fit = crossed()
    again = crossed(start=[0.3, 1.5])
    assert again.llf == pytest.approx(fit.llf, abs=1e-8)
    np.testing.assert_allclose(again.theta, fit.theta, rtol=1e-4)


def test_effects_many_orders_larger_than_sigma_are_searched_to_the_end():
    sleepstudy = mf.datasets.load("sleepstudy")
    fit = mf.lme("Reaction ~ Days", "~ Days | Subject", sleepstudy, weights=mf.VarPower())
    assert fit.status == "optimal"
    assert fit.theta[0] > 1e5
    point = fit.fit.evaluation
    away = point.problem.at(point.states, point.delta + 0.1)
    again = minimise(SearchPoint(away)).point
    assert again.fun == pytest.approx(fit.deviance, abs=1e-5)


def test_a_fit_by_fitted_values_can_be_pickled_and_refitted():
    data = DATA.assign(y=DATA["y"] + 20.0)
    fit = mf.lme("y ~ x", "~ 1 | g", data, weights=mf.VarPower())
    again = pickle.loads(pickle.dumps(fit))
    assert again.fit.evaluation.fun == pytest.approx(fit.deviance, abs=1e-9)
    y = data["y"] + np.cos(np.arange(len(data)))
    expected = mf.lme("y ~ x", "~ 1 | g", data.assign(y=y), weights=mf.VarPower())
    assert fit.refit(y).llf == pytest.approx(expected.llf, abs=1e-5)


def growth(seed: int, subjects: int = 20, times: int = 6) -> pd.DataFrame:
    """Rows with serial errors whose variance grows with v, a tenth of them lost."""
    rng = np.random.default_rng(seed)
    n = subjects * times
    g, t = np.repeat(np.arange(subjects), times), np.tile(np.arange(1.0, times + 1), subjects)
    kept, v, e = rng.random(n) > 0.1, np.exp(rng.normal(0, 0.4, n)), np.zeros(n)
    for i in range(n):
        e[i] = (0.55 * e[i - 1] if t[i] > 1 else 0.0) + rng.normal()
    own, slope = rng.normal(0, 1, subjects), rng.normal(0, 0.25, subjects)
    y = 0.6 * t + own[g] + slope[g] * t + 0.8 * e * v**0.8
    return pd.DataFrame({"y": y, "t": t, "v": v, "g": g})[kept]


@pytest.mark.parametrize("seed", [3, 5, 14])
def test_of_several_maxima_along_the_range_the_highest_is_found(seed):
    data = growth(seed)

    def llf(**options) -> float:
        line = mf.CorLin(form="~ t | g", **options)
        power = mf.VarPower(form="~ v")
        fit = mf.lme("y ~ t", "~ 1 | g", data, correlation=line, weights=power, method="ML")
        return fit.llf

    along = [llf(value=r, fixed=True) for r in (1.4, 1.6, 2.4, 3.3, 4.5, 4.9, 5.4)]
    assert llf() >= max(along) - 1e-6
