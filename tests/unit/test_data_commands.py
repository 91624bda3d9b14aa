from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ocrvl_modal.commands import data
from ocrvl_modal.errors import ExitCode, OcrvlError
from ocrvl_modal.models import FAMILY


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OCRVL_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def digits(tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    folder = tmp_path / "digits"
    data.synth(str(folder), train=6, validation=2, test=2, json=True)
    assert json.loads(capsys.readouterr().out)["data"]["samples"]["train"] == 6
    return folder


def test_check_says_what_a_good_dataset_holds(digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data.check(str(digits / "train.jsonl"), model="tiny")
    printed = capsys.readouterr()
    assert "no problem found" in printed.out
    assert "OCR: 6" in printed.out
    assert f"ocrvl train --data {digits / 'train.jsonl'} --model tiny" in printed.err


def test_check_ends_with_exit_code_3_and_shows_problems_by_kind(
    digits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for image in (digits / "images").glob("train-*.png"):
        image.unlink()
    with pytest.raises(SystemExit) as caught:
        data.check(str(digits / "train.jsonl"), model="tiny")
    assert caught.value.code == ExitCode.DATA_INVALID
    lines = capsys.readouterr().out.splitlines()
    assert "error: image_missing: 6 – images that are not there" in lines
    assert sum("there is no image" in line for line in lines) == 3
    assert "  and 3 more" in lines


def test_check_gives_the_whole_report_as_json_with_exit_code_3(
    digits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = digits / "train.jsonl"
    first, *others = path.read_text().splitlines()
    path.write_text("\n".join([first.replace("OCR:", "[bold]OCR:"), *others, others[0]]))
    with pytest.raises(SystemExit) as caught:
        data.check(str(path), model="tiny", json=True)
    assert caught.value.code == ExitCode.DATA_INVALID
    envelope = json.loads(capsys.readouterr().out)
    assert envelope["command"] == "data check"
    assert envelope["data"]["counts"] == {"unknown_prompt": 1, "duplicate": 1}
    assert envelope["data"]["warnings"] == 1
    data.check(str(path), model="tiny", extra_prompt=["[bold]OCR:"])
    assert "[bold]OCR: 1" in capsys.readouterr().out


def test_check_takes_the_length_of_the_models_recipe_or_the_one_given(
    digits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data.check(str(digits / "train.jsonl"), model="tiny")
    assert "of 512 allowed" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        data.check(str(digits / "train.jsonl"), max_seq_len=100)
    assert "error: too_long: 6" in capsys.readouterr().out


def test_check_counts_tokens_where_the_model_is_here(
    digits: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tokenizers")
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    folder = home / "stores" / "models" / "tiny"
    folder.mkdir(parents=True)
    Tokenizer(WordLevel({"?": 0}, unk_token="?")).save(str(folder / "tokenizer.json"))
    data.check(str(digits / "train.jsonl"), model="tiny", json=True)
    report = json.loads(capsys.readouterr().out)["data"]
    assert report["tokens_counted"] is True
    assert report["sequence_tokens_max"] == 6 + 1 + 1


def test_a_place_in_the_data_store_is_checked_and_filled(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data.synth("/data/digits", train=2, validation=1, test=1)
    assert "--data /data/digits/train.jsonl" in capsys.readouterr().err
    assert (home / "stores" / "data" / "digits" / "train.jsonl").is_file()
    data.check("/data/digits/test.jsonl", model="tiny")
    assert "no problem found" in capsys.readouterr().out


def test_a_missing_place_is_not_found_with_the_command_that_fills_it(home: Path) -> None:
    with pytest.raises(OcrvlError, match="there is no /data/none") as caught:
        data.check("/data/none.jsonl", backend="local")
    assert caught.value.code is ExitCode.NOT_FOUND
    assert "ocrvl volume put FILE /data/none.jsonl" in caught.value.hint


def test_a_file_at_the_same_path_outside_the_store_is_offered(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exists = Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: str(path) == "/data/x y.jsonl" or exists(path))
    with pytest.raises(OcrvlError) as caught:
        data.check("/data/x y.jsonl", backend="local")
    assert "ocrvl volume put '/data/x y.jsonl' '/data/x y.jsonl'" in caught.value.hint


def test_a_model_is_named_or_is_a_folder(tmp_path: Path, home: Path) -> None:
    folder = home / "stores" / "models" / "mine"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "ocrvl.json").write_text('{"family": "tiny"}')
    shutil.copytree(folder, tmp_path / "mine")
    assert data.find_family_member("0.9b") is FAMILY["paddleocr-vl-0.9b"]
    assert data.find_family_member("/models/mine") is FAMILY["tiny"]
    assert data.find_family_member(str(tmp_path / "mine")) is FAMILY["tiny"]
    with pytest.raises(OcrvlError) as caught:
        data.find_family_member("tinny")
    assert caught.value.code is ExitCode.NOT_FOUND
    assert "'tiny'" in caught.value.hint
