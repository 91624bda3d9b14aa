"""Every kind of finding: a dataset that has it, and the nearest one that has not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image
from tests.data.datasets import erniekit_row, make_image, make_picture, messages_row

Content = Any
"""Rows for :func:`tests.data.datasets.write_rows`, or the bytes of a whole file."""


@dataclass(frozen=True)
class Case:
    """A file that has a kind of finding, one that has not, the images that both need, and other files beside them."""

    bad: Content
    good: Content
    images: Callable[[Path], object] | None = None
    how: dict[str, Any] = field(default_factory=lambda: {"images": "none"})
    demands: dict[str, Any] = field(default_factory=dict)
    against: Content = None


def row(target: str = "402 km", prompt: str = "OCR:", **more: Any) -> list[Any]:
    return [messages_row(target, prompt, **more)]


def turns(*pairs: tuple[str, str], **more: Any) -> list[Any]:
    return [{"messages": [{"role": r, "content": c} for r, c in pairs], "images": ["a.png"], **more}]


def texts(*pairs: tuple[str, str], **more: Any) -> list[Any]:
    return [{**erniekit_row(), "text_info": [{"tag": tag, "text": text} for tag, text in pairs], **more}]


ASK, ANSWER = ("user", "<image>OCR:"), ("assistant", "402")
LOOKED: dict[str, Any] = {"images": "all"}
TWO_IMAGES = [messages_row("402", image="a.png"), messages_row("403", image="b.png")]


def image_case(make_bad: Callable[[Path], object]) -> Case:
    """An image that is bad under the name ``bad.png``, and one that is good."""

    def both(folder: Path) -> None:
        make_bad(folder / "bad.png")
        make_picture(folder / "good.png", "good")

    return Case(row(image="bad.png"), row(image="good.png"), both, LOOKED)


def truncated(path: Path) -> None:
    Image.effect_noise((200, 200), 80).save(path)
    path.write_bytes(path.read_bytes()[:-2000])


def rotated(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.effect_noise((200, 100), 80).convert("RGB").save(path, "JPEG", exif=exif)


def animated(path: Path) -> None:
    frames = [Image.effect_noise((64, 64), sigma) for sigma in (10, 90)]
    frames[0].save(path, "PNG", save_all=True, append_images=frames[1:])


def too_large(path: Path) -> None:
    Image.new("1", (20_000, 10_000)).save(path)


def two_alike(folder: Path) -> None:
    picture = Image.open(make_picture(folder / "a.png", "Invoice 402"))
    picture.resize((450, 90)).save(folder / "b.png")
    make_picture(folder / "c.png", "Receipt of 17 May")


SENTENCE = "The same words were written here twice, and then the page ended with a full stop as pages do."
LOC = "".join(f"<|LOC_{place}|>" for place in (0, 0, 1000, 0, 1000, 40, 0, 40))

CASES: dict[str, Case] = {
    "empty": Case(b"\n \r\n", row()),
    "json_array": Case(b'[{"messages": []}]', row()),
    "spread_rows": Case(json.dumps(row()[0], indent=2).encode(), row()),
    "blank_line": Case([*row(), b"", *row(image="b.png")], [*row(), *row(image="b.png"), b"", b" "]),
    "not_utf8": Case([b'{"messages": "caf\xe9"}'], row("café")),
    "not_json": Case([b"{'messages': []}"], row()),
    "not_an_object": Case([b"17"], row()),
    "unknown_form": Case([{"image": "a.png", "text": "b"}], row()),
    "wrong_shape": Case(turns(ASK, ("assistant", 402)), row("402")),  # type: ignore[arg-type]
    "unknown_key": Case(row(imges=[]), row(system="")),
    "unsupported": Case(row(tools=[{}]), row(tools=[])),
    "wrong_turns": Case(turns(ANSWER, ASK), turns(ASK, ANSWER)),
    "no_learned_turn": Case(texts(("mask", "OCR:")), texts(("mask", "OCR:"), ("no_mask", "4"))),
    "multi_turn": Case(turns(ASK, ANSWER, ("user", "More?"), ANSWER), turns(ASK, ANSWER)),
    "system_turn": Case(turns(("system", "Read."), ASK, ANSWER), turns(ASK, ANSWER)),
    "image_count": Case(turns(("user", "OCR:"), ANSWER), turns(ASK, ANSWER)),
    "image_place": Case(turns(("user", "OCR:<image>"), ANSWER), turns(ASK, ANSWER)),
    "image_index": Case(
        [{**erniekit_row(), "image_info": [{"image_url": "a.png", "matched_text_index": 2}]}], [erniekit_row()]
    ),
    "image_embedded": Case(row(image="data:image/png;base64,iVBORw0KGgo="), row(image="data/a.png")),
    "empty_target": Case(row(" \n"), row(".")),
    "unknown_prompt": Case(row(prompt="OCR"), row(prompt="OCR:")),
    "reserved_text": Case(row("<s>a</s>"), row("<b>a</b>")),
    "surrogate": Case([b'{"messages": [{"role": "user", "content": "\\ud83d"}]}'], row("\U0001f600")),
    "control_characters": Case(row("a\x07b"), row("a\tb\r\nc")),
    "not_nfc": Case(row("cafe\u0301"), row("caf\u00e9")),
    "repetition": Case(row("Page 4: " + "and so on " * 20), row(SENTENCE)),
    "mixed_labels": Case(
        [*row("402"), *row("<fcel>4<nl>", image="b.png")],
        [*row("402"), *row("<fcel>4<nl>", prompt="Table Recognition:", image="b.png")],
    ),
    "markdown_table": Case(row("| a | b |\n|---|---|\n| 1 | 2 |"), row("a | b\n1 | 2\n-- the end")),
    "otsl": Case(
        row("<fcel>1<fcel>2<nl><fcel>3<nl>", prompt="Table Recognition:"),
        row("<fcel>1<fcel>2<nl><fcel>3<lcel><nl>", prompt="Table Recognition:"),
    ),
    "latex": Case(
        row(r"\[ \frac{a}{b \]", prompt="Formula Recognition:"),
        row(r"\[ \left\{ \frac{a}{b} \right. \]", prompt="Formula Recognition:"),
    ),
    "chart_width": Case(
        row("Year | A | B\n2001 | 4", prompt="Chart Recognition:"),
        row("Year | A | B\n2001 | 4 | 5\n", prompt="Chart Recognition:"),
    ),
    "spotting": Case(
        row(f"402{LOC}\n403<|LOC_1001|>", prompt="Spotting:"), row(f"402{LOC}\n403{LOC}", prompt="Spotting:")
    ),
    "too_long": Case(
        row(),
        row(image="b.png"),
        lambda folder: (make_image(folder), make_image(folder, "b.png", (28, 28))),
        LOOKED,
        {"max_seq_len": 9},
    ),
    "maybe_too_long": Case(row("a b c d e " * 12), row("a b c d"), demands={"max_seq_len": 100}),
    "image_missing": image_case(lambda _: None),
    "image_empty": image_case(lambda path: path.touch()),
    "image_unreadable": image_case(lambda path: path.write_bytes(b"%PDF-1.7 and more")),
    "image_truncated": image_case(truncated),
    "image_shape": image_case(lambda path: Image.new("L", (28 * 201, 28)).save(path)),
    "image_too_large": image_case(too_large),
    "image_rotated": image_case(rotated),
    "image_cmyk": image_case(lambda path: Image.effect_noise((64, 64), 80).convert("CMYK").save(path, "JPEG")),
    "image_16bit": image_case(lambda path: Image.new("I;16", (64, 64), 40_000).save(path)),
    "image_animated": image_case(animated),
    "image_url": Case(row(image="https://example.org/a.png"), row(image="https/a.png")),
    "absolute_path": Case(row(image="/data/a.png"), row(image="data/a.png")),
    "parent_path": Case(row(image="../a.png"), row(image="..a.png")),
    "duplicate": Case([*row("402"), *row("402", image="./a.png")], [*row("402"), *row("402", image="b.png")]),
    "contradiction": Case([*row("402"), *row("403")], [*row("402"), *row("403", prompt="Seal Recognition:")]),
    "near_duplicate": Case(TWO_IMAGES, [messages_row("402"), messages_row("403", image="c.png")], two_alike, LOOKED),
    "leak": Case(
        row(),
        row(image="c.png"),
        two_alike,
        LOOKED,
        against=row(image="b.png"),
    ),
    "few_samples": Case(row(), [*row(), *row(image="b.png")], demands={"least_samples": 2}),
    "missing_tasks": Case(
        row(), row(prompt="Seal Recognition:", target="x"), demands={"tasks": ("Seal Recognition:",)}
    ),
}
