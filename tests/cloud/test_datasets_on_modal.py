"""Datasets in shards on Modal's volumes: what travels, what the job makes of it, and what damage comes to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cloud.conftest import SHORT, Cloud
from data.stored import files_of


def index_of(cloud: Cloud) -> dict[str, object]:
    """The one index in the data volume."""
    (path,) = (cloud.fake.volume("paddleocr-vl-data") / "datasets" / "digits").rglob("dataset.json")
    index: dict[str, object] = json.loads(path.read_text())
    return index


def damage(cloud: Cloud) -> Path:
    """Flip a bit in the shard of images; return its file."""
    shards = (cloud.fake.volume("paddleocr-vl-data") / "shards").rglob("*.tar")
    shard = max(shards, key=lambda path: path.stat().st_size)
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    return shard


@pytest.mark.slow
def test_training_on_a_file_of_this_machine_pushes_it_first(cloud: Cloud) -> None:
    started = cloud.train("first", *SHORT)
    index = index_of(cloud)
    reference = f"digits@{index['version']}"
    assert index["automatic"] is True
    assert list(index["splits"]) == ["train", "validation", "test"]  # type: ignore[call-overload]
    assert started.data["run"]["dataset"] == reference
    # No file of an image travels by itself.
    assert not [path for path in files_of(cloud.fake.volume("paddleocr-vl-data")) if path.endswith(".png")]
    assert cloud("runs", "wait", "first", "--json").data["run"]["state"] == "done"

    other = cloud.elsewhere()
    listed = other("data", "ls", "digits", "--json").data["datasets"]
    assert [(one["dataset"], one["runs"]) for one in listed] == [(reference, ["first"])]
    other("data", "pull", reference, "--out", "here")
    images = set(files_of(other.shell.cwd / "here" / "images").values())
    assert images == set(files_of(cloud.shell.cwd / "digits" / "images").values())
    assert cloud("eval", "first", "--json", "--limit", "2").data["data"] == f"{reference}/test"


def test_a_push_uploads_what_the_store_lacks_and_shows_it(cloud: Cloud) -> None:
    said = cloud("data", "push", "digits")
    assert "packing and uploading" in said.err
    assert "4 of 4 shards travelled" in said.out
    uploads = len(cloud.uploads())
    assert "nothing travelled" in cloud("data", "push", "digits").out
    assert len(cloud.uploads()) == uploads
    train = cloud.shell.cwd / "digits" / "train.jsonl"
    train.write_text(train.read_text().replace("<image>OCR:", "<image>Table Recognition:", 1))
    again = cloud("data", "push", "digits", "--json").data
    assert (again["shards"], again["new_shards"]) == (4, 1)


@pytest.mark.slow
def test_a_damaged_shard_is_told_before_training_and_mended(cloud: Cloud) -> None:
    reference = cloud("data", "push", "digits", "--json").data["dataset"]
    shard = damage(cloud)
    refused = cloud("train", "--data", reference, "--model", "tiny", "--yes", "--json", code=3).json["error"]
    assert shard.stem in refused["message"]
    assert "--verify" in refused["hint"]
    assert not cloud.fake.events("call", function="train")
    assert cloud("data", "push", "digits", "--json").data["new_shards"] == 0
    assert cloud("data", "push", "digits", "--verify", "--json").data["new_shards"] == 1
    checked = cloud("data", "check", reference, "--model", "tiny", "--json").data
    assert checked["samples"] == 64


@pytest.mark.slow
def test_a_shard_that_is_damaged_after_the_check_is_never_trained_on(cloud: Cloud) -> None:
    cloud("data", "push", "digits", "--version", "v1")
    cloud.fake.faults({"on": "enqueue", "function": "train", "seconds": 20})
    cloud.train("a", *SHORT, data="digits@v1")
    shard = damage(cloud)
    run = cloud("runs", "wait", "a", "--json", code=1).data["run"]
    assert (run["state"], run["step"], run["error"]["code"]) == ("failed", 0, "data_invalid")
    assert shard.stem in run["error"]["message"]
    cloud("data", "push", "digits", "--version", "v1", "--verify")
    cloud.train("a", *SHORT, data="digits@v1")
    assert cloud("runs", "wait", "a", "--json").data["run"]["state"] == "done"
