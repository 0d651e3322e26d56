"""Beta and gamma laws against scipy."""

import numpy as np
import pytest
from scipy import special

from mixedfit.eb.conjugate import BetaLaw


@pytest.mark.parametrize("p", [1e-3, 0.025, 0.5, 0.9995])
def test_beta_quantiles_are_the_library_s(p):
    rng = np.random.default_rng(0)
    a, b = 10.0 ** rng.uniform(-1, 6, (2, 3000))
    expected = special.betaincinv(a, b, p)
    np.testing.assert_allclose(BetaLaw().ppf(p, a, b), expected, rtol=1e-11)
