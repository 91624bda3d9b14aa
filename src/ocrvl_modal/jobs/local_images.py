"""Images that lie loose in a store behind a network, copied to the local disk side by side: each costs a round trip."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ocrvl_modal import files
from ocrvl_modal.data.rows import read_samples
from ocrvl_modal.data.shards.renaming import renamed_rows
from ocrvl_modal.errors import OcrvlError

_AT_ONCE = 16


def copy_images(rows: Path, root: Path, on_progress: Callable[[str, int, int], None] | None) -> Path:
    """Return a copy of a dataset file in a folder below ``root``, whose rows name copies of their images there.

    Raises what reading the rows raises, and an error where the disk has too little room.
    """
    images = list(dict.fromkeys(sample.image for sample in read_samples(rows)))
    folder = root / f"loose-{hashlib.sha256(str(rows).encode()).hexdigest()[:32]}"
    names = {str(image): f"images/{number}{image.suffix}" for number, image in enumerate(images)}
    with files.new_folder(folder) as beside:
        (beside / "images").mkdir()

        def copy(image: Path) -> int:
            return Path(shutil.copyfile(image, beside / names[str(image)])).stat().st_size

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            _require_room(beside, sum(pool.map(lambda image: image.stat().st_size, images)))
            for done, _ in enumerate(pool.map(copy, images), start=1):
                if on_progress:
                    on_progress("copying images to the local disk", done, len(images))
        with (beside / rows.name).open("wb") as stream:
            stream.writelines(renamed_rows(rows, names.__getitem__))
    return folder / rows.name


def _require_room(folder: Path, needed: int) -> None:
    free = files.free_bytes(folder)
    if free < needed:
        raise OcrvlError(
            f"the disk has too little room for the images: {needed / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB free",
            "take a smaller dataset, or push it: ocrvl data push",
        )
