from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image
from tests.data.datasets import (
    DEMANDS,
    PIXELS,
    check,
    erniekit_row,
    kinds_of,
    make_image,
    make_picture,
    messages_row,
    write_rows,
)

from ocrvl_modal.data import crew as crew_module
from ocrvl_modal.data.checking.demands import Demands
from ocrvl_modal.data.checking.part import Task
from ocrvl_modal.data.checking.report import Extent
from ocrvl_modal.data.checking.spill import Hashes, Texts
from ocrvl_modal.data.checking.whole import How, check_splits
from ocrvl_modal.data.crew import crew_for
from ocrvl_modal.data.digest import dataset_digest
from ocrvl_modal.data.rows import to_row
from ocrvl_modal.data.schema import Sample
from ocrvl_modal.errors import ExitCode, OcrvlError

NONE = How(images="none")


class WordCounter:
    """Counts words, and can be sent to another process."""

    def __call__(self, texts: list[str]) -> list[int]:
        return [len(text.split()) for text in texts]


def test_a_good_dataset_is_measured(tmp_path: Path) -> None:
    make_image(tmp_path, "line.png")
    make_image(tmp_path, "block.png", (56, 56))
    path = write_rows(
        tmp_path / "train.jsonl",
        messages_row("402", image="line.png"),
        erniekit_row("<fcel>4<nl>", "Table Recognition:", "block.png"),
    )
    report = check(path)
    assert report.is_valid
    assert (report.rows, report.samples, report.findings) == (2, 2, ())
    assert report.by_prompt == {"OCR:": 1, "Table Recognition:": 1}
    assert report.vision_tokens == Extent(total=6 + 4, max=6)
    assert report.target_characters == Extent(total=3 + 11, max=11)
    report.raise_if_invalid()


def test_rows_that_cannot_be_read_are_reported_with_the_others_in_order(tmp_path: Path) -> None:
    make_image(tmp_path)
    good = erniekit_row("402")
    path = write_rows(tmp_path / "train.jsonl", messages_row("402", image="b.png"), b"{", good, b"", good)
    report = check(path)
    assert kinds_of(report) == [(1, "image_missing"), (2, "not_json"), (4, "blank_line"), (5, "duplicate")]
    assert (report.rows, report.samples) == (4, 2)


@pytest.mark.parametrize("images", ["none", "sample", "all"])
def test_an_empty_dataset_is_invalid(tmp_path: Path, images: str) -> None:
    report = check(write_rows(tmp_path / "train.jsonl"), images=images)
    assert kinds_of(report) == [(None, "empty")]
    assert (report.rows, report.samples, report.vision_tokens) == (0, 0, Extent(0, 0))


def test_a_missing_dataset_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(OcrvlError) as caught:
        check(tmp_path / "train.jsonl")
    assert caught.value.code is ExitCode.NOT_FOUND


def test_a_finding_names_its_place_in_the_row(tmp_path: Path) -> None:
    rows = [messages_row("a\x07b"), erniekit_row("a\x07b"), messages_row(402)]  # type: ignore[arg-type]
    report = check(write_rows(tmp_path / "train.jsonl", *rows), images="none")
    places = {finding.path for group in report.findings for finding in group.examples}
    assert {"messages[1].content", "text_info[1].text"} <= places


@pytest.mark.parametrize("prompt", ["OCR: ", "\nOCR:", "ocr:", "", "OCR"])
def test_a_prompt_that_differs_in_one_sign_is_unknown(tmp_path: Path, prompt: str) -> None:
    report = check(write_rows(tmp_path / "train.jsonl", messages_row("402", prompt)), images="none")
    assert kinds_of(report) == [(1, "unknown_prompt")]
    (finding,) = report.findings[0].examples
    assert not prompt or "did you mean 'OCR:'?" in finding.message
    assert "--extra-prompt" in finding.hint
    assert "--set 'data.extra_prompts=[" in finding.hint


def test_the_sequence_is_image_and_text_as_the_engine_counts_it(tmp_path: Path) -> None:
    make_image(tmp_path)
    path = write_rows(tmp_path / "train.jsonl", messages_row("4 0 2"))
    tokens = check(path, count_many=WordCounter()).sequence_tokens_max
    assert check(path, Demands(("OCR:",), PIXELS, tokens), count_many=WordCounter()).is_valid
    report = check(path, Demands(("OCR:",), PIXELS, tokens - 1), count_many=WordCounter())
    assert kinds_of(report) == [(1, "too_long")]
    assert report.tokens_counted
    assert f"takes {tokens} tokens, 6 of them for the image" in report.findings[0].examples[0].message
    # The same of the text alone, which the screen counts.
    text = check(path, count_many=WordCounter(), images="none").sequence_tokens_max
    assert text == tokens - 6
    assert not check(path, Demands(("OCR:",), PIXELS, text - 1), count_many=WordCounter(), images="none").is_valid


