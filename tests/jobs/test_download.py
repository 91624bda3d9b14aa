"""Fetching a base model, from a hub on this machine: whole under its name, or not there at all."""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import wait_until
from jobs.hub import FILES, WEIGHTS, Hub, HubServer, serve
from ocrvl_modal import locks
from ocrvl_modal.backends.local import LocalBackend
from ocrvl_modal.errors import ExitCode, OcrvlError
from ocrvl_modal.jobs import download
from ocrvl_modal.model_folders import model_folder
from ocrvl_modal.models import FAMILY, find_member, identify_folder
from ocrvl_modal.places import Places

MEMBER = FAMILY["paddleocr-vl-1.6"]
WANTED = {name for name in FILES if not name.startswith(("PP-", "imgs/")) and not name.endswith((".gguf", ".bin"))}
MARKS = {"ocrvl.json", ".complete"}

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


def part_of(models: Path, hub: Hub) -> Path:
    return models / f".{MEMBER.name}.{hub.commit[:12]}.part"


def names_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_model_comes_whole_and_says_what_it_is(hub: Hub, fetch: Download, models: Path) -> None:
    result = fetch()
    folder = models / MEMBER.name
    assert (result["fetched"], result["place"]) == (True, f"/models/{MEMBER.name}")
    assert names_in(folder) == WANTED | MARKS
    assert all((folder / name).read_bytes() == FILES[name] for name in WANTED)
    marker = json.loads((folder / "ocrvl.json").read_text())
    assert (marker["family"], marker["revision"], marker["commit"]) == (MEMBER.name, "main", hub.commit)
    complete = json.loads((folder / ".complete").read_text())
    assert (complete["repository"], complete["revision"], complete["commit"]) == (hub.repository, "main", hub.commit)
    assert complete["files"] == {
        name: {"size_bytes": len(FILES[name]), "sha256": hashlib.sha256(FILES[name]).hexdigest()} for name in WANTED
    }
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
    assert "does not travel again" in caught.value.hint
    assert not (models / MEMBER.name).exists()
    hub.keeps_the_weights = False
    hub.sent.clear()
    fetch()
    assert "config.json" not in hub.sent
    assert hub.sent["model.safetensors"] == len(FILES["model.safetensors"])
    assert names_in(models / MEMBER.name) == WANTED | MARKS


