"""Kenward-Roger and Satterthwaite where the residuals have a structure of their own."""

from __future__ import annotations

import numpy as np
import pytest

import mixedfit as mf
from mixedfit.independent_sets import moves_linearly, row_moments

FIXED = "distance ~ age * Sex"


@pytest.fixture(scope="module")
def orthodont():
    return mf.datasets.load("orthodont")


@pytest.mark.parametrize("ddf", ["kenward-roger", "satterthwaite"])
def test_compound_symmetry_is_a_random_intercept(orthodont, ddf):
    by_residual = mf.gls(FIXED, orthodont, correlation=mf.CorCompSymm(form="~ 1 | Subject"))
    by_effect = mf.lmer(FIXED + " + (1 | Subject)", orthodont)
    ours = by_residual.coef_table(ddf=ddf)[["se", "df"]].to_numpy()
    np.testing.assert_allclose(ours, by_effect.coef_table(ddf=ddf)[["se", "df"]], rtol=1e-5)


def test_unstructured_covariance_has_the_degrees_of_freedom_of_subjects(orthodont):
    # 27 children in two groups: every contrast of one measure a child is a t with 27 - 2.
    fit = mf.gls(
        FIXED,
        orthodont,
        correlation=mf.CorSymm(form="~ 1 | Subject"),
        weights=mf.VarIdent(form="~ 1 | age"),
    )
    table = fit.coef_table(ddf="kenward-roger")
    assert table.attrs["ddf"] == "kenward-roger"
    np.testing.assert_allclose(table["df"], 25.0, rtol=1e-4)


def test_correlation_that_is_not_linear_falls_back_and_says_so(orthodont):
    fit = mf.lme(FIXED, "~ 1 | Subject", orthodont, correlation=mf.CorAR1(form="~ 1 | Subject"))
    table = fit.coef_table(ddf="kenward-roger")
    assert table.attrs["ddf"] == "satterthwaite"
    assert "linear" in table.attrs["note"]


@pytest.mark.parametrize(
    ("options", "linear"),
    [
        ({"weights": mf.VarIdent(form="~ 1 | Sex")}, True),
        ({"weights": mf.VarPower(form="~ age")}, False),
        ({"correlation": mf.CorSymm(form="~ 1 | Subject")}, True),
        ({"correlation": mf.CorAR1(form="~ 1 | Subject")}, False),
    ],
)
def test_linear_families_are_recognised(orthodont, options, linear):
    point = mf.gls(FIXED, orthodont, **options).fit.evaluation
    assert moves_linearly(point) is linear


def test_moments_are_those_of_the_matrices_written_out(orthodont):
    fit = mf.lme(FIXED, "~ age | Subject", orthodont, weights=mf.VarIdent(form="~ 1 | Sex")).fit
    point = fit.evaluation
    tangents = point.likelihood.linear_tangents
    P, Q, T = row_moments(point, tangents)
    rows = point.problem.rows.rows
    identity = np.eye(fit.n)
    whitening = point.whitened.whitening
    together = rows.codes[0][:, None] == rows.codes[0]
    Z, G = rows.Z[0], point.eliminated.T[0] @ point.eliminated.T[0].T
    V = whitening.multiply(identity) + (Z.T @ G @ Z) * together
    D = [V, *((Z.T @ dG @ Z) * together for dG in tangents[0]), *whitening.derivative(identity)]
    inverse, X = np.linalg.inv(V), rows.X.T
    for r, first in enumerate(D):
        np.testing.assert_allclose(P[r], -X.T @ inverse @ first @ inverse @ X, atol=1e-9)
        for s, second in enumerate(D):
            both = inverse @ first @ inverse @ second
            np.testing.assert_allclose(T[r, s], np.trace(both), rtol=1e-8)
            np.testing.assert_allclose(Q[r, s], X.T @ both @ inverse @ X, atol=1e-9)


def test_derivatives_of_the_information_in_the_residual_parameters(orthodont):
    point = mf.lme(
        FIXED, "~ 1 | Subject", orthodont, correlation=mf.CorAR1(form="~ 1 | Subject")
    ).fit.evaluation
    step = np.zeros(len(point.gradient))
    step[-1] = 1e-5
    difference = point.move(step).eliminated.S - point.move(-step).eliminated.S
    np.testing.assert_allclose(
        point.remainder_tangents[-1], difference / 2e-5, rtol=1e-5, atol=1e-6
    )
