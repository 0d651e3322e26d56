import numpy as np
import pytest
from scipy import stats

import mixedfit as mf
from mixedfit.errors import DataError, MixedfitError
from tests.references import lmer


@pytest.fixture(scope="module")
def sleepstudy():
    return lmer("lmer_sleep_slope_reml")


def test_the_coefficient_table_fits_together(sleepstudy):
    table = sleepstudy.coef_table(ddf="kenward-roger", level=0.9)
    columns = ["term", "estimate", "se", "df", "t", "p", "lower", "upper"]
    assert table.columns.tolist() == columns
    np.testing.assert_allclose(table["t"], table["estimate"] / table["se"])
    np.testing.assert_allclose(table["p"], 2 * stats.t.sf(np.abs(table["t"]), table["df"]))
    half = stats.t.ppf(0.95, table["df"]) * table["se"]
    np.testing.assert_allclose(table["upper"] - table["estimate"], half)
    np.testing.assert_allclose(table["estimate"] - table["lower"], half)
    assert table.attrs["ddf"] == "kenward-roger"


def test_p_values_are_those_of_the_table(sleepstudy):
    np.testing.assert_array_equal(sleepstudy.pvalues, sleepstudy.coef_table()["p"])
    assert sleepstudy.pvalues.index.tolist() == ["Intercept", "Days"]


def test_adjusted_covariance(sleepstudy):
    adjusted = sleepstudy.cov_params("kenward-roger")
    se = sleepstudy.coef_table(ddf="kenward-roger")["se"]
    np.testing.assert_allclose(np.sqrt(np.diag(adjusted)), se)
    with pytest.raises(MixedfitError, match="kind must be"):
        sleepstudy.cov_params("robust")


def test_contrasts_are_coefficients_where_they_pick_one(sleepstudy):
    contrast = sleepstudy.contrast(np.eye(2), ddf="kenward-roger")
    table = sleepstudy.coef_table(ddf="kenward-roger")
    frame = contrast.to_frame()
    assert frame["contrast"].tolist() == ["Intercept", "Days"]
    for column in ("estimate", "se", "df", "t", "p", "lower", "upper"):
        np.testing.assert_allclose(frame[column], table[column], rtol=1e-12)
    np.testing.assert_array_equal(contrast.estimate, contrast.to_frame()["estimate"])
    assert contrast.joint.num_df == 2


def test_hypothesised_values_move_the_test_not_the_estimate(sleepstudy):
    contrast = sleepstudy.contrast("Days = 10")
    slope, se = sleepstudy.params["Days"], sleepstudy.bse["Days"]
    assert contrast.estimate.item() == pytest.approx(slope)
    assert contrast.t.item() == pytest.approx((slope - 10) / se)
    np.testing.assert_allclose(contrast.joint.F, ((slope - 10) / se) ** 2)


def test_a_contrast_tells_its_method_and_its_joint_test(sleepstudy):
    text = repr(sleepstudy.contrast(["Days", "Intercept = 250"], ddf="satterthwaite"))
    assert "ddf: satterthwaite" in text
    assert "joint: F(2, " in text
    assert "<p>joint: F(2, " in sleepstudy.contrast(np.eye(2))._repr_html_()
    assert "joint" not in repr(sleepstudy.contrast("Days"))


def test_what_the_data_do_not_determine_has_no_number():
    fit = lmer("lmer_rough_rankdef")
    assert fit.dropped_columns == ["x3"]
    # x3 = x1 + x2: with x3 in the model only sums of their slopes are determined.
    contrast = fit.contrast({"alone": {"x3": 1}, "sum": {"x1": 1, "x3": 1}, "f": {"f[T.b]": 1}})
    assert contrast.estimate.isna().tolist() == [True, False, False]
    assert contrast.estimate["sum"] == pytest.approx(fit.params["x1"])
    assert "Non-estimable: 'alone'" in contrast.note
    assert contrast.joint.num_df == 2
    # The coefficients that were fitted are determined.
    assert fit.contrast("x1").estimate.item() == fit.params["x1"]
    assert fit.contrast(np.eye(5)).estimate.notna().all()


def test_an_empty_cell_is_not_estimated():
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 2, 60), rng.integers(0, 2, 60)
    keep = ~((a == 1) & (b == 1))
    data = {
        "a": np.array(list("pq"))[a[keep]],
        "b": np.array(list("uv"))[b[keep]],
        "g": rng.integers(0, 8, keep.sum()),
        "y": rng.standard_normal(keep.sum()),
    }
    fit = mf.lmer("y ~ a * b + (1 | g)", data)
    cell = "Intercept + a[T.q] + b[T.v] + a[T.q]:b[T.v]"
    contrast = fit.contrast([cell, "Intercept + a[T.q]"])
    assert contrast.estimate.isna().tolist() == [True, False]
    assert np.isnan(fit.contrast(cell).joint.F)


def test_levels_and_widths_are_checked(sleepstudy):
    with pytest.raises(MixedfitError, match="level must be a number between 0 and 1"):
        sleepstudy.coef_table(level=95)
    with pytest.raises(DataError, match="2 weights, one for each of Intercept, Days"):
        sleepstudy.contrast([1, 0, 0])
