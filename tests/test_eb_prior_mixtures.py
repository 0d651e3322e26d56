"""Mixture priors."""

import numpy as np
from scipy import special

from mixedfit.eb.prior_mixtures import log_exponential_side


def test_a_side_of_the_laplace_keeps_its_digits():
    z = np.array([-1e6, -30.0, -1.0, 0.5, 3.0, 0.0, 0.0, -2.0])
    shift = np.array([1e-6, 2.0, 0.5, 2.0, 30.0, 80.0, 1e6, 1e6])
    value, slope = log_exponential_side(z, shift)
    plain = shift * z + 0.5 * shift**2 + special.log_ndtr(-z - shift)
    np.testing.assert_allclose(value[:5], plain[:5], rtol=1e-9)
    np.testing.assert_allclose(value[6], -np.log(1e6 * np.sqrt(2 * np.pi)), rtol=1e-10)
    h = 1e-5
    up, down = log_exponential_side(z, shift + h)[0], log_exponential_side(z, shift - h)[0]
    np.testing.assert_allclose(slope[1:6], ((up - down) / (2 * h))[1:6], rtol=1e-6)
    np.testing.assert_allclose(slope[6:], -1e-6, rtol=1e-5)
