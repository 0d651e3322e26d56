from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

import mixedfit as mf


def crossing_lines(seed: int = 3) -> pd.DataFrame:
    """Levels whose lines all meet at x = 5: a perfect negative correlation."""
    rng = np.random.default_rng(seed)
    g, x = np.repeat(np.arange(8), 10), np.tile(np.arange(10.0), 8)
    y = rng.standard_normal(8)[g] * (1.0 - 0.2 * x) + 1.5 * rng.standard_normal(80)
    return pd.DataFrame({"y": y, "x": x, "z": rng.standard_normal(80), "g": g})


def test_an_optimum_says_what_is_certain() -> None:
    fit = mf.lmer("Reaction ~ Days + (Days | Subject)", mf.datasets.load("sleepstudy"))
    told = str(fit.explain())
    assert told.startswith("Verdict: optimal")
    assert "strict minimum of the REML criterion" in told
    assert fit.explain().simpler == ()
    assert max(map(len, told.splitlines())) <= 88


def test_a_zero_variance_says_that_levels_do_not_differ() -> None:
    fit = mf.lmer("Yield ~ 1 + (1 | Batch)", mf.datasets.load("dyestuff2"), method="ML")
    told = fit.explain()
    assert told.verdict == "boundary"
    assert "-2 log likelihood has its minimum at the edge" in told.findings[0]
    assert "the levels of Batch do not differ" in told.findings[1]
    assert told.simpler[0][0] == "Yield ~ 1"


def test_a_model_said_to_fit_as_well_does() -> None:
    data = crossing_lines()
    fit = mf.lmer("y~x + I(x^2) + (x||g)", data)
    told = fit.explain()
    ((formula, why),) = told.simpler
    assert formula == "y ~ x + I(x^2) + (0 + x | g)"
    assert why.endswith("fits as well")
    assert mf.lmer(formula, data).deviance == pytest.approx(fit.deviance, abs=1e-7)


def test_a_perfect_correlation_says_where_levels_meet() -> None:
    data = crossing_lines()
    fit = mf.lmer("y ~ x + (x | g)", data)
    told = fit.explain()
    assert fit.status == "boundary"
    assert "the correlation of Intercept and x is -1" in told.findings[1]
    meeting = float(re.search(r"At x = ([-\d.]+) they", told.findings[1])[1])  # type: ignore[index]
    sd = fit.varcorr.sd["g"]
    assert meeting == pytest.approx(sd["Intercept"] / sd["x"], rel=1e-2)
    effects = fit.ranef()["g"]
    np.testing.assert_allclose(effects["Intercept"] + meeting * effects["x"], 0.0, atol=0.01)
    # Formulas of nested models: they can be fitted, and fit no better.
    for formula, _ in told.simpler:
        assert mf.lmer(formula, data).deviance >= fit.deviance - 1e-8


def test_a_direction_without_variance_is_given_in_the_users_columns() -> None:
    data = crossing_lines()
    data["x"] = 1000.0 + 50.0 * data["x"]
    fit = mf.lmer("y ~ x + (x + z | g)", data)
    text = fit.explain().findings[1]
    assert "vary in 2 independent ways only" in text
    written = re.search(r"no variance: (.*)\.$", text)[1]  # type: ignore[index]
    weights = dict.fromkeys(["Intercept", "x", "z"], 0.0)
    for sign, size, name in re.findall(r"([+-]?) ?([\d.e-]*) ?(Intercept|x|z)", written):
        weights[name] = (-1.0 if sign == "-" else 1.0) * float(size or 1.0)
    c = np.array(list(weights.values()))
    C = fit.varcorr.cov["g"].to_numpy()
    assert c @ C @ c < 1e-3 * (c**2 @ C.diagonal())


