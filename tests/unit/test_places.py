from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from ocrvl_modal.errors import ExitCode, OcrvlError
from ocrvl_modal.places import STORE_NAMES, Places, is_place, split_place


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places.under(tmp_path)


@pytest.mark.parametrize("store", STORE_NAMES)
def test_a_reference_into_a_store_is_found_in_its_folder(store: str, places: Places) -> None:
    assert places.resolve(f"/{store}/a/b.jsonl") == places.store(store) / "a" / "b.jsonl"


@pytest.mark.parametrize("store", STORE_NAMES)
def test_a_store_itself_can_be_named(store: str, places: Places) -> None:
    assert places.resolve(f"/{store}") == places.store(store)
    assert places.resolve(f"/{store}/") == places.store(store)


@pytest.mark.parametrize("reference", ["train.jsonl", "./data/x", "data/x", "/home/me/data/x", "/database/x", "/", ""])
def test_any_other_path_stays_as_it_is(reference: str, places: Places) -> None:
    assert not is_place(reference)
    assert places.resolve(reference) == Path(reference)


@pytest.mark.parametrize(
    "reference", ["/data/../x", "/data/..", "/data/a/../../x", "/data/../outputs/run", "/outputs/a/../../../etc/passwd"]
)
def test_a_reference_that_climbs_out_of_its_store_is_refused(reference: str, places: Places) -> None:
    with pytest.raises(OcrvlError) as caught:
        places.resolve(reference)
    assert caught.value.code is ExitCode.USAGE
    assert "leaves its store" in caught.value.message


def test_dots_that_lead_nowhere_are_no_climbing(places: Places) -> None:
    assert places.resolve("/data/./a") == places.data / "a"
    assert places.resolve("/data/..a/b..") == places.data / "..a" / "b.."


@pytest.mark.parametrize(("reference", "hint"), [("/dat/x", "did you mean 'data'?"), ("x", "write it as /data/…")])
def test_a_text_that_names_no_store_cannot_be_split(reference: str, hint: str) -> None:
    with pytest.raises(OcrvlError) as caught:
        split_place(reference)
    assert caught.value.code is ExitCode.USAGE
    assert caught.value.hint.startswith(hint)


def test_an_unknown_store_is_refused_with_the_nearest_name(places: Places) -> None:
    with pytest.raises(OcrvlError, match="no store named 'scratch'"):
        places.store("scratch")


def test_places_survive_their_json_form(places: Places) -> None:
    assert Places.model_validate_json(places.model_dump_json()) == places


def test_places_refuse_a_folder_that_they_do_not_know(places: Places) -> None:
    with pytest.raises(ValidationError):
        Places.model_validate({**places.model_dump(), "attic": "/attic"})
