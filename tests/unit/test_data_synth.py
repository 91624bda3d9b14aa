from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from PIL import Image

from ocrvl_modal.data.checking.demands import Demands
from ocrvl_modal.data.checking.whole import check_splits
from ocrvl_modal.data.rows import ROW_FORMATS, RowFormat, read_samples
from ocrvl_modal.data.synthesis.digits import PROMPT, SynthReport, synthesize_digits
from ocrvl_modal.errors import ExitCode, OcrvlError
from ocrvl_modal.models import FAMILY


def make(out: Path, seed: int = 0, row_format: str = "messages") -> SynthReport:
    return synthesize_digits(out, train=12, validation=4, test=3, seed=seed, row_format=row_format)


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("row_format", ROW_FORMATS)
def test_a_made_dataset_passes_the_checks_of_the_tiny_model(tmp_path: Path, row_format: RowFormat) -> None:
    made = make(tmp_path / "digits", row_format=row_format)
    tiny = FAMILY["tiny"]
    paths = {"train": made.train, "validation": made.validation, "test": made.test}
    reports = check_splits(paths, Demands(tuple(tiny.prompts.values()), tiny.pixels, 512))
    assert [report.samples for report in reports.values()] == [12, 4, 3]
    for report in reports.values():
        assert report.findings == ()
        assert report.vision_tokens.max == 6
    assert len(reports["train"].compared) == 2
    key = "messages" if row_format == "messages" else "text_info"
    assert all(key in json.loads(line) for line in made.train.read_text().splitlines())


def test_the_report_names_what_was_made(tmp_path: Path) -> None:
    made = make(tmp_path / "digits", seed=3)
    data = json.loads(json.dumps(made.to_dict()))
    assert data["samples"] == {"train": 12, "validation": 4, "test": 3}
    assert data["seed"] == 3
    assert Path(data["test"]).is_file()
    assert {entry.name for entry in (tmp_path / "digits").iterdir()} == {
        "train.jsonl",
        "validation.jsonl",
        "test.jsonl",
        "images",
        "synth.json",
    }


def test_no_string_of_digits_occurs_twice(tmp_path: Path) -> None:
    made = synthesize_digits(tmp_path / "digits", train=300, validation=60, test=60)
    samples = [sample for path in (made.train, made.validation, made.test) for sample in read_samples(path)]
    targets = [sample.target for sample in samples]
    assert len(set(targets)) == len(targets) == 420
    assert all(len(target) == 6 and target.isdigit() for target in targets)
    assert {sample.prompt for sample in samples} == {PROMPT}


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        make(tmp_path / name, seed)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert digests(tmp_path / "a")["train.jsonl"] != digests(tmp_path / "c")["train.jsonl"]
    assert digests(tmp_path / "a")["images/train-00000.png"] != digests(tmp_path / "c")["images/train-00000.png"]


def test_each_digit_stands_dark_in_its_own_cell(tmp_path: Path) -> None:
    made = make(tmp_path / "digits")
    for sample in read_samples(made.train):
        with Image.open(sample.image) as image:
            assert (image.mode, image.size) == ("RGB", (168, 28))
            grey = image.convert("L")
        for cell in range(6):
            darkest, lightest = grey.crop((cell * 28, 0, cell * 28 + 28, 28)).getextrema()
            assert darkest <= 80
            assert lightest == 255


def test_progress_counts_every_image(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    synthesize_digits(
        tmp_path / "digits", train=2, validation=1, test=1, on_progress=lambda *progress: told.append(progress)
    )
    assert told == [("rendering images", done, 4) for done in (1, 2, 3, 4)]


def test_an_earlier_made_dataset_is_replaced(tmp_path: Path) -> None:
    make(tmp_path / "digits", seed=1)
    make(tmp_path / "digits", seed=2, row_format="erniekit")
    make(tmp_path / "other", seed=2, row_format="erniekit")
    assert digests(tmp_path / "digits") == digests(tmp_path / "other")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["digits", "other"]


def test_an_empty_folder_is_used(tmp_path: Path) -> None:
    (tmp_path / "digits").mkdir()
    assert make(tmp_path / "digits").train.is_file()


@pytest.mark.parametrize("foreign", ["notes.txt", "images/mine.png", "synth.json"])
def test_a_folder_with_anything_else_in_it_is_left_alone(tmp_path: Path, foreign: str) -> None:
    folder = tmp_path / "digits"
    if foreign != "notes.txt":
        make(folder)
    (folder / foreign).parent.mkdir(parents=True, exist_ok=True)
    (folder / foreign).write_text("mine")
    before = digests(folder)
    with pytest.raises(OcrvlError, match="holds files that are not a made-up dataset") as caught:
        make(folder, seed=9)
    assert caught.value.code is ExitCode.USAGE
    assert caught.value.hint == f"--out {folder / 'digits'}"
    assert digests(folder) == before


def test_a_file_at_the_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "digits").write_text("mine")
    with pytest.raises(OcrvlError, match="is a file") as caught:
        make(tmp_path / "digits")
    assert caught.value.code is ExitCode.USAGE


def test_the_working_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "inside").mkdir()
    monkeypatch.chdir(tmp_path / "inside")
    for out in (Path(), Path("..")):
        with pytest.raises(OcrvlError, match="cannot be replaced") as caught:
            make(out)
        assert caught.value.code is ExitCode.USAGE


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail(what: str, done: int, total: int) -> None:
        if done == 5:
            raise OSError(28, f"No space left on device while {what} {total}")

    with pytest.raises(OSError, match="No space left"):
        synthesize_digits(tmp_path / "digits", train=12, validation=4, test=3, on_progress=fail)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("train", "row_format", "words"),
    [
        (0, "messages", "at least one sample, not 0"),
        (-3, "messages", "at least one sample, not -3"),
        (1_000_000, "messages", "more than the 1000000 strings"),
        (1, "ernie", "no row format 'ernie'"),
    ],
)
def test_a_request_that_cannot_be_met_is_a_usage_error(tmp_path: Path, train: int, row_format: str, words: str) -> None:
    with pytest.raises(OcrvlError, match=words) as caught:
        synthesize_digits(tmp_path / "digits", train=train, row_format=row_format)
    assert caught.value.code is ExitCode.USAGE
    assert list(tmp_path.iterdir()) == []
