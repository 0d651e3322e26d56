"""Inference with residual structures against the formulas written out with n x n matrices."""

import numpy as np
import pytest

import mixedfit as mf
from mixedfit.ddf import inference
from mixedfit.residual_directions import ResidualDirections

BY_SEX, BY_AGE = mf.VarIdent(form="~ 1 | Sex"), mf.VarIdent(form="~ 1 | age")
WITHIN = "~ 1 | Subject"
FIXED = "distance ~ age * Sex"


def _lme(random, **structures):
    return mf.lme(FIXED, random, mf.datasets.load("orthodont"), **structures)


def _gls(**structures):
    return mf.gls(FIXED, mf.datasets.load("orthodont"), **structures)


LINEAR = {
    "intercepts, variances by sex": lambda: _lme("~ 1 | Subject", weights=BY_SEX),
    "slopes, variances by sex": lambda: _lme("~ age | Subject", weights=BY_SEX),
    "compound symmetry": lambda: _gls(correlation=mf.CorCompSymm(form=WITHIN)),
    "any correlations": lambda: _gls(correlation=mf.CorSymm(form=WITHIN)),
    "any covariances": lambda: _gls(correlation=mf.CorSymm(form=WITHIN), weights=BY_AGE),
    "variances by sex alone": lambda: _gls(weights=BY_SEX),
}


def _directions(fit):
    """V and its derivatives in every parameter, residual variance 1."""
    design, whitening = fit.fit.design, fit.fit.whitening
    V, moves = whitening.multiply(np.eye(design.n)), []
    for term, own in zip(design.terms, fit.fit.estimate.terms, strict=True):
        codes = design.factors[term.factor].codes
        same = codes[:, None] == codes
        V = V + (term.Z @ own.root @ own.root.T @ term.Z.T) * same
        moves += [(term.Z @ basis @ term.Z.T) * same for basis in term.structure.linear_basis()]
    return [V, *moves, *whitening.derivative(np.eye(design.n))]


@pytest.mark.parametrize("name", LINEAR)
def test_kenward_roger_is_the_method_written_out(name):
    check_against_the_method_written_out(LINEAR[name]())


def check_against_the_method_written_out(fit):
    directions, X = _directions(fit), fit.fit.design.X
    V_inverse = np.linalg.inv(directions[0])
    phi = np.linalg.inv(X.T @ V_inverse @ X)
    moved = [V_inverse @ v for v in directions]
    P = np.array([-X.T @ a @ V_inverse @ X for a in moved])
    Q = np.array([[X.T @ a @ b @ V_inverse @ X for b in moved] for a in moved])
    T = np.array([[np.sum(a * b.T) for b in moved] for a in moved])
    information = T - 2 * np.einsum("ab,rsba->rs", phi, Q)
    information += np.einsum("ab,rbc,cd,sda->rs", phi, P, phi, P)
    W = 2 * np.linalg.inv(information)
    spread = np.einsum("rs,rsab->ab", W, Q) - np.einsum("rs,rab,bc,scd->ad", W, P, phi, P)
    adjusted = fit.scale * (phi + phi @ (spread + spread.T) @ phi)
    inferred = inference(fit.fit, "kenward-roger")
    assert inferred.method == "kenward-roger"
    np.testing.assert_allclose(inferred.covariance, adjusted, rtol=1e-6, atol=1e-12)
    slopes = np.array([[row @ p @ row / row[i] for p in P] for i, row in enumerate(phi)])
    expected = 2.0 / np.einsum("ir,rs,is->i", slopes, W, slopes)
    np.testing.assert_allclose(inferred.df(np.eye(len(phi))), expected, rtol=1e-6)


def test_any_covariances_have_as_many_degrees_of_freedom_as_subjects():
    # Balanced: 27 children less two groups.
    df = inference(LINEAR["any covariances"]().fit, "kenward-roger").df(np.eye(4))
    np.testing.assert_allclose(df, 25.0, rtol=1e-6)


