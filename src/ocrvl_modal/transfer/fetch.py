"""Fetching a file: it comes whole, verified and under its name, or leaves a part that the next call goes on with."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ocrvl_modal import files
from ocrvl_modal.errors import OcrvlError, of_the_system, usage_error
from ocrvl_modal.transfer.answers import Broken, Changed, Offer
from ocrvl_modal.transfer.crew import Crew
from ocrvl_modal.transfer.journal import Identity, Journal
from ocrvl_modal.transfer.part import UNNOTED_BYTES, Part, alone_with_part, discard_part, journal_of, part_of
from ocrvl_modal.transfer.patience import Patience
from ocrvl_modal.transfer.ranges import pieces_of
from ocrvl_modal.transfer.server import Server, Stream
from ocrvl_modal.transfer.source import Approve, Fetched, OnBytes, Source, WrongContent

DEFAULT_CONNECTIONS = 8
MOST_CONNECTIONS = 32

LOST_AT_MOST_BYTES = 15 << 20
"""What a killed fetch leaves asked for or not yet noted, and so travels again."""

_IN_FLIGHT_BYTES = LOST_AT_MOST_BYTES - UNNOTED_BYTES
_LONGEST_PIECE = 4 << 20
_FIRST_TRIES = 4
_MOST_STARTS = 3
_TICK_S = 0.1


def fetch_file(
    source: Source,
    destination: Path,
    *,
    on_bytes: OnBytes | None = None,
    connections: int = DEFAULT_CONNECTIONS,
    approve: Approve | None = None,
) -> Fetched:
    """Fetch ``source`` to ``destination``, in place of a file that is there.

    It arrives in ``<destination>.part``, beside a journal: called again after any kind of end, only what is missing
    travels. Its SHA-256 is computed on the way, and compared where the source has one. Raises :class:`OcrvlError`; the
    part stays, unless its digest is wrong or ``approve`` raises :class:`WrongContent`.
    """
    if not 1 <= connections <= MOST_CONNECTIONS:
        raise usage_error(f"{connections} connections", f"ask for 1 to {MOST_CONNECTIONS}")
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with alone_with_part(destination) as descriptor, Server(source, connections) as server:
            fetch = _Fetch(
                source, destination, descriptor, server, connections, on_bytes or _tell_nobody, approve or _take_all
            )
            return fetch.until_it_stands()
    except OSError as error:
        raise of_the_system(error, source.go_on) from error


def _tell_nobody(_done: int, _total: int) -> None:
    """Progress for a caller that wants none."""


def _take_all(_path: Path, _fetched: Fetched) -> None:
    """Approval of a caller to whom the digest says enough."""


class _Fetch:
    """One call of :func:`fetch_file`, while it holds the part."""

    def __init__(
        self,
        source: Source,
        destination: Path,
        descriptor: int,
        server: Server,
        connections: int,
        on_bytes: OnBytes,
        approve: Approve,
    ) -> None:
        self._source = source
        self._destination = destination
        self._descriptor = descriptor
        self._server = server
        self._connections = connections
        self._on_bytes = on_bytes
        self._approve = approve
        self._longest_piece = min(_IN_FLIGHT_BYTES // connections, _LONGEST_PIECE)
        self._received = 0

    def until_it_stands(self) -> Fetched:
        """Fetch; start over where the server's file turns out to be another one than what was begun."""
        patience = Patience(_FIRST_TRIES)
        for _ in range(_MOST_STARTS):
            try:
                return self._fetch_patiently(patience)
            except Changed:
                journal_of(self._destination).unlink(missing_ok=True)
                os.ftruncate(self._descriptor, 0)
        raise OcrvlError(
            f"{self._source.shown} changes again and again while it is fetched",
            f"name a server that has one file under that name, then {self._source.go_on}",
        )

    def _fetch_patiently(self, patience: Patience) -> Fetched:
        while True:
            journal = Journal.open(journal_of(self._destination), os.fstat(self._descriptor).st_size)
            try:
                return self._verify(journal) if self._is_whole(journal) else self._fetch(journal)
            except Broken as broken:
                time.sleep(patience.delay_after(broken, self._source))

    def _is_whole(self, journal: Journal) -> bool:
        """Say whether all is here of a file that only had to be verified when an earlier call died."""
        begun = journal.identity
        if begun is None or journal.written.missing(begun.size_bytes):
            return False
        return begun.is_same_file(replace(begun, url=self._source.shown, sha256=self._source.sha256))

    def _fetch(self, journal: Journal) -> Fetched:
        stream = self._begin(journal)
        try:
            offer = stream.offer
            self._require_size(offer.size_bytes)
            offered = self._identity(offer)
            if journal.identity is None or not offer.in_ranges:
                os.ftruncate(self._descriptor, 0)
                os.ftruncate(self._descriptor, offer.size_bytes or 0)
                journal.begin(offered)
            elif offered is None or not journal.identity.is_same_file(offered):
                raise Changed
            self._require_room((offer.size_bytes or 0) - journal.written.total)
            with Part(self._descriptor, journal) as part:
                if offer.in_ranges:
                    self._receive_pieces(part, journal, stream)
                else:
                    self._receive_whole(part, stream)
                digest = part.finish()
        finally:
            stream.close()
        return self._keep(digest, offer.etag)

    def _verify(self, journal: Journal) -> Fetched:
        with Part(self._descriptor, journal) as part:
            digest = part.finish()
        return self._keep(digest, journal.identity.etag if journal.identity else None)

    def _keep(self, digest: str, etag: str | None) -> Fetched:
        """Give the part its final name; where its digest is wrong, no byte of it can be told from a good one."""
        size = os.fstat(self._descriptor).st_size
        self._require_size(size)
        if self._source.sha256 is not None and digest != self._source.sha256.lower():
            discard_part(self._destination)
            raise WrongContent(
                f"{self._source.shown} came with the sha256 {digest}, and should have {self._source.sha256}",
                f"what came is removed: {self._source.anew}; if it stays, that server has another file",
            )
        fetched = Fetched(size, digest, self._received, etag)
        try:
            self._approve(part_of(self._destination), fetched)
        except WrongContent:
            discard_part(self._destination)
            raise
        part_of(self._destination).replace(self._destination)
        # Not every file system has a way to bring a name to the disk.
        with suppress(OSError):
            files.flush(self._destination.parent)
        journal_of(self._destination).unlink(missing_ok=True)
        self._on_bytes(size, size)
        return fetched

    def _begin(self, journal: Journal) -> Stream:
        """Ask for the first piece that is missing: the answer says what the file is, and whether ranges are known."""
        start, end = self._missing_pieces(journal)[0]
        try:
            stream = self._server.open(start, end)
        except Changed:
            if start:
                raise
            # An empty file has no range at all.
            return self._server.open_whole()
        if stream.offer.in_ranges and stream.offer.size_bytes is None:
            stream.close()
            return self._server.open_whole()
        return stream

    def _missing_pieces(self, journal: Journal) -> list[tuple[int, int]]:
        size = journal.identity.size_bytes if journal.identity else self._longest_piece
        return pieces_of(journal.written.missing(size), self._longest_piece)

    def _identity(self, offer: Offer) -> Identity | None:
        if offer.size_bytes is None:
            return None
        return Identity(self._source.shown, offer.size_bytes, offer.etag, offer.modified, self._source.sha256)

    def _require_size(self, size_bytes: int | None) -> None:
        wanted = self._source.size_bytes
        if wanted is not None and size_bytes is not None and size_bytes != wanted:
            raise WrongContent(
                f"{self._source.shown} has {size_bytes:,} bytes, and should have {wanted:,}: it is another file",
                "look for the file at another address",
            )

    def _require_room(self, needed: int) -> None:
        free = files.free_bytes(self._destination.parent)
        if free < needed:
            raise OcrvlError(
                f"{self._destination.name} needs {needed / 2**30:.1f} GiB more, and {free / 2**30:.1f} GiB are free"
                f" in {self._destination.parent}",
                f"free some space, then {self._source.go_on}",
            )

    def _receive_pieces(self, part: Part, journal: Journal, begun: Stream) -> None:
        first, *others = self._missing_pieces(journal)
        size = begun.offer.size_bytes or 0
        crew = Crew(self._source, self._server, part, begun.offer)
        try:
            crew.fetch((first, begun), others, self._connections, lambda: self._on_bytes(part.written_bytes, size))
        finally:
            self._received += crew.received_bytes

    def _receive_whole(self, part: Part, stream: Stream) -> None:
        position, told_at = 0, 0.0
        for block in stream.blocks():
            part.write(position, block)
            position += len(block)
            self._received += len(block)
            if time.monotonic() - told_at > _TICK_S:
                told_at = time.monotonic()
                self._on_bytes(position, stream.offer.size_bytes or 0)
