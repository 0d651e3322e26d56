from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student

import mixedfit as mf
from mixedfit.fit import refit
from mixedfit.predict import prediction_rows
from mixedfit.prediction_intervals import prediction_variance

from . import references
from .cases import frame


def test_the_parts() -> None:
    fit = mf.lmer("Reaction ~ Days + (Days | Subject)", references.data("sleepstudy"))
    new = pd.DataFrame({"Days": [4.0, 4.0], "Subject": ["308", "none"]})
    rows = prediction_rows(fit.fit.design, new, "all", "population", every=True)
    mean = prediction_variance(fit.fit, rows, "confidence")
    observation = prediction_variance(fit.fit, rows, "prediction")
    np.testing.assert_allclose(observation.joint, mean.joint)
    np.testing.assert_allclose(observation.residual, fit.scale)
    assert not mean.residual.any()
    assert not mean.effects.any()
    z = np.array([1.0, 4.0])
    C = fit.varcorr.cov["Subject"].to_numpy()
    np.testing.assert_allclose(observation.effects, [0.0, z @ C @ z])
    # without its level a row's mean has the variance of the fixed part alone
    assert mean.joint[1] == pytest.approx(z @ fit.cov_params().to_numpy() @ z)
    assert mean.covariances[0] > 0.0
    weighted = prediction_variance(fit.fit, rows, "prediction", np.array([1.0, 4.0]))
    np.testing.assert_allclose(weighted.residual, fit.scale / np.array([1.0, 4.0]))


def test_satterthwaites_degrees_of_freedom() -> None:
    # with all levels new, the mean of a balanced one-way layout has exactly J - 1
    rng = np.random.default_rng(0)
    g = np.repeat(np.arange(7), 5)
    data = pd.DataFrame({"g": g, "y": 3.0 * rng.standard_normal(7)[g] + rng.standard_normal(35)})
    fit = mf.lmer("y ~ 1 + (1 | g)", data)
    rows = prediction_rows(fit.fit.design, {"g": [99]}, "all", "population", every=True)
    assert prediction_variance(fit.fit, rows, "confidence").df[0] == pytest.approx(6.0, rel=1e-6)
    got = fit.predict({"g": [99]}, new_levels="population", interval="confidence", level=0.9)
    table = fit.coef_table()
    half = student.ppf(0.95, 6.0) * table["se"][0]
    np.testing.assert_allclose(
        got[["lower", "upper"]], [[table["estimate"][0] - half, table["estimate"][0] + half]]
    )


def test_the_table() -> None:
    data = references.data("sleepstudy")
    fit = mf.lmer("Reaction ~ Days + (Days | Subject)", data)
    new = data.iloc[[3, 50]].copy()
    new.loc[new.index[1], "Days"] = np.nan
    got = fit.predict(new, interval="prediction")
    assert list(got.columns) == ["estimate", "se", "lower", "upper"]
    assert got.index.equals(new.index)
    assert got.iloc[1].isna().all()
    assert got["estimate"].iloc[0] == pytest.approx(fit.predict(new).iloc[0])
    own = fit.predict(interval="confidence")
    np.testing.assert_allclose(own["estimate"], fit.fittedvalues)
    assert (own["se"] > 0.0).all()
    wider = fit.predict(interval="confidence", level=0.99)
    assert (wider["upper"] > own["upper"]).all()
    prediction = fit.predict(interval="prediction")
    assert (prediction["se"] > own["se"]).all()


def test_groups_left_out_are_averaged_over_or_new() -> None:
    data = frame()
    fit = mf.lmer("y ~ x + (1 | g) + (1 | h)", data)
    new = data.iloc[:5]
    all_new = new.assign(g=99, h=99)
    for interval in ("confidence", "prediction"):
        none = fit.predict(new, groups="none", interval=interval)
        unseen = fit.predict(all_new, new_levels="population", interval=interval)
        pd.testing.assert_frame_equal(none, unseen)
        one = fit.predict(new, groups=["g"], interval=interval)
        other = fit.predict(new.assign(h=99), new_levels="population", interval=interval)
        pd.testing.assert_frame_equal(one, other)
    with pytest.raises(mf.DataError, match="'g' has levels the fit did not have"):
        fit.predict(all_new, interval="confidence")


