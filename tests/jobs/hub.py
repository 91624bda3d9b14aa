"""A model hub on this machine: the few endpoints that a download uses, with faults."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

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
    "pytorch_model.bin": b"nor this",
    "imgs/picture.png": b"nor that",
}
WEIGHTS = "model.safetensors"


@cache
def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@cache
def git_sha1_of(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass
class Hub:
    """What the hub holds, how it fails, and what it was asked for."""

    repository: str
    files: dict[str, bytes] = field(default_factory=lambda: dict(FILES))
    revisions: set[str] = field(default_factory=lambda: {"main", "v1"})
    kind: str = "model"
    token: str | None = None
    """Who may read the repository; everybody where it is ``None``."""
    other_tokens: tuple[str, ...] = ()
    """Tokens that the hub knows, and that may not read the repository."""
    is_gated: bool = False
    """Everybody may see what is in the repository, and only the token's owner may fetch it."""
    keeps_the_weights: bool = False
    """The weights are an error, once all else was sent."""
    fails_with: int | None = None
    """The status of every answer."""
    cut_after: int | None = None
    """The connections that send the weights end after so many bytes of them in all."""
    stays_cut: bool = True
    """From the cut on, who asks for the weights is told to come back in an hour."""
    damages: set[str] = field(default_factory=set)
    """Files that come with another last byte than the hub's digest is of."""
    stores_elsewhere: bool = False
    """Large files lie on another host, behind an address that is signed, and that works once."""
    sent: Counter[str] = field(default_factory=Counter)
    """Bytes that were sent of each file."""
    told_elsewhere: list[str] = field(default_factory=list)
    """What the other host was told of who asks."""

    @property
    def prefix(self) -> str:
        """What comes before a repository's name in the addresses of its files."""
        return "" if self.kind == "model" else f"/{self.kind}s"

    @property
    def commit(self) -> str:
        return hashlib.sha1(repr(sorted((name, sha256_of(of)) for name, of in self.files.items())).encode()).hexdigest()

    def listing(self) -> list[dict[str, Any]]:
        listed = []
        for name, content in self.files.items():
            blob = git_sha1_of(content)
            entry: dict[str, Any] = {"type": "file", "path": name, "size": len(content), "oid": blob}
            if name.endswith(".safetensors"):
                sha256 = sha256_of(content)
                entry |= {"lfs": {"sha256": sha256, "size": len(content), "pointerSize": 134}}
            listed.append(entry)
        return listed

    def content(self, name: str) -> bytes:
        content = self.files[name]
        return content[:-1] + bytes([content[-1] ^ 1]) if name in self.damages else content

    def refusal(self, authorization: str, *, of_a_file: bool) -> tuple[int, dict[str, str]] | None:
        """Return status and headers where somebody may not have what they ask for, as the real hub tells it."""
        if self.token is None or authorization == f"Bearer {self.token}" or (self.is_gated and not of_a_file):
            return None
        if not authorization:
            return 401, {"X-Error-Code": "GatedRepo" if self.is_gated else "RepoNotFound"}
        if authorization.removeprefix("Bearer ") not in self.other_tokens:
            return 401, {"X-Error-Message": "Invalid credentials in Authorization header"}
        return (403, {"X-Error-Code": "GatedRepo"}) if self.is_gated else (404, {"X-Error-Code": "RepoNotFound"})


