import numpy as np
import pytest

from mixedfit import layout, ordering
from mixedfit.elimination import Elimination
from tests.cases import PATTERNS, frame
from tests.dense import DenseEffects


def random_roots(products, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((f.k, f.k)) for f in products.factors]


def symmetric(m, seed=1):
    N = np.random.default_rng(seed).standard_normal((m, m))
    return N + N.T


# The same patterns laid out in every way: dense tails, batch after batch, maps of pairs.
LAYOUTS = {
    "as chosen": {},
    "no dense tail": {"_SMALL_TAIL": 0, "_DENSE_SHARE": 0.9},
    "maps of pairs": {"_FEW_COLUMNS": 0, "_DENSE_ADVANTAGE": np.inf},
    "maps of pairs, no dense tail": {"_SMALL_TAIL": 0, "_DENSE_SHARE": 0.9, "_FEW_COLUMNS": 0},
}


@pytest.fixture(params=LAYOUTS.values(), ids=LAYOUTS)
def knobs(request, monkeypatch):
    for name, value in request.param.items():
        module = layout if hasattr(layout, name) else ordering
        monkeypatch.setattr(module, name, value)


@pytest.fixture(params=PATTERNS.values(), ids=PATTERNS)
def products(request):
    return request.param.likelihood().products


@pytest.mark.usefixtures("knobs")
class TestAgainstDenseMatrices:
    def test_remainder_and_logdet(self, products):
        T = random_roots(products)
        eliminated, dense = Elimination(products).forward(T), DenseEffects(products)
        G = [t @ t.T for t in T]
        assert eliminated.logdet == pytest.approx(dense.logdet(G), rel=1e-10)
        scale = np.abs(products.EE).max()
        np.testing.assert_allclose(eliminated.S, dense.remainder(G), atol=1e-10 * scale)

    def test_adjoint_in_G(self, products):
        T = random_roots(products)
        dense, N = DenseEffects(products), symmetric(products.p + 1)
        adjoint = Elimination(products).forward(T).adjoint(N)
        D = dense.inverse([t @ t.T for t in T])
        Q = np.eye(len(D)) - D @ dense.C
        B = Q.T @ dense.E
        full = dense.C @ Q - B @ N @ B.T
        for f, sums in enumerate(products.factors):
            block = slice(dense.offsets[f], dense.offsets[f + 1])
            by_level = full[block, block].reshape(sums.k, sums.n_levels, sums.k, sums.n_levels)
            expected = np.einsum("ajbj->ab", by_level)
            np.testing.assert_allclose(adjoint.G[f], expected, rtol=1e-8, atol=1e-7)

    def test_solve(self, products):
        T = random_roots(products)
        dense = DenseEffects(products)
        rows = np.random.default_rng(2).standard_normal((3, len(dense.C)))
        solved = Elimination(products).forward(T).solve(dense.split(rows))
        expected = dense.split(rows @ dense.inverse([t @ t.T for t in T]))
        for got, want in zip(solved, expected, strict=True):
            np.testing.assert_allclose(got, want, atol=1e-10)

    def test_effects(self, products):
        T = random_roots(products)
        dense, v = DenseEffects(products), np.arange(1.0, products.p + 2)
        u, h = Elimination(products).forward(T).effects(v)
        expected = dense.inverse([t @ t.T for t in T]) @ dense.E @ v
        rest = dense.E @ v - dense.C @ expected
        for got, want in zip(u, dense.split(expected[None]), strict=True):
            np.testing.assert_allclose(got, want[0], atol=1e-9)
        for got, want in zip(h, dense.split(rest[None]), strict=True):
            np.testing.assert_allclose(got, want[0], atol=1e-8 * np.abs(rest).max())

    @pytest.mark.parametrize("with_remainder", [False, True])
    def test_inverse_blocks(self, products, with_remainder):
        T = random_roots(products)
        dense = DenseEffects(products)
        N = symmetric(products.p + 1) * with_remainder
        blocks = Elimination(products).forward(T).inverse_blocks(N)
        D = dense.inverse([t @ t.T for t in T])
        U = D @ dense.E
        full = D + U @ N @ U.T
        for f, sums in enumerate(products.factors):
            block = slice(dense.offsets[f], dense.offsets[f + 1])
            by_level = full[block, block].reshape(sums.k, sums.n_levels, sums.k, sums.n_levels)
            np.testing.assert_allclose(blocks[f], np.einsum("ajbj->abj", by_level), atol=1e-9)


def test_no_variance_at_all_leaves_the_cross_products_as_they_are(products):
    zero = [np.zeros((f.k, f.k)) for f in products.factors]
    eliminated = Elimination(products).forward(zero)
    assert eliminated.logdet == 0.0
    np.testing.assert_array_equal(eliminated.S, products.EE)


def test_evaluations_do_not_share_numbers():
    products = PATTERNS["crossed slopes"].likelihood().products
    elimination = Elimination(products)
    first = elimination.forward(random_roots(products))
    before = first.S.copy(), first.solve([f.ZE for f in products.factors])
    elimination.forward(random_roots(products, seed=9)).adjoint(symmetric(products.p + 1))
    np.testing.assert_array_equal(first.S, before[0])
    again = first.solve([f.ZE for f in products.factors])
    for one, two in zip(before[1], again, strict=True):
        np.testing.assert_array_equal(one, two)


def test_nested_factors_are_never_made_dense():
    data = frame(4000)
    data["b"] = np.random.default_rng(1).integers(0, 300, len(data))
    data["c"] = data["b"] * 4 + np.random.default_rng(2).integers(0, 4, len(data))
    products = PATTERNS["nested"].likelihood(data=data.assign(a=data["b"], b=data["c"])).products
    made = Elimination(products).layout
    assert made.tail is None
    assert len(made.store) < 10 * sum(f.n_levels for f in products.factors)
