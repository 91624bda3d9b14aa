"""What `ocrvl data check` passes, PaddleFormers takes, with as many tokens; what it refuses, PaddleFormers skips.

Where the check is stricter, and means to be, the case says why.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from ocrvl_modal.data.checking.demands import Demands
from ocrvl_modal.data.checking.examining import ExaminedRow, examine_rows
from ocrvl_modal.engines.images import pixel_limits
from ocrvl_modal.engines.tokens import batch_counter
from ocrvl_modal.models import FAMILY
from with_paddle.conftest import Run

SPY = Path(__file__).with_name("spy_rows.py")
MAX_SEQ_LEN = 64
DEMANDS = Demands(
    prompts=(*FAMILY["tiny"].prompts.values(), "Read it:"), pixels=FAMILY["tiny"].pixels, max_seq_len=MAX_SEQ_LEN
)


@dataclass(frozen=True)
class Case:
    """A row, and the error that the check finds in it; ``stricter`` says why the check refuses what the engine takes.

    A line in place of a row is written as it is.
    """

    row: Any
    error: str | None = None
    stricter: str = ""
    form: str = "messages"


def messages(prompt: str = "OCR:", target: str = "12 ab", image: str = "digits.png", **more: Any) -> dict[str, Any]:
    turns = [{"role": "user", "content": f"<image>{prompt}"}, {"role": "assistant", "content": target}]
    return {"messages": turns, "images": [image], **more}


def erniekit(prompt: str = "OCR:", target: str = "12 ab", image: str = "digits.png", **more: Any) -> dict[str, Any]:
    texts = [{"text": prompt, "tag": "mask"}, {"text": target, "tag": "no_mask"}]
    return {"image_info": [{"matched_text_index": 0, "image_url": image}], "text_info": texts, **more}


def without(row: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != key}


def asked(content: str, *more: dict[str, str]) -> dict[str, Any]:
    turns = [{"role": "user", "content": content}, {"role": "assistant", "content": "12"}, *more]
    return {"messages": turns, "images": ["digits.png"]}


_ONE_QUESTION = "it would be learned, but never asked for so: a sample is one image, one question and one answer"
_NOT_ASKED_SO = "the engine puts it in front of the question, where the model never saw anything"
_TYPO = "the engine ignores a key that it does not know, and with it what somebody meant by it"
_NOT_READ_SO = "the engine learns whatever it is given; no program would read such an answer"

GOOD = {
    "plain": Case(messages()),
    "in ERNIEKit's form": Case(erniekit(), form="erniekit"),
    "each prompt of the model": Case(messages("Table Recognition:", "<fcel>1<ecel><nl>")),
    "a prompt of one's own": Case(messages("Read it:", "5")),
    "a formula": Case(messages("Formula Recognition:", r"\[ 1 + 2 \]")),
    "a chart": Case(messages("Chart Recognition:", "a | 1\nb | 2")),
    "several lines": Case(messages(target="12\n34\n")),
    "spaces at both ends": Case(messages(target="  12  ")),
    "letters that the tokenizer does not have": Case(messages(target="\u0f40\u4e2d é")),
    "marks that only look like marks": Case(messages(target="<nl>{{content}} </td> <img>")),
    "a JPEG": Case(messages(image="photo.jpg")),
    "a transparent image": Case(messages(image="transparent.png")),
    "a palette": Case(messages(image="palette.png")),
    "grey of 16 bits": Case(messages(image="wide.png")),
    "CMYK": Case(messages(image="cmyk.jpg")),
    "turned by EXIF": Case(messages(image="turned.jpg")),
    "an animation": Case(messages(image="moving.gif")),
    "smaller than a token": Case(messages(image="small.png")),
    "larger than the limit": Case(messages(image="large.png")),
    "a long strip": Case(messages(image="strip.png")),
    "a folder in the path": Case(messages(image="./deep/er/digits.png")),
    "as long as is allowed": Case(messages(target="1" * 53)),
}

BAD = {
    "one token too long": Case(messages(target="1" * 54), "too_long"),
    "an image that is missing": Case(messages(image="nowhere.png"), "image_missing"),
    "an image of zero size": Case(messages(image="empty.png"), "image_empty"),
    "text for an image": Case(messages(image="text.png"), "image_unreadable"),
    "half a PNG": Case(messages(image="half.png"), "image_truncated"),
    "half a JPEG": Case(messages(image="half.jpg"), "image_truncated"),
    "too thin": Case(messages(image="thin.png"), "image_shape"),
    "thin enough to vanish": Case(messages(image="nothing-left.png"), "image_shape"),
    "a folder for an image": Case(messages(image="deep"), "image_unreadable"),
    "not JSON": Case('{"messages": [', "not_json"),
    "not UTF-8": Case(b'{"messages": "\xff"}', "not_utf8"),
    "a list for a row": Case('"text"', "not_an_object"),
    "of neither form": Case({"text": "12", "image": "digits.png"}, "unknown_form"),
    "no messages": Case({"messages": [], "images": ["digits.png"]}, "wrong_turns"),
    "a number for a target": Case(messages(target=12), "wrong_shape"),  # type: ignore[arg-type]
    "a number for an image": Case(messages(image=5), "wrong_shape"),  # type: ignore[arg-type]
    "two marks for one image": Case(asked("<image><image>OCR:"), "image_count"),
    "no mark for an image": Case(asked("OCR:"), "image_count"),
    "two images for one mark": Case(messages(images=["digits.png", "photo.jpg"]), "image_count"),
    "no answer": Case({"messages": messages()["messages"][:1], "images": ["digits.png"]}, "wrong_turns"),
    "no target": Case(messages(target=""), "empty_target"),
    "ERNIEKit's form without an answer": Case(
        erniekit(text_info=[{"text": "OCR:", "tag": "mask"}]), "no_learned_turn", form="erniekit"
    ),
    "ERNIEKit's form with a missing image": Case(erniekit(image="nowhere.png"), "image_missing", form="erniekit"),
    "an unknown prompt": Case(
        messages("Read this page:"), "unknown_prompt", "the engine asks whatever a row asks, the model's users do not"
    ),
    "an answer first": Case(
        {"messages": messages()["messages"][::-1], "images": ["digits.png"]},
        "wrong_turns",
        "the engine learns to say the question, when it has read the answer",
    ),
    "only what is not learned": Case(
        messages(label=[0]), "no_learned_turn", "the engine learns nothing of the row but its end"
    ),
    "several questions": Case(
        asked("<image>OCR:", {"role": "user", "content": "Again:"}, {"role": "assistant", "content": "3"}),
        "multi_turn",
        _ONE_QUESTION,
    ),
    "a system turn": Case(
        {**messages(), "messages": [{"role": "system", "content": "Be brief."}, *messages()["messages"]]},
        "system_turn",
        _NOT_ASKED_SO,
    ),
    "a key that nobody knows": Case(messages(imagess=[]), "unknown_key", _TYPO),
    "an image behind the question": Case(
        asked("OCR:<image>"), "image_place", "the model's own template puts an image before all text"
    ),
    "a table that breaks the grammar": Case(
        messages("Table Recognition:", "<fcel>1<nl><fcel>1<fcel>2<nl>"), "otsl", _NOT_READ_SO
    ),
    "the model's own mark in a target": Case(
        messages(target="12</s>34"), "reserved_text", "the model would learn to stop in the middle"
    ),
    "no image": Case(
        {"messages": [{"role": "user", "content": "OCR:"}, {"role": "assistant", "content": "1"}], "images": []},
        "image_count",
        "the engine learns from text alone, which this family is not for",
    ),
    "only spaces for a target": Case(
        messages(target="  "), "empty_target", "the engine learns to write spaces, which nobody labels on purpose"
    ),
}


def write_images(folder: Path) -> None:
    chance = random.Random(4)
    noise = Image.frombytes("RGB", (84, 28), chance.randbytes(84 * 28 * 3))
    (folder / "deep" / "er").mkdir(parents=True)
    for name in ("digits.png", "deep/er/digits.png", "photo.jpg"):
        noise.save(folder / name)
    noise.convert("RGBA").save(folder / "transparent.png")
    noise.quantize(16).save(folder / "palette.png")
    noise.convert("I").point(lambda level: level * 200).convert("I;16").save(folder / "wide.png")
    noise.convert("CMYK").save(folder / "cmyk.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    noise.save(folder / "turned.jpg", exif=exif)
    noise.save(folder / "moving.gif", save_all=True, append_images=[noise.rotate(180)])
    noise.resize((9, 5)).save(folder / "small.png")
    noise.resize((900, 420)).save(folder / "large.png")
    noise.resize((400, 30)).save(folder / "strip.png")
    noise.resize((300, 12)).save(folder / "nothing-left.png")
    noise.resize((9000, 30)).save(folder / "thin.png")
    (folder / "empty.png").touch()
    (folder / "text.png").write_text("not found")
    for name, whole in (("half.png", "large.png"), ("half.jpg", "photo.jpg")):
        content = (folder / whole).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])


def line_of(case: Case) -> bytes:
    if isinstance(case.row, bytes):
        return case.row
    return (case.row if isinstance(case.row, str) else json.dumps(case.row)).encode()


@dataclass(frozen=True)
class Verdicts:
    """What the check says of a row, and what became of it in PaddleFormers: tokens, or why there are none."""

    ours: ExaminedRow
    theirs: int | str


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one file for each case, and the images beside them."""
    folder = tmp_path_factory.mktemp("corpus")
    write_images(folder)
    for number, case in enumerate(CASES.values()):
        (folder / file_name(number, case)).write_bytes(line_of(case) + b"\n")
    return folder


