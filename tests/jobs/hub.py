"""A model hub on this machine: the few endpoints that a download uses, with faults."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

CONFIG = json.dumps({"model_type": "paddleocr_vl"}).encode()
FILES = {
    "config.json": CONFIG,
    "tokenizer.json": b"{}",
    "chat_template.jinja": b"Assistant:\\n",
    "preprocessor_config.json": b"{}",
    "model.safetensors": bytes(range(256)) * 4096,
    "README.md": b"# A model\n",
    "PP-DocLayoutV2/inference.pdiparams": b"not wanted",
    "model.gguf": b"not wanted either",
}


@dataclass
class Hub:
    """What the hub holds, how it fails, and what it was asked for."""

    repository: str
    files: dict[str, bytes] = field(default_factory=lambda: dict(FILES))
    revisions: set[str] = field(default_factory=lambda: {"main", "v1"})
    kind: str = "model"
    keeps_the_weights: bool = False
    """The weights are an error, once all else was sent."""
    fails_with: int | None = None
    """The status of every answer."""
    sent: dict[str, int] = field(default_factory=dict)
    """Bytes that were sent of each file."""

    @property
    def prefix(self) -> str:
        """What comes before a repository's name in the addresses of its files."""
        return "" if self.kind == "model" else f"/{self.kind}s"

    @property
    def commit(self) -> str:
        return hashlib.sha1(repr(sorted(self.files.items())).encode()).hexdigest()

    def listing(self) -> list[dict[str, Any]]:
        return [
            {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
            for name, content in self.files.items()
        ]


class HubServer(ThreadingHTTPServer):
    """Serves whatever ``hub`` is set to."""

    hub: Hub

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Answers(BaseHTTPRequestHandler):
    server: HubServer
    protocol_version = "HTTP/1.1"

    @property
    def hub(self) -> Hub:
        return self.server.hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        hub, path = self.hub, unquote(urlsplit(self.path).path)
        if hub.fails_with:
            self._answer(hub.fails_with, b"{}")
        elif (match := re.fullmatch(f"/api/{hub.kind}s/{hub.repository}/revision/(.+)", path)) is not None:
            self._info(match[1])
        elif path.startswith(f"/api/{hub.kind}s/{hub.repository}/tree/"):
            self._answer(200, json.dumps(hub.listing()).encode())
        elif (match := re.fullmatch(f"{hub.prefix}/{hub.repository}/resolve/{hub.commit}/(.+)", path)) is not None:
            self._file(match[1])
        else:
            self._answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def _info(self, revision: str) -> None:
        if revision not in {*self.hub.revisions, self.hub.commit}:
            self._answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            return
        siblings = [
            {"rfilename": entry["path"], "size": entry["size"], "blobId": entry["oid"]} for entry in self.hub.listing()
        ]
        info = {"id": self.hub.repository, "sha": self.hub.commit, "siblings": siblings}
        self._answer(200, json.dumps(info).encode())

    def _file(self, name: str) -> None:
        content = self.hub.files[name]
        if self.command == "GET" and name == "model.safetensors" and self.hub.keeps_the_weights:
            deadline = time.monotonic() + 10
            while (
                not {"config.json", "tokenizer.json", "README.md"} <= set(self.hub.sent) and time.monotonic() < deadline
            ):
                time.sleep(0.01)
            self._answer(500, b"{}")
            return
        start = int((re.match(r"bytes=(\d+)-", self.headers.get("Range", "")) or [0, 0])[1])
        headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": self.hub.commit}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._answer(206 if start else 200, content[start:], headers, name=name)

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None, name: str = "") -> None:
        self.send_response(status)
        for header, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(header, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(body)
        self.hub.sent[name] = self.hub.sent.get(name, 0) + len(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def serve() -> Iterator[HubServer]:
    """Serve a hub; which one is for ``server.hub`` to say."""
    server = HubServer(("127.0.0.1", 0), _Answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
