"""Estimates with standard errors, read and refused."""

import numpy as np
import pandas as pd
import pytest

import mixedfit as mf
from mixedfit.errors import DataError, ModelError


@pytest.mark.parametrize(
    ("y", "se", "message"),
    [
        ([1.0, 2.0], [1.0, 0.0], "zero"),
        ([1.0, 2.0], [1.0, -1.0], "negative"),
        ([1.0, np.nan], [1.0, 1.0], "missing"),
        ([1.0, np.inf], [1.0, 1.0], "infinite"),
        ([1.0, 2.0], [1.0, np.inf], "infinite"),
        ([1.0, 2.0], [1.0, 1.0, 1.0], "values"),
        ([], [], "empty"),
        (["a", "b"], 1.0, "numbers"),
    ],
)
def test_bad_estimates_are_named(y, se, message):
    with pytest.raises(DataError, match=message):
        mf.eb.normal_means(y, se)


def test_one_unit_has_nothing_to_learn_from():
    for prior in ("normal", "t", "point-normal"):
        with pytest.raises(ModelError, match="one unit"):
            mf.eb.normal_means(3.0, 1.0, prior=prior)


def test_labels_come_from_a_series():
    y = pd.Series([1.0, 2.0, 4.0], index=["a", "b", "c"])
    assert mf.eb.normal_means(y, 1.0).posterior["label"].tolist() == ["a", "b", "c"]
