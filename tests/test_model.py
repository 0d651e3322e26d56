"""The verbs, and what must not change their answer."""

import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mixedfit as mf
from mixedfit.errors import ModelError
from mixedfit.estimate import Estimate
from mixedfit.variance_function import VarFixed
from tests.cases import PATTERNS, frame
from tests.residual_fits import AR1, DATA, crossed

FORMULA = "y ~ x + f + (x | g) + (1 | h)"


def same(one, two, rtol=1e-6):
    assert one.llf == pytest.approx(two.llf, abs=1e-6)
    np.testing.assert_allclose(one.params, two.params, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(one.bse, two.bse, rtol=rtol)
    np.testing.assert_allclose(one.sigma, two.sigma, rtol=rtol)


@pytest.fixture(scope="module")
def fit():
    return mf.lmer(FORMULA, frame())


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31 - 1))
def test_rows_may_come_in_any_order(fit, seed):
    same(mf.lmer(FORMULA, frame().sample(frac=1.0, random_state=seed)), fit)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31 - 1))
def test_groups_may_have_any_names(fit, seed):
    names = np.random.default_rng(seed).permutation(1000).astype(str)
    data = frame().assign(g=lambda d: names[d["g"]], h=lambda d: names[d["h"]])
    renamed = mf.lmer(FORMULA, data)
    same(renamed, fit)
    effects = fit.ranef()["g"]
    effects.index = names[effects.index]
    pd.testing.assert_frame_equal(
        renamed.ranef()["g"].sort_index(), effects.sort_index(), check_names=False, rtol=1e-5
    )


@settings(max_examples=25, deadline=None)
@given(
    scale_y=st.floats(-8, 8).map(lambda e: 10.0**e),
    shift_y=st.floats(-8, 8).map(lambda e: 10.0**e),
    scale_x=st.floats(-6, 6).map(lambda e: 10.0**e),
    shift_x=st.floats(-8, 8).map(lambda e: 10.0**e),
)
def test_units_and_offsets_change_nothing_but_units(fit, scale_y, shift_y, scale_x, shift_x):
    # What a shift leaves of the digits is all an answer can have.
    shift_y, shift_x = min(shift_y, 1e8) * scale_y, min(shift_x, 1e7) * scale_x
    data = frame().assign(
        y=lambda d: d["y"] * scale_y + shift_y, x=lambda d: d["x"] * scale_x + shift_x
    )
    other = mf.lmer(FORMULA, data)
    n, p = 240, 5
    moved = other.llf + (n - p) * np.log(scale_y) + np.log(scale_x)
    assert moved == pytest.approx(fit.llf, abs=1e-4)
    assert other.params["x"] * scale_x / scale_y == pytest.approx(fit.params["x"], rel=1e-4)
    assert other.bse["x"] * scale_x / scale_y == pytest.approx(fit.bse["x"], rel=1e-4)
    assert other.sigma / scale_y == pytest.approx(fit.sigma, rel=1e-4)
    sd = other.varcorr.sd["g"]["x"] * scale_x / scale_y
    assert sd == pytest.approx(fit.varcorr.sd["g"]["x"], rel=1e-3)
    assert other.optimum.nfev == pytest.approx(fit.optimum.nfev, abs=3)


def test_slopes_with_units_a_million_apart():
    data = frame().assign(tiny=lambda d: d["z"] * 1e-6, huge=lambda d: d["x"] * 1e6)
    plain = mf.lmer("y ~ x + z + (x + z | g)", data)
    scaled = mf.lmer("y ~ huge + tiny + (huge + tiny | g)", data)
    assert scaled.llf == pytest.approx(plain.llf, abs=1e-6)
    sd = scaled.varcorr.sd["g"].to_numpy() * [1.0, 1e6, 1e-6]
    np.testing.assert_allclose(sd, plain.varcorr.sd["g"], rtol=1e-4, atol=1e-5)


def test_equal_weights_are_no_weights_and_scale_only_the_residual():
    data = frame()
    plain = mf.lmer(FORMULA, data)
    same(mf.lmer(FORMULA, data, weights=np.ones(240)), plain)
    doubled = mf.lmer(FORMULA, data, weights=np.full(240, 2.0))
    assert doubled.sigma == pytest.approx(plain.sigma * np.sqrt(2.0), rel=1e-6)
    np.testing.assert_allclose(doubled.params, plain.params, rtol=1e-6)
    assert doubled.llf == pytest.approx(plain.llf, abs=1e-6)


def test_weights_of_two_are_two_rows_given_the_variances():
    """With theta and sigma held, a row of weight 2 carries what two rows carry."""
    data = frame()
    weighted = mf.lmer("y ~ x + (x | g)", data, weights=np.full(240, 2.0))
    twice = data.iloc[np.repeat(np.arange(240), 2)].reset_index(drop=True)
    repeated = mf.lmer("y ~ x + (x | g)", twice)
    states = weighted.optimum.states
    one, two = weighted.fit.likelihood.at(states), repeated.fit.likelihood.at(states)
    np.testing.assert_allclose(Estimate(one).beta, Estimate(two).beta, rtol=1e-8)
    r2 = [point.remainder.r2 * point.likelihood.products.basis.scale**2 for point in (one, two)]
    assert r2[0] == pytest.approx(r2[1], rel=1e-10)
    assert one.eliminated.logdet == pytest.approx(two.eliminated.logdet, rel=1e-10)


