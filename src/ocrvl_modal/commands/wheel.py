"""``ocrvl wheel``: framework wheels, fetched once, verified, and put where images are built from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ocrvl_modal.commands._options import BackendOption, JsonOption, QuietOption

if TYPE_CHECKING:
    from rich.table import Table

    from ocrvl_modal.backends.base import Backend, Stores
    from ocrvl_modal.output import Output
    from ocrvl_modal.pins import FrameworkWheel
    from ocrvl_modal.wheels.folder import LocalWheel
    from ocrvl_modal.wheels.stored import StoredWheel

app = typer.Typer(no_args_is_help=True, help="Fetch, verify and store framework wheels.")

ImageOption = Annotated[
    str, typer.Option(metavar="IMAGE", help="The image whose wheel it is: train-paddleformers or train-erniekit.")
]
VersionOption = Annotated[str | None, typer.Option("--version", help="Another version than the image's.")]
CudaOption = Annotated[str | None, typer.Option("--cuda", metavar="cu126", help="Another CUDA than the image's.")]
PythonOption = Annotated[str | None, typer.Option("--python", metavar="cp312", help="Another Python than the image's.")]
IndexOption = Annotated[
    str | None, typer.Option("--index-url", metavar="URL", help="Another package index than the framework's own.")
]
Sha256Option = Annotated[str | None, typer.Option("--sha256", metavar="DIGEST", help="What its SHA-256 must be.")]
ConnectionsOption = Annotated[int, typer.Option("--connections", help="How many connections to fetch by, 1 to 32.")]
FolderOption = Annotated[Path, typer.Option("--folder", metavar="FOLDER", help="Where wheels of this machine lie.")]

_DEFAULT_IMAGE = "train-paddleformers"
_FOLDER = Path("wheels")


@app.callback()
def wheel() -> None:
    """Fetch, verify and store framework wheels."""


@app.command()
def fetch(
    image: ImageOption = _DEFAULT_IMAGE,
    version: VersionOption = None,
    cuda: CudaOption = None,
    python: PythonOption = None,
    output_dir: Annotated[Path, typer.Option(metavar="FOLDER", help="The folder that it comes into.")] = _FOLDER,
    index_url: IndexOption = None,
    sha256: Sha256Option = None,
    connections: ConnectionsOption = 8,
    force: Annotated[bool, typer.Option("--force", help="Fetch it again although it is there.")] = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Fetch a framework wheel; cut off and started again, only what is missing travels.

    \b
    Example:
      ocrvl wheel fetch --image train-erniekit
    """
    from ocrvl_modal.jobs.progress import in_bytes
    from ocrvl_modal.output import Output
    from ocrvl_modal.report.words import duration, size
    from ocrvl_modal.wheels.fetching import WheelOrder, checked_digest, fetch_wheel
    from ocrvl_modal.wheels.index import checked_index

    out = Output.of("wheel fetch", json=json, quiet=quiet)
    wanted = _wanted(image, version, cuda, python)
    index = checked_index(index_url or wanted.index_url)
    digest = checked_digest(sha256)
    again = _again("fetch", wanted, index, digest, [] if output_dir == _FOLDER else ["--output-dir", str(output_dir)])
    order = WheelOrder(wanted, output_dir, index, again, digest, connections, force)
    with out.progress() as on_progress:
        # Of a size that nobody knows, there is always more to come.
        done = fetch_wheel(order, lambda here, total: on_progress(in_bytes(wanted.file_name), here, total or here + 1))
    how = (
        f"{size(done.received_bytes)} received in {duration(done.seconds)}, verified"
        if done.fetched
        else "was there already, verified"
    )
    entry = done.entry
    out.finish(
        {
            "path": str(done.path),
            "name": entry.name,
            "version": entry.version,
            "cuda": entry.cuda,
            "python": entry.python,
            "size_bytes": entry.size_bytes,
            "sha256": entry.sha256,
            "source": entry.source,
            "fetched": done.fetched,
            "received_bytes": done.received_bytes,
            "resumed": done.resumed,
            "seconds": round(done.seconds, 3),
        },
        human=lambda: [f"{done.path} ({size(entry.size_bytes)}): {how}", f"sha256 {entry.sha256}"],
        hint=f"ocrvl wheel push {done.path}",
    )


