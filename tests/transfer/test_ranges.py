"""The arithmetic of what is here and what is missing."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrvl_modal.transfer import journal as journal_module
from ocrvl_modal.transfer.journal import Identity, Journal
from ocrvl_modal.transfer.ranges import Ranges, pieces_of

SIZE = 60
SPANS = st.lists(st.tuples(st.integers(0, SIZE), st.integers(0, SIZE)))
FILE = Identity("http://host/file", SIZE, '"one"', None, None)


@given(SPANS)
def test_a_set_of_ranges_holds_just_the_bytes_that_were_put_in(spans: list[tuple[int, int]]) -> None:
    ranges = Ranges(spans)
    wanted = {byte for start, end in spans for byte in range(start, end)}
    kept = list(ranges)
    assert {byte for start, end in kept for byte in range(start, end)} == wanted
    assert ranges.total == len(wanted)
    assert all(start < end for start, end in kept)
    assert all(before[1] < after[0] for before, after in pairwise(kept))
    assert ranges.front == next(byte for byte in range(SIZE + 1) if byte not in wanted)


@given(SPANS, st.integers(1, SIZE), st.integers(1, SIZE))
def test_pieces_are_what_is_missing_in_order_and_none_too_long(
    spans: list[tuple[int, int]], size: int, longest: int
) -> None:
    ranges = Ranges(spans)
    pieces = pieces_of(ranges.missing(size), longest)
    here = {byte for start, end in ranges for byte in range(start, end)}
    assert [byte for start, end in pieces for byte in range(start, end)] == [
        byte for byte in range(size) if byte not in here
    ]
    assert all(0 < end - start <= longest for start, end in pieces)


@given(SPANS)
def test_a_copy_stays_as_it_is(spans: list[tuple[int, int]]) -> None:
    ranges = Ranges(spans)
    twin = ranges.copy()
    assert twin == ranges
    ranges.add(0, SIZE + 1)
    assert twin != ranges


@given(written=SPANS, longer=SPANS)
def test_a_journal_comes_back_as_it_was_saved_last(
    tmp_path_factory: pytest.TempPathFactory, written: list[tuple[int, int]], longer: list[tuple[int, int]]
) -> None:
    path = tmp_path_factory.mktemp("journal") / "file.part.json"
    journal = Journal(path)
    journal.begin(FILE)
    for spans in (longer, written):
        journal.written = Ranges(spans)
        journal.save()
    journal.close()
    again = Journal.open(path, SIZE)
    assert again.identity == FILE
    assert again.written == Ranges(written)


def test_after_the_machine_has_started_anew_only_flushed_bytes_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.part.json"
    journal = Journal(path)
    journal.begin(FILE)
    journal.written, journal.flushed = Ranges([(0, 50)]), Ranges([(0, 20)])
    journal.save()
    journal.close()
    assert Journal.open(path, SIZE).written == Ranges([(0, 50)])
    monkeypatch.setattr(journal_module, "_BOOT_ID", tmp_path / "other")
    (tmp_path / "other").write_text("another start")
    assert Journal.open(path, SIZE).written == Ranges([(0, 20)])


@pytest.mark.parametrize(
    "damage",
    [
        lambda _noted: "",
        lambda noted: json.dumps(noted)[:40],
        lambda _noted: "[]",
        lambda noted: json.dumps({**noted, "schema": 2}),
        lambda noted: json.dumps({**noted, "written": [[0, SIZE + 1]]}),
        lambda noted: json.dumps({**noted, "written": [[5, 5]]}),
        lambda noted: json.dumps({**noted, "written": [["a", "b"]]}),
        lambda noted: json.dumps({**noted, "identity": {"url": "x"}}),
        lambda noted: json.dumps({**noted, "identity": {**noted["identity"], "size_bytes": "60"}}),
    ],
)
def test_a_damaged_journal_counts_as_none(tmp_path: Path, damage: object) -> None:
    path = tmp_path / "file.part.json"
    journal = Journal(path)
    journal.begin(FILE)
    journal.written = Ranges([(0, 50)])
    journal.save()
    journal.close()
    path.write_text(damage(json.loads(path.read_text())))  # type: ignore[operator]
    again = Journal.open(path, SIZE)
    assert again.identity is None
    assert again.written.total == 0


def test_a_journal_of_a_part_that_is_gone_counts_as_none(tmp_path: Path) -> None:
    path = tmp_path / "file.part.json"
    journal = Journal(path)
    journal.begin(FILE)
    journal.written = Ranges([(0, 50)])
    journal.save()
    journal.close()
    assert Journal.open(path, 0).identity is None


def test_only_a_digest_tells_that_two_addresses_have_one_file() -> None:
    elsewhere = Identity("http://mirror/file", SIZE, '"two"', None, None)
    assert not FILE.is_same_file(elsewhere)
    known = [Identity(each.url, SIZE, each.etag, None, "ab") for each in (FILE, elsewhere)]
    assert known[0].is_same_file(known[1])
    assert not known[0].is_same_file(Identity(FILE.url, SIZE, '"two"', None, "ab"))
    assert not FILE.is_same_file(Identity(FILE.url, SIZE + 1, '"one"', None, None))
    assert FILE.is_same_file(Identity(FILE.url, SIZE, '"one"', None, "ab"))
    assert not known[0].is_same_file(Identity(FILE.url, SIZE, '"one"', None, "cd"))
