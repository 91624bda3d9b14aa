"""Rows that name images by their addresses become rows of files: each fetched once, politely, and gone on with."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from conftest import Shell
from jobs.web import Site, messages, picture, serve_site
from ocrvl_modal.data.rows import read_samples
from ocrvl_modal.errors import ExitCode, OcrvlError
from ocrvl_modal.jobs import localize_dataset
from ocrvl_modal.jobs.fetching import web
from ocrvl_modal.jobs.fetching.manners import AT_ONCE_EACH, Hosts, retry_after_s
from ocrvl_modal.places import Places


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(web, "_FIRST_DELAY_S", 0.01)
    with serve_site() as site:
        yield site


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def localize(tmp_path: Path, file: Path, out: Path) -> dict[str, Any]:
    places = Places.under(tmp_path / "home").model_dump(mode="json")
    return localize_dataset.run({"places": places, "dataset": str(file), "out": str(out)})["images"]


def test_rows_from_the_web_become_rows_of_files(site: Site, bare_shell: Shell) -> None:
    site.files = {"/a.png": picture(1), "/b.png": picture(2)}
    (bare_shell.cwd / "here.png").write_bytes(picture(3))
    file = write(
        bare_shell.cwd / "rows.jsonl",
        *(messages(f"{site.url}/{name}.png", name) for name in ("a", "b", "a", "gone")),
        messages("here.png", "here"),
    )
    before = file.read_bytes()
    said = bare_shell("data", "localize", "rows.jsonl", no_proxy="127.0.0.1")
    assert "rows-local/rows.jsonl: 4 rows" in said.out
    assert "images: 2 fetched, 0 had already, 1 missing" in said.out
    assert "1 of 5 rows have no image and are left out: http_404 1" in said.err
    samples = read_samples(bare_shell.cwd / "rows-local" / "rows.jsonl")
    assert [sample.image.read_bytes() for sample in samples] == [picture(1), picture(2), picture(1), picture(3)]
    assert site.asked["/a.png"] == 1
    assert file.read_bytes() == before


def test_called_again_it_asks_only_for_what_is_missing(site: Site, tmp_path: Path) -> None:
    site.files = {f"/{number}.png": picture(number) for number in range(5)}
    late = site.files.pop("/3.png")
    file = write(tmp_path / "rows.jsonl", *(messages(f"{site.url}/{number}.png") for number in range(5)))
    first = localize(tmp_path, file, tmp_path / "out")
    assert (first["fetched"], first["reasons"]) == (4, {"http_404": 1})
    told = [json.loads(line) for line in (tmp_path / "out" / "missing.jsonl").read_text().splitlines()]
    assert [(one["line"], one["reason"]) for one in told] == [(4, "http_404")]
    site.asked.clear()
    site.files["/3.png"] = late
    again = localize(tmp_path, file, tmp_path / "out")
    assert (again["fetched"], again["missing"], dict(site.asked)) == (1, 0, {"/3.png": 1})
    assert not (tmp_path / "out" / "missing.jsonl").exists()
    other = write(tmp_path / "test.jsonl", messages(f"{site.url}/2.png"))
    assert localize(tmp_path, other, tmp_path / "out")["fetched"] == 0
    assert sorted(path.name for path in (tmp_path / "out").glob("[!.]*.jsonl")) == ["rows.jsonl", "test.jsonl"]


def test_a_server_gets_a_few_requests_at_once(site: Site, tmp_path: Path) -> None:
    site.delay_s = 0.02
    site.files = {f"/{number}.png": picture(number) for number in range(40)}
    file = write(tmp_path / "rows.jsonl", *(messages(f"{site.url}/{number}.png") for number in range(40)))
    assert localize(tmp_path, file, tmp_path / "out")["fetched"] == 40
    assert 1 < site.most_at_once <= AT_ONCE_EACH


def test_nothing_is_asked_of_a_server_before_the_moment_that_it_named(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told_at: list[float] = []

    def leave_alone(hosts: Hosts, host: str, wait_s: float) -> None:
        told(hosts, host, wait_s)
        told_at.append(time.monotonic())

    told = Hosts.leave_alone
    monkeypatch.setattr(Hosts, "leave_alone", leave_alone)
    site.files = {f"/{number}.png": picture(number) for number in range(40)}
    site.fails = {"/0.png": [429]}
    site.retry_after = "1"
    file = write(tmp_path / "rows.jsonl", *(messages(f"{site.url}/{number}.png") for number in range(40)))
    assert localize(tmp_path, file, tmp_path / "out")["fetched"] == 40
    [moment] = told_at
    # Requests that had their turn when the refusal was read may still be on their way; no turn is given after it.
    assert sum(moment < asked < moment + 0.9 for asked in site.asked_at) < AT_ONCE_EACH
    assert max(site.asked_at) > moment + 0.9


def test_a_server_that_wants_to_be_left_alone_for_long_is(site: Site, tmp_path: Path) -> None:
    addresses = [f"/{number}.png" for number in range(40)]
    site.files = dict.fromkeys(addresses, picture(1))
    site.fails = {address: [503] for address in addresses}
    site.retry_after = "3600"
    rows = [messages("here.png"), *(messages(f"{site.url}{address}") for address in addresses)]
    report = localize(tmp_path, write(tmp_path / "rows.jsonl", *rows), tmp_path / "out")
    assert report["reasons"] == {"told_to_wait": 40}
    assert "run it again" in report["examples"][0]["detail"]
    assert 1 <= site.asked.total() <= AT_ONCE_EACH


def test_the_moment_may_be_a_date() -> None:
    in_a_minute = format_datetime(datetime.now(timezone.utc) + timedelta(minutes=1), usegmt=True)
    assert 50 < retry_after_s({"Retry-After": in_a_minute}) <= 60
    odd = ("", "soon", "-5", "²", "Wed, 99 Nov 2026 00:00:00 GMT", "Wed, 21 Oct 2015 07:28:00 GMT")
    assert [retry_after_s({"Retry-After": value}) for value in odd] == [0.0] * len(odd)
    assert retry_after_s({"Retry-After": "9" * 400}) == 1e9


def test_where_no_image_can_be_had_there_are_no_rows(site: Site, tmp_path: Path) -> None:
    file = write(tmp_path / "rows.jsonl", messages(f"{site.url}/a.png"), messages("ftp://x/b.png"))
    with pytest.raises(OcrvlError, match="none of the 2 rows has its image") as told:
        localize(tmp_path, file, tmp_path / "out")
    assert told.value.code is ExitCode.DATA_INVALID
    assert not (tmp_path / "out" / "rows.jsonl").exists()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    file = write(tmp_path / "rows.jsonl", messages("a.png"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    for out in (tmp_path / "mine", tmp_path):
        with pytest.raises(OcrvlError) as told:
            localize(tmp_path, file, out)
        assert told.value.code is ExitCode.USAGE
    assert (tmp_path / "mine" / "notes.txt").read_text() == "mine"
