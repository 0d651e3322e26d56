"""Correlation matrices of many rows against the same matrices written out."""

from __future__ import annotations

import numpy as np
import pytest

from mixedfit.arrays import Array
from mixedfit.correlation_kernels import (
    Batch,
    Blocks,
    Chain,
    CorrelationAt,
    Exchangeable,
    by_group,
)

RNG = np.random.default_rng(4)
CODES = np.array([1, 0, 2, 1, 1, 0, 1, 2, 0, 1])
TIMES = np.array([3.0, 0.0, 1.0, 0.5, 4.0, 2.5, 1.5, 4.0, 1.0, 7.0])
WHOLE = np.array([3.0, 0.0, 1.0, 0.0, 4.0, 2.0, 1.0, 4.0, 1.0, 7.0])
SAME = CODES[:, None] == CODES


class Lags:
    """A table of three lags: 1, a, a^2 with a = tanh(delta)."""

    def __call__(self, delta: Array) -> tuple[Array, Array]:
        a = np.tanh(delta[0])
        slope = 1.0 - a**2
        return np.array([1.0, a, a**2]), np.array([[0.0, slope, 2.0 * a * slope]])

    def natural(self, delta: Array) -> tuple[list[str], Array]:
        return ["a"], np.tanh(delta)


def chain(times: Array, signed: bool) -> Chain:
    order = np.lexsort((times, CODES))
    lag = np.diff(times[order], prepend=np.nan)
    lag[np.diff(CODES[order], prepend=-1) != 0] = np.inf
    return Chain(order, lag, signed)


def blocks() -> Blocks:
    """Two groups of three with matrices of their own, a group of three like the first, a row."""
    near = np.array([[0, 1, 2], [1, 0, 1], [2, 1, 0]])
    turned = np.array([[0, 2, 1], [2, 0, 1], [1, 1, 0]])
    threes = Batch(
        np.array([[7, 0, 3], [1, 8, 2], [4, 9, 6]]), np.array([0, 1, 0]), np.stack([near, turned])
    )
    alone = Batch(np.array([[5]]), np.array([0]), np.zeros((1, 1, 1), dtype=int))
    return Blocks(10, (threes, alone), Lags())


def written_out(name: str, delta: Array) -> Array:
    """The matrix from its formula, entry by entry."""
    if name == "exchangeable":
        lowest = -1.0 / (np.bincount(CODES).max() - 1.0)
        odds = np.exp(delta[0])
        rho = (odds + lowest) / (1.0 + odds)  # inverts delta = log((rho - lowest) / (1 - rho))
        return np.where(SAME, rho, 0.0) + (1.0 - rho) * np.eye(10)
    if name == "blocks":
        C, (values, _) = np.eye(10), Lags()(delta)
        for batch in blocks().batches:
            for rows, pattern in zip(batch.rows, batch.pattern, strict=True):
                C[np.ix_(rows, rows)] = values[batch.index[pattern]]
        return C
    times = WHOLE if name == "whole times" else TIMES
    rho = np.tanh(delta[0] / 2.0) if name == "whole times" else 1.0 / (1.0 + np.exp(-delta[0]))
    return np.where(SAME, rho ** np.abs(times[:, None] - times), 0.0)


KINDS = {
    "whole times": chain(WHOLE, signed=True),
    "any times": chain(TIMES, signed=False),
    "exchangeable": Exchangeable(CODES, np.bincount(CODES).astype(float)),
    "blocks": blocks(),
}


@pytest.fixture(params=[-0.7, 0.4, 1.1])
def delta(request: pytest.FixtureRequest) -> Array:
    return np.array([request.param])


@pytest.mark.parametrize("name", KINDS)
def test_every_verb_is_that_of_the_matrix_written_out(name: str, delta: Array) -> None:
    at: CorrelationAt = KINDS[name].at(delta)
    C, identity = written_out(name, delta), np.eye(10)
    np.testing.assert_allclose(at.multiply(identity), C, atol=1e-12)
    W = at.whiten(identity).T
    np.testing.assert_allclose(W.T @ W, np.linalg.inv(C), atol=1e-10)
    np.testing.assert_allclose(at.whiten_transposed(identity), W, atol=1e-12)
    L = at.multiply_root(identity).T
    np.testing.assert_allclose(L @ L.T, C, atol=1e-12)
    N = at.normalize(identity).T
    np.testing.assert_allclose(N @ C @ N.T, identity, atol=1e-10)
    assert at.logdet == pytest.approx(np.linalg.slogdet(C)[1], abs=1e-12)


