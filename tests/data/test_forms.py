from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.datasets import erniekit_row, messages_row

from ocrvl_modal.data.forms import ROW_FORMATS, RowFormat, _parse_closely, parse_row, write_row
from ocrvl_modal.data.schema import ImageUse, Row, RowRefused, Turn
from ocrvl_modal.errors import OcrvlError

TEXT = st.text(st.characters(exclude_categories=["Cs"])).filter(lambda text: "<image>" not in text)


@st.composite
def rows(draw: st.DrawFn, *, all_learned: bool = False) -> Row:
    """Any row that both forms can say, or only messages."""
    pairs = draw(st.integers(1, 3))
    learned = [all_learned or draw(st.booleans()) for _ in range(pairs)]
    learned[draw(st.integers(0, pairs - 1))] = True
    turns = [Turn("system", draw(TEXT), learned=False)] if draw(st.booleans()) else []
    first = len(turns)
    for is_learned in learned:
        turns += [Turn("user", draw(TEXT), learned=False), Turn("assistant", draw(TEXT), learned=is_learned)]
    asking = st.integers(0, pairs - 1).map(lambda pair: first + 2 * pair)
    places = sorted(draw(st.lists(asking, max_size=3)))
    return Row(tuple(turns), tuple(ImageUse(draw(st.text(max_size=9, alphabet="ab/.é")), place) for place in places))


@settings(max_examples=100)
@given(rows())
def test_a_row_is_written_as_messages_and_read_back_with_nothing_lost(row: Row) -> None:
    assert parse_row(write_row(row, "messages").encode()) == row


@settings(max_examples=100)
@given(rows(all_learned=True))
def test_a_row_goes_from_form_to_form_and_back_with_nothing_lost(row: Row) -> None:
    as_erniekit = parse_row(write_row(row, "erniekit").encode())
    assert as_erniekit == row
    assert parse_row(write_row(as_erniekit, "messages").encode()) == row


def told_of(read: Callable[[bytes], Row], line: bytes) -> str:
    """Return all that is said of a line, the paths too, which rows are not compared by."""
    try:
        return repr(read(line))
    except RowRefused as refused:
        return repr((refused.kind, refused.message, refused.path))


MARKS = st.sampled_from(["", "<image>", "<image><image>", " <image>", "<image>OCR:", "OCR:<image>", "<image>a<image>"])


@settings(max_examples=300)
@given(st.data())
def test_a_plain_row_is_read_as_the_close_reading_reads_it(data: st.DataObject) -> None:
    make = data.draw(st.sampled_from([messages_row, erniekit_row]))
    values = make(data.draw(TEXT | MARKS), data.draw(TEXT | MARKS), data.draw(st.text(max_size=5)))
    if "messages" in values:
        values["messages"][0]["content"] = data.draw(MARKS)
    for holder in (values, *(item for key in values.values() if isinstance(key, list) for item in key)):
        if isinstance(holder, dict) and data.draw(st.integers(0, 9)) == 0:
            key = data.draw(st.sampled_from([*holder, "label", "is_system", "system", "matched_text_index", "tag"]))
            holder[key] = data.draw(st.sampled_from([0, 1, [0], [1], "", "x", "mask", "user", None, True, []]))
    line = json.dumps(values, ensure_ascii=data.draw(st.booleans())).encode("utf-8", "surrogatepass")
    line = data.draw(st.sampled_from([line, line, line, line + b"{}", line[:-1], b"\xef\xbb\xbf" + line]))
    assert told_of(parse_row, line) == told_of(_parse_closely, line)


@pytest.mark.parametrize("form", ROW_FORMATS)
def test_a_row_that_is_accepted_gives_the_same_sample_in_either_form(form: RowFormat, tmp_path: Path) -> None:
    for values in (messages_row(), erniekit_row()):
        row = parse_row(json.dumps(values).encode())
        assert parse_row(write_row(row, form).encode()).sample(tmp_path, 3) == row.sample(tmp_path, 3)


def test_system_and_label_are_read(tmp_path: Path) -> None:
    turns = [*messages_row("4")["messages"], *messages_row("2")["messages"]]
    row = parse_row(json.dumps({"messages": turns, "images": ["a", "b"], "system": "Read.", "label": [0, 1]}).encode())
    assert [(turn.role, turn.learned) for turn in row.turns] == [
        ("system", False),
        ("user", False),
        ("assistant", False),
        ("user", False),
        ("assistant", True),
    ]
    assert [(image.reference, image.turn) for image in row.images] == [("a", 1), ("b", 3)]
    assert [turn.path for turn in row.turns][:2] == ["system", "messages[0].content"]
    with pytest.raises(RowRefused) as caught:
        row.sample(tmp_path, 1)
    assert caught.value.kind == "system_turn"


@pytest.mark.parametrize(
    ("row", "form", "words"),
    [
        (Row((Turn("user", "a<image>", False), Turn("assistant", "b", True)), ()), "messages", "<image> in it"),
        (Row((Turn("user", "a", False), Turn("assistant", "b", False)), ()), "erniekit", "not learned"),
        (
            Row((Turn("user", "a", False), Turn("assistant", "b", True)), (ImageUse("x", 1),)),
            "messages",
            "an image before anything but a question",
        ),
    ],
)
def test_what_a_form_cannot_say_is_refused(row: Row, form: Any, words: str) -> None:
    with pytest.raises(OcrvlError, match=words) as caught:
        write_row(row, form)
    assert "form" in caught.value.hint
