"""Second derivatives through an elimination.

For ``f = log|I + C_zz G| + sum(N * S)`` with N fixed and G depending linearly on parameters, each
batch adds a quadratic form in its own tangents dG_r and in those that earlier batches hand it,
dZZ_r and dB_r for its cross-products B = [A E] with everything later. With X the adjoint of what
the batch leaves behind, ``Bq = Q'B``, ``c_r = dB_r - dZZ_r D B`` and ``W = Bq X Bq'``,

    own, own            -tr(K dG_r K dG_s) + 2 tr(W dG_r K dG_s)
    own, handed down    tr(dG_r [Q'dZZ_s Q - 2 Q'c_s X Bq'])
    handed down, both   -tr(D dZZ_r D dZZ_s) - 2 tr(X c_r'D c_s)

summed over levels: the Hessian costs one pass of tangents, no differences. The tail obeys the same
equations with one big level.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from mixedfit.arrays import Array
from mixedfit.couplings import Padded
from mixedfit.elimination import Adjoint, Eliminated, StageState
from mixedfit.tail import TailBlock, TailState
from mixedfit.threads import threads_for

__all__ = ["second_order"]


def second_order(
    eliminated: Eliminated, adjoint: Adjoint, N: Array, tangents: list[Array]
) -> tuple[Array, Array]:
    """Tangents of the remainder S, and second derivatives of ``logdet + sum(N * S)``.

    Parameters
    ----------
    eliminated : Eliminated
    adjoint : Adjoint
        Of the same scalar.
    N : array of shape (p + 1, p + 1)
    tangents : list of arrays of shape (r_f, k, k)
        For each factor, dG for each of its parameters. Parameters are numbered factor by factor.

    Returns
    -------
    dS : array of shape (r, p + 1, p + 1)
    hessian : array of shape (r, r)
    """
    return _Tangents(eliminated, adjoint, N, tangents).run()


class _Tangents:
    """Tangents of every parameter, carried through the batches.

    ``store[r]`` and ``E[r]`` are the tangents of the store and of the later columns' E, for the
    parameters r whose factor has (in part) been eliminated.
    """

    def __init__(
        self, eliminated: Eliminated, adjoint: Adjoint, N: Array, tangents: list[Array]
    ) -> None:
        self.eliminated = eliminated
        self.adjoint = adjoint
        self.N = N
        self.dG = tangents
        ends = np.cumsum([0] + [len(t) for t in tangents])
        self.of_factor = [range(a, b) for a, b in pairwise(ends)]
        self.hessian = np.zeros((ends[-1], ends[-1]))
        self.dS = np.zeros((ends[-1], *eliminated.S.shape))
        self.store: dict[int, Array] = {}
        self.E: dict[int, Array] = {}

    def run(self) -> tuple[Array, Array]:
        tail = self.eliminated.tail
        for state, level in zip(self.eliminated.states, self.adjoint.levels, strict=True):
            later = tail is not None or state is not self.eliminated.states[-1]
            self._own(state, level)
            handed = self._handed_down(state) if state.stage.columns is not None else {}
            if later:
                self._hand_on(state, handed)
        if tail is not None:
            _TailTangents(self, tail).run()
        return self.dS, self.hessian

    def _own(self, state: StageState, level: Array) -> None:
        mine, dG = self.of_factor[state.stage.factor], self.dG[state.stage.factor]
        k, J, p1 = len(state.D), state.stage.J, len(self.N)
        K = state.K.reshape(k * k, J)
        sums = (K @ (2.0 * level.reshape(k * k, J) - K).T).reshape(k, k, k, k)
        between = sums.transpose(1, 2, 3, 0).reshape(k * k, k * k)
        flat = dG.reshape(len(dG), k * k)
        self.hessian[mine.start : mine.stop, mine.start : mine.stop] += flat @ between @ flat.T
        B = state.B.reshape(p1 * k, J)
        outer = (B @ B.T).reshape(p1, k, p1, k).transpose(1, 3, 0, 2).reshape(k * k, p1 * p1)
        self.dS[mine.start : mine.stop] -= (flat @ outer).reshape(len(dG), p1, p1)

    def _handed_down(self, state: StageState) -> dict[int, _Moved]:
        """Add the terms of earlier batches' parameters; returns their tangents at this batch."""
        moved = {
            r: _Moved.of(state, self.store[r], self.E[r], self.eliminated.store) for r in self.store
        }
        mine, dG = self.of_factor[state.stage.factor], self.dG[state.stage.factor]
        B = _crossed(state, self.eliminated.store)
        for s, m in moved.items():
            weighted = self._weighted(state, m.c)
            inner = np.einsum("baj,bcj,cdj->ad", state.Q, m.dZZ, state.Q, optimize=True)
            inner -= 2.0 * np.einsum("baj,mbj,mcj->ac", state.Q, weighted, B, optimize=True)
            cross = np.einsum("rab,ab->r", dG, inner)
            self.hessian[mine, s] += cross
            self.hessian[s, mine] += cross
            solved = np.einsum("abj,mbj->maj", state.D, weighted)
            rotated = np.einsum("abj,bcj,cdj->adj", state.D, m.dZZ, state.D, optimize=True)
            for r, other in moved.items():
                self.hessian[r, s] -= np.vdot(rotated, other.dZZ) + 2.0 * np.vdot(solved, other.c)
            first = np.einsum("eaj,faj->ef", m.dE, state.U)
            second = np.einsum("eaj,abj,fbj->ef", state.U, m.dZZ, state.U, optimize=True)
            self.dS[s] -= first + first.T - second
        return moved

    def _weighted(self, state: StageState, c: Array) -> Array:
        """``X c`` for c of shape (m + p + 1, k, J), with X the adjoint of what the batch leaves."""
        p1, coupling = len(self.N), state.stage.coupling
        out = np.empty_like(c)
        out[-p1:] = (self.N @ c[-p1:].reshape(p1, -1)).reshape(c[-p1:].shape)
        if isinstance(coupling, Padded):
            among = coupling.adjoint_among(self.adjoint.store)
            later = 0.5 * self.adjoint.E[:, coupling.columns]
            out[-p1:] += np.einsum("emj,maj->eaj", later, c[:-p1])
            out[:-p1] = np.einsum("mnj,naj->maj", among, c[:-p1])
            out[:-p1] += np.einsum("emj,eaj->maj", later, c[-p1:])
        return out

    def _hand_on(self, state: StageState, handed: dict[int, _Moved]) -> None:
        """Subtract this batch's tangents from what later columns have."""
        values, coupling = self.eliminated.store, state.stage.coupling
        mine = self.of_factor[state.stage.factor]
        for r in {*mine, *handed}:
            store = self.store.setdefault(r, np.zeros_like(values))
            E = self.E.setdefault(r, np.zeros_like(self.adjoint.E))
            if coupling is None:
                continue
            if r in mine:
                dG = self.dG[state.stage.factor][r - mine[0]]
                dD = np.einsum("abj,bc,dcj->adj", state.Q, dG, state.Q, optimize=True)
                coupling.fill(dD, values, store)
                coupling.push(np.einsum("abj,ebj->eaj", dD, state.E), values, E)
            if r in handed:
                assert isinstance(coupling, Padded)
                handed[r].leave(state, coupling, store, E, values)


