"""Fetching one file from servers of all kinds."""

from __future__ import annotations

import hashlib
import json
import os
import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from ocrvl_modal import files, locks
from ocrvl_modal.errors import ExitCode, OcrvlError, Unreachable
from ocrvl_modal.transfer import Fetched, Source, WrongContent, fetch_file
from ocrvl_modal.transfer.fetch import LOST_AT_MOST_BYTES
from ocrvl_modal.transfer.part import journal_of, part_of
from transfer.server import Answer, Asked, Site

MEBIBYTE = 1 << 20
CONTENT = random.Random(7).randbytes(25 * MEBIBYTE + 12345)
OTHER = random.Random(8).randbytes(len(CONTENT))
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("connections", [1, 3, 8, 32])
def test_a_file_comes_whole_by_any_number_of_connections(site: Site, tmp_path: Path, connections: int) -> None:
    url = site.host("/file", CONTENT)
    told: list[tuple[int, int]] = []
    fetched = fetch_file(
        Source(url, sha256=SHA256.upper()),
        tmp_path / "deep" / "file",
        on_bytes=lambda done, total: told.append((done, total)),
        connections=connections,
    )
    assert (tmp_path / "deep" / "file").read_bytes() == CONTENT
    assert (fetched.size_bytes, fetched.sha256, fetched.etag) == (len(CONTENT), SHA256, '"one"')
    assert fetched.received_bytes == site.sent == len(CONTENT)
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert leftovers(tmp_path / "deep") == ["file"]
    assert all(asked.headers["accept-encoding"] == "identity" for asked in site.asked)


@pytest.mark.parametrize("connections", [1, 8, 32])
def test_no_more_is_asked_for_at_once_than_may_be_lost(site: Site, tmp_path: Path, connections: int) -> None:
    url = site.host("/file", random.Random(1).randbytes(20 * MEBIBYTE))
    fetch_file(Source(url), tmp_path / "file", connections=connections)
    longest = max(end - start for start, end in site.spans)
    assert longest * connections < LOST_AT_MOST_BYTES