@pytest.mark.parametrize(
    "correlation", [mf.CorAR1(form=WITHIN), mf.CorCAR1(form="~ age | Subject")]
)
def test_structures_that_are_not_linear_take_satterthwaite(correlation):
    fit = _lme("~ 1 | Subject", correlation=correlation)
    assert not ResidualDirections(fit.fit.evaluation).linear
    inferred = inference(fit.fit, "kenward-roger")
    assert inferred.method == "satterthwaite"
    assert "linear" in inferred.note


def test_products_of_a_variance_function_and_a_correlation_are_not_linear():
    fit = _gls(correlation=mf.CorCompSymm(form=WITHIN), weights=mf.VarPower(form="~ age"))
    assert inference(fit.fit, "kenward-roger").method == "satterthwaite"


def test_satterthwaite_is_kenward_rogers_df_where_both_are_exact():
    # One variance a sex and no random effects: the men's and the women's own residuals.
    inferred = inference(LINEAR["variances by sex alone"]().fit, "satterthwaite")
    np.testing.assert_allclose(inferred.df(np.eye(4))[:2], 62.0, rtol=1e-5)


def test_crossed_factors_need_no_sets_of_rows():
    rng = np.random.default_rng(1)
    n = 150
    data = {
        "s": rng.integers(0, 9, n),
        "i": rng.integers(0, 5, n),
        "x": rng.standard_normal(n),
        "f": rng.choice(list("ab"), n),
    }
    noise = rng.standard_normal(n) * np.where(data["f"] == "a", 1.0, 2.0)
    data["y"] = (
        data["x"] + rng.standard_normal(9)[data["s"]] + rng.standard_normal(5)[data["i"]] + noise
    )
    fit = mf.lmer("y ~ x + f + (x | s) + (1 | i)", data, variance=mf.VarIdent(form="~ 1 | f"))
    check_against_the_method_written_out(fit)


@pytest.mark.parametrize("ddf", ["kenward-roger", "satterthwaite"])
def test_compound_symmetry_is_a_random_intercept(ddf):
    by_effect = mf.lmer(f"{FIXED} + (1 | Subject)", mf.datasets.load("orthodont"))
    ours = LINEAR["compound symmetry"]().coef_table(ddf=ddf)[["se", "df"]].to_numpy()
    np.testing.assert_allclose(ours, by_effect.coef_table(ddf=ddf)[["se", "df"]], rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "linear"),
    [
        ({"weights": BY_SEX}, True),
        ({"weights": mf.VarPower(form="~ age")}, False),
        ({"correlation": mf.CorSymm(form=WITHIN)}, True),
        ({"correlation": mf.CorAR1(form=WITHIN)}, False),
        ({"correlation": mf.CorCompSymm(form=WITHIN), "weights": BY_SEX}, False),
    ],
)
def test_linear_families_are_recognised(options, linear):
    assert ResidualDirections(_gls(**options).fit.evaluation).linear is linear


def test_derivatives_of_the_information_in_the_residual_parameters():
    point = _lme("~ 1 | Subject", correlation=mf.CorAR1(form=WITHIN)).fit.evaluation
    step = np.zeros(len(point.gradient))
    step[-1] = 1e-5
    difference = point.move(step).eliminated.S - point.move(-step).eliminated.S
    np.testing.assert_allclose(
        point.remainder_tangents[-1], difference / 2e-5, rtol=1e-5, atol=1e-6
    )


def test_random_effects_are_reduced_with_the_residuals_of_their_own():
    smaller, larger = _gls(weights=BY_SEX), _lme("~ 1 | Subject", weights=BY_SEX)
    row = larger.ranova().iloc[1]
    np.testing.assert_allclose(row["llf"], smaller.llf, rtol=1e-8)
    assert row["n_params"] == smaller.n_params
