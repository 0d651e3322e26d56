"""Reference fits of nlme's lme and gls, called as R's calls read."""

from __future__ import annotations

import re
from functools import cache

import mixedfit as mf

from .references import data, polynomial_contrasts, reference

_CLASSES = {"cor": "Cor", "pd": "Pd", "var": "Var"}
_WORDS = {"TRUE": "True", "FALSE": "False"}
_PIECE = re.compile(r"~|[A-Za-z_.][\w.]*|.", re.DOTALL)


def python_call(code: str) -> str:
    """An argument of nlme as Python: ``corAR1(0.2, form = ~ t | g)`` and the like.

    Examples
    --------
    >>> python_call("list(Block = pdDiag(~ x), Plot = ~ 1)")
    "dict(Block = mf.PdDiag('~ x'), Plot = '~ 1')"
    """
    out, place = [], 0
    while place < len(code):
        piece = _PIECE.match(code, place)
        assert piece is not None
        word, place = piece[0], piece.end()
        kind = re.fullmatch(r"(cor|pd|var)([A-Z]\w*)", word)
        if word == "~":
            end = _formula_end(code, place)
            out.append(repr(f"~{code[place:end]}".strip()))
            place = end
        elif kind:
            out.append(f"mf.{_CLASSES[kind[1]]}{kind[2]}")
        elif word in ("c", "list") and code[place : place + 1] == "(":
            end = _closing(code, place)
            inside = code[place + 1 : end]
            named = re.match(r"\s*\w+\s*=", inside)
            out.append(f"dict({python_call(inside)})" if named else f"[{python_call(inside)}]")
            place = end + 1
        else:
            out.append(_WORDS.get(word, word))
    return "".join(out)


def _formula_end(code: str, start: int) -> int:
    depth = 0
    for place in range(start, len(code)):
        if depth == 0 and code[place] in ",)":
            return place
        depth += (code[place] in "([") - (code[place] in ")]")
    return len(code)


def _closing(code: str, start: int) -> int:
    depth = 0
    for place in range(start, len(code)):
        depth += (code[place] == "(") - (code[place] == ")")
        if depth == 0:
            return place
    raise ValueError(code)


@cache
def nlme_fit(name: str) -> mf.MixedResults:
    """Our fit of a reference model of lme or gls, made once."""
    about, hint = reference(name), reference(name)["mixedfit_hint"]
    frame = data(about["data"])
    formula = hint.get("fixed") or hint.get("model") or hint.get("formula")
    options: dict[str, object] = {"method": hint["method"]}
    for key in ("correlation", "weights"):
        if hint.get(key):
            options[key] = eval(python_call(hint[key]), {"mf": mf})
    if hint.get("na.action"):
        options["na_action"] = "drop"
    options["contrasts"] = polynomial_contrasts(formula, frame) or None
    if hint["function"] == "gls":
        return mf.gls(formula, frame, **options)  # type: ignore[arg-type]
    random = hint["random"].strip()
    random = random if random.startswith("~") else eval(python_call(random), {"mf": mf})
    return mf.lme(formula, random, frame, **options)  # type: ignore[arg-type]
