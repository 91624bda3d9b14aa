"""Volumes from outside and inside of containers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fakemodal import FakeModal
from fakemodal.tests.client import modal_cli, script

BLOCK_BYTES = 8 * 1024 * 1024


@pytest.mark.parametrize("version", [1, 2])
def test_what_is_put_can_be_got(cloud: FakeModal, tmp_path: Path, version: int) -> None:
    payload = {"a.bin": b"a" * 100, "sub/b.bin": bytes(range(256)) * 40_000 + b"\0" * 5_000_000, "sub/empty": b""}
    assert len(payload["sub/b.bin"]) > BLOCK_BYTES
    for name, content in payload.items():
        (tmp_path / "up" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "up" / name).write_bytes(content)
    result = script(
        cloud,
        f"""
        volume = modal.Volume.from_name("v", create_if_missing=True, version={version})
        with volume.batch_upload() as batch:
            batch.put_directory("up", "/ds")
        def upload(force):
            with volume.batch_upload(force=force) as batch:
                batch.put_file("up/a.bin", "/ds/a.bin")
        volume.copy_files(["/ds/a.bin"], "/ds/copy.bin")
        result = {{
            "listed": sorted(entry.path for entry in volume.listdir("/ds")),
            "all": sorted(entry.path for entry in volume.iterdir("/")),
            "read": [len(b"".join(volume.read_file("ds/" + name))) for name in ("a.bin", "sub/b.bin", "copy.bin")],
            "again": name_of_error(lambda: upload(False)),
            "forced": name_of_error(lambda: upload(True)),
            "missing": name_of_error(lambda: list(volume.read_file("nothing"))),
            "no folder": name_of_error(lambda: volume.listdir("/nothing")),
            "not empty": name_of_error(lambda: volume.remove_file("/ds/sub")),
            "removed": name_of_error(lambda: volume.remove_file("/ds/sub", recursive=True)),
            "other": name_of_error(modal.Volume.from_name("v", version={3 - version}).hydrate),
            "unknown": name_of_error(modal.Volume.from_name("none").hydrate),
        }}
        """,
        cwd=tmp_path,
    )
    assert result == {
        "listed": ["ds/a.bin", "ds/copy.bin", "ds/sub"],
        "all": ["ds", "ds/a.bin", "ds/copy.bin", "ds/sub", "ds/sub/b.bin", "ds/sub/empty"],
        "read": [100, len(payload["sub/b.bin"]), 100],
        "again": "FileExistsError",
        "forced": None,
        "missing": "FileNotFoundError",
        "no folder": "NotFoundError",
        "not empty": "InvalidError",
        "removed": None,
        "other": "InvalidError",
        "unknown": "NotFoundError",
    }
    assert (cloud.volume("v") / "ds/copy.bin").read_bytes() == payload["a.bin"]
    assert not (cloud.volume("v") / "ds/sub").exists()
    rows = json.loads(modal_cli(cloud, "volume", "ls", "v", "/ds", "--json").stdout)
    assert sorted(row["filename"] for row in rows) == ["ds/a.bin", "ds/copy.bin"]


def test_a_container_sees_what_others_committed_after_a_reload(shared: FakeModal) -> None:
    result = script(
        shared,
        """
        read, volume = modal.Function.from_name("sample", "reader"), modal.Volume.from_name("models")
        result = [read.remote()]
        with volume.batch_upload() as batch:
            import io
            batch.put_file(io.BytesIO(b"1"), "probe")
        result.append(read.remote())
        try:
            read.remote(hold=True)
        except RuntimeError as error:
            result.append(str(error))
        """,
    )
    before, after, held = result
    assert "probe" not in before
    assert "probe" in after
    assert "open files" in held
