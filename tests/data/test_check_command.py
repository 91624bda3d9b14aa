from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from tests.data.datasets import make_picture, messages_row, write_rows

from ocrvl_modal.backends.checking import Checking, check_datasets, demands_of, refuse_urls
from ocrvl_modal.backends.local import LocalBackend
from ocrvl_modal.commands import data
from ocrvl_modal.errors import ExitCode, OcrvlError
from ocrvl_modal.models import FAMILY
from ocrvl_modal.recipes import recipe_from


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OCRVL_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_strict_takes_warnings_for_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_rows(tmp_path / "train.jsonl", messages_row("a\x07b"))
    data.check(str(path), model="tiny", images="none")
    printed = capsys.readouterr()
    assert "warning: control_characters: 1" in printed.out
    assert "(at messages[1].content)" in printed.out
    assert "ocrvl train" in printed.err
    with pytest.raises(SystemExit) as caught:
        data.check(str(path), model="tiny", images="none", strict=True, json=True)
    assert caught.value.code == ExitCode.DATA_INVALID
    report = json.loads(capsys.readouterr().out)["data"]
    assert (report["valid"], report["strict"], report["warnings"]) == (True, True, 1)


def test_the_files_beside_train_and_those_named_are_compared_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b", "c"):
        make_picture(tmp_path / f"{name}.png", f"page {name}")
    path = write_rows(tmp_path / "train.jsonl", *(messages_row(image=f"{name}.png") for name in "abc"))
    write_rows(tmp_path / "test.jsonl", messages_row(image="a.png"))
    other = write_rows(tmp_path / "other.jsonl", messages_row(image="b.png"), b"{")
    data.check(str(path), model="tiny", against=[str(other)], json=True)
    report = json.loads(capsys.readouterr().out)["data"]
    assert report["counts"] == {"leak": 2}
    assert [Path(compared).name for compared in report["compared"]] == ["test.jsonl", "other.jsonl"]


def test_fix_writes_what_can_be_mended_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_rows(tmp_path / "train.jsonl", messages_row("a\x07b"), messages_row(""))
    out = tmp_path / "fixed.jsonl"
    with pytest.raises(SystemExit) as caught:
        data.check(str(path), model="tiny", images="none", fix=out)
    assert caught.value.code == ExitCode.DATA_INVALID
    printed = capsys.readouterr()
    assert "  mended: control_characters 1" in printed.out
    assert "  dropped: empty_target 1" in printed.out
    assert f"ocrvl data check {out}" in printed.err
    assert json.loads(out.read_text())["messages"][1]["content"] == "ab"


def test_urls_are_a_warning_here_and_refused_by_training(tmp_path: Path, home: Path) -> None:
    path = write_rows(tmp_path / "train.jsonl", messages_row(image="https://example.org/a.png"))
    tiny = FAMILY["tiny"]
    checking = Checking("tiny", demands_of(tiny, 512))
    report = check_datasets(LocalBackend(home), {"train": str(path)}, checking, lambda *_: None)["train"]
    assert report.is_valid
    assert report.counts == {"image_url": 1}
    with pytest.raises(OcrvlError, match="1 image by URL") as caught:
        refuse_urls(report, str(path))
    assert caught.value.code is ExitCode.DATA_INVALID
    assert caught.value.hint == f"ocrvl data localize {path}"


def test_a_held_out_file_is_not_asked_for_every_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, kinds in (("train", {"few_samples", "missing_tasks"}), ("test", set())):
        path = write_rows(tmp_path / f"{name}.jsonl", messages_row())
        data.check(str(path), images="none", json=True)
        assert set(json.loads(capsys.readouterr().out)["data"]["counts"]) == kinds


@pytest.mark.parametrize("prompt", ["", " \n", "<image>Ledger:"])
def test_a_prompt_of_ones_own_that_cannot_be_asked_is_refused(prompt: str) -> None:
    with pytest.raises(OcrvlError, match="cannot be a prompt") as refused:
        demands_of(FAMILY["tiny"], 512, extra_prompts=("Ledger:", prompt))
    assert refused.value.code is ExitCode.USAGE


def test_the_next_command_takes_the_dataset_as_it_was_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_rows(tmp_path / "train.jsonl", messages_row("a\x07b", "My ledger:"))
    fixed = tmp_path / "fixed.jsonl"
    data.check(str(path), "tiny", images="none", max_seq_len=256, extra_prompt=["My ledger:"], fix=fixed)
    again = shlex.split(capsys.readouterr().err.rpartition("next: ")[2])
    expected = ["data", "check", str(fixed), "--model", "tiny", "--extra-prompt", "My ledger:", "--max-seq-len", "256"]
    assert again == ["ocrvl", *expected]
    data.check(str(fixed), "tiny", images="none", max_seq_len=256, extra_prompt=["My ledger:"])
    train = shlex.split(capsys.readouterr().err.rpartition("next: ")[2])
    assert train[:4] == ["ocrvl", "train", "--data", str(fixed)]
    recipe = recipe_from({"model": {"name": "tiny"}}, [train[train.index("--set") + 1], train[-1]])
    assert (recipe.data.extra_prompts, recipe.data.max_seq_len) == (("My ledger:",), 256)