def test_weights_of_the_fits_rows_count() -> None:
    data = frame()
    fit = mf.lmer("y ~ x + (1 | g)", data, weights="w")
    se = fit.predict(interval="prediction")["se"]
    mean = fit.predict(interval="confidence")["se"]
    np.testing.assert_allclose(se**2 - mean**2, fit.scale / data["w"], rtol=1e-8)
    fresh = fit.predict(data, interval="prediction")["se"]
    np.testing.assert_allclose(fresh**2 - mean**2, fit.scale, rtol=1e-8)


def test_a_shift_and_a_scale_of_the_response() -> None:
    data = frame()
    fit = mf.lmer("y ~ x + (x | g)", data)
    big = mf.lmer("y ~ x + (x | g)", data.assign(y=1e6 + 1e3 * data["y"]))
    for interval in ("confidence", "prediction"):
        small = fit.predict(interval=interval)
        np.testing.assert_allclose(
            big.predict(interval=interval), 1e3 * small + [1e6, 0.0, 1e6, 1e6], rtol=1e-6
        )


def test_at_the_boundary() -> None:
    fit = mf.lmer("Yield ~ 1 + (1 | Batch)", references.data("dyestuff2"))
    got = fit.predict(interval="prediction")
    assert np.isfinite(got).all(axis=None)


@pytest.mark.parametrize("formula", ["y ~ x + (1 | g)", "y ~ x + (x | g)"])
def test_coverage(formula: str) -> None:
    # 8 levels with 5 rows each: the covariances are poorly known
    rng = np.random.default_rng(11)
    J, k, repeats = 8, 5, 150
    g, x = np.repeat(np.arange(J), k), np.tile(np.linspace(-1.0, 1.0, k), J)
    start = mf.lmer(formula, pd.DataFrame({"g": g, "x": x, "y": rng.standard_normal(J * k)}))
    places = [-0.5, 1.5]
    known = pd.DataFrame({"g": np.repeat(np.arange(J), 2), "x": places * J})
    fresh = pd.DataFrame({"g": [99, 99], "x": places})
    inside: dict[str, list[float]] = {}
    for _ in range(repeats):
        u = rng.standard_normal((J + 1, 2)) * [1.0, 0.7 if "(x" in formula else 0.0]

        def mean(level, at, u=u):
            return 1.0 + 2.0 * at + u[level, 0] + u[level, 1] * at

        fit = mf.MixedResults(refit(start.fit, mean(g, x) + rng.standard_normal(J * k)))
        for label, new, level in (
            ("known", known, known["g"].to_numpy()),
            ("new", fresh, np.array([J, J])),
        ):
            at = new["x"].to_numpy()
            observed = mean(level, at) + rng.standard_normal(len(at))
            for interval, truth in (("confidence", mean(level, at)), ("prediction", observed)):
                if label == "new" and interval == "confidence":
                    truth = 1.0 + 2.0 * at  # noqa: PLW2901  the mean over levels
                ends = fit.predict(new, new_levels="population", interval=interval)
                covered = (ends["lower"] <= truth) & (truth <= ends["upper"])
                inside.setdefault(f"{interval}, {label}", []).append(covered.mean())
    for what, shares in inside.items():
        error = np.std(shares) / np.sqrt(repeats)
        assert np.mean(shares) == pytest.approx(0.95, abs=3.0 * error + 0.01), what


def test_bad_input() -> None:
    fit = mf.lmer("y ~ x + (1 | g)", frame())
    with pytest.raises(mf.ModelError, match="None, 'confidence' or 'prediction', not 'mean'"):
        fit.predict(interval="mean")
    with pytest.raises(mf.ModelError, match="between 0 and 1"):
        fit.predict(interval="confidence", level=95)
