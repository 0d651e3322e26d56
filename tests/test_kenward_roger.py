"""Kenward and Roger's method against its formulas written out with n x n matrices."""

import numpy as np
import pandas as pd
import pytest

import mixedfit as mf
from mixedfit.anova import term_hypotheses
from mixedfit.ddf import inference
from mixedfit.kenward_roger import KenwardRoger, Moments, _scaled_f, kenward_roger
from mixedfit.working import WorkingRows
from tests.dense import relative_covariance


def _data(seed=3, n=90):
    rng = np.random.default_rng(seed)
    data = pd.DataFrame(
        {
            "x": rng.standard_normal(n) + 3.0,
            "f": rng.choice(list("abc"), n),
            "s": rng.integers(0, 9, n),
            "i": rng.integers(0, 5, n),
            "w": rng.uniform(0.3, 3.0, n),
        }
    )
    data["c"] = data["s"] * 3 + rng.integers(0, 3, n)
    data["y"] = (
        2.0
        + 0.4 * data["x"]
        + rng.standard_normal(9)[data["s"]] * (1.0 + 0.5 * data["x"])
        + rng.standard_normal(5)[data["i"]]
        + 0.7 * rng.standard_normal(27)[data["c"]]
        + rng.standard_normal(n)
    )
    return data


def _directions(design):
    """Derivatives of V in every variance and covariance, and in the residual variance."""
    n = design.n
    out = [np.eye(n) if design.weights is None else np.diag(1.0 / design.weights)]
    for term in design.terms:
        codes = design.factors[term.factor].codes
        same = codes[:, None] == codes
        out.extend((term.Z @ basis @ term.Z.T) * same for basis in term.structure.linear_basis())
    return out


def written_out(fit, more=()):
    """Phi, P, W and the adjusted covariance by Kenward & Roger (1997), eqs. 3 to 8.

    ``more`` are further directions of V.
    """
    design, estimate = fit.fit.design, fit.fit.estimate
    G = [term.root @ term.root.T for term in estimate.terms]
    V_inverse = np.linalg.inv(relative_covariance(design, G)) / estimate.sigma**2
    X, V = design.X, [*_directions(design), *more]
    m = len(V)
    phi = np.linalg.inv(X.T @ V_inverse @ X)
    P = np.array([-X.T @ V_inverse @ v @ V_inverse @ X for v in V])
    Q = np.array([[X.T @ V_inverse @ v @ V_inverse @ u @ V_inverse @ X for u in V] for v in V])
    T = np.array([[np.trace(V_inverse @ v @ V_inverse @ u) for u in V] for v in V])
    information = np.array(
        [
            [
                T[r, s] - 2 * np.trace(phi @ Q[r, s]) + np.trace(phi @ P[r] @ phi @ P[s])
                for s in range(m)
            ]
            for r in range(m)
        ]
    )
    W = 2.0 * np.linalg.inv(information)
    spread = sum(W[r, s] * (Q[r, s] - P[r] @ phi @ P[s]) for r in range(m) for s in range(m))
    return phi, P, W, phi + 2.0 * phi @ spread @ phi


def written_out_f(fit, L):
    """Degrees of freedom and scale of F, Kenward & Roger (1997), section 3.3."""
    phi, P, W, _ = written_out(fit)
    q, m = len(L), len(P)
    theta = L.T @ np.linalg.inv(L @ phi @ L.T) @ L
    products = [theta @ phi @ p @ phi for p in P]
    pairs = [(r, s) for r in range(m) for s in range(m)]
    A1 = sum(W[r, s] * np.trace(products[r]) * np.trace(products[s]) for r, s in pairs)
    A2 = sum(W[r, s] * np.trace(products[r] @ products[s]) for r, s in pairs)
    B = (A1 + 6 * A2) / (2 * q)
    g = ((q + 1) * A1 - (q + 4) * A2) / ((q + 2) * A2)
    d = 3 * q + 2 * (1 - g)
    c1, c2, c3 = g / d, (q - g) / d, (q + 2 - g) / d
    E = 1 / (1 - A2 / q)
    V = 2 / q * (1 + c1 * B) / ((1 - c2 * B) ** 2 * (1 - c3 * B))
    rho = V / (2 * E**2)
    df = 4 + (q + 2) / (q * rho - 1)
    return df, df / (E * (df - 2))


MODELS = [
    ("y ~ x + (1 | s)", None),
    ("y ~ x + f + (x | s)", None),
    ("y ~ x + f + (x || s)", None),
    ("y ~ x + f + (1 | s) + (1 | i)", None),
    ("y ~ x + (x | s) + (1 | i)", "w"),
    ("y ~ x + f + (1 | s/c)", "w"),
    ("y ~ f + cs(0 + f | s, hom = TRUE) + (1 | i)", None),
    ("y ~ x + (1 | c) + (x | i) + (1 | s)", "w"),
]


