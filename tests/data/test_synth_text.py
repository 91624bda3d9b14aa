from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageFont

from conftest import Shell
from data.small_datasets import rows_in, target_of
from ocrvl_modal.data.checking.demands import Demands
from ocrvl_modal.data.checking.examining import examine_rows
from ocrvl_modal.data.otsl import check_otsl
from ocrvl_modal.data.rows import read_samples
from ocrvl_modal.data.synthesis.fonts import find_fonts
from ocrvl_modal.data.synthesis.from_text import TextSynthReport, synthesize_text
from ocrvl_modal.data.synthesis.lines import LONGEST, drawable_lines, pieces
from ocrvl_modal.errors import ExitCode, OcrvlError
from ocrvl_modal.models import FAMILY

pytest.importorskip("fontTools")

SAMPLES = {"train": 8, "validation": 2, "test": 2}
SENTENCES = [f"Line {number} says something of its own, {number * 37}." for number in range(14)]


def corpus(folder: Path, *more: str) -> Path:
    path = folder / "corpus.txt"
    path.write_text("\n".join([*SENTENCES, *more]), encoding="utf-8")
    return path


def font_with(path: Path, characters: str) -> Path:
    """A font that can draw these characters only: each a square of the same size."""
    from fontTools.fontBuilder import FontBuilder
    from fontTools.pens.ttGlyphPen import TTGlyphPen

    pen = TTGlyphPen(None)
    pen.moveTo((100, 0))
    for corner in ((100, 700), (600, 700), (600, 0)):
        pen.lineTo(corner)
    pen.closePath()
    square = pen.glyph()
    names = {ord(character): f"u{ord(character):04X}" for character in characters}
    order = [".notdef", *names.values()]
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(order)
    builder.setupCharacterMap(names)
    builder.setupGlyf(dict.fromkeys(order, square))
    builder.setupHorizontalMetrics(dict.fromkeys(order, (700, 100)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": path.stem, "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    path.parent.mkdir(parents=True, exist_ok=True)
    builder.save(path)
    return path


def make(text: Path, out: Path, *fonts: Path, **options: Any) -> TextSynthReport:
    return synthesize_text(text, out, fonts, **{"samples": SAMPLES, **options})


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("kind", ["lines", "tables"])
def test_what_is_made_has_nothing_wrong_with_it(tmp_path: Path, kind: str) -> None:
    report = make(corpus(tmp_path), tmp_path / "out", kind=kind)
    member = FAMILY["paddleocr-vl-1.6"]
    demands = Demands(tuple(member.prompts.values()), member.pixels, 4096)
    for split, count in SAMPLES.items():
        examined = list(examine_rows(report.folder / f"{split}.jsonl", demands))
        assert [row.findings for row in examined] == [()] * count
    if kind == "tables":
        assert all(check_otsl(target_of(row)) == [] for row in rows_in(report.train))


def test_lines_are_drawn_with_ink_on_paper_and_none_is_cut(tmp_path: Path) -> None:
    report = make(corpus(tmp_path), tmp_path / "out")
    for sample in read_samples(report.train):
        assert sample.target in SENTENCES
        with Image.open(sample.image) as image:
            grey = image.convert("L")
            darkest, lightest = grey.getextrema()
            assert lightest - darkest > 60
            assert image.width > 4 * len(sample.target)
            edge = grey.crop((0, 0, grey.width, 2)).getextrema()[0]
            assert edge > darkest + 40


@pytest.mark.parametrize("kind", ["lines", "tables"])
def test_no_line_is_in_two_files(tmp_path: Path, kind: str) -> None:
    report = make(corpus(tmp_path), tmp_path / "out", kind=kind)
    said = [
        {sentence.split()[1] for sentence in SENTENCES if any(f"Line {sentence.split()[1]} " in row for row in rows)}
        for rows in (rows_in(report.folder / f"{split}.jsonl") for split in SAMPLES)
    ]
    assert all(said)
    assert sum(map(len, said)) == len(set.union(*said))


def test_every_line_is_drawn_before_any_is_drawn_again(tmp_path: Path) -> None:
    report = make(corpus(tmp_path), tmp_path / "out", samples={"train": 24, "validation": 2, "test": 2})
    targets = [target_of(row) for row in rows_in(report.train)]
    different = len(set(targets))
    assert 3 < different < 24
    assert len(set(targets[:different])) == different


def test_the_same_seed_gives_the_same_files_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        make(corpus(tmp_path), tmp_path / name, seed=seed)
    a, b, c = ({key: value for key, value in digests(tmp_path / name).items() if "synth" not in key} for name in "abc")
    assert a == b
    assert a["images/train-00000.jpg"] != c["images/train-00000.jpg"]


def test_a_line_that_no_font_has_is_left_out_and_its_characters_are_named(tmp_path: Path) -> None:
    report = make(corpus(tmp_path, "Ж is not there", "nor is Ж or Щ"), tmp_path / "out")
    assert report.dropped == 2
    assert dict(report.missing) == {"Ж": 2, "Щ": 1}
    assert report.lines == len(SENTENCES)
    assert not any("Ж" in row for split in SAMPLES for row in rows_in(report.folder / f"{split}.jsonl"))


def test_a_line_goes_to_a_font_that_has_all_of_it(tmp_path: Path) -> None:
    latin = font_with(tmp_path / "fonts" / "latin.ttf", "abc ")
    both = font_with(tmp_path / "fonts" / "both.ttf", "abcЖ ")
    (tmp_path / "fonts" / "notes.ttf").write_text("no font")
    text = tmp_path / "text.txt"
    text.write_text("abc\nab Ж\nabé\n", encoding="utf-8")
    found = drawable_lines(text, find_fonts([tmp_path / "fonts"]))
    assert {line: {font.path for font in fonts} for line, fonts in found.lines} == {
        "abc": {latin, both},
        "ab Ж": {both},
    }
    assert (found.dropped, dict(found.missing)) == (1, {"é": 1})


def test_a_letter_that_its_parts_can_make_is_not_missing(tmp_path: Path) -> None:
    (font,) = find_fonts([font_with(tmp_path / "parts.ttf", "e\u0301")])
    assert font.lacks("e\u0301\u200d é") == set()


def test_a_named_file_that_is_no_font_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.ttf").write_text("no font")
    with pytest.raises(OcrvlError, match="is no font") as caught:
        find_fonts([tmp_path / "broken.ttf"])
    assert caught.value.code is ExitCode.DATA_INVALID
    with pytest.raises(OcrvlError, match="there is no font"):
        find_fonts([tmp_path])


def test_letters_that_must_be_shaped_are_refused_where_pillow_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import PIL.features

    monkeypatch.setattr(PIL.features, "check", lambda feature: feature != "raqm")
    font = font_with(tmp_path / "bengali.ttf", "আমার ")
    text = tmp_path / "text.txt"
    text.write_text(
        "\n".join("আমার"[:size] for size in range(1, 5)) + "\n" + "\n".join("মআর "[n:] + "ম" * n for n in range(9))
    )
    with pytest.raises(OcrvlError, match="bengali cannot be drawn right"):
        make(text, tmp_path / "out", font)
    assert not (tmp_path / "out").exists()


def test_long_lines_are_cut_between_words_and_never_before_a_mark() -> None:
    words = "word " * 60
    cut = list(pieces(words.strip()))
    assert all(len(piece) <= LONGEST for piece in cut)
    assert " ".join(cut) == words.strip()
    marked = list(pieces("ab\u0301" * 80))
    assert "".join(marked) == "ab\u0301" * 80
    assert not any(piece.startswith("\u0301") for piece in marked)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"\xff\xfe\x00", "not UTF-8, from byte 1"), (b"one\ntwo\n", "at least 9 are needed"), (None, "no text file")],
)
def test_a_text_that_cannot_be_used_is_refused(tmp_path: Path, content: bytes | None, said: str) -> None:
    text = tmp_path / "text.txt"
    if content is not None:
        text.write_bytes(content)
    with pytest.raises(OcrvlError, match=said):
        make(text, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_pipe_is_refused_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OcrvlError, match="is no file"):
        drawable_lines(tmp_path / "pipe", find_fonts([]))


