"""Forms of residual structures, read and written."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mixedfit.correlation import CorAR1, CorCAR1
from mixedfit.errors import DataError, MixedfitError
from mixedfit.frames import read_frame
from mixedfit.residual import bind_residual
from mixedfit.residual_form import classify, parse_form
from mixedfit.variance_function import VarPower
from tests.residual_cases import CLASSES, bind_to_ties, dense


def test_covariates_may_be_arithmetic() -> None:
    frame = read_frame({"t": [2.0, 4.0, 8.0], "x": [1.0, 2.0, 3.0]}, ["t", "x"])
    halved = bind_residual(CorAR1(0.5, form="~ t/2"), None, frame)
    assert halved is not None
    np.testing.assert_allclose(dense(halved, halved.start)[0], [1.0, 0.5, 0.125])
    data = {"f": pd.Categorical(["u", "w", "v"], ["u", "v", "w"])}
    coded = bind_residual(CorAR1(0.5, form="~ as.integer(f)"), None, read_frame(data, ["f"]))
    assert coded is not None
    np.testing.assert_allclose(dense(coded, coded.start)[0], [1.0, 0.25, 0.5])
    power = bind_residual(None, VarPower(2.0, form="~ (x - 4)^2"), frame)
    assert power is not None
    np.testing.assert_allclose(power.at(power.start).sd, [81.0, 16.0, 1.0])


def test_structures_read_as_they_are_written() -> None:
    for call in (
        "CorAR1(0.2, form='~ t | g')",
        "CorARMA(form='~ t | g', p=1, q=2)",
        "CorExp([2.0, 0.1], form='~ x + y', nugget=True)",
        "VarComb(VarIdent(form='~ 1 | s'), VarPower(form='~ x'))",
        "VarConstPower(0.1, form='~ x', fixed={'power': 1.0})",
    ):
        assert repr(eval(call, CLASSES)) == call


def test_a_covariate_of_labels_is_told_where_groups_stand() -> None:
    data = {"t": [1.0, 2.0, 3.0], "f": ["u", "v", "w"]}
    with pytest.raises(DataError, match=r"'f' holds labels; groups stand right of a bar"):
        bind_residual(CorAR1(0.5, form="~ t + f"), None, read_frame(data, ["t", "f"]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CorCAR1(form="~ u | g"), "must be numeric"),
        (lambda: CorAR1(form="t | g"), "one-sided formula"),
        (lambda: CorAR1(form=["~ t"]), "one-sided formula"),
        (lambda: CorAR1(form="~ t | "), "incomplete"),
    ],
)
def test_bad_forms_are_told(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(MixedfitError, match=message):
        bind_to_ties(make)


@pytest.mark.parametrize(
    ("text", "covariate", "groups"),
    [
        ("~ 1", None, ()),
        ("~ t", "t", ()),
        ("~ 1 | g", None, ("g",)),
        ("~ t | g", "t", ("g",)),
        ("~ x | a*b", "x", ("a", "b")),
        ("~ x | a/b", "x", ("a", "b")),
    ],
)
def test_forms_name_a_covariate_and_groups(
    text: str, covariate: str | None, groups: tuple[str, ...]
) -> None:
    form = parse_form(text, "CorAR1")
    assert form.groups == groups
    assert form.variables == ((covariate,) if covariate else ()) + groups
    assert (form.covariate is None) == (covariate is None)


def test_classes_are_combinations_in_use_in_the_order_of_their_levels() -> None:
    data = {
        "f": pd.Categorical(["w", "u", "w", "u", "w"], ["w", "v", "u"]),
        "n": [8.0, 10.0, 10.0, 8.0, 8.0],
    }
    frame = read_frame(data, ["f", "n"])
    classes = classify(["f", "n"], frame)
    assert classes.labels == ("w*8", "w*10", "u*8", "u*10")
    assert classes.codes.tolist() == [0, 3, 1, 2, 0]
    assert classify(["f"], frame).labels == ("w", "u")
    everything = classify([], frame)
    assert everything.labels == ("",)
    assert not everything.codes.any()


def test_missing_groups_are_told() -> None:
    frame = read_frame({"g": ["a", None, "b"]}, ["g"])
    with pytest.raises(DataError, match="grouping column 'g' has missing values"):
        classify(["g"], frame)
