"""Priors stated in full."""

import numpy as np
import pytest
from scipy import stats

import mixedfit as mf
from mixedfit.errors import DataError


def test_a_stated_prior_and_one_unit():
    result = mf.eb.normal_means(10.0, np.sqrt(4 / 5), prior=mf.eb.Normal(8.0, 1.0))
    assert round(result.posterior["mean"][0], 4) == 9.1111
    np.testing.assert_allclose(result.posterior["weight"][0], 5 / 9)


def test_a_stated_prior_and_two_units():
    prior = mf.eb.Normal(10, 4)
    result = mf.eb.normal_means([12.0, 8.0], [np.sqrt(0.9), np.sqrt(4.5)], prior=prior)
    # 10 + 2 * 4 / 4.9 and 10 - 2 * 4 / 8.5
    assert result.posterior["mean"].round(3).tolist() == [11.633, 9.059]
    assert (result.posterior["sd"] ** 2).round(4).tolist() == [0.7347, 2.1176]


def test_a_stated_prior_is_checked():
    with pytest.raises(DataError, match="variance"):
        mf.eb.Normal(0.0, -1.0)
    with pytest.raises(DataError, match="mean"):
        mf.eb.Normal(np.inf, 1.0)


def test_a_stated_prior_is_bayes_rule():
    y, n = np.array([3, 0, 9]), np.array([10, 4, 12])
    beta = mf.eb.beta_binomial(y, n, prior=mf.eb.Beta(2.0, 5.0)).posterior
    law = stats.beta(2.0 + y, 5.0 + n - y)
    np.testing.assert_allclose(beta["mean"], law.mean())
    np.testing.assert_allclose(beta["upper"], law.ppf(0.975))
    gamma = mf.eb.gamma_poisson(y, n, prior=mf.eb.Gamma(2.0, 5.0)).posterior
    law = stats.gamma(2.0 + y, scale=1.0 / (5.0 + n))
    np.testing.assert_allclose(gamma["sd"], law.std())
    np.testing.assert_allclose(gamma["lower"], law.ppf(0.025))
    shares = np.array([[3, 1, 0], [0, 2, 7]])
    alpha = np.array([2.0, 1.0, 0.5])
    table = mf.eb.dirichlet_multinomial(shares, prior=mf.eb.Dirichlet(tuple(alpha))).posterior
    total = alpha + shares
    law = stats.beta(total, total.sum(axis=1, keepdims=True) - total)
    np.testing.assert_allclose(table["mean"], law.mean().ravel())
    np.testing.assert_allclose(table["lower"], law.ppf(0.025).ravel())


def test_no_variance_fixes_every_unit_at_the_mean():
    result = mf.eb.normal_means([1.0, 5.0], 1.0, prior=mf.eb.Normal(3.0, 0.0))
    assert result.posterior["mean"].tolist() == [3.0, 3.0]
    assert result.posterior["sd"].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("value", [0.0, -1.0, np.inf, np.nan])
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda v: mf.eb.Beta(v, 1.0), "alpha"),
        (lambda v: mf.eb.Beta(1.0, v), "beta"),
        (lambda v: mf.eb.Gamma(v, 1.0), "shape"),
        (lambda v: mf.eb.Gamma(1.0, v), "rate"),
        (lambda v: mf.eb.Dirichlet((1.0, v)), "alpha"),
    ],
)
def test_parameters_that_make_no_law_are_named(make, name, value):
    with pytest.raises(DataError, match=f"prior's {name} must be a positive finite number"):
        make(value)


def test_shares_of_one_category_are_refused():
    with pytest.raises(DataError, match="at least two categories"):
        mf.eb.Dirichlet((1.0,))
