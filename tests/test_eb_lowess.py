"""Locally weighted regression against R."""

import numpy as np

from mixedfit.eb.lowess import lowess


def test_lowess_is_that_of_r():
    # lowess(x, y, f = 0.6, iter = 3, delta = 0) in R 4.2.2; one point lies far off.
    x = np.array([2.3, 0.2, 0.5, 0.9, 1.4, 1.6, 2.9, 3.1, 3.8, 4.4])
    y = np.array([2.6, 1.1, 0.7, 1.9, 2.2, 9.0, 3.3, 2.9, 4.1, 4.0])
    expected = [0.8741935804, 1.2143217572, 1.6599184494, 2.1490675267, 2.2577217620]
    expected += [2.6877333424, 3.0927085293, 3.2759548247, 3.7479610275, 4.1642076377]
    np.testing.assert_allclose(np.sort(lowess(x, y, 0.6)), expected, rtol=1e-9)
