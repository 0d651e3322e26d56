"""Checks of options that many calls share, and the calls that make them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

import mixedfit as mf
from mixedfit.errors import check_count, check_level


@cache
def sleepstudy() -> mf.MixedResults:
    return mf.lmer("Reaction ~ Days + (1 | Subject)", mf.datasets.load("sleepstudy"))


@cache
def means() -> mf.eb.Shrinkage:
    return mf.eb.normal_means([1.0, 2.0, 4.0], 1.0)


LEVELS: dict[str, Callable[[Any], Any]] = {
    "conf_int": lambda level: sleepstudy().conf_int(level=level),
    "profile": lambda level: sleepstudy().conf_int(level=level, method="profile"),
    "bootstrap": lambda level: sleepstudy().conf_int(level=level, method="bootstrap", n=5),
    "coef_table": lambda level: sleepstudy().coef_table(level=level),
    "contrast": lambda level: sleepstudy().contrast("Days", level=level),
    "predict": lambda level: sleepstudy().predict(interval="confidence", level=level),
    "emmeans": lambda level: sleepstudy().emmeans("1").to_frame(level=level),
    "normality": lambda level: sleepstudy().diagnostics.acf(level=level),
    "shrinkage": lambda level: sleepstudy().shrinkage("Subject", level=level),
    "normal_means": lambda level: mf.eb.normal_means([1.0, 2.0, 4.0], 1.0, level=level),
    "beta_binomial": lambda level: mf.eb.beta_binomial([1, 2, 4], [9, 9, 9], level=level),
    "rank": lambda level: means().rank(level=level),
}

COUNTS: dict[str, tuple[int, Callable[[Any], Any]]] = {
    "simulate": (1, lambda n: sleepstudy().simulate(n)),
    "bootstrap": (2, lambda n: sleepstudy().bootstrap(n=n)),
    "scaled": (20, lambda n: sleepstudy().diagnostics.scaled(n=n)),
    "variance_test": (100, lambda n: sleepstudy().variance_test(n=n)),
    "max_lag": (1, lambda n: sleepstudy().diagnostics.acf(max_lag=n)),
    "Bootstrap": (2, lambda n: mf.eb.Bootstrap(n=n)),
    "Integrate": (11, lambda n: mf.eb.Integrate(points=n)),
    "sample": (1, lambda n: means().sample(n)),
    "rank": (1, lambda n: means().rank(n=n)),
    "Control": (1, lambda n: mf.Control(max_evaluations=n)),
}


@pytest.mark.parametrize("level", [95, 0.0, 1.0, "0.95"])
@pytest.mark.parametrize("name", LEVELS)
def test_a_level_is_a_probability(name: str, level: Any) -> None:
    with pytest.raises(mf.ModelError, match="level must be a number between 0 and 1"):
        LEVELS[name](level)


@pytest.mark.parametrize("count", [0, -3, 2.5, "many"])
@pytest.mark.parametrize("name", COUNTS)
def test_counts_are_whole_numbers_and_large_enough(name: str, count: Any) -> None:
    least, call = COUNTS[name]
    with pytest.raises(mf.ModelError, match=f"must be a whole number of at least {least}, not"):
        call(count)


def test_what_passes_comes_back_as_a_number() -> None:
    assert check_level(np.float64(0.9)) == 0.9
    assert check_count(np.int64(7), 7) == 7


def test_every_error_is_a_value_error_of_ours() -> None:
    for kind in (mf.FormulaError, mf.DataError, mf.ModelError):
        assert issubclass(kind, mf.MixedfitError)
        assert issubclass(kind, ValueError)


@pytest.mark.parametrize(
    "call",
    [
        lambda: sleepstudy().conf_int(parameters=3),
        lambda: sleepstudy().profile(parameters=["sigma", 3]),
        lambda: sleepstudy().emmeans(None),
        lambda: sleepstudy().emmeans("1", by=3),
        lambda: sleepstudy().emmeans("1").contrast("eff", by=[None]),
        lambda: sleepstudy().emtrends("1", ["Days"]),
    ],
)
def test_names_are_text(call: Callable[[], Any]) -> None:
    with pytest.raises(mf.ModelError, match="name"):
        call()
