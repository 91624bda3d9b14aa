"""A web server on this machine that holds a few files, with faults, and knows how often each was asked for."""

from __future__ import annotations

import io
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from PIL import Image


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that went away."""


@dataclass
class Site:
    """Its files by their paths, and how it fails."""

    files: dict[str, bytes] = field(default_factory=dict)
    fails: dict[str, list[int]] = field(default_factory=dict)
    """Statuses that are answered for a path before its file is."""
    redirects: dict[str, str] = field(default_factory=dict)
    retry_after: str = ""
    """What comes along with each failure, where anything does."""
    delay_s: float = 0.0
    """How long an answer takes."""
    asked: Counter[str] = field(default_factory=Counter)
    asked_at: list[float] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    url: str = ""


@contextmanager
def serve_site() -> Iterator[Site]:
    """Serve a site for the length of a block."""
    site = Site()

    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            with site.lock:
                site.asked[self.path] += 1
                site.asked_at.append(time.monotonic())
                site.at_once += 1
                site.most_at_once = max(site.most_at_once, site.at_once)
            time.sleep(site.delay_s)
            with site.lock:
                site.at_once -= 1
            statuses = site.fails.get(self.path)
            if statuses:
                self._answer(statuses.pop(0), headers={"Retry-After": site.retry_after} if site.retry_after else None)
            elif self.path in site.redirects:
                self._answer(302, headers={"Location": site.redirects[self.path]})
            elif self.path in site.files:
                self._answer(200, site.files[self.path])
            else:
                self._answer(404)

        def _answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = _Server(("127.0.0.1", 0), Answers)
    site.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def serve_bucket(name: str, objects: dict[str, bytes], key_id: str) -> Iterator[str]:
    """Serve a bucket as S3 does, as far as listing and getting go, to who signs with ``key_id``; yield its address."""

    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            key = unquote(parts.path).removeprefix(f"/{name}").lstrip("/")
            if f"Credential={key_id}/" not in self.headers.get("Authorization", ""):
                self._answer(403, b"<Error><Code>AccessDenied</Code></Error>")
            elif "list-type" in parse_qs(parts.query):
                self._answer(200, self._listing(parse_qs(parts.query).get("prefix", [""])[0]))
            elif key in objects:
                self._answer(200, objects[key])
            else:
                self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")

        def _listing(self, prefix: str) -> bytes:
            entries = "".join(
                f"<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
                f'<ETag>"e"</ETag><Size>{len(content)}</Size></Contents>'
                for key, content in objects.items()
                if key.startswith(prefix)
            )
            return f"<ListBucketResult><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>".encode()

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
            self.send_header("ETag", '"e"')
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = _Server(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def picture(number: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (56, 56), (number % 256, number // 256, 7)).save(stream, "PNG")
    return stream.getvalue()


def messages(image: str, target: str = "1") -> dict[str, Any]:
    turns = [{"role": "user", "content": "<image>OCR:"}, {"role": "assistant", "content": target}]
    return {"messages": turns, "images": [image]}