@pytest.mark.parametrize(("formula", "weights"), MODELS)
def test_it_is_the_method_written_out(formula, weights):
    fit = mf.lmer(formula, _data(), weights=weights)
    phi, P, W, adjusted = written_out(fit)
    inferred = inference(fit.fit, "kenward-roger")
    np.testing.assert_allclose(fit.cov_params(), phi, rtol=1e-7)
    np.testing.assert_allclose(fit.cov_params("kenward-roger"), adjusted, rtol=1e-6, atol=1e-9)
    slopes = np.array([[phi[i] @ p @ phi[i] / phi[i, i] for p in P] for i in range(len(phi))])
    expected = 2.0 / np.einsum("ir,rs,is->i", slopes, W, slopes)
    np.testing.assert_allclose(inferred.df(np.eye(len(phi))), expected, rtol=1e-6)
    L = np.eye(len(phi))[:2] + 0.1
    df, scale = written_out_f(fit, L)
    np.testing.assert_allclose(inferred.denominator.joint(L), [df, scale], rtol=1e-6)


def test_the_units_of_rows_and_columns_do_not_matter():
    data = _data()
    data["long"], data["tiny"] = 1e6 * data["x"] + 1e7, 1e-5 * data["y"]
    first = mf.lmer("y ~ x + (x | s)", data)
    other = mf.lmer("tiny ~ long + (long | s)", data)
    want = first.coef_table("kenward-roger")["df"].iloc[1]
    np.testing.assert_allclose(other.coef_table("kenward-roger")["df"].iloc[1], want, rtol=1e-5)


def test_at_the_boundary_every_variance_counts():
    rng = np.random.default_rng(11)
    data = pd.DataFrame({"g": np.repeat(np.arange(6), 5), "e": rng.standard_normal(30)})
    data["y"] = data["e"] - data.groupby("g")["e"].transform("mean")
    fit = mf.lmer("y ~ 1 + (1 | g)", data)
    assert fit.is_singular
    # Balanced: the mean has as many degrees of freedom as there are groups less one.
    np.testing.assert_allclose(fit.coef_table("kenward-roger")["df"], 5.0, rtol=1e-9)


def test_balanced_experiments_have_their_exact_denominators():
    # A split plot: whole plots by block, sub-plots within them.
    rng = np.random.default_rng(2)
    block, whole, sub = (a.ravel() for a in np.meshgrid(range(6), range(3), range(4)))
    plot = block * 3 + whole
    y = 3 * rng.standard_normal(6)[block] + 2 * rng.standard_normal(18)[plot]
    data = {
        "y": y + rng.standard_normal(72),
        "block": block,
        "whole": [f"w{i}" for i in whole],
        "sub": [f"s{i}" for i in sub],
        "plot": plot,
    }
    fit = mf.lmer("y ~ whole * sub + (1 | block) + (1 | plot)", data)
    a = fit.anova(ddf="kenward-roger")
    np.testing.assert_allclose(a["den_df"], [10.0, 45.0, 45.0], rtol=1e-6)
    frame = pd.DataFrame(data)
    # F of the whole-plot factor is its mean square over that of the whole plots.
    by_plot = frame.pivot_table("y", "block", "whole")
    rows, columns = by_plot.mean(axis=1), by_plot.mean(axis=0)
    rest = by_plot.sub(rows, axis=0).sub(columns, axis=1) + by_plot.to_numpy().mean()
    F = (6 * ((columns - columns.mean()) ** 2).sum() / 2) / ((rest**2).to_numpy().sum() / 10)
    np.testing.assert_allclose(a["F"].iloc[0], F, rtol=1e-6)


def test_directions_that_repeat_others_change_nothing():
    rng = np.random.default_rng(0)
    base = [np.eye(12), np.kron(np.eye(4), np.ones((3, 3)))]
    X = np.column_stack([np.ones(12), rng.standard_normal(12)])
    V_inverse = np.linalg.inv(base[0] + 0.7 * base[1])

    def method(V):
        P = np.array([-X.T @ V_inverse @ v @ V_inverse @ X for v in V])
        Q = np.array([[X.T @ V_inverse @ v @ V_inverse @ u @ V_inverse @ X for u in V] for v in V])
        T = np.array([[np.trace(V_inverse @ v @ V_inverse @ u) for u in V] for v in V])
        return KenwardRoger.of(np.linalg.inv(X.T @ V_inverse @ X), Moments(P, Q, T))

    plain, repeated = method(base), method([*base, base[0] + 2.0 * base[1]])
    np.testing.assert_allclose(repeated.adjusted, plain.adjusted, rtol=1e-8)
    np.testing.assert_allclose(repeated.df(np.eye(2)), plain.df(np.eye(2)), rtol=1e-8)


