"""Finding a wheel in an index, and telling what is there instead."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from ocrvl_modal.errors import ExitCode, OcrvlError
from ocrvl_modal.pins import FRAMEWORK_WHEELS, FrameworkWheel
from ocrvl_modal.transfer import Page
from ocrvl_modal.wheels.index import checked_index, files_of, find_in_index, project_page
from ocrvl_modal.wheels.names import is_build_of, wanted_wheel
from transfer.server import Site
from wheels.making import PAGE, WANTED, host_index, host_json_index, make_wheel, sha256_of

NAME = WANTED.file_name
WHEEL = make_wheel()


def builds(*names: tuple[str, str]) -> dict[str, bytes]:
    """Return small files for versions and Pythons."""
    return {replace(WANTED, version=version, python=python).file_name: b"x" for version, python in names}


@pytest.mark.parametrize("host", [host_index, host_json_index])
@pytest.mark.parametrize("end", ["", "/", "/paddlepaddle-gpu", "/paddlepaddle-gpu/"])
def test_a_build_is_found_in_either_form_of_a_page(site: Site, host: object, end: str) -> None:
    index = host(site, {**builds(("3.3.1", "cp311"), ("3.2.0", "cp312")), NAME: WHEEL})  # type: ignore[operator]
    found = find_in_index(index.rstrip("/") + end, WANTED, "again")
    assert (found.file_name, found.sha256) == (NAME, sha256_of(WHEEL))
    assert found.url == f"{site.url}/files/{NAME}"
    assert found.size_bytes == (len(WHEEL) if host is host_json_index else None)
    assert "application/vnd.pypi.simple.v1+json" in site.asked[0].headers["accept"]


def test_what_is_damaged_on_a_page_hides_nothing_else() -> None:
    links = f'<base href="http://[bad"><a href="http://[bad">x</a><a href="/files/{NAME}">y</a>'
    assert [file.file_name for file in files_of(Page(links, "text/html", "https://index.example/"))] == [NAME]
    listed = {"files": [{"filename": NAME, "url": NAME, "requires-python": 5}]}
    (file,) = files_of(Page(json.dumps(listed), "application/json", "https://index.example/"))
    assert (file.file_name, file.requires_python) == (NAME, None)


@pytest.mark.parametrize("url", ["", "index", "ftp://x/y", "http://", "http://[bad/", "/packages"])
def test_what_is_no_address_of_an_index_is_refused(url: str) -> None:
    with pytest.raises(OcrvlError, match="no address of a package index") as caught:
        checked_index(url)
    assert caught.value.code == ExitCode.USAGE


def test_links_are_read_as_the_standard_writes_them() -> None:
    text = f"""
    <html><head><base href="https://files.example/deep/"></head>
    <a href="a/{NAME}#sha256={"A" * 64}&amp;x=1" data-yanked="broken">text</a>
    <a href="//other.example/paddlepaddle%5Fgpu-3.3.1-cp312-cp312-linux_x86_64.whl#md5=1">another</a>
    <A HREF='/x.tar.gz' data-requires-python="&gt;=3.9">old</A> <a name="nothing">no</a>
    """
    yanked, other, old = files_of(Page(text, "text/html", "https://index.example/simple/paddlepaddle-gpu/"))
    assert (yanked.url, yanked.sha256, yanked.is_yanked) == (f"https://files.example/deep/a/{NAME}", "a" * 64, True)
    assert (other.url.partition("/paddle")[0], other.file_name, other.sha256) == ("https://other.example", NAME, None)
    assert (old.url, old.requires_python) == ("https://files.example/x.tar.gz", ">=3.9")


def test_a_withdrawn_file_is_taken_only_where_no_other_is_left(site: Site) -> None:
    index = host_index(site, {NAME: WHEEL}, attributes='data-yanked="it is broken"')
    assert find_in_index(index, WANTED, "again").is_yanked
    other = NAME.replace("linux_x86_64", "manylinux_2_28_x86_64")
    page = site.files[PAGE]
    page.content += f'<a href="/files/{other}">{other}</a>'.encode()
    assert find_in_index(index, WANTED, "again").file_name == other


def test_a_file_for_other_pythons_is_not_taken(site: Site) -> None:
    index = host_index(site, {NAME: WHEEL}, attributes='data-requires-python="&lt;3.12"')
    with pytest.raises(OcrvlError, match="it lists none at all"):
        find_in_index(index, WANTED, "again")


@pytest.mark.parametrize(
    ("wanted", "says", "hint"),
    [
        (replace(WANTED, python="cp313"), "3.3.1 is there for cp39, cp312", "--python cp312"),
        (replace(WANTED, version="3.2.9"), "near it are 3.0.0, 3.2.0, 3.3.1", "--version 3.2.0"),
        (replace(WANTED, version="2.6.2", python="cp39"), "near it are 3.3.1", "--version 3.3.1"),
        (replace(WANTED, platform="win_amd64"), "it lists none at all", "--cuda another CUDA"),
    ],
)
def test_what_is_not_there_is_told_with_what_is(site: Site, wanted: FrameworkWheel, says: str, hint: str) -> None:
    there = builds(("3.3.1", "cp39"), ("3.3.1", "cp312"), ("3.2.0", "cp312"), ("3.0.0", "cp312"))
    index = host_index(site, {**there, "other-1.0-py3-none-any.whl": b"x", "paddlepaddle_gpu-3.3.1.tar.gz": b"x"})
    with pytest.raises(OcrvlError) as raised:
        find_in_index(index.replace("http://", "http://me:secret@"), wanted, "again")
    assert raised.value.code == ExitCode.NOT_FOUND
    assert says in raised.value.message
    assert hint in raised.value.hint
    assert "secret" not in raised.value.message


def test_an_index_behind_credentials_gives_them_to_its_own_files_alone(site: Site) -> None:
    index = host_json_index(site, {NAME: WHEEL}).replace("http://", "http://me:secret@")
    assert find_in_index(index, WANTED, "again").url.startswith("http://me:secret@127.0.0.1")
    page = site.files[PAGE]
    page.content = page.content.replace(b"127.0.0.1", b"localhost")
    assert find_in_index(index, WANTED, "again").url.startswith("http://localhost")


@pytest.mark.parametrize("page", [b"[]", b"{", b'{"files": 3}', b'{"files": [{"url": "x"}]}'])
def test_a_page_that_is_none_of_an_index_is_an_error(site: Site, page: bytes) -> None:
    site.host(PAGE, page, content_type="application/json")
    with pytest.raises(OcrvlError, match="is no page of a package index"):
        find_in_index(f"{site.url}/simple/", WANTED, "again")


def test_an_index_without_the_framework_is_an_error(site: Site) -> None:
    with pytest.raises(OcrvlError, match="answers 404"):
        find_in_index(f"{site.url}/simple/", WANTED, "again")


def test_builds_are_told_apart_by_their_names() -> None:
    assert is_build_of(NAME, WANTED)
    assert is_build_of(NAME.replace("linux", "manylinux2014"), WANTED)
    assert not is_build_of(NAME.replace("x86_64", "aarch64"), WANTED)
    assert not is_build_of(NAME.replace("3.3.1", "3.3.1.post1"), WANTED)
    assert not is_build_of(NAME.replace("cp312", "cp311"), WANTED)
    assert not is_build_of("nonsense.whl", WANTED)
    assert project_page("https://host/simple") == "https://host/simple/paddlepaddle-gpu/"


def test_what_a_user_asks_for_takes_the_place_of_what_the_image_has() -> None:
    default = FRAMEWORK_WHEELS["train-erniekit"]
    assert wanted_wheel(default, None, None, None) == default
    assert wanted_wheel(default, "3.3", "cu118", "3.10") == FrameworkWheel("3.3", "cu118", "cp310")
    for bad in (("x", None, None), (None, "12.6", None), (None, None, "python3")):
        with pytest.raises(OcrvlError, match=r"no version|no CUDA|no Python"):
            wanted_wheel(default, *bad)