CASES = {**GOOD, **BAD}


def file_name(number: int, case: Case) -> str:
    return f"{number:03d}.{case.form}.jsonl"


_theirs: dict[str, int | str] = {}


@pytest.fixture
def theirs(corpus: Path, make_run: Callable[..., Run], tmp_path: Path) -> dict[str, int | str]:
    """What became of each row in the real pipeline: PaddleFormers is started once for all of them."""
    if not _theirs:
        _theirs.update(outcomes(make_run("rows", f"data.max_seq_len={MAX_SEQ_LEN}"), corpus, tmp_path))
    return _theirs


def outcomes(run: Run, corpus: Path, folder: Path) -> dict[str, int | str]:
    prepared = run.prepare()
    config = yaml.safe_load(run.job.attempt.engine_config.read_text())
    run.job.attempt.engine_config.write_text(yaml.safe_dump({**config, "custom_register_path": str(SPY)}))
    out = folder / "outcomes.json"
    environment = {
        "SPY_ROWS": str(corpus),
        "SPY_OUT": str(out),
        "IMAGE_PLACEHOLDER": "<image>",
        "VIDEO_PLACEHOLDER": "<video>",
        "AUDIO_PLACEHOLDER": "<audio>",
    }
    spied = replace(run, environment=environment).start(prepared)
    assert out.is_file(), spied.printed[-3000:]
    read: dict[str, int | str] = json.loads(out.read_text())
    return read


