"""Finding a wheel in a package index: the simple pages of PEP 503, or their JSON form of PEP 691."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from ocrvl_modal.errors import OcrvlError, not_found, usage_error
from ocrvl_modal.pins import FRAMEWORK, FrameworkWheel
from ocrvl_modal.transfer import Page, Source, read_page, without_secrets
from ocrvl_modal.wheels.manifest import is_digest
from ocrvl_modal.wheels.names import is_build_of, pythons_of, version_of

_ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.9, text/html;q=0.8"
_SHOWN = 8


@dataclass(frozen=True)
class Listed:
    """A file that an index lists. ``sha256`` and ``size_bytes`` are ``None`` where it does not say them."""

    file_name: str
    url: str
    sha256: str | None = None
    size_bytes: int | None = None
    requires_python: str | None = None
    is_yanked: bool = False


def find_in_index(index_url: str, wanted: FrameworkWheel, again: str) -> Listed:
    """Return the wanted build; where it is not there, raise *not found* with what is.

    A withdrawn file is taken where no other is left: an image pins just this version.
    """
    page_url = project_page(index_url)
    page = read_page(Source(page_url, headers={"Accept": _ACCEPT}, again=again))
    listed = files_of(page)
    found = [file for file in listed if is_build_of(file.file_name, wanted) and _allows(file, wanted)]
    if not found:
        raise _not_there(listed, wanted, without_secrets(page_url))
    chosen = min(found, key=lambda file: (file.is_yanked, file.file_name != wanted.file_name, file.file_name))
    return replace(chosen, url=_with_credentials(chosen.url, page_url))


def _with_credentials(url: str, page_url: str) -> str:
    """Return a file's address with the credentials of the index, where both lie on one server."""
    file, page = urlsplit(url), urlsplit(page_url)
    server = page.netloc.rpartition("@")[2]
    same = (file.scheme, file.netloc) == (page.scheme, server)
    return file._replace(netloc=page.netloc).geturl() if same else url


def checked_index(url: str) -> str:
    """Return the address of a package index; raise a usage error for what is none."""
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        is_address = False
    if not is_address:
        raise usage_error(f"'{url}' is no address of a package index", "write it as https://HOST/PATH")
    return url


def project_page(index_url: str) -> str:
    """Return the address of the framework's page in an index."""
    parts = urlsplit(index_url)
    name = canonicalize_name(FRAMEWORK)
    path = parts.path.rstrip("/")
    if path.rpartition("/")[2] != name:
        path = f"{path}/{name}"
    return parts._replace(path=f"{path}/", fragment="").geturl()


def files_of(page: Page) -> list[Listed]:
    """Return the files that a project's page lists, in either form."""
    if "json" in page.content_type:
        return _files_of_json(page)
    reader = _Links(page.url)
    reader.feed(page.text)
    return reader.files


def _files_of_json(page: Page) -> list[Listed]:
    try:
        return [_listed(page.url, file) for file in json.loads(page.text)["files"]]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise OcrvlError(
            f"{without_secrets(page.url)} is no page of a package index", "--index-url URL names another index"
        ) from error


def _listed(base: str, file: dict[str, Any]) -> Listed:
    size, requires_python = file.get("size"), file.get("requires-python")
    return Listed(
        file_name=str(file["filename"]),
        url=urljoin(base, str(file["url"])),
        sha256=_digest(str(file.get("hashes", {}).get("sha256", ""))),
        size_bytes=size if isinstance(size, int) else None,
        requires_python=requires_python if isinstance(requires_python, str) else None,
        is_yanked=bool(file.get("yanked", False)),
    )


class _Links(HTMLParser):
    """Reads the links of a simple page. A file's name is the end of its address; the text of a link is for people."""

    def __init__(self, base: str) -> None:
        super().__init__()
        self.files: list[Listed] = []
        self._base = base

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a link, or the address that links are relative to."""
        given = dict(attrs)
        address = given.get("href")
        if not address:
            return
        if tag == "base":
            with suppress(ValueError):
                self._base = urljoin(self._base, address)
        elif tag == "a":
            # A link that leads nowhere hides none of the others.
            with suppress(ValueError):
                self.files.append(_listed_by_link(urljoin(self._base, address), given))


def _listed_by_link(address: str, given: Mapping[str, str | None]) -> Listed:
    url, fragment = urldefrag(address)
    kind, _, value = fragment.partition("=")
    return Listed(
        file_name=unquote(urlsplit(url).path).rpartition("/")[2],
        url=url,
        sha256=_digest(value.partition("&")[0]) if kind == "sha256" else None,
        requires_python=given.get("data-requires-python"),
        is_yanked="data-yanked" in given,
    )


def _digest(text: str) -> str | None:
    return text.lower() if is_digest(text.lower()) else None


def _allows(file: Listed, wanted: FrameworkWheel) -> bool:
    """Say whether a file may be installed into the wanted Python; its newest patch release stands for it."""
    if not file.requires_python:
        return True
    python = wanted.python.removeprefix("cp")
    try:
        return SpecifierSet(file.requires_python).contains(f"{python[0]}.{python[1:]}.99")
    except InvalidSpecifier:
        return True


def _not_there(listed: Iterable[Listed], wanted: FrameworkWheel, page_url: str) -> OcrvlError:
    """Return the error of a build that an index does not have, with what comes nearest to it."""
    what = f"{page_url} has no {FRAMEWORK} {wanted.version} for {wanted.python} on {wanted.platform}"
    here: dict[Version, set[str]] = {}
    for file in listed:
        version = version_of(file.file_name)
        pythons = pythons_of(file.file_name, wanted.platform) if version else []
        if version and pythons and _allows(file, wanted):
            here.setdefault(Version(version), set()).update(pythons)
    if not here:
        return not_found(f"{what}: it lists none at all", "--index-url URL names another index, --cuda another CUDA")
    asked = Version(wanted.version)
    if asked in here:
        pythons = sorted(here[asked], key=lambda tag: int(tag[3:] or 0) if tag.startswith("cp3") else 0)
        return not_found(f"{what}: {asked} is there for {', '.join(pythons)}", f"--python {pythons[-1]}")
    fitting = sorted(version for version, pythons in here.items() if wanted.python in pythons) or sorted(here)
    near = sorted(fitting, key=lambda version: _distance(version, asked))[:_SHOWN]
    shown = ", ".join(str(version) for version in sorted(near))
    return not_found(f"{what}; near it are {shown}", f"--version {near[0]}")


def _distance(one: Version, other: Version) -> tuple[int, ...]:
    """Return how far apart two versions are, the first number first."""
    length = max(len(one.release), len(other.release))
    pairs = zip(_padded(one, length), _padded(other, length), strict=True)
    return tuple(abs(left - right) for left, right in pairs)


def _padded(version: Version, length: int) -> tuple[int, ...]:
    return (*version.release, *[0] * (length - len(version.release)))
