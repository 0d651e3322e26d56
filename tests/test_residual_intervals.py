"""Intervals of correlation and variance-function parameters against nlme's."""

from __future__ import annotations

import numpy as np
import pytest

import mixedfit as mf
from mixedfit.residual_intervals import delta_covariance, residual_intervals
from mixedfit.residual_scale import own_coordinates

from .nlme_calls import nlme_fit
from .references import reference

# nlme takes second derivatives numerically. Left out: models at a limit, and those whose numerical
# derivatives change the interval with the step (a power of the fitted values).
NAMES = [
    "gls_bodyweight_car1",
    "gls_dialyzer_varident_ml",
    "gls_dialyzer_varpower_ar1",
    "gls_orthodont_compsymm",
    "gls_orthodont_symm",
    "gls_orthodont_symm_homog",
    "gls_ovary_ar1",
    "gls_ovary_ar2",
    "gls_simar1_arma11",
    "gls_spruce_exp",
    "gls_wheat2_gaus",
    "lme_bodyweight_gaus",
    "lme_bodyweight_varexp",
    "lme_disp_varexp",
    "lme_mathach_varident_sex",
    "lme_orthodont_varident",
    "lme_ovary_ar1_int",
    "lme_ovary_ma2",
    "lme_simar1_gaps",
    "lme_sleep_ar1",
]


@pytest.mark.parametrize("name", NAMES)
def test_intervals_agree_with_nlme(name: str) -> None:
    blocks = reference(name)["intervals"]
    parts = [blocks[key] for key in ("corStruct", "varStruct") if key in blocks]
    expected = np.array(
        [row for part in parts for row in zip(part["lower"], part["upper"], strict=True)]
    )
    fit = nlme_fit(name).fit
    intervals = residual_intervals(fit)
    # nlme moves all coordinates to their ends at once: of parameters that share some, its interval
    # can miss its own estimate (ovary's AR(2): 0.599 in 0.593 to 0.567).
    alone = np.array(own_coordinates(fit)) | name.startswith("gls_orthodont_symm")
    np.testing.assert_allclose(intervals.to_numpy()[alone], expected[alone], rtol=2.5e-3)
    ours, theirs = list(intervals.index), [row for part in parts for row in part["row"]]
    assert ours == theirs or (ours, theirs) == (["Phi"], ["Phi1"])


def test_coordinates_at_their_limit_have_no_interval() -> None:
    fit = nlme_fit("gls_dialyzer_varconstpower")
    intervals = residual_intervals(fit.fit)
    assert fit.status == "boundary"
    assert intervals.loc["const"].isna().all()
    assert intervals.loc["power"].notna().all()


def test_only_free_parameters_have_intervals() -> None:
    data = mf.datasets.load("orthodont")
    held = mf.CorAR1(0.2, form="~ 1 | Subject", fixed=True)
    both = mf.gls("distance ~ age", data, correlation=held, weights=mf.VarIdent(form="~ 1 | Sex"))
    assert list(both.residual_params.index) == ["Phi", "Female"]
    assert list(residual_intervals(both.fit).index) == ["Female"]
    assert residual_intervals(mf.gls("distance ~ age", data).fit).empty
    assert delta_covariance(mf.gls("distance ~ age", data).fit).shape == (0, 0)


def test_parameters_that_share_coordinates_have_the_curvature_of_the_likelihood() -> None:
    fit = nlme_fit("gls_ovary_ar2")
    at, step = fit.residual_params.to_numpy(), 1e-3
    data = mf.datasets.load("ovary")

    def llf(phi: np.ndarray) -> float:
        held = mf.CorARMA(phi.tolist(), form="~ 1 | Mare", p=2, fixed=True)
        formula = "follicles ~ sin(2 * pi * Time) + cos(2 * pi * Time)"
        return mf.gls(formula, data, correlation=held).llf

    E = step * np.eye(2)
    H = np.array(
        [
            [llf(at + a + b) - llf(at + a - b) - llf(at - a + b) + llf(at - a - b) for b in E]
            for a in E
        ]
    ) / (4.0 * step**2)
    se = np.sqrt(np.linalg.inv(-H).diagonal())
    intervals = residual_intervals(fit.fit)
    shared = ~np.array(own_coordinates(fit.fit))
    assert shared.tolist() == [True, False]
    np.testing.assert_allclose(intervals.mean(axis=1)[shared], at[shared], rtol=1e-10)
    half = 0.5 * (intervals["upper"] - intervals["lower"]).to_numpy()
    np.testing.assert_allclose(half[shared], 1.959964 * se[shared], rtol=2e-3)
