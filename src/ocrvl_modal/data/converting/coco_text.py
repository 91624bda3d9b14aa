"""COCO-Text, and other COCO files whose annotations have a text.

Format: COCO-Text 1.0 and 2.0 (``imgs``, ``anns``), and COCO's own (``images``, ``annotations``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from ocrvl_modal.data.converting.items import (
    LARGEST,
    Dropped,
    Items,
    Page,
    Picture,
    Region,
    Unusable,
    rectangle,
    regions_of,
    to_points,
)
from ocrvl_modal.data.converting.reading import ambiguous, find_image
from ocrvl_modal.errors import data_error

_TEXT_KEYS = ("utf8_string", "text", "transcription", "rec")
_UNREADABLE = ("illegible",)


class _Image(msgspec.Struct):
    file_name: str
    id: int | str = 0
    width: float = 0
    height: float = 0


def read(path: Path, roots: Sequence[Path]) -> Items:
    """Yield a page for each image of a COCO file that has words; images are looked for below ``roots`` and beside it.

    The file is one JSON document, and is read as a whole.
    """
    images, words = _load(path)
    yield from _without_image(images.keys(), words)
    below = [entry for entry in sorted(path.parent.iterdir()) if entry.is_dir()]
    for key, image in images.items():
        origin = f"image {key}"
        try:
            if not words.get(key):
                raise Unusable("no_region", "it has no word")
            named = ((f"{origin}, word {word.get('id')}", word) for word in words[key])
            regions, broken = regions_of(named, _region)
            size = image.width, image.height
            frame = size if min(size) > 0 and max(size) <= LARGEST else None
            picture = Picture(image.file_name, _find(image.file_name, [*roots, path.parent], below))
            yield Page(origin, picture, regions=regions, broken=broken, frame=frame)
        except Unusable as unusable:
            yield unusable.at(origin)


def _find(name: str, folders: Sequence[Path], below: Sequence[Path]) -> Path:
    """Return an image from the first of ``folders`` that has it, or else from the only one ``below`` that does."""
    with suppress(Unusable):
        return find_image(name, folders)
    found = []
    for folder in below:
        with suppress(Unusable):
            found.append(find_image(name, [folder]))
    if len(found) > 1:
        raise ambiguous(name, found)
    return found[0] if found else find_image(name, [*folders, *below])


def _without_image(images: Collection[str], words: Mapping[str, list[dict[str, Any]]]) -> Iterator[Dropped]:
    """Yield the words of images that the file does not list."""
    for key in words.keys() - images:
        for word in words[key]:
            yield Dropped(f"word {word.get('id')}", "image_missing", f"the file lists no image {key[:60]}")


def is_coco(path: Path) -> bool:
    """Say whether a file begins as a COCO file does; only its first bytes are read."""
    try:
        with path.open("rb") as stream:
            head = stream.read(1 << 16)
    except OSError:
        return False
    keys = (b'"imgs"', b'"anns"', b'"imgToAnns"', b'"annotations"', b'"images"', b'"cats"', b'"info"')
    return head.lstrip().startswith(b"{") and any(key in head for key in keys) and b'"messages"' not in head


def _load(path: Path) -> tuple[dict[str, _Image], dict[str, list[dict[str, Any]]]]:
    """Return the images and the words of each, both by the image's id."""
    try:
        whole = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
        found = whole.get("imgs", whole.get("images", []))
        anns = whole.get("anns", whole.get("annotations", []))
        images = msgspec.convert(list(found.values()) if isinstance(found, dict) else found, list[_Image])
        listed = msgspec.convert(list(anns.values()) if isinstance(anns, dict) else anns, list[dict[str, Any]])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise data_error(f"{path} is no COCO file: {error}", "name another format with --from") from error
    words: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for word in listed:
        words[str(word.get("image_id"))].append(word)
    by_id = {str(image.id): image for image in images}
    if len(by_id) < len(images):
        message = f"{path} has {len(images):,} images, and only {len(by_id):,} ids"
        raise data_error(message, "give each image an id of its own")
    return by_id, words


def _region(word: dict[str, Any]) -> Region:
    text = next((word[key] for key in _TEXT_KEYS if isinstance(word.get(key), str)), "")
    ignored = word.get("legibility") in _UNREADABLE or not text.strip() or text.strip() == "###"
    return Region(_points(word), text, ignored)


def _points(word: dict[str, Any]) -> tuple[tuple[float, float], ...]:
    """Return a word's corners: of its polygon, under any of the names in use, or of its box."""
    for key in ("polygon", "mask", "segmentation"):
        corners = word.get(key)
        if isinstance(corners, list) and len(corners) == 1 and isinstance(corners[0], list):
            (corners,) = corners
        if isinstance(corners, list) and len(corners) >= 8:
            return to_points(_numbers(corners))
    box = _numbers(word.get("bbox"))
    if len(box) != 4:
        raise Unusable("bad_points", "a word has neither a polygon nor a box")
    return rectangle(*box)


def _numbers(values: Any) -> list[float]:
    if not isinstance(values, list) or not all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in values
    ):
        raise Unusable("bad_points", "a word's corners are no numbers")
    return [float(value) for value in values]
