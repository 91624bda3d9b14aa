from __future__ import annotations

import json
import shutil
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from ocrvl_modal.data.rows import read_samples
from ocrvl_modal.engines.tiny import make_tiny_model
from ocrvl_modal.errors import ExitCode, OcrvlError
from ocrvl_modal.evals.metrics import score
from ocrvl_modal.jobs import evaluate, export, infer
from ocrvl_modal.places import Places


@pytest.fixture
def places(tmp_path: Path, tiny: Path, digits: Path) -> Places:
    """Stores with two models and a dataset."""
    places = Places.under(tmp_path / "home")
    shutil.copytree(tiny, places.models / "tiny")
    make_tiny_model(places.outputs / "a" / "export", seed=3)
    shutil.copytree(digits, places.data / "digits")
    return places


def asked(places: Places, **more: Any) -> dict[str, Any]:
    """A request as it travels: as JSON."""
    request: dict[str, Any] = json.loads(json.dumps({"places": places.model_dump(mode="json"), **more}))
    return request


def infer_request(places: Places, **more: Any) -> dict[str, Any]:
    return asked(places, **{"model": "/models/tiny", "max_new_tokens": 6, **more})


def evaluate_request(places: Places, **more: Any) -> dict[str, Any]:
    return asked(
        places,
        **{
            "models": {"base": "/models/tiny", "tuned": "/outputs/a/export"},
            "data": "/data/digits/test.jsonl",
            "out": "/outputs/a/eval/test",
            **more,
        },
    )


def rows_of(places: Places) -> list[dict[str, Any]]:
    path = places.outputs / "a" / "eval" / "test" / "predictions.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_infer_reads_files_places_and_bytes_in_the_order_of_the_request(places: Places, digits: Path) -> None:
    one, other = sorted((digits / "images").iterdir())[:2]
    broken = b64encode(b"no image").decode()
    images = [
        {"name": "as a file", "path": str(one)},
        {"name": "as bytes", "content": b64encode(other.read_bytes()).decode()},
        {"name": "broken", "content": broken},
        {"name": "in a store", "path": f"/data/digits/images/{one.name}"},
        {"name": "the other", "path": str(other)},
    ]
    result = infer.run(infer_request(places, images=images))
    items = {item["name"]: item for item in result["items"]}
    assert list(items) == [image["name"] for image in images]
    assert items["as a file"]["text"] == items["in a store"]["text"] != ""
    assert items["as bytes"]["text"] == items["the other"]["text"]
    assert "not an image" in items["broken"]["error"]
    assert [item["error"] for item in result["items"]].count(None) == 4
    assert (result["family"], result["prompt"], result["warnings"]) == ("tiny", "OCR:", [])


