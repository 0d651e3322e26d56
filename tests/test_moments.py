import numpy as np
import pytest

from mixedfit.moments import moment_covariances, moment_matrix, moment_right
from mixedfit.working import WorkingRows
from tests.cases import PATTERNS


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_the_matrix_holds_traces_of_products_of_the_derivatives_of_sigma(pattern):
    design, likelihood = pattern.design(), pattern.likelihood()
    basis = likelihood.products.basis
    root = np.ones(design.n) if design.weights is None else np.sqrt(design.weights)
    V = []
    by_factor = [[] for _ in design.factors]
    for t, term in enumerate(design.terms):
        by_factor[term.factor].append(t)
    for f, terms in enumerate(by_factor):
        same = design.factors[f].codes[:, None] == design.factors[f].codes
        for t in terms:
            z = basis.random[t].apply(design.terms[t].Z).T * root[:, None]
            structure = design.terms[t].structure
            V += [(z @ d @ z.T) * same for d in structure.tangents(likelihood.unit[t])]
    V.append(np.eye(design.n))
    e = WorkingRows.of(design, basis).y
    tangents = likelihood.tangents(likelihood.unit)
    matrix = moment_matrix(likelihood.products, tangents)
    right = moment_right(likelihood.products, tangents)
    expected = np.array([[np.sum(a * b) for b in V] for a in V])
    np.testing.assert_allclose(matrix, expected, atol=1e-10 * expected.max())
    np.testing.assert_allclose(right, [e @ a @ e for a in V], atol=1e-10 * right.max())


def test_estimates_are_positive_definite_even_without_variance():
    likelihood = PATTERNS["three columns"].likelihood()
    tangents = likelihood.tangents(likelihood.unit)
    matrix = moment_matrix(likelihood.products, tangents)
    right = moment_right(likelihood.products, tangents)
    right[:-1] = 0.0
    (G,) = moment_covariances(likelihood.products, tangents, matrix, right)
    assert np.linalg.eigvalsh(G)[0] > 0.0
