"""Formulas as R's users write them, read into parts that formulaic can evaluate.

The grammar is lme4's: fixed terms, ``offset(...)`` and random terms ``(columns | groups)``, with
``||`` for uncorrelated columns and ``us() diag() cs() ar1()`` for structured covariances. Only the
bars are read here; formulaic reads and evaluates everything else, after R's spellings inside
function calls (``x^2``, ``TRUE``, dotted names) have been turned into Python's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from formulaic import Formula as TermFormula
from formulaic.errors import FormulaicError
from formulaic.parser.algos.tokenize import tokenize
from formulaic.parser.types import Factor, Token

from mixedfit.errors import FormulaError
from mixedfit.r_code import CONSTANTS, python_code

__all__ = [
    "Expression",
    "Formula",
    "RandomEffect",
    "StructureName",
    "backticked",
    "parse",
    "parse_expression",
    "with_contrasts",
    "without_random_terms",
]

StructureName = Literal["us", "diag", "cs", "ar1"]
_STRUCTURES = ("us", "diag", "cs", "ar1")


@dataclass(frozen=True)
class Expression:
    """Part of a formula: formulaic's text of it, and how the user spelled it.

    Attributes
    ----------
    text : str
        What formulaic evaluates, e.g. ``"1 + I(x**2)"``.
    spelling : tuple of (str, str)
        Pieces of `text` as they appear in column names, with the user's spelling of each.
    """

    text: str
    spelling: tuple[tuple[str, str], ...] = ()

    def user_names(self, names: Sequence[str]) -> tuple[str, ...]:
        """Column names with the user's spelling put back."""
        out = list(names)
        for python, user in self.spelling:
            out = [name.replace(python, user) for name in out]
        return tuple(out)


@dataclass(frozen=True)
class RandomEffect:
    """One random term.

    Attributes
    ----------
    label : str
        The term as it is shown, ``"(Days | Subject)"``.
    columns : Expression
        Left of the bar.
    group : tuple of str
        The variables whose combinations are the levels, outermost first.
    structure : {"us", "diag", "cs", "ar1"}
    homogeneous : bool or None
        One standard deviation for all columns; None for the structure's own default.
    """

    label: str
    columns: Expression
    group: tuple[str, ...]
    structure: StructureName = "us"
    homogeneous: bool | None = None


@dataclass(frozen=True)
class Formula:
    """A formula read.

    Attributes
    ----------
    text : str
        As written.
    response : Expression
    fixed : Expression
    offsets : tuple of Expression
    random : tuple of RandomEffect
    """

    text: str
    response: Expression
    fixed: Expression
    offsets: tuple[Expression, ...] = ()
    random: tuple[RandomEffect, ...] = field(default=())


def parse(text: str) -> Formula:
    """Read a two-sided formula.

    Parameters
    ----------
    text : str
        Such as ``"Reaction ~ Days + (Days | Subject)"``.

    Returns
    -------
    Formula

    Raises
    ------
    FormulaError
        With the part that cannot be read and what to write instead.

    Examples
    --------
    >>> formula = parse("log(y) ~ x + I(x^2) + (1 + x || school/class)")
    >>> [effect.label for effect in formula.random]
    ['(1 | school:class)', '(1 | school)', '(0 + x | school:class)', '(0 + x | school)']
    >>> formula.fixed.text
    'x + I(x**2)'
    """
    if not isinstance(text, str):
        raise FormulaError(
            f"a formula is a string such as 'y ~ x + (1 | g)', not {_shown(text)}; it comes before "
            "the data"
        )
    return _parse(text)


def _shown(value: object) -> str:
    plain = value is None or isinstance(value, (int, float))
    return repr(value) if plain else type(value).__name__


