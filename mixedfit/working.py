"""The rows of a design in working coordinates, in which sums lose no digits to offsets and units.

Columns are centred, scaled and, where the model is invariant, made orthonormal; the response is
reduced by its least-squares fit and scaled; rows are multiplied by the roots of their weights.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import lapack

from mixedfit.arrays import Array, IntArray
from mixedfit.covariance import Equivariance
from mixedfit.design import Design
from mixedfit.errors import DataError
from mixedfit.linalg import cholesky, spd_inverse

__all__ = ["Basis", "WorkingBasis", "WorkingRows"]


@dataclass(frozen=True)
class Basis:
    """A change of basis for k columns: working columns ``W = (columns - center) @ transform``.

    Attributes
    ----------
    center : array of shape (k,)
        Offsets removed first; all zero unless one column is constant, which then absorbs them.
    transform : array of shape (k, k)
    total : array of shape (k, k)
        Both steps as one linear map, ``W = columns @ total``.
    inverse : array of shape (k, k)
        Back again, ``columns = W @ inverse``.
    """

    center: Array
    transform: Array
    total: Array
    inverse: Array

    @classmethod
    def of(cls, columns: Array, equivariance: Equivariance, constant: int | None) -> Basis:
        """The basis in which columns of shape (n, k) are as near to orthonormal as allowed.

        Working columns have mean square one. A "linear" family is also centred on its constant
        column and made orthonormal, a "diagonal" one scaled column by column, a "scalar" one as a
        whole.
        """
        n, k = columns.shape
        center = np.zeros(k)
        if equivariance != "linear" or k == 0:
            mean_square = np.einsum("ij,ij->j", columns, columns) / n
            if equivariance == "scalar" and k:
                mean_square[:] = mean_square.mean()
            return cls._from(center, np.diag(1.0 / np.sqrt(mean_square)), constant, columns)
        centred = columns
        if constant is not None and k > 1:
            center = columns.sum(axis=0) / n
            center[constant] = 0.0
            centred = columns - center
        transform, smallest = _orthonormalising(centred)
        if smallest < 1e-3:  # one pass then leaves the columns too far from orthonormal
            transform = transform @ _orthonormalising(centred @ transform)[0]
        return cls._from(center, transform, constant, columns)

    @classmethod
    def _from(cls, center: Array, transform: Array, constant: int | None, columns: Array) -> Basis:
        total = transform
        if constant is not None and center.any():
            total = transform.copy()
            total[constant] -= center / columns[0, constant] @ transform
        return cls(center, transform, total, np.asarray(np.linalg.inv(total)))

    def apply(self, columns: Array) -> Array:
        """Working columns, one a row, (k, n), from columns of shape (n, k)."""
        centred = columns - self.center if self.center.any() else columns
        return self.transform.T @ centred.T

    @property
    def logdet(self) -> float:
        """``log |inverse|``, what a Gram determinant gains on the way back from W."""
        return float(np.linalg.slogdet(self.inverse)[1])


def _orthonormalising(columns: Array) -> tuple[Array, float]:
    """``inv(R)`` of columns = Q R with mean squares of Q one, and the least pivot relative to 1."""
    gram = columns.T @ columns / len(columns)
    scale = 1.0 / np.sqrt(gram.diagonal())
    R = cholesky(gram * scale * scale[:, None]).T
    inverse, _ = lapack.dtrtri(R)
    return scale[:, None] * inverse, float(R.diagonal().min())


@dataclass(frozen=True)
class WorkingBasis:
    """The coordinates in which a design is reduced, and the way back.

    Attributes
    ----------
    fixed : Basis
        Of the columns of X.
    random : tuple of Basis
        Of the columns of each random term.
    coefficients : array of shape (p,)
        Least-squares coefficients of the response on the working X, taken out of it.
    scale : float
        The response's remaining root mean square, in its units.
    """

    fixed: Basis
    random: tuple[Basis, ...]
    coefficients: Array
    scale: float


@dataclass(frozen=True)
class WorkingRows:
    """Rows in a working basis, whitened by their weights.

    Attributes
    ----------
    X : array of shape (p, n)
    y : array of shape (n,)
    Z : tuple of arrays of shape (k, n)
        The columns of each grouping factor, its terms side by side.
    codes : tuple of int arrays of shape (n,)
        Levels of each grouping factor.
    n_levels : tuple of int
    root_weights : array of shape (n,) or None
    sum_log_weights : float
    basis : WorkingBasis
    """

    X: Array
    y: Array
    Z: tuple[Array, ...]
    codes: tuple[IntArray, ...]
    n_levels: tuple[int, ...]
    root_weights: Array | None
    sum_log_weights: float
    basis: WorkingBasis

    @classmethod
    def of(cls, design: Design, basis: WorkingBasis | None = None) -> WorkingRows:
        """The rows of a design.

        Parameters
        ----------
        design : Design
        basis : WorkingBasis, optional
            The basis to use; by default the one that suits these rows.

        Raises
        ------
        DataError
            If the fixed effects leave nothing of the response.
        """
        fixed = Basis.of(design.X, "linear", design.intercept) if basis is None else basis.fixed
        w = design.weights
        root = None if w is None else np.sqrt(w)
        X = _whitened(fixed.apply(design.X), root)
        bases: list[Basis] = []
        parts: list[list[Array]] = [[] for _ in design.factors]
        for t, term in enumerate(design.terms):
            shared = term.Z is design.X and term.structure.equivariance == "linear"
            if basis is not None:
                own = basis.random[t]
            elif shared:
                own = fixed
            else:
                own = Basis.of(term.Z, term.structure.equivariance, term.intercept)
            bases.append(own)
            parts[term.factor].append(X if own is fixed else _whitened(own.apply(term.Z), root))
        Z = tuple(part[0] if len(part) == 1 else np.concatenate(part) for part in parts)
        y = _whitened(_response(design), root)
        if basis is None:
            coefficients, scale = _least_squares(X, y, design.response.name)
            basis = WorkingBasis(fixed, tuple(bases), coefficients, scale)
        y = (y - basis.coefficients @ X) / basis.scale
        codes = tuple(factor.codes for factor in design.factors)
        n_levels = tuple(factor.n_levels for factor in design.factors)
        log_weights = 0.0 if w is None else float(np.log(w).sum())
        return cls(X, y, Z, codes, n_levels, root, log_weights, basis)

    def with_response(self, design: Design) -> WorkingRows:
        """The same rows for a design that differs only in the response."""
        y = _whitened(_response(design), self.root_weights)
        coefficients, scale = _least_squares(self.X, y, design.response.name)
        basis = replace(self.basis, coefficients=coefficients, scale=scale)
        return replace(self, y=(y - coefficients @ self.X) / scale, basis=basis)


def _response(design: Design) -> Array:
    return design.y if design.offset is None else design.y - design.offset


def _whitened(columns: Array, root: Array | None) -> Array:
    return columns if root is None else columns * root


def _least_squares(X: Array, y: Array, name: str) -> tuple[Array, float]:
    """Coefficients of y on the rows of X, (p, n), and the root mean square of what is left."""
    inverse, _ = spd_inverse(X @ X.T)
    coefficients = inverse @ (X @ y)
    rest = y - coefficients @ X
    correction = inverse @ (X @ rest)  # one refinement: offsets of 1e8 leave no trace
    rest -= correction @ X
    scale = float(np.sqrt(rest @ rest / len(y)))
    if scale <= 1e-13 * float(np.sqrt(y @ y / len(y))):
        raise DataError(
            f"the fixed effects explain {name!r} exactly: no variation is left to divide between "
            "the random effects and the residual; check the response and the formula"
        )
    return coefficients + correction, scale
