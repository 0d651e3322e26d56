from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import chi2

import mixedfit as mf
from mixedfit.covariance import BlockDiagonal, Diagonal, Unstructured
from mixedfit.fit import fit_design
from mixedfit.profile import profile, profile_interval

from . import references
from .cases import PATTERNS, frame
from .references import lmer, matched, reference

WITH_PROFILE = [i for i in references.ids("lmer") if reference(i).get("confint_profile")]
# One of each kind; the others are slow.
FEW = {
    "lmer_dyestuff_reml",
    "lmer_mathach_full",
    "lmer_meat",
    "lmer_orthodont",
    "lmer_pastes_nested",
    "lmer_penicillin_ml",
    "lmer_sleep_dbar_reml",
    "lmer_sleep_factor",
    "lmer_sleep_offset",
    "lmer_sleep_slope_reml",
    "lmer_sleep_weights",
}
# lme4's profile of fixed effects ignores precision weights (its limits for sleep_weights lie
# 0.03 either side of estimates whose standard error is 0.8); see the test of weights below.
WEIGHTED = {"lmer_sleep_weights", "lmer_sleep_weights_ml"}
# Where lme4's search ends above the profile: its sigma has no upper limit, and its correlation
# follows a branch above the fit without variance of the slope; see the dense test below.
MISSED = {"lmer_orthodont": {"sigma", "cor[Subject, Intercept, age]"}}


def wanted(name: str) -> dict[str, np.ndarray]:
    """R's intervals by our names of the variance parameters and R's of the fixed effects."""
    block = reference(name)["confint_profile"]
    out = {}
    for row, ends in zip(block["rownames"], block["values"], strict=True):
        ends = np.array([np.nan if v is None else v for v in ends])  # noqa: PLW2901
        kind, _, rest = row.partition("_")
        if "|" not in row:
            out[row] = ends
            continue
        terms, _, group = rest.partition("|")
        columns = terms.replace("(Intercept)", "Intercept").split(".")
        group = ":".join(reversed(group.split(":")))
        out[f"{kind}[{group}, {', '.join(reversed(columns))}]"] = ends
    return out


@cache
def sleep(method: str = "REML") -> mf.MixedResults:
    return mf.lmer(
        "Reaction ~ Days + (Days | Subject)", references.data("sleepstudy"), method=method
    )


@pytest.mark.parametrize(
    "name", [n if n in FEW else pytest.param(n, marks=pytest.mark.slow) for n in WITH_PROFILE]
)
def test_against_lme4(name: str) -> None:
    fit, want = lmer(name), wanted(name)
    got = profile_interval(fit.fit)
    fixed = [row for row in want if "[" not in row and row != "sigma"]
    if name not in WEIGHTED:
        ends = np.array([want[row] for row in fixed])
        ours = np.column_stack([matched(got.iloc[: fit.fit.p][c], fixed) for c in got])
        width = (ends[:, 1] - ends[:, 0])[:, None]
        assert np.abs((ours - ends) / width).max() < 1e-3
    ours_by_key = {spelled(str(row)): ends for row, ends in got.iterrows()}
    compared = 0
    for row, ends in want.items():
        if row in fixed or row in MISSED.get(name, ()):
            continue
        ours = ours_by_key[spelled(row)].to_numpy()
        assert np.abs(ours - ends).max() < 1e-3 * (ends[1] - ends[0]), row
        compared += 1
    assert compared == len(want) - len(fixed) - len(MISSED.get(name, ()))


def spelled(row: str) -> tuple[str, ...]:
    """A parameter's kind, group and columns, whatever their order."""
    kind, _, rest = row.rstrip("]").partition("[")
    group, *columns = rest.split(", ")
    return (
        kind,
        ":".join(sorted(group.split(":"))),
        *sorted(references.spelling(c) for c in columns),
    )


def test_reml_and_ml_fits_have_one_profile() -> None:
    reml, ml = (profile_interval(sleep(method).fit) for method in ("REML", "ML"))
    np.testing.assert_allclose(reml, ml, rtol=1e-6)


def test_fixed_effects_of_a_weighted_fit_end_where_the_likelihood_ratio_is_the_quantile() -> None:
    data = references.data("sleepstudy")
    fit = mf.lmer("Reaction ~ Days + (1 | Subject)", data, weights="w", method="ML")
    for end in fit.conf_int(method="profile", parameters="Days").loc["Days"]:
        shifted = data.assign(Reaction=data["Reaction"] - end * data["Days"])
        smaller = mf.lmer("Reaction ~ 1 + (1 | Subject)", shifted, weights="w", method="ML")
        assert 2 * (fit.llf - smaller.llf) == pytest.approx(chi2.ppf(0.95, 1), abs=1e-4)


