from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2

import mixedfit as mf

from . import references
from .cases import frame


def sleep(formula: str, method: str = "REML") -> mf.MixedResults:
    return mf.lmer(formula, references.data("sleepstudy"), method=method)  # type: ignore[arg-type]


def test_the_statistic_and_its_p_value() -> None:
    smaller, larger = (
        sleep("Reaction ~ Days + (1 | Subject)"),
        sleep("Reaction ~ Days + (Days | Subject)"),
    )
    test = mf.bootstrap_test(smaller, larger, n=199, seed=1)
    assert test.statistic == pytest.approx(2 * (larger.llf - smaller.llf), abs=1e-6)
    assert test.p == 1 / 200
    assert test.method == "REML"
    assert len(test.simulated) == 199
    assert (test.simulated >= 0.0).all()
    # the mixture of chi-squared with 1 and 2 degrees of freedom
    want = 0.5 * chi2.sf(2.0, 1) + 0.5 * chi2.sf(2.0, 2)
    assert (test.simulated > 2.0).mean() == pytest.approx(want, abs=0.12)
    assert "p = 0.005" in repr(test)


def test_fixed_effects_are_compared_by_maximum_likelihood() -> None:
    data = frame()
    smaller, larger = (mf.lmer(f"y ~ {x} + (1 | g)", data) for x in ("1", "z"))
    test = mf.bootstrap_test(smaller, larger, n=499, seed=2)
    assert test.method == "ML"
    ml = [mf.lmer(fit.formula, data, method="ML").llf for fit in (smaller, larger)]
    assert test.statistic == pytest.approx(2 * (ml[1] - ml[0]), abs=1e-6)
    assert test.p == pytest.approx(chi2.sf(test.statistic, 1), abs=0.07)
    quantiles = np.quantile(test.simulated, [0.5, 0.9])
    np.testing.assert_allclose(quantiles, chi2.ppf([0.5, 0.9], 1), rtol=0.3)


def test_bad_pairs() -> None:
    smaller, larger = (
        sleep("Reaction ~ Days + (1 | Subject)"),
        sleep("Reaction ~ Days + (Days | Subject)"),
    )
    with pytest.raises(mf.ModelError, match="pass the smaller model first"):
        mf.bootstrap_test(larger, smaller, n=9)
    data = references.data("sleepstudy")
    fewer = mf.lmer("Reaction ~ Days + (Days | Subject)", data[data["Days"] > 1])
    with pytest.raises(mf.ModelError, match="one uses 180 and the other 144 rows"):
        mf.bootstrap_test(smaller, fewer, n=9)
    other = mf.lmer("log(Reaction) ~ Days + (Days | Subject)", data)
    with pytest.raises(mf.ModelError, match="same response"):
        mf.bootstrap_test(smaller, other, n=9)


def test_residual_structures_are_named_where_they_differ() -> None:
    data = mf.datasets.load("orthodont")
    plain = mf.gls("distance ~ age", data)
    strata = mf.gls("distance ~ age", data, weights=mf.VarIdent(form="~ 1 | Sex"))
    test = mf.bootstrap_test(plain, strata, n=20, seed=1)
    assert "distance ~ age\n" in repr(test)
    assert "distance ~ age, VarIdent(form='~ 1 | Sex')\n" in repr(test)
    assert 0.0 < test.p < 1.0


def test_other_means_and_weights_are_refused() -> None:
    data = frame()
    data["o"] = np.sin(np.arange(len(data)))
    data["w"] = 1.0 + data["o"] ** 2
    small, large = mf.lmer("y ~ x + (1 | g)", data), mf.lmer("y ~ x + z + (1 | g)", data)
    with pytest.raises(mf.ModelError, match="special case of the second: their offsets differ"):
        mf.bootstrap_test(mf.lmer("y ~ x + offset(o) + (1 | g)", data), large, n=9)
    with pytest.raises(mf.ModelError, match="their precision weights differ"):
        mf.bootstrap_test(mf.lmer("y ~ x + (1 | g)", data, weights="w"), large, n=9)
    slopes = mf.lmer("y ~ 1 + (x | g)", data)
    with pytest.raises(mf.ModelError, match="its fixed part has x, which the larger one does not"):
        mf.bootstrap_test(small, slopes, n=9)
    with pytest.raises(mf.MixedfitError, match="bootstrap_test compares fits .* not int"):
        mf.bootstrap_test(3, large, n=9)  # type: ignore[arg-type]
