"""A run that was started and left: seen, followed and used from other terminals."""

from __future__ import annotations

from conftest import Shell, wait_until

TRAIN = ("train", "--data", "./digits/train.jsonl", "--model", "tiny", "--set", "schedule.max_steps=40")


def test_a_detached_run_is_listed_followed_awaited_shown_and_read_with(shell: Shell) -> None:
    started = shell(*TRAIN, "--name", "b", "--detach", "--json").data["run"]
    assert started["state"] in {"submitted", "preparing", "training"}
    assert [run["name"] for run in shell("runs", "ls", "--json").data["runs"]] == ["b"]

    followed = shell("runs", "logs", "-f", "b").out
    assert followed.count("loss: ") >= 40

    shell("runs", "wait", "b")
    shown = shell("runs", "show", "b", "--json").data
    assert shown["run"]["state"] == "done"
    assert shown["run"]["step"] == 40
    assert shown["last_metrics"]["step"] == 40

    image = next((shell.cwd / "digits" / "images").iterdir())
    items = shell("infer", image, "--run", "b", "--max-new-tokens", "8", "--json").data["items"]
    assert items[0]["error"] is None
    assert isinstance(items[0]["text"], str)


def test_logs_of_one_attempt_and_their_tail(shell: Shell) -> None:
    shell(*TRAIN, "--name", "b")
    whole = shell("runs", "logs", "b").out.splitlines()
    assert shell("runs", "logs", "b", "-n", "3").out.splitlines() == whole[-3:]
    shell("runs", "logs", "b", "--attempt", "2", code=5)


def test_the_data_store_is_one_place_for_all_commands(shell: Shell) -> None:
    shell("volume", "put", "./digits", "/data/digits")
    shell("data", "check", "/data/digits/train.jsonl", "--model", "tiny")
    shell(
        "train", "--data", "/data/digits/train.jsonl", "--model", "tiny", "--name", "b", "--set", "schedule.max_steps=2"
    )
    recipe = (shell.run_folder("b") / "recipe.yaml").read_text()
    assert "train: /data/digits/train.jsonl" in recipe
    assert "validation: /data/digits/validation.jsonl" in recipe


def test_a_bare_detached_train_has_sensible_defaults(shell: Shell) -> None:
    shell("volume", "put", "./digits", "/data/digits")
    shell("train", "--data", "/data/digits/train.jsonl", "--detach", "--model", "tiny", "--json")
    (run,) = shell("runs", "ls", "--json").data["runs"]
    assert run["name"].startswith("tiny-digits-")
    wait_until(lambda: shell.record(run["name"])["state"] == "training", "training")
    shell("runs", "stop", run["name"])
    assert shell.record(run["name"])["state"] == "cancelled"
