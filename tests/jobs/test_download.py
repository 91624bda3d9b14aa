"""Fetching a base model, from a hub on this machine: whole under its name, or not there at all."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.hub import FILES, Hub, HubServer, serve
from ocrvl_modal import locks
from ocrvl_modal.backends.local import LocalBackend
from ocrvl_modal.errors import ExitCode, OcrvlError
from ocrvl_modal.jobs import download
from ocrvl_modal.models import FAMILY
from ocrvl_modal.places import Places

MEMBER = FAMILY["paddleocr-vl-1.6"]
WANTED = {name for name in FILES if not name.startswith("PP-") and not name.endswith(".gguf")}

Download = Callable[..., dict[str, Any]]


# Downloads in a process that reads the hub's address when it begins, as the library does.
DOWNLOADER = """
import json, sys
from ocrvl_modal.errors import OcrvlError
from ocrvl_modal.jobs import download
for line in sys.stdin:
    try:
        answer = {"result": download.run(json.loads(line))}
    except OcrvlError as error:
        answer = {"error": error.to_dict()}
    print(json.dumps(answer), flush=True)
"""


def environment(endpoint: str, home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    cache = {"HF_HOME": str(home), "HF_HUB_CACHE": str(home / "hub")}
    return {**kept, **cache, "HF_ENDPOINT": endpoint, "no_proxy": "127.0.0.1"}


@pytest.fixture(scope="module")
def server() -> Iterator[HubServer]:
    with serve() as server:
        yield server


@pytest.fixture(scope="module")
def downloader(server: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", DOWNLOADER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment(server.url, tmp_path_factory.mktemp("hf")),
    )
    with process:
        yield process
        process.kill()


@pytest.fixture
def hub(server: HubServer) -> Hub:
    server.hub = Hub(str(MEMBER.repository))
    return server.hub


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places.under(tmp_path / "home")


@pytest.fixture
def models(places: Places) -> Path:
    return places.models


@pytest.fixture
def fetch(downloader: subprocess.Popen[str], places: Places) -> Download:
    """Return what downloads."""

    def fetch(**request: Any) -> dict[str, Any]:
        assert downloader.stdin and downloader.stdout
        asked = {"places": places.model_dump(mode="json"), "model": MEMBER.name, **request}
        print(json.dumps(asked), file=downloader.stdin, flush=True)
        answer = json.loads(downloader.stdout.readline())
        if "error" in answer:
            raise OcrvlError.from_dict(answer["error"])
        result: dict[str, Any] = answer["result"]
        return result

    return fetch


def names_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_model_comes_whole_and_says_what_it_is(hub: Hub, fetch: Download, models: Path) -> None:
    result = fetch()
    folder = models / MEMBER.name
    assert (result["fetched"], result["place"]) == (True, f"/models/{MEMBER.name}")
    assert names_in(folder) == WANTED | {"ocrvl.json"}
    assert all((folder / name).read_bytes() == FILES[name] for name in WANTED)
    marker = json.loads((folder / "ocrvl.json").read_text())
    assert (marker["family"], marker["revision"], marker["commit"]) == (MEMBER.name, "main", hub.commit)
    assert [path.name for path in models.iterdir() if path.is_dir()] == [MEMBER.name]

    hub.fails_with = 500
    again = fetch()
    assert (again["fetched"], again["size_bytes"]) == (False, result["size_bytes"])


def test_a_broken_download_leaves_nothing_under_the_name_and_files_that_came_do_not_travel_again(
    hub: Hub, fetch: Download, models: Path
) -> None:
    hub.keeps_the_weights = True
    with pytest.raises(OcrvlError, match=r"could not be downloaded: .*500") as caught:
        fetch()
    assert "do not travel again" in caught.value.hint
    assert not (models / MEMBER.name).exists()
    hub.keeps_the_weights = False
    hub.sent.clear()
    fetch()
    assert "config.json" not in hub.sent
    assert hub.sent["model.safetensors"] == len(FILES["model.safetensors"])
    assert names_in(models / MEMBER.name) == WANTED | {"ocrvl.json"}


def test_what_arrived_of_a_download_is_no_model_when_the_hub_cannot_be_reached_any_more(
    hub: Hub, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub's own library takes a folder that has anything in it for the whole repository then."""
    part = models / f".{MEMBER.name}.part"
    part.mkdir(parents=True)
    for name in WANTED:
        (part / name).write_bytes(FILES[name])
    for name, value in environment(f"http://127.0.0.1:{a_port_that_nobody_listens_on()}", tmp_path / "hf").items():
        monkeypatch.setenv(name, value)
    with pytest.raises(OcrvlError, match=r"could not be downloaded: .*refused") as caught:
        LocalBackend(tmp_path / "home").call("download", {"model": MEMBER.name}, on_progress=lambda *_: None)
    assert "check the network" in caught.value.hint
    assert not (models / MEMBER.name).exists()


