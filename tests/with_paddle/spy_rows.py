"""Loaded by PaddleFormers in place of our registered file: gives its real data pipeline rows one by one.

``SPY_ROWS`` names a folder of files with one row each, ``SPY_OUT`` the file that gets the outcome of each: its number
of tokens, or why it was not taken. Each step is PaddleFormers' own, from the line to the tokens: its reader, its
checks, its image processor, its template with our texts, and what it does with a row that is too long.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NoReturn

from ocrvl_modal.engines.paddleformers import registered, templates
from ocrvl_modal.errors import OcrvlError


def refuse(error: OcrvlError) -> NoReturn:
    """Stand in for the end of the process: a row that cannot be used is what this looks for."""
    raise error


templates._give_up = refuse
registered.install()

from paddleformers.cli.train.sft import workflow  # noqa: E402
from paddleformers.datasets.reader.file_reader import FileReader  # noqa: E402

create = workflow.create_dataset_sft


def look_at_rows(**settings: Any) -> None:
    dataset = create(**settings)
    outcomes = {file.stem: outcome(dataset, file) for file in sorted(Path(os.environ["SPY_ROWS"]).iterdir())}
    Path(os.environ["SPY_OUT"]).write_text(json.dumps(outcomes))
    os._exit(0)


def outcome(dataset: Any, file: Path) -> int | str:
    """Return the number of tokens that a row becomes, or why it becomes none."""
    form = "erniekit" if file.name.endswith(".erniekit.jsonl") else "messages"
    try:
        reader = FileReader(str(file), form, template_backend="custom")
        # The class has a length that fails, which a list would ask for.
        rows = [row for row in reader]  # noqa: C416
        if len(rows) != 1:
            return f"its reader yields {len(rows)} rows"
        sequence = dataset._process_sft_sequence(rows[0], 1)
    except Exception as error:  # noqa: BLE001 - whatever it is, PaddleFormers skips the row
        return f"{type(error).__name__}: {error}"
    return len(sequence.token_ids) if sequence else "it is skipped"


workflow.create_dataset_sft = look_at_rows
