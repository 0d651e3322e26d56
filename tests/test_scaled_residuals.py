from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import mixedfit as mf
from mixedfit.errors import ModelError


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    g = np.repeat(np.arange(40), 8)
    x = rng.standard_normal(320)
    y = 1.0 + x + rng.standard_normal(40)[g] + rng.standard_normal(320)
    return pd.DataFrame({"y": y, "x": x, "g": g})


def test_residuals_of_the_right_model_are_uniform(data: pd.DataFrame) -> None:
    found = mf.lmer("y ~ x + (1 | g)", data).diagnostics.scaled(seed=1)
    assert ((found.residuals > 0.0) & (found.residuals < 1.0)).all()
    assert found.residuals.index.equals(data.index)
    assert (found.tests["p"] > 0.05).all()
    within = mf.lmer("y ~ x + (1 | g)", data).diagnostics.scaled(seed=1, effects="fitted")
    assert stats.kstest(within.residuals, "uniform").pvalue > 0.05
    assert "held at their predictions" in repr(within)


def test_a_seed_gives_the_same_residuals(data: pd.DataFrame) -> None:
    fit = mf.lmer("y ~ x + (1 | g)", data)
    one, other = fit.diagnostics.scaled(n=50, seed=3), fit.diagnostics.scaled(n=50, seed=3)
    pd.testing.assert_series_equal(one.residuals, other.residuals)
    pd.testing.assert_frame_equal(one.tests, other.tests)


def test_a_heavy_tailed_response_is_found_out(data: pd.DataFrame) -> None:
    rng = np.random.default_rng(6)
    heavy = data.assign(y=data["x"] + 0.3 * rng.standard_t(2, len(data)))
    tests = mf.lmer("y ~ x + (1 | g)", heavy).diagnostics.scaled(seed=1).tests.set_index("test")
    assert tests.loc["uniformity", "p"] < 0.01
    assert tests.loc["outliers", "statistic"] > tests.loc["outliers", "expected"]


def test_the_tests_hold_their_level_with_correlated_rows() -> None:
    """Few groups with a large variance: an ordinary Kolmogorov test rejects most of the time."""
    rng = np.random.default_rng(7)
    g = np.repeat(np.arange(10), 20)
    p, naive = [], []
    for _ in range(60):
        y = 3.0 * rng.standard_normal(10)[g] + rng.standard_normal(200)
        fit = mf.lmer("y ~ 1 + (1 | g)", pd.DataFrame({"y": y, "g": g}))
        found = fit.diagnostics.scaled(n=99, seed=rng)
        p.append(found.tests["p"].to_numpy())
        naive.append(stats.kstest(found.residuals, "uniform").pvalue)
    assert (np.mean(np.array(p) < 0.05, axis=0) <= 0.1).all()
    assert np.mean(np.array(naive) < 0.05) > 0.1


def test_weights_scale_the_simulations(data: pd.DataFrame) -> None:
    rng = np.random.default_rng(8)
    w = np.where(np.arange(len(data)) % 2 == 0, 1.0, 100.0)
    y = data["x"] + rng.standard_normal(len(data)) / np.sqrt(w) + rng.standard_normal(40)[data["g"]]
    weighted = data.assign(y=y, w=w)
    fit = mf.lmer("y ~ x + (1 | g)", weighted, weights="w")
    values = fit.diagnostics.scaled(seed=1, effects="fitted").residuals
    assert stats.kstest(values[w > 1.0], "uniform").pvalue > 0.01
    assert stats.kstest(values[w == 1.0], "uniform").pvalue > 0.01


def test_impossible_requests_are_refused(data: pd.DataFrame) -> None:
    fit = mf.lmer("y ~ x + (1 | g)", data)
    with pytest.raises(ModelError, match="effects must be 'new' or 'fitted', not 'old'"):
        fit.diagnostics.scaled(effects="old")  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="at least 20"):
        fit.diagnostics.scaled(n=5)
    with pytest.raises(ModelError, match="do not fit in memory"):
        fit.diagnostics.scaled(n=10_000_000)
