"""Three layouts of the products of a batch with later columns, against plain sums over levels."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from scipy import sparse

from mixedfit.couplings import Coupling, Dense, Padded, Paired, Scatter

K, J, Q, P = 2, 6, 7, 3
RNG = np.random.default_rng(12)
# Which later columns each level meets; the third level meets none.
MET = RNG.random((J, Q)) < 0.5
MET[2], MET[3] = False, True
LEVEL, COLUMN = np.nonzero(MET)


def spread(data: np.ndarray) -> np.ndarray:
    """The products A, (k, J, q), from their numbers level by level, (k, nnz)."""
    A = np.zeros((K, J, Q))
    A[:, LEVEL, COLUMN] = data
    return A


def padded(data: np.ndarray, location: slice | None = None) -> Padded:
    count = MET.sum(axis=1)
    slot = np.arange(len(LEVEL)) - np.repeat(np.cumsum(count) - count, count)
    columns = np.full((count.max(), J), -1)
    columns[slot, LEVEL] = COLUMN
    one, other, level = np.nonzero((columns[:, None] >= 0) & (columns[None] >= columns[:, None]))
    # A lower triangle: the row is the later column of a pair.
    targets = columns[other, level] * Q + columns[one, level]
    keep = columns[one, level] >= 0
    sources = (other * len(columns) + one) * J + level
    scatter = Scatter(targets[keep], sources[keep], len(columns) ** 2 * J)
    if location is not None:
        return Padded(columns, scatter, K, location=location)
    A = np.zeros((len(columns), K, J))
    A[slot, :, LEVEL] = data.T
    return Padded(columns, scatter, K, A=A, entries=(slot, LEVEL))


def paired(data: np.ndarray) -> Paired:
    blocks = [sparse.csr_array((d, (LEVEL, COLUMN)), shape=(J, Q)) for d in data]
    pairs = [
        (LEVEL[e], e, f) for e in range(len(LEVEL)) for f in range(e + 1) if LEVEL[e] == LEVEL[f]
    ]
    levels, first, second = (np.array(column) for column in zip(*pairs, strict=True))
    targets = COLUMN[first] * Q + COLUMN[second]
    return Paired(blocks, levels, first, second, targets, Q * Q, refreshable=True)


def dense(data: np.ndarray) -> Dense:
    return Dense(spread(data), (LEVEL, COLUMN))


@dataclass(frozen=True)
class Case:
    """A coupling, and whether the store it fills has both triangles."""

    make: object
    both: bool
    data: np.ndarray = field(default_factory=lambda: RNG.standard_normal((K, len(LEVEL))))

    @property
    def coupling(self) -> Coupling:
        return self.make(self.data)

    def kept(self, S: np.ndarray) -> np.ndarray:
        return S if self.both else np.tril(S)


KINDS = {"padded": Case(padded, False), "paired": Case(paired, False), "dense": Case(dense, True)}
NO_STORE = np.zeros(0)


@pytest.fixture(params=KINDS)
def case(request):
    return KINDS[request.param]


@pytest.fixture
def D():
    D = np.random.default_rng(1).standard_normal((K, K, J))
    return D + D.transpose(1, 0, 2)


@pytest.fixture
def adjoint(case):
    """Derivatives of a scalar in each stored number."""
    S = np.random.default_rng(2).standard_normal((Q, Q))
    return case.kept(S + S.T)


def filled(case, data, D):
    """What `fill` should subtract."""
    A = spread(data)
    return case.kept(np.einsum("ajq,abj,bjr->qr", A, D, A))


def test_filling_subtracts_the_products_over_the_levels(case, D):
    out = np.random.default_rng(3).standard_normal(Q * Q)
    expected = out.reshape(Q, Q) - filled(case, case.data, D)
    case.coupling.fill(D, NO_STORE, out)
    np.testing.assert_allclose(out.reshape(Q, Q), expected, atol=1e-12)


def test_rows_are_pushed_to_later_columns_and_pulled_back(case):
    rng = np.random.default_rng(4)
    U, E, X = (
        rng.standard_normal((P, K, J)),
        rng.standard_normal((P, Q)),
        rng.standard_normal((P, Q)),
    )
    A = spread(case.data)
    expected = E - np.einsum("eaj,ajq->eq", U, A)
    case.coupling.push(U, NO_STORE, E)
    np.testing.assert_allclose(E, expected, atol=1e-12)
    pulled = case.coupling.pull(X, NO_STORE)
    np.testing.assert_allclose(pulled, np.einsum("ajq,eq->eaj", A, X), atol=1e-12)


def test_gathering_is_the_adjoint_of_filling(case, D, adjoint):
    # <gather(adjoint), D> is what filling takes off <adjoint, store>, whatever D.
    gathered = case.coupling.gather(adjoint.ravel(), NO_STORE)
    np.testing.assert_allclose(gathered, gathered.transpose(1, 0, 2), atol=1e-12)
    expected = np.sum(adjoint * filled(case, case.data, D))
    assert np.sum(gathered * D) == pytest.approx(expected)


def test_the_adjoint_of_the_numbers_is_a_central_difference(case, D, adjoint):
    rng = np.random.default_rng(5)
    U, E = rng.standard_normal((P, K, J)), rng.standard_normal((P, Q))

    def scalar(data):
        pushed = np.einsum("eaj,ajq->eq", U, spread(data))
        return -np.sum(adjoint * filled(case, data, D)) - np.sum(E * pushed)

    got = case.coupling.adjoint_data(D, U, adjoint.ravel(), E)
    numeric = np.empty_like(got)
    for place in np.ndindex(*got.shape):
        step = np.zeros_like(case.data)
        step[place] = 1e-4
        numeric[place] = (scalar(case.data + step) - scalar(case.data - step)) / 2e-4
    np.testing.assert_allclose(got, numeric, atol=1e-7)


def test_other_numbers_take_the_same_pattern(case, D):
    data = RNG.standard_normal(case.data.shape)
    out = np.zeros(Q * Q)
    case.coupling.with_data(data).fill(D, NO_STORE, out)
    np.testing.assert_allclose(out.reshape(Q, Q), -filled(case, data, D), atol=1e-12)


def test_numbers_that_depend_on_parameters_are_read_from_the_store(D):
    case = KINDS["padded"]
    known = padded(case.data).values(NO_STORE)
    store = np.concatenate([np.zeros(Q * Q), known.ravel(), [np.nan]])
    coupling = padded(case.data, slice(Q * Q, Q * Q + known.size))
    out = np.zeros(Q * Q)
    coupling.fill(D, store, out)
    np.testing.assert_allclose(out.reshape(Q, Q), -filled(case, case.data, D), atol=1e-12)


def test_scattering_adds_up_and_gathering_is_its_adjoint():
    rng = np.random.default_rng(6)
    targets, sources = np.array([3, 0, 3, 5]), np.array([1, 2, 0, 2])
    scatter = Scatter(targets, sources, 4)
    vector, values = rng.standard_normal(6), rng.standard_normal(4)
    out = vector.copy()
    scatter.subtract(out, values)
    expected = vector.copy()
    np.subtract.at(expected, targets, values[sources])
    np.testing.assert_allclose(out, expected)
    assert scatter.gather(vector) @ values == pytest.approx(vector @ (vector - out))
