from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from mixedfit.covariance import AR1, BlockDiagonal, CompoundSymmetry, Diagonal, Unstructured
from mixedfit.fit import Fit, fit_design
from mixedfit.variance_parameters import (
    has_plain_residuals,
    parameter_covariance,
    parameter_gradients,
    parameter_values,
    variance_parameters,
)
from mixedfit.vcov import component_covariance, standard_errors_of_sds

from .cases import PATTERNS


def fitted(name: str) -> Fit:
    return fit_design(PATTERNS[name].design(), "REML")


def labels(name: str) -> list[str]:
    return [p.label for p in variance_parameters(fitted(name))]


def test_labels() -> None:
    assert labels("slope") == [
        "sd[g, Intercept]",
        "sd[g, x]",
        "cor[g, Intercept, x]",
        "sigma",
    ]
    assert labels("double bar") == ["sd[g, Intercept]", "sd[g, x]", "sigma"]
    assert labels("nested") == ["sd[a:b, Intercept]", "sd[a, Intercept]", "sigma"]
    assert labels("common variance") == ["sd[g, f[lo]..f[top]]", "sigma"]
    assert labels("cs")[-2:] == ["cor[g, f[lo]..f[top]]", "sigma"]
    assert len(labels("cs")) == 6
    assert labels("ar1") == ["sd[g, f[lo]..f[top]]", "cor[g, f[lo]..f[top]]", "sigma"]


@pytest.mark.parametrize(
    "structure",
    [
        Unstructured(4),
        Diagonal(3),
        Diagonal(3, homogeneous=True),
        CompoundSymmetry(4),
        CompoundSymmetry(4, homogeneous=True),
        AR1(4),
        AR1(4, homogeneous=False),
        BlockDiagonal((Unstructured(2), Diagonal(2))),
    ],
    ids=repr,
)
def test_as_many_parameters_as_coordinates(structure):
    design = PATTERNS["four columns"].design()
    term = design.terms[0]
    k = structure.size
    names = term.recipe.names[:k]
    recipe = replace(term.recipe, names=names)
    term = replace(term, structure=structure, Z=term.Z[:, :k], recipe=recipe)
    design = replace(design, terms=(term,))

    found = variance_parameters(SimpleNamespace(design=design))
    assert len(found) == structure.n_params + 1
    assert len({p.label for p in found}) == len(found)


def moved(fit: Fit, step: np.ndarray) -> Fit:
    other = Fit(fit.design, fit.method, fit.optimum)
    other.__dict__["evaluation"] = fit.evaluation.move(step)
    return other


@pytest.mark.parametrize("name", ["slope", "double bar", "crossed slopes", "nested"])
def test_gradients(name: str) -> None:
    fit = fitted(name)
    r = len(fit.evaluation.gradient)
    fit = moved(fit, 0.03 + np.zeros(r))  # inside, wherever the optimum is
    parameters = variance_parameters(fit)
    gradients = parameter_gradients(fit, parameters)
    h = 1e-6
    like = fit.likelihood
    for i, e in enumerate(np.eye(r)):
        ahead, behind = moved(fit, h * e), moved(fit, -h * e)
        change = (parameter_values(ahead) - parameter_values(behind)) / (2 * h)
        # sigma follows the coordinates there; hold it fixed here
        sigma = np.log([ahead.estimate.sigma, behind.estimate.sigma])
        kinds = [p.kind for p in parameters]
        scaled = parameter_values(fit) * (sigma[0] - sigma[1]) / (2 * h)
        change -= np.where(np.array(kinds) == "cor", 0.0, scaled)
        np.testing.assert_allclose(gradients[:, i], change, rtol=1e-6, atol=1e-7)
    of_scale = np.where([p.kind == "cor" for p in parameters], 0.0, 0.5 * parameter_values(fit))
    np.testing.assert_allclose(gradients[:, -1], of_scale, rtol=1e-12)
    assert like.n_params == r


def test_covariance_agrees_with_that_of_the_standard_deviations() -> None:
    fit = fitted("slope")
    parameters = variance_parameters(fit)
    se = np.sqrt(np.diag(parameter_covariance(fit, parameters)))
    random, residual = standard_errors_of_sds(fit)
    np.testing.assert_allclose(se[:2], random[0], rtol=1e-9)
    np.testing.assert_allclose(se[-1], residual, rtol=1e-9)
    assert component_covariance(fit.evaluation).shape == (4, 4)


def test_parameters_at_their_limits_have_no_gradient() -> None:
    rng = np.random.default_rng(0)
    design = PATTERNS["intercept"].design()
    y = rng.standard_normal(design.n)
    for factor in design.factors:  # no variance between levels
        means = np.bincount(factor.codes, y) / np.bincount(factor.codes)
        y -= means[factor.codes]
    fit = fit_design(design.with_response(y), "REML")
    assert fit.optimum.singular
    gradients = parameter_gradients(fit, variance_parameters(fit))
    assert np.isnan(gradients[0]).all()
    assert np.isfinite(gradients[1]).all()


def test_plain_residuals() -> None:
    fit = fitted("slope")
    assert has_plain_residuals(fit)
    longer = replace(fit.optimum, gradient=np.zeros(9))  # as with a residual structure
    assert not has_plain_residuals(replace(fit, optimum=longer))
