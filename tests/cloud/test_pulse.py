"""What is known of a call where Modal stops to answer in the middle of asking."""

from __future__ import annotations

import modal
import pytest
from modal import exception

from ocrvl_modal.backends.modal_calls import feel_pulse
from ocrvl_modal.errors import Unreachable


class Ended:
    """A call whose result is an error, and a server that answers ``then`` when it is asked for more."""

    def __init__(self, then: Exception) -> None:
        self._then = then

    def get(self, timeout: float) -> None:
        raise exception.RemoteError("the input was terminated")

    def get_call_graph(self) -> None:
        raise self._then


@pytest.mark.parametrize(
    "error", [ConnectionRefusedError(111, "Connect call failed"), exception.ConnectionError("no route")], ids=str
)
def test_of_a_call_whose_server_went_away_nothing_is_said(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modal.FunctionCall, "from_id", lambda _: Ended(error))
    with pytest.raises(Unreachable, match="Modal does not answer"):
        feel_pulse("fc-1", "ap-1")


def test_a_call_that_ended_is_told_though_its_graph_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modal.FunctionCall, "from_id", lambda _: Ended(exception.NotFoundError("no graph")))
    pulse = feel_pulse("fc-1", "ap-1")
    assert (pulse.alive, "terminated" in pulse.reason) == (False, True)
