"""The bundled data sets: what the catalog says of them is what loads."""

from __future__ import annotations

import importlib.resources
import json

import numpy as np
import pandas as pd
import pytest

from mixedfit import datasets
from mixedfit.errors import DataError

FOLDER = importlib.resources.files("mixedfit.data")
CATALOG = json.loads((FOLDER / "catalog.json").read_text(encoding="utf-8"))
COLUMNS = [(name, column) for name, entry in CATALOG.items() for column in entry["columns"]]

ROWS_AND_GROUPS = {
    "sleepstudy": (180, "Subject", 18),
    "mathachieve": (7185, "School", 160),
    "insteval": (73421, "s", 2972),
    "orthodont": (108, "Subject", 27),
    "grouseticks": (403, "BROOD", 118),
    "verbagg": (7584, "id", 316),
}
MEANS = {
    ("sleepstudy", "Reaction"): 298.5078920,
    ("dyestuff", "Yield"): 1527.5,
    ("dyestuff2", "Yield"): 5.6656,
    ("rail", "travel"): 66.5,
    ("penicillin", "diameter"): 22.97222,
    ("orthodont", "distance"): 24.02315,
    ("mathachieve", "MathAch"): 12.747853,
    ("insteval", "y"): 3.205745,
}


@pytest.fixture(scope="module")
def frames() -> dict[str, pd.DataFrame]:
    return {name: datasets.load(name) for name in datasets.list()}


def test_list_is_the_catalog_in_order():
    assert datasets.list() == sorted(CATALOG)


def test_every_file_is_in_the_catalog():
    files = {file.name for file in FOLDER.iterdir() if ".csv" in file.name}
    assert files == {entry["file"] for entry in CATALOG.values()}


@pytest.mark.parametrize("name", CATALOG)
def test_rows_and_columns(frames, name):
    assert frames[name].shape == (CATALOG[name]["rows"], len(CATALOG[name]["columns"]))
    assert [*frames[name].columns] == [*CATALOG[name]["columns"]]


@pytest.mark.parametrize(("name", "column"), COLUMNS)
def test_column_is_as_the_catalog_says(frames, name, column):
    values, entry = frames[name][column], CATALOG[name]["columns"][column]
    assert values.notna().all()
    if entry["type"] == "categorical":
        levels = [*values.cat.categories]
        if entry["levels"] == "sorted":
            assert levels == sorted(set(values), key=int)
        else:
            assert levels == entry["levels"]
        assert all(isinstance(level, str) for level in levels)
        assert values.cat.ordered == entry["ordered"]
        assert set(values) == set(levels)
    elif entry["type"] == "string":
        assert pd.api.types.is_string_dtype(values.dtype)
    else:
        assert values.dtype == {"numeric": np.float64, "integer": np.int64}[entry["type"]]
        assert np.isfinite(values).all()


@pytest.mark.parametrize("name", CATALOG)
def test_title_source_and_descriptions_are_told(frames, name):
    entry = CATALOG[name]
    assert entry["title"].endswith(".")
    assert "\n" not in entry["title"]
    assert len(entry["source"]) > 20
    assert all(column["description"] for column in entry["columns"].values())
    assert frames[name].attrs == {"title": entry["title"], "source": entry["source"]}


@pytest.mark.parametrize(("name", "column"), COLUMNS)
def test_numbers_have_a_unit(name, column):
    entry = CATALOG[name]["columns"][column]
    if entry["type"] == "numeric":
        assert entry["unit"]
    if entry["type"] == "string":
        assert entry["unit"] is None


@pytest.mark.parametrize(("name", "expected"), ROWS_AND_GROUPS.items())
def test_known_sizes(frames, name, expected):
    rows, group, levels = expected
    assert len(frames[name]) == rows
    assert frames[name][group].nunique() == levels


@pytest.mark.parametrize(("where", "mean"), MEANS.items())
def test_known_means(frames, where, mean):
    name, column = where
    assert frames[name][column].mean() == pytest.approx(mean, rel=1e-6)


