from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixedfit.covariance import AR1, Unstructured
from mixedfit.held import CholeskyChart, Held


def chart(k: int, seed: int = 0) -> tuple[CholeskyChart, np.ndarray]:
    rng = np.random.default_rng(seed)
    made = CholeskyChart(rng.standard_normal((k, k)) + 2.0 * np.eye(k))
    root = rng.standard_normal((k, k))
    return made, made.of_root(root)


@settings(deadline=None)
@given(st.integers(2, 5), st.integers(0, 50))
def test_state_of_a_root(k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    made = CholeskyChart(rng.standard_normal((k, k)) + 3.0 * np.eye(k))
    root = rng.standard_normal((k, k))
    T = made.factor(made.of_root(root))
    np.testing.assert_allclose(T @ T.T, root @ root.T, rtol=1e-8, atol=1e-8)
    again = made.factor(made.start(root @ root.T))
    np.testing.assert_allclose(again @ again.T, root @ root.T, rtol=1e-6, atol=1e-6)


def test_coordinates_are_the_standard_deviation_and_the_angle() -> None:
    made, state = chart(3)
    T = np.linalg.solve(made.frame, made.factor(state))
    G = T @ T.T
    assert state[CholeskyChart.FIRST_SD] == pytest.approx(np.sqrt(G[0, 0]))
    rho = G[0, 1] / np.sqrt(G[0, 0] * G[1, 1])
    assert np.sin(state[CholeskyChart.ANGLE]) == pytest.approx(rho)


@pytest.mark.parametrize("k", [2, 3, 4])
def test_derivatives(k: int) -> None:
    made, state = chart(k)
    rng = np.random.default_rng(1)
    A = rng.standard_normal((k, k))
    A = A + A.T
    h = 1e-5

    def G(s: np.ndarray) -> np.ndarray:
        T = made.factor(s)
        return T @ T.T

    def f(s: np.ndarray) -> float:
        return float(np.vdot(A, G(s)))

    tangents, curvature = made.tangents(state), made.curvature(state, A)
    np.testing.assert_allclose(curvature, curvature.T, atol=1e-10)
    steps = h * np.eye(made.n_params)
    for i, e in enumerate(steps):
        slope = (G(made.move(state, e)) - G(made.move(state, -e))) / (2 * h)
        np.testing.assert_allclose(tangents[i], slope, rtol=1e-6, atol=1e-7)
        for j, d in enumerate(steps):
            corners = f(state + e + d) - f(state + e - d) - f(state - e + d) + f(state - e - d)
            np.testing.assert_allclose(curvature[i, j], corners / (4 * h * h), rtol=1e-4, atol=1e-3)


def test_standard_deviations_stay_positive() -> None:
    made, state = chart(3)
    state[0] = 0.0
    fall, rise = made.room(state)
    assert fall[0] == 0.0
    assert fall[1] == -state[1]
    assert np.isinf(fall[2:]).all()
    assert np.isinf(rise).all()


def test_held_coordinates_have_no_room() -> None:
    free = Held(Unstructured(2), 1)
    state = free.start(np.array([[2.0, 0.3], [0.3, 1.0]]))
    fall, rise = free.room(state)
    assert fall.tolist() == [-np.inf, 0.0, -np.inf]
    assert rise.tolist() == [np.inf, 0.0, np.inf]
    bounded = Held(AR1(3, homogeneous=False), 0)
    state = bounded.start(np.eye(3))
    assert bounded.room(state)[0][0] == 0.0
    assert bounded.room(state)[0][1] == -1.0
    np.testing.assert_allclose(bounded.theta(state), AR1(3, homogeneous=False).theta(state))
