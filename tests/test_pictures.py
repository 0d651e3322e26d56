from __future__ import annotations

from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import mixedfit as mf
from mixedfit.errors import DataError, ModelError


@pytest.fixture(autouse=True)
def _no_windows() -> Iterator[None]:
    plt.switch_backend("Agg")
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def sleep() -> mf.MixedResults:
    return mf.lmer("Reaction ~ Days + (Days | Subject)", mf.datasets.load("sleepstudy"))


@pytest.fixture(scope="module")
def rats() -> mf.MixedResults:
    return mf.lmer("weight ~ Time * Diet + (1 | Rat)", mf.datasets.load("bodyweight"))


def test_axes_are_labelled_in_the_words_of_the_data(
    sleep: mf.MixedResults, rats: mf.MixedResults
) -> None:
    time = mf.datasets.load("bodyweight")["Time"]
    labels = {
        ax.figure.canvas.draw() or (ax.get_xlabel(), ax.get_ylabel())
        for ax in (
            sleep.plot.residuals(),
            sleep.plot.qq("Subject", "Days"),
            sleep.plot.caterpillar(term="Days", level=0.9),
            sleep.plot.shrinkage(),
            sleep.plot.shrinkage(terms="Days"),
            sleep.plot.influence("Subject"),
            sleep.plot.fitted("Days"),
            rats.plot.acf("Rat", max_lag=5),
            rats.plot.semivariogram(time),
        )
    }
    assert labels == {
        ("Fitted Reaction", "Residual (Reaction)"),
        ("Standard normal quantile", "Standardised Days of Subject"),
        ("Random effect Days (Reaction per unit of Days), 90% intervals", "Subject"),
        ("Intercept (Reaction)", "Days (Reaction per unit of Days)"),
        ("Days (Reaction per unit of Days)", "Subject"),
        ("Subject left out", "Cook's distance"),
        ("Days", "Reaction"),
        ("Lag (rows)", "Autocorrelation of residuals"),
        ("Distance (Time)", "Semivariance of Pearson residuals"),
    }


def test_the_caterpillar_shows_effects_and_their_intervals(sleep: mf.MixedResults) -> None:
    ax = sleep.plot.caterpillar()
    effects = sleep.ranef(sd=True)["Subject"].sort_values("Intercept")
    drawn = np.sort(np.concatenate([line.get_xdata() for line in ax.lines[1:]]))
    np.testing.assert_allclose(drawn, effects["Intercept"])
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == effects.index.tolist()


def test_other_pictures_draw(sleep: mf.MixedResults) -> None:
    _, ax = plt.subplots()
    assert sleep.plot.scale_location(ax=ax) is ax
    assert sleep.plot.qq(ax=ax) is ax
    assert sleep.plot.scaled(seed=1).get_xlabel() == "Fitted Reaction (rank)"
    assert sleep.plot.scaled(seed=1, effects="fitted").get_ylabel() == "Scaled residual"
    assert sleep.plot.influence(measure="leverage").get_ylabel() == "Leverage"
    assert sleep.plot.influence(np.arange(180) % 7).get_xlabel() == "group left out"


def test_a_profile_made_before_is_drawn(sleep: mf.MixedResults) -> None:
    zeta = np.linspace(-3.0, 3.0, 9)
    frame = pd.DataFrame({"parameter": "sigma", "value": 25.6 * np.exp(0.05 * zeta), "zeta": zeta})
    assert sleep.plot.profile("sigma", frame).get_xlabel() == "sigma (Reaction)"
    with pytest.raises(DataError, match="no parameter 'Days'; it has 'sigma'"):
        sleep.plot.profile("Days", frame)


def test_a_profile_is_made_where_none_is_given(sleep: mf.MixedResults) -> None:
    ax = sleep.plot.profile("sd[Subject, Days]")
    assert ax.get_xlabel() == "sd[Subject, Days] (Reaction per unit of Days)"
    ends = sleep.conf_int(0.95, method="profile").loc["sd[Subject, Days]"]
    drawn = sorted(float(line.get_xdata()[0]) for line in ax.lines)
    for end in ends:
        assert np.abs(np.array(drawn) - end).min() < 2e-3 * end


