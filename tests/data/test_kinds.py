from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.data.datasets import DEMANDS, write_rows
from tests.data.kinds_table import CASES, Case

from ocrvl_modal.data.checking.kinds import KINDS
from ocrvl_modal.data.checking.report import DatasetReport
from ocrvl_modal.data.checking.whole import How, check_dataset

# Found by comparing with a model's own files, which tests/engine/test_prompt_identity.py does.
BY_THE_MODEL = {"prompt_identity"}


def checked(case: Case, content: Any, folder: Path) -> DatasetReport:
    if case.images:
        case.images(folder)
    path = folder / "train.jsonl"
    path.write_bytes(content) if isinstance(content, bytes) else write_rows(path, *content)
    against = [write_rows(folder / "test.jsonl", *case.against)] if case.against else []
    return check_dataset(path, replace(DEMANDS, **case.demands), How(**case.how), against)


def test_the_table_has_every_kind_and_no_other() -> None:
    assert set(CASES) == set(KINDS) - BY_THE_MODEL


@pytest.mark.parametrize("kind", CASES)
def test_a_kind_is_found_where_it_is(kind: str, tmp_path: Path) -> None:
    report = checked(CASES[kind], CASES[kind].bad, tmp_path)
    assert kind in report.counts
    assert (KINDS[kind].severity == "error") <= (not report.is_valid)
    group = report.group(kind)
    assert group
    assert group.examples[0].message
    assert group.hint


@pytest.mark.parametrize("kind", CASES)
def test_a_kind_is_not_found_where_it_is_not(kind: str, tmp_path: Path) -> None:
    assert kind not in checked(CASES[kind], CASES[kind].good, tmp_path).counts


def test_a_report_survives_its_way_as_json(tmp_path: Path) -> None:
    report = checked(CASES["mixed_labels"], CASES["mixed_labels"].bad, tmp_path)
    assert DatasetReport.from_dict(report.to_dict()) == report
