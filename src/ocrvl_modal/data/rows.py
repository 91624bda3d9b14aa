"""Rows of a dataset file: JSONL in the form of ERNIEKit or of PaddleFormers, read strictly, each line by itself.

Both engines skip a row that they cannot use, and one hangs when no row is left. Here such a row is a
:class:`~ocrvl_modal.data.schema.Problem`, so that nobody trains on less than they think.
"""

from __future__ import annotations

import json
import re
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from ocrvl_modal.data.schema import Problem, Sample
from ocrvl_modal.errors import OcrvlError, data_error, did_you_mean, not_found

RowFormat = Literal["messages", "erniekit"]
ROW_FORMATS: tuple[RowFormat, ...] = ("messages", "erniekit")

IMAGE_MARK = "<image>"
"""Stands for the image in the user's turn of the messages form."""

_RESERVED = (
    IMAGE_MARK,
    "<|IMAGE_START|>",
    "<|IMAGE_PLACEHOLDER|>",
    "<|IMAGE_END|>",
    "<|begin_of_sentence|>",
    "<|end_of_sentence|>",
    "</s>",
)
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_LONGEST_PATH = 4096
_PLACE_IN_ROW = re.compile(r"(?P<what>.*?)(?: - at `\$\.?(?P<where>.*)`)?")
_JSON_TYPES = {
    "str": "a string",
    "int": "a number",
    "float": "a number",
    "bool": "true or false",
    "null": "null",
    "array": "a list",
    "object": "an object",
}


class _Message(msgspec.Struct, forbid_unknown_fields=True):
    role: str
    content: str


class _MessagesRow(msgspec.Struct, forbid_unknown_fields=True):
    messages: list[_Message]
    images: list[str]
    system: str | None = None
    tools: Any = None
    label: Any = None
    videos: Any = None
    audios: Any = None


class _ImageInfo(msgspec.Struct, forbid_unknown_fields=True):
    image_url: str
    matched_text_index: int = 0


class _TextInfo(msgspec.Struct, forbid_unknown_fields=True):
    text: str
    tag: str


class _ErniekitRow(msgspec.Struct, forbid_unknown_fields=True):
    image_info: list[_ImageInfo]
    text_info: list[_TextInfo]
    is_system: int | bool = 0
    order: Any = None
    video_info: Any = None


_KNOWN_KEYS = sorted(
    {
        name
        for struct in (_Message, _MessagesRow, _ImageInfo, _TextInfo, _ErniekitRow)
        for name in struct.__struct_fields__
    }
)
_Row = TypeVar("_Row", _MessagesRow, _ErniekitRow)


class _RowRefused(Exception):
    """Ends the reading of one row."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(kind, message)
        self.kind = kind
        self.message = message


def scan(path: Path) -> Iterator[Sample | Problem]:
    """Yield, in the order of the file, a sample for each good row and a problem for each other.

    Relative image paths are taken from the file's folder; the images themselves are not looked at. Raises *not found*
    where there is no file, and a data error for a folder or a file that may not be read.
    """
    require_file(path)
    folder = path.absolute().parent
    any_row = False
    for number, line in _lines(path):
        if not any_row and line.startswith(b"["):
            yield Problem(None, "json_array", "the file is a JSON array; write one object a line")
            return
        if not line:
            yield Problem(number, "blank_line", "the line is blank, and ERNIEKit stops at a blank line")
            continue
        any_row = True
        try:
            yield _parse_row(line, folder, number)
        except _RowRefused as refused:
            yield Problem(number, refused.kind, refused.message)
    if not any_row:
        yield Problem(None, "empty", "the file has no row")


def read_samples(path: Path) -> list[Sample]:
    """Return the samples of a file that was checked before; raise a data error at the first problem."""
    samples: list[Sample] = []
    for item in scan(path):
        if isinstance(item, Problem):
            raise data_error(f"{path}: {item}", check_command(path))
        samples.append(item)
    return samples


def to_row(sample: Sample, row_format: RowFormat, folder: Path) -> str:
    """Return a sample as a line of JSON, without its end, for a dataset file in ``folder``.

    An image below ``folder`` is written relative to it, so that the folder can be moved.
    """
    inside = sample.image.is_relative_to(folder)
    image = f"./{sample.image.relative_to(folder).as_posix()}" if inside else sample.image.as_posix()
    row: dict[str, Any]
    if row_format == "erniekit":
        row = {
            "image_info": [{"matched_text_index": 0, "image_url": image}],
            "text_info": [{"text": sample.prompt, "tag": "mask"}, {"text": sample.target, "tag": "no_mask"}],
        }
    else:
        row = {
            "messages": [
                {"role": "user", "content": IMAGE_MARK + sample.prompt},
                {"role": "assistant", "content": sample.target},
            ],
            "images": [image],
        }
    return json.dumps(row, ensure_ascii=False)


def check_command(path: Path) -> str:
    """Return the command that lists all problems of a file: the hint of errors about it."""
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


def shorten(text: str, length: int = 60) -> str:
    """Return ``text`` cut to a length that suits a message."""
    return text if len(text) <= length else text[: length - 1] + "…"


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


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield numbered lines without white space around them; blank lines at the end of the file are left out."""
    blank: list[int] = []
    with path.open("rb") as stream:
        for number, raw in enumerate(stream, start=1):
            line = (raw.removeprefix(_BYTE_ORDER_MARK) if number == 1 else raw).strip()
            if not line:
                blank.append(number)
                continue
            yield from ((earlier, b"") for earlier in blank)
            blank.clear()
            yield number, line


