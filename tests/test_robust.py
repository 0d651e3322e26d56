import json
from functools import cache

import numpy as np
import pytest
from scipy import linalg

import mixedfit as mf
from mixedfit.errors import DataError, MixedfitError
from mixedfit.robust import default_cluster, robust_inference
from tests import references

EXPECTED = json.loads((references.ROOT / "expected" / "robust.json").read_text(encoding="utf-8"))
KINDS = ("CR0", "CR1", "CR2")


@cache
def fitted(name):
    if name.startswith("sleep"):
        data = references.data("sleepstudy")
        data = data.drop(data.index[[2, 16, 17, 39, 40, 41, 42, 98, 169]])
        if name == "sleep_weights":
            return mf.lmer("Reaction ~ Days * grp + (1 | Subject)", data, weights="w")
        return mf.lmer("Reaction ~ Days + (Days | Subject)", data)
    if name == "math":
        data = references.data("mathachieve")
        data = data[data["School"].cat.codes < 40]
        return mf.lmer("MathAch ~ Sector * cSES + MEANSES + (cSES | School)", data)
    if name == "alfalfa":
        formula = "Yield ~ Date * Variety + (1 | Block/Variety)"
        return mf.lmer(formula, references.data("alfalfa"))
    return mf.lmer("strength ~ 1 + (1 | batch/cask)", references.data("pastes"))


# -- against R -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sleep", "sleep_weights", "math", "alfalfa", "pastes"])
@pytest.mark.parametrize("kind", KINDS)
def test_covariance_and_degrees_of_freedom_are_clubsandwichs(name, kind):
    fit, want = fitted(name), EXPECTED[name][kind]
    theirs, ours = [references.spelling(n) for n in EXPECTED[name]["fixef"]], fit.params.index
    order = [theirs.index(references.spelling(n)) for n in ours]
    V = np.atleast_2d(want["vcov"])[np.ix_(order, order)]
    sd = np.sqrt(V.diagonal())
    inferred = robust_inference(fit.fit, kind)
    np.testing.assert_allclose(
        inferred.covariance / np.outer(sd, sd), V / np.outer(sd, sd), atol=2e-4
    )
    df = np.atleast_1d(want["df"])[order]
    np.testing.assert_allclose(inferred.df(np.eye(fit.fit.p)), df, rtol=1e-3)
    if fit.fit.p > 1:
        C = np.array(EXPECTED[name]["joint"])[:, order]
        joint = inferred.joint(C)
        assert joint.num_df == 2
        np.testing.assert_allclose(joint.F, want["F"], rtol=1e-3)
        np.testing.assert_allclose(joint.den_df, want["den_df"], rtol=2e-3)
