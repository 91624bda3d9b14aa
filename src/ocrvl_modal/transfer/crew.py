"""Several threads that fetch the missing pieces of one file, in order, until all are here or one cannot be had."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from ocrvl_modal.errors import Unreachable
from ocrvl_modal.transfer.answers import Broken, Changed, Offer
from ocrvl_modal.transfer.part import Part
from ocrvl_modal.transfer.patience import Patience
from ocrvl_modal.transfer.server import Server, Stream
from ocrvl_modal.transfer.source import Source

_MOST_TRIES = 8
_WORTH_BYTES = 64 << 10
_TICK_S = 0.1
_LEAVING_S = 3.0

Range = tuple[int, int]


class Crew:
    """Fetches pieces of what ``offer`` tells of, of which the first is being answered already."""

    def __init__(self, source: Source, server: Server, part: Part, offer: Offer) -> None:
        self.received_bytes = 0
        self._source = source
        self._server = server
        self._part = part
        self._offer = offer
        self._pieces: deque[Range] = deque()
        self._streams: set[Stream] = set()
        self._at_work = 0
        self._error: BaseException | None = None
        self._given_up: Unreachable | None = None
        self._stopped = threading.Event()
        self._changed = threading.Condition()

    def fetch(
        self, begun: tuple[Range, Stream], pieces: Iterable[Range], connections: int, tick: Callable[[], None]
    ) -> None:
        """Fetch all pieces; ``tick`` is called now and then. Raises the first error that ends it."""
        self._pieces.extend(pieces)
        self._at_work = min(connections, len(self._pieces) + 1)
        starts = [begun, *[None] * (self._at_work - 1)]
        threads = [threading.Thread(target=self._work, args=(start,), name="fetch", daemon=True) for start in starts]
        for thread in threads:
            thread.start()
        try:
            with self._changed:
                while self._at_work:
                    self._changed.wait(_TICK_S)
                    tick()
        finally:
            self._leave(threads)
        if self._error is not None:
            raise self._error
        if self._pieces and self._given_up is not None:
            raise self._given_up

    def _leave(self, threads: Iterable[threading.Thread]) -> None:
        """Wake those who wait for the network; who still waits for a slow answer ends by itself, and writes nothing."""
        self._stopped.set()
        with self._changed:
            for stream in self._streams:
                stream.wake()
        deadline = time.monotonic() + _LEAVING_S
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _work(self, begun: tuple[Range, Stream] | None) -> None:
        try:
            goes_on = begun is None or self._fetch_piece(*begun)
            while goes_on and (piece := self._take()) is not None:
                goes_on = self._fetch_piece(piece)
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
            self._end_all(error)
        finally:
            with self._changed:
                self._at_work -= 1
                self._changed.notify()

    def _take(self) -> Range | None:
        with self._changed:
            return self._pieces.popleft() if self._pieces and not self._stopped.is_set() else None

    def _end_all(self, error: BaseException) -> None:
        with self._changed:
            self._error = self._error or error
        self._stopped.set()

    def _fetch_piece(self, piece: Range, stream: Stream | None = None) -> bool:
        """Fetch one piece; where the line breaks, go on from there.

        Return whether this thread may take another one. One whose patience is at its end puts back what it has not
        got: a server that lets only so many connections in may give it to the others.
        """
        patience = Patience(_MOST_TRIES)
        position, end = piece
        while position < end and not self._stopped.is_set():
            before = position
            try:
                for block in self._blocks_of(stream or self._server.open(position, end, self._offer.etag)):
                    self._part.write(position, block)
                    position += len(block)
            except Broken as broken:
                if position - before >= _WORTH_BYTES:
                    patience.renew()
                try:
                    delay_s = patience.delay_after(broken, self._source)
                except Unreachable as given_up:
                    self._put_back((position, end), given_up)
                    return False
                self._stopped.wait(delay_s)
            stream = None
        return True

    def _require_same(self, offered: Offer) -> None:
        if (offered.mark, offered.size_bytes) != (self._offer.mark, self._offer.size_bytes):
            raise Changed

    def _blocks_of(self, stream: Stream) -> Iterator[bytes]:
        """Yield what arrives until it ends or this crew is stopped."""
        with self._changed:
            self._streams.add(stream)
        try:
            self._require_same(stream.offer)
            for block in stream.blocks():
                # The part may be closed by now, and its descriptor be another file's.
                if self._stopped.is_set():
                    return
                with self._changed:
                    self.received_bytes += len(block)
                yield block
        finally:
            with self._changed:
                self._streams.discard(stream)
            stream.close()

    def _put_back(self, piece: Range, given_up: Unreachable) -> None:
        with self._changed:
            self._pieces.appendleft(piece)
            self._given_up = given_up
