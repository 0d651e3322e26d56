"""Entries of correlation matrices against textbook processes and central differences."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import solve_discrete_lyapunov

from mixedfit.arrays import Array
from mixedfit.correlation_tables import (
    DECAYS,
    ArmaTable,
    GeneralTable,
    SpatialTable,
    angles_of,
    partial_of,
)

RNG = np.random.default_rng(7)
DISTANCES = np.array([0.5, 1.0, 1.9, 2.6, 8.0])
TABLES = {
    **{f"arma({p},{q})": ArmaTable(p, q, 9) for p, q in [(1, 0), (3, 0), (0, 2), (1, 2), (2, 1)]},
    "general": GeneralTable(4),
    **{name: SpatialTable(DISTANCES, decay, 0.5, True) for name, decay in DECAYS.items()},
    "exponential, no nugget": SpatialTable(DISTANCES, DECAYS["exponential"], 0.0, False),
}
SIZES = {"general": 6, "exponential, no nugget": 1, **dict.fromkeys(DECAYS, 2)}
SIZES |= {name: table.p + table.q for name, table in TABLES.items() if "arma" in name}


@pytest.mark.parametrize("name", TABLES)
def test_derivatives_are_central_differences(name: str) -> None:
    table, delta, h = TABLES[name], RNG.normal(0.2, 0.6, SIZES[name]), 1e-6
    values, derivatives = table(delta)
    assert values[0] == 1.0
    assert derivatives.shape == (len(delta), len(values))
    for row, step in zip(derivatives, h * np.eye(len(delta)), strict=True):
        numeric = (table(delta + step)[0] - table(delta - step)[0]) / (2.0 * h)
        np.testing.assert_allclose(row, numeric, atol=1e-8)


def state_space(phi: Array, theta: Array, longest: int) -> Array:
    """Autocorrelations of an ARMA process by its state-space form and Lyapunov's equation."""
    m = max(len(phi), len(theta) + 1)
    F, H = np.zeros((m, m)), np.zeros(m)
    F[: len(phi), 0] = phi
    F[:-1, 1:] = np.eye(m - 1)
    H[0], H[1 : len(theta) + 1] = 1.0, theta
    P = solve_discrete_lyapunov(F, np.outer(H, H))
    covariance = [(np.linalg.matrix_power(F, k) @ P)[0, 0] for k in range(longest + 1)]
    return np.array(covariance) / covariance[0]


@pytest.mark.parametrize("name", [name for name in TABLES if "arma" in name])
def test_autocorrelations_are_those_of_the_state_space_form(name: str) -> None:
    table = TABLES[name]
    assert isinstance(table, ArmaTable)
    for _ in range(5):
        delta = RNG.normal(0.0, 1.5, SIZES[name])
        names, values = table.natural(delta)
        assert names == [f"Phi{i + 1}" for i in range(table.p)] + [
            f"Theta{i + 1}" for i in range(table.q)
        ]
        expected = state_space(values[: table.p], values[table.p :], 9)
        np.testing.assert_allclose(table(delta)[0], expected, atol=1e-9)


@settings(deadline=None)
@given(st.lists(st.floats(-3.0, 3.0), min_size=1, max_size=4))
def test_every_coordinate_is_stationary_and_invertible_and_comes_back(delta: list[float]) -> None:
    d, m = np.array(delta), len(delta)
    for table, sign in ((ArmaTable(m, 0, 5), 1.0), (ArmaTable(0, m, 5), -1.0)):
        _, c = table.natural(d)
        # Roots of 1 - c_1 z - ... (or 1 + c_1 z + ...) outside the unit circle.
        assert (np.abs(np.roots([1.0, *(-sign * c)])) < 1.0).all()
        partial = partial_of(c, sign)
        assert partial is not None
        np.testing.assert_allclose(partial, np.tanh(0.5 * d), atol=1e-7)


def test_coefficients_outside_have_no_partial_autocorrelations() -> None:
    assert partial_of(np.array([1.2]), 1.0) is None
    assert partial_of(np.array([0.5, 0.6]), 1.0) is None  # a root of 1 - 0.5 z - 0.6 z^2 inside
    assert partial_of(np.array([0.5, 0.6]), -1.0) is not None


@settings(deadline=None)
@given(st.integers(2, 5), st.integers(0, 2**32 - 1))
def test_angles_tell_any_correlation_matrix(order: int, seed: int) -> None:
    A = np.random.default_rng(seed).standard_normal((order, order + 2))
    C = np.corrcoef(A)
    found = GeneralTable(order)(angles_of(C))[0].reshape(order, order)
    np.testing.assert_allclose(found, C, atol=1e-8)


def test_any_angles_give_a_correlation_matrix() -> None:
    for _ in range(20):
        table = GeneralTable(4)
        delta = RNG.normal(0.0, 2.0, 6)
        C = table(delta)[0].reshape(4, 4)
        np.testing.assert_array_equal(np.diag(C), 1.0)
        assert np.linalg.eigvalsh(C).min() > 0.0
        names, values = table.natural(delta)
        assert names[:4] == ["cor(1,2)", "cor(1,3)", "cor(1,4)", "cor(2,3)"]
        np.testing.assert_allclose(values, C[np.triu_indices(4, 1)])


def test_an_indefinite_matrix_has_no_angles() -> None:
    with pytest.raises(np.linalg.LinAlgError):
        angles_of(np.array([[1.0, 0.9, -0.9], [0.9, 1.0, 0.9], [-0.9, 0.9, 1.0]]))


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("exponential", lambda u: np.exp(-u)),
        ("gaussian", lambda u: np.exp(-(u**2))),
        ("linear", lambda u: np.maximum(1.0 - u, 0.0)),
        ("rational", lambda u: 1.0 / (1.0 + u**2)),
        ("spherical", lambda u: np.where(u < 1.0, 1.0 - 1.5 * u + 0.5 * u**3, 0.0)),
    ],
)
def test_spatial_entries_are_formulas_of_range_and_nugget(name, formula) -> None:  # type: ignore[no-untyped-def]
    table, delta = TABLES[name], np.array([0.7, -1.1])
    names, (reach, nugget) = table.natural(delta)
    assert names == ["range", "nugget"]
    assert reach == pytest.approx(0.5 + np.exp(0.7))
    assert nugget == pytest.approx(1.0 / (1.0 + np.exp(1.1)))
    expected = (1.0 - nugget) * formula(DISTANCES / reach)
    np.testing.assert_allclose(table(delta)[0], [1.0, *expected])
