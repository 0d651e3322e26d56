import numpy as np
import pytest

from mixedfit.covariance import (
    AR1,
    BlockDiagonal,
    CompoundSymmetry,
    Diagonal,
    Structure,
    Unstructured,
    joined_room,
)

STRUCTURES: dict[str, Structure] = {
    "unstructured 2": Unstructured(2),
    "unstructured 4": Unstructured(4),
    "diagonal": Diagonal(3),
    "diagonal 1": Diagonal(1),
    "identity": Diagonal(3, homogeneous=True),
    "cs": CompoundSymmetry(4),
    "cs, common variance": CompoundSymmetry(3, homogeneous=True),
    "ar1": AR1(4),
    "ar1, own variances": AR1(3, homogeneous=False),
    "blocks": BlockDiagonal((Diagonal(2, homogeneous=True), Unstructured(2), AR1(3))),
}


def random_state(structure: Structure, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    F = rng.standard_normal((structure.size, structure.size + 2))
    return structure.start(F @ F.T / structure.size)


def G_of(structure: Structure, state: np.ndarray) -> np.ndarray:
    T = structure.factor(state)
    return T @ T.T


@pytest.fixture(params=STRUCTURES.values(), ids=STRUCTURES)
def structure(request):
    return request.param


def test_tangents_are_the_derivatives_of_G(structure):
    state, h = random_state(structure), 1e-6
    for direction, tangent in zip(
        np.eye(structure.n_params), structure.tangents(state), strict=True
    ):
        up, down = structure.move(state, h * direction), structure.move(state, -h * direction)
        numeric = (G_of(structure, up) - G_of(structure, down)) / (2 * h)
        np.testing.assert_allclose(tangent, numeric, atol=1e-8)


def test_curvature_is_the_second_derivative_of_a_weighted_sum_of_G(structure):
    state, h = random_state(structure), 1e-3
    rng = np.random.default_rng(1)
    A = rng.standard_normal((structure.size, structure.size))
    A = A + A.T

    def value(step):
        return np.sum(A * G_of(structure, structure.move(state, step)))

    E = np.eye(structure.n_params) * h
    numeric = np.array(
        [
            [(value(e + f) - value(e - f) - value(f - e) + value(-e - f)) / (4 * h * h) for f in E]
            for e in E
        ]
    )
    np.testing.assert_allclose(structure.curvature(state, A), numeric, atol=1e-4 * np.abs(A).max())


def test_start_keeps_a_member_of_the_family(structure):
    G = G_of(structure, random_state(structure))
    np.testing.assert_allclose(G_of(structure, structure.start(G)), G, rtol=1e-8, atol=1e-10)


def test_rebase_is_the_congruence_the_family_allows(structure):
    rng = np.random.default_rng(2)
    k = structure.size
    B = {
        "linear": rng.standard_normal((k, k)),
        "diagonal": np.diag(rng.uniform(0.1, 3.0, k)),
        "scalar": 1.7 * np.eye(k),
    }[structure.equivariance]
    state = random_state(structure)
    expected = B @ G_of(structure, state) @ B.T
    np.testing.assert_allclose(G_of(structure, structure.rebase(state, B)), expected, atol=1e-10)


def test_theta_round_trip(structure):
    state = random_state(structure)
    again = structure.from_theta(structure.theta(state))
    np.testing.assert_allclose(G_of(structure, again), G_of(structure, state), atol=1e-8)


def test_room_keeps_moves_inside_the_family(structure):
    state = random_state(structure)
    room = structure.room(state)
    if room is None:
        return
    fall, rise = room
    for bound, sign in ((fall, -1.0), (rise, 1.0)):
        assert np.all(sign * bound >= 0.0)
        for i in np.flatnonzero(np.isfinite(bound)):
            step = np.zeros(structure.n_params)
            step[i] = bound[i]
            edge = structure.move(state, step)
            assert np.linalg.eigvalsh(G_of(structure, edge))[0] >= -1e-10
            assert structure.room(edge)[0 if sign < 0 else 1][i] == 0.0


def test_theta_of_unstructured_is_lme4s_lower_triangle_by_column():
    T = np.array([[2.0, 0.0, 0.0], [0.5, 1.0, 0.0], [-0.3, 0.2, 0.7]])
    structure = Unstructured(3)
    state = structure.from_theta(np.array([2.0, 0.5, -0.3, 1.0, 0.2, 0.7]))
    np.testing.assert_allclose(G_of(structure, state), T @ T.T)
    np.testing.assert_allclose(structure.theta(state), [2.0, 0.5, -0.3, 1.0, 0.2, 0.7])


def test_a_zero_variance_is_an_ordinary_point():
    structure = Unstructured(3)
    state = structure.from_theta(np.zeros(6))
    assert np.all(structure.tangents(state) == 0.0)
    moved = structure.move(state, np.array([0.0, 0.0, 0.0, 0.0, 0.0, 1.0]))
    np.testing.assert_allclose(np.sort(np.linalg.eigvalsh(G_of(structure, moved))), [0, 0, 1])


@pytest.mark.parametrize("rho", [-0.5, 0.0, 0.4, 1.0])
def test_cs_factor_holds_up_to_the_ends_of_the_correlation(rho):
    structure = CompoundSymmetry(3, homogeneous=True)
    G = G_of(structure, np.array([2.0, rho]))
    np.testing.assert_allclose(G, 4.0 * (np.eye(3) + rho * (1 - np.eye(3))), atol=1e-12)


@pytest.mark.parametrize("rho", [-1.0, -0.3, 0.0, 0.9, 1.0])
def test_ar1_correlations_are_powers(rho):
    G = G_of(AR1(4), np.array([1.5, rho]))
    lag = np.abs(np.subtract.outer(np.arange(4), np.arange(4)))
    np.testing.assert_allclose(G, 2.25 * rho ** lag.astype(float), atol=1e-12)


def test_alternatives_are_members_to_start_from():
    for structure in (CompoundSymmetry(3), AR1(3), Diagonal(3, homogeneous=True)):
        starts = list(structure.alternatives(np.diag([1.0, 4.0, 9.0])))
        assert len(starts) >= 3
        for state in starts:
            assert np.linalg.eigvalsh(G_of(structure, state))[0] > 0.0
    assert list(Unstructured(3).alternatives(np.eye(3))) == []


def test_joined_room_fills_in_unbounded_parts():
    assert joined_room([None, None], [1, 2]) is None
    fall, rise = joined_room([None, (np.array([-1.0]), np.array([2.0]))], [2, 1])
    np.testing.assert_array_equal(fall, [-np.inf, -np.inf, -1.0])
    np.testing.assert_array_equal(rise, [np.inf, np.inf, 2.0])
