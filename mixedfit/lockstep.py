"""Many responses to one design, fitted at once.

The rows, the cross-products Z'Z, Z'X, X'X and the structures are shared; only the response
differs. With one grouping factor, m small problems are solved in step: criterion, gradient,
Hessian and a trust-region Newton step are arrays over the m responses, and those that have
converged leave. With ``D_j = T (T'ZZ_j T + I)^-1 T'``, ``Q_j = I - D_j ZZ_j`` and ``B_j = Q_j'A_j``
the equations are those of `elimination` and `curvature` for a single batch.

Other designs are fitted one response after the other, from the same prepared rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from mixedfit.arrays import Array, BoolArray, IntArray
from mixedfit.covariance import Diagonal, Structure, Unstructured
from mixedfit.errors import DataError
from mixedfit.fit import Fit, refit
from mixedfit.linalg import inverse_and_logdet
from mixedfit.lockstep_charts import DiagonalChart, States, TermCharts, UnstructuredChart
from mixedfit.moments import moment_covariances_of_many, moment_matrix
from mixedfit.threads import one_thread
from mixedfit.variance_parameters import has_plain_residuals

__all__ = ["ManyFits", "refit_many"]

# Numbers in the largest array of a batch of responses.
_ROOM = 2**20
# Newton decrement at which a response is done, as in `optimize.Control`.
_TOLERANCE = 1e-10
_MAX_STEPS = 60
# As in `certificate`: variance ratio times rows a level below which there is no variance.
_NO_VARIANCE = 1e-6


@dataclass(frozen=True)
class ManyFits:
    """Fits of one model to m responses.

    Attributes
    ----------
    beta : array of shape (m, p)
        Fixed effects, in units of the response per unit of each column.
    sigma : array of shape (m,)
        Residual standard deviations.
    covariances : tuple of arrays of shape (m, k, k)
        One a random term, in squared units of the response.
    fun : array of shape (m,)
        -2 log likelihood, or the REML criterion.
    singular : array of bool of shape (m,)
        Whether some combination of random effects has no variance.
    converged : array of bool of shape (m,)
    """

    beta: Array
    sigma: Array
    covariances: tuple[Array, ...]
    fun: Array
    singular: BoolArray
    converged: BoolArray

    def __len__(self) -> int:
        return len(self.sigma)

    @classmethod
    def joined(cls, parts: Sequence[ManyFits]) -> ManyFits:
        """Several sets of responses as one."""
        return cls(
            np.concatenate([part.beta for part in parts]),
            np.concatenate([part.sigma for part in parts]),
            tuple(
                np.concatenate(blocks)
                for blocks in zip(*(part.covariances for part in parts), strict=True)
            ),
            np.concatenate([part.fun for part in parts]),
            np.concatenate([part.singular for part in parts]),
            np.concatenate([part.converged for part in parts]),
        )

    @classmethod
    def of(cls, fits: Sequence[Fit]) -> ManyFits:
        """Fits made one by one."""
        estimates = [fit.estimate for fit in fits]
        covariances = tuple(
            np.stack([e.sigma**2 * e.terms[t].root @ e.terms[t].root.T for e in estimates])
            for t in range(len(estimates[0].terms))
        )
        return cls(
            np.stack([e.beta for e in estimates]),
            np.array([e.sigma for e in estimates]),
            covariances,
            np.array([fit.optimum.fun for fit in fits]),
            np.array([bool(fit.optimum.singular) for fit in fits]),
            np.array([fit.optimum.status != "stalled" for fit in fits]),
        )


def refit_many(fit: Fit, Y: Array, progress: Callable[[int], None] | None = None) -> ManyFits:
    """Fit the model of a fit to other responses.

    Parameters
    ----------
    fit : Fit
    Y : array of shape (n, m)
        One response a column, one row a row used.
    progress : callable, optional
        Told how many responses are done.

    Returns
    -------
    ManyFits

    Raises
    ------
    DataError
        If Y has another number of rows or a value is not finite.
    """
    if Y.ndim != 2 or len(Y) != fit.n:
        raise DataError(f"responses must have {fit.n} rows, one a row used, not shape {Y.shape}")
    if not np.isfinite(Y).all():
        raise DataError("responses must be finite in every row")
    if Y.shape[1] == 0:
        raise DataError("there must be at least one response")
    parts = []
    with one_thread():
        shared = _Shared(fit) if _in_step(fit) else None
        size = 64 if shared is None else shared.batch
        for start in range(0, Y.shape[1], size):
            block = Y[:, start : start + size]
            if shared is None:
                parts.append(ManyFits.of([refit(fit, y) for y in block.T]))
            else:
                parts.append(_fit_block(fit, shared, block))
            if progress is not None:
                progress(min(start + size, Y.shape[1]))
    return ManyFits.joined(parts)


def _in_step(fit: Fit) -> bool:
    """Whether the design is one whose responses can be fitted in step."""
    like = fit.likelihood
    return (
        has_plain_residuals(fit)
        and len(like.products.factors) == 1
        and all(isinstance(structure, Unstructured | Diagonal) for _, structure in like.structures)
    )


def _chart_of(structure: Structure) -> UnstructuredChart | DiagonalChart:
    if isinstance(structure, Unstructured):
        return UnstructuredChart(structure.size)
    assert isinstance(structure, Diagonal)
    return DiagonalChart(structure.size, structure.homogeneous)


class _Shared:
    """What all responses share.

    Where all levels have the same Z'Z, everything that depends on it alone is kept once.
    """

    def __init__(self, fit: Fit) -> None:
        self.like = like = fit.likelihood
        self.rows = rows = fit.rows
        sums = like.products.factors[0]
        self.J, self.k, self.p, self.df = sums.n_levels, sums.k, like.products.p, like.df
        self.reml = like.method == "REML"
        spread = np.abs(sums.ZZ - sums.ZZ[:, :, :1]).max(initial=0.0)
        balanced = spread <= 1e-12 * np.abs(sums.ZZ).max()
        ZZ = sums.ZZ[:, :, :1] if balanced else sums.ZZ
        self.ZZ = ZZ[:, :, None, :]
        self.copies = self.J if balanced else 1
        self.ZX = np.ascontiguousarray(sums.ZE[:-1])
        outer = np.einsum("eaj,fbj->efabj", self.ZX, self.ZX)
        outer = outer.sum(axis=-1, keepdims=True) if balanced else outer
        self.ZX_outer = outer.reshape(self.p**2, self.k**2 * outer.shape[-1])
        self.XX = like.products.EE[:-1, :-1]
        self.XX_inverse = np.linalg.inv(self.XX)
        self.mean_rows = sums.mean_rows
        n = len(rows.y)
        self.members = sparse.csr_array(
            (np.ones(n), (rows.codes[0], np.arange(n))), shape=(self.J, n)
        )
        self.charts = TermCharts(
            [_chart_of(structure) for _, structure in like.structures],
            [like.columns_of(t) for t in range(len(like.structures))],
        )
        self.own = self._own(fit)

    def _own(self, fit: Fit) -> Array:
        """A square root T of the fit's own covariance, its zero variances made positive."""
        T = np.zeros((self.k, self.k))
        for t, (_, structure) in enumerate(self.like.structures):
            columns = self.like.columns_of(t)
            G = structure.factor(fit.optimum.states[t])
            G = G @ G.T + np.diag(0.1 / self.mean_rows[columns])
            T[columns, columns] = structure.factor(structure.start(G))
        return T

    @property
    def batch(self) -> int:
        """Responses at once."""
        largest = max((self.p + 1) * self.k * self.J, len(self.rows.y), self.charts.n_params**2)
        return max(16, _ROOM // largest)


@dataclass(frozen=True)
class _Responses:
    """The responses of a batch, reduced to sums.

    Attributes
    ----------
    coefficients : array of shape (m, p)
        Least-squares coefficients on the working X, taken out.
    scale : array of shape (m,)
    Zy : array of shape (k, m, J)
    Xy : array of shape (m, p)
    yy : array of shape (m,)
    """

    coefficients: Array
    scale: Array
    Zy: Array
    Xy: Array
    yy: Array

    @classmethod
    def of(cls, fit: Fit, shared: _Shared, Y: Array) -> _Responses:
        rows = shared.rows
        y = Y.T if fit.design.offset is None else Y.T - fit.design.offset
        y = y if rows.root_weights is None else y * rows.root_weights
        coefficients = (y @ rows.X.T) @ shared.XX_inverse
        rest = y - coefficients @ rows.X
        correction = (rest @ rows.X.T) @ shared.XX_inverse
        rest = rest - correction @ rows.X
        scale = np.sqrt(np.einsum("mi,mi->m", rest, rest) / len(rows.y))
        if (scale <= 1e-13 * np.sqrt(np.einsum("mi,mi->m", y, y) / len(rows.y))).any():
            raise DataError("the fixed effects explain a response exactly: no variation is left")
        work = rest / scale[:, None]
        Zy = np.stack([(shared.members @ (z[:, None] * work.T)).T for z in rows.Z[0]])
        return cls(
            coefficients + correction,
            scale,
            Zy,
            work @ rows.X.T,
            np.einsum("mi,mi->m", work, work),
        )

    def take(self, which: BoolArray | IntArray) -> _Responses:
        """Some of the responses."""
        return _Responses(
            self.coefficients[which],
            self.scale[which],
            self.Zy[:, which],
            self.Xy[which],
            self.yy[which],
        )


class _Points:
    """The criterion of m responses, each at its own T of shape (k, k); T is (m, k, k)."""

    def __init__(self, shared: _Shared, responses: _Responses, T: Array) -> None:
        self.shared, self.responses, self.T = shared, responses, T
        k, m, p = shared.k, len(T), shared.p
        columns = np.ascontiguousarray(T.transpose(1, 2, 0))[..., None]
        M = _congruence_transposed(columns, shared.ZZ)
        for a in range(k):
            M[a, a] += 1.0
        levels = M.shape[-1]
        inverse, logdet = inverse_and_logdet(M.reshape(k, k, m * levels))
        self.D = _congruence(columns, inverse.reshape(k, k, m, levels))
        self.logdet = shared.copies * logdet.reshape(m, levels).sum(axis=1)
        self.Uy = _times(self.D, responses.Zy)
        taken = shared.ZX_outer @ self.D.transpose(0, 1, 3, 2).reshape(-1, m)
        self.Sxx = shared.XX - taken.reshape(p, p, m).transpose(2, 0, 1)
        self.Sxy = responses.Xy - np.einsum("eaj,amj->me", shared.ZX, self.Uy, optimize=True)
        self.Syy = responses.yy - np.einsum("amj,amj->m", responses.Zy, self.Uy)
        self.root_inverse = np.linalg.inv(np.linalg.cholesky(self.Sxx)) if p else self.Sxx
        z = np.einsum("mef,mf->me", self.root_inverse, self.Sxy)
        self.b = np.einsum("mfe,mf->me", self.root_inverse, z)
        self.r2 = self.Syy - np.einsum("me,me->m", z, z)

    @cached_property
    def fun(self) -> Array:
        """-2 log likelihood or REML criterion, on the working scale, (m,)."""
        df = self.shared.df
        with np.errstate(invalid="ignore", divide="ignore"):
            fun = self.logdet + df * (1.0 + np.log(2.0 * np.pi * self.r2 / df))
        if self.shared.reml:
            fun -= 2.0 * np.log(np.einsum("mee->me", self.root_inverse)).sum(axis=1)
        return np.where(self.r2 > 0.0, fun, np.inf)

    @cached_property
    def _K(self) -> Array:
        """``ZZ - ZZ D ZZ``, (k, k, m, 1 or J)."""
        ZZ = self.shared.ZZ
        return ZZ - _congruence(ZZ, self.D)

    @cached_property
    def _rotated(self) -> Array:
        """``V B`` for ``S^-1 = V'V``, (m, p + 1, k, J); the response's row is the last."""
        shared, m = self.shared, len(self.T)
        p, k, J = shared.p, shared.k, shared.J
        out = np.empty((m, p + 1, k, J))
        By = self.responses.Zy - _times(shared.ZZ, self.Uy)
        Bx = np.empty((m, p, k, J))
        for e in range(p):
            ZX = shared.ZX[e][:, None, :]
            Bx[:, e] = (ZX - _times(shared.ZZ, _times(self.D, ZX))).transpose(1, 0, 2)
        flat = Bx.reshape(m, p, k * J)
        out[:, :p] = (self.root_inverse @ flat).reshape(m, p, k, J)
        h = By.transpose(1, 0, 2) - np.einsum("me,mekj->mkj", self.b, Bx, optimize=True)
        out[:, p] = h / np.sqrt(self.r2)[:, None, None]
        return out

    @cached_property
    def weights(self) -> Array:
        """How often the square of a row of the rotated B counts, (p + 1,)."""
        weights = np.full(self.shared.p + 1, 1.0 if self.shared.reml else 0.0)
        weights[-1] = self.shared.df
        return weights

    @cached_property
    def _level(self) -> Array:
        """``B'N B`` of each level, (k, k, m, J)."""
        k = self.shared.k
        C = self._rotated.transpose(1, 2, 0, 3)
        out = np.empty((k, k, *C.shape[2:]))
        for a in range(k):
            for b in range(a + 1):
                out[a, b] = out[b, a] = np.einsum("e,emj,emj->mj", self.weights, C[:, a], C[:, b])
        return out

    @cached_property
    def adjoint(self) -> Array:
        """Derivative of the criterion in G, (m, k, k)."""
        own = self.shared.copies * self._K.sum(axis=-1)
        return (own - self._level.sum(axis=-1)).transpose(2, 0, 1)

    def hessian(self, tangents: Array) -> Array:
        """Second derivatives for tangents of G, (m, r, k, k) to (m, r, r), G moving linearly."""
        shared, m = self.shared, len(self.T)
        k, p1, J = shared.k, shared.p + 1, shared.J
        K = self._K
        if K.shape[-1] == 1:
            other = 2.0 * self._level.sum(axis=-1) - shared.copies * K[..., 0]
            sums = np.einsum("abm,cdm->mabcd", K[..., 0], other)
        else:
            left = np.broadcast_to(K, (k, k, m, J)).transpose(2, 0, 1, 3).reshape(m, k * k, J)
            right = (2.0 * self._level - K).transpose(2, 3, 0, 1).reshape(m, J, k * k)
            sums = (left @ right).reshape(m, k, k, k, k)
        between = sums.transpose(0, 2, 3, 4, 1).reshape(m, k * k, k * k)
        flat = tangents.reshape(m, -1, k * k)
        out = flat @ between @ flat.transpose(0, 2, 1)
        C = self._rotated.reshape(m, p1 * k, J)
        gram = (C @ C.transpose(0, 2, 1)).reshape(m, p1, k, p1, k)
        outer = gram.transpose(0, 2, 4, 1, 3).reshape(m, k * k, p1 * p1)
        dS = flat @ outer
        weights = np.full((p1, p1), float(shared.df))
        weights[:-1, :-1] = 1.0 if shared.reml else 0.0
        return out - (dS * weights.ravel()) @ dS.transpose(0, 2, 1)


def _times(A: Array, x: Array) -> Array:
    """``A x`` for A of shape (k, k, ...) and x of shape (k, ...)."""
    return np.stack([sum(A[a, b] * x[b] for b in range(len(x))) for a in range(len(A))])


def _product(A: Array, B: Array, transposed: bool) -> Array:
    """``A B`` or ``A'B`` of arrays of shape (k, k, ...)."""
    k = len(A)
    return np.stack(
        [
            np.stack(
                [
                    sum((A[c, a] if transposed else A[a, c]) * B[c, b] for c in range(k))
                    for b in range(k)
                ]
            )
            for a in range(k)
        ]
    )


def _congruence(A: Array, X: Array) -> Array:
    """``A X A'`` of arrays of shape (k, k, ...), X symmetric."""
    return _product(_product(A, X, False), np.swapaxes(A, 0, 1), False)


def _congruence_transposed(A: Array, X: Array) -> Array:
    """``A'X A``."""
    return _product(_product(A, X, True), A, False)


def _fit_block(fit: Fit, shared: _Shared, Y: Array) -> ManyFits:
    """Fit a batch of responses in step."""
    responses = _Responses.of(fit, shared, Y)
    m = Y.shape[1]
    T, done = _best(shared, responses)
    T, singular = _settled(shared, responses, T)
    points = _Points(shared, responses, T)
    basis = shared.rows.basis
    sigma = responses.scale * np.sqrt(points.r2 / shared.df)
    working = responses.coefficients + responses.scale[:, None] * points.b
    covariances = []
    for t in range(len(shared.like.structures)):
        columns = shared.like.columns_of(t)
        root = basis.random[t].total @ T[:, columns, columns]
        covariances.append((sigma**2)[:, None, None] * root @ root.transpose(0, 2, 1))
    constant = 2.0 * shared.df * np.log(responses.scale) - shared.like.products.sum_log_weights
    if shared.reml:
        constant = constant + 2.0 * basis.fixed.logdet
    out = ManyFits(
        working @ basis.fixed.total.T,
        sigma,
        tuple(covariances),
        points.fun + constant,
        singular,
        np.ones(m, dtype=bool),
    )
    if done.all():
        return out
    rest = np.flatnonzero(~done)
    return _replaced(out, rest, ManyFits.of([refit(fit, Y[:, i]) for i in rest]))


def _replaced(many: ManyFits, places: IntArray, other: ManyFits) -> ManyFits:
    """Some of the fits exchanged."""
    stacked = ManyFits.joined([many, other])
    index = np.arange(len(many))
    index[places] = len(many) + np.arange(len(places))
    return ManyFits(
        stacked.beta[index],
        stacked.sigma[index],
        tuple(C[index] for C in stacked.covariances),
        stacked.fun[index],
        stacked.singular[index],
        stacked.converged[index],
    )


def _best(shared: _Shared, responses: _Responses) -> tuple[Array, BoolArray]:
    """The better of two searches: from the fit's own covariance, and from moments as in a refit.

    Few levels can give a criterion several minima.
    """
    m, like = len(responses.yy), shared.like
    unit = like.tangents(like.unit)
    matrix = moment_matrix(like.products, unit)
    G = moment_covariances_of_many(like.products, unit[0], matrix, responses.Zy, responses.yy)
    starts = (
        shared.charts.of_root(np.repeat(shared.own[None], m, axis=0)),
        shared.charts.of_covariance(G),
    )
    (T, done), (other, other_done) = (_minimise(shared, responses, s) for s in starts)
    fun, other_fun = (_Points(shared, responses, X).fun for X in (T, other))
    better = other_done & (~done | (other_fun < fun - 1e-9))
    T[better] = other[better]
    return T, done | other_done


def _minimise(shared: _Shared, responses: _Responses, states: States) -> tuple[Array, BoolArray]:
    """The T of each response where a search ends, (m, k, k), and whether that is a minimum."""
    m, charts = len(responses.yy), shared.charts
    out = charts.root(states)
    done = np.zeros(m, dtype=bool)
    active = np.arange(m)
    points = _Points(shared, responses, charts.root(states))
    own = responses
    radius = 2.0 * np.maximum(1.0, np.linalg.norm(out, axis=(1, 2)))
    for _ in range(_MAX_STEPS):
        tangents = charts.tangents(states)
        gradient = np.einsum("mrab,mab->mr", tangents, points.adjoint)
        hessian = points.hessian(tangents) + charts.curvature(states, points.adjoint)
        step, decrement, convex, promised = _steps(gradient, hessian, radius)
        finished = (decrement <= _TOLERANCE) & convex
        out[active] = charts.root(states)
        done[active[finished]] = True
        going = ~finished
        if not going.any():
            break
        if finished.any():
            active, own = active[going], own.take(going)
            states, radius = charts.take(states, going), radius[going]
            step, promised = step[going], promised[going]
            fun = points.fun[going]
        else:
            fun = points.fun
        trial = charts.moved(states, step)
        points = _Points(shared, own, trial)
        drowned = promised <= 1e-12 * (1.0 + np.abs(fun))
        with np.errstate(invalid="ignore", divide="ignore"):
            gain = np.where(drowned, 1.0, (fun - points.fun) / promised)
        length = np.linalg.norm(step, axis=1)
        good = gain > 1e-4
        radius = np.where(~(gain >= 0.25), 0.25 * length, radius)
        radius = np.where((gain > 0.75) & (length > 0.8 * radius), 3.0 * radius, radius)
        states = charts.chosen(good, charts.of_root(trial), states)
        if not good.all():
            points = _Points(shared, own, charts.root(states))
    return out, done


def _steps(g: Array, H: Array, radius: Array) -> tuple[Array, Array, BoolArray, Array]:
    """Trust-region steps of m quadratic models.

    Along eigenvectors the step is ``-g / |curvature|``, cut to the radius; at a stationary point
    it leaves along the most negative curvature.

    Returns
    -------
    step : array of shape (m, r)
    decrement : array of shape (m,)
    convex : array of bool of shape (m,)
    promised : array of shape (m,)
        Decrease of the model.
    """
    values, vectors = np.linalg.eigh(H)
    slopes = np.einsum("mr,mrs->ms", g, vectors)
    sizes = np.abs(values)
    largest = sizes.max(axis=1, keepdims=True)
    active = (sizes > 1e-9 * largest) | (slopes**2 > 1e-9 * largest)
    inverse = np.where(active, 1.0 / np.maximum(sizes, 1e-300), 0.0)
    decrement = np.einsum("ms,ms->m", slopes**2, inverse)
    convex = np.where(active, values, np.inf).min(axis=1) > 0.0
    along = -slopes * inverse
    length = np.linalg.norm(along, axis=1)
    along *= np.minimum(1.0, radius / np.maximum(length, 1e-300))[:, None]
    away = ~convex & (length < 0.1 * radius)
    if away.any():
        which = np.flatnonzero(away)
        lowest = values[which].argmin(axis=1)
        sign = np.where(slopes[which, lowest] > 0.0, -1.0, 1.0)
        along[which, lowest] += sign * 0.5 * radius[which]
    promised = -np.einsum("ms,ms->m", along, slopes + 0.5 * values * along)
    return np.einsum("mrs,ms->mr", vectors, along), decrement, convex, promised


def _settled(shared: _Shared, responses: _Responses, T: Array) -> tuple[Array, BoolArray]:
    """Roots with variances that converged to zero set to zero, and which have any."""
    root = np.sqrt(shared.mean_rows)
    settled = T.copy()
    singular = np.zeros(len(T), dtype=bool)
    for t, chart in enumerate(shared.charts.charts):
        columns = shared.like.columns_of(t)
        scaled = T[:, columns, columns] * root[columns, None]
        block, null = chart.without_null(scaled, _NO_VARIANCE)
        singular |= null
        settled[:, columns, columns] = np.where(
            null[:, None, None], block / root[columns, None], T[:, columns, columns]
        )
    which = np.flatnonzero(singular)
    if len(which):
        own = responses.take(which)
        before, after = (_Points(shared, own, X[which]).fun for X in (T, settled))
        worse = which[after > before + 1e-7]
        settled[worse] = T[worse]
    return settled, singular
