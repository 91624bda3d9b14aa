"""Models, datasets and files on Modal's volumes."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from cloud.conftest import Cloud
from jobs.hub import FILES, Hub, HubServer, serve

ROW = {
    "messages": [{"role": "user", "content": "<image>OCR:"}, {"role": "assistant", "content": "1"}],
    "images": ["images/1.png"],
}
SECRET = "hf_never_to_be_seen"


@pytest.fixture
def server() -> Iterator[HubServer]:
    with serve() as server:
        yield server


def test_a_model_goes_from_the_hub_into_the_store_without_touching_this_machine(
    cloud: Cloud, server: HubServer
) -> None:
    server.hub = Hub("PaddlePaddle/PaddleOCR-VL-1.6")
    environment = {"HF_ENDPOINT": server.url, "HF_TOKEN": SECRET}
    told = cloud("download", "model", "1.6", "--use-local-token", "--json", **environment)
    assert told.data["place"] == "/models/paddleocr-vl-1.6"
    store = cloud.fake.volume("paddleocr-vl-models") / "paddleocr-vl-1.6"
    assert (store / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert json.loads((store / "ocrvl.json").read_text())["family"] == "paddleocr-vl-1.6"
    assert not cloud.shell.home.joinpath("stores", "models", "paddleocr-vl-1.6").exists()

    again = cloud.elsewhere()("download", "model", "1.6", "--json", **environment)
    assert again.data["fetched"] is False

    # The token travels as a secret, and nowhere else.
    kept = {rpc["rpc"] for rpc in cloud.fake.rpcs() if SECRET in json.dumps(rpc)}
    assert kept <= {"SecretGetOrCreate"}
    assert SECRET not in cloud.fake.logs()
    assert SECRET not in json.dumps(cloud.fake.events())


def test_a_hub_that_does_not_answer_is_told_with_the_way_to_go_on(cloud: Cloud, server: HubServer) -> None:
    server.hub = Hub("PaddlePaddle/PaddleOCR-VL-1.6", fails_with=500)
    said = cloud("download", "model", "1.6", code=1, HF_ENDPOINT=server.url)
    assert "could not be downloaded" in said.err
    assert "ocrvl download model paddleocr-vl-1.6" in said.err


def test_a_dataset_goes_from_the_hub_into_the_store(cloud: Cloud, server: HubServer) -> None:
    image = next((cloud.shell.cwd / "digits" / "images").iterdir()).read_bytes()
    rows = json.dumps(ROW).encode() + b"\n"
    server.hub = Hub("me/receipts", files={"train.jsonl": rows, "images/1.png": image}, kind="dataset")
    told = cloud("download", "dataset", "me/receipts", "--json", HF_ENDPOINT=server.url)
    assert told.data["rows"] == ["/data/receipts/train.jsonl"]
    checked = cloud("data", "check", "/data/receipts/train.jsonl", "--model", "tiny", "--json")
    assert checked.data["samples"] == 1
    cloud("download", "dataset", "me/other", "--name", "receipts", code=2, HF_ENDPOINT=server.url)


def test_a_bad_dataset_in_the_store_is_told_line_by_line(cloud: Cloud) -> None:
    folder = cloud.shell.cwd / "bad"
    folder.mkdir()
    (folder / "x.jsonl").write_text(json.dumps(ROW) + "\nnot json\n")
    cloud("volume", "put", "bad", "/data/bad")
    said = cloud("data", "check", "/data/bad/x.jsonl", "--model", "tiny", code=3)
    assert "line 2" in said.out
    refused = cloud("train", "--data", "/data/bad/x.jsonl", "--model", "tiny", "--yes", code=3)
    assert "line 1" in refused.err
    assert not cloud.fake.events("call", function="train")


def test_files_go_in_are_listed_come_back_and_go(cloud: Cloud) -> None:
    cloud("volume", "put", "digits", "/data/mine/digits")
    listed = cloud("volume", "ls", "/data/mine/digits", "--json").data["entries"]
    assert [entry["place"].rpartition("/")[2] for entry in listed] == [
        "images",
        "synth.json",
        "test.jsonl",
        "train.jsonl",
        "validation.jsonl",
    ]
    assert listed[0]["size_bytes"] is None
    again = cloud("volume", "put", "digits", "/data/mine/digits", code=2)
    assert "--force" in again.err
    other = cloud.elsewhere()
    other("volume", "get", "/data/mine/digits", "here")
    here, there = other.shell.cwd / "here", cloud.shell.cwd / "digits"
    assert {path.relative_to(here): path.read_bytes() for path in here.rglob("*") if path.is_file()} == {
        path.relative_to(there): path.read_bytes() for path in there.rglob("*") if path.is_file()
    }
    other("volume", "get", "/data/mine/digits/train.jsonl", "one.jsonl")
    assert (other.shell.cwd / "one.jsonl").read_bytes() == (there / "train.jsonl").read_bytes()
    assert "exists already" in other("volume", "get", "/data/mine/digits/train.jsonl", "one.jsonl", code=2).err
    cloud("volume", "rm", "/data/mine", "--yes")
    assert cloud("volume", "ls", "/data", "--json").data["entries"] == []
    assert "ocrvl volume ls /data" in cloud("volume", "get", "/data/mine", code=5).err


def test_the_stores_are_tried_and_leave_no_trace(cloud: Cloud) -> None:
    stores = cloud("volume", "check", "--json").data["stores"]
    assert [(store["store"], store["ok"]) for store in stores] == [
        ("data", True),
        ("models", True),
        ("outputs", True),
        ("wheels", True),
    ]
    versions = {name: volume["version"] for name, volume in cloud.fake.describe()["volumes"].items()}
    assert versions == {
        "paddleocr-vl-data": 2,
        "paddleocr-vl-models": 2,
        "paddleocr-vl-outputs": 1,
        "paddleocr-vl-wheels": 2,
    }
    assert not any(list(cloud.fake.volume(name).iterdir()) for name in versions)
