"""Models, datasets and secrets on Modal, and what is of no more use in its volumes."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cloud.conftest import Cloud
from jobs.hub import FILES, WEIGHTS, Hub, HubServer, serve
from jobs.web import Site, serve_site

TOKEN = "hf_never_to_be_seen"
REPOSITORY = "PaddlePaddle/PaddleOCR-VL-1.6"
LARGE = {**FILES, WEIGHTS: os.urandom(40 << 20)}
PIECE_BYTES = 16 << 20


@pytest.fixture
def server() -> Iterator[HubServer]:
    with serve() as server:
        server.hub = Hub(REPOSITORY)
        yield server


@pytest.fixture
def site() -> Iterator[Site]:
    with serve_site() as site:
        yield site


def seen_anywhere(cloud: Cloud, secret: str) -> set[str]:
    """Return where a secret was seen: the RPCs that had it, the logs, the events, the volumes."""
    found = {str(rpc["rpc"]) for rpc in cloud.fake.rpcs() if secret in json.dumps(rpc)}
    found |= {"logs"} if secret in cloud.fake.logs() else set()
    found |= {"events"} if secret in json.dumps(cloud.fake.events()) else set()
    for name in cloud.fake.describe()["volumes"]:
        files = (path for path in cloud.fake.volume(name).rglob("*") if path.is_file())
        found |= {name for path in files if secret.encode() in path.read_bytes()}
    return found


def test_a_large_file_goes_on_where_the_line_was_cut(cloud: Cloud, server: HubServer) -> None:
    hub = server.hub
    hub.files, hub.cut_after = dict(LARGE), 24 << 20
    said = cloud("download", "model", "1.6", code=1, HF_ENDPOINT=server.url)
    assert "ocrvl download model paddleocr-vl-1.6" in said.err
    assert "no model" in cloud("model", "ls").out
    hub.cut_after, hub.stays_cut = 32 << 20, False
    told = cloud.elsewhere()("download", "model", "1.6", "--json", HF_ENDPOINT=server.url)
    assert told.data["commit"] == hub.commit
    store = cloud.fake.volume("paddleocr-vl-models") / "paddleocr-vl-1.6"
    assert (store / WEIGHTS).read_bytes() == LARGE[WEIGHTS]
    assert hub.sent[WEIGHTS] <= len(LARGE[WEIGHTS]) + PIECE_BYTES

    listed = cloud("model", "ls", "--json").data["models"]
    assert [(model["name"], model["family"], model["commit"], model["whole"]) for model in listed] == [
        ("paddleocr-vl-1.6", "paddleocr-vl-1.6", hub.commit, True)
    ]


def test_a_model_is_verified_where_it_lies(cloud: Cloud, server: HubServer) -> None:
    server.hub.repository = "me/receipts-tuned"
    cloud("download", "model", "me/receipts-tuned", HF_ENDPOINT=server.url)
    assert "is as it came" in cloud("model", "verify", "me/receipts-tuned").out
    weights = cloud.fake.volume("paddleocr-vl-models") / "me--receipts-tuned" / WEIGHTS
    weights.write_bytes(FILES[WEIGHTS][:-1] + b"?")
    said = cloud("model", "verify", "me/receipts-tuned", code=1)
    assert f"{WEIGHTS} has other content" in said.out
    assert "ocrvl download model me/receipts-tuned --force" in said.err
    assert "VolumeGetFile2" not in {rpc["rpc"] for rpc in cloud.fake.rpcs() if WEIGHTS in json.dumps(rpc)}


def test_the_token_of_this_machine_travels_only_when_it_is_told_to(cloud: Cloud, server: HubServer) -> None:
    server.hub.token = TOKEN
    environment = {"HF_ENDPOINT": server.url, "HF_TOKEN": TOKEN}
    refused = cloud("download", "model", "1.6", code=4, **environment)
    assert REPOSITORY in refused.err and "--use-local-token" in refused.err
    assert seen_anywhere(cloud, TOKEN) == set()
    told = cloud("download", "model", "1.6", "--use-local-token", **environment)
    assert seen_anywhere(cloud, TOKEN) == {"SecretGetOrCreate"}
    assert not any(TOKEN in said.out + said.err for said in (refused, told))
    unset = cloud("download", "model", "1.6", "--use-local-token", code=4, HF_ENDPOINT=server.url, HF_TOKEN="")
    assert "HF_TOKEN is not set on this machine" in unset.err


def test_a_named_secret_opens_a_private_repository(start_cloud: Callable[..., Cloud], server: HubServer) -> None:
    server.hub.token = TOKEN
    cloud = start_cloud(secrets={"huggingface": {"HF_TOKEN": TOKEN}, "other": {"OTHER": "x"}})
    for name, lack in (("nobody", "there is no Modal secret named 'nobody'"), ("other", "lacks HF_TOKEN")):
        said = cloud("download", "model", "1.6", "--secret", name, code=5, HF_ENDPOINT=server.url)
        assert lack in said.err
        assert "modal secret create" in said.err and "HF_TOKEN=…" in said.err
    assert not cloud.fake.events("call")
    cloud("download", "model", "1.6", "--secret", "huggingface", HF_ENDPOINT=server.url)
    assert TOKEN not in cloud.fake.logs()

    checked = cloud("secret", "check", "huggingface=HF_TOKEN", "other", "--json").data["secrets"]
    assert [(one["name"], one["is_there"]) for one in checked] == [("huggingface", True), ("other", True)]
    missing = cloud("secret", "check", "huggingface", "other=HF_TOKEN", "nobody", "--json", code=5).data["secrets"]
    assert [one["is_there"] for one in missing] == [True, False, False]
    assert missing[1]["hint"].startswith("modal secret create --force other HF_TOKEN=…")
    assert missing[2]["hint"].startswith("modal secret create nobody")


def test_the_secret_of_a_recipe_fetches_its_base_model_and_is_asked_for_first(
    start_cloud: Callable[..., Cloud], server: HubServer
) -> None:
    server.hub.token = TOKEN
    cloud = start_cloud(secrets={"huggingface": {"HF_TOKEN": TOKEN}, "other": {"OTHER": "x"}})
    command = ("train", "--data", "./digits/train.jsonl", "--model", "1.6", "--engine", "transformers", "--yes")
    said = cloud(*command, "--set", "hf_secret=other", "--detach", code=5, HF_ENDPOINT=server.url)
    assert "lacks HF_TOKEN" in said.err
    assert not cloud.fake.events("call")
    recipe = cloud.shell.cwd / "mine.yaml"
    recipe.write_text("hf_secret: nobody\n")
    assert "nobody" in cloud("secret", "check", "--recipe", "./mine.yaml", code=5).out


def test_a_dataset_comes_with_its_images_and_is_checked(cloud: Cloud, site: Site) -> None:
    images = sorted((cloud.shell.cwd / "digits" / "images").iterdir())[:3]
    site.files = {f"/{number}.png": image.read_bytes() for number, image in enumerate(images)}
    rows = [
        {
            "image_info": [{"matched_text_index": 0, "image_url": f"{site.url}/{number}.png"}],
            "text_info": [{"text": "OCR:", "tag": "mask"}, {"text": str(number), "tag": "no_mask"}],
        }
        for number in (*range(3), 99)
    ]
    site.files["/train.jsonl"] = "".join(json.dumps(row) + "\n" for row in rows).encode()
    told = cloud("download", "dataset", f"{site.url}/train.jsonl", "--name", "mine", "--model", "tiny", "--json")
    assert told.data["images"]["reasons"] == {"http_404": 1}
    assert told.data["reports"]["train"]["samples"] == 3
    assert any("1 of 4 rows" in warning for warning in told.json["warnings"])
    store = cloud.fake.volume("paddleocr-vl-data") / "mine"
    assert len([path for path in (store / "images").rglob("*") if path.is_file()]) == 3
    assert json.loads((store / "missing.jsonl").read_text())["line"] == 4


def put(path: Path, size: int = 2048, *, days: float = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    moment = time.time() - days * 86_400
    os.utime(path, (moment, moment))


def test_rows_in_the_store_get_the_images_that_they_name_by_address(cloud: Cloud, site: Site) -> None:
    image = next((cloud.shell.cwd / "digits" / "images").iterdir()).read_bytes()
    site.files = {"/1.png": image}
    row = {
        "messages": [{"role": "user", "content": "<image>OCR:"}, {"role": "assistant", "content": "1"}],
        "images": [f"{site.url}/1.png"],
    }
    (cloud.shell.cwd / "rows.jsonl").write_text(json.dumps(row) + "\n")
    cloud("volume", "put", "rows.jsonl", "/data/set/rows.jsonl")
    told = cloud("data", "localize", "/data/set/rows.jsonl", "--json")
    assert (told.data["rows"], told.data["images"]["fetched"]) == ("/data/set/rows-local/rows.jsonl", 1)
    folder = cloud.fake.volume("paddleocr-vl-data") / "set" / "rows-local"
    (name,) = json.loads((folder / "rows.jsonl").read_text())["images"]
    assert (folder / name).read_bytes() == image


def test_what_is_of_no_more_use_is_shown_with_its_price_and_removed_when_told_to(cloud: Cloud) -> None:
    cloud("volume", "check")
    data, models = cloud.fake.volume("paddleocr-vl-data"), cloud.fake.volume("paddleocr-vl-models")
    put(data / "uploads" / "forgotten-1234" / "train.jsonl", days=30)
    put(data / "uploads" / "just-now-1234" / "train.jsonl")
    put(models / ".me--x.0123456789ab.part" / "model.safetensors.part", days=30)
    put(models / ".me--y.0123456789ab.part" / "model.safetensors.part")
    put(models / "mine" / "config.json", days=30)

    used = cloud("volume", "du", "/models", "--json").data
    assert used["size_bytes"] == 3 * 2048
    assert used["usd_per_month"] == "0.00"
    wanted = {"/data/uploads/forgotten-1234", "/models/.me--x.0123456789ab.part"}
    shown = cloud("volume", "gc", "--older-than", "0", "--dry-run", "--json").data
    assert ({one["place"] for one in shown["garbage"]}, shown["removed"]) == (wanted, [])
    assert "--yes" in cloud("volume", "gc", code=2).err
    assert (data / "uploads" / "forgotten-1234").exists()
    gone = cloud("volume", "gc", "--yes", "--json").data
    assert set(gone["removed"]) == wanted
    left = [path for volume in (data, models) for path in volume.rglob("*") if path.is_file()]
    assert len(left) == 3
    assert "nothing to remove" in cloud("volume", "gc", "--yes").out
