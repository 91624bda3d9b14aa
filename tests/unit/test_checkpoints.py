from __future__ import annotations

import json
from pathlib import Path

import pytest

from ocrvl_modal.runs.checkpoints import (
    COMPLETE,
    complete_checkpoints,
    mark_complete,
    newest_sound_checkpoint,
    problem_with,
    prune,
    set_aside,
)
from ocrvl_modal.runs.layout import RunLayout

FILES = {"model.safetensors": b"w" * 100, "state/optimizer.pt": b"o" * 200, "state/rng.json": b"{}"}


@pytest.fixture
def layout(tmp_path: Path) -> RunLayout:
    return RunLayout.of(tmp_path, "lines")


def save(layout: RunLayout, step: int, *, mark: bool = True) -> Path:
    folder = layout.checkpoint(step)
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    if mark:
        mark_complete(folder, step)
    return folder


def steps(layout: RunLayout) -> list[int]:
    return [checkpoint.step for checkpoint in complete_checkpoints(layout)]


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_marked_checkpoint_is_complete_to_the_last_byte(layout: RunLayout) -> None:
    assert problem_with(save(layout, 100), digests=True) is None


def test_the_marker_lists_every_file_with_its_size(layout: RunLayout) -> None:
    folder = save(layout, 100)
    marker = json.loads((folder / COMPLETE).read_text(encoding="utf-8"))
    assert marker["step"] == 100
    assert {name: facts["size_bytes"] for name, facts in marker["files"].items()} == {
        name: len(content) for name, content in FILES.items()
    }


def test_a_checkpoint_without_its_marker_does_not_count(layout: RunLayout) -> None:
    folder = save(layout, 100, mark=False)
    assert problem_with(folder) == "COMPLETE.json is missing"
    assert steps(layout) == []


@pytest.mark.parametrize("name", FILES)
def test_a_checkpoint_with_a_file_cut_off_does_not_count(name: str, layout: RunLayout) -> None:
    folder = save(layout, 100)
    (folder / name).write_bytes(FILES[name][:-1])
    assert problem_with(folder) == f"{name} has {len(FILES[name]) - 1} bytes of {len(FILES[name])}"
    assert steps(layout) == []


@pytest.mark.parametrize("name", FILES)
def test_a_checkpoint_with_a_file_missing_does_not_count(name: str, layout: RunLayout) -> None:
    folder = save(layout, 100)
    (folder / name).unlink()
    assert problem_with(folder) == f"{name} is missing"


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_byte_is_seen_by_the_digests(name: str, layout: RunLayout) -> None:
    folder = save(layout, 100)
    flip_a_byte(folder / name)
    assert problem_with(folder) is None
    assert problem_with(folder, digests=True) == f"{name} has other content than was saved"


@pytest.mark.parametrize(
    "marker",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"step": 1, "files": []}',
        '{"step": 1, "files": {"a": {}}}',
        '{"step": 1, "files": {"a": 1}}',
        '{"files": {"a": {"size_bytes": 0, "sha256": ""}}}',
        '{"step": null, "files": {}}',
    ],
)
def test_a_damaged_marker_is_a_checkpoint_that_does_not_count(marker: str, layout: RunLayout) -> None:
    folder = save(layout, 100)
    (folder / COMPLETE).write_text(marker, encoding="utf-8")
    assert problem_with(folder) == "COMPLETE.json cannot be read"


def test_nothing_can_be_marked_complete_where_nothing_is(layout: RunLayout) -> None:
    with pytest.raises(FileNotFoundError, match="no file in the checkpoint"):
        mark_complete(layout.checkpoint(100), 100)
    assert not layout.checkpoint(100).exists()


def test_a_marker_that_lists_no_file_is_of_no_checkpoint(layout: RunLayout) -> None:
    folder = save(layout, 100)
    (folder / COMPLETE).write_text('{"schema": 1, "step": 100, "files": {}}', encoding="utf-8")
    assert problem_with(folder) == "COMPLETE.json lists no file"


def test_checkpoints_are_told_oldest_first_by_step_and_not_by_name(layout: RunLayout) -> None:
    for step in (1000, 200, 90):
        save(layout, step)
    (layout.checkpoints / "checkpoint-new").mkdir()
    (layout.checkpoints / "notes").mkdir()
    assert steps(layout) == [90, 200, 1000]


def test_a_run_without_checkpoints_has_none(layout: RunLayout) -> None:
    assert complete_checkpoints(layout) == []
    assert newest_sound_checkpoint(layout) == (None, [])


def test_resume_takes_the_newest_checkpoint(layout: RunLayout) -> None:
    for step in (100, 200):
        save(layout, step)
    checkpoint, notes = newest_sound_checkpoint(layout)
    assert checkpoint is not None
    assert (checkpoint.step, checkpoint.path, notes) == (200, layout.checkpoint(200), [])


def test_resume_sets_aside_what_was_cut_off_or_damaged_and_says_so(layout: RunLayout) -> None:
    save(layout, 100)
    flip_a_byte(save(layout, 200) / "model.safetensors")
    (save(layout, 300) / "state" / "rng.json").write_bytes(b"{")
    save(layout, 400, mark=False)
    checkpoint, notes = newest_sound_checkpoint(layout)
    assert checkpoint is not None
    assert checkpoint.step == 100
    assert notes == [
        "checkpoint-400 was set aside: COMPLETE.json is missing",
        "checkpoint-300 was set aside: state/rng.json has 1 bytes of 2",
        "checkpoint-200 was set aside: model.safetensors has other content than was saved",
    ]
    assert [entry.name for entry in layout.checkpoints.iterdir()] == ["checkpoint-100"]
    assert len(list(layout.set_aside.iterdir())) == 3


def test_resume_looks_no_further_than_the_newest_sound_one(layout: RunLayout) -> None:
    save(layout, 100, mark=False)
    save(layout, 200)
    assert newest_sound_checkpoint(layout)[1] == []
    assert layout.checkpoint(100).is_dir()


def test_what_is_set_aside_never_replaces_what_was_set_aside_before(layout: RunLayout) -> None:
    first = set_aside(layout, save(layout, 100))
    second = set_aside(layout, save(layout, 100))
    assert first != second
    assert problem_with(first, digests=True) is problem_with(second, digests=True) is None


def test_a_name_that_was_set_aside_can_be_written_again(layout: RunLayout) -> None:
    save(layout, 100, mark=False)
    newest_sound_checkpoint(layout)
    save(layout, 100)
    assert steps(layout) == [100]


def test_pruning_keeps_the_newest(layout: RunLayout) -> None:
    for step in (100, 200, 300, 1000):
        save(layout, step)
    assert prune(layout, keep=2) == [100, 200]
    assert steps(layout) == [300, 1000]
    assert not layout.checkpoint(100).exists()


def test_pruning_counts_complete_checkpoints_only(layout: RunLayout) -> None:
    save(layout, 100)
    save(layout, 200, mark=False)
    assert prune(layout, keep=1) == []
    assert steps(layout) == [100]
    assert layout.checkpoint(200).is_dir()
