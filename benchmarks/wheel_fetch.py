"""How `ocrvl wheel fetch` does beside one plain `curl`, from a server of this machine: medians, and their ratios.

The server sends with ``sendfile`` from a process for each connection, so that it is not what is measured.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ocrvl_modal.files import sha256_of

MEBIBYTE = 1 << 20
LIMIT_BYTES_PER_S = 20_000_000
OCRVL = Path(sys.executable).with_name("ocrvl")
NAME = "paddlepaddle_gpu-3.3.1-cp312-cp312-linux_x86_64.whl"
LIBRARY = """
import sys, time
from pathlib import Path
import urllib3
from ocrvl_modal.transfer import Source, fetch_file, part

class NoDigest:
    def __init__(self, descriptor): pass
    def advance(self, front): pass
    def finish(self, size): return "none"
    def break_off(self): pass

if sys.argv[3] == "without":
    part.FrontDigest = NoDigest
began = time.perf_counter()
fetch_file(Source(sys.argv[1]), Path(sys.argv[2]))
print(time.perf_counter() - began)
"""


@dataclass(frozen=True)
class Server:
    """A running server: its index, the address of its file, and how many bytes of the file it has sent in all."""

    url: str
    counter: mmap.mmap

    @property
    def index(self) -> str:
        return f"{self.url}/simple/"

    @property
    def file(self) -> str:
        return f"{self.url}/{NAME}"

    @property
    def sent(self) -> int:
        return sum(int.from_bytes(self.counter[at : at + 8], "little") for at in range(0, len(self.counter), 8))


def make_wheel(path: Path, size_mib: int) -> None:
    """Write a wheel with a payload of random bytes."""
    info = "paddlepaddle_gpu-3.3.1.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        with archive.open("paddle/libpaddle.so", "w", force_zip64=True) as payload:
            for _ in range(size_mib):
                payload.write(os.urandom(MEBIBYTE))
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: paddlepaddle-gpu\nVersion: 3.3.1\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\n")
        archive.writestr(f"{info}/RECORD", "")


@contextmanager
def serve(path: Path, bytes_per_s: float | None) -> Iterator[Server]:
    """Run a server for the length of the block."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    # A number for each connection, which only its own process writes.
    counter = mmap.mmap(-1, 8 * 4096)
    digest = sha256_of(path)
    process = os.fork()
    if process == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        for number in range(4096):
            connection, _ = listener.accept()
            if os.fork() == 0:
                with connection:
                    answer_all(connection, path, digest, bytes_per_s, memoryview(counter)[8 * number : 8 * number + 8])
                os._exit(0)
            connection.close()
        os._exit(1)
    listener.close()
    try:
        yield Server(url, counter)
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)


