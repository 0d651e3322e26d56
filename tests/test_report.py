import numpy as np
import pytest

import mixedfit as mf
from mixedfit.report import singular_text
from tests.cases import frame
from tests.residual_fits import crossed

SLEEPSTUDY = """\
Linear mixed model fitted by restricted maximum likelihood (REML)
Formula: Reaction ~ Days + (Days | Subject)
Observations: 180; levels: Subject 18
REML criterion: 1743.6283
AIC, BIC: 1755.63, 1774.79
Verdict: optimal: gradient zero, Hessian positive definite

Scaled residuals
     Min      1Q  Median     3Q    Max
  -3.954  -0.463   0.023  0.463  5.179

Random effects
  Group     Name       Variance  Std. dev.  Corr.
  Subject   Intercept    612.09     24.740
            Days          35.07      5.922   0.07
  Residual               654.94     25.592

Fixed effects
             Estimate  Std. error    df  t value   p value
  Intercept    251.41       6.825  17.0   36.838    <1e-16
  Days          10.47       1.546  17.0    6.771  3.26e-06
Degrees of freedom by Satterthwaite's method."""


@pytest.fixture(scope="module")
def sleepstudy():
    return mf.lmer("Reaction ~ Days + (Days | Subject)", mf.datasets.load("sleepstudy"))


def test_the_summary_of_sleepstudy(sleepstudy):
    assert str(sleepstudy.summary()) == SLEEPSTUDY


def test_the_summary_tells_what_was_left_out():
    data = frame().assign(twice=lambda d: 2 * d["x"])
    data.loc[:4, "x"] = np.nan
    text = str(mf.lmer("y ~ x + twice + (1 | g)", data, method="ML").summary())
    assert "Left out: 5 rows with missing values" in text
    assert "Dropped columns: twice (they repeat other columns)" in text
    assert "-2 log likelihood" in text
    assert "fitted by maximum likelihood" in text


def test_uncorrelated_effects_show_no_correlation():
    text = str(mf.lmer("y ~ x + z + (x || g) + (x + z | h)", frame()).summary())
    lines = {line.split()[0]: line.split() for line in text.splitlines() if line.startswith("  ")}
    assert len(lines["h"]) == 4
    rows = [line for line in text.splitlines() if line.strip().startswith(("x ", "z "))]
    assert [len(row.split()) for row in rows][:3] == [3, 4, 5]


@pytest.mark.parametrize(
    ("formula", "data", "expected"),
    [
        ("Yield ~ 1 + (1 | Batch)", "dyestuff2", "(1 | Batch): all its variances are zero"),
        ("y ~ x + (x || g)", "slope without variance", "(0 + x | g): all its variances are zero"),
    ],
)
def test_directions_without_variance_in_words(formula, data, expected):
    if data == "slope without variance":
        rng = np.random.default_rng(3)
        g = np.repeat(np.arange(20), 6)
        x, e = rng.standard_normal((2, 20, 6))
        x -= x.mean(axis=1, keepdims=True)
        # Noise without slope in any level: less variance of slopes than chance would give.
        e -= x * (e * x).sum(axis=1, keepdims=True) / (x * x).sum(axis=1, keepdims=True)
        frame_ = {"y": rng.standard_normal(20)[g] + e.ravel(), "x": x.ravel(), "g": g}
    else:
        frame_ = mf.datasets.load(data)
    fit = mf.lmer(formula, frame_)
    assert fit.is_singular
    assert expected in singular_text(fit.fit)
    assert expected in str(fit.summary())


def test_tidy_glance_augment(sleepstudy):
    tidy = sleepstudy.tidy()
    assert list(tidy.columns) == (
        [
            "effect",
            "group",
            "term",
            "estimate",
            "std_error",
            "statistic",
            "df",
            "p_value",
            "conf_low",
            "conf_high",
        ]
    )
    assert tidy["term"].tolist() == [
        "Intercept",
        "Days",
        "sd__Intercept",
        "sd__Days",
        "cor__Intercept.Days",
        "sd__Observation",
    ]
    np.testing.assert_allclose(tidy["estimate"][:2], sleepstudy.params)
    glance = sleepstudy.glance()
    assert glance.shape == (1, 10)
    assert glance["n_params"].item() == 6
    augmented = sleepstudy.augment()
    assert list(augmented.columns) == ["Reaction", "Subject", "fitted", "fixed", "resid"]
    np.testing.assert_allclose(augmented["fitted"] + augmented["resid"], augmented["Reaction"])
    assert augmented["Subject"].iloc[0] == "308"


def test_the_summary_tells_known_weights_and_offset():
    data = frame()
    n = len(data)
    fit = mf.lmer("y ~ x + (1 | g)", data, weights=np.linspace(0.5, 2, n), offset=np.full(n, 3.0))
    text = str(fit.summary())
    assert "Precision weights: 0.5000 to 2.0000" in text
    assert "Offset: 3.000 to 3.000" in text


def test_residual_parameters_stand_beside_their_structure_and_reference():
    orthodont = mf.datasets.load("orthodont")
    fit = mf.gls(
        "distance ~ age",
        orthodont,
        correlation=mf.CorAR1(form="~ 1 | Subject"),
        weights=mf.VarIdent(form="~ 1 | Sex"),
    )
    lines = [line.split() for line in str(fit.summary()).splitlines()]
    assert ["CorAR1", "Phi"] in [line[:2] for line in lines]
    assert ["VarIdent", "Female"] in [line[:2] for line in lines]
    text = str(fit.summary())
    assert "ratios to the standard deviation where Sex is Male" in text
    assert "Residual variance" in text
    assert "Random effects" not in text


def test_a_held_ratio_is_not_the_reference():
    orthodont = mf.datasets.load("orthodont")
    held = mf.VarIdent(form="~ 1 | age", fixed={"8": 1.2})
    text = str(mf.gls("distance ~ age", orthodont, weights=held).summary())
    assert "where age is 10" in text


def test_a_formula_of_several_lines_is_shown_in_one():
    text = str(mf.lmer("y ~ x +\n   (1 | g)", frame()).summary())
    assert "Formula: y ~ x + (1 | g)\n" in text


def test_summary_and_tables_tell_the_residual_structure():
    fit = crossed(variance=mf.VarPower(form="~ w"))
    text = str(fit.summary())
    for part in ("Phi", "power", "CorAR1", "VarPower", "'~ t | g'"):
        assert part in text
    assert "CorAR1" in repr(fit)
    tidy = fit.tidy().set_index("term")
    assert tidy.loc["Phi", "effect"] == "residual"
    assert tidy.loc["Phi", "estimate"] == fit.residual_params["Phi"]


def test_a_variable_named_as_a_column_is_not_lost():
    data = mf.datasets.load("sleepstudy").rename(columns={"Reaction": "fitted"})
    fit = mf.lmer("fitted ~ Days + (1 | Subject)", data)
    with pytest.raises(mf.ModelError, match="'fitted' has the name of another column"):
        fit.augment()


def exhausted() -> mf.MixedResults:
    """As many coefficients between six batches as batches."""
    data = mf.datasets.load("dyestuff")
    for name, values in zip("abcde", np.random.default_rng(2).standard_normal((5, 6)), strict=True):
        data[name] = values[data["Batch"].cat.codes]
    return mf.lme("Yield ~ a + b + c + d + e", "~ 1 | Batch", data)


def test_degrees_of_freedom_that_are_used_up_are_told():
    text = str(exhausted().summary())
    assert "nan" not in text
    assert "No degrees of freedom are left for a, b, c, d, e: there are as many" in text
