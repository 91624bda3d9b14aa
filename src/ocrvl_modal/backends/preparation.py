"""From what a user asked for to what can be submitted: everything that a CPU can find out before anything is spent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from ocrvl_modal import files
from ocrvl_modal.backends.base import Backend, OnProgress
from ocrvl_modal.backends.checking import Checking, check_datasets, demands_of, refuse_urls
from ocrvl_modal.backends.finding_data import subject_of, with_data_found
from ocrvl_modal.backends.model_store import look_at
from ocrvl_modal.backends.prompts import check_prompts
from ocrvl_modal.backends.reading import locate_model
from ocrvl_modal.backends.runs_view import find_run, load_recipe, load_run, place_of
from ocrvl_modal.backends.submission import Submission
from ocrvl_modal.configs import find_recipe
from ocrvl_modal.data.checking.report import DatasetReport
from ocrvl_modal.engines import get_engine
from ocrvl_modal.engines.erniekit.user_config import read_user_config
from ocrvl_modal.errors import not_found, usage_error
from ocrvl_modal.fetched_models import has_other_revision
from ocrvl_modal.model_folders import model_place
from ocrvl_modal.models import FamilyMember, check_pairing, default_engine, find_member, get_member
from ocrvl_modal.places import is_place
from ocrvl_modal.plan import DatasetSize, TrainPlan, make_plan
from ocrvl_modal.recipe_edits import merge
from ocrvl_modal.recipes import TrainRecipe, check_name, read_recipe_file, recipe_from
from ocrvl_modal.runs.layout import checkpoint_step
from ocrvl_modal.runs.record import now

# Images travel with their rows, from wherever they lie.
_MENDED_BY_STAGING = ("absolute_path", "parent_path")


@dataclass(frozen=True)
class Asked:
    """What the command line said."""

    recipe: str | None = None
    data: str | None = None
    model: str | None = None
    method: str | None = None
    engine: str | None = None
    name: str | None = None
    gpu: str | None = None
    sets: tuple[str, ...] = ()
    resume_from: str | None = None
    output_dir: str | None = None
    config_path: str | None = None


@dataclass(frozen=True)
class Resolved:
    """The run's name, its recipe with every default filled in, and the family member it tunes."""

    name: str
    recipe: TrainRecipe
    member: FamilyMember
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class CheckedData:
    """The reports of the datasets that a recipe names."""

    train: DatasetReport
    validation: DatasetReport | None
    warnings: tuple[str, ...] = field(default=())


def resolve(asked: Asked, backend: Backend) -> Resolved:
    """Turn flags, a recipe file and the defaults of model and backend into one recipe.

    Without a recipe and data, the name of an earlier run stands for that run's recipe.
    """
    if asked.name:
        check_name(asked.name)
    begun = load_recipe(backend, asked.name) if asked.name and find_run(backend, asked.name) else None
    goes_on = begun is not None and not asked.recipe and not asked.data
    written, config_notes = _with_engine_config(_written(asked, begun if goes_on else None), asked.config_path)
    member = _member(recipe_from(written, asked.sets), backend)
    recipe = recipe_from(written, asked.sets, family=member)
    # A run keeps to the data that it was begun with, whatever has come to lie beside it since.
    recipe, notes = (recipe, ()) if goes_on else with_data_found(recipe, backend)
    recipe = _with_engine(recipe, member, backend)
    warnings = config_notes + get_engine(recipe.engine).check(recipe, member)
    recipe = backend.with_hardware(_with_places(recipe), member)
    if recipe.output_dir and not (begun and begun.output_dir == recipe.output_dir):
        _require_free(recipe.output_dir, backend)
    return Resolved(asked.name or _new_name(recipe, member), recipe, member, notes, warnings)


def check(resolved: Resolved, backend: Backend, on_progress: OnProgress) -> CheckedData:
    """Check every dataset that the recipe names; raise a data error where one must not be trained on or scored.

    Before that, a base model on this machine must ask as the engine will; the job compares any other.
    """
    recipe, member = resolved.recipe, resolved.member
    _check_prompts(resolved, backend)
    demands = demands_of(
        member,
        recipe.data.max_seq_len,
        extra_prompts=tuple(recipe.data.extra_prompts),
        pixels=member.pixels.within(recipe.pixels.minimum, recipe.pixels.maximum),
    )
    datasets = _datasets(recipe)
    reports = check_datasets(backend, datasets, Checking(recipe.model.name, demands, digest=True), on_progress)
    for split, report in reports.items():
        report.raise_if_invalid()
        refuse_urls(report, datasets[split])
    warnings = tuple(line for report in reports.values() for line in report.warning_lines(_MENDED_BY_STAGING))
    return CheckedData(reports["train"], reports.get("validation"), warnings)


