from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ocrvl_modal.data.checks import DatasetReport, Extent, check_dataset, dataset_digest, overlap
from ocrvl_modal.data.rows import to_row
from ocrvl_modal.data.schema import Sample
from ocrvl_modal.errors import ExitCode, OcrvlError
from ocrvl_modal.models import PixelLimits

PIXELS = PixelLimits(2 * 28 * 28, 16 * 28 * 28)
PROMPTS = ["OCR:", "Table Recognition:"]


def make_image(folder: Path, name: str = "a.png", size: tuple[int, int] = (168, 28), shade: int = 200) -> Path:
    path = folder / name
    Image.new("RGB", size, (shade, shade, shade)).save(path)
    return path


def write_dataset(folder: Path, *samples: tuple[Path, str, str], name: str = "train.jsonl") -> Path:
    rows = [to_row(Sample(image, prompt, target, 0), "messages", folder) for image, prompt, target in samples]
    path = folder / name
    path.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    return path


def check(path: Path, **changes: Any) -> DatasetReport:
    rules: dict[str, Any] = {"prompts": PROMPTS, "pixels": PIXELS, "max_seq_len": 512}
    return check_dataset(path, **{**rules, **changes})


def kinds_of(report: DatasetReport) -> list[tuple[int | None, str]]:
    return [(problem.line, problem.kind) for problem in report.problems]


def test_a_good_dataset_is_measured(tmp_path: Path) -> None:
    line, block = make_image(tmp_path, "line.png"), make_image(tmp_path, "block.png", (56, 56))
    path = write_dataset(tmp_path, (line, "OCR:", "402"), (block, "Table Recognition:", "<fcel>4<nl>"))
    report = check(path)
    assert report.is_valid
    assert (report.rows, report.samples) == (2, 2)
    assert report.by_prompt == {"OCR:": 1, "Table Recognition:": 1}
    assert report.vision_tokens == Extent(total=6 + 4, max=6)
    assert report.target_characters == Extent(total=3 + 11, max=11)
    assert report.warnings == ()
    report.raise_if_invalid()


def test_a_report_can_be_written_as_json(tmp_path: Path) -> None:
    report = check(write_dataset(tmp_path, (make_image(tmp_path), "OCR", "402")))
    data = json.loads(json.dumps(report.to_dict()))
    assert data["valid"] is False
    assert data["counts"] == {"unknown_prompt": 1}
    assert data["problems"][0]["line"] == 1
    assert data["sha256"] == report.sha256


def test_rows_that_cannot_be_read_are_reported_with_the_others_in_order(tmp_path: Path) -> None:
    good = to_row(Sample(make_image(tmp_path), "OCR:", "402", 0), "erniekit", tmp_path)
    missing = to_row(Sample(tmp_path / "b.png", "OCR:", "402", 0), "messages", tmp_path)
    path = tmp_path / "train.jsonl"
    path.write_text("\n".join([missing, "{", good, "", good]))
    report = check(path)
    assert kinds_of(report) == [(1, "image_missing"), (2, "not_json"), (4, "blank_line")]
    assert (report.rows, report.samples) == (4, 2)


def test_an_empty_dataset_is_invalid(tmp_path: Path) -> None:
    report = check(write_dataset(tmp_path))
    assert kinds_of(report) == [(None, "empty")]
    assert (report.rows, report.samples, report.vision_tokens) == (0, 0, Extent(0, 0))


def test_a_json_array_has_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text('[{"messages": []}]')
    report = check(path)
    assert kinds_of(report) == [(None, "json_array")]
    assert report.rows == 0


def test_a_missing_dataset_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(OcrvlError) as caught:
        check(tmp_path / "train.jsonl")
    assert caught.value.code is ExitCode.NOT_FOUND


def test_an_image_that_is_cut_off_is_found(tmp_path: Path) -> None:
    whole = Image.effect_noise((200, 200), 80)
    for name in ("a.png", "a.jpg"):
        whole.save(tmp_path / name)
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
        report = check(write_dataset(tmp_path, (tmp_path / name, "OCR:", "402")))
        assert kinds_of(report) == [(1, "image_unreadable")]
        assert f"{name} is damaged" in report.problems[0].message


