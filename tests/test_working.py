"""Working rows against weighted least squares; bases there and back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixedfit.errors import DataError
from mixedfit.working import Basis, WorkingRows
from tests.cases import PATTERNS, frame


@pytest.mark.parametrize("equivariance", ["linear", "diagonal", "scalar"])
def test_basis_there_and_back(equivariance):
    rng = np.random.default_rng(1)
    columns = np.column_stack(
        [np.ones(50), 1e6 + rng.standard_normal(50), 1e-6 * rng.standard_normal(50)]
    )
    basis = Basis.of(columns, equivariance, 0)
    W = basis.apply(columns).T
    np.testing.assert_allclose(basis.total @ basis.inverse, np.eye(3), atol=1e-6)
    if equivariance == "linear":
        np.testing.assert_allclose(W.T @ W / 50, np.eye(3), atol=1e-10)
        assert basis.logdet == pytest.approx(
            np.log(columns[:, 1].std()) + np.log((columns[:, 2]).std()), abs=0.1
        )
    else:
        np.testing.assert_allclose(W, columns @ basis.total)
    if equivariance == "diagonal":
        np.testing.assert_allclose(np.mean(W**2, axis=0), 1.0)


def test_nearly_dependent_columns_still_come_out_orthonormal():
    x = np.linspace(0.0, 1.0, 200)
    powers = np.column_stack([x**i for i in range(7)])
    W = Basis.of(powers, "linear", 0).apply(powers).T
    np.testing.assert_allclose(W.T @ W / 200, np.eye(7), atol=1e-8)


def test_a_response_without_variation_is_named():
    with pytest.raises(DataError, match="explain 'y' exactly"):
        PATTERNS["slope"].likelihood(data=frame().assign(y=3.0))


@pytest.mark.parametrize("name", ["slope, weighted, offset", "crossed slopes", "four columns"])
def test_the_response_is_the_residual_of_weighted_least_squares(name):
    design = PATTERNS[name].design()
    rows = WorkingRows.of(design)
    root = np.ones(design.n) if design.weights is None else np.sqrt(design.weights)
    y = root * (design.y - (0.0 if design.offset is None else design.offset))
    X = root[:, None] * design.X
    beta, *_ = np.linalg.lstsq(X, y, rcond=None)
    rest = y - X @ beta
    assert rows.basis.scale == pytest.approx(np.sqrt(np.mean(rest**2)))
    np.testing.assert_allclose(rows.y * rows.basis.scale, rest, atol=1e-10)
    np.testing.assert_allclose(rows.basis.fixed.total @ rows.basis.coefficients, beta, atol=1e-10)
    np.testing.assert_allclose(rows.X, (X @ rows.basis.fixed.total).T, atol=1e-10)
    assert rows.sum_log_weights == pytest.approx(2.0 * np.log(root).sum(), abs=1e-10)


def test_columns_of_a_factor_are_its_terms_side_by_side():
    design = PATTERNS["crossed slopes"].design()
    rows, root = WorkingRows.of(design), np.sqrt(design.weights)
    for f, Z in enumerate(rows.Z):
        own = [
            root * (term.Z @ basis.total).T
            for term, basis in zip(design.terms, rows.basis.random, strict=True)
            if term.factor == f
        ]
        np.testing.assert_allclose(Z, np.vstack(own), atol=1e-10)
        np.testing.assert_array_equal(rows.codes[f], design.factors[f].codes)


def test_another_response_and_a_part_of_the_rows_keep_the_basis():
    design = PATTERNS["slope, weighted, offset"].design()
    rows = WorkingRows.of(design)
    other = design.with_response(np.sin(np.arange(design.n)))
    again, expected = rows.with_response(other), WorkingRows.of(other)
    np.testing.assert_allclose(again.y, expected.y, atol=1e-12)
    np.testing.assert_allclose(again.basis.coefficients, expected.basis.coefficients, atol=1e-12)
    part = WorkingRows.of(design.take(slice(20, 90)), rows.basis)
    np.testing.assert_allclose(part.y, rows.y[20:90], atol=1e-12)
    np.testing.assert_allclose(part.X, rows.X[:, 20:90], atol=1e-12)


def test_offsets_of_the_data_leave_no_trace_in_working_rows():
    # A mean of 1e8 costs eight digits of y; sums of working rows lose no more than those.
    plain = WorkingRows.of(PATTERNS["slope"].design())
    data = frame().assign(y=lambda d: d["y"] + 1e8, x=lambda d: d["x"] + 1e6)
    moved = WorkingRows.of(PATTERNS["slope"].design(data))
    np.testing.assert_allclose(moved.X @ moved.y, 0.0, atol=1e-6)
    np.testing.assert_allclose(moved.y, plain.y, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.floats(-6.0, 6.0), st.floats(-6.0, 6.0), st.integers(0, 2**32 - 1))
def test_units_of_the_columns_do_not_matter(one, two, seed):
    columns = np.random.default_rng(seed).standard_normal((30, 3))
    units = np.array([1.0, 10.0**one, 10.0**two])
    for equivariance in ("linear", "diagonal"):
        plain, scaled = (Basis.of(c, equivariance, None) for c in (columns, columns * units))
        W = plain.apply(columns)
        np.testing.assert_allclose(scaled.apply(columns * units), W, atol=1e-7)
        assert scaled.logdet == pytest.approx(plain.logdet + np.log(units).sum(), abs=1e-6)
