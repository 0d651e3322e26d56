import pickle

import pandas as pd
import pytest

from mixedfit.errors import ModelError
from mixedfit.noted import beside, noted


def test_the_note_is_shown_and_kept_apart_from_the_numbers():
    table = noted(pd.DataFrame({"a": [1.0, 2.0], "b": ["x", None]}), "One.", "", "Two.", kind=3)
    assert table.note == "One. Two."
    assert table.attrs["kind"] == 3
    assert repr(table).endswith("\nOne. Two.")
    assert table._repr_html_().endswith("<p>One. Two.</p>")
    assert type(table[["a"]]) is pd.DataFrame
    assert type(table.round(1)) is pd.DataFrame
    again = pickle.loads(pickle.dumps(table))
    assert again.note == table.note
    pd.testing.assert_frame_equal(pd.DataFrame(again), pd.DataFrame(table))


def test_without_a_note_only_the_table_is_shown():
    assert repr(noted(pd.DataFrame({"a": [1.5]}))).split() == ["a", "1.5"]


def test_an_empty_table_says_so():
    assert repr(noted(pd.DataFrame({"a": []}), "Nothing to test.")) == "No rows.\nNothing to test."


def test_a_variable_named_as_a_column_is_refused():
    assert list(beside({"g": ["a"]}, {"t": [1.0]})) == ["g", "t"]
    with pytest.raises(ModelError, match=r"'t' has the name of another column.*\(t, p\)"):
        beside({"t": [0]}, {"t": [1.0], "p": [0.5]})
