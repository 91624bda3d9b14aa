"""Pushing a dataset and getting it back: only what the store lacks travels, whatever happened before."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from data.stored import Shelf, files_of, make_dataset, row, tell_nobody, write_image, write_rows
from ocrvl_modal import files
from ocrvl_modal.backends import dataset_push
from ocrvl_modal.backends.dataset_pull import pull
from ocrvl_modal.backends.dataset_store import find_stored, list_datasets, load_index
from ocrvl_modal.data.rows import read_samples
from ocrvl_modal.data.shards import digests, survey
from ocrvl_modal.data.shards.index import Shard, parse_index
from ocrvl_modal.data.shards.references import DatasetReference, check_word, name_for, parse_reference
from ocrvl_modal.data.shards.splits import splits_at
from ocrvl_modal.errors import ExitCode, OcrvlError
from ocrvl_modal.jobs import verify_dataset

HARNESS = Path(__file__).with_name("push_harness.py")


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "home")


def samples_of(path: Path) -> list[tuple[str, str, bytes]]:
    return [(sample.prompt, sample.target, sample.image.read_bytes()) for sample in read_samples(path)]


class TestWhatIsStored:
    def test_what_comes_back_is_the_same_dataset_with_images_named_by_their_content(
        self, shelf: Shelf, tmp_path: Path
    ) -> None:
        made = make_dataset(tmp_path / "lines", range(4), validation=range(4, 6), test=range(6, 8))
        pushed = shelf.push(made)
        got = shelf.pull(pushed.index, tmp_path / "out")
        for split, path in made.items():
            assert samples_of(tmp_path / "out" / f"{split}.jsonl") == samples_of(path)
        images = {name: content for name, content in got.items() if name.startswith("images/")}
        assert len(images) == pushed.index.images == 8
        assert all(name == f"images/{files.sha256_of(tmp_path / 'out' / name)}.png" for name in images)
        assert set(got) - set(images) == {"train.jsonl", "validation.jsonl", "test.jsonl"}

    @pytest.mark.skipif(shutil.which("tar") is None, reason="needs tar")
    def test_plain_tar_gets_it_back_too(self, shelf: Shelf, tmp_path: Path) -> None:
        index = shelf.push(make_dataset(tmp_path / "lines", test=range(2, 6))).index
        (tmp_path / "by-tar").mkdir()
        for number in range(len(index.shards)):
            subprocess.run(["tar", "xf", shelf.shard(index, number)], cwd=tmp_path / "by-tar", check=True)
        assert files_of(tmp_path / "by-tar") == shelf.pull(index, tmp_path / "out")

    def test_what_was_pulled_is_the_same_version_when_it_is_pushed(self, shelf: Shelf, tmp_path: Path) -> None:
        index = shelf.push(make_dataset(tmp_path / "lines")).index
        shelf.pull(index, tmp_path / "out")
        again = Shelf(tmp_path / "elsewhere").push({"train": tmp_path / "out" / "train.jsonl"})
        assert (again.index.version, again.index.shards) == (index.version, index.shards)

    def test_an_image_that_many_rows_and_splits_name_is_packed_once(self, shelf: Shelf, tmp_path: Path) -> None:
        one, again = write_image(tmp_path / "a.png", 1), write_image(tmp_path / "b" / "copy.JPG", 1)
        train = write_rows(tmp_path / "train.jsonl", [(str(one), "a"), (str(one), "b"), (str(again), "c")])
        test = write_rows(tmp_path / "test.jsonl", [("b/copy.JPG", "d")])
        index = shelf.push({"train": train, "test": test}).index
        assert index.images == 1
        assert sum(shard.members for shard in index.shards if shard.holds == "images") == 1

    def test_rows_keep_all_that_they_say_in_either_form(self, shelf: Shelf, tmp_path: Path) -> None:
        write_image(tmp_path / "a.png", 1)
        erniekit = {
            "image_info": [{"matched_text_index": 0, "image_url": "./a.png"}],
            "text_info": [{"text": "OCR:", "tag": "mask"}, {"text": 'ä\n"क"\u2028', "tag": "no_mask"}],
        }
        plain = {**row("a.png", "b"), "system": ""}
        path = tmp_path / "train.jsonl"
        text = "\n".join([json.dumps(erniekit), json.dumps(plain, ensure_ascii=False), "", ""])
        path.write_text("\ufeff" + text, encoding="utf-8")
        shelf.pull(shelf.push({"train": path}).index, tmp_path / "out")
        first, second = (
            json.loads(line) for line in (tmp_path / "out" / "train.jsonl").read_text("utf-8").split("\n")[:2]
        )
        assert first.pop("image_info")[0]["image_url"] == second.pop("images")[0]
        assert (first["text_info"], second["messages"], second["system"]) == (
            erniekit["text_info"],
            plain["messages"],
            "",
        )

    def test_images_that_lie_anywhere_travel(self, shelf: Shelf, tmp_path: Path) -> None:
        write_image(tmp_path / "scans" / "zwei ü.png", 1)
        other = write_image(tmp_path / "b.png", 2)
        path = write_rows(tmp_path / "set" / "train.jsonl", [("../scans/zwei ü.png", "a"), (str(other), "b")])
        shelf.pull(shelf.push({"train": path}).index, tmp_path / "out")
        assert samples_of(tmp_path / "out" / "train.jsonl") == samples_of(path)


class TestWhatTravels:
    def test_the_same_again_uploads_nothing_and_reads_no_file(
        self, shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(digests, "_SETTLED_NS", 0)
        made = make_dataset(tmp_path / "lines")
        first = shelf.push(made)
        assert len(first.new) == len(first.index.shards) == 2
        monkeypatch.setattr(survey, "image_paths", None)
        monkeypatch.setattr(survey, "digest_files", None)
        again = shelf.push(made)
        assert (again.new, again.index) == ((), first.index)

    def test_another_machine_that_pushes_the_same_uploads_nothing(self, shelf: Shelf, tmp_path: Path) -> None:
        made = make_dataset(tmp_path / "lines")
        first = shelf.push(made)
        shutil.rmtree(shelf.desk.kept)
        assert shelf.push(make_dataset(tmp_path / "other" / "lines")).new == ()
        assert shelf.push(made, "renamed").new == ()
        assert [index.reference for index in list_datasets(shelf.stores)[0]] == [
            f"renamed@{first.index.version}",
            first.index.reference,
        ]

    def test_a_corrected_label_uploads_rows_only(self, shelf: Shelf, tmp_path: Path) -> None:
        made = make_dataset(tmp_path / "lines")
        before = shelf.push(made).index
        made["train"].write_text(made["train"].read_text().replace("text 1", "text one"))
        shutil.rmtree(shelf.desk.kept)
        after = shelf.push(made)
        assert [shard.holds for shard in after.new] == ["rows"]
        assert after.index.version != before.version
        assert load_index(shelf.stores, DatasetReference("lines", None)) == after.index

    def test_an_image_that_changed_within_its_size_and_time_is_seen(self, shelf: Shelf, tmp_path: Path) -> None:
        made = make_dataset(tmp_path / "lines")
        image = tmp_path / "lines" / "scans" / "1.png"
        before = image.stat()
        first = shelf.push(made)
        write_image(image, 77)
        os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns))
        second = shelf.push(made)
        assert second.index.version != first.index.version
        assert second.index.images == 4

    def test_the_same_version_with_another_content_is_refused(self, shelf: Shelf, tmp_path: Path) -> None:
        shelf.push(make_dataset(tmp_path / "one"), version="v1")
        with pytest.raises(OcrvlError, match="lines@v1 is in the store with another content") as caught:
            shelf.push(make_dataset(tmp_path / "two", range(3)), version="v1")
        assert caught.value.code == ExitCode.USAGE
        assert "--version" in caught.value.hint

    def test_two_pushes_at_once_do_not_harm_each_other(self, shelf: Shelf, tmp_path: Path) -> None:
        made = make_dataset(tmp_path / "lines", range(8))
        with ThreadPoolExecutor(3) as pool:
            pushed = list(pool.map(lambda _: shelf.push(made).index.version, range(3)))
        assert len(set(pushed)) == 1
        (index,), _ = list_datasets(shelf.stores)
        shelf.pull(index, tmp_path / "out")
        assert list(shelf.places.scratch.iterdir()) == []


class TestWhatIsRefused:
    def test_rows_that_cannot_be_read_are_told_with_the_check(self, shelf: Shelf, tmp_path: Path) -> None:
        path = make_dataset(tmp_path / "lines")["train"]
        path.write_text(path.read_text() + "not json\n")
        with pytest.raises(OcrvlError, match="line 5") as caught:
            shelf.push({"train": path})
        assert (caught.value.code, caught.value.hint) == (ExitCode.DATA_INVALID, f"ocrvl data check {path}")
        assert not shelf.places.data.exists()

    def test_an_image_that_is_missing_is_told(self, shelf: Shelf, tmp_path: Path) -> None:
        made = make_dataset(tmp_path / "lines")
        (tmp_path / "lines" / "scans" / "2.png").unlink()
        with pytest.raises(OcrvlError, match=r"2\.png") as caught:
            shelf.push(made)
        assert "ocrvl data check" in caught.value.hint

    def test_images_on_the_web_are_to_be_fetched_first(self, shelf: Shelf, tmp_path: Path) -> None:
        path = write_rows(tmp_path / "train.jsonl", [("https://example.com/a.png", "a")])
        with pytest.raises(OcrvlError) as caught:
            shelf.push({"train": path})
        assert caught.value.hint == f"ocrvl data localize {path}"

    def test_a_folder_that_holds_something_is_not_pulled_into(self, shelf: Shelf, tmp_path: Path) -> None:
        index = shelf.push(make_dataset(tmp_path / "lines")).index
        with pytest.raises(OcrvlError, match="not empty"):
            pull(shelf.stores, index, tmp_path / "lines", tell_nobody)

    def test_a_disk_without_room_is_told_before_anything_is_fetched(
        self, shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        index = shelf.push(make_dataset(tmp_path / "lines")).index
        monkeypatch.setattr(files, "free_bytes", lambda _: 100)
        with pytest.raises(OcrvlError, match="too little room"):
            pull(shelf.stores, index, tmp_path / "out", tell_nobody)
        assert not (tmp_path / "out").exists()


class TestDamage:
    def test_a_shard_that_is_missing_or_cut_off_comes_anew(self, shelf: Shelf, tmp_path: Path) -> None:
        made = make_dataset(tmp_path / "lines")
        index = shelf.push(made).index
        before = shelf.pull(index, tmp_path / "before")
        for damage in (Path.unlink, lambda path: os.truncate(path, 100)):
            damage(shelf.shard(index))
            with pytest.raises(OcrvlError, match=index.shards[0].sha256) as caught:
                shelf.pull(index, tmp_path / "damaged")
            assert "ocrvl data push" in caught.value.hint
            assert not (tmp_path / "damaged").exists()
            assert shelf.push(made).new == (index.shards[0],)
        assert shelf.pull(index, tmp_path / "after") == before

    def test_a_flipped_bit_is_found_where_it_is_looked_for_and_mended(self, shelf: Shelf, tmp_path: Path) -> None:
        made = make_dataset(tmp_path / "lines")
        index = shelf.push(made).index
        before = shelf.pull(index, tmp_path / "before")
        shard = shelf.shard(index)
        content = bytearray(shard.read_bytes())
        content[900] ^= 4
        shard.write_bytes(content)
        with pytest.raises(OcrvlError, match=f"damaged in the data store: .*{index.shards[0].sha256}"):
            shelf.pull(index, tmp_path / "damaged")
        assert shelf.push(made).new == ()

        def find_damaged(shards: Sequence[Shard]) -> Collection[str]:
            request = {"places": shelf.places.model_dump(), "shards": [one.sha256 for one in shards]}
            damaged: list[str] = verify_dataset.run(request)["damaged"]
            return damaged

        assert shelf.push_verified(made, find_damaged).new == (index.shards[0],)
        assert shelf.push_verified(made, find_damaged).new == ()
        assert shelf.pull(index, tmp_path / "after") == before

    def test_an_index_that_cannot_be_read_is_told_and_the_others_are_listed(self, shelf: Shelf, tmp_path: Path) -> None:
        made = make_dataset(tmp_path / "lines")
        index = shelf.push(made).index
        files.write_text(shelf.places.data / "datasets" / "lines" / "v2" / "dataset.json", "{}")
        found, (error,) = list_datasets(shelf.stores)
        assert found == [index]
        assert "v2/dataset.json cannot be read" in error.message
        newer = json.loads(index.to_json()) | {"schema": 9, "made_by": "ocrvl 9"}
        with pytest.raises(OcrvlError, match="newer ocrvl"):
            parse_index(json.dumps(newer).encode(), "x")

    @pytest.mark.parametrize(
        "change", [{"name": "../other"}, {"version": "v1\n"}, {"splits": {"../x": 0}}, {"sha256": "/../x"}]
    )
    def test_an_index_that_leads_elsewhere_is_refused(
        self, shelf: Shelf, tmp_path: Path, change: dict[str, object]
    ) -> None:
        told = json.loads(shelf.push(make_dataset(tmp_path / "lines")).index.to_json())
        parse_index(json.dumps(told).encode(), "x")
        if "sha256" in change:
            told["shards"][0] |= change
        elif "splits" in change:
            told["splits"]["../x"] = told["splits"]["train"]
        else:
            told |= change
        with pytest.raises(OcrvlError, match="cannot be read"):
            parse_index(json.dumps(told).encode(), "x")

    def test_of_two_pushes_of_one_version_at_once_the_later_one_is_refused(self, shelf: Shelf, tmp_path: Path) -> None:
        one, other = make_dataset(tmp_path / "one", range(3)), make_dataset(tmp_path / "other", range(4, 7))
        shelf.push(one, version="v1", name="lines")
        first = shelf.places.data / "datasets" / "lines" / "v1" / "dataset.json"
        content = first.read_bytes()
        first.unlink()
        begun = dataset_push.plan_shards

        def meanwhile(*arguments: object) -> object:
            files.write_bytes(first, content)
            return begun(*arguments)  # type: ignore[arg-type]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(dataset_push, "plan_shards", meanwhile)
            with pytest.raises(OcrvlError, match="with another content"):
                shelf.push(other, version="v1", name="lines")
        assert first.read_bytes() == content


def test_a_push_that_dies_anywhere_is_finished_by_the_next_one(tmp_path: Path) -> None:
    command = [sys.executable, str(HARNESS), str(tmp_path), "1", "5"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) > 8
    *died, whole = found
    assert whole["code"] == 0
    for one in found:
        # Twenty images and two files of rows, wherever it died; and nothing that arrived came again.
        assert len(one["pulled"]) == 22
        assert one["pulled"] == whole["pulled"]
        assert one["new"] == one["shards"] - one["arrived"] or one["listed"]
        assert one["listed"] in {0, 1}
        assert one["left"] == []
    assert len({one["arrived"] for one in died}) > 3


class TestNames:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("lines", DatasetReference("lines", None)),
            ("lines@v2", DatasetReference("lines", "v2")),
            ("lines@v2/test", DatasetReference("lines", "v2", "test")),
            ("/data/datasets/lines/v2/test.jsonl", DatasetReference("lines", "v2", "test")),
            ("lines.v1@1.0", DatasetReference("lines.v1", "1.0")),
            ("lines.jsonl", None),
            ("./lines", None),
            ("lines/test", None),
            ("lines@", None),
            ("lines@v2/../x", None),
            ("/data/lines/train.jsonl", None),
            ("@v2", None),
            ("", None),
        ],
    )
    def test_what_a_text_names(self, text: str, expected: DatasetReference | None) -> None:
        assert parse_reference(text) == expected

    def test_a_name_without_a_version_is_the_newest_and_a_file_goes_first(
        self, shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        shelf.push(make_dataset(tmp_path / "one"), version="v1")
        shelf.push(make_dataset(tmp_path / "two", range(2)), version="v2")
        assert str(find_stored(shelf.stores, "lines")) == "lines@v2"
        assert str(find_stored(shelf.stores, "/data/datasets/lines/v1/train.jsonl")) == "lines@v1"
        assert find_stored(shelf.stores, "others") is None
        assert find_stored(shelf.stores, "/data/datasets/lines/v3/train.jsonl") is None
        for text, near in (("lines@v3", "v2"), ("line@v2", "lines"), ("lines@v1/tset", "train")):
            with pytest.raises(OcrvlError) as caught:
                find_stored(shelf.stores, text)
            assert (caught.value.code, near in caught.value.hint) == (ExitCode.NOT_FOUND, True)
        write_rows(tmp_path / "lines", [])
        assert find_stored(shelf.stores, "lines") is None

    @pytest.mark.parametrize(
        ("path", "name"),
        [("lines/train.jsonl", "lines"), ("lines/receipts.jsonl", "receipts"), ("my scans/test.jsonl", "my-scans")],
    )
    def test_a_dataset_is_called_as_its_folder_where_its_file_says_nothing(self, path: str, name: str) -> None:
        assert name_for(Path(path)) == name

    @pytest.mark.parametrize("word", ["a b", "", ".x", "a/b", "x" * 65, "a@b", "x.jsonl"])
    def test_a_name_that_could_not_be_asked_for_again_is_refused(self, word: str) -> None:
        with pytest.raises(OcrvlError) as caught:
            check_word(word, "version")
        assert caught.value.hint.startswith("--version ")

    def test_held_out_files_beside_train_jsonl_go_along(self, tmp_path: Path) -> None:
        made = make_dataset(tmp_path / "lines", validation=range(2), test=range(2))
        assert splits_at(tmp_path / "lines") == splits_at(made["train"]) == made
        other = write_rows(tmp_path / "other.jsonl", [("a.png", "a")])
        assert splits_at(made["train"], test=other) == {**made, "test": other}
        assert splits_at(other) == {"train": other}
        with pytest.raises(OcrvlError, match="is the test split, and is what is trained on too"):
            splits_at(made["train"], test=made["train"])
        with pytest.raises(OcrvlError) as caught:
            splits_at(tmp_path)
        assert "other.jsonl" in caught.value.hint