def test_a_file_that_a_power_cut_left_short_is_fetched_again(hub: Hub, fetch: Download, models: Path) -> None:
    hub.keeps_the_weights = True
    with pytest.raises(OcrvlError):
        fetch()
    short = models / f".{MEMBER.name}.part" / "config.json"
    before = short.stat()
    short.write_bytes(FILES["config.json"][:-1])
    os.utime(short, ns=(before.st_atime_ns, before.st_mtime_ns))
    hub.keeps_the_weights = False
    fetch()
    assert (models / MEMBER.name / "config.json").read_bytes() == FILES["config.json"]


def test_a_file_that_is_not_as_large_as_the_hub_says_is_no_part_of_a_model(
    hub: Hub, fetch: Download, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing = hub.listing()
    listing[0]["size"] += 1
    monkeypatch.setattr(hub, "listing", lambda: listing)
    with pytest.raises(OcrvlError, match=r"config\.json of .* did not come whole"):
        fetch()
    assert not (models / MEMBER.name).exists()


def test_files_of_another_revision_do_not_get_into_the_model(hub: Hub, fetch: Download, models: Path) -> None:
    part = models / f".{MEMBER.name}.part"
    part.mkdir(parents=True)
    (part / "model-00001-of-00002.safetensors").write_bytes(b"from before")
    fetch()
    assert names_in(models / MEMBER.name) == WANTED | {"ocrvl.json"}


@pytest.mark.parametrize("missing", ["tokenizer.json", "chat_template.jinja", "model.safetensors"])
def test_a_repository_that_lacks_a_file_is_told_before_anything_is_fetched(
    hub: Hub, fetch: Download, models: Path, missing: str
) -> None:
    del hub.files[missing]
    with pytest.raises(OcrvlError) as caught:
        fetch()
    assert caught.value.code == ExitCode.NOT_FOUND
    assert ("its weights" if missing.endswith("safetensors") else missing) in caught.value.message
    assert "config.json" not in hub.sent
    assert not (models / MEMBER.name).exists()


def test_a_revision_that_is_not_there_is_not_found(hub: Hub, fetch: Download) -> None:
    with pytest.raises(OcrvlError, match="has no revision 'v9'") as caught:
        fetch(revision="v9")
    assert caught.value.code == ExitCode.NOT_FOUND


def test_a_repository_that_is_not_there_is_not_found(hub: Hub, fetch: Download) -> None:
    hub.repository = "somebody/else"
    with pytest.raises(OcrvlError, match=str(MEMBER.repository)) as caught:
        fetch()
    assert caught.value.code == ExitCode.NOT_FOUND


@pytest.mark.parametrize(("status", "code"), [(500, ExitCode.FAILED), (403, ExitCode.NOT_PERMITTED)])
def test_an_error_of_the_server_is_told_at_once(
    hub: Hub, fetch: Download, models: Path, status: int, code: ExitCode
) -> None:
    hub.fails_with = status
    with pytest.raises(OcrvlError, match=str(status)) as caught:
        fetch()
    assert caught.value.code == code
    assert not (models / MEMBER.name).exists()


def a_port_that_nobody_listens_on() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_another_revision_is_fetched_in_place_of_the_one_that_is_there(hub: Hub, fetch: Download, models: Path) -> None:
    fetch()
    hub.files["config.json"] = b'{"v": 1}'
    assert fetch(revision="main")["fetched"] is False
    assert fetch(revision="v1")["fetched"] is True
    assert (models / MEMBER.name / "config.json").read_bytes() == b'{"v": 1}'
    assert fetch(revision="v1")["fetched"] is False


def test_a_model_without_a_marker_is_taken_as_it_is(models: Path, fetch: Download) -> None:
    (models / MEMBER.name).mkdir(parents=True)
    (models / MEMBER.name / "config.json").write_bytes(b"{}")
    assert fetch(revision="v1")["fetched"] is False


def test_a_disk_without_room_is_told_before_anything_is_fetched(
    hub: Hub, fetch: Download, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.files["model.safetensors"] = b"x"
    listing = hub.listing()
    for entry in listing:
        entry["size"] = 1 << 60
    monkeypatch.setattr(hub, "listing", lambda: listing)
    with pytest.raises(OcrvlError, match=r"needs .* GiB, and .* are free") as caught:
        fetch()
    assert "free some space" in caught.value.hint
    assert "config.json" not in hub.sent


def test_two_downloads_of_one_model_at_once_do_not_mix(
    places: Places, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "_PROBE_GRACE_S", 0.05)
    lock = locks.acquire(models / f".{MEMBER.name}.lock")
    assert lock is not None
    with pytest.raises(OcrvlError, match="another process fetches"):
        download.run({"places": places.model_dump(mode="json"), "model": MEMBER.name})
    os.close(lock)


def test_the_tiny_model_is_made_and_not_fetched(places: Places, models: Path) -> None:
    request = {"places": places.model_dump(mode="json"), "model": "tiny"}
    assert download.run(request)["fetched"] is True
    weights = (models / "tiny" / "model.safetensors").read_bytes()
    assert download.run({**request, "revision": "v1"})["fetched"] is False
    (models / "tiny" / "model.safetensors").write_bytes(b"damaged")
    assert download.run({**request, "force": True})["fetched"] is True
    assert (models / "tiny" / "model.safetensors").read_bytes() == weights
