from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from conftest import Said
from ocrvl_modal import cli
from ocrvl_modal.configs import shipped_recipes
from ocrvl_modal.recipes import TrainRecipe, recipe_from

Ocrvl = Callable[..., Said]
TEXT_LORA = "paddleocr-vl-1.6/text-lora"


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def ocrvl(capsys: pytest.CaptureFixture[str]) -> Ocrvl:
    def run(*arguments: str) -> Said:
        code = cli.run(["recipe", *arguments])
        return Said(code, *capsys.readouterr())

    return run


def test_ls_names_every_shipped_recipe(ocrvl: Ocrvl) -> None:
    ran = ocrvl("ls")
    assert ran.code == 0
    assert [name for name in shipped_recipes() if name not in ran.out] == []


def test_ls_tells_model_method_and_purpose(ocrvl: Ocrvl) -> None:
    recipes = {row["name"]: row for row in ocrvl("ls", "--json").data["recipes"]}
    assert set(recipes) == set(shipped_recipes())
    assert (recipes[TEXT_LORA]["model"], recipes[TEXT_LORA]["method"]) == ("paddleocr-vl-1.6", "lora")
    assert recipes[TEXT_LORA]["title"].startswith("Text lines and regions with PaddleOCR-VL 1.6")


@pytest.mark.parametrize("name", shipped_recipes())
def test_show_prints_the_file_as_it_is(name: str, ocrvl: Ocrvl) -> None:
    ran = ocrvl("show", name)
    assert (ran.code, ran.out) == (0, shipped_recipes()[name].read_text(encoding="utf-8"))


def test_show_resolved_prints_a_recipe_that_repeats_the_run(ocrvl: Ocrvl) -> None:
    ran = ocrvl("show", "quickstart", "--resolved")
    assert recipe_from(yaml.safe_load(ran.out)) == recipe_from({"model": {"name": "tiny"}})


def test_show_default_prints_every_key(ocrvl: Ocrvl) -> None:
    assert recipe_from(yaml.safe_load(ocrvl("show", "default").out)) == TrainRecipe()
    assert recipe_from(yaml.safe_load(ocrvl("show", "default", "--resolved").out)) == recipe_from({})


def test_show_of_an_unknown_recipe_ends_in_not_found(ocrvl: Ocrvl) -> None:
    ran = ocrvl("show", "quickstar")
    assert (ran.code, ran.out) == (5, "")
    assert "did you mean 'quickstart'?" in ran.err


def test_cp_copies_to_the_file_name_here(ocrvl: Ocrvl) -> None:
    ran = ocrvl("cp", TEXT_LORA)
    assert (ran.code, ran.out) == (0, "text-lora.yaml\n")
    assert Path("text-lora.yaml").read_bytes() == shipped_recipes()[TEXT_LORA].read_bytes()
    assert "ocrvl recipe check text-lora.yaml" in ran.err


def test_cp_copies_into_a_folder_or_to_a_name(ocrvl: Ocrvl) -> None:
    Path("mine").mkdir()
    assert ocrvl("cp", TEXT_LORA, "mine", "--json").data["path"] == "mine/text-lora.yaml"
    assert ocrvl("cp", TEXT_LORA, "yours/a.yaml", "--json").data["path"] == "yours/a.yaml"
    assert Path("mine/text-lora.yaml").read_bytes() == Path("yours/a.yaml").read_bytes()


def test_cp_does_not_overwrite_unless_forced(ocrvl: Ocrvl) -> None:
    Path("text-lora.yaml").write_text("seed: 1\n", encoding="utf-8")
    refused = ocrvl("cp", TEXT_LORA)
    assert refused.code == 2
    assert f"ocrvl recipe cp {TEXT_LORA} text-lora.yaml --force" in refused.err
    assert Path("text-lora.yaml").read_text(encoding="utf-8") == "seed: 1\n"
    assert ocrvl("cp", TEXT_LORA, "--force").code == 0
    assert Path("text-lora.yaml").read_bytes() == shipped_recipes()[TEXT_LORA].read_bytes()


def test_check_tells_only_what_differs_from_the_defaults(ocrvl: Ocrvl) -> None:
    Path("mine.yaml").write_text("method: lora\nseed: 23\n", encoding="utf-8")
    changes = ocrvl("check", "mine.yaml", "--set", "lora.rank=16", "--json").data["changes"]
    assert {change["key"]: (change["value"], change["default"]) for change in changes} == {
        "method": ("lora", "full"),
        "lora.rank": (16, 8),
        "optimizer.learning_rate": (5e-4, 5e-6),
    }


def test_check_proposes_the_command_that_trains_with_what_was_set(ocrvl: Ocrvl) -> None:
    ran = ocrvl("check", TEXT_LORA, "--set", "tracking.note=two words")
    assert ran.code == 0
    assert f"ocrvl train {TEXT_LORA} --set 'tracking.note=two words' --data FILE" in ran.err


@pytest.mark.parametrize(
    ("content", "code", "word"),
    [
        ("lora: [", 2, "is not YAML"),
        ("optimiser: {}", 2, "did you mean 'optimizer'?"),
        ("seed: soon", 2, "recipe key 'seed'"),
        ("engine: erniekit", 2, "hallucinate"),
        ("model: {name: tiny}\nengine: erniekit", 2, "--engine transformers"),
        ("model: {name: paddleocr-vl-9}", 5, "there is no model named"),
        ("model: {name: ./here}", 5, "there is no model"),
    ],
)
def test_check_refuses_what_could_not_run(content: str, code: int, word: str, ocrvl: Ocrvl) -> None:
    Path("mine.yaml").write_text(content, encoding="utf-8")
    ran = ocrvl("check", "mine.yaml")
    assert (ran.code, ran.out) == (code, "")
    assert word in ran.err


def test_check_tells_an_error_as_json_too(ocrvl: Ocrvl) -> None:
    ran = ocrvl("check", "quickstart", "--set", "optimizer.lr=1", "--json")
    assert ran.code == 2
    assert ran.json["error"]["code"] == "usage"


def test_check_knows_the_family_of_a_model_folder(ocrvl: Ocrvl) -> None:
    Path("here").mkdir()
    Path("here/config.json").write_text("{}", encoding="utf-8")
    Path("here/ocrvl.json").write_text('{"family": "tiny"}', encoding="utf-8")
    Path("mine.yaml").write_text("model: {name: ./here}\n", encoding="utf-8")
    assert ocrvl("check", "mine.yaml", "--json").data["recipe"]["batch"]["per_device"] == 16


def test_check_leaves_a_model_in_a_store_to_its_backend(ocrvl: Ocrvl) -> None:
    Path("mine.yaml").write_text("model: {name: /models/lines}\n", encoding="utf-8")
    assert ocrvl("check", "mine.yaml").code == 0