@dataclass(frozen=True)
class _Moved:
    """What earlier batches hand to one batch, for one parameter.

    Attributes
    ----------
    dZZ : array of shape (k, k, J)
    dE : array of shape (p + 1, k, J)
    dA : array of shape (m, k, J)
    c : array of shape (m + p + 1, k, J)
        ``dB - dZZ D B`` for B = [A E].
    """

    dZZ: Array
    dE: Array
    dA: Array
    c: Array

    @classmethod
    def of(cls, state: StageState, store: Array, E: Array, values: Array) -> _Moved:
        stage = state.stage
        dZZ = store[stage.store].reshape(state.ZZ.shape)
        dE = E[:, stage.columns].reshape(state.E.shape)
        cE = dE - np.einsum("abj,ebj->eaj", dZZ, state.U)
        if not isinstance(stage.coupling, Padded):
            return cls(dZZ, dE, np.empty((0, *dE.shape[1:])), cE)
        dA = stage.coupling.values(store)
        UA = np.einsum("abj,mbj->maj", state.D, stage.coupling.values(values))
        cA = dA - np.einsum("abj,mbj->maj", dZZ, UA)
        return cls(dZZ, dE, dA, np.concatenate([cA, cE]))

    def leave(
        self, state: StageState, coupling: Padded, store: Array, E: Array, values: Array
    ) -> None:
        """Subtract the tangents of the batch's fill from those of what is left."""
        UA = np.einsum("abj,mbj->maj", state.D, coupling.values(values))
        cA = self.c[: len(UA)]
        coupling.fill_product(cA, UA, store)
        coupling.fill_product(UA, self.dA, store)
        coupling.push_product(state.U, cA, E)
        coupling.push_product(self.dE, UA, E)


