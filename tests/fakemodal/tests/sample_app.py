"""A Modal app that uses what a fine-tuning package would use.

Without postponed annotations: the client reads those of class parameters as types.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import modal

app = modal.App("sample", tags={"kind": "test"})
image = modal.Image.debian_slim(python_version="3.11").pip_install("paddlepaddle-gpu==3.2.0").env({"FROM_IMAGE": "yes"})
models = modal.Volume.from_name("models", create_if_missing=True)
data = modal.Volume.from_name("data", create_if_missing=True, version=2)
token = modal.Secret.from_name("hf-token", required_keys=["HF_TOKEN"])


@app.function(
    image=image,
    gpu="H100",
    volumes={"/models": models, "/data": data},
    secrets=[token],
    env={"FROM_FUNCTION": "too"},
    timeout=600,
    startup_timeout=100,
    cpu=4.0,
    memory=32768,
    ephemeral_disk=524288,
    single_use_containers=True,
    retries=modal.Retries(max_retries=2, initial_delay=0.0, backoff_coefficient=1.0),
    max_containers=2,
)
def train(name: str, steps: int = 2) -> dict[str, Any]:
    """Count steps and commit each; go on from the last one that was committed."""
    said = {name: os.environ[name] for name in ("FAKEMODAL_GPU", "FROM_IMAGE", "FROM_FUNCTION", "HF_TOKEN")}
    print(f"training {name} with {said}")
    out = Path("/models") / name
    out.mkdir(parents=True, exist_ok=True)
    start = int((out / "step").read_text()) if (out / "step").exists() else 0
    for step in range(start, steps):
        time.sleep(0.2)
        (out / "step").write_text(str(step + 1))
        models.commit()
        print(f"step {step + 1}/{steps}", flush=True)
    (out / "weights.bin").write_bytes(b"w" * 1000)
    return {"start": start, "samples": sorted(path.name for path in Path("/data").iterdir()), "file": __file__}


@app.function(timeout=60)
def sleepy(seconds: float) -> str:
    print("sleeping", flush=True)
    try:
        time.sleep(seconds)
    except BaseException as error:
        print("interrupted by", type(error).__name__, flush=True)
        raise
    return "slept"


@app.function(timeout=1)
def too_slow() -> None:
    time.sleep(60)


@app.function()
def square(x: int) -> int:
    if x < 0:
        raise ValueError(f"negative: {x}")
    return x * x


@app.function(max_containers=1)
def alone(seconds: float) -> tuple[float, float]:
    started = time.time()
    time.sleep(seconds)
    return started, time.time()


@app.function(single_use_containers=True)
def container_name() -> str:
    return os.environ["MODAL_TASK_ID"]


@app.function()
def count(n: int) -> Iterator[int]:
    yield from range(n)


@app.function()
def big(n: int) -> bytes:
    return b"x" * n


@app.function()
def named_objects() -> str | None:
    """Leave something in a dictionary and in a queue, and tell the id of the call."""
    shared = modal.Dict.from_name("shared", create_if_missing=True)
    queue = modal.Queue.from_name("queue", create_if_missing=True)
    shared["status"] = {"loss": 0.5}
    queue.put("from the container")
    return modal.current_function_call_id()


@app.function(volumes={"/models": models})
def reader(hold: bool = False) -> list[str]:
    """Names on the volume after a reload, which fails while a file is open."""
    if hold:
        with Path("/models/probe").open():
            models.reload()
    models.reload()
    return sorted(path.name for path in Path("/models").iterdir())


CHILD = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("child ready", flush=True)
time.sleep(600)
"""


@app.function(volumes={"/models": models}, timeout=600)
def keeps_a_child(attempt_file: str) -> str:
    """Start a child in a session of its own; when interrupted, find out whether it lives, and save."""
    note = Path("/models") / attempt_file
    if note.exists():
        return note.read_text()
    child = subprocess.Popen([sys.executable, "-c", CHILD], start_new_session=True)
    try:
        time.sleep(600)
    except KeyboardInterrupt:
        time.sleep(0.3)
        note.write_text("child survived" if child.poll() is None else "child died")
        models.commit()
        raise
    return "not interrupted"


def plain() -> None:
    """For tests that define their own functions."""


@app.cls()
class Model:
    name: str = modal.parameter(default="base")

    @modal.enter()
    def load(self) -> None:
        self.loaded = f"loaded {self.name}"

    @modal.method()
    def predict(self, text: str) -> str:
        return f"{self.loaded}: {text} on {os.environ.get('FAKEMODAL_GPU', 'cpu')}"

    @modal.exit()
    def close(self) -> None:
        print("exit hook ran")


@app.local_entrypoint()
def main(x: int = 7) -> None:
    print("answer", square.remote(x))
