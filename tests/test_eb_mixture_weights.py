"""Mixture weights: optimal by their own certificate, and against another solver."""

import numpy as np
import pytest
from scipy import optimize

import mixedfit as mf
from mixedfit.eb.mixture_weights import maximise_weights, maximise_weights_in_chunks
from mixedfit.eb.other_priors import _alike

RNG = np.random.default_rng(11)
TRUTH = RNG.choice([-2.0, 0.0, 3.0], size=400, p=[0.3, 0.5, 0.2])
S = RNG.uniform(0.5, 1.5, 400)
Y = TRUTH + S * RNG.standard_normal(400)
GRID = np.linspace(-5.0, 6.0, 60)
L = np.exp(-0.5 * ((Y[:, None] - GRID) / S[:, None]) ** 2) / S[:, None]


def test_the_solution_is_optimal():
    solved = maximise_weights(L)
    gradient = (L / (L @ solved.w)[:, None]).mean(axis=0)
    # Kiefer and Wolfowitz: no direction goes up, and where there is weight it is level.
    assert gradient.max() <= 1.0 + 1e-8
    np.testing.assert_allclose(gradient[solved.w > 1e-4], 1.0, atol=1e-4)
    np.testing.assert_allclose(solved.w.sum(), 1.0)
    assert (solved.w >= 0.0).all()
    np.testing.assert_allclose(solved.gap, 400 * max(gradient.max() - 1.0, 0.0), atol=1e-9)


def test_another_solver_finds_nothing_higher():
    solved = maximise_weights(L)
    found = optimize.minimize(
        lambda w: -np.log(L @ w).sum(),
        np.full(60, 1 / 60),
        jac=lambda w: -(L / (L @ w)[:, None]).sum(axis=0),
        bounds=[(0.0, 1.0)] * 60,
        constraints=[{"type": "eq", "fun": lambda w: w.sum() - 1.0}],
        method="SLSQP",
        options={"maxiter": 500, "ftol": 1e-12},
    )
    assert np.log(L @ solved.w).sum() >= -found.fun - 1e-6


def test_counts_are_repetitions():
    counts = RNG.integers(1, 4, 400).astype(float)
    repeated = maximise_weights(np.repeat(L, counts.astype(int), axis=0))
    counted = maximise_weights(L, counts=counts)
    np.testing.assert_allclose(counted.w, repeated.w, atol=1e-5)


def test_scaling_rows_and_a_start_change_nothing():
    plain = maximise_weights(L)
    scaled = maximise_weights(L * RNG.uniform(0.01, 100.0, 400)[:, None], start=plain.w)
    value = np.log(L @ plain.w).sum()
    np.testing.assert_allclose(np.log(L @ scaled.w).sum(), value, atol=1e-6)


def test_in_chunks_it_is_the_same(monkeypatch):
    monkeypatch.setattr("mixedfit.eb.mixture_weights._HELD", 0)
    monkeypatch.setattr("mixedfit.eb.mixture_weights._CHUNK", 5000)

    def densities(rows, columns):
        return L[rows] if columns is None else L[rows][:, columns]

    def compressed():
        y, s, counts = _alike(Y, S)
        return np.exp(-0.5 * ((y[:, None] - GRID) / s[:, None]) ** 2) / s[:, None], counts

    solved = maximise_weights_in_chunks(densities, 400, 60, compressed)
    whole = maximise_weights(L)
    assert solved.gap <= 1e-4
    assert abs(np.log(L @ solved.w).sum() - np.log(L @ whole.w).sum()) <= 1e-4


@pytest.mark.slow
def test_a_million_units_are_certified():
    rng = np.random.default_rng(0)
    truth = np.where(rng.random(200_000) < 0.8, 0.0, rng.normal(0.0, 2.0, 200_000))
    se = rng.uniform(0.5, 1.5, 200_000)
    result = mf.eb.normal_means(truth + se * rng.standard_normal(200_000), se, prior="npmle")
    assert "within" in result.notes[0]
    assert ((result.posterior["mean"] - truth) ** 2).mean() < 0.5
