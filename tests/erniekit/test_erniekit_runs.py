"""The training job on ERNIEKit's stand-in: it trains, dies, hangs and resumes, and the record tells the truth."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import wait_until
from erniekit.conftest import MEMBER, Ernie, ErnieHouse, learned_after
from jobs.standin import STEPS
from ocrvl_modal.errors import RunCancelled
from ocrvl_modal.jobs import supervision
from ocrvl_modal.jobs.process_marks import marked_processes
from ocrvl_modal.runs import checkpoints


def assert_done(house: ErnieHouse, ernie: Ernie, name: str = "a") -> None:
    """The run has ended as if nobody had ever disturbed it."""
    record = house.record(name)
    assert (record.state, record.step, record.error) == ("done", STEPS, None)
    assert house.steps(name) == list(range(1, STEPS + 1))
    assert house.learned(name) == learned_after(STEPS)
    assert_at_rest(house, ernie, name)


def assert_at_rest(house: ErnieHouse, ernie: Ernie, name: str = "a") -> None:
    """No process is left, the tree is as it was, and the newest attempt says how it ended."""
    assert marked_processes(str(house.layout(name).engine_group.absolute())) == []
    assert ernie.links() == []
    assert not (house.places.scratch / f"run-{name}").exists()
    attempt = house.record(name).attempt
    assert attempt is not None
    assert attempt.ended_as == house.record(name).state


def complete_steps(house: ErnieHouse, name: str = "a") -> list[int]:
    return [checkpoint.step for checkpoint in checkpoints.complete_checkpoints(house.layout(name))]


def log(house: ErnieHouse, attempt: int = 1, name: str = "a") -> str:
    path = house.layout(name).attempt(attempt).log
    return path.read_text() if path.is_file() else ""


def when(condition: Callable[[], bool], act: Callable[[], None]) -> threading.Thread:
    """Call ``act`` as soon as the condition holds."""

    def wait_and_act() -> None:
        wait_until(condition, "the moment to act")
        act()

    thread = threading.Thread(target=wait_and_act)
    thread.start()
    return thread


def test_a_run_trains_exports_and_is_done(house: ErnieHouse, ernie: Ernie) -> None:
    house.train("a")
    assert_done(house, ernie)
    assert complete_steps(house) == [2, 4, 6]


def test_the_store_is_not_written_to(house: ErnieHouse) -> None:
    model = house.places.models / MEMBER.name
    before = {path.name: path.read_bytes() for path in model.iterdir()}
    house.train("a")
    assert {path.name: path.read_bytes() for path in model.iterdir()} == before


def test_the_model_sees_the_pixel_limits_of_the_recipe(house: ErnieHouse) -> None:
    house.train("a", "pixels.minimum=1000", "pixels.maximum=2000")
    assert house.learned("a") == learned_after(STEPS, pixels=(1000, 2000))


def test_the_metrics_are_those_of_the_log_lines(house: ErnieHouse) -> None:
    house.train("a")
    row = house.metrics("a")[4]
    assert (row["step"], row["loss"], row["learning_rate"]) == (5, 23 / 5, 1e-6)
    assert (row["max_mem_reserved_gb"], row["global_samples_per_second"]) == (45.060626, 0.6101)
    assert not {key for key in row if "tokens" in key or "id" in key}


def test_the_last_model_becomes_a_checkpoint_where_the_interval_does_not_divide_the_steps(
    house: ErnieHouse, ernie: Ernie
) -> None:
    house.train("a", "checkpoint.save_steps=4")
    assert_done(house, ernie)
    assert complete_steps(house) == [4, 6]
    assert not (house.layout("a").checkpoint(6) / "optimizer-00001-of-00001.safetensors").exists()
    assert all(path.is_dir() for path in house.layout("a").checkpoints.iterdir())


def test_checkpoints_between_two_logged_steps_are_complete_too(house: ErnieHouse, ernie: Ernie) -> None:
    house.train("a", "tracking.log_steps=5", "checkpoint.save_steps=3", "checkpoint.save_total_limit=9")
    assert house.steps("a") == [5]
    assert complete_steps(house) == [3, 6]
    assert house.record("a").state == "done"


def test_old_checkpoints_go_only_by_our_own_limit(house: ErnieHouse) -> None:
    house.train("a", "checkpoint.save_steps=1", "checkpoint.save_total_limit=2")
    assert complete_steps(house) == [5, 6]


@pytest.mark.parametrize("at", [0, 1, 3, 5])
def test_a_worker_that_is_killed_costs_no_more_than_one_interval(
    house: ErnieHouse, ernie: Ernie, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    monkeypatch.setenv("STANDIN_DIE_AT", str(at))
    record = house.train("a")
    assert record.state == "failed"
    assert record.error is not None
    assert "memory" in record.error.message
    assert_at_rest(house, ernie)

    monkeypatch.delenv("STANDIN_DIE_AT")
    again = house.train("a")
    assert_done(house, ernie)
    assert again.attempt is not None
    assert again.attempt.resumed_from_step == (at // 2 * 2 or None)


def test_a_checkpoint_that_was_cut_off_is_set_aside(
    house: ErnieHouse, ernie: Ernie, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STANDIN_DIE_SAVING", "4")
    house.train("a")
    assert house.layout("a").checkpoint(4).is_dir()
    assert complete_steps(house) == [2]

    monkeypatch.delenv("STANDIN_DIE_SAVING")
    house.train("a")
    assert_done(house, ernie)
    assert [path.name for path in house.layout("a").set_aside.iterdir()] == ["checkpoint-4.1"]


def test_a_run_that_was_killed_over_its_final_model_goes_on(
    house: ErnieHouse, ernie: Ernie, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.submit("a", "checkpoint.save_steps=100")
    left = house.layout("a").checkpoints / "model-00001-of-00001.safetensors"
    left.parent.mkdir()
    left.write_bytes(b"half a mod")
    house.work()
    assert_done(house, ernie)


def test_an_interrupted_run_ends_at_once_and_leaves_no_worker(
    house: ErnieHouse, ernie: Ernie, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STANDIN_HANG_AT", "3")
    house.submit("a")
    interrupt = when(lambda: "hanging" in log(house), lambda: os.kill(os.getpid(), signal.SIGINT))
    house.work()
    interrupt.join()
    assert house.record("a").state == "interrupted"
    assert_at_rest(house, ernie)

    monkeypatch.delenv("STANDIN_HANG_AT")
    house.train("a")
    assert_done(house, ernie)


def test_a_cancelled_run_can_be_gone_on_with(house: ErnieHouse, ernie: Ernie, monkeypatch: pytest.MonkeyPatch) -> None:
    def cancel(*_: object) -> None:
        raise RunCancelled

    before = signal.signal(signal.SIGTERM, cancel)
    monkeypatch.setenv("STANDIN_HANG_AT", "3")
    house.submit("a")
    stop = when(lambda: "hanging" in log(house), lambda: os.kill(os.getpid(), signal.SIGTERM))
    house.work()
    stop.join()
    signal.signal(signal.SIGTERM, before)
    assert (house.record("a").state, complete_steps(house)) == ("cancelled", [2])
    assert_at_rest(house, ernie)


def test_a_worker_of_a_supervisor_that_died_is_ended_before_the_next_attempt(
    house: ErnieHouse, ernie: Ernie, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision.Supervisor, "watch", lambda *_: os._exit(9))
    monkeypatch.setenv("STANDIN_HANG_AT", "3")
    house.submit("a")
    mark = str(house.layout("a").engine_group.absolute())
    if (supervisor := os.fork()) == 0:
        house.work()
    os.waitpid(supervisor, 0)
    wait_until(lambda: len(marked_processes(mark)) >= 1, "the engine that is left")
    monkeypatch.undo()
    for name, value in {"PATH": f"{ernie.programs}:{os.environ['PATH']}", "OCRVL_ERNIE_HOME": str(ernie.home)}.items():
        monkeypatch.setenv(name, value)

    ended: list[list[int]] = []
    from ocrvl_modal.jobs import train

    find_model = train._Attempt.find_model
    monkeypatch.setattr(
        train._Attempt, "find_model", lambda attempt: (ended.append(marked_processes(mark)), find_model(attempt))[1]
    )
    monkeypatch.setattr(train, "check_prompt_identity", lambda *_: None)
    monkeypatch.setattr(train, "export_model", lambda **_: None)
    house.submit("a")
    house.work()
    assert ended == [[]]
    assert house.record("a").state == "done"


@pytest.mark.parametrize(
    ("variable", "words", "hint"),
    [
        ("STANDIN_NAN_AT", "became NaN", "learning_rate"),
        ("STANDIN_MEMORY_AT", "out of memory", "--gpu"),
    ],
)
def test_a_known_failure_is_told_in_words_with_what_mends_it(
    house: ErnieHouse, ernie: Ernie, monkeypatch: pytest.MonkeyPatch, variable: str, words: str, hint: str
) -> None:
    monkeypatch.setenv(variable, "3")
    record = house.train("a")
    assert record.state == "failed"
    assert record.error is not None
    assert words in record.error.message
    assert hint in record.error.hint
    assert house.steps("a") == [1, 2, 3]
    assert_at_rest(house, ernie)


def test_an_end_before_the_last_step_is_no_success(
    house: ErnieHouse, ernie: Ernie, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STANDIN_STOP_AT", "5")
    record = house.train("a")
    assert (record.state, complete_steps(house)) == ("failed", [2, 4])
    assert_at_rest(house, ernie)


def test_secrets_reach_neither_the_engine_nor_any_file_of_the_run(
    house: ErnieHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_very_secret")
    monkeypatch.setenv("PLAIN_VARIABLE", "plain-value")
    house.train("a")
    assert "PLAIN_VARIABLE=plain-value" in log(house)
    everything = [path.read_bytes() for path in house.layout("a").root.rglob("*") if path.is_file()]
    assert not any(b"hf_very_secret" in content or b"HF_TOKEN" in content for content in everything)


def test_a_secret_that_the_engine_is_given_is_not_in_the_log(
    house: ErnieHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_very_secret")
    house.train("a", "secrets=[HF_TOKEN]")
    assert "HF_TOKEN=[removed]" in log(house)
    everything = [path.read_bytes() for path in house.layout("a").root.rglob("*") if path.is_file()]
    assert not any(b"hf_very_secret" in content for content in everything)


def test_an_outer_job_system_does_not_choose_the_checkpoint(
    house: ErnieHouse, ernie: Ernie, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PDC_INIT_STEP", "4")
    monkeypatch.setenv("STANDIN_DIE_AT", "3")
    house.train("a")
    monkeypatch.delenv("STANDIN_DIE_AT")
    house.train("a")
    assert_done(house, ernie)


def test_a_run_that_begins_at_another_ones_checkpoint_takes_it_from_there(house: ErnieHouse, ernie: Ernie) -> None:
    house.train("a")
    house.train("b", resume_from="/outputs/a/checkpoints/checkpoint-4")
    assert house.steps("b") == [5, 6]
    assert house.learned("b") == learned_after(STEPS)


def test_what_the_engine_was_told_can_be_done_again_by_hand(house: ErnieHouse, ernie: Ernie) -> None:
    house.train("a")
    told: dict[str, Any] = yaml.safe_load(house.layout("a").attempt(1).engine_config.read_text())
    assert told["working_folder"] == str(ernie.home)
    assert told["command"].startswith(
        "erniekit train examples/configs/PaddleOCR-VL/sft/run_ocr_vl_sft_16k.yaml"
        " model_name_or_path=PaddlePaddle/PaddleOCR-VL train_dataset_path=./a-"
    )
    assert told["overrides"]["max_steps"] == STEPS
    assert len(told["configuration_sha256"]) == 64


def test_an_engine_that_can_use_no_sample_is_stopped_and_nothing_of_it_stays(
    house: ErnieHouse, ernie: Ernie, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "FLOOD_BYTES", 200_000)
    monkeypatch.setattr(supervision, "_LOOK_AT_LOGS_S", 0.1)
    (house.home / "one.png").unlink()
    record = house.train("a")
    assert record.state == "failed"
    assert record.error is not None
    assert "without a step" in record.error.message
    assert "ocrvl data check" in record.error.hint
    assert_at_rest(house, ernie)


def test_an_engine_that_hangs_is_stopped_and_goes_on_with_a_new_attempt(
    house: ErnieHouse, ernie: Ernie, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STANDIN_HANG_AT", "3")
    record = house.train("a", "limits.stall_minutes=0.03")
    assert record.state == "failed"
    assert record.error is not None
    assert "no step for 0.03 minutes" in record.error.message
    assert "limits.stall_minutes=" in record.error.hint
    assert_at_rest(house, ernie)

    monkeypatch.delenv("STANDIN_HANG_AT")
    house.train("a")
    assert_done(house, ernie)


def test_an_engine_that_hangs_after_its_work_is_done_has_done_its_work(
    house: ErnieHouse, ernie: Ernie, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STANDIN_HANG_AT", str(STEPS))
    house.train("a", "limits.stall_minutes=0.03")
    assert_done(house, ernie)


def test_a_tree_that_is_not_there_is_told_with_the_way_out(house: ErnieHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCRVL_ERNIE_HOME", "/no/such/tree")
    record = house.train("a")
    assert record.error is not None
    assert "no ERNIE source tree in /no/such/tree" in record.error.message
    assert "OCRVL_ERNIE_HOME" in record.error.hint


def test_a_machine_without_a_gpu_is_told_so_before_anything_starts(house: ErnieHouse, ernie: Ernie) -> None:
    (ernie.programs / "nvidia-smi").write_text("#!/bin/sh\nexit 1\n")
    record = house.train("a")
    assert record.error is not None
    assert "needs an NVIDIA GPU" in record.error.message
    assert log(house) == ""


def test_a_configuration_of_ones_own_takes_the_place_of_the_documented_one(house: ErnieHouse, ernie: Ernie) -> None:
    house.train("a", "engine_config={stage: OCR-VL-SFT, freeze_config: freeze_vision, compute_type: bf16}")
    assert_done(house, ernie)
    attempt = house.layout("a").attempt(1)
    own = attempt.root / "erniekit.yaml"
    assert yaml.safe_load(own.read_text())["freeze_config"] == "freeze_vision"
    assert (
        f"erniekit train {own.absolute()} model_name_or_path="
        in yaml.safe_load(attempt.engine_config.read_text())["command"]
    )


def test_a_home_with_blanks_in_its_name_does_no_harm(
    tmp_path: Path, ernie: Ernie, house: ErnieHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = ErnieHouse(tmp_path / "a home: with #blanks")
    other.furnish()
    other.train("a")
    assert_done(other, ernie)


def test_rows_of_either_form_reach_the_engine_as_its_own(house: ErnieHouse) -> None:
    row = json.loads(house.data.read_text())
    erniekit = {
        "image_info": [{"matched_text_index": 0, "image_url": "one.png"}],
        "text_info": [{"text": "OCR:", "tag": "mask"}, {"text": "ü", "tag": "no_mask"}],
    }
    house.data.write_text("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in (row, erniekit)))
    assert house.train("a").state == "done"