def test_infer_tells_its_progress(places: Places, digits: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from ocrvl_modal.jobs.progress import parse_progress

    images = [{"name": path.name, "path": str(path)} for path in sorted((digits / "images").iterdir())[:3]]
    infer.run(infer_request(places, images=images, batch_size=2))
    told = [parse_progress(line) for line in capfd.readouterr().err.splitlines()]
    assert ("reading images", 2, 3) in told
    assert told[-1] == ("reading images", 3, 3)


def test_infer_asks_with_the_prompt_of_the_task(places: Places, digits: Path) -> None:
    images = [{"name": "x", "path": str(next((digits / "images").iterdir()))}]
    assert infer.run(infer_request(places, images=images, task="table"))["prompt"] == "Table Recognition:"
    with pytest.raises(OcrvlError, match="tiny has no task 'seal'") as caught:
        infer.run(infer_request(places, images=images, task="seal"))
    assert caught.value.code is ExitCode.USAGE


def test_infer_warns_of_a_prompt_that_is_nearly_the_models_own(places: Places, digits: Path) -> None:
    images = [{"name": "x", "path": str(next((digits / "images").iterdir()))}]
    assert "'OCR:'" in infer.run(infer_request(places, images=images, prompt="OCR"))["warnings"][0]
    assert infer.run(infer_request(places, images=images, prompt="Read the stamp:"))["warnings"] == []


@pytest.mark.parametrize("image", [{"name": "x"}, {"name": "x", "path": "/data/x.png", "content": "eHh4"}])
def test_infer_refuses_an_image_with_no_source_or_two(places: Places, image: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="either a path or a content"):
        infer.run(infer_request(places, images=[image]))


def test_evaluate_scores_both_models_on_every_sample(places: Places) -> None:
    result = evaluate.run(evaluate_request(places))
    rows = rows_of(places)
    samples = read_samples(places.data / "digits" / "test.jsonl")
    assert [(row["line"], row["target"], row["prompt"]) for row in rows] == [
        (sample.line, sample.target, "OCR:") for sample in samples
    ]
    assert all((places.data / "digits" / row["image"]).is_file() for row in rows)
    for word in ("base", "tuned"):
        expected = score((row[word], row["target"]) for row in rows).to_dict()
        assert result["scores"][word] == result["by_prompt"]["OCR:"][word] == expected
    assert result["scores"]["base"] != result["scores"]["tuned"]
    assert result["samples"] == len(samples)
    assert result["errors"] == {"base": 0, "tuned": 0}
    saved = json.loads((places.outputs / "a" / "eval" / "test" / "scores.json").read_text())
    assert saved == {"schema": 1, **result}


def test_evaluate_lets_a_model_write_twice_the_longest_target(places: Places) -> None:
    assert evaluate.run(evaluate_request(places))["max_new_tokens"] == 2 * 6 + 16
    unhindered = [row["base"] for row in rows_of(places)]
    result = evaluate.run(evaluate_request(places, max_new_tokens=2))
    assert result["max_new_tokens"] == 2
    cut_off = [row["base"] for row in rows_of(places)]
    assert cut_off != unhindered
    assert all(long.startswith(short) for long, short in zip(unhindered, cut_off, strict=True))
    assert result["truncated"]["base"] == sum("base" in row["truncated"] for row in rows_of(places)) > 0


def test_evaluate_reads_each_sample_with_its_own_prompt(places: Places) -> None:
    data = places.data / "digits" / "test.jsonl"
    lines = data.read_text().splitlines()
    mixed = [line.replace("OCR:", "Table Recognition:") if index % 2 else line for index, line in enumerate(lines)]
    alone = evaluate.run(evaluate_request(places))
    plain = {row["line"]: row["base"] for row in rows_of(places)}
    data.write_text("\n".join(mixed))
    result = evaluate.run(evaluate_request(places))
    assert set(result["by_prompt"]) == {"OCR:", "Table Recognition:"}
    assert sum(scores["base"]["samples"] for scores in result["by_prompt"].values()) == alone["samples"]
    same = {row["line"]: row["base"] == plain[row["line"]] for row in rows_of(places)}
    assert all(same[row["line"]] for row in rows_of(places) if row["prompt"] == "OCR:")
    assert not all(same.values())


def test_a_limit_takes_samples_from_all_over_the_data(places: Places) -> None:
    evaluate.run(evaluate_request(places, limit=4))
    assert [row["line"] for row in rows_of(places)] == [1, 3, 5, 7]


def test_an_image_that_cannot_be_read_counts_as_read_empty(places: Places) -> None:
    sample = read_samples(places.data / "digits" / "test.jsonl")[2]
    sample.image.write_bytes(b"no image any more")
    result = evaluate.run(evaluate_request(places))
    row = rows_of(places)[2]
    assert result["errors"] == {"base": 1, "tuned": 1}
    assert result["scores"]["base"]["samples"] == 8
    assert (row["base"], row["cer"]["base"]) == ("", 1.0)
    assert "not an image" in row["errors"]["tuned"]


def test_a_suite_is_replaced_whole_or_left_alone(places: Places) -> None:
    evaluate.run(evaluate_request(places))
    suite = places.outputs / "a" / "eval" / "test"
    before = (suite / "scores.json").read_bytes()
    with pytest.raises(OcrvlError, match="there is no model in"):
        evaluate.run(evaluate_request(places, models={"base": "/models/tiny", "tuned": "/outputs/none"}))
    assert (suite / "scores.json").read_bytes() == before
    assert [path.name for path in suite.parent.iterdir()] == ["test"]


def test_the_export_job_makes_a_model_that_infer_reads_with(places: Places, digits: Path) -> None:
    checkpoint = places.outputs / "a" / "checkpoints" / "checkpoint-1"
    make_tiny_model(checkpoint, seed=5)
    request = {"checkpoint": "/outputs/a/checkpoints/checkpoint-1", "base": "/models/tiny", "method": "full"}
    result = export.run(asked(places, **request, family="tiny", out="/outputs/a/export", max_pixels=7840))
    assert result["out"] == "/outputs/a/export"
    assert result["tuned_tensors"] > 60
    written = json.loads((places.outputs / "a" / "export" / "preprocessor_config.json").read_text())
    assert (written["min_pixels"], written["max_pixels"]) == (2 * 784, 7840)
    images = [{"name": "x", "path": str(next((digits / "images").iterdir()))}]
    assert infer.run(infer_request(places, model="/outputs/a/export", images=images))["items"][0]["error"] is None
