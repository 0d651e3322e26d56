"""Cluster-robust covariance of the fixed effects, with small-sample degrees of freedom.

With V as fitted, ``W = V^-1`` and ``M = (X'W X)^-1``, clusters j of rows and marginal residuals e,

    V_robust = M [ sum_j (W X)_j' A_j e_j e_j' A_j (W X)_j ] M,

where A_j = I (CR0), or makes the covariance exact when V is right (CR2):

    A_j = D_j' B_j^{-1/2} D_j,   D_j'D_j = V_jj,   B_j = D_j (V_jj - X_j M X_j') D_j'

(Bell & McCaffrey 2002, Surv. Methodol. 28; Pustejovsky & Tipton 2018, J. Bus. Econ. Stat. 36).
Clusters may cut across the model's groups: W mixes the rows of different clusters then, and what
those share is left out, as in any estimator that takes clusters as independent. No matrix
is larger than a cluster's, and those of large clusters shrink to the rank of their effects.

Everything is in working coordinates and relative to sigma^2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, cast, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import sparse

from mixedfit.arrays import Array, IntArray
from mixedfit.ddf import Ddf, FixedInference, inference
from mixedfit.deletion import weighted_rows
from mixedfit.errors import ModelError
from mixedfit.fit import Fit
from mixedfit.frames import is_nested
from mixedfit.influence import grouping_of
from mixedfit.residual import Whitening
from mixedfit.residual_likelihood import ResidualEvaluation
from mixedfit.threads import one_thread

__all__ = ["RobustKind", "check_kind", "chosen_inference", "default_cluster", "robust_inference"]

RobustKind = Literal["CR0", "CR1", "CR2"]

# Eigenvalues of B_j, relative to the largest, below which a direction has no residual.
_NOTHING = 1e-10
# Numbers held at once by a batch of clusters.
_ROOM = 4_000_000
# Clusters times rows beyond which correlations between clusters take too much room.
_MOST = 50_000_000


def check_kind(kind: str) -> RobustKind:
    """The name of a robust covariance, or an error that lists them.

    Raises
    ------
    ModelError
    """
    if kind not in get_args(RobustKind):
        raise ModelError(f"a robust covariance is one of 'CR0', 'CR1', 'CR2', not {kind!r}")
    return cast("RobustKind", kind)


def default_cluster(fit: Fit) -> str:
    """The grouping factor within whose levels those of all others lie.

    Raises
    ------
    ModelError
        If there is none.
    """
    factors = fit.design.factors
    for candidate in reversed(factors):
        if all(is_nested(other.codes, candidate.codes) for other in factors):
            return candidate.name
    names = ", ".join(repr(factor.name) for factor in factors)
    raise ModelError(
        f"none of the grouping factors {names} nests the others: say which rows belong together "
        "with cluster='name', or a column of labels"
    )


def _residual_groups(fit: Fit) -> pd.Series:
    """The groups of the residual correlation of a fit without random effects."""
    groups = None if fit.design.residual is None else fit.design.residual.groups
    if groups is None:
        raise ModelError("this fit has no grouping factor: name the clusters with cluster=")
    return pd.Series(np.array(groups.labels)[groups.codes], name="the residual correlation")


@dataclass(frozen=True)
class _Residuals:
    """Residual covariance R of the rows, relative to sigma^2.

    Attributes
    ----------
    variances : array of shape (n,)
        Diagonal of R.
    whitening : Whitening or None
        Of rows multiplied by ``root``, where residuals are correlated.
    groups : int array of shape (n,) or None
        Rows of different groups are uncorrelated; None where all are.
    root : array of shape (n,)
    """

    variances: Array
    whitening: Whitening | None
    groups: IntArray | None
    root: Array

    @cached_property
    def equal(self) -> bool:
        """Whether R is a multiple of the identity."""
        return self.groups is None and bool(np.ptp(self.variances) == 0.0)

    def multiply(self, rows: Array) -> Array:
        """``R v`` for each row v, (m, n) to (m, n)."""
        if self.whitening is None:
            return rows * self.variances
        return self.whitening.multiply(rows / self.root) / self.root

    def within(self, clusters: IntArray) -> bool:
        """Whether residuals of different clusters are uncorrelated."""
        return self.groups is None or is_nested(self.groups, clusters)

    def among(self, rows: IntArray, alone: bool) -> Array:
        """R among the rows of clusters of one size, (b, s) to (b, s, s).

        Rows of different clusters are uncorrelated unless ``alone``: each is then probed by itself.
        """
        b, s = rows.shape
        out = np.zeros((b, s, s))
        if self.groups is None:
            out[:, np.arange(s), np.arange(s)] = self.variances[rows]
            return out
        for own in np.split(np.arange(b), b if alone else 1):
            step = max(1, _ROOM // len(self.variances))
            for start in range(0, s, step):
                columns = np.arange(start, min(start + step, s))
                probes = np.zeros((len(columns), len(self.variances)))
                probes[np.arange(len(columns))[:, None], rows[own][:, columns].T] = 1.0
                moved = self.multiply(probes)
                out[own[:, None, None], np.arange(s)[:, None], columns] = np.moveaxis(
                    moved[:, rows[own]], 0, 2
                )
        return out


@dataclass(frozen=True)
class _WorkingModel:
    """Rows and covariance of a fit, the rows as they are rather than whitened.

    Attributes
    ----------
    X, WX : arrays of shape (n, p)
    ZT : list of arrays of shape (n, k)
        Columns of each grouping factor times the square root of their effects' covariance.
    codes : tuple of int arrays of shape (n,)
    residuals : _Residuals
    M : array of shape (p, p)
    e : array of shape (n,)
        Marginal residuals.
    clusters : int array of shape (n,)
    m : int
    """

    X: Array
    WX: Array
    ZT: list[Array]
    codes: tuple[IntArray, ...]
    residuals: _Residuals
    M: Array
    e: Array
    clusters: IntArray
    m: int

    @classmethod
    def of(cls, fit: Fit, clusters: IntArray, m: int) -> _WorkingModel:
        point = fit.evaluation
        rows = point.problem.rows.rows if isinstance(point, ResidualEvaluation) else fit.rows
        root = np.ones(fit.n) if rows.root_weights is None else rows.root_weights
        whitening = point.whitened.whitening if isinstance(point, ResidualEvaluation) else None
        groups = point.problem.residual.groups if isinstance(point, ResidualEvaluation) else None
        variances = (1.0 if whitening is None else whitening.sd**2) * root**-2.0
        return cls(
            (rows.X / root).T,
            (weighted_rows(fit, point.eliminated)[:-1] * root).T,
            [(T.T @ Z / root).T for Z, T in zip(rows.Z, point.eliminated.T, strict=True)],
            rows.codes,
            _Residuals(variances, whitening, None if groups is None else groups.codes, root),
            point.remainder.P,
            (rows.y - point.remainder.b @ rows.X) / root,
            clusters,
            m,
        )

    @cached_property
    def separate(self) -> bool:
        """Whether residuals of different clusters are uncorrelated."""
        return self.residuals.within(self.clusters)

    def covariance(self, rows: IntArray) -> Array:
        """V among the rows of clusters of one size, (b, s) to (b, s, s)."""
        V = self.residuals.among(rows, alone=not self.separate)
        for ZT, codes in zip(self.ZT, self.codes, strict=True):
            own, levels = ZT[rows], codes[rows]
            V += (own @ own.transpose(0, 2, 1)) * (levels[:, :, None] == levels[:, None, :])
        return V


def _by_cluster(clusters: IntArray, m: int, width: int) -> Iterator[IntArray]:
    """Rows of clusters of one size, (b, s), in batches with room for b s ``width`` numbers."""
    order = np.argsort(clusters, kind="stable")
    sizes = np.bincount(clusters, minlength=m)
    starts = np.cumsum(sizes) - sizes
    for size in np.unique(sizes[sizes > 0]):
        members = np.flatnonzero(sizes == size)
        step = max(1, _ROOM // int(size * max(size, width)))
        for batch in np.split(members, np.arange(step, len(members), step)):
            yield order[starts[batch][:, None] + np.arange(size)]


def _correction(V: Array, X: Array, M: Array) -> Array:
    """``D'(D (V - X M X') D')^{-1/2} D`` for ``D'D = V``: (b, s, s) and (b, s, p) to (b, s, s)."""
    L = np.linalg.cholesky(V)
    Lt = L.transpose(0, 2, 1)
    values, vectors = np.linalg.eigh(Lt @ (V - X @ M @ X.transpose(0, 2, 1)) @ L)
    kept = values > _NOTHING * values.max(axis=1, keepdims=True)
    roots = np.where(kept, np.where(kept, values, 1.0) ** -0.5, 0.0)
    half = L @ vectors
    return np.asarray((half * roots[:, None, :]) @ half.transpose(0, 2, 1))


def _effect_columns(model: _WorkingModel, rows: IntArray) -> Array | None:
    """The columns of all effects met in clusters (b, s), shape (b, s, r), where they are few."""
    b, s = rows.shape
    parts, room = [], s // 2 - model.X.shape[1]
    for ZT, codes in zip(model.ZT, model.codes, strict=True):
        local, L = _local_levels(codes[rows])
        k = ZT.shape[1]
        room -= L * k
        if room < 0:
            return None
        wide = np.zeros((b, s, L * k))
        places = local[:, :, None] * k + np.arange(k)
        np.put_along_axis(wide, places, ZT[rows], axis=2)
        parts.append(wide)
    return np.concatenate([np.zeros((b, s, 0)), *parts], axis=2)


def _local_levels(levels: IntArray) -> tuple[IntArray, int]:
    """Levels (b, s) numbered anew in each cluster, and the most a cluster has."""
    order = np.argsort(levels, axis=1)
    ordered = np.take_along_axis(levels, order, axis=1)
    place = np.zeros(levels.shape, dtype=np.int64)
    place[:, 1:] = np.cumsum(ordered[:, 1:] != ordered[:, :-1], axis=1)
    local = np.empty_like(place)
    np.put_along_axis(local, order, place, axis=1)
    return local, int(place[:, -1].max()) + 1


def _corrected(model: _WorkingModel, rows: IntArray) -> Array:
    """``A_j (W X)_j`` for clusters of one size, (b, s) to (b, s, p).

    Where residual variances are equal, all but the space Q of a cluster's effects and fixed columns
    is residual, and A is the identity there.
    """
    X, WX = model.X[rows], model.WX[rows]
    effects = _effect_columns(model, rows) if model.residuals.equal else None
    if effects is None:
        return np.asarray(_correction(model.covariance(rows), X, model.M) @ WX)
    Q = np.linalg.qr(np.concatenate([effects, X], axis=2))[0]
    Qt = Q.transpose(0, 2, 1)
    own = Qt @ effects
    V = own @ own.transpose(0, 2, 1) + model.residuals.variances[0] * np.eye(Q.shape[2])
    inside = Qt @ WX
    return np.asarray(WX + Q @ (_correction(V, Qt @ X, model.M) @ inside - inside))


def _adjusted_rows(model: _WorkingModel, kind: RobustKind) -> Array:
    """``A_j (W X)_j M``, one a row, shape (n, p)."""
    if kind != "CR2":
        return model.WX @ model.M
    out = np.empty_like(model.WX)
    for rows in _by_cluster(model.clusters, model.m, model.X.shape[1]):
        out[rows] = _corrected(model, rows)
    return out @ model.M


def _sums(clusters: IntArray, m: int, left: Array, right: Array) -> Array:
    """``sum left_i right_i'`` within clusters, (n, a) and (n, b) to (m, a, b)."""
    out = np.zeros((m, left.shape[1], right.shape[1]))
    for rows in _by_cluster(clusters, m, max(left.shape[1], right.shape[1])):
        out[clusters[rows[:, 0]]] = left[rows].transpose(0, 2, 1) @ right[rows]
    return out


