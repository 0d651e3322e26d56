import json
from functools import cache

import numpy as np
import pytest
from scipy import linalg

import mixedfit as mf
from mixedfit.errors import DataError, MixedfitError
from mixedfit.robust import default_cluster, robust_inference
from tests import references
from tests.dense import relative_covariance

EXPECTED = json.loads((references.ROOT / "expected" / "robust.json").read_text(encoding="utf-8"))
KINDS = ("CR0", "CR1", "CR2")
CLUSTERS = {"teeth_gls": references.data("orthodont")["Subject"]}


def sleep(formula, **options):
    data = references.data("sleepstudy")
    return mf.lmer(formula, data.drop(data.index[[2, 16, 17, 39, 40, 41, 42, 98, 169]]), **options)


def math():
    data = references.data("mathachieve")
    data = data[data["School"].cat.codes < 40]
    return mf.lmer("MathAch ~ Sector * cSES + MEANSES + (cSES | School)", data)


def teeth(random=None, **options):
    data, fixed = references.data("orthodont"), "distance ~ age * Sex"
    return mf.lme(fixed, random, data, **options) if random else mf.gls(fixed, data, **options)


def ar1():
    return mf.CorAR1(form="~ 1 | Subject")


def by_sex():
    return mf.VarIdent(form="~ 1 | Sex")


FITS = {
    "sleep": lambda: sleep("Reaction ~ Days + (Days | Subject)"),
    "sleep_weights": lambda: sleep("Reaction ~ Days * grp + (1 | Subject)", weights="w"),
    "math": math,
    "alfalfa": lambda: mf.lmer(
        "Yield ~ Date * Variety + (1 | Block/Variety)", references.data("alfalfa")
    ),
    "pastes": lambda: mf.lmer("strength ~ 1 + (1 | batch/cask)", references.data("pastes")),
    "teeth_gls": lambda: teeth(correlation=ar1(), weights=by_sex()),
    "teeth_lme": lambda: teeth("~ 1 | Subject", correlation=ar1()),
    "teeth_slope": lambda: teeth("~ age | Subject", weights=by_sex()),
}


@cache
def fitted(name):
    return FITS[name]()


# -- against R -------------------------------------------------------------------------------------


