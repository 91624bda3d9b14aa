"""From files to a stored dataset to a trained model through the installed command, with a damaged shard on the way."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from conftest import OCRVL, Shell
from data.stored import files_of, make_dataset

TRAIN = ("train", "--name", "a", "--model", "tiny", "--set", "schedule.max_steps=2", "--json", "--data")


def push(shell: Shell, *more: str) -> dict[str, Any]:
    return shell("data", "push", "digits", "--version", "v1", "--json", *more).data


def test_a_damaged_shard_stops_training_before_it_starts_and_is_mended(shell: Shell) -> None:
    pushed = push(shell)
    assert pushed["rows"] == {"train": 64, "validation": 8, "test": 8}
    assert (pushed["dataset"], pushed["new_shards"]) == ("digits@v1", 4)

    shard = max((shell.home / "stores" / "data" / "shards").rglob("*.tar"), key=lambda path: path.stat().st_size)
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    refused = shell(*TRAIN, "digits@v1", code=3).json["error"]
    assert shard.stem in refused["message"]
    assert "--name digits --version v1 --verify" in refused["hint"]
    assert not shell.run_folder("a").exists()

    assert push(shell)["new_shards"] == 0
    assert push(shell, "--verify")["new_shards"] == 1
    assert shell("data", "check", "digits@v1", "--model", "tiny", "--json").data["samples"] == 64


@pytest.mark.slow
def test_label_files_become_a_dataset_a_version_and_a_model(shell: Shell) -> None:
    rows = [json.loads(line) for line in (shell.cwd / "digits" / "train.jsonl").read_text().splitlines()]
    labels = "".join(f"{row['images'][0].removeprefix('./')}\t{row['messages'][1]['content']}\n" for row in rows)
    (shell.cwd / "digits" / "labels.txt").write_text(labels)
    shell("data", "convert", "digits/labels.txt", "--out", "mine")
    shell("data", "check", "mine/train.jsonl", "--model", "tiny")
    reference = shell("data", "push", "mine", "--json").data["dataset"]
    run = shell(*TRAIN, reference).data["run"]
    assert (run["state"], run["dataset"], run["samples"]) == ("done", reference, 64)


@pytest.mark.slow
def test_a_run_on_a_stored_dataset_keeps_its_version_and_is_scored_on_its_test_split(shell: Shell) -> None:
    shell("data", "check", "digits/train.jsonl", "--model", "tiny")
    push(shell)
    run = shell(*TRAIN, "digits").data["run"]
    assert (run["state"], run["dataset"]) == ("done", "digits@v1")
    recipe = (shell.run_folder("a") / "recipe.yaml").read_text()
    assert all(reference in recipe for reference in ("digits@v1\n", "digits@v1/validation", "digits@v1/test"))
    scores = shell("eval", "a", "--limit", "1", "--json").data
    assert (scores["data"], scores["samples"]) == ("digits@v1/test", 1)
    assert "TRAINED on" in shell("eval", "a", "--limit", "1", "--data", "digits@v1").err
    (listed,) = shell("data", "ls", "digits", "--json").data["datasets"]
    assert (listed["dataset"], listed["runs"]) == ("digits@v1", ["a"])


def test_what_was_pushed_comes_back(shell: Shell) -> None:
    said = shell("data", "push", "digits/train.jsonl")
    assert "ocrvl train --data digits@" in said.err
    assert "nothing travelled" in shell("data", "push", "digits").out
    shell("data", "pull", "digits", "--out", "again")
    assert "nothing travelled" in shell("data", "push", "again", "--name", "digits").out
    images = {content for name, content in files_of(shell.cwd / "again" / "images").items()}
    assert images == set(files_of(shell.cwd / "digits" / "images").values())
    assert "--out" in shell("data", "pull", "digits", code=2).err


@pytest.mark.parametrize("change", ["rows", "image"])
def test_a_dataset_that_changed_is_another_version(shell: Shell, change: str) -> None:
    first = shell("data", "push", "digits", "--json").data
    train = shell.cwd / "digits" / "train.jsonl"
    if change == "rows":
        train.write_text("\n".join(train.read_text().splitlines()[1:]) + "\n")
    else:
        one, other = sorted(Path(shell.cwd / "digits" / "images").iterdir())[:2]
        one.write_bytes(other.read_bytes())
    second = shell("data", "push", "digits", "--json").data
    assert second["version"] != first["version"]
    refused = shell("data", "push", "digits", "--version", first["version"], "--json", code=2).json["error"]
    assert "another content" in refused["message"]


def test_a_disk_that_fills_up_is_told_and_the_next_push_goes_on(bare_shell: Shell) -> None:
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare")
    make_dataset(bare_shell.cwd / "lines", range(200))
    data = bare_shell.home / "stores" / "data"
    data.mkdir(parents=True)
    push = f"{OCRVL} data push lines --backend local --json"
    script = (
        f"mount -t tmpfs -o size=200k tmpfs {data} || exit 99; {push} > full.json; code=$?; find {data} -type f;"
        f" mount -o remount,size=4m {data}; {push} > again.json || exit 98; exit $code"
    )
    namespace = ["unshare", "--user", "--map-root-user", "--mount"] if os.getuid() else ["unshare", "--mount"]
    done = subprocess.run(
        [*namespace, "sh", "-c", script],
        cwd=bare_shell.cwd,
        env=bare_shell.environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode == 99:
        pytest.skip("this kernel does not let a test mount a small file system")
    assert done.returncode == 1, done.stdout + done.stderr
    error = json.loads((bare_shell.cwd / "full.json").read_text())["error"]
    assert "the disk is full" in error["message"]
    # What arrived is whole, and nothing else lies there: no index, no claim, no half of a shard.
    assert all(name.endswith(".tar") for name in done.stdout.split())
    again = json.loads((bare_shell.cwd / "again.json").read_text())["data"]
    assert again["new_shards"] == again["shards"] - len(done.stdout.split())
    assert list((bare_shell.home / "scratch").iterdir()) == []
