import numpy as np
import pandas as pd

import mixedfit as mf
from mixedfit.estimable import aliases, estimable
from tests.references import lmer


def _with_an_empty_cell():
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 3, 90), rng.integers(0, 2, 90)
    keep = ~((a == 2) & (b == 1))
    data = pd.DataFrame(
        {
            "a": np.array(list("pqr"))[a[keep]],
            "b": np.array(list("uv"))[b[keep]],
            "g": rng.integers(0, 8, keep.sum()),
            "y": rng.standard_normal(keep.sum()),
        }
    )
    return mf.lmer("y ~ a * b + (1 | g)", data)


def test_aliases_make_the_dropped_columns():
    fit = lmer("lmer_rough_rankdef").fit
    A = aliases(fit)
    names = list(fit.design.names)
    expected = np.zeros((5, 1))
    expected[[names.index("x1"), names.index("x2")]] = 1.0
    np.testing.assert_allclose(A, expected, atol=1e-9)


def test_everything_is_estimable_without_dropped_columns():
    fit = lmer("lmer_sleep_slope_reml").fit
    assert aliases(fit).shape == (2, 0)
    assert estimable(fit, np.eye(2)).all()


def test_means_of_cells_with_data_are_estimable_and_others_are_not():
    fit = _with_an_empty_cell()
    design = fit.fit.design
    assert len(design.dropped) == 1
    names = list(design.recipe.names)
    rows = []
    for a in "pqr":
        for b in "uv":
            row = np.zeros(len(names))
            row[names.index("Intercept")] = 1.0
            for name, on in (
                (f"a[T.{a}]", a != "p"),
                (f"b[T.{b}]", b != "u"),
                (f"a[T.{a}]:b[T.{b}]", a != "p" and b != "u"),
            ):
                if on:
                    row[names.index(name)] = 1.0
            rows.append(row)
    known = estimable(fit.fit, np.array(rows))
    assert known.tolist() == [True] * 5 + [False]
    assert not estimable(fit.fit, 1e-6 * np.array(rows))[-1]
    # The marginal mean of v needs the empty cell.
    assert not estimable(fit.fit, np.mean([rows[1], rows[3], rows[5]], axis=0)[None]).item()
