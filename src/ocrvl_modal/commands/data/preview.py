"""``ocrvl data preview``: a dataset as one page to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ocrvl_modal.commands._options import JsonOption, QuietOption
from ocrvl_modal.commands.data._model import ModelOption, find_counter, find_family_member
from ocrvl_modal.commands.data._paths import readable
from ocrvl_modal.errors import usage_error


def preview(
    path: Annotated[
        str, typer.Argument(metavar="FILE", help="A .jsonl file here, NAME@VERSION, or /data/… in the store.")
    ],
    out_file: Annotated[Path, typer.Option("--out", metavar="HTML", help="Page to write; replaced if it is there.")],
    limit: Annotated[int, typer.Option("--limit", min=1, help="Most rows to show, from the first on.")] = 1000,
    model: ModelOption = None,
    max_seq_len: Annotated[
        int | None,
        typer.Option("--max-seq-len", min=16, help="Longest sample in tokens; as the model's recipe by default."),
    ] = None,
    extra_prompt: Annotated[
        list[str] | None,
        typer.Option("--extra-prompt", help="A prompt of your own, beside the model's; may be given again."),
    ] = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write a page with each image beside its target, drawn, and with what the check finds.

    The page holds all that it shows: open it anywhere, send it to anyone. Of a large dataset take a sample first.

    \b
    Example:
      ocrvl data preview digits/train.jsonl --model tiny --out page.html
    """
    from ocrvl_modal.data.checking.demands import Demands
    from ocrvl_modal.data.previewing.formulas import can_draw_formulas
    from ocrvl_modal.data.previewing.page import write_preview
    from ocrvl_modal.output import Output
    from ocrvl_modal.recipes import recipe_from
    from ocrvl_modal.report.words import count, size

    out = Output.of("data preview", json=json, quiet=quiet)
    if out_file.suffix.lower() not in {".html", ".htm"} or out_file.is_dir():
        raise usage_error(f"--out {out_file}: the page is an .html file", "--out page.html")
    member = find_family_member(model)
    seq_len = max_seq_len or recipe_from({"model": {"name": model or member.name}}, family=member).data.max_seq_len
    prompts = (*member.prompts.values(), *(extra_prompt or []))
    demands = Demands(prompts, member.pixels, seq_len, tail=member.assistant_tail)
    with out.progress() as on_progress:
        report = write_preview(
            readable(path), out_file, demands, limit=limit, count_many=find_counter(model), on_progress=on_progress
        )
    if report.rows > report.shown:
        out.warn(f"the page shows the first {report.shown:,} of {report.rows:,} rows")
    if "formula" in report.tasks and not can_draw_formulas():
        out.warn("formulas are shown as they are written: pip install 'ocrvl-modal[data]' draws them")
    found = ", ".join(f"{count(rows)} {kind}" for kind, rows in report.findings.items()) or "nothing found"
    words = f"{report.page}: {count(report.shown)} samples, {size(report.size_bytes)}; {found}"
    out.finish(report.to_dict(), human=lambda: [words], hint=f"open {report.page} in a browser")