def test_an_offset_is_part_of_the_mean():
    data = frame()
    moved = mf.lmer(FORMULA, data.assign(y=data["y"] - data["o"]))
    for offset in (
        mf.lmer(FORMULA, data, offset="o"),
        mf.lmer(FORMULA, data, offset=data["o"]),
        mf.lmer(FORMULA.replace("x + f", "x + offset(o) + f"), data),
    ):
        same(offset, moved)
        np.testing.assert_allclose(offset.fittedvalues, moved.fittedvalues + data["o"], rtol=1e-6)


def test_every_kind_of_frame_gives_one_fit(fit):
    data = frame()
    levels = pl.Enum(["lo", "mid", "hi", "top"])
    text = data.assign(f=data["f"].astype(str))
    polars = pl.from_pandas(text).with_columns(pl.col("f").cast(levels))
    for other in (
        polars,
        pa.Table.from_pandas(data),
        {name: data[name] for name in data},
        {name: data[name].to_list() if name != "f" else data[name] for name in data},
        data.convert_dtypes().assign(f=data["f"]),
    ):
        same(mf.lmer(FORMULA, other), fit)


@pytest.mark.parametrize("name", PATTERNS)
def test_nothing_of_the_callers_frame_is_changed(name):
    data = frame()
    data.loc[3, "x"] = np.nan
    before = data.copy(deep=True)
    weights = np.ones(240)
    mf.lmer(PATTERNS[name].formula, data, weights=weights, subset="x > -2")
    pd.testing.assert_frame_equal(data, before)
    np.testing.assert_array_equal(weights, np.ones(240))


def test_spellings_of_one_model_agree():
    data = frame()
    for one, two in (
        ("y ~ x + (1 | a/b)", "y ~ x + (1 | a) + (1 | a:b)"),
        ("y ~ x + (x || g)", "y ~ x + (1 | g) + (0 + x | g)"),
        ("y ~ x + (x || g)", "y ~ x + diag(x | g)"),
        ("y ~ x + us(x | g)", "y ~ x + (1 + x | g)"),
        ("y ~ I(x^2) + (1 | g)", "y ~ I(x**2) + (1 | g)"),
        ("y ~ f * x + (1 | g)", "y ~ f + x + f:x + (1 | g)"),
        ("y ~ (f + x)^2 + (1 | g)", "y ~ f * x + (1 | g)"),
        ("y ~ factor(h) + (1 | g)", "y ~ C(h) + (1 | g)"),
        ("y ~ x + (1 | factor(g))", "y ~ x + (1 | g)"),
    ):
        same(mf.lmer(one, data), mf.lmer(two, data))


def test_a_two_by_two_compound_symmetry_is_unstructured():
    data = frame()
    cs, us = mf.lmer("y ~ x + cs(x | g)", data), mf.lmer("y ~ x + (x | g)", data)
    assert cs.llf == pytest.approx(us.llf, abs=1e-6)


def test_contrasts_change_the_coding_and_not_the_fit():
    data = frame()
    plain = mf.lmer("y ~ f + (f | g)", data, method="ML")
    for contrast in (
        "sum",
        "helmert",
        "poly",
        np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, -1, -1.0]]),
    ):
        coded = mf.lmer("y ~ f + (f | g)", data, method="ML", contrasts={"f": contrast})
        assert coded.llf == pytest.approx(plain.llf, abs=1e-6)
        np.testing.assert_allclose(coded.fittedvalues, plain.fittedvalues, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("formula", "options", "error", "message"),
    [
        ("y ~ x", {}, mf.FormulaError, "has no random term; add one, such as '(1 | group)'"),
        ("y ~ x + (1 | g)", {"method": "reml"}, mf.MixedfitError, "'REML' or 'ML', not 'reml'"),
        ("y ~ x + (1 | g", {}, mf.FormulaError, "parentheses"),
        ("y ~ x + (1 | g)", {"start": [1, 2]}, mf.ModelError, "the 1 finite numbers of theta"),
        ("y ~ x + (1 | g)", {"start": [np.nan]}, mf.ModelError, "finite numbers of theta"),
    ],
)
def test_mistakes_are_named(formula, options, error, message):
    with pytest.raises(error) as raised:
        mf.lmer(formula, frame(), **options)
    assert message in str(raised.value)
    assert isinstance(raised.value, ValueError)


def test_a_response_that_the_levels_reproduce_leaves_no_residual():
    data = frame()
    with pytest.raises(mf.ModelError, match="reproduce 'y' exactly: no residual variation"):
        mf.lmer("y ~ 1 + (1 | g)", data.assign(y=data["g"] ** 2))


