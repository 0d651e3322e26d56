"""R code inside a formula's calls, as Python code."""

from __future__ import annotations

import re
from collections.abc import Collection

__all__ = ["CONSTANTS", "python_code"]

# R functions that have another name in Python; the rest keep theirs, dots turned to underscores.
_FUNCTIONS = {"factor": "C", "as.factor": "C", "as.numeric": "as_numeric"}
# Names with a dot that are attributes in Python rather than a column's name in R.
_ATTRIBUTES_OF = ("contr", "np")
CONSTANTS = {"TRUE": "True", "FALSE": "False", "NULL": "None", "T": "True", "F": "False"}

_PIECES = re.compile(
    r"(?P<quoted>`[^`]*`|'[^']*'|\"[^\"]*\")"
    r"|(?P<number>(?<![\w.])\d+\.?\d*(?:[eE][+-]?\d+)?)"
    r"|(?P<name>[A-Za-z_.][\w.]*)(?P<call>\s*\()?"
    r"|(?P<operator>\^|%%|%/%|&&|\|\||!(?!=))"
)
_OPERATORS = {"^": "**", "%%": "%", "%/%": "//", "&&": "&", "||": "|", "!": "~"}


_SHORT = ("T", "F")
_NAMED_ARGUMENT = re.compile(r"(?<![=<>!])=\s*$")


def python_code(code: str, columns: Collection[str] | None = None) -> str:
    """R code, as it stands inside a function call, as Python code.

    Parameters
    ----------
    code : str
    columns : collection of str, optional
        Of the data, where they are known. ``T`` and ``F`` are R's constants as values of named
        arguments, and elsewhere if the columns are known and none is called so.

    Examples
    --------
    >>> python_code("total.fruits^2 > 4 & ok == TRUE")
    '`total.fruits`**2 > 4 & ok == True'
    >>> python_code("poly(T, 2, raw = T)")
    'poly(T, 2, raw = True)'
    """

    def constant(name: str, start: int) -> bool:
        if name not in _SHORT:
            return name in CONSTANTS
        if columns is not None and name not in columns:
            return True
        return _NAMED_ARGUMENT.search(code[:start]) is not None

    def piece(match: re.Match[str]) -> str:
        name = match["name"]
        if match["operator"]:
            return _OPERATORS[match["operator"]]
        if not name:
            return match[0]
        if match["call"]:
            known = _FUNCTIONS.get(name)
            return f"{known or _dots_to_underscores(name)}("
        if constant(name, match.start()):
            return CONSTANTS[name]
        if "." in name and name.split(".")[0] not in _ATTRIBUTES_OF:
            return f"`{name}`"
        return name

    return _PIECES.sub(piece, code)


def _dots_to_underscores(name: str) -> str:
    return name if name.split(".", maxsplit=1)[0] in _ATTRIBUTES_OF else name.replace(".", "_")
