"""Fetching a wheel into a folder: found in an index, held against all that is known of it, and recorded."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from ocrvl_modal import files
from ocrvl_modal.errors import OcrvlError, usage_error
from ocrvl_modal.pins import FRAMEWORK, FrameworkWheel
from ocrvl_modal.transfer import Fetched, OnBytes, Source, WrongContent, fetch_file, sweep, without_secrets
from ocrvl_modal.wheels.checking import problem_of_wheel
from ocrvl_modal.wheels.folder import LocalWheel, inspect
from ocrvl_modal.wheels.index import Listed, find_in_index
from ocrvl_modal.wheels.manifest import Entry, is_digest, now, read_manifest, record, where_to_accept
from ocrvl_modal.wheels.names import is_build_of


@dataclass(frozen=True)
class WheelOrder:
    """Which wheel is to be fetched, from where, and into which folder.

    ``sha256`` is what the user knows of it. ``again`` is the command that goes on after a break. With ``force`` a wheel
    that is there is fetched again.
    """

    wanted: FrameworkWheel
    folder: Path
    index_url: str
    again: str
    sha256: str | None = None
    connections: int = 8
    force: bool = False


@dataclass(frozen=True)
class FetchedWheel:
    """A wheel that is in its folder, verified and recorded. ``fetched`` says whether anything had to be done for it."""

    path: Path
    entry: Entry
    fetched: bool
    received_bytes: int
    seconds: float

    @property
    def resumed(self) -> bool:
        """Whether an earlier fetch had begun it."""
        return self.fetched and self.received_bytes < self.entry.size_bytes


def fetch_wheel(order: WheelOrder, on_bytes: OnBytes) -> FetchedWheel:
    """Make the wheel present in its folder; one that is there, recorded and unchanged does not travel again.

    What was recorded of it the first time stays the truth: an index, a digest of the user's or a file that says
    otherwise is an error.
    """
    began = time.monotonic()
    name, entry = _recorded(order)
    if name and entry and not order.force and (there := _there_already(order, name, entry)):
        return FetchedWheel(there.path, entry, False, 0, time.monotonic() - began)
    listed = find_in_index(order.index_url, order.wanted, order.again)
    entry = _entry_of(order, listed)
    sha256 = _agreed_digest(order, listed, entry)
    path = order.folder / listed.file_name
    if path.exists() and entry is None and not order.force:
        entry = _adopt(order, path, listed, sha256)
        return FetchedWheel(path, entry, False, 0, time.monotonic() - began)
    fetched = _fetch(order, listed, sha256, entry, on_bytes)
    # Its new name has touched it; what was verified is still what is there.
    entry = read_manifest(order.folder)[listed.file_name].verified_now()
    record(order.folder, listed.file_name, entry)
    return FetchedWheel(path, entry, True, fetched.received_bytes, time.monotonic() - began)


def _recorded(order: WheelOrder) -> tuple[str | None, Entry | None]:
    """Return the name and the entry of the wanted build; raise where the user knows another digest of it."""
    for name, entry in read_manifest(order.folder).items():
        if entry.cuda == order.wanted.cuda and is_build_of(name, order.wanted):
            if order.sha256 not in (None, entry.sha256):
                raise OcrvlError(
                    f"{name} is recorded with the sha256 {entry.sha256}, and not {order.sha256}",
                    where_to_accept(order.folder, name),
                )
            return name, entry
    return None, None


def _there_already(order: WheelOrder, name: str, entry: Entry) -> LocalWheel | None:
    path = order.folder / name
    if not path.exists():
        return None
    wheel = inspect(path, entry)
    if wheel.problem:
        raise OcrvlError(f"{path} is not what was recorded: {wheel.problem}", f"{order.again} --force")
    sweep(path)
    return wheel


def _entry_of(order: WheelOrder, listed: Listed) -> Entry | None:
    entry = read_manifest(order.folder).get(listed.file_name)
    if entry is not None and entry.cuda != order.wanted.cuda:
        raise OcrvlError(
            f"{order.folder} has {listed.file_name} for {entry.cuda}; its name does not tell it from the one for"
            f" {order.wanted.cuda}",
            f"add --output-dir {order.folder}/{order.wanted.cuda}",
        )
    return entry


def _agreed_digest(order: WheelOrder, listed: Listed, entry: Entry | None) -> str | None:
    """Return the digest that the wheel must have, as far as anybody knows it; raise where two say otherwise."""
    if entry is not None:
        said = (listed.sha256 or entry.sha256, listed.size_bytes or entry.size_bytes)
        if said != (entry.sha256, entry.size_bytes):
            raise OcrvlError(
                f"the index has another {listed.file_name} than was recorded: {said[1]:,} bytes, sha256 {said[0]};"
                f" recorded are {entry.size_bytes:,} bytes, sha256 {entry.sha256}",
                where_to_accept(order.folder, listed.file_name),
            )
        return entry.sha256
    if order.sha256 and listed.sha256 not in (None, order.sha256):
        raise OcrvlError(
            f"the index says that the sha256 of {listed.file_name} is {listed.sha256}, and not {order.sha256}",
            "find out which of them is right; without --sha256 the index is believed",
        )
    return order.sha256 or listed.sha256


def _adopt(order: WheelOrder, path: Path, listed: Listed, sha256: str | None) -> Entry:
    """Record a file that came here in another way, where its digest is known."""
    if sha256 is None:
        raise OcrvlError(
            f"{path} is there, and neither the manifest nor the index says what its sha256 should be",
            f"add --sha256 where you know it; {order.again} --force fetches it again",
        )
    digest = files.sha256_of(path)
    problem = f"its sha256 is {digest}, and should be {sha256}" if digest != sha256 else None
    problem = problem or problem_of_wheel(path, path.name)
    if problem:
        raise OcrvlError(f"{path} is not the wheel: {problem}", f"{order.again} --force")
    entry = _new_entry(order, listed, path.stat().st_size, digest)
    record(order.folder, path.name, entry)
    return entry


def _fetch(order: WheelOrder, listed: Listed, sha256: str | None, entry: Entry | None, on_bytes: OnBytes) -> Fetched:
    """Fetch the file; it is recorded just before it gets its name, so that none has the name without a record."""

    def approve(part: Path, fetched: Fetched) -> None:
        problem = problem_of_wheel(part, listed.file_name)
        if problem:
            raise WrongContent(
                f"{without_secrets(listed.url)} came whole, and {problem}",
                "what came is removed; --index-url URL names another index",
            )
        record(order.folder, listed.file_name, _new_entry(order, listed, fetched.size_bytes, fetched.sha256))

    size = entry.size_bytes if entry else listed.size_bytes
    source = Source(listed.url, size, sha256, again=order.again)
    path = order.folder / listed.file_name
    try:
        return fetch_file(source, path, on_bytes=on_bytes, connections=order.connections, approve=approve)
    except WrongContent as error:
        hint = where_to_accept(order.folder, listed.file_name) if entry else error.hint
        raise OcrvlError(error.message, hint) from error


def _new_entry(order: WheelOrder, listed: Listed, size: int, sha256: str) -> Entry:
    wanted = order.wanted
    source = without_secrets(listed.url)
    return Entry(FRAMEWORK, wanted.version, wanted.cuda, wanted.python, size, sha256, source, now())


def checked_digest(text: str | None) -> str | None:
    """Return a digest that a user gave, in small letters; raise a usage error for what is none."""
    if text is None or is_digest(text.lower()):
        return text and text.lower()
    raise usage_error(f"'{text}' is no SHA-256", "it has 64 digits of 0-9 and a-f: sha256sum FILE prints it")
