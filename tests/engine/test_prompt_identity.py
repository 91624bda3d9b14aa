"""No run starts with another prompt than the model's own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from conftest import Shell
from ocrvl_modal.engines import ENGINE_NAMES, get_engine
from ocrvl_modal.engines.prompt_identity import check_prompt_identity, prompt_identity_findings
from ocrvl_modal.engines.text_difference import show_difference
from ocrvl_modal.errors import ExitCode, OcrvlError
from ocrvl_modal.models import FAMILY

# As the family's own templates are written: the first names its image's marks.
TEMPLATE = """\
{%- if not add_generation_prompt is defined -%}
    {%- set add_generation_prompt = true -%}
{%- endif -%}
{%- if not cls_token is defined -%}
    {%- set cls_token = "<|begin_of_sentence|>" -%}
{%- endif -%}
{%- if not eos_token is defined -%}
    {%- set eos_token = "</s>" -%}
{%- endif -%}
IMAGE_NAME
{{- cls_token -}}
{%- for message in messages -%}
    {%- if message["role"] == "user" -%}
        {{- "User: " -}}
        {%- for content in message["content"] -%}
            {%- if content["type"] == "image" -%}
                {{ IMAGE }}
            {%- endif -%}
        {%- endfor -%}
        {%- for content in message["content"] -%}
            {%- if content["type"] == "text" -%}
                {{ content["text"] }}
            {%- endif -%}
        {%- endfor -%}
        {{ "\\n" -}}
    {%- elif message["role"] == "assistant" -%}
        {{- "TAIL" -}}
        {%- for content in message["content"] -%}
            {%- if content["type"] == "text" -%}
                {{ content["text"] }}
            {%- endif -%}
        {%- endfor -%}
        {{ eos_token -}}
    {%- else -%}
        {{- raise_exception("unknown role") -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- "TAIL" -}}
{%- endif -%}
"""
MARKS = '"<|IMAGE_START|><|IMAGE_PLACEHOLDER|><|IMAGE_END|>"'
NAME = f"{{%- if not image_token is defined -%}}{{%- set image_token = {MARKS} -%}}{{%- endif -%}}"
TEMPLATE_0_9B = (
    TEMPLATE.replace("IMAGE_NAME", NAME).replace("{{ IMAGE }}", "{{ image_token }}").replace("TAIL", "Assistant: ")
)
TEMPLATE_1_5 = (
    TEMPLATE.replace("IMAGE_NAME", "").replace("{{ IMAGE }}", "{{ " + MARKS + " }}").replace("TAIL", "Assistant:\\n")
)

OLD, NEW = FAMILY["paddleocr-vl-0.9b"], FAMILY["paddleocr-vl-1.5"]


@pytest.fixture
def model(tiny: Path, tmp_path: Path) -> Path:
    """A model folder whose files may be changed."""
    return Path(shutil.copytree(tiny, tmp_path / "model"))


def write_template(model: Path, template: str) -> None:
    (model / "chat_template.jinja").write_text(template)


@pytest.mark.parametrize(("member", "template"), [(OLD, TEMPLATE_0_9B), (NEW, TEMPLATE_1_5)])
def test_each_member_fits_its_own_template(model: Path, member: object, template: str) -> None:
    write_template(model, template)
    check_prompt_identity(model, member, [*member.prompts.values(), "A prompt of one's own: {x} %s"])


def test_the_tiny_model_fits_its_own_template(tiny: Path) -> None:
    check_prompt_identity(tiny, FAMILY["tiny"], FAMILY["tiny"].prompts.values())


@pytest.mark.parametrize(
    ("member", "template", "mended"),
    [(OLD, TEMPLATE_1_5, "paddleocr-vl-1.6"), (NEW, TEMPLATE_0_9B, "paddleocr-vl-0.9b")],
)
def test_another_member_s_tail_is_an_error_that_shows_both_and_mends(
    model: Path, member: object, template: str, mended: str
) -> None:
    write_template(model, template)
    with pytest.raises(OcrvlError) as caught:
        check_prompt_identity(model, member, ["OCR:"])
    assert r"OCR:\nAssistant: '" in caught.value.message
    assert r"OCR:\nAssistant:\n'" in caught.value.message
    assert caught.value.hint == f"--set model.family={mended}"
    assert caught.value.code is ExitCode.USAGE


def test_a_template_of_no_member_asks_for_the_model_s_own_file(model: Path) -> None:
    write_template(model, TEMPLATE_0_9B.replace("User: ", "Human: "))
    with pytest.raises(OcrvlError) as caught:
        check_prompt_identity(model, OLD, ["OCR:"])
    assert "chat_template.jinja" in caught.value.hint


@pytest.mark.parametrize("engine", ENGINE_NAMES)
def test_every_engine_writes_the_samples_of_0_9b(model: Path, engine: str) -> None:
    write_template(model, TEMPLATE_0_9B)
    check_prompt_identity(model, OLD, OLD.prompts.values(), get_engine(engine).sample_pieces)


@pytest.mark.parametrize("engine", ["transformers", "paddleformers"])
def test_the_engines_of_1_5_write_its_samples(model: Path, engine: str) -> None:
    write_template(model, TEMPLATE_1_5)
    check_prompt_identity(model, NEW, NEW.prompts.values(), get_engine(engine).sample_pieces)


def test_erniekit_does_not_write_the_samples_of_1_5(model: Path) -> None:
    write_template(model, TEMPLATE_1_5)
    with pytest.raises(OcrvlError, match="hallucinate"):
        check_prompt_identity(model, NEW, ["OCR:"], get_engine("erniekit").sample_pieces)


@pytest.mark.parametrize("instead", ['{{ "<|end_of_sentence|>" -}}', "", '{{ " " + eos_token -}}'])
def test_the_end_of_the_answer_is_compared_too(model: Path, instead: str) -> None:
    write_template(model, TEMPLATE_0_9B.replace("{{ eos_token -}}", instead))
    with pytest.raises(OcrvlError) as caught:
        check_prompt_identity(model, OLD, ["OCR:"])
    assert "^" in caught.value.message
    assert "</s>" in caught.value.message


@pytest.mark.parametrize("template", ["{% if %}", "{{ raise_exception('no') }}", "{{ messages[7].x.y }}"])
def test_a_broken_template_is_a_usage_error(model: Path, template: str) -> None:
    write_template(model, template)
    with pytest.raises(OcrvlError, match="cannot be rendered") as caught:
        check_prompt_identity(model, OLD, ["OCR:"])
    assert caught.value.code is ExitCode.USAGE


@pytest.mark.parametrize("name", ["chat_template.jinja", "tokenizer.json", "tokenizer_config.json", "config.json"])
def test_a_missing_file_is_named(model: Path, name: str) -> None:
    (model / name).unlink()
    with pytest.raises(OcrvlError, match=name) as caught:
        check_prompt_identity(model, FAMILY["tiny"], ["OCR:"])
    assert caught.value.code is ExitCode.NOT_FOUND


@pytest.mark.parametrize("name", ["tokenizer_config.json", "config.json"])
@pytest.mark.parametrize("content", ["{", "[]", "5"])
def test_a_damaged_file_is_named(model: Path, name: str, content: str) -> None:
    (model / name).write_text(content)
    with pytest.raises(OcrvlError, match=name):
        check_prompt_identity(model, NEW, ["OCR:"])


def test_a_tokenizer_of_another_model_is_noticed(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "image_token_id": 100295}))
    with pytest.raises(OcrvlError, match="token 100295") as caught:
        check_prompt_identity(model, FAMILY["tiny"], ["OCR:"])
    assert caught.value.code is ExitCode.USAGE


def test_a_special_token_written_with_its_properties_is_used(model: Path) -> None:
    config = json.loads((model / "tokenizer_config.json").read_text())
    token = {"content": "<|end_of_sentence|>", "special": True}
    (model / "tokenizer_config.json").write_text(json.dumps({**config, "cls_token": token}))
    write_template(model, TEMPLATE_0_9B)
    with pytest.raises(OcrvlError):
        check_prompt_identity(model, OLD, ["OCR:"])


def test_findings_tell_each_prompt_that_differs(model: Path) -> None:
    write_template(model, TEMPLATE_1_5)
    found = prompt_identity_findings(model, OLD, ["OCR:", "Table Recognition:"])
    assert [finding.kind for finding in found] == ["prompt_identity"] * 2
    assert "Table Recognition:" in found[1].message
    assert found[0].hint == "--set model.family=paddleocr-vl-1.6"
    assert prompt_identity_findings(model, NEW, ["OCR:"]) == ()


def test_a_model_without_the_files_is_found_not_to_be_comparable(tmp_path: Path) -> None:
    (finding,) = prompt_identity_findings(tmp_path, OLD, ["OCR:", "Table Recognition:"])
    assert "cannot be compared" in finding.message
    assert "tokenizer.json" in finding.message


def test_pieces_that_make_other_tokens_than_the_whole_prompt_are_noticed(model: Path) -> None:
    write_template(model, TEMPLATE_0_9B)

    def cut_into_letters(member: object, prompt: str, target: str) -> tuple[str, ...]:
        first, *rest = get_engine("transformers").sample_pieces(OLD, prompt, target)
        return "<|begin_of_sentence|>U", first.removeprefix("<|begin_of_sentence|>U"), *rest

    tokenizer = json.loads((model / "tokenizer.json").read_text())
    joined = {"id": len(tokenizer["model"]["vocab"]), "content": "User", "special": False}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    tokenizer["added_tokens"].append({**joined, **flags})
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))
    check_prompt_identity(model, OLD, ["OCR:"])
    with pytest.raises(OcrvlError, match="other tokens"):
        check_prompt_identity(model, OLD, ["OCR:"], cut_into_letters)


def test_what_differs_is_marked_below_both_texts() -> None:
    assert show_difference("abc </s>", "abc\n</s>").splitlines() == [
        "  trained   'abc </s>'",
        "                ^",
        r"  template  'abc\n</s>'",
        "                ^^",
    ]


def test_what_one_text_lacks_is_marked_where_it_is_missing() -> None:
    assert show_difference("ab", "abc").splitlines() == [
        "  trained   'ab'",
        "               ^",
        "  template  'abc'",
        "               ^",
    ]


class TestBeforeAnythingIsSubmitted:
    """The same comparison where the model's files are on this machine already."""

    def test_a_run_is_not_even_planned(self, shell: Shell) -> None:
        write_template(shell.home / "stores" / "models" / "tiny", TEMPLATE_1_5)
        said = shell("train", "--data", "digits/train.jsonl", "--model", "tiny", "--dry-run", code=ExitCode.USAGE)
        assert r"OCR:\nAssistant:\n" in said.err
        assert "^" in said.err

    def test_data_check_finds_it_in_the_folder_of_a_model(self, shell: Shell) -> None:
        model = shell.home / "my-model"
        shutil.copytree(shell.home / "stores" / "models" / "tiny", model)
        check = ("data", "check", "digits/train.jsonl", "--model", model, "--images", "none", "--json")
        assert json.loads(shell(*check).out)["data"]["valid"]
        write_template(model, TEMPLATE_1_5)
        report = json.loads(shell(*check, code=ExitCode.DATA_INVALID).out)["data"]
        assert report["counts"] == {"prompt_identity": len(FAMILY["tiny"].prompts)}
        assert "hallucinate" in report["findings"][0]["examples"][0]["message"]