def test_without_a_tokenizer_only_the_image_makes_a_sample_too_long(tmp_path: Path) -> None:
    make_image(tmp_path)
    path = write_rows(tmp_path / "train.jsonl", messages_row("4" * 1000))
    report = check(path, Demands(("OCR:",), PIXELS, 16))
    assert report.is_valid
    assert report.sequence_tokens_max > 1000
    assert not report.tokens_counted
    report = check(path, Demands(("OCR:",), PIXELS, 9))
    assert kinds_of(report) == [(1, "too_long")]
    assert "at least 10 tokens" in report.findings[0].examples[0].message


def test_the_error_lists_the_first_errors_and_counts_all(tmp_path: Path) -> None:
    rows = [messages_row("402", image=f"{number}.png") for number in range(7)]
    path = write_rows(tmp_path / "train.jsonl", *rows, messages_row("402", "Read:"))
    make_image(tmp_path)
    with pytest.raises(OcrvlError) as caught:
        check(path).raise_if_invalid()
    error = caught.value
    assert error.code is ExitCode.DATA_INVALID
    assert error.hint == f"ocrvl data check {path}"
    first, *shown, more = error.message.splitlines()
    assert first.endswith("cannot be trained on: 7 image_missing, 1 unknown_prompt")
    assert [line.split(":")[0].strip() for line in shown] == [f"line {number}" for number in range(1, 6)]
    assert more == "  and 3 more"


def test_the_same_image_is_the_same_whatever_it_is_called(tmp_path: Path) -> None:
    make_image(tmp_path)
    make_image(tmp_path, "copy.png")
    rows = [
        messages_row("402"),
        messages_row("x", "Seal Recognition:"),
        messages_row("402"),
        messages_row("403", image="copy.png"),
    ]
    report = check(write_rows(tmp_path / "train.jsonl", *rows))
    assert report.is_valid
    assert kinds_of(report) == [(3, "duplicate"), (4, "contradiction")]
    assert "line 1" in str(report.group("contradiction"))


def test_repeats_are_found_across_chunks_and_processes(tmp_path: Path) -> None:
    rows = [messages_row(f"{number}", image=f"./{number}.png") for number in range(30_000)]
    rows[29_000] = messages_row("17", image="17.png")
    rows[29_500] = erniekit_row("18", image="./17.png")
    path = write_rows(tmp_path / "train.jsonl", *rows)
    for processes in (1, 2):
        report = check(path, images="none", processes=processes)
        assert kinds_of(report) == [(29_001, "duplicate"), (29_501, "contradiction")]
        assert report.samples == 30_000


def test_a_report_does_not_depend_on_who_works_at_it(tmp_path: Path) -> None:
    rows = []
    for number in range(400):
        make_image(tmp_path, f"{number}.png", (28 + number % 90, 28), shade=number % 250)
        rows += [
            messages_row(f"{number}", image=f"{number}.png"),
            messages_row("a\x07", "ocr:", f"x{number}.png"),
            b"{",
        ]
    path = write_rows(tmp_path / "train.jsonl", *rows)
    alone = check(path, processes=1)
    assert alone.counts["image_missing"] == 400
    assert check(path, processes=2) == alone


@pytest.mark.parametrize(("images", "opened"), [("none", 0), ("sample", 1000), ("all", 1500)])
def test_as_many_images_are_opened_as_were_asked_for(tmp_path: Path, images: str, opened: int) -> None:
    rows = [messages_row(f"{number}", image=f"{number:04d}.png") for number in range(1500)]
    report = check(write_rows(tmp_path / "train.jsonl", *rows), images=images, examples=2000)
    missing = report.group("image_missing")
    assert (missing.count if missing else 0) == pytest.approx(opened, abs=10)
    if missing and images == "sample":
        lines = [finding.line or 0 for finding in missing.examples]
        assert max(b - a for a, b in itertools.pairwise(lines)) <= 3


def test_headers_alone_find_what_headers_show(tmp_path: Path) -> None:
    Image.new("L", (28 * 201, 28)).save(tmp_path / "a.png")
    report = check(write_rows(tmp_path / "train.jsonl", messages_row()), decode=False)
    assert kinds_of(report) == [(1, "image_shape")]
    assert report.images == "all, headers only"


def test_splits_are_compared_with_the_first(tmp_path: Path) -> None:
    picture = make_picture(tmp_path / "a.png", "402")
    (tmp_path / "copy.png").write_bytes(picture.read_bytes())
    make_picture(tmp_path / "b.png", "A page of May")
    train = write_rows(tmp_path / "train.jsonl", messages_row(), messages_row("x", image="b.png"))
    test = write_rows(tmp_path / "test.jsonl", messages_row(image="copy.png"))
    reports = check_splits({"train": train, "test": test}, DEMANDS)
    assert kinds_of(reports["train"]) == [(1, "leak")]
    assert reports["train"].compared == (str(test),)
    assert reports["test"].findings == ()
    assert str(test) in str(reports["train"].findings[0].examples[0])