@lru_cache(maxsize=512)
def _parse(text: str) -> Formula:
    tokens = _tokens(text)
    tildes = [i for i, token in enumerate(tokens) if token.token == "~"]
    if len(tildes) != 1 or tildes[0] == 0:
        raise FormulaError(
            f"{text!r}: a formula has one '~' with the response before it, as in 'y ~ x + (1 | g)'"
        )
    response, right = tokens[: tildes[0]], tokens[tildes[0] + 1 :]
    if not right:
        raise FormulaError(f"nothing stands after '~' in {text!r}; write '~ 1' for an intercept")
    fixed: list[Token | str] = []
    offsets, random = [], []
    for sign, addend in _addends(right, text):
        effects = list(_random_effects(addend, text))
        if effects:
            if sign == "-":
                raise FormulaError(f"a random term cannot be subtracted: {_source(addend, text)!r}")
            random.extend(effects)
        elif len(addend) == 1 and (inner := _call(addend[0].token, "offset")) is not None:
            offsets.append(_arithmetic(_tokens(inner), inner))
        else:
            fixed.extend([sign, *addend] if fixed or sign == "-" else addend)
    fixed_expression = _translated(fixed) if fixed else Expression("1")
    _check_terms(fixed_expression, text)
    return Formula(text, _response(response, text), fixed_expression, tuple(offsets), tuple(random))


def parse_expression(text: str) -> Expression:
    """Read a one-sided expression in R's spelling, such as ``"x + I(x^2)"``, without bars.

    Raises
    ------
    FormulaError
    """
    expression = _translated(_tokens(text))
    _check_terms(expression, text)
    return expression


def without_random_terms(text: str) -> str:
    """A formula as it was written, less its random terms.

    Examples
    --------
    >>> without_random_terms("log(y) ~ x + (x | g) + I(x^2) - 1")
    'log(y) ~ x + I(x^2) - 1'
    >>> without_random_terms("y ~ (1 | g)")
    'y ~ 1'
    """
    tokens = _tokens(text)
    tilde = next(i for i, token in enumerate(tokens) if token.token == "~")
    out = ""
    for sign, addend in _addends(tokens[tilde + 1 :], text):
        if not any(_random_effects(addend, text)):
            source = _source(addend, text)
            out += f" {sign} {source}" if out or sign == "-" else source
    return f"{_source(tokens[:tilde], text)} ~ {out.strip() or '1'}"


_OPERATOR = re.compile(r"\|\||\*\*|[~+\-*/:^|]")


def with_contrasts(expression: Expression, codings: Mapping[str, str]) -> Expression:
    """The expression with some factors coded by given contrasts.

    Parameters
    ----------
    expression : Expression
    codings : dict
        What formulaic calls the contrasts, by factor, e.g. ``{"f": "contr.sum"}``.
    """
    if not codings:
        return expression
    tokens = _tokens(expression.text)
    named = [t for t in tokens if t.kind is Token.Kind.NAME and t.token in codings]
    if not named:
        return expression
    spelling = dict(expression.spelling)
    out: list[Token | str] = []
    for token in tokens:
        if token.kind is Token.Kind.NAME and token.token in codings:
            column = _translated([token]).text
            code = f"C({column}, {codings[token.token]})"
            spelling[_formulaic_name(code)] = token.token
            out.append(code)
        else:
            out.append(token)
    return Expression(_translated(out).text, tuple(spelling.items()))


def _tokens(text: str) -> list[Token]:
    try:
        tokens = [part for token in tokenize(text) for part in _separate(token, text)]
    except FormulaicError as error:
        raise FormulaError(f"{text!r} cannot be read as a formula: {_reason(error)}") from None
    depth = 0
    for token in tokens:
        depth += (token.token == "(") - (token.token == ")")
        if depth < 0:
            break
    if depth or any(_unbalanced(t.token) for t in tokens if t.kind is Token.Kind.PYTHON):
        raise FormulaError(f"the parentheses do not match in {text!r}")
    return tokens


