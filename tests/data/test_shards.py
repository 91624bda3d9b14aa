"""Shards: the same members give the same bytes, ``tar`` reads them, and nothing else comes out of one."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.stored import write_image
from ocrvl_modal import files
from ocrvl_modal.data.shards.digests import KnownFile, Stamp, digest_files
from ocrvl_modal.data.shards.index import Shard
from ocrvl_modal.data.shards.members import Member, Sizes, cut, key_of
from ocrvl_modal.data.shards.packing import header, pack
from ocrvl_modal.data.shards.unpacking import copy_verified, is_whole, unpack
from ocrvl_modal.errors import OcrvlError

SIZES = Sizes(least=8 << 10, average=32 << 10, most=80 << 10)


def members_of(*paths: Path) -> list[Member]:
    return [Member(known) for known in digest_files([str(path) for path in paths], {}, lambda *_: None)]


def imagined(seed: int, size: int = 3000) -> Member:
    """A member of a dataset that is too large to be written for a test."""
    digest = hashlib.sha256(str(seed).encode()).hexdigest()
    return Member(KnownFile("", digest, ".png", Stamp(size, 0, 0, 0), settled=True))


def test_the_same_files_give_the_same_bytes_whatever_they_are_called_and_whoever_owns_them(tmp_path: Path) -> None:
    one = [write_image(tmp_path / "one" / f"{seed}.png", seed) for seed in (1, 2)]
    other = [write_image(tmp_path / "other" / f"x{seed}.PNG", seed) for seed in (1, 2)]
    for path in other:
        path.chmod(0o600)
        os.utime(path, (1, 1))
    first, second = pack(members_of(*one), tmp_path / "1.tar"), pack(members_of(*other), tmp_path / "2.tar")
    assert first == second
    assert (tmp_path / "1.tar").read_bytes() == (tmp_path / "2.tar").read_bytes()
    assert files.sha256_of(tmp_path / "1.tar") == first.sha256
    assert (tmp_path / "1.tar").stat().st_size == first.size_bytes
    assert key_of(members_of(*one)) == key_of(members_of(*other)) != key_of(members_of(*reversed(one)))


@pytest.mark.skipif(shutil.which("tar") is None, reason="needs tar")
@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 70_000])
def test_the_tar_command_unpacks_a_shard(tmp_path: Path, size: int) -> None:
    image = write_image(tmp_path / "a.png", 1, size)
    (member,) = members_of(image)
    pack([member], tmp_path / "shard.tar")
    done = subprocess.run(
        ["tar", "--extract", "--verbose", "--file", "shard.tar"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout.split(), done.stderr) == ([member.name], "")
    assert (tmp_path / member.name).read_bytes() == image.read_bytes()


@pytest.mark.parametrize(
    ("head", "ending"),
    [
        (b"\x89PNG\r\n", ".png"),
        (b"\xff\xd8\xff\xe0", ".jpg"),
        (b"II*\0", ".tif"),
        (b"RIFF1234WEBP", ".webp"),
        (b"\0\0\0\x0cjP  \r\n\x87\n\0\0", ".jp2"),
        (b"\xff\x4f\xff\x51\0", ".j2k"),
        (b"GIF89a", ".gif"),
        (b"BM..", ".bmp"),
        (b"", ""),
        (b"text", ""),
    ],
)
def test_an_image_is_named_by_what_it_holds(tmp_path: Path, head: bytes, ending: str) -> None:
    path = tmp_path / "scan.JPEG"
    path.write_bytes(head)
    (member,) = members_of(path)
    assert member.name == f"images/{files.sha256_of(path)}{ending}"


@given(st.integers(0, 8**11 + 5), st.booleans())
@settings(max_examples=30, deadline=None)
def test_headers_are_those_of_pythons_tarfile(size: int, is_rows: bool) -> None:
    info = tarfile.TarInfo("train.jsonl" if is_rows else GOOD)
    info.size = size
    assert header(info.name, size) == info.tobuf(tarfile.GNU_FORMAT)


def test_a_file_that_changes_while_it_is_packed_is_told(tmp_path: Path) -> None:
    image = write_image(tmp_path / "a.png", 1)
    members = members_of(image)
    write_image(image, 2)
    with pytest.raises(OcrvlError, match="changed while it was packed"):
        pack(members, tmp_path / "shard.tar")


def test_a_large_member_is_packed_and_unpacked_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    with path.open("wb") as stream:
        stream.truncate(48 << 20)
    members = members_of(path)
    tracemalloc.start()
    packed = pack(members, tmp_path / "shard.tar")
    unpack(tmp_path / "shard.tar", tmp_path / "out")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert packed.size_bytes > 48 << 20
    assert peak < 8 << 20


@given(st.lists(st.integers(0, 9000), min_size=1, max_size=200), st.data())
@settings(max_examples=40, deadline=None)
def test_every_member_is_in_one_shard_in_order_and_shards_keep_to_their_sizes(
    sizes: list[int], data: st.DataObject
) -> None:
    members = [imagined(data.draw(st.integers(0, 10_000)), size) for size in sizes]
    shards = list(cut(members, SIZES))
    assert [member for shard in shards for member in shard] == members
    packed = [sum(member.packed_bytes for member in shard) for shard in shards]
    assert all(size <= SIZES.most for size in packed)
    assert all(size >= SIZES.least for size in packed[:-1])


@given(st.integers(0, 1199), st.booleans())
@settings(max_examples=25, deadline=None)
def test_a_sample_that_is_added_or_removed_changes_only_the_shards_near_it(at: int, adds: bool) -> None:
    before = [imagined(seed) for seed in range(1200)]
    after = [*before[:at], *([imagined(99_999)] if adds else []), *before[at + (not adds) :]]
    old, new = ({key_of(shard) for shard in cut(members, SIZES)} for members in (before, after))
    assert len(old) > 60
    assert len(new - old) <= 12


def test_shards_are_about_as_large_as_they_should_be() -> None:
    shards = list(cut((imagined(seed, 300_000) for seed in range(20_000)), Sizes()))
    mean = sum(member.packed_bytes for shard in shards for member in shard) / len(shards)
    assert 48 << 20 < mean < 80 << 20


def write_tar(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        for member in members:
            member.size = 4 if member.type == tarfile.REGTYPE else 0
            archive.addfile(member, io.BytesIO(b"evil") if member.size else None)
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


GOOD = f"images/{'ab' * 32}.png"


@pytest.mark.parametrize(
    "bad",
    [
        member("/etc/passwd"),
        member("../outside.jsonl"),
        member(f"images/../../{'ab' * 32}.png"),
        member(f"images/{'ab' * 32}.png/../x.jsonl"),
        member("images"),
        member("images/a.png"),
        member(".bashrc"),
        member("train.jsonl\n"),
        member(f"images/{'AB' * 32}.png"),
        member("images", tarfile.DIRTYPE),
        member(GOOD, tarfile.SYMTYPE, "/etc/passwd"),
        member("train.jsonl", tarfile.SYMTYPE, "../../x"),
        member(GOOD, tarfile.LNKTYPE, "/etc/passwd"),
        member("train.jsonl", tarfile.FIFOTYPE),
        member("train.jsonl", tarfile.CHRTYPE),
        member("train.jsonl", tarfile.BLKTYPE),
        member("train.jsonl", tarfile.CONTTYPE),
    ],
    ids=lambda info: f"{info.name!r}-{info.type!r}",
)
def test_what_does_not_belong_into_a_shard_is_refused_before_anything_is_unpacked(
    tmp_path: Path, bad: tarfile.TarInfo
) -> None:
    shard = write_tar(tmp_path / "shard.tar", member(f"images/{'cd' * 32}.png"), bad)
    with pytest.raises(OcrvlError, match="does not belong"):
        unpack(shard, tmp_path / "out" / "inner")
    assert [path for path in (tmp_path / "out").rglob("*") if not path.is_dir()] == []


def test_a_name_that_a_header_of_its_own_gives_is_looked_at_too(tmp_path: Path) -> None:
    info = member("train.jsonl")
    info.size = 4
    info.pax_headers = {"path": "../../outside.jsonl"}
    with tarfile.open(tmp_path / "shard.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info, io.BytesIO(b"evil"))
    with pytest.raises(OcrvlError, match=r"\.\./\.\./outside"):
        unpack(tmp_path / "shard.tar", tmp_path / "out")


@pytest.mark.parametrize("content", [b"no tar", b"x" * 2048], ids=["short", "long"])
def test_what_is_no_tar_file_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "shard.tar").write_bytes(content)
    with pytest.raises(OcrvlError, match="is no tar file"):
        unpack(tmp_path / "shard.tar", tmp_path / "out")


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content + b"\0",
        lambda content: content[:700] + bytes([content[700] ^ 1]) + content[701:],
        lambda _: b"",
    ],
    ids=["cut off", "longer", "a flipped bit", "empty"],
)
def test_a_damaged_shard_is_told_by_its_digest(tmp_path: Path, damage: object) -> None:
    assert callable(damage)
    path = tmp_path / "shard.tar"
    packed = pack(members_of(write_image(tmp_path / "a.png", 1)), path)
    shard = Shard(packed.sha256, packed.size_bytes, 1, "images", "")
    assert is_whole(path, shard)
    with path.open("rb") as stream:
        assert copy_verified(stream, tmp_path / "copy.tar", shard)
    path.write_bytes(damage(path.read_bytes()))
    assert not is_whole(path, shard)
    with path.open("rb") as stream:
        assert not copy_verified(stream, tmp_path / "copy.tar", shard)
