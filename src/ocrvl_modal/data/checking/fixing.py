"""Mending rows by rule, where there is only one way to do it: a new file beside the old one, and a list of changes."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import msgspec

from ocrvl_modal import files
from ocrvl_modal.data.checking.demands import Demands
from ocrvl_modal.data.checking.examining import ExaminedRow, Examiner
from ocrvl_modal.data.checking.images import look_at_image
from ocrvl_modal.data.checking.kinds import KINDS
from ocrvl_modal.data.checking.part import Images
from ocrvl_modal.data.checking.texts import CONTROL
from ocrvl_modal.data.rows import BYTE_ORDER_MARK, layout_finding, lines_of, require_file
from ocrvl_modal.data.schema import IMAGE_MARK, Finding
from ocrvl_modal.errors import data_error, first_line, usage_error

OnProgress = Callable[[str, int, int], None]

_LISTED = 20
_NEXT_VALUE = re.compile(r"[^\s,]")
_WHAT = "fixing rows (bytes)"


@dataclass(frozen=True)
class Change:
    """What was done to one line: it was mended, or dropped where it stays broken."""

    line: int
    kind: str
    what: str

    def to_dict(self) -> dict[str, Any]:
        """Return the change as a row of the list of changes."""
        return {"line": self.line, "kind": self.kind, "what": self.what}


@dataclass
class FixReport:
    """What mending a file came to: rows written, rows changed and dropped by kind, and where the changes are listed."""

    out: Path
    changes_file: Path
    rows: int = 0
    mended: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    first_changes: list[Change] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as it stands in JSON output, with the first of the changes."""
        return {
            "out": str(self.out),
            "changes_file": str(self.changes_file),
            "rows": self.rows,
            "mended": dict(self.mended),
            "dropped": dict(self.dropped),
            "changes": [change.to_dict() for change in self.first_changes],
        }


def fix_rows(
    path: Path, out: Path, demands: Demands, *, images: Images = "none", on_progress: OnProgress | None = None
) -> FixReport:
    """Write the rows of ``path`` to ``out``, mended where there is one way to do it, and return what was changed.

    A row that needs no mending keeps its bytes, and one that stays broken is dropped; images are opened where
    ``images`` is not ``none``. Every change is a line of ``OUT.changes.jsonl``. Raises a usage error where ``out`` is
    there already or lies in another folder, from which the images would be named otherwise.
    """
    require_free_place(path, out)
    report = FixReport(out, out.with_name(f"{out.name}.changes.jsonl"))
    look = (lambda image: look_at_image(image, demands.pixels, decode=images == "all")) if images != "none" else None
    examiner = Examiner(demands, path.absolute().parent, look)
    size, done = max(1, path.stat().st_size), 0
    with files.new_file(out) as beside, files.new_file(report.changes_file) as changes_beside:
        with beside.open("wb") as rows, changes_beside.open("w", encoding="utf-8") as changes:
            fixer = _Fixer(examiner, report, rows, changes)
            for number, line in fixer.lines(path):
                fixer.fix(number, line)
                done += len(line) + 1
                if on_progress:
                    on_progress(_WHAT, min(done, size), size)
        if not report.rows:
            raise data_error(f"no row of {path} can be used or mended", "ocrvl data check lists why")
    return report


def require_free_place(path: Path, out: Path) -> None:
    """Raise a usage error where the rows of ``path`` cannot be written to ``out``; see :func:`fix_rows`."""
    require_file(path)
    if out.absolute().parent.resolve() != path.absolute().parent.resolve():
        raise usage_error(
            f"{out} is not in the folder of {path}, from which the images are named",
            f"--fix {path.with_name(out.name)}",
        )
    if out.exists():
        raise usage_error(f"{out} is there already", f"name another file: --fix {_free_name(path)}")


