"""Each source format becomes samples: the right image, the right target, and nothing lost without a word."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from data import sources
from data.sources import BOXES, COLOURS, HEIGHT, WIDTH, corners, draw_page
from ocrvl_modal.data.checking.demands import Demands
from ocrvl_modal.data.checking.whole import How, check_dataset
from ocrvl_modal.data.converting.columns import Columns
from ocrvl_modal.data.converting.conversion import ConversionReport, convert
from ocrvl_modal.data.converting.crops import crop
from ocrvl_modal.data.converting.formats import FORMATS, Source, detect
from ocrvl_modal.data.converting.samples import Wish
from ocrvl_modal.data.otsl import check_otsl
from ocrvl_modal.data.rows import read_samples
from ocrvl_modal.errors import ExitCode, OcrvlError
from ocrvl_modal.models import DEFAULT_MODEL, FAMILY


def converted(source: Path, out: Path, wish: Wish | None = None, **options: Any) -> ConversionReport:
    read = Source(source, options.pop("columns", Columns()), options.pop("roots", ()))
    return convert(
        str(source), read, options.pop("read_as", None) or detect(source), out, wish=wish or Wish(), **options
    )


def targets(report: ConversionReport) -> list[str]:
    return [sample.target for sample in read_samples(report.rows)]


def dropped(report: ConversionReport) -> list[dict[str, str]]:
    return [json.loads(line) for line in (report.folder / "dropped.jsonl").read_text("utf-8").splitlines()]


def is_of_colour(path: Path, colour: str) -> bool:
    with Image.open(path) as image:
        middle = image.convert("RGB").getpixel((image.width // 2, image.height // 2))
    wanted = Image.new("RGB", (1, 1), colour).getpixel((0, 0))
    return all(abs(a - b) < 40 for a, b in zip(middle, wanted, strict=True))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", sources.MAKERS)
def test_a_source_is_told_by_its_looks(kind: str, tmp_path: Path) -> None:
    make, name = sources.MAKERS[kind]
    assert detect(make(tmp_path / "source")) == name


def test_every_format_has_a_source_in_the_tests() -> None:
    assert {name for _, name in sources.MAKERS.values()} == set(FORMATS)


EXPECTED = {
    "paddle recognition": ["one", "two\tparts"],
    "pairs": ["one", "two\nlines", "# Three"],
    "tsv": ["one"],
    "parquet": ["text 0", "text 1", "text 2"],
    "rows": ["one"],
}


@pytest.mark.parametrize("kind", EXPECTED)
def test_whole_images_get_their_text(kind: str, tmp_path: Path) -> None:
    make, _ = sources.MAKERS[kind]
    report = converted(make(tmp_path / "source"), tmp_path / "out")
    assert targets(report) == EXPECTED[kind]
    assert dict(report.by_task) == {"text": len(EXPECTED[kind])}
    for sample in read_samples(report.rows):
        assert sample.prompt == "OCR:"
        assert sample.image.is_relative_to(tmp_path / "out")
        with Image.open(sample.image) as image:
            assert image.size == (WIDTH, HEIGHT)
    assert dropped(report) == []


LINES = {
    "paddle detection": (["one", "two"], 1),
    "coco-text": (["one", "two"], 1),
    "icdar": (["one", "two"], 1),
    "page": (["two", "one"], 0),
    "alto": (["o ne-", "t wo-"], 0),
}


@pytest.mark.parametrize("kind", LINES)
def test_labelled_lines_are_cut_out_with_their_text(kind: str, tmp_path: Path) -> None:
    make, _ = sources.MAKERS[kind]
    texts, ignored = LINES[kind]
    report = converted(make(tmp_path / "source"), tmp_path / "out")
    samples = read_samples(report.rows)
    assert [sample.target for sample in samples] == texts
    assert [drop["reason"] for drop in dropped(report)] == ["ignored"] * ignored
    for sample in samples:
        key = {"o": "one", "t": "two"}[sample.target[0]]
        assert is_of_colour(sample.image, COLOURS[key])
        left, top, right, bottom = BOXES[key]
        with Image.open(sample.image) as image:
            assert image.size == (right - left, bottom - top)


@pytest.mark.parametrize("kind", LINES)
def test_spotting_keeps_the_page_and_names_the_places(kind: str, tmp_path: Path) -> None:
    make, _ = sources.MAKERS[kind]
    texts, ignored = LINES[kind]
    report = converted(make(tmp_path / "source"), tmp_path / "out", Wish("spotting"))
    assert [drop["reason"] for drop in dropped(report)] == ["ignored"] * ignored
    (sample,) = read_samples(report.rows)
    assert sample.prompt == "Spotting:"
    lines = sample.target.split("\n")
    assert [line.partition("<")[0] for line in lines] == texts
    first = BOXES[{"o": "one", "t": "two"}[texts[0][0]]]
    places = [
        round(1000 * x / WIDTH) if n == 0 else round(1000 * x / HEIGHT) for c in corners(first) for n, x in enumerate(c)
    ]
    assert lines[0] == texts[0] + "".join(f"<|LOC_{place}|>" for place in places)
    with Image.open(sample.image) as image:
        assert image.size == (WIDTH, HEIGHT)


@pytest.mark.parametrize("task", [None, "spotting"])
@pytest.mark.parametrize("kind", LINES)
def test_what_comes_out_passes_the_check(kind: str, task: str | None, tmp_path: Path) -> None:
    make, _ = sources.MAKERS[kind]
    report = converted(make(tmp_path / "source"), tmp_path / "out", Wish(task))
    model = FAMILY[DEFAULT_MODEL]
    demands = Demands(tuple(model.prompts.values()), model.pixels, 4096)
    checked = check_dataset(report.rows, demands, How(processes=1))
    assert (checked.samples, checked.errors) == (report.samples, 0)


def test_a_page_of_lines_can_stay_one_sample_with_its_text_in_reading_order(tmp_path: Path) -> None:
    report = converted(sources.page_xml(tmp_path / "source"), tmp_path / "out", Wish(unit="page"))
    assert targets(report) == ["two\none"]


def test_a_slanted_line_is_straightened_and_its_first_corner_becomes_the_top_left(tmp_path: Path) -> None:
    image = Image.new("RGB", (100, 100), "white")
    for x in range(40, 60):
        for y in range(10, 90):
            image.putpixel((x, y), (255, 0, 0) if y < 50 else (0, 0, 255))
    (tmp_path / "source").mkdir()
    image.save(tmp_path / "source" / "a.png")
    # The line runs from the bottom to the top of the page.
    label = [{"transcription": "up", "points": [[40, 90], [40, 10], [60, 10], [60, 90]]}]
    (tmp_path / "source" / "Label.txt").write_text(f"a.png\t{json.dumps(label)}\n")
    report = converted(tmp_path / "source" / "Label.txt", tmp_path / "out")
    (sample,) = read_samples(report.rows)
    with Image.open(sample.image) as crop:
        assert crop.size == (80, 20)
        assert crop.getpixel((10, 10)) == (0, 0, 255)
        assert crop.getpixel((70, 10)) == (255, 0, 0)


def test_the_perspective_of_four_corners_is_undone() -> None:
    """A chessboard is drawn as it is seen at an angle, by the cross ratio, and becomes one again."""
    vanishing = 300.0
    page = Image.new("RGB", (200, 140), "grey")
    draw = ImageDraw.Draw(page)

    def seen(x: float, y: float) -> tuple[float, float]:
        # A camera that looks along the board: what is further to the right is smaller.
        away = vanishing / (vanishing + x)
        return 20 + x * away * 1.5, 70 + (y - 20) * away * 2

    for column in range(4):
        for row in range(2):
            left, top = column * 20, row * 20
            square = [seen(x, y) for x, y in ((left, top), (left + 20, top), (left + 20, top + 20), (left, top + 20))]
            draw.polygon(square, fill="white" if (column + row) % 2 else "black")
    straight = crop(page, (seen(0, 0), seen(80, 0), seen(80, 40), seen(0, 40))).resize((80, 40))
    middles = [[straight.getpixel((column * 20 + 10, row * 20 + 10)) for column in range(4)] for row in range(2)]
    black, white = (0, 0, 0), (255, 255, 255)
    assert middles == [[black, white, black, white], [white, black, white, black]]
    edge = straight.getpixel((18, 10)), straight.getpixel((22, 10))
    assert edge[0][0] < 64 and edge[1][0] > 192  # type: ignore[index]


def test_around_a_polygon_is_paper_and_not_the_neighbour() -> None:
    image = Image.new("RGB", (60, 40), (250, 240, 220))
    for x in range(60):
        for y in range(30, 40):
            image.putpixel((x, y), (0, 0, 0))
    part = crop(image, ((0, 0), (60, 0), (60, 20), (30, 35), (0, 20)))
    assert part.size == (60, 35)
    assert part.getpixel((2, 33)) == (250, 240, 220)
    assert part.getpixel((30, 32)) == (0, 0, 0)


def test_points_of_a_page_of_another_scale_are_scaled_and_of_another_shape_refused(tmp_path: Path) -> None:
    source = sources.page_xml(tmp_path / "source")
    with Image.open(source / "scan.png") as image:
        image.resize((WIDTH // 2, HEIGHT // 2)).save(source / "scan.png")
    report = converted(source, tmp_path / "out")
    (first, _) = read_samples(report.rows)
    assert is_of_colour(first.image, COLOURS["two"])
    draw_page(source / "scan.png")
    with Image.open(source / "scan.png") as image:
        image.crop((0, 0, 150, 100)).save(source / "scan.png")
    with pytest.raises(OcrvlError, match="size_mismatch"):
        converted(source, tmp_path / "out")


def test_a_page_that_is_stored_turned_is_turned_where_the_source_says_so(tmp_path: Path) -> None:
    source = sources.page_xml(tmp_path / "source")
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(draw_page(source / "scan.png")) as image:
        image.rotate(90, expand=True).save(source / "scan.png", exif=exif)
    lines = read_samples(converted(source, tmp_path / "out").rows)
    assert [is_of_colour(line.image, COLOURS[line.target]) for line in lines] == [True, True]
    (page,) = read_samples(converted(source, tmp_path / "out", Wish("spotting")).rows)
    with Image.open(page.image) as image:
        assert image.size == (WIDTH, HEIGHT)
        assert image.getexif().get(0x0112) in (None, 1)


def test_html_and_markdown_of_pairs_become_otsl(tmp_path: Path) -> None:
    folder = tmp_path / "source"
    html = '<table><tr><td colspan="2">a</td></tr><tr><td>b</td><td>c</td></tr></table>'
    for name, text in {"a.html": html, "b.md": "| a | b |\n|---|---|\n| c | d |", "c.txt": "<fcel>a<nl>"}.items():
        draw_page(folder / f"{name[0]}.png")
        (folder / name).write_text(text)
    (folder / "d.html").write_text("<table><tr><td><table></table></td></tr></table>")
    draw_page(folder / "d.png")
    report = converted(folder, tmp_path / "out", Wish("table"))
    samples = read_samples(report.rows)
    assert {sample.prompt for sample in samples} == {"Table Recognition:"}
    assert [sample.target for sample in samples] == [
        "<fcel>a<lcel><nl><fcel>b<fcel>c<nl>",
        "<fcel>a<fcel>b<nl><fcel>c<fcel>d<nl>",
        "<fcel>a<nl>",
    ]
    assert [check_otsl(sample.target) for sample in samples] == [[], [], []]
    assert [(drop["origin"], drop["reason"]) for drop in dropped(report)] == [("d.png", "bad_table")]


def test_html_is_a_table_where_no_task_is_given_and_refused_where_text_is(tmp_path: Path) -> None:
    for name in ("a", "b"):
        draw_page(tmp_path / "source" / f"{name}.png")
    (tmp_path / "source" / "a.html").write_text("<table><tr><td>x</td></tr></table>")
    (tmp_path / "source" / "b.txt").write_text("y")
    assert dict(converted(tmp_path / "source", tmp_path / "out").by_task) == {"table": 1, "text": 1}
    report = converted(tmp_path / "source", tmp_path / "out", Wish("text"))
    assert (report.samples, dict(report.dropped)) == (1, {"needs_task": 1})


@pytest.mark.parametrize(
    ("task", "text", "target"),
    [
        ("formula", "x^2", r"\[ x^2 \]"),
        ("formula", "$$x^2$$", r"\[ x^2 \]"),
        ("formula", r"\[ x \]", r"\[ x \]"),
        ("chart", "| a | b |\n|-|-|\n| 1 | 2 |", "a | b\n1 | 2"),
        ("chart", "a | b\n1 | 2", "a | b\n1 | 2"),
        ("seal", "ROUND", "ROUND"),
    ],
)
def test_each_task_s_target_has_the_models_own_form(task: str, text: str, target: str, tmp_path: Path) -> None:
    draw_page(tmp_path / "source" / "a.png")
    (tmp_path / "source" / "a.txt").write_text(text)
    report = converted(tmp_path / "source", tmp_path / "out", Wish(task))
    assert targets(report) == [target]


def test_a_chart_with_a_bar_in_a_cell_and_a_line_with_a_place_are_refused(tmp_path: Path) -> None:
    draw_page(tmp_path / "source" / "a.png")
    (tmp_path / "source" / "a.md").write_text("| a \\| b | c |\n|-|-|\n| 1 | 2 |")
    with pytest.raises(OcrvlError, match="bad_chart"):
        converted(tmp_path / "source", tmp_path / "out", Wish("chart"))
    label = sources.paddle_detection(tmp_path)
    label.write_text(label.read_text().replace('"one"', '"<|LOC_5|>"'))
    with pytest.raises(OcrvlError, match="reserved_text"):
        converted(label, tmp_path / "out", Wish("spotting"))


def test_a_prompt_of_ones_own_is_asked(tmp_path: Path) -> None:
    report = converted(sources.pairs(tmp_path / "source"), tmp_path / "out", Wish(prompt="Ledger:"))
    assert {sample.prompt for sample in read_samples(report.rows)} == {"Ledger:"}
    with pytest.raises(OcrvlError, match="cannot be a prompt"):
        converted(tmp_path / "source", tmp_path / "out", Wish(prompt="<image>OCR:"))


def test_rows_go_from_one_form_to_the_other_and_back_unchanged(tmp_path: Path) -> None:
    source = sources.rows(tmp_path / "source")
    there = converted(source, tmp_path / "there", rows_format="messages")
    assert '"messages"' in there.rows.read_text()
    back = converted(there.rows, tmp_path / "back", rows_format="erniekit", images="reference")
    row, original = json.loads(back.rows.read_text()), json.loads(source.read_text())
    image = Path(row["image_info"][0].pop("image_url"))
    assert image.read_bytes() == (tmp_path / "source" / "images" / "a.png").read_bytes()
    original["image_info"][0].pop("image_url")
    assert row == original


def test_an_address_stays_one_for_localize_to_fetch(tmp_path: Path) -> None:
    report = converted(sources.csv(tmp_path / "source"), tmp_path / "out")
    rows = [json.loads(line) for line in report.rows.read_text().splitlines()]
    assert [row["messages"][1]["content"] for row in rows] == ["one, two\nthree", "two"]
    assert rows[1]["images"] == ["https://example.org/b.png"]


@pytest.mark.parametrize("mode", ["copy", "link", "reference"])
def test_files_are_copied_linked_or_only_named(mode: str, tmp_path: Path) -> None:
    source = sources.pairs(tmp_path / "source")
    original = source / "below" / "a.png"
    (image, *_) = (sample.image for sample in read_samples(converted(source, tmp_path / "out", images=mode).rows))
    assert image.read_bytes() == original.read_bytes()
    assert (image == original) == (mode == "reference")
    assert image.samefile(original) == (mode != "copy")


def test_everything_that_gives_no_sample_is_told_with_its_reason(tmp_path: Path) -> None:
    folder = tmp_path / "source"
    for name in ("good", "blank", "marked", "alone"):
        draw_page(folder / f"{name}.png")
    (folder / "empty.png").touch()
    (folder / "fake.png").write_text("no image")
    label = b"good.png\tone\ngood.png\nmissing.png\tx\nempty.png\tx\nfake.png\tx\nblank.png\t  \nmarked.png\ta</s>\n"
    (folder / "label.txt").write_bytes(label + b"good.png\t\xff\n" + b'good.png\t[{"points": 1}]\n')
    report = converted(folder / "label.txt", tmp_path / "out")
    assert report.samples == 1
    assert [(drop["origin"], drop["reason"]) for drop in dropped(report)] == [
        ("label.txt line 2", "bad_line"),
        ("label.txt line 3", "image_missing"),
        ("label.txt line 4", "image_empty"),
        ("label.txt line 5", "not_an_image"),
        ("label.txt line 6", "empty_text"),
        ("label.txt line 7", "reserved_text"),
        ("label.txt line 8", "not_utf8"),
        ("label.txt line 9, line 1", "bad_line"),
    ]
    assert sum(report.dropped.values()) == 8
    assert {example.reason for example in report.examples} == set(report.dropped)


def test_a_page_with_a_line_that_cannot_be_used_is_cut_into_the_others_and_never_spotted(tmp_path: Path) -> None:
    source = sources.icdar(tmp_path / "source")
    words = source / "gt" / "gt_img_1.txt"
    words.write_text(words.read_text("utf-8") + "1,2,three\n", encoding="utf-8")
    report = converted(source, tmp_path / "out")
    assert (report.samples, dict(report.dropped)) == (2, {"bad_line": 1, "ignored": 1})
    with pytest.raises(OcrvlError, match=r"gt_img_1\.txt line 4"):
        converted(source, tmp_path / "out", Wish("spotting"))


def test_without_any_sample_nothing_is_made_and_what_stood_there_stays(tmp_path: Path) -> None:
    before = converted(sources.pairs(tmp_path / "good"), tmp_path / "out")
    (tmp_path / "bad.tsv").write_text("image\ttext\nnone.png\tx\n")
    with pytest.raises(OcrvlError, match="image_missing: 1") as told:
        converted(tmp_path / "bad.tsv", tmp_path / "out")
    assert told.value.code is ExitCode.DATA_INVALID
    assert len(read_samples(before.rows)) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.tsv", "good", "out"]


def test_a_folder_of_someone_else_s_is_not_replaced_and_none_in_the_source_made(tmp_path: Path) -> None:
    source = sources.pairs(tmp_path / "source")
    for out in (source, tmp_path, source / "out"):
        with pytest.raises(OcrvlError) as told:
            converted(source, out)
        assert told.value.code is ExitCode.USAGE


def test_an_ambiguous_source_is_asked_about_and_an_unknown_one_told(tmp_path: Path) -> None:
    source = sources.pairs(tmp_path / "source")
    sources.csv(source)
    with pytest.raises(OcrvlError, match=r"in 2 ways \(pairs: .*csv: ") as told:
        detect(source)
    assert told.value.hint == "--from pairs"
    (tmp_path / "x.doc").write_text("?")
    with pytest.raises(OcrvlError, match="looks like nothing"):
        detect(tmp_path / "x.doc")
    with pytest.raises(OcrvlError) as told:
        detect(tmp_path / "nowhere")
    assert told.value.code is ExitCode.NOT_FOUND


def test_columns_are_named_where_they_cannot_be_guessed(tmp_path: Path) -> None:
    draw_page(tmp_path / "a.png")
    (tmp_path / "t.csv").write_text("scan,words in it\na.png,one\n")
    with pytest.raises(OcrvlError, match="it has: scan, words in it") as told:
        converted(tmp_path / "t.csv", tmp_path / "out")
    assert told.value.hint == "--image-column NAME"
    report = converted(tmp_path / "t.csv", tmp_path / "out", columns=Columns("scan", "words in it"))
    assert targets(report) == ["one"]
    with pytest.raises(OcrvlError, match="no column 'scam'") as told:
        converted(tmp_path / "t.csv", tmp_path / "out", columns=Columns("scam", None))
    assert "scan" in told.value.hint


def test_xml_with_entities_of_its_own_is_refused(tmp_path: Path) -> None:
    source = sources.page_xml(tmp_path / "source")
    file = source / "page" / "scan.xml"
    bomb = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]>'
    file.write_text(file.read_text("utf-8").replace("<PcGts", f"{bomb}<PcGts", 1).replace(">one<", ">&b;<"), "utf-8")
    with pytest.raises(OcrvlError, match="declares XML entities"):
        converted(source, tmp_path / "out", read_as="page")


def test_images_are_looked_for_in_the_folders_that_the_user_names(tmp_path: Path) -> None:
    source = sources.tsv(tmp_path / "source")
    (tmp_path / "elsewhere").mkdir()
    (source.parent / "a.png").rename(tmp_path / "elsewhere" / "a.png")
    with pytest.raises(OcrvlError, match="image_missing"):
        converted(source, tmp_path / "out")
    assert converted(source, tmp_path / "out", roots=(tmp_path / "elsewhere",)).samples == 1


def test_without_pyarrow_the_line_that_installs_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = sources.parquet(tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(OcrvlError) as told:
        converted(source, tmp_path / "out", read_as="parquet")
    assert told.value.hint == "pip install 'ocrvl-modal[data]'"
