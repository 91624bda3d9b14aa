from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrvl_modal.data.rows import ROW_FORMATS, RowFormat, read_samples, scan, to_row
from ocrvl_modal.data.schema import Finding, Sample
from ocrvl_modal.errors import ExitCode, OcrvlError

MESSAGES: dict[str, Any] = {
    "messages": [{"role": "user", "content": "<image>OCR:"}, {"role": "assistant", "content": "402 km"}],
    "images": ["images/a.png"],
}
ERNIEKIT: dict[str, Any] = {
    "image_info": [{"matched_text_index": 0, "image_url": "./images/a.png"}],
    "text_info": [{"text": "OCR:", "tag": "mask"}, {"text": "402 km", "tag": "no_mask"}],
}


def scan_bytes(folder: Path, content: bytes) -> list[Sample | Finding]:
    path = folder / "train.jsonl"
    path.write_bytes(content)
    return list(scan(path))


def scan_row(folder: Path, row: Any) -> Sample | Finding:
    (only,) = scan_bytes(folder, json.dumps(row).encode())
    return only


def turns(*pairs: tuple[str, str], **more: Any) -> dict[str, Any]:
    messages = [{"role": role, "content": content} for role, content in pairs]
    return {"messages": messages, "images": ["a.png"], **more}


def texts(*pairs: tuple[str, str], **more: Any) -> dict[str, Any]:
    return {
        "image_info": [{"image_url": "a.png"}],
        "text_info": [{"tag": tag, "text": text} for tag, text in pairs],
        **more,
    }


ASK = ("user", "<image>OCR:")
ANSWER = ("assistant", "402")


@pytest.mark.parametrize("row", [MESSAGES, ERNIEKIT], ids=["messages", "erniekit"])
def test_both_forms_read_as_the_same_sample(tmp_path: Path, row: Any) -> None:
    assert scan_row(tmp_path, row) == Sample(tmp_path / "images" / "a.png", "OCR:", "402 km", 1)


def test_forms_may_be_mixed_by_line(tmp_path: Path) -> None:
    content = f"{json.dumps(MESSAGES)}\n{json.dumps(ERNIEKIT)}\n".encode()
    assert [item.line for item in scan_bytes(tmp_path, content) if isinstance(item, Sample)] == [1, 2]


def test_keys_that_say_nothing_are_accepted(tmp_path: Path) -> None:
    bare = {"image_info": [{"image_url": "a.png"}], "text_info": ERNIEKIT["text_info"]}
    for row in (
        {**MESSAGES, "system": "", "tools": None, "videos": []},
        {**ERNIEKIT, "is_system": 0, "order": {}, "video_info": []},
        bare,
    ):
        assert isinstance(scan_row(tmp_path, row), Sample)


def test_an_absolute_image_path_stays_as_it_is(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere" / "a.png"
    sample = scan_row(tmp_path, {**MESSAGES, "images": [str(elsewhere)]})
    assert isinstance(sample, Sample)
    assert sample.image == elsewhere


def test_a_relative_dataset_path_gives_absolute_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "train.jsonl").write_text(json.dumps(MESSAGES))
    monkeypatch.chdir(tmp_path)
    (sample,) = read_samples(Path("train.jsonl"))
    assert sample.image == tmp_path / "images" / "a.png"


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + json.dumps(MESSAGES).encode() + b"\n",
        json.dumps(MESSAGES).encode() + b"\r\n",
        json.dumps(MESSAGES).encode(),
        json.dumps(MESSAGES).encode() + b"\n\r\n  \n\n",
    ],
    ids=["byte order mark", "crlf", "no newline at the end", "blank lines at the end"],
)
def test_harmless_bytes_around_rows_are_ignored(tmp_path: Path, content: bytes) -> None:
    (sample,) = scan_bytes(tmp_path, content)
    assert isinstance(sample, Sample)


def test_text_keeps_its_line_breaks_and_signs(tmp_path: Path) -> None:
    target = "  a\n\tb \u2028 বাংলা <fcel>x<nl> <|LOC_12|>\r\n"
    sample = scan_row(tmp_path, turns(ASK, ("assistant", target)))
    assert isinstance(sample, Sample)
    assert sample.target == target


