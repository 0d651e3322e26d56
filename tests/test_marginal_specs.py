import pytest

from mixedfit.errors import FormulaError, ModelError
from mixedfit.marginal_specs import MarginalSpecs

KNOWN = ["a", "b", "c", "two words", "k"]


@pytest.mark.parametrize(
    ("specs", "by", "want"),
    [
        ("a", None, (("a",), (), None)),
        (["a", "b"], None, (("a", "b"), (), None)),
        ("~ a * b", None, (("a", "b"), (), None)),
        ("a * b", None, (("a", "b"), (), None)),
        ("~ a:b | c", None, (("a", "b"), ("c",), None)),
        ("~ a | b + c", None, (("a",), ("b", "c"), None)),
        ("a", ["b", "c"], (("a",), ("b", "c"), None)),
        ("~ a | b", "c", (("a",), ("b", "c"), None)),
        (["a", "b"], "b", (("a",), ("b",), None)),
        ("pairwise ~ a", None, (("a",), (), "pairwise")),
        ("trt.vs.ctrl ~ a | b", None, (("a",), ("b",), "trt.vs.ctrl")),
        ("~ 1", None, ((), (), None)),
        ("1", None, ((), (), None)),
        ("two words", None, (("two words",), (), None)),
        ("~ `two words` * a", None, (("two words", "a"), (), None)),
        ("~ factor(k)", None, (("k",), (), None)),
    ],
)
def test_what_is_asked_for(specs, by, want):
    read = MarginalSpecs.of(specs, by, KNOWN)
    assert (read.specs, read.by, read.method) == want


@pytest.mark.parametrize(
    ("specs", "by", "error", "match"),
    [
        ("d", None, ModelError, "'d', which is none of .*'a', 'b'"),
        ("a", "d", ModelError, "'d'"),
        ("~ a |", None, FormulaError, "nothing after"),
        ("~ a * ", None, FormulaError, "missing"),
        ("~", None, FormulaError, "cannot be read"),
        ("a ~ b ~ c", None, FormulaError, "cannot be read"),
    ],
)
def test_errors(specs, by, error, match):
    with pytest.raises(error, match=match):
        MarginalSpecs.of(specs, by, KNOWN)