@pytest.mark.parametrize("content", [b"", b"not an image", b"%PDF-1.7", b"\x89PNG\r\n\x1a\n"])
def test_a_file_that_is_no_image_is_found(tmp_path: Path, content: bytes) -> None:
    image = tmp_path / "a.png"
    image.write_bytes(content)
    assert kinds_of(check(write_dataset(tmp_path, (image, "OCR:", "402")))) == [(1, "image_unreadable")]


def test_a_folder_or_an_impossible_path_instead_of_an_image_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    report = check(write_dataset(tmp_path, (tmp_path / "a.png", "OCR:", "4"), (tmp_path / ("x" * 300), "OCR:", "4")))
    assert kinds_of(report) == [(1, "image_unreadable"), (2, "image_unreadable")]


@pytest.mark.parametrize(
    ("size", "words"), [((28 * 201, 28), "more than 200 times"), ((4000, 21), "too thin to survive")]
)
def test_an_image_that_the_processor_would_refuse_is_found(tmp_path: Path, size: tuple[int, int], words: str) -> None:
    report = check(write_dataset(tmp_path, (make_image(tmp_path, size=size), "OCR:", "402")))
    assert kinds_of(report) == [(1, "image_shape")]
    assert words in report.problems[0].message


@pytest.mark.parametrize("limit", [3000, 1000])
def test_an_image_of_too_many_pixels_is_a_problem_and_no_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    report = check(write_dataset(tmp_path, (make_image(tmp_path), "OCR:", "402")))
    assert kinds_of(report) == [(1, "image_too_large")]


def test_an_unknown_prompt_is_told_with_the_nearest_known_one(tmp_path: Path) -> None:
    report = check(write_dataset(tmp_path, (make_image(tmp_path), "OCR", "402")))
    (problem,) = report.problems
    assert problem.kind == "unknown_prompt"
    assert problem.message == "unknown prompt 'OCR': did you mean 'OCR:'?"
    assert "--set data.extra_prompts=" in problem.hint


@pytest.mark.parametrize("prompt", ["OCR: ", "\nOCR:", "ocr:", ""])
def test_a_prompt_that_differs_in_one_sign_is_unknown(tmp_path: Path, prompt: str) -> None:
    report = check(write_dataset(tmp_path, (make_image(tmp_path), prompt, "402")))
    assert kinds_of(report) == [(1, "unknown_prompt")]


def test_a_row_may_have_several_problems(tmp_path: Path) -> None:
    report = check(write_dataset(tmp_path, (tmp_path / "b.png", "Read:", "402")))
    assert kinds_of(report) == [(1, "unknown_prompt"), (1, "image_missing")]
    assert report.samples == 0


def test_the_sequence_is_image_framing_prompt_and_target_together(tmp_path: Path) -> None:
    path = write_dataset(tmp_path, (make_image(tmp_path), "OCR:", "402"))
    asked: list[str] = []

    def count_words(text: str) -> int:
        asked.append(text)
        return len(text.split())

    report = check(path, count_tokens=count_words)
    assert asked == ["User: OCR:\nAssistant: ", "402"]
    assert report.sequence_tokens_max == 6 + 4 + 3 + 1
    assert report.tokens_counted


def test_a_sample_is_too_long_by_one_token_when_tokens_are_counted(tmp_path: Path) -> None:
    path = write_dataset(tmp_path, (make_image(tmp_path), "OCR:", "4 0 2"))
    counted = {"count_tokens": lambda text: len(text.split())}
    assert check(path, max_seq_len=16, **counted).is_valid
    report = check(path, max_seq_len=15, **counted)
    assert kinds_of(report) == [(1, "too_long")]
    assert "takes 16 tokens, 6 of them for the image, and 15 are allowed" in report.problems[0].message


