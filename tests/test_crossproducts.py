from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixedfit.crossproducts import CrossProducts
from mixedfit.working import WorkingRows
from tests.cases import PATTERNS, Pattern, frame


def assert_same(one: CrossProducts, two: CrossProducts, rtol: float = 1e-12) -> None:
    assert one.n == two.n
    assert one.sum_log_weights == pytest.approx(two.sum_log_weights, rel=rtol, abs=1e-12)
    scale = np.abs(one.EE).max()
    np.testing.assert_allclose(one.EE, two.EE, atol=rtol * scale)
    for a, b in zip(one.factors, two.factors, strict=True):
        np.testing.assert_allclose(a.ZZ, b.ZZ, atol=rtol * scale)
        np.testing.assert_allclose(a.ZE, b.ZE, atol=rtol * scale)
    for fg, pair in one.pairs.items():
        for ab, M in pair.items():
            other = two.pairs[fg][ab].toarray()
            np.testing.assert_allclose(M.toarray(), other, atol=rtol * scale)


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_chunks_add_up_to_the_whole(pattern):
    design = pattern.design()
    basis = WorkingRows.of(design).basis
    whole = CrossProducts.of(design, basis)
    cuts = [0, 17, 100, 101, design.n]
    chunks = [CrossProducts.of(design.take(slice(a, b)), basis) for a, b in pairwise(cuts)]
    assert_same(sum(chunks[1:], chunks[0]), whole)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_rows_may_come_in_any_order(seed):
    data = frame()
    shuffled = data.sample(frac=1.0, random_state=seed % 2**31)
    for name in ("slope, weighted, offset", "crossed slopes"):
        design = PATTERNS[name].design(data)
        basis = WorkingRows.of(design).basis
        other = PATTERNS[name].design(shuffled)
        assert_same(CrossProducts.of(other, basis), CrossProducts.of(design, basis))


def test_chunks_in_other_bases_are_refused():
    design = PATTERNS["slope"].design()
    with pytest.raises(ValueError, match="one working basis"):
        CrossProducts.of(design) + CrossProducts.of(design)


def test_sums_are_those_of_the_working_columns():
    design = PATTERNS["crossed slopes"].design()
    products = CrossProducts.of(design)
    basis, root = products.basis, np.sqrt(design.weights)[:, None]
    X = design.X @ basis.fixed.total
    E = np.column_stack([X, (design.y - X @ basis.coefficients) / basis.scale]) * root
    Z = [t.Z @ b.total * root for b, t in zip(basis.random, design.terms, strict=True)]
    of_factor = [
        np.hstack([z for z, t in zip(Z, design.terms, strict=True) if t.factor == f])
        for f in range(2)
    ]
    np.testing.assert_allclose(products.EE, E.T @ E, atol=1e-10)
    for f, sums in enumerate(products.factors):
        for j in (0, 3):
            rows = design.factors[f].codes == j
            z = of_factor[f][rows]
            np.testing.assert_allclose(sums.ZZ[:, :, j], z.T @ z)
            np.testing.assert_allclose(sums.ZE[:, :, j], E[rows].T @ z)
    cell = (design.factors[0].codes == 2) & (design.factors[1].codes == 1)
    expected = of_factor[0][cell].T @ of_factor[1][cell]
    got = [
        [products.pairs[0, 1][a, b][2, 1] for b in range(expected.shape[1])]
        for a in range(expected.shape[0])
    ]
    np.testing.assert_allclose(got, expected)
    t = np.random.default_rng(0).standard_normal((2, *products.factors[0].ZE.shape[1:]))
    for g, product in enumerate(products.multiply(0, t)):
        for m in range(2):
            fitted = np.einsum("na,an->n", of_factor[0], t[m][:, design.factors[0].codes])
            k = of_factor[g].shape[1]
            sums_by_level = np.array(
                [
                    np.bincount(design.factors[g].codes, fitted * of_factor[g][:, a])
                    for a in range(k)
                ]
            )
            np.testing.assert_allclose(product[m], sums_by_level, atol=1e-10)


def test_weights_of_two_equal_two_rows():
    data = frame()
    twice = np.repeat(np.arange(len(data)), 2)
    weighted = Pattern("y ~ x + (x | g)", weighted=True).design(data.assign(w=2.0))
    basis = WorkingRows.of(weighted).basis
    one = CrossProducts.of(weighted, basis)
    two = CrossProducts.of(PATTERNS["slope"].design(data.iloc[twice].reset_index()), basis)
    for a, b in (
        (one.EE, two.EE),
        (one.factors[0].ZZ, two.factors[0].ZZ),
        (one.factors[0].ZE, two.factors[0].ZE),
    ):
        np.testing.assert_allclose(a, b, atol=1e-10)
