"""Checks of the base models in the store: whole files, and prompts as their own templates have them."""

from __future__ import annotations

import json
from pathlib import Path

from ocrvl_modal import fetched_models, files
from ocrvl_modal.doctor.findings import Finding, failed, passed, skipped
from ocrvl_modal.doctor.subject import Subject
from ocrvl_modal.engines.libraries import is_installed
from ocrvl_modal.engines.prompt_identity import check_prompt_identity
from ocrvl_modal.engines.tiny import make_tiny_model
from ocrvl_modal.engines.weights import find_weight_files
from ocrvl_modal.errors import OcrvlError
from ocrvl_modal.models import FAMILY, FamilyMember, find_member, identify_folder

_FETCH = "ocrvl download model {}"
_LARGEST_HEADER_BYTES = 100 << 20
_TO_MAKE_THE_TOY = ("numpy", "safetensors", "tokenizers")


def model_files(subject: Subject) -> Finding:
    """Compare the files of each model with what was noted when it came, and with what its weights' header says."""
    models = stored_models(subject.places.models)
    if not models:
        return skipped("there is no model in the store", _FETCH.format("MODEL"))
    problems = {folder.name: problem for folder in models if (problem := problem_with(folder))}
    sizes = {folder.name: files.size_of_tree(folder) for folder in models}
    if problems:
        name, problem = next(iter(problems.items()))
        more = f"; and {len(problems) - 1} more" if len(problems) > 1 else ""
        known = find_member(name)
        hint = f"{_FETCH.format(known.name)} --force" if known else f"ocrvl volume put FOLDER /models/{name} --force"
        return failed(f"{name}: {problem}{more}", hint, size_bytes=sizes, problems=problems)
    return passed(f"whole: {', '.join(sizes)}", size_bytes=sizes)


def prompt(subject: Subject) -> Finding:
    """Compare the prompts of each model's family member with its own chat template, as text and as tokens."""
    models = [folder for folder in stored_models(subject.places.models) if (folder / "tokenizer.json").is_file()]
    if not models:
        return _prompt_of_the_toy(subject.scratch / "tiny")
    told: dict[str, list[str]] = {}
    for folder in models:
        try:
            member = _member_of(folder)
            check_prompt_identity(folder, member, member.prompts.values())
        except OcrvlError as error:
            return failed(error.message, error.hint, model=folder.name, asked_as_their_templates_say=told)
        told[folder.name] = sorted(member.prompts)
    return passed(f"asked as their templates say: {', '.join(told)}", prompts=told)


def stored_models(store: Path) -> list[Path]:
    """Return the folders of the store that hold a model."""
    if not store.is_dir():
        return []
    return sorted(path.parent for path in store.glob("*/config.json") if not path.parent.name.startswith("."))


def problem_with(folder: Path) -> str | None:
    """Return what is wrong with a model's files, or ``None``; no weight is read."""
    try:
        noted = fetched_models.problem_with_folder(folder)
        return noted or next(filter(None, map(_problem_with_weights, find_weight_files(folder))), None)
    except OcrvlError as error:
        return error.message


def _problem_with_weights(path: Path) -> str | None:
    """Compare the size of a safetensors file with its header: 8 bytes of length, so much JSON, then the tensors.

    (Source: the format's own description, huggingface/safetensors.)
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or not 2 <= length <= min(size - 8, _LARGEST_HEADER_BYTES):
            return f"{path.name} is not a safetensors file, or its beginning is lost"
        try:
            header = json.loads(stream.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            return f"{path.name} has a damaged header"
    expected = 8 + length + max(ends, default=0)
    return None if size == expected else f"{path.name} has {size} bytes, and {expected} by its header"


def _member_of(folder: Path) -> FamilyMember:
    """Return the member by the folder's name, which tells 1.6 from 1.5; any other folder is known by its files."""
    return find_member(folder.name) or identify_folder(folder)


def _prompt_of_the_toy(folder: Path) -> Finding:
    missing = [name for name in _TO_MAKE_THE_TOY if not is_installed(name)]
    if missing:
        return skipped(
            f"there is no model in the store, and making the toy takes {', '.join(missing)}", _FETCH.format("MODEL")
        )
    member = FAMILY["tiny"]
    make_tiny_model(folder)
    check_prompt_identity(folder, member, member.prompts.values())
    return passed(
        "asked as its template says: the toy, made for this; no model is in the store",
        prompts={member.name: sorted(member.prompts)},
    )
