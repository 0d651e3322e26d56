"""What marginal means are asked for: names, or R's ``"pairwise ~ a * b | c"``."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from mixedfit.errors import FormulaError, ModelError, check_names

__all__ = ["MarginalSpecs"]


@dataclass(frozen=True)
class MarginalSpecs:
    """A specification read.

    Attributes
    ----------
    specs : tuple of str
        Factors to tell means for.
    by : tuple of str
        Factors within whose levels they are compared.
    method : str or None
        Contrasts named left of ``~``.
    """

    specs: tuple[str, ...]
    by: tuple[str, ...] = ()
    method: str | None = None

    @classmethod
    def of(
        cls, specs: str | Sequence[str], by: str | Sequence[str] | None, known: Collection[str]
    ) -> MarginalSpecs:
        """Read a specification.

        Parameters
        ----------
        specs : str or sequence of str
            A name, names, or ``"method ~ a * b | c"``; ``"1"`` for one mean over everything.
        by : str or sequence of str, optional
            Further factors to compare within.
        known : collection of str
            Names there are.

        Raises
        ------
        FormulaError, ModelError
            If the text cannot be read, or names what is not there.

        Examples
        --------
        >>> MarginalSpecs.of("pairwise ~ a | b", None, ["a", "b"])
        MarginalSpecs(specs=('a',), by=('b',), method='pairwise')
        """
        method = None
        given_by = () if by is None else check_names(by, "by")
        if isinstance(specs, str):
            names, within, method = ((specs,), (), None) if specs in known else _read(specs, specs)
        else:
            names, within = check_names(specs, "specs"), ()
        within = tuple(dict.fromkeys((*within, *given_by)))
        names = tuple(name for name in dict.fromkeys(names) if name not in within)
        for name in (*names, *within):
            if name not in known:
                there = ", ".join(repr(k) for k in known) or "none"
                raise ModelError(
                    f"marginal means are asked for {name!r}, which is none of the variables of the "
                    f"fixed part ({there})"
                )
        return cls(names, within, method)


def _read(text: str, whole: str) -> tuple[tuple[str, ...], tuple[str, ...], str | None]:
    left, tilde, right = text.rpartition("~")
    if "~" in left or (tilde and not right.strip()):
        raise FormulaError(f"{whole!r} cannot be read: write 'a', '~ a * b | c' or 'pairwise ~ a'")
    names, bar, within = right.partition("|")
    if bar and not within.strip():
        raise FormulaError(f"{whole!r} has nothing after '|': name the factor to compare within")
    return _names(names, whole), _names(within, whole), left.strip() or None


def _names(text: str, whole: str) -> tuple[str, ...]:
    out = []
    for part in re.split(r"[*+:](?=(?:[^`]*`[^`]*`)*[^`]*$)", text) if text.strip() else []:
        name = part.strip()
        call = re.fullmatch(r"(?:factor|as\.factor|C)\(\s*(.+?)\s*\)", name)
        name = (call[1] if call else name).strip("`")
        if not name:
            raise FormulaError(f"{whole!r} cannot be read: a name is missing")
        if name != "1":
            out.append(name)
    return tuple(out)
