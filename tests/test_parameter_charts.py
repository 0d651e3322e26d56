from __future__ import annotations

import numpy as np
import pytest

from mixedfit.covariance import (
    AR1,
    BlockDiagonal,
    CompoundSymmetry,
    Diagonal,
    Structure,
    Unstructured,
)
from mixedfit.parameter_charts import parameter_chart

BLOCKS = BlockDiagonal((Diagonal(2), Unstructured(3), AR1(3, homogeneous=False)))


def parameter(G: np.ndarray, columns: tuple[int, ...]) -> float:
    a, b = columns[0], columns[-1]
    return np.sqrt(G[a, a]) if len(columns) == 1 else G[a, b] / np.sqrt(G[a, a] * G[b, b])


@pytest.mark.parametrize(
    ("structure", "columns"),
    [
        (Unstructured(3), (1,)),
        (Unstructured(3), (2, 0)),
        (Diagonal(3), (2,)),
        (Diagonal(3, homogeneous=True), (0,)),
        (CompoundSymmetry(4), (1, 0)),
        (AR1(3), (0, 1)),
        (BLOCKS, (1,)),
        (BLOCKS, (3,)),
        (BLOCKS, (2, 4)),
        (BLOCKS, (5, 6)),
        (BLOCKS, (7,)),
    ],
    ids=repr,
)
def test_only_its_coordinate_moves_the_parameter(structure: Structure, columns) -> None:
    k = structure.size
    rng = np.random.default_rng(0)
    F = rng.standard_normal((k, 2 * k))
    state = structure.start(F @ F.T)
    if structure.equivariance == "linear":
        total = rng.standard_normal((k, k)) + 3.0 * np.eye(k)
    else:
        total = (2.0 if structure.equivariance == "scalar" else 1.0) * np.eye(k)
    chart = parameter_chart(structure, state, columns, total, np.linalg.inv(total))
    assert chart is not None

    def G(s: np.ndarray, which: Structure) -> np.ndarray:
        T = total @ which.factor(s)
        return T @ T.T

    np.testing.assert_allclose(
        G(chart.state, chart.structure), G(state, structure), rtol=1e-9, atol=1e-9
    )
    here = parameter(G(chart.state, chart.structure), columns)
    step = 1e-3 * rng.standard_normal(chart.structure.n_params)
    step[chart.coordinate] = 0.0
    moved = chart.structure.move(chart.state, step)
    own = parameter(G(moved, chart.structure), columns)
    if chart.on_angle or len(columns) == 2:
        assert own == pytest.approx(here, rel=1e-9)
    value = chart.state.copy()
    if chart.on_angle:
        assert np.sin(value[chart.place]) == pytest.approx(here)
    if len(columns) == 1:  # relative to the scale of the chart, zero is zero
        value[chart.place] = 0.0
        assert parameter(G(value, chart.structure), columns) == pytest.approx(0.0, abs=1e-12)


def test_what_is_no_coordinate() -> None:
    structure = AR1(3)
    state = structure.start(np.eye(3))
    eye = np.eye(3)
    assert parameter_chart(structure, state, (0, 2), eye, eye) is not None  # rho squared
    blocks = BlockDiagonal((Unstructured(2), Unstructured(2)))
    state = blocks.start(np.eye(4))
    assert parameter_chart(blocks, state, (0, 3), np.eye(4), np.eye(4)) is None
