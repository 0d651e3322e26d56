"""The profiled criterion of a Gaussian mixed model, with exact derivatives.

With relative covariances G and the remainder S of the elimination (`elimination`), whose Schur
complement on the response is ``r^2 = 1 / [S^-1]_yy``, and ``df = n`` (ML) or ``n - p`` (REML),

    -2 log L = log|I + C_zz G| + df (1 + log(2 pi r^2 / df)) [+ log|S_xx| for REML]

(Bates et al. 2015, J. Stat. Softw. 67(1), eqs. 34 and 41), mapped back from the working basis.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Literal, TypeAlias

import numpy as np
from scipy.linalg import lapack

from mixedfit.arrays import Array, IntArray
from mixedfit.covariance import Structure, joined_room
from mixedfit.crossproducts import CrossProducts
from mixedfit.curvature import second_order
from mixedfit.elimination import Adjoint, Eliminated, Elimination
from mixedfit.errors import ModelError
from mixedfit.layout import Layout
from mixedfit.linalg import spd_inverse
from mixedfit.moments import moment_covariances, moment_matrix, moment_right
from mixedfit.working import WorkingRows

__all__ = ["Evaluation", "Likelihood", "Method", "Remainder", "States"]

Method = Literal["REML", "ML"]
States: TypeAlias = tuple[Array, ...]


class Likelihood:
    """Criterion of a model as a function of the states of its covariance structures.

    Parameters
    ----------
    products : CrossProducts
    structures : list of (factor, Structure)
        One a random term, in the order in which their parameters are listed; the columns of a
        factor's terms stand side by side in that order.
    method : {"REML", "ML"}
    layout : Layout, optional
        Of the elimination; by default made for these products.
    """

    def __init__(
        self,
        products: CrossProducts,
        structures: list[tuple[int, Structure]],
        method: Method,
        layout: Layout | None = None,
    ) -> None:
        self.products = products
        self.structures = structures
        self.method = method
        self.elimination = Elimination(products, layout)
        self.df = products.n - (products.p if method == "REML" else 0)
        ends = np.cumsum([0] + [s.n_params for _, s in structures])
        self.slices = [slice(a, b) for a, b in pairwise(ends)]
        self.n_params = int(ends[-1])
        basis = products.basis
        self.constant = 2.0 * self.df * np.log(basis.scale) - products.sum_log_weights
        if method == "REML":
            self.constant += 2.0 * basis.fixed.logdet

    @cached_property
    def _weights(self) -> Array:
        """How often each entry of a rotated tangent of the remainder counts (`Remainder`)."""
        p = self.products.p
        weights = np.full((p + 1, p + 1), float(self.df))
        weights[:p, :p] = 1.0 if self.method == "REML" else 0.0
        return weights

    def with_response(self, rows: WorkingRows) -> Likelihood:
        """The same criterion for another response to the same rows."""
        products = self.products.with_response(rows)
        layout = self.elimination.layout.with_response(products)
        other = Likelihood(products, self.structures, self.method, layout)
        other.__dict__["_moment_matrix"] = self._moment_matrix
        other.__dict__["_unit_tangents"] = self._unit_tangents
        return other

    @cached_property
    def terms_of(self) -> list[list[tuple[int, slice]]]:
        """For each factor, its terms and their columns."""
        out: list[list[tuple[int, slice]]] = [[] for _ in self.products.factors]
        used = [0] * len(out)
        for t, (f, structure) in enumerate(self.structures):
            out[f].append((t, slice(used[f], used[f] + structure.size)))
            used[f] += structure.size
        return out

    def columns_of(self, term: int) -> slice:
        """A term's columns among those of its factor."""
        return dict(self.terms_of[self.structures[term][0]])[term]

    @cached_property
    def by_term(self) -> IntArray | None:
        """Place, among coordinates listed factor by factor, of each listed term by term.

        None where the two lists are the same.
        """
        index = np.arange(self.n_params)
        if not self.structures:
            return None
        parts = [index[self.slices[t]] for terms in self.terms_of for t, _ in terms]
        by_factor = np.concatenate(parts)
        return None if np.array_equal(by_factor, index) else np.argsort(by_factor)

    def _blocks(self, parts: Sequence[Array]) -> list[Array]:
        """Each factor's terms' arrays (..., k_t, k_t) put on the diagonal of one (..., k, k)."""
        out = []
        for sums, terms in zip(self.products.factors, self.terms_of, strict=True):
            if len(terms) == 1:
                out.append(parts[terms[0][0]])
                continue
            stacked = []
            for t, columns in terms:
                padded = np.zeros((*parts[t].shape[:-2], sums.k, sums.k))
                padded[..., columns, columns] = parts[t]
                stacked.append(padded)
            joined = stacked[0].ndim == 3
            out.append(np.concatenate(stacked) if joined else np.sum(stacked, axis=0))
        return out

    def by_factor(self, parts: Sequence[Array]) -> list[Array]:
        """Directions (m_t, k_t, k_t) of each term as those of the factors, (m_f, k, k)."""
        return self._blocks(parts)

    def factors(self, states: States) -> list[Array]:
        """Square roots T of G of shape (k, k), one a grouping factor."""
        return self._blocks(
            [s.factor(state) for (_, s), state in zip(self.structures, states, strict=True)]
        )

    def tangents(self, states: States) -> list[Array]:
        """Derivatives of each factor's G in the coordinates of its terms, (r_f, k, k)."""
        return self._blocks(
            [s.tangents(state) for (_, s), state in zip(self.structures, states, strict=True)]
        )

    @cached_property
    def linear_tangents(self) -> list[Array] | None:
        """Directions in which each factor's G moves linearly and that span its family, (m_f, k, k).

        None where the G of some term is no linear function of any parameters.
        """
        bases = []
        for _, structure in self.structures:
            basis = structure.linear_basis()
            if basis is None:
                return None
            bases.append(basis)
        return self._blocks(bases)

    @cached_property
    def unit(self) -> States:
        """States of unit covariance."""
        return tuple(s.start(np.eye(s.size)) for _, s in self.structures)

    @cached_property
    def _unit_tangents(self) -> list[Array]:
        return self.tangents(self.unit)

    @cached_property
    def _moment_matrix(self) -> Array:
        return moment_matrix(self.products, self._unit_tangents)

    def sigma_products(self, states: States | None = None) -> Array:
        """``tr(V_r V_s)`` for the derivatives ``V_r`` of Sigma in each coordinate.

        Parameters
        ----------
        states : tuple of arrays, optional
            Where; by default at unit covariances.

        Returns
        -------
        array of shape (r + 1, r + 1)
            In the order of the terms, the residual variance last.
        """
        if states is None:
            matrix = self._moment_matrix
        else:
            matrix = moment_matrix(self.products, self.tangents(states))
        if self.by_term is None:
            return matrix
        index = np.append(self.by_term, self.n_params)
        return matrix[index[:, None], index]

    def starts(self) -> Iterator[States]:
        """States to start from: the moment estimates, and others where terms ask for them."""
        tangents = self._unit_tangents
        right = moment_right(self.products, tangents)
        G = moment_covariances(self.products, tangents, self._moment_matrix, right)
        own = [
            G[f][columns, columns]
            for (f, _), columns in zip(
                self.structures, map(self.columns_of, range(len(self.structures))), strict=True
            )
        ]
        first = tuple(s.start(g) for (_, s), g in zip(self.structures, own, strict=True))
        yield first
        for t, ((_, structure), g) in enumerate(zip(self.structures, own, strict=True)):
            for other in structure.alternatives(g):
                yield (*first[:t], other, *first[t + 1 :])

    def start_points(self) -> Iterator[Evaluation]:
        """The criterion where a search may start."""
        return (self.at(states) for states in self.starts())

    def at(self, states: States) -> Evaluation:
        """Evaluate the criterion.

        Raises
        ------
        ModelError
            If the remainder is not positive definite: the model leaves no residual variation.
        """
        eliminated = self.elimination.forward(self.factors(states))
        remainder = Remainder.of(eliminated.S, self.df, self._weights)
        return Evaluation(self, states, eliminated, remainder)


