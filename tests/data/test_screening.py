from __future__ import annotations

import json
import random
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.datasets import DEMANDS, PROMPTS, erniekit_row, messages_row

from ocrvl_modal.data.checking import chunks
from ocrvl_modal.data.checking.chunks import Chunk, chunks_of, lines_of_chunk
from ocrvl_modal.data.checking.examining import examine_rows
from ocrvl_modal.data.checking.latex import find_imbalance, surely_balances
from ocrvl_modal.data.checking.lengths import TextLengths
from ocrvl_modal.data.checking.part import PartChecker, Task
from ocrvl_modal.data.checking.screening import SPACES, Screen
from ocrvl_modal.data.checking.tally import Tally
from ocrvl_modal.data.checking.texts import find_loop

# Pieces of which anything that a check looks for can come about.
PIECES = st.sampled_from(
    [
        *(
            "a",
            "Ω",
            "é",
            "e\u0301",
            "আ",
            "的",
            " ",
            "\n",
            "\t",
            "\x07",
            "\x7f",
            "\x85",
            "\u3000",
            "\b",
            "\f",
            "\\",
            '"',
        ),
        *("<fcel>", "<ecel>", "<lcel>", "<ucel>", "<xcel>", "<nl>", "1", "2 ", "<td>", "cel>", "<", ">"),
        *("{", "}", "\\{", "\\left(", "\\right)", "\\leftarrow", "\\begin{a}", "\\end{a}", "$", "\\[", "\\]", "\\\\"),
        *(
            " | ",
            "|",
            "--",
            "|---|\n",
            "<|LOC_1|>",
            "<|LOC_1|>" * 8,
            "<|LOC_1001|>",
            "</s>",
            "<image>",
            "<|IMAGE_END|>",
        ),
        *("ab " * 30, "." * 70, "a longer text of some words without an end, so that there is enough to look at. "),
        *("[1]", '{"a": 1}', "<table>", "OTSL", "\ud7ff", "\U0001f600"),
    ]
)
# Of these nothing is wrong with any, so that whole blocks are right, or all right but for one.
RIGHT = st.sampled_from(
    [
        "<fcel>1<ecel><nl>",
        "<fcel>1<ecel><nl><ecel><fcel>2<nl>",
        "<fcel>1\n<nl>",
        "\\[ x_{i} \\]",
        "\\[ \\left( a \\right) \\]",
    ]
)
TABLE_PARTS = st.sampled_from(["<fcel>", "<fcel>1", "<ecel>", "<nl>", "<nl>\n", "x", "<ecel> ", "\n<fcel>1"])
TARGETS = st.one_of(
    st.lists(PIECES, max_size=9).map("".join), RIGHT, RIGHT, st.lists(TABLE_PARTS, max_size=6).map("".join)
)
PROMPT = st.sampled_from([*PROMPTS, "OCR", "OCR: ", ""])
IMAGE = st.sampled_from(
    ["a.png", "./a.png", "/a.png", "../a.png", "b/c.png", "http://x/a.png", "data:x", "", "a:b", "x" * 5000]
)


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    """A row of either form, whole or damaged, or something else."""
    make = draw(st.sampled_from([messages_row, messages_row, erniekit_row]))
    row = make(draw(TARGETS), draw(PROMPT), draw(IMAGE))
    odd = draw(st.integers(0, 15))
    if odd == 0:
        row["images" if "images" in row else "image_info"] = draw(st.sampled_from([[], ["a", "b"], None, "a", [1]]))
    if odd == 1:
        row[draw(st.sampled_from(["system", "label", "extra", "is_system"]))] = draw(
            st.sampled_from([0, 1, "", "x", [1], [0]])
        )
    line = json.dumps(row, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    if odd == 2:
        cut = draw(st.integers(0, len(line)))
        line = (
            line[:cut]
            + draw(st.sampled_from([b"", b"\xff", b"\x00", b"\n", b"}", b"\\u0007", b"\\ud800"]))
            + line[cut:]
        )
    if odd == 3:
        # Rows that share a line, and rows of several lines, which together are as many rows as lines.
        broken = line.replace(b"{", b"\n{", draw(st.integers(1, 3))).lstrip(b"\n")
        line = draw(st.sampled_from([line + line, line + b" " + line, broken, line + broken, line + line + b"\n"]))
    return draw(st.sampled_from([line, line, line, line + b"\r", b"", b"  ", b" " + line]))


def tallied(path: Path, chunk_bytes: int) -> Tally:
    task = Task(path, path.stat().st_size, DEMANDS, "none", True, None, 1000)
    checker, tally = PartChecker(task), Tally(1000)
    for chunk in chunks_of(task.size_bytes, chunk_bytes):
        tally.extend(checker.check(chunk))
    return tally


def found_by_screen(path: Path, chunk_bytes: int) -> Counter[tuple[int | None, str, str]]:
    groups = tallied(path, chunk_bytes).found.values()
    # Where an image lies is told of clean rows without its place in a row of the other form.
    return Counter((one.line, one.kind, one.message) for group in groups for one in group.examples)


def found_by_examining(path: Path) -> Counter[tuple[int | None, str, str]]:
    rows = examine_rows(path, DEMANDS, images=False)
    return Counter((one.line, one.kind, one.message) for row in rows for one in row.findings if one.line)


@settings(max_examples=60, deadline=None)
@given(st.lists(lines(), min_size=1, max_size=12), st.integers(1, 4000), st.integers(1, 4000))
def test_screen_and_examination_find_what_examination_alone_finds(
    tmp_path_factory: pytest.TempPathFactory, content: list[bytes], chunk_bytes: int, block_bytes: int
) -> None:
    _prove_equal(tmp_path_factory.mktemp("rows"), content, chunk_bytes, block_bytes)


@pytest.mark.slow
@settings(max_examples=2000, deadline=None)
@given(st.lists(lines(), min_size=1, max_size=20), st.integers(1, 9000), st.integers(1, 9000))
def test_screen_and_examination_agree_on_many_rows(
    tmp_path_factory: pytest.TempPathFactory, content: list[bytes], chunk_bytes: int, block_bytes: int
) -> None:
    _prove_equal(tmp_path_factory.getbasetemp(), content, chunk_bytes, block_bytes)


def _prove_equal(folder: Path, content: list[bytes], chunk_bytes: int, block_bytes: int) -> None:
    path = folder / "train.jsonl"
    path.write_bytes(b"\n".join([*content, json.dumps(messages_row()).encode()]))
    if path.read_bytes().lstrip().startswith(b"["):
        return
    before, chunks.BLOCK_BYTES = chunks.BLOCK_BYTES, block_bytes
    try:
        assert found_by_screen(path, chunk_bytes) == found_by_examining(path)
    finally:
        chunks.BLOCK_BYTES = before
    rows = [row for row in examine_rows(path, DEMANDS, images=False) if row.row or row.findings[0].kind != "blank_line"]
    tally = tallied(path, chunk_bytes)
    assert tally.rows == len(rows)
    assert tally.samples == sum(not row.has_error for row in rows)
    assert tally.lines == path.read_bytes().count(b"\n") + 1


@pytest.mark.parametrize(
    "broken",
    [
        *(
            "<fcel>1<nl><fcel>1<fcel>2<nl>",
            "<fcel>1<ecel><nl><nl>",
            "<nl><nl>",
            "<nl>",
            "<fcel>1<ecel>",
            "x<fcel>1<nl>",
        ),
        *("<fcel><ecel><nl>", "<fcel> <ecel><nl>", "<fcel>1<ecel>x<nl>", "<fcel>1<nl>x", "<fcel>1<td>2<nl>", "1", ""),
        *("<fcel>1<lcel><nl>", "<lcel><fcel>1<nl>", "<fcel>1<nl>\n\n<fcel>2<nl>", "<fcel>1<nl>\n<nl>"),
    ],
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_broken_table_among_right_ones_is_found(tmp_path: Path, broken: str, place: int) -> None:
    targets = ["<fcel>1<ecel><nl><ecel><fcel>2<nl>"] * 2
    targets.insert(place, broken)
    rows = [messages_row(target, "Table Recognition:", f"{number}.png") for number, target in enumerate(targets)]
    _prove_equal(tmp_path, [json.dumps(row).encode() for row in rows], 4000, 4000)


@pytest.mark.parametrize(
    "broken", ["\\[ { \\]", "\\[ } \\]", "\\[ \\left( \\]", "{ x }}", "\\[ x", "\\[ </s> \\]", "\\[\\]"]
)
def test_one_broken_formula_among_right_ones_is_found(tmp_path: Path, broken: str) -> None:
    targets = ["\\[ } \\]", broken, "\\[ { \\]", "\\[ x \\]"]
    for among in (targets, targets[1:2] + targets[3:]):
        rows = [messages_row(target, "Formula Recognition:", f"{number}.png") for number, target in enumerate(among)]
        _prove_equal(tmp_path, [json.dumps(row).encode() for row in rows], 4000, 4000)


@pytest.mark.parametrize(
    "content", ["{row}{row}\n{row}\n\n", "{row}{row}\n\n{row}\n", "{row} {row}\n{broken}\n", "{broken}\n{row}{row}\n"]
)
def test_as_many_rows_as_lines_are_not_taken_for_a_row_a_line(tmp_path: Path, content: str) -> None:
    row = json.dumps(messages_row())
    lines = content.replace("{row}", row).replace("{broken}", row.replace("[{", "[\n{", 1))
    _prove_equal(tmp_path, [lines.encode().removesuffix(b"\n")], 4000, 4000)


@pytest.mark.parametrize(
    ("prompt", "target"),
    [
        ("OCR:", "402 km"),
        ("OCR:", "বাংলা ভাষা, Ελληνικά, русский, 中文"),
        ("OCR:", "- a\n-- b <b>c</b> | d"),
        ("Table Recognition:", "<fcel>1<ecel><ecel><nl><ecel><fcel>x y<fcel>3<nl>"),
        ("Formula Recognition:", r"\[ \frac{a}{b} + \left( x_{i} \right) \]"),
        ("Formula Recognition:", r"\alpha + \beta"),
        ("Chart Recognition:", "Year | A\n2001 | 4"),
        ("Spotting:", "402" + "<|LOC_1|>" * 8),
    ],
)
def test_what_is_usual_passes_the_screen(prompt: str, target: str) -> None:
    for make in (messages_row, erniekit_row):
        block = json.dumps(make(target, prompt), ensure_ascii=False).encode()
        clean, others = Screen(DEMANDS, TextLengths()).screen([block, block])
        assert (list(clean.numbers), others) == ([0, 1], []) or prompt == "Spotting:"


def test_the_screen_knows_all_white_space() -> None:
    assert set(SPACES) == set(filter(str.isspace, map(chr, range(sys.maxunicode + 1))))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(["{", "}", "x", "\\left", "\\right", "(", "\\{", "\\", "[", "\\[", "\\]", "$", "\\\\"]),
        max_size=12,
    )
)
def test_the_quick_look_at_a_formula_is_never_too_kind(pieces: list[str]) -> None:
    text = "".join(pieces)
    assert not (surely_balances(text) and find_imbalance(text))


