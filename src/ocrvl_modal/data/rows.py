"""Rows of a dataset file: JSONL in the form of ERNIEKit or of PaddleFormers, read strictly, each line by itself.

Both engines skip a row that they cannot use, and one hangs when no row is left. Here such a row is a
:class:`~ocrvl_modal.data.schema.Finding`, so that nobody trains on less than they think.
"""

from __future__ import annotations

import re
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

from ocrvl_modal.data.forms import ROW_FORMATS, RowFormat, parse_row, write_row
from ocrvl_modal.data.schema import Finding, ImageUse, Row, RowRefused, Sample, Turn
from ocrvl_modal.errors import OcrvlError, data_error, did_you_mean, not_found

__all__ = ["ROW_FORMATS", "RowFormat", "check_command", "read_samples", "require_file", "scan", "to_row"]

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_HEAD_BYTES = 1 << 16
# An object that begins on one line, and goes on with its first key on the next.
_SPREAD = re.compile(rb'\{[ \t\r]*\n\s*"')


def scan(path: Path) -> Iterator[Sample | Finding]:
    """Yield, in the order of the file, a sample for each good row and a finding for each other.

    Relative image paths are taken from the file's folder; the images themselves are not looked at. Raises *not found*
    where there is no file, and a data error for a folder or a file that may not be read.
    """
    require_file(path)
    if layout := layout_finding(path):
        yield layout
        return
    folder = path.absolute().parent
    any_row = False
    for number, line in lines_of(path):
        if not line:
            yield blank_line(number)
            continue
        any_row = True
        try:
            yield parse_row(line).sample(folder, number)
        except RowRefused as refused:
            yield refused.at(number)
    if not any_row:
        yield no_row()


def layout_finding(path: Path) -> Finding | None:
    """Return what is wrong with a file that is JSON, but no object a line: one array, or rows over many lines."""
    with path.open("rb") as stream:
        # Such a file may be one line of any length.
        head = stream.read(_HEAD_BYTES).removeprefix(BYTE_ORDER_MARK).lstrip()
        while not head and (more := stream.read(_HEAD_BYTES)):
            head = more.lstrip()
    if head.startswith(b"["):
        return Finding("json_array", "the file is one JSON array, not an object a line")
    if _SPREAD.match(head):
        return Finding("spread_rows", "the rows are spread over several lines each")
    return None


def blank_line(number: int) -> Finding:
    """Return the finding of a blank line between rows."""
    return Finding("blank_line", "the line is blank, and ERNIEKit stops at a blank line", number)


def no_row() -> Finding:
    """Return the finding of a file that holds nothing."""
    return Finding("empty", "the file has no row")


def read_samples(path: Path) -> list[Sample]:
    """Return the samples of a file that was checked before; raise a data error at the first row that is none."""
    samples: list[Sample] = []
    for item in scan(path):
        if isinstance(item, Finding):
            raise data_error(f"{path}: {item}", _mending_command(item, path))
        samples.append(item)
    return samples


def to_row(sample: Sample, row_format: RowFormat, folder: Path) -> str:
    """Return a sample as a line of JSON, without its end, for a dataset file in ``folder``.

    An image below ``folder`` is written relative to it, so that the folder can be moved.
    """
    inside = sample.image.is_relative_to(folder)
    image = f"./{sample.image.relative_to(folder).as_posix()}" if inside else sample.image.as_posix()
    turns = (Turn("user", sample.prompt, learned=False), Turn("assistant", sample.target, learned=True))
    return write_row(Row(turns, (ImageUse(image, 0),)), row_format)


def check_command(path: Path) -> str:
    """Return the command that lists all that is wrong with a file: the hint of errors about it."""
    return f"ocrvl data check {shlex.quote(str(path))}"


def require_file(path: Path) -> None:
    """Raise *not found* where there is no dataset file, and a data error for a folder or one that may not be read."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            path.open("rb").close()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _missing(path) from error
    except OSError as error:
        raise data_error(f"{path} cannot be read: {error.strerror}", f"ls -l {shlex.quote(str(path))}") from error
    if stat.S_ISDIR(mode):
        raise _folder_instead(path)
    if not stat.S_ISREG(mode):
        raise data_error(f"{path} is a pipe or a device; a dataset is read more than once", "save it as a .jsonl file")


def _mending_command(finding: Finding, path: Path) -> str:
    if finding.kind == "image_url":
        return f"ocrvl data localize {shlex.quote(str(path))}"
    return check_command(path)


def _folder_instead(path: Path) -> OcrvlError:
    found = [shlex.quote(str(file)) for file in sorted(path.glob("*.jsonl"))]
    return data_error(
        f"{path} is a folder; a dataset is a .jsonl file",
        f"name one of its files: {', '.join(found[:5])}" if found else f"there is no .jsonl file in {path}",
    )


def _missing(path: Path) -> OcrvlError:
    near = [file.name for file in sorted(path.parent.glob("*.jsonl"))]
    return not_found(
        f"there is no dataset {path}",
        did_you_mean(path.name, near) if near else "to make one to try with: ocrvl data synth --out digits",
    )


def lines_of(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield numbered lines without white space around them; blank lines at the end of the file are left out."""
    blank: list[int] = []
    with path.open("rb") as stream:
        for number, raw in enumerate(stream, start=1):
            line = (raw.removeprefix(BYTE_ORDER_MARK) if number == 1 else raw).strip()
            if not line:
                blank.append(number)
                continue
            yield from ((earlier, b"") for earlier in blank)
            blank.clear()
            yield number, line