def test_variance_parameters_end_where_the_dense_likelihood_ratio_is_the_quantile() -> None:
    fit = lmer("lmer_orthodont")
    design = fit.fit.design
    Z, codes, X, y = design.terms[0].Z, design.factors[0].codes, design.X, design.y
    n, J = len(y), int(codes.max()) + 1
    wide = np.zeros((n, 2 * J))
    for i, j in enumerate(codes):
        wide[i, 2 * j : 2 * j + 2] = Z[i]

    def deviance(root: np.ndarray, sigma: float) -> float:
        L = np.array([[root[0], 0.0], [root[1], root[2]]])
        V = wide @ np.kron(np.eye(J), L @ L.T) @ wide.T + sigma**2 * np.eye(n)
        factor = np.linalg.cholesky(V)
        rest = np.linalg.solve(factor, np.column_stack([X, y]))
        b = np.linalg.lstsq(rest[:, :-1], rest[:, -1], rcond=None)[0]
        left = rest[:, -1] - rest[:, :-1] @ b
        return n * np.log(2 * np.pi) + 2 * np.log(np.diag(factor)).sum() + left @ left

    best = -2 * mf.lmer(fit.formula, references.data("orthodont"), method="ML").llf
    for sigma in fit.conf_int(method="profile", parameters="sigma").loc["sigma"]:
        found = min(
            minimize(deviance, start, (sigma,), "Nelder-Mead", options={"fatol": 1e-9}).fun
            for start in ([2.0, -0.1, 0.1], [0.5, 0.1, 0.05], [2.5, -0.2, 0.0])
        )
        assert found - best == pytest.approx(chi2.ppf(0.95, 1), abs=1e-3)


def test_curves() -> None:
    made = profile(sleep().fit)
    table = made.to_frame()
    assert list(table.columns) == ["parameter", "value", "zeta"]
    assert list(dict.fromkeys(table["parameter"])) == list(profile_interval(sleep().fit).index)
    for _, curve in table.groupby("parameter"):
        assert curve["value"].is_monotonic_increasing
        assert curve["zeta"].is_monotonic_increasing
        assert (curve["zeta"] == 0.0).sum() == 1
    for level in (0.5, 0.9, 0.95, 0.99):
        got, want = made.conf_int(level), profile_interval(sleep().fit, level)
        width = want["upper"] - want["lower"]
        assert (got.sub(want).abs().max(axis=1) < 1e-4 * width).all()
    assert "6 parameters" in repr(made)


def test_zeta_is_the_root_of_the_likelihood_ratio() -> None:
    data = references.data("sleepstudy")
    full = sleep("ML")
    curve = profile(full.fit, parameters="Days").curves["Days"]
    for value, zeta in zip(curve.value[::4], curve.zeta[::4], strict=True):
        shifted = data.assign(Reaction=data["Reaction"] - value * data["Days"])
        smaller = mf.lmer("Reaction ~ 1 + (Days | Subject)", shifted, method="ML")
        assert 2 * (full.llf - smaller.llf) == pytest.approx(zeta**2, abs=1e-6)


def test_a_standard_deviation_the_data_do_not_exclude_to_be_zero_has_a_one_sided_interval() -> None:
    fit = lmer("lmer_pastes_nested").fit
    interval = profile_interval(fit).loc["sd[batch, Intercept]"]
    assert interval["lower"] == 0.0
    assert interval["upper"] > 2.0
    assert profile(fit).conf_int().loc["sd[batch, Intercept]", "lower"] == 0.0


@pytest.mark.parametrize(("J", "k"), [(5, 3), (6, 5), (400, 5)])
def test_at_the_boundary(J: int, k: int) -> None:
    # between-level variation below what the residuals give by chance
    rng = np.random.default_rng(0)
    y = rng.standard_normal((J, k))
    y -= 0.3 * y.mean(axis=1, keepdims=True)
    g = np.repeat(np.arange(J), k)
    fit = mf.lmer("y ~ 1 + (1 | g)", {"y": y.ravel(), "g": g}, method="ML")
    assert fit.is_singular
    lower, upper = profile_interval(fit.fit).loc["sd[g, Intercept]"]
    assert lower == 0.0
    # the upper end: -2 log L of a balanced one-way layout, in closed form
    within = ((y - y.mean(axis=1, keepdims=True)) ** 2).sum()
    between = k * ((y.mean(axis=1) - y.mean()) ** 2).sum()

    def deviance(tau2: float, s2: float) -> float:
        lam = s2 + k * tau2
        return J * (k - 1) * np.log(s2) + J * np.log(lam) + within / s2 + between / lam

    def best(tau2: float) -> float:
        return minimize(lambda s: deviance(tau2, np.exp(s[0])), [0.0], tol=1e-12).fun

    assert best(upper**2) - best(0.0) == pytest.approx(chi2.ppf(0.95, 1), abs=1e-4)
    curve = profile(fit.fit).curves["sd[g, Intercept]"]
    assert curve.value[0] == 0.0
    assert curve.zeta[0] == 0.0
    assert curve.interval(1.96)[0] == 0.0
    assert curve.interval(1.96)[1] == pytest.approx(upper, rel=1e-4)


