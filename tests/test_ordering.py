import numpy as np
import pytest

from mixedfit import ordering
from tests.cases import PATTERNS


def numbers(batches):
    return [(batch.factor, len(batch.levels)) for batch in batches]


@pytest.mark.parametrize(
    "name", [n for n, p in PATTERNS.items() if len(p.likelihood().products.factors) > 1]
)
@pytest.mark.parametrize("small_tail", [0, 64])
def test_every_level_is_eliminated_once_and_no_two_in_a_batch_meet(name, small_tail, monkeypatch):
    monkeypatch.setattr(ordering, "_SMALL_TAIL", small_tail)
    monkeypatch.setattr(ordering, "_DENSE_SHARE", 0.9)
    products = PATTERNS[name].likelihood().products
    order = ordering.order_levels(products)
    seen = {f: [] for f in range(len(products.factors))}
    for batch in (*order.batches, *order.tail):
        seen[batch.factor].extend(batch.levels)
    for f, levels in seen.items():
        assert sorted(levels) == list(range(products.factors[f].n_levels))
    # The graph after each batch: levels that met an eliminated one now meet each other.
    n = order.offsets[-1]
    graph = np.zeros((n, n), dtype=bool)
    for i, f in enumerate(order.others):
        for j, g in enumerate(order.others):
            if i != j:
                rows = slice(order.offsets[i], order.offsets[i + 1])
                columns = slice(order.offsets[j], order.offsets[j + 1])
                graph[rows, columns] = products.pair(f, g)[0, 0].toarray() != 0
    met = order.batches[0].neighbours.toarray() != 0
    graph |= met.T @ met
    for batch in order.batches[1:]:
        nodes = order.offsets[order.others.index(batch.factor)] + batch.levels
        among = graph[np.ix_(nodes, nodes)].copy()
        np.fill_diagonal(among, val=False)
        assert not among.any()
        own = graph[nodes].copy()
        own[:, nodes] = False
        np.testing.assert_array_equal(batch.neighbours.toarray() != 0, own)
        graph |= own.T @ own
        graph[nodes] = False
        graph[:, nodes] = False


def test_the_largest_factor_goes_first():
    products = PATTERNS["nested and crossed"].likelihood().products
    order = ordering.order_levels(products)
    sizes = [f.k * f.n_levels for f in products.factors]
    assert sizes[order.batches[0].factor] == max(sizes)