@pytest.mark.parametrize(
    ("line", "kind", "words"),
    [
        (b'{"messages": [', "not_json", "not JSON"),
        (b"{'messages': []}", "not_json", "not JSON"),
        (b'{"messages": NaN}', "not_json", "not JSON"),
        (b'{"a": "\\ud800x"}', "surrogate", "a has half of a pair"),
        (b'{"a": [{"\\udc00": 1}]}', "surrogate", "a[0] has half of a pair"),
        (b'{"a":' * 100_000, "not_json", "not JSON"),
        (b"\xff\xfe{\x00", "not_utf8", "byte 1 of the line is not UTF-8"),
        (b'{"a": "caf\xe9"}', "not_utf8", "byte 11"),
        (b'"text"', "not_an_object", "not an object"),
        (b"17", "not_an_object", "not an object"),
        (b"null", "not_an_object", "not an object"),
        (b"{}", "unknown_form", "this one has none"),
        (b'{"image": "a.png", "text": "b"}', "unknown_form", "this one has 'image', 'text'"),
    ],
)
def test_a_line_that_is_no_row_is_a_problem(tmp_path: Path, line: bytes, kind: str, words: str) -> None:
    (problem,) = scan_bytes(tmp_path, line + b"\n")
    assert isinstance(problem, Finding)
    assert (problem.line, problem.kind) == (1, kind)
    assert words in problem.message


@pytest.mark.parametrize(
    ("row", "kind", "words"),
    [
        ({"messages": MESSAGES["messages"]}, "wrong_shape", "the row lacks 'images'"),
        ({**MESSAGES, "images": "a.png"}, "wrong_shape", "images must be a list, not a string"),
        ({**MESSAGES, "images": [None]}, "wrong_shape", "images[0] must be a string, not null"),
        ({**MESSAGES, "images": [""]}, "wrong_shape", "path is empty"),
        ({**MESSAGES, "images": ["a\0.png"]}, "wrong_shape", "zero byte"),
        ({**MESSAGES, "messages": "OCR:"}, "wrong_shape", "messages must be a list, not a string"),
        (turns(ASK, ("assistant", 402)), "wrong_shape", "messages[1].content must be a string, not a number"),
        (
            turns(("user", [{"type": "image"}]), ANSWER),
            "wrong_shape",
            "messages[0].content must be a string, not a list",
        ),
        ({**MESSAGES, "image": "a.png"}, "unknown_key", "unknown key 'image': did you mean 'images'?"),
        ({**MESSAGES, **ERNIEKIT}, "unknown_key", "unknown key"),
        (turns(ASK, ANSWER, system="Read."), "system_turn", "system turn"),
        (turns(("system", "Read."), ASK, ANSWER), "system_turn", "system turn"),
        (turns(ASK, ANSWER, tools=[{}]), "unsupported", "'tools'"),
        (turns(ASK, ANSWER, videos=["a.mp4"]), "unsupported", "'videos'"),
        (turns(ASK, ANSWER, label=[0]), "no_learned_turn", "label is 0 for every answer"),
        (turns(ASK, ANSWER, label=[1, 1]), "wrong_shape", "2 values for 1 answers"),
        (turns(ASK, ANSWER, ("user", "More?"), ("assistant", "No")), "multi_turn", "4 turns"),
        (turns(ASK), "wrong_turns", "must be user then assistant, not user"),
        (turns(), "wrong_turns", "not empty"),
        (turns(ANSWER, ASK), "wrong_turns", "not assistant then user"),
        (turns(("human", "<image>OCR:"), ANSWER), "wrong_turns", "not human then assistant"),
        ({**MESSAGES, "images": []}, "image_count", "no images"),
        ({**MESSAGES, "images": ["a.png", "b.png"]}, "image_count", "2 images"),
        (turns(("user", "OCR:"), ANSWER), "image_count", "no <image>"),
        (turns(("user", "<image><image>OCR:"), ANSWER), "image_count", "2 <image>"),
        (
            {**turns(("user", "<image><image>OCR:"), ANSWER), "images": ["a.png", "b.png"]},
            "image_count",
            "has 2 images; a sample has exactly one",
        ),
        (turns(("user", "OCR:<image>"), ANSWER), "image_place", "must begin"),
        (turns(ASK, ("assistant", "")), "empty_target", "target is empty"),
        (turns(ASK, ("assistant", " \n")), "empty_target", "target is empty"),
        (turns(ASK, ("assistant", "a<image>")), "reserved_text", "the target has <image>"),
        (turns(ASK, ("assistant", "<s>a</s>")), "reserved_text", "the target has </s>"),
        (turns(("user", "<image><|IMAGE_END|>OCR:"), ANSWER), "reserved_text", "the prompt has <|IMAGE_END|>"),
        ({**MESSAGES, "images": ["https://example.org/a.png"]}, "image_url", "URL"),
        ({**MESSAGES, "images": ["data:image/png;base64,iVBORw0KGgo="]}, "image_embedded", "embedded"),
        ({**MESSAGES, "images": ["iVBORw0KGgo" * 1000]}, "image_embedded", "embedded"),
    ],
)
def test_a_messages_row_of_wrong_shape_is_a_problem(tmp_path: Path, row: Any, kind: str, words: str) -> None:
    problem = scan_row(tmp_path, row)
    assert isinstance(problem, Finding)
    assert problem.kind == kind
    assert words in problem.message