def test_the_correlation_of_effects_without_variance_is_unknown() -> None:
    data = frame()
    rng = np.random.default_rng(5)
    x = data["x"].to_numpy()
    y = rng.standard_normal(len(data)) + 3.0 * rng.standard_normal(12)[data["g"]]
    for j in range(12):  # slopes that are the same in all levels
        rows = (data["g"] == j).to_numpy()
        xc = x[rows] - x[rows].mean()
        y[rows] -= xc * (xc @ y[rows]) / (xc @ xc)
    fit = mf.lmer("y ~ x + (x | g)", data.assign(y=y), method="ML")
    assert fit.is_singular
    assert profile_interval(fit.fit).loc["cor[g, Intercept, x]"].tolist() == [-1.0, 1.0]


@pytest.mark.parametrize("name", ["cs", "ar1", "ar1, own variances", "diag"])
def test_other_structures(name: str) -> None:
    fit = mf.lmer(PATTERNS[name].formula, frame(), method="ML")
    got = profile_interval(fit.fit)
    narrow = profile_interval(fit.fit, 0.5)
    assert np.isfinite(got).all(axis=None)
    assert (got["lower"] <= narrow["lower"] + 1e-9).all()
    assert (narrow["upper"] <= got["upper"] + 1e-9).all()
    assert (got["lower"] < got["upper"]).all()


def test_a_scale_of_the_response_scales_the_intervals() -> None:
    data = references.data("sleepstudy")
    big = mf.lmer(
        "Reaction ~ Days + (Days | Subject)", data.assign(Reaction=1e6 * data["Reaction"] + 1e9)
    )
    got, want = profile_interval(big.fit), profile_interval(sleep().fit)
    spread = [row for row in want.index if row.startswith("sd") or row in ("sigma", "Days")]
    np.testing.assert_allclose(got.loc[spread], 1e6 * want.loc[spread], rtol=1e-4)
    correlations = [row for row in want.index if row.startswith("cor")]
    np.testing.assert_allclose(got.loc[correlations], want.loc[correlations], rtol=1e-4)


def test_bad_input() -> None:
    fit = sleep()
    with pytest.raises(mf.ModelError, match="no parameter of this fit.*'sd\\[Subject, Days\\]'"):
        fit.profile(parameters="days")
    with pytest.raises(mf.ModelError, match="level must be a number between 0 and 1"):
        fit.profile(level=95)
    made = fit.profile(level=0.9, parameters=["sigma"])
    assert list(made.curves) == ["sigma"]
    with pytest.raises(
        mf.ModelError, match="reaches intervals of level 0.9;.*profile\\(level=0.99"
    ):
        made.conf_int(0.99)


def test_a_block_diagonal_term_has_the_intervals_of_its_blocks_as_terms() -> None:
    data = frame()
    apart = mf.lmer("y ~ x + z + (x | g) + (0 + z | g)", data)
    joint = mf.lmer("y ~ x + z + (x + z | g)", data).fit.design
    structure = BlockDiagonal((Unstructured(2), Diagonal(1)))
    design = replace(joint, terms=(replace(joint.terms[0], structure=structure),))
    fit = fit_design(design, "REML")
    assert fit.llf == pytest.approx(apart.llf, abs=1e-7)
    got, want = profile_interval(fit), profile_interval(apart.fit)
    assert set(got.index) == set(want.index)
    np.testing.assert_allclose(got.loc[want.index], want, rtol=1e-4, atol=1e-5)


def test_a_correlation_at_its_limit() -> None:
    rng = np.random.default_rng(0)
    J, k, found = 10, 6, 0
    g, x = np.repeat(np.arange(J), k), np.tile(np.linspace(-1.0, 1.0, k), J)
    while not found:
        u = rng.standard_normal(J)
        y = u[g] + 0.8 * u[g] * x + 0.7 * rng.standard_normal(J * k)
        fit = mf.lmer("y ~ x + (x | g)", {"y": y, "g": g, "x": x}, method="ML")
        found = fit.is_singular and fit.varcorr.corr["g"].iloc[0, 1] > 0.999
    got, read = profile_interval(fit.fit), fit.profile().conf_int()
    lower, upper = got.loc["cor[g, Intercept, x]"]
    assert upper == 1.0
    assert -1.0 < lower < 0.99
    np.testing.assert_allclose(read, got, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["intercept", "double bar"])
def test_a_lower_minimum_met_on_the_way_is_taken(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = mf.lmer(PATTERNS[name].formula, frame(), method="ML").fit
    want = profile_interval(fit)
    off = tuple(3.0 * state for state in fit.likelihood.unit)
    monkeypatch.setattr("mixedfit.profile._ml_optimum", lambda fit: fit.likelihood.at(off))
    np.testing.assert_allclose(profile_interval(fit), want, rtol=1e-3, atol=1e-3)
