"""nlme's ``random=``: one-sided formulas, a dict by level, and the Pd classes.

lme's grouping factors are nested, outermost first. What is read here becomes the same random terms
an lme4 formula gives: `PdBlocked` is several terms on one factor.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, TypeAlias

from mixedfit.errors import FormulaError
from mixedfit.formula import (
    Formula,
    RandomEffect,
    StructureName,
    backticked,
    parse,
    parse_expression,
)

__all__ = [
    "PdBlocked",
    "PdCompSymm",
    "PdDiag",
    "PdIdent",
    "PdStructure",
    "PdSymm",
    "Random",
    "lme_formula",
]


@dataclass(frozen=True)
class PdStructure:
    """Base of the covariance structures of one level's random effects.

    Parameters
    ----------
    form : str
        The columns, a one-sided formula without a bar: ``"~ age"``.
    """

    form: str
    _structure: ClassVar[StructureName] = "us"
    _homogeneous: ClassVar[bool | None] = None

    def __post_init__(self) -> None:
        name = type(self).__name__
        if not isinstance(self.form, str):
            raise FormulaError(
                f"{name} takes the columns as a one-sided formula, {name}('~ age'), not "
                f"{type(self.form).__name__}"
            )
        _columns(self.form, name)

    def effects(self, group: tuple[str, ...]) -> Iterator[RandomEffect]:
        """The random terms of a grouping factor with this structure."""
        body = _columns(self.form, type(self).__name__)
        prefix = "" if self._structure == "us" else self._structure
        label = f"{prefix}({body} | {':'.join(map(backticked, group))})"
        columns = parse_expression(body)
        yield RandomEffect(label, columns, group, self._structure, self._homogeneous)


@dataclass(frozen=True)
class PdSymm(PdStructure):
    """Any covariance matrix: the default.

    Parameters
    ----------
    form : str
        The columns, a one-sided formula without a bar.

    Examples
    --------
    >>> PdSymm("~ age")
    PdSymm(form='~ age')
    """


@dataclass(frozen=True)
class PdDiag(PdStructure):
    """Uncorrelated random effects, a standard deviation for each.

    Parameters
    ----------
    form : str
        The columns, a one-sided formula without a bar.

    Examples
    --------
    >>> PdDiag("~ age")
    PdDiag(form='~ age')
    """

    _structure: ClassVar[StructureName] = "diag"
    _homogeneous: ClassVar[bool | None] = False


@dataclass(frozen=True)
class PdIdent(PdStructure):
    """Uncorrelated random effects with one standard deviation: a multiple of the identity.

    Parameters
    ----------
    form : str
        The columns, a one-sided formula without a bar.

    Examples
    --------
    >>> PdIdent("~ machine - 1")
    PdIdent(form='~ machine - 1')
    """

    _structure: ClassVar[StructureName] = "diag"
    _homogeneous: ClassVar[bool | None] = True


@dataclass(frozen=True)
class PdCompSymm(PdStructure):
    """Compound symmetry: one standard deviation and one correlation.

    Parameters
    ----------
    form : str
        The columns, at least two, a one-sided formula without a bar.

    Examples
    --------
    >>> PdCompSymm("~ machine - 1")
    PdCompSymm(form='~ machine - 1')
    """

    _structure: ClassVar[StructureName] = "cs"
    _homogeneous: ClassVar[bool | None] = True


@dataclass(frozen=True)
class PdBlocked:
    """Independent blocks of random effects of one level, each with a structure of its own.

    Parameters
    ----------
    blocks : list of Pd structures or one-sided formulas

    Examples
    --------
    >>> block = PdBlocked([PdIdent("~ 1"), PdIdent("~ sample - 1")])
    >>> [effect.label for effect in block.effects(("Block",))]
    ['diag(1 | Block)', 'diag(sample - 1 | Block)']
    """

    blocks: Sequence[PdStructure | PdBlocked | str]

    def __post_init__(self) -> None:
        if isinstance(self.blocks, str | Mapping) or not isinstance(self.blocks, Sequence):
            raise FormulaError(
                "PdBlocked takes a list, as in PdBlocked([PdIdent('~ 1'), PdDiag('~ x - 1')])"
            )
        if not self.blocks:
            raise FormulaError("PdBlocked needs at least one block")
        object.__setattr__(
            self, "blocks", tuple(_structure_of(block, "PdBlocked") for block in self.blocks)
        )

    def effects(self, group: tuple[str, ...]) -> Iterator[RandomEffect]:
        """The random terms of a grouping factor with these blocks."""
        for block in self.blocks:
            assert not isinstance(block, str)
            yield from block.effects(group)


Random: TypeAlias = str | Mapping[str, str | PdStructure | PdBlocked]
"""``"~ age | Subject"``, ``"~ 1 | a/b"``, or a dict by level, outermost first."""


def lme_formula(fixed: str, random: Random) -> Formula:
    """The formula of an lme call.

    Parameters
    ----------
    fixed : str
        A two-sided formula without random terms.
    random : str or dict
        As in nlme; in a dict each level is nested in those before it.

    Returns
    -------
    Formula

    Raises
    ------
    FormulaError
        With the part that cannot be read and what to write instead.

    Examples
    --------
    >>> formula = lme_formula("y ~ x", {"School": "~ x", "Class": PdDiag("~ x")})
    >>> [effect.label for effect in formula.random]
    ['(x | School)', 'diag(x | School:Class)']
    """
    if not isinstance(fixed, str):
        raise FormulaError(
            "lme takes the fixed effects first, a string such as 'distance ~ age', then random and "
            f"the data; got {type(fixed).__name__}"
        )
    formula = parse(fixed)
    if formula.random:
        raise FormulaError(
            f"{fixed!r} holds {formula.random[0].label}: in lme random terms go to random=, as in "
            "random='~ age | Subject'; lmer takes them in the formula"
        )
    effects = tuple(_effects(random))
    text = f"{fixed}, random = {_text(random)}"
    return replace(formula, text=text, random=effects)


def _effects(random: Random) -> Iterator[RandomEffect]:
    if isinstance(random, Mapping):
        yield from _by_level(random)
        return
    if isinstance(random, PdStructure | PdBlocked):
        raise FormulaError(
            f"random={random!r} does not say the groups; write {{'Subject': {random!r}}}"
        )
    if not isinstance(random, str):
        raise FormulaError(
            "random must be a one-sided formula such as '~ age | Subject', or a dict by level, "
            f"not {type(random).__name__}"
        )
    columns, bar, groups = _one_sided(random, "random").partition("|")
    if not bar:
        raise FormulaError(
            f"random={random!r} does not say the groups; write '~ {columns.strip()} | group'"
        )
    if groups.startswith("|"):
        raise FormulaError(
            f"random={random!r}: '||' is lme4's; for uncorrelated effects write "
            f"{{'group': PdDiag('~ {columns.strip()}')}}"
        )
    names: tuple[str, ...] = ()
    for part in groups.split("/"):
        names = (*names, _group(part, random))
        yield from PdSymm(f"~ {columns.strip()}").effects(names)


def _by_level(random: Mapping[str, str | PdStructure | PdBlocked]) -> Iterator[RandomEffect]:
    if not random:
        raise FormulaError("random has no level; write {'Subject': '~ age'}")
    names: tuple[str, ...] = ()
    for name, structure in random.items():
        names = (*names, _group(str(name), f"{{{name!r}: ...}}"))
        yield from _structure_of(structure, f"random[{name!r}]").effects(names)


def _structure_of(structure: str | PdStructure | PdBlocked, what: str) -> PdStructure | PdBlocked:
    if isinstance(structure, PdStructure | PdBlocked):
        return structure
    if isinstance(structure, str):
        return PdSymm(f"~ {_columns(structure, what)}")
    raise FormulaError(
        f"{what} must be a one-sided formula such as '~ age' or a Pd structure, not "
        f"{type(structure).__name__}"
    )


def _group(part: str, random: str) -> str:
    name = part.strip().strip("`")
    if not name or re.search(r"[:*+|()~/]", name):
        raise FormulaError(
            f"random={random}: groups are columns, nested as in 'a/b' (b within a), not "
            f"{part.strip()!r}; crossed factors are lmer's: '(1 | a) + (1 | b)'"
        )
    return name


def _one_sided(text: str, what: str) -> str:
    body = text.strip()
    if not body.startswith("~") or not body[1:].strip():
        raise FormulaError(f"{what} must be a one-sided formula such as '~ age', not {text!r}")
    return body[1:].strip()


def _columns(form: str, what: str) -> str:
    """The columns of a one-sided formula without a bar."""
    body = _one_sided(form, what)
    if "|" in body:
        before, _, group = body.partition("|")
        raise FormulaError(
            f"{what} takes columns only, not {form!r}; the group is the dict's key: "
            f"{{{group.strip()!r}: {what if what.startswith('Pd') else 'PdSymm'}"
            f"('~ {before.strip()}')}}"
        )
    parse_expression(body)
    return body


def _text(random: Random) -> str:
    """How a user reads it."""
    if isinstance(random, str):
        return random.strip()
    return "{" + ", ".join(f"{name}: {_form_text(form)}" for name, form in random.items()) + "}"


def _form_text(form: str | PdStructure | PdBlocked) -> str:
    if isinstance(form, PdBlocked):
        return f"PdBlocked({', '.join(_form_text(block) for block in form.blocks)})"
    if isinstance(form, PdStructure):
        return f"{type(form).__name__}({form.form})"
    return form.strip()
