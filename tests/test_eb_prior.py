"""Priors stated in full."""

import numpy as np
import pytest

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
