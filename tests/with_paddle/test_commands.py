"""The installed ``ocrvl`` with the PaddleFormers engine: what a user does, whole."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from conftest import Shell, wait_until
from with_paddle.test_agreement import TOLERANCE

STEPS = 20


def test_quickstart_learns_survives_a_kill_and_proves_it(bare_shell: Shell) -> None:
    process = bare_shell.start("quickstart", "--engine", "paddleformers", "--dir", "try", "--json")
    assert process.wait(timeout=900) == 0, bare_shell.started_said
    # Progress stands in the same file, above.
    said = json.loads(bare_shell.started_said[bare_shell.started_said.index("{\n") :])["data"]
    assert said["scores"]["base"]["cer"] > 0.8
    assert said["scores"]["tuned"]["cer"] <= 0.05
    assert 0 < said["resumed_from_step"] <= said["killed_at_step"] < said["run"]["max_steps"]
    assert (said["run"]["state"], len(said["run"]["attempts"])) == ("done", 2)
    there = Shell(bare_shell.cwd / "try", bare_shell.cwd)
    assert [row["step"] for row in there.metrics("quickstart")] == list(range(1, said["run"]["max_steps"] + 1))
    assert "engine: paddleformers" in (there.run_folder("quickstart") / "recipe.yaml").read_text().splitlines()


def test_both_engines_lose_alike_from_the_same_weights(shell: Shell, untied: Path, one_batch: Path) -> None:
    shutil.copytree(untied, shell.cwd / "model")
    settings = ("schedule.warmup_steps=0", f"schedule.max_steps={STEPS}", "batch.per_device=8", "seed=5")
    sets = [word for setting in settings for word in ("--set", setting)]
    for engine in ("transformers", "paddleformers"):
        shell("train", "--data", one_batch, "--model", "./model", "--engine", engine, "--name", engine, *sets)
    ours, theirs = (
        [row["loss"] for row in shell.metrics(engine)[:STEPS]] for engine in ("transformers", "paddleformers")
    )
    assert len(ours) == len(theirs) == STEPS
    assert ours[-1] < ours[0] - 0.5
    assert theirs == pytest.approx(ours, abs=TOLERANCE)


def test_an_adapter_is_trained_stopped_resumed_and_read_with(shell: Shell) -> None:
    sets = ("--set", "schedule.max_steps=150", "--set", "method=lora", "--set", "checkpoint.save_steps=1000")
    train = ("train", "--data", "./digits/train.jsonl", "--model", "tiny", "--engine", "paddleformers", "--name", "a")
    shell(*train, *sets, "--detach")
    wait_until(lambda: (shell.run_folder("a") / "metrics.jsonl").is_file() and shell.metrics("a"), "a first step")
    shell("runs", "stop", "a")
    wait_until(lambda: shell.record("a").get("state") in {"cancelled", "interrupted"}, "the stop")
    (saved,) = [int(path.name.rpartition("-")[2]) for path in (shell.run_folder("a") / "checkpoints").iterdir()]
    assert 0 < saved < 150
    shell("train", "--name", "a")
    record = shell.record("a")
    assert (record["state"], record["attempts"][-1]["resumed_from_step"]) == ("done", saved)
    image = next((shell.cwd / "digits" / "images").glob("test-*.png"))
    assert shell("infer", image, "--run", "a").code == 0


@pytest.mark.parametrize("fault", ["empty", "no images"])
def test_data_at_which_paddleformers_hangs_never_reaches_it(shell: Shell, fault: str) -> None:
    rows = shell.cwd / "digits" / "train.jsonl"
    if fault == "empty":
        rows.write_text("")
    else:
        shutil.rmtree(shell.cwd / "digits" / "images")
    said = shell("train", "--data", "./digits/train.jsonl", "--model", "tiny", "--engine", "paddleformers", code=3)
    assert said.err
    assert not list((shell.home / "stores").glob("outputs/*/attempts"))