def _check_prompts(resolved: Resolved, backend: Backend) -> None:
    recipe, member = resolved.recipe, resolved.member
    if backend.name == "local":
        prompts = (*member.prompts.values(), *recipe.data.extra_prompts)
        pieces = get_engine(recipe.engine).sample_pieces
        check_prompts(backend.places, recipe.model.name, member, prompts, pieces)


def plan(resolved: Resolved, checked: CheckedData, backend: Backend) -> TrainPlan:
    """Return what the run will come to."""
    train, validation = checked.train, checked.validation
    tokens = train.vision_tokens.total + train.target_characters.total
    return make_plan(
        resolved.recipe,
        resolved.member,
        run=resolved.name,
        backend=backend.name,
        hardware=backend.describe(resolved.recipe),
        train=DatasetSize(train.samples, tokens, train.sequence_tokens_max),
        validation_samples=validation.samples if validation else 0,
        devices=backend.devices(resolved.recipe),
    )


def missing_model(resolved: Resolved, backend: Backend) -> FamilyMember | None:
    """Return the base model where it has yet to come into the models store; ``None`` where it is there."""
    member = find_member(resolved.recipe.model.name)
    if member is None:
        locate_model(backend, resolved.recipe.model.name)
        return None
    found = look_at(backend, model_place(member))
    if found is None or found.problem:
        return member
    return member if has_other_revision(found.fetched, resolved.recipe.model.revision) else None


def stage(
    resolved: Resolved, checked: CheckedData, backend: Backend, say: Callable[[str], None], on_progress: OnProgress
) -> tuple[Resolved, CheckedData]:
    """Make datasets and base model present in the stores; return recipe and checked data as jobs find them there."""
    staged = backend.stage_datasets(_datasets(resolved.recipe), on_progress)
    data = resolved.recipe.data.model_copy(update={split: found.reference for split, found in staged.items()})
    recipe = resolved.recipe.model_copy(update={"data": data})
    train = replace(checked.train, sha256=staged["train"].sha256 or checked.train.sha256)
    member = missing_model(resolved, backend)
    if member is not None:
        say(f"{'fetching' if member.repository else 'making'} {member.title} into the models store")
        backend.call(
            "download",
            {"model": member.name, "revision": recipe.model.revision},
            on_progress=on_progress,
            secrets=(recipe.hf_secret,) if recipe.hf_secret else (),
        )
    return replace(resolved, recipe=recipe), replace(checked, train=train)


def submission(
    resolved: Resolved, checked: CheckedData, planned: TrainPlan, asked: Asked, backend: Backend
) -> Submission:
    """Return what :func:`ocrvl_modal.backends.submission.submit` takes."""
    return Submission(
        recipe=resolved.recipe,
        member=resolved.member,
        plan=planned,
        dataset_sha256=checked.train.sha256,
        resume_from=find_checkpoint(backend, resolved.name, asked.resume_from) if asked.resume_from else None,
    )


def _datasets(recipe: TrainRecipe) -> dict[str, str]:
    """Return the datasets that a recipe names, by split, the training data first."""
    named = {split: getattr(recipe.data, split) for split in ("train", "validation", "test")}
    return {split: reference for split, reference in named.items() if reference}


def find_checkpoint(backend: Backend, name: str, reference: str) -> str:
    """Return the place of the checkpoint that ``--resume-from`` means.

    It may be ``checkpoint-40`` or ``40`` of the run itself, ``RUN`` for another run's newest, ``RUN/checkpoint-40``, or
    a place in the outputs store. Raises *not found* with those that there are.
    """
    if is_place(reference):
        return _existing_checkpoint(backend, str(PurePosixPath(reference).parent), PurePosixPath(reference).name)
    run, _, checkpoint = reference.rpartition("/")
    if not run and (reference.isdigit() or checkpoint_step(Path(reference)) is not None):
        run = name
    elif not run:
        run, checkpoint = reference, ""
    load_run(backend, run)
    if checkpoint.isdigit():
        checkpoint = f"checkpoint-{checkpoint}"
    return _existing_checkpoint(backend, place_of(run, "checkpoints"), checkpoint)


