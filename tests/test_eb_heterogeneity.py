"""Estimators of tau^2 against dense algebra, central differences and metafor."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

import mixedfit as mf
from mixedfit.eb.heterogeneity import METHODS, Units, estimate_tau2, q_profile, solve_q, tau2_se
from tests.references import data, ids, reference

# Small data sets whose answers no other file holds.
RNG = np.random.default_rng(20)
V = RNG.gamma(2.0, 0.5, 12)
X = np.column_stack([np.ones(12), RNG.normal(size=12), RNG.uniform(size=12)])
Y = X @ [1.0, 0.5, -1.0] + RNG.normal(size=12) * np.sqrt(V + 0.7)

NAMES = {
    "REML": "reml",
    "ML": "ml",
    "DL": "dersimonian-laird",
    "PM": "paule-mandel",
    "EB": "paule-mandel",
    "HE": "hedges",
    "HS": "hunter-schmidt",
    "SJ": "sidik-jonkman",
}


def dense(tau2):
    """P, b and the covariance of b by n x n algebra."""
    W = np.diag(1.0 / (V + tau2))
    covariance = np.linalg.inv(X.T @ W @ X)
    return W - W @ X @ covariance @ X.T @ W, covariance @ X.T @ W @ Y, covariance


def test_quadratic_forms_and_traces_are_those_of_the_dense_projection():
    P, b, covariance = dense(0.4)
    at = Units.of(Y, V, X).at(0.4)
    D = np.diag(V)
    np.testing.assert_allclose(at.b[0], b)
    np.testing.assert_allclose(at.b_covariance[0], covariance)
    np.testing.assert_allclose(at.wr[0], P @ Y)
    np.testing.assert_allclose(at.quadratic[0], Y @ P @ Y)
    np.testing.assert_allclose(at.quadratic2[0], Y @ P @ P @ Y)
    np.testing.assert_allclose(at.quadratic3[0], Y @ P @ P @ P @ Y)
    np.testing.assert_allclose(at.trace[0], np.trace(P))
    np.testing.assert_allclose(at.trace2[0], np.trace(P @ P))
    np.testing.assert_allclose(at.trace_of(V)[0], np.trace(P @ D))
    np.testing.assert_allclose(at.trace_of_two(V)[0], np.trace(P @ D @ P @ D))


def test_the_restricted_likelihood_is_that_of_orthonormal_contrasts():
    full, _ = np.linalg.qr(X, mode="complete")
    contrasts = full[:, 3:]
    S = contrasts.T @ np.diag(V + 0.4) @ contrasts
    expected = stats.multivariate_normal(np.zeros(9), S).logpdf(contrasts.T @ Y)
    np.testing.assert_allclose(Units.of(Y, V, X).at(0.4).llf("reml")[0], expected)


def test_the_likelihood_at_its_best_b_is_normal():
    at = Units.of(Y, V, X).at(0.4)
    expected = stats.norm.logpdf(Y, X @ at.b[0], np.sqrt(V + 0.4)).sum()
    np.testing.assert_allclose(at.llf("ml")[0], expected)


@pytest.mark.parametrize("method", ["reml", "ml"])
def test_score_and_information_are_derivatives(method):
    units, t, h = Units.of(Y, V, X), 0.4, 1e-4
    gradient, observed, _ = units.at(t).score(method)
    below, above = units.at(t - h), units.at(t + h)
    slope = (above.llf(method) - below.llf(method)) / (2 * h)
    bend = (above.score(method)[0] - below.score(method)[0]) / (2 * h)
    np.testing.assert_allclose(gradient, slope, rtol=1e-6)
    np.testing.assert_allclose(observed, -bend, rtol=1e-6)


@pytest.mark.parametrize("method", ["reml", "ml"])
def test_the_likelihood_is_highest_at_the_estimate(method):
    units = Units.of(Y, V, X)
    found = optimize.minimize_scalar(
        lambda t: -units.at(t).llf(method)[0], bounds=(0.0, 20.0), options={"xatol": 1e-10}
    )
    np.testing.assert_allclose(estimate_tau2(units, method)[0], found.x, rtol=1e-5)


def test_sure_is_lowest_at_the_estimate_and_unbiased():
    units = Units.of(Y, V, X)
    t = estimate_tau2(units, "sure")[0]
    grid = np.linspace(0.0, 10.0, 4001)
    assert units.at(t).risk[0] <= min(units.at(g).risk[0] for g in grid) + 1e-9
    # Unbiased: at a fixed tau2 its mean over data is the true total squared error.
    rng = np.random.default_rng(0)
    truth = X @ [1.0, 0.5, -1.0] + rng.normal(size=12)
    draws = units.with_estimates(truth + np.sqrt(V) * rng.standard_normal((40_000, 12)))
    at = draws.at(np.full(40_000, 0.5))
    losses = ((at.posterior()[0] - truth) ** 2).sum(axis=1)
    difference = at.risk - losses
    assert abs(difference.mean()) < 4 * difference.std() / 200


@pytest.mark.parametrize("name", [n for n in ids("rma_bcg") if n != "rma_bcg_fixed"])
def test_tau2_is_metafors(name):
    expected = reference(name)
    frame, hint = data("bcg"), expected["mixedfit_hint"]
    columns = [np.ones(13)]
    for term in (hint.get("mods") or "~").lstrip("~ ").split("+"):
        if term.strip() in ("ablat", "year"):
            columns.append(frame[term.strip()].to_numpy(float))
        elif term.strip():
            columns += [(frame["alloc"] == level) * 1.0 for level in ("random", "systematic")]
    units = Units.of(expected["yi"], np.array(expected["vi"]), np.column_stack(columns))
    method = NAMES[expected["method"]]
    tau2 = estimate_tau2(units, method)
    np.testing.assert_allclose(tau2[0], expected["tau2"], rtol=1e-4)
    np.testing.assert_allclose(tau2_se(units, tau2, method)[0], expected["se_tau2"], rtol=1e-4)
    at = units.at(tau2)
    np.testing.assert_allclose(at.llf("ml")[0], expected["fit_stats"]["ML"][0], rtol=1e-6)
    np.testing.assert_allclose(at.llf("reml")[0], expected["fit_stats"]["REML"][0], rtol=1e-6)


def test_the_q_profile_inverts_cochrans_q():
    units = Units.of(Y, V, X)
    lower, upper = q_profile(units, 0.9)
    expected = stats.chi2.ppf([0.95, 0.05], 9)
    reached = [units.at(t).quadratic[0] for t in (lower, upper)]
    assert (lower > 0.0) == (units.at(0.0).quadratic[0] > expected[0])
    if lower > 0.0:
        np.testing.assert_allclose(reached[0], expected[0])
    np.testing.assert_allclose(reached[1], expected[1])


def test_many_data_sets_at_once_are_each_alone():
    rng = np.random.default_rng(1)
    ys = Y + rng.normal(size=(20, 12))
    for method in METHODS:
        together = estimate_tau2(Units.of(ys, V, X), method)
        alone = [estimate_tau2(Units.of(y, V, X), method)[0] for y in ys]
        np.testing.assert_allclose(together, alone, rtol=1e-6, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(
    scale=st.floats(1e-6, 1e6),
    shift=st.floats(-1e3, 1e3),
    method=st.sampled_from([m for m in METHODS if m != "fixed"]),
)
def test_units_of_measurement_do_not_matter(scale, shift, method):
    plain = estimate_tau2(Units.of(Y, V, X), method)
    moved = estimate_tau2(Units.of(scale * (Y + shift), scale**2 * V, X), method)
    np.testing.assert_allclose(moved / scale**2, plain, rtol=1e-5, atol=1e-7)


def test_equal_estimates_give_zero():
    units = Units.of(np.full(6, 3.0), np.full(6, 0.5), np.ones((6, 1)))
    for method in METHODS:
        assert estimate_tau2(units, method)[0] == 0.0
    assert q_profile(units, 0.95) == (0.0, 0.0)


def test_the_higher_of_two_maxima_is_found():
    # One precise and far-off unit makes the likelihood of tau2 bimodal.
    v = np.array([1e-4, 1e-4, 100.0, 100.0, 100.0, 100.0, 100.0])
    y = np.array([0.0, 0.05, 30.0, -28.0, 25.0, -31.0, 2.0])
    units = Units.of(y, v, np.ones((7, 1)))
    grid = np.concatenate([[0.0], np.geomspace(1e-8, 1e5, 2000)])
    heights = np.array([units.at(t).llf("ml")[0] for t in grid])
    found = estimate_tau2(units, "ml")
    assert units.at(found).llf("ml")[0] >= heights.max() - 1e-9


def test_solving_for_q_copes_with_variances_of_very_different_size():
    v = np.array([1e-8, 1e-4, 1.0, 1e4, 1.0, 2.0])
    y = np.array([0.0, 1.0, 3.0, -80.0, 2.0, 5.0])
    units = Units.of(y, v, np.ones((6, 1)))
    tau2 = solve_q(units, np.array([5.0]))
    np.testing.assert_allclose(units.at(tau2).quadratic, 5.0, rtol=1e-8)


def test_moments_keep_their_digits_where_standard_errors_differ_ten_thousandfold():
    se = np.append([1e-4, 2e-4], np.sqrt([1.0, 0.5, 2.0, 0.8, 1.5, 1.0]))
    y = [0.3, 1.1, 2.0, -1.4, 3.1, 0.2, -0.9, 1.8]
    X = np.column_stack([np.arange(8.0), [1.0, 0.5, -1.0, 2.0, 0.3, -0.7, 1.2, 0.1]])
    result = mf.eb.normal_means(y, se, X=X, method="dersimonian-laird")
    # In rational arithmetic.
    assert result.prior["tau2"] == pytest.approx(0.12122342002570549, rel=1e-8)
    assert result.heterogeneity["I2"] == pytest.approx(64.11333516885229, rel=1e-8)
    closer = mf.eb.normal_means(y, se * np.append([0.1, 0.1], np.ones(6)), X=X, method="hedges")
    assert np.isfinite(closer.prior_se["tau2"])
