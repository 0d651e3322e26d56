"""Fay-Herriot: metafor's fits, published formulas of the mean squared error, simulation."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

import mixedfit as mf
from mixedfit.errors import DataError, FormulaError
from tests.references import data, reference
from tests.test_eb_heterogeneity import NAMES

FORMULA = "yi ~ x1 + x2"


def areas():
    frame = data("fayherriot")
    return frame.assign(se=frame["vi"] ** 0.5)


@pytest.mark.parametrize("name", ["fh_simulated_reml", "fh_simulated_ml", "fh_simulated_eb"])
def test_fits_and_mean_squared_errors(name):
    expected = reference(name)
    result = mf.eb.fay_herriot(
        FORMULA, areas(), "se", method=NAMES[expected["method"]], labels="area"
    )
    np.testing.assert_allclose(result.prior["tau2"], expected["tau2"], rtol=1e-4)
    b = list(expected["fixef"].values())
    np.testing.assert_allclose(result.coefficients["estimate"], b, rtol=1e-4)
    theirs = expected["fay_herriot"]
    np.testing.assert_allclose(result.posterior["mean"], theirs["eblup"], rtol=1e-4)
    np.testing.assert_allclose(result.mse, theirs["mse"], rtol=1e-4)
    assert result.mse.index.tolist() == areas()["area"].tolist()


def test_covariates_with_levels_are_metafors():
    expected = reference("rma_bcg_alloc_reml")
    frame = data("bcg")
    result = mf.eb.fay_herriot("yi ~ alloc", frame, frame["vi"] ** 0.5)
    b = list(expected["fixef"].values())
    np.testing.assert_allclose(result.coefficients["estimate"], b, rtol=1e-4)
    np.testing.assert_allclose(result.heterogeneity["Q_moderators"], expected["QM"], rtol=1e-3)
    new = result.predict({"alloc": ["random", "alternate"]})
    np.testing.assert_allclose(new["estimate"], [b[0] + b[1], b[0]], rtol=1e-4)


@pytest.mark.parametrize("method", ["reml", "ml", "moments", "paule-mandel", "dersimonian-laird"])
def test_mean_squared_errors_are_right_on_average(method):
    """Over simulated data the estimates of the error agree with the error."""
    rng = np.random.default_rng(1)
    J, tau2 = 30, 1.0
    x, v = rng.uniform(size=J), np.repeat([0.5, 1.0, 2.0], 10)
    loss, estimated = np.zeros(J), np.zeros(J)
    for _ in range(150):
        truth = 1.0 + 2.0 * x + np.sqrt(tau2) * rng.standard_normal(J)
        frame = {"y": truth + np.sqrt(v) * rng.standard_normal(J), "x": x, "se": np.sqrt(v)}
        result = mf.eb.fay_herriot("y ~ x", frame, "se", method=method)
        loss += (result.posterior["mean"] - truth) ** 2
        estimated += result.mse.to_numpy()
    for part in (slice(0, 10), slice(10, 20), slice(20, 30)):
        np.testing.assert_allclose(estimated[part].sum(), loss[part].sum(), rtol=0.12)


def test_the_bootstrap_agrees_with_the_formula():
    plain = mf.eb.fay_herriot(FORMULA, areas(), "se")
    boot = mf.eb.fay_herriot(FORMULA, areas(), "se", uncertainty=mf.eb.Bootstrap(400))
    ratio = boot.mse.to_numpy() / plain.mse.to_numpy()
    assert 0.8 < ratio.min() < ratio.max() < 1.8
    assert (plain.mse > plain.posterior["sd"].to_numpy() ** 2).all()


def test_methods_without_a_known_bias_say_nothing():
    assert mf.eb.fay_herriot(FORMULA, areas(), "se", method="sure").mse.isna().all()


def test_missing_rows_are_left_out_with_their_errors():
    frame = areas()
    frame.loc[3, "x1"] = np.nan
    by_column = mf.eb.fay_herriot(FORMULA, frame, "se", labels="area")
    by_array = mf.eb.fay_herriot(FORMULA, frame, frame["se"].to_numpy())
    assert by_column.n_units == 39
    assert "A04" not in by_column.posterior["label"].tolist()
    np.testing.assert_allclose(by_column.mse.to_numpy(), by_array.mse.to_numpy())


def test_other_frames():
    frame = areas()
    expected = mf.eb.fay_herriot(FORMULA, frame, "se", labels="area")
    given = mf.eb.fay_herriot(FORMULA, pl.from_pandas(frame), "se", labels="area")
    np.testing.assert_allclose(given.mse, expected.mse)
    assert given.posterior["label"].tolist() == expected.posterior["label"].tolist()


def test_what_is_refused():
    frame = areas()
    with pytest.raises(FormulaError, match="nested_error"):
        mf.eb.fay_herriot("yi ~ x1 + (1 | area)", frame, "se")
    with pytest.raises(DataError, match="no column 'sd'"):
        mf.eb.fay_herriot(FORMULA, frame, "sd")
    with pytest.raises(DataError, match="holds labels"):
        mf.eb.fay_herriot(FORMULA, frame, "area")
    with pytest.raises(DataError, match="missing"):
        mf.eb.fay_herriot(FORMULA, frame, frame["se"].where(frame["se"] > 0.5))
    with pytest.raises(DataError, match="zero"):
        mf.eb.fay_herriot(FORMULA, frame.assign(se=0.0), "se")
    result = mf.eb.fay_herriot(FORMULA, frame, "se")
    with pytest.raises(DataError, match="covariates"):
        result.predict()
    with pytest.raises(DataError, match="x2"):
        result.predict(pd.DataFrame({"x1": [0.0]}))
    assert len(mf.eb.fay_herriot("yi ~ 1", frame, "se").predict()) == 1


def test_standard_errors_that_are_text_are_one_clear_error():
    with pytest.raises(DataError, match="se must be numbers"):
        mf.eb.fay_herriot("y ~ 1", {"y": [1.0, 2.0, 4.0]}, ["a", "b", "c"])