@pytest.mark.parametrize("content", [b"", b"x", CONTENT[:100]], ids=["empty", "byte", "small"])
def test_small_files_and_empty_ones_come_too(site: Site, tmp_path: Path, content: bytes) -> None:
    fetched = fetch_file(Source(site.host("/file", content)), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == content
    assert fetched.sha256 == hashlib.sha256(content).hexdigest()


def test_a_server_without_ranges_gives_one_stream(site: Site, tmp_path: Path) -> None:
    site.ranges = False
    fetched = fetch_file(Source(site.host("/file", CONTENT)), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert len(site.asked) == 1
    assert fetched.received_bytes == len(CONTENT)


def test_a_stream_that_breaks_begins_anew(site: Site, tmp_path: Path, quick: None) -> None:
    site.ranges, site.cut_after, site.cuts = False, 3 * MEBIBYTE, 2
    fetched = fetch_file(Source(site.host("/file", CONTENT)), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert fetched.received_bytes == len(CONTENT) + 6 * MEBIBYTE


def test_a_server_that_closes_connections_is_asked_for_the_rest_alone(site: Site, tmp_path: Path, quick: None) -> None:
    site.cut_after, site.cuts = 300_000, 12
    fetched = fetch_file(Source(site.host("/file", CONTENT)), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert site.cuts == 0
    assert fetched.received_bytes == site.sent == len(CONTENT)


def test_a_server_that_is_busy_for_a_while_is_asked_again(site: Site, tmp_path: Path, quick: None) -> None:
    url = site.host("/file", CONTENT)
    site.fails = [503, 429, 500]
    fetch_file(Source(url), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_server_that_lets_few_connections_in_is_asked_by_fewer(site: Site, tmp_path: Path, quick: None) -> None:
    site.most_at_once, site.delay_s = 2, 0.02
    fetch_file(Source(site.host("/file", CONTENT)), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_the_time_that_a_server_asks_for_is_kept(site: Site, tmp_path: Path, quick: None) -> None:
    url = site.host("/file", b"content")
    site.fails, site.fail_headers = [503], {"Retry-After": "1"}
    asked_at: list[float] = []
    site.before_answer = lambda _number: asked_at.append(os.times().elapsed)
    fetch_file(Source(url), tmp_path / "file")
    assert asked_at[1] - asked_at[0] >= 0.99
    site.fails, site.fail_headers = [503], {"Retry-After": "86400"}
    with pytest.raises(Unreachable, match="left alone for 360 min"):
        fetch_file(Source(url), tmp_path / "file")


@pytest.mark.parametrize(
    ("status", "code", "tries"),
    [
        (404, ExitCode.NOT_FOUND, 1),
        (403, ExitCode.NOT_PERMITTED, 1),
        (400, ExitCode.FAILED, 1),
        (502, ExitCode.FAILED, 4),
    ],
)
def test_an_answer_that_is_no_file_is_an_error(
    site: Site, tmp_path: Path, quick: None, status: int, code: ExitCode, tries: int
) -> None:
    url = site.host("/file", CONTENT)
    site.fails = [status] * 10
    with pytest.raises(OcrvlError, match=str(status)) as raised:
        fetch_file(Source(url + "?token=secret", again="ocrvl wheel fetch"), tmp_path / "file")
    assert raised.value.code == code
    assert len(site.asked) == tries
    assert "secret" not in f"{raised.value.message}{raised.value.hint}"


def test_a_server_that_is_not_there_is_an_error(tmp_path: Path, quick: None) -> None:
    with pytest.raises(Unreachable, match="refused") as raised:
        fetch_file(Source("http://127.0.0.1:1/file", again="ocrvl wheel fetch"), tmp_path / "file")
    assert "run `ocrvl wheel fetch` again" in raised.value.hint
    with pytest.raises(OcrvlError, match="is no address"):
        fetch_file(Source("ftp://host/file"), tmp_path / "file")


def break_after(site: Site, url: str, destination: Path, requests: int, **more: str) -> None:
    """Fetch until the server fails for good, after so many requests."""

    def fail(number: int) -> None:
        if number >= requests:
            site.fails = [404] * 40

    site.before_answer = fail
    with pytest.raises(OcrvlError):
        fetch_file(Source(url, **more), destination, connections=2)  # type: ignore[arg-type]
    site.before_answer = lambda _number: None
    site.fails, site.asked, site.sent = [], [], 0
    assert part_of(destination).exists()
    assert not destination.exists()


def test_after_a_break_only_what_is_missing_travels(site: Site, tmp_path: Path) -> None:
    content = random.Random(2).randbytes(30 * MEBIBYTE)
    url = site.host("/file", content)
    break_after(site, url, tmp_path / "file", 5)
    here = sum(end - start for start, end in json.loads(journal_of(tmp_path / "file").read_text())["written"])
    assert here >= 4 * MEBIBYTE
    fetched = fetch_file(Source(url), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == content
    assert fetched.received_bytes == site.sent == len(content) - here
    assert leftovers(tmp_path) == ["file"]


def test_what_only_had_to_be_verified_asks_for_nothing(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = site.host("/file", CONTENT)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ocrvl_modal.transfer.part.Part.finish", die)
    with pytest.raises(KeyboardInterrupt):
        fetch_file(Source(url), tmp_path / "file")
    monkeypatch.undo()
    site.asked.clear()
    assert fetch_file(Source(url), tmp_path / "file").received_bytes == 0
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert site.asked == []


@pytest.mark.parametrize("change", ["etag", "size", "date"])
def test_another_file_under_the_same_name_is_begun_anew(site: Site, tmp_path: Path, change: str) -> None:
    first = {"modified": "Mon, 01 Jan 2024 00:00:00 GMT"}
    if change == "date":
        first["etag"] = ""
    url = site.host("/file", CONTENT, **first)
    break_after(site, url, tmp_path / "file", 3)
    if change == "etag":
        site.host("/file", OTHER, **{**first, "etag": '"two"'})
    elif change == "size":
        site.host("/file", OTHER[:-1], **first)
    else:
        site.host("/file", OTHER, **{**first, "modified": "Tue, 02 Jan 2024 00:00:00 GMT"})
    fetch_file(Source(url), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == site.files["/file"].content


def test_a_file_that_has_become_shorter_than_what_is_here_is_begun_anew(site: Site, tmp_path: Path) -> None:
    url = site.host("/file", CONTENT)
    break_after(site, url, tmp_path / "file", 3)
    site.host("/file", b"short")
    fetch_file(Source(url), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"short"


@pytest.mark.parametrize("keeps_if_range", [True, False])
@pytest.mark.parametrize("mark", ["etag", "weak", "modified"])
def test_a_file_that_changes_on_the_way_is_never_a_mixture(
    site: Site, tmp_path: Path, keeps_if_range: bool, mark: str
) -> None:
    def marks(number: int) -> dict[str, str]:
        return {
            "etag": {"etag": f'"{number}"'},
            "weak": {"etag": f'W/"{number}"'},
            "modified": {"etag": "", "modified": f"Mon, 0{number} Jan 2024 00:00:00 GMT"},
        }[mark]

    site.keeps_if_range = keeps_if_range
    url = site.host("/file", CONTENT, **marks(1))

    def change(number: int) -> None:
        if number == 4:
            site.host("/file", OTHER, **marks(2))

    site.before_answer = change
    fetch_file(Source(url), tmp_path / "file", connections=2)
    assert (tmp_path / "file").read_bytes() == OTHER


def test_a_file_that_never_stays_the_same_is_an_error(site: Site, tmp_path: Path) -> None:
    url = site.host("/file", CONTENT)
    site.before_answer = lambda number: site.files["/file"].__setattr__("etag", f'"{number}"')
    with pytest.raises(OcrvlError, match="changes again and again"):
        fetch_file(Source(url), tmp_path / "file")
    assert not (tmp_path / "file").exists()


def test_a_wrong_digest_leaves_nothing_and_says_how_to_go_on(site: Site, tmp_path: Path) -> None:
    url = site.host("/file", OTHER)
    with pytest.raises(OcrvlError, match=f"should have {SHA256}") as raised:
        fetch_file(Source(url, sha256=SHA256, again="ocrvl wheel fetch"), tmp_path / "file")
    assert "what came is removed: run `ocrvl wheel fetch` again" in raised.value.hint
    assert leftovers(tmp_path) == []
    site.host("/file", CONTENT)
    fetch_file(Source(url, sha256=SHA256), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_file_of_another_size_than_it_should_have_is_an_error_before_it_travels(site: Site, tmp_path: Path) -> None:
    url = site.host("/file", CONTENT)
    with pytest.raises(OcrvlError, match="it is another file"):
        fetch_file(Source(url, size_bytes=5), tmp_path / "file")
    assert not (tmp_path / "file").exists()


def test_a_file_gets_its_name_only_when_its_caller_takes_it(site: Site, tmp_path: Path) -> None:
    url = site.host("/file", CONTENT)
    seen: list[tuple[str, int]] = []

    def refuse(path: Path, fetched: Fetched) -> None:
        seen.append((hashlib.sha256(path.read_bytes()).hexdigest(), fetched.size_bytes))
        raise WrongContent("it is no good")

    with pytest.raises(OcrvlError, match="no good"):
        fetch_file(Source(url), tmp_path / "file", approve=refuse)
    assert seen == [(SHA256, len(CONTENT))]
    assert leftovers(tmp_path) == []


def test_a_caller_that_cannot_take_a_good_file_now_takes_it_later(site: Site, tmp_path: Path) -> None:
    url = site.host("/file", CONTENT)

    def be_busy(_path: Path, _fetched: Fetched) -> None:
        raise OcrvlError("not at this moment")

    with pytest.raises(OcrvlError, match="not at this moment"):
        fetch_file(Source(url), tmp_path / "file", approve=be_busy)
    assert fetch_file(Source(url), tmp_path / "file").received_bytes == 0
    assert (tmp_path / "file").read_bytes() == CONTENT


def range_with(change: Callable[[bytes], bytes], total: str = "") -> Callable[[Asked], Answer]:
    """Answer each range with a changed body, and a total of one's own."""

    def answer(asked: Asked) -> Answer:
        assert asked.span
        start, end = asked.span[0], min(asked.span[1], len(CONTENT))
        named = {"Content-Range": f"bytes {start}-{end - 1}/{total or len(CONTENT)}", "ETag": '"one"'}
        return 206, named, change(CONTENT[start:end])

    return answer


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (range_with(lambda _: b""), "less than the range"),
        (range_with(lambda body: body[:1000]), "less than the range"),
        (range_with(lambda body: body + b"more"), "more or less than the range"),
        (range_with(lambda body: body, "0"), "cannot be"),
        (range_with(lambda body: body, "9" * 30), "answers 206"),
        (range_with(lambda body: body, "9" * 5000), "answers 206"),
        (lambda _: (302, {"Location": "http://[bad"}, b""), "no address"),
        (lambda _: (302, {"Location": "file:///etc/passwd"}, b""), "another kind of server"),
        (lambda _: (503, {"Retry-After": "9" * 5000}, b""), "answers 503"),
    ],
)
def test_a_server_that_answers_nonsense_is_given_up(
    site: Site, tmp_path: Path, quick: None, answer: Callable[[Asked], Answer], says: str
) -> None:
    url = site.host("/file", CONTENT)
    site.answer = answer
    with pytest.raises(OcrvlError, match=says):
        fetch_file(Source(url), tmp_path / "file")
    assert not (tmp_path / "file").exists()
    site.answer = lambda _: None
    fetch_file(Source(url), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize(
    "damage", [{"schema": None}, {"schema": 2}, {"identity": 5}, {"size_bytes": 5.0}, {"sha256": []}, {"url": None}]
)
def test_a_journal_that_none_of_ours_has_written_counts_for_nothing(
    site: Site, tmp_path: Path, damage: dict[str, object]
) -> None:
    url = site.host("/file", CONTENT)
    break_after(site, url, tmp_path / "file", 4)
    journal = journal_of(tmp_path / "file")
    noted = json.loads(journal.read_text())
    ((name, value),) = damage.items()
    (noted if name in noted else noted["identity"])[name] = value
    journal.write_text(json.dumps({name: value for name, value in noted.items() if value is not None}))
    assert fetch_file(Source(url), tmp_path / "file").received_bytes == len(CONTENT)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_one_who_fetches_a_mirror_goes_on_where_the_digest_is_known(site: Site, tmp_path: Path) -> None:
    break_after(site, site.host("/file", CONTENT), tmp_path / "file", 4, sha256=SHA256)
    other = site.host("/mirror/file", CONTENT, etag='"mirror"')
    assert fetch_file(Source(other, sha256=SHA256), tmp_path / "file").received_bytes < len(CONTENT)
    break_after(site, site.host("/file", CONTENT), tmp_path / "new", 4)
    assert fetch_file(Source(other), tmp_path / "new").received_bytes == len(CONTENT)


def test_a_redirect_is_taken_once_and_secrets_do_not_follow_it(site: Site, tmp_path: Path) -> None:
    site.host("/real", CONTENT)
    site.redirects["/file"] = site.url.replace("127.0.0.1", "localhost") + "/real?signed=1"
    url = site.url.replace("http://", "http://user:pass%20word@") + "/file"
    fetch_file(Source(url, headers={"X-Token": "secret"}), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert [asked.path for asked in site.asked].count("/file") == 1
    first, others = site.asked[0], site.asked[1:]
    assert first.headers["x-token"] == "secret"
    assert first.headers["authorization"] == "Basic dXNlcjpwYXNzIHdvcmQ="
    assert others
    assert not [asked for asked in others if {"x-token", "authorization"} & set(asked.headers)]


def test_a_signed_address_that_runs_out_is_asked_for_anew(site: Site, tmp_path: Path) -> None:
    site.host("/real-1", CONTENT)
    site.host("/real-2", CONTENT)
    site.redirects["/file"] = "/real-1"

    def run_out(number: int) -> None:
        if number == 5:
            del site.files["/real-1"]
            site.redirects["/file"] = "/real-2"

    site.before_answer = run_out
    fetch_file(Source(site.url + "/file"), tmp_path / "file", connections=2)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_server_that_leads_in_a_circle_is_an_error(site: Site, tmp_path: Path) -> None:
    site.redirects["/file"] = "/file"
    with pytest.raises(OcrvlError, match="leads in a circle"):
        fetch_file(Source(site.url + "/file"), tmp_path / "file")


def test_a_file_that_was_packed_on_the_way_is_an_error_unless_a_digest_can_judge(site: Site, tmp_path: Path) -> None:
    url = site.host("/file", CONTENT)
    site.files["/file"].headers["Content-Encoding"] = "gzip"
    with pytest.raises(OcrvlError, match="'gzip', which nobody asked for"):
        fetch_file(Source(url), tmp_path / "file")
    fetch_file(Source(url, sha256=SHA256), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_second_process_waits_its_turn(site: Site, tmp_path: Path) -> None:
    descriptor = locks.acquire(part_of(tmp_path / "file"))
    assert descriptor is not None
    try:
        with pytest.raises(OcrvlError, match="another process fetches file"):
            fetch_file(Source(site.host("/file", CONTENT)), tmp_path / "file")
    finally:
        os.close(descriptor)
    fetch_file(Source(site.host("/file", CONTENT)), tmp_path / "file")


def test_without_room_nothing_is_begun(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "free_bytes", lambda _path: MEBIBYTE)
    with pytest.raises(OcrvlError, match=r"needs 0\.0 GiB more, and 0\.0 GiB are free"):
        fetch_file(Source(site.host("/file", CONTENT)), tmp_path / "file")
    assert site.sent < len(CONTENT)


def test_a_disk_that_fills_up_on_the_way_keeps_what_is_there(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = random.Random(2).randbytes(30 * MEBIBYTE)
    url = site.host("/file", content)
    really = os.pwrite
    left = [12 * MEBIBYTE]

    def pwrite(descriptor: int, data: bytes, offset: int) -> int:
        left[0] -= len(data)
        if left[0] < 0 and len(data) > 10_000:
            raise OSError(28, "No space left on device")
        return really(descriptor, data, offset)

    monkeypatch.setattr("ocrvl_modal.transfer.part.os.pwrite", pwrite)
    with pytest.raises(OcrvlError, match="the disk is full") as raised:
        fetch_file(Source(url, again="ocrvl wheel fetch"), tmp_path / "file")
    assert "free some space, then run `ocrvl wheel fetch` again" in raised.value.hint
    monkeypatch.undo()
    fetched = fetch_file(Source(url), tmp_path / "file")
    assert fetched.received_bytes < len(content) - 8 * MEBIBYTE
    assert (tmp_path / "file").read_bytes() == content


def test_an_interrupt_ends_at_once_and_keeps_what_is_there(site: Site, tmp_path: Path) -> None:
    url = site.host("/file", CONTENT)
    site.bytes_per_second = 2 * MEBIBYTE

    def interrupt(done: int, _total: int) -> None:
        if done > MEBIBYTE:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch_file(Source(url), tmp_path / "file", on_bytes=interrupt, connections=2)
    assert not {thread.name for thread in threading.enumerate()} & {"fetch", "digest", "flush"}
    site.bytes_per_second = None
    fetched = fetch_file(Source(url), tmp_path / "file")
    assert fetched.received_bytes < len(CONTENT) - MEBIBYTE
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_proxy_is_taken_from_the_environment(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site.host("http://files.invalid/file", CONTENT)
    monkeypatch.setenv("http_proxy", site.url.replace("http://", "http://me:secret@"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    fetch_file(Source("http://files.invalid/file"), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert site.asked[0].path == "http://files.invalid/file"
    assert site.asked[0].headers["proxy-authorization"].startswith("Basic ")
    fetch_file(Source(site.host("/direct", b"x")), tmp_path / "direct")
    assert site.asked[-1].path == "/direct"


def test_the_number_of_connections_has_limits(tmp_path: Path) -> None:
    with pytest.raises(OcrvlError, match="0 connections"):
        fetch_file(Source("http://host/file"), tmp_path / "file", connections=0)
