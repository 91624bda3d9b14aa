"""A file server for tests that does to its clients what real ones do: real sockets, real threads."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_BLOCK = 64 << 10

Answer = tuple[int, dict[str, str], bytes]
"""Status, headers and body of an answer."""


@dataclass
class Hosted:
    """A file, or a page, at one path."""

    content: bytes
    etag: str | None = None
    modified: str | None = None
    content_type: str = "application/octet-stream"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Asked:
    """One request, as it came; the names of its headers in small letters."""

    path: str
    headers: dict[str, str]

    @property
    def span(self) -> tuple[int, int] | None:
        """The range that was asked for, half open."""
        matched = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("range", ""))
        return (int(matched[1]), int(matched[2]) + 1) if matched else None


@dataclass
class Site:
    """What a server offers, how it behaves, and what it has seen. ``fails`` are statuses for the next requests."""

    url: str = ""
    files: dict[str, Hosted] = field(default_factory=dict)
    ranges: bool = True
    keeps_if_range: bool = True
    bytes_per_second: float | None = None
    cut_after: int | None = None
    cuts: int = 0
    delay_s: float = 0.0
    most_at_once: int | None = None
    fails: list[int] = field(default_factory=list)
    fail_headers: dict[str, str] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    before_answer: Callable[[int], None] = lambda _number: None
    answer: Callable[[Asked], Answer | None] = lambda _asked: None
    """An answer that no good server gives, in place of the usual one."""
    asked: list[Asked] = field(default_factory=list)
    sent: int = 0
    at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def host(self, path: str, content: bytes, **more: str) -> str:
        """Offer a file and return its address."""
        self.files[path] = Hosted(content, **{"etag": '"one"', **more})
        return self.url + path

    @property
    def spans(self) -> list[tuple[int, int]]:
        """The ranges that were asked for, in order."""
        return [asked.span for asked in self.asked if asked.span]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        site = self.site
        path = self.path.partition("?")[0]
        with site.lock:
            site.asked.append(self._asked())
            number = len(site.asked)
            status = site.fails.pop(0) if site.fails else None
            is_let_in = site.most_at_once is None or site.at_once < site.most_at_once
            site.at_once += is_let_in
            status = status if is_let_in else 503
        try:
            site.before_answer(number)
            time.sleep(site.delay_s)
            crooked = site.answer(self._asked())
            if status is not None:
                self._say(status, site.fail_headers)
            elif crooked is not None:
                self._answer(*crooked)
            elif path in site.redirects:
                self._say(302, {"Location": site.redirects[path]})
            elif path not in site.files:
                self._say(404, {})
            else:
                self._give(site.files[path])
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            with site.lock:
                site.at_once -= is_let_in

    def _asked(self) -> Asked:
        return Asked(self.path, {name.lower(): value for name, value in self.headers.items()})

    def _say(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _give(self, file: Hosted) -> None:
        content = file.content
        span = self._span(file)
        if span is None:
            start, end = 0, len(content)
            self.send_response(200)
        elif span[0] >= len(content):
            self._say(416, {"Content-Range": f"bytes */{len(content)}"})
            return
        else:
            start, end = span[0], min(span[1], len(content))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(content)}")
        self.send_header("Content-Length", str(end - start))
        self.send_header("Content-Type", file.content_type)
        for name, value in {"ETag": file.etag, "Last-Modified": file.modified, **file.headers}.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        self._send(memoryview(content)[start:end])

    def _span(self, file: Hosted) -> tuple[int, int] | None:
        if not self.site.ranges:
            return None
        if self.site.keeps_if_range and self.headers.get("If-Range") not in (None, file.etag):
            return None
        return self._asked().span

    def _send(self, body: memoryview) -> None:
        site = self.site
        with site.lock:
            cut = (
                site.cut_after if site.cuts > 0 and site.cut_after is not None and site.cut_after < len(body) else None
            )
            site.cuts -= cut is not None
        if cut is not None:
            body = body[:cut]
            self.close_connection = True
        began, sent = time.monotonic(), 0
        while sent < len(body):
            block = body[sent : sent + _BLOCK]
            self.wfile.write(block)
            sent += len(block)
            with site.lock:
                site.sent += len(block)
            if site.bytes_per_second:
                time.sleep(max(0.0, began + sent / site.bytes_per_second - time.monotonic()))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that are killed go away in the middle of everything."""


@contextmanager
def serve() -> Iterator[Site]:
    """Run a server for the length of the block."""
    site = Site()
    handler = type("Handler", (_Handler,), {"site": site})
    server = _Server(("127.0.0.1", 0), handler)
    site.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        with suppress(OSError):
            server.server_close()
        thread.join()
