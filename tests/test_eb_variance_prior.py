"""The prior of variances: trigamma, splines, standard errors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

import mixedfit as mf
from mixedfit.eb.variance_prior import inverse_trigamma, natural_spline


def test_standard_errors_of_the_prior_match_simulation():
    rng = np.random.default_rng(1)
    found, stated = [], []
    for _ in range(200):
        sigma2 = 6.0 / rng.chisquare(6.0, 400)
        result = mf.eb.variances(sigma2 * rng.chisquare(5.0, 400) / 5.0, 5)
        found.append([np.log(result.prior["df"]), np.log(result.prior["scale"])])
        stated.append(
            [
                result.prior_se["df"] / result.prior["df"],
                result.prior_se["scale"] / result.prior["scale"],
            ]
        )
    np.testing.assert_allclose(np.std(found, axis=0), np.median(stated, axis=0), rtol=0.2)


@settings(deadline=None)
@given(st.floats(1e-9, 1e9))
def test_trigamma_is_inverted(y):
    assert special.polygamma(1, inverse_trigamma(y)) == pytest.approx(y, rel=1e-6)


def test_the_spline_is_natural_and_holds_lines():
    x = np.sort(np.random.default_rng(0).normal(size=50))
    basis = natural_spline(x, 4)
    line = np.column_stack([np.ones(50), x])
    fitted = basis @ np.linalg.lstsq(basis, line, rcond=None)[0]
    np.testing.assert_allclose(fitted, line, atol=1e-10)
