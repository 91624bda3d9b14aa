"""``ocrvl data check``: say what training would stumble over."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from json import dumps
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ocrvl_modal.commands._options import BackendOption, JsonOption, QuietOption
from ocrvl_modal.commands.data._model import find_family_member
from ocrvl_modal.errors import ExitCode, usage_error

if TYPE_CHECKING:
    from ocrvl_modal.backends.base import Backend
    from ocrvl_modal.data.checking.fixing import FixReport
    from ocrvl_modal.data.checking.report import DatasetReport, FindingGroup

__all__ = ["check", "find_family_member", "show_report"]

_IMAGES = ("all", "sample", "none")
_SHOWN_OF_A_KIND = 3


def check(
    path: Annotated[
        str, typer.Argument(metavar="PATH", help="A .jsonl file here, NAME@VERSION, or /data/… in the store.")
    ],
    model: Annotated[
        str | None,
        typer.Option("--model", help="Model, or folder of one, whose prompts and sizes count; the newest by default."),
    ] = None,
    images: Annotated[
        str, typer.Option(metavar="all|sample|none", help="Which images to open; a sample is about 1,000 of them.")
    ] = "all",
    headers_only: Annotated[
        bool, typer.Option("--headers-only", help="Read the images' headers, and do not decode them: much faster.")
    ] = False,
    max_seq_len: Annotated[
        int | None,
        typer.Option("--max-seq-len", min=16, help="Longest sample in tokens; as the model's recipe by default."),
    ] = None,
    extra_prompt: Annotated[
        list[str] | None,
        typer.Option("--extra-prompt", help="A prompt of your own, beside the model's; may be given again."),
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option("--against", metavar="FILE", help="Tell which images that file has too; may be given again."),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Take warnings for errors.")] = False,
    fix: Annotated[
        Path | None, typer.Option("--fix", metavar="OUT", help="Write the rows to this file, mended where possible.")
    ] = None,
    backend: BackendOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Read every row, decode every image, and say what training would stumble over.

    Ends with exit code 3 when the dataset cannot be trained on. Images of train.jsonl are searched for in
    validation.jsonl and test.jsonl beside it. --fix mends what can be mended in one way only, drops rows that stay
    broken, and lists each change in OUT.changes.jsonl.

    \b
    Example:
      ocrvl data check digits/train.jsonl --model tiny
      ocrvl data check train.jsonl --images none --fix train-fixed.jsonl
    """
    from ocrvl_modal.backends.checking import Checking, check_datasets, demands_of
    from ocrvl_modal.backends.prompts import find_in_prompts
    from ocrvl_modal.data.checking.fixing import fix_rows
    from ocrvl_modal.models import DEFAULT_MODEL
    from ocrvl_modal.output import Output
    from ocrvl_modal.recipes import recipe_from

    out = Output.of("data check", json=json, quiet=quiet)
    if images not in _IMAGES:
        raise usage_error(f"--images is all, sample or none, not '{images}'", "--images sample")
    if fix:
        _require_fixable(path, fix)
    place = _backend_of(path, backend)
    is_named, model = model is not None, model or DEFAULT_MODEL
    member = find_family_member(model)
    limit = max_seq_len or recipe_from({"model": {"name": model}}, family=member).data.max_seq_len
    demands = demands_of(member, limit, extra_prompts=tuple(extra_prompt or ()))
    if _is_held_out(path):
        demands = demands.of_held_out()
    others = _others(place, path, against or []) if images != "none" else {}
    checking = Checking(model, demands, images=images, decode=not headers_only)  # type: ignore[arg-type]
    with out.progress() as on_progress:
        report = check_datasets(place, {path: path, **others}, checking, on_progress)[path]
        asked_otherwise, why_not = find_in_prompts(place.places, model, member, demands.prompts)
        report = report.with_errors("prompt_identity", asked_otherwise)
        fixed = fix_rows(Path(path), fix, demands, images=checking.images, on_progress=on_progress) if fix else None
    if why_not and is_named:
        out.note(why_not)
    is_good = report.is_valid and not (strict and report.warnings)
    out.finish(
        {**report.to_dict(), "strict": strict, "fixed": fixed.to_dict() if fixed else None},
        human=lambda: [*show_report(report, limit), *_fix_lines(fixed)],
        hint=_hint(path, model, extra_prompt or [], max_seq_len, is_good=is_good, fixed=fixed),
        exit_code=ExitCode.OK if is_good else ExitCode.DATA_INVALID,
    )


