from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

import mixedfit as mf
from mixedfit.fit import refit
from mixedfit.predict import simulate

from . import references
from .cases import PATTERNS, frame
from .test_conditional_residuals import OLD

NAMES = [
    "Intercept",
    "Days",
    "sd[Subject, Intercept]",
    "sd[Subject, Days]",
    "cor[Subject, Intercept, Days]",
    "sigma",
]


@pytest.fixture(scope="module")
def fit() -> mf.MixedResults:
    return mf.lmer("Reaction ~ Days + (Days | Subject)", references.data("sleepstudy"))


@pytest.fixture(scope="module")
def boot(fit: mf.MixedResults) -> mf.results.Bootstrap:  # type: ignore[name-defined]
    return fit.bootstrap(2000, seed=1)


def test_the_replicates_are_refits_of_simulated_responses(fit: mf.MixedResults) -> None:
    boot = fit.bootstrap(5, seed=7)
    Y = simulate(fit.fit, 5, np.random.default_rng(7)).to_numpy()
    for i, y in enumerate(Y.T):
        again = mf.MixedResults(refit(fit.fit, y))
        want = np.concatenate([again.params, again.varcorr.to_frame()["sdcor"]])[[0, 1, 2, 3, 4, 5]]
        np.testing.assert_allclose(boot.replicates.iloc[i], want, rtol=1e-4, atol=1e-4)


def test_the_result(fit: mf.MixedResults, boot) -> None:
    assert list(boot.estimate.index) == NAMES
    assert list(boot.params.columns) == NAMES[:2]
    assert list(boot.varcorr.columns) == NAMES[2:]
    assert boot.to_frame().equals(boot.replicates)
    assert 0.0 < boot.singular < 0.1
    assert boot.failed == 0
    assert boot.kind == "parametric"
    np.testing.assert_allclose(boot.estimate[:2], fit.params)
    text = repr(boot)
    assert text.startswith("parametric bootstrap, 2000 samples, ")
    assert "singular fits" in text


def test_standard_errors_are_those_of_theory(fit: mf.MixedResults, boot) -> None:
    np.testing.assert_allclose(boot.bse[:2], fit.bse, rtol=0.05)
    assert boot.bse["sigma"] == pytest.approx(1.508, rel=0.05)  # from the information
    assert abs(boot.bias["Days"]) < 4 * boot.bse["Days"] / np.sqrt(2000)


def test_seeds(fit: mf.MixedResults) -> None:
    a, b, c = (fit.bootstrap(10, seed=s).replicates for s in (3, 3, 4))
    assert a.equals(b)
    assert not a.equals(c)


def test_intervals(boot) -> None:
    days, estimate = boot.replicates["Days"], boot.estimate["Days"]
    low, high = np.quantile(days, [0.05, 0.95])
    assert boot.conf_int(0.9).loc["Days"].tolist() == pytest.approx([low, high])
    basic = boot.conf_int(0.9, "basic").loc["Days"].tolist()
    assert basic == pytest.approx([2 * estimate - high, 2 * estimate - low])
    normal = boot.conf_int(0.9, "normal").loc["Days"].tolist()
    centre, half = 2 * estimate - days.mean(), norm.ppf(0.95) * days.std()
    assert normal == pytest.approx([centre - half, centre + half])
    bca = boot.conf_int(0.9, "bca")
    assert np.abs(bca.loc["Days"] - [low, high]).max() < 0.5 * boot.bse["Days"]
    assert (bca["lower"] < bca["upper"]).all()


