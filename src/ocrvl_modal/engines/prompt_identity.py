"""Proof that training asks a model as the model's own chat template does.

The commonest failure in the field is a model trained with another member's prompt tail: it hallucinates. So no run
starts unless a whole sample, as text and as tokens, is what the base model's own files make of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path

from ocrvl_modal.data.schema import Finding
from ocrvl_modal.engines.chat_template import OWN_FILES, TEMPLATE_FILE, ChatTemplate, read_json
from ocrvl_modal.engines.reader import load_tokenizer
from ocrvl_modal.engines.text_difference import show_difference
from ocrvl_modal.errors import OcrvlError, usage_error
from ocrvl_modal.models import FAMILY, FamilyMember

Pieces = Callable[[FamilyMember, str, str], tuple[str, ...]]
"""How an engine writes a sample, see :meth:`ocrvl_modal.engines.base.Engine.sample_pieces`."""

LIBRARIES = ("jinja2", "tokenizers")
"""What must be importable to compare."""

_END = "</s>"
# Letters, digits, a space, the end of a line and the model's own prompt tail: what a template might treat in its way.
_TARGET = "12 ab\nAssistant: c"


def own_pieces(member: FamilyMember, prompt: str, target: str) -> tuple[str, ...]:
    """Return what we ourselves encode for a sample: all up to the answer, the answer, and its end."""
    return member.render_prompt(prompt), target, _END


def check_prompt_identity(
    model: Path, member: FamilyMember, prompts: Iterable[str], pieces: Pieces = own_pieces
) -> None:
    """Raise an error where an engine would train the model in ``model`` on other samples than its own files say.

    For each of ``prompts`` a sample's text must be that of the chat template; the tokens of its pieces must be those of
    the template's prompt and of what follows it, and one of them the image's placeholder, by the number that the
    model's configuration gives it.
    """
    comparison = _Comparison(model, member, pieces)
    for prompt in prompts:
        comparison.check(prompt)


def prompt_identity_findings(
    model: Path, member: FamilyMember, prompts: Iterable[str], pieces: Pieces = own_pieces
) -> tuple[Finding, ...]:
    """Return what :func:`check_prompt_identity` raises, as findings: one for each prompt that differs.

    A model without the files to compare with gives one finding that says so.
    """
    found: list[Finding] = []
    try:
        comparison = _Comparison(model, member, pieces)
    except OcrvlError as error:
        return (Finding("prompt_identity", f"the prompts cannot be compared: {error.message}", hint=error.hint),)
    for prompt in prompts:
        try:
            comparison.check(prompt)
        except OcrvlError as error:
            found.append(Finding("prompt_identity", error.message, hint=error.hint))
    return tuple(found)


class _Comparison:
    """One engine's way with one model."""

    def __init__(self, model: Path, member: FamilyMember, pieces: Pieces) -> None:
        self._model, self._member, self._pieces = model, member, pieces
        self._tokenizer = load_tokenizer(model)
        self._template = ChatTemplate(model)
        self._image_token: int = read_json(model / "config.json").get("image_token_id", -1)

    def check(self, prompt: str) -> None:
        """Compare text first, whose difference is easier to see than that of tokens."""
        pieces = self._pieces(self._member, prompt, _TARGET)
        asked, whole = self._template.prompt(prompt), self._template.sample(prompt, _TARGET)
        if "".join(pieces[:-2]) != asked:
            raise self._differs(prompt, "".join(pieces[:-2]), asked)
        if "".join(pieces) != whole:
            raise self._differs(prompt, "".join(pieces), whole)
        ours, theirs = self._tokens(*pieces), self._tokens(asked, _TARGET, whole[len(asked) + len(_TARGET) :])
        if ours != theirs:
            raise usage_error(
                f"{self._member.name}: the tokenizer makes other tokens of a sample's pieces than of"
                f" {self._model / TEMPLATE_FILE}:\n{show_difference(self._shown(ours), self._shown(theirs))}",
                OWN_FILES.format("tokenizer.json"),
            )
        if ours.count(self._image_token) != 1:
            raise usage_error(
                f"{self._model}: the tokenizer does not turn the prompt's image placeholder into token"
                f" {self._image_token}, the image token of config.json",
                OWN_FILES.format("config.json and tokenizer.json"),
            )

    def _tokens(self, *pieces: str) -> list[int]:
        encoded = (self._tokenizer.encode(piece, add_special_tokens=False).ids for piece in pieces)
        return list(chain.from_iterable(encoded))

    def _shown(self, tokens: list[int]) -> str:
        return " ".join(f"{token}:{self._tokenizer.id_to_token(token)}" for token in tokens)

    def _differs(self, prompt: str, ours: str, theirs: str) -> OcrvlError:
        fitting = [name for name, other in FAMILY.items() if other.repository and _writes(other, prompt, theirs)]
        return usage_error(
            f"{self._member.name} would be trained on other text than {self._model / TEMPLATE_FILE} says, and would"
            f" hallucinate:\n{show_difference(ours, theirs)}",
            f"--set model.family={fitting[-1]}" if fitting else OWN_FILES.format(TEMPLATE_FILE),
        )


def _writes(member: FamilyMember, prompt: str, text: str) -> bool:
    """Say whether a text is the prompt or the whole sample of a member."""
    return text in (member.render_prompt(prompt), "".join(own_pieces(member, prompt, _TARGET)))
