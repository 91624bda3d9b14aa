"""The job that reads images with a model."""

from __future__ import annotations

import difflib
import time
from dataclasses import asdict
from functools import partial
from typing import Any

from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, model_validator

from ocrvl_modal.engines.reader import BATCH_SIZE, MAX_NEW_TOKENS, Reader
from ocrvl_modal.errors import did_you_mean, usage_error
from ocrvl_modal.jobs.progress import report_progress
from ocrvl_modal.models import FamilyMember, get_member, identify_folder
from ocrvl_modal.places import Places


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ImageToRead(_Frozen):
    """One image: a file that the job can reach, or its bytes, in base64 so that a request is plain text."""

    name: str
    path: str | None = None
    content: Base64Bytes | None = None

    @model_validator(mode="after")
    def _one_source(self) -> ImageToRead:
        if bool(self.path) == bool(self.content):
            raise ValueError("an image has either a path or a content")
        return self


class InferRequest(_Frozen):
    """What to read, and with which model.

    ``model`` is a folder or a place; ``family`` is told from it where it is not given. ``prompt`` goes before ``task``,
    which stands for the model's own prompt of that task.
    """

    places: Places
    model: str
    family: str | None = None
    images: tuple[ImageToRead, ...] = Field(min_length=1)
    task: str = "text"
    prompt: str | None = None
    max_new_tokens: int = Field(MAX_NEW_TOKENS, ge=1)
    batch_size: int = Field(BATCH_SIZE, ge=1)


class ReadItem(_Frozen):
    """What was read in one image; ``error`` says why nothing could be."""

    name: str
    text: str
    tokens: int
    truncated: bool
    error: str | None


class InferResult(_Frozen):
    """All readings, in the order of the request, and what may be wrong with the request itself."""

    model: str
    family: str
    prompt: str
    items: tuple[ReadItem, ...]
    seconds: float
    warnings: tuple[str, ...]


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Read images. One that cannot be read has its error in its item, and the others are read all the same."""
    asked = InferRequest.model_validate(request)
    folder = asked.places.resolve(asked.model)
    member = get_member(asked.family) if asked.family else identify_folder(folder)
    prompt = asked.prompt if asked.prompt is not None else _prompt_of(member, asked.task)
    report_progress("loading the model", 0, 1)
    reader = Reader(folder, member)
    report_progress("loading the model", 1, 1)
    started = time.monotonic()
    readings = reader.read(
        [image.content or asked.places.resolve(image.path or "") for image in asked.images],
        prompt,
        max_new_tokens=asked.max_new_tokens,
        batch_size=asked.batch_size,
        on_progress=partial(report_progress, "reading images"),
    )
    result = InferResult(
        model=asked.model,
        family=member.name,
        prompt=prompt,
        items=tuple(
            ReadItem(name=image.name, **asdict(reading)) for image, reading in zip(asked.images, readings, strict=True)
        ),
        seconds=round(time.monotonic() - started, 3),
        warnings=_slips(member, prompt),
    )
    return result.model_dump(mode="json")


def _prompt_of(member: FamilyMember, task: str) -> str:
    if task not in member.prompts:
        raise usage_error(f"{member.name} has no task '{task}'", f"--task: {did_you_mean(task, member.prompts)}")
    return member.prompts[task]


def _slips(member: FamilyMember, prompt: str) -> tuple[str, ...]:
    """Warn of a prompt that is nearly one of the model's own: a missing colon costs most of the accuracy."""
    near = difflib.get_close_matches(prompt, member.prompts.values(), n=1, cutoff=0.75)
    if prompt in member.prompts.values() or not near:
        return ()
    return (f"the prompt {prompt!r} is not one of {member.name}'s own: did you mean {near[0]!r}?",)
