"""From flags to what can be submitted: names, data found beside, checkpoints meant, folders that must be free."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.stored import Shelf, make_dataset
from jobs.standin import House
from ocrvl_modal import files
from ocrvl_modal.backends import preparation
from ocrvl_modal.backends.base import StagedDataset
from ocrvl_modal.backends.dataset_store import load_index
from ocrvl_modal.backends.preparation import Asked, Resolved
from ocrvl_modal.backends.submission import submit
from ocrvl_modal.data.shards.references import DatasetReference
from ocrvl_modal.errors import ExitCode, OcrvlError
from ocrvl_modal.fetched_models import FetchedModel
from ocrvl_modal.models import FAMILY
from ocrvl_modal.recipes import check_name, recipe_from


@pytest.fixture
def data(house: House, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with three splits, which is the working folder too."""
    folder = house.home / "lines"
    for split in ("train", "validation", "test"):
        files.write_text(folder / f"{split}.jsonl", house.data.read_text())
    monkeypatch.chdir(folder)
    return folder


def resolve(house: House, **asked: Any) -> Resolved:
    return preparation.resolve(Asked(**{"model": "tiny", **asked}), house.backend)


class TestDataFoundBeside:
    def test_held_out_files_beside_train_jsonl_are_used_and_said(self, house: House, data: Path) -> None:
        resolved = resolve(house, data="./train.jsonl")
        assert (resolved.recipe.data.validation, resolved.recipe.data.test) == ("validation.jsonl", "test.jsonl")
        assert [note.split(":")[0] for note in resolved.notes] == ["validation", "test"]

    def test_a_name_without_a_folder_finds_them_too(self, house: House, data: Path) -> None:
        assert resolve(house, data="train.jsonl").recipe.data.validation == "validation.jsonl"

    def test_in_the_data_store_they_are_found_by_their_places(self, house: House, data: Path) -> None:
        house.backend.stores.put(data, "/data/lines")
        (house.places.data / "lines" / "test.jsonl").unlink()
        found = resolve(house, data="/data/lines/train.jsonl").recipe.data
        assert (found.validation, found.test) == ("/data/lines/validation.jsonl", None)

    def test_those_that_the_recipe_names_stand(self, house: House, data: Path) -> None:
        resolved = resolve(house, data="./train.jsonl", sets=("data.validation=./mine.jsonl", "data.test=./t.jsonl"))
        assert (resolved.recipe.data.validation, resolved.recipe.data.test) == ("./mine.jsonl", "./t.jsonl")
        assert resolved.notes == ()

    def test_beside_a_file_of_another_name_nothing_is_looked_for(self, house: House, data: Path) -> None:
        (data / "train.jsonl").rename(data / "lines.jsonl")
        assert resolve(house, data="./lines.jsonl").recipe.data.validation is None

    def test_a_run_that_goes_on_by_its_name_takes_none_that_came_later(self, house: House, data: Path) -> None:
        """Its recipe would not be the one that it was begun with, and the run could never go on."""
        house.data = data / "train.jsonl"
        house.train("a", die_at=3)
        assert resolve(house, model=None, name="a").recipe == house.recipe()


def test_without_data_and_without_a_run_of_that_name_there_is_nothing_to_train_on(house: House) -> None:
    with pytest.raises(OcrvlError, match="nothing to train on") as caught:
        resolve(house, name="a")
    assert caught.value.code == ExitCode.USAGE


def test_the_name_of_a_run_stands_for_its_recipe_and_flags_lie_over_it(house: House) -> None:
    house.train("a", "seed=7", die_at=3)
    resolved = resolve(house, model=None, name="a", sets=("limits.timeout_hours=2",))
    assert resolved.recipe == house.recipe("seed=7", "limits.timeout_hours=2")
    assert resolved.name == "a"


