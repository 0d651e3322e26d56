"""Correlations by distance: formulas, nlme, starts, bad input."""

from __future__ import annotations

import numpy as np
import pytest

from mixedfit.correlation import CorCAR1
from mixedfit.correlation_spatial import CorExp, CorGaus, CorLin, CorRatio, CorSpher
from mixedfit.errors import MixedfitError, ModelError
from mixedfit.frames import read_frame
from mixedfit.residual import bind_residual
from tests.residual_cases import agrees_with_nlme, bind_to_ties, calls_of, dense


def test_spatial_correlations_by_their_formulas() -> None:
    data = {"t": [1.0, 2.0, 4.0], "g": ["a", "a", "a"]}
    frame = read_frame(data, ["t", "g"])
    apart = np.abs(np.subtract.outer(data["t"], data["t"]))
    expected = {
        CorExp(2.0, form="~ t | g"): np.exp(-apart / 2.0),
        CorGaus(2.0, form="~ t | g"): np.exp(-((apart / 2.0) ** 2)),
        CorLin(2.5, form="~ t | g"): np.maximum(1.0 - apart / 2.5, 0.0),
        CorRatio(2.0, form="~ t | g"): 1.0 / (1.0 + (apart / 2.0) ** 2),
        CorSpher(2.5, form="~ t | g"): np.where(
            apart < 2.5, 1.0 - 1.5 * apart / 2.5 + 0.5 * (apart / 2.5) ** 3, 0.0
        ),
    }
    for structure, R in expected.items():
        at_start = bind_residual(structure, None, frame)
        assert at_start is not None
        found = dense(at_start, at_start.start)
        np.testing.assert_allclose(found, R, atol=1e-12, err_msg=repr(structure))


@pytest.mark.parametrize("call", calls_of(CorExp, CorGaus, CorLin, CorRatio, CorSpher))
def test_spatial_correlations_agree_with_nlme(call: str) -> None:
    agrees_with_nlme(call)


def test_starts_suit_the_unit_of_time_and_distance() -> None:
    rng = np.random.default_rng(2)
    time = np.cumsum(rng.uniform(0.5, 1.5, 40))
    for unit in (1e-4, 1.0, 1e4):
        frame = read_frame({"t": unit * time}, ["t"])
        for structure in (CorCAR1(form="~ t"), CorExp(form="~ t"), CorGaus(form="~ t")):
            bound_structure = bind_residual(structure, None, frame)
            assert bound_structure is not None
            R = dense(bound_structure, bound_structure.start)
            neighbours = np.diagonal(R, 1)
            assert 0.1 < np.median(neighbours) < 0.7
            lower, upper = bound_structure.bounds
            assert (np.diagonal(dense(bound_structure, lower), 1) < 1e-3).all()
            assert lower < bound_structure.start < upper


def test_a_start_where_the_matrix_is_singular_moves_to_a_shorter_range() -> None:
    frame = read_frame({"x": np.arange(60) / 10.0}, ["x"])
    structure = bind_residual(CorGaus(30.0, form="~ x"), None, frame)
    assert structure is not None
    structure.at(structure.start)
    assert structure.describe(structure.start)[1][0] < 30.0
    with pytest.raises(ModelError, match="not positive definite at 30"):
        bind_residual(CorGaus(30.0, form="~ x", fixed=True), None, frame)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CorExp([2.0, 0.1], form="~ x"), "nugget=True"),
        (lambda: CorExp(-1.0, form="~ x"), "must be positive"),
        (lambda: CorExp(form="~ x", metric="cosine"), "'euclidean', 'manhattan' or 'maximum'"),
    ],
)
def test_bad_spatial_correlations_are_told(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(MixedfitError, match=message):
        bind_to_ties(make)