def test_what_arrived_of_a_download_is_no_model_when_the_hub_cannot_be_reached_any_more(
    hub: Hub, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub's own library takes a folder that has anything in it for the whole repository then."""
    part = part_of(models, hub)
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
    short = part_of(models, hub) / "config.json"
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
    with pytest.raises(OcrvlError, match=r"config\.json of .* did not come as the hub has it"):
        fetch()
    assert not (models / MEMBER.name).exists()


def test_files_of_another_revision_do_not_get_into_the_model(hub: Hub, fetch: Download, models: Path) -> None:
    part = part_of(models, hub)
    part.mkdir(parents=True)
    (part / "model-00001-of-00002.safetensors").write_bytes(b"from before")
    fetch()
    assert names_in(models / MEMBER.name) == WANTED | MARKS


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


LARGE = {**FILES, WEIGHTS: os.urandom(40 << 20)}
PIECE_BYTES = 16 << 20
TOKEN = "hf_never_to_be_seen"


def test_a_large_file_goes_on_where_the_line_was_cut(hub: Hub, fetch: Download, models: Path) -> None:
    hub.files = dict(LARGE)
    hub.cut_after = 24 << 20
    with pytest.raises(OcrvlError) as caught:
        fetch()
    assert f"ocrvl download model {MEMBER.name}" in caught.value.hint
    assert not (models / MEMBER.name).exists()
    assert 0 < hub.sent[WEIGHTS] <= hub.cut_after
    hub.cut_after = 32 << 20
    hub.stays_cut = False
    fetch()
    assert (models / MEMBER.name / WEIGHTS).read_bytes() == LARGE[WEIGHTS]
    assert hub.sent[WEIGHTS] <= len(LARGE[WEIGHTS]) + PIECE_BYTES
    assert names_in(models / MEMBER.name) == WANTED | MARKS
    assert not part_of(models, hub).exists()


def test_the_token_stays_with_the_hub_when_large_files_lie_on_another_host(
    hub: Hub, server: HubServer, models: Path, tmp_path: Path
) -> None:
    hub.files, hub.token, hub.stores_elsewhere = dict(LARGE), TOKEN, True
    said = download_alone(server, tmp_path, HF_TOKEN=TOKEN)
    assert said["result"]["fetched"] is True
    assert (models / MEMBER.name / WEIGHTS).read_bytes() == LARGE[WEIGHTS]
    assert hub.told_elsewhere and set(hub.told_elsewhere) == {""}
    assert not any(TOKEN.encode() in path.read_bytes() for path in models.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", ["config.json", WEIGHTS])
@pytest.mark.parametrize("size", [1 << 20, 33 << 20])
def test_a_file_that_is_not_what_the_hub_says_is_never_taken(
    hub: Hub, fetch: Download, models: Path, name: str, size: int
) -> None:
    hub.files = {**FILES, WEIGHTS: os.urandom(size)}
    hub.damages = {name}
    with pytest.raises(OcrvlError) as caught:
        fetch()
    assert name in caught.value.message
    assert not (models / MEMBER.name).exists()
    hub.damages = set()
    fetch()
    assert (models / MEMBER.name / name).read_bytes() == hub.files[name]


@pytest.mark.parametrize(
    ("is_gated", "token", "message", "hint"),
    [
        (False, None, "to nobody without a token", "--use-local-token"),
        (True, None, "to nobody without a token", "--secret NAME"),
        (True, "hf_of_somebody_else", "may not read", "ask for access at"),
        (True, "hf_not_of_this_hub", "may not read|does not know", "HF_TOKEN"),
        (False, "hf_not_of_this_hub", "does not know the token", "settings/tokens"),
    ],
)
def test_a_repository_that_is_not_open_to_everybody_is_told_with_what_mends_it(
    hub: Hub,
    server: HubServer,
    tmp_path: Path,
    models: Path,
    is_gated: bool,
    token: str | None,
    message: str,
    hint: str,
) -> None:
    hub.token, hub.is_gated, hub.other_tokens = TOKEN, is_gated, ("hf_of_somebody_else",)
    said = download_alone(server, tmp_path, **({"HF_TOKEN": token} if token else {}))
    assert said["error"]["code"] == "not_permitted"
    assert re.search(message, said["error"]["message"])
    assert str(MEMBER.repository) in said["error"]["message"]
    assert hint in said["error"]["hint"]
    assert token is None or token not in json.dumps(said)
    assert not (models / MEMBER.name).exists()


def test_a_private_repository_comes_with_its_token(hub: Hub, server: HubServer, tmp_path: Path, models: Path) -> None:
    hub.token = TOKEN
    said = download_alone(server, tmp_path, HF_TOKEN=TOKEN)
    assert said["result"]["fetched"] is True
    assert TOKEN not in json.dumps(said)


def test_any_repository_of_the_hub_may_be_fetched(hub: Hub, fetch: Download, models: Path, places: Places) -> None:
    hub.repository = "me/receipts-tuned"
    result = fetch(model="me/receipts-tuned", revision="v1")
    assert result["place"] == "/models/me--receipts-tuned"
    assert (result["repository"], result["revision"], result["commit"]) == ("me/receipts-tuned", "v1", hub.commit)
    assert identify_folder(model_folder(places, result["place"])).name == "paddleocr-vl-1.6"
    assert fetch(model="me/receipts-tuned", revision=hub.commit)["fetched"] is False


@pytest.mark.parametrize(
    "name", ["./x", "-a/b", "a/b.", "a/b--c", "a/..b", "a/b/c", "বাংলা/মডেল", f"{'a' * 96}/b", "a/b\n"]
)
def test_what_the_hub_would_call_no_repository_is_refused_without_asking_it(name: str) -> None:
    with pytest.raises(OcrvlError) as caught:
        download.folder_name(name)
    assert caught.value.code == ExitCode.NOT_FOUND


def test_what_a_crash_left_of_a_model_is_not_taken_for_one(
    hub: Hub, fetch: Download, models: Path, places: Places
) -> None:
    fetch()
    folder = models / MEMBER.name
    for damage in (
        lambda: (folder / ".complete").unlink(),
        lambda: (folder / ".complete").write_bytes(b"{"),
        lambda: (folder / WEIGHTS).unlink(),
        lambda: (folder / WEIGHTS).write_bytes(b"short"),
        lambda: (folder / "model-00001-of-00002.safetensors").write_bytes(b"of another commit"),
    ):
        damage()
        with pytest.raises(OcrvlError, match="is not whole") as caught:
            model_folder(places, MEMBER.name)
        assert caught.value.hint == f"ocrvl download model {caught.value.hint.rpartition(' ')[2]}"
        assert find_member(caught.value.hint.rpartition(" ")[2]) is MEMBER
        assert fetch()["fetched"] is True
        assert model_folder(places, MEMBER.name) == folder


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_a_download_that_is_killed_goes_on(
    hub: Hub, server: HubServer, models: Path, tmp_path: Path, share: float
) -> None:
    hub.files = dict(LARGE)
    hub.cut_after = 1 << 40
    process = start_download(server, tmp_path)
    wait_until(lambda: hub.sent[WEIGHTS] >= share * len(LARGE[WEIGHTS]), "some of the weights")
    process.kill()
    process.communicate()
    said = download_alone(server, tmp_path)
    assert "result" in said
    assert (models / MEMBER.name / WEIGHTS).read_bytes() == LARGE[WEIGHTS]
    assert model_folder(Places.under(tmp_path / "home"), MEMBER.name)
    assert hub.sent[WEIGHTS] <= len(LARGE[WEIGHTS]) + PIECE_BYTES


def start_download(server: HubServer, tmp_path: Path, before: str = "", **variables: str) -> subprocess.Popen[str]:
    """Start a download in a process of its own, which runs some code before."""
    process = subprocess.Popen(
        [sys.executable, "-c", before + DOWNLOADER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**environment(server.url, tmp_path / "hf"), **variables},
    )
    asked = {"places": Places.under(tmp_path / "home").model_dump(mode="json"), "model": MEMBER.name}
    assert process.stdin
    print(json.dumps(asked), file=process.stdin, flush=True)
    return process


def download_alone(server: HubServer, tmp_path: Path, **variables: str) -> dict[str, Any]:
    """Download in a process of its own, to its end."""
    told, _ = start_download(server, tmp_path, **variables).communicate()
    said: dict[str, Any] = json.loads(told)
    return said


# Dies when all is verified and marked, right before the model gets its name.
CRASHER = """
import os
from ocrvl_modal import files
files.remove_folder = lambda _: os._exit(9)
"""


def test_a_download_that_dies_before_the_model_gets_its_name_only_names_it_the_next_time(
    hub: Hub, server: HubServer, models: Path, places: Places, tmp_path: Path
) -> None:
    process = start_download(server, tmp_path, before=CRASHER)
    assert process.communicate()[0] == ""
    assert process.returncode == 9
    assert not (models / MEMBER.name).exists()
    hub.sent.clear()
    assert download_alone(server, tmp_path)["result"]["fetched"] is True
    assert set(hub.sent) <= {""}
    assert model_folder(places, MEMBER.name)
    assert names_in(models / MEMBER.name) == WANTED | MARKS
