"""Charts of structures in which one standard deviation or correlation is a coordinate."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mixedfit.arrays import Array
from mixedfit.covariance import BlockDiagonal, Structure
from mixedfit.held import CholeskyChart

__all__ = ["ParameterChart", "parameter_chart"]


@dataclass(frozen=True)
class ParameterChart:
    """A structure in coordinates of which one is the parameter.

    Attributes
    ----------
    structure : Structure
    state : array
        The same G in it.
    coordinate : int
        Which of the coordinates.
    place : int
        Where in the state it is kept, the state read as one vector.
    on_angle : bool
        Whether the coordinate is the angle whose sine is the correlation.
    """

    structure: Structure
    state: Array
    coordinate: int
    place: int
    on_angle: bool = False


def parameter_chart(
    structure: Structure, state: Array, columns: tuple[int, ...], total: Array, inverse: Array
) -> ParameterChart | None:
    """The chart for one of a structure's parameters.

    Parameters
    ----------
    structure : Structure
    state : array
        In working coordinates.
    columns : tuple of int
        The column whose standard deviation is meant, or the two whose correlation is.
    total, inverse : arrays of shape (k, k)
        From working effects to the user's, and back.

    Returns
    -------
    ParameterChart or None
        None where the structure has no such coordinates.
    """
    coordinate = _coordinate_of(structure, state, columns, total)
    if coordinate is not None:
        return ParameterChart(structure, state, coordinate, coordinate)
    if isinstance(structure, BlockDiagonal):
        return _in_a_block(structure, state, columns, total, inverse)
    if structure.equivariance != "linear":
        return None
    order = [*columns, *(a for a in range(structure.size) if a not in columns)]
    root, frame = structure.factor(state), inverse[:, order]
    sizes = np.linalg.norm(np.linalg.solve(frame, root), axis=1)
    floor = 1e-3 * sizes.max(initial=0.0)
    chart = CholeskyChart(frame * np.maximum(sizes, floor if floor > 0.0 else 1.0))
    of_pair = len(columns) == 2
    place = CholeskyChart.ANGLE if of_pair else CholeskyChart.FIRST_SD
    return ParameterChart(chart, chart.of_root(root), place, place, of_pair)


def _coordinate_of(
    structure: Structure, state: Array, columns: tuple[int, ...], total: Array
) -> int | None:
    """The one coordinate on which a parameter depends; None where there is no one."""
    if state.shape != (structure.n_params,):
        return None
    generic = structure.start(np.diag(1.0 + 0.1 * np.arange(structure.size)) + 0.1)
    tangents = total @ structure.tangents(generic) @ total.T
    root = total @ structure.factor(generic)
    G = root @ root.T
    if len(columns) == 1:
        slopes = tangents[:, columns[0], columns[0]]
    else:
        a, b = columns
        slopes = tangents[:, a, b] / G[a, b]
        slopes -= 0.5 * (tangents[:, a, a] / G[a, a] + tangents[:, b, b] / G[b, b])
    found = np.flatnonzero(np.abs(slopes) > 1e-9 * np.abs(slopes).max())
    return int(found[0]) if len(found) == 1 else None


def _in_a_block(
    structure: BlockDiagonal, state: Array, columns: tuple[int, ...], total: Array, inverse: Array
) -> ParameterChart | None:
    """The chart of the block that holds the columns, among the others as they are."""
    column = coordinate = place = 0
    for i, block in enumerate(structure.blocks):
        shape = block.start(np.eye(block.size)).shape
        length = int(np.prod(shape))
        own = slice(column, column + block.size)
        if own.start <= min(columns) and max(columns) < own.stop:
            part = state[place : place + length].reshape(shape)
            within = tuple(a - own.start for a in columns)
            found = parameter_chart(block, part, within, total[own, own], inverse[own, own])
            if found is None:
                return None
            blocks = (*structure.blocks[:i], found.structure, *structure.blocks[i + 1 :])
            joined = np.concatenate([state[:place], found.state.ravel(), state[place + length :]])
            return replace(
                found,
                structure=BlockDiagonal(blocks),
                state=joined,
                coordinate=coordinate + found.coordinate,
                place=place + found.place,
            )
        column, coordinate, place = own.stop, coordinate + block.n_params, place + length
    return None
