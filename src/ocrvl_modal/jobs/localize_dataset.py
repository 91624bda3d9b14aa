"""Making a dataset whose rows name images by their addresses one whose images are files, beside its rows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from ocrvl_modal import files, locks
from ocrvl_modal.data.made_folders import Making, require_outside, require_replaceable
from ocrvl_modal.data.rows import require_file
from ocrvl_modal.data.schema import is_url
from ocrvl_modal.errors import OcrvlError
from ocrvl_modal.jobs.fetching.addresses import WEB_SCHEMES, Unreachable, address_of
from ocrvl_modal.jobs.fetching.images import AT_ONCE, JOURNAL, ImageFolder
from ocrvl_modal.jobs.fetching.localizing import MISSING, Beside, Place, RowsFile, localize
from ocrvl_modal.jobs.fetching.objects import Objects
from ocrvl_modal.jobs.fetching.web import NotHad, Web
from ocrvl_modal.places import Places

_MARKER = "localize.json"
_MAKER = "ocrvl data localize"
_IMAGES = "images"
_LOCK = ".lock"


class LocalizeRequest(BaseModel):
    """Which file of rows to localize, and the folder that its copy and its images go to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    places: Places
    dataset: str
    out: str


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Fetch the images that rows name by an address, once each, and write the rows anew in ``out``.

    Killed at any point and called again, it goes on with the images that are not there yet; so it does for those that
    could not be had. Several files may be localized into one folder, one after the other. Images that are files stay
    where they are. Raises a data error where no row would be left, and a usage error for a folder of something else.
    """
    asked = LocalizeRequest.model_validate(request)
    source, out = asked.places.resolve(asked.dataset), asked.places.resolve(asked.out)
    require_file(source)
    require_outside(source, out)
    require_replaceable(out, _making(out, source.name))
    out.mkdir(parents=True, exist_ok=True)
    with locks.held(out / _LOCK, OcrvlError(f"another process writes to {out} at this moment", "wait for it")):
        files.write_json(out / _MARKER, {"made_by": _MAKER})
        images = _Images(source.parent.absolute(), out.absolute())
        try:
            report = localize(
                [RowsFile(source, source.name)],
                out,
                ImageFolder(out),
                images.get,
                images.place_of,
                "look at that address",
            )
        except OcrvlError:
            (out / source.name).unlink(missing_ok=True)
            raise
    folder = asked.out.rstrip("/")
    return {"folder": folder, "rows": f"{folder}/{source.name}", "images": report.to_dict()}


def _making(out: Path, name: str) -> Making:
    """Return what a folder that we made may hold: rows of any file beside those of this one."""
    rows = {path.name for path in out.glob("*.jsonl")} if out.is_dir() else set()
    return Making(
        _MARKER, _MAKER, frozenset({_IMAGES, _LOCK, JOURNAL, MISSING, name, *rows}), "a localized dataset", "localized"
    )


class _Images:
    """Where the images of a file's rows are, and how those with an address are fetched."""

    def __init__(self, folder: Path, out: Path) -> None:
        self._folder = folder
        self._out = out
        self._web = Web(AT_ONCE)
        self._objects: Objects | None = None

    def place_of(self, _file: RowsFile, image: str) -> Place:
        """Return an image's address; a relative path is named anew, any other stays."""
        if is_url(image):
            try:
                image.encode()
                return address_of(image, "")
            except (Unreachable, ValueError) as error:
                return NotHad("bad_address", str(error))
        if not image or image.startswith(("/", "data:")) or "\0" in image:
            return None
        return Beside(Path(os.path.relpath(self._folder / image, self._out)).as_posix())

    def get(self, address: str) -> bytes:
        """Return the content at an address of the web or of an object store."""
        if address.partition("://")[0].lower() in WEB_SCHEMES:
            return self._web.get(address)
        self._objects = self._objects or Objects()
        return self._objects.get(address)
