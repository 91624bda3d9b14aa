"""Which columns of a table hold the image and its text: by their names, where the user does not say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ocrvl_modal.data.converting.items import Markup
from ocrvl_modal.errors import OcrvlError, did_you_mean, usage_error

_IMAGE_NAMES = (
    *("image", "image_path", "image_file", "img", "img_path", "picture", "jpg", "png", "file_name", "filename"),
    *("file", "path", "filepath", "image_url", "url"),
)
_TEXT_NAMES = (
    *("text", "label", "transcription", "transcript", "ground_truth", "gt", "sentence", "caption", "words", "target"),
    *("answer", "markdown", "html", "otsl", "latex", "formula"),
)
_MARKUP_NAMES: dict[str, Markup] = {"html": "html", "markdown": "markdown"}


@dataclass(frozen=True)
class Columns:
    """The names of the columns of image and text; each is guessed where it is ``None``."""

    image: str | None = None
    text: str | None = None

    def among(self, names: Sequence[str], what: str) -> tuple[str, str]:
        """Return the columns of image and text; raise a usage error where one is not there, or cannot be guessed."""
        image = self._one(self.image, "image", _IMAGE_NAMES, names, what)
        return image, self._one(self.text, "text", _TEXT_NAMES, names, what)

    def _one(self, asked: str | None, kind: str, known: Sequence[str], names: Sequence[str], what: str) -> str:
        if asked is not None:
            if asked not in names:
                raise usage_error(f"{what} has no column '{asked}'", did_you_mean(asked, names))
            return asked
        lowered = {name.strip().lower(): name for name in reversed(names)}
        found = next((lowered[name] for name in known if name in lowered), None)
        if found is None:
            raise _not_guessed(kind, names, what)
        return found


def markup_of(column: str) -> Markup:
    """Return how the texts of a column are written, by its name."""
    return _MARKUP_NAMES.get(column.strip().lower(), "plain")


def _not_guessed(kind: str, names: Sequence[str], what: str) -> OcrvlError:
    shown = ", ".join(name[:40] for name in list(names)[:12]) or "none"
    return usage_error(f"no column of {what} is named as one of {kind}s; it has: {shown}", f"--{kind}-column NAME")
