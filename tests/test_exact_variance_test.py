import numpy as np
import pandas as pd
import pytest

import mixedfit as mf
from mixedfit.errors import MixedfitError, ModelError
from mixedfit.exact_variance_test import null_draws
from mixedfit.variance_tests import without_effects
from tests.references import lmer


def _unbalanced(seed=0):
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(7), [2, 3, 3, 4, 6, 8, 9])
    return pd.DataFrame({"g": g, "x": rng.standard_normal(35), "y": rng.standard_normal(35)})


@pytest.mark.parametrize("method", ["REML", "ML"])
def test_draws_have_the_distribution_of_refits(method):
    """The spectral representation against fits to responses without group effects."""
    data = _unbalanced()
    first = mf.lmer("y ~ x + (1 | g)", data, method=method)
    draws = first.variance_test(n=20_000, seed=1).draws
    rng = np.random.default_rng(2)
    statistics = []
    for _ in range(500):
        fit = first.refit(rng.standard_normal(35)).fit
        statistics.append(max(without_effects(fit).fun - fit.optimum.fun, 0.0))
    statistics = np.array(statistics)
    for threshold in (1e-6, 0.5, 1.5, 3.0):
        expected = (draws > threshold).mean()
        error = 3.0 * np.sqrt(expected * (1 - expected) / 500)
        assert abs((statistics > threshold).mean() - expected) < error


def test_with_many_levels_it_is_the_mixture():
    eigenvalues = np.full(3000, 5.0)
    draws = null_draws(eigenvalues, None, 20_000, 1, 20_000, np.random.default_rng(3))
    assert (draws == 0.0).mean() == pytest.approx(0.5, abs=0.02)
    # The upper decile of half a chi-squared with one degree of freedom: P(z^2 > 1.642) = 0.2.
    assert (draws > 1.642).mean() == pytest.approx(0.1, abs=0.01)


def test_the_supremum_is_found():
    rng = np.random.default_rng(4)
    mu = rng.uniform(1.0, 20.0, 12)
    draws = null_draws(mu, None, 60, 2, 1, np.random.default_rng(5))
    w = np.random.default_rng(5)
    w2, rest = w.chisquare(np.ones(12), (1, 12))[0], w.chisquare(60 - 2 - 12, 1)[0]
    mu = np.sort(mu)
    best = 0.0
    for value in np.geomspace(1e-6, 1e4, 200_001) / mu.mean():
        d = (w2 / (1 + value * mu)).sum() + rest
        best = max(best, 58 * np.log((w2.sum() + rest) / d) - np.log1p(value * mu).sum())
    np.testing.assert_allclose(draws, best, atol=1e-4)


def test_an_effect_that_is_there_is_found():
    test = lmer("lmer_dyestuff_reml").variance_test(seed=1)
    assert test.method == "REML"
    assert test.statistic == pytest.approx(6.36896, abs=1e-4)
    # By its limit 0.0058: with six batches the exact value is smaller.
    assert 0.002 < test.p < 0.0055
    assert test.p_mixture == pytest.approx(0.005807, abs=1e-5)
    assert "draws" not in repr(test)


def test_no_variance_is_no_evidence():
    assert lmer("lmer_dyestuff2_reml").variance_test(seed=1).p == 1.0


def test_only_one_variance_component_is_tested_exactly():
    with pytest.raises(ModelError, match=r"ranova\(\) tests each effect"):
        lmer("lmer_sleep_slope_reml").variance_test()
    with pytest.raises(MixedfitError, match="whole number of at least 100"):
        lmer("lmer_dyestuff_reml").variance_test(n=10)


def test_the_model_that_cannot_be_tested_is_described():
    data = mf.datasets.load("orthodont")
    line = mf.gls("distance ~ age", data)
    with pytest.raises(ModelError, match="this one has no random effects"):
        line.variance_test()
    ar1 = mf.CorAR1(form="~ 1 | Subject")
    with pytest.raises(ModelError, match=r"this one has \(1 \| Subject\), CorAR1"):
        mf.lme("distance ~ age", "~ 1 | Subject", data, correlation=ar1).variance_test()