def _parse_row(line: bytes, folder: Path, number: int) -> Sample:
    row = _decode(line)
    if "messages" in row:
        image, prompt, target = _read_messages(_convert(row, _MessagesRow))
    elif "text_info" in row or "image_info" in row:
        image, prompt, target = _read_erniekit(_convert(row, _ErniekitRow))
    else:
        keys = ", ".join(f"'{key}'" for key in list(row)[:5]) or "none"
        raise _RowRefused(
            "unknown_form", f"a row has 'messages' and 'images', or 'image_info' and 'text_info'; this one has {keys}"
        )
    _refuse_reserved(prompt, "prompt")
    _refuse_reserved(target, "target")
    if not target.strip():
        raise _RowRefused("empty_target", "the target is empty: there is nothing to learn from the image")
    return Sample(folder / _image_path(image), prompt, target, number)


def _decode(line: bytes) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise _RowRefused("not_utf8", f"byte {error.start + 1} of the line is not UTF-8 text") from error
    except (msgspec.DecodeError, RecursionError) as error:
        reason = str(error).removeprefix("JSON is malformed: ")
        raise _RowRefused("not_json", f"the line is not JSON: {reason}") from error
    if not isinstance(value, dict):
        raise _RowRefused("not_an_object", "the line is JSON, but not an object: {…}")
    return value


def _convert(row: dict[str, Any], form: type[_Row]) -> _Row:
    try:
        return msgspec.convert(row, form)
    except msgspec.ValidationError as error:
        raise _refusal_of(str(error)) from error


def _refusal_of(text: str) -> _RowRefused:
    """Say in the user's words what msgspec found, such as ``Expected `str`, got `int` - at `$.images[0]```."""
    match = _PLACE_IN_ROW.fullmatch(text)
    what, where = (match["what"], match["where"] or "the row") if match else (text, "the row")
    if unknown := re.search(r"unknown field `(.*)`", what):
        key = unknown[1]
        return _RowRefused("unknown_key", f"{where} has an unknown key '{key}': {did_you_mean(key, _KNOWN_KEYS)}")
    if missing := re.search(r"missing required field `(.*)`", what):
        return _RowRefused("wrong_shape", f"{where} lacks '{missing[1]}'")
    if expected := re.fullmatch(r"Expected `(.*)`, got `(.*)`", what):
        wanted, got = (_type_words(name) for name in expected.groups())
        return _RowRefused("wrong_shape", f"{where} must be {wanted}, not {got}")
    return _RowRefused("wrong_shape", f"{where}: {what}")


def _type_words(names: str) -> str:
    return " or ".join(dict.fromkeys(_JSON_TYPES.get(name, name) for name in names.split(" | ")))


def _read_messages(row: _MessagesRow) -> tuple[str, str, str]:
    _refuse_extras(tools=row.tools, label=row.label, videos=row.videos, audios=row.audios)
    roles = [message.role for message in row.messages]
    if row.system or "system" in roles:
        raise _system_turn()
    _refuse_turns(roles, ["user", "assistant"], "messages")
    question, answer = (message.content for message in row.messages)
    _refuse_image_count(len(row.images))
    if (marks := question.count(IMAGE_MARK)) != 1:
        raise _RowRefused("image_count", f"the user's turn has {marks or 'no'} {IMAGE_MARK}; it must have one")
    if not question.startswith(IMAGE_MARK):
        raise _RowRefused("image_place", f"{IMAGE_MARK} must begin the user's turn: the model sees the image first")
    return row.images[0], question.removeprefix(IMAGE_MARK), answer


def _read_erniekit(row: _ErniekitRow) -> tuple[str, str, str]:
    _refuse_extras(order=row.order, video_info=row.video_info)
    if row.is_system:
        raise _system_turn()
    _refuse_turns([text.tag for text in row.text_info], ["mask", "no_mask"], "text_info")
    _refuse_image_count(len(row.image_info))
    image = row.image_info[0]
    if (index := image.matched_text_index) != 0:
        raise _RowRefused("image_place", f"matched_text_index must be 0, not {index}: the model sees the image first")
    question, answer = row.text_info
    return image.image_url, question.text, answer.text


def _system_turn() -> _RowRefused:
    return _RowRefused("system_turn", "the row has a system turn, which this family of models is not asked with")


def _refuse_extras(**values: Any) -> None:
    for key, value in values.items():
        if value:
            raise _RowRefused("unsupported", f"'{key}' is not supported, and would be ignored: remove it")


def _refuse_turns(turns: list[str], wanted: list[str], key: str) -> None:
    if len(turns) > len(wanted):
        raise _RowRefused("multi_turn", f"'{key}' has {len(turns)} turns; a sample is one question and one answer")
    if turns != wanted:
        found = " then ".join(turns) or "empty"
        raise _RowRefused("wrong_turns", f"'{key}' must be {' then '.join(wanted)}, not {found}")


def _refuse_image_count(count: int) -> None:
    if count != 1:
        raise _RowRefused("image_count", f"the row has {count or 'no'} images; a sample has exactly one")


def _refuse_reserved(text: str, part: str) -> None:
    for word in _RESERVED:
        if word in text:
            raise _RowRefused("reserved_text", f"the {part} has {word}, which is a mark of the model's own, not text")


def _image_path(reference: str) -> str:
    if not reference or "\0" in reference:
        raise _RowRefused("wrong_shape", "the image's path is empty or has a zero byte")
    if reference.startswith("data:") or len(reference) > _LONGEST_PATH:
        raise _RowRefused("image_not_a_file", "the image is embedded in the row: save it as a file and name its path")
    if _URL.match(reference):
        raise _RowRefused(
            "image_not_a_file", f"the image is a URL ({shorten(reference)}): download it and name its path"
        )
    return reference
