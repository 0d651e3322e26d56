from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mixedfit as mf
from mixedfit.errors import DataError, ModelError
from mixedfit.influence import leverage
from tests import references

R = references.reference("diagnostics")
FORMULA = "Reaction ~ Days + (Days | Subject)"


@pytest.fixture(scope="module")
def sleep() -> mf.MixedResults:
    return mf.lmer(FORMULA, mf.datasets.load("sleepstudy"))


@pytest.mark.parametrize(
    ("name", "formula", "data", "weights"),
    [
        ("sleep", FORMULA, "sleepstudy", None),
        ("sleep_weights", FORMULA, "sleepstudy", "w"),
        ("penicillin", "diameter ~ 1 + (1 | plate) + (1 | sample)", "penicillin", None),
        ("pastes", "strength ~ 1 + (1 | batch/cask)", "pastes", None),
    ],
)
def test_leverages_are_the_hat_values_of_lme4(
    name: str, formula: str, data: str, weights: str | None
) -> None:
    fit = mf.lmer(formula, references.data(data), weights=weights)
    hat, fixed = leverage(fit.fit)
    np.testing.assert_allclose(hat, R[name]["hat"], rtol=2e-5)
    assert fixed.sum() == pytest.approx(len(fit.params))


def test_refits_are_those_of_lme4(sleep: mf.MixedResults) -> None:
    found = sleep.influence("Subject", refit=True)
    assert [str(level) for level in found.params.index] == R["sleep"]["levels"]
    np.testing.assert_allclose(found.params, R["sleep"]["fixef"], rtol=1e-6)
    np.testing.assert_allclose(found.cooks_distance, R["sleep"]["cooks"], rtol=1e-4)
    np.testing.assert_allclose(found.dfbetas, R["sleep"]["dfbetas"], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found.covratio, R["sleep"]["covratio"], rtol=1e-3)
    assert found.variance_params is not None
    np.testing.assert_allclose(found.variance_params["sigma"], R["sleep"]["sigma"], rtol=1e-4)
    # lme4 has the same dfbetas from its own influence().
    np.testing.assert_allclose(np.abs(found.dfbetas), np.abs(R["sleep"]["lme4_dfbetas"]), rtol=0.02)


def test_cooks_distance_is_the_change_in_standard_errors(sleep: mf.MixedResults) -> None:
    found = sleep.influence("Subject")
    change = (sleep.params - found.params).to_numpy()
    inverse = np.linalg.inv(sleep.cov_params().to_numpy())
    expected = np.einsum("ma,ab,mb->m", change, inverse, change) / 2
    np.testing.assert_allclose(found.cooks_distance, expected, rtol=1e-9)


def test_a_grouping_may_be_any_column(sleep: mf.MixedResults) -> None:
    data = mf.datasets.load("sleepstudy")
    by_name, by_column = sleep.influence("Subject"), sleep.influence(data["Subject"])
    pd.testing.assert_series_equal(by_name.cooks_distance, by_column.cooks_distance)
    assert by_column.group == "Subject"
    assert sleep.influence(pl.Series("week", data["Days"] // 7)).group == "week"
    by_day = sleep.influence(data["Days"])
    assert by_day.nobs.tolist() == [18] * 10
    assert by_day.leverage.mean() == pytest.approx(sleep.influence().leverage.mean())


def test_labels_of_rows_not_used_are_skipped() -> None:
    data = mf.datasets.load("sleepstudy")
    fit = mf.lmer(FORMULA, data, subset="Days >= 2")
    whole = fit.influence(data["Subject"])
    used = fit.influence(data.loc[data["Days"] >= 2, "Subject"])
    pd.testing.assert_series_equal(whole.covratio, used.covratio)


def test_rows_keep_the_index_of_the_data() -> None:
    data = mf.datasets.load("dyestuff")
    data.index = pd.Index([f"row {i}" for i in range(30)])
    found = mf.lmer("Yield ~ 1 + (1 | Batch)", data).influence()
    assert found.to_frame().index.tolist() == data.index.tolist()
    assert "dfbetas[Intercept]" in found.to_frame()
    assert "largest Cook's distance" in repr(found)


def test_row_refit_agrees_with_the_exact_fit_without_it(sleep: mf.MixedResults) -> None:
    data = mf.datasets.load("sleepstudy")
    rows = pd.Series(np.where(np.arange(180) == 56, "outlier", "others"))
    found = sleep.influence(rows, refit=True)
    other = mf.lmer(FORMULA, data.drop(index=56))
    np.testing.assert_allclose(found.params.loc["outlier"], other.params, rtol=1e-8)
    assert found.variance_params is not None
    assert found.variance_params.loc["outlier", "sigma"] == pytest.approx(other.sigma, rel=1e-6)
    # Without all other rows there is nothing to fit.
    assert found.params.loc["others"].isna().all()


def test_boundary_fits_have_influence_too() -> None:
    fit = mf.lmer("Yield ~ 1 + (1 | Batch)", mf.datasets.load("dyestuff2"))
    found = fit.influence()
    assert fit.status == "boundary"
    # A mean of 30 rows: ordinary least squares.
    np.testing.assert_allclose(found.leverage, 1 / 30)
    refitted = fit.influence("Batch", refit=True)
    assert np.isfinite(refitted.cooks_distance).all()


@settings(max_examples=10, deadline=None)
@given(
    factor=st.floats(1e-6, 1e6),
    shift=st.floats(-1e6, 1e6),
    unit=st.floats(1e-4, 1e4),
)
def test_measures_have_no_units(factor: float, shift: float, unit: float) -> None:
    data = mf.datasets.load("sleepstudy")
    changed = data.assign(Reaction=factor * data["Reaction"] + shift, Days=unit * data["Days"])
    one = mf.lmer(FORMULA, data).influence("Subject")
    other = mf.lmer(FORMULA, changed).influence("Subject")
    columns = ["cooks_distance", "mdffits", "covratio", "leverage", "dfbetas[Days]"]
    np.testing.assert_allclose(one.to_frame()[columns], other.to_frame()[columns], rtol=1e-4)


def test_what_cannot_be_left_out_is_said(sleep: mf.MixedResults) -> None:
    with pytest.raises(DataError, match="'Subjekt' is no grouping factor of this fit"):
        sleep.influence("Subjekt")
    with pytest.raises(DataError, match="17 labels for 180 rows"):
        sleep.influence(np.arange(17))
    with pytest.raises(DataError, match="one level"):
        sleep.influence(np.zeros(180))
    with pytest.raises(DataError, match="3 missing labels"):
        sleep.influence(pd.Series([None] * 3 + ["a"] * 177))
    fit = mf.lmer("Reaction ~ 0 + (1 | Subject)", mf.datasets.load("sleepstudy"))
    with pytest.raises(ModelError, match="no"):
        fit.influence()
