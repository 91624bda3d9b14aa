"""The images that a file of rows names: read at once where all rows are plain, else row by row as training reads them.

A test proves that both ways find, and refuse, the same.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import repeat
from pathlib import Path
from typing import Any

import msgspec

from ocrvl_modal.data.checking.chunks import Chunk, blocks_of
from ocrvl_modal.data.plain_rows import NOT_DECODED, ErniekitRow, MessagesRow
from ocrvl_modal.data.rows import check_command, scan
from ocrvl_modal.data.schema import IMAGE_MARK, LONGEST_PATH, RESERVED, Finding, Sample, is_url
from ocrvl_modal.data.shards.renaming import full_path
from ocrvl_modal.errors import OcrvlError, data_error

_SHOWN_PROBLEMS = 3
_URL_KINDS = frozenset({"image_url"})
_REMEMBERED_PROMPTS = 1024
_MESSAGES = msgspec.json.Decoder(MessagesRow)
_ERNIEKIT = msgspec.json.Decoder(ErniekitRow)


def image_paths(path: Path) -> list[str]:
    """Return the images that rows name, each once, as absolute paths in the order of their first appearance.

    Raises a data error where some rows are no samples.
    """
    plain = _in_plain_rows(path)
    return _in_samples(path) if plain is None else plain


def _in_samples(path: Path) -> list[str]:
    found: dict[str, None] = {}
    problems: list[Finding] = []
    for item in scan(path):
        if isinstance(item, Sample):
            found[str(item.image)] = None
        else:
            problems.append(item)
    if problems:
        raise _refusal(path, problems)
    return list(found)


def _refusal(path: Path, problems: Sequence[Finding]) -> OcrvlError:
    shown = "".join(f"\n  {problem}" for problem in problems[:_SHOWN_PROBLEMS])
    more = f"\n  and {len(problems) - _SHOWN_PROBLEMS} more" if len(problems) > _SHOWN_PROBLEMS else ""
    only_urls = {problem.kind for problem in problems} <= _URL_KINDS
    return data_error(
        f"{path} has rows that cannot be trained on: {len(problems)}{shown}{more}",
        f"ocrvl data localize {shlex.quote(str(path))}" if only_urls else check_command(path),
    )


def _in_plain_rows(path: Path) -> list[str] | None:
    """Return the images of a file all of whose rows are plain samples beyond doubt; ``None`` for any other file."""
    folder = str(path.absolute().parent)
    found: dict[str, None] = {}
    for lines in blocks_of(path, Chunk(0, path.stat().st_size)):
        references = _references(_MESSAGES, lines, _of_messages) or _references(_ERNIEKIT, lines, _of_erniekit)
        if references is None:
            return None
        found.update(dict.fromkeys(map(full_path, repeat(folder), references)))
    return list(found) or None


_Columns = tuple[list[str], list[str], list[str]]


def _of_messages(rows: list[MessagesRow]) -> _Columns:
    turns = [row.messages for row in rows]
    return (
        [question.content.removeprefix(IMAGE_MARK) for question, _ in turns],
        [answer.content for _, answer in turns],
        [row.images[0] for row in rows if row.messages[0].content.startswith(IMAGE_MARK)],
    )


def _of_erniekit(rows: list[ErniekitRow]) -> _Columns:
    turns = [row.text_info for row in rows]
    return (
        [question.text for question, _ in turns],
        [answer.text for _, answer in turns],
        [row.image_info[0].image_url for row in rows],
    )


def _references(
    decoder: msgspec.json.Decoder[Any], lines: list[bytes], columns: Callable[..., _Columns]
) -> list[str] | None:
    """Return the images that lines name in one form; ``None`` where there is any doubt about one of them."""
    try:
        prompts, targets, references = columns(list(map(decoder.decode, lines)))
    except NOT_DECODED:
        return None
    is_clean = (
        len(references) == len(lines)
        and all(map(_is_clean, prompts))
        and all(map(str.strip, targets))
        # All that is reserved begins with this sign.
        and all(_is_clean(target) for target in targets if "<" in target)
        and all(map(_is_path, references))
    )
    return references if is_clean else None


@lru_cache(_REMEMBERED_PROMPTS)
def _is_clean(text: str) -> bool:
    return not any(map(text.__contains__, RESERVED))


def _is_path(reference: str) -> bool:
    if ":" in reference and (reference.startswith("data:") or is_url(reference)):
        return False
    return 0 < len(reference) <= LONGEST_PATH and "\0" not in reference
