"""Residual variances and correlations of new rows against their formulas."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import mixedfit as mf
from mixedfit.errors import DataError
from mixedfit.frames import read_frame
from mixedfit.new_rows import NewCorrelation, read_new_rows, scale_of_new_rows

from .test_conditional_residuals import NEW, OLD

EVERY = np.ones(len(NEW), dtype=bool)


def fitted(correlation: object = None, weights: object = None) -> mf.MixedResults:
    return mf.lme("y ~ x", "~ 1 | g", OLD, correlation=correlation, weights=weights)  # type: ignore[arg-type]


def test_rows_with_anything_missing_are_not_complete() -> None:
    data = pd.DataFrame({"a": [1.0, np.nan, 3.0, 4.0], "b": ["u", "v", None, "w"], "c": 1.0})
    assert read_frame(data, ["a", "b"]).complete().tolist() == [True, False, False, True]
    assert read_frame(data, ["c"]).complete().tolist() == [True] * 4
    some = read_new_rows(data, ["a", "c"], np.array([False, True, False, True]))
    np.testing.assert_array_equal(some["a"], [np.nan, 4.0])
    assert read_new_rows(data, [], np.array([True, False, True, True])).n == 3


def test_standard_deviations_are_those_of_the_formula() -> None:
    fit = fitted(mf.CorAR1(form="~ t | g"), mf.VarPower(form="~ x"))
    power = fit.residual_params["power"]
    new = NEW.assign(x=NEW["x"].mask(np.arange(len(NEW)) == 4))
    log_sd, derivatives = scale_of_new_rows(fit.fit, new, EVERY, np.zeros(len(NEW)))
    np.testing.assert_allclose(log_sd, power * np.log(new["x"]))
    # The correlation comes first among the coordinates; no variance depends on it.
    known = np.arange(len(NEW)) != 4
    np.testing.assert_array_equal(derivatives[0, known], 0.0)
    np.testing.assert_allclose(derivatives[1], np.log(new["x"]))
    assert np.isnan(derivatives[:, 4]).all()
    chosen = np.arange(len(NEW)) % 3 == 0
    part, _ = scale_of_new_rows(fit.fit, new, chosen, np.zeros(chosen.sum()))
    np.testing.assert_array_equal(part, log_sd[chosen])


def test_strata_keep_their_ratio_and_an_unknown_one_is_refused() -> None:
    fit = fitted(weights=mf.VarIdent(form="~ 1 | s"))
    (ratio,) = fit.residual_params
    named = fit.residual_params.index[0]
    # Rows of one stratum alone: what their labels mean is told by the fit's rows.
    for new in (NEW.iloc[::2], NEW.iloc[1::2]):
        assert len(set(new["s"])) == 1
        rows = np.ones(len(new), dtype=bool)
        log_sd, _ = scale_of_new_rows(fit.fit, new, rows, np.zeros(len(new)))
        expected = np.where(new["s"] == named, np.log(ratio), 0.0)
        np.testing.assert_allclose(log_sd, expected, atol=1e-12)
    with pytest.raises(DataError, match="stratum"):
        scale_of_new_rows(fit.fit, new.assign(s="third"), rows, np.zeros(len(new)))


def test_variances_of_the_mean_take_the_predictions() -> None:
    fit = fitted(weights=mf.VarPower(form="~ fitted(.)"))
    predicted = np.linspace(0.5, 4.0, len(NEW))
    log_sd, derivatives = scale_of_new_rows(fit.fit, NEW, EVERY, predicted)
    np.testing.assert_allclose(log_sd, fit.residual_params["power"] * np.log(predicted))
    np.testing.assert_allclose(derivatives[0], np.log(predicted))


def test_without_a_variance_function_all_rows_are_alike() -> None:
    log_sd, derivatives = scale_of_new_rows(
        fitted(mf.CorAR1(form="~ t | g")).fit, NEW, EVERY, np.zeros(len(NEW))
    )
    np.testing.assert_array_equal(log_sd, 0.0)
    np.testing.assert_array_equal(derivatives, np.zeros((1, len(NEW))))
    assert scale_of_new_rows(fitted().fit, NEW, EVERY, np.zeros(len(NEW)))[1].shape == (0, len(NEW))


@pytest.mark.parametrize("phi", [None, 0.35])
def test_correlations_of_old_and_new_rows_are_powers_of_the_lag(phi: float | None) -> None:
    fit = fitted(mf.CorAR1(form="~ t | g"))
    new = NEW.assign(g=NEW["g"].mask(NEW.index == NEW.index[0], "unknown"))
    rows = NewCorrelation(fit.fit, read_frame(new, ["t", "g"]))
    delta = None if phi is None else np.array([2.0 * np.arctanh(phi)])
    rho = fit.residual_params["Phi"] if phi is None else phi
    same = new["g"].to_numpy()[:, None] == OLD["g"].to_numpy()
    lag = np.abs(new["t"].to_numpy()[:, None] - OLD["t"].to_numpy())
    C = np.where(same, rho**lag, 0.0)
    v = np.random.default_rng(0).standard_normal((3, len(OLD)))
    np.testing.assert_allclose(rows.products(v, delta), v @ C.T, atol=1e-10)
    np.testing.assert_allclose(rows.rows(slice(3, 9), delta), C[3:9], atol=1e-10)
    assert not C[0].any()  # of a group the fit does not have


def test_rows_at_the_times_of_the_fits_own_are_refused() -> None:
    fit = fitted(mf.CorAR1(form="~ t | g"))
    rows = NewCorrelation(fit.fit, read_frame(OLD.iloc[:2], ["t", "g"]))
    with pytest.raises(DataError, match="times or positions of their own"):
        rows.products(np.ones((1, len(OLD))))
