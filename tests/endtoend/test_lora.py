"""An adapter: trained, killed, resumed, merged into the export, and read with."""

from __future__ import annotations

import os
import signal

import pytest
from safetensors import safe_open

from conftest import Shell, wait_until

TRAIN = ("train", "--data", "./digits/train.jsonl", "--model", "tiny", "--method", "lora")
SHORT = (
    *("--set", "schedule.max_steps=80", "--set", "checkpoint.save_steps=20", "--set", "batch.per_device=4"),
    *("--set", "lora.dropout=0.1"),
)


def tensors(path: os.PathLike[str]) -> dict[str, object]:
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping


@pytest.mark.slow
def test_an_adapter_survives_a_kill_bit_for_bit_merges_and_reads(shell: Shell) -> None:
    shell(*TRAIN, *SHORT, "--name", "calm")

    running = shell.start(*TRAIN, *SHORT, "--name", "killed")
    wait_until(
        lambda: list(shell.run_folder("killed").glob("checkpoints/*/COMPLETE.json")) or running.poll() is not None,
        "a checkpoint",
    )
    os.kill(int(shell.record("killed")["attempts"][-1]["call_id"]), signal.SIGKILL)
    assert running.wait(60) == 1, shell.started_said
    shell("train", "--name", "killed")
    assert shell.record("killed")["attempts"][-1]["resumed_from_step"] >= 20

    calm, killed = (shell.run_folder(name) / "export" for name in ("calm", "killed"))
    assert (calm / "model.safetensors").read_bytes() == (killed / "model.safetensors").read_bytes()
    checkpoint = shell.run_folder("calm") / "checkpoints" / "checkpoint-80"
    assert (checkpoint / "adapter_model.safetensors").is_file()
    assert not (checkpoint / "model.safetensors").exists()

    base = tensors(shell.home / "stores" / "models" / "tiny" / "model.safetensors")
    merged = tensors(calm / "model.safetensors")
    assert merged.keys() == base.keys()
    changed = {name for name, tensor in merged.items() if not tensor.equal(base[name])}  # type: ignore[attr-defined]
    assert any("q_proj" in name for name in changed)
    assert all(name.endswith(".weight") for name in changed)
    assert not any("norm" in name or "embed_tokens" in name for name in changed)

    image = next((shell.cwd / "digits" / "images").iterdir())
    assert shell("infer", image, "--run", "killed", "--max-new-tokens", "8", "--json").data["items"][0]["error"] is None
    scores = shell("eval", "killed", "--json").data["scores"]
    assert scores.keys() == {"base", "tuned"}
