import html.parser

import numpy as np
import pytest

from mixedfit.summary import Summary, Table, TableColumn, format_numbers, format_p_values


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([251.40510, 10.46729], ["251.41", "10.47"]),
        ([1234567.0, 2345678.0], ["1234567", "2345678"]),
        ([0.0, 0.5], ["0.0000", "0.5000"]),
        ([0.0], ["0.000"]),
        ([np.nan, 1.0], ["", "1.000"]),
        ([np.inf, 1.0], ["inf", "1.000"]),
        ([1e-9, 3e-9], ["1.000e-09", "3.000e-09"]),
        ([1e12, 1.0], ["1.000e+12", "1.000"]),
        ([-3.25, 0.004], ["-3.250000", "0.004000"]),
    ],
)
def test_numbers_of_a_column_share_their_decimals(values, expected):
    assert format_numbers(values) == expected


def test_p_values():
    assert format_p_values([0.5, 0.03214, 2e-5, 0.0, np.nan]) == [
        "0.5000",
        "0.0321",
        "2.00e-05",
        "<1e-16",
        "",
    ]


@pytest.fixture
def summary():
    table = Table(
        "Fixed effects",
        [
            TableColumn("", ["Intercept", "x_1 & <y>"], "left"),
            TableColumn("Estimate", ["1.0", "-22.5"]),
        ],
        ["a note"],
    )
    return Summary("A model", [("Formula", "y ~ x_1"), ("n", "10")], [table], ["the end"])


def test_text(summary):
    assert str(summary) == (
        "A model\nFormula: y ~ x_1\nn: 10\n\n"
        "Fixed effects\n"
        "             Estimate\n"
        "  Intercept       1.0\n"
        "  x_1 & <y>     -22.5\n"
        "a note\n\n"
        "the end"
    )
    assert repr(summary) == str(summary)


def test_html_is_well_formed_and_escaped(summary):
    class Balance(html.parser.HTMLParser):
        depth: list[str] = []

        def handle_starttag(self, tag, attrs):
            if tag != "meta":
                self.depth.append(tag)

        def handle_endtag(self, tag):
            assert self.depth.pop() == tag

    for text in (summary._repr_html_(), summary.as_html()):
        parser = Balance()
        parser.feed(text)
        assert parser.depth == []
        assert "x_1 &amp; &lt;y&gt;" in text
        assert "a note" in text
    assert summary.as_html().startswith("<!DOCTYPE html>")


def test_latex_escapes_what_latex_reads(summary):
    text = summary.as_latex()
    assert r"x\_1 \& \textless{}y\textgreater{} & -22.5 \\" in text
    assert text.count(r"\begin{tabular}{lr}") == 1
    assert r"y \textasciitilde{} x\_1" in text


def test_digits_are_kept_before_an_exponent():
    assert format_numbers([7.019e-15, 8.61e-7]) == ["7.019e-15", "8.610e-07"]
    assert format_p_values([6.4e-7]) == ["6.40e-07"]


def test_latex_keeps_backticks():
    assert r"\textasciigrave{}my x\textasciigrave{}" in Summary("`my x`", [], []).as_latex()
