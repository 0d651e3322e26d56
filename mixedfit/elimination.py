"""Elimination of the random effects from the cross-products, and the way back.

With ``G`` the relative covariance (block diagonal over levels) and ``C`` the cross-products of
[Z X y], `Elimination.forward` computes

    log |I + C_zz G|    and    S = C_ee - C_ez (G^-1 + C_zz)^-1 C_ze

for e = [X y], in batches of levels that do not meet (see `ordering`). A batch with diagonal blocks
ZZ and other cross-products E keeps, with G = T T' (a singular G is an ordinary point),

    D = (G^-1 + ZZ)^-1 = T (T'ZZ T + I)^-1 T',    U = D E.

Derivatives are taken in G, where with ``Q = I - D ZZ``, ``K = ZZ Q`` and ``B = Q'E``

    d log|I + ZZ G| = tr(K dG) + tr(D dZZ),
    d(E'D E)        = dE'U + U'dE - U'dZZ U + B'dG B.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy import sparse

from mixedfit.arrays import Array
from mixedfit.couplings import Padded
from mixedfit.crossproducts import CrossProducts, ProductsAdjoint
from mixedfit.layout import Layout, Stage
from mixedfit.linalg import inverse_and_logdet
from mixedfit.tail import TailState

__all__ = ["Adjoint", "Eliminated", "Elimination", "StageState"]


@dataclass(frozen=True)
class StageState:
    """One batch of levels, eliminated.

    Attributes
    ----------
    ZZ, D : arrays of shape (k, k, J)
    E, U : arrays of shape (p + 1, k, J)
    logdet : float
    """

    stage: Stage
    ZZ: Array
    D: Array
    E: Array
    U: Array
    logdet: float

    @cached_property
    def Q(self) -> Array:
        """``I - D ZZ``, shape (k, k, J)."""
        Q = -np.einsum("abj,bcj->acj", self.D, self.ZZ)
        for a in range(len(Q)):
            Q[a, a] += 1.0
        return Q

    @cached_property
    def K(self) -> Array:
        """``ZZ Q = ZZ - ZZ D ZZ``, symmetric, shape (k, k, J)."""
        ZZ = self.ZZ
        return ZZ - np.einsum("abj,bcj->acj", np.einsum("abj,bcj->acj", ZZ, self.D), ZZ)

    @cached_property
    def B(self) -> Array:
        """``Q'E``, shape (p + 1, k, J)."""
        return self.E - np.einsum("abj,ebj->eaj", self.ZZ, self.U)


@dataclass(frozen=True)
class Adjoint:
    """Derivatives of a scalar, carried backwards through an elimination.

    Attributes
    ----------
    G : list of arrays of shape (k, k)
        In the relative covariance of each factor, symmetric.
    levels : list of arrays of shape (k, k, J)
        For each batch, the negated derivative in G_j through what is left after it (the sum over j
        of ``K_j - levels_j`` is the batch's share of G).
    store : array
        In every number of the store.
    E : array of shape (p + 1, q)
        In every number of the later columns' E.
    """

    G: list[Array]
    levels: list[Array]
    store: Array
    E: Array


class Elimination:
    """The order, the layout and the constant numbers of an elimination.

    Parameters
    ----------
    products : CrossProducts
    layout : Layout, optional
        By default made for these products.
    """

    def __init__(self, products: CrossProducts, layout: Layout | None = None) -> None:
        self.products = products
        self.layout = layout or Layout.of(products)

    def forward(self, T: list[Array]) -> Eliminated:
        """Eliminate all random effects.

        Parameters
        ----------
        T : list of arrays of shape (k, k)
            One lower-triangular relative factor a grouping factor.
        """
        layout = self.layout
        store, E = layout.store.copy(), layout.E.copy()
        S = self.products.EE
        states = []
        for stage in layout.stages:
            state = _eliminate(stage, T[stage.factor], store, E)
            S = S - state.E.reshape(len(S), -1) @ state.U.reshape(len(S), -1).T
            states.append(state)
        logdet = sum((state.logdet for state in states), 0.0)
        tail = None
        if layout.tail is not None:
            matrix = store[layout.tail_store].reshape(layout.tail.q, layout.tail.q)
            tail_E = np.ascontiguousarray(E[:, layout.tail_columns])
            tail = layout.tail.forward(matrix, tail_E, [T[b.factor] for b in layout.tail.blocks])
            S = S - tail.E @ tail.U.T
            logdet += tail.logdet
        return Eliminated(self, T, states, tail, store, S, logdet)


