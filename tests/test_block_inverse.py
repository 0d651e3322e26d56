from __future__ import annotations

import numpy as np
import pytest

from mixedfit import block_inverse
from mixedfit.block_inverse import EffectsInverse
from mixedfit.fit import fit_design
from tests.cases import PATTERNS
from tests.dense import DenseEffects


@pytest.mark.parametrize("name", ["slope", "crossed slopes", "nested and crossed"])
def test_inverse_of_the_effects(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fit = fit_design(PATTERNS[name].design())
    eliminated, products = fit.evaluation.eliminated, fit.likelihood.products
    expected = DenseEffects(products).inverse([T @ T.T for T in eliminated.T])
    first, second = np.meshgrid(*[np.arange(len(expected))] * 2, indexing="ij")
    whole = EffectsInverse(eliminated, fit.rows)
    np.testing.assert_allclose(whole.entries(first, second), expected, atol=1e-12)
    # The same in pieces, as where the whole would not fit in memory.
    monkeypatch.setattr(block_inverse, "_ROOM", 4 * len(expected))
    np.testing.assert_allclose(whole.entries(first, second), expected, atol=1e-12)
