"""Images by their addresses, side by side, into files that are named by their content; what is here stays here."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from ocrvl_modal.data.image_endings import ending_of
from ocrvl_modal.jobs.fetching.meter import Meter
from ocrvl_modal.jobs.fetching.web import NotHad

JOURNAL = ".images.jsonl"
"""Beside the images: which address each came from."""

AT_ONCE = 16

Get = Callable[[str], bytes]


@dataclass(frozen=True)
class Gathered:
    """The file of each address that could be had, relative to the folder, and of each other one why not."""

    files: Mapping[str, str]
    missing: Mapping[str, NotHad]
    fetched: int


class ImageFolder:
    """A folder of images, ``images/<first two letters>/<sha256>.<ending>``, and its journal."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._known = dict(_journal_of(folder))

    def gather(self, addresses: Collection[str], get: Get) -> Gathered:
        """Fetch what is not here. Killed at any point and called again, it goes on with the others."""
        if not addresses:
            return Gathered({}, {}, 0)
        self.folder.mkdir(parents=True, exist_ok=True)
        here = {address: self._known[address] for address in addresses if self._is_here(address)}
        wanted = _host_by_host([address for address in addresses if address not in here])
        missing: dict[str, NotHad] = {}
        with (
            Meter("fetching images", len(addresses), len(here)) as meter,
            (self.folder / JOURNAL).open("a", encoding="utf-8") as journal,
        ):

            def bring(address: str) -> None:
                try:
                    file = self._keep(get(address))
                except NotHad as reason:
                    missing[address] = reason
                else:
                    with self._lock:
                        here[address] = file
                        journal.write(json.dumps({"address": address, "file": file}) + "\n")
                        journal.flush()
                meter.tell(address, 1)

            pool = ThreadPoolExecutor(AT_ONCE)
            try:
                list(pool.map(bring, wanted))
            finally:
                pool.shutdown(cancel_futures=True)
        return Gathered(here, missing, len(wanted) - len(missing))

    def take_over(self, other: Path) -> None:
        """Take what another folder's journal names, without copying where the file system can do without."""
        known = _journal_of(other)
        for file in set(known.values()):
            target = self.folder / file
            if (other / file).is_file() and not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                _link_or_copy(other / file, target)
        self.folder.mkdir(parents=True, exist_ok=True)
        if known:
            shutil.copyfile(other / JOURNAL, self.folder / JOURNAL)
            self._known = known

    def move_into(self, folder: Path) -> None:
        """Move images and journal into another folder, which may have some of its own."""
        if not self.folder.is_dir():
            return
        for source in sorted((self.folder / "images").rglob("*")):
            if source.is_file():
                target = folder / source.relative_to(self.folder)
                target.parent.mkdir(parents=True, exist_ok=True)
                source.replace(target)
        (self.folder / JOURNAL).replace(folder / JOURNAL)
        shutil.rmtree(self.folder)

    def _is_here(self, address: str) -> bool:
        return address in self._known and (self.folder / self._known[address]).is_file()

    def _keep(self, content: bytes) -> str:
        """Write an image under its digest; it appears whole. The same content is kept once."""
        ending = ending_of(content)
        if not ending:
            raise NotHad("not_an_image", f"what came is no image of a known form: it begins with {content[:16]!r}")
        digest = hashlib.sha256(content).hexdigest()
        file = f"images/{digest[:2]}/{digest}{ending}"
        path = self.folder / file
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            beside = path.with_name(f".{path.name}.{threading.get_ident()}.tmp")
            beside.write_bytes(content)
            beside.replace(path)
        return file


def _host_by_host(addresses: list[str]) -> list[str]:
    """Return addresses so that no server has its own all in a row: while one is slow, others answer."""
    by_host: defaultdict[str, list[str]] = defaultdict(list)
    for address in addresses:
        by_host[address.partition("://")[2].partition("/")[0]].append(address)
    rounds = zip_longest(*by_host.values())
    return [address for one_each in rounds for address in one_each if address is not None]


def _journal_of(folder: Path) -> dict[str, str]:
    """Return the file of each address; a line that a crash cut off counts for nothing."""
    known: dict[str, str] = {}
    with suppress(FileNotFoundError):
        for line in (folder / JOURNAL).read_text(encoding="utf-8", errors="replace").splitlines():
            with suppress(ValueError, KeyError, TypeError):
                row = json.loads(line)
                known[str(row["address"])] = str(row["file"])
    return known


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
