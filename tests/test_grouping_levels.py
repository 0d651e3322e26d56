"""Fitted values by level and covariances within groups against nlme."""

from __future__ import annotations

import numpy as np
import pytest

import mixedfit as mf
from mixedfit.errors import DataError, ModelError
from mixedfit.grouping_levels import nested_factors

from .nlme_calls import nlme_fit
from .references import ids, numbers, reference

LME = [name for name in ids("lme") if "singular" not in reference(name)["tags"]]
GLS = [name for name in ids("gls") if "leading" in (reference(name).get("getVarCov") or {})]
# A limit, a flat direction, or an optimum better than nlme's.
LOOSE = {"lme_assay_pdblocked", "gls_wheat2_exp", "gls_wheat2_lin", "gls_wheat2_spher"}


@pytest.mark.parametrize("name", [name for name in LME if name not in LOOSE])
def test_fitted_values_by_level(name: str) -> None:
    fit, blocks = nlme_fit(name), reference(name)["fitted"]
    for level in range(len(fit.ngroups) + 1):
        expected = numbers(blocks[f"level{level}"])
        ours = fit.fitted_at(level).to_numpy()[: len(expected)]
        np.testing.assert_allclose(ours, expected, atol=2e-4 * fit.sigma)
    np.testing.assert_array_equal(fit.fitted_at(), fit.fitted_at(len(fit.ngroups)))
    np.testing.assert_allclose(fit.residuals(level=0), fit.fit.design.y - fit.fitted_at(0))


@pytest.mark.parametrize("name", [name for name in LME if name not in LOOSE])
def test_covariances_of_a_group(name: str) -> None:
    block = reference(name).get("getVarCov") or {}
    if "marginal" not in block:
        pytest.skip("nlme has none for this model")
    fit = nlme_fit(name)
    for kind in ("marginal", "conditional"):
        expected = np.array(block[kind]["values"])
        ours = fit.marginal_cov(block["individual"], kind).to_numpy()  # type: ignore[arg-type]
        np.testing.assert_allclose(ours, expected, atol=2e-3 * np.abs(expected).max())


@pytest.mark.parametrize("name", [name for name in GLS if name not in LOOSE])
def test_covariances_of_gls(name: str) -> None:
    block, fit = reference(name)["getVarCov"], nlme_fit(name)
    first = np.asarray(block["leading"]["values"])
    groups = fit.fit.design.residual.groups
    label = groups.labels[0]
    ours = fit.marginal_cov(label).to_numpy()[: len(first), : len(first)]
    np.testing.assert_allclose(ours, first, rtol=2e-3, atol=2e-3 * np.abs(first).max())


def test_nested_groups_count_all_random_effects() -> None:
    data = mf.datasets.load("pastes")
    fit = mf.lme("strength ~ 1", "~ 1 | batch/cask", data)
    assert [fit.fit.design.factors[f].name for f in nested_factors(fit.fit)] == [
        "batch",
        "batch:cask",
    ]
    outer, inner = fit.varcorr.cov["batch"].iloc[0, 0], fit.varcorr.cov["batch:cask"].iloc[0, 0]
    rows = data["batch"] == "A"
    cask = data.loc[rows, "cask"].to_numpy()
    expected = outer + inner * (cask[:, None] == cask) + fit.scale * np.eye(rows.sum())
    V = fit.marginal_cov("A")
    np.testing.assert_allclose(V.to_numpy(), expected)
    assert V.index.tolist() == data.index[rows].tolist()
    same = fit.marginal_cov(("A", "a"), group="batch:cask")
    np.testing.assert_allclose(same, fit.marginal_cov("A/a", group="batch:cask"))
    np.testing.assert_allclose(same.iloc[0, 1], outer + inner)


def test_weights_scale_the_residual_covariance() -> None:
    data = mf.datasets.load("sleepstudy").assign(w=lambda d: 1.0 + d["Days"])
    fit = mf.lmer("Reaction ~ Days + (1 | Subject)", data, weights="w")
    V = fit.marginal_cov(308, "conditional")
    np.testing.assert_allclose(V.to_numpy(), np.diag(fit.scale / (1.0 + np.arange(10.0))))


def test_bad_levels_are_told() -> None:
    fit = mf.lme("strength ~ 1", "~ 1 | batch/cask", mf.datasets.load("pastes"))
    with pytest.raises(ModelError, match=r"from 0 \(population\) to 2 .*batch > batch:cask"):
        fit.fitted_at(3)
    with pytest.raises(ModelError, match="whole number"):
        fit.fitted_at("cask")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="'batch' has no level 'Z'; its levels are 'A', 'B'"):
        fit.marginal_cov("Z")
    with pytest.raises(ModelError, match="'marginal' or 'conditional'"):
        fit.marginal_cov("A", "random")  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="group must be one of 'batch:cask', 'batch'"):
        fit.marginal_cov("A", group="plot")
    crossed = mf.lmer("diameter ~ 1 + (1 | plate) + (1 | sample)", mf.datasets.load("penicillin"))
    with pytest.raises(ModelError, match="not nested in"):
        crossed.fitted_at(1)
    plain = mf.gls("strength ~ 1", mf.datasets.load("pastes"))
    with pytest.raises(ModelError, match="no two rows of this model are correlated"):
        plain.marginal_cov("A")
    assert plain.fitted_at(0).nunique() == 1


def test_crossed_factors_get_the_remedy_of_the_call() -> None:
    data = mf.datasets.load("penicillin")
    fit = mf.lmer("diameter ~ 1 + (1 | plate) + (1 | sample)", data)
    for call, remedy in (
        (lambda: fit.fitted_at(1), "predict"),
        (lambda: fit.marginal_cov("a"), "group="),
        (fit.anova_oneway, "ranova"),
    ):
        with pytest.raises(ModelError, match=rf"'plate' is not nested in 'sample', .*; .*{remedy}"):
            call()
