"""Groups that differ in mean and in variance: against brute force, lmer and simulation."""

import numpy as np
import pytest
from scipy import integrate, optimize, stats

import mixedfit as mf
from mixedfit.eb.unequal_likelihood import AtPoint, Groups, Hyperparameters, fit_unequal
from mixedfit.errors import DataError, ModelError


def simulated(J, seed, nu0=6.0, tau=1.5, smallest=1):
    rng = np.random.default_rng(seed)
    n = rng.integers(smallest, 12, J)
    sigma2 = 4.0 * nu0 / rng.chisquare(nu0, J) if np.isfinite(nu0) else np.full(J, 4.0)
    theta = rng.normal(10.0, tau, J)
    group = np.repeat(np.arange(J), n)
    return theta, sigma2, rng.normal(theta[group], np.sqrt(sigma2[group])), group


def groups_of(y, group):
    n = np.bincount(group).astype(float)
    mean = np.bincount(group, y) / n
    return Groups(n, mean, np.bincount(group, (y - mean[group]) ** 2))


Y_FEW, GROUP_FEW = simulated(7, 3)[2:]


def test_likelihood_is_the_integral_over_the_rows():
    h = Hyperparameters(9.0, 1.2, 3.0, 4.0)
    at = AtPoint(groups_of(Y_FEW, GROUP_FEW), h)
    for j in range(7):
        rows = Y_FEW[j == GROUP_FEW]
        prior = stats.invgamma(h.nu0 / 2, scale=h.nu0 * h.s02 / 2)

        def density(x, rows=rows, prior=prior):
            V = h.tau2 + np.exp(x) * np.eye(len(rows))
            rows_given = stats.multivariate_normal.logpdf(rows, np.full(len(rows), h.mu), V)
            return np.exp(rows_given + prior.logpdf(np.exp(x)) + x)

        exact, _ = integrate.quad(density, -10, 14, epsabs=0, epsrel=1e-11, limit=400, points=[1])
        assert at.each[j] == pytest.approx(np.log(exact), abs=1e-9)


@pytest.mark.parametrize(
    "h",
    [
        Hyperparameters(9.0, 1.2, 3.0, 4.0),
        Hyperparameters(9.0, 1.2, 3.0, np.inf),
        Hyperparameters(10.0, 0.3, 3.0, 200.0),
    ],
)
def test_gradient_is_that_of_the_likelihood(h):
    groups = groups_of(Y_FEW, GROUP_FEW)

    def value(d):
        moved = (h.mu + d[0], h.tau2 + d[1], h.s02 * np.exp(d[2]), h.nu0 * np.exp(d[3]))
        return AtPoint(groups, Hyperparameters(*moved)).value

    numeric = [(value(d) - value(-d)) / 2e-5 for d in 1e-5 * np.eye(4)]
    np.testing.assert_allclose(AtPoint(groups, h).gradient, numeric, rtol=1e-5, atol=1e-6)


def test_the_maximum_is_one():
    groups = groups_of(*simulated(30, 1)[2:])
    best = fit_unequal(groups)
    h = best.h

    def fun(z):
        return -AtPoint(
            groups, Hyperparameters(z[0], np.exp(z[1]), np.exp(z[2]), np.exp(z[3]))
        ).value

    found = optimize.minimize(
        fun, [10.0, 0.0, 1.0, 1.0], method="Nelder-Mead", options={"maxiter": 2000}
    )
    assert best.at.value >= -found.fun - 1e-6
    assert np.abs(best.at.gradient).max() < 1e-5
    z = np.array([h.mu, np.log(h.tau2), np.log(h.s02), np.log(h.nu0)])
    np.testing.assert_allclose(z, found.x, atol=0.02)


def test_posterior_is_brute_force_integration_over_both_parameters():
    result = mf.eb.one_way(Y_FEW, GROUP_FEW)
    h = Hyperparameters(*result.prior)
    assert np.isfinite(h.nu0)
    assert h.tau2 > 0.0
    theta = np.linspace(h.mu - 9.0, h.mu + 9.0, 801)
    x = np.linspace(-7.0, 9.0, 801)
    T, X = np.meshgrid(theta, x, indexing="ij")
    prior = stats.norm.logpdf(T, h.mu, np.sqrt(h.tau2)) + X
    prior += stats.invgamma.logpdf(np.exp(X), h.nu0 / 2, scale=h.nu0 * h.s02 / 2)
    for j in range(7):
        rows = Y_FEW[j == GROUP_FEW]
        log = prior + sum(stats.norm.logpdf(v, T, np.exp(X / 2)) for v in rows)
        weight = np.exp(log - log.max())
        weight /= weight.sum()
        row = result.posterior.iloc[j]
        of_theta, of_x = weight.sum(axis=1), weight.sum(axis=0)
        mean = of_theta @ theta
        assert row["mean"] == pytest.approx(mean, abs=1e-4)
        assert row["sd"] == pytest.approx(np.sqrt(of_theta @ (theta - mean) ** 2), rel=1e-3)
        limits = np.interp([0.025, 0.975], np.cumsum(of_theta), theta)
        np.testing.assert_allclose(row[["lower", "upper"]].astype(float), limits, atol=0.02)
        limits = np.exp(np.interp([0.025, 0.975], np.cumsum(of_x), x))
        names = ["variance_lower", "variance_upper"]
        np.testing.assert_allclose(row[names].astype(float), limits, rtol=0.02)
        if h.nu0 + row["n"] > 6:
            assert row["variance"] == pytest.approx(of_x @ np.exp(x), rel=0.01)


