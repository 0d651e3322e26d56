"""Where cross-products are kept: every number once, and elimination of the first batch there."""

from __future__ import annotations

import numpy as np
import pytest

from mixedfit import layout as layout_module
from mixedfit.layout import Layout, mirror
from tests.cases import PATTERNS, frame
from tests.dense import DenseEffects

SEVERAL = [
    "nested",
    "nested three deep, slopes",
    "crossed",
    "crossed slopes",
    "crossed, sparse, slopes",
    "nested and crossed",
]


@pytest.fixture(params=SEVERAL)
def products(request):
    return PATTERNS[request.param].likelihood().products


def other_numbers(name):
    """Products of other columns in the same rows: the pattern stays."""
    data = frame()
    rng = np.random.default_rng(8)
    moved = data.assign(x=rng.standard_normal(len(data)), y=rng.standard_normal(len(data)))
    return PATTERNS[name].likelihood(data=moved).products


def later_numbers(layout, dense):
    """Each later column's number among those of the dense matrix."""
    out = np.full(layout.E.shape[1], -1)
    for factor, levels, k, columns in layout.places():
        J = dense.factors[factor].n_levels
        own = dense.offsets[factor] + np.arange(k)[:, None] * J + levels
        assert (out[columns] == -1).all()
        out[columns] = own.ravel()
    return out


def test_later_columns_are_each_numbered_once_with_their_products(products):
    layout, dense = Layout.of(products), DenseEffects(products)
    first = layout.stages[0]
    later = later_numbers(layout, dense)
    own = np.arange(*dense.offsets[first.factor : first.factor + 2])
    np.testing.assert_array_equal(np.sort(np.concatenate([own, later])), np.arange(len(dense.C)))
    np.testing.assert_array_equal(layout.E, dense.E[later].T)
    np.testing.assert_array_equal(first.E.reshape(len(first.E), -1), dense.E[own].T)


def test_every_product_of_later_columns_has_a_place_of_its_own(products):
    layout = Layout.of(products, refreshable=True)
    places = layout.places_of
    kept = [where.ravel() for where in places.own.values()]
    for g, where in places.own.items():
        np.testing.assert_array_equal(layout.store[where], products.factors[g].ZZ)
    for pair, components in places.pairs.items():
        for ab, where in components.items():
            np.testing.assert_array_equal(layout.store[where], products.pairs[pair][ab].data)
            kept.append(where)
    together = np.concatenate(kept) if kept else np.zeros(0, dtype=int)
    # A tail keeps one triangle, where products of two components of a level share a place.
    symmetric = layout.tail is not None
    assert symmetric or len(np.unique(together)) == len(together)
    empty = np.setdiff1d(np.arange(len(layout.store)), together)
    if not (layout.tail is not None and layout.tail.full):
        np.testing.assert_array_equal(layout.store[empty], 0.0)


@pytest.mark.parametrize("few", [0, 6], ids=["maps of pairs", "padded"])
@pytest.mark.parametrize("advantage", [0.0, np.inf], ids=["dense", "sparse"])
def test_the_first_batch_leaves_its_schur_complement(products, few, advantage, monkeypatch):
    monkeypatch.setattr(layout_module, "_FEW_COLUMNS", few)
    monkeypatch.setattr(layout_module, "_DENSE_ADVANTAGE", advantage)
    layout, dense = Layout.of(products), DenseEffects(products)
    (first,) = layout.stages  # all else is the tail
    later = later_numbers(layout, dense)
    own = np.arange(*dense.offsets[first.factor : first.factor + 2])
    # D is block diagonal over levels; any symmetric one will do.
    rng = np.random.default_rng(1)
    D = rng.standard_normal((first.k, first.k, first.J))
    D = D + D.transpose(1, 0, 2)
    full = np.zeros((len(own), len(own)))
    for a in range(first.k):
        for b in range(first.k):
            rows, columns = a * first.J + np.arange(first.J), b * first.J + np.arange(first.J)
            full[rows, columns] = D[a, b]
    A = dense.C[np.ix_(own, later)]
    store = layout.store.copy()
    first.coupling.fill(D, layout.store, store)
    q = len(later)
    got = store[layout.tail_store].reshape(q, q)
    expected = dense.C[np.ix_(later, later)] - A.T @ full @ A
    kept = np.tril_indices(q) if not layout.tail.full else np.indices((q, q)).reshape(2, -1)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(got[tuple(kept)], expected[tuple(kept)], atol=1e-11 * scale)


@pytest.mark.parametrize("name", SEVERAL)
def test_other_products_of_the_same_pattern_take_the_same_places(name):
    layout = Layout.of(PATTERNS[name].likelihood().products, refreshable=True)
    other = other_numbers(name)
    again, anew = layout.with_products(other), Layout.of(other, refreshable=True)
    np.testing.assert_array_equal(again.store, anew.store)
    np.testing.assert_array_equal(again.E, anew.E)
    first, fresh = again.stages[0], anew.stages[0]
    np.testing.assert_array_equal(first.ZZ, fresh.ZZ)
    np.testing.assert_array_equal(first.E, fresh.E)
    X = np.random.default_rng(0).standard_normal((2, layout.E.shape[1]))
    np.testing.assert_allclose(
        first.coupling.pull(X, again.store), fresh.coupling.pull(X, anew.store), atol=1e-12
    )


def test_one_factor_needs_no_later_places():
    products = PATTERNS["slope"].likelihood().products
    layout = Layout.of(products)
    (only,) = layout.stages
    assert only.ZZ is products.factors[0].ZZ
    assert only.coupling is layout.tail is None
    assert layout.store.size == layout.E.size == 0


def test_a_lower_triangle_is_mirrored_in_place():
    A = np.random.default_rng(2).standard_normal((4, 4))
    S = A + A.T
    flat = np.tril(S).ravel()
    mirror(flat, 4)
    np.testing.assert_array_equal(flat.reshape(4, 4), S)