def _crossed(state: StageState, values: Array) -> Array:
    """``Q'[A E]`` of shape (m + p + 1, k, J)."""
    coupling = state.stage.coupling
    if not isinstance(coupling, Padded):
        return state.B
    A = np.einsum("baj,mbj->maj", state.Q, coupling.values(values))
    return np.concatenate([A, state.B])


class _TailTangents:
    """The same terms for the tail, one big level."""

    def __init__(self, tangents: _Tangents, tail: TailState) -> None:
        self.all = tangents
        self.state = tail
        self.blocks = tail.tail.blocks
        self.layout = tangents.eliminated.elimination.layout

    def run(self) -> None:
        self._own()
        handed = {r: self._moved(r) for r in self.all.store}
        if not handed:
            return
        N, state = self.all.N, self.state
        for s, (dS, dE, rotated) in handed.items():
            c = dE - state.U @ dS
            weighted = N @ c
            for block in self.blocks:
                mine, dG = self._block(block)
                inner = self._inner(block, dS, rotated)
                crossed = np.einsum(
                    "eaj,ebj->ab", block.split(weighted @ state.Q), block.split(state.B)
                )
                cross = np.einsum("rab,ab->r", dG, inner - 2.0 * crossed)
                self.all.hessian[mine, s] += cross
                self.all.hessian[s, mine] += cross
            solved = weighted @ state.W
            for r, (other_S, other_E, other) in handed.items():
                other_c = other_E - state.U @ other_S
                among = np.einsum("ij,ji->", rotated, other) + 2.0 * np.vdot(solved, other_c)
                self.all.hessian[r, s] -= among
            first = dE @ state.U.T
            self.all.dS[s] -= first + first.T - state.U @ dS @ state.U.T

    def _block(self, block: TailBlock) -> tuple[range, Array]:
        return self.all.of_factor[block.factor], self.all.dG[block.factor]

    def _moved(self, r: int) -> tuple[Array, Array, Array]:
        """DS (q, q), dE (p + 1, q) and ``W dS`` of one parameter."""
        q = self.state.tail.q
        dS = self.all.store[r][self.layout.tail_store].reshape(q, q)
        if not self.state.tail.full:
            dS = self.state.tail.symmetric(dS)
        with threads_for(q):
            rotated = self.state.W @ dS
        return dS, np.ascontiguousarray(self.all.E[r][:, self.layout.tail_columns]), rotated

    def _inner(self, block: TailBlock, dS: Array, rotated: Array) -> Array:
        """``sum over levels of Q'dS Q``, shape (k, k)."""
        state = self.state
        if state.regular:  # Q = W G^-1
            T_inverse = state.inverses[self.blocks.index(block)]
            G_inverse = T_inverse.T @ T_inverse
            return G_inverse @ _level_sums(block, rotated.T, state.W) @ G_inverse
        with threads_for(state.tail.q):
            right = dS @ state.Q[:, block.columns]
        left = state.Q[:, block.columns].T
        return _level_sums(TailBlock(block.factor, block.levels, block.k, 0), left.T, right)

    def _own(self) -> None:
        state, N = self.state, self.all.N
        twice = 2.0 * state.B.T @ (N @ state.B) - state.K
        for f in self.blocks:
            mine, dG = self._block(f)
            for g in self.blocks:
                others, dG_other = self._block(g)
                shape = (f.k, f.J, g.k, g.J)
                K = state.K[f.columns, g.columns].reshape(shape)
                other = twice[f.columns, g.columns].reshape(shape)
                sums = np.einsum("aldm,blcm->adbc", K, other, optimize=True)
                self.all.hessian[np.ix_(mine, others)] += np.einsum(
                    "rab,adbc,scd->rs", dG, sums, dG_other, optimize=True
                )
            B = f.split(state.B)
            outer = np.einsum("eal,fbl->eafb", B, B)
            self.all.dS[mine] -= np.tensordot(dG, outer, axes=([1, 2], [1, 3]))


def _level_sums(block: TailBlock, X: Array, Y: Array) -> Array:
    """``sum_l X[:, (a, l)]'Y[:, (b, l)]`` for the components a, b of a block, shape (k, k)."""
    x = X[:, block.columns].reshape(len(X), block.k, block.J)
    y = Y[:, block.columns].reshape(len(Y), block.k, block.J)
    return np.einsum("ial,ibl->ab", x, y)