def _eliminate(stage: Stage, T: Array, store: Array, E: Array) -> StageState:
    """Eliminate one batch, subtracting its fill from the store and E in place."""
    k, J = len(T), stage.J
    ZZ = stage.ZZ if stage.ZZ is not None else store[stage.store].reshape(k, k, J)
    stage_E = stage.E if stage.E is not None else E[:, stage.columns].reshape(len(E), k, J)
    TT = np.einsum("ab,cd->acbd", T, T).reshape(k * k, k * k)
    M = (TT.T @ ZZ.reshape(k * k, J)).reshape(k, k, J)
    for a in range(k):
        M[a, a] += 1.0
    inverse, logdet = inverse_and_logdet(M)
    D = (TT @ inverse.reshape(k * k, J)).reshape(k, k, J)
    U = np.einsum("abj,ebj->eaj", D, stage_E)
    if stage.coupling is not None:
        stage.coupling.fill(D, store, store)
        stage.coupling.push(U, store, E)
    return StageState(stage, ZZ, D, stage_E, U, float(logdet.sum()))


@dataclass(frozen=True)
class Eliminated:
    """The numbers of one elimination.

    Attributes
    ----------
    T : list of arrays of shape (k, k)
        The relative factors it was made with.
    states : list of StageState
    tail : TailState or None
    store : array
        The store after elimination.
    S : array of shape (p + 1, p + 1)
        The remainder.
    logdet : float
        ``log |I + C_zz G|``.
    """

    elimination: Elimination
    T: list[Array]
    states: list[StageState]
    tail: TailState | None
    store: Array
    S: Array
    logdet: float

    def adjoint(self, N: Array) -> Adjoint:
        """Derivatives of ``logdet + sum(N * S)`` for a symmetric N of shape (p + 1, p + 1)."""
        layout = self.elimination.layout
        G = [np.zeros_like(t) for t in self.T]
        store, E = np.empty_like(self.store), np.empty_like(layout.E)
        if self.tail is not None:
            tail = self.tail.adjoint(N)
            store[layout.tail_store] = tail.S.reshape(-1)
            E[:, layout.tail_columns] = tail.E
            for block, block_G in zip(self.tail.tail.blocks, tail.G, strict=True):
                G[block.factor] += block_G
        levels: list[Array] = []
        for state in reversed(self.states):
            stage = state.stage
            later = _through_later(state, store, E, self.store)
            level = np.einsum("eaj,ebj->abj", _times(N, state.B), state.B)
            if later is not None:
                level += _congruence(state.Q.transpose(1, 0, 2), later.D)
            G[stage.factor] += (state.K - level).sum(axis=2)
            levels.append(level)
            if stage.columns is None:
                continue
            store[stage.store] = _inverse_blocks(state, N, later).reshape(-1)
            through = 2.0 * _times(N, state.U)
            if later is not None:
                through += np.einsum("abj,ebj->eaj", state.D, later.E)
            if isinstance(stage.coupling, Padded):
                store[stage.coupling.location] = stage.coupling.adjoint_values(
                    state.D, state.U, store, E, self.store
                ).reshape(-1)
            E[:, stage.columns] = -through.reshape(len(E), -1)
        return Adjoint(G, levels[::-1], store, E)

    def products_adjoint(self, N: Array, adjoint: Adjoint) -> ProductsAdjoint:
        """Derivatives of ``logdet + sum(N * S)`` in the cross-products, given those of `adjoint`.

        Only for a layout made to be refreshed.
        """
        layout, products = self.elimination.layout, self.elimination.products
        places = layout.places_of
        assert places is not None
        ZZ = [np.empty_like(sums.ZZ) for sums in products.factors]
        ZE = [np.empty_like(sums.ZE) for sums in products.factors]
        values: dict[tuple[int, int], dict[tuple[int, int], Array]] = {}
        for state in self.states:
            stage, f = state.stage, state.stage.factor
            if stage.columns is not None:
                continue
            later = _through_later(state, adjoint.store, adjoint.E, self.store)
            ZZ[f][...] = _inverse_blocks(state, N, later)
            ZE[f][...] = -2.0 * _times(N, state.U)
            if later is not None:
                ZE[f] -= np.einsum("abj,ebj->eaj", state.D, later.E)
            if stage.coupling is not None:
                data = stage.coupling.adjoint_data(state.D, state.U, adjoint.store, adjoint.E)
                for g, where in places.first.items():
                    values[min(f, g), max(f, g)] = {
                        (a, b) if f < g else (b, a): data[a, w]
                        for a in range(stage.k)
                        for b, w in enumerate(where)
                    }
        store = adjoint.store.copy()
        if layout.tail is not None:  # each symmetric pair as two halves
            matrix = store[layout.tail_store].reshape(layout.tail.q, layout.tail.q)
            if not layout.tail.full:
                matrix[...] = 0.5 * (np.tril(matrix) + np.tril(matrix).T)
        for g, own in places.own.items():
            ZZ[g][...] = store[own]
        for factor, levels, k, columns in layout.places():
            ZE[factor][:, :, levels] = adjoint.E[:, columns].reshape(-1, k, len(levels))
        for (g, h), components in places.pairs.items():
            values[g, h] = {}
            for ab, targets in components.items():
                twice = np.where((targets >= layout.tail_store.start) & (g != h), 2.0, 1.0)
                values[g, h][ab] = twice * store[targets]
        pairs = {
            fg: {
                ab: sparse.csr_array((own, M.indices, M.indptr), shape=M.shape)
                for ab, M, own in ((ab, products.pairs[fg][ab], x) for ab, x in found.items())
            }
            for fg, found in values.items()
        }
        return ProductsAdjoint(ZZ, ZE, pairs, N)

    def inverse_blocks(self, N: Array) -> list[Array]:
        """Derivatives of ``logdet + sum(N * S)`` in ``Z_j'Z_j`` of every level.

        With N zero these are the diagonal blocks of ``(G^-1 + C_zz)^-1``.

        Returns
        -------
        list of arrays of shape (k, k, J), one a factor
        """
        adjoint = self.adjoint(N)
        out = [np.empty_like(sums.ZZ) for sums in self.elimination.products.factors]
        for state in self.states:
            stage = state.stage
            if stage.columns is None:
                later = _through_later(state, adjoint.store, adjoint.E, self.store)
                out[stage.factor][...] = _inverse_blocks(state, N, later)
            else:
                blocks = adjoint.store[stage.store].reshape(stage.k, stage.k, stage.J)
                out[stage.factor][:, :, stage.levels] = blocks
        if self.tail is not None:
            inverse = self.tail.W + self.tail.U.T @ N @ self.tail.U
            of_blocks = self.tail.diagonal_blocks(inverse)
            for block, values in zip(self.tail.tail.blocks, of_blocks, strict=True):
                out[block.factor][:, :, block.levels] = values
        return out

    def effects(self, v: Array) -> tuple[list[Array], list[Array]]:
        """``u = (G^-1 + C_zz)^-1 C_ze v`` and ``h = C_ze v - C_zz u``, which is ``G^-1 u``.

        Parameters
        ----------
        v : array of shape (p + 1,)

        Returns
        -------
        u, h : lists of arrays of shape (k, J), one a factor
        """
        layout = self.elimination.layout
        later = np.empty((1, layout.E.shape[1]))
        u = [np.empty(sums.ZE.shape[1:]) for sums in self.elimination.products.factors]
        h = [np.empty_like(x) for x in u]
        if self.tail is not None:
            later[0, layout.tail_columns] = v @ self.tail.U
            rest = (v @ self.tail.B)[None]
            for block in self.tail.tail.blocks:
                u[block.factor][:, block.levels] = block.split(v @ self.tail.U[None])[0]
                h[block.factor][:, block.levels] = block.split(rest)[0]
        for state in reversed(self.states):
            stage = state.stage
            e = np.tensordot(v, state.E, axes=1)
            if stage.coupling is not None:
                e = e - stage.coupling.pull(later, self.store)[0]
            own = np.einsum("abj,bj->aj", state.D, e)
            u[stage.factor][:, stage.levels] = own
            h[stage.factor][:, stage.levels] = e - np.einsum("abj,bj->aj", state.ZZ, own)
            if stage.columns is not None:
                later[0, stage.columns] = own.reshape(-1)
        return u, h

    def solve(self, R: list[Array]) -> list[Array]:
        """``(G^-1 + C_zz)^-1 R`` for right-hand sides over all random effects.

        Parameters
        ----------
        R : list of arrays of shape (m, k, J)
            One a grouping factor.

        Returns
        -------
        list of arrays of shape (m, k, J)
        """
        layout = self.elimination.layout
        m = len(R[0])
        later = np.empty((m, layout.E.shape[1]))
        for factor, levels, k, columns in layout.places():
            later[:, columns] = R[factor][:, :, levels].reshape(m, k * len(levels))
        halves = []
        for state in self.states:
            stage = state.stage
            own = (
                R[stage.factor]
                if stage.columns is None
                else later[:, stage.columns].reshape(m, stage.k, stage.J)
            )
            half = np.einsum("abj,mbj->maj", state.D, own)
            if stage.coupling is not None:
                stage.coupling.push(half, self.store, later)
            halves.append(half)
        if self.tail is not None:
            columns = layout.tail_columns
            later[:, columns] = self.tail.solve(np.ascontiguousarray(later[:, columns]))
        out = [np.empty_like(r) for r in R]
        for state, half in zip(reversed(self.states), reversed(halves), strict=True):
            stage, own = state.stage, half
            if stage.coupling is not None:
                pulled = stage.coupling.pull(later, self.store)
                own = half - np.einsum("abj,mbj->maj", state.D, pulled)
            if stage.columns is None:
                out[stage.factor] = own
            else:
                later[:, stage.columns] = own.reshape(m, -1)
        for factor, levels, k, columns in layout.places():
            out[factor][:, :, levels] = later[:, columns].reshape(m, k, len(levels))
        return out