class HubServer(ThreadingHTTPServer):
    """Serves whatever ``hub`` is set to."""

    hub: Hub
    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.signatures: set[str] = set()
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def elsewhere(self) -> str:
        """The same server under another name: another host for whoever keeps secrets."""
        return f"http://localhost:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that went away."""


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
        resolve = re.fullmatch(f"{hub.prefix}/{hub.repository}/resolve/{hub.commit}/(.+)", path)
        refused = hub.refusal(self.headers.get("Authorization", ""), of_a_file=resolve is not None)
        if hub.fails_with:
            self._answer(hub.fails_with, b"{}")
        elif path.startswith("/signed/"):
            self._signed(path.removeprefix("/signed/"))
        elif refused:
            self._answer(refused[0], b"{}", refused[1])
        elif (match := re.fullmatch(f"/api/{hub.kind}s/{hub.repository}/revision/(.+)", path)) is not None:
            self._info(match[1])
        elif path.startswith(f"/api/{hub.kind}s/{hub.repository}/tree/"):
            self._answer(200, json.dumps(hub.listing()).encode())
        elif resolve is not None:
            self._file(resolve[1])
        else:
            self._answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def _info(self, revision: str) -> None:
        if revision not in {*self.hub.revisions, self.hub.commit}:
            self._answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            return
        siblings = [
            {"rfilename": entry["path"], "size": entry["size"], "blobId": entry["oid"], "lfs": entry.get("lfs")}
            for entry in self.hub.listing()
        ]
        info = {"id": self.hub.repository, "sha": self.hub.commit, "siblings": siblings}
        self._answer(200, json.dumps(info).encode())

    def _file(self, name: str) -> None:
        if self.command == "GET" and name == WEIGHTS and self.hub.keeps_the_weights:
            deadline = time.monotonic() + 10
            while (
                not {"config.json", "tokenizer.json", "README.md"} <= set(self.hub.sent) and time.monotonic() < deadline
            ):
                time.sleep(0.01)
            self._answer(500, b"{}")
        elif self.hub.stores_elsewhere and name == WEIGHTS:
            content = self.hub.files[name]
            self._answer(302, b"", {"Location": self._sign(name), **self._about(content)})
        else:
            self._send_file(name)

    def _sign(self, name: str) -> str:
        with self.server.lock:
            signature = f"s{len(self.server.signatures)}-{time.monotonic_ns()}"
            self.server.signatures.add(signature)
        return f"{self.server.elsewhere}/signed/{name}?signature={signature}"

    def _signed(self, name: str) -> None:
        """Answer on the other host: each signature is good for one request."""
        signature = parse_qs(urlsplit(self.path).query).get("signature", [""])[0]
        with self.server.lock:
            self.hub.told_elsewhere.append(self.headers.get("Authorization", ""))
            known = signature in self.server.signatures
            if self.command == "GET":
                self.server.signatures.discard(signature)
        if known:
            self._send_file(name)
        else:
            self._answer(403, b"expired")

    def _about(self, content: bytes) -> dict[str, str]:
        digest = sha256_of(content)
        return {
            "ETag": f'"{digest}"',
            "X-Linked-Etag": f'"{digest}"',
            "X-Linked-Size": str(len(content)),
            "X-Repo-Commit": self.hub.commit,
            "Accept-Ranges": "bytes",
        }

    def _send_file(self, name: str) -> None:
        if name == WEIGHTS and self.command == "GET" and self._is_cut(0):
            self._answer(429, b"{}", {"Retry-After": "3600"})
            return
        content = self.hub.content(name)
        headers = self._about(self.hub.files[name])
        asked = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked is None:
            self._answer(200, content, headers, name=name)
            return
        start, end = int(asked[1]), min(int(asked[2] or len(content) - 1), len(content) - 1)
        headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
        self._answer(206, content[start : end + 1], headers, name=name)

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None, name: str = "") -> None:
        self.send_response(status)
        for header, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(header, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        for start in range(0, len(body), 1 << 16):
            block = body[start : start + (1 << 16)]
            if name == WEIGHTS and self._is_cut(len(block)):
                self.close_connection = True
                return
            self.wfile.write(block)
        if name != WEIGHTS:
            self.hub.sent[name] += len(body)

    def _is_cut(self, size: int) -> bool:
        """Count what is sent of the weights; say whether the line is cut before these bytes."""
        hub = self.hub
        with self.server.lock:
            if hub.cut_after is None:
                hub.sent[WEIGHTS] += size
                return False
            if hub.sent[WEIGHTS] + max(size, 1) > hub.cut_after:
                hub.cut_after = hub.cut_after if hub.stays_cut else None
                return True
            hub.sent[WEIGHTS] += size
            return False

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def serve() -> Iterator[HubServer]:
    """Serve a hub; which one is for ``server.hub`` to say."""
    server = HubServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
