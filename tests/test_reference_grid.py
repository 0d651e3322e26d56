import numpy as np
import pandas as pd
import pytest

import mixedfit as mf
from mixedfit import reference_grid
from mixedfit.design import Design
from mixedfit.errors import DataError, ModelError
from mixedfit.formula import parse
from mixedfit.reference_grid import ReferenceGrid
from mixedfit.rows import RowOptions


def data(n=60, seed=5):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "g": rng.integers(0, 8, n),
            "f": pd.Categorical(rng.choice(["b", "a", "c"], n, p=[0.5, 0.3, 0.2]), ["b", "a", "c"]),
            "h": rng.choice(["u", "v"], n),
            "x": rng.standard_normal(n),
            "two": rng.choice([3.0, 7.0], n),
            "k": rng.choice([1, 2, 4], n),
            "yes": rng.random(n) < 0.4,
            "w": rng.uniform(0.5, 2.0, n),
        }
    )
    return frame.assign(y=rng.standard_normal(n))


def grid(formula, at=None, frame=None, **options):
    frame = data() if frame is None else frame
    design = Design.build(parse(f"{formula} + (1 | g)"), frame, RowOptions(**options))
    return ReferenceGrid.of(design, at)


def values(made):
    return {name: list(variable.levels) for name, variable in made.variables.items()}


def test_each_kind_of_variable_has_its_values():
    frame = data()
    made = grid("y ~ f + h + x + two + factor(k) + yes", frame=frame)
    mean = float(frame["x"].mean())
    assert values(made) == {
        "f": ["b", "a", "c"],
        "h": ["u", "v"],
        "x": [mean],
        "two": [3, 7],
        "k": [1, 2, 4],
        "yes": [False, True],
    }
    assert made.n == 3 * 2 * 2 * 3 * 2
    assert made.matrix().shape == (made.n, len(made.design.recipe.names))


def test_the_first_variable_runs_fastest():
    made = grid("y ~ f * h")
    assert made.codes["f"].tolist() == [0, 1, 2, 0, 1, 2]
    assert made.codes["h"].tolist() == [0, 0, 0, 1, 1, 1]


def test_rows_of_the_grid_are_rows_of_the_design():
    frame = data()
    made = grid(
        "y ~ f * poly(x, 2) + log(w)", frame=frame, at={"x": frame["x"][0], "w": frame["w"][0]}
    )
    place = ["b", "a", "c"].index(frame["f"][0])
    np.testing.assert_allclose(made.matrix()[place], made.design.X[0], atol=1e-12)


@pytest.mark.parametrize("weights", ["equal", "proportional", "outer", "cells", "flat"])
def test_weights_sum_to_one(weights):
    average = grid("y ~ f * h * yes + x").averages(["f"], weights)
    assert average.shape == (3, 12)
    np.testing.assert_allclose(average.sum(axis=1), 1.0)


def test_weights_are_what_their_names_say():
    frame = data()
    made = grid("y ~ f * h + yes", frame=frame)
    counts = pd.crosstab([frame["yes"], frame["h"]], frame["f"]).loc[:, ["b", "a", "c"]]
    cells = made.averages(["f"], "cells").toarray()[0].reshape(2, 2, 3)[:, :, 0]
    np.testing.assert_allclose(cells.ravel(), counts["b"] / counts["b"].sum())
    joint = made.averages(["f"], "proportional").toarray()[0].reshape(2, 2, 3)[:, :, 0]
    np.testing.assert_allclose(joint.ravel(), counts.sum(axis=1) / len(frame))
    outer = made.averages(["f"], "outer").toarray()[0].reshape(2, 2, 3)[:, :, 0]
    margins = [frame[name].value_counts(normalize=True).sort_index() for name in ("yes", "h")]
    np.testing.assert_allclose(outer, np.outer(*margins))


def test_prior_weights_are_frequencies():
    frame = data()
    made = grid("y ~ f * h", frame=frame, weights="w")
    share = frame.groupby("h")["w"].sum() / frame["w"].sum()
    ours = made.averages(["f"], "proportional").toarray()[0].reshape(2, 3)[:, 0]
    np.testing.assert_allclose(ours, share)


def test_nesting_is_read_from_the_data():
    frame = data()
    frame["site"] = frame["h"] + frame["k"].astype(str)
    frame["same"] = frame["h"].str.upper()
    made = grid("y ~ h / site + same + f", frame=frame)
    assert made.nested == {"site": ("h", "same"), "same": ("h",)}
    assert made.possible.sum() == 3 * frame["site"].nunique()
    assert grid("y ~ f * h").nested == {}


@pytest.mark.parametrize(
    ("at", "error", "match"),
    [
        ({"z": 1}, DataError, "'z'.*'f', 'x'"),
        ({"f": "d"}, DataError, "'d'.*'b', 'a', 'c'"),
        ({"f": []}, DataError, "no level for 'f'"),
        ({"x": "one"}, DataError, "'x' to numbers"),
        ({"x": [np.nan]}, DataError, "finite"),
    ],
)
def test_errors_name_the_thing_and_the_remedy(at, error, match):
    with pytest.raises(error, match=match):
        grid("y ~ f + x", at=at)


def test_a_grid_too_large_is_refused(monkeypatch):
    monkeypatch.setattr(reference_grid, "_MAX_NUMBERS", 100)
    with pytest.raises(ModelError, match="at="):
        grid("y ~ f * h * factor(k)")


def test_levels_can_be_chosen_by_value_or_text():
    assert values(grid("y ~ factor(k)", at={"k": ["4", 1]})) == {"k": [4, 1]}
    assert values(grid("y ~ f", at={"f": "a"})) == {"f": ["a"]}
    assert values(grid("y ~ yes", at={"yes": True})) == {"yes": [True]}
    assert values(grid("y ~ two", at={"two": 5})) == {"two": [5]}


def test_values_are_given_in_a_dict():
    fit = mf.lmer("score ~ Machine + (1 | Worker)", mf.datasets.load("machines"))
    with pytest.raises(DataError, match="at= must be a dict"):
        ReferenceGrid.of(fit.fit.design, "Machine")