def test_several_terms_without_variance_can_go_together() -> None:
    rng = np.random.default_rng(11)
    n = 120
    data = pd.DataFrame({"y": rng.standard_normal(n), "x": rng.standard_normal(n)})
    data["a"], data["b"], data["c"] = (np.tile(np.arange(j), n)[:n] for j in (10, 6, 8))
    data["y"] += rng.standard_normal(8)[data["c"]]
    data["y"] -= data.groupby("a")["y"].transform("mean") * 0.9
    data["y"] -= data.groupby("b")["y"].transform("mean") * 0.9
    fit = mf.lmer("y ~ x + (1 | a) + (1 | b) + (1 | c)", data)
    told = fit.explain()
    assert told.simpler[0] == ("y ~ x + (1 | c)", "without all that has no variance: fits as well")
    assert mf.lmer("y ~ x + (1 | c)", data).deviance == pytest.approx(fit.deviance, abs=1e-7)


def test_small_units_are_not_a_zero_variance() -> None:
    data = crossing_lines()
    data["x"] *= 1e8
    text = mf.lmer("y ~ x + (x | g)", data).explain().findings[1]
    assert "the correlation of Intercept and x is -1" in text


def test_levels_of_a_factor_among_the_columns() -> None:
    rng = np.random.default_rng(0)
    data = pd.DataFrame(
        {
            "f": np.tile(["a", "b", "c"], 40),
            "g": np.repeat(np.arange(12), 10),
            "y": rng.standard_normal(120),
        }
    )
    fit = mf.lmer("y ~ f + (f | g)", data)
    assert fit.status == "boundary"
    told = fit.explain()
    assert told.simpler
    for formula, _ in told.simpler:
        assert "f[T." not in formula


def test_a_stalled_search_names_the_term() -> None:
    fit = mf.lmer(
        "Reaction ~ Days + (Days | Subject)",
        mf.datasets.load("sleepstudy"),
        control=mf.Control(max_evaluations=2),
    )
    told = fit.explain()
    assert told.verdict == "stalled"
    assert "(Days | Subject)" in told.findings[0]
    assert "max_evaluations" in told.findings[1]


def test_few_levels_and_what_was_left_out_are_noted() -> None:
    rng = np.random.default_rng(4)
    data = pd.DataFrame({"g": np.tile([1, 2, 3], 20), "x": rng.standard_normal(60)})
    data["x2"], data["y"] = 2.0 * data["x"], data["g"] + rng.standard_normal(60)
    data.loc[0, "y"] = np.nan
    notes = " ".join(mf.lmer("y ~ x + x2 + (1 | g)", data).explain().notes)
    assert "g has 3 levels" in notes
    assert "1 rows with missing values" in notes
    assert "left out: x2" in notes


def test_html_escapes_and_holds_everything() -> None:
    fit = mf.lmer("y ~ x + (x | g)", crossing_lines())
    told = fit.explain()
    html = told._repr_html_()
    assert "<code>y ~ x + (1 | g)</code>" in html
    assert html.count("<p>") >= len(told.findings)
    assert repr(told) == str(told)


@pytest.mark.parametrize(
    "formula",
    [
        "y ~ `my x` + (`my x` | `my g`)",
        "y ~ `my x` + (1 | `my g`) + (0 + `my x` | `my g`)",
        "y ~ 1 + (k * `my x` | `my g`)",
        "y ~ z + (1 | `my g`/k)",
    ],
)
def test_formulas_keep_their_backticks(formula):
    rng = np.random.default_rng(8)
    data = pd.DataFrame({"my g": np.repeat([f"{g}" for g in range(8)], 12)})
    data["k"] = np.tile(["u", "v"], 48)
    data["my x"], data["z"], data["y"] = rng.standard_normal((3, 96))
    fit = mf.lmer(formula, data)
    assert fit.status == "boundary"
    simpler = [text for text, _ in fit.explain().simpler]
    assert simpler
    for text in simpler:
        verb = mf.lmer if "|" in text else mf.gls
        assert verb(text, data).n_params < fit.n_params