def test_paths_do_not_depend_on_the_working_folder(house: House, data: Path) -> None:
    model = data / "my-model"
    files.write_json(model / "config.json", {})
    files.write_json(model / "ocrvl.json", {"family": "tiny"})
    recipe = resolve(house, data="./train.jsonl", model="./my-model", output_dir="out").recipe
    assert (recipe.model.name, recipe.output_dir) == (str(model), str(data / "out"))


def test_a_model_is_known_by_its_full_name(house: House, data: Path) -> None:
    assert resolve(house, data="./train.jsonl", model="1.6").recipe.model.name == "paddleocr-vl-1.6"


class TestOutputFolder:
    def test_one_that_is_not_empty_is_refused(self, house: House, data: Path) -> None:
        files.write_text(data / "out" / "x.txt", "x")
        with pytest.raises(OcrvlError, match="not empty") as caught:
            resolve(house, data="./train.jsonl", output_dir="out")
        assert caught.value.code == ExitCode.USAGE

    def test_a_file_is_refused(self, house: House, data: Path) -> None:
        with pytest.raises(OcrvlError, match="not empty"):
            resolve(house, data="./train.jsonl", output_dir="test.jsonl")

    def test_an_empty_one_is_fine(self, house: House, data: Path) -> None:
        (data / "out").mkdir()
        assert resolve(house, data="./train.jsonl", output_dir="out").recipe.output_dir == str(data / "out")

    def test_that_of_the_run_itself_is_fine_so_that_the_same_command_goes_on(self, house: House, data: Path) -> None:
        """A run may die between the copy of its export and its last word."""
        house.train("a", f"output_dir={data / 'out'}")
        assert any((data / "out").iterdir())
        for name, out in (("a", "out"), ("a", str(data / "out")), ("a", None)):
            assert resolve(house, model=None, name=name, output_dir=out).recipe.output_dir == str(data / "out")
        with pytest.raises(OcrvlError, match="not empty"):
            resolve(house, data="./train.jsonl", name="b", output_dir="out")


class TestCheckpointMeant:
    @pytest.fixture(autouse=True)
    def runs(self, house: House) -> None:
        house.train("a")
        house.train("b", die_at=5)
        house.train("c", die_at=1)

    @pytest.mark.parametrize(
        ("reference", "place"),
        [
            ("checkpoint-2", "/outputs/b/checkpoints/checkpoint-2"),
            ("4", "/outputs/b/checkpoints/checkpoint-4"),
            ("004", "/outputs/b/checkpoints/checkpoint-4"),
            ("a", "/outputs/a/checkpoints/checkpoint-6"),
            ("a/", "/outputs/a/checkpoints/checkpoint-6"),
            ("a/checkpoint-2", "/outputs/a/checkpoints/checkpoint-2"),
            ("a/checkpoint-02", "/outputs/a/checkpoints/checkpoint-2"),
            ("a/4", "/outputs/a/checkpoints/checkpoint-4"),
            ("/outputs/a/checkpoints/checkpoint-4", "/outputs/a/checkpoints/checkpoint-4"),
            ("/outputs/a/checkpoints/checkpoint-4/", "/outputs/a/checkpoints/checkpoint-4"),
        ],
    )
    def test_it_is_found(self, house: House, reference: str, place: str) -> None:
        assert preparation.find_checkpoint(house.backend, "b", reference) == place
        assert house.backend.stores.exists(place)

    @pytest.mark.parametrize(
        ("reference", "hint"),
        [
            ("checkpoint-3", "checkpoint-2, checkpoint-4"),
            ("6", "checkpoint-2, checkpoint-4"),
            ("a/checkpoint-3", "checkpoint-2, checkpoint-4, checkpoint-6"),
            ("a/export", "checkpoint-2, checkpoint-4, checkpoint-6"),
            ("c", "none"),
            ("nobody", "did you mean"),
            ("/outputs/a/checkpoints/checkpoint-3", "checkpoint-2, checkpoint-4, checkpoint-6"),
            ("/outputs/a", "none"),
        ],
    )
    def test_one_that_is_not_there_is_not_found(self, house: House, reference: str, hint: str) -> None:
        with pytest.raises(OcrvlError) as caught:
            preparation.find_checkpoint(house.backend, "b", reference)
        assert caught.value.code == ExitCode.NOT_FOUND
        assert hint in caught.value.hint or hint == "did you mean"

    def test_one_that_was_never_complete_is_not_found(self, house: House) -> None:
        (house.layout("a").checkpoint(2) / "COMPLETE.json").unlink()
        with pytest.raises(OcrvlError, match="no complete checkpoint checkpoint-2"):
            preparation.find_checkpoint(house.backend, "a", "checkpoint-2")


