"""What a build would do now, and the records that tell it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from building.images import BUILDER, STORED, THREE, WHEEL, python_layer, small_image
from ocrvl_modal.building.account import account_key, builder_version
from ocrvl_modal.building.outlook import look_ahead
from ocrvl_modal.building.recipe import ImageRecipe
from ocrvl_modal.building.record import BuildRecord, Records, built, record_of
from ocrvl_modal.building.steps import steps_of
from ocrvl_modal.building.trial import with_pins


def record(recipe: ImageRecipe, at: str = "2026-11-01T10:00:00+00:00", builder: str = BUILDER) -> BuildRecord:
    steps = [built(step, f"im-{number}") for number, step in enumerate(steps_of(recipe, builder))]
    return record_of(recipe.name, at, builder, recipe.base.reference, steps, None)


def whys(recipe: ImageRecipe, known: BuildRecord | None, builder: str = BUILDER) -> dict[str, str]:
    return {each.step.name: each.why for each in look_ahead(recipe, builder, known).steps}


def test_what_was_never_built_says_so() -> None:
    assert set(whys(THREE, None).values()) == {"never built"}


def test_what_was_built_is_not_built_again() -> None:
    outlook = look_ahead(THREE, BUILDER, record(THREE))
    assert outlook.rebuilt == []
    assert outlook.built_at == "2026-11-01T10:00:00+00:00"


def test_a_changed_pin_is_named_and_later_layers_point_at_it() -> None:
    (tried,) = with_pins([THREE], ["numpy=2.0"])
    assert whys(tried, record(THREE)) == {
        "base": "",
        "installer": "",
        "first": "numpy 1.26.4 → 2.0",
        "paddle": "after 'first'",
        "last": "after 'first'",
        "proof": "after 'first'",
    }


def test_two_changed_pins_are_both_named() -> None:
    (tried,) = with_pins([THREE], ["numpy=2.0", "pillow=13.0.0"])[:1]
    told = whys(tried, record(THREE))
    assert (told["first"], told["last"]) == ("numpy 1.26.4 → 2.0", "pillow 12.3.0 → 13.0.0")


def test_another_source_of_the_wheel_and_another_wheel_are_named() -> None:
    assert whys(THREE.with_wheel(STORED), record(THREE))["paddle"] == "source of the wheel: index → store"
    other = THREE.with_wheel(replace(STORED, sha256="b" * 64))
    assert whys(other, record(THREE.with_wheel(STORED)))["paddle"] == "another wheel: aaaaaaaaaaaa → bbbbbbbbbbbb"


def test_another_builder_and_another_base_are_named() -> None:
    assert whys(THREE, record(THREE, builder="2025.06"))["base"] == "image builder 2025.06 → 2026.10"
    moved = replace(THREE, base=replace(THREE.base, tag="python:3.13", digest=None))
    assert whys(moved, record(THREE))["base"].endswith("→ python:3.13")
    assert whys(moved, record(THREE))["installer"] == "after 'base'"


def test_a_new_layer_is_named() -> None:
    longer = replace(THREE, layers=(*THREE.layers, python_layer("more", rapidfuzz="3.14.6")))
    assert whys(longer, record(THREE))["more"] == "a new layer"


def test_going_back_to_what_was_built_before_builds_nothing() -> None:
    (tried,) = with_pins([THREE], ["numpy=2.0"])
    later = record(tried, at="2026-11-02T10:00:00+00:00").newer(record(THREE))
    assert look_ahead(THREE, BUILDER, later).rebuilt == []
    assert later.built_at.startswith("2026-11-02")


def test_a_record_survives_being_written_and_a_damaged_one_counts_as_none(tmp_path: Path) -> None:
    records = Records(tmp_path, "someone")
    assert records.read("small") is None
    records.write(record(THREE))
    assert records.read("small") == record(THREE)
    path = tmp_path / "builds" / "someone" / "small.json"
    good = json.loads(path.read_text())
    step = good["steps"][0]
    of_other_types = ({"known": [[]]}, {"built_at": 5}, {"steps": [{**step, "pins": 5}]}, {"steps": [5]})
    for damaged in ("", "[]", "{}", *(json.dumps({**good, **other}) for other in ({"schema": 99}, *of_other_types))):
        path.write_text(damaged)
        assert records.read("small") is None


def test_what_is_known_of_a_stored_wheel_is_kept_and_forgotten(tmp_path: Path) -> None:
    records = Records(tmp_path, "someone")
    records.note_wheel(WHEEL, {"path": "/wheels/x/a.whl", "sha256": "x", "size_bytes": 3})
    assert records.stored_wheel(WHEEL) == {"path": "/wheels/x/a.whl", "sha256": "x", "size_bytes": 3}
    assert records.stored_wheel(replace(WHEEL, cuda="cu129")) is None
    records.note_wheel(WHEEL, None)
    assert records.stored_wheel(WHEEL) is None


@pytest.mark.parametrize("damaged", [5, {"path": "/wheels/x/a.whl"}, {"path": 1, "sha256": "x", "size_bytes": 3}])
def test_a_damaged_note_of_a_stored_wheel_counts_as_none(tmp_path: Path, damaged: object) -> None:
    records = Records(tmp_path, "someone")
    records.note_wheel(WHEEL, {"path": "/wheels/x/a.whl", "sha256": "x", "size_bytes": 3})
    (notes,) = (tmp_path / "builds" / "someone").iterdir()
    notes.write_text(json.dumps(dict.fromkeys(json.loads(notes.read_text()), damaged)))
    assert records.stored_wheel(WHEEL) is None


def test_two_workspaces_and_two_environments_have_records_of_their_own(tmp_path: Path) -> None:
    nobody = {"MODAL_CONFIG_PATH": str(tmp_path / "none.toml")}
    one, two = {**nobody, "MODAL_TOKEN_ID": "ak-1"}, {**nobody, "MODAL_TOKEN_ID": "ak-2"}
    keys = {account_key(nobody), account_key(one), account_key(two), account_key({**one, "MODAL_ENVIRONMENT": "dev"})}
    assert len(keys) == 4
    assert not any("ak-" in key for key in keys)


@pytest.mark.parametrize(
    ("file", "environment", "expected"),
    [
        ("", {}, "2026.10"),
        ("", {"MODAL_IMAGE_BUILDER_VERSION": "2025.06"}, "2025.06"),
        ('[me]\ntoken_id = "ak-1"\nactive = true\nimage_builder_version = "2024.10"\n', {}, "2024.10"),
        ('[me]\nactive = true\n[them]\nimage_builder_version = "2024.10"\n', {}, "2026.10"),
        ('[me]\nactive = true\n[them]\nimage_builder_version = "2024.10"\n', {"MODAL_PROFILE": "them"}, "2024.10"),
        ("this is = = not [toml\n", {}, "2026.10"),
    ],
)
def test_the_users_own_builder_goes_before_ours(
    tmp_path: Path, file: str, environment: dict[str, str], expected: str
) -> None:
    path = tmp_path / "modal.toml"
    path.write_text(file)
    assert builder_version({"MODAL_CONFIG_PATH": str(path), **environment}) == expected


def test_an_image_without_python_layers_has_an_outlook_too() -> None:
    assert look_ahead(small_image(), BUILDER, None).rebuilt == ["base", "installer", "proof"]
