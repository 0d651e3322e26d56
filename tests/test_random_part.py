"""nlme's random= read into random terms."""

from __future__ import annotations

import pytest

from mixedfit.errors import FormulaError
from mixedfit.random_part import (
    PdBlocked,
    PdCompSymm,
    PdDiag,
    PdIdent,
    PdSymm,
    lme_formula,
)


def terms(random: object) -> list[tuple[str, tuple[str, ...], str, bool | None]]:
    formula = lme_formula("y ~ x", random)  # type: ignore[arg-type]
    return [(e.columns.text, e.group, e.structure, e.homogeneous) for e in formula.random]


@pytest.mark.parametrize(
    ("random", "expected"),
    [
        ("~ age | Subject", [("age", ("Subject",), "us", None)]),
        ("~1|a/b", [("1", ("a",), "us", None), ("1", ("a", "b"), "us", None)]),
        ("~ x - 1 | `my group`", [("x - 1", ("my group",), "us", None)]),
        (
            {"School": "~ x", "Class": PdDiag("~ x")},
            [("x", ("School",), "us", None), ("x", ("School", "Class"), "diag", False)],
        ),
        ({"g": PdSymm("~ x")}, [("x", ("g",), "us", None)]),
        ({"g": PdIdent("~ f - 1")}, [("f - 1", ("g",), "diag", True)]),
        ({"g": PdCompSymm("~ f - 1")}, [("f - 1", ("g",), "cs", True)]),
        (
            {"g": PdBlocked([PdIdent("~ 1"), "~ x - 1", PdDiag("~ sin(2*pi*t)")])},
            [
                ("1", ("g",), "diag", True),
                ("x - 1", ("g",), "us", None),
                ("sin(2*pi*t)", ("g",), "diag", False),
            ],
        ),
        ({"g": "~ I(age - 11)"}, [("I(age - 11)", ("g",), "us", None)]),
    ],
)
def test_terms(random: object, expected: list[object]) -> None:
    assert terms(random) == expected


def test_the_text_shows_both_parts() -> None:
    formula = lme_formula("y ~ x", {"a": PdDiag("~ x"), "b": "~ 1"})
    assert formula.text == "y ~ x, random = {a: PdDiag(~ x), b: ~ 1}"
    assert [e.label for e in formula.random] == ["diag(x | a)", "(1 | a:b)"]


@pytest.mark.parametrize(
    ("random", "message"),
    [
        ("age | Subject", "one-sided formula"),
        ("~ age", "does not say the groups; write '~ age | group'"),
        ("~ age || g", "PdDiag"),
        ("~ 1 | a + b", "crossed factors are lmer's"),
        ("~ 1 | a:b", "nested as in 'a/b'"),
        ("~ 1 | a/", "groups are columns"),
        ({}, "no level"),
        ({"g": 3}, "one-sided formula"),
        ({"g": "~ x | h"}, r"takes columns only, not '~ x \| h'"),
        ({"a/b": "~ 1"}, "not 'a/b'"),
        (PdDiag("~ x"), "write {'Subject': PdDiag"),
        (["~ x"], "not list"),
    ],
)
def test_bad_random_is_told(random: object, message: str) -> None:
    with pytest.raises(FormulaError, match=message):
        terms(random)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PdDiag("~ x | g"), r"the dict's key: {'g': PdDiag\('~ x'\)}"),
        (lambda: PdDiag("x"), "one-sided"),
        (lambda: PdSymm([[1.0]]), "not list"),  # type: ignore[arg-type]
        (lambda: PdBlocked("~ 1"), "takes a list"),
        (lambda: PdBlocked([]), "at least one block"),
    ],
)
def test_bad_structures_are_told(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(FormulaError, match=message):
        make()


def test_random_terms_do_not_belong_in_the_fixed_part() -> None:
    with pytest.raises(FormulaError, match="random terms go to random="):
        lme_formula("y ~ x + (1 | g)", "~ 1 | g")


def test_the_fixed_part_comes_first_and_is_text() -> None:
    with pytest.raises(FormulaError, match="then random and the data; got dict"):
        lme_formula({"y": [1.0]}, "~ 1 | g")  # type: ignore[arg-type]


def test_blocks_may_hold_blocks() -> None:
    inner = PdBlocked([PdIdent("~ 1"), PdDiag("~ x - 1")])
    flat = PdBlocked([PdSymm("~ z"), PdIdent("~ 1"), PdDiag("~ x - 1")])
    assert terms({"g": PdBlocked([PdSymm("~ z"), inner])}) == terms({"g": flat})
