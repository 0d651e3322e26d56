"""Serial, exchangeable and general correlations: formulas, nlme, bad input."""

from __future__ import annotations

import numpy as np
import pytest

from mixedfit.correlation import CorAR1, CorARMA, CorCAR1, CorCompSymm, CorSymm
from mixedfit.errors import MixedfitError, ModelError
from mixedfit.frames import read_frame
from mixedfit.residual import bind_residual
from tests.residual_cases import (
    CLASSES,
    NLME,
    agrees_with_nlme,
    bind_to_ties,
    calls_of,
    dense,
    refused_rows,
)


def test_correlations_by_their_formulas() -> None:
    data = {"t": [1.0, 2.0, 4.0], "g": ["a", "a", "a"]}
    frame = read_frame(data, ["t", "g"])
    apart = np.abs(np.subtract.outer(data["t"], data["t"]))
    expected = {
        CorAR1(-0.4, form="~ t | g"): (-0.4) ** apart,
        CorCAR1(0.3, form="~ t | g"): 0.3**apart,
        CorCompSymm(-0.2, form="~ 1 | g", fixed=True): np.where(apart > 0, -0.2, 1.0),
    }
    for structure, R in expected.items():
        at_start = bind_residual(structure, None, frame)
        assert at_start is not None
        found = dense(at_start, at_start.start)
        np.testing.assert_allclose(found, R, atol=1e-12, err_msg=repr(structure))


def test_arma_correlations_follow_the_infinite_moving_average() -> None:
    phi, theta = [0.5, -0.3], [0.4, 0.2, -0.3]
    frame = read_frame({"g": ["a"] * 12}, ["g"])
    structure = bind_residual(CorARMA([*phi, *theta], form="~ 1 | g", p=2, q=3), None, frame)
    assert structure is not None
    psi = np.zeros(400)
    for j in range(400):
        moving = 1.0 if j == 0 else (theta[j - 1] if j <= 3 else 0.0)
        psi[j] = moving + sum(phi[i] * psi[j - 1 - i] for i in range(2) if j - 1 - i >= 0)
    covariance = np.array([psi[: 400 - k] @ psi[k:] for k in range(12)])
    np.testing.assert_allclose(dense(structure, structure.start)[0], covariance / covariance[0])
    assert structure.describe(structure.start)[0] == ["Phi1", "Phi2", "Theta1", "Theta2", "Theta3"]
    np.testing.assert_allclose(structure.describe(structure.start)[1], [*phi, *theta])


def test_general_correlations_start_where_told() -> None:
    frame = read_frame({"g": list("aaabbbcccdd")}, ["g"])
    structure = bind_residual(CorSymm([0.5, -0.2, 0.3], form="~ 1 | g"), None, frame)
    assert structure is not None
    names, values = structure.describe(structure.start)
    assert names == ["cor(1,2)", "cor(1,3)", "cor(2,3)"]
    np.testing.assert_allclose(values, [0.5, -0.2, 0.3])


@pytest.mark.parametrize("call", calls_of(CorAR1, CorCAR1, CorARMA, CorCompSymm, CorSymm))
def test_correlations_agree_with_nlme(call: str) -> None:
    agrees_with_nlme(call)


@pytest.mark.parametrize("call", NLME["acf"])
def test_autocorrelations_agree_with_stats(call: str) -> None:
    frame = read_frame({"g": ["a"] * 10}, ["g"])
    structure = bind_residual(eval(call, CLASSES), None, frame)
    assert structure is not None
    np.testing.assert_allclose(dense(structure, structure.start)[0], NLME["acf"][call], atol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CorAR1(form="~ x/2 | g"), "needs whole-numbered times"),
        (lambda: CorSymm(form="~ x"), "cannot estimate"),
        (lambda: CorSymm(form="~ x | g"), "cannot estimate|never occur"),
        (lambda: CorAR1(1.0), "between -1 and 1"),
        (lambda: CorARMA([1.5], p=1), "not stationary"),
        (lambda: CorARMA([2.0], q=1), "not invertible"),
        (lambda: CorARMA([0.2], p=1, q=1), "1 numbers for p \\+ q = 2"),
        (CorARMA, "needs an order"),
        (lambda: CorCompSymm(-0.9, form="~ 1", fixed=True), "positive definite"),
        (lambda: CorSymm([0.9, 0.9, 0, -0.9, 0, 0], form="~ x", fixed=True), "positive definite"),
    ],
)
def test_bad_correlations_are_told(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(MixedfitError, match=message):
        bind_to_ties(make)


def test_a_correlation_of_all_rows_cannot_be_told_from_their_mean() -> None:
    with pytest.raises(ModelError, match="cannot be told from their mean"):
        bind_residual(CorCompSymm(), None, refused_rows())