def answer_all(connection: socket.socket, path: Path, digest: str, bytes_per_s: float | None, sent: memoryview) -> None:
    """Answer one connection after another request until its client goes away."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    file = os.open(path, os.O_RDONLY)
    size, total, free_at, rest = path.stat().st_size, 0, 0.0, b""
    page = f'<a href="/{NAME}#sha256={digest}">{NAME}</a>'.encode()
    try:
        while True:
            while b"\r\n\r\n" not in rest:
                received = connection.recv(65536)
                if not received:
                    return
                rest += received
            head, _, rest = rest.partition(b"\r\n\r\n")
            if b" /simple/" in head.split(b"\r\n")[0]:
                length = f"Content-Length: {len(page)}\r\n".encode()
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n" + length + b"\r\n" + page)
                continue
            start, end, status = asked_range(head.decode("latin-1"), size)
            connection.sendall(
                f'HTTP/1.1 {status}\r\nETag: "one"\r\nAccept-Ranges: bytes\r\nContent-Length: {end - start}\r\n'
                f"Content-Range: bytes {start}-{end - 1}/{size}\r\n\r\n".encode()
            )
            while start < end:
                count = os.sendfile(
                    connection.fileno(), file, start, min(end - start, 1 << (16 if bytes_per_s else 20))
                )
                start += count
                total += count
                sent[:] = total.to_bytes(8, "little")
                if bytes_per_s:
                    free_at = max(free_at, time.monotonic()) + count / bytes_per_s
                    time.sleep(max(0.0, free_at - time.monotonic()))
    except (BrokenPipeError, ConnectionResetError):
        return


def asked_range(head: str, size: int) -> tuple[int, int, str]:
    """Return the half-open range that a request asks for, and the status of its answer."""
    for line in head.split("\r\n"):
        if line.lower().startswith("range: bytes="):
            first, _, last = line.partition("=")[2].partition("-")
            return int(first), min(int(last) + 1, size) if last else size, "206 Partial Content"
    return 0, size, "200 OK"


def run(*command: str | Path) -> tuple[float, int, str]:
    """Run a command; return its seconds, its peak memory in bytes, and what it printed."""
    began = time.perf_counter()
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    printed = process.stdout.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return time.perf_counter() - began, usage.ru_maxrss * 1024, printed


def fetch(server: Server, folder: Path) -> list[str | Path]:
    return [OCRVL, "wheel", "fetch", "--index-url", server.index, "--output-dir", folder, "--json"]


def measure(folder: Path, pairs: int, size: int, bytes_per_s: float | None, wheel: Path) -> dict[str, float]:
    """Run `curl` and `ocrvl` in turn, so that a slower moment of the machine touches both."""
    curl, ours, memory, received = [], [], [], []
    with serve(wheel, bytes_per_s) as server:
        for _ in range(pairs):
            curl.append(run("curl", "--silent", "--output", folder / "curl.whl", server.file)[0])
            (folder / "curl.whl").unlink()
            before = server.sent
            seconds, peak, _ = run(*fetch(server, folder / "ours"))
            ours.append(seconds)
            memory.append(peak)
            received.append((server.sent - before) / size)
            assert (folder / "ours" / NAME).stat().st_size == size
            shutil.rmtree(folder / "ours")
    return {
        "curl_s": round(statistics.median(curl), 3),
        "ocrvl_s": round(statistics.median(ours), 3),
        "times_curl": round(statistics.median(one / other for one, other in zip(curl, ours, strict=True)), 2),
        "peak_memory_mib": round(max(memory) / MEBIBYTE, 1),
        "received_of_size": round(max(received), 4),
    }


def measure_digest(folder: Path, pairs: int, wheel: Path) -> dict[str, float]:
    """Fetch by the library with and without its digest, in turn."""
    seconds: dict[str, list[float]] = {"with": [], "without": []}
    with serve(wheel, None) as server:
        for _ in range(pairs):
            for how, measured in seconds.items():
                measured.append(float(run(sys.executable, "-c", LIBRARY, server.file, folder / "file", how)[2]))
                (folder / "file").unlink()
    pairs_of = zip(seconds["with"], seconds["without"], strict=True)
    return {
        "with_digest_s": round(statistics.median(seconds["with"]), 3),
        "without_digest_s": round(statistics.median(seconds["without"]), 3),
        "digest_adds": round(statistics.median(one / other for one, other in pairs_of) - 1, 3),
    }


def measure_kills(folder: Path, kills: int, size: int, bytes_per_s: float | None, wheel: Path) -> dict[str, float]:
    """Kill a fetch at a random point and let it end; return the most that travelled twice."""
    again = []
    usual_s = 0.4 if bytes_per_s is None else size / (8 * bytes_per_s)
    with serve(wheel, bytes_per_s) as server:
        for _ in range(kills):
            before = server.sent
            process = subprocess.Popen(fetch(server, folder / "ours"), stdout=subprocess.DEVNULL)
            wait_for(lambda before=before: server.sent > before)
            time.sleep(random.uniform(0, usual_s))
            process.kill()
            process.wait()
            run(*fetch(server, folder / "ours"))
            again.append(server.sent - before - size)
            shutil.rmtree(folder / "ours")
    return {"kills": kills, "most_fetched_again_mib": round(max(again) / MEBIBYTE, 2)}


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def main() -> None:
    """Measure all; `--size` and `--repeat` make it a small try."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=512, help="MiB of the file")
    parser.add_argument("--repeat", type=int, default=3, help="pairs of runs, of which medians are taken")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ocrvl-benchmark-") as name:
        folder = Path(name)
        wheel = folder / "served.whl"
        make_wheel(wheel, asked.size)
        size = wheel.stat().st_size
        report = {
            "size_mib": asked.size,
            "repeat": asked.repeat,
            "unlimited": measure(folder, asked.repeat, size, None, wheel),
            "digest": measure_digest(folder, asked.repeat, wheel),
            "killed_unlimited": measure_kills(folder, 2 * asked.repeat, size, None, wheel),
            "killed_limited": measure_kills(folder, 2 * asked.repeat, size, LIMIT_BYTES_PER_S, wheel),
            "limited_to_20_MB_per_s": measure(folder, asked.repeat, size, LIMIT_BYTES_PER_S, wheel),
        }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
