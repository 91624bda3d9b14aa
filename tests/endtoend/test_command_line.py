"""The command line itself: help, versions, JSON everywhere, stores."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import ocrvl_modal
from conftest import Shell


def test_python_dash_m_is_the_same_command(bare_shell: Shell) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ocrvl_modal", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == bare_shell("--version").out == f"ocrvl {ocrvl_modal.__version__}\n"


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_names_every_command(bare_shell: Shell, flag: str) -> None:
    said = bare_shell(flag).out
    for command in ("quickstart", "train", "infer", "eval", "runs", "data", "recipe", "volume", "download"):
        assert command in said


@pytest.mark.parametrize("kind", ["bash", "zsh", "fish"])
def test_shells_can_learn_the_commands(bare_shell: Shell, kind: str) -> None:
    assert "_OCRVL_COMPLETE" in bare_shell(_OCRVL_COMPLETE=f"source_{kind}").out


@pytest.mark.parametrize(
    "arguments",
    [
        ("runs", "ls"),
        ("volume", "ls"),
        ("volume", "ls", "/models"),
        ("recipe", "ls"),
        ("recipe", "check", "quickstart"),
        ("data", "check", "./digits/train.jsonl", "--model", "tiny"),
        ("download", "model", "tiny"),
    ],
    ids=" ".join,
)
def test_json_is_one_envelope_on_standard_output(shell: Shell, arguments: tuple[str, ...]) -> None:
    envelope = shell(*arguments, "--json").json
    assert envelope["schema"] == 1
    assert envelope["command"] == " ".join(arguments[:2])
    assert isinstance(envelope["data"], dict)
    assert isinstance(envelope["warnings"], list)


def test_the_choice_of_the_local_backend_is_said_when_nobody_chose(shell: Shell) -> None:
    arguments = ("train", "--data", "./digits/train.jsonl", "--model", "tiny", "--dry-run")
    assert "no Modal token is configured" in shell(*arguments).err
    assert "no Modal token" not in shell(*arguments, "--backend", "local").err
    assert "no Modal token" not in shell(*arguments, OCRVL_BACKEND="local").err
    (shell.home / "settings.yaml").write_text("backend: local\n")
    assert "no Modal token" not in shell(*arguments).err


def test_a_configured_modal_token_chooses_modal(shell: Shell) -> None:
    nobody = {"MODAL_TOKEN_ID": "ak-x", "MODAL_TOKEN_SECRET": "as-x", "MODAL_SERVER_URL": "http://127.0.0.1:9"}
    said = shell("runs", "ls", "--json", code=1, **nobody)
    assert "Modal does not answer at http://127.0.0.1:9" in said.json["error"]["message"]


def test_a_store_takes_and_gives_files_and_folders(bare_shell: Shell) -> None:
    folder = bare_shell.cwd / "folder"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "x.txt").write_text("x")
    bare_shell("volume", "put", "folder", "/data/folder")
    listed = bare_shell("volume", "ls", "/data/folder/inner", "--json").data["entries"]
    assert [(entry["place"], entry["size_bytes"]) for entry in listed] == [("/data/folder/inner/x.txt", 1)]
    said = bare_shell("volume", "put", "folder", "/data/folder", "--json", code=2)
    assert "--force" in said.json["error"]["hint"]
    bare_shell("volume", "put", "folder", "/data/folder", "--force")
    bare_shell("volume", "get", "/data/folder", "back")
    assert (bare_shell.cwd / "back" / "inner" / "x.txt").read_text() == "x"
    bare_shell("volume", "get", "/data/folder/inner/x.txt")
    assert (bare_shell.cwd / "x.txt").read_text() == "x"


def test_quiet_prints_results_only(shell: Shell) -> None:
    said = shell("runs", "ls", "--quiet")
    assert said.err == ""


def test_a_reader_that_stops_reading_is_no_error(shell: Shell) -> None:
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m ocrvl_modal recipe show default | head -n 1"],
        env=shell.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


def test_a_failed_run_says_why_and_where_to_look(shell: Shell) -> None:
    train = ("train", "--data", "./digits/train.jsonl", "--model", "tiny", "--name", "a")
    said = shell(*train, "--set", "optimizer.learning_rate=1e30", "--set", "optimizer.max_grad_norm=1e30", code=1)
    assert "error:" in said.err
    shown = shell("runs", "show", "a", "--json").data["run"]
    assert shown["state"] == "failed"
    assert shown["error"]["hint"]
    json.loads((shell.run_folder("a") / "run.json").read_text())


PAGES = [
    ("quickstart",),
    ("train",),
    ("infer",),
    ("eval",),
    *(("download", command) for command in ("model", "dataset")),
    *(("model", command) for command in ("ls", "show", "verify")),
    ("secret", "check"),
    *(("runs", command) for command in ("ls", "show", "logs", "stop", "wait")),
    *(("data", command) for command in ("check", "synth")),
    *(("recipe", command) for command in ("ls", "show", "cp", "check")),
    *(("volume", command) for command in ("ls", "get", "put", "rm", "check", "du", "gc")),
]


@pytest.mark.parametrize("page", PAGES, ids=" ".join)
def test_every_help_page_shows_an_example_on_a_line_of_its_own(bare_shell: Shell, page: tuple[str, ...]) -> None:
    said = bare_shell(*page, "-h").out
    assert f"\n    ocrvl {' '.join(page)}" in said
    assert "\\" not in said