NAMES = [name for name in EXPECTED if name != "software"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", KINDS)
def test_covariance_and_degrees_of_freedom_are_clubsandwichs(name, kind):
    fit, want = fitted(name), EXPECTED[name][kind]
    theirs, ours = [references.spelling(n) for n in EXPECTED[name]["fixef"]], fit.params.index
    order = [theirs.index(references.spelling(n)) for n in ours]
    V = np.atleast_2d(want["vcov"])[np.ix_(order, order)]
    sd = np.sqrt(V.diagonal())
    inferred = robust_inference(fit.fit, kind, CLUSTERS.get(name))
    np.testing.assert_allclose(
        inferred.covariance / np.outer(sd, sd), V / np.outer(sd, sd), atol=2e-4
    )
    df = np.atleast_1d(want["df"])[order]
    np.testing.assert_allclose(inferred.df(np.eye(fit.fit.p)), df, rtol=1e-3)
    if fit.fit.p > 1:
        C = np.array(EXPECTED[name]["joint"])[:, order]
        joint = inferred.joint(C)
        assert joint.num_df == 2
        np.testing.assert_allclose(joint.F, want["F"], rtol=1e-3)
        np.testing.assert_allclose(joint.den_df, want["den_df"], rtol=2e-3)


# -- against the textbook --------------------------------------------------------------------------


def simulated(n, groups, items, seed, weights=False, slope=False):
    rng = np.random.default_rng(seed)
    data = {
        "g": rng.integers(0, groups, n),
        "i": rng.integers(0, items, n),
        "x": rng.standard_normal(n),
        "w": rng.uniform(0.3, 3.0, n),
    }
    data["y"] = (
        1.0
        + data["x"]
        + rng.standard_normal(groups)[data["g"]]
        + rng.standard_normal(items)[data["i"]]
        + rng.standard_normal(n) * (1.0 + 0.5 * np.abs(data["x"]))
    )
    formula = "y ~ x + I(x**2) + (1 | g) + (1 | i)"
    if slope:
        formula = "y ~ x + I(x**2) + (x | g)"
    return mf.lmer(formula, data, weights="w" if weights else None), data


def symmetric_power(matrix, exponent):
    values, vectors = linalg.eigh(matrix)
    kept = values > 1e-10 * values.max()
    powers = np.where(kept, np.where(kept, values, 1.0) ** exponent, 0.0)
    return (vectors * powers) @ vectors.T


class Dense:
    """Bell and McCaffrey's estimator with every matrix written out."""

    def __init__(self, fit, clusters, kind):
        design = fit.fit.design
        relative = [term.root @ term.root.T for term in fit.fit.estimate.terms]
        V = relative_covariance(design, relative)
        if fit.fit.whitening is not None:
            root = np.ones(fit.nobs) if design.weights is None else 1.0 / np.sqrt(design.weights)
            V += np.diag(root) @ (fit.fit.whitening.multiply(np.eye(fit.nobs)) @ np.diag(root))
            V -= np.diag(root**2)
        V *= fit.scale
        X, W = design.X, np.linalg.inv(V)
        M = np.linalg.inv(X.T @ W @ X)
        e = design.y - X @ fit.params.to_numpy()
        keys, codes = np.unique(clusters, return_inverse=True)
        self.hat = np.eye(len(e)) - X @ M @ X.T @ W
        self.V, self.pieces = V, []
        total = np.zeros((len(M), len(M)))
        for j in range(len(keys)):
            rows = np.flatnonzero(codes == j)
            A = np.eye(len(rows))
            if kind == "CR2":
                D = linalg.cholesky(V[np.ix_(rows, rows)])
                B = D @ (V - X @ M @ X.T)[np.ix_(rows, rows)] @ D.T
                A = D.T @ symmetric_power(B, -0.5) @ D
            piece = np.zeros((len(e), len(M)))
            piece[rows] = A @ (W @ X)[rows] @ M
            score = piece.T @ e
            total += np.outer(score, score)
            self.pieces.append(self.hat.T @ piece)
        m = len(keys)
        self.covariance = total * (m / (m - 1) if kind == "CR1" else 1.0)

    def omega(self, a, b):
        left = np.stack([piece @ a for piece in self.pieces])
        right = np.stack([piece @ b for piece in self.pieces])
        return left @ self.V @ right.T

    def df(self, row):
        omega = self.omega(row, row)
        return np.trace(omega) ** 2 / np.sum(omega**2)

    def joint(self, C, estimates):
        q = len(C)
        mean = np.array([[np.trace(self.omega(a, b)) for b in C] for a in C])
        G = symmetric_power(mean, -0.5) @ C
        spread = sum(
            np.sum(self.omega(G[s], G[t]) * self.omega(G[t], G[s]))
            + np.sum(self.omega(G[s], G[s]) * self.omega(G[t], G[t]))
            for s in range(q)
            for t in range(q)
        )
        eta = q * (q + 1) / spread
        Q = C @ estimates @ np.linalg.solve(C @ self.covariance @ C.T, C @ estimates)
        return (eta - q + 1) / (eta * q) * Q, eta - q + 1


def assert_textbook(fit, clusters, kind, cluster):
    dense, inferred = Dense(fit, clusters, kind), robust_inference(fit.fit, kind, cluster)
    np.testing.assert_allclose(inferred.covariance, dense.covariance, rtol=1e-6, atol=1e-12)
    L = np.vstack([np.eye(3), [1.0, 2.0, -1.0]])
    np.testing.assert_allclose(inferred.df(L), [dense.df(row) for row in L], rtol=1e-6)
    F, den_df = dense.joint(L[1:3], fit.params.to_numpy())
    joint = inferred.joint(L[1:3])
    np.testing.assert_allclose([joint.F, joint.den_df], [F, den_df], rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("cluster", ["g", "i"])
def test_clusters_that_cut_across_groups(kind, weights, cluster):
    fit, data = simulated(90, 12, 7, 1, weights)
    assert_textbook(fit, data[cluster], kind, cluster)


def test_clusters_of_any_labels():
    fit, _ = simulated(80, 10, 6, 2)
    labels = np.array(["east", "west", "north", "south", "centre"])[np.arange(80) % 5]
    assert_textbook(fit, labels, "CR2", labels)
    rows = np.arange(80)
    assert_textbook(fit, rows, "CR2", rows)


@pytest.mark.parametrize("slope", [False, True])
def test_large_clusters_in_the_space_of_their_effects(slope):
    fit, data = simulated(760, 12, 9, 3, slope=slope)
    halves = (data["g"] % 3).astype(int)
    assert_textbook(fit, halves, "CR2", halves)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cluster", ["g", "i"])
@pytest.mark.parametrize("weights", [None, "w"])
def test_correlated_residuals(kind, cluster, weights):
    _, data = simulated(90, 12, 7, 5)
    fit = mf.lmer(
        "y ~ x + I(x**2) + (1 | g)",
        data,
        weights=weights,
        correlation=mf.CorAR1(0.4, form="~ 1 | g", fixed=True),
        variance=mf.VarExp(0.2, form="~ x", fixed=True),
    )
    assert_textbook(fit, data[cluster], kind, np.asarray(data[cluster]))


def test_least_squares_and_generalised_least_squares():
    _, data = simulated(80, 10, 6, 6)
    for correlation in (None, mf.CorCompSymm(0.3, form="~ 1 | g", fixed=True)):
        fit = mf.gls("y ~ x + I(x**2)", data, correlation=correlation)
        assert_textbook(fit, data["g"], "CR2", data["g"])


def test_without_correction_rows_as_clusters_are_whites():
    fit, _ = simulated(60, 8, 5, 4)
    inferred = robust_inference(fit.fit, "CR0", np.arange(60))
    dense = Dense(fit, np.arange(60), "CR0")
    np.testing.assert_allclose(inferred.covariance, dense.covariance, rtol=1e-8)


def test_the_corrected_covariance_is_unbiased_where_the_model_holds():
    fit, data = simulated(90, 12, 7, 1, weights=True, slope=True)
    pairs = data["g"] // 2
    for cluster in ("g", pairs):
        working = robust_inference(fit.fit, "CR2", cluster).denominator.working
        for row in (np.eye(3)[1], np.array([1.0, -2.0, 0.5])):
            expected = working.form(row, row).trace()
            np.testing.assert_allclose(expected, row @ working.model.M @ row, rtol=1e-8)
        plain = robust_inference(fit.fit, "CR0", cluster).denominator.working
        assert plain.form(np.eye(3)[1], np.eye(3)[1]).trace() < working.model.M[1, 1]


def test_what_clusters_share_is_told():
    fit, data = simulated(90, 12, 7, 1)
    assert "levels of i lie in several clusters" in fit.coef_table(cov="CR2", cluster="g").note
    nested = fitted("alfalfa").coef_table(cov="CR2").note
    assert "several" not in nested
    fit = mf.gls("y ~ x", data, correlation=mf.CorCompSymm(0.3, form="~ 1 | g", fixed=True))
    assert "groups of the residual correlation" in fit.coef_table(cov="CR2", cluster=data["i"]).note


def test_units_do_not_matter():
    fit, data = simulated(90, 12, 7, 1)
    other = mf.lmer(
        "y ~ x + I(x**2) + (1 | g) + (1 | i)",
        {**data, "y": 1e6 * data["y"], "x": 1e-3 * data["x"] + 5.0},
    )
    scale = np.array([1e9, 1e12])
    ours = robust_inference(fit.fit, "CR2", "g").df(np.eye(3))[2]
    theirs = robust_inference(other.fit, "CR2", "g")
    se = robust_inference(fit.fit, "CR2", "g").se(np.eye(3))[2] * scale[1]
    np.testing.assert_allclose(theirs.df(np.eye(3))[2], ours, rtol=1e-4)
    np.testing.assert_allclose(theirs.se(np.eye(3))[2], se, rtol=1e-4)


# -- what a user meets -----------------------------------------------------------------------------


def test_the_factor_that_nests_the_others_is_the_default():
    assert default_cluster(fitted("alfalfa").fit) == "Block"
    assert default_cluster(fitted("sleep").fit) == "Subject"
    fit, _ = simulated(90, 12, 7, 1)
    with pytest.raises(MixedfitError, match="'g', 'i' nests the others.*cluster="):
        fit.cov_params("CR2")


def test_without_random_effects_the_residual_groups_are_the_default():
    fit = fitted("teeth_gls")
    ours = fit.coef_table(cov="CR2")
    theirs = fit.coef_table(cov="CR2", cluster=references.data("orthodont")["Subject"])
    np.testing.assert_allclose(ours[["se", "df"]], theirs[["se", "df"]])
    assert "27 levels of the residual correlation" in ours.note
    with pytest.raises(MixedfitError, match="cluster="):
        teeth().cov_params("CR2")


def test_tables_take_a_robust_covariance():
    fit = fitted("sleep")
    table = fit.coef_table(cov="CR2")
    want = EXPECTED["sleep"]["CR2"]
    np.testing.assert_allclose(table["se"], np.sqrt(np.diag(want["vcov"])), rtol=1e-4)
    np.testing.assert_allclose(table["p"], want["p"], rtol=5e-2)
    assert "18 levels of Subject" in table.note
    slope = fit.contrast("Days = 0", cov="CR2")
    assert slope.df.iloc[0] == pytest.approx(want["df"][1], rel=1e-3)
    means = fit.emmeans("1", cov="CR2", at={"Days": 0}).to_frame()
    assert means["se"][0] == pytest.approx(table["se"][0])
    joint = fit.joint_tests(cov="CR2")
    assert joint["den_df"][0] == pytest.approx(want["df"][1], rel=1e-3)


def test_rows_left_out_leave_their_labels_out():
    data = references.data("sleepstudy").copy()
    data.loc[data.index[5], "Reaction"] = np.nan
    fit = mf.lmer("Reaction ~ Days + (1 | Subject)", data)
    ours = fit.cov_params("CR2", cluster=data["Subject"])
    np.testing.assert_allclose(ours, fit.cov_params("CR2", cluster="Subject"))


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda f: f.coef_table(cov="HC3"), MixedfitError, "'CR0', 'CR1', 'CR2'"),
        (lambda f: f.coef_table(ddf="normal", cov="CR2"), MixedfitError, "leave ddf= out"),
        (lambda f: f.coef_table(cluster="Subject"), MixedfitError, "cov='CR2'"),
        (lambda f: f.cov_params("CR9"), MixedfitError, "'CR9'"),
        (lambda f: f.cov_params("CR2", cluster="Days"), DataError, "cluster=data"),
        (lambda f: f.cov_params("CR2", cluster=[1, 2]), DataError, "cluster has 2 labels"),
        (lambda f: f.cov_params("CR2", cluster=np.ones(f.nobs)), MixedfitError, "two clusters"),
    ],
)
def test_errors_name_the_thing_and_the_remedy(call, error, match):
    with pytest.raises(error, match=match):
        call(fitted("sleep"))


def test_without_fixed_effects_there_is_nothing_to_tell():
    fit = mf.lmer("Reaction ~ 0 + (1 | Subject)", mf.datasets.load("sleepstudy"))
    for kind in ("CR0", "CR1", "CR2"):
        assert fit.cov_params(kind).shape == (0, 0)
        assert fit.coef_table(cov=kind).empty
