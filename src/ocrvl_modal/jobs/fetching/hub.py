"""A hub of models and datasets: what a repository holds, its files one by one, and its refusals in words."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Literal

from ocrvl_modal import files
from ocrvl_modal.errors import ExitCode, OcrvlError, first_line, not_found, of_the_system
from ocrvl_modal.transfer import OnBytes, Source, fetch_file

TOKEN = "HF_TOKEN"
"""The variable in which the hub's token is looked for, and the key that a secret must have."""

LARGE_BYTES = 32 << 20
"""A file over this is fetched in pieces, so that a broken line does not cost all of it."""

_ANSWER_TIMEOUT_S = 20.0
_REPOSITORY = re.compile(r"\w(?:[\w.-]*\w)?/\w(?:[\w.-]*\w)?", re.ASCII)
_LONGEST_NAME = 96


@dataclass(frozen=True)
class Repository:
    """What to fetch: a repository at a revision, but for files that match ``not_wanted``.

    ``command`` is what the user runs to fetch it, and so to go on after a broken line.
    """

    kind: Literal["model", "dataset"]
    name: str
    revision: str
    command: str
    not_wanted: tuple[str, ...] = ()

    @property
    def again(self) -> str:
        """How to go on after a broken line."""
        return f"run `{self.command}` again: what is here does not travel again"


@dataclass(frozen=True)
class RemoteFile:
    """A file as the hub tells of it.

    The hub keeps large files apart and knows their SHA-256; of the others it knows git's own digest.
    """

    name: str
    size_bytes: int
    sha256: str | None = None
    git_sha1: str | None = None

    def digest_if_sound(self, path: Path) -> str | None:
        """Return the SHA-256 of the file at ``path``, or ``None`` where it is not this file, whole and unchanged."""
        if not path.is_file() or path.stat().st_size != self.size_bytes:
            return None
        if self.sha256 is None and self.git_sha1 is not None and _git_sha1(path) != self.git_sha1:
            return None
        found = files.sha256_of(path)
        return found if self.sha256 in (None, found) else None


@dataclass(frozen=True)
class Listing:
    """The commit that a revision stands for at this moment, and its wanted files by name."""

    commit: str
    files: Mapping[str, RemoteFile]

    @property
    def size_bytes(self) -> int:
        """The bytes of all wanted files."""
        return sum(file.size_bytes for file in self.files.values())


def is_repository(name: str) -> bool:
    """Say whether ``name`` has the form that the hub gives its repositories, ``owner/name``."""
    odd = len(name) > _LONGEST_NAME or ".." in name or "--" in name
    return bool(_REPOSITORY.fullmatch(name)) and not odd


def list_files(repository: Repository) -> Listing:
    """Ask the hub what a repository holds."""
    from huggingface_hub import HfApi

    hub = HfApi()
    ask = hub.model_info if repository.kind == "model" else hub.dataset_info
    info = ask(repository.name, revision=repository.revision, files_metadata=True, timeout=_ANSWER_TIMEOUT_S)
    found = {}
    for file in info.siblings or ():
        name = _inside(repository, file.rfilename)
        if not any(fnmatchcase(name, pattern) for pattern in repository.not_wanted):
            sha256 = file.lfs.sha256 if file.lfs else None
            found[name] = RemoteFile(name, file.size or 0, sha256, None if sha256 else file.blob_id)
    return Listing(info.sha or repository.revision, found)


def _inside(repository: Repository, name: str) -> str:
    """Return a file's name, which must not lead out of the folder that it is fetched into."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise OcrvlError(f"{repository.name} names a file outside of itself: {name}", "do not use this repository")
    return name


def download_file(repository: Repository, commit: str, file: RemoteFile, folder: Path, on_bytes: OnBytes) -> str | None:
    """Fetch one file of a repository to its path below ``folder``; a large one goes on where it was cut off.

    Returns its SHA-256 where the whole file was held against the hub's on its way here.
    """
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    if file.size_bytes <= LARGE_BYTES:
        from huggingface_hub import hf_hub_download

        hf_hub_download(repository.name, file.name, repo_type=repository.kind, revision=commit, local_dir=folder)
        on_bytes(file.size_bytes, file.size_bytes)
        return None
    from huggingface_hub import get_token, hf_hub_url

    url = hf_hub_url(repository.name, file.name, repo_type=repository.kind, revision=commit)
    token = get_token()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    source = Source(url, file.size_bytes, file.sha256, headers, repository.command)
    path = folder / file.name
    path.parent.mkdir(parents=True, exist_ok=True)
    fetched = fetch_file(source, path, on_bytes=on_bytes)
    return fetched.sha256 if file.sha256 else None


@contextmanager
def told_in_words(repository: Repository) -> Iterator[None]:
    """Turn what the hub's library raises into an error that says what mends it."""
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        yield
    except OcrvlError:
        raise
    except RevisionNotFoundError as error:
        raise not_found(f"{repository.name} has no revision '{repository.revision}'", "--revision main") from error
    except Exception as error:
        status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
        if status in (401, 403):
            raise _refused(repository, status) from error
        message = f"{repository.name} could not be downloaded: {first_line(error)}"
        if isinstance(error, RepositoryNotFoundError):
            raise not_found(message, "look whether the repository is still there under that name") from error
        if isinstance(error, OSError) and error.errno:
            raise of_the_system(error, repository.again) from error
        raise OcrvlError(message, f"check the network, then {repository.again}") from error


def _refused(repository: Repository, status: int) -> OcrvlError:
    """Return the error of a repository that is not open to everybody; the hub tells a missing one so, too."""
    from huggingface_hub import get_token

    name, command = repository.name, repository.command
    if not get_token():
        message = f"the hub shows {name} to nobody without a token ({status}): it is private or gated, or not there"
        hint = f"export {TOKEN}=…, then `{command} --use-local-token`; or a Modal secret: `{command} --secret NAME`"
    elif status == 401:
        message = f"the hub does not know the token that asked for {name} ({status})"
        hint = f"make a new one at https://huggingface.co/settings/tokens, put it into {TOKEN}, then `{command}`"
    else:
        message = f"the token in {TOKEN} may not read {name} ({status})"
        hint = f"ask for access at https://huggingface.co/{name}, or use another token, then `{command}`"
    return OcrvlError(message, hint, ExitCode.NOT_PERMITTED)


def _git_sha1(path: Path) -> str:
    """Return git's digest of a file: SHA-1 over ``blob <size>``, a zero byte and the content."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
