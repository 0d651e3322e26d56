"""Profiles of fits whose residuals have a structure, against differences and refits."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

import mixedfit as mf
from mixedfit.profile import _Profiler, profile, profile_interval
from mixedfit.profile_criteria import Path
from mixedfit.residual_profile import ResidualPath
from mixedfit.residual_scale import own_coordinates

from .nlme_calls import nlme_fit
from .test_conditional_residuals import OLD
from .test_residual_predictions import MODELS, fitted

Z = norm.ppf(0.975)


@cache
def paths(name: str) -> dict[str, Path]:
    profiler = _Profiler(fitted(name).fit)
    found = {label: profiler.path(i) for i, label in enumerate(profiler.labels)}
    return {label: path for label, path in found.items() if path.x > -np.inf}


@pytest.mark.parametrize("name", MODELS)
def test_derivatives(name: str) -> None:
    for label, path in paths(name).items():
        r = len(path.at(path.x, path.states).gradient)
        step = 0.02 * np.random.default_rng(3).standard_normal(r)
        away = path.trusted if isinstance(path, ResidualPath) else 1.0
        point = path.at(path.x + 0.05 * away, path.moved(path.states, step))
        h, free, close = 1e-5, np.flatnonzero(point.free), {"rtol": 1e-5, "err_msg": label}
        for i in free:
            e = h * np.eye(r)[i]
            ahead, behind = point.move(e), point.move(-e)
            slope = (ahead.fun - behind.fun) / (2 * h)
            np.testing.assert_allclose(point.gradient[i], slope, atol=1e-5, **close)
            row = (ahead.gradient - behind.gradient) / (2 * h)
            np.testing.assert_allclose(point.hessian[i, free], row[free], atol=1e-3, **close)
        ahead, behind = path.at(point.x + h, point.states), path.at(point.x - h, point.states)
        slope = (ahead.fun - behind.fun) / (2 * h)
        np.testing.assert_allclose(point.slope, slope, atol=1e-5, **close)
        bend = (ahead.slope - behind.slope) / (2 * h)
        np.testing.assert_allclose(point.bend, bend, atol=1e-5, **close)
        mixed = ((ahead.gradient - behind.gradient) / (2 * h))[free]
        np.testing.assert_allclose(point.mixed[free], mixed, atol=1e-4, **close)


def rise(fit: mf.MixedResults, held: mf.MixedResults) -> float:
    """Signed root of the likelihood ratio statistic of a fit in which a parameter is held."""
    return float(np.sqrt(2.0 * (fit.llf - held.llf)))


AR1, POWER = mf.CorCAR1(form="~ t | g"), mf.VarPower(form="~ x")


@pytest.mark.parametrize("verb", ["gls", "lme"])
def test_ends_are_where_refits_say(verb: str) -> None:
    def made(data: pd.DataFrame, formula: str = "y ~ x", **structures: object) -> mf.MixedResults:
        options = {"correlation": AR1, "weights": POWER, **structures}
        if verb == "gls":
            return mf.gls(formula, data, method="ML", **options)  # type: ignore[arg-type]
        return mf.lme(formula, "~ 1 | g", data, method="ML", **options)  # type: ignore[arg-type]

    fit = made(OLD)
    ends = profile_interval(fit.fit)
    for side in ("lower", "upper"):
        phi, power = ends.loc["residual[Phi]", side], ends.loc["residual[power]", side]
        held = made(OLD, correlation=mf.CorCAR1(form="~ t | g", value=phi, fixed=True))
        assert rise(fit, held) == pytest.approx(Z, abs=1e-4)
        held = made(OLD, weights=mf.VarPower(form="~ x", value=power, fixed=True))
        assert rise(fit, held) == pytest.approx(Z, abs=1e-4)
        shifted = OLD.assign(y=OLD["y"] - ends.loc["x", side] * OLD["x"])
        assert rise(fit, made(shifted, "y ~ 1")) == pytest.approx(Z, abs=1e-4)


def test_intervals_by_curves_agree_and_reml_is_profiled_by_ml() -> None:
    fit = fitted("lme car1 power")
    solved = profile_interval(fit.fit)
    read_off = profile(fit.fit, 0.95).conf_int()
    pd.testing.assert_frame_equal(solved, read_off, rtol=2e-3, atol=2e-3)
    full = mf.lme("y ~ x", "~ 1 | g", OLD, correlation=AR1, weights=POWER, method="ML")
    pd.testing.assert_frame_equal(solved, profile_interval(full.fit), rtol=1e-3, atol=1e-3)
    assert list(fit.conf_int().index) == list(solved.index)
    assert fit.profile(0.9, "residual[Phi]").conf_int(0.9).shape == (1, 2)


def test_a_lost_variance_has_an_upper_end() -> None:
    ends = profile_interval(fitted("lme ar1").fit, parameters=["sd[g, Intercept]"])
    assert ends.iloc[0, 0] == 0.0
    assert 1.0 < ends.iloc[0, 1] < 2.0


def test_parameters_that_fall_with_their_coordinate_and_those_that_share() -> None:
    fit = nlme_fit("gls_orthodont_symm_homog")
    own = own_coordinates(fit.fit)
    assert own == [True, True, False, False, False, False]
    ends = profile_interval(fit.fit)
    known = ends.dropna()
    assert ends.isna().all(axis=1).sum() == 4
    assert (known["lower"] < known["upper"]).all()
    # Pearson correlations by Fisher's z of 27 children, roughly
    assert ends.loc["residual[cor(1,2)]", "lower"] == pytest.approx(0.21, abs=0.03)
    with pytest.raises(mf.ModelError, match=r"cor\(3,4\).* use method='wald'"):
        fit.conf_int(method="profile", parameters="residual[cor(3,4)]")
    assert "residual[cor(3,4)]" not in profile(fit.fit, 0.8, None).curves
