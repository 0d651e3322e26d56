import numpy as np
import pytest

import mixedfit as mf
from mixedfit.fit import fit_design
from mixedfit.reduction import reductions, without
from tests.cases import frame


def _labels(formula, data=None):
    return [
        r.label for r in reductions(mf.lmer(formula, frame() if data is None else data).fit.design)
    ]


@pytest.mark.parametrize(
    ("formula", "labels"),
    [
        ("y ~ x + (1 | g)", ["(1 | g)"]),
        ("y ~ x + (x | g)", ["x in (x | g)"]),
        ("y ~ x + (x + z | g)", ["x in (x + z | g)", "z in (x + z | g)"]),
        ("y ~ x + (0 + x | g)", ["(0 + x | g)"]),
        ("y ~ x + (x || g)", ["(1 | g)", "(0 + x | g)"]),
    ],
)
def test_slopes_go_first(formula, labels):
    assert _labels(formula) == labels


def test_interactions_go_before_what_they_contain_and_factors_as_a_whole():
    machines = mf.datasets.load("machines")
    rng = np.random.default_rng(0)
    machines = machines.assign(x=rng.standard_normal(len(machines)))
    assert _labels("score ~ Machine + (Machine | Worker)", machines) == [
        "Machine in (Machine | Worker)"
    ]
    assert _labels("score ~ Machine + diag(Machine | Worker)", machines)[0].startswith("Machine in")
    data = frame().assign(u=lambda d: d["x"] * d["z"])
    assert _labels("y ~ x + (x * z | g)", data) == ["x:z in (x * z | g)"]


@pytest.mark.parametrize(
    ("formula", "smaller"),
    [
        ("y ~ x + (x + z | g)", ["y ~ x + (z | g)", "y ~ x + (x | g)"]),
        ("y ~ x + (x | g)", ["y ~ x + (1 | g)"]),
        ("y ~ x + (x | g) + (1 | h)", ["y ~ x + (1 | g) + (1 | h)", "y ~ x + (x | g)"]),
    ],
)
def test_reduced_designs_are_those_of_the_smaller_formula(formula, smaller):
    design = mf.lmer(formula, frame()).fit.design
    for reduction, other in zip(reductions(design), smaller, strict=True):
        reduced = fit_design(without(design, reduction))
        assert reduced.llf == pytest.approx(mf.lmer(other, frame()).llf, abs=1e-7)


def test_a_factor_alone_gives_way_to_an_intercept():
    machines = mf.datasets.load("machines")
    design = mf.lmer("score ~ Machine + (0 + Machine | Worker)", machines).fit.design
    (reduction,) = reductions(design)
    reduced = fit_design(without(design, reduction))
    want = mf.lmer("score ~ Machine + (1 | Worker)", machines)
    assert reduced.llf == pytest.approx(want.llf, abs=1e-7)
    assert without(design, reduction).terms[0].names == ("Intercept",)


def test_the_only_term_leaves_a_design_without_random_effects():
    design = mf.lmer("y ~ x + (1 | g)", frame()).fit.design
    (reduction,) = reductions(design)
    assert without(design, reduction).terms == ()
    assert without(design, reduction).factors == ()
