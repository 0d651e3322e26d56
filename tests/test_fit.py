import pickle

import numpy as np
import pytest

import mixedfit as mf
from mixedfit.errors import ModelError
from mixedfit.fit import fit_design
from mixedfit.optimize import Control, minimise
from tests.cases import PATTERNS, frame


@pytest.fixture(params=PATTERNS, ids=str)
def name(request):
    return request.param


@pytest.mark.parametrize("method", ["REML", "ML"])
def test_no_other_start_ends_lower(name, method):
    fit = fit_design(PATTERNS[name].design(), method)
    assert fit.optimum.status in ("optimal", "boundary")
    rng = np.random.default_rng(0)
    for scale in (0.1, 1.0, 3.0):
        states = []
        for _, structure in fit.likelihood.structures:
            F = scale * rng.standard_normal((structure.size, structure.size + 1))
            states.append(structure.start(F @ F.T + 1e-4 * np.eye(structure.size)))
        other = minimise(fit.likelihood.at(tuple(states)))
        assert fit.optimum.fun <= other.point.fun + 1e-6


def test_a_start_given_as_theta_ends_at_the_same_place(name):
    design = PATTERNS[name].design()
    fit = fit_design(design)
    theta = fit.estimate.theta
    again = fit_design(design, start=theta)
    assert again.optimum.fun == pytest.approx(fit.optimum.fun, abs=1e-7)
    assert again.optimum.nfev <= 4
    with pytest.raises(ModelError, match=f"the {len(theta)} finite numbers of theta"):
        fit_design(design, start=np.append(theta, 1.0))


def test_a_search_cut_short_is_stalled_and_says_where():
    fit = fit_design(PATTERNS["crossed slopes"].design(), control=Control(max_evaluations=1))
    assert fit.optimum.status == "stalled"
    assert "stopped after 1 evaluations" in fit.optimum.message
    assert "| g)" in fit.optimum.message or "| h)" in fit.optimum.message
    assert fit.optimum.decrement > 0.0


def test_pickling_keeps_the_answer_and_leaves_the_scratch_behind():
    fit = fit_design(PATTERNS["crossed slopes"].design())
    text = pickle.dumps(fit)
    assert "evaluation" not in fit.__getstate__()
    again = pickle.loads(text)
    assert again.optimum.fun == fit.optimum.fun
    np.testing.assert_allclose(again.estimate.beta, fit.estimate.beta, rtol=1e-10)
    np.testing.assert_allclose(again.estimate.theta, fit.estimate.theta, rtol=1e-10)


def test_one_evaluation_does_not_depend_on_the_number_of_rows():
    small = fit_design(PATTERNS["slope"].design(frame(500)))
    large = fit_design(PATTERNS["slope"].design(frame(50_000)))
    shapes = [
        [array.shape for array in (f.likelihood.products.factors[0].ZZ, f.likelihood.products.EE)]
        for f in (small, large)
    ]
    assert shapes[0] == shapes[1]


def test_controls_and_starts_of_another_kind_are_refused():
    data = mf.datasets.load("dyestuff")
    with pytest.raises(ModelError, match=r"control must be mf.Control\(...\), not dict"):
        mf.lmer("Yield ~ 1 + (1 | Batch)", data, control={"tolerance": 1e-3})
    with pytest.raises(ModelError, match="start must hold the numbers of theta, not 'a'"):
        mf.lmer("Yield ~ 1 + (1 | Batch)", data, start="a")
