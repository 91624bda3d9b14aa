"""Proof that training asks a model as the model's own chat template does.

The commonest failure in the field is a model trained with another member's prompt tail: it hallucinates. So no run
starts unless the text and the tokens of the training prompt are those of the base model's own files.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from ocrvl_modal.engines.reader import load_tokenizer
from ocrvl_modal.errors import OcrvlError, not_found, usage_error
from ocrvl_modal.models import FAMILY, FamilyMember

TEMPLATE_FILE = "chat_template.jinja"

_TOKEN_NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_OWN_FILES = "take {} from the model's own repository"


def check_prompt_identity(model: Path, member: FamilyMember, prompts: Iterable[str]) -> None:
    """Raise an error where ``member`` would ask the model in ``model`` otherwise than its own files say.

    For each of ``prompts`` the text must be that of the chat template; its tokens must be the same, and one of them
    the image's placeholder, by the number that the model's configuration gives it.
    """
    tokenizer = load_tokenizer(model)
    template = _Template(model)
    image_token = _read_json(model / "config.json").get("image_token_id")
    for prompt in prompts:
        ours, theirs = member.render_prompt(prompt), template.render(prompt)
        our_tokens, their_tokens = (tokenizer.encode(text, add_special_tokens=False).ids for text in (ours, theirs))
        if ours != theirs or our_tokens != their_tokens:
            raise _differs(model, member, prompt, ours, theirs)
        if our_tokens.count(image_token) != 1:
            raise usage_error(
                f"{model}: the tokenizer does not turn the prompt's image placeholder into token {image_token},"
                " the image token of config.json",
                _OWN_FILES.format("config.json and tokenizer.json"),
            )


class _Template:
    """A model's chat template, rendered as transformers does."""

    def __init__(self, model: Path) -> None:
        from jinja2 import TemplateError

        self._path = model / TEMPLATE_FILE
        try:
            self._template = _environment().from_string(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise not_found(f"there is no {self._path}", _OWN_FILES.format(TEMPLATE_FILE)) from error
        except TemplateError as error:
            raise self._broken(error) from error
        self._tokens = _named_tokens(_read_json(model / "tokenizer_config.json"))

    def render(self, prompt: str) -> str:
        """Return the text that the template makes of one image and ``prompt``, ready for the answer."""
        content = [{"type": "image"}, {"type": "text", "text": prompt}]
        messages = [{"role": "user", "content": content}]
        try:
            text: str = self._template.render(
                messages=messages, tools=None, documents=None, add_generation_prompt=True, **self._tokens
            )
        except Exception as error:  # a template may fail in any way that code does
            raise self._broken(error) from error
        return text

    def _broken(self, error: Exception) -> OcrvlError:
        return usage_error(f"{self._path} cannot be rendered: {error}", _OWN_FILES.format(TEMPLATE_FILE))


def _environment() -> Any:
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = lambda form: datetime.now().astimezone().strftime(form)
    environment.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False, **options)
    return environment


def _raise(message: str) -> NoReturn:
    raise ValueError(message)


def _named_tokens(config: dict[str, Any]) -> dict[str, str]:
    """Return the special tokens that a template may name; each stands in the file as text or with its properties."""
    tokens = {}
    for name in _TOKEN_NAMES:
        token = config.get(name)
        if text := token.get("content") if isinstance(token, dict) else token:
            tokens[name] = str(text)
    return tokens


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise not_found(f"there is no {path}", _OWN_FILES.format(path.name)) from error
    except ValueError as error:
        raise usage_error(f"{path} is not JSON: {error}", _OWN_FILES.format(path.name)) from error
    if not isinstance(content, dict):
        raise usage_error(f"{path} holds no JSON object", _OWN_FILES.format(path.name))
    return content


def _differs(model: Path, member: FamilyMember, prompt: str, ours: str, theirs: str) -> OcrvlError:
    fitting = [other.name for other in FAMILY.values() if other.repository and other.render_prompt(prompt) == theirs]
    return usage_error(
        f"{member.name} is asked with {_tail(ours, prompt)} after the prompt, and {model / TEMPLATE_FILE} says"
        f" {_tail(theirs, prompt)}: a model trained so would hallucinate",
        f"--set model.family={fitting[-1]}" if fitting else _OWN_FILES.format(TEMPLATE_FILE),
    )


def _tail(text: str, prompt: str) -> str:
    """Return what stands after the prompt, quoted; the whole text where the prompt is not in it."""
    return repr(text.rpartition(prompt)[2])
