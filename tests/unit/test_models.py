from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrvl_modal.errors import ExitCode, OcrvlError
from ocrvl_modal.models import (
    DEFAULT_MODEL,
    FAMILY,
    FAMILY_FILE,
    MERGED_PATCH_PIXELS,
    PixelLimits,
    check_pairing,
    default_engine,
    find_member,
    get_member,
    identify_folder,
    resized_size,
    task_of,
    vision_tokens,
)

RESIZE_CASES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "cases" / "smart_resize.json").read_text("utf-8")
)["cases"]

sides = st.integers(min_value=1, max_value=20_000)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that looks like a model's, but does not say whose."""
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("case", RESIZE_CASES, ids=lambda case: f"{case['h']}x{case['w']}-{case['max_pixels']}")
def test_images_take_as_many_tokens_as_in_the_reference(case: dict[str, Any]) -> None:
    """The reference is ``smart_resize`` in PaddleFormers 1.2.0, whose results stand in the cases."""
    limits = PixelLimits(case["min_pixels"], case["max_pixels"])
    assert limits.resize(case["h"], case["w"]) == (case["resized_h"], case["resized_w"])
    assert limits.vision_tokens(case["h"], case["w"]) == case["vision_tokens"]
    size = case["h"], case["w"], case["min_pixels"], case["max_pixels"]
    assert (resized_size(*size), vision_tokens(*size)) == (limits.resize(*size[:2]), case["vision_tokens"])


@given(height=sides, width=sides, member=st.sampled_from(list(FAMILY.values())))
def test_a_resized_image_keeps_to_the_grid_and_the_limits(height: int, width: int, member: Any) -> None:
    try:
        new_height, new_width = member.pixels.resize(height, width)
    except ValueError:
        return
    assert new_height % MERGED_PATCH_PIXELS == 0
    assert new_width % MERGED_PATCH_PIXELS == 0
    assert member.pixels.minimum <= new_height * new_width <= member.pixels.maximum


@pytest.mark.parametrize(("height", "width"), [(28, 28 * 201), (30 * 201, 30)])
def test_an_image_that_the_processor_refuses_is_refused(height: int, width: int) -> None:
    with pytest.raises(ValueError, match="more than 200 times"):
        FAMILY[DEFAULT_MODEL].pixels.resize(height, width)


def test_an_image_that_would_vanish_is_refused() -> None:
    with pytest.raises(ValueError, match="too thin"):
        FAMILY["tiny"].pixels.resize(28, 28 * 200)


@pytest.mark.parametrize(
    ("name", "tail"),
    [
        ("paddleocr-vl-0.9b", "Assistant: "),
        ("paddleocr-vl-1.5", "Assistant:\n"),
        ("paddleocr-vl-1.6", "Assistant:\n"),
        ("tiny", "Assistant: "),
    ],
)
def test_each_member_is_asked_with_its_own_tail(name: str, tail: str) -> None:
    image = "<|IMAGE_START|><|IMAGE_PLACEHOLDER|><|IMAGE_END|>"
    assert FAMILY[name].render_prompt("OCR:") == f"<|begin_of_sentence|>User: {image}OCR:\n{tail}"


def test_spotting_and_seals_came_with_1_5() -> None:
    with_them = [name for name, member in FAMILY.items() if {"spotting", "seal"} <= set(member.prompts)]
    assert with_them == ["paddleocr-vl-1.5", "paddleocr-vl-1.6"]
    assert all(prompt.endswith(":") for member in FAMILY.values() for prompt in member.prompts.values())


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("1.6", "paddleocr-vl-1.6"),
        ("V1.5", "paddleocr-vl-1.5"),
        ("paddleocr-vl", "paddleocr-vl-0.9b"),
        ("0.9B", "paddleocr-vl-0.9b"),
        ("PaddlePaddle/PaddleOCR-VL-1.6", "paddleocr-vl-1.6"),
        ("paddlepaddle/paddleocr-vl", "paddleocr-vl-0.9b"),
        ("Tiny", "tiny"),
    ],
)
def test_a_member_answers_to_its_aliases_and_its_repository(text: str, name: str) -> None:
    assert get_member(text).name == name


def test_no_two_members_share_a_name() -> None:
    called = [word for member in FAMILY.values() for word in (member.name, *member.aliases, member.repository or "?")]
    assert len(called) == len({word.lower() for word in called})


@pytest.mark.parametrize("text", ["", "none", "paddleocr-vl-1.7"])
def test_nothing_else_is_a_member(text: str) -> None:
    assert find_member(text) is None


def test_an_unknown_model_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(OcrvlError) as caught:
        get_member("paddleocr-vl-1.7")
    assert caught.value.code is ExitCode.NOT_FOUND
    assert "did you mean 'paddleocr-vl-1." in caught.value.hint


