import importlib
import shutil
import subprocess

import numpy as np
import pytest

import mixedfit as mf
from tests.cases import frame

# The package shows the function under the module's name.
module = importlib.import_module("mixedfit.crosscheck")

# A model each that MixedLM can express: one factor, uncorrelated, nested, crossed.
COMPARABLE = [
    ("Reaction ~ Days + (Days | Subject)", "sleepstudy"),
    ("Reaction ~ Days + (Days || Subject)", "sleepstudy"),
    ("strength ~ 1 + (1 | batch/cask)", "pastes"),
    ("score ~ Machine + (1 | Worker) + (1 | Worker:Machine)", "machines"),
]


@pytest.fixture
def no_r(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)


def has_lme4() -> bool:
    if shutil.which("Rscript") is None:
        return False
    done = subprocess.run(["Rscript", "-e", "library(lme4)"], capture_output=True, check=False)
    return done.returncode == 0


@pytest.mark.usefixtures("no_r")
@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize(("formula", "data"), COMPARABLE)
def test_statsmodels_agrees(formula, data, method):
    check = mf.crosscheck(mf.lmer(formula, mf.datasets.load(data), method=method))
    assert set(check.table["software"]) == {"statsmodels"}
    assert check.largest < 0.02
    llf = check.table.set_index("quantity").loc["log-likelihood"]
    # MixedLM stops short of the optimum: never above it.
    assert -1e-6 < llf["ours"] - llf["theirs"] < 1e-3
    assert check.notes == ("lme4: not compared, Rscript is not on this machine",)


@pytest.mark.usefixtures("no_r")
@pytest.mark.parametrize(
    ("formula", "options", "reason"),
    [
        ("y ~ x + (1 | g)", {"weights": "w"}, "no precision weights"),
        ("y ~ f + cs(0 + f | g)", {}, "cs(0 + f | g)"),
        ("y ~ x + (x | g) + (x | h)", {}, "only the outermost factor has correlations"),
    ],
)
def test_what_mixed_lm_cannot_express_is_said(formula, options, reason):
    check = mf.crosscheck(mf.lmer(formula, frame(), **options))
    assert check.table.empty
    assert reason in check.notes[0]
    assert reason in repr(check)


@pytest.mark.usefixtures("no_r")
def test_crossed_factors_too_large_for_dense_columns(monkeypatch):
    monkeypatch.setattr(module, "_MOST_DENSE", 1000)
    check = mf.crosscheck(mf.lmer("y ~ x + (1 | g) + (1 | h)", frame()))
    assert "too many" in check.notes[0]


@pytest.mark.usefixtures("no_r")
def test_statsmodels_is_only_an_extra(monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    check = mf.crosscheck(mf.lmer("y ~ x + (1 | g)", frame()))
    assert "pip install 'mixedfit[statsmodels]'" in check.notes[0]
    assert np.isnan(check.largest)


@pytest.mark.r
@pytest.mark.skipif(not has_lme4(), reason="R with lme4 is not on this machine")
@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize(
    ("formula", "options"),
    [
        ("y ~ x + (x | g) + (1 | h)", {"weights": "w", "offset": "o"}),
        ("y ~ x + (x || g) + (1 | a/b)", {}),
        ("log(y + 20) ~ f * poly(x, 2) + (x + z | g)", {}),
    ],
)
def test_lme4_agrees(formula, options, method):
    fit = mf.lmer(formula, frame(), method=method, **options)
    check = mf.crosscheck(fit)
    theirs = check.table[check.table["software"] == "lme4"].set_index("quantity")
    llf = theirs.loc["log-likelihood"]
    assert -1e-7 * abs(fit.llf) < llf["ours"] - llf["theirs"] < 1e-3
    assert theirs["in_se"].abs().max() < 0.05


def test_only_fits_are_checked():
    with pytest.raises(mf.MixedfitError, match="takes a fit such as lmer"):
        mf.crosscheck("Reaction ~ Days")


@pytest.mark.r
@pytest.mark.skipif(not has_lme4(), reason="R with lme4 is not on this machine")
def test_models_without_fixed_effects_are_compared():
    check = mf.crosscheck(mf.lmer("y ~ 0 + (1 | g)", frame()))
    assert set(check.table["software"]) == {"statsmodels", "lme4"}
    assert check.largest < 0.05


def test_models_neither_takes_are_told():
    check = mf.crosscheck(mf.gls("y ~ x", frame()))
    assert check.table.empty
    assert "nlme takes any of them" in repr(check)