@pytest.mark.parametrize(
    "text",
    [r"\left\{ a \right.", r"a \\[2pt] b", r"\begin{array}{c} a \end{array}", "$$a$$", "$a$ b $c$", r"\(a\)", r"\$5"],
)
def test_formulas_that_balance(text: str) -> None:
    assert find_imbalance(text) == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a}", "} at character 2 closes nothing"),
        ("{a", "{ at character 1 is never closed"),
        (r"\left( a", r"\left at character 1 is never closed"),
        (r"{\left( a } \right)", r"} at character 11 closes \left at character 2"),
        (r"\begin{a}\end{b}", r"\end{b} at character 10 closes \begin{a} at character 1"),
        ("$a", "$ at character 1 is never closed"),
        (r"\[ a", r"\[ at character 1 is never closed"),
    ],
)
def test_formulas_that_do_not_balance_are_told_with_the_place(text: str, words: str) -> None:
    assert find_imbalance(text) == words


@pytest.mark.parametrize(
    ("text", "loop"),
    [
        ("Page 4 " + "ab " * 30, ("ab ", 30)),
        ("x" * 90 + "</table>", ("x", 90)),
        ("ha ha ha ha. " * 12, ("ha ha ha ha. ", 12)),
        ("." * 200, None),
        ("1 2 " * 50, None),
        ("ab " * 7, None),
    ],
)
def test_a_loop_is_what_has_letters_and_goes_on_to_the_end(text: str, loop: tuple[str, int] | None) -> None:
    found = find_loop(text)
    assert (found and (sorted(found[0]), found[1])) == (loop and (sorted(loop[0]), loop[1]))


def test_chunks_have_every_line_once(tmp_path: Path) -> None:
    chance = random.Random(1)
    path = tmp_path / "lines"
    for _ in range(200):
        content = b"".join(b"x" * chance.choice([0, 0, 1, 5, 40]) + b"\n" for _ in range(chance.randrange(12)))
        path.write_bytes(content + chance.choice([b"", b"last"]))
        size = path.stat().st_size
        parts = [b"".join(lines_of_chunk(path, chunk)) for chunk in chunks_of(size, chance.randrange(1, 60))]
        assert b"".join(parts) == path.read_bytes()


def test_a_byte_order_mark_is_left_out_of_the_first_chunk_only(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n")
    assert list(lines_of_chunk(path, Chunk(0, 5))) == [b"a\n"]
    assert list(lines_of_chunk(path, Chunk(5, 10))) == [b"\xef\xbb\xbfb\n"]