@pytest.mark.parametrize("name", KINDS)
def test_derivatives_are_those_of_the_matrix_written_out(name: str, delta: Array) -> None:
    at: CorrelationAt = KINDS[name].at(delta)
    h = 1e-6
    dC = (written_out(name, delta + h) - written_out(name, delta - h)) / (2.0 * h)
    A, B = RNG.standard_normal((2, 3, 10))
    np.testing.assert_allclose(at.derivative(A)[0], A @ dC, atol=1e-8)
    expected = np.einsum("mi,ij,mj->", A, dC, B)
    np.testing.assert_allclose(at.adjoint(A, B), [expected], atol=1e-8)
    C = written_out(name, delta)
    np.testing.assert_allclose(at.trace, [np.trace(np.linalg.solve(C, dC))], atol=1e-8)
    if at.knows_inverse:
        np.testing.assert_allclose(at.adjoint_of_products(A @ C, B @ C), [expected], atol=1e-8)


def test_negative_correlations_alternate_with_the_parity_of_the_lag() -> None:
    C = KINDS["whole times"].at(np.array([-2.0])).multiply(np.eye(10))
    apart = np.abs(WHOLE[:, None] - WHOLE)
    assert (C[SAME & (apart % 2 == 1)] < 0.0).all()
    assert (C[SAME & (apart % 2 == 0)] > 0.0).all()


def test_normalised_rows_of_an_exchangeable_group_begin_with_its_mean() -> None:
    # nlme's order: the group's mean, then each row less the mean of those before it.
    at = KINDS["exchangeable"].at(np.array([0.4]))
    V = RNG.standard_normal((1, 10))
    rows = np.flatnonzero(CODES == 1)
    got, own = at.normalize(V)[0, rows], V[0, rows]
    C = written_out("exchangeable", np.array([0.4]))[np.ix_(rows, rows)]
    assert got[0] == pytest.approx(own.sum() / np.sqrt(C.sum()))
    for j in range(1, len(rows)):
        contrast = np.zeros(len(rows))
        contrast[j], contrast[:j] = 1.0, -1.0 / j
        assert got[j] == pytest.approx(contrast @ own / np.sqrt(contrast @ C @ contrast))


@pytest.mark.parametrize("delta", [-30.0, 30.0])
@pytest.mark.parametrize("name", ["whole times", "any times", "exchangeable"])
def test_determinants_near_the_limits_keep_their_digits(name: str, delta: float) -> None:
    at = KINDS[name].at(np.array([delta]))
    t = float(np.exp(-abs(delta)))
    sizes = np.bincount(CODES)
    if name == "exchangeable":
        width = 1.0 + 1.0 / (sizes.max() - 1.0)  # 1 - lowest
        if delta > 0.0:  # rho = 1 - width t: (1 - rho)^(n-1) (1 + (n-1) rho)
            expected = np.sum((sizes - 1) * np.log(width * t) + np.log(sizes))
        else:  # rho = lowest + width t: only the largest group is nearly singular
            lowest = -1.0 / (sizes.max() - 1.0)
            between = np.where(
                sizes == sizes.max(), (sizes - 1) * width * t, 1.0 + (sizes - 1) * lowest
            )
            expected = np.sum(np.log(between) + (sizes - 1) * np.log(width))
    elif delta > 0.0 or name == "whole times":
        # |rho| = 1 - 2 t (or 1 - t): 1 - rho^(2 lag) = 2 lag (1 - |rho|).
        lag = KINDS[name].lag
        gap = 2.0 * t if name == "whole times" else t
        expected = np.sum(np.log(2.0 * lag[np.isfinite(lag)] * gap))
    else:
        lag = KINDS[name].lag
        expected = np.sum(np.log1p(-(t ** (2.0 * lag[np.isfinite(lag)]))))
    assert at.logdet == pytest.approx(expected, rel=1e-9)


def test_rows_by_group_keep_their_order_within() -> None:
    order, starts = by_group(CODES)
    np.testing.assert_array_equal(order, np.argsort(CODES, kind="stable"))
    np.testing.assert_array_equal(starts, np.searchsorted(CODES[order], [0, 1, 2]))


def test_blocks_of_one_size_may_be_many() -> None:
    # More than a few matrices take another road to the inverse of the factor.
    rows = RNG.permutation(24).reshape(8, 3)
    near = np.array([[0, 1, 2], [1, 0, 1], [2, 1, 0]])
    many = Blocks(24, (Batch(rows, np.arange(8), np.stack([near] * 8)),), Lags())
    W = many.at(np.array([0.5])).whiten(np.eye(24)).T
    C = many.at(np.array([0.5])).multiply(np.eye(24))
    np.testing.assert_allclose(W @ C @ W.T, np.eye(24), atol=1e-12)


@pytest.mark.parametrize("name", ["whole times", "exchangeable"])
def test_a_singular_matrix_is_refused(name: str) -> None:
    with pytest.raises(np.linalg.LinAlgError):
        KINDS[name].at(np.array([800.0]))