def show_report(report: DatasetReport, max_seq_len: int) -> list[Any]:
    """Return what a person sees of a report: a small table, and the first findings of each kind."""
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="dim")
    table.add_column()
    prompts = " · ".join(f"{prompt} {count:,}" for prompt, count in report.by_prompt.items()) or "none"
    about = "" if report.tokens_counted else "about "
    vision, characters = report.vision_tokens, report.target_characters
    for name, value in (
        ("dataset", str(report.path)),
        ("rows", f"{report.rows:,}"),
        ("good samples", f"{report.samples:,}"),
        ("prompts", prompts),
        ("images opened", report.images),
        ("compared with", ", ".join(report.compared) or "no other file"),
        ("image tokens", f"{vision.total:,}, at most {vision.max:,} in a sample"),
        ("target characters", f"{characters.total:,}, at most {characters.max:,} in a sample"),
        ("longest sample", f"{about}{report.sequence_tokens_max:,} tokens of {max_seq_len:,} allowed"),
    ):
        table.add_row(name, Text(value))
    if report.pairs_not_compared:
        table.add_row("not compared", f"{report.pairs_not_compared:,} pairs of images that look alike at a glance")
    lines = [line for group in report.findings for line in _group_lines(group)]
    return [table, *(lines or ["no problem found"])]


def _backend_of(path: str, backend: str | None) -> Backend:
    from ocrvl_modal.backends import open_by_flag
    from ocrvl_modal.backends.local import LocalBackend
    from ocrvl_modal.data.shards.references import is_stored
    from ocrvl_modal.places import is_place
    from ocrvl_modal.settings import home

    return open_by_flag(backend) if is_place(path) or backend or is_stored(path) else LocalBackend(home())


def _is_held_out(path: str) -> bool:
    """Say whether a file is of data that nobody learns from, by its name."""
    return PurePosixPath(path).stem in ("validation", "test") or path.endswith(("/validation", "/test"))


def _others(place: Backend, path: str, against: list[str]) -> Mapping[str, str]:
    """Return the files whose images are searched for: those named, and the held-out splits beside ``train.jsonl``."""
    from ocrvl_modal.backends.finding_data import held_out

    named = [*held_out(path, place).values(), *against]
    return {other: other for other in named if other != path}


def _require_fixable(path: str, out: Path) -> None:
    from ocrvl_modal.data.checking.fixing import require_free_place
    from ocrvl_modal.data.shards.references import is_stored
    from ocrvl_modal.places import is_place

    if is_place(path) or is_stored(path):
        raise usage_error(f"--fix mends files of this machine, and {path} is none", f"ocrvl data pull {path}")
    require_free_place(Path(path), out)


def _group_lines(group: FindingGroup) -> list[str]:
    lines = [f"{group.severity}: {group.kind}: {group.count:,} – {group.title}"]
    lines += [f"  {_with_path(finding)}" for finding in group.examples[:_SHOWN_OF_A_KIND]]
    if group.count > _SHOWN_OF_A_KIND:
        lines.append(f"  and {group.count - _SHOWN_OF_A_KIND:,} more")
    return [*lines, f"  hint: {group.hint}"]


def _with_path(finding: Any) -> str:
    return f"{finding} (at {finding.path})" if finding.path else str(finding)


def _fix_lines(fixed: FixReport | None) -> list[str]:
    if fixed is None:
        return []
    words = {"mended": fixed.mended, "dropped": fixed.dropped}
    lines = [f"{fixed.out}: {fixed.rows:,} rows; each change is in {fixed.changes_file}"]
    for word, counter in words.items():
        lines += [f"  {word}: {kind} {count:,}" for kind, count in counter.items()]
    return lines


def _hint(
    path: str, model: str, extra_prompts: list[str], max_seq_len: int | None, *, is_good: bool, fixed: FixReport | None
) -> str:
    """Return the command that goes on with the dataset as it was checked: with the same prompts and length."""
    if fixed:
        options = [word for prompt in extra_prompts for word in ("--extra-prompt", prompt)]
        options += ["--max-seq-len", str(max_seq_len)] if max_seq_len else []
        return shlex.join(["ocrvl", "data", "check", str(fixed.out), "--model", model, *options])
    if not is_good:
        return ""
    options = ["--set", f"data.extra_prompts={dumps(extra_prompts, ensure_ascii=False)}"] if extra_prompts else []
    options += ["--set", f"data.max_seq_len={max_seq_len}"] if max_seq_len else []
    return shlex.join(["ocrvl", "train", "--data", path, "--model", model, *options])
