"""Wheels in the wheels store on Modal: they travel once, or not at all by the user's line."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from cloud.conftest import Cloud
from conftest import Shell
from ocrvl_modal.backends.store_folder import FolderStores
from ocrvl_modal.backends.wheel_store import find_stored, list_stored
from ocrvl_modal.places import Places
from transfer.server import Site, serve
from wheels.making import WANTED, host_index, make_wheel, sha256_of

NAME = WANTED.file_name
WHEEL = make_wheel(9_000_000)
SHA256 = sha256_of(WHEEL)
PLACE = f"/wheels/{SHA256}/{NAME}"
VOLUME = "paddleocr-vl-wheels"


@pytest.fixture
def site() -> Iterator[Site]:
    with serve() as site:
        yield site


def uploads(cloud: Cloud) -> list[str]:
    """Return the recorded requests that carry, or announce, a file's content."""
    named = [rpc["rpc"] for rpc in cloud.fake.rpcs()]
    return [name for name in named if name.startswith(("VolumePutFiles", "Blob", "MountPutFile"))]


def test_a_wheel_travels_to_the_store_once(cloud: Cloud, site: Site) -> None:
    cloud("wheel", "fetch", "--index-url", host_index(site, {NAME: WHEEL}))
    first = cloud("wheel", "push", "--json").data
    assert first["backend"] == "modal"
    assert [(row["place"], row["sent_bytes"]) for row in first["wheels"]] == [(PLACE, len(WHEEL))]
    store = cloud.fake.volume(VOLUME)
    assert (store / SHA256 / NAME).read_bytes() == WHEEL
    assert json.loads((store / SHA256 / "cu126.json").read_text())["sha256"] == SHA256
    assert uploads(cloud)

    before = len(uploads(cloud))
    again = cloud("wheel", "push", f"wheels/{NAME}", "--json").data
    assert [(row["place"], row["sent_bytes"]) for row in again["wheels"]] == [(PLACE, 0)]
    assert len(uploads(cloud)) == before
    stored = cloud("wheel", "ls", "--backend", "modal", "--json").data["stored"]
    assert [(row["place"], row["size_bytes"], row["cuda"]) for row in stored] == [(PLACE, len(WHEEL), "cu126")]


def test_a_wheel_that_arrived_in_part_is_sent_again(cloud: Cloud, site: Site) -> None:
    cloud("wheel", "fetch", "--index-url", host_index(site, {NAME: WHEEL}))
    (cloud.shell.cwd / "short").write_bytes(WHEEL[:1000])
    cloud("volume", "put", "short", PLACE)
    assert cloud("wheel", "ls", "--backend", "modal", "--json").data["stored"] == []
    assert cloud("wheel", "push", "--json").data["wheels"][0]["sent_bytes"] == len(WHEEL)
    assert (cloud.fake.volume(VOLUME) / SHA256 / NAME).read_bytes() == WHEEL


def test_modal_fetches_a_wheel_by_itself_and_goes_on_where_it_was_cut_off(cloud: Cloud, site: Site) -> None:
    index = host_index(site, {NAME: WHEEL})
    command = ("wheel", "push", "--remote", "--index-url", index, "--json")

    def fail(number: int) -> None:
        if number >= 5:
            site.fails = [404] * 40

    site.before_answer = fail
    error = cloud(*command, code=5).json["error"]
    assert "answers 404" in error["message"]
    assert cloud("wheel", "ls", "--backend", "modal", "--json").data["stored"] == []
    site.before_answer = lambda _number: None
    site.fails = []

    told = cloud(*command).data["wheels"][0]
    assert (told["place"], told["fetched"], told["sent_bytes"]) == (PLACE, True, 0)
    assert 0 < told["received_bytes"] < len(WHEEL)
    assert (cloud.fake.volume(VOLUME) / SHA256 / NAME).read_bytes() == WHEEL
    assert not list((cloud.fake.volume(VOLUME) / ".arriving").rglob("*.part*"))
    assert not (cloud.shell.cwd / "wheels").exists()

    site.asked.clear()
    again = cloud.elsewhere()(*command).data["wheels"][0]
    assert (again["place"], again["fetched"]) == (PLACE, False)
    assert site.asked == []
    assert "--remote fetches from an index" in cloud("wheel", "push", "x.whl", "--remote", code=2).err


def test_the_local_store_takes_wheels_in_both_ways(bare_shell: Shell, site: Site) -> None:
    index = host_index(site, {NAME: WHEEL})
    stores = FolderStores(Places.under(bare_shell.home))
    assert find_stored(stores, WANTED) is None
    assert "ocrvl wheel push --image train-paddleformers --remote" in bare_shell("wheel", "push", code=5).err
    said = bare_shell("wheel", "push", "--remote", "--index-url", index)
    assert "fetched into the store (8.6 MiB)" in said.out
    assert "fetching: 9/9 MB" in said.err
    found = find_stored(stores, WANTED)
    assert found is not None
    assert (found.place, found.sha256, found.size_bytes) == (PLACE, SHA256, len(WHEEL))

    bare_shell("wheel", "fetch", "--index-url", index)
    assert "was in the store already" in bare_shell("wheel", "push", f"wheels/{NAME}").out
    bare_shell("volume", "rm", f"/wheels/{SHA256}", "--yes")
    assert "sent (8.6 MiB)" in bare_shell("wheel", "push").out
    listed = bare_shell("wheel", "ls", "--backend", "local").out.splitlines()
    assert [line.split()[0] for line in listed if "verified" in line] == [f"wheels/{NAME}"]
    assert [line.split()[0] for line in listed if "in the store" in line] == [NAME]
    assert "--index-url and --sha256 are for --remote" in bare_shell("wheel", "push", "--sha256", SHA256, code=2).err


def test_another_content_under_the_name_of_a_stored_wheel_is_refused(bare_shell: Shell, site: Site) -> None:
    bare_shell("wheel", "push", "--remote", "--index-url", host_index(site, {NAME: WHEEL}))
    other = make_wheel(50_000)
    assert sha256_of(other) != SHA256
    index = host_index(site, {NAME: other})
    remote = bare_shell("wheel", "push", "--remote", "--index-url", index, "--sha256", sha256_of(other), code=1)
    assert f"ocrvl volume rm /wheels/{SHA256}" in remote.err
    bare_shell("wheel", "fetch", "--index-url", index)
    refused = bare_shell("wheel", "push", code=1)
    assert SHA256 in refused.err
    assert sha256_of(other) in refused.err
    assert [wheel.sha256 for wheel in list_stored(FolderStores(Places.under(bare_shell.home)))] == [SHA256]
    bare_shell("volume", "rm", f"/wheels/{SHA256}", "--yes")
    assert "sent" in bare_shell("wheel", "push").out
