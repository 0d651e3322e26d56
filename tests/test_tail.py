"""The dense tail against the textbook inverse ``(G^-1 + S)^-1``, written out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from mixedfit.errors import ModelError
from mixedfit.tail import Tail, TailBlock

SCALAR = (TailBlock(0, np.arange(4), 1, 0), TailBlock(2, np.arange(3), 1, 4))
MIXED = (TailBlock(1, np.arange(3), 2, 0), TailBlock(0, np.arange(4), 1, 6))


@dataclass(frozen=True)
class Case:
    """A tail, its numbers, and the same with every matrix written out."""

    tail: Tail
    S: np.ndarray
    E: np.ndarray
    T: list[np.ndarray]

    def stored(self):
        return self.S if self.tail.full else np.tril(self.S)

    def G(self, matrices):
        """The matrix with each block's own at each of its levels; components outermost."""
        out = np.zeros_like(self.S)
        for block, A in zip(self.tail.blocks, matrices, strict=True):
            out[block.columns, block.columns] = np.kron(A, np.eye(block.J))
        return out

    @property
    def covariances(self):
        return [t @ t.T for t in self.T]

    def W(self, S=None, covariances=None):
        S = self.S if S is None else S
        G = self.G(self.covariances if covariances is None else covariances)
        return np.linalg.solve(np.eye(len(S)) + G @ S, G)

    def value(self, N, S=None, E=None, covariances=None):
        """``log|I + S G| - sum(N * E W E')``."""
        S, E = self.S if S is None else S, self.E if E is None else E
        G = self.G(self.covariances if covariances is None else covariances)
        logdet = np.linalg.slogdet(np.eye(len(S)) + S @ G)[1]
        return logdet - np.sum(N * (E @ self.W(S, covariances) @ E.T))


ROOTS = {"of full rank": 1.0, "nearly singular": 1e-7, "singular": 0.0}


@pytest.fixture(params=ROOTS)
def case(request, blocks, full):
    rng = np.random.default_rng(3)
    tail = Tail(blocks, full)
    A = rng.standard_normal((tail.q, tail.q + 4))
    T = [np.tril(rng.standard_normal((b.k, b.k))) + np.eye(b.k) for b in blocks]
    T[0][:, -1] *= ROOTS[request.param]
    return Case(tail, A @ A.T, rng.standard_normal((3, tail.q)), T)


@pytest.fixture(params=[SCALAR, MIXED], ids=["scalar", "mixed"])
def blocks(request):
    return request.param


@pytest.fixture(params=[False, True], ids=["lower", "full"])
def full(request):
    return request.param


def test_what_is_solved_is_the_inverse_written_out(case):
    state = case.tail.forward(case.stored().copy(), case.E, case.T)
    W, q = case.W(), case.tail.q
    close = {"rtol": 1e-9, "atol": 1e-9}
    assert state.logdet == pytest.approx(
        np.linalg.slogdet(np.eye(q) + case.S @ case.G(case.covariances))[1]
    )
    np.testing.assert_allclose(state.U, case.E @ W, **close)
    X = np.random.default_rng(1).standard_normal((2, q))
    np.testing.assert_allclose(state.solve(X), X @ W, **close)
    np.testing.assert_allclose(state.W, W, **close)
    np.testing.assert_allclose(state.Q, np.eye(q) - W @ case.S, **close)
    np.testing.assert_allclose(state.K, case.S - case.S @ W @ case.S, rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(state.B, case.E - case.E @ W @ case.S, atol=1e-8)


def test_adjoints_are_central_differences(case):
    rng = np.random.default_rng(2)
    N = rng.standard_normal((3, 3))
    N = N + N.T
    adjoint = case.tail.forward(case.stored().copy(), case.E, case.T).adjoint(N)
    h, q = 1e-5, case.tail.q

    def difference(**moves):
        up = {k: base + h * d for k, (base, d) in moves.items()}
        down = {k: base - h * d for k, (base, d) in moves.items()}
        return (case.value(N, **up) - case.value(N, **down)) / (2.0 * h)

    # A stored number stands for its mirror image too, unless both triangles are stored.
    D = rng.standard_normal((q, q))
    moved = D + D.T if case.tail.full else np.tril(D) + np.tril(D, -1).T
    stored = moved if case.tail.full else np.tril(moved)
    expected = difference(S=(case.S, moved))
    held = adjoint.S if case.tail.full else np.tril(adjoint.S)
    assert np.sum(held * stored) == pytest.approx(expected, rel=1e-5, abs=1e-6)
    D = rng.standard_normal(case.E.shape)
    assert np.sum(adjoint.E * D) == pytest.approx(difference(E=(case.E, D)), rel=1e-5, abs=1e-6)
    for b, C in enumerate(case.covariances):
        D = rng.standard_normal(C.shape)
        D = D + D.T
        up, down = list(case.covariances), list(case.covariances)
        up[b], down[b] = C + h * D, C - h * D
        numeric = (case.value(N, covariances=up) - case.value(N, covariances=down)) / (2.0 * h)
        assert np.sum(adjoint.G[b] * D) == pytest.approx(numeric, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("full", [False, True], ids=["lower", "full"], indirect=True)
def test_no_variance_leaves_nothing_to_solve_for(blocks, full):
    tail = Tail(blocks, full)
    rng = np.random.default_rng(4)
    A, E = rng.standard_normal((tail.q, tail.q)), rng.standard_normal((2, tail.q))
    S = A @ A.T
    state = tail.forward(S if full else np.tril(S), E, [np.zeros((b.k, b.k)) for b in blocks])
    assert state.logdet == 0.0
    np.testing.assert_array_equal(state.U, 0.0)
    np.testing.assert_array_equal(state.B, E)
    np.testing.assert_allclose(state.K, S)


def test_products_that_are_not_positive_definite_are_refused(blocks):
    tail = Tail(blocks, full=True)
    T = [np.eye(b.k) for b in blocks]
    with pytest.raises(ModelError, match="not finite or not positive definite"):
        tail.forward(-2.0 * np.eye(tail.q), np.zeros((1, tail.q)), T)


def test_cross_products_that_are_not_finite_are_refused() -> None:
    for value in (np.nan, np.inf):
        S = np.eye(4)
        S[0, 0] = value
        with pytest.raises(ModelError, match="not finite"), np.errstate(invalid="ignore"):
            Tail((TailBlock(0, np.arange(4), 1, 0),), True).forward(S, np.ones((1, 4)), [np.eye(1)])
