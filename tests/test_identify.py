import numpy as np
import pytest

from mixedfit.errors import ModelError
from mixedfit.fit import fit_design
from mixedfit.identify import check_identified, moving_directions
from mixedfit.optimize import held_at_bounds
from tests.cases import PATTERNS, Pattern, frame


def check(formula, data=None):
    pattern = Pattern(formula)
    design = pattern.design(data)
    labels = [term.effect.label for term in design.terms]
    return check_identified(pattern.likelihood(data=data), labels, [t.names for t in design.terms])


@pytest.mark.parametrize("name", PATTERNS)
def test_all_patterns_are_identified(name):
    assert check(PATTERNS[name].formula)


def test_a_column_constant_within_every_level_is_named():
    data = frame().assign(kind=lambda d: np.where(d["g"] % 2, "odd", "even"))
    with pytest.raises(ModelError, match=r"\(kind \| g\).*'Intercept' and 'kind\[T.odd\]'"):
        check("y ~ x + (kind | g)", data)
    assert check("y ~ x + diag(0 + kind | g)", data)


def test_terms_that_are_the_residual_in_disguise_are_refused():
    n = 40
    data = frame(2 * n).assign(
        male=np.repeat([1.0, 0.0], n), female=np.repeat([0.0, 1.0], n), g=np.tile(np.arange(n), 2)
    )
    data["h"] = data["g"].to_numpy()[::-1].copy()
    with pytest.raises(ModelError, match="together reproduce every row"):
        check("y ~ x + (0 + male | g) + (0 + female | h)", data)


def test_terms_that_share_a_variance_are_allowed_but_told():
    assert not check("y ~ f + (f || g)")


def test_two_names_of_one_factor_share_a_variance():
    data = frame().assign(again=lambda d: d["g"] + 100)
    assert not check("y ~ x + (1 | g) + (1 | again)", data)


def test_moving_directions_leave_out_what_sigma_does_not_feel():
    shared = fit_design(Pattern("y ~ f + (f || g)").design()).evaluation
    moves = moving_directions(shared, held_at_bounds(shared))
    assert moves.shape[1] < len(shared.gradient)
    np.testing.assert_allclose(moves.T @ moves, np.eye(moves.shape[1]), atol=1e-12)
    plain = fit_design(PATTERNS["slope"].design()).evaluation
    assert moving_directions(plain, held_at_bounds(plain)).shape == (3, 3)
