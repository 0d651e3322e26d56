import numpy as np
import pytest
from scipy import stats

import mixedfit as mf
from mixedfit.variance_tests import beyond_rounding, one_more_effect, without_effects
from tests import references
from tests.cases import frame
from tests.references import lmer, reference

NAMES = [
    name
    for name in references.ids("lmer")
    if "LRT" in ((reference(name).get("lmerTest") or {}).get("ranova") or {})
]


@pytest.mark.parametrize("name", NAMES)
def test_ranova_is_lmertests(name):
    block = reference(name)["lmerTest"]["ranova"]
    table = lmer(name).ranova()
    got = table.iloc[1:].sort_values("chi2")[["llf", "n_params", "chi2", "df", "p"]]
    keys = ("logLik", "npar", "LRT", "Df", "Pr(>Chisq)")
    want = np.array([block[key][1:] for key in keys], dtype=float).T
    want = want[np.argsort(want[:, 2])]  # lmerTest lists the terms as they were written
    np.testing.assert_allclose(got.to_numpy(float), want, rtol=1e-4, atol=1e-300)
    np.testing.assert_allclose(table["llf"].iloc[0], block["logLik"][0], rtol=1e-8)


def test_mixtures_halve_the_p_values_of_single_variances():
    table = lmer("lmer_penicillin_reml").ranova()
    np.testing.assert_allclose(table["p_mixture"].iloc[1:], table["p"].iloc[1:] / 2)
    slope = lmer("lmer_sleep_slope_reml").ranova().iloc[1]
    expected = 0.5 * (stats.chi2.sf(slope["chi2"], 1) + stats.chi2.sf(slope["chi2"], 2))
    assert slope["p_mixture"] == pytest.approx(expected)
    assert one_more_effect(0.0, 0) == 1.0


@pytest.mark.parametrize(
    "formula",
    [
        "score ~ Machine + (Machine | Worker)",
        "score ~ Machine + (0 + Machine | Worker)",
        "score ~ Machine + diag(0 + Machine | Worker)",
        "score ~ Machine + cs(0 + Machine | Worker, hom = TRUE)",
        "score ~ Machine + cs(0 + Machine | Worker)",
    ],
)
def test_several_effects_at_once(formula):
    row = mf.lmer(formula, mf.datasets.load("machines")).ranova().iloc[1]
    if "cs(" in formula:
        assert np.isnan(row["p_mixture"])
    else:
        # More than one degree of freedom less, and at least one variance more, than chi-squared.
        assert row["p_mixture"] < row["p"]
        assert row["p_mixture"] > 0.5**3 * row["p"]


def test_without_effects_is_least_squares():
    fit = mf.lmer("y ~ x + (x | g) + (1 | h)", frame(), method="ML")
    design = fit.fit.design
    rest = design.y - design.X @ np.linalg.lstsq(design.X, design.y, rcond=None)[0]
    n = design.n
    assert without_effects(fit.fit).fun == pytest.approx(
        n * (1 + np.log(2 * np.pi * (rest @ rest) / n))
    )


@pytest.mark.slow
def test_the_mixture_holds_its_level_for_two_effects_at_once():
    """A factor's effects beside an intercept: the null distribution, by simulation."""
    rng = np.random.default_rng(20250611)
    worker, machine = np.repeat(np.arange(40), 9), np.tile(np.repeat(list("abc"), 3), 40)
    n_sets = 150
    y = rng.standard_normal((n_sets, 40))[:, worker] + rng.standard_normal((n_sets, 360))
    data = {"y": y[0], "m": machine, "w": worker}
    first = mf.lmer("y ~ m + (m | w)", data)
    p = np.array([first.refit(response).ranova().iloc[1][["p", "p_mixture"]] for response in y])
    rejected = (p.astype(float) < 0.1).mean(axis=0)
    error = 2.6 * np.sqrt(0.1 * 0.9 / n_sets)
    assert abs(rejected[1] - 0.1) < error
    assert rejected[0] < rejected[1]


def test_a_model_without_random_effects_has_none_to_remove() -> None:
    fit = mf.gls("Yield ~ 1", mf.datasets.load("dyestuff"))
    with pytest.raises(mf.ModelError, match="this model has none"):
        fit.ranova()


def test_a_statistic_of_rounding_is_no_evidence():
    """A variance of zero: both fits end at the same likelihood, but for their last digits."""
    data = mf.datasets.load("dyestuff2")
    data["half"] = np.arange(len(data)) % 2
    fit = mf.lmer("Yield ~ 1 + (1 | Batch) + (1 | Batch:half)", data)
    table = fit.ranova().iloc[1:]
    none = table["chi2"] < 1e-6
    assert none.any()
    assert (table.loc[none, ["chi2", "p", "p_mixture"]] == [0.0, 1.0, 1.0]).all(axis=None)
    assert [beyond_rounding(x) for x in (-1.0, 0.0, 1e-9, 0.5)] == [0.0, 0.0, 0.0, 0.5]
