"""Files of a run that somebody damaged, and processes that somebody started oddly."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ocrvl_modal.errors import OcrvlError
from ocrvl_modal.recipes import parse_recipe
from ocrvl_modal.runs.checkpoints import mark_complete, problem_with
from ocrvl_modal.runs.metrics import MetricsLog, read_rows


@pytest.mark.parametrize("line", [b"not json\n", b"7\n", b'{"loss": 1}\n', b"\xff\xfe\n", b"\x00\x00\n", b"[]\n"])
def test_a_damaged_row_is_none_and_a_run_can_go_on(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1, "loss": 2.0}\n' + line + b'{"step": 2, "loss": 1.0}\n')
    assert [row["step"] for row in read_rows(path)] == [1, 2]
    MetricsLog(path).rewind(1)
    assert path.read_text() == '{"step": 1, "loss": 2.0}\n'


@pytest.mark.parametrize("text", [b"", b"model: [", b"\xff", b"just words"])
def test_a_damaged_recipe_is_told(text: bytes) -> None:
    with pytest.raises(OcrvlError, match=r"recipe\.yaml is damaged"):
        parse_recipe(text, "recipe.yaml")


def test_a_checkpoint_that_was_renamed_does_not_count(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint-10"
    folder.mkdir()
    (folder / "weights").write_bytes(b"w")
    mark_complete(folder, 10)
    assert problem_with(folder) is None
    assert "step 10" in str(problem_with(folder.rename(tmp_path / "checkpoint-999")))


@pytest.mark.parametrize("stream", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_no_traceback_and_no_lock_takes_its_number(tmp_path: Path, stream: str) -> None:
    script = (
        "import os, sys; from ocrvl_modal import locks; from pathlib import Path;"
        "number = locks.acquire(Path(sys.argv[1])); os._exit(0 if number > 2 else 9)"
    )
    lock = str(tmp_path / "lock")
    command = f'"{sys.executable}" -c "{script}" "{lock}" {stream}'
    assert subprocess.run(["sh", "-c", command], check=False).returncode == 0
    listing = f'OCRVL_HOME="{tmp_path}" "{sys.executable}" -m ocrvl_modal runs ls --json --backend local {stream}'
    done = subprocess.run(["sh", "-c", listing], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