def test_bca_against_its_formula(fit: mf.MixedResults) -> None:
    data = references.data("sleepstudy")
    boot = fit.bootstrap(500, seed=2)
    left_out = np.array(
        [
            mf.lmer(fit.formula, data[data["Subject"] != s]).params["Days"]
            for s in data["Subject"].unique()
        ]
    )
    d = left_out.mean() - left_out
    a = (d**3).sum() / (6 * (d**2).sum() ** 1.5)
    values = boot.replicates["Days"]
    z0 = norm.ppf((values < boot.estimate["Days"]).mean())
    levels = [norm.cdf(z0 + (z0 + z) / (1 - a * (z0 + z))) for z in norm.ppf([0.025, 0.975])]
    want = np.quantile(values, levels)
    np.testing.assert_allclose(boot.conf_int(0.95, "bca").loc["Days"], want, rtol=1e-6)


@pytest.mark.parametrize("kind", ["residual", "case"])
def test_other_kinds_agree_with_theory_on_the_fixed_effects(fit: mf.MixedResults, kind) -> None:
    boot = fit.bootstrap(400 if kind == "residual" else 120, seed=5, kind=kind)
    assert boot.kind == kind
    np.testing.assert_allclose(boot.bse[:2], fit.bse, rtol=0.25)
    assert abs(boot.bias["Days"]) < 4 * boot.bse["Days"] / np.sqrt(120)
    if kind == "residual":
        # the pool of residuals is the data's: its fourth moment decides how sigma varies
        assert boot.bse["sigma"] > 1.5 * 1.508
        assert boot.bias["sd[Subject, Days]"] == pytest.approx(0.0, abs=0.5)


def test_crossed_designs() -> None:
    fit = mf.lmer(PATTERNS["crossed"].formula, frame())
    boot = fit.bootstrap(6, seed=0)
    assert boot.replicates.notna().all(axis=None)
    cases = fit.bootstrap(4, seed=0, kind="case", group="g")
    assert cases.replicates.shape == (4, 5)
    with pytest.raises(mf.ModelError, match="crossed"):
        fit.bootstrap(4, kind="case")


def test_statistics(fit: mf.MixedResults) -> None:
    one = fit.bootstrap(4, seed=1, statistic=lambda r: r.params["Days"] / r.sigma)
    full = fit.bootstrap(4, seed=1)
    want = full.replicates["Days"] / full.replicates["sigma"]
    np.testing.assert_allclose(one.replicates["statistic"], want, rtol=1e-5)
    assert one.conf_int(0.5).shape == (1, 2)
    named = fit.bootstrap(3, seed=1, kind="case", statistic=lambda r: {"a": r.sigma, "b": r.llf})
    assert list(named.replicates.columns) == ["a", "b"]
    series = fit.bootstrap(3, seed=1, statistic=lambda r: r.params)
    assert list(series.replicates.columns) == ["Intercept", "Days"]
    vector = fit.bootstrap(3, seed=1, statistic=lambda r: r.params.to_numpy())
    assert list(vector.replicates.columns) == ["statistic_1", "statistic_2"]
    with pytest.raises(mf.ModelError, match="must return numbers, not str"):
        fit.bootstrap(3, seed=1, statistic=lambda _: "six")


def test_samples_that_cannot_be_fitted_are_missing() -> None:
    rng = np.random.default_rng(0)
    g = np.repeat(np.arange(6), 4)
    data = pd.DataFrame({"g": g, "x": (g == 0).astype(float), "y": rng.standard_normal(24) + g})
    fit = mf.lmer("y ~ x + (1 | g)", data)
    boot = fit.bootstrap(20, seed=0, kind="case")
    absent = boot.replicates["x"].isna()
    assert boot.failed == absent.sum() > 0
    assert boot.conf_int().notna().all(axis=None)
    assert "could not be fitted" in repr(boot)


