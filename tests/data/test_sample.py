from __future__ import annotations

from pathlib import Path

import pytest

from conftest import Shell
from data.small_datasets import OCR, TABLE, dataset, images_of, messages, rows_in, target_of
from ocrvl_modal.data.shaping.sampling import sample_dataset
from ocrvl_modal.data.shaping.scripts import by_script, main_script
from ocrvl_modal.errors import OcrvlError

BENGALI, TIBETAN, ARABIC = "আমার সোনার বাংলা", "བོད་ཀྱི་སྐད་ཡིག", "كتاب"


def mixed(path: Path) -> Path:
    """90 short Latin lines, 6 long ones, 3 Bengali ones and 1 table."""
    rows = [messages("a.png", f"latin {number}") for number in range(90)]
    rows += [messages("b.png", f"long {number} " * 80) for number in range(6)]
    rows += [messages("c.png", f"{BENGALI} {number}") for number in range(3)]
    return dataset(path, [*rows, messages("d.png", "<fcel>a<nl>", TABLE)])


def test_every_kind_of_row_is_there_and_the_common_ones_in_proportion(tmp_path: Path) -> None:
    report = sample_dataset(mixed(tmp_path / "all.jsonl"), tmp_path / "few.jsonl", 20)
    found = [target_of(row) for row in rows_in(tmp_path / "few.jsonl")]
    assert len(found) == 20 == report.taken
    assert "<fcel>a<nl>" in found
    assert any(target.startswith(BENGALI) for target in found)
    assert any(target.startswith("long") for target in found)
    assert 12 <= sum(target.startswith("latin") for target in found) <= 17
    assert report.tasks == {"text": (19, 99), "table": (1, 1)}


def test_the_same_rows_are_taken_again_in_their_order_and_others_by_another_seed(tmp_path: Path) -> None:
    path = mixed(tmp_path / "all.jsonl")
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        sample_dataset(path, tmp_path / f"{name}.jsonl", 20, seed=seed)
    a, b, c = (rows_in(tmp_path / f"{name}.jsonl") for name in "abc")
    assert a == b != c
    assert sorted(a, key=rows_in(path).index) == a


def test_fewer_rows_than_kinds_are_of_the_commonest_kinds(tmp_path: Path) -> None:
    report = sample_dataset(mixed(tmp_path / "all.jsonl"), tmp_path / "few.jsonl", 2)
    assert (report.taken, report.strata_taken) == (2, 2)
    assert report.scripts["latin"] == (2, 97)


def test_a_small_file_is_taken_whole_with_images_that_are_found(tmp_path: Path) -> None:
    path = mixed(tmp_path / "set" / "all.jsonl")
    out = tmp_path / "elsewhere" / "few.jsonl"
    assert sample_dataset(path, out, 500).taken == 100
    assert {(out.parent / image).resolve() for row in rows_in(out) for image in images_of(row)} == {
        (path.parent / f"{name}.png").resolve() for name in "abcd"
    }


def test_nothing_is_written_over_unasked(tmp_path: Path) -> None:
    path = mixed(tmp_path / "all.jsonl")
    (tmp_path / "few.jsonl").write_text("mine")
    with pytest.raises(OcrvlError, match="is there already"):
        sample_dataset(path, tmp_path / "few.jsonl", 3)
    assert sample_dataset(path, tmp_path / "few.jsonl", 3, force=True).taken == 3
    with pytest.raises(OcrvlError, match="is the dataset itself"):
        sample_dataset(path, path, 3, force=True)
    with pytest.raises(OcrvlError, match="is a folder"):
        sample_dataset(path, tmp_path, 3, force=True)


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("Grüße 12", "latin"),
        (f"{BENGALI} ok", "bengali"),
        (TIBETAN, "tibetan"),
        (f"{ARABIC} 2024", "arabic"),
        ("漢字かな漢", "han"),
        ("12 + 3 = ?", "other"),
        ("e\u0301", "latin"),
        (f"<fcel>{TIBETAN[:3]}<ecel><nl><ucel><lcel><xcel><nl>", "tibetan"),
    ],
)
def test_a_text_has_the_script_of_most_of_its_letters(text: str, script: str) -> None:
    assert main_script(text) == script


def test_digits_and_marks_belong_to_no_script() -> None:
    assert by_script({"a": 3, "б": 2, "1": 5, " ": 1, "\u0301": 1}) == {"other": 7, "latin": 3, "cyrillic": 2}


def test_the_command_names_what_it_took(bare_shell: Shell) -> None:
    mixed(bare_shell.cwd / "all.jsonl")
    said = bare_shell("data", "sample", "all.jsonl", "--out", "few.jsonl", "-n", "7")
    assert "script bengali" in said.out
    assert len(rows_in(bare_shell.cwd / "few.jsonl")) == 7
    assert OCR in (bare_shell.cwd / "few.jsonl").read_text()