@dataclass(frozen=True)
class Remainder:
    """The fixed effects and the residual sum of squares, from the remainder S.

    With ``S = L L'`` (the response last) and ``V = L^-1``, the last row of V is ``v' / r`` for
    ``v = (-b, 1)``, and the others hold ``S_xx^-1 = V_x'V_x``. Derivatives of

        df log r^2 [+ log|S_xx|]

    are sums over the entries of ``V dS V'``, an entry of the response's row or column counted df
    times and one of the fixed effects once (REML) or not at all (ML).

    Attributes
    ----------
    V : array of shape (p + 1, p + 1)
    r2 : float
        Penalised residual sum of squares.
    weights : array of shape (p + 1, p + 1)
        How often an entry of ``V dS V'`` counts.
    fun : float
        Criterion without ``log|I + C_zz G|``.
    """

    V: Array
    r2: float
    weights: Array
    fun: float

    @classmethod
    def of(cls, S: Array, df: int, weights: Array) -> Remainder:
        p = len(S) - 1
        L, info = lapack.dpotrf(S, lower=1, clean=1)
        diagonal = L.diagonal()
        if info or not np.isfinite(diagonal[p]):
            raise ModelError(
                "the model leaves no residual variation: the random effects reproduce the response "
                "exactly; use fewer random effects, or check for duplicated responses"
            )
        r2 = float(diagonal[p] ** 2)
        fun = df * (1.0 + math.log(2.0 * math.pi * r2 / df))
        if p and weights[0, 0]:
            fun += 2.0 * float(np.log(diagonal[:p]).sum())
        V, _ = lapack.dtrtri(L, lower=1)
        return cls(V, r2, weights, fun)

    @cached_property
    def v(self) -> Array:
        """``(-b, 1)``, shape (p + 1,)."""
        return self.V[-1] / self.V[-1, -1]

    @property
    def b(self) -> Array:
        """Fixed effects in the working basis, shape (p,)."""
        return -self.v[:-1]

    @property
    def P(self) -> Array:
        """``S_xx^-1``, shape (p, p)."""
        V_x = self.V[:-1, :-1]
        return V_x.T @ V_x

    @property
    def N(self) -> Array:
        """Derivative of the criterion in S, shape (p + 1, p + 1)."""
        return (self.V.T * self.weights.diagonal()) @ self.V

    def second_order(self, dS: Array) -> Array:
        """Second derivatives for tangents of S, (r, p + 1, p + 1) to (r, r)."""
        rotated = self.V @ dS @ self.V.T
        flat = rotated.reshape(len(dS), self.weights.size)
        return -(flat * self.weights.reshape(-1)) @ flat.T