def test_bad_input(fit: mf.MixedResults, boot) -> None:
    for n in (1, 0, -5):
        with pytest.raises(mf.ModelError, match="whole number of at least 2"):
            fit.bootstrap(n)
    with pytest.raises(mf.ModelError, match="whole number"):
        fit.bootstrap(10.5)  # type: ignore[arg-type]
    with pytest.raises(mf.ModelError, match="'parametric', 'residual', 'case', not 'wild'"):
        fit.bootstrap(10, kind="wild")  # type: ignore[arg-type]
    with pytest.raises(mf.ModelError, match="group must be one of 'Subject'"):
        fit.bootstrap(10, kind="case", group="Days")
    with pytest.raises(mf.ModelError, match="'percentile', 'basic', 'bca', 'normal'"):
        boot.conf_int(method="bc")
    with pytest.raises(mf.ModelError, match="between 0 and 1"):
        boot.conf_int(95)


STRUCTURED = {
    "ar1": ("gls", mf.CorAR1(form="~ t | g"), None),
    "ident": ("lme", None, mf.VarIdent(form="~ 1 | s")),
    "both": ("lme", mf.CorAR1(form="~ t | g"), mf.VarIdent(form="~ 1 | s")),
}


def structured(name: str) -> mf.MixedResults:
    verb, correlation, variance = STRUCTURED[name]
    if verb == "gls":
        return mf.gls("y ~ x", OLD, correlation=correlation, weights=variance)
    return mf.lme("y ~ x", "~ 1 | g", OLD, correlation=correlation, weights=variance)


@pytest.mark.parametrize("name", STRUCTURED)
def test_residual_structures_are_refitted(name: str) -> None:
    fit = structured(name)
    boot = fit.bootstrap(60, seed=3)
    assert list(boot.replicates.columns) == list(fit.conf_int().index)
    y = simulate(fit.fit, 60, np.random.default_rng(3)).to_numpy()[:, 7]
    again = fit.refit(y)
    own = [f"residual[{label}]" for label in again.residual_params.index]
    np.testing.assert_allclose(boot.replicates.loc[7, own], again.residual_params, rtol=1e-6)
    np.testing.assert_allclose(boot.params.iloc[7], again.params, rtol=1e-6)
    # estimates scatter around what the responses were drawn from; beside a variance that may be
    # zero a correlation is biased towards it
    error = boot.bse / np.sqrt(len(boot.replicates))
    off = (boot.bias / error)[["Intercept", "x", *(own if name != "both" else own[1:])]]
    assert off.abs().max() < 4.0
    np.testing.assert_allclose(boot.bse[["Intercept", "x"]], fit.bse, rtol=0.35)
    ends = fit.conf_int(method="boot", n=60, seed=3)
    pd.testing.assert_frame_equal(ends, boot.conf_int())


@pytest.mark.parametrize("kind", ["residual", "case"])
@pytest.mark.parametrize("name", STRUCTURED)
def test_residual_structures_are_resampled(name: str, kind: str) -> None:
    fit = structured(name)
    boot = fit.bootstrap(60, seed=4, kind=kind)  # type: ignore[arg-type]
    assert boot.failed == 0
    np.testing.assert_allclose(boot.bse[["Intercept", "x"]], fit.bse, rtol=0.4)
    assert (boot.replicates.mean() - boot.estimate)["x"] == pytest.approx(0.0, abs=0.1)
    if kind == "case":
        ends = boot.conf_int(method="bca")
        assert (ends["lower"] < ends["upper"]).all()


def test_samples_without_a_stratum_count_as_failed() -> None:
    data = OLD.assign(s=np.where(OLD["g"] == "g0", "rare", "usual"))
    fit = mf.lme("y ~ x", "~ 1 | g", data, weights=mf.VarIdent(form="~ 1 | s"))
    boot = fit.bootstrap(20, seed=1, kind="case")
    lacking = boot.replicates.isna().all(axis=1).sum()
    assert 0 < lacking == boot.failed < 20


def test_cases_are_drawn_of_models_without_fixed_effects() -> None:
    fit = mf.lmer("Yield ~ 0 + (1 | Batch)", mf.datasets.load("dyestuff"))
    boot = fit.bootstrap(8, seed=1, kind="case")
    assert boot.replicates.shape == (8, 2)
    assert boot.replicates.notna().all(axis=None)
