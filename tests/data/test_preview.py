from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from conftest import Shell
from data.small_datasets import OCR, TABLE, dataset, messages, picture
from ocrvl_modal.data.checking.demands import Demands
from ocrvl_modal.data.previewing import formulas
from ocrvl_modal.data.previewing.drawing import draw, plain
from ocrvl_modal.data.previewing.page import PreviewReport, write_preview
from ocrvl_modal.data.previewing.spotting import spotted
from ocrvl_modal.data.previewing.thumbnails import bytes_for_each, thumbnail
from ocrvl_modal.models import FAMILY

MEMBER = FAMILY["paddleocr-vl-1.6"]
DEMANDS = Demands(tuple(MEMBER.prompts.values()), MEMBER.pixels, 4096)
SPOT = "<|LOC_10|><|LOC_20|><|LOC_300|><|LOC_20|><|LOC_300|><|LOC_90|><|LOC_10|><|LOC_90|>"
HOSTILE = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    "</article></main><style>*{display:none}</style>",
    "<!-- --> <![CDATA[ x ]]> &lt;b&gt;",
]


class Elements(HTMLParser):
    """Which elements and attributes a piece of HTML has, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def preview(path: Path, limit: int = 1000) -> tuple[PreviewReport, str]:
    report = write_preview(path, path.parent / "page.html", DEMANDS, limit=limit)
    return report, report.page.read_text(encoding="utf-8")


def cards(page: str) -> list[dict[str, str | None]]:
    return Elements(page).named("article")


def test_each_row_is_a_card_with_its_image_its_task_and_what_was_found(tmp_path: Path) -> None:
    rows = [messages("a.png", "one"), messages("b.png", "<fcel>x<lcel><nl>", TABLE), messages("no.png", "three"), "{}"]
    path = dataset(tmp_path / "all.jsonl", rows)
    (tmp_path / "no.png").unlink()
    report, page = preview(path)
    found = cards(page)
    assert [card["id"] for card in found] == ["line-1", "line-2", "line-3", "line-4"]
    assert [card["data-task"] for card in found] == ["text", "table", "text", "no sample"]
    assert [card["data-kinds"] for card in found] == ["", "", "image_missing", "unknown_form"]
    images = Elements(page).named("img")
    assert len(images) == 2
    assert all(str(image["src"]).startswith("data:image/webp;base64,") for image in images)
    assert report.findings == {"image_missing": 1, "unknown_form": 1}
    assert (report.shown, report.without_image) == (4, 2)


def test_the_page_asks_the_network_for_nothing_and_runs_one_script(tmp_path: Path) -> None:
    _, page = preview(dataset(tmp_path / "all.jsonl", [messages("a.png", "http://example.org/x.png")]))
    elements = Elements(page)
    links = [attributes[name] for _, attributes in elements.elements for name in ("src", "href") if name in attributes]
    assert all(str(link).startswith(("data:", "#")) for link in links)
    assert len(elements.named("script")) == 1
    (policy,) = (str(meta["content"]) for meta in elements.named("meta") if "http-equiv" in meta)
    assert policy.startswith("default-src 'none'")
    assert "script-src 'sha256-" in policy


@pytest.mark.parametrize("prompt", [*MEMBER.prompts.values(), "My <b>prompt</b>:"])
def test_what_a_dataset_says_is_never_taken_for_html(tmp_path: Path, prompt: str) -> None:
    rows = [messages(f"{number}.png", hostile, prompt) for number, hostile in enumerate(HOSTILE)]
    rows += [messages("cell.png", f"<fcel>{hostile}<nl>", prompt) for hostile in HOSTILE]
    rows += [messages("latex.png", rf"\[ \text{{{hostile}}} \]", prompt) for hostile in HOSTILE]
    rows += [messages("spot.png", f"{hostile}{SPOT}", prompt) for hostile in HOSTILE]
    rows += ['{"messages": "</pre><script>alert(2)</script>"}', "</script><img src=x onerror=alert(3)>"]
    path = dataset(tmp_path / "all.jsonl", rows[:-2])
    path.write_text("\n".join(rows))
    _, page = preview(path)
    elements = Elements(page)
    assert len(elements.named("script")) == len(elements.named("style")) == 1
    assert not [name for tag, attributes in elements.elements for name in attributes if name.startswith("on")]
    assert {tag for tag, _ in elements.elements} & {"iframe", "object", "embed", "link", "base"} == set()
    assert len(elements.named("article")) == len(rows)
    assert "<script>alert(1)</script>" in elements.text


def test_a_hostile_name_of_a_file_is_escaped(tmp_path: Path) -> None:
    name = "<img src=x onerror=alert(1)>.png"
    _, page = preview(dataset(tmp_path / "<b>.jsonl", [messages(name, "x")]))
    assert not [image for image in Elements(page).named("img") if "onerror" in image]
    assert name in Elements(page).text


def test_tables_charts_and_boxes_are_drawn() -> None:
    table = Elements(draw("table", "<fcel>a<lcel><nl><fcel>b<fcel>c<nl>").body)
    assert [cell.get("colspan") for cell in table.named("td")] == ["2", None, None]
    chart = Elements(draw("chart", "Year | Cost\n2021 | 5").body)
    assert (len(chart.named("th")), len(chart.named("td"))) == (2, 2)
    spots = draw("spotting", f"EXIT{SPOT}\nno box")
    assert [spot.text for spot in spots.boxes] == ["EXIT", "no box"]
    assert spots.boxes[0].corners == ((10, 20), (300, 20), (300, 90), (10, 90))
    assert spots.boxes[1].corners == ()


def test_a_table_without_a_token_is_shown_as_it_is_written() -> None:
    drawing = draw("table", "| a | b |")
    assert drawing.is_source
    assert "| a | b |" in drawing.body


def test_formulas_become_mathml_and_what_cannot_be_read_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("latex2mathml")
    body = draw("formula", r"\[ \frac{a}{b} \]").body
    assert "<mfrac><mrow><mi>a</mi></mrow><mrow><mi>b</mi></mrow></mfrac>" in body
    assert 'display="block"' in body
    assert "<msup><mrow>" in draw("formula", r"\begin{pmatrix} a \\ b \end{pmatrix}^{2}").body
    assert r'<code class="latex">\frac{</code>' in draw("formula", r"\[\frac{\]").body
    inline = draw("text", r"so \(x^2\) it is").body
    assert inline.count("<math") == 1
    assert "so " in inline
    monkeypatch.setattr(formulas, "can_draw_formulas", lambda: False)
    assert "<math" not in draw("formula", r"\[ x \]").body


@pytest.mark.parametrize("latex", [r"\href{javascript:alert(1)}{x}", r"\style{background:url(x)}{y}", r"\class{a}{b}"])
def test_a_formula_can_do_nothing_but_be_seen(latex: str) -> None:
    drawn = formulas.to_mathml(latex, displayed=False) or ""
    assert not re.search(r"javascript|href|style=|class=", drawn)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["text", "table", "formula", "chart", "spotting", "seal"]), st.text(max_size=60))
def test_any_text_can_be_drawn(task: str, target: str) -> None:
    body = draw(task, target).body
    allowed = {"div", "table", "tr", "td", "th", "ol", "li", "span", "code", *formulas.HARMLESS_ELEMENTS}
    assert {tag for tag, _ in Elements(body).elements} <= allowed


def test_what_cannot_be_seen_is_named() -> None:
    assert "U+202E" in plain("a\u202eb")
    assert "U+0007" in plain("a\x07b")
    assert "\u200d" in plain("ক\u200dষ")


def test_a_line_with_too_few_or_too_many_places_has_no_box() -> None:
    assert spotted("a<|LOC_1|>\n" + "b" + SPOT + "<|LOC_4|>")[0].corners == ()
    assert spotted("b" + SPOT + "<|LOC_4|>")[0].corners == ()


def test_images_keep_to_their_budget_and_their_shape(tmp_path: Path) -> None:
    noise = Image.effect_noise((2400, 1200), 80).convert("RGB")
    noise.save(tmp_path / "noise.png")
    small = thumbnail(tmp_path / "noise.png", 30_000)
    assert small is not None
    assert len(small.address) < 30_000 * 4 / 3 * 1.1
    assert (small.file_width, small.file_height) == (2400, 1200)
    assert small.width == pytest.approx(2 * small.height, rel=0.05)
    assert bytes_for_each(1000) * 1000 <= 48_000_000 <= bytes_for_each(10) * 1000


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "I", "F"])
def test_every_kind_of_image_can_be_shown(tmp_path: Path, mode: str) -> None:
    image = Image.new(mode, (40, 30), 1 if mode == "1" else 0)
    path = tmp_path / ("image.tif" if mode in {"CMYK", "I", "F"} else "image.png")
    image.save(path)
    assert thumbnail(path, 20_000) is not None


def test_a_damaged_image_leaves_its_card(tmp_path: Path) -> None:
    path = dataset(tmp_path / "all.jsonl", [messages("a.png", "x")])
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n cut off")
    report, page = preview(path)
    assert report.without_image == 1
    assert "no image to show" in page


def test_the_limit_is_kept_and_told(tmp_path: Path) -> None:
    path = dataset(tmp_path / "all.jsonl", [messages("a.png", f"t {number}") for number in range(9)])
    report, page = preview(path, limit=4)
    assert (report.rows, report.shown, len(cards(page))) == (9, 4, 4)
    assert "the first 4 of 9 rows" in page


def test_a_page_that_could_not_be_finished_leaves_the_old_one(tmp_path: Path) -> None:
    path = dataset(tmp_path / "all.jsonl", [messages("a.png", "x"), messages("b.png", "y")])
    _, before = preview(path)

    def stop(_what: str, done: int, _total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_preview(path, tmp_path / "page.html", DEMANDS, on_progress=stop)
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == before
    assert not list(tmp_path.glob(".*"))


def test_the_command_writes_the_page_and_says_what_is_on_it(bare_shell: Shell) -> None:
    picture(bare_shell.cwd / "a.png", 1)
    dataset(bare_shell.cwd / "all.jsonl", [messages("a.png", "x"), messages("a.png", "y", "ocr:")])
    said = bare_shell("data", "preview", "all.jsonl", "--out", "page.html", "--limit", "2")
    assert "2 samples" in said.out
    assert "1 unknown_prompt" in said.out
    assert OCR in (bare_shell.cwd / "page.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (r"a \[ x \] b", [("a ", None), (" x ", True), (" b", None)]),
        (r"\(x\)\[y\]", [("x", False), ("y", True)]),
        (r"\[ a \( b \) c", [(r"\[ a ", None), (" b ", False), (" c", None)]),
        (r"\( \[ \) \]", [(r" \[ ", False), (r" \]", None)]),
        (r"\[" * 400_000, [(r"\[" * 400_000, None)]),
    ],
)
def test_a_text_is_cut_at_the_formulas_that_are_closed(text: str, found: list[tuple[str, bool | None]]) -> None:
    assert formulas.pieces(text) == found
