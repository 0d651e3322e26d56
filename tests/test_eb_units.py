"""What a user gives for each unit."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import mixedfit as mf
from mixedfit.eb.units import read_covariates
from mixedfit.errors import DataError

X = [1.0, 3.0, 2.0, 5.0]


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (X, "x1"),
        (np.array(X), "x1"),
        (pd.Series(X, name="age"), "age"),
        (pl.Series("age", X), "age"),
        (pa.chunked_array([X]), "x1"),
        (pd.DataFrame({"age": X}), "age"),
        (pl.DataFrame({"age": X}), "age"),
        (pa.table({"age": X}), "age"),
        ({"age": X}, "age"),
    ],
)
def test_covariates_of_every_kind(given, name):
    matrix, names = read_covariates(given, 4)
    assert names == ["Intercept", name]
    assert matrix.tolist() == [[1.0, x] for x in X]


def test_text_is_refused_without_a_chain_of_errors():
    with pytest.raises(DataError, match="estimate must be numbers") as caught:
        mf.eb.normal_means(list("abcd"), np.ones(4))
    assert caught.value.__suppress_context__
    assert caught.value.__cause__ is None