def _separate(token: Token, text: str) -> Iterator[Token]:
    """Operators that formulaic reads as one, as in ``~ -1``, one by one."""
    start, end = token.source_start or 0, token.source_end or 0
    matches = list(_OPERATOR.finditer(text[start : end + 1]))
    if token.kind is not Token.Kind.OPERATOR or len(matches) < 2:
        yield token
        return
    for match in matches:
        place = start + match.start(), start + match.end() - 1
        yield Token(
            match[0], kind=token.kind, source=text, source_start=place[0], source_end=place[1]
        )


def _reason(error: Exception) -> str:
    """The first sentence of formulaic's message, without its colours."""
    if "context marker" in str(error):
        return "write each random term in parentheses of its own, '(columns | group)'"
    message = re.sub(r"\x1b\[[\d;]*m", "", str(error)).strip().split("\n")[0]
    if re.search(r"operator '[<>=!]", message):
        return "write a comparison in I(), as in I(x > 0)"
    return message


def _unbalanced(code: str) -> bool:
    return code.count("(") != code.count(")")


def _source(tokens: Sequence[Token], text: str) -> str:
    start, end = tokens[0].source_start or 0, (tokens[-1].source_end or 0) + 1
    start -= text[:start].endswith("`")  # which tokens leave out
    end += text[end:].startswith("`")
    return text[start:end]


def _addends(tokens: list[Token], text: str) -> Iterator[tuple[str, list[Token]]]:
    """Split at the plus and minus signs outside parentheses; yields the sign and the rest."""
    sign, current, depth = "+", list[Token](), 0
    for token in tokens:
        depth += (token.token == "(") - (token.token == ")")
        splits = depth == 0 and token.token in ("+", "-") and token.kind is Token.Kind.OPERATOR
        if splits and (current or token.token == "+"):
            if not current:
                raise FormulaError(f"a term is missing before a '+' in {text!r}")
            yield sign, current
            sign, current = token.token, []
        elif splits:
            sign = "-"
        else:
            current.append(token)
    if not current:
        raise FormulaError(f"{text!r} ends in {sign!r}: a term is missing")
    yield sign, current


def _bars(tokens: Sequence[Token]) -> list[int]:
    return [
        i
        for i, token in enumerate(tokens)
        if token.token in ("|", "||") and token.kind is Token.Kind.OPERATOR
    ]


def _random_effects(addend: list[Token], text: str) -> Iterator[RandomEffect]:
    """The random terms of one addend: none for a fixed one, several for ``||`` and ``a/b``."""
    if len(addend) == 1 and addend[0].kind is Token.Kind.PYTHON:
        for name in _STRUCTURES:
            inner = _call(addend[0].token, name)
            if inner is not None and "|" in inner:
                yield from _structured(name, inner, addend[0].token)
        _refuse_unknown_structure(addend[0].token)
        return
    bars = _bars(addend)
    if not bars:
        return
    source = _source(addend, text)
    while len(addend) > 2 and addend[1].token == "(" and addend[-2].token == ")":
        if _closes_early(addend[1:-1]):
            break
        addend = addend[1:-1]
    if addend[0].token != "(" or addend[-1].token != ")" or _closes_early(addend):
        raise FormulaError(
            f"{source!r}: a random term stands in parentheses of its own, '(columns | group)', "
            "joined to the rest by '+'"
        )
    yield from _from_bar(addend[1:-1], source, text)


def _closes_early(tokens: Sequence[Token]) -> bool:
    depth = 0
    for i, token in enumerate(tokens):
        depth += (token.token == "(") - (token.token == ")")
        if depth == 0:
            return i < len(tokens) - 1
    return True