def test_joiners_stay_and_other_characters_without_a_look_go(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("a\u200cb c\u200dd\ne\u200bf\u0007\ufeff\n", encoding="utf-8")
    assert [line for line, _ in drawable_lines(text, find_fonts([])).lines] == ["a\u200cb c\u200dd", "ef"]


def test_marks_of_the_model_never_become_targets(tmp_path: Path) -> None:
    report = make(corpus(tmp_path, "an <image> here", "the end </s>"), tmp_path / "out")
    assert report.reserved == 2


def test_a_made_dataset_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    text = corpus(tmp_path)
    make(text, tmp_path / "out")
    make(text, tmp_path / "out", kind="tables")
    (tmp_path / "out" / "images" / "mine.png").write_bytes(b"")
    with pytest.raises(OcrvlError, match="not a made-up dataset"):
        make(text, tmp_path / "out")


def test_the_built_in_font_is_the_one_that_pillow_draws_with() -> None:
    (font,) = find_fonts([])
    built_in = ImageFont.load_default(30)
    assert isinstance(built_in, ImageFont.FreeTypeFont)
    assert font.at(30).getname() == built_in.getname()
    assert font.lacks("Abc, 12") == set()
    assert font.lacks("漢") == {"漢"}


def test_the_command_names_what_it_left_out(bare_shell: Shell) -> None:
    corpus(bare_shell.cwd, "Ж")
    said = bare_shell(
        "data", "synth", "--text", "corpus.txt", "--out", "made", "--train", "3", "--validation", "1", "--test", "1"
    )
    assert "Ж (U+0416)" in said.err
    assert "14 lines of corpus.txt, in the built-in font" in said.out
    assert bare_shell("data", "synth", "--out", "x", "--kind", "tables", code=2).err.count("--text") == 1


def test_fonts_without_fonttools_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(OcrvlError, match="fonttools") as caught:
        find_fonts([])
    assert "ocrvl-modal[data]" in caught.value.hint
