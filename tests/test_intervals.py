from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

import mixedfit as mf
from mixedfit.variance_parameters import parameter_covariance, variance_parameters

from . import references
from .references import lmer, matched, reference


@pytest.fixture(scope="module")
def fit() -> mf.MixedResults:
    return mf.lmer("Reaction ~ Days + (Days | Subject)", references.data("sleepstudy"))


@pytest.mark.parametrize("name", ["lmer_sleep_slope_reml", "lmer_cake_int", "lmer_mathach_full"])
def test_wald_intervals_with_normal_quantiles_are_lme4s(name: str) -> None:
    block = reference(name)["confint_wald"]
    names = [row for row in block["rownames"] if not row.startswith(".sig")]
    want = np.array(block["values"], dtype=float)[-len(names) :]
    got = lmer(name).conf_int(ddf="normal")
    for column, ends in zip(got, want.T, strict=True):
        np.testing.assert_allclose(matched(got.iloc[: len(names)][column], names), ends, rtol=1e-5)


def test_fixed_effects_have_the_quantiles_of_their_degrees_of_freedom(fit) -> None:
    table = fit.coef_table()
    got = fit.conf_int()
    np.testing.assert_allclose(got.iloc[:2]["lower"], table["lower"])
    np.testing.assert_allclose(got.iloc[:2]["upper"], table["upper"])
    wider = fit.conf_int(ddf="kenward-roger", level=0.99)
    assert (wider["lower"] < got["lower"]).all()


def test_variance_parameters_on_their_scales(fit) -> None:
    got = fit.conf_int(level=0.9)
    parameters = variance_parameters(fit.fit)
    assert list(got.index[2:]) == [p.label for p in parameters]
    se = np.sqrt(np.diag(parameter_covariance(fit.fit, parameters)))
    sd = fit.varcorr.sd["Subject"]["Days"]
    centre, half = np.log(sd), norm.ppf(0.95) * se[1] / sd
    assert got.loc["sd[Subject, Days]"].tolist() == pytest.approx(
        [np.exp(centre - half), np.exp(centre + half)]
    )
    rho = fit.varcorr.corr["Subject"].iloc[0, 1]
    half = norm.ppf(0.95) * se[2] / (1 - rho**2)
    assert got.loc["cor[Subject, Intercept, Days]"].tolist() == pytest.approx(
        [np.tanh(np.arctanh(rho) - half), np.tanh(np.arctanh(rho) + half)]
    )


def test_parameters_at_their_limits_have_no_wald_interval() -> None:
    got = lmer("lmer_dyestuff2_reml").conf_int()
    assert got.loc["sd[Batch, Intercept]"].isna().all()
    assert got.loc[["Intercept", "sigma"]].notna().all(axis=None)


def test_methods_agree_where_theory_says_so(fit) -> None:
    wald, profile = fit.conf_int(), fit.conf_int(method="profile")
    boot = fit.conf_int(method="boot", n=500, seed=1)
    assert list(wald.index) == list(profile.index) == list(boot.index)
    width = (profile["upper"] - profile["lower"]).to_numpy()
    for other in (wald, boot):
        assert (other.sub(profile).abs().max(axis=1) < 0.35 * width).all()


def test_chosen_parameters(fit) -> None:
    names = ["sigma", "Days"]
    for method in ("wald", "profile", "boot"):
        got = fit.conf_int(method=method, parameters=names, n=50, seed=1)
        assert list(got.index) == names
        assert list(got.columns) == ["lower", "upper"]
    assert list(fit.conf_int(parameters="sigma").index) == ["sigma"]


def test_bad_input(fit) -> None:
    with pytest.raises(mf.ModelError, match="'wald', 'profile' or 'boot', not 'bootstrap'"):
        fit.conf_int(method="bootstrap")
    with pytest.raises(mf.ModelError, match="between 0 and 1, such as 0.95, not 95"):
        fit.conf_int(95)
    with pytest.raises(mf.ModelError, match="'day' is no parameter of this fit"):
        fit.conf_int(parameters=["day"])


def test_an_alpha_is_not_taken_for_a_level():
    with pytest.raises(mf.ModelError, match="write level=0.95"):
        lmer("lmer_dyestuff_reml").conf_int(0.05)


def test_ends_may_be_infinite() -> None:
    data = mf.datasets.load("dyestuff")
    for name, values in zip("abcde", np.random.default_rng(2).standard_normal((5, 6)), strict=True):
        data[name] = values[data["Batch"].cat.codes]
    limits = mf.lme("Yield ~ a + b + c + d + e", "~ 1 | Batch", data).conf_int()
    assert (limits.loc["sd[Batch, Intercept]"] >= 0.0).all()
    assert np.isfinite(limits.loc["sigma"]).all()
