"""The two forms of a row, ERNIEKit's and PaddleFormers': read strictly, and written back with nothing lost.

Their meaning is that of ERNIEKit 1.5 and of PaddleFormers 1.2.0, which skip a row that they cannot read.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, Literal, TypeVar, get_args

import msgspec

from ocrvl_modal.data.plain_rows import NOT_DECODED, ErniekitRow, MessagesRow
from ocrvl_modal.data.schema import IMAGE_MARK, ImageUse, Role, Row, RowRefused, Turn, shorten
from ocrvl_modal.errors import OcrvlError, data_error, did_you_mean

__all__ = ["ROW_FORMATS", "RowFormat", "RowRefused", "parse_row", "write_row"]

RowFormat = Literal["messages", "erniekit"]
ROW_FORMATS: tuple[RowFormat, ...] = ("messages", "erniekit")

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
_ROLES: dict[str, Role] = {role: role for role in get_args(Role)}
_ROLE_OF_TAG: dict[str, Role] = {"mask": "user", "no_mask": "assistant"}


class _Message(msgspec.Struct, forbid_unknown_fields=True):
    role: str
    content: str


class _MessagesRow(msgspec.Struct, forbid_unknown_fields=True):
    messages: list[_Message]
    images: list[str]
    system: str | None = None
    label: list[int | bool] | None = None
    tools: Any = None
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
_Form = TypeVar("_Form", _MessagesRow, _ErniekitRow)
_PLAIN_MESSAGES = msgspec.json.Decoder(MessagesRow)
_PLAIN_ERNIEKIT = msgspec.json.Decoder(ErniekitRow)


def parse_row(line: bytes) -> Row:
    """Return what a line says, in whichever form it is; raise :class:`RowRefused` for one that no engine could read.

    A row may be sound and still no sample of this family: see :meth:`Row.sample`.
    """
    return _plain_messages(line) or _plain_erniekit(line) or _parse_closely(line)


def _plain_messages(line: bytes) -> Row | None:
    """Return a row of the plainest shape, which nearly all are, in a fraction of the time; ``None`` for any other."""
    try:
        row = _PLAIN_MESSAGES.decode(line)
    except NOT_DECODED:
        return None
    question, answer = row.messages
    if not question.content.startswith(IMAGE_MARK) or question.content.count(IMAGE_MARK) > 1:
        return None
    asked = Turn("user", question.content[len(IMAGE_MARK) :], learned=False, path="messages[0].content")
    answered = Turn("assistant", answer.content, learned=True, path="messages[1].content")
    return Row((asked, answered), (ImageUse(row.images[0], 0, "images[0]"),))


def _plain_erniekit(line: bytes) -> Row | None:
    try:
        row = _PLAIN_ERNIEKIT.decode(line)
    except NOT_DECODED:
        return None
    question, answer = row.text_info
    asked = Turn("user", question.text, learned=False, path="text_info[0].text")
    answered = Turn("assistant", answer.text, learned=True, path="text_info[1].text")
    return Row((asked, answered), (ImageUse(row.image_info[0].image_url, 0, "image_info[0].image_url"),))


def _parse_closely(line: bytes) -> Row:
    values = _decode(line)
    if "messages" in values:
        return _read_messages(_convert(values, _MessagesRow))
    if "text_info" in values or "image_info" in values:
        return _read_erniekit(_convert(values, _ErniekitRow))
    keys = ", ".join(f"'{key}'" for key in list(values)[:5]) or "none"
    raise RowRefused(
        "unknown_form", f"a row has 'messages' and 'images', or 'image_info' and 'text_info'; this one has {keys}"
    )


def write_row(row: Row, form: RowFormat) -> str:
    """Return a row as a line of JSON, without its end; raise a data error where the form cannot say it."""
    return json.dumps(_as_messages(row) if form == "messages" else _as_erniekit(row), ensure_ascii=False)


def _decode(line: bytes) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise RowRefused("not_utf8", f"byte {error.start + 1} of the line is not UTF-8 text") from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise _half_a_pair(line) or RowRefused("not_json", f"the line is not JSON: {_reason(error)}") from error
    if not isinstance(value, dict):
        raise RowRefused("not_an_object", "the line is JSON, but not an object: {…}")
    return value


def _reason(error: Exception) -> str:
    return str(error).removeprefix("JSON is malformed: ")


def _half_a_pair(line: bytes) -> RowRefused | None:
    """Return the refusal of a line that is JSON but for half of a pair of surrogates, written as an escape."""
    try:
        place = _place_of_surrogate(json.loads(line), "")
    except (ValueError, RecursionError):
        return None
    if place is None:
        return None
    return RowRefused("surrogate", f"{place or 'a key'} has half of a pair of surrogates, which is no character", place)


def _place_of_surrogate(value: Any, path: str) -> str | None:
    if isinstance(value, str):
        return path if any("\ud800" <= letter <= "\udfff" for letter in value) else None
    inside: list[tuple[str, Any]] = []
    if isinstance(value, dict):
        inside = [(f"{path}.{_printable(key)}".lstrip("."), item) for key, item in value.items()]
        inside += [(path, key) for key in value]
    elif isinstance(value, list):
        inside = [(f"{path}[{index}]", item) for index, item in enumerate(value)]
    places = (_place_of_surrogate(item, where) for where, item in inside)
    return next((place for place in places if place is not None), None)


def _printable(key: str) -> str:
    return key.encode("utf-8", "backslashreplace").decode()


def _convert(values: dict[str, Any], form: type[_Form]) -> _Form:
    try:
        return msgspec.convert(values, form)
    except msgspec.ValidationError as error:
        raise _refusal_of(str(error)) from error


def _refusal_of(text: str) -> RowRefused:
    """Say in the user's words what msgspec found, such as ``Expected `str`, got `int` - at `$.images[0]```."""
    match = _PLACE_IN_ROW.fullmatch(text)
    what, path = (match["what"], match["where"] or "") if match else (text, "")
    where = path or "the row"
    if unknown := re.search(r"unknown field `(.*)`", what):
        key = unknown[1]
        place = f"{path}.{key}".lstrip(".")
        return RowRefused("unknown_key", f"{where} has an unknown key '{key}': {did_you_mean(key, _KNOWN_KEYS)}", place)
    if missing := re.search(r"missing required field `(.*)`", what):
        return RowRefused("wrong_shape", f"{where} lacks '{missing[1]}'", f"{path}.{missing[1]}".lstrip("."))
    if expected := re.fullmatch(r"Expected `(.*)`, got `(.*)`", what):
        wanted, got = (_type_words(name) for name in expected.groups())
        return RowRefused("wrong_shape", f"{where} must be {wanted}, not {got}", path)
    return RowRefused("wrong_shape", f"{where}: {what}", path)


