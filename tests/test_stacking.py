"""Stacking of responses."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from scipy.stats import multivariate_normal

import mixedfit as mf
from mixedfit.errors import DataError
from mixedfit.stacking import stack_responses

WIDE = pd.DataFrame(
    {"y1": [1.0, np.nan], "y2": [3, 4], "g": ["a", "b"], "when": pd.to_datetime(["2020", "2021"])}
)


def test_rows_stand_next_to_each_other() -> None:
    before = WIDE.copy()
    long = stack_responses(WIDE, ["y2", "y1"])
    assert list(long.columns) == ["row", "response", "value", "g", "when"]
    assert long["row"].tolist() == [0, 0, 1, 1]
    assert long["response"].cat.categories.tolist() == ["y2", "y1"]
    np.testing.assert_array_equal(long["value"], [3.0, 1.0, 4.0, np.nan])
    assert long["g"].tolist() == ["a", "a", "b", "b"]
    pd.testing.assert_frame_equal(WIDE, before)


def test_other_frames_and_names() -> None:
    long = stack_responses(
        {"a": [1], "b": [2], "row": ["r"]}, ["a", "b"], row="unit", response="what", value="y"
    )
    assert long.to_dict("list") == {
        "unit": [0, 0],
        "what": ["a", "b"],
        "y": [1.0, 2.0],
        "row": ["r", "r"],
    }


@pytest.mark.parametrize(
    ("responses", "message"),
    [
        (["y1"], "two or more"),
        ("y1", "two or more"),
        (["y1", "y1"], "two or more"),
        (["y1", "y3"], "no column 'y3'"),
        (["y1", "g"], "must be numeric"),
    ],
)
def test_bad_responses_are_told(responses: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        stack_responses(WIDE, responses)  # type: ignore[arg-type]


def test_columns_are_not_overwritten() -> None:
    with pytest.raises(DataError, match="already; name the new ones otherwise, as in row='row_'"):
        stack_responses(WIDE.assign(row=1), ["y1", "y2"])


def test_bivariate_hierarchical_normal_model() -> None:
    """m_l ~ N(mu, V), y_i ~ N(m_l[i], Sigma): the fit is the dense density's maximum."""
    rng = np.random.default_rng(8)
    V, Sigma = np.array([[1.0, 0.5], [0.5, 2.0]]), np.array([[0.5, -0.2], [-0.2, 1.5]])
    group = np.repeat(np.arange(20), rng.integers(2, 5, 20))
    means = rng.multivariate_normal([1.0, 2.0], V, 20)
    y = means[group] + rng.multivariate_normal([0.0, 0.0], Sigma, len(group))
    wide = pd.DataFrame({"y1": y[:, 0], "y2": y[:, 1], "group": group})
    long = stack_responses(wide, ["y1", "y2"])
    fit = mf.lme(
        "value ~ 0 + response",
        "~ 0 + response | group",
        long,
        method="ML",
        correlation=mf.CorSymm(form="~ response | group/row"),
        weights=mf.VarIdent(form="~ 1 | response"),
    )
    assert fit.status == "optimal"
    between = fit.varcorr.cov["group"].to_numpy()
    rho, ratio = fit.residual_params
    sd = fit.sigma * np.array([1.0, ratio])
    within = np.outer(sd, sd) * np.array([[1.0, rho], [rho, 1.0]])
    same = group[:, None] == group

    def density(mean: np.ndarray, V: np.ndarray, Sigma: np.ndarray) -> float:
        covariance = np.kron(same, V) + np.kron(np.eye(len(group)), Sigma)
        return float(multivariate_normal(np.tile(mean, len(group)), covariance).logpdf(y.ravel()))

    assert fit.llf == pytest.approx(density(fit.params.to_numpy(), between, within), rel=1e-9)
    for scale in (0.98, 1.02):
        assert density(scale * fit.params.to_numpy(), between, within) < fit.llf
        assert density(fit.params.to_numpy(), scale * between, within) < fit.llf
        assert density(fit.params.to_numpy(), between, scale * within) < fit.llf
    first = int(np.sum(group == 0))
    np.testing.assert_allclose(
        fit.marginal_cov(0, "conditional"), np.kron(np.eye(first), within), atol=1e-9
    )
    by_row = mf.CorSymm(form="~ response | row")
    again = mf.lme(
        "value ~ 0 + response",
        "~ 0 + response | group",
        long,
        method="ML",
        correlation=by_row,
        weights=mf.VarIdent(form="~ 1 | response"),
    )
    assert again.llf == pytest.approx(fit.llf, abs=1e-9)


def test_other_columns_of_any_frame_are_carried_along_as_they_are() -> None:
    wide = WIDE.assign(ok=[True, False], f=pd.Categorical(["u", "v"]))
    expected = stack_responses(wide, ["y1", "y2"])
    columns = {name: column.to_numpy() for name, column in wide.items()}
    for given in (
        pl.from_pandas(wide),
        pa.Table.from_pandas(wide),
        columns | {"f": wide["f"]},
    ):
        long = stack_responses(given, ["y1", "y2"])
        pd.testing.assert_frame_equal(long, expected, check_dtype=False)
        assert long["ok"].dtype == bool
        assert long["when"].dtype.kind == "M"
    with pytest.raises(DataError, match="'g' has 1 rows where others have 2"):
        stack_responses(columns | {"g": ["a"]}, ["y1", "y2"])
