"""Prediction of further rows of known groups, against the dense normal distribution."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import mixedfit as mf
from mixedfit.errors import DataError, ModelError
from mixedfit.frames import read_frame
from mixedfit.residual import bind_residual


def rows(seed: int = 11) -> pd.DataFrame:
    """Sixteen groups of eight rows with AR(1) residuals, the last two held back."""
    rng = np.random.default_rng(seed)
    parts = []
    for g in range(16):
        e = rng.standard_normal(8)
        for t in range(1, 8):
            e[t] = 0.7 * e[t - 1] + np.sqrt(1.0 - 0.49) * e[t]
        x = rng.uniform(0.5, 2.0, 8)
        s = np.where(np.arange(8) % 2 == 0, "even", "odd")
        y = 1.0 + 0.5 * x + rng.standard_normal() + e * x**0.5
        parts.append(pd.DataFrame({"g": f"g{g}", "t": np.arange(8), "x": x, "s": s, "y": y}))
    return pd.concat(parts, ignore_index=True)


DATA = rows()
OLD, NEW = DATA[DATA["t"] < 6], DATA[DATA["t"] >= 6]

STRUCTURES = [
    (mf.CorAR1(form="~ t | g"), None),
    (mf.CorAR1(form="~ 1 | g"), mf.VarIdent(form="~ 1 | s")),
    (mf.CorCAR1(form="~ t | g"), mf.VarPower(form="~ x")),
    (mf.CorARMA(form="~ t | g", p=1, q=1), None),
    (mf.CorCompSymm(form="~ 1 | g"), None),
    (mf.CorExp(form="~ t | g", nugget=True), None),
    (mf.CorSpher(form="~ t"), mf.VarExp(form="~ x | s")),
]


@pytest.mark.parametrize(("correlation", "variance"), STRUCTURES)
def test_prediction_is_the_best_linear_unbiased_one(correlation, variance) -> None:  # type: ignore[no-untyped-def]
    if "|" not in correlation.form:
        fit = mf.gls(
            "y ~ x", OLD.assign(t=OLD.index.to_numpy()), correlation=correlation, weights=variance
        )
        old, new = OLD.assign(t=OLD.index.to_numpy()), NEW.assign(t=NEW.index.to_numpy())
    else:
        old, new = OLD, NEW
        fit = mf.lme("y ~ x", "~ 1 | g", OLD, correlation=correlation, weights=variance)
    both = pd.concat([old, new], ignore_index=True)
    n = len(old)
    R = dense_residual(fit, correlation, variance, both, n)
    same = both["g"].to_numpy()[:, None] == both["g"].to_numpy()
    tau2 = fit.varcorr.cov["g"].iloc[0, 0] if fit.ngroups else 0.0
    V = fit.scale * R + tau2 * same
    mean = fit.params["Intercept"] + fit.params["x"] * both["x"].to_numpy()
    resid = old["y"].to_numpy() - mean[:n]
    expected = mean[n:] + V[n:, :n] @ np.linalg.solve(V[:n, :n], resid)
    ours = fit.predict(new, residual="conditional")
    np.testing.assert_allclose(ours, expected, rtol=1e-7)
    assert ours.index.tolist() == new.index.tolist()
    assert np.abs(ours - fit.predict(new)).max() > 1e-3


def dense_residual(fit, correlation, variance, both, n: int) -> np.ndarray:  # type: ignore[no-untyped-def]
    """R of all rows at the estimates, from parameters on their natural scale."""
    values = fit.residual_params.to_numpy()
    k = len(values) - (0 if variance is None else fit.fit.design.residual.variance.n_params)
    frame = read_frame(both, list(both.columns))
    groups = fit.fit.design.residual_spec.groups
    held = bind_residual(correlation.held_at(values[:k]), None, frame, groups)
    R = held.at(np.zeros(0)).multiply(np.eye(len(both)))
    sd, x = np.ones(len(both)), both["x"].to_numpy()
    if isinstance(variance, mf.VarIdent):
        sd = np.where(both["s"] == "odd", values[k], 1.0)
    elif isinstance(variance, mf.VarPower):
        sd = x ** values[k]
    elif isinstance(variance, mf.VarExp):
        by_stratum = fit.residual_params
        sd = np.exp(x * both["s"].map(by_stratum).to_numpy(dtype=float))
    return R * np.outer(sd, sd)


def test_unknown_groups_and_missing_values() -> None:
    fit = mf.lme("y ~ x", "~ 1 | g", OLD, correlation=mf.CorAR1(form="~ t | g"))
    new = NEW.iloc[:4].assign(t=[6.0, np.nan, 7.0, 6.0], g=["g0", "g0", "g1", "new"])
    plain = fit.predict(new, new_levels="population")
    ours = fit.predict(new, new_levels="population", residual="conditional")
    assert ours.isna().tolist() == [False, True, False, False]
    assert ours.iloc[3] == plain.iloc[3]
    assert ours.iloc[0] != plain.iloc[0]


def test_variances_of_fitted_values_follow() -> None:
    fit = mf.lme(
        "y ~ x", "~ 1 | g", OLD, correlation=mf.CorAR1(form="~ t | g"), weights=mf.VarPower()
    )
    new = NEW[NEW["t"] == 6]
    last = OLD[OLD["t"] == 5].index
    phi, power = fit.residual_params
    mean = fit.predict(new).to_numpy()
    ratio = (mean / fit.fittedvalues[last].to_numpy()) ** power
    expected = mean + phi * fit.resid[last].to_numpy() * ratio
    np.testing.assert_allclose(fit.predict(new, residual="conditional"), expected, rtol=1e-6)


def test_bad_use_is_told() -> None:
    fit = mf.lme("y ~ x", "~ 1 | g", OLD, correlation=mf.CorAR1(form="~ t | g"))
    with pytest.raises(DataError, match="time 't' is 3 in more than one row in group 'g0'"):
        fit.predict(OLD[OLD["t"] == 3], residual="conditional")
    with pytest.raises(ModelError, match="None or 'conditional'"):
        fit.predict(NEW, residual="plain")  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="for new rows"):
        fit.predict(residual="conditional")
    with pytest.raises(ModelError, match="groups='all'"):
        fit.predict(NEW, groups="none", residual="conditional")
    without = mf.lme("y ~ x", "~ 1 | g", OLD)
    with pytest.raises(ModelError, match="needs correlated residuals"):
        without.predict(NEW, residual="conditional")
    general = mf.gls("y ~ x", OLD, correlation=mf.CorSymm(form="~ t | g"))
    with pytest.raises(DataError, match="8 positions have 28 pairs"):
        general.predict(NEW, residual="conditional")
    strata = mf.gls(
        "y ~ x",
        OLD,
        correlation=mf.CorAR1(form="~ t | g"),
        weights=mf.VarIdent(form="~ 1 | s"),
    )
    with pytest.raises(DataError, match="stratum"):
        strata.predict(NEW.assign(s="third"), residual="conditional")


def test_groups_written_as_text_are_those_of_numbers() -> None:
    old, new = (data.assign(g=data["g"].str[1:].astype(int)) for data in (OLD, NEW))
    fit = mf.lme("y ~ x", "~ 1 | g", old, correlation=mf.CorAR1(form="~ t | g"))
    expected = fit.predict(new, residual="conditional")
    as_text = new.assign(g=new["g"].astype(str))
    np.testing.assert_allclose(fit.predict(as_text, residual="conditional"), expected)
    both = pd.concat([as_text, as_text.assign(g="new " + as_text["g"])])
    found = fit.predict(both, new_levels="population", residual="conditional")
    np.testing.assert_allclose(found.iloc[: len(new)], expected)
    population = fit.predict(new, groups="none")
    np.testing.assert_allclose(found.iloc[len(new) :], population)
