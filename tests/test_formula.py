import pandas as pd
import pytest

from mixedfit.errors import FormulaError
from mixedfit.formula import Expression, parse, parse_expression, with_contrasts

# text: fixed part as formulaic gets it, labels of the random terms
FORMULAS = {
    "y ~ x + (1 | g)": ("x", ["(1 | g)"]),
    "y~x+(1|g)": ("x", ["(1 | g)"]),
    "y ~ (1 | g)": ("1", ["(1 | g)"]),
    "y ~ 0 + (1 | g)": ("0", ["(1 | g)"]),
    "y ~ -1 + x + (x | g)": ("- 1 + x", ["(x | g)"]),
    "y ~ x - 1 + (x | g)": ("x - 1", ["(x | g)"]),
    "y ~ (1 | g) + x + (0 + x | h) + z": ("x + z", ["(1 | g)", "(0 + x | h)"]),
    "y ~ x + (x || g)": ("x", ["(1 | g)", "(0 + x | g)"]),
    "y ~ x + (0 + x + z || g)": ("x", ["(0 + x | g)", "(0 + z | g)"]),
    "y ~ x + (a:b + x || g)": ("x", ["(1 | g)", "(0 + x | g)", "(0 + a:b | g)"]),
    "y ~ x + (1 | a/b)": ("x", ["(1 | a:b)", "(1 | a)"]),
    "y ~ x + (x || a/b)": ("x", ["(1 | a:b)", "(1 | a)", "(0 + x | a:b)", "(0 + x | a)"]),
    "y ~ x + (1 | a/b/c)": ("x", ["(1 | a:b:c)", "(1 | a:b)", "(1 | a)"]),
    "y ~ x + (1 | a:b)": ("x", ["(1 | a:b)"]),
    "y ~ x + (1 | a:b/c)": ("x", ["(1 | a:b:c)", "(1 | a:b)"]),
    "y ~ x + (1 | (a/b))": ("x", ["(1 | a:b)", "(1 | a)"]),
    "y ~ x + ((1 | g))": ("x", ["(1 | g)"]),
    "y ~ x + (1 | factor(g))": ("x", ["(1 | g)"]),
    "y ~ x + diag(f | g)": ("x", ["diag(f | g)"]),
    "y ~ x + us(x | g)": ("x", ["(x | g)"]),
    "y ~ x + cs(0 + f | g, hom = TRUE)": ("x", ["cs(0 + f | g)"]),
    "y ~ x + ar1(0 + f | g, hom=FALSE) + (1 | h)": ("x", ["ar1(0 + f | g)", "(1 | h)"]),
    "y ~ (a + b)^2 + (1 | g)": ("(a + b)^2", ["(1 | g)"]),
    "y ~ a * b + c / d + e %in% f + (1 | g)": ("a * b + c / d + e %in% f", ["(1 | g)"]),
    "y ~ I(x^2) + poly(x, 2, raw = TRUE) + (1 | g)": (
        "I(x**2) + poly(x, 2, raw = True)",
        ["(1 | g)"],
    ),
    "y ~ factor(x) + as.factor(z) + (1 | g)": ("C(x) + C(z)", ["(1 | g)"]),
    "y ~ total.fruits + log(total.fruits) + (1 | g)": (
        "total.fruits + log(`total.fruits`)",
        ["(1 | g)"],
    ),
    "y ~ `my x` + (`my x` | `my g`)": ("`my x`", ["(`my x` | `my g`)"]),
    "y ~ C(f, contr.sum) + (1 | g)": ("C(f, contr.sum)", ["(1 | g)"]),
    "y ~ x": ("x", []),
}


@pytest.mark.parametrize("text", FORMULAS)
def test_fixed_part_and_random_terms(text):
    fixed, labels = FORMULAS[text]
    formula = parse(text)
    assert formula.fixed.text == fixed
    assert [effect.label for effect in formula.random] == labels
    assert formula.text == text


def test_structures_and_their_options():
    effects = parse(
        "y ~ 1 + us(x | a) + diag(x | b) + cs(f | c, hom = TRUE) + ar1(f | d) + ar1(f | e, hom=F)"
    ).random
    assert [(e.structure, e.homogeneous) for e in effects] == [
        ("us", None),
        ("diag", None),
        ("cs", True),
        ("ar1", None),
        ("ar1", False),
    ]


