"""Which rows belong together, by the names of their images: those of a document, of a writer, of a folder."""

from __future__ import annotations

import csv
import re
import shlex
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from ocrvl_modal.errors import data_error, usage_error

GroupOf = Callable[[str], str | None]
"""Returns the group of an image by its name, ``None`` where the rule says nothing of it."""


def grouping(rule: str) -> GroupOf:
    """Return what ``--group-by`` means.

    ``image``: each image is a group of its own. ``folder``: the folder that it lies in. The path of a ``.csv`` file:
    its first column names images, its second their groups. Anything else is a regular expression that is searched in
    the image's name; its groups in brackets, or else all that it matches, name the group.

    Raises a usage error for an expression that is none, and a data error for a CSV file that cannot be used.
    """
    if rule == "image":
        return lambda name: name
    if rule == "folder":
        return lambda name: PurePosixPath(name).parent.as_posix()
    if rule.lower().endswith(".csv"):
        return _from_csv(Path(rule))
    try:
        return _from_expression(re.compile(rule))
    except re.error as error:
        raise usage_error(
            f"--group-by {shlex.quote(rule)} is no regular expression: {error}",
            "write image, folder, the path of a .csv file, or an expression such as 'page-(\\d+)'",
        ) from error


def _from_expression(expression: re.Pattern[str]) -> GroupOf:
    def group_of(name: str) -> str | None:
        found = expression.search(name)
        if found is None:
            return None
        return "\n".join(part or "" for part in found.groups()) if expression.groups else found[0]

    return group_of


def _from_csv(path: Path) -> GroupOf:
    groups: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            for number, row in enumerate(csv.reader(stream), start=1):
                if not row:
                    continue
                if len(row) < 2 or not row[0].strip() or not row[1].strip():
                    raise data_error(f"{path}: line {number} does not name an image and its group", "write image,group")
                name, group = _plain(row[0].strip()), row[1].strip()
                if groups.setdefault(name, group) != group:
                    raise data_error(
                        f"{path}: line {number} puts {name} in group '{group}', an earlier one in '{groups[name]}'",
                        "name each image once",
                    )
    except FileNotFoundError as error:
        raise data_error(f"there is no file {path}", "--group-by folder") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise data_error(f"{path} cannot be read: {reason}", "save it as UTF-8, one image,group a line") from error
    return lambda name: groups.get(name, groups.get(PurePosixPath(name).name))


def _plain(name: str) -> str:
    return name.removeprefix("./")
