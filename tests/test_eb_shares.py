"""Dirichlet-multinomial: two categories, derivatives, pooling, bad input."""

import numpy as np
import pytest
from scipy import stats

import mixedfit as mf
from mixedfit.eb.shares import _derivatives, _value
from mixedfit.errors import DataError, ModelError
from tests.eb_cases import SALES, VISITS


def test_two_categories_are_a_beta_binomial():
    beta = mf.eb.beta_binomial(SALES, VISITS)
    result = mf.eb.dirichlet_multinomial(np.column_stack([SALES, VISITS - SALES]))
    np.testing.assert_allclose(result.prior, beta.prior[["alpha", "beta", "rho"]], rtol=1e-6)
    np.testing.assert_allclose(result.prior_se, beta.prior_se[["alpha", "beta", "rho"]], rtol=1e-5)
    assert result.llf == pytest.approx(beta.llf)
    first = result.posterior[result.posterior["category"] == "1"]
    for column in ("mean", "sd", "lower", "upper", "weight"):
        np.testing.assert_allclose(first[column], beta.posterior[column], rtol=1e-5)


def test_shares_have_exact_derivatives_and_the_textbook_likelihood():
    rng = np.random.default_rng(2)
    y = rng.multinomial(20, rng.dirichlet([2, 1, 4], size=12)).astype(float)
    alpha = np.array([1.0, 0.5, 3.0])
    expected = sum(stats.dirichlet_multinomial.logpmf(row.astype(int), alpha, 20) for row in y)
    assert _value(alpha, y) == pytest.approx(expected)
    at = _derivatives(alpha, y)
    steps = 1e-5 * np.eye(3)
    numeric = [(_value(alpha * np.exp(h), y) - _value(alpha * np.exp(-h), y)) / 2e-5 for h in steps]
    np.testing.assert_allclose(at.gradient, numeric, rtol=1e-6)
    H = np.diag(at.d) + at.z * np.outer(alpha, alpha)
    numeric = [
        (_derivatives(alpha * np.exp(h), y).gradient - _derivatives(alpha * np.exp(-h), y).gradient)
        / 2e-5
        for h in steps
    ]
    np.testing.assert_allclose(H, numeric, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("way", ["laplace", mf.eb.Bootstrap(40)])
def test_shares_allow_for_the_prior_s_uncertainty(way):
    rng = np.random.default_rng(5)
    y = rng.multinomial(30, rng.dirichlet([3, 2, 4], size=10))
    plugin = mf.eb.dirichlet_multinomial(y).posterior
    result = mf.eb.dirichlet_multinomial(y, uncertainty=way)
    assert result.posterior["sd"].mean() > plugin["sd"].mean()
    draws = result.sample(4000, seed=1)
    np.testing.assert_allclose(draws.std(), result.posterior["sd"], rtol=0.2)
    np.testing.assert_allclose(draws.to_numpy().reshape(4000, 10, 3).sum(axis=2), 1.0)
    with pytest.raises(ModelError, match="cannot be ranked together"):
        result.rank()


def test_a_stated_dirichlet_and_pooled_shares():
    stated = mf.eb.dirichlet_multinomial([[3, 1, 0]], prior=mf.eb.Dirichlet((2.0, 1.0, 1.0)))
    np.testing.assert_allclose(stated.posterior["mean"], [5 / 8, 2 / 8, 1 / 8])
    pooled = mf.eb.dirichlet_multinomial([[5, 5], [5, 5], [5, 5]])
    assert pooled.prior["rho"] == 0.0
    assert (pooled.posterior["mean"] == 0.5).all()
    assert "one multinomial" in pooled.notes[0]


def test_bad_shares_have_one_clear_error():
    with pytest.raises(DataError, match="row for each unit"):
        mf.eb.dirichlet_multinomial([1, 2, 3])
    with pytest.raises(ModelError, match="category 'b'"):
        mf.eb.dirichlet_multinomial({"a": [3, 4], "b": [0, 0], "c": [1, 5]})
    with pytest.raises(DataError, match="'plugin', 'laplace' or 'bootstrap'"):
        mf.eb.dirichlet_multinomial([[3, 4], [1, 2]], uncertainty="integrate")
