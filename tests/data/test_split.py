from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import Shell
from data.small_datasets import (
    OCR,
    TABLE,
    dataset,
    documents,
    erniekit,
    images_of,
    look_of,
    messages,
    picture,
    rows_in,
    target_of,
)
from ocrvl_modal.data.checking.demands import Demands
from ocrvl_modal.data.checking.whole import check_dataset
from ocrvl_modal.data.references import references_in, with_references
from ocrvl_modal.data.shaping.assignment import SPLITS, Assignment, Links, Shares, better_seed, group_number, lacking
from ocrvl_modal.data.shaping.splitting import SplitReport, split_dataset
from ocrvl_modal.errors import ExitCode, OcrvlError
from ocrvl_modal.models import FAMILY

SHARES = Shares(0.6, 0.2, 0.2)


def split(path: Path, out: Path, shares: Shares = SHARES, **options: object) -> SplitReport:
    return split_dataset(path, out, shares, **{"group_by": "folder", "together": "named", **options})  # type: ignore[arg-type]


def targets(folder: Path) -> dict[str, set[str]]:
    return {name: {target_of(row) for row in rows_in(folder / f"{name}.jsonl")} for name in SPLITS}


def document_of(target: str) -> str:
    return target.split()[1]


def test_every_row_goes_to_one_split_and_no_document_to_two(tmp_path: Path) -> None:
    path = documents(tmp_path, 40)
    report = split(path, tmp_path / "out")
    found = targets(tmp_path / "out")
    assert sum(len(rows) for rows in found.values()) == 160 == report.rows
    documents_of = [{document_of(target) for target in found[name]} for name in SPLITS]
    assert sum(map(len, documents_of)) == len(set.union(*documents_of)) == 40
    assert [part.groups for part in report.parts.values()] == [len(each) for each in documents_of]
    assert {name: len(rows) for name, rows in found.items()} == {name: report.parts[name].rows for name in SPLITS}


def test_a_folder_is_one_group_however_rows_spell_it(tmp_path: Path) -> None:
    path = documents(tmp_path, 40)
    lines = path.read_text("utf-8").splitlines()
    folder = Path(references_in(lines[0])[0]).parts[0]
    spelled = [f"{folder}/../{folder}/", f"./{folder}/", f"{tmp_path}/{folder}/"]
    new = [
        with_references(
            line, {name: name.replace(f"{folder}/", spelled[number % 3], 1) for name in references_in(line)}
        )
        for number, line in enumerate(lines)
    ]
    path.write_text("\n".join(new), encoding="utf-8")
    assert sum(part.groups for part in split(path, tmp_path / "out").parts.values()) == 40


def test_each_task_gets_its_share(tmp_path: Path) -> None:
    report = split(documents(tmp_path, 120), tmp_path / "out")
    for name, share in SHARES.to_dict().items():
        tasks = report.parts[name].tasks
        assert tasks["text"] == 3 * tasks["table"]
        assert abs(tasks["table"] / 120 - share) < 0.12


def test_rows_that_are_added_move_no_other(tmp_path: Path) -> None:
    split(documents(tmp_path / "few", 30), tmp_path / "before")
    split(documents(tmp_path / "many", 60), tmp_path / "after")
    before, after = targets(tmp_path / "before"), targets(tmp_path / "after")
    assert all(before[name] <= after[name] for name in SPLITS)


def test_the_test_rows_stay_when_validation_gets_more(tmp_path: Path) -> None:
    path = documents(tmp_path, 40)
    split(path, tmp_path / "a", Shares(0.7, 0.1, 0.2))
    split(path, tmp_path / "b", Shares(0.5, 0.3, 0.2))
    assert rows_in(tmp_path / "a" / "test.jsonl") == rows_in(tmp_path / "b" / "test.jsonl")


def test_the_seed_tells_the_split(tmp_path: Path) -> None:
    path = documents(tmp_path, 30)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        split(path, tmp_path / name, seed=seed)
    assert targets(tmp_path / "a") == targets(tmp_path / "b") != targets(tmp_path / "c")