def test_levels_hold_with_six_subjects():
    """Type 3 F tests reject a true hypothesis as often as they say, where naive ones do not."""
    rng = np.random.default_rng(20250610)
    subject = np.repeat(np.arange(6), 6)
    f = np.tile([0, 1, 2, 2, 1, 0], 6)
    x = np.tile(np.linspace(-1, 1, 6), 6)
    n_sets = 400
    slopes = rng.standard_normal((n_sets, 6, 2))
    y = slopes[:, subject, 0] + 1.5 * slopes[:, subject, 1] * x + rng.standard_normal((n_sets, 36))
    data = {"y": y[0], "f": [f"f{i}" for i in f], "x": x, "s": subject}
    first = mf.lmer("y ~ f + x + (x | s)", data)
    type_3 = dict(zip(first.anova()["term"], term_hypotheses(first.fit, 3)[1:], strict=True))
    rejected = dict.fromkeys(
        [(ddf, term) for ddf in ("kenward-roger", "satterthwaite", "normal") for term in "fx"], 0
    )
    for response in y:
        fit = first.refit(response).fit
        for ddf, term in rejected:
            rejected[ddf, term] += inference(fit, ddf).joint(type_3[term]).p < 0.05
    rates = {key: count / n_sets for key, count in rejected.items()}
    error = 2.6 * np.sqrt(0.05 * 0.95 / n_sets)  # 99 %
    for ddf in ("kenward-roger", "satterthwaite"):
        for term in "fx":
            assert abs(rates[ddf, term] - 0.05) < error
    assert rates["normal", "x"] > 0.05 + error


class _Strata:
    """Residual variances of their own in strata of rows, everything written out."""

    def __init__(self, fit, strata):
        design, point = fit.fit.design, fit.fit.evaluation
        working = WorkingRows.of(design)
        G = [term.root @ term.root.T for term in fit.fit.estimate.terms]
        self.V_inverse = np.linalg.inv(relative_covariance(design, G))
        self.V = [np.diag((strata == level) * 1.0) for level in np.unique(strata)[1:]]
        self.X, self.design, self.working = working.X, design, working
        self.factors = point.likelihood.products.factors
        self.fixed = self.X @ self.V_inverse
        self.moved = np.array([self.fixed @ V for V in self.V])

    def _Z(self, f, a, level):
        return self.working.Z[f][a] * (self.working.codes[f] == level)

    def solve(self, rows):
        solved = rows @ self.V_inverse
        of_effects = [
            np.array(
                [
                    [[v @ self._Z(f, a, j) for j in range(sums.n_levels)] for a in range(sums.k)]
                    for v in solved
                ]
            )
            for f, sums in enumerate(self.factors)
        ]
        return of_effects, solved

    def traces(self, tangents):
        directions = [np.linalg.inv(self.V_inverse)]
        for f, dG in enumerate(tangents):
            codes, Z = self.working.codes[f], self.working.Z[f].T
            directions += [(Z @ d @ Z.T) * (codes[:, None] == codes) for d in dG]
        directions += self.V
        return np.array(
            [
                [np.trace(self.V_inverse @ v @ self.V_inverse @ u) for u in self.V]
                for v in directions
            ]
        )


def test_residual_covariances_join_by_their_rows():
    data = _data()
    fit = mf.lmer("y ~ x + (x | s) + (1 | i)", data)
    strata = np.digitize(data["w"], [1.0, 2.0])
    rows = _Strata(fit, strata)
    total = fit.fit.estimate.basis.fixed.total
    joined = kenward_roger(fit.fit.evaluation, rows).transformed(total)
    _, _, _, plain = written_out(fit)
    wanted = written_out(fit, [np.diag((strata == level) * 1.0) for level in (1, 2)])
    np.testing.assert_allclose(joined.phi * fit.scale, wanted[0], rtol=1e-7)
    np.testing.assert_allclose(joined.adjusted * fit.scale, wanted[3], rtol=1e-6)
    assert np.abs(wanted[3] / plain - 1.0).max() > 1e-4
    phi, P, W, _ = wanted
    slopes = np.array([[phi[i] @ p @ phi[i] / phi[i, i] for p in P] for i in range(len(phi))])
    expected = 2.0 / np.einsum("ir,rs,is->i", slopes, W, slopes)
    np.testing.assert_allclose(joined.df(np.eye(2)), expected, rtol=1e-6)


def test_moments_no_f_distribution_has_are_no_test():
    """Few rows and many terms: the formulas then give negative degrees of freedom."""
    assert np.isnan(_scaled_f(2, 8.0, 2.0)).all()
    assert _scaled_f(2, 1.0, 0.5) == pytest.approx((8.0, 1.0))
    rng = np.random.default_rng(0)
    data = pd.DataFrame({"g": np.repeat(list("uvw"), 5), "f": list("abc") * 5})
    data["k"], data["x"] = rng.choice(["m", "n"], 15), rng.standard_normal(15)
    data["y"] = rng.standard_normal(15)
    table = mf.lmer("y ~ x * f * k + (x || g)", data).anova(ddf="kenward-roger")
    assert "No F distribution approximates the test of" in table.note
    told = table["F"].notna()
    assert not told.all()
    assert (table.loc[told, ["den_df", "F"]] >= 0.0).all(axis=None)
    assert table.loc[~told, ["den_df", "p"]].isna().all(axis=None)