@pytest.mark.parametrize(
    ("row", "kind", "words"),
    [
        ({"text_info": ERNIEKIT["text_info"]}, "wrong_shape", "the row lacks 'image_info'"),
        ({"image_info": ERNIEKIT["image_info"]}, "wrong_shape", "the row lacks 'text_info'"),
        ({**ERNIEKIT, "image_info": [{}]}, "wrong_shape", "image_info[0] lacks 'image_url'"),
        ({**ERNIEKIT, "image_info": ["a.png"]}, "wrong_shape", "image_info[0] must be an object, not a string"),
        (texts(("mask", "OCR:"), ("no_mask", None)), "wrong_shape", "text_info[1].text must be a string, not null"),
        (
            {**ERNIEKIT, "image_info": [{"image_url": "a.png", "index": 0}]},
            "unknown_key",
            "image_info[0] has an unknown key 'index'",
        ),
        (texts(("mask", "Read."), ("mask", "OCR:"), ("no_mask", "402"), is_system=1), "system_turn", "system turn"),
        (texts(("mask", "OCR:"), ("no_mask", "402"), order={"type": ["text"]}), "unsupported", "'order'"),
        (texts(("mask", "OCR:"), ("no_mask", "402"), video_info=[{}]), "unsupported", "'video_info'"),
        (texts(("mask", "OCR:"), ("no_mask", "4"), ("mask", "More?"), ("no_mask", "2")), "multi_turn", "4 turns"),
        (texts(("no_mask", "402"), ("mask", "OCR:")), "wrong_turns", "not no_mask then mask"),
        (texts(("mask", "OCR:")), "no_learned_turn", "no_mask"),
        ({**ERNIEKIT, "image_info": []}, "image_count", "no images"),
        ({**ERNIEKIT, "image_info": ERNIEKIT["image_info"] * 2}, "image_count", "2 images"),
        (
            {**ERNIEKIT, "image_info": [{"image_url": "a.png", "matched_text_index": 1}]},
            "image_place",
            "stands in the answer",
        ),
        (
            {**ERNIEKIT, "image_info": [{"image_url": "a.png", "matched_text_index": 2}]},
            "image_index",
            "matched_text_index is 2",
        ),
        (texts(("mask", "OCR:"), ("no_mask", "")), "empty_target", "target is empty"),
        ({**ERNIEKIT, "image_info": [{"image_url": "http://host/a.png"}]}, "image_url", "URL"),
    ],
)
def test_an_erniekit_row_of_wrong_shape_is_a_problem(tmp_path: Path, row: Any, kind: str, words: str) -> None:
    problem = scan_row(tmp_path, row)
    assert isinstance(problem, Finding)
    assert problem.kind == kind
    assert words in problem.message


def test_a_bad_row_does_not_end_the_reading(tmp_path: Path) -> None:
    good = json.dumps(MESSAGES).encode()
    items = scan_bytes(tmp_path, good + b"\n{\n" + good + b"\n")
    assert [type(item) for item in items] == [Sample, Finding, Sample]
    assert [item.line for item in items] == [1, 2, 3]


def test_a_blank_line_between_rows_is_a_problem(tmp_path: Path) -> None:
    good = json.dumps(MESSAGES).encode()
    items = scan_bytes(tmp_path, good + b"\n\n \r\n" + good + b"\n\n")
    assert [(item.line, getattr(item, "kind", "sample")) for item in items] == [
        (1, "sample"),
        (2, "blank_line"),
        (3, "blank_line"),
        (4, "sample"),
    ]


@pytest.mark.parametrize("content", [b"", b"\n", b"\n  \r\n", b"\xef\xbb\xbf"])
def test_a_file_without_a_row_is_one_problem(tmp_path: Path, content: bytes) -> None:
    (problem,) = scan_bytes(tmp_path, content)
    assert isinstance(problem, Finding)
    assert (problem.line, problem.kind) == (None, "empty")