def test_nested_levels_are_named_by_both_factors() -> None:
    fit = mf.lmer("strength ~ 1 + (1 | batch/cask)", mf.datasets.load("pastes"))
    ax = fit.plot.caterpillar("batch:cask")
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert len(names) == 30
    assert all(":" in name for name in names)
    ax = fit.plot.shrinkage("batch")
    assert ax.get_xlabel() == "Intercept (strength)"


def test_what_is_not_there_is_said(sleep: mf.MixedResults) -> None:
    with pytest.raises(DataError, match=r"'Subjekt' is no grouping factor; this fit has"):
        sleep.plot.caterpillar("Subjekt")
    with pytest.raises(DataError, match="'Day' is no random effect of 'Subject'"):
        sleep.plot.caterpillar("Subject", "Day")
    with pytest.raises(ModelError, match="level must be a number between 0 and 1"):
        sleep.plot.caterpillar(level=95)
    with pytest.raises(DataError, match="'Age' is no column of this model; it has Days"):
        sleep.plot.fitted("Age")
    with pytest.raises(DataError, match="measure must be one of"):
        sleep.plot.influence(measure="dffits")
    with pytest.raises(DataError, match="'Age' is none of the effects of 'Subject'"):
        sleep.plot.qq("Subject", "Age")
    with pytest.raises(DataError, match="one or two effects"):
        sleep.plot.shrinkage(terms=("Intercept", "Days", "Days"))  # type: ignore[arg-type]


def test_words_of_the_data_are_drawn_as_they_stand() -> None:
    data = mf.datasets.load("sleepstudy")
    data["US$ or C$"] = data.pop("Days").astype(float)
    data["Subject"] = "$" + data["Subject"].astype(str) + "$_{"
    fit = mf.lmer("Reaction ~ `US$ or C$` + (1 | Subject)", data)
    frame = fit.profile(parameters="US$ or C$").to_frame()
    for ax in (
        fit.plot.profile("US$ or C$", frame),
        fit.plot.fitted("US$ or C$"),
        fit.plot.caterpillar(),
        fit.plot.influence("Subject"),
        fit.plot.residuals(),
    ):
        ax.figure.canvas.draw()
        words = [ax.xaxis.label, ax.yaxis.label, *ax.texts]
        words += [tick for tick in ax.get_xticklabels() + ax.get_yticklabels() if "_{" in str(tick)]
        assert not any(word.get_parse_math() for word in words)


def test_parameters_have_the_unit_of_their_column() -> None:
    data = mf.datasets.load("sleepstudy")
    late = "late, or not"
    data[late] = (data["Days"] > 4).astype(float)
    fit = mf.lmer(f"Reaction ~ 1 + (0 + `{late}` | Subject)", data)
    frame = pd.DataFrame({"value": [1.0, 2.0, 3.0], "zeta": [-1.0, 0.0, 1.0]})
    name = f"sd[Subject, {late}]"
    ax = fit.plot.profile(name, frame.assign(parameter=name))
    assert ax.get_xlabel() == f"{name} (Reaction per unit of {late})"
    correlated = mf.gls("Reaction ~ 1", data, correlation=mf.CorAR1(form="~ 1 | Subject"))
    ax = correlated.plot.profile("residual[Phi]", frame.assign(parameter="residual[Phi]"))
    assert ax.get_xlabel() == "residual[Phi]"


def test_levels_none_of_which_can_be_left_out_are_told() -> None:
    fit = mf.lmer("score ~ Machine + (1 | Worker)", mf.datasets.load("machines"))
    with pytest.raises(ModelError, match="without any level of 'Machine'"):
        fit.plot.influence(mf.datasets.load("machines")["Machine"])
    assert "99.5% intervals" in fit.plot.caterpillar(level=0.995).get_xlabel()
