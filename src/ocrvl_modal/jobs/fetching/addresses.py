"""What a user may call a dataset, and what the images of its rows are called from there."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal
from urllib.parse import unquote, urljoin, urlsplit

from ocrvl_modal.data.known import KNOWN_DATASETS
from ocrvl_modal.errors import did_you_mean, usage_error
from ocrvl_modal.jobs.fetching.hub import is_repository

WEB_SCHEMES = ("http", "https")
OBJECT_SCHEMES = ("s3", "gs", "az", "file")
"""Object stores; ``file`` is a folder of this machine that stands for one, such as a mounted bucket."""

_SAYING_LITTLE = {"train", "validation", "test", "data"}


@dataclass(frozen=True)
class DatasetSource:
    """Where a dataset comes from.

    ``hub``: ``repository``. ``web``: ``files``, each address by the name that its file gets. ``objects``: ``address``
    of a file, or of a folder with files of rows.
    """

    kind: Literal["hub", "web", "objects"]
    name: str
    repository: str = ""
    files: Mapping[str, str] | None = None
    address: str = ""


class Unreachable(Exception):
    """A reference that leads nowhere; its text says why."""


def parse_source(text: str) -> DatasetSource:
    """Return what a user means: a known dataset, ``OWNER/NAME`` of a hub, or an address.

    Raises a usage error, with the nearest known name, for anything else.
    """
    if text in KNOWN_DATASETS:
        return DatasetSource("web", text, files=KNOWN_DATASETS[text])
    scheme = _scheme_of(text)
    if scheme == "hf" or not scheme:
        repository = text.removeprefix("hf://").removeprefix("datasets/")
        if is_repository(repository):
            return DatasetSource("hub", repository.rpartition("/")[2], repository=repository)
    if scheme in WEB_SCHEMES:
        return _of_web(text)
    if scheme in OBJECT_SCHEMES and urlsplit(text).path.strip("/"):
        return DatasetSource("objects", _name_of(text), address=text)
    raise usage_error(
        f"'{text}' is no dataset that can be fetched",
        f"{did_you_mean(text, KNOWN_DATASETS)}; or OWNER/NAME of a hub, or https://…, s3://…, gs://…, az://…;"
        " a file of this machine: ocrvl volume put",
    )


def _scheme_of(text: str) -> str:
    """Return the scheme of an address, nothing for what has none; raise a usage error for no whole address."""
    try:
        return urlsplit(text).scheme.lower() if "://" in text else ""
    except ValueError as error:
        raise usage_error(f"'{text}' is no address: {error}", "write it as https://HOST/PATH") from error


def _of_web(text: str) -> DatasetSource:
    file = PurePosixPath(unquote(urlsplit(text).path)).name
    if not file.lower().endswith((".jsonl", ".json")):
        raise usage_error(f"{text} is no .jsonl file: training reads no other form", "give the address of its rows")
    return DatasetSource("web", _name_of(text), files={f"{PurePosixPath(file).stem}.jsonl": text})


def _name_of(address: str) -> str:
    """Return what a dataset is called by its address: as its folder there, where the file's own name says little."""
    path = PurePosixPath(unquote(urlsplit(address).path))
    return path.parent.name if path.stem in _SAYING_LITTLE and path.parent.name else path.stem


def address_of(reference: str, base: str) -> str:
    """Return the whole address of an image that a row names; ``base`` is the address of the row's file.

    In an object store, what is below the folder of the rows may be named, or any other object by its whole address.
    Raises :class:`Unreachable` for what cannot be fetched.
    """
    scheme = urlsplit(reference).scheme.lower() if "://" in reference else ""
    if scheme in WEB_SCHEMES or (scheme in OBJECT_SCHEMES and scheme != "file"):
        return reference
    if scheme:
        raise Unreachable(f"addresses that begin with {scheme}:// are not fetched")
    if urlsplit(base).scheme in WEB_SCHEMES:
        return urljoin(base, reference)
    root, _, folder = base.rpartition("/")[0].partition("://")
    joined = posixpath.normpath(posixpath.join(folder, reference))
    if not joined.startswith(f"{folder}/"):
        raise Unreachable("it leaves the folder of its dataset")
    return f"{root}://{joined}"
