from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from conftest import Shell
from ocrvl_modal.engines.tiny import make_tiny_model
from ocrvl_modal.recipes import dump_recipe, recipe_from
from ocrvl_modal.runs.layout import RunLayout
from ocrvl_modal.runs.record import RecordWriter, RunRecord, now


def make_run(shell: Shell, name: str, *, state: Any = "done", **data: str) -> RunLayout:
    """A run as it lies on disk after training, with another tiny model for its export."""
    layout = RunLayout(shell.run_folder(name))
    layout.root.mkdir(parents=True)
    splits = {split: str(shell.cwd / "digits" / file) for split, file in data.items()}
    layout.recipe.write_text(dump_recipe(recipe_from({"model": {"name": "tiny"}, "data": splits})))
    record = RunRecord(
        name=name,
        state=state,
        backend="local",
        engine="transformers",
        model="tiny",
        method="full",
        dataset=splits.get("train", ""),
        dataset_sha256="",
        samples=64,
        max_steps=10,
        step=10 if state == "done" else 4,
        created_at=now(),
        updated_at=now(),
        version="0",
    )
    RecordWriter(layout.record, record).write(record)
    if state == "done":
        make_tiny_model(layout.export, seed=3)
    return layout


@pytest.fixture
def run(shell: Shell) -> RunLayout:
    return make_run(shell, "a", train="train.jsonl", validation="validation.jsonl", test="test.jsonl")


def test_infer_prints_the_bare_text_of_one_image(shell: Shell, run: RunLayout) -> None:
    image = next((shell.cwd / "digits" / "images").iterdir())
    shown = shell("infer", image, "--run", "a", "--max-new-tokens", "5")
    item = shell("infer", image, "--run", "a", "--max-new-tokens", "5", "--json").data["items"][0]
    assert shown.out == item["text"] + "\n"
    assert item["tokens"] <= 5


def test_infer_writes_two_files_an_image_and_reads_on_past_a_broken_one(shell: Shell) -> None:
    one, other = sorted((shell.cwd / "digits" / "images").iterdir())[:2]
    scans = shell.cwd / "scans"
    (scans / "deep").mkdir(parents=True)
    shutil.copyfile(one, scans / "a.png")
    shutil.copyfile(other, scans / "deep" / "a.png")
    (scans / "broken.png").write_text("no image")
    (shell.cwd / "out").mkdir()
    (shell.cwd / "out" / "a.md").write_text("an earlier reading")
    asked = ("infer", "scans", one, "--model", "tiny", "--out", "out", "--max-new-tokens", "5")
    said = shell(*asked, code=3)
    assert "scans/broken.png was not read" in said.err
    written = {str(path.relative_to(shell.cwd / "out")) for path in (shell.cwd / "out").rglob("*") if path.is_file()}
    assert written == {f"{stem}.{ending}" for stem in ("a", "deep/a", one.stem) for ending in ("md", "json")}
    facts = json.loads((shell.cwd / "out" / "deep" / "a.json").read_text())
    assert (facts["image"], facts["model"], facts["prompt"]) == ("scans/deep/a.png", "/models/tiny", "OCR:")
    assert (shell.cwd / "out" / "deep" / "a.md").read_text() == facts["text"] + "\n"
    assert (shell.cwd / "out" / "a.md").read_text() == (shell.cwd / "out" / f"{one.stem}.md").read_text()
    assert said.out.splitlines() == [
        "scans/a.png -> out/a.md",
        "scans/deep/a.png -> out/deep/a.md",
        f"{one} -> out/{one.stem}.md",
    ]


def test_infer_with_a_run_that_has_no_export_says_how_the_run_stands(shell: Shell) -> None:
    make_run(shell, "b", state="interrupted", train="train.jsonl")
    image = next((shell.cwd / "digits" / "images").iterdir())
    said = shell("infer", image, "--run", "b", code=5)
    assert "run 'b' has no export: it is interrupted, at step 4 of 10" in said.err
    assert "ocrvl train --name b" in said.err


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--model", "1.6"), 5, "ocrvl download model paddleocr-vl-1.6"),
        ((), 5, "ocrvl download model paddleocr-vl-1.6"),
        (("--model", "./digits"), 5, "config.json is missing"),
        (("--model", "/models/none"), 5, "there is no model at /models/none"),
        (("--model", "tiny", "--run", "a"), 2, "both name a model"),
        (("--model", "tiny", "--task", "text", "--prompt", "OCR:"), 2, "both say what to read"),
        (("--model", "tiny", "--task", "seal"), 2, "tiny has no task 'seal'"),
        (("--model", "tiny", "--batch-size", "0"), 2, "batch-size"),
    ],
)
def test_infer_refuses_what_cannot_be_done(shell: Shell, options: tuple[str, ...], code: int, words: str) -> None:
    image = next((shell.cwd / "digits" / "images").iterdir())
    assert words in shell("infer", image, *options, code=code).err


def test_eval_scores_base_and_tuned_on_the_runs_test_data(shell: Shell, run: RunLayout) -> None:
    data = shell("eval", "a", "--limit", "4", "--json").data
    assert (data["run"], data["samples"], data["out"]) == ("a", 4, "/outputs/a/eval/test")
    assert {word: scores["samples"] for word, scores in data["scores"].items()} == {"base": 4, "tuned": 4}
    assert data["tuned_is_better"] is (data["scores"]["tuned"]["cer"] < data["scores"]["base"]["cer"])
    assert len((run.evaluation("test") / "predictions.jsonl").read_text().splitlines()) == 4
    saved = json.loads((run.evaluation("test") / "scores.json").read_text())
    assert saved["scores"] == data["scores"]


def test_eval_shows_a_table_and_a_verdict_and_warns_of_training_data(shell: Shell, run: RunLayout) -> None:
    said = shell("eval", "a", "--data", "digits/train.jsonl", "--limit", "2")
    assert "TRAINED" in said.err
    assert "this set of 2 samples" in said.out
    assert [line.split()[0] for line in said.out.splitlines() if line.strip()][:4] == ["metric", "─" * 44, "CER", "NED"]
    assert (run.evaluation("train") / "scores.json").is_file()


def test_eval_takes_the_validation_data_where_there_is_no_test_data(shell: Shell) -> None:
    make_run(shell, "c", train="train.jsonl", validation="validation.jsonl")
    said = shell("eval", "c", "--limit", "1")
    assert "the run has no data.test" in said.err
    assert "/outputs/c/eval/validation/predictions.jsonl" in said.out


def test_eval_never_takes_the_training_data_by_itself(shell: Shell) -> None:
    make_run(shell, "d", train="train.jsonl")
    said = shell("eval", "d", code=2)
    assert "neither data.test nor data.validation" in said.err
    assert "ocrvl eval d --data FILE" in said.err


@pytest.mark.parametrize(("content", "code"), [(None, 5), ("", 3), ("{}\n", 3)], ids=["missing", "empty", "malformed"])
def test_eval_refuses_a_dataset_before_it_reads_anything(
    shell: Shell, run: RunLayout, content: str | None, code: int
) -> None:
    path: Path = shell.cwd / "mine.jsonl"
    if content is not None:
        path.write_text(content)
    assert "mine.jsonl" in shell("eval", "a", "--data", "mine.jsonl", code=code).err
    assert not (run.root / "eval").exists()
