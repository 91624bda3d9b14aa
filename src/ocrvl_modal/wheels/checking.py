"""Whether a file is the wheel that its name says: the zip's own directory, and the names and versions in it."""

from __future__ import annotations

import zipfile
from email.parser import Parser
from pathlib import Path

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

_NEEDED = ("METADATA", "WHEEL", "RECORD")
_LONGEST_METADATA = 4 << 20


def problem_of_wheel(path: Path, file_name: str) -> str | None:
    """Return what is wrong with a wheel, ``None`` for a good one.

    Its content is not unpacked: a digest tells more of that. The zip's directory stands at the file's end, and so is
    what a file lacks that was cut off.
    """
    try:
        name, version, _, _ = parse_wheel_filename(file_name)
    except InvalidWheelFilename as error:
        return f"its name is none of a wheel: {error}"
    try:
        with zipfile.ZipFile(path) as archive:
            return _problem_of_archive(archive, str(name), version)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
        return f"it is no whole zip file: {error}"


def _problem_of_archive(archive: zipfile.ZipFile, name: str, version: Version) -> str | None:
    entries = {entry.filename: entry for entry in archive.infolist()}
    if min((entry.header_offset for entry in entries.values()), default=0) != 0:
        return "its directory does not fit: bytes are missing at its beginning, or do not belong there"
    for entry in entries.values():
        if entry.header_offset + entry.compress_size > archive.start_dir:
            return f"its directory names {entry.filename} where the file has no room for it"
    infos = {inside.partition("/")[0] for inside in entries if inside.partition("/")[0].endswith(".dist-info")}
    if len(infos) != 1:
        return f"it holds {len(infos)} folders that describe it, and should hold one"
    info = infos.pop()
    missing = [needed for needed in _NEEDED if f"{info}/{needed}" not in entries]
    if missing:
        return f"{info} lacks {', '.join(missing)}"
    if entries[f"{info}/METADATA"].file_size > _LONGEST_METADATA:
        return f"{info}/METADATA is longer than any"
    metadata = Parser().parsestr(archive.read(f"{info}/METADATA").decode("utf-8", errors="replace"), headersonly=True)
    told = f"{metadata['Name']} {metadata['Version']}"
    try:
        is_right = canonicalize_name(metadata["Name"] or "") == name and Version(metadata["Version"] or "") == version
    except InvalidVersion:
        is_right = False
    return None if is_right else f"it says of itself that it is {told}, and its name says {name} {version}"
