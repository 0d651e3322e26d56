import numpy as np
import pytest

from mixedfit import linalg


def spd(k: int, J: int, seed: int = 0) -> np.ndarray:
    F = np.random.default_rng(seed).standard_normal((k, k + 2, J))
    return np.einsum("amj,bmj->abj", F, F)


@pytest.mark.parametrize("k", [1, 2, 3, 4, 7])
def test_batched_inverse_and_logdet_agree_with_numpy_matrix_by_matrix(k):
    M = spd(k, 5)
    inverse, logdet = linalg.inverse_and_logdet(M)
    for j in range(5):
        np.testing.assert_allclose(inverse[:, :, j] @ M[:, :, j], np.eye(k), atol=1e-10)
        assert logdet[j] == pytest.approx(np.linalg.slogdet(M[:, :, j])[1], rel=1e-12)


@pytest.mark.parametrize("n", [0, 1, 2, 5, 60])
def test_inverse_of_one_matrix(n):
    A = spd(n, 1)[:, :, 0] if n else np.zeros((0, 0))
    inverse, logdet = linalg.spd_inverse(A)
    np.testing.assert_allclose(inverse @ A, np.eye(n), atol=1e-9)
    assert logdet == pytest.approx(np.linalg.slogdet(A)[1] if n else 0.0)


def test_indefinite_matrices_are_refused():
    with pytest.raises(np.linalg.LinAlgError):
        linalg.spd_inverse(np.diag([1.0, -1.0]))
    with pytest.raises(np.linalg.LinAlgError):
        linalg.cholesky(np.diag([1.0, -1.0]))


def test_semidefinite_systems_are_solved_by_least_squares():
    A = np.ones((2, 2))
    x = linalg.solve_spd(A, np.array([2.0, 2.0]))
    np.testing.assert_allclose(A @ x, [2.0, 2.0])
    B = spd(4, 1)[:, :, 0]
    np.testing.assert_allclose(B @ linalg.solve_spd(B, np.arange(4.0)), np.arange(4.0), atol=1e-10)


def test_eigen_and_singular_values_agree_with_numpy():
    A = spd(4, 1)[:, :, 0]
    values, vectors = linalg.symmetric_eigen(A)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(A))
    np.testing.assert_allclose(vectors * values @ vectors.T, A, atol=1e-12)
    F = np.random.default_rng(1).standard_normal((3, 3))
    U, s = linalg.left_singular(F)
    np.testing.assert_allclose(s, np.linalg.svd(F)[1])
    np.testing.assert_allclose(U * s**2 @ U.T, F @ F.T, atol=1e-12)


@pytest.mark.parametrize("columns", [1, 3, 5])
def test_lower_factor_is_a_triangular_root_with_positive_diagonal(columns):
    F = np.random.default_rng(2).standard_normal((3, columns))
    T = linalg.lower_factor(F)
    np.testing.assert_allclose(T @ T.T, F @ F.T, atol=1e-12)
    assert np.all(np.triu(T, 1) == 0.0)
    assert np.all(T.diagonal() >= 0.0)


def test_independent_columns_keep_the_first_of_each_aliased_set():
    rng = np.random.default_rng(3)
    X = rng.standard_normal((20, 3))
    with_copies = np.column_stack(
        [X[:, 0], 2.0 * X[:, 0], X[:, 1], np.zeros(20), X @ [1, -1, 0], X[:, 2]]
    )
    assert linalg.independent_columns(with_copies).tolist() == [0, 2, 5]
    assert linalg.independent_columns(X).tolist() == [0, 1, 2]


def test_more_columns_than_rows():
    X = np.random.default_rng(4).standard_normal((3, 5))
    assert linalg.independent_columns(X).tolist() == [0, 1, 2]


def test_no_columns_at_all_are_independent():
    assert linalg.independent_columns(np.zeros((4, 0))).tolist() == []
