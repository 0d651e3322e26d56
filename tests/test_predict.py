import numpy as np
import pandas as pd
import polars as pl
import pytest

import mixedfit as mf
from tests.cases import frame
from tests.residual_fits import DATA


@pytest.fixture(scope="module")
def fit():
    return mf.lmer("y ~ f * poly(x, 2) + offset(o) + (x | g) + (1 | a/b)", frame())


def test_the_rows_of_the_fit_give_the_fitted_values(fit):
    data = frame()
    for new in (
        None,
        data,
        pl.from_pandas(data.assign(f=data["f"].astype(str))),
        data.to_dict("list"),
    ):
        np.testing.assert_allclose(fit.predict(new), fit.fittedvalues, rtol=1e-9)


def test_groups_none_some_all(fit):
    data = frame()
    ranef = fit.ranef()
    none = fit.predict(data, groups="none")
    only_g = fit.predict(data, groups=["g"])
    u = ranef["g"].loc[data["g"]].to_numpy()
    np.testing.assert_allclose(only_g, none + u[:, 0] + u[:, 1] * data["x"], rtol=1e-9)
    np.testing.assert_allclose(fit.predict(groups="g"), only_g, rtol=1e-9)
    np.testing.assert_allclose(fit.predict(groups="none"), none, rtol=1e-9)
    nested = ranef["a:b"].loc[list(zip(data["a"], data["b"], strict=True))].to_numpy()[:, 0]
    both = fit.predict(data, groups=["g", "a:b"])
    np.testing.assert_allclose(both, only_g + nested, rtol=1e-9)


def test_only_the_columns_that_are_needed_are_asked_for(fit):
    new = frame()[["f", "x", "o"]]
    assert fit.predict(new, groups="none").notna().all()
    with pytest.raises(mf.DataError, match="no column 'g'"):
        fit.predict(new, groups=["g"])


def test_unseen_levels_raise_with_their_names_or_get_the_population_value(fit):
    new = frame().iloc[:3].assign(g=[0, 77, 0], a=[0, 0, 99])
    with pytest.raises(mf.DataError) as error:
        fit.predict(new)
    assert "has levels the fit did not have" in str(error.value)
    assert "new_levels='population'" in str(error.value)
    population = fit.predict(new, new_levels="population")
    without_g = fit.predict(new, groups=["a", "a:b"], new_levels="population")
    assert population.iloc[1] == pytest.approx(without_g.iloc[1])
    with pytest.raises(mf.DataError, match="'g' has levels the fit did not have: '77'"):
        fit.predict(new.iloc[:2].assign(a=frame()["a"][:2], b=frame()["b"][:2]), groups=["g"])


def test_missing_values_give_missing_predictions(fit):
    new = frame().iloc[:4].copy()
    new.loc[1, "x"] = np.nan
    new["g"] = new["g"].astype(float)
    new.loc[2, "g"] = np.nan
    got = fit.predict(new)
    assert got.isna().tolist() == [False, True, True, False]
    population = fit.predict(new, new_levels="population")
    assert population.isna().tolist() == [False, True, False, False]


def test_the_index_of_the_new_data_is_kept(fit):
    new = frame().iloc[[5, 3]]
    assert fit.predict(new).index.tolist() == [5, 3]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": "h"}, "'h' is none of them"),
        ({"groups": ["g", "nosuch"]}, "'nosuch' is none of them"),
        ({"new_levels": "ignore"}, "new_levels must be"),
    ],
)
def test_options_that_do_not_exist(fit, options, message):
    with pytest.raises(mf.ModelError, match=message):
        fit.predict(frame(), **options)


def test_new_levels_of_a_fixed_factor(fit):
    with pytest.raises(mf.DataError, match="'f' holds 'new'"):
        fit.predict(frame().assign(f="new"))


def test_an_offset_given_as_numbers_cannot_be_predicted_with():
    data = frame()
    fit = mf.lmer("y ~ x + (1 | g)", data, offset=data["o"].to_numpy())
    assert fit.predict().notna().all()
    with pytest.raises(mf.DataError, match="offset given as numbers"):
        fit.predict(data)
    by_name = mf.lmer("y ~ x + (1 | g)", data, offset="o")
    np.testing.assert_allclose(by_name.predict(data), fit.fittedvalues)


