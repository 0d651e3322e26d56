import numpy as np
import pandas as pd
import pytest

import mixedfit as mf
from mixedfit import datasets
from mixedfit.correlation import CorCompSymm
from mixedfit.design import Design
from mixedfit.fit import fit_design
from mixedfit.formula import parse
from tests.cases import PATTERNS


def fit(formula, data, method="REML"):
    return fit_design(Design.build(parse(formula), data), method)


def test_optimal_has_no_slope_and_a_positive_definite_hessian():
    optimum = fit("Reaction ~ Days + (Days | Subject)", datasets.load("sleepstudy")).optimum
    assert optimum.status == "optimal"
    assert optimum.decrement < 1e-10
    assert np.abs(optimum.gradient).max() < 1e-4
    assert optimum.smallest_eigenvalue > 1.0
    assert optimum.singular == ()


def test_a_variance_of_zero_is_exactly_zero_and_pays():
    result = fit("Yield ~ 1 + (1 | Batch)", datasets.load("dyestuff2"))
    assert result.optimum.status == "boundary"
    assert result.estimate.theta.tolist() == [0.0]
    assert len(result.optimum.singular) == 1
    # The criterion rises inside: its derivative in the variance is positive.
    assert result.evaluation.adjoint.G[0][0, 0] > 0.0


def perfectly_correlated(rng):
    """Slopes proportional to intercepts, so that one direction of G has no variance."""
    J, m = 30, 8
    g = np.repeat(np.arange(J), m)
    x = rng.standard_normal(J * m)
    u = rng.standard_normal(J)
    y = u[g] * (2.0 + 1.5 * x) + rng.standard_normal(J * m)
    return pd.DataFrame({"y": y, "x": x, "g": g})


def test_a_correlation_of_one():
    found = []
    for seed in range(6):
        result = fit("y ~ x + (x | g)", perfectly_correlated(np.random.default_rng(seed)))
        if result.optimum.status == "boundary":
            found.append(result)
    assert found
    for result in found:
        (C,) = result.estimate.covariances
        assert C[0, 1] / np.sqrt(C[0, 0] * C[1, 1]) == pytest.approx(1.0, abs=1e-10)
        (direction,) = result.optimum.singular
        T = result.likelihood.factors(result.optimum.states)[0]
        np.testing.assert_allclose(direction.weights @ T, 0.0, atol=1e-8)
        assert result.optimum.smallest_eigenvalue > 0.0


def test_a_zero_start_is_left():
    data = datasets.load("sleepstudy")
    design = Design.build(parse("Reaction ~ Days + (Days | Subject)"), data)
    for theta in ([1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]):
        assert fit_design(design, start=theta).optimum.fun == pytest.approx(1743.62827197, abs=1e-6)


def test_a_shared_variance_is_told():
    optimum = fit_design(PATTERNS["four columns"].design()).optimum
    assert "only the sum" not in optimum.message
    from tests.cases import Pattern  # noqa: PLC0415

    shared = fit_design(Pattern("y ~ f + (f || g)").design()).optimum
    assert shared.status in ("optimal", "boundary")
    assert "only the sum is determined" in shared.message


def test_a_correlation_that_repeats_a_random_effect_is_no_optimum():
    data = mf.datasets.load("orthodont")
    fit = mf.lme("distance ~ age", "~ 1 | Subject", data, correlation=CorCompSymm())
    assert fit.status == "stalled"
    assert "flat in some direction" in fit.optimum.message


def test_a_nugget_that_vanishes_is_a_boundary_that_is_named():
    rng = np.random.default_rng(6)
    t = np.arange(60.0)
    C = np.exp(-np.abs(t[:, None] - t) / 5.0)
    data = pd.DataFrame({"t": t, "y": np.linalg.cholesky(C) @ rng.standard_normal(60)})
    fit = mf.gls("y ~ 1", data, correlation=mf.CorExp(form="~ t", nugget=True))
    assert fit.residual_params["nugget"] < 1e-4
    assert fit.status == "boundary"
    assert "nugget" in fit.optimum.message
    without = mf.gls("y ~ 1", data, correlation=mf.CorExp(form="~ t"))
    assert fit.llf == pytest.approx(without.llf, abs=1e-5)