@pytest.mark.parametrize("rule", ["folder", r"doc-(\d+)", "groups.csv"])
def test_documents_are_told_by_folder_expression_or_table(tmp_path: Path, rule: str) -> None:
    path = documents(tmp_path, 20)
    table = tmp_path / "groups.csv"
    names = [images_of(row)[0] for row in rows_in(path)]
    table.write_text("".join(f"{name},writer {name.split('/')[1]}\n" for name in names))
    split(path, tmp_path / "out", group_by=str(table) if rule.endswith("csv") else rule)
    found = targets(tmp_path / "out")
    assert sum(len({document_of(target) for target in found[name]}) for name in SPLITS) == 20


@pytest.mark.parametrize(
    ("rule", "said"),
    [("page-[0-2]", "says nothing of 20 rows, such as line 4: images/doc-000/page-3.png"), ("(", "no regular")],
)
def test_a_rule_that_does_not_fit_is_refused_before_anything_is_written(tmp_path: Path, rule: str, said: str) -> None:
    with pytest.raises(OcrvlError, match=said):
        split(documents(tmp_path, 20), tmp_path / "out", group_by=rule)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [("a.png\n", "line 1 does not name"), ("a.png,x\na.png,y\n", "an earlier one in 'x'"), (None, "there is no file")],
)
def test_a_table_of_groups_is_read_strictly(tmp_path: Path, content: str | None, said: str) -> None:
    table = tmp_path / "groups.csv"
    if content is not None:
        table.write_text(content)
    with pytest.raises(OcrvlError, match=said) as caught:
        split(documents(tmp_path, 2), tmp_path / "out", group_by=str(table))
    assert caught.value.code is ExitCode.DATA_INVALID


@pytest.mark.parametrize("together", ["alike", "same"])
def test_documents_that_share_an_image_stay_together(tmp_path: Path, together: str) -> None:
    path = documents(tmp_path, 16, pages=1, drawn=True)
    first = tmp_path / "images" / "doc-000" / "page-0.png"
    for document in range(1, 8):
        copy = tmp_path / "images" / f"doc-{document:03d}" / "page-0.png"
        if together == "same":
            shutil.copyfile(first, copy)
        else:
            picture(copy, look=look_of("images/doc-000/page-0.png"), size=(96, 72))
    report = split(path, tmp_path / "out", Shares(0.5, 0.0, 0.5), together=together)
    alike = {f"text {document} 0" for document in range(8)}
    found = {name: {target_of(row) for row in rows_in(report.file(name))} for name in ("train", "test")}
    assert any(alike <= rows for rows in found.values())
    assert report.linked_groups == 8
    assert report.largest_block == 8


