from __future__ import annotations

import pytest

from ocrvl_modal.jobs.secrets import Redactor, environment_for_engine, given_variables

SECRETS = {
    "HF_TOKEN": "hf_abcdef",
    "MODAL_TOKEN_SECRET": "as-012345",
    "AWS_ACCESS_KEY_ID": "AKIA0123",
    "WANDB_API_KEY": "wandb0123",
    "db_password": "open sesame",
    "GPG_PASSPHRASE": "correct horse",
    "SMTP_PASS": "battery staple",
    "GOOGLE_CREDENTIALS": "{private}",
}
HARMLESS = {"PATH": "/usr/bin", "HOME": "/home/me", "KEYBOARD": "german", "PASSAGE": "northwest", "MONKEY": "george"}


@pytest.mark.parametrize("name", SECRETS)
def test_an_engine_is_not_given_what_looks_like_a_secret(name: str) -> None:
    given = environment_for_engine({**SECRETS, **HARMLESS}, ())
    assert name not in given
    assert given == HARMLESS


def test_an_engine_is_given_the_secrets_that_the_recipe_names() -> None:
    given = environment_for_engine({**SECRETS, **HARMLESS}, ("HF_TOKEN",))
    assert given == {**HARMLESS, "HF_TOKEN": SECRETS["HF_TOKEN"]}


@pytest.mark.parametrize("named", [(), ("HF_TOKEN",)], ids=["kept from it", "given to it"])
def test_no_secret_stays_in_a_line_whether_the_engine_was_given_it_or_not(named: tuple[str, ...]) -> None:
    redact = Redactor({**SECRETS, **HARMLESS}, named)
    line = redact(f"environment: {SECRETS} {HARMLESS}")
    assert [value for value in SECRETS.values() if value in line] == []
    assert [value for value in HARMLESS.values() if value not in line] == []
    assert line.count("[removed]") == len(SECRETS)


def test_a_secret_that_the_recipe_names_is_removed_whatever_it_is_called() -> None:
    assert Redactor({"LICENCE": "abc-123-def"}, ("LICENCE",))("using abc-123-def") == "using [removed]"


def test_of_a_secret_that_begins_with_another_nothing_is_left() -> None:
    redact = Redactor({"A_TOKEN": "abcdef", "B_TOKEN": "abcdef-ghijkl"}, ())
    assert redact("abcdef-ghijkl abcdef") == "[removed] [removed]"


def test_each_line_of_a_secret_of_several_lines_is_removed() -> None:
    redact = Redactor({"SSH_KEY": "-----BEGIN KEY-----\nMIIEvQIBADAN\n-----END KEY-----\n"}, ())
    assert redact("key: MIIEvQIBADAN") == "key: [removed]"


def test_a_value_that_is_too_short_to_be_a_secret_stays() -> None:
    assert Redactor({"TOKENIZERS_PARALLELISM": "false", "EMPTY_KEY": ""}, ())("it is false") == "it is false"


def test_what_is_special_in_a_pattern_is_not_special_in_a_secret() -> None:
    redact = Redactor({"A_TOKEN": "a.c+(d[e"}, ())
    assert redact("a.c+(d[e abcc(de") == "[removed] abcc(de"


def test_without_secrets_a_line_stays_as_it_is() -> None:
    assert Redactor({}, ())("loss: 0.5") == "loss: 0.5"


def test_where_a_host_has_only_the_users_secrets_they_are_told_from_what_every_container_has() -> None:
    ordinary = {
        "PATH": "/usr/local/bin:/usr/bin",
        "LD_LIBRARY_PATH": "/usr/local/nvidia/lib64",
        "CUDA_VERSION": "12.6.3",
        "NV_CUDNN_VERSION": "9.5.1.17-1",
        "PYTHONPATH": "/root",
        "MODAL_TASK_ID": "ta-0123456789",
    }
    environment = {**ordinary, "LICENCE": "abc-123-def", "REPORT_TO": "me@example.org"}
    named = given_variables(environment)
    assert sorted(named) == ["LICENCE", "REPORT_TO"]
    redact = Redactor(environment, named)
    assert redact("abc-123-def to me@example.org by 12.6.3 in /root") == "[removed] to [removed] by 12.6.3 in /root"