class TestBaseModel:
    def missing(self, house: House, *sets: str) -> str | None:
        recipe = recipe_from({"model": {"name": "paddleocr-vl-1.6"}}, sets)
        member = preparation.missing_model(Resolved("a", recipe, FAMILY["paddleocr-vl-1.6"]), house.backend)
        return member.name if member else None

    def put(self, house: House, marker: dict[str, Any] | None) -> None:
        folder = house.places.models / "paddleocr-vl-1.6"
        files.write_json(folder / "config.json", {})
        if marker is not None:
            files.write_json(folder / "ocrvl.json", marker)

    def test_one_that_is_not_in_the_store_has_to_come(self, house: House) -> None:
        assert self.missing(house) == "paddleocr-vl-1.6"

    @pytest.mark.parametrize("marker", [None, {"family": "paddleocr-vl-1.6"}, {"revision": "main"}])
    def test_one_that_is_there_does_not(self, house: House, marker: dict[str, Any] | None) -> None:
        self.put(house, marker)
        assert self.missing(house) is None

    def test_one_that_is_there_at_another_revision_does(self, house: House) -> None:
        self.put(house, None)
        complete = house.places.models / "paddleocr-vl-1.6" / ".complete"
        fetched = FetchedModel(repository="me/x", revision="main", commit="c0ffee", files={})
        complete.write_bytes(fetched.to_json())
        assert self.missing(house, "model.revision=v1") == "paddleocr-vl-1.6"
        assert self.missing(house, "model.revision=c0ffee") is None
        complete.write_bytes(fetched.model_copy(update={"revision": "v1"}).to_json())
        assert self.missing(house, "model.revision=v1") is None

    def test_one_that_a_crash_left_is_fetched_again(self, house: House) -> None:
        self.put(house, {"family": "paddleocr-vl-1.6", "repository": "me/x"})
        assert self.missing(house) == "paddleocr-vl-1.6"

    def test_a_folder_without_a_model_is_not_found(self, house: House) -> None:
        recipe = recipe_from({"model": {"name": "/models/mine"}})
        with pytest.raises(OcrvlError, match="there is no model at /models/mine"):
            preparation.missing_model(Resolved("a", recipe, FAMILY["tiny"]), house.backend)


@given(path=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=80))
def test_whatever_the_data_is_called_a_run_gets_a_name_that_can_name_it(path: str) -> None:
    for train in (path, f"/data/{path}/train.jsonl", f"./{path}.jsonl"):
        recipe = recipe_from({"data": {"train": train}})
        for member in FAMILY.values():
            name = preparation._new_name(recipe, member)
            assert check_name(name) == name
            assert name.startswith(member.name)


def test_a_run_is_called_after_its_model_and_its_data(house: House, data: Path) -> None:
    assert resolve(house, data="/data/invoices 2024/train.jsonl").name.startswith("tiny-invoices-2024-")