def test_without_a_tokenizer_only_the_image_makes_a_sample_too_long(tmp_path: Path) -> None:
    path = write_dataset(tmp_path, (make_image(tmp_path), "OCR:", "4" * 1000))
    assert check(path, max_seq_len=16).is_valid
    assert check(path, max_seq_len=16).sequence_tokens_max > 1000
    assert not check(path, max_seq_len=16).tokens_counted
    report = check(path, max_seq_len=9)
    assert kinds_of(report) == [(1, "too_long")]
    assert "at least 10 tokens" in report.problems[0].message


def test_the_error_lists_the_first_five_problems_and_counts_all(tmp_path: Path) -> None:
    missing = [(tmp_path / f"{number}.png", "OCR:", "402") for number in range(7)]
    path = write_dataset(tmp_path, *missing, (make_image(tmp_path), "Read:", "402"))
    with pytest.raises(OcrvlError) as caught:
        check(path).raise_if_invalid()
    error = caught.value
    assert error.code is ExitCode.DATA_INVALID
    assert error.hint == f"ocrvl data check {path}"
    first, *shown, more = error.message.splitlines()
    assert first.endswith("cannot be trained on: 7 image_missing, 1 unknown_prompt")
    assert [line.split(":")[0].strip() for line in shown] == [f"line {number}" for number in range(1, 6)]
    assert more == "  and 3 more"


def test_the_same_image_and_prompt_twice_is_a_warning(tmp_path: Path) -> None:
    image, copy = make_image(tmp_path), make_image(tmp_path, "copy.png")
    path = write_dataset(
        tmp_path,
        (image, "OCR:", "402"),
        (image, "Table Recognition:", "402"),
        (image, "OCR:", "402"),
        (copy, "OCR:", "403"),
    )
    report = check(path)
    assert report.is_valid
    (warning,) = report.warnings
    assert "of an earlier one: 2, with another target: 1 (line 3 repeats line 1)" in warning


def test_images_in_two_splits_are_found_whatever_their_names(tmp_path: Path) -> None:
    image, copy = make_image(tmp_path), make_image(tmp_path, "copy.png")
    other = make_image(tmp_path, "other.png", shade=10)
    train = check(write_dataset(tmp_path, (image, "OCR:", "402")))
    held_out = check(write_dataset(tmp_path, (copy, "OCR:", "402"), (other, "OCR:", "17"), name="test.jsonl"))
    apart = check(write_dataset(tmp_path, (other, "OCR:", "17"), name="validation.jsonl"))
    (warning,) = overlap(train, held_out)
    assert "share 1 image (such as" in warning
    assert "copy.png" in warning
    assert overlap(train, apart) == []


def test_the_digest_follows_the_content_and_not_the_place(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    path = write_dataset(here, (make_image(here), "OCR:", "402"))
    digest = check(path).sha256
    assert dataset_digest(path) == digest
    here.rename(there)
    assert dataset_digest(there / "train.jsonl") == digest
    make_image(there, size=(200, 40))
    with_other_image = dataset_digest(there / "train.jsonl")
    write_dataset(there, (there / "a.png", "OCR:", "403"))
    with_other_row = dataset_digest(there / "train.jsonl")
    (there / "a.png").unlink()
    without_image = dataset_digest(there / "train.jsonl")
    assert len({digest, with_other_image, with_other_row, without_image}) == 4


def test_each_image_file_is_decoded_once_and_progress_is_told(tmp_path: Path) -> None:
    images = [make_image(tmp_path, f"{number}.png", shade=number) for number in range(3)]
    path = write_dataset(tmp_path, *[(image, prompt, "402") for prompt in PROMPTS for image in images])
    told: list[tuple[str, int, int]] = []
    report = check(path, on_progress=lambda what, done, total: told.append((what, done, total)))
    assert report.samples == 6
    assert told == [("checking images", done, 3) for done in (1, 2, 3)]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16", "CMYK"])
def test_every_usual_pixel_format_is_accepted(tmp_path: Path, mode: str) -> None:
    image = tmp_path / "a.tiff"
    Image.new(mode, (168, 28)).save(image)
    assert check(write_dataset(tmp_path, (image, "OCR:", "402"))).is_valid