def test_a_split_that_is_not_there_is_told_before_another_is_read(tmp_path: Path) -> None:
    train = write_rows(tmp_path / "train.jsonl", messages_row())
    told: list[str] = []
    how = How(images="none", on_progress=lambda what, _done, _total: told.append(what))
    with pytest.raises(OcrvlError) as refused:
        check_splits({"train": train, "test": tmp_path / "no.jsonl"}, DEMANDS, how)
    assert refused.value.code is ExitCode.NOT_FOUND
    assert told == []


def test_what_is_asked_of_training_data_is_not_asked_of_held_out_data(tmp_path: Path) -> None:
    demands = Demands(("OCR:", "Seal Recognition:"), PIXELS, 512, tasks=("Seal Recognition:",), least_samples=2)
    train, test = (write_rows(tmp_path / name, messages_row()) for name in ("train.jsonl", "test.jsonl"))
    reports = check_splits({"train": train, "test": test}, demands, NONE)
    assert set(reports["train"].counts) == {"few_samples", "missing_tasks"}
    assert reports["test"].findings == ()


def test_progress_reaches_its_end(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    path = write_rows(tmp_path / "train.jsonl", *[messages_row(image=f"{n}.png") for n in range(20_000)])
    check(path, images="none", on_progress=lambda what, done, total: told.append((what, done, total)))
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    assert told[-1] == ("checking rows (bytes)", path.stat().st_size, path.stat().st_size)


def test_the_digest_follows_the_content_and_not_the_place(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    make_image(here)
    path = write_rows(here / "train.jsonl", messages_row())
    digest = dataset_digest(path)
    here.rename(there)
    assert dataset_digest(there / "train.jsonl") == digest
    make_image(there, size=(200, 40))
    with_other_image = dataset_digest(there / "train.jsonl")
    write_rows(there / "train.jsonl", messages_row("403"))
    with_other_row = dataset_digest(there / "train.jsonl")
    (there / "a.png").unlink()
    assert len({digest, with_other_image, with_other_row, dataset_digest(there / "train.jsonl")}) == 4


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA"])
def test_every_usual_pixel_format_is_accepted(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (168, 28)).save(tmp_path / "a.tiff")
    path = tmp_path / "train.jsonl"
    path.write_text(to_row(Sample(tmp_path / "a.tiff", "OCR:", "402", 1), "messages", tmp_path))
    assert check(path).findings == ()


def test_a_worker_that_dies_ends_the_check_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_rows(tmp_path / "train.jsonl", *[messages_row(image=f"{n}.png") for n in range(50)])
    task = Task(path, path.stat().st_size, DEMANDS, "none", True, None, 5)
    started: list[subprocess.Popen[bytes]] = []
    start = crew_module._start

    def start_and_keep() -> object:
        started.append((both := start())[0])
        return both

    monkeypatch.setattr(crew_module, "_start", start_and_keep)
    with pytest.raises(OcrvlError, match="died"), crew_for(task, 2) as crew:
        started[1].kill()
        list(crew.run("search_for", [(frozenset(),)] * 4))
    assert [process.returncode is not None for process in started] == [True, True]


@pytest.mark.slow
def test_an_interrupted_check_leaves_no_process(tmp_path: Path) -> None:
    path = write_rows(
        tmp_path / "train.jsonl", *[messages_row("x\u0301" * 50, image=f"{n}.png") for n in range(60_000)]
    )
    code = (
        "import sys; from pathlib import Path; from tests.data.datasets import check;"
        "check(Path(sys.argv[1]), images='none', processes=2)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(path)], stderr=subprocess.DEVNULL)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while len(workers := children.read_text().split()) < 2:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGINT)
    process.wait(10)
    # One that was just being started ends by itself when it finds its caller gone.
    until = time.monotonic() + 10
    while any(Path(f"/proc/{worker}").exists() for worker in workers) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)


def test_repeated_hashes_are_found_wherever_they_are_kept() -> None:
    with Hashes(1_000_000) as hashes:
        for start in range(0, 200_000, 1000):
            hashes.add(range(start, start + 1000))
        hashes.add([5, 199_999, -3, 5])
        assert sorted(hashes.repeated()) == [5, 199_999]


def test_texts_are_kept_by_number() -> None:
    texts = Texts()
    for text in ("a", "", "বাংলা", "x\ud800"):
        texts.append(text)
    assert [texts[2], texts[0], texts[3], texts[1]] == ["বাংলা", "a", "x\ud800", ""]
    texts.close()


def test_a_report_can_be_written_as_json(tmp_path: Path) -> None:
    report = check(write_rows(tmp_path / "train.jsonl", messages_row("402", "OCR")), images="none")
    data = json.loads(json.dumps(report.to_dict()))
    assert (data["valid"], data["errors"], data["counts"]) == (False, 1, {"unknown_prompt": 1})
    assert data["findings"][0]["examples"][0]["line"] == 1
