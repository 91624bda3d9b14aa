"""An export that another Python makes; here it is this one, started anew."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from ocrvl_modal.engines.images import pixel_limits
from ocrvl_modal.errors import OcrvlError
from ocrvl_modal.jobs.reader_python import VARIABLE, export_model
from ocrvl_modal.models import FAMILY, PixelLimits

TINY = FAMILY["tiny"]


@pytest.fixture
def tuned(tiny: Path, tmp_path: Path) -> Path:
    """A checkpoint in which every weight is twice the base's."""
    checkpoint = tmp_path / "checkpoint-4"
    checkpoint.mkdir()
    tensors = {name: tensor * 2 for name, tensor in load_file(tiny / "model.safetensors").items()}
    save_file(tensors, checkpoint / "model.safetensors")
    return checkpoint


def test_the_other_python_exports_and_reports(
    tuned: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, sys.executable)
    monkeypatch.chdir(tmp_path)
    limits = PixelLimits(1568, 6272)
    report = export_model(
        checkpoint=Path("checkpoint-4"), base=tiny, method="full", member=TINY, out=Path("export"), pixels=limits
    )
    exported, base = load_file("export/model.safetensors"), load_file(tiny / "model.safetensors")
    assert all(exported[name].equal(base[name] * 2) for name in base)
    assert pixel_limits(Path("export")) == limits
    assert (report.dtype, report.tuned_tensors) == ("float32", len(base))


def test_its_error_is_raised_here_in_its_own_words(
    tuned: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, sys.executable)
    (tuned / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(OcrvlError, match="cannot be read") as caught:
        export_model(checkpoint=tuned, base=tiny, method="full", member=TINY, out=tmp_path / "export")
    assert caught.value.hint
    assert not (tmp_path / "export").exists()


@pytest.mark.parametrize(("python", "reason"), [("/no/such/python", "cannot be run"), ("/bin/false", "exit code 1")])
def test_a_python_that_is_none_is_named(
    tuned: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, python: str, reason: str
) -> None:
    monkeypatch.setenv(VARIABLE, python)
    with pytest.raises(OcrvlError, match=reason) as caught:
        export_model(checkpoint=tuned, base=tiny, method="full", member=TINY, out=tmp_path / "export")
    assert python in caught.value.message
