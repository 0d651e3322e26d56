"""Priors other than the normal: Bayes' rule by quadrature, draws, centres."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

import mixedfit as mf
from mixedfit.eb.other_priors import _alike
from tests.eb_cases import OTHERS, sparse


@pytest.mark.parametrize("prior", OTHERS)
def test_posteriors_are_bayes_rule(prior):
    _, y, se = sparse()
    result = mf.eb.normal_means(y, se, prior=prior)
    atoms = result.components.query("weight > 1e-7")
    if prior == "t":
        atoms = pd.DataFrame({"weight": [1.0], "mean": [0.0], "sd": [100 * result.prior["scale"]]})
    centre = result.predict()["estimate"][0]

    def marginal(g):
        """Integral of g(theta) against prior and likelihood of unit 0."""
        total = 0.0
        for row in atoms.itertuples():
            if hasattr(row, "sd"):
                low, high, point = row.mean - 9 * row.sd, row.mean + 9 * row.sd, row.sd == 0.0
                law = None if point else stats.norm(row.mean, row.sd).pdf
                if prior == "t":
                    law = stats.t(result.prior["df"], scale=result.prior["scale"]).pdf
                at = row.mean
            elif hasattr(row, "low"):
                low, high, point, at = row.low, row.high, row.low == row.high, row.low
                law = None if point else stats.uniform(row.low, row.high - row.low).pdf
            else:
                point, at, b = row.scale == 0.0, 0.0, row.scale
                side = 1.0 if row.component == "right" else -1.0
                low, high = (0.0, 40 * b) if side > 0 else (-40 * b, 0.0)

                def law(x, side=side, b=b):
                    return np.exp(-side * x / b) / b

            def f(x):
                return g(centre + x) * stats.norm.pdf(y[0] - centre, x, se[0])

            if point:
                total += row.weight * f(at)
            else:
                near = np.clip([y[0] - centre, at, -8.0, 8.0], low, high)
                edges = np.unique(np.concatenate([[low, high], near]))
                total += row.weight * sum(
                    integrate.quad(lambda x, law=law: f(x) * law(x), a, b, limit=200)[0]
                    for a, b in itertools.pairwise(edges)
                )
        return total

    total = marginal(lambda _: 1.0)
    mean = marginal(lambda x: x) / total
    row = result.posterior.iloc[0]
    np.testing.assert_allclose(row["mean"], mean, atol=1e-4 if prior == "t" else 1e-5)
    variance = marginal(lambda x: (x - mean) ** 2) / total
    np.testing.assert_allclose(row["sd"], np.sqrt(variance), rtol=1e-4)
    np.testing.assert_allclose(row["weight"], variance / se[0] ** 2, rtol=1e-3)


@pytest.mark.parametrize("prior", OTHERS)
def test_draws_and_limits_agree(prior):
    _, y, se = sparse(40)
    result = mf.eb.normal_means(y, se, prior=prior)
    draws = result.sample(4000, seed=1).to_numpy()
    error = result.posterior["sd"].to_numpy() / np.sqrt(4000)
    assert (np.abs(draws.mean(axis=0) - result.posterior["mean"]) < 5 * error + 1e-9).all()
    low, high = result.posterior["lower"].to_numpy(), result.posterior["upper"].to_numpy()
    assert ((draws < low - 1e-9).mean(axis=0) <= 0.025 + 0.012).all()
    assert ((draws > high + 1e-9).mean(axis=0) <= 0.025 + 0.012).all()
    assert ((draws <= low + 1e-9).mean(axis=0) >= 0.025 - 0.012).all()
    signs = np.minimum((draws <= 0).mean(axis=0), (draws >= 0).mean(axis=0))
    np.testing.assert_allclose(signs, result.posterior["lfsr"], atol=0.045)


@pytest.mark.parametrize("prior", OTHERS)
def test_every_prior_beats_the_normal_on_sparse_units(prior):
    raw = shrunk = normal = 0.0
    for seed in range(3):
        truth, y, se = sparse(1000, seed)
        raw += ((y - truth) ** 2).sum()
        shrunk += ((mf.eb.normal_means(y, se, prior=prior).posterior["mean"] - truth) ** 2).sum()
        normal += ((mf.eb.normal_means(y, se).posterior["mean"] - truth) ** 2).sum()
    assert shrunk < normal < raw


def test_richer_priors_fit_at_least_as_well():
    _, y, se = sparse()
    llf = {p: mf.eb.normal_means(y, se, prior=p).llf for p in OTHERS}
    assert llf["npmle"] > llf["unimodal"] > llf["scale-mixture"] - 0.1
    assert llf["point-laplace"] >= mf.eb.normal_means(y, se, prior="laplace", mode=0).llf - 1e-6
    assert llf["scale-mixture"] > llf["point-normal"] - 0.1


@pytest.mark.parametrize("prior", ["point-normal", "laplace", "point-laplace", "t"])
def test_a_centre_is_a_regression(prior):
    truth, y, se = sparse(600)
    x = np.linspace(-1.0, 1.0, 600)
    result = mf.eb.normal_means(y + 5.0 + 2.0 * x, se, prior=prior, X=x)
    b = result.coefficients.set_index("term")
    assert abs(b.loc["Intercept", "estimate"] - 5.0) < 4 * b.loc["Intercept", "se"] < 0.6
    assert abs(b.loc["x1", "estimate"] - 2.0) < 4 * b.loc["x1", "se"] < 1.0
    risk = ((result.posterior["mean"] - truth - 5.0 - 2.0 * x) ** 2).mean()
    assert risk < 0.7 * (se**2).mean()


@pytest.mark.parametrize("prior", ["point-normal", "point-laplace", "scale-mixture", "unimodal"])
def test_the_mode_moves_with_the_data(prior):
    _, y, se = sparse(100)
    plain = mf.eb.normal_means(y, se, prior=prior)
    moved = mf.eb.normal_means(y + 7.0, se, prior=prior, mode=7.0)
    np.testing.assert_allclose(moved.posterior["mean"] - 7.0, plain.posterior["mean"], atol=1e-4)
    assert (moved.posterior["lfsr"] < 0.5).all()


def test_a_prior_without_spread_is_a_result():
    y = np.tile([0.1, -0.1], 20)
    result = mf.eb.normal_means(y, 1.0, prior="point-normal")
    np.testing.assert_allclose(result.posterior["mean"], 0.0, atol=1e-2)
    npmle = mf.eb.normal_means(np.full(10, 2.0), 1.0, prior="npmle")
    np.testing.assert_allclose(npmle.posterior["mean"], 2.0)


def test_rows_that_stand_for_others_keep_sums():
    rng = np.random.default_rng(11)
    S = rng.uniform(0.5, 1.5, 400)
    Y = rng.choice([-2.0, 0.0, 3.0], 400) + S * rng.standard_normal(400)
    y, s, counts = _alike(Y, S)
    np.testing.assert_allclose(counts.sum(), 400)
    np.testing.assert_allclose(counts @ y, Y.sum())
    np.testing.assert_allclose(counts @ s, S.sum())
    alike = _alike(np.array([1.0, 1.0 + 1e-9, 5.0]), np.full(3, 0.5))
    np.testing.assert_allclose(alike[2], [2, 1])
