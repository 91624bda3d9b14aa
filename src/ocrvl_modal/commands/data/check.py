"""``ocrvl data check``: say what training would stumble over."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ocrvl_modal.commands._options import BackendOption, JsonOption, QuietOption
from ocrvl_modal.commands.data._paths import resolve
from ocrvl_modal.errors import ExitCode

if TYPE_CHECKING:
    from ocrvl_modal.data.checks import DatasetReport
    from ocrvl_modal.models import FamilyMember

_SHOWN_OF_A_KIND = 3


def check(
    path: Annotated[str, typer.Argument(metavar="PATH", help="A .jsonl file here, or /data/… in the data store.")],
    model: Annotated[
        str | None,
        typer.Option("--model", help="Model whose prompts and image sizes count; the newest of the family by default."),
    ] = None,
    max_seq_len: Annotated[
        int | None,
        typer.Option("--max-seq-len", min=16, help="Longest sample in tokens; as the model's recipe by default."),
    ] = None,
    extra_prompt: Annotated[
        list[str] | None,
        typer.Option("--extra-prompt", help="A prompt of your own, beside the model's; may be given again."),
    ] = None,
    backend: BackendOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Read every row, decode every image, and say what training would stumble over.

    Ends with exit code 3 when the dataset cannot be trained on.

    \b
    Example:
      ocrvl data check digits/train.jsonl --model tiny
    """
    from ocrvl_modal.backends import open_by_flag
    from ocrvl_modal.backends.checking import Demands, check_datasets
    from ocrvl_modal.backends.local import LocalBackend
    from ocrvl_modal.models import DEFAULT_MODEL
    from ocrvl_modal.output import Output
    from ocrvl_modal.places import is_place
    from ocrvl_modal.recipes import recipe_from
    from ocrvl_modal.settings import home

    out = Output.of("data check", json=json, quiet=quiet)
    place = open_by_flag(backend) if is_place(path) or backend else LocalBackend(home())
    model = model or DEFAULT_MODEL
    member = find_family_member(model)
    limit = max_seq_len or recipe_from({"model": {"name": model}}, family=member).data.max_seq_len
    demands = Demands(model, (*member.prompts.values(), *(extra_prompt or [])), member.pixels, limit)
    with out.progress() as on_progress:
        reports, _ = check_datasets(place, {"train": path}, demands, on_progress)
    report = reports["train"]
    for warning in report.warnings:
        out.warn(warning)
    out.finish(
        report.to_dict(),
        human=lambda: show_report(report, limit),
        hint=f"ocrvl train --data {shlex.quote(path)} --model {shlex.quote(model)}" if report.is_valid else "",
        exit_code=ExitCode.OK if report.is_valid else ExitCode.DATA_INVALID,
    )


def find_family_member(model: str) -> FamilyMember:
    """Return the member that a name, or the folder of a model, stands for."""
    from ocrvl_modal.models import member_of

    return member_of(model, resolve(model))


def show_report(report: DatasetReport, max_seq_len: int) -> list[Any]:
    """Return what a person sees of a report: a small table, and the first problems of each kind."""
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
        ("image tokens", f"{vision.total:,}, at most {vision.max:,} in a sample"),
        ("target characters", f"{characters.total:,}, at most {characters.max:,} in a sample"),
        ("longest sample", f"{about}{report.sequence_tokens_max:,} tokens of {max_seq_len:,} allowed"),
    ):
        table.add_row(name, Text(value))
    return [table, *_problem_lines(report)]


def _problem_lines(report: DatasetReport) -> list[str]:
    if report.is_valid:
        return ["no problem found"]
    lines: list[str] = []
    for kind, count in report.counts.items():
        of_kind = [problem for problem in report.problems if problem.kind == kind]
        lines.append(f"{kind}: {count:,}")
        lines.extend(f"  {problem}" for problem in of_kind[:_SHOWN_OF_A_KIND])
        if count > _SHOWN_OF_A_KIND:
            lines.append(f"  and {count - _SHOWN_OF_A_KIND:,} more (all with --json)")
        if of_kind[0].hint:
            lines.append(f"  hint: {of_kind[0].hint}")
    return lines