def _from_bar(
    inside: list[Token],
    source: str,
    text: str,
    structure: StructureName = "us",
    homogeneous: bool | None = None,
) -> Iterator[RandomEffect]:
    bars = _bars(inside)
    if len(bars) != 1:
        raise FormulaError(
            f"{source!r} has {len(bars)} bars; a random term has one, '(columns | group)'"
        )
    left, bar, right = inside[: bars[0]], inside[bars[0]].token, inside[bars[0] + 1 :]
    if not left or not right:
        side = "left: the columns, 1 for an intercept" if not left else "right: the grouping factor"
        raise FormulaError(f"{source!r} has nothing on the bar's {side}")
    columns = _translated(left)
    _check_terms(columns, source)
    parts = _uncorrelated(columns) if bar == "||" else [columns]
    groups = _groups(right, source, text)[::-1]  # innermost first, as lme4 lists them
    for part in parts:
        for group in groups:
            name = ":".join(map(backticked, group))
            shown = part.user_names([part.text])[0]
            label = f"({shown} | {name})"
            label = label if structure == "us" else f"{structure}{label}"
            yield RandomEffect(label, part, group, structure, homogeneous)


def _uncorrelated(columns: Expression) -> list[Expression]:
    """One expression a term: ``x || g`` is ``(1 | g) + (0 + x | g)``."""
    terms = [":".join(map(_quoted, term.factors)) for term in TermFormula(columns.text)]
    return [Expression(t if t == "1" else f"0 + {t}", columns.spelling) for t in terms]


def _quoted(factor: Factor) -> str:
    """A factor as formulaic reads it again."""
    is_name = factor.eval_method is Factor.EvalMethod.LOOKUP
    return backticked(factor.expr) if is_name else factor.expr


def backticked(name: str) -> str:
    """A column's name as a formula has it: in backticks where it would not be read as a name.

    Examples
    --------
    >>> backticked("site"), backticked("study site")
    ('site', '`study site`')
    """
    return name if re.fullmatch(r"[A-Za-z_.][\w.]*", name) else f"`{name}`"


def _groups(tokens: list[Token], source: str, text: str) -> list[tuple[str, ...]]:
    """Grouping factors right of a bar: ``a/b`` is a and a:b."""
    if tokens[0].token == "(" and tokens[-1].token == ")" and not _closes_early(tokens):
        return _groups(tokens[1:-1], source, text)
    operators = {t.token for t in tokens if t.kind in (Token.Kind.OPERATOR, Token.Kind.CONTEXT)}
    if operators - {"/", ":"}:
        raise FormulaError(
            f"{source!r}: right of the bar stands a grouping factor: a column, combinations 'a:b', "
            "or nested factors 'a/b'; for two factors write two random terms"
        )
    names = [t for t in tokens if t.kind is not Token.Kind.OPERATOR]
    if len(names) != len(tokens) - len(names) + 1:
        raise FormulaError(f"{source!r}: the grouping factor cannot be read")
    for name in names:
        if name.kind is Token.Kind.VALUE:
            raise FormulaError(
                f"{source!r}: the grouping factor must be a column, not {name.token!r}"
            )
    out: list[tuple[str, ...]] = [()]
    for i, name in enumerate(names):
        variable = _group_variable(name)
        nests = i > 0 and tokens[2 * i - 1].token == "/"
        if nests:
            out.append((*out[-1], variable))
        else:
            out[-1] = (*out[-1], variable)
    return out


def _group_variable(token: Token) -> str:
    """A column's name; ``factor(g)`` groups as g does."""
    if token.kind is Token.Kind.PYTHON:
        for function in ("factor", "as.factor", "C"):
            inner = _call(token.token, function)
            if inner is not None and re.fullmatch(r"[\w.]+|`[^`]+`", inner.strip()):
                return inner.strip().strip("`")
        return python_code(token.token)
    return token.token


# Covariances that glmmTMB has and this package does not.
_OTHER_STRUCTURES = r"(toep|ou|exp|gau|mat|rr|propto|equalto|hetar1|homcs|homdiag)\s*\([^()]*\|"


