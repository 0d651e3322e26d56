import numpy as np
import pytest

from mixedfit.curvature import second_order
from mixedfit.elimination import Elimination
from tests.cases import PATTERNS
from tests.dense import DenseEffects
from tests.test_elimination import knobs, random_roots, symmetric  # noqa: F401  a fixture


def directions(products, seed=3):
    """Two symmetric directions of G for each factor."""
    rng = np.random.default_rng(seed)
    out = []
    for sums in products.factors:
        A = rng.standard_normal((2, sums.k, sums.k))
        out.append(A + A.transpose(0, 2, 1))
    return out


@pytest.mark.usefixtures("knobs")
@pytest.mark.parametrize("singular", [False, True], ids=["regular", "singular"])
@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_second_derivatives_agree_with_dense_matrices(pattern, singular):
    products = pattern.likelihood().products
    T, N, dG = random_roots(products), symmetric(products.p + 1), directions(products)
    if singular:
        for t in T:
            t[-1] = 0.0
    eliminated = Elimination(products).forward(T)
    dS, hessian = second_order(eliminated, eliminated.adjoint(N), N, dG)

    dense = DenseEffects(products)
    D = dense.inverse([t @ t.T for t in T])
    Q = np.eye(len(D)) - D @ dense.C
    K, B = dense.C @ Q, Q.T @ dense.E
    moves = []
    for f, block in enumerate(dG):
        for direction in block:
            zeros = [np.zeros_like(t) for t in T]
            zeros[f] = direction
            moves.append(dense.over_levels(zeros))
    expected_S = np.array([-B.T @ move @ B for move in moves])
    BNB = B @ N @ B.T
    expected = np.array(
        [[2 * np.trace(BNB @ a @ K @ b) - np.trace(K @ a @ K @ b) for b in moves] for a in moves]
    )
    np.testing.assert_allclose(dS, expected_S, atol=1e-10 * np.abs(expected_S).max())
    np.testing.assert_allclose(hessian, expected, atol=1e-9 * np.abs(expected).max())
