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


Y, SE = np.array([1.0, 4.0, 2.5, 9.0]), np.array([0.5, 0.6, 1.0, 0.4])


@pytest.mark.parametrize("new", [pa.table({"a": X[:2]}), pl.DataFrame({"a": X[:2]}), {"a": X[:2]}])
def test_new_units_come_in_every_kind_of_frame(new):
    result = mf.eb.normal_means(Y, SE, X=pa.table({"a": X}))
    np.testing.assert_allclose(result.predict(new)["estimate"], result.predict(X[:2])["estimate"])


def test_columns_by_number_are_found_again_in_new_units():
    result = mf.eb.normal_means(Y, SE, X=pd.DataFrame(np.c_[X]))
    new = pd.DataFrame(np.c_[X[:2]])
    np.testing.assert_allclose(result.predict(new)["estimate"], result.predict(X[:2])["estimate"])


def test_labels_in_covariates_are_refused_with_the_remedy():
    kinds = [list("abab"), pd.Categorical([1, 2, 1, 2])]
    for kind in kinds:
        for verb in (mf.eb.normal_means, mf.eb.gamma_poisson):
            with pytest.raises(DataError, match="column 'f' of X holds labels.*get_dummies"):
                verb([1, 4, 2, 9], 1.0, X=pd.DataFrame({"f": kind}))
    result = mf.eb.normal_means(Y, SE, X={"a": X})
    with pytest.raises(DataError, match="column 'a' of X holds labels"):
        result.predict({"a": ["u"]})
    with pytest.raises(DataError, match="column 'a' of X is missing in 1 unit"):
        result.predict({"a": [1.0, np.nan]})


def test_names_and_labels_that_do_not_name_the_units():
    with pytest.raises(DataError, match="2 columns named 'a'"):
        mf.eb.normal_means(Y, SE, X=pd.DataFrame(np.eye(4)[:, :2], columns=["a", "a"]))
    with pytest.raises(DataError, match="labels must be a sequence"):
        mf.eb.normal_means(Y, SE, labels="abcd")


def test_an_arrow_array_is_one_covariate():
    assert mf.eb.normal_means(Y, SE, X=pa.array(X)).coefficients["term"][1] == "x1"
