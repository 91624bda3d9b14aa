"""A model's own chat template, rendered as transformers does."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from ocrvl_modal.errors import OcrvlError, not_found, usage_error

TEMPLATE_FILE = "chat_template.jinja"

OWN_FILES = "take {} from the model's own repository"
"""What mends a file of a model that is missing or damaged."""

_TOKEN_NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


class ChatTemplate:
    """The template in a model's folder, with the special tokens that it may name."""

    def __init__(self, model: Path) -> None:
        """Read it; raise *not found* or a usage error where the folder has none that works."""
        from jinja2 import TemplateError

        self._path = model / TEMPLATE_FILE
        try:
            self._template = _environment().from_string(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise not_found(f"there is no {self._path}", OWN_FILES.format(TEMPLATE_FILE)) from error
        except (TemplateError, UnicodeDecodeError) as error:
            raise self._broken(error) from error
        self._tokens = _named_tokens(read_json(model / "tokenizer_config.json"))

    def prompt(self, prompt: str) -> str:
        """Return the text that the template makes of one image and ``prompt``, ready for the answer."""
        return self._render(_turns(prompt), add_generation_prompt=True)

    def sample(self, prompt: str, target: str) -> str:
        """Return the text that the template makes of one image, ``prompt`` and the answer ``target``."""
        answer = {"role": "assistant", "content": [{"type": "text", "text": target}]}
        return self._render([*_turns(prompt), answer], add_generation_prompt=False)

    def _render(self, messages: list[dict[str, Any]], *, add_generation_prompt: bool) -> str:
        try:
            text: str = self._template.render(
                messages=messages,
                tools=None,
                documents=None,
                add_generation_prompt=add_generation_prompt,
                **self._tokens,
            )
        except Exception as error:  # a template may fail in any way that code does
            raise self._broken(error) from error
        return text

    def _broken(self, error: Exception) -> OcrvlError:
        return usage_error(f"{self._path} cannot be rendered: {error}", OWN_FILES.format(TEMPLATE_FILE))


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in one of a model's JSON files; raise *not found* or a usage error without one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise not_found(f"there is no {path}", OWN_FILES.format(path.name)) from error
    except ValueError as error:
        raise usage_error(f"{path} is not JSON: {error}", OWN_FILES.format(path.name)) from error
    if not isinstance(content, dict):
        raise usage_error(f"{path} holds no JSON object", OWN_FILES.format(path.name))
    return content


def _turns(prompt: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt}]}]


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