def test_derived_columns_agree_with_what_they_are_derived_from(frames):
    owls, ticks, bcg = frames["owls"], frames["grouseticks"], frames["bcg"]
    np.testing.assert_allclose(owls["logBroodSize"], np.log(owls["BroodSize"]), rtol=1e-12)
    centred = ticks["HEIGHT"] - ticks["HEIGHT"].mean()
    np.testing.assert_allclose(ticks["cHEIGHT"], centred, atol=1e-10)
    treated, control = bcg["tpos"] + bcg["tneg"], bcg["cpos"] + bcg["cneg"]
    log_ratio = np.log(bcg["tpos"] / treated) - np.log(bcg["cpos"] / control)
    np.testing.assert_allclose(bcg["yi"], log_ratio, atol=1e-11)
    variance = 1 / bcg["tpos"] - 1 / treated + 1 / bcg["cpos"] - 1 / control
    np.testing.assert_allclose(bcg["vi"], variance, atol=1e-11)


def test_a_level_spelled_none_is_not_missing(frames):
    assert (frames["alfalfa"]["Date"] == "None").sum() == 18


def test_loads_are_independent():
    first, second = datasets.load("rail"), datasets.load("rail")
    first.loc[0, "travel"] = -1.0
    first.attrs["title"] = "changed"
    assert second.loc[0, "travel"] == 55.0
    assert datasets.load("rail").equals(second)
    assert datasets.load("rail").attrs == second.attrs


def test_an_unknown_name_is_answered_with_close_ones():
    with pytest.raises(DataError, match="no data set 'sleepstudie'; did you mean 'sleepstudy'"):
        datasets.load("sleepstudie")
    with pytest.raises(DataError, match="did you mean 'insteval'"):
        datasets.describe("InstEval")
    with pytest.raises(DataError, match=r"datasets\.list\(\)"):
        datasets.load("zzz")


@pytest.mark.parametrize("name", CATALOG)
def test_each_data_set_is_a_documented_function(frames, name):
    function = getattr(datasets, name)
    assert function is getattr(datasets, name)
    assert function.__name__ == name
    lines = function.__doc__.splitlines()
    assert lines[0] == CATALOG[name]["title"]
    text = " ".join(function.__doc__.split())
    assert " ".join(CATALOG[name]["source"].split()) in text
    for column, entry in CATALOG[name]["columns"].items():
        line = next(line for line in lines if line.startswith(f"{column} : "))
        assert entry["unit"] is None or line.endswith(entry["unit"])
        assert entry["description"] in text


def test_the_function_loads():
    pd.testing.assert_frame_equal(datasets.sleepstudy(), datasets.load("sleepstudy"))
    from mixedfit.datasets import rail  # noqa: PLC0415

    assert len(rail()) == 18


def test_an_unknown_attribute_is_an_attribute_error():
    with pytest.raises(AttributeError, match="did you mean 'sleepstudy'"):
        _ = datasets.sleepstudie
    assert not hasattr(datasets, "__wrapped__")


def test_dir_lists_functions_and_data_sets():
    assert dir(datasets) == sorted(["describe", "list", "load", *CATALOG])


@pytest.mark.parametrize("name", CATALOG)
def test_describe_has_a_line_for_each_column(name):
    text = datasets.describe(name)
    lines = text.splitlines()
    assert lines[0] == CATALOG[name]["title"]
    assert f"Rows: {CATALOG[name]['rows']}" in lines
    table = lines[lines.index("") + 1 :]
    assert len(table) == len(CATALOG[name]["columns"])
    for line, (column, entry) in zip(table, CATALOG[name]["columns"].items(), strict=True):
        assert line.startswith(f"{column} ")
        assert f" {entry['unit'] or '-'} " in line
        assert entry["description"] in line


def test_describe_names_few_levels_and_counts_many():
    assert datasets.describe("cake").count("levels 175 < 185 < 195 < 205 < 215 < 225") == 1
    assert "child, M for boys and F for girls; ordered, 27 levels" in datasets.describe("orthodont")


def test_compressed_files_carry_no_time():
    compressed = [file for file in FOLDER.iterdir() if file.name.endswith(".gz")]
    assert compressed
    for file in compressed:
        assert file.read_bytes()[4:8] == bytes(4)


def test_the_folder_is_small():
    assert sum(len(f.read_bytes()) for f in FOLDER.iterdir() if f.is_file()) < 1_000_000
