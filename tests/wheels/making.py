"""Wheels that are made here, and an index that lists them."""

from __future__ import annotations

import hashlib
import io
import json
import random
import zipfile
from html import escape

from ocrvl_modal.pins import FRAMEWORK, FrameworkWheel
from transfer.server import Site

WANTED = FrameworkWheel("3.3.1", "cu126", "cp312")
PAGE = f"/simple/{FRAMEWORK}/"


def make_wheel(
    size_bytes: int = 100_000, *, version: str = "3.3.1", name: str = FRAMEWORK, seed: int = 1, leave_out: str = ""
) -> bytes:
    """Return a wheel with a payload of so many random bytes."""
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("paddle/libpaddle.so", random.Random(seed).randbytes(size_bytes))
        for inside, text in {
            "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nText: none\n",
            "WHEEL": "Wheel-Version: 1.0\n",
            "RECORD": "",
        }.items():
            if inside != leave_out:
                archive.writestr(f"{info}/{inside}", text)
    return packed.getvalue()


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def host_index(site: Site, contents: dict[str, bytes], *, digests: bool = True, attributes: str = "") -> str:
    """Offer an index (PEP 503) with these files beside its page; return its address."""
    links = []
    for name, content in contents.items():
        site.host(f"/files/{name}", content)
        fragment = f"#sha256={sha256_of(content)}" if digests else ""
        links.append(f'<a href="../../files/{escape(name)}{fragment}" {attributes}>{escape(name)}</a><br>')
    page = f"<!DOCTYPE html><html><body><h1>Links</h1>{''.join(links)}</body></html>"
    site.host(PAGE, page.encode(), content_type="text/html; charset=utf-8")
    return f"{site.url}/simple/"


def host_json_index(site: Site, contents: dict[str, bytes]) -> str:
    """Offer the same as JSON (PEP 691)."""
    listed = []
    for name, content in contents.items():
        url = site.host(f"/files/{name}", content)
        listed.append({"filename": name, "url": url, "hashes": {"sha256": sha256_of(content)}, "size": len(content)})
    page = json.dumps({"meta": {"api-version": "1.1"}, "name": FRAMEWORK, "files": listed})
    site.host(PAGE, page.encode(), content_type="application/vnd.pypi.simple.v1+json")
    return f"{site.url}/simple/"
