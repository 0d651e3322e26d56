"""The result of empirical Bayes: ranks, draws, printing."""

import dataclasses
import pickle

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import mixedfit as mf
from mixedfit.eb.shrinkage import Behaviour
from mixedfit.errors import DataError, ModelError

RESULT = mf.eb.normal_means([1.0, 5.0, 3.0, 2.5], [0.5, 1.0, 2.0, 0.5], labels=list("abcd"))


def test_ranking_is_by_joint_draws():
    table = RESULT.rank(k=1, seed=1).set_index("label")
    draws = RESULT.sample(4000, seed=1)
    best = draws.idxmax(axis=1).value_counts(normalize=True)
    np.testing.assert_allclose(table.loc["b", "p_top"], best["b"])
    np.testing.assert_allclose(table["expected_rank"].sum(), 10.0)


def test_what_is_refused():
    with pytest.raises(DataError, match="k must be"):
        RESULT.rank(k=5)
    with pytest.raises(ModelError, match="n must be"):
        RESULT.sample(0)
    with pytest.raises(ModelError, match="level"):
        RESULT.rank(level=2.0)
    plain = dataclasses.replace(RESULT, behaviour=Behaviour())
    for ask in (plain.sample, plain.predict, plain.prior_sensitivity):
        with pytest.raises(ModelError):
            ask()
    with pytest.raises(ModelError):
        plain.prior_density([0.0])


def test_it_is_frozen_and_prints():
    with pytest.raises(dataclasses.FrozenInstanceError):
        RESULT.llf = 0.0
    assert repr(RESULT).startswith("<Shrinkage normal, normal prior, 4 units, reml, tau2=")
    text = str(RESULT.summary())
    for part in ("tau2", "Intercept", "Heterogeneity", "95% intervals", "weight"):
        assert part in text
    assert "<table>" in RESULT._repr_html_()
    assert "tabular" in RESULT.summary().as_latex()


def test_long_tables_are_cut():
    many = mf.eb.normal_means(np.arange(30.0), 1.0)
    assert "and 18 more units" in str(many.summary())


def test_the_prior_has_a_density():
    x = np.linspace(-60, 60, 20_001)
    for prior, mass in (("normal", 1.0), ("laplace", 1.0), ("t", 1.0)):
        result = mf.eb.normal_means([1.0, 5.0, -3.0, 2.5], 0.5, prior=prior)
        total = np.trapezoid(result.prior_density(x), x)
        np.testing.assert_allclose(total, mass, atol=0.02)
    spiked = mf.eb.normal_means([0.1, 5.0, -0.3, 0.2, 0.0], 0.5, prior="point-normal")
    total = np.trapezoid(spiked.prior_density(x), x)
    np.testing.assert_allclose(total, 1.0 - spiked.prior["pi0"], atol=0.02)


@pytest.mark.parametrize("prior", ["normal", "point-laplace", "npmle"])
def test_results_travel_between_processes(prior):
    result = mf.eb.normal_means([1.0, 5.0, -3.0, 2.5], 0.5, prior=prior)
    again = pickle.loads(pickle.dumps(result))
    pd.testing.assert_frame_equal(again.posterior, result.posterior)
    pd.testing.assert_frame_equal(again.sample(3, seed=0), result.sample(3, seed=0))
    pd.testing.assert_frame_equal(again.predict(), result.predict())


def test_area_results_travel_too():
    frame = {"y": [1.0, 3.0, 2.0, 5.0], "x": [0.0, 1.0, 0.0, 2.0], "se": [0.5] * 4}
    result = mf.eb.fay_herriot("y ~ x", frame, "se")
    again = pickle.loads(pickle.dumps(result))
    pd.testing.assert_frame_equal(again.predict({"x": [1.0]}), result.predict({"x": [1.0]}))


def test_the_prior_has_points():
    spiked = mf.eb.normal_means([0.1, 5.0, -0.3, 0.2, 0.0], 0.5, prior="point-normal", mode=0.1)
    places, masses = spiked.behaviour.prior_points()
    assert places.tolist() == [0.1]
    np.testing.assert_allclose(masses, spiked.prior["pi0"])
    npmle = mf.eb.normal_means([0.1, 5.0, -0.3, 0.2, 0.0], 0.5, prior="npmle")
    np.testing.assert_allclose(npmle.behaviour.prior_points()[1].sum(), 1.0)
    pooled = mf.eb.normal_means([1.0, 1.1, 0.9], 1.0)
    np.testing.assert_allclose(pooled.behaviour.prior_points(), [[1.0], [1.0]])
    assert len(RESULT.behaviour.prior_points()[0]) == 0
    moved = mf.eb.normal_means(np.arange(9.0), 1.0, prior="laplace", X=np.arange(9.0) ** 2)
    with pytest.raises(ModelError, match="covariates"):
        moved.prior_density([0.0])
    centred = mf.eb.normal_means([0.1, 5.0, -0.3, 0.2], 0.5, prior="laplace")
    for result in (spiked, npmle, pooled, centred):
        assert len(result.plot.prior().figure.axes) >= 1
        plt.close("all")


def test_units_that_are_equal_in_a_draw_share_their_ranks():
    pooled = mf.eb.normal_means([1.0, 1.1, 0.9, 1.05], 1.0)
    assert pooled.prior["tau2"] == 0.0
    table = pooled.rank()
    np.testing.assert_allclose(table["p_top"], 0.25, atol=0.03)
    np.testing.assert_allclose(table["expected_rank"], 2.5, atol=0.1)
    fit = mf.lmer("Yield ~ 1 + (1 | Batch)", mf.datasets.load("dyestuff2"))
    np.testing.assert_allclose(fit.rank("Batch")["p_top"], 1 / 6, atol=0.03)


def test_what_cannot_be_ranked_is_refused_before_anything_is_drawn():
    class Undrawn(Behaviour):
        def sample(self, n, rng):
            raise AssertionError

    many = dataclasses.replace(RESULT, behaviour=Undrawn())
    for k in (0, 5, 1.5):
        with pytest.raises((DataError, ModelError), match="k must be"):
            many.rank(k=k)
    with pytest.raises(DataError, match="draws of 4 units are too many"):
        many.rank(n=100_000_000)


def test_too_many_ranks_are_refused_before_they_are_made(monkeypatch):
    monkeypatch.setattr("mixedfit.eb.ranking._LARGEST", 10)
    with pytest.raises(DataError, match="at most 2 draws"):
        RESULT.rank(n=4)
