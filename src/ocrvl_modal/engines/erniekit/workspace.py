"""Putting a run's model and dataset where ERNIEKit expects them, in its source tree, without touching a store."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
from pathlib import Path

from ocrvl_modal import files
from ocrvl_modal.data.rows import read_samples, to_row
from ocrvl_modal.engines.base import EngineJob
from ocrvl_modal.engines.erniekit.keys import OFFICIAL_CONFIG
from ocrvl_modal.engines.images import PREPROCESSOR_FILE, write_pixel_limits
from ocrvl_modal.errors import OcrvlError, usage_error
from ocrvl_modal.runs.layout import checkpoint_step

HOME_VARIABLE = "OCRVL_ERNIE_HOME"
"""Names another folder than ``/paddle/ERNIE`` that holds ERNIE's source tree."""

_DEFAULT_HOME = "/paddle/ERNIE"
_DEFAULT_MODEL = "PaddlePaddle/PaddleOCR-VL"
_IN_THE_IMAGE = "--backend modal builds it; for one of your own: " + HOME_VARIABLE + "=FOLDER"


def ernie_home() -> Path:
    """Return the folder of ERNIE's source tree."""
    return Path(os.environ.get(HOME_VARIABLE) or _DEFAULT_HOME)


def require_installation(home: Path) -> None:
    """Raise where ERNIEKit cannot be started: its command or its source tree is missing."""
    if not (home / OFFICIAL_CONFIG).is_file():
        raise OcrvlError(f"there is no ERNIE source tree in {home}: {OFFICIAL_CONFIG} is missing", _IN_THE_IMAGE)
    if shutil.which("erniekit") is None:
        raise OcrvlError("there is no command erniekit: ERNIEKit is not installed here", _IN_THE_IMAGE)
    if not os.access(home, os.W_OK):
        raise OcrvlError(f"{home} cannot be written to, and ERNIEKit writes where it runs", f"chmod u+w {home}")


def place_model(job: EngineJob, home: Path) -> str:
    """Make the model appear in the tree, and return its name there.

    ERNIEKit gets a folder of links: it may write into the folder without writing into the store, and reads the pixel
    limits of the recipe, which it takes from the model's own file.
    """
    folder = job.scratch / "model"
    folder.mkdir(parents=True)
    for path in job.model.resolve().iterdir():
        if path.name != PREPROCESSOR_FILE and not path.name.startswith("."):
            (folder / path.name).symlink_to(path)
    shutil.copyfile(job.model / PREPROCESSOR_FILE, folder / PREPROCESSOR_FILE)
    write_pixel_limits(folder, job.member.pixels.within(job.recipe.pixels.minimum, job.recipe.pixels.maximum))
    name = _name_of(job)
    _link(home / name, folder)
    return name


def place_dataset(job: EngineJob, home: Path) -> str:
    """Write the samples in ERNIEKit's form, make the file appear in the tree, and return its name there.

    Images are named by absolute paths: ERNIEKit would look for others beside the link. The name tells the content, so
    that no run ever reads another's.
    """
    rows = [to_row(sample, "erniekit", job.scratch) for sample in read_samples(job.train)]
    text = "\n".join(rows) + "\n"
    name = f"{run_name(job)}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.jsonl"
    path = job.scratch / name
    files.write_text(path, text)
    _remove_stale_links(home)
    _link(home / name, path)
    return f"./{name}"


def remove_links(job: EngineJob, home: Path) -> None:
    """Remove from the tree what leads into this run's scratch folder, which is about to go."""
    for link in (home / _name_of(job), *home.glob(f"{run_name(job)}-*.jsonl")):
        if link.is_symlink() and link.readlink().is_relative_to(job.scratch.absolute()):
            link.unlink(missing_ok=True)


def clear_output(checkpoints: Path) -> None:
    """Leave only checkpoints in the output folder.

    ERNIEKit refuses a folder with files and no checkpoint, which is what a run leaves that was killed while it wrote
    its final model.
    """
    for entry in checkpoints.iterdir():
        if checkpoint_step(entry) is None:
            shutil.rmtree(entry, ignore_errors=True) if entry.is_dir() else entry.unlink(missing_ok=True)


def run_name(job: EngineJob) -> str:
    """Return the name of the run that a job is an attempt at."""
    return job.checkpoints.parent.name


def _name_of(job: EngineJob) -> str:
    """Return the documented name for the family's own model, and one of its own for any other."""
    if job.recipe.model.name == job.member.name:
        return _DEFAULT_MODEL
    path = str(job.model.resolve())
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", job.model.name)
    return f"PaddlePaddle/{safe}-{hashlib.sha256(path.encode()).hexdigest()[:8]}"


def _link(link: Path, target: Path) -> None:
    """Make ``link`` lead to ``target`` in one step; a link that is there is replaced, anything else is not."""
    if link.exists() and not link.is_symlink():
        raise usage_error(f"{link} is there, and is not a link that ocrvl made", f"mv {link} {link}.old")
    link.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=".ocrvl.", dir=link.parent))
    try:
        (beside / link.name).symlink_to(target.absolute())
        (beside / link.name).replace(link)
    finally:
        beside.rmdir()


def _remove_stale_links(home: Path) -> None:
    """Remove links to datasets of runs that died before they could remove them."""
    for link in home.glob("*.jsonl"):
        if link.is_symlink() and not link.exists():
            with contextlib.suppress(OSError):
                link.unlink()
