"""What all correlations share: places of rows, patterns of groups, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mixedfit as mf
from mixedfit.arrays import Array, IntArray
from mixedfit.correlation import CorAR1, CorARMA, CorCAR1
from mixedfit.correlation_spatial import CorExp
from mixedfit.correlation_structure import batches_of, places
from mixedfit.errors import MixedfitError, ModelError
from mixedfit.frames import read_frame
from mixedfit.residual import bind_residual
from mixedfit.residual_form import Classes
from tests.residual_cases import DATA, bind_to_ties, refused_rows


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CorAR1(form="~ t | g"), "time 't' is 1 in more than one row in group 'a'"),
        (lambda: CorCAR1(form="~ t | g"), "more than one row"),
        (lambda: CorARMA(form="~ t | g", p=2), "more than one row"),
        (lambda: CorExp(form="~ t | g"), "position 't' is 1 in more than one row"),
        (lambda: CorAR1(fixed=True), "needs the value to hold"),
        (lambda: CorExp(form="~ x", fixed=True), "needs the value to hold"),
        (lambda: CorAR1(form="~ fitted(.)"), "cannot use fitted values"),
    ],
)
def test_ties_and_what_no_structure_can_hold_are_told(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(MixedfitError, match=message):
        bind_to_ties(make)


def test_rows_alone_in_their_group_have_no_correlation() -> None:
    with pytest.raises(ModelError, match="every group has one row"):
        bind_residual(CorAR1(form="~ 1 | i"), None, refused_rows())


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=30))
def test_places_count_the_rows_of_a_group_in_their_order(groups: list[int]) -> None:
    codes = np.unique(groups, return_inverse=True)[1]
    expected = [groups[:i].count(g) for i, g in enumerate(groups)]
    np.testing.assert_array_equal(places(codes), expected)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 2)), min_size=1, max_size=24))
def test_batches_hold_every_row_once_with_the_keys_of_its_group(pairs) -> None:  # type: ignore[no-untyped-def]
    codes = np.unique([g for g, _ in pairs], return_inverse=True)[1]
    keys = np.array([[float(k)] for _, k in pairs])
    patterns = []

    def entry(found: Array) -> IntArray:
        patterns.append(found)
        return np.zeros((*found.shape[:2], found.shape[1]), dtype=np.int64)

    classes = Classes(codes, tuple(str(c) for c in range(codes.max() + 1)))
    batches = batches_of("CorExp", classes, keys, entry)
    rows = np.concatenate([batch.rows.ravel() for batch in batches])
    np.testing.assert_array_equal(np.sort(rows), np.arange(len(codes)))
    for batch, found in zip(batches, patterns, strict=True):
        np.testing.assert_array_equal(found[batch.pattern], keys[batch.rows])
        assert len(np.unique(found, axis=0)) == len(found)  # like groups share a matrix
        for own in batch.rows:
            assert len(set(codes[own])) == 1
            assert len(own) == (codes == codes[own[0]]).sum()


def test_a_held_correlation_stays_and_has_no_coordinates() -> None:
    frame = read_frame(DATA, list(DATA.columns))
    held = CorAR1(form="~ t | g").held_at(np.array([0.3]))
    assert repr(held) == "CorAR1(0.3, form='~ t | g', fixed=True)"
    bound = held.bind(frame, ())
    assert bound.n_params == 0
    np.testing.assert_allclose(bound.natural(np.zeros(0))[1], [0.3])
    free = CorAR1(0.3, form="~ t | g").bind(frame, ())
    v = np.ones((1, len(DATA)))
    np.testing.assert_allclose(
        bound.at(np.zeros(0)).multiply(v), free.at(2.0 * np.arctanh([0.3])).multiply(v)
    )


def test_groups_of_the_model_serve_where_the_form_names_none() -> None:
    frame = read_frame(DATA, list(DATA.columns))
    own = CorAR1(form="~ t | g").bind(frame, ("s",))
    given_groups = CorAR1(form="~ t").bind(frame, ("g",))
    np.testing.assert_array_equal(own.groups.codes, given_groups.groups.codes)
    assert CorAR1(form="~ t | g").variables == ("t", "g")


@pytest.mark.parametrize("value", ["high", [0.1, np.nan], [[0.1]]])
def test_values_that_are_no_numbers_are_told(value) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ModelError, match="value of CorARMA must be numbers"):
        CorARMA(value, p=1, q=1)


def test_a_number_as_fixed_is_told_where_it_goes() -> None:
    with pytest.raises(ModelError, match="the value to hold goes to value="):
        CorAR1(fixed=0.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("structure", [CorExp(form="~ t"), CorARMA(form="~ t", p=2)])
def test_groups_too_large_for_a_matrix_are_told(structure: object) -> None:
    data = {"y": np.zeros(12_000), "t": np.arange(12_000)}
    with pytest.raises(ModelError, match="a group of 12,000 rows would need a matrix of 12,000 by"):
        mf.gls("y ~ 1", data, correlation=structure)  # type: ignore[arg-type]