@app.command("ls")
def list_wheels(
    folder: FolderOption = _FOLDER,
    backend: BackendOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """List the wheels of this machine and, where a backend is named, those in its store.

    \b
    Example:
      ocrvl wheel ls --backend local
    """
    from ocrvl_modal.backends import open_by_flag
    from ocrvl_modal.backends.wheel_store import list_stored
    from ocrvl_modal.output import Output
    from ocrvl_modal.wheels.folder import list_local

    out = Output.of("wheel ls", json=json, quiet=quiet)
    local = list_local(folder)
    stored = list_stored(open_by_flag(backend).stores) if backend else []
    out.finish(
        {"local": [_row(each) for each in local], "stored": [_stored_row(each) for each in stored]},
        human=lambda: [_table(local, stored) if local or stored else f"there is no wheel in {folder}"],
        hint="" if local or stored else "ocrvl wheel fetch",
    )


@app.command()
def verify(
    files: Annotated[list[Path] | None, typer.Argument(metavar="[FILE]...", help="All of the folder else.")] = None,
    folder: FolderOption = _FOLDER,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Hold wheels against their lock manifest, byte by byte; exit code 1 names those that are not what they were.

    \b
    Example:
      ocrvl wheel verify
    """
    from ocrvl_modal.errors import ExitCode
    from ocrvl_modal.output import Output
    from ocrvl_modal.wheels.folder import list_local, local_wheels
    from ocrvl_modal.wheels.folder import verify as verify_wheel

    out = Output.of("wheel verify", json=json, quiet=quiet)
    wheels = [verify_wheel(each) for each in (local_wheels(files) if files else list_local(folder))]
    bad = [each for each in wheels if each.problem]
    out.finish(
        {"wheels": [_row(each) for each in wheels], "ok": not bad},
        human=lambda: (
            [f"{each.path}: {each.problem or 'as recorded'}" for each in wheels] or [f"there is no wheel in {folder}"]
        ),
        hint=_mending(bad[0]) if bad else "",
        exit_code=ExitCode.FAILED if bad else ExitCode.OK,
    )


@app.command()
def push(
    files: Annotated[list[Path] | None, typer.Argument(metavar="[FILE]...", help="The image's wheel else.")] = None,
    image: ImageOption = _DEFAULT_IMAGE,
    version: VersionOption = None,
    cuda: CudaOption = None,
    python: PythonOption = None,
    remote: Annotated[
        bool, typer.Option("--remote", help="The backend fetches it by itself: it does not cross your line.")
    ] = False,
    index_url: IndexOption = None,
    sha256: Sha256Option = None,
    connections: ConnectionsOption = 8,
    folder: FolderOption = _FOLDER,
    backend: BackendOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Put wheels into the wheels store, from which images are built; what is there already does not travel.

    \b
    Example:
      ocrvl wheel push --remote --backend modal
    """
    from ocrvl_modal.backends import open_by_flag
    from ocrvl_modal.errors import usage_error
    from ocrvl_modal.output import Output
    from ocrvl_modal.wheels.fetching import checked_digest

    out = Output.of("wheel push", json=json, quiet=quiet)
    if files and remote:
        raise usage_error("--remote fetches from an index, and takes no files", "leave out the files or --remote")
    if not remote and (index_url or sha256):
        raise usage_error(
            "--index-url and --sha256 are for --remote", "add --remote, or fetch first: ocrvl wheel fetch"
        )
    wanted = _wanted(image, version, cuda, python)
    place = open_by_flag(backend)
    if remote:
        rows = [_fetch_there(out, place, wanted, index_url, checked_digest(sha256), connections)]
    else:
        rows = [_send(out, place.stores, each) for each in _chosen(files, folder, wanted, image)]
    out.finish(
        {"backend": place.name, "wheels": rows},
        human=lambda: [f"{row['place']}: {_how(row)}" for row in rows],
        hint=f"ocrvl image plan {image}",
    )


def _wanted(image: str, version: str | None, cuda: str | None, python: str | None) -> FrameworkWheel:
    from ocrvl_modal.errors import did_you_mean, usage_error
    from ocrvl_modal.pins import FRAMEWORK_WHEELS
    from ocrvl_modal.wheels.names import wanted_wheel

    if image not in FRAMEWORK_WHEELS:
        raise usage_error(f"no image named '{image}' has a framework wheel", did_you_mean(image, FRAMEWORK_WHEELS))
    return wanted_wheel(FRAMEWORK_WHEELS[image], version, cuda, python)


def _again(verb: str, wanted: FrameworkWheel, index: str, sha256: str | None, more: list[str]) -> str:
    """Return the command that does the same once more; it names no secret."""
    import shlex

    from ocrvl_modal.transfer import without_secrets

    words = ["ocrvl", "wheel", verb]
    words += ["--version", wanted.version, "--cuda", wanted.cuda, "--python", wanted.python]
    if index != wanted.index_url:
        words += ["--index-url", without_secrets(index)]
    if sha256:
        words += ["--sha256", sha256]
    return shlex.join([*words, *more])


def _chosen(files: list[Path] | None, folder: Path, wanted: FrameworkWheel, image: str) -> list[LocalWheel]:
    """Return the wheels to push: those that were named, or the wanted one of the folder."""
    from ocrvl_modal.errors import not_found
    from ocrvl_modal.wheels.folder import find_local, inspect, local_wheels

    if files:
        return [inspect(each.path, each.entry) if each.entry else each for each in local_wheels(files)]
    found = find_local(folder, wanted)
    if found is None:
        raise not_found(
            f"{folder} has no verified {wanted.file_name} for {wanted.cuda}",
            f"ocrvl wheel fetch --image {image}, or, not by your line: ocrvl wheel push --image {image} --remote",
        )
    return [found]


def _send(out: Output, stores: Stores, local: LocalWheel) -> dict[str, Any]:
    from ocrvl_modal.backends.wheel_store import find_same
    from ocrvl_modal.backends.wheel_store import push as push_wheel
    from ocrvl_modal.report.words import size

    there = None if local.problem else find_same(stores, local)
    if there is None and not local.problem:
        out.note(f"{local.file_name} travels ({size(local.size_bytes)})")
    stored = there or push_wheel(stores, local)
    return {**_stored_row(stored), "sent_bytes": 0 if there else stored.size_bytes}


def _fetch_there(
    out: Output, place: Backend, wanted: FrameworkWheel, index_url: str | None, sha256: str | None, connections: int
) -> dict[str, Any]:
    from ocrvl_modal.wheels.index import checked_index

    index = checked_index(index_url or wanted.index_url)
    request = {
        "version": wanted.version,
        "cuda": wanted.cuda,
        "python": wanted.python,
        "platform": wanted.platform,
        "index_url": index,
        "again": _again("push", wanted, index, sha256, ["--remote", "--backend", place.name]),
        "sha256": sha256,
        "connections": connections,
    }
    with out.progress() as on_progress:
        result: dict[str, Any] = place.call("fetch_wheel", request, on_progress=on_progress)
    return {**result, "sent_bytes": 0}


def _how(row: dict[str, Any]) -> str:
    from ocrvl_modal.report.words import size

    if row.get("fetched"):
        return f"fetched into the store ({size(row['size_bytes'])})"
    return f"sent ({size(row['size_bytes'])})" if row["sent_bytes"] else "was in the store already"


def _mending(wheel: LocalWheel) -> str:
    """Return the command that mends a wheel which is not what was recorded."""
    import shlex

    folder = shlex.quote(str(wheel.path.parent))
    if wheel.entry is None:
        return f"ocrvl wheel fetch --output-dir {folder} --sha256 DIGEST, where you know its digest"
    entry = wheel.entry
    build = f"--version {entry.version} --cuda {entry.cuda} --python {entry.python} --output-dir {folder}"
    return f"ocrvl wheel fetch {build} --force"


def _row(wheel: LocalWheel) -> dict[str, Any]:
    from dataclasses import asdict

    entry = wheel.entry
    return {
        "path": str(wheel.path),
        "verified": wheel.is_verified,
        "problem": wheel.problem,
        "recorded": asdict(entry) if entry else None,
    }


def _state(wheel: LocalWheel) -> str:
    return wheel.problem or ("verified" if wheel.is_verified else "touched since it was verified")


def _stored_row(wheel: StoredWheel) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(wheel)


def _table(local: list[LocalWheel], stored: list[StoredWheel]) -> Table:
    from rich import box
    from rich.table import Table

    from ocrvl_modal.report.words import size

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for header in ("wheel", "cuda", "size", "sha256", "state"):
        table.add_column(header, justify="right" if header == "size" else "left", overflow="fold")
    for each in local:
        known = each.entry
        about = (known.cuda, size(known.size_bytes), known.sha256[:12]) if known else ("", "", "")
        table.add_row(str(each.path), *about, _state(each))
    for there in stored:
        table.add_row(there.file_name, there.cuda, size(there.size_bytes), there.sha256[:12], "in the store")
    return table
