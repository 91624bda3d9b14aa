from __future__ import annotations

from pathlib import Path

import pytest

from ocrvl_modal.errors import ExitCode, OcrvlError
from ocrvl_modal.settings import choose_backend, home, load_settings, settings_file


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCRVL_HOME", str(tmp_path / "home"))


@pytest.fixture
def token(tmp_path: Path) -> dict[str, str]:
    return {"MODAL_TOKEN_ID": "ak-x", "MODAL_TOKEN_SECRET": "as-x", "MODAL_CONFIG_PATH": str(tmp_path / "none")}


@pytest.fixture
def no_token(tmp_path: Path) -> dict[str, str]:
    return {"MODAL_CONFIG_PATH": str(tmp_path / "none")}


def write_settings(text: str) -> None:
    settings_file().parent.mkdir(parents=True, exist_ok=True)
    settings_file().write_text(text, encoding="utf-8")


def test_the_flag_goes_before_all_else(token: dict[str, str]) -> None:
    write_settings("backend: modal")
    choice = choose_backend("local", {**token, "OCRVL_BACKEND": "modal"})
    assert (choice.name, choice.because) == ("local", "--backend")


def test_the_environment_goes_before_the_settings_file(token: dict[str, str]) -> None:
    write_settings("backend: modal")
    choice = choose_backend(None, {**token, "OCRVL_BACKEND": "local"})
    assert (choice.name, choice.because) == ("local", "OCRVL_BACKEND")


def test_the_settings_file_goes_before_a_modal_token(token: dict[str, str]) -> None:
    write_settings("backend: local")
    choice = choose_backend(None, token)
    assert (choice.name, choice.because) == ("local", str(settings_file()))


def test_a_modal_token_in_the_environment_chooses_modal(token: dict[str, str]) -> None:
    assert choose_backend(None, token).name == "modal"


def test_half_a_token_is_no_token(no_token: dict[str, str]) -> None:
    assert choose_backend(None, {**no_token, "MODAL_TOKEN_ID": "ak-x"}).name == "local"


def test_a_modal_token_in_its_file_chooses_modal(tmp_path: Path) -> None:
    config = tmp_path / "modal.toml"
    config.write_text('[default]\ntoken_id = "ak-x"\ntoken_secret = "as-x"\n', encoding="utf-8")
    assert choose_backend(None, {"MODAL_CONFIG_PATH": str(config)}).name == "modal"


def test_without_any_word_on_it_a_run_stays_here_and_says_why(no_token: dict[str, str]) -> None:
    choice = choose_backend(None, no_token)
    assert (choice.name, choice.because) == ("local", "no Modal token is configured")


@pytest.mark.parametrize("origin", ["--backend", "OCRVL_BACKEND", "settings.yaml"])
def test_an_unknown_backend_is_refused_and_its_origin_named(origin: str, no_token: dict[str, str]) -> None:
    environment = dict(no_token)
    if origin == "OCRVL_BACKEND":
        environment["OCRVL_BACKEND"] = "model"
    if origin == "settings.yaml":
        write_settings("backend: model")
    with pytest.raises(OcrvlError) as caught:
        choose_backend("model" if origin == "--backend" else None, environment)
    assert caught.value.code is ExitCode.USAGE
    assert origin in caught.value.message
    assert caught.value.hint == "did you mean 'modal'?"


def test_no_settings_file_means_no_settings() -> None:
    assert load_settings() == {}


def test_an_empty_settings_file_means_no_settings() -> None:
    write_settings("# nothing yet\n")
    assert load_settings() == {}


@pytest.mark.parametrize("text", ["backend: [", "just words", "- a\n- b", "backend: 2024-99-99", "\0"])
def test_a_settings_file_that_is_no_mapping_is_refused(text: str) -> None:
    write_settings(text)
    with pytest.raises(OcrvlError) as caught:
        load_settings()
    assert caught.value.code is ExitCode.USAGE
    assert str(settings_file()) in caught.value.hint


def test_a_settings_file_that_is_not_text_is_refused() -> None:
    write_settings("")
    settings_file().write_bytes(b"backend: \xff\xfe")
    with pytest.raises(OcrvlError, match="is not YAML"):
        load_settings()


def test_an_unknown_settings_key_is_refused_with_the_nearest() -> None:
    write_settings("backends: local")
    with pytest.raises(OcrvlError) as caught:
        load_settings()
    assert caught.value.hint == "did you mean 'backend'?"


def test_home_is_where_the_environment_says(tmp_path: Path) -> None:
    assert home() == tmp_path / "home"


def test_a_relative_home_does_not_move_with_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCRVL_HOME", "here")
    monkeypatch.chdir(tmp_path)
    assert home() == tmp_path / "here"
