"""Reading a page of a server, such as that of a package index."""

from __future__ import annotations

import time
from dataclasses import dataclass

from ocrvl_modal.errors import OcrvlError
from ocrvl_modal.transfer.answers import Broken
from ocrvl_modal.transfer.patience import Patience
from ocrvl_modal.transfer.server import Server
from ocrvl_modal.transfer.source import Source

_LONGEST_BYTES = 64 << 20
_MOST_TRIES = 4


@dataclass(frozen=True)
class Page:
    """A page, what the server says that it is, and the address at which it was found in the end."""

    text: str
    content_type: str
    url: str


def read_page(source: Source) -> Page:
    """Return a page of at most 64 MiB; failures that pass are waited out, as in a fetch."""
    patience = Patience(_MOST_TRIES)
    with Server(source, connections=1) as server:
        while True:
            try:
                content, content_type = server.read(_LONGEST_BYTES + 1)
                break
            except Broken as broken:
                time.sleep(patience.delay_after(broken, source))
        if len(content) > _LONGEST_BYTES:
            raise OcrvlError(f"{source.shown} is longer than any page", "name the address of a package index")
        return Page(content.decode("utf-8", errors="replace"), content_type, server.location)