@pytest.mark.parametrize("name", ["paddleocr-vl-1.5", "paddleocr-vl-1.6"])
@pytest.mark.parametrize("method", ["full", "lora"])
def test_erniekit_must_not_train_a_model_whose_prompt_it_does_not_write(name: str, method: str) -> None:
    with pytest.raises(OcrvlError) as caught:
        check_pairing(FAMILY[name], "erniekit", method)
    assert caught.value.code is ExitCode.USAGE
    assert "hallucinate" in caught.value.message
    assert caught.value.hint == "--engine paddleformers"


def test_erniekit_trains_the_0_9b_model_but_not_by_lora() -> None:
    check_pairing(FAMILY["paddleocr-vl-0.9b"], "erniekit", "full")
    with pytest.raises(OcrvlError) as caught:
        check_pairing(FAMILY["paddleocr-vl-0.9b"], "erniekit", "lora")
    assert "cannot merge" in caught.value.message
    assert caught.value.hint == "--engine paddleformers"


def test_the_tiny_model_is_no_food_for_erniekit() -> None:
    check_pairing(FAMILY["tiny"], "paddleformers", "lora")
    with pytest.raises(OcrvlError, match="cannot train tiny"):
        check_pairing(FAMILY["tiny"], "erniekit", "full")


@pytest.mark.parametrize(
    ("member", "method", "backend", "engine"),
    [
        ("paddleocr-vl-0.9b", "full", "modal", "erniekit"),
        ("paddleocr-vl-0.9b", "lora", "modal", "paddleformers"),
        ("paddleocr-vl-1.5", "full", "modal", "paddleformers"),
        ("paddleocr-vl-1.6", "lora", "modal", "paddleformers"),
        ("tiny", "full", "modal", "transformers"),
        ("paddleocr-vl-0.9b", "full", "local", "transformers"),
        ("paddleocr-vl-1.6", "lora", "local", "transformers"),
    ],
)
def test_the_engine_suits_model_method_and_backend(member: str, method: str, backend: str, engine: str) -> None:
    assert default_engine(FAMILY[member], method, backend) == engine
    check_pairing(FAMILY[member], engine, method)


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("method", ["full", "lora"])
def test_our_own_engine_trains_every_member_by_every_method(name: str, method: str) -> None:
    check_pairing(FAMILY[name], "transformers", method)


@pytest.mark.parametrize("name", FAMILY)
def test_a_model_that_we_made_says_what_it_is(name: str, folder: Path) -> None:
    (folder / FAMILY_FILE).write_text(json.dumps({"family": name}), encoding="utf-8")
    assert identify_folder(folder) is FAMILY[name]


@pytest.mark.parametrize(
    ("turn", "name"),
    [
        ('{{- "Assistant: " -}}', "paddleocr-vl-0.9b"),
        (r'{{- "Assistant:\n" -}}', "paddleocr-vl-1.6"),
    ],
)
def test_another_model_is_told_by_the_tail_of_its_template(turn: str, name: str, folder: Path) -> None:
    (folder / "chat_template.jinja").write_text(f"{{% if add_generation_prompt %}}{turn}{{% endif %}}", "utf-8")
    assert identify_folder(folder).name == name


@pytest.mark.parametrize("template", [None, b"{{ messages }}", b"\xff\xfe"])
def test_a_model_of_another_family_is_refused(template: bytes | None, folder: Path) -> None:
    if template is not None:
        (folder / "chat_template.jinja").write_bytes(template)
    with pytest.raises(OcrvlError) as caught:
        identify_folder(folder)
    assert caught.value.code is ExitCode.USAGE


@pytest.mark.parametrize("marker", ["", "{", "[]", "{}", "null"])
def test_a_damaged_family_file_is_an_error_that_names_it(marker: str, folder: Path) -> None:
    (folder / FAMILY_FILE).write_text(marker, encoding="utf-8")
    with pytest.raises(OcrvlError, match=FAMILY_FILE):
        identify_folder(folder)


def test_a_folder_without_a_model_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(OcrvlError) as caught:
        identify_folder(tmp_path)
    assert caught.value.code is ExitCode.NOT_FOUND


def test_a_prompt_of_any_member_tells_its_task_and_no_other_does() -> None:
    assert {task_of(prompt) for member in FAMILY.values() for prompt in member.prompts.values()} == {
        "text", "table", "formula", "chart", "spotting", "seal",
    }  # fmt: skip
    assert task_of("Table Recognition:") == "table"
    assert [task_of(prompt) for prompt in ("Table Recognition", "OCR: ", "ocr:", "")] == [None] * 4


@pytest.mark.parametrize("size", [(0, 10), (10, 0), (-1, 10)])
def test_an_image_without_pixels_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="no pixels"):
        resized_size(*size, 112_896, 1_003_520)
