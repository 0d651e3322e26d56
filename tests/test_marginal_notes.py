import numpy as np
import pytest

from mixedfit.design import Design
from mixedfit.formula import parse
from mixedfit.marginal_notes import adjustment_notes, grid_notes
from mixedfit.reference_grid import ReferenceGrid
from tests import references


@pytest.fixture(scope="module")
def grid():
    formula = parse("MathAch ~ Minority * Sex + Sector * SES + (1 | School)")
    return ReferenceGrid.of(Design.build(formula, references.data("mathachieve")))


def test_what_is_averaged_and_held(grid):
    averaged, held, hidden = grid_notes(grid, ("Minority",), "cells", None)
    assert averaged == "Averaged over Sex, Sector (cells weights)."
    assert held.startswith("At SES = 0.000143")
    assert "the interaction Minority:Sex," in hidden


def test_slopes_hide_other_interactions(grid):
    notes = grid_notes(grid, (), "equal", "SES")
    assert "the interaction Sector:SES," in notes[-1]
    assert not any("interaction" in note for note in grid_notes(grid, ("Sector",), "equal", "SES"))


def test_families_are_counted_by_what_could_be_tested():
    families = [(np.arange(3), 3), (np.arange(3, 6), 3)]
    known = np.array([True, True, True, True, False, False])
    assert adjustment_notes("holm", families, known) == [
        "p-values adjusted by the holm method for 1 or 3 tests; intervals by Bonferroni's."
    ]
    assert "comparing 3 means" in adjustment_notes("tukey", families, known)[0]
    assert adjustment_notes("holm", [(np.arange(1), 2)], known) == []
    assert "not adjusted for 3 tests" in adjustment_notes("none", families[:1], known)[0]