def test_the_check_finds_a_leak_in_a_split_by_name_only_and_none_in_ours(tmp_path: Path) -> None:
    path = dataset(tmp_path / "all.jsonl", [messages(f"{number}.png", f"t {number}") for number in range(24)])
    for number in range(24):
        picture(tmp_path / f"{number}.png", look=number // 3, size=(64 + number % 3 * 16, 48 + number % 3 * 12))
    demands = Demands((OCR,), FAMILY["paddleocr-vl-1.6"].pixels, 4096)
    leaks = {}
    for together in ("named", "alike"):
        report = split(path, tmp_path / together, Shares(0.5, 0.0, 0.5), group_by="image", together=together)
        checked = check_dataset(report.file("train"), demands, against=[report.file("test")])
        leaks[together] = [group for group in checked.findings if group.kind == "leak"]
    assert leaks["named"]
    assert leaks["alike"] == []


def test_what_only_looks_alike_is_parted_where_only_bytes_count(tmp_path: Path) -> None:
    path = dataset(tmp_path / "all.jsonl", [messages(f"{number}.png", f"t {number}") for number in range(12)])
    for number in range(12):
        picture(tmp_path / f"{number}.png", look=1, size=(64 + number, 48))
    report = split(path, tmp_path / "out", Shares(0.5, 0.0, 0.5), group_by="image", together="same")
    assert report.linked_groups == 0


def test_images_are_found_from_the_new_files(tmp_path: Path) -> None:
    outside = picture(tmp_path / "elsewhere" / "x.png", 5)
    rows = [messages(f"./images/doc-{number}/a.png", f"t {number}") for number in range(20)]
    rows += [erniekit(f"images/doc-{number}/b.png", f"u {number}", TABLE) for number in range(20)]
    path = dataset(tmp_path / "set" / "all.jsonl", [*rows, messages(str(outside), "absolute")])
    for out in (tmp_path / "set" / "split", tmp_path / "deep" / "er" / "out"):
        report = split(path, out)
        lines = [row for name in SPLITS for row in rows_in(report.file(name))]
        assert all((out / image).is_file() for row in lines for image in images_of(row))
        absolute = next(row for row in lines if target_of(row) == "absolute")
        assert absolute == messages(str(outside), "absolute")


def test_rows_keep_their_bytes_where_no_image_moves(tmp_path: Path) -> None:
    turns = '[{"content": "<image>OCR:", "role": "user"}, {"role": "assistant",  "content": "\\u00e9"}]'
    row = f'{{"images":  ["{{}}"], "messages": {turns}}}'
    path = dataset(tmp_path / "all.jsonl", [row.replace("{}", str(tmp_path / f"{name}.png")) for name in "abcdefgh"])
    report = split(path, tmp_path / "out", Shares(0.5, 0.0, 0.5), group_by="image")
    assert sorted(rows_in(report.file("train")) + rows_in(report.file("test"))) == sorted(rows_in(path))


def test_an_earlier_split_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    path = documents(tmp_path, 20)
    split(path, tmp_path / "out")
    split(path, tmp_path / "out", Shares(0.5, 0.0, 0.5), seed=4)
    assert {entry.name for entry in (tmp_path / "out").iterdir()} == {"train.jsonl", "test.jsonl", "split.json"}
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(OcrvlError, match="not an earlier split"):
        split(path, tmp_path / "out")
    with pytest.raises(OcrvlError, match="which would be replaced"):
        split(tmp_path / "out" / "train.jsonl", tmp_path / "out")


def test_a_bad_row_or_a_missing_image_leaves_nothing_behind(tmp_path: Path) -> None:
    path = documents(tmp_path, 10, drawn=True)
    (tmp_path / "images" / "doc-004" / "page-2.png").unlink()
    with pytest.raises(OcrvlError, match="there is no image") as caught:
        split(path, tmp_path / "out", together="alike")
    assert "ocrvl data check" in caught.value.hint
    path.write_text(path.read_text() + "no json\n")
    with pytest.raises(OcrvlError, match="line 41"):
        split(path, tmp_path / "out")
    assert {entry.name for entry in tmp_path.iterdir()} == {"all.jsonl", "images"}


@pytest.mark.parametrize(
    "changed",
    [lambda content: content + b" \n", lambda content: content[:200], lambda content: b"\xff" + content[1:] + b"\n"],
    ids=["longer", "shorter", "no text"],
)
def test_a_file_that_changes_meanwhile_is_not_divided(tmp_path: Path, changed: Callable[[bytes], bytes]) -> None:
    path = documents(tmp_path, 40)

    def change(what: str, done: int, total: int) -> None:
        if done == total:
            path.write_bytes(changed(path.read_bytes()))

    with pytest.raises(OcrvlError, match="was changed while it was read") as refused:
        split(path, tmp_path / "out", together="named", on_progress=change)
    assert refused.value.code is ExitCode.DATA_INVALID
    assert not (tmp_path / "out").exists()


def test_too_few_groups_are_refused_with_a_seed_that_does(tmp_path: Path) -> None:
    path = documents(tmp_path, 3)
    with pytest.raises(OcrvlError, match="would get no row") as caught:
        split(path, tmp_path / "out", Shares(0.8, 0.1, 0.1))
    option, seed = caught.value.hint.split()
    assert option == "--seed"
    report = split(path, tmp_path / "out", Shares(0.8, 0.1, 0.1), seed=int(seed))
    assert all(part.groups == 1 for part in report.parts.values())


def test_one_group_cannot_be_divided(tmp_path: Path) -> None:
    rows = [messages(f"images/{number}.png", str(number)) for number in range(5)]
    with pytest.raises(OcrvlError, match="has 1 group by") as caught:
        split(dataset(tmp_path / "all.jsonl", rows), tmp_path / "out")
    assert "finer" in caught.value.hint


@pytest.mark.parametrize("shares", [(0.5, 0.1, 0.1), (None, 0.6, 0.5), (1.0, -0.1, 0.1), (None, 0.5, 0.5)])
def test_shares_must_add_up(shares: tuple[float | None, float, float]) -> None:
    with pytest.raises(OcrvlError, match="must add up to 1"):
        Shares.of(*shares)


def test_train_gets_what_the_others_leave() -> None:
    assert Shares.of(None, 0.1, 0.2).train == pytest.approx(0.7)


NUMBERS = st.lists(st.integers(0, 60), min_size=2, max_size=6, unique=True)


@settings(max_examples=40)
@given(st.lists(NUMBERS, max_size=5), st.integers(0, 5))
def test_linked_groups_are_never_parted(linked: list[list[int]], seed: int) -> None:
    links = Links()
    for groups in linked:
        for group in groups[1:]:
            links.join(group_number(str(groups[0])), group_number(str(group)))
    assignment = Assignment(SHARES, seed, links.together())
    for groups in linked:
        assert len({assignment.split_of(group_number(str(group))) for group in groups}) == 1


@settings(max_examples=20)
@given(st.sets(st.text(max_size=8), min_size=1, max_size=30), st.integers(0, 3))
def test_a_group_goes_where_its_name_says_whatever_stands_beside_it(names: set[str], seed: int) -> None:
    alone = {name: Assignment(SHARES, seed).split_of(group_number(name)) for name in names}
    linked = Assignment(SHARES, seed, [[group_number("one\n"), group_number("other\n")]])
    assert {name: linked.split_of(group_number(name)) for name in names} == alone


def test_shares_are_met_by_many_groups() -> None:
    assignment = Assignment(Shares(0.8, 0.1, 0.1), 0)
    found = [assignment.split_of(group_number(str(number))) for number in range(20_000)]
    assert abs(found.count("test") / 20_000 - 0.1) < 0.01
    assert abs(found.count("train") / 20_000 - 0.8) < 0.01


@pytest.mark.parametrize("wrong", [(None, float("nan"), 0.1), (None, 0.1, float("nan")), (float("nan"), 0.1, 0.1)])
def test_a_share_that_is_no_number_is_refused(wrong: tuple[float | None, float, float]) -> None:
    with pytest.raises(OcrvlError, match="must add up to 1"):
        Shares.of(*wrong)


def test_a_better_seed_gives_every_task_some_rows() -> None:
    rows: dict[int, Mapping[str, int]] = {group_number(str(number)): {"text": 5} for number in range(50)}
    rows |= {group_number(f"t{number}"): {"table": 1} for number in range(4)}

    def lacking_under(seed: int) -> list[tuple[str, str]]:
        counts: dict[str, dict[str, int]] = {name: {} for name in SPLITS}
        for group, tasks in rows.items():
            counts[Assignment(SHARES, seed).split_of(group)] |= tasks
        return lacking(counts, SHARES)

    bad = next(seed for seed in range(50) if lacking_under(seed))
    better = better_seed(rows, [], SHARES, bad)
    assert better is not None
    assert lacking_under(better) == []
    assert better_seed(rows, [], SHARES, better) is None


def test_the_command_says_what_it_did(bare_shell: Shell, tmp_path: Path) -> None:
    documents(bare_shell.cwd, 30, drawn=True)
    said = bare_shell("data", "split", "all.jsonl", "--out", "set", "--group-by", "folder", "--json")
    assert said.data["rows"] == 120
    assert sum(part["groups"] for part in said.data["splits"].values()) == 30
    assert json.loads((bare_shell.cwd / "set" / "split.json").read_text())["made_by"] == "ocrvl data split"
    assert said.data["splits"]["train"]["tasks"].keys() == {"text", "table"}
    assert OCR in (bare_shell.cwd / "set" / "train.jsonl").read_text()
