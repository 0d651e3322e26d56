"""Satterthwaite's method against differences of the likelihood written out."""

import numpy as np
import pytest

import mixedfit as mf
from mixedfit.ddf import inference
from mixedfit.satterthwaite import joint_df
from tests.dense import relative_covariance
from tests.test_kenward_roger import _data


def _minus_twice_llf(design, G, s2, method):
    V = s2 * relative_covariance(design, G)
    X, V_inverse = design.X, np.linalg.inv(V)
    XVX = X.T @ V_inverse @ X
    rest = design.y - X @ np.linalg.solve(XVX, X.T @ V_inverse @ design.y)
    value = np.linalg.slogdet(V)[1] + rest @ V_inverse @ rest
    return value + (np.linalg.slogdet(XVX)[1] if method == "REML" else 0.0)


def by_differences(fit, L):
    """Degrees of freedom from central differences in the roots of the covariances and sigma."""
    design, estimate = fit.fit.design, fit.fit.estimate
    roots = [np.linalg.cholesky(term.root @ term.root.T) for term in estimate.terms]
    places = [np.tril_indices(len(T)) for T in roots]
    start = np.concatenate(
        [*(T[at] for T, at in zip(roots, places, strict=True)), [estimate.sigma]]
    )
    ends = np.cumsum([0, *(len(at[0]) for at in places)])

    def unpacked(values):
        G = []
        for T, at, a, b in zip(roots, places, ends[:-1], ends[1:], strict=True):
            root = np.zeros_like(T)
            root[at] = values[a:b]
            G.append(root @ root.T)
        return G, values[-1] ** 2

    def criterion(values):
        return _minus_twice_llf(design, *unpacked(values), fit.method)

    def variance(values):
        G, s2 = unpacked(values)
        V_inverse = np.linalg.inv(s2 * relative_covariance(design, G))
        return np.array(
            [row @ np.linalg.solve(design.X.T @ V_inverse @ design.X, row) for row in L]
        )

    steps = 1e-4 * np.maximum(np.abs(start), 0.1)
    moves = np.diag(steps)
    r = len(start)
    H = np.empty((r, r))
    for i in range(r):
        for j in range(r):
            H[i, j] = (
                criterion(start + moves[i] + moves[j])
                - criterion(start + moves[i] - moves[j])
                - criterion(start - moves[i] + moves[j])
                + criterion(start - moves[i] - moves[j])
            ) / (4 * steps[i] * steps[j])
    slopes = np.array(
        [
            (variance(start + m) - variance(start - m)) / (2 * h)
            for m, h in zip(moves, steps, strict=True)
        ]
    )
    A = 2.0 * np.linalg.inv(H)
    return 2.0 * variance(start) ** 2 / np.einsum("ri,rs,si->i", slopes, A, slopes)


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize(
    ("formula", "weights"),
    [
        ("y ~ x + (1 | s)", None),
        ("y ~ x + (x | s)", "w"),
        ("y ~ x + f + (1 | s) + (1 | i)", None),
    ],
)
def test_it_is_what_differences_give(formula, weights, method):
    fit = mf.lmer(formula, _data(), weights=weights, method=method)
    assert fit.status == "optimal"
    p = fit.fit.p
    L = np.vstack([np.eye(p), np.ones(p)])
    np.testing.assert_allclose(
        inference(fit.fit, "satterthwaite").df(L), by_differences(fit, L), rtol=2e-4
    )


def test_rows_of_zeros_have_no_degrees_of_freedom():
    fit = mf.lmer("y ~ x + (1 | s)", _data())
    assert np.isnan(inference(fit.fit, "satterthwaite").df(np.zeros((1, 2)))).all()


def test_the_denominator_of_several_rows():
    assert joint_df(np.array([7.0, 7.0])) == 7.0
    assert joint_df(np.array([1.5, 30.0])) == 2.0
    df = np.array([5.0, 10.0, 20.0])
    expected = (df / (df - 2.0)).sum()
    assert joint_df(df) == pytest.approx(2 * expected / (expected - 3))
