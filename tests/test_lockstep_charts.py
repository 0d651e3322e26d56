from __future__ import annotations

import numpy as np
import pytest

from mixedfit.covariance import Diagonal, Structure, Unstructured
from mixedfit.lockstep_charts import Chart, DiagonalChart, TermCharts, UnstructuredChart

PAIRS: dict[str, tuple[Chart, Structure]] = {
    "unstructured": (UnstructuredChart(3), Unstructured(3)),
    "diagonal": (DiagonalChart(3), Diagonal(3)),
    "common variance": (DiagonalChart(3, homogeneous=True), Diagonal(3, homogeneous=True)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_the_same_as_one_by_one(name: str) -> None:
    chart, structure = PAIRS[name]
    rng = np.random.default_rng(0)
    F = rng.standard_normal((5, 3, 3))
    states = [structure.start(f @ f.T) for f in F]
    stacked = chart.of_root(np.stack([structure.factor(state) for state in states]))
    A = F + F.transpose(0, 2, 1)
    step = 0.1 * rng.standard_normal((5, chart.n_params))
    G = F @ F.transpose(0, 2, 1)
    ours = chart.root(chart.of_covariance(G))
    for T, C in zip(ours, G, strict=True):
        want = structure.factor(structure.start(C))
        np.testing.assert_allclose(T @ T.T, want @ want.T, atol=1e-9)
    tangents, curvature = chart.tangents(stacked), chart.curvature(stacked, A)
    for i, state in enumerate(states):
        root = chart.root(stacked)[i]
        G = structure.factor(state) @ structure.factor(state).T
        np.testing.assert_allclose(root @ root.T, G, atol=1e-12)
        # coordinates agree up to the signs of eigenvectors; what they say of a step does not
        ours = step[i] @ curvature[i] @ step[i]
        h = 1e-4
        moved = [chart.moved(stacked, s * step)[i] for s in (h, -h, 0.0)]
        up, down, here = (np.vdot(A[i], T @ T.T) for T in moved)
        np.testing.assert_allclose(ours, (up + down - 2 * here) / h**2, rtol=1e-5, atol=1e-5)
        slope = (moved[0] @ moved[0].T - moved[1] @ moved[1].T) / (2 * h)
        np.testing.assert_allclose(np.tensordot(step[i], tangents[i], 1), slope, atol=1e-6)


def test_directions_without_variance_are_removed() -> None:
    T = np.array([[[2.0, 0.0], [1.0, 1e-9]], [[2.0, 0.0], [1.0, 1.0]]])
    left, null = UnstructuredChart(2).without_null(T, 1e-6)
    assert null.tolist() == [True, False]
    assert np.linalg.matrix_rank(left[0]) == 1
    np.testing.assert_allclose(left, T, atol=1e-8)
    left, null = DiagonalChart(2).without_null(np.array([np.diag([1.0, 1e-9])]), 1e-6)
    assert null.tolist() == [True]
    assert left[0].tolist() == [[1.0, 0.0], [0.0, 0.0]]


def test_terms_side_by_side() -> None:
    charts = TermCharts([DiagonalChart(1), UnstructuredChart(2)], [slice(0, 1), slice(1, 3)])
    assert charts.size == 3
    assert charts.n_params == 4
    T = np.zeros((2, 3, 3))
    T[:, 0, 0] = 0.5
    T[:, 1:, 1:] = [[1.0, 0.0], [0.3, 2.0]]
    states = charts.of_root(T)
    root = charts.root(states)
    np.testing.assert_allclose(root @ root.transpose(0, 2, 1), T @ T.transpose(0, 2, 1))
    tangents = charts.tangents(states)
    assert not tangents[:, 0, 1:].any()
    assert not tangents[:, 1:, 0].any()
    chosen = charts.chosen(np.array([True, False]), charts.of_root(2.0 * T), states)
    root = charts.root(chosen)
    np.testing.assert_allclose(root[0] @ root[0].T, 4.0 * T[0] @ T[0].T)
    np.testing.assert_allclose(root[1] @ root[1].T, T[1] @ T[1].T)
    assert len(charts.take(states, np.array([True, False]))[0]) == 1