def _existing_checkpoint(backend: Backend, folder: str, checkpoint: str) -> str:
    """Return the place of ``checkpoint`` in ``folder``, or of the newest where no name is given."""
    steps = _complete_steps(backend, folder)
    newest = steps[-1] if steps else None
    wanted = checkpoint_step(Path(checkpoint)) if checkpoint else newest
    if wanted not in steps:
        there = ", ".join(f"checkpoint-{step}" for step in steps) or "none"
        raise not_found(f"there is no complete checkpoint {checkpoint or ''} in {folder}".replace("  ", " "), there)
    return f"{folder}/checkpoint-{wanted}"


def _complete_steps(backend: Backend, folder: str) -> list[int]:
    if not backend.stores.exists(folder):
        return []
    steps = (
        checkpoint_step(Path(entry.place))
        for entry in backend.stores.list(folder)
        if backend.stores.exists(f"{entry.place}/COMPLETE.json")
    )
    return sorted(step for step in steps if step is not None)


def _written(asked: Asked, begun: TrainRecipe | None) -> dict[str, Any]:
    """Return the recipe as it was written, or that of the run which goes on, with the flags laid over it."""
    written = begun.model_dump(mode="json") if begun else {}
    if asked.recipe:
        written = read_recipe_file(find_recipe(asked.recipe))
    flags = {
        ("data", "train"): asked.data,
        ("model", "name"): asked.model,
        ("method",): asked.method,
        ("engine",): asked.engine,
        ("hardware", "gpu"): asked.gpu,
        ("output_dir",): asked.output_dir,
    }
    for path, value in flags.items():
        if value is not None:
            _put(written, path, value)
    return written


def _with_engine_config(written: dict[str, Any], file: str | None) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Lay an engine's own configuration over the recipe; return notes on what of it is not obeyed."""
    if file is None:
        return written, ()
    told, notes = read_user_config(Path(file))
    return {**merge(written, told), "engine_config": told["engine_config"]}, notes


def _put(tree: dict[str, Any], path: tuple[str, ...], value: str) -> None:
    for part in path[:-1]:
        child = tree.get(part)
        tree[part] = dict(child) if isinstance(child, dict) else {}
        tree = tree[part]
    tree[path[-1]] = value


def _member(recipe: TrainRecipe, backend: Backend) -> FamilyMember:
    if recipe.model.family:
        return get_member(recipe.model.family)
    return find_member(recipe.model.name) or backend.identify_model(recipe.model.name)


def _with_engine(recipe: TrainRecipe, member: FamilyMember, backend: Backend) -> TrainRecipe:
    suits_best = "erniekit" if recipe.engine_config is not None else default_engine(member, recipe.method, backend.name)
    engine = suits_best if recipe.engine == "auto" else recipe.engine
    check_pairing(member, engine, recipe.method)
    if recipe.engine_config is not None and engine != "erniekit":
        raise usage_error(
            f"a configuration of the engine's own is for erniekit, and the engine is {engine}",
            "--engine erniekit, or leave --config-path and engine_config out",
        )
    return recipe.model_copy(update={"engine": engine})


def _with_places(recipe: TrainRecipe) -> TrainRecipe:
    """Make paths independent of the folder that the command was called in, and the model's name its full one."""
    changes: dict[str, Any] = {}
    member = find_member(recipe.model.name)
    name = member.name if member else recipe.model.name
    if not member and not is_place(name):
        name = str(Path(name).absolute())
    changes["model"] = recipe.model.model_copy(update={"name": name})
    if recipe.output_dir and not is_place(recipe.output_dir):
        changes["output_dir"] = str(Path(recipe.output_dir).absolute())
    return recipe.model_copy(update=changes)


def _require_free(output_dir: str, backend: Backend) -> None:
    taken = backend.stores.exists(output_dir) if is_place(output_dir) else not files.is_vacant(Path(output_dir))
    if taken:
        raise usage_error(f"--output-dir {output_dir} is there, and not empty", "name another folder")


def _new_name(recipe: TrainRecipe, member: FamilyMember) -> str:
    subject = subject_of(str(recipe.data.train))
    safe = "".join(letter if letter.isalnum() and letter.isascii() else "-" for letter in subject).strip("-")
    return f"{member.name}-{safe or 'run'}"[:46].rstrip("-.") + f"-{now().astimezone():%m%d-%H%M%S}"
