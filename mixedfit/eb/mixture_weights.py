"""Maximum likelihood weights of a mixture with given components: a convex problem, certified.

Maximise ``sum_j c_j log (L w)_j`` over the simplex. The dual certificate: at any w the
log-likelihood is within ``sum c * (max_k g_k - 1)`` of its maximum, where ``g_k = sum_j c_j L_jk /
(L w)_j / sum c``; at the maximum no ``g_k`` exceeds 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import blas, lapack

from mixedfit.arrays import Array, IntArray
from mixedfit.eb.parts import parts
from mixedfit.errors import ModelError

__all__ = ["Rows", "Weights", "maximise_weights", "maximise_weights_in_chunks"]

_STEPS = 200
# Numbers in one chunk of rows.
_CHUNK = 400_000
# Matrices of up to this many numbers are held and solved at once.
_HELD = 6_000_000

Rows = Callable[[slice, "IntArray | None"], Array]


@dataclass(frozen=True)
class Weights:
    """A solution.

    Attributes
    ----------
    w : array of shape (K,)
    gap : float
        Bound on what the log-likelihood still lacks, in natural log units.
    """

    w: Array
    gap: float


def maximise_weights(
    L: Array,
    tolerance: float = 1e-9,
    start: Array | None = None,
    counts: Array | None = None,
) -> Weights:
    """Solve by a primal-dual interior-point method.

    Parameters
    ----------
    L : array of shape (n, K)
        Component densities, each row scaled by any positive number.
    tolerance : float
        Largest ``max g - 1`` that is accepted.
    start : array of shape (K,), optional
        Weights near the solution.
    counts : array of shape (n,), optional
        How many times each row is there; once by default.

    Returns
    -------
    Weights

    Notes
    -----
    ``min -mean log(L w) + sum w`` over ``w >= 0`` has the same solution (Kim, Carbonetto, Stephens
    & Anitescu 2020, J. Comput. Graph. Stat. 29). Newton steps on its KKT conditions cost ``n K^2``;
    some 20 are needed whatever n and K (Koenker & Mizera 2014, JASA 109).
    """
    n, K = L.shape
    share = np.full(n, 1.0 / n) if counts is None else counts / counts.sum()
    total = float(n) if counts is None else float(counts.sum())
    floor, mu = (1.0 / K, 1.0 / K) if start is None else (1e-5 / K, 1e-7)
    w = np.full(K, floor) if start is None else np.maximum(start, floor)
    w = w / w.sum()
    z = mu / w
    best, best_gap = w, np.inf
    for _ in range(_STEPS):
        g, H = _derivatives(L, w, share)
        # For w scaled to add up to 1 the gradient is g times the present sum.
        gap = float(np.max(g)) * float(w.sum()) - 1.0
        if gap < best_gap:
            best, best_gap = w, gap
        complementary = float(w @ z) / K
        if gap <= tolerance or complementary < 1e-18:
            break
        barrier = 0.1 * complementary
        H[np.diag_indices(K)] += z / w + 1e-14 * np.trace(H)
        factor, info = lapack.dpotrf(H, lower=1)
        if info:
            break
        step, _ = lapack.dpotrs(factor, g - 1.0 + barrier / w, lower=1)
        step_z = barrier / w - z - z / w * step
        w = w + _room(w, step) * step
        z = z + _room(z, step_z) * step_z
    return Weights(best / best.sum(), total * max(best_gap, 0.0))


def _derivatives(L: Array, w: Array, share: Array) -> tuple[Array, Array]:
    """``L' (c / f)`` and ``L' diag(c / f^2) L`` (its lower triangle), rows in chunks."""
    K = len(w)
    g, H = np.zeros(K), np.zeros((K, K), order="F")
    for part in parts(len(L), K, _CHUNK):
        rows = L[part]
        inverse = 1.0 / (rows @ w)
        scaled = rows * (np.sqrt(share[part]) * inverse)[:, None]
        g += (share[part] * inverse) @ rows
        # Row-major rows are the column-major transpose that dsyrk takes.
        H = blas.dsyrk(1.0, scaled.T, beta=1.0, c=H, trans=0, lower=1, overwrite_c=1)
    return g, H


def _room(x: Array, step: Array) -> float:
    """How much of a step keeps x positive, with a margin."""
    falling = step < 0.0
    if not falling.any():
        return 1.0
    return min(1.0, 0.995 * float(np.min(-x[falling] / step[falling])))


def maximise_weights_in_chunks(
    densities: Rows,
    n: int,
    K: int,
    compressed: Callable[[], tuple[Array, Array]],
    *,
    gap: float = 1e-4,
) -> Weights:
    """Solve without holding the n x K matrix.

    Parameters
    ----------
    densities : function of rows and columns
        Densities of some rows under some components (all when None), each row scaled by a positive
        number that depends on the row alone.
    n, K : int
    compressed : function
        Gives a much shorter matrix (m, K) that stands for all rows, and how many rows each of its
        own stands for, (m,).
    gap : float
        Largest bound on the missing log-likelihood that is accepted.

    Returns
    -------
    Weights
        Of the rows themselves, not of those that stand for them.

    Notes
    -----
    Few components have weight at the solution. Those found on the compressed rows, with their
    neighbours, are solved on all rows; a pass over all components then gives the certificate, and
    components that break it join (Lesperance & Kalbfleisch 1992, JASA 87).

    Raises
    ------
    ModelError
        If the bound is not reached.
    """
    if n * K <= _HELD:
        return maximise_weights(densities(slice(0, n), None), min(1e-9, gap / n))
    short, counts = compressed()
    first = maximise_weights(short, 1e-10, counts=counts)
    active = _with_neighbours(np.flatnonzero(first.w > 1e-6), K)
    start, bound = first.w, np.inf
    for _ in range(30):
        L = np.empty((n, len(active)))
        for part in parts(n, len(active), _CHUNK):
            L[part] = densities(part, active)
        solved = maximise_weights(L, 0.3 * gap / n, start[active])
        f = L @ solved.w
        del L
        g = np.zeros(K)
        for part in parts(n, K, _CHUNK):
            g += (1.0 / f[part]) @ densities(part, None)
        g /= n
        start = np.zeros(K)
        start[active] = solved.w
        bound = n * max(float(g.max()) - 1.0, 0.0)
        if bound <= gap:
            return Weights(start, bound)
        kept = active[solved.w > 1e-8]
        active = np.union1d(_with_neighbours(kept, K), _with_neighbours(_peaks(g, gap / n), K))
    raise ModelError(f"the mixture's weights are still {bound:.2g} log units from the maximum")


def _peaks(g: Array, tolerance: float) -> IntArray:
    """Components whose gradient is above 1 and above its neighbours'."""
    above = g > 1.0 + 0.1 * tolerance
    return np.flatnonzero(
        above & (g >= np.append(g[1:], -np.inf)) & (g >= np.append(-np.inf, g[:-1]))
    )


def _with_neighbours(places: IntArray, K: int) -> IntArray:
    near = np.concatenate([places - 1, places, places + 1])
    return np.unique(near[(near >= 0) & (near < K)])
