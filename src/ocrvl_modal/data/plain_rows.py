"""Rows of the plainest shape in either form, as types that decode in C: one image, one question, one answer.

A line that decodes as one of these is a row that :func:`~ocrvl_modal.data.forms.parse_row` reads, but for what it asks
of the texts and the image's name; any other line is to be read by that.
"""

from __future__ import annotations

from typing import Literal

import msgspec

NOT_DECODED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What a decoder of these raises."""


class _Asks(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    role: Literal["user"]
    content: str


class _Answers(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    role: Literal["assistant"]
    content: str


class MessagesRow(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """A row as PaddleFormers reads it."""

    messages: tuple[_Asks, _Answers]
    images: tuple[str]


class _Masked(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    text: str
    tag: Literal["mask"]


class _Unmasked(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    text: str
    tag: Literal["no_mask"]


class _Image(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    image_url: str
    matched_text_index: Literal[0] = 0


class ErniekitRow(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """A row as ERNIEKit reads it."""

    image_info: tuple[_Image]
    text_info: tuple[_Masked, _Unmasked]
    is_system: Literal[0] = 0