def test_a_missing_level_column_type_still_matches():
    data = frame().assign(g=lambda d: d["g"].astype(str))
    fit = mf.lmer("y ~ x + (1 | g)", data)
    new = data.assign(g=data["g"].astype("category"))
    np.testing.assert_allclose(fit.predict(new), fit.fittedvalues)


def test_numbers_match_levels_written_as_text():
    data = frame()
    fit = mf.lmer("y ~ x + (1 | g)", data.assign(g=data["g"].astype(str)))
    np.testing.assert_allclose(fit.predict(data), fit.fittedvalues)
    np.testing.assert_allclose(
        fit.predict(data.assign(g=data["g"].astype(float))), fit.fittedvalues
    )
    as_numbers = mf.lmer("y ~ x + (1 | g)", data)
    np.testing.assert_allclose(
        as_numbers.predict(data.assign(g=data["g"].astype(str))), as_numbers.fittedvalues
    )


def test_simulated_responses_have_the_models_moments():
    data = frame().assign(w=lambda d: np.where(d["z"] > 0, 4.0, 1.0))
    fit = mf.lmer("y ~ x + (x | g) + (1 | h)", data, weights="w")
    draws = fit.simulate(4000, seed=1)
    assert draws.shape == (240, 4000)
    assert draws.columns[0] == "sim_1"
    pd.testing.assert_frame_equal(draws.iloc[:, :1], fit.simulate(4000, seed=1).iloc[:, :1])
    np.testing.assert_allclose(draws.mean(axis=1), fit.predict(groups="none"), atol=0.25)
    G, H = (fit.varcorr.cov[name].to_numpy() for name in ("g", "h"))
    z = np.column_stack([np.ones(240), data["x"]])
    variance = np.einsum("ia,ab,ib->i", z, G, z) + H[0, 0] + fit.scale / data["w"]
    np.testing.assert_allclose(draws.var(axis=1), variance, rtol=0.15)
    same = data["g"].to_numpy() == data["g"].iloc[0]
    other = int(np.flatnonzero(same)[1])
    covariance = z[0] @ G @ z[other] + H[0, 0] * (data["h"].iloc[0] == data["h"].iloc[other])
    got = np.cov(draws.iloc[0], draws.iloc[other])[0, 1]
    assert got == pytest.approx(covariance, abs=4 * np.sqrt(variance[0] * variance[other] / 4000))
    with pytest.raises(mf.ModelError, match="n must be a whole number of at least 1"):
        fit.simulate(0)


def test_residuals_by_kind():
    data = frame()
    fit = mf.lmer("y ~ x + (1 | g)", data, weights="w")
    np.testing.assert_allclose(fit.resid, data["y"] - fit.fittedvalues)
    np.testing.assert_allclose(fit.residuals("pearson"), fit.resid * np.sqrt(data["w"]) / fit.sigma)
    np.testing.assert_allclose(fit.residuals("normalized"), fit.residuals("pearson"))
    with pytest.raises(mf.ModelError, match="'deviance'"):
        fit.residuals("deviance")


def test_simulated_responses_have_the_covariance_of_the_residuals():
    fit = mf.gls("y ~ x", DATA, correlation=mf.CorAR1(0.6, form="~ t | g", fixed=True))
    draws = fit.simulate(4000, seed=0).to_numpy() - fit.fittedvalues.to_numpy()[:, None]
    covariance = draws @ draws.T / draws.shape[1] / fit.scale
    R = fit.fit.whitening.multiply(np.eye(len(DATA)))
    assert np.abs(covariance - R).max() < 0.12


def test_truth_values_of_new_rows_may_be_missing_or_text():
    data = frame().assign(flag=lambda d: d["z"] > 0)
    fit = mf.lmer("y ~ flag + (1 | g)", data)
    flags = data["flag"].astype("boolean")
    flags.iloc[1] = pd.NA
    predicted = fit.predict(data.assign(flag=flags))
    assert np.flatnonzero(predicted.isna()).tolist() == [1]
    np.testing.assert_allclose(predicted.dropna(), fit.fittedvalues.drop(data.index[1]))
    as_text = data.assign(flag=data["flag"].astype(str))
    np.testing.assert_allclose(fit.predict(as_text), fit.fittedvalues)
    with pytest.raises(mf.DataError, match="levels there were 'False', 'True'"):
        fit.predict(data.assign(flag=2))


def test_groups_that_are_no_names_are_told(fit):
    with pytest.raises(mf.ModelError, match="'all', 'none' or a list of names, not None"):
        fit.predict(groups=None)