class _Fixer:
    """Mends one row after another."""

    def __init__(self, examiner: Examiner, report: FixReport, rows: IO[bytes], changes: IO[str]) -> None:
        self._examiner = examiner
        self._report = report
        self._rows = rows
        self._changes = changes
        self._written: set[int] = set()

    def lines(self, path: Path) -> Iterator[tuple[int, bytes]]:
        """Yield the file's lines by their numbers; rows that have no line each as lines of their own."""
        layout = layout_finding(path)
        if layout is None:
            yield from lines_of(path)
            return
        rows = _rows_of_document(path, layout)
        self._note(Change(1, layout.kind, f"{len(rows):,} rows written one a line"), self._report.mended)
        for number, row in enumerate(rows, start=1):
            yield number, msgspec.json.format(row, indent=-1)

    def fix(self, number: int, line: bytes) -> None:
        """Write a line as it is, mended, or not at all."""
        if not line:
            self._note(Change(number, "blank_line", "removed"), self._report.mended)
            return
        examined = self._examiner.examine(line, number)
        mended, done = _mended(line, examined)
        if done:
            examined = self._examiner.examine(mended, number)
        if broken := next((finding for finding in examined.findings if finding.severity == "error"), None):
            self._note(Change(number, broken.kind, f"dropped: {broken.message}"), self._report.dropped)
            return
        if self._is_repeat(examined):
            self._note(Change(number, "duplicate", "removed: an earlier row is the same"), self._report.mended)
            return
        for kind, what in done:
            self._note(Change(number, kind, what), self._report.mended)
        self._rows.write(mended + b"\n")
        self._report.rows += 1

    def _note(self, change: Change, counter: Counter[str]) -> None:
        counter[change.kind] += 1
        self._changes.write(json.dumps(change.to_dict(), ensure_ascii=False) + "\n")
        if len(self._report.first_changes) < _LISTED:
            self._report.first_changes.append(change)

    def _is_repeat(self, examined: ExaminedRow) -> bool:
        pair = examined.question_and_answer
        if pair is None or examined.row is None:
            return False
        # Under another name an image is the same one, where its bytes were read.
        content = examined.image.sha256 if examined.image else None
        asked = content or tuple(image.reference.removeprefix("./") for image in examined.row.images)
        key = hash((asked, *(turn.text for turn in pair)))
        if key in self._written:
            return True
        self._written.add(key)
        return False


def _rows_of_document(path: Path, layout: Finding) -> list[bytes]:
    """Return the rows of a file that is one JSON array, or objects one after another, as it writes them."""
    content = path.read_bytes().removeprefix(BYTE_ORDER_MARK)
    try:
        if layout.kind == "spread_rows":
            return [row.encode() for row in _values_in(content.decode())]
        return [bytes(row) for row in msgspec.json.decode(content, type=list[msgspec.Raw])]
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        message = f"{path} does not go on as it begins: {layout.message}; but {first_line(error)}"
        raise data_error(message, "write each row with a JSON library") from error


def _values_in(text: str) -> Iterator[str]:
    """Yield the JSON values of a text, between which white space and commas may stand."""
    decoder, end = json.JSONDecoder(), 0
    while begin := _NEXT_VALUE.search(text, end):
        _, end = decoder.raw_decode(text, begin.start())
        yield text[begin.start() : end]


def _mended(line: bytes, examined: ExaminedRow) -> tuple[bytes, list[tuple[str, str]]]:
    """Return a line mended, and what was done; the line itself where there is nothing to do."""
    kinds = {finding.kind for finding in examined.findings if KINDS[finding.kind].fixable}
    if not kinds:
        return line, []
    values = json.loads(line)
    done = [(kind, what) for kind in sorted(kinds) if kind in _MENDERS and (what := _MENDERS[kind](values))]
    return (json.dumps(values, ensure_ascii=False).encode() if done else line), done


def _without_controls(values: dict[str, Any]) -> str:
    removed = _rewrite_texts(values, lambda text: CONTROL.sub("", text))
    return f"control characters removed from {removed}" if removed else ""


def _normalized(values: dict[str, Any]) -> str:
    changed = _rewrite_texts(values, lambda text: unicodedata.normalize("NFC", text))
    return f"brought into the form NFC: {changed}" if changed else ""


def _with_image_first(values: dict[str, Any]) -> str:
    """Put the one image before the one question."""
    if "messages" in values:
        asking = [message for message in values["messages"] if message["role"] == "user"]
        if len(asking) != 1 or asking[0]["content"].count(IMAGE_MARK) != 1:
            return ""
        asking[0]["content"] = IMAGE_MARK + asking[0]["content"].replace(IMAGE_MARK, "").strip()
        return f"{IMAGE_MARK} put before the question"
    if len(values["image_info"]) != 1 or len(values["text_info"]) != 2:
        return ""
    values["image_info"][0]["matched_text_index"] = 0
    return "matched_text_index set to 0"


def _rewrite_texts(values: dict[str, Any], rewrite: Callable[[str], str]) -> str:
    """Rewrite the texts of a row in either form; return the places of those that changed."""
    changed = []
    for key, part in (("messages", "content"), ("text_info", "text")):
        for index, turn in enumerate(values.get(key, [])):
            if (new := rewrite(turn[part])) != turn[part]:
                turn[part] = new
                changed.append(f"{key}[{index}].{part}")
    return ", ".join(changed)


_MENDERS: dict[str, Callable[[dict[str, Any]], str]] = {
    "control_characters": _without_controls,
    "not_nfc": _normalized,
    "image_place": _with_image_first,
}


def _free_name(path: Path) -> Path:
    names = (path.with_name(f"{path.stem}-fixed{number or ''}{path.suffix}") for number in range(1000))
    return next((name for name in names if not name.exists()), path.with_name(f"{path.stem}-mended{path.suffix}"))
