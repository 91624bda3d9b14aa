"""Installed packages against pins and against each other; the packages are folders that Python takes for installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ocrvl_modal.doctor import packages
from ocrvl_modal.doctor.packages import judge_image, unmet_requirements

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Installs packages of any name: ``install("sample", "1.0", "other>=2")``."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def put(name: str, version: str, *requires: str) -> None:
        folder = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        (folder / "METADATA").write_text("\n".join([*lines, *(f"Requires-Dist: {each}" for each in requires)]) + "\n")

    return put


def test_an_image_as_it_is_pinned_passes(install: Install) -> None:
    install("sample-framework", "3.3.1+cu126", "sample-numbers<2", 'sample-toys; extra == "fun"')
    install("sample-numbers", "1.26.4")
    finding = judge_image("light", {"sample_framework": "3.3.1", "sample-numbers": "1.26.4"})
    assert finding.verdict == "pass", finding.reason
    assert finding.evidence["pinned"] == {"sample_framework": "3.3.1+cu126", "sample-numbers": "1.26.4"}


def test_another_version_than_the_pinned_one_fails_with_both(install: Install) -> None:
    install("sample-numbers", "2.5.5")
    finding = judge_image("light", {"sample-numbers": "1.26.4", "sample-lost": "1.0"})
    assert finding.verdict == "fail"
    assert "sample-numbers is 2.5.5, and 1.26.4 is pinned" in finding.reason
    assert "sample-lost is missing, and 1.0 is pinned" in finding.reason
    assert finding.hint == "ocrvl image build light --force"


def test_a_requirement_far_down_that_is_not_met_is_named(install: Install) -> None:
    install("sample-top", "1.0", "sample-middle")
    install("sample-middle", "1.0", "sample-bottom>=2", "sample-lost")
    install("sample-bottom", "1.5")
    told = {str(each) for each in unmet_requirements({"sample-top": ()})}
    assert told == {
        "sample-middle asks for sample-bottom>=2, and sample-bottom is 1.5",
        "sample-middle asks for sample-lost, which is missing",
    }
    assert judge_image("light", {"sample-top": "1.0"}).verdict == "fail"


def test_what_a_pin_overrules_is_told_and_no_failure(install: Install) -> None:
    install("sample-top", "1.0", "sample-numbers>=2")
    install("sample-numbers", "1.26.4")
    finding = judge_image("light", {"sample-top": "1.0", "sample-numbers": "1.26.4"})
    assert finding.verdict == "pass"
    assert finding.evidence["overruled_by_pins"] == [
        "sample-top asks for sample-numbers>=2, and sample-numbers is 1.26.4"
    ]


def test_cuda_may_come_with_the_base_image(install: Install) -> None:
    install("sample-framework", "3.2.0", "nvidia-sample-cu12==12.6")
    assert judge_image("light", {"sample-framework": "3.2.0"}).verdict == "pass"


def test_requirements_in_a_circle_come_to_an_end(install: Install) -> None:
    install("sample-one", "1.0", "sample-two[fast]")
    install("sample-two", "1.0", "sample-one", 'sample-speed; extra == "fast"')
    assert [each.name for each in unmet_requirements({"sample-one": ()})] == ["sample-speed"]


def test_what_lies_beside_is_nobodys_affair(install: Install) -> None:
    install("sample-neighbour", "1.0", "sample-lost")
    install("sample-top", "1.0")
    assert list(unmet_requirements({"sample-top": ()})) == []


def test_extras_that_are_whole_are_told_and_the_others_with_their_purpose() -> None:
    finding = packages.packages()
    assert finding.verdict == "pass", finding.reason
    installed, missing = finding.evidence["extras_installed"], finding.evidence["extras_missing"]
    assert set(installed) | set(missing) >= packages.known_extras() & packages.PURPOSES.keys()
    assert not set(installed) & set(missing)
    assert all(lines for lines in missing.values())


def test_what_is_installed_here_agrees_with_itself() -> None:
    here = packages.whole_extras()
    assert list(unmet_requirements({packages.OURS: here})) == []