def test_the_plan_speaks_of_the_data_that_was_checked(house: House, digits: Path) -> None:
    resolved = resolve(house, data=str(digits / "train.jsonl"), name="a")
    told: list[tuple[str, int, int]] = []
    checked = preparation.check(resolved, house.backend, lambda *progress: told.append(progress))
    planned = preparation.plan(resolved, checked, house.backend)
    assert (planned.samples, planned.validation_samples, planned.run) == (64, 8, "a")
    assert planned.longest_sample_tokens == checked.train.sequence_tokens_max > 0
    assert checked.warnings == ()
    assert told
    submission = preparation.submission(resolved, checked, planned, Asked(name="a"), house.backend)
    assert (submission.dataset_sha256, submission.resume_from) == (checked.train.sha256, None)


def test_images_that_are_held_out_and_trained_on_are_warned_of(house: House, digits: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (digits / "train.jsonl").read_text().splitlines()[:4]]
    for row in rows:
        row["images"] = [str(digits / image) for image in row["images"]]
    for split in ("train", "test"):
        files.write_text(tmp_path / f"{split}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    checked = preparation.check(
        resolve(house, data=str(tmp_path / "train.jsonl"), name="a"), house.backend, lambda *_: None
    )
    assert len(checked.warnings) == 1
    assert "images that another split has too (4)" in checked.warnings[0]


class TestStoredData:
    @pytest.fixture
    def shelf(self, house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
        """A store with two versions of a dataset, and a working folder with nothing in it."""
        shelf = Shelf(house.home)
        shelf.push(make_dataset(tmp_path / "one", test=range(2)), version="v1")
        shelf.push(make_dataset(tmp_path / "two", range(2), validation=range(2, 4), extra=range(2)), version="v2")
        (tmp_path / "empty").mkdir()
        monkeypatch.chdir(tmp_path / "empty")
        return shelf

    def test_a_name_is_pinned_to_its_newest_version_and_takes_the_splits_of_that(
        self, house: House, shelf: Shelf
    ) -> None:
        resolved = resolve(house, data="lines")
        data = resolved.recipe.data
        assert (data.train, data.validation, data.test) == ("lines@v2", "lines@v2/validation", None)
        assert resolved.notes == (
            "train: lines is lines@v2",
            "validation: lines@v2/validation, found beside the training data",
        )
        assert "-lines-" in resolved.name

    def test_a_version_stays_and_so_do_splits_that_are_named(self, house: House, shelf: Shelf) -> None:
        resolved = resolve(house, data="lines@v1", sets=("data.validation=lines@v2/validation",))
        data = resolved.recipe.data
        assert (data.train, data.validation, data.test) == ("lines@v1", "lines@v2/validation", "lines@v1/test")

    def test_another_split_takes_none_with_it(self, house: House, shelf: Shelf) -> None:
        data = resolve(house, data="lines@v2/extra").recipe.data
        assert (data.train, data.validation, data.test) == ("lines@v2/extra", None, None)

    def test_a_file_of_that_name_goes_first(self, house: House, shelf: Shelf) -> None:
        Path("lines").write_text(house.data.read_text())
        assert resolve(house, data="lines").recipe.data.train == "lines"

    def test_a_run_on_it_keeps_its_digest_and_sees_what_changed(self, house: House, shelf: Shelf) -> None:
        house.engine.options = {}
        staged = house.backend.stage_datasets({"train": "lines@v1"}, lambda *_: None)["train"]
        index = load_index(shelf.stores, DatasetReference("lines", "v1"))
        assert staged == StagedDataset("lines@v1", index.splits["train"].sha256)
        submission = replace(house.submission("a", "data.train=lines@v1"), dataset_sha256=str(staged.sha256))
        submit(house.backend, submission, print)
        other = load_index(shelf.stores, DatasetReference("lines", "v2"))
        files.write_bytes(house.places.resolve(f"{index.place}/dataset.json"), other.to_json())
        house.work()
        record = house.record("a")
        assert record.state == "failed"
        assert record.error is not None
        assert "not what it was" in record.error.message
        files.write_bytes(house.places.resolve(f"{index.place}/dataset.json"), index.to_json())
        submit(house.backend, submission, print)
        house.work()
        assert house.record("a").state == "done"
