"""Tables as OTSL: there and back without loss, checked to the token, and drawn whatever a model wrote."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.tables import grids
from ocrvl_modal.data.otsl import check_otsl, html_to_otsl, markdown_to_otsl, otsl_to_html
from ocrvl_modal.data.otsl.grid import Cell, Grid
from ocrvl_modal.errors import OcrvlError

CASES: dict[str, list[dict[str, str]]] = json.loads(
    (Path(__file__).parents[1] / "cases" / "otsl.json").read_text(encoding="utf-8")
)
BROKEN_CASES = {"ragged_short_row_padded", "no_final_nl", "plain_text_not_otsl"}


def named(kind: str) -> Any:
    return pytest.mark.parametrize("case", CASES[kind], ids=lambda case: case["name"])


def found(otsl: str) -> list[tuple[str, int, int]]:
    return [(finding.kind, finding.row, finding.column) for finding in check_otsl(otsl)]


def table(*rows: str) -> str:
    return f"<table>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"


@named("otsl_to_html")
def test_otsl_becomes_the_html_that_the_public_decoder_makes(case: dict[str, str]) -> None:
    assert otsl_to_html(case["otsl"]) == case["html"]


@named("otsl_to_html")
def test_that_html_becomes_the_same_otsl_where_it_was_right(case: dict[str, str]) -> None:
    if case["name"] in BROKEN_CASES:
        assert check_otsl(case["otsl"])
    else:
        assert check_otsl(case["otsl"]) == []
        assert html_to_otsl(case["html"]) == case["otsl"]


@named("docling")
def test_docling_s_otsl_is_read_and_ours_is_written(case: dict[str, str]) -> None:
    assert otsl_to_html(case["docling_otsl"]) == case["html"]
    assert check_otsl(html_to_otsl(case["html"])) == []
    assert otsl_to_html(html_to_otsl(case["html"])) == case["html"]


@named("pairs")
def test_what_models_write_is_drawn_as_the_public_decoder_draws_it(case: dict[str, str]) -> None:
    assert otsl_to_html(case["pred_otsl"]) == case["pred_html"]
    assert otsl_to_html(case["gt_otsl"]) == case["gt_html"]


def test_a_filled_cell_without_text_is_an_empty_one_and_not_the_next_token() -> None:
    (quirk,) = (case for case in CASES["quirks"] if case["name"] == "fcel_without_text")
    assert otsl_to_html(quirk["otsl"]) == table("<td></td><td>b</td>", "<td>c</td><td>d</td>")
    assert found(quirk["otsl"]) == [("filled_without_text", 1, 1)]


@pytest.mark.parametrize("name", ["leading_lcel", "double_nl"])
def test_other_breaks_are_drawn_as_the_public_decoder_draws_them(name: str) -> None:
    (quirk,) = (case for case in CASES["quirks"] if case["name"] == name)
    assert otsl_to_html(quirk["otsl"]) == quirk["html"]
    assert len(check_otsl(quirk["otsl"])) == 1


def test_a_block_of_any_size_is_written_with_the_true_meanings() -> None:
    html = table('<td rowspan="3" colspan="3">X</td><td>a</td>', "<td>b</td>", "<td>c</td>")
    otsl = "<fcel>X<lcel><lcel><fcel>a<nl><ucel><xcel><xcel><fcel>b<nl><ucel><xcel><xcel><fcel>c<nl>"
    assert html_to_otsl(html) == otsl
    assert otsl_to_html(otsl) == html
    assert check_otsl(otsl) == []


@given(grids())
@settings(max_examples=150, deadline=None)
def test_every_table_survives_otsl_html_and_back(grid: Grid) -> None:
    otsl = grid.to_otsl()
    assert check_otsl(otsl) == []
    html = otsl_to_html(otsl)
    assert html_to_otsl(html) == otsl
    assert otsl_to_html(html_to_otsl(html)) == html


@pytest.mark.slow
@given(grids(longest=12))
@settings(max_examples=5000, deadline=None)
def test_every_larger_table_survives_otsl_html_and_back(grid: Grid) -> None:
    otsl = grid.to_otsl()
    assert check_otsl(otsl) == []
    assert html_to_otsl(otsl_to_html(otsl)) == otsl


AROUND_TOKENS = re.compile(r"\s*(<(?:[felux]cel|nl)>)\s*")
PIECES = st.sampled_from(["<fcel>", "<ecel>", "<lcel>", "<ucel>", "<xcel>", "<nl>", "a", " ", "<fcel>b", "<"])


@given(st.lists(PIECES, max_size=30).map("".join))
@settings(max_examples=300, deadline=None)
def test_whatever_a_model_writes_is_drawn_as_a_sound_table_and_what_is_right_is_kept(otsl: str) -> None:
    html = otsl_to_html(otsl)
    assert not html or otsl_to_html(html_to_otsl(html)) == html
    if not check_otsl(otsl):
        assert html_to_otsl(html) == AROUND_TOKENS.sub(r"\1", otsl)


@pytest.mark.parametrize(
    ("otsl", "finding"),
    [
        ("just text", ("no_table", 1, 1)),
        ("", ("no_table", 1, 1)),
        ("Table: <fcel>a<nl>", ("text_outside", 1, 1)),
        ("<fcel>a<ecel>b<nl>", ("text_outside", 1, 2)),
        ("<fcel>a<lcel>b<nl>", ("text_outside", 1, 2)),
        ("<fcel>a<nl><ucel>b<nl>", ("text_outside", 2, 1)),
        ("<fcel>a<lcel><nl><ucel><xcel>b<nl>", ("text_outside", 2, 2)),
        ("<fcel>a<fcel>b<nl>tail", ("text_outside", 1, 3)),
        ("<fcel>a<ched>b<nl>", ("unknown_token", 1, 1)),
        ("<fcel>a<FCEL>b<nl>", ("unknown_token", 1, 1)),
        ("<fcel>a</fcel><nl>", ("unknown_token", 1, 1)),
        ("<fcel>a<fcel><nl>", ("filled_without_text", 1, 2)),
        ("<fcel>a<nl><nl><fcel>b<nl>", ("empty_row", 2, 1)),
        ("<fcel>a<nl><fcel>b", ("missing_nl", 2, 1)),
        ("<fcel>a<fcel>b<nl><fcel>c<nl><fcel>d<fcel>e<nl>", ("ragged", 2, 1)),
        ("<fcel>a<fcel>b<nl><fcel>c<fcel>d<fcel>e<nl><fcel>f<fcel>g<nl>", ("ragged", 2, 3)),
        ("<lcel><fcel>a<nl>", ("lcel", 1, 1)),
        ("<fcel>a<fcel>b<nl><ucel><lcel><nl>", ("lcel", 2, 2)),
        ("<ucel><fcel>a<nl>", ("ucel", 1, 1)),
        ("<fcel>a<lcel><nl><ucel><ucel><nl>", ("ucel", 2, 2)),
        ("<fcel>a<xcel><nl>", ("xcel", 1, 2)),
        ("<fcel>a<fcel>b<nl><xcel><fcel>c<nl>", ("xcel", 2, 1)),
        ("<fcel>a<fcel>b<nl><fcel>c<xcel><nl>", ("xcel", 2, 2)),
        ("<fcel>a<lcel><nl><ucel><fcel>b<nl>", ("block", 2, 2)),
        ("<fcel>a<lcel><nl><ucel><ecel><nl>", ("block", 2, 2)),
    ],
)
def test_it_says_where_the_grammar_is_broken(otsl: str, finding: tuple[str, int, int]) -> None:
    assert found(otsl) == [finding]


def test_a_finding_names_its_token_and_its_place_in_the_string() -> None:
    otsl = "<fcel>a<fcel>b<nl><fcel>c<xcel><nl>"
    (finding,) = check_otsl(otsl)
    assert (finding.token, otsl[finding.offset :]) == (5, "<xcel><nl>")
    assert str(finding).startswith("row 2, column 2 (token 5): <xcel> is inside no block")


def test_what_follows_from_one_fault_is_not_told_again() -> None:
    assert found("<lcel><lcel><lcel><nl><ucel><ucel><xcel><nl>") == [("lcel", 1, 1)]


def test_white_space_between_rows_is_nothing() -> None:
    assert check_otsl(" <fcel>a <fcel>b <nl>\n<fcel>c<fcel>d<nl>\n") == []


@pytest.mark.parametrize(
    ("html", "otsl"),
    [
        (
            "<table><thead><tr><th>a</th></tr></thead><tbody><tr><td>b</td></tr></tbody></table>",
            "<fcel>a<nl><fcel>b<nl>",
        ),
        ("<p>before</p><TABLE><TR><TD>a</TD></TR></TABLE> after", "<fcel>a<nl>"),
        ("<table><tr><td>a<td>b<tr><td>c<td>d</table>", "<fcel>a<fcel>b<nl><fcel>c<fcel>d<nl>"),
        ("<table><td>a</td></table>", "<fcel>a<nl>"),
        ("<table><tr><td>a</td>", "<fcel>a<nl>"),
        ("<table><caption>C</caption><tr><td>a</td></tr></table>", "<fcel>a<nl>"),
        (table("<td>m<sup>2</sup> <b>x</b>&nbsp;&lt;&amp;&eacute;</td>"), "<fcel>m2 x <&é<nl>"),
        (table("<td>a<br>b<br/><p>c</p></td>"), "<fcel>a\nb\nc<nl>"),
        (table("<td>\n  long\n  text\n</td>"), "<fcel>long text<nl>"),
        (table("<td>&nbsp;</td><td> </td><td></td>"), "<ecel><ecel><ecel><nl>"),
        (table("<td>a</td><td>b</td>", "<td>c</td>"), "<fcel>a<fcel>b<nl><fcel>c<ecel><nl>"),
        (table('<td colspan="x">a</td><td rowspan="-1">b</td>'), "<fcel>a<fcel>b<nl>"),
        (table('<td colspan="0">a</td><td colspan="2;">b</td>'), "<fcel>a<fcel>b<lcel><nl>"),
        (table('<td rowspan="0">a</td><td>b</td>', "<td>c</td>"), "<fcel>a<fcel>b<nl><ucel><fcel>c<nl>"),
        (
            '<table><thead><tr><td rowspan="0">a</td></tr></thead><tr><td>b</td></tr></table>',
            "<fcel>a<nl><fcel>b<nl>",
        ),
        (table('<td rowspan="9">a</td><td>b</td>', "<td>c</td>"), "<fcel>a<fcel>b<nl><ucel><fcel>c<nl>"),
        (
            # The first cell of the second row would overlap b.
            table('<td>a</td><td rowspan="2">b</td>', '<td colspan="2">c</td><td>d</td>'),
            "<fcel>a<fcel>b<ecel><nl><fcel>c<ucel><fcel>d<nl>",
        ),
        ("<table><tr></tr><tr><td>a</td></tr><tr></tr></table>", "<fcel>a<nl>"),
        ("<table><tr><td><script>x()</script><style>y</style>a</td></tr></table>", "<fcel>a<nl>"),
        (table("<td>a<!-- b --></td>"), "<fcel>a<nl>"),
    ],
)
def test_html_is_read_as_a_browser_reads_it(html: str, otsl: str) -> None:
    assert html_to_otsl(html) == otsl
    assert check_otsl(otsl) == []


@pytest.mark.parametrize(
    ("html", "words"),
    [
        ("no table", "there is no <table>"),
        ("", "there is no <table>"),
        (table("<td>a</td>") * 2, "2 tables"),
        (table("<td>a</td>", f"<td>{table('<td>b</td>')}</td>"), "row 2 has a table in a cell"),
        ("<table></table>", "no cell"),
        (table("<td>a</td><td>the &lt;fcel&gt; token</td>"), "row 1, column 2 has the text <fcel>"),
        ("<table>" + '<tr><td colspan="1000">a</td></tr>' * 2000 + "</table>", "positions"),
    ],
)
def test_html_that_otsl_cannot_say_is_refused_in_words(html: str, words: str) -> None:
    with pytest.raises(OcrvlError, match=words) as refused:
        html_to_otsl(html)
    assert refused.value.hint


@given(st.lists(st.sampled_from([
    "<table>", "</table>", "<tr>", "</tr>", "<td>", "<td rowspan=2>", "<td colspan=3>", "<th rowspan=0>", "</td>",
    "<thead>", "</thead>", "a", " ", "\n", "<br>", "&lt;", "&nbsp;", "<b>", "<", "<!--", "-->", "<script>", "</script>",
]), max_size=30).map("".join))  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_any_html_is_refused_in_words_or_becomes_right_otsl_that_stays(soup: str) -> None:
    try:
        otsl = html_to_otsl(f"<table><tr>{soup}")
    except OcrvlError:
        return
    assert check_otsl(otsl) == []
    assert html_to_otsl(otsl_to_html(otsl)) == otsl


def test_a_runaway_output_is_still_drawn() -> None:
    html = otsl_to_html("<fcel>a" + "<lcel>" * 20_000 + "<nl>" + "<fcel>b<nl>" * 20_000)
    assert html.startswith('<table><tr><td colspan="20001">a</td></tr><tr><td>b</td></tr>')


@pytest.mark.parametrize(
    ("markdown", "otsl"),
    [
        ("| a | b |\n|---|:-:|\n| 1 | 2 |", "<fcel>a<fcel>b<nl><fcel>1<fcel>2<nl>"),
        ("a | b\n-|-\n1 | 2\n", "<fcel>a<fcel>b<nl><fcel>1<fcel>2<nl>"),
        ("Text\n\n| a | b |\n| - | - |\n| 1 |\n\nMore", "<fcel>a<fcel>b<nl><fcel>1<ecel><nl>"),
        ("| a \\| b | c<br>d |\n| - | - |", "<fcel>a | b<fcel>c\nd<nl>"),
        ("| **a** |\n| --- |\n| |", "<fcel>**a**<nl><ecel><nl>"),
    ],
)
def test_markdown_tables_become_otsl(markdown: str, otsl: str) -> None:
    assert markdown_to_otsl(markdown) == otsl
    assert check_otsl(otsl) == []


@pytest.mark.parametrize(
    ("markdown", "words"),
    [
        ("no table", "there is no table"),
        ("| a | b |\n| - |\n", "there is no table"),
        ("| a |\n| - |\n| 1 | 2 |", "row 2 has 2 cells"),
        ("| a |\n| - |\n\n| a |\n| - |\n", "2 tables"),
    ],
)
def test_markdown_without_one_sound_table_is_refused_in_words(markdown: str, words: str) -> None:
    with pytest.raises(OcrvlError, match=words):
        markdown_to_otsl(markdown)


def test_a_grid_with_holes_is_filled_with_empty_cells() -> None:
    assert Grid.of([Cell("a", 0, 0), Cell("b", 1, 1)]).to_otsl() == "<fcel>a<ecel><nl><ecel><fcel>b<nl>"
