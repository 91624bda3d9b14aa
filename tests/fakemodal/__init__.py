"""A fake Modal control plane: the real client talks to it, without an account or a network.  See README.md."""

from .context import FakeModal, decode_args
from .isolation import why_not

__all__ = ["FakeModal", "decode_args", "why_not"]
