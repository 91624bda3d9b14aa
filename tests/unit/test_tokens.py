from __future__ import annotations

from pathlib import Path

import pytest

from ocrvl_modal.engines.tokens import batch_counter
from ocrvl_modal.errors import ExitCode, OcrvlError


def test_a_tokenizer_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    assert batch_counter(tmp_path) is None
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(OcrvlError, match=r"tokenizer\.json is no tokenizer") as caught:
        batch_counter(tmp_path)
    assert caught.value.code == ExitCode.DATA_INVALID
