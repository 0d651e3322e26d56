"""The classical analysis of variance: textbook figures, R's aov, and dense projections."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

import mixedfit as mf
from mixedfit.errors import ModelError

from .references import data, reference


def test_mathachieve_one_way() -> None:
    expected = reference("aov_mathach_school")
    fit = mf.lme("MathAch ~ 1", "~ 1 | School", data("mathachieve"))
    anova = fit.anova_oneway()
    table = expected["anova_table"]
    assert anova.table["source"].tolist() == ["School", "Residual"]
    assert anova.table["df"].tolist() == table["Df"]
    np.testing.assert_allclose(anova.table["sum_sq"], table["Sum Sq"], rtol=1e-10)
    np.testing.assert_allclose(anova.table["mean_sq"], table["Mean Sq"], rtol=1e-10)
    np.testing.assert_allclose(anova.table["F"][0], table["F value"][0], rtol=1e-10)
    np.testing.assert_allclose(anova.table["p"][0], table["Pr(>F)"][0], rtol=1e-6)
    assert anova.table["den_df"][0] == pytest.approx(7025)
    assert np.isnan(anova.table["F"][1])
    moments = expected["moment_estimates"]
    assert anova.coefficients.loc["School", "School"] == pytest.approx(moments["n0"])
    assert anova.components["School"] == pytest.approx(moments["tau2"])
    assert anova.icc["School"] == pytest.approx(moments["icc1"])


def test_mathachieve_null_model_has_the_textbook_figures() -> None:
    fit = mf.lme("MathAch ~ 1", "~ 1 | School", data("mathachieve"))
    assert fit.params["Intercept"] == pytest.approx(12.63697, abs=5e-6)
    assert fit.varcorr.sd["School"]["Intercept"] == pytest.approx(2.934966, abs=5e-6)
    assert fit.sigma == pytest.approx(6.256862, abs=5e-6)
    assert round(fit.icc()["School"], 2) == 0.18
    assert fit.ranef()["School"].loc["8367", "Intercept"] == pytest.approx(-6.10301, abs=5e-5)


def nested(counts: list[list[int]]) -> pd.DataFrame:
    """Rows of classes b within a, this many each."""
    rng = np.random.default_rng(5)
    rows = [(i, j) for i, own in enumerate(counts) for j, n in enumerate(own) for _ in range(n)]
    frame = pd.DataFrame(rows, columns=["a", "b"])
    effect = rng.standard_normal((len(counts), 9))
    return frame.assign(
        y=3.0
        + 2.0 * effect[frame["a"], 0]
        + effect[frame["a"], 1 + frame["b"]]
        + 0.5 * rng.standard_normal(len(frame))
    )


def test_balanced_nested_components_are_the_reml_estimates() -> None:
    frame = nested([[3, 3, 3]] * 6)
    fit = mf.lme("y ~ 1", "~ 1 | a/b", frame)
    anova = fit.anova_oneway()
    assert (anova.components > 0.0).all()
    np.testing.assert_allclose(anova.components["a"], fit.varcorr.cov["a"].iloc[0, 0], rtol=1e-6)
    np.testing.assert_allclose(
        anova.components["a:b"], fit.varcorr.cov["a:b"].iloc[0, 0], rtol=1e-6
    )
    np.testing.assert_allclose(anova.components["Residual"], fit.scale, rtol=1e-6)
    M = anova.table["mean_sq"]
    np.testing.assert_allclose(anova.table["F"][:2], [M[0] / M[1], M[1] / M[2]])
    np.testing.assert_allclose(anova.table["den_df"][:2], [12.0, 36.0])
    assert anova.table["expected_mean_sq"][0] == "V[Residual] + 3 V[a:b] + 9 V[a]"


def test_unbalanced_expectations_agree_with_dense_projections() -> None:
    frame = nested([[2, 5, 1], [3, 3], [4, 1, 2, 2], [6, 2]])
    anova = mf.lme("y ~ 1", "~ 1 | a/b", frame).anova_oneway()

    def indicators(key: pd.Series) -> np.ndarray:
        return pd.get_dummies(key).to_numpy(dtype=float)

    n = len(frame)
    Za, Zb = indicators(frame["a"]), indicators(frame["a"].astype(str) + frame["b"].astype(str))
    projections = [np.full((n, n), 1.0 / n)]
    projections += [Z @ np.linalg.pinv(Z) for Z in (Za, Zb)] + [np.eye(n)]
    for q, (before, after) in enumerate(pairwise(projections)):
        P = after - before
        df = np.trace(P)
        assert anova.table["df"][q] == pytest.approx(df)
        assert anova.table["sum_sq"][q] == pytest.approx(frame["y"] @ P @ frame["y"])
        expected = [np.trace(P @ Z @ Z.T) / df for Z in (Za, Zb, np.eye(n))]
        np.testing.assert_allclose(anova.coefficients.iloc[q], expected, atol=1e-12)
    assert 0.0 < anova.table["p"][0] < 1.0


def test_negative_components_are_shown_and_shared_as_zero() -> None:
    fit = mf.lme("Yield ~ 1", "~ 1 | Batch", mf.datasets.load("dyestuff2"))
    anova = fit.anova_oneway()
    assert anova.components["Batch"] < 0.0
    assert anova.icc["Batch"] == 0.0
    assert "Expected mean square" in repr(anova)
    assert "Moment estimates" in repr(anova)


@pytest.mark.parametrize(
    "fit",
    [
        lambda d: mf.lme("Reaction ~ Days", "~ 1 | Subject", d),
        lambda d: mf.lme("Reaction ~ 1", "~ Days | Subject", d),
        lambda d: mf.gls("Reaction ~ 1", d),
        lambda d: mf.lme("Reaction ~ 1", "~ 1 | Subject", d, correlation=mf.CorAR1()),
    ],
)
def test_other_models_are_refused(fit) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ModelError, match="classical analysis of variance"):
        fit(mf.datasets.load("sleepstudy")).anova_oneway()