def test_offsets_are_taken_out_of_the_fixed_part():
    formula = parse("y ~ x + offset(log(n.total)) + offset(o) + (1 | g)")
    assert formula.fixed.text == "x"
    assert [offset.text for offset in formula.offsets] == ["log(`n.total`)", "o"]


@pytest.mark.parametrize(
    ("left", "expected"),
    [
        ("y", "y"),
        ("log(y)", "log(y)"),
        ("I(y^2)", "I(y**2)"),
        ("y1 + y2", "I(y1 + y2)"),
        ("sqrt(a.b)", "sqrt(`a.b`)"),
        ("`the y`", "`the y`"),
        ("a / b^2", "I(a / b**2)"),
    ],
)
def test_left_side(left, expected):
    assert parse(f"{left} ~ x + (1 | g)").response.text == expected


def test_names_keep_the_users_spelling():
    formula = parse("y ~ I(x^2) + factor(f) + (1 | g)")
    assert formula.fixed.user_names(["I(x ** 2)", "C(f)[T.b]"]) == ("I(x^2)", "factor(f)[T.b]")


# text: what the message must name
MISTAKES = {
    "": "one '~'",
    "y": "one '~'",
    "~ x": "response before it",
    "y ~": "nothing stands after",
    "y ~ x ~ z": "one '~'",
    "y ~ x +": "a term is missing",
    "y ~ + + x": "a term is missing",
    "y ~ x + (1 | g": "parentheses do not match",
    "y ~ x + 1 | g)": "parentheses do not match",
    "y ~ x + 1 | g": "parentheses of its own",
    "y ~ x * (1 | g)": "parentheses of its own",
    "y ~ x + (1 | g) (1 | h)": "parentheses of its own",
    "y ~ x - (1 | g)": "cannot be subtracted",
    "y ~ x + (1 |)": "the bar's right",
    "y ~ x + (| g)": "the bar's left",
    "y ~ x + (1 | g | h)": "2 bars",
    "y ~ x + (1 || g | h)": "2 bars",
    "y ~ x + (1 | g + h)": "two random terms",
    "y ~ x + (1 | g * h)": "two random terms",
    "y ~ x + (1 | 2)": "must be a column, not '2'",
    "y ~ x + (1 | g h)": "cannot be read",
    "y ~ x z + (1 | g)": "cannot be read",
    "y ~ (x > 0) + (1 | g)": "as in I(x > 0)",
    "y ~ x >= 2 + (1 | g)": "as in I(x > 0)",
    "y ~ x + log(z + (1 | g)": "cannot be read",
    "y ~ . + (1 | g)": "write them out",
    "y ~ x + cs(f | g, homogeneous = TRUE)": "hom = TRUE",
    "y ~ x + cs(f || g)": "one bar",
    "cbind(a, b) ~ x + (1 | g)": "one numeric response",
    "y | z ~ x + (1 | g)": "may not contain",
    "y ~ x + (1 + (1 | g))": "parentheses of its own",
    "y ~ x + toep(f | g)": "toep() is no covariance structure here; there are us(), diag()",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_mistakes_are_named(text):
    with pytest.raises(FormulaError) as error:
        parse(text)
    assert MISTAKES[text] in str(error.value)
    assert "\x1b" not in str(error.value)
    assert "\n" not in str(error.value)


def test_formulas_are_strings():
    with pytest.raises(FormulaError, match="not 3"):
        parse(3)
    with pytest.raises(FormulaError, match="not DataFrame; it comes before the data"):
        parse(pd.DataFrame())


def test_contrasts_are_written_into_the_terms_that_use_a_factor():
    coded = with_contrasts(parse_expression("f * x + g"), {"f": "contr.sum"})
    assert coded.text == "C(f, contr.sum) * x + g"
    assert coded.user_names(["C(f, contr.sum)[S.a]:x"]) == ("f[S.a]:x",)
    untouched = Expression("x")
    assert with_contrasts(untouched, {"f": "contr.sum"}) is untouched


def test_quoted_names_stay_quoted_where_columns_are_uncorrelated():
    effects = parse("y ~ 1 + (`a b` + x.y || g)").random
    assert [effect.label for effect in effects] == ["(1 | g)", "(0 + `a b` | g)", "(0 + x.y | g)"]
    assert [effect.columns.text for effect in effects[1:]] == ["0 + `a b`", "0 + x.y"]
