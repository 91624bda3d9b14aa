"""What the doctor found, as it is printed."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from ocrvl_modal.doctor.findings import Finding, Result, failed, passed, skipped
from ocrvl_modal.report.doctor_table import doctor_report


def result(place: str, check: str, finding: Finding, *lines: str) -> Result:
    return Result.of(place, check, finding, 1.5, lines)


def printed(*results: Result) -> str:
    stream = StringIO()
    console = Console(file=stream, width=100, markup=False)
    for item in doctor_report(results, 12.3):
        console.print(item)
    return stream.getvalue()


def test_what_is_broken_comes_last_with_what_mends_it_and_what_it_printed() -> None:
    text = printed(
        result("light", "deps", failed("numpy is missing", "ocrvl image build light --force"), "ImportError: numpy"),
        result("light", "python", passed("Python 3.12.15")),
        result("light", "model-files", skipped("there is no model")),
    )
    order = ["Python 3.12.15", "there is no model", "numpy is missing", "ocrvl image build light", "  ImportError"]
    places = [text.index(word) for word in order]
    assert places == sorted(places)
    assert text.rstrip().splitlines()[-1] == "1 passed, 1 skipped, 1 failed, in 12 s"


def test_skipped_checks_that_say_the_same_share_a_row() -> None:
    same = skipped("no GPU in this container", "--gpu L4 rents one")
    text = printed(
        *(result("light", name, same) for name in ("cuda", "bf16")), result("light", "nccl", skipped("other"))
    )
    assert "cuda, bf16" in text
    assert text.count("no GPU in this container") == 1


def test_each_place_has_a_table_and_those_that_are_well_come_first() -> None:
    text = printed(
        result("this machine", "token", failed("no token", "modal setup")),
        result("light", "python", passed("Python 3.12.15")),
    )
    assert text.index("light") < text.index("Python 3.12.15") < text.index("this machine") < text.index("no token")
    assert text.rstrip().endswith("1 passed, 1 failed, in 12 s")


def test_one_place_needs_no_name() -> None:
    assert "this machine" not in printed(result("this machine", "python", passed("Python 3.12.15")))
