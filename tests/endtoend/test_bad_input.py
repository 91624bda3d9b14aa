"""What a user can get wrong: told clearly, with the mending command and the right exit code, before anything starts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from conftest import OCRVL, Shell

TRAIN = ("train", "--data", "./digits/train.jsonl", "--model", "tiny", "--name", "a")

CASES = {
    "missing dataset": (("train", "--data", "./nowhere.jsonl", "--model", "tiny"), 5, "nowhere.jsonl", ""),
    "missing dataset in the store": (
        ("train", "--data", "/data/nowhere.jsonl", "--model", "tiny"),
        5,
        "/data/nowhere.jsonl",
        "ocrvl volume ls /data",
    ),
    "no dataset at all": (("train", "--model", "tiny"), 2, "nothing to train on", "--data"),
    "unknown model": (("train", "--data", "./digits/train.jsonl", "--model", "1.7"), 5, "1.7", "paddleocr-vl-1"),
    "unknown model folder": (
        ("train", "--data", "./digits/train.jsonl", "--model", "./no-model"),
        5,
        "no-model",
        "give the folder of a model",
    ),
    "unknown engine": ((*TRAIN, "--engine", "transformer"), 2, "engine", "transformers"),
    "engine that must not train the model": ((*TRAIN, "--engine", "erniekit"), 2, "erniekit", "--engine transformers"),
    "unknown key": ((*TRAIN, "--set", "optimizer.learning_rat=1"), 2, "learning_rat", "optimizer.learning_rate"),
    "value of the wrong kind": ((*TRAIN, "--set", "batch.per_device=many"), 2, "batch.per_device", ""),
    "set without a value": ((*TRAIN, "--set", "batch.per_device"), 2, "KEY=VALUE", "--set"),
    "unknown GPU": ((*TRAIN, "--gpu", "H1000"), 2, "H1000", "H100"),
    "unknown backend": ((*TRAIN, "--backend", "cloud"), 2, "cloud", "local"),
    "name with a slash": (
        ("train", "--data", "./digits/train.jsonl", "--model", "tiny", "--name", "a/b"),
        2,
        "a/b",
        "--name a-b",
    ),
    "unknown run": (("runs", "show", "nobody"), 5, "nobody", "ocrvl train"),
    "logs of an unknown run": (("runs", "logs", "nobody"), 5, "nobody", ""),
    "eval of an unknown run": (("eval", "nobody"), 5, "nobody", ""),
    "infer with an unknown run": (("infer", "./digits/images", "--run", "nobody"), 5, "nobody", ""),
    "missing image": (("infer", "./no.png", "--model", "tiny"), 5, "no.png", ""),
    "unknown recipe": (("train", "no-such-recipe", "--data", "./digits/train.jsonl"), 5, "no-such-recipe", "recipe ls"),
    "unknown store": (("volume", "ls", "/date"), 2, "date", "data"),
    "place outside its store": (("volume", "get", "/data/../x"), 2, "/data/../x", "inside the store"),
    "missing place": (("volume", "get", "/data/nothing"), 5, "/data/nothing", "ocrvl volume ls /data"),
    "unknown option": (("train", "--dat", "x"), 2, "--dat", "--help"),
    "unknown command": (("trian",), 2, "trian", "--help"),
    "modal": ((*TRAIN, "--backend", "modal"), 4, "no Modal token", "--backend local"),
    "unknown image": (("image", "plan", "serve-vlm"), 2, "serve-vlm", "serve-vllm"),
    "pin of nothing": (("image", "plan", "light", "--pin", "nump=1"), 2, "nump", "numpy"),
    "building images here": (("image", "build", "light", "--backend", "local"), 2, "local", "--dockerfile"),
    "unknown check": (("doctor", "prompd"), 2, "prompd", "prompt"),
    "wheel for no image": (("wheel", "fetch", "--image", "light"), 2, "light", "train-"),
    "index that is no address": (("wheel", "fetch", "--index-url", "here"), 2, "here", "https://"),
    "missing wheel": (("wheel", "verify", "no.whl"), 5, "no.whl", ""),
    "model that nobody has": (("model", "show", "1.7"), 5, "1.7", "tiny"),
    "model that is not here": (("model", "verify", "1.6"), 5, "1.6", "ocrvl download model"),
    "garbage of any age": (("volume", "gc", "--older-than", "inf", "--yes"), 2, "--older-than", "--help"),
    "checking some of the images": (
        ("data", "check", "digits/train.jsonl", "--images", "some"),
        2,
        "--images is all, sample or none",
        "--images sample",
    ),
    "mending over another file": (
        ("data", "check", "digits/train.jsonl", "--model", "tiny", "--fix", "digits/test.jsonl"),
        2,
        "is there already",
        "--fix digits/train-fixed.jsonl",
    ),
    "comparing with what is not there": (
        ("data", "check", "digits/train.jsonl", "--model", "tiny", "--against", "nowhere.jsonl"),
        5,
        "nowhere.jsonl",
        "",
    ),
    "splitting what is not there": (("data", "split", "./nowhere.jsonl", "--out", "x"), 5, "nowhere.jsonl", "synth"),
    "shares that do not add up": (
        ("data", "split", "digits/train.jsonl", "--out", "x", "--train", "0.5"),
        2,
        "add up to 1",
        "--train 0.8",
    ),
    "a split over other files": (("data", "split", "digits/test.jsonl", "--out", "."), 2, "would be replaced", "--out"),
    "splitting a stored dataset": (("data", "split", "digits@v1", "--out", "x"), 2, "packed", "ocrvl data pull"),
    "mixing with a weight that is none": (("data", "mix", "digits/train.jsonl=much", "--out", "x"), 2, "much", "=3"),
    "sampling over the dataset": (
        ("data", "sample", "digits/train.jsonl", "--out", "digits/train.jsonl"),
        2,
        "the dataset itself",
        "--out",
    ),
    "a plot that is no picture": (("data", "stats", "digits/train.jsonl", "--plot", "x.txt"), 2, "x.txt", ".png"),
    "a preview that is no page": (("data", "preview", "digits/train.jsonl", "--out", "x"), 2, ".html", "page.html"),
    "a text that is not there": (("data", "synth", "--text", "no.txt", "--out", "x"), 5, "no.txt", "--text"),
    "converting what is not there": (("data", "convert", "nowhere", "--out", "x"), 5, "nowhere", "hf://"),
    "converting to an unknown form": (
        ("data", "convert", "digits/train.jsonl", "--out", "x", "--to", "erniekt"),
        2,
        "erniekt",
        "erniekit",
    ),
    "converting what looks like nothing": (
        ("data", "convert", "digits/images", "--out", "x"),
        2,
        "looks like",
        "--from",
    ),
    "localizing what is not there": (("data", "localize", "nowhere.jsonl"), 5, "nowhere.jsonl", ""),
    "dataset from nowhere": (("download", "dataset", "http://[bad/x.jsonl"), 2, "[bad", ""),
    "push of nothing": (("data", "push", "./nowhere.jsonl"), 5, "nowhere.jsonl", ""),
    "push under no name": (("data", "push", "digits", "--name", "a b"), 2, "a b", "--name a-b"),
    "dataset that nobody pushed": (("data", "pull", "nobody"), 5, "nobody", "ocrvl data ls"),
    "version that nobody pushed": (("train", "--data", "digits@v9", "--model", "tiny"), 5, "digits", "ocrvl data ls"),
    "pull of a path": (("data", "pull", "./digits"), 2, "./digits", "ocrvl data ls"),
    "resume from nothing": ((*TRAIN, "--resume-from", "nobody"), 5, "nobody", ""),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_told_with_the_mending_word_and_nothing_is_left(shell: Shell, case: str) -> None:
    arguments, code, message, hint = CASES[case]
    before = sorted(str(path) for path in shell.home.rglob("*"))
    error = shell(*arguments, "--json", code=code).json["error"]
    assert message in error["message"]
    assert hint in error["hint"]
    words = shell(*arguments, code=code)
    assert error["message"].splitlines()[0] in words.err
    assert words.out == ""
    after = sorted(str(path) for path in shell.home.rglob("*") if path.name != "outputs")
    assert after == [path for path in before if not path.endswith("/outputs")]


def _bad_datasets(folder: Path) -> dict[str, str]:
    lines = (folder / "train.jsonl").read_text().splitlines()
    missing = json.loads(lines[1])
    missing["images"] = ["./images/gone.png"]
    prompt = json.loads(lines[2])
    prompt["messages"][0]["content"] = "<image>OCR"
    return {
        "empty": "",
        "malformed": "\n".join([lines[0], lines[1][:-20], *lines[2:]]) + "\n",
        "missing_image": "\n".join([lines[0], json.dumps(missing), *lines[2:]]) + "\n",
        "unknown_prompt": "\n".join([*lines[:2], json.dumps(prompt)]) + "\n",
    }


@pytest.mark.parametrize("kind", ["empty", "malformed", "missing_image", "unknown_prompt"])
def test_a_dataset_that_cannot_be_trained_on_stops_before_anything_is_written(shell: Shell, kind: str) -> None:
    bad = shell.cwd / "digits" / "bad.jsonl"
    bad.write_text(_bad_datasets(shell.cwd / "digits")[kind])
    error = shell("train", "--data", bad, "--model", "tiny", "--name", "a", "--json", code=3).json["error"]
    assert "ocrvl data check" in error["hint"]
    assert not shell.run_folder("a").exists()
    report = shell("data", "check", bad, "--model", "tiny", "--json", code=3).data
    assert report["findings"]


def test_a_sample_over_the_length_limit_is_named(shell: Shell) -> None:
    said = shell(*TRAIN, "--set", "data.max_seq_len=16", "--json", code=3)
    assert "too_long" in said.json["error"]["message"]


def test_a_recipe_that_is_not_yaml(shell: Shell) -> None:
    recipe = shell.cwd / "mine.yaml"
    recipe.write_text("model: [unclosed\n")
    said = shell("train", recipe, "--data", "./digits/train.jsonl", "--json", code=2)
    assert "is not YAML" in said.json["error"]["message"]


def test_a_damaged_record_is_an_error_for_its_run_and_a_warning_in_the_list(shell: Shell) -> None:
    shell(*TRAIN, "--set", "schedule.max_steps=1")
    (shell.run_folder("a") / "run.json").write_text("{}")
    shell("runs", "show", "a", code=1)
    listed = shell("runs", "ls", "--json").json
    assert listed["data"]["runs"] == []
    assert any("/outputs/a/run.json" in warning for warning in listed["warnings"])


def test_a_dataset_that_changed_since_the_run_began_is_refused(shell: Shell) -> None:
    shell(*TRAIN, "--set", "schedule.max_steps=1")
    train = shell.cwd / "digits" / "train.jsonl"
    train.write_text("\n".join(train.read_text().splitlines()[:-1]) + "\n")
    (shell.run_folder("a") / "run.json").write_text(
        (shell.run_folder("a") / "run.json").read_text().replace('"state": "done"', '"state": "interrupted"')
    )
    said = shell(*TRAIN, "--set", "schedule.max_steps=1", "--json", code=3)
    assert "not what it was" in said.json["error"]["message"]


def test_a_model_whose_template_has_another_tail_is_refused_before_there_is_a_run(shell: Shell) -> None:
    template = shell.home / "stores" / "models" / "tiny" / "chat_template.jinja"
    template.write_text(template.read_text().replace("Assistant: ", "Assistant:\\n"))
    said = shell(*TRAIN, "--set", "schedule.max_steps=1", "--json", code=2)
    assert "Assistant" in said.json["error"]["message"]
    assert not shell.run_folder("a").exists()


def test_a_disk_without_room_is_told_before_training(shell: Shell) -> None:
    done = _in_a_small_disk(shell, "4m", "--set", "checkpoint.save_total_limit=50")
    assert done.returncode == 1
    error = json.loads(done.stdout)["error"]
    assert "disk" in error["message"]
    assert "ocrvl train --name a" in error["hint"]


def test_a_disk_that_fills_up_in_training_leaves_a_run_that_goes_on(shell: Shell) -> None:
    """The disk has room at the start; what else lands on it fills it before the second checkpoint."""
    filler = f"(while ! test -e {shell.run_folder('a')}/checkpoints/checkpoint-10/COMPLETE.json; do sleep 0.05; done;"
    filler += f" head -c 1G /dev/zero > {shell.home}/stores/outputs/filler) 2>/dev/null &"
    free = f"rm {shell.home}/stores/outputs/filler;"
    again = f"{OCRVL} train --name a --json >{shell.cwd}/again.json"
    done = _in_a_small_disk(
        shell,
        "64m",
        *("--set", "checkpoint.save_steps=10", "--set", "schedule.max_steps=200", "--set", "batch.per_device=4"),
        before=filler,
        after=f"code=$?; {free} {again}; exit $code",
    )
    assert done.returncode == 1, done.stdout + done.stderr
    error = json.loads(done.stdout)["error"]
    assert "space" in error["message"] or "full" in error["message"]
    run = json.loads((shell.cwd / "again.json").read_text())["data"]["run"]
    assert run["state"] == "done"
    assert run["attempts"][-1]["resumed_from_step"] >= 10


def _in_a_small_disk(
    shell: Shell, size: str, *more: str, before: str = "", after: str = ""
) -> subprocess.CompletedProcess[str]:
    """Train with the outputs store on a small file system of its own."""
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare")
    outputs = shell.home / "stores" / "outputs"
    outputs.mkdir(parents=True)
    mount = f"mount -t tmpfs -o size={size} tmpfs {outputs}"
    namespace = ["unshare", "--user", "--map-root-user", "--mount"] if os.getuid() else ["unshare", "--mount"]
    if subprocess.run([*namespace, "sh", "-c", mount], capture_output=True, check=False).returncode:
        pytest.skip("this kernel does not let a test mount a small file system")
    train = " ".join([str(OCRVL), *TRAIN, "--json", *more])
    return subprocess.run(
        [*namespace, "sh", "-c", f"{mount} || exit 99; {before} {train}; {after}"],
        cwd=shell.cwd,
        env=shell.environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
