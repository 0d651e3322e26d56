"""Small dense linear algebra on arrays: batched inverses, triangular factors, independent columns.

Batches are laid out *structure of arrays*: a batch of J matrices of order k is one array of shape
``(k, k, J)``, so that every operation runs over J contiguous numbers.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.linalg import lapack

from mixedfit.arrays import Array, IntArray

__all__ = [
    "cholesky",
    "independent_columns",
    "inverse_and_logdet",
    "left_singular",
    "lower_factor",
    "solve_spd",
    "spd_inverse",
    "symmetric_eigen",
]


def inverse_and_logdet(M: Array) -> tuple[Array, Array]:
    """Invert a batch of symmetric positive definite matrices.

    Orders 1 to 3 are written out over the batch; larger ones go to LAPACK one by one.

    Parameters
    ----------
    M : array of shape (k, k, J)
        J symmetric positive definite matrices.

    Returns
    -------
    inverse : array of shape (k, k, J)
    logdet : array of shape (J,)
        Natural logarithms of the determinants.
    """
    k = len(M)
    if k == 1:
        return 1.0 / M, np.log(M[0, 0])
    if k == 2:
        return _inverse_order_2(M)
    if k == 3:
        return _inverse_order_3(M)
    stacked = np.ascontiguousarray(M.transpose(2, 0, 1))
    factor = np.linalg.cholesky(stacked)
    logdet = 2.0 * np.log(np.einsum("jaa->ja", factor)).sum(axis=1)
    return np.ascontiguousarray(np.linalg.inv(stacked).transpose(1, 2, 0)), logdet


def _inverse_order_2(M: Array) -> tuple[Array, Array]:
    a, b, c = M[0, 0], M[0, 1], M[1, 1]
    det = a * c - b * b
    inverse = np.empty_like(M)
    np.divide(c, det, out=inverse[0, 0])
    np.divide(a, det, out=inverse[1, 1])
    np.divide(-b, det, out=inverse[0, 1])
    inverse[1, 0] = inverse[0, 1]
    return inverse, np.log(det)


def _inverse_order_3(M: Array) -> tuple[Array, Array]:
    # Schur complement on the first row: the order-2 inverse of the rest, then the border.
    a, b = M[0, 0], M[1:, 0]
    scaled = b / a
    rest, logdet = _inverse_order_2(M[1:, 1:] - scaled[:, None] * b[None])
    border = np.einsum("abj,bj->aj", rest, scaled)
    inverse = np.empty_like(M)
    inverse[1:, 1:] = rest
    inverse[0, 1:] = inverse[1:, 0] = -border
    inverse[0, 0] = 1.0 / a + np.einsum("aj,aj->j", scaled, border)
    return inverse, logdet + np.log(a)


def spd_inverse(A: Array) -> tuple[Array, float]:
    """Inverse and log-determinant of one small symmetric positive definite matrix.

    Parameters
    ----------
    A : array of shape (n, n)

    Returns
    -------
    inverse : array of shape (n, n)
    logdet : float

    Raises
    ------
    numpy.linalg.LinAlgError
        If A is not positive definite.
    """
    n = len(A)
    if n == 0:
        return np.zeros((0, 0)), 0.0
    factor, info = lapack.dpotrf(A, lower=1, clean=0)
    if info:
        raise np.linalg.LinAlgError("matrix is not positive definite")
    inverse, _ = lapack.dpotrs(factor, _identity(n), lower=1)
    return inverse, 2.0 * float(np.log(factor.diagonal()).sum())


@lru_cache(maxsize=64)
def _identity(n: int) -> Array:
    identity = np.eye(n, order="F")
    identity.flags.writeable = False
    return identity


def solve_spd(A: Array, b: Array) -> Array:
    """Solve ``A x = b`` for a positive semidefinite A, by least squares where it is singular.

    Parameters
    ----------
    A : array of shape (n, n)
    b : array of shape (n,)

    Returns
    -------
    array of shape (n,)
    """
    if not len(A):
        return np.zeros(0)
    scale = 1.0 / np.sqrt(A.diagonal())
    scaled = A * scale * scale[:, None]
    factor, info = lapack.dpotrf(scaled, lower=1, clean=0)
    if info or factor.diagonal().min() < 1e-5:
        return scale * np.linalg.lstsq(scaled, scale * b, rcond=1e-10)[0]
    return scale * lapack.dpotrs(factor, scale * b, lower=1)[0]


def symmetric_eigen(A: Array) -> tuple[Array, Array]:
    """Eigenvalues, increasing, and eigenvectors (columns) of one small symmetric matrix.

    Straight from LAPACK: for order 3 numpy's wrapper costs three times the work.
    """
    if len(A) == 0:
        return np.zeros(0), np.zeros((0, 0))
    values, vectors, info = lapack.dsyevd(A, lower=1)
    if info:
        raise np.linalg.LinAlgError("eigenvalues did not converge")
    return values, vectors


def left_singular(F: Array) -> tuple[Array, Array]:
    """Left singular vectors (columns) and singular values, decreasing, of one small matrix."""
    U, s, _, info = lapack.dgesdd(F)
    if info:
        raise np.linalg.LinAlgError("singular values did not converge")
    return U, s


def cholesky(A: Array) -> Array:
    """Lower Cholesky factor of one small symmetric positive definite matrix.

    Raises
    ------
    numpy.linalg.LinAlgError
        If A is not positive definite.
    """
    factor, info = lapack.dpotrf(A, lower=1, clean=1)
    if info:
        raise np.linalg.LinAlgError("matrix is not positive definite")
    return factor


def lower_factor(F: Array) -> Array:
    """Lower-triangular T with non-negative diagonal and T T' = F F'.

    Works for any F, singular ones included, without forming the product.

    Parameters
    ----------
    F : array of shape (k, m)

    Returns
    -------
    array of shape (k, k)
    """
    k, m = F.shape
    padded = F if m >= k else np.hstack([F, np.zeros((k, k - m))])
    T = np.asarray(np.linalg.qr(padded.T, mode="r"))[:k].T
    return np.tril(T * np.where(T.diagonal() < 0, -1.0, 1.0))


def independent_columns(X: Array, tolerance: float = 1e-7) -> IntArray:
    """Indices of the columns that are not linear combinations of the columns before them.

    A column goes when what is left of it after projection on the kept ones before it is less than
    ``tolerance`` of its length: the rule of R's `lm`, which keeps the first of each aliased set.

    Parameters
    ----------
    X : array of shape (n, p)
        Columns of comparable length, centred if they have a common offset.
    tolerance : float

    Returns
    -------
    array of int, increasing
    """
    p = X.shape[1]
    if not p:
        return np.arange(0)
    length = np.sqrt(np.einsum("ij,ij->j", X, X))
    if length.min() > 0.0:
        correlation = (X.T @ X) / (length * length[:, None])
        factor, info = lapack.dpotrf(correlation, lower=1, clean=0)
        if not info and factor.diagonal().min() > 1e-3:  # far from aliased: no need for QR
            return np.arange(p)
    R = np.asarray(np.linalg.qr(X, mode="r"))
    diagonal = np.zeros(p)
    diagonal[: min(R.shape)] = np.abs(np.diagonal(R))
    if np.all(diagonal > tolerance * length):
        return np.arange(p)
    kept: list[int] = []
    basis = np.zeros((X.shape[0], 0))
    for column in range(p):
        if length[column] == 0.0:
            continue
        rest = X[:, column] / length[column]
        for _ in range(2):  # twice is enough: Gram-Schmidt with one reorthogonalisation
            rest = rest - basis @ (basis.T @ rest)
        norm = np.linalg.norm(rest)
        if norm > tolerance:
            kept.append(column)
            basis = np.column_stack([basis, rest / norm])
    return np.array(kept, dtype=np.intp)
