from __future__ import annotations

from pathlib import Path

import pytest

from ocrvl_modal.runs.metrics import MetricsLog, Row, parse_rows, read_rows


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "metrics.jsonl"


def a_row(step: int, **more: object) -> Row:
    return {"step": step, "loss": 1.0 / step, "learning_rate": 1e-4, "attempt": 1, "time": "t", **more}


def append(path: Path, *rows: Row) -> None:
    log = MetricsLog(path)
    for row in rows:
        log.append(row)
    log.close()


def test_rows_read_back_equal(path: Path) -> None:
    rows = [a_row(1), a_row(2, note="grüße\u2028\x85")]
    append(path, *rows)
    assert read_rows(path) == rows


def test_a_row_can_be_read_as_soon_as_it_is_appended(path: Path) -> None:
    log = MetricsLog(path)
    log.append(a_row(1))
    assert read_rows(path) == [a_row(1)]
    log.sync()
    log.close()


def test_no_file_means_no_rows(path: Path) -> None:
    assert read_rows(path) == []


@pytest.mark.parametrize("cut", ["", "{", '{"step": 3', '{"step": 3, "loss": 0.1}'])
def test_a_last_row_without_its_line_end_does_not_count(cut: str, path: Path) -> None:
    append(path, a_row(1), a_row(2))
    with path.open("a", encoding="utf-8") as stream:
        stream.write(cut)
    assert [row["step"] for row in read_rows(path)] == [1, 2]


def test_a_cut_at_any_byte_leaves_the_whole_rows_before_it(path: Path) -> None:
    append(path, a_row(1, note="ü"), a_row(2, note="字"))
    content = path.read_bytes()
    for length in range(len(content) + 1):
        path.write_bytes(content[:length])
        assert len(read_rows(path)) == content[:length].count(b"\n")


def test_going_back_to_a_step_forgets_what_came_after_it(path: Path) -> None:
    append(path, a_row(1), a_row(2), a_row(3))
    MetricsLog(path).rewind(2)
    assert [row["step"] for row in read_rows(path)] == [1, 2]


def test_steps_are_neither_missing_nor_double_after_a_kill_and_a_resume(path: Path) -> None:
    append(path, *(a_row(step) for step in range(1, 8)))
    with path.open("a", encoding="utf-8") as stream:
        stream.write('{"step": 8, "lo')
    log = MetricsLog(path)
    log.rewind(4)
    for step in range(5, 11):
        log.append(a_row(step, attempt=2))
    log.close()
    rows = read_rows(path)
    assert [row["step"] for row in rows] == list(range(1, 11))
    assert [row["attempt"] for row in rows] == [1] * 4 + [2] * 6


def test_an_open_log_can_go_back_and_go_on(path: Path) -> None:
    log = MetricsLog(path)
    log.append(a_row(1))
    log.append(a_row(2))
    log.rewind(1)
    log.append(a_row(2, attempt=2))
    log.close()
    assert [(row["step"], row["attempt"]) for row in read_rows(path)] == [(1, 1), (2, 2)]


def test_going_back_to_the_beginning_leaves_an_empty_file(path: Path) -> None:
    append(path, a_row(1))
    MetricsLog(path).rewind(0)
    assert path.read_bytes() == b""


def test_rows_are_parsed_from_text_too() -> None:
    assert parse_rows('{"step": 1}\n{"step": 2}\n{"st') == [{"step": 1}, {"step": 2}]