def test_equal_variances_are_the_classical_layout():
    _, _, y, group = simulated(20, 5, nu0=np.inf, smallest=4)
    result = mf.eb.one_way(y, group)
    fit = mf.lmer("y ~ 1 + (1 | g)", {"y": y, "g": group}, method="ML")
    if np.isfinite(result.prior["nu0"]):
        assert result.llf > fit.llf - 1e-8
        return
    assert result.llf == pytest.approx(fit.llf)
    assert result.prior["mu"] == pytest.approx(fit.params.iloc[0])
    assert result.prior["s02"] == pytest.approx(fit.scale, rel=1e-5)
    assert result.prior["tau2"] == pytest.approx(fit.varcorr.sd["g"].iloc[0] ** 2, rel=1e-4)
    np.testing.assert_allclose(result.posterior["mean"], fit.coef()["g"].iloc[:, 0], rtol=1e-5)
    assert "nu0 is infinite" in result.notes[0]


def test_the_limit_of_equal_variances_is_lmers_maximum():
    y, group = simulated(15, 8)[2:]
    groups = groups_of(y, group)
    fit = mf.lmer("y ~ 1 + (1 | g)", {"y": y, "g": group}, method="ML")
    tau2 = fit.varcorr.sd["g"].iloc[0] ** 2
    at = AtPoint(groups, Hyperparameters(fit.params.iloc[0], tau2, fit.scale, np.inf))
    assert at.value == pytest.approx(fit.llf, abs=1e-8)
    np.testing.assert_allclose(at.gradient, 0.0, atol=1e-4)
    near = AtPoint(groups, Hyperparameters(fit.params.iloc[0], tau2, fit.scale, 1e6))
    assert near.value == pytest.approx(at.value, abs=1e-3)
    assert mf.eb.one_way(y, group).llf >= fit.llf


def test_both_are_estimated_better_than_raw_and_covered():
    theta, sigma2, y, group = simulated(1000, 11, smallest=2)
    result = mf.eb.one_way(y, group)
    table, prior, se = result.posterior, result.prior, result.prior_se
    for name, true in {"mu": 10.0, "tau2": 2.25, "s02": 4.0, "nu0": 6.0}.items():
        assert prior[name] == pytest.approx(true, abs=4.0 * se[name])
    assert ((table["mean"] - theta) ** 2).mean() < 0.8 * ((table["estimate"] - theta) ** 2).mean()
    assert (np.log(table["variance"] / sigma2) ** 2).mean() < (
        np.log(table["s2"] / sigma2) ** 2
    ).mean()
    covered = (table["lower"] < theta) & (theta < table["upper"])
    assert covered.mean() == pytest.approx(0.95, abs=0.02)
    covered = (table["variance_lower"] < sigma2) & (sigma2 < table["variance_upper"])
    assert covered.mean() == pytest.approx(0.95, abs=0.02)


def test_draws_follow_the_posterior_and_laplace_widens_it():
    result = mf.eb.one_way(Y_FEW, GROUP_FEW)
    draws = result.sample(20_000, seed=1)
    np.testing.assert_allclose(draws.mean(), result.posterior["mean"], atol=0.05)
    np.testing.assert_allclose(draws.std(), result.posterior["sd"], rtol=0.05)
    wide = mf.eb.one_way(Y_FEW, GROUP_FEW, uncertainty="laplace")
    assert (wide.posterior["sd"] > result.posterior["sd"]).all()
    assert (wide.posterior["upper"] > result.posterior["upper"]).all()
    draws = wide.sample(20_000, seed=1)
    np.testing.assert_allclose(draws.std(), wide.posterior["sd"], rtol=0.05)
    assert result.rank()["p_top"].sum() == pytest.approx(1.0)


def test_summaries_and_rows_agree_and_units_do_not_matter():
    rows = mf.eb.one_way(Y_FEW, GROUP_FEW)
    table = rows.posterior
    summary = mf.eb.one_way_summary(table["estimate"], table["s2"], table["n"])
    np.testing.assert_allclose(summary.posterior["mean"], table["mean"], rtol=1e-7)
    scaled = mf.eb.one_way(1e6 * Y_FEW + 3e6, GROUP_FEW)
    np.testing.assert_allclose(scaled.posterior["mean"], 1e6 * table["mean"] + 3e6, rtol=1e-6)
    assert scaled.prior["nu0"] == pytest.approx(rows.prior["nu0"], rel=1e-4)


def test_bad_groups_have_one_clear_error():
    with pytest.raises(DataError, match="y is missing in 1 unit"):
        mf.eb.one_way([1.0, np.nan, 2.0], ["a", "b", "c"])
    with pytest.raises(DataError, match="group has 2 values"):
        mf.eb.one_way([1.0, 3.0, 2.0], ["a", "b"])
    with pytest.raises(DataError, match="group is missing"):
        mf.eb.one_way([1.0, 3.0, 2.0], ["a", None, "b"])
    with pytest.raises(ModelError, match="give 3 or more"):
        mf.eb.one_way([1.0, 3.0, 2.0], ["a", "b", "b"])
    with pytest.raises(ModelError, match="every group has one observation"):
        mf.eb.one_way([1.0, 3.0, 2.0], ["a", "b", "c"])
    with pytest.raises(ModelError, match="no group varies"):
        mf.eb.one_way([1.0, 1.0, 2.0, 2.0, 3.0, 3.0], list("aabbcc"))
    with pytest.raises(DataError, match="s2 is negative"):
        mf.eb.one_way_summary([1.0, 2.0, 3.0], [1.0, -1.0, 2.0], 4)
    with pytest.raises(DataError, match="not a positive whole number"):
        mf.eb.one_way_summary([1.0, 2.0, 3.0], [1.0, 1.0, 2.0], 2.5)
    with pytest.raises(DataError, match="'plugin' or 'laplace'"):
        mf.eb.one_way(Y_FEW, GROUP_FEW, uncertainty="bootstrap")