def _refuse_unknown_structure(code: str) -> None:
    match = re.match(_OTHER_STRUCTURES, code)
    if match:
        known = ", ".join(f"{name}()" for name in _STRUCTURES)
        raise FormulaError(
            f"{code!r}: {match[1]}() is no covariance structure here; there are {known}"
        )


def _structured(name: str, inner: str, source: str) -> Iterator[RandomEffect]:
    """``cs(f | g, hom = TRUE)`` and its kind."""
    bar, *options = _split_arguments(inner)
    homogeneous = None
    for option in options:
        key, _, value = (part.strip() for part in option.partition("="))
        if key != "hom" or CONSTANTS.get(value, value) not in ("True", "False"):
            raise FormulaError(
                f"{source!r}: {name}() takes 'columns | group' and, if need be, 'hom = TRUE' (one "
                f"standard deviation for all columns) or 'hom = FALSE', not {option.strip()!r}"
            )
        homogeneous = CONSTANTS.get(value, value) == "True"
    if "||" in bar:
        raise FormulaError(f"{source!r}: use one bar inside {name}()")
    structure: StructureName = name  # type: ignore[assignment]
    yield from _from_bar(_tokens(bar), source, bar, structure, homogeneous)


def _split_arguments(code: str) -> list[str]:
    out, depth, start = [], 0, 0
    for i, character in enumerate(code):
        depth += (character in "([") - (character in ")]")
        if character == "," and depth == 0:
            out.append(code[start:i])
            start = i + 1
    return [*out, code[start:]]


def _call(code: str, function: str) -> str | None:
    """What stands between the parentheses of a call of this function, else None."""
    match = re.fullmatch(rf"{re.escape(function)}\s*\((.*)\)", code, flags=re.DOTALL)
    return match[1] if match else None


def _response(tokens: list[Token], text: str) -> Expression:
    if _bars(tokens):
        raise FormulaError(f"the response may not contain '|': {text!r}")
    if _call(tokens[0].token, "cbind") is not None:
        raise FormulaError(
            f"{tokens[0].token!r}: lmer models one numeric response; fit each column by itself"
        )
    return _arithmetic(tokens, text)


def _arithmetic(tokens: list[Token], text: str) -> Expression:
    """A column, a call, or arithmetic in them: what R takes left of '~' and in offset()."""
    if len(tokens) == 1:
        return _translated(tokens)
    source = _source(tokens, text)
    code = f"I({python_code(source)})"
    return Expression(code, ((_formulaic_name(code), source), (code, source)))


def _translated(tokens: Sequence[Token | str]) -> Expression:
    """Tokens as formulaic's text, with R's spellings inside calls made Python's."""
    out, spelling = [], {}
    for token in tokens:
        if isinstance(token, str):
            out.append(token)
        elif token.kind is Token.Kind.PYTHON:
            code = python_code(token.token)
            if code != token.token:
                spelling[_formulaic_name(code)] = token.token
            out.append(code)
        elif token.kind is Token.Kind.NAME:
            plain = re.fullmatch(r"[A-Za-z_.][\w.]*", token.token)
            out.append(token.token if plain else f"`{token.token}`")
        else:
            out.append("%in%" if token.token == "in" else token.token)
    joined = " ".join(out).replace("( ", "(").replace(" )", ")")
    return Expression(re.sub(r" (:|\^|\*\*) ", r"\1", joined).strip(), tuple(spelling.items()))


def _formulaic_name(code: str) -> str:
    """How formulaic names the columns of a call."""
    try:
        return str(next(iter(TermFormula(f"0 + {code}"))))
    except FormulaicError as error:
        raise FormulaError(f"{code!r} cannot be read: {error}") from None


def _check_terms(expression: Expression, source: str) -> None:
    try:
        TermFormula(expression.text)
    except (FormulaicError, SyntaxError) as error:
        dot = "`.`" in str(error)
        what = "'.' for all columns is not read: write them out" if dot else _reason(error)
        raise FormulaError(f"{source!r} cannot be read: {what}") from None
