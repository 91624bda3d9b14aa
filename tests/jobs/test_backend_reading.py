"""What reading and scoring need of a backend: a model by its name, a run's export, images that jobs can open."""

from __future__ import annotations

from base64 import b64decode
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jobs.standin import House
from ocrvl_modal import files
from ocrvl_modal.backends.reading import files_at, find_export, image_request, locate_model
from ocrvl_modal.backends.runs_view import load_run
from ocrvl_modal.data.sources import SourceImage
from ocrvl_modal.errors import ExitCode, OcrvlError


def far_away(house: House) -> Any:
    """A backend that does not see this machine's files."""
    return SimpleNamespace(name="modal", stores=house.backend.stores, places=house.places)


@pytest.mark.parametrize(
    ("name", "place"), [("tiny", "/models/tiny"), ("TINY", "/models/tiny"), ("/models/tiny/", "/models/tiny")]
)
def test_a_model_in_the_store_is_found_by_its_name_and_by_its_place(house: House, name: str, place: str) -> None:
    assert locate_model(house.backend, name) == place


def test_a_model_of_this_machine_is_found_by_its_folder(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files.write_json(tmp_path / "mine" / "config.json", {})
    assert locate_model(house.backend, "./mine") == str(tmp_path / "mine")
    assert locate_model(house.backend, "mine") == str(tmp_path / "mine")
    with pytest.raises(OcrvlError, match="the modal backend cannot read it") as caught:
        locate_model(far_away(house), "./mine")
    assert caught.value.hint == "ocrvl volume put ./mine /models/mine"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("1.6", "ocrvl download model paddleocr-vl-1.6"),
        ("/models/none", "ocrvl model ls"),
        ("/outputs/a/export", "ocrvl model ls"),
        ("./none", "name a folder that holds a model"),
        ("tyni", "did you mean 'tiny'?"),
    ],
)
def test_a_model_that_is_nowhere_is_not_found(house: House, name: str, hint: str) -> None:
    with pytest.raises(OcrvlError) as caught:
        locate_model(house.backend, name)
    assert caught.value.code == ExitCode.NOT_FOUND
    assert hint in caught.value.hint


def test_the_export_of_a_run_is_found_when_it_is_there(house: House) -> None:
    house.train("a", die_at=3)
    with pytest.raises(OcrvlError, match="it is interrupted, at step 3 of 6") as caught:
        find_export(house.backend, load_run(house.backend, "a"))
    assert (caught.value.code, caught.value.hint) == (ExitCode.NOT_FOUND, "ocrvl train --name a")
    house.train("a")
    assert find_export(house.backend, load_run(house.backend, "a")) == "/outputs/a/export"


def test_a_run_that_is_still_at_it_is_waited_for(house: House) -> None:
    house.submit("a")
    with house.backend.reserve("a"), pytest.raises(OcrvlError, match="it is submitted") as caught:
        find_export(house.backend, load_run(house.backend, "a"))
    assert caught.value.hint == "ocrvl runs wait a"


def test_all_files_of_a_place_are_found_at_any_depth(house: House) -> None:
    for place in ("/data/x/b/c.png", "/data/x/a.png", "/data/y.png"):
        house.backend.stores.write_bytes(place, b"")
    assert files_at(house.backend, "/data/x") == ["/data/x/a.png", "/data/x/b/c.png"]
    assert files_at(house.backend, "/data/y.png") == ["/data/y.png"]
    assert files_at(house.backend, "/data/none") == []


def test_an_image_goes_to_a_job_by_its_path_where_the_job_sees_it_and_else_with_its_bytes(
    house: House, tmp_path: Path
) -> None:
    (tmp_path / "1.png").write_bytes(b"png")
    here = SourceImage("1.png", "1", file=str(tmp_path / "1.png"))
    in_store = SourceImage("2.png", "2", file="/data/2.png")
    fetched = SourceImage("3.png", "3", content=b"fetched")
    assert image_request(house.backend, here) == {"name": "1.png", "path": str(tmp_path / "1.png")}
    assert image_request(far_away(house), in_store) == {"name": "2.png", "path": "/data/2.png"}
    assert b64decode(image_request(far_away(house), here)["content"]) == b"png"
    assert b64decode(image_request(house.backend, fetched)["content"]) == b"fetched"