def verdicts(name: str, corpus: Path, theirs: dict[str, int | str], model: Path) -> Verdicts:
    number = list(CASES).index(name)
    file = corpus / file_name(number, CASES[name])
    (row,) = examine_rows(file, DEMANDS, count_many=batch_counter(model))
    return Verdicts(row, theirs[file.stem])


@pytest.mark.parametrize("name", GOOD)
def test_what_the_check_passes_is_taken_with_as_many_tokens(
    corpus: Path, theirs: dict[str, int | str], tiny: Path, name: str
) -> None:
    found = verdicts(name, corpus, theirs, tiny)
    assert not found.ours.has_error, found.ours.findings
    assert found.theirs == found.ours.vision_tokens + found.ours.text_tokens


@pytest.mark.parametrize("name", [name for name, case in BAD.items() if not case.stricter])
def test_what_the_check_refuses_is_skipped(corpus: Path, theirs: dict[str, int | str], tiny: Path, name: str) -> None:
    found = verdicts(name, corpus, theirs, tiny)
    errors = [finding.kind for finding in found.ours.findings if finding.severity == "error"]
    assert errors == [BAD[name].error]
    assert isinstance(found.theirs, str), f"it is taken, with {found.theirs} tokens"


@pytest.mark.parametrize("name", [name for name, case in BAD.items() if case.stricter])
def test_where_the_check_is_stricter_it_is_so_on_purpose(
    corpus: Path, theirs: dict[str, int | str], tiny: Path, name: str
) -> None:
    found = verdicts(name, corpus, theirs, tiny)
    errors = [finding.kind for finding in found.ours.findings if finding.severity == "error"]
    assert errors == [BAD[name].error]
    assert isinstance(found.theirs, int), f"the engine skips it too: {found.theirs}"


def test_the_limits_of_the_model_s_own_file_are_those_of_the_family(tiny: Path) -> None:
    """Or vision tokens would be counted by others than the engine's."""
    assert pixel_limits(tiny) == DEMANDS.pixels