@dataclass(frozen=True)
class Evaluation:
    """The criterion at one point, its derivatives and estimates on demand.

    Derivatives are in the coordinates of the structures' charts at this point, term by term.
    """

    likelihood: Likelihood
    states: States
    eliminated: Eliminated
    remainder: Remainder

    @cached_property
    def fun(self) -> float:
        """-2 log likelihood, or the REML criterion, on the scale of the data."""
        return self.eliminated.logdet + self.remainder.fun + self.likelihood.constant

    @cached_property
    def _N(self) -> Array:
        return self.remainder.N

    @cached_property
    def adjoint(self) -> Adjoint:
        """Derivatives of the criterion through the elimination."""
        return self.eliminated.adjoint(self._N)

    @cached_property
    def tangents(self) -> list[Array]:
        """Derivatives of each factor's G in the coordinates of its terms."""
        return self.likelihood.tangents(self.states)

    def _terms(self) -> Iterator[tuple[Structure, Array, slice]]:
        """Each term's structure, state and coordinates."""
        like = self.likelihood
        for (_, structure), state, rows in zip(
            like.structures, self.states, like.slices, strict=True
        ):
            yield structure, state, rows

    @property
    def delta(self) -> Array:
        """Parameters of the residual structure; here none."""
        return np.zeros(0)

    @property
    def delta_information(self) -> Array:
        """How far the residuals' covariance moves with each of them."""
        return np.zeros(0)

    @property
    def n_covariance(self) -> int:
        """Number of coordinates of G, which come before those of the residual structure."""
        return self.likelihood.n_params

    def with_states(self, states: States) -> Evaluation:
        """The criterion at other states of the covariance structures."""
        return self.likelihood.at(states)

    @property
    def log_r2_gradient(self) -> Array:
        """Derivatives of ``log r^2`` in the coordinates, shape (r,)."""
        v, r2 = self.remainder.v, self.remainder.r2
        return np.einsum("i,rij,j->r", v, self.remainder_tangents, v) / r2

    @cached_property
    def room(self) -> tuple[Array, Array] | None:
        """How far each coordinate may fall and rise; None where none has a bound."""
        return self.covariance_room()

    def covariance_room(self) -> tuple[Array, Array] | None:
        """The same for the coordinates of G."""
        rooms = [structure.room(state) for structure, state, _ in self._terms()]
        return joined_room(rooms, [s.n_params for _, s in self.likelihood.structures])

    def without_scratch(self) -> Evaluation:
        """The same point without what derivatives left behind, kept ones excepted."""
        tail = self.eliminated.tail
        if tail is None:
            return self
        slim = replace(self, eliminated=replace(self.eliminated, tail=replace(tail)))
        for name in ("gradient", "hessian", "remainder_tangents"):
            slim.__dict__[name] = getattr(self, name)
        return slim

    @property
    def scale(self) -> float:
        """The size of the square roots T."""
        return float(np.sqrt(sum(np.vdot(T, T) for T in self.eliminated.T)))

    def move(self, step: Array) -> Evaluation:
        """The criterion where a step in the coordinates leads."""
        return self.likelihood.at(self.moved_states(step))

    def moved_states(self, step: Array) -> States:
        """The states where a step in the coordinates of G leads."""
        return tuple(structure.move(state, step[rows]) for structure, state, rows in self._terms())

    @cached_property
    def gradient(self) -> Array:
        """First derivatives, shape (r,)."""
        return self.covariance_gradient()

    def covariance_gradient(self) -> Array:
        """First derivatives in the coordinates of G."""
        parts = [
            np.einsum("rab,ab->r", dG, G)
            for dG, G in zip(self.tangents, self.adjoint.G, strict=True)
        ]
        return self._ordered(np.concatenate([np.zeros(0), *parts]))

    @cached_property
    def _second_order(self) -> tuple[Array, Array]:
        """Tangents of the remainder, and second derivatives with its weights held fixed."""
        return second_order(self.eliminated, self.adjoint, self._N, self.tangents)

    @cached_property
    def remainder_tangents(self) -> Array:
        """Derivatives of the remainder S in each coordinate, shape (r, p + 1, p + 1)."""
        return self._ordered(self._second_order[0])

    @property
    def fixed_tangents(self) -> Array:
        """Derivatives of S_xx, ``X'V^-1 X``, in each coordinate, shape (r, p, p)."""
        p = self.likelihood.products.p
        return self.remainder_tangents[:, :p, :p]

    @cached_property
    def hessian(self) -> Array:
        """Second derivatives, shape (r, r)."""
        return self.covariance_hessian()

    def covariance_hessian(self) -> Array:
        """Second derivatives in the coordinates of G."""
        dS, H = self._second_order
        H = H + self.remainder.second_order(dS)
        return self._both_ordered(H) + self._curvature()

    @property
    def model_hessian(self) -> Array:
        """The Hessian, or the average information where that is much cheaper."""
        tail = self.eliminated.tail
        dear = tail is not None and tail.tail.q * self.likelihood.n_params > 1000
        return self.average_information if dear else self.hessian

    @cached_property
    def average_information(self) -> Array:
        """A cheap positive part of the Hessian, exact on average at the optimum, shape (r, r).

        Average of the observed and the expected second derivatives (Gilmour, Thompson & Cullis
        1995, Biometrics 51), ``(df / r^2) w_r'P w_s`` with working variates ``w_r = Z dG_r Z'P y``
        made orthogonal to y, plus the curvature of the parametrisation.
        """
        information = self.information_of(*self.covariance_variates())
        return self._both_ordered(information) + self._curvature()

    def covariance_variates(self) -> tuple[list[Array], Array, Array]:
        """Products of the working variates ``w_r = Z dG_r Z'P y``, factor by factor.

        Returns
        -------
        R : list of arrays of shape (r, k, J)
            ``Z'w_r`` a factor.
        EW : array of shape (p + 1, r)
            ``[X y]'w_r``.
        WW : array of shape (r, r)
        """
        products = self.likelihood.products
        _, h = self.eliminated.effects(self.remainder.v)
        variates = [
            np.einsum("rab,bj->raj", dG, hf) for dG, hf in zip(self.tangents, h, strict=True)
        ]
        by_variate = [products.multiply(f, t) for f, t in enumerate(variates)]
        R = [np.concatenate(parts) for parts in zip(*by_variate, strict=True)]
        owner = np.repeat(np.arange(len(variates)), [len(t) for t in variates])
        WW = np.zeros((len(owner), len(owner)))
        EW = np.zeros((products.p + 1, len(owner)))
        for f, t in enumerate(variates):
            mine = np.flatnonzero(owner == f)
            WW[mine] += np.tensordot(t, R[f], axes=([1, 2], [1, 2]))
            EW[:, mine] += np.tensordot(products.factors[f].ZE, t, axes=([1, 2], [1, 2]))
        return R, EW, WW

    def information_of(self, R: list[Array], EW: Array, WW: Array) -> Array:
        """``(df / r^2) w_r'P w_s`` without the part along y, for variates given by products."""
        WW, EW = WW.copy(), EW.copy()
        X = self.eliminated.solve(R) if R else []
        for x, r, sums in zip(X, R, self.likelihood.products.factors, strict=True):
            WW -= np.tensordot(r, x, axes=([1, 2], [1, 2]))
            EW -= np.tensordot(sums.ZE, x, axes=([1, 2], [1, 2]))
        S_inverse, _ = spd_inverse(self.eliminated.S)
        information = (self.likelihood.df / self.remainder.r2) * (WW - EW.T @ S_inverse @ EW)
        return np.asarray(0.5 * (information + information.T))

    def _ordered(self, values: Array) -> Array:
        """From factor by factor to term by term, along the first axis."""
        inverse = self.likelihood.by_term
        return values if inverse is None else values[inverse]

    def _both_ordered(self, H: Array) -> Array:
        inverse = self.likelihood.by_term
        return H if inverse is None else H[inverse[:, None], inverse]

    def _curvature(self) -> Array:
        """The parametrisation's own second derivatives, weighted by the adjoint of G."""
        like = self.likelihood
        if len(like.structures) == 1:
            return like.structures[0][1].curvature(self.states[0], self.adjoint.G[0])
        out = np.zeros((like.n_params, like.n_params))
        for terms, G in zip(like.terms_of, self.adjoint.G, strict=True):
            for t, columns in terms:
                rows = like.slices[t]
                structure = like.structures[t][1]
                adjoint = G[columns, columns]
                out[rows, rows] = structure.curvature(self.states[t], adjoint)
        return out
