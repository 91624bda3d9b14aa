from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ocrvl_modal.data import sources
from ocrvl_modal.data.sources import collect_images
from ocrvl_modal.errors import ExitCode, OcrvlError


def no_place(place: str) -> list[str]:
    return []


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


@pytest.fixture
def server(here: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(here))) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def test_a_folder_gives_its_images_at_every_depth_by_name(here: Path) -> None:
    touch(here, "scans/b.PNG", "scans/a.jpg", "scans/deep/c.tiff", "scans/notes.txt", "scans/.hidden.png")
    touch(here, "scans/.cache/d.png")
    found = collect_images(["scans"], no_place)
    assert [image.name for image in found] == ["scans/a.jpg", "scans/b.PNG", "scans/deep/c.tiff"]
    assert [image.stem for image in found] == ["a", "b", "deep/c"]
    assert [image.file for image in found] == [str(here / image.name) for image in found]


def test_a_file_that_is_named_may_have_any_ending(here: Path) -> None:
    touch(here, "page.2.scan")
    assert [image.stem for image in collect_images(["page.2.scan"], no_place)] == ["page.2"]


def test_images_of_one_stem_get_outputs_of_their_own(here: Path) -> None:
    touch(here, "a.png", "a.jpg", "x/A.png", "x/a-2.png")
    found = collect_images(["a.png", "a.jpg", "x"], no_place)
    stems = [image.stem for image in found]
    assert stems == ["a", "a-2", "A-3", "a-2-2"]
    assert len({stem.lower() for stem in stems}) == 4


def test_all_that_is_missing_is_told_at_once(here: Path) -> None:
    touch(here, "a.png", "texts/a.txt")
    (here / "empty").mkdir()
    with pytest.raises(OcrvlError) as caught:
        collect_images(["gone.png", "a.png", "texts", "empty", "/data/none", "nowhere/"], no_place)
    assert caught.value.code is ExitCode.NOT_FOUND
    message = caught.value.message
    assert "there is no gone.png" in message
    assert "there is no nowhere/" in message
    assert "there is no /data/none" in message
    assert message.count("there is no image (") == 2
    assert "a.png;" not in message.replace("gone.png;", "")


def test_a_place_in_a_store_is_listed_by_the_store(here: Path) -> None:
    listing = {
        "/data/scans": ["/data/scans/b.png", "/data/scans/x/a.png", "/data/scans/index.json"],
        "/data/one.png": ["/data/one.png"],
    }
    found = collect_images(["/data/scans", "/data/one.png"], lambda place: listing.get(place, []))
    assert [(image.stem, image.file) for image in found] == [
        ("b", "/data/scans/b.png"),
        ("x/a", "/data/scans/x/a.png"),
        ("one", "/data/one.png"),
    ]


def test_a_url_is_downloaded(here: Path, server: str) -> None:
    touch(here, "a b.png")
    image = collect_images([f"{server}/a%20b.png?size=large"], no_place)[0]
    assert (image.stem, image.content, image.file) == ("a-b", b"x", None)


def test_a_url_without_an_image_is_missing(here: Path, server: str) -> None:
    unreachable = "http://127.0.0.1:1/a.png"
    with pytest.raises(OcrvlError, match=r"/none\.png cannot be downloaded: 404.*; .*:1/a\.png cannot be downloaded"):
        collect_images([f"{server}/none.png", unreachable], no_place)


def test_a_download_that_is_too_large_is_refused(here: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "LARGEST_DOWNLOAD_BYTES", 1 << 20)
    (here / "large.png").write_bytes(bytes((1 << 20) + 1))
    with pytest.raises(OcrvlError, match="larger than 1 MiB"):
        collect_images([f"{server}/large.png"], no_place)


@pytest.mark.parametrize(("url", "stem"), [("https://x.y/", "image"), ("https://x.y/..%2F..%2Fetc", "etc")])
def test_a_url_never_names_an_output_elsewhere(monkeypatch: pytest.MonkeyPatch, url: str, stem: str) -> None:
    assert sources._stem_of_url(url) == stem
