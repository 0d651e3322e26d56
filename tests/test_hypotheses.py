import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mixedfit.hypotheses import marginal, sequential, type_1, type_2, type_3
from mixedfit.matrices import IndicatorTerm


def _two_way(cells):
    """Indicators of two factors and their interaction at the given cells, and reduced columns."""
    a, b = np.array(cells).T
    A, B = np.eye(3)[a], np.eye(2)[b]
    both = (A[:, :, None] * B[:, None]).reshape(len(cells), 6)
    full = np.hstack([np.ones((len(cells), 1)), A, B, both])
    a_, b_ = frozenset("a"), frozenset("b")
    empty = frozenset()
    terms = [
        IndicatorTerm(0, 1, empty, empty),
        IndicatorTerm(1, 4, a_, empty),
        IndicatorTerm(4, 6, b_, empty),
        IndicatorTerm(6, 12, a_ | b_, empty),
    ]
    X = np.hstack([full[:, :1], A[:, 1:], B[:, 1:], both[:, [3, 5]]])
    return full, terms, X


COLUMNS = [np.array([0]), np.array([1, 2]), np.array([3]), np.array([4, 5])]
CELLS = [(i, j) for i in range(3) for j in range(2)]


def test_type_3_of_a_full_two_way_table():
    full, terms, X = _two_way(CELLS * 2)
    _, L_a, L_b, L_ab = type_3(full, terms, X)
    # Differences from the first level, averaged over the other factor.
    np.testing.assert_allclose(L_a, [[0, 1, 0, 0, 0.5, 0], [0, 0, 1, 0, 0, 0.5]], atol=1e-10)
    np.testing.assert_allclose(L_b, [[0, 0, 0, 1, 1 / 3, 1 / 3]], atol=1e-10)
    np.testing.assert_allclose(L_ab, np.eye(6)[4:], atol=1e-10)


@settings(deadline=None)
@given(st.lists(st.integers(1, 5), min_size=6, max_size=6))
def test_type_3_does_not_depend_on_how_many_rows_each_cell_has(counts):
    cells = [cell for cell, count in zip(CELLS, counts, strict=True) for _ in range(count)]
    full, terms, X = _two_way(cells)
    want = type_3(*_two_way(CELLS))
    for L, expected in zip(type_3(full, terms, X), want, strict=True):
        np.testing.assert_allclose(L, expected, atol=1e-8)


def test_sequential_rows_sum_up_what_terms_explain():
    rng = np.random.default_rng(0)
    X = np.column_stack([np.ones(30), rng.standard_normal((30, 5)) + 2.0])
    y = rng.standard_normal(30)
    b = np.linalg.lstsq(X, y, rcond=None)[0]
    for upto, L in zip((1, 3, 4, 6), sequential(X, COLUMNS), strict=True):
        before = upto - len(L)

        def explained(p):
            return y @ (X[:, :p] @ np.linalg.lstsq(X[:, :p], y, rcond=None)[0]) if p else 0.0

        covariance = L @ np.linalg.inv(X.T @ X) @ L.T
        np.testing.assert_allclose(
            (L @ b) @ np.linalg.solve(covariance, L @ b), explained(upto) - explained(before)
        )


def test_type_1_is_sequential_in_the_columns():
    X = np.random.default_rng(1).standard_normal((20, 6))
    for own, other in zip(type_1(X, COLUMNS), sequential(X, COLUMNS), strict=True):
        np.testing.assert_array_equal(own, other)


def test_type_2_tests_a_term_after_those_that_do_not_contain_it():
    cells = CELLS * 2 + CELLS[:3] * 2
    full, terms, X = _two_way(cells)
    L = type_2(X, COLUMNS, terms)
    y = np.random.default_rng(2).standard_normal(len(X))
    b = np.linalg.lstsq(X, y, rcond=None)[0]

    def rss(columns):
        fitted = X[:, columns] @ np.linalg.lstsq(X[:, columns], y, rcond=None)[0]
        return ((y - fitted) ** 2).sum()

    gained = rss([0, 3]) - rss([0, 1, 2, 3])
    covariance = L[1] @ np.linalg.inv(X.T @ X) @ L[1].T
    np.testing.assert_allclose((L[1] @ b) @ np.linalg.solve(covariance, L[1] @ b), gained)
    assert full.shape[1] == 12


def test_marginal_hypotheses_are_the_coefficients():
    np.testing.assert_array_equal(marginal(6, COLUMNS)[1], np.eye(6)[1:3])


def test_containment_of_terms():
    a, b, x = (frozenset(v) for v in ("a", "b", "x"))
    empty = frozenset()
    main, both = IndicatorTerm(0, 1, a, empty), IndicatorTerm(1, 2, a | b, empty)
    slope, slopes = IndicatorTerm(2, 3, empty, x), IndicatorTerm(3, 4, a, x)
    assert main.within(both)
    assert slope.within(slopes)
    assert not main.within(slopes)
    assert not both.within(main)
    assert not main.within(main)
