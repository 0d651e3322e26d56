import pickle

import numpy as np
import pandas as pd
import pytest

import mixedfit as mf
from mixedfit.errors import ModelError
from mixedfit.fit import fit_design
from mixedfit.optimize import Control, minimise
from tests.cases import PATTERNS, frame
from tests.residual_fits import AR1, DATA, crossed


@pytest.fixture(params=PATTERNS, ids=str)
def name(request):
    return request.param


@pytest.mark.parametrize("method", ["REML", "ML"])
def test_no_other_start_ends_lower(name, method):
    fit = fit_design(PATTERNS[name].design(), method)
    assert fit.optimum.status in ("optimal", "boundary")
    rng = np.random.default_rng(0)
    for scale in (0.1, 1.0, 3.0):
        states = []
        for _, structure in fit.likelihood.structures:
            F = scale * rng.standard_normal((structure.size, structure.size + 1))
            states.append(structure.start(F @ F.T + 1e-4 * np.eye(structure.size)))
        other = minimise(fit.likelihood.at(tuple(states)))
        assert fit.optimum.fun <= other.point.fun + 1e-6


def test_a_start_given_as_theta_ends_at_the_same_place(name):
    design = PATTERNS[name].design()
    fit = fit_design(design)
    theta = fit.estimate.theta
    again = fit_design(design, start=theta)
    assert again.optimum.fun == pytest.approx(fit.optimum.fun, abs=1e-7)
    assert again.optimum.nfev <= 4
    with pytest.raises(ModelError, match=f"the {len(theta)} finite numbers of theta"):
        fit_design(design, start=np.append(theta, 1.0))


def test_a_search_cut_short_is_stalled_and_says_where():
    fit = fit_design(PATTERNS["crossed slopes"].design(), control=Control(max_evaluations=1))
    assert fit.optimum.status == "stalled"
    assert "stopped after 1 evaluations" in fit.optimum.message
    assert "| g)" in fit.optimum.message or "| h)" in fit.optimum.message
    assert fit.optimum.decrement > 0.0


def test_pickling_keeps_the_answer_and_leaves_the_scratch_behind():
    fit = fit_design(PATTERNS["crossed slopes"].design())
    text = pickle.dumps(fit)
    assert "evaluation" not in fit.__getstate__()
    again = pickle.loads(text)
    assert again.optimum.fun == fit.optimum.fun
    np.testing.assert_allclose(again.estimate.beta, fit.estimate.beta, rtol=1e-10)
    np.testing.assert_allclose(again.estimate.theta, fit.estimate.theta, rtol=1e-10)


def test_one_evaluation_does_not_depend_on_the_number_of_rows():
    small = fit_design(PATTERNS["slope"].design(frame(500)))
    large = fit_design(PATTERNS["slope"].design(frame(50_000)))
    shapes = [
        [array.shape for array in (f.likelihood.products.factors[0].ZZ, f.likelihood.products.EE)]
        for f in (small, large)
    ]
    assert shapes[0] == shapes[1]


def test_controls_and_starts_of_another_kind_are_refused():
    data = mf.datasets.load("dyestuff")
    with pytest.raises(ModelError, match=r"control must be mf.Control\(...\), not dict"):
        mf.lmer("Yield ~ 1 + (1 | Batch)", data, control={"tolerance": 1e-3})
    with pytest.raises(ModelError, match="start must hold the numbers of theta, not 'a'"):
        mf.lmer("Yield ~ 1 + (1 | Batch)", data, start="a")


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


def test_variances_of_the_fitted_values_end_at_a_fixed_point():
    data = DATA.assign(y=DATA["y"] + 20.0)
    fit = mf.lme("y ~ x", "~ 1 | g", data, weights=mf.VarPower())
    log_sd = fit.residual_params["power"] * np.log(np.abs(fit.fittedvalues))
    np.testing.assert_allclose(fit.fit.whitening.log_sd, log_sd, atol=1e-6)
    assert fit.status == "optimal"


def test_too_many_effects_tied_together_are_refused(monkeypatch):
    monkeypatch.setattr("mixedfit.fit._MOST_TIED", 5)
    with pytest.raises(mf.ModelError, match="tie the 7 effects of 'h' together"):
        crossed()


def test_a_search_may_start_from_given_theta():
    fit = crossed()
    again = crossed(start=[0.3, 1.5])
    assert again.llf == pytest.approx(fit.llf, abs=1e-8)
    np.testing.assert_allclose(again.theta, fit.theta, rtol=1e-4)


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