class _Later(NamedTuple):
    """What a batch learns from the columns eliminated after it.

    D is the negated adjoint of its D through the fill, (k, k, J); E the later columns' adjoint as
    the batch meets it, (p + 1, k, J).
    """

    D: Array
    E: Array


def _through_later(state: StageState, store: Array, E: Array, values: Array) -> _Later | None:
    coupling = state.stage.coupling
    if coupling is None:
        return None
    pulled = coupling.pull(E, values)
    cross = 0.5 * np.einsum("eaj,ebj->abj", pulled, state.E)
    return _Later(cross + cross.transpose(1, 0, 2) + coupling.gather(store, values), pulled)


def _inverse_blocks(state: StageState, N: Array, later: _Later | None) -> Array:
    """``D + U N U'`` and what later columns add, (k, k, J)."""
    inverse = state.D + np.einsum("eaj,ebj->abj", _times(N, state.U), state.U)
    return inverse if later is None else inverse + _congruence(state.D, later.D)


def _times(N: Array, X: Array) -> Array:
    """N of shape (m, m) times X of shape (m, k, J)."""
    return (N @ X.reshape(len(X), -1)).reshape(X.shape)


def _congruence(A: Array, X: Array) -> Array:
    """``A_j X_j A_j'``, all of shape (k, k, J)."""
    AX = np.einsum("abj,bcj->acj", A, X)
    return np.einsum("abj,cbj->acj", AX, A)
