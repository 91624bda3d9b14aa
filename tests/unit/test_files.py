from __future__ import annotations

import fcntl
import json
import os
import stat
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from ocrvl_modal import files


def names_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)


def test_a_file_is_written_with_the_folders_it_needs(tmp_path: Path) -> None:
    files.write_text(tmp_path / "a" / "b" / "note.txt", "grüße\n")
    assert (tmp_path / "a" / "b" / "note.txt").read_bytes() == "grüße\n".encode()
    assert names_in(tmp_path / "a" / "b") == ["note.txt"]


def test_a_written_file_can_be_read_by_others(tmp_path: Path) -> None:
    files.write_bytes(tmp_path / "x", b"1")
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o644


def test_json_reads_back_equal(tmp_path: Path) -> None:
    files.write_json(tmp_path / "x.json", {"a": [1, None, "é"]})
    assert json.loads((tmp_path / "x.json").read_text(encoding="utf-8")) == {"a": [1, None, "é"]}


def test_a_write_that_the_disk_refuses_leaves_the_old_content_and_no_leftovers(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(b"old")
    # The limit on a file's size is the nearest thing to a full disk that a process can give itself.
    code = """
import resource, sys
from pathlib import Path
from ocrvl_modal import files
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    files.write_bytes(Path(sys.argv[1]), b"x" * 5000)
except OSError as error:
    print(type(error).__name__)
"""
    result = run_python(code, str(path))
    assert result.stdout == "OSError\n", result.stderr
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["run.json"]


def test_a_copy_whose_source_is_missing_leaves_the_old_content_and_no_leftovers(tmp_path: Path) -> None:
    (tmp_path / "kept").write_bytes(b"old")
    with pytest.raises(FileNotFoundError):
        files.copy_file(tmp_path / "missing", tmp_path / "kept")
    assert (tmp_path / "kept").read_bytes() == b"old"
    assert names_in(tmp_path) == ["kept"]


def test_a_copy_has_the_content_of_its_source(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\0\1\2" * 1000)
    files.copy_file(tmp_path / "a", tmp_path / "sub" / "b")
    assert (tmp_path / "sub" / "b").read_bytes() == b"\0\1\2" * 1000


def test_a_new_folder_appears_only_when_its_block_ends(tmp_path: Path) -> None:
    with files.new_folder(tmp_path / "export") as folder:
        (folder / "model").write_bytes(b"1")
        assert not (tmp_path / "export").exists()
    assert names_in(tmp_path) == ["export"]
    assert names_in(tmp_path / "export") == ["model"]


def test_a_new_folder_replaces_what_stood_there(tmp_path: Path) -> None:
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "old").write_bytes(b"1")
    with files.new_folder(tmp_path / "export") as folder:
        (folder / "new").write_bytes(b"2")
    assert names_in(tmp_path / "export") == ["new"]
    assert names_in(tmp_path) == ["export"]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_new_folder_whose_block_fails_leaves_all_as_it_was(tmp_path: Path, failure: type[BaseException]) -> None:
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "old").write_bytes(b"1")
    with pytest.raises(failure), files.new_folder(tmp_path / "export") as folder:
        (folder / "half").write_bytes(b"2")
        raise failure
    assert names_in(tmp_path) == ["export"]
    assert names_in(tmp_path / "export") == ["old"]


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "export").mkdir()
    (tmp_path / ".hidden").write_bytes(b"")
    (tmp_path / "mine.tmp").write_bytes(b"")
    code = """
import os, signal, sys
from pathlib import Path
from ocrvl_modal import files
with files.new_folder(Path(sys.argv[1])) as folder:
    (folder / "half").write_bytes(b"x")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert run_python(code, str(tmp_path / "export")).returncode == -9
    assert len(names_in(tmp_path)) == 4
    files.remove_leftovers(tmp_path)
    assert names_in(tmp_path) == [".hidden", "export", "mine.tmp"]


@pytest.mark.parametrize("is_alive", [False, True])
def test_a_new_folder_takes_away_what_a_killed_one_left_and_nothing_of_one_that_is_alive(
    is_alive: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_YOUNG_S", 0.0)
    names = [".a[1].x.tmp", ".a[1].other", ".a1.x.tmp"]
    for name in names:
        (tmp_path / name).mkdir()
    with ExitStack() as filled:
        if is_alive:
            descriptor = os.open(tmp_path / names[0], os.O_RDONLY)
            filled.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        with files.new_folder(tmp_path / "a[1]"), files.new_folder(tmp_path / "a[1]"):
            assert len(names_in(tmp_path)) == len(names) + 2 - (not is_alive)
    assert set(names_in(tmp_path)) == {*(names if is_alive else names[1:]), "a[1]"}


def test_leftovers_of_a_folder_that_is_not_there_are_none(tmp_path: Path) -> None:
    files.remove_leftovers(tmp_path / "missing")
    assert names_in(tmp_path) == []


def test_a_removed_folder_is_gone_with_all_that_it_held(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c").write_bytes(b"1")
    files.remove_folder(tmp_path / "a")
    files.remove_folder(tmp_path / "a")
    assert names_in(tmp_path) == []


def test_a_digest_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert files.sha256_of(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_tree_weighs_what_its_files_weigh(tmp_path: Path) -> None:
    files.write_bytes(tmp_path / "a", b"x" * 10)
    files.write_bytes(tmp_path / "b" / "c", b"x" * 5)
    assert files.size_of_tree(tmp_path) == 15
    assert files.size_of_tree(tmp_path / "a") == 10


def test_free_space_is_that_of_the_nearest_folder_that_exists(tmp_path: Path) -> None:
    total = os.statvfs(tmp_path).f_blocks * os.statvfs(tmp_path).f_frsize
    assert 0 < files.free_bytes(tmp_path / "not" / "yet") <= total


def test_the_size_of_a_tree_is_told_while_its_files_are_renamed_while_one_looks(tmp_path: Path) -> None:
    """A link to nowhere is what those see who list a file and come a moment too late to look at it."""
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a").write_bytes(b"123")
    (tmp_path / "inner" / "gone").symlink_to("nowhere")
    (tmp_path / "gone").symlink_to("nowhere")
    assert files.size_of_tree(tmp_path) == 3
    assert files.size_of_tree(tmp_path / "never") == 0


def test_the_size_of_a_tree_counts_hidden_files_too(tmp_path: Path) -> None:
    (tmp_path / ".part").mkdir()
    (tmp_path / ".part" / ".a").write_bytes(b"12345")
    assert files.size_of_tree(tmp_path) == 5
