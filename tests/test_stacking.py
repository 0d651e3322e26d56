"""Stacking of responses."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

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