def test_a_json_array_is_one_problem(tmp_path: Path) -> None:
    (problem,) = scan_bytes(tmp_path, json.dumps([MESSAGES] * 3, indent=1).encode())
    assert isinstance(problem, Finding)
    assert (problem.line, problem.kind) == (None, "json_array")
    assert "not an object a line" in problem.message


def test_reading_samples_stops_at_the_first_problem(tmp_path: Path) -> None:
    path = tmp_path / "my train.jsonl"
    path.write_text(f"{json.dumps(MESSAGES)}\n[]\n{{\n")
    with pytest.raises(OcrvlError, match="line 2: the line is JSON, but not an object") as caught:
        read_samples(path)
    assert caught.value.code is ExitCode.DATA_INVALID
    assert caught.value.hint == f"ocrvl data check '{path}'"


def test_a_missing_file_is_not_found_and_the_nearest_name_is_told(tmp_path: Path) -> None:
    with pytest.raises(OcrvlError, match="there is no dataset") as caught:
        read_samples(tmp_path / "trian.jsonl")
    assert caught.value.code is ExitCode.NOT_FOUND
    assert "ocrvl data synth" in caught.value.hint
    (tmp_path / "train.jsonl").touch()
    with pytest.raises(OcrvlError) as caught:
        read_samples(tmp_path / "trian.jsonl")
    assert caught.value.hint == "did you mean 'train.jsonl'?"


@pytest.mark.parametrize("name", ["no/such/folder/train.jsonl", "train.jsonl/train.jsonl"])
def test_a_file_in_a_place_that_cannot_be_is_not_found(tmp_path: Path, name: str) -> None:
    (tmp_path / "train.jsonl").touch()
    with pytest.raises(OcrvlError) as caught:
        read_samples(tmp_path / name)
    assert caught.value.code is ExitCode.NOT_FOUND


def test_a_folder_is_refused_with_the_files_in_it(tmp_path: Path) -> None:
    with pytest.raises(OcrvlError, match="is a folder") as caught:
        read_samples(tmp_path)
    assert caught.value.code is ExitCode.DATA_INVALID
    assert "there is no .jsonl file" in caught.value.hint
    (tmp_path / "test.jsonl").touch()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(OcrvlError) as caught:
        read_samples(tmp_path)
    assert caught.value.hint == f"name one of its files: {tmp_path / 'test.jsonl'}"


def test_a_path_that_the_system_refuses_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(OcrvlError, match="cannot be read: File name too long") as caught:
        read_samples(tmp_path / ("x" * 5000))
    assert caught.value.code is ExitCode.DATA_INVALID


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "train.jsonl")
    with pytest.raises(OcrvlError, match="is a pipe") as caught:
        read_samples(tmp_path / "train.jsonl")
    assert caught.value.code is ExitCode.DATA_INVALID


RESERVED = ("<image>", "</s>", "<|IMAGE_", "_of_sentence|>")
TEXT = st.text(st.characters(exclude_categories=["Cs"])).filter(lambda text: not any(word in text for word in RESERVED))
FILE_NAME = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=40).filter(
    lambda name: name not in {".", ".."}
)


@given(
    prompt=TEXT,
    target=TEXT.filter(lambda text: bool(text.strip())),
    parts=st.lists(FILE_NAME, min_size=1, max_size=3),
    is_inside=st.booleans(),
    row_format=st.sampled_from(ROW_FORMATS),
)
def test_a_written_row_reads_back_as_the_same_sample(
    tmp_path_factory: pytest.TempPathFactory,
    prompt: str,
    target: str,
    parts: list[str],
    is_inside: bool,
    row_format: RowFormat,
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    image = (folder if is_inside else folder.parent / "elsewhere").joinpath(*parts)
    sample = Sample(image, prompt, target, 1)
    path = folder / "train.jsonl"
    path.write_text(to_row(sample, row_format, folder) + "\n", encoding="utf-8", newline="")
    assert read_samples(path) == [sample]


@pytest.mark.parametrize("row_format", ROW_FORMATS)
def test_a_dataset_folder_can_be_moved(tmp_path: Path, row_format: RowFormat) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    (before / "train.jsonl").write_text(to_row(Sample(before / "images/a.png", "OCR:", "4", 1), row_format, before))
    before.rename(after)
    assert read_samples(after / "train.jsonl")[0].image == after / "images" / "a.png"