def _type_words(names: str) -> str:
    return " or ".join(dict.fromkeys(_JSON_TYPES.get(name, name) for name in names.split(" | ")))


def _read_messages(row: _MessagesRow) -> Row:
    _refuse_extras(tools=row.tools, videos=row.videos, audios=row.audios)
    begins_with_system = bool(row.messages) and row.messages[0].role == "system"
    if row.system and begins_with_system:
        raise RowRefused("wrong_turns", "the row has two system turns: in 'system' and in 'messages'", "system")
    roles = [message.role for message in row.messages]
    _refuse_order(roles[1:] if begins_with_system else roles, ("user", "assistant"), "messages")
    learned = _learned(row)
    marks = [_leading_marks(message.content) if message.role == "user" else 0 for message in row.messages]
    _refuse_marks(row, sum(marks))
    turns = [Turn("system", row.system, learned=False, path="system")] if row.system else []
    images: list[ImageUse] = []
    for index, (message, count) in enumerate(zip(row.messages, marks, strict=True)):
        for _ in range(count):
            images.append(ImageUse(row.images[len(images)], len(turns), f"images[{len(images)}]"))
        is_learned = message.role == "assistant" and next(learned)
        text = message.content[count * len(IMAGE_MARK) :]
        turns.append(Turn(_ROLES[message.role], text, is_learned, f"messages[{index}].content"))
    return Row(tuple(turns), tuple(images))


def _read_erniekit(row: _ErniekitRow) -> Row:
    _refuse_extras(order=row.order, video_info=row.video_info)
    tags = [text.tag for text in row.text_info]
    if tags and set(tags) == {"mask"}:
        raise RowRefused("no_learned_turn", "no text of 'text_info' is tagged no_mask: nothing is learned", "text_info")
    _refuse_order(tags[1:] if row.is_system else tags, ("mask", "no_mask"), "text_info")
    turns: list[Turn] = []
    for index, text in enumerate(row.text_info):
        role = "system" if row.is_system and index == 0 else _ROLE_OF_TAG[text.tag]
        turns.append(Turn(role, text.text, role == "assistant", f"text_info[{index}].text"))
    images = [
        ImageUse(image.image_url, _matched_turn(image, index, len(turns)), f"image_info[{index}].image_url")
        for index, image in enumerate(row.image_info)
    ]
    return Row(tuple(turns), tuple(sorted(images, key=lambda image: image.turn)))


