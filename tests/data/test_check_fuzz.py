from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from tests.data.datasets import DEMANDS, PROMPTS, check, erniekit_row, messages_row

from ocrvl_modal.data.checking.fixing import fix_rows
from ocrvl_modal.data.checking.kinds import KINDS
from ocrvl_modal.errors import OcrvlError

INSERTS = [
    *(b"\x00", b"\xff", b"\xef\xbb\xbf", b"\r\n", b"\n", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x80\xa8"),
    *(b'"', b"{", b"[", b"]", b"}", b",", b":", b"\\", b"\\ud800", b"\\udc00\\ud800", b"\\u0000", b"\\u00e9", b"null"),
    *(b"1e999", b"-0", b"9" * 400, b"NaN", b"true", b"[" * 3000, b'{"a":' * 2000, b" " * 5000, b"\x0b", b"\x0c"),
    *(b"<image>", b"</s>", b"<fcel>", b"<nl>", b"\\\\left", b"\\\\begin{", b"<|LOC_99999999999|>", b"| --- | ---"),
    *("ﷺ\u0301\u0315\u202e\U000e0001".encode(), "\u1161\u11a8".encode(), b"a\\u0301", b"file:///etc/passwd", b"../.."),
]
VALUES: list[Any] = [
    None,
    True,
    0,
    -1,
    10**30,
    1.5,
    "",
    "x",
    [],
    [[]],
    {},
    {"role": "user"},
    ["a"] * 3,
    "\0",
    "a/" * 3000,
]


def mutated(chance: random.Random) -> bytes:
    """Return a row that a hand, a disk or a program damaged in one to three ways."""
    make = chance.choice([messages_row, erniekit_row])
    target = chance.choice(["402", "<fcel>1<nl>", r"\[ a \]", "a | b\nc | d", "x" + "<|LOC_5|>" * 8, "বাংলা", "ab " * 40])
    row = make(target, chance.choice(PROMPTS), chance.choice(["a.png", "no.png", "/a", "http://h/a"]))
    if chance.random() < 0.4:
        change_somewhere(row, chance)
    line = json.dumps(row, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")
    for _ in range(chance.choice([0, 0, 1, 1, 2, 3])):
        place = chance.randrange(len(line) + 1)
        how = chance.randrange(4)
        if how == 0:
            line = line[:place] + chance.choice(INSERTS) + line[place:]
        elif how == 1 and line:
            line = line[:place] + bytes([chance.randrange(256)]) + line[place + 1 :]
        elif how == 2:
            line = line[:place]
        else:
            line = line[:place] + line[place + chance.randrange(20) :]
    return line


def change_somewhere(value: Any, chance: random.Random) -> None:
    """Replace, remove or add something somewhere in a row."""
    while True:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        if not keys:
            return
        key = chance.choice(keys)
        if isinstance(value[key], dict | list) and value[key] and chance.random() < 0.7:
            value = value[key]
            continue
        if isinstance(value, dict) and chance.random() < 0.3:
            value[chance.choice(["a", "tools", "system", "label", "is_system", "order", "\ud800"])] = chance.choice(
                VALUES
            )
        elif chance.random() < 0.2:
            del value[key]
        else:
            value[key] = chance.choice(VALUES)
        return


def check_mutations(folder: Path, seed: int, rows: int) -> None:
    chance = random.Random(seed)
    content = b"\n".join(mutated(chance) for _ in range(rows))
    path = folder / "train.jsonl"
    path.write_bytes(content)
    report = check(path, images=chance.choice(["none", "none", "sample", "all"]), examples=3, processes=1)
    assert set(report.counts) <= set(KINDS)
    assert json.dumps(report.to_dict(), ensure_ascii=False).encode()
    assert all(finding.message for group in report.findings for finding in group.examples)
    if {"json_array", "spread_rows"} & set(report.counts):
        return
    lines = [
        line.removeprefix(b"\xef\xbb\xbf") if number == 0 else line for number, line in enumerate(content.split(b"\n"))
    ]
    # Every line is counted as a row, or is blank.
    assert report.rows == sum(bool(line.strip()) for line in lines)
    assert report.samples <= report.rows
    bad_rows = report.rows - report.samples
    assert bad_rows <= report.errors
    out = folder / "fixed.jsonl"
    out.unlink(missing_ok=True)
    try:
        fixed = fix_rows(path, out, DEMANDS)
    except OcrvlError as error:
        assert "no row of" in error.message
        return
    removed = fixed.mended["duplicate"]
    assert fixed.rows + fixed.dropped.total() + removed == report.rows
    assert check(out, images="none", processes=1).is_valid


@pytest.mark.parametrize("seed", range(8))
def test_no_damage_to_a_file_gives_a_traceback_and_every_row_is_counted(tmp_path: Path, seed: int) -> None:
    check_mutations(tmp_path, seed, 60)


@pytest.mark.slow
def test_a_hundred_thousand_damaged_rows_give_no_traceback(tmp_path: Path) -> None:
    for seed in range(1000, 2000):
        check_mutations(tmp_path, seed, 100)