@dataclass(frozen=True)
class _Form:
    """``S - U M V'``: covariances over pairs of clusters, S sparse (m, m), U and V (m, p)."""

    S: Any
    U: Array
    V: Array
    M: Array

    def trace(self) -> float:
        return float(self.S.diagonal().sum() - np.sum((self.U @ self.M) * self.V))

    def trace_of_product(self, other: _Form) -> float:
        """``tr(self other)``."""
        first = self.S.multiply(other.S.T).sum()
        second = np.trace(other.M @ (other.V.T @ (self.S @ other.U)))
        third = np.trace(self.M @ (self.V.T @ (other.S @ self.U)))
        fourth = np.trace(self.M @ (self.V.T @ other.U) @ other.M @ (other.V.T @ self.U))
        return float(first - second - third + fourth)


class _Clustered:
    """Degrees of freedom of a cluster-robust covariance; columns of L are the working ones.

    For a row l the estimated variance is ``sum_j (g_j'e_j)^2`` with ``g = A W X M l``, a quadratic
    form in normal e whose clusters have covariance ``g_j'(V - X M X')_jk g_k``; its first two
    moments give Satterthwaite's degrees of freedom, those of several rows Hotelling's.
    """

    def __init__(self, model: _WorkingModel, adjusted: Array) -> None:
        clusters, m = model.clusters, model.m
        self.model, self.adjusted = model, adjusted
        self.residual: Array | None = None
        if model.separate:
            moved = model.residuals.multiply(adjusted.T).T
            self.residual = _sums(clusters, m, moved, adjusted)
        elif m * len(clusters) > _MOST:
            raise ModelError(
                f"residuals of different clusters are correlated, and {m} clusters of "
                f"{len(clusters)} rows are too many then: let clusters hold whole groups of the "
                "residual correlation"
            )
        self.fixed = _sums(clusters, m, model.X, adjusted)
        self.cells: list[tuple[IntArray, IntArray, int, Array]] = []
        for ZT, codes in zip(model.ZT, model.codes, strict=True):
            J = int(codes.max()) + 1
            keys, cell = np.unique(clusters.astype(np.int64) * J + codes, return_inverse=True)
            sums = _sums(cell, len(keys), ZT, adjusted)
            self.cells.append((keys // J, keys % J, J, sums))

    def form(self, left: Array, right: Array) -> _Form:
        """Covariances over pairs of clusters of ``g_j'e_j`` for two rows of shape (p,)."""
        S = self._residual_form(left, right)
        for owner, level, J, sums in self.cells:
            first, second = (self._spread(owner, level, J, sums @ row) for row in (left, right))
            S = S + first.T @ second
        return _Form(S.tocsr(), self.fixed @ left, self.fixed @ right, self.model.M)

    def _residual_form(self, left: Array, right: Array) -> Any:
        if self.residual is not None:
            diagonal = np.einsum("a,jab,b->j", left, self.residual, right)
            return sparse.diags_array(diagonal).tocsr()
        first, second = (self._by_row(self.adjusted @ row) for row in (left, right))
        return sparse.csr_array(first @ self.model.residuals.multiply(second).T)

    def _by_row(self, g: Array) -> Array:
        """A vector over the rows, each cluster's part alone, shape (m, n)."""
        out = np.zeros((self.model.m, len(g)))
        out[self.model.clusters, np.arange(len(g))] = g
        return out

    def _spread(self, owner: IntArray, level: IntArray, J: int, values: Array) -> Any:
        """Values (cells, k) at their levels and clusters, sparse of shape (k J, m)."""
        k = values.shape[1]
        rows = (level[:, None] + J * np.arange(k)).ravel()
        columns = np.repeat(owner, k)
        return sparse.coo_array(
            (values.ravel(), (rows, columns)), shape=(k * J, self.model.m)
        ).tocsr()

    def df(self, L: Array) -> Array:
        """Satterthwaite's, ``tr(F)^2 / tr(F^2)``, of each row of L."""
        out = np.full(len(L), np.nan)
        for i, row in enumerate(L):
            if row.any():
                form = self.form(row, row)
                out[i] = form.trace() ** 2 / form.trace_of_product(form)
        return out

    def joint(self, L: Array) -> tuple[float, float]:
        """Of Hotelling's T^2 for L of shape (q, p), and the factor F is multiplied with.

        Pustejovsky & Tipton (2018), the HTZ approximation.
        """
        q = len(L)
        mean = np.array([[self.form(a, b).trace() for b in L] for a in L])
        values, vectors = np.linalg.eigh(0.5 * (mean + mean.T))
        if values[0] <= 0.0:
            return np.nan, np.nan
        rows = (vectors / np.sqrt(values)) @ vectors.T @ L
        own = [self.form(row, row) for row in rows]
        spread = 0.0
        for s in range(q):
            for t in range(q):
                cross = own[s] if s == t else self.form(rows[s], rows[t])
                spread += own[s].trace_of_product(own[t]) + cross.trace_of_product(cross)
        eta = q * (q + 1) / spread
        den_df = eta - q + 1.0
        return (den_df, den_df / eta) if den_df > 0.0 else (np.nan, np.nan)


@dataclass(frozen=True)
class _UserColumns:
    """Degrees of freedom for rows over the user's columns."""

    working: _Clustered
    total: Array

    def df(self, L: Array) -> Array:
        return self.working.df(L @ self.total)

    def joint(self, L: Array) -> tuple[float, float]:
        return self.working.joint(L @ self.total)


def robust_inference(
    fit: Fit, kind: str = "CR2", cluster: str | ArrayLike | None = None
) -> FixedInference:
    """Covariance and degrees of freedom that hold whatever the dependence within clusters.

    Parameters
    ----------
    fit : Fit
    kind : {"CR0", "CR1", "CR2"}
        Without correction; times ``m / (m - 1)`` for m clusters; and unbiased when the model's own
        covariance is right and its clusters are independent.
    cluster : str or array-like, optional
        A grouping factor of the fit, or one label a row; by default the factor that nests all
        others, or the groups of the residual correlation where there is no factor.

    Returns
    -------
    FixedInference

    Raises
    ------
    ModelError, DataError
        If no factor nests the others and none is named, the labels do not fit the rows, or there
        are fewer than two clusters.
    """
    kind = check_kind(kind)
    if cluster is None:
        cluster = _residual_groups(fit) if not fit.design.factors else default_cluster(fit)
    key = f"robust {kind} {cluster}" if isinstance(cluster, str) else None
    if key is not None and key in fit.computed:
        return cast("FixedInference", fit.computed[key])
    name, codes, levels = grouping_of(fit, cluster, "cluster")
    m = len(levels)
    if m < 2:
        raise ModelError(f"{name!r} has one level: a robust covariance needs at least two clusters")
    with one_thread():
        made = _robust(fit, kind, name, np.asarray(codes), m)
    if key is not None:
        fit.computed[key] = made
    return made


def _robust(fit: Fit, kind: RobustKind, name: str, clusters: IntArray, m: int) -> FixedInference:
    model = _WorkingModel.of(fit, clusters, m)
    adjusted = _adjusted_rows(model, kind)
    basis = fit.estimate.basis
    scores = np.zeros((fit.p, m))
    for own, column in zip(scores, adjusted.T, strict=True):
        own[:] = np.bincount(clusters, column * model.e, m)
    working = scores @ scores.T * (m / (m - 1.0) if kind == "CR1" else 1.0)
    total = basis.fixed.total
    covariance = basis.scale**2 * (total @ working @ total.T)
    note = f"Clusters are the {m} levels of {name}."
    shared = [f"levels of {f.name}" for f in fit.design.factors if not is_nested(f.codes, clusters)]
    shared += [] if model.separate else ["groups of the residual correlation"]
    if shared:
        note += (
            f" Some {' and '.join(shared)} lie in several clusters: what those share through them "
            "is not counted."
        )
    denominator = _UserColumns(_Clustered(model, adjusted), total)
    return FixedInference(kind, note, fit.estimate.beta, covariance, denominator)


def chosen_inference(
    fit: Fit, ddf: Ddf | None, cov: str | None, cluster: str | ArrayLike | None
) -> FixedInference:
    """Inference by degrees of freedom of the model, or by a robust covariance with its own.

    Raises
    ------
    ModelError
        If both are asked for, or clusters without a robust covariance.
    """
    if cov in (None, "model"):
        if cluster is not None:
            raise ModelError("cluster= goes with a robust covariance: add cov='CR2'")
        return inference(fit, ddf)
    kind = check_kind(str(cov))
    if ddf is not None:
        raise ModelError(f"cov={kind!r} brings degrees of freedom of its own: leave ddf= out")
    return robust_inference(fit, kind, cluster)