def _learned(row: _MessagesRow) -> Iterator[bool]:
    """Return for each answer whether it is learned: what ``label`` says, or all."""
    answers = sum(message.role == "assistant" for message in row.messages)
    if row.label is None:
        return iter([True] * answers)
    if len(row.label) != answers:
        raise RowRefused("wrong_shape", f"label has {len(row.label)} values for {answers} answers", "label")
    if not any(row.label):
        raise RowRefused("no_learned_turn", "label is 0 for every answer: nothing is learned", "label")
    return map(bool, row.label)


def _leading_marks(text: str) -> int:
    count = 0
    while text.startswith(IMAGE_MARK, count * len(IMAGE_MARK)):
        count += 1
    return count


def _refuse_marks(row: _MessagesRow, leading: int) -> None:
    """Refuse a row whose images and marks are not equally many, or whose marks stand behind text."""
    marks = sum(message.content.count(IMAGE_MARK) for message in row.messages if message.role == "user")
    if marks != len(row.images):
        raise RowRefused(
            "image_count",
            f"the row has {len(row.images) or 'no'} images and {marks or 'no'} {IMAGE_MARK}: each image needs one",
            "images",
        )
    if marks != leading:
        raise RowRefused(
            "image_place", f"{IMAGE_MARK} must begin the user's turn: the model sees the image first", "messages"
        )


def _matched_turn(image: _ImageInfo, index: int, turns: int) -> int:
    matched = image.matched_text_index
    if not 0 <= matched < turns:
        raise RowRefused(
            "image_index",
            f"matched_text_index is {matched}, and 'text_info' has {turns} texts",
            f"image_info[{index}].matched_text_index",
        )
    return matched


def _refuse_extras(**values: Any) -> None:
    for key, value in values.items():
        if value:
            raise RowRefused("unsupported", f"'{key}' is not supported, and would be ignored: remove it", key)


def _refuse_order(found: list[str], pair: tuple[str, str], key: str) -> None:
    """Refuse turns that are not a pair, or several: question and answer, question and answer."""
    wanted = [pair[index % 2] for index in range(len(found) + len(found) % 2)] or list(pair)
    if found != wanted:
        told = " then ".join(shorten(name, 20) for name in found[:6]) or "empty"
        raise RowRefused("wrong_turns", f"'{key}' must be {' then '.join(pair)}, not {told}", key)


def _as_messages(row: Row) -> dict[str, Any]:
    for turn in row.turns:
        if IMAGE_MARK in turn.text:
            raise _cannot_say("messages", f"a text with {IMAGE_MARK} in it")
    for image in row.images:
        if row.turns[image.turn].role != "user":
            raise _cannot_say("messages", "an image before anything but a question")
    marks = Counter(image.turn for image in row.images)
    answers = [turn for turn in row.turns if turn.role == "assistant"]
    label = [] if all(turn.learned for turn in answers) else [int(turn.learned) for turn in answers]
    return {
        "messages": [
            {"role": turn.role, "content": IMAGE_MARK * marks[index] + turn.text}
            for index, turn in enumerate(row.turns)
        ],
        "images": [image.reference for image in row.images],
        **({"label": label} if label else {}),
    }


def _as_erniekit(row: Row) -> dict[str, Any]:
    if not all(turn.learned for turn in row.turns if turn.role == "assistant"):
        raise _cannot_say("erniekit", "an answer that is not learned")
    tags = {"system": "mask", "user": "mask", "assistant": "no_mask"}
    return {
        "image_info": [{"matched_text_index": image.turn, "image_url": image.reference} for image in row.images],
        "text_info": [{"text": turn.text, "tag": tags[turn.role]} for turn in row.turns],
        **({"is_system": 1} if row.turns[0].role == "system" else {}),
    }


def _cannot_say(form: RowFormat, what: str) -> OcrvlError:
    other = next(name for name in ROW_FORMATS if name != form)
    return data_error(f"the {form} form has no way to write {what}", f"write it in the {other} form")
