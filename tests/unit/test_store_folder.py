from __future__ import annotations

from pathlib import Path

import pytest

from ocrvl_modal.backends.store_folder import FolderStores
from ocrvl_modal.errors import ExitCode, OcrvlError, of_the_system
from ocrvl_modal.places import Places


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places.under(tmp_path / "home")


@pytest.fixture
def stores(places: Places) -> FolderStores:
    return FolderStores(places)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of this machine with a file, and a file in a folder."""
    folder = tmp_path / "mine"
    (folder / "inner").mkdir(parents=True)
    (folder / "a.txt").write_text("a")
    (folder / "inner" / "b.txt").write_text("bb")
    return folder


def tree(path: Path) -> dict[str, str]:
    return {str(file.relative_to(path)): file.read_text() for file in path.rglob("*") if file.is_file()}


@pytest.mark.parametrize("place", ["/data/../x", "/data/a/../../x", "/date/x", "data/x", "/", "x"])
def test_a_place_that_is_in_no_store_is_refused_by_every_verb(
    stores: FolderStores, folder: Path, tmp_path: Path, place: str
) -> None:
    for act in (
        lambda: stores.exists(place),
        lambda: stores.list(place),
        lambda: stores.read_bytes(place),
        lambda: stores.write_bytes(place, b""),
        lambda: stores.get(place, tmp_path / "out"),
        lambda: stores.put(folder, place),
    ):
        with pytest.raises(OcrvlError) as caught:
            act()
        assert caught.value.code == ExitCode.USAGE
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine"]


def test_a_folder_goes_in_and_comes_out_equal(stores: FolderStores, folder: Path, tmp_path: Path) -> None:
    assert stores.put(folder, "/data/mine") == 3
    assert stores.get("/data/mine", tmp_path / "back") == 3
    assert tree(tmp_path / "back") == tree(folder)


def test_a_store_gives_what_is_put_into_it_the_name_that_it_had(stores: FolderStores, folder: Path) -> None:
    stores.put(folder, "/data")
    stores.put(folder / "a.txt", "/data/")
    assert [entry.place for entry in stores.list("/data")] == ["/data/a.txt", "/data/mine"]


def test_a_file_goes_into_a_folder_that_is_there(stores: FolderStores, folder: Path, tmp_path: Path) -> None:
    stores.put(folder, "/data/mine")
    stores.put(folder / "a.txt", "/data/mine/inner")
    assert stores.read_bytes("/data/mine/inner/a.txt") == b"a"
    (tmp_path / "out").mkdir()
    stores.get("/data/mine/a.txt", tmp_path / "out")
    assert (tmp_path / "out" / "a.txt").read_text() == "a"


def test_what_is_there_is_replaced_only_by_force(stores: FolderStores, folder: Path, tmp_path: Path) -> None:
    stores.put(folder, "/data/mine")
    (folder / "a.txt").write_text("new")
    (folder / "inner" / "b.txt").unlink()
    for source, place in ((folder, "/data/mine"), (folder / "a.txt", "/data/mine/a.txt")):
        with pytest.raises(OcrvlError, match="exists already") as caught:
            stores.put(source, place)
        assert caught.value.code == ExitCode.USAGE
        assert "--force" in caught.value.hint
    assert stores.read_bytes("/data/mine/a.txt") == b"a"
    stores.put(folder, "/data/mine", force=True)
    assert tree(tmp_path / "home" / "stores" / "data" / "mine") == {"a.txt": "new"}
    stores.get("/data/mine", folder, force=True)
    assert tree(folder) == {"a.txt": "new"}


@pytest.mark.parametrize("place", ["/data/none", "/data/mine/none", "/models/mine"])
def test_what_is_not_there_is_not_found_by_every_verb(
    stores: FolderStores, folder: Path, tmp_path: Path, place: str
) -> None:
    stores.put(folder, "/data/mine")
    for act in (
        lambda: stores.list(place),
        lambda: stores.read_bytes(place),
        lambda: stores.get(place, tmp_path / "out"),
        lambda: stores.put(tmp_path / "nothing", place),
    ):
        with pytest.raises(OcrvlError) as caught:
            act()
        assert caught.value.code == ExitCode.NOT_FOUND
        assert caught.value.hint
    assert not stores.exists(place)
    assert not (tmp_path / "out").exists()


def test_a_folder_is_no_file_to_read(stores: FolderStores, folder: Path) -> None:
    stores.put(folder, "/data/mine")
    with pytest.raises(OcrvlError, match="there is no file /data/mine"):
        stores.read_bytes("/data/mine")


def test_bytes_are_read_from_where_one_stopped(stores: FolderStores) -> None:
    stores.write_bytes("/outputs/a/log.txt", b"0123456789")
    assert stores.read_bytes("/outputs/a/log.txt", 7) == b"789"
    assert stores.read_bytes("/outputs/a/log.txt", 10) == b""


def test_writing_replaces_a_file_whole_and_makes_its_folders(stores: FolderStores) -> None:
    stores.write_bytes("/outputs/a/b/run.json", b"long before")
    stores.write_bytes("/outputs/a/b/run.json", b"now")
    assert stores.read_bytes("/outputs/a/b/run.json") == b"now"
    assert [entry.place for entry in stores.list("/outputs/a/b")] == ["/outputs/a/b/run.json"]


def test_a_list_says_what_is_a_folder_and_how_large(stores: FolderStores, folder: Path) -> None:
    stores.put(folder, "/data/mine")
    stores.write_bytes("/data/.hidden", b"x")
    (entry,) = stores.list("/data")
    assert (entry.place, entry.is_folder, entry.size_bytes) == ("/data/mine", True, 3)
    assert entry.modified_at.tzinfo is not None
    entries = stores.list("/data/mine/")
    assert [(entry.place, entry.is_folder, entry.size_bytes) for entry in entries] == [
        ("/data/mine/a.txt", False, 1),
        ("/data/mine/inner", True, 2),
    ]
    assert [entry.place for entry in stores.list("/data/mine/a.txt")] == ["/data/mine/a.txt"]


def test_a_store_that_nothing_was_ever_put_into_is_empty(stores: FolderStores) -> None:
    assert stores.list("/models") == []


def test_what_vanishes_while_it_is_listed_is_left_out(stores: FolderStores, folder: Path) -> None:
    """A run that trains renames and prunes; a link to nowhere is what those see who come a moment too late."""
    stores.put(folder, "/outputs/a")
    (stores._path("/outputs/a") / "b").symlink_to("nowhere")
    (stores._path("/outputs/a/inner") / "c").symlink_to("nowhere")
    listed = [(entry.place, entry.size_bytes) for entry in stores.list("/outputs/a")]
    assert listed == [("/outputs/a/a.txt", 1), ("/outputs/a/inner", 2)]


@pytest.mark.parametrize("verb", ["get", "put"])
def test_a_copy_that_fails_leaves_nothing_half_written_and_says_which_file_it_was(
    stores: FolderStores, folder: Path, tmp_path: Path, verb: str
) -> None:
    stores.put(folder, "/data/there")
    for place in (folder, stores._path("/data/there")):
        (place / "inner" / "z.txt").symlink_to("nowhere")
    with pytest.raises(OSError, match="No such file") as caught:
        if verb == "put":
            stores.put(folder, "/data/mine")
        else:
            stores.get("/data/there", tmp_path / "out")
    assert "z.txt cannot be copied: " in of_the_system(caught.value).message
    assert [path.name for path in (tmp_path / "home" / "stores" / "data").iterdir()] == ["there"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "mine"]


@pytest.mark.parametrize("inside", ["copy", "inner/copy"])
def test_a_folder_is_not_copied_into_itself(stores: FolderStores, folder: Path, inside: str) -> None:
    stores.put(folder, "/data/mine")
    there = stores._path("/data/mine")
    before = tree(there)
    with pytest.raises(OcrvlError, match="inside the other") as caught:
        stores.get("/data/mine", there / inside)
    assert caught.value.code == ExitCode.USAGE
    with pytest.raises(OcrvlError, match="inside the other"):
        stores.put(there, f"/data/mine/{inside}")
    assert tree(there) == before


@pytest.mark.parametrize("place", ["/data/mine", "/data/mine/inner"])
def test_a_folder_is_not_replaced_by_itself_or_by_what_is_in_it(stores: FolderStores, folder: Path, place: str) -> None:
    stores.put(folder, "/data/mine")
    there = stores._path("/data/mine")
    before = tree(there)
    with pytest.raises(OcrvlError, match="inside the other"):
        stores.get(place, there, force=True)
    assert tree(there) == before
