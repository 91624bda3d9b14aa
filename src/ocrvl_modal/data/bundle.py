"""A dataset as it travels: one folder with the rows and the images that they name, wherever those lie here."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ocrvl_modal import files
from ocrvl_modal.data.checks import dataset_digest
from ocrvl_modal.data.rows import read_samples, to_row

_DIGEST_LETTERS = 16


@dataclass(frozen=True)
class Bundle:
    """A folder that holds a dataset whole.

    ``name`` tells its content: the same samples give the same name on every machine. ``digest`` is the
    :func:`~ocrvl_modal.data.checks.dataset_digest` of ``dataset``, the rows' file in the folder.
    """

    name: str
    folder: Path
    dataset: Path
    digest: str


@contextmanager
def bundle(dataset: Path) -> Iterator[Bundle]:
    """Yield the bundle of a dataset file; its folder goes with the block.

    Images keep their bytes and get their digest for a name, so that absolute paths and paths that climb out of the
    folder travel too, and an image that many rows name travels once. Rows get the ``messages`` form. Raises what
    :func:`~ocrvl_modal.data.rows.read_samples` raises.
    """
    samples = read_samples(dataset)
    with tempfile.TemporaryDirectory(prefix="ocrvl-bundle-") as made:
        folder = Path(made)
        (folder / "images").mkdir()
        names: dict[Path, str] = {}
        for image in dict.fromkeys(sample.image for sample in samples):
            names[image] = f"images/{files.sha256_of(image)[:_DIGEST_LETTERS]}{image.suffix.lower()}"
            link = folder / names[image]
            if not link.is_symlink():
                link.symlink_to(image.resolve())
        rows = folder / dataset.name
        with rows.open("w", encoding="utf-8") as stream:
            for sample in samples:
                stream.write(to_row(replace(sample, image=folder / names[sample.image]), "messages", folder) + "\n")
        content = files.sha256_of(rows)[:_DIGEST_LETTERS]
        yield Bundle(f"{_plain(dataset)}-{content}", folder, rows, dataset_digest(rows))


def _plain(dataset: Path) -> str:
    """Return a short name for people: that of the folder where the file's own says nothing."""
    path = dataset.absolute()
    name = path.parent.name if path.stem in {"train", "validation", "test", "data"} and path.parent.name else path.stem
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:40] or "dataset"