def test_importing_is_light():
    code = (
        "import sys, mixedfit; "
        "print([m for m in ('statsmodels', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_formula_as_weights_is_a_known_variance():
    data = mf.datasets.load("orthodont")
    written = mf.gls("distance ~ age", data, weights="~ age")
    named = mf.gls("distance ~ age", data, weights=VarFixed("~ age"))
    assert written.llf == named.llf
    with pytest.raises(ModelError, match=r"not 'age'; for known weights w write VarFixed"):
        mf.lme("distance ~ age", "~ 1 | Subject", data, weights="age")


def test_lme_without_structures_is_lmer():
    nested = mf.lme("y ~ x", "~ 1 | a/b", DATA, method="ML")
    expected = mf.lmer("y ~ x + (1 | a/b)", DATA, method="ML")
    assert nested.llf == pytest.approx(expected.llf, abs=1e-10)
    assert nested.ngroups == expected.ngroups
    assert nested.bic == pytest.approx(expected.bic)


def test_gls_without_structures_is_least_squares():
    fit = mf.gls("y ~ x", DATA)
    X = np.column_stack([np.ones(len(DATA)), DATA["x"]])
    beta, rss, *_ = np.linalg.lstsq(X, DATA["y"].to_numpy(), rcond=None)
    np.testing.assert_allclose(fit.params, beta, rtol=1e-10)
    assert fit.sigma == pytest.approx(np.sqrt(rss[0] / (len(DATA) - 2)))
    assert fit.status == "optimal"
    assert fit.ranef() == {}
    assert fit.ngroups == {}
    assert fit.residual_params.empty
    pd.testing.assert_series_equal(
        fit.predict(DATA.head()), fit.fittedvalues.head(), check_names=False
    )


def test_the_order_of_the_rows_does_not_matter():
    fit = crossed()
    mixed = DATA.sample(frac=1.0, random_state=1)
    other = mf.lmer("y ~ x + (1 | g) + (1 | h)", mixed, correlation=AR1)
    assert other.llf == pytest.approx(fit.llf, abs=1e-8)
    np.testing.assert_allclose(other.residual_params, fit.residual_params, rtol=1e-5)
    np.testing.assert_allclose(
        other.residuals("normalized").sort_index(), fit.residuals("normalized"), atol=1e-5
    )


@pytest.mark.parametrize("size", [1e-6, 1e6])
def test_units_of_the_response_and_of_a_covariate_do_not_matter(size):
    fit = mf.gls("y ~ x", DATA, weights=mf.VarExp(form="~ t"), correlation=AR1)
    scaled = DATA.assign(y=size * DATA["y"], c=size * DATA["t"])
    other = mf.gls("y ~ x", scaled, weights=mf.VarExp(form="~ c"), correlation=AR1)
    assert other.sigma / size == pytest.approx(fit.sigma, rel=1e-5)
    np.testing.assert_allclose(other.residual_params["Phi"], fit.residual_params["Phi"], rtol=1e-5)
    assert other.residual_params["expon"] * size == pytest.approx(
        fit.residual_params["expon"], rel=1e-4
    )


def test_missing_values_of_a_form_leave_rows_out_or_are_refused():
    holes = DATA.assign(t=DATA["t"].astype(float).mask(DATA.index < 3))
    fit = mf.lme("y ~ x", "~ 1 | g", holes, correlation=AR1, na_action="drop")
    assert (fit.nobs, fit.n_missing) == (157, 3)
    with pytest.raises(mf.DataError, match="'t' \\(3\\).*na_action='drop'"):
        mf.lme("y ~ x", "~ 1 | g", holes, correlation=AR1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mf.lme("y ~ x + (1 | g)", "~ 1 | g", DATA), "random terms go to random="),
        (lambda: mf.gls("y ~ x + (1 | g)", DATA), "gls.*random= of lme"),
        (lambda: mf.gls("y ~ x", DATA, method="reml"), "method must be 'REML' or 'ML'"),
        (lambda: mf.lme("y ~ x", "~ 1 | g", DATA, method="ols"), "method must be"),
        (lambda: mf.lmer("y ~ x", DATA), r"no random term.*gls\(\)"),
        (lambda: mf.gls("y ~ x", DATA, weights="w"), "variance function"),
        (lambda: mf.gls("y ~ x", DATA, correlation=mf.CorAR1), "call it"),
        (lambda: mf.gls("y ~ x", DATA, correlation=mf.CorAR1(form="~ u | g")), "no column 'u'"),
        (lambda: mf.gls("y ~ x", DATA, correlation=mf.CorAR1(form="~ t")), "CorAR1"),
        (lambda: mf.lme("y ~ x", "~ 1 | q", DATA), "no column 'q'"),
    ],
)
def test_bad_input_is_refused_in_words(call, message):
    with pytest.raises(mf.MixedfitError, match=message):
        call()
