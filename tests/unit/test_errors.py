from __future__ import annotations

import pickle

import pytest

from ocrvl_modal.errors import ExitCode, OcrvlError, data_error, did_you_mean, not_found, usage_error


@pytest.mark.parametrize("code", ExitCode)
def test_an_error_survives_pickling_whole(code: ExitCode) -> None:
    error = pickle.loads(pickle.dumps(OcrvlError("no disk", "buy one", code)))
    assert (error.message, error.hint, error.code) == ("no disk", "buy one", code)
    assert str(error) == "no disk"


@pytest.mark.parametrize("code", ExitCode)
def test_an_error_survives_its_json_form(code: ExitCode) -> None:
    error = OcrvlError.from_dict(OcrvlError("no disk", "buy one", code).to_dict())
    assert (error.message, error.hint, error.code) == ("no disk", "buy one", code)


def test_the_json_form_names_the_code_by_its_word() -> None:
    assert not_found("gone").to_dict() == {"code": "not_found", "message": "gone", "hint": ""}


@pytest.mark.parametrize("data", [{}, {"code": "from_a_later_version"}, {"code": None}])
def test_an_unknown_code_word_becomes_failed(data: dict[str, object]) -> None:
    assert OcrvlError.from_dict(data).code is ExitCode.FAILED


def test_exit_codes_are_those_that_scripts_rely_on() -> None:
    assert {code.slug: int(code) for code in ExitCode} == {
        "ok": 0,
        "failed": 1,
        "usage": 2,
        "data_invalid": 3,
        "not_permitted": 4,
        "not_found": 5,
        "cancelled": 6,
        "interrupted": 130,
    }


def test_each_kind_of_error_has_its_code() -> None:
    assert [make("x").code for make in (usage_error, data_error, not_found)] == [2, 3, 5]


def test_the_nearest_name_is_found_whatever_its_case() -> None:
    assert did_you_mean("A100-80gb", ["L40S", "A100-80GB"]) == "did you mean 'A100-80GB'?"


def test_all_names_are_told_when_none_is_near() -> None:
    assert did_you_mean("zzz", ["local", "modal"]) == "known: local, modal"
