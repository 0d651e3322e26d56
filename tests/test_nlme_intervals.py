"""Wald intervals of all variance parameters against nlme's intervals()."""

from __future__ import annotations

import numpy as np
import pytest

import mixedfit as mf
from mixedfit.residual_scale import own_coordinates

from .nlme_calls import nlme_fit
from .references import reference

# nlme takes second derivatives numerically: models whose interval does not move with its step.
NAMES = [
    "gls_dialyzer_varpower_ar1",
    "gls_orthodont_compsymm",
    "gls_orthodont_symm",
    "lme_assay_pdblocked",
    "lme_bodyweight_varexp",
    "lme_disp_varexp",
    "lme_machines_pdcompsymm",
    "lme_machines_pddiag",
    "lme_machines_slope",
    "lme_mathach_varident_sex",
    "lme_orthodont_pddiag",
    "lme_orthodont_slope",
    "lme_ovary_ar1_int",
    "lme_ovary_ma2",
    "lme_sleep_pddiag",
]


@pytest.mark.parametrize("name", NAMES)
def test_variance_parameters(name: str) -> None:
    blocks, fit = reference(name)["intervals"], nlme_fit(name)
    parts = [*(blocks.get("reStruct") or {}).values()]
    parts += [blocks[key] for key in ("corStruct", "varStruct") if key in blocks]
    expected = [row for part in parts for row in zip(part["lower"], part["upper"], strict=True)]
    expected.append((blocks["sigma"]["lower"], blocks["sigma"]["upper"]))
    ours = fit.conf_int().iloc[len(fit.params) :]
    same = np.ones(len(ours), dtype=bool)
    if name == "lme_ovary_ma2":
        # nlme moves both coordinates to their ends at once, which the delta method does not.
        alone = own_coordinates(fit.fit)
        assert alone == [False, True]
        same[-1 - len(alone) : -1] = alone
    np.testing.assert_allclose(ours.to_numpy()[same], np.array(expected)[same], rtol=2e-3)
    assert ours.index[-1] == "sigma"


def test_sigma_alone_has_its_exact_interval() -> None:
    block, fit = reference("gls_dialyzer")["intervals"]["sigma"], nlme_fit("gls_dialyzer")
    ours = fit.conf_int().loc["sigma"]
    np.testing.assert_allclose(ours, [block["lower"], block["upper"]], rtol=1e-7)


def test_residual_parameters_are_named_and_chosen() -> None:
    data = mf.datasets.load("orthodont")
    fit = mf.lme(
        "distance ~ age",
        "~ 1 | Subject",
        data,
        correlation=mf.CorAR1(),
        weights=mf.VarIdent(form="~ 1 | Sex"),
    )
    table = fit.conf_int()
    assert list(table.index[-4:]) == [
        "sd[Subject, Intercept]",
        "residual[Phi]",
        "residual[Female]",
        "sigma",
    ]
    one = fit.conf_int(parameters="residual[Female]")
    np.testing.assert_array_equal(one, table.loc[["residual[Female]"]])
    wide = fit.conf_int(level=0.99)
    assert (wide["lower"] < table["lower"]).all()
