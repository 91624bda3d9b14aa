"""First process of a container: makes namespaces and a root file system, then runs the entrypoint in them.

Run as a program with the path of a JSON file, see ``Launch``; it imports nothing but the standard library.
SIGINT reaches the entrypoint alone.  SIGTERM ends every process of the container, and the launcher ends after the
last of them; when the launcher is killed they die as well.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn, TypedDict

_LIBC = ctypes.CDLL(None, use_errno=True)

# <sched.h>, <sys/mount.h>, <sys/prctl.h>
_NEW_MOUNTS, _NEW_USERS, _NEW_PROCESSES = 0x00020000, 0x10000000, 0x20000000
_READ_ONLY, _NO_SUID, _NO_DEVICES, _NO_EXECUTION, _REMOUNT, _NO_ACCESS_TIME = 1, 2, 4, 8, 32, 1024
_BIND, _RECURSIVE, _PRIVATE, _RELATIVE_ACCESS_TIME = 1 << 12, 1 << 14, 1 << 18, 1 << 21
_STATVFS_RELATIVE_ACCESS_TIME = 4096
_SIGNAL_AT_PARENTS_DEATH = 1


class Launch(TypedDict):
    """What one container is made of; all paths absolute."""

    user_namespace: bool
    root: str  # an ordinary folder that becomes "/"; what is in it already is kept
    exposed: list[tuple[str, str]]  # (host path, path in the container), read-only
    hidden: list[str]  # host paths below an exposed one that the container does not get
    bound: list[tuple[str, str, bool]]  # (host folder, path in the container, read-only)
    folder: str  # working directory
    arguments: list[str]
    environment: dict[str, str]


def main() -> None:
    """Start the container and end with the exit code of its entrypoint."""
    launch: Launch = json.loads(Path(sys.argv[1]).read_text())
    _die_with_parent()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    _enter_namespaces(launch["user_namespace"])
    reading, writing = os.pipe()
    init = os.fork()
    if init == 0:
        os.close(writing)
        _die_with_parent()
        if not os.read(reading, 1):  # the parent died before it could be watched
            os._exit(1)
        _run_as_init(launch)
    os.write(writing, b"!")
    _on_signals(init, {signal.SIGINT: signal.SIGINT, signal.SIGTERM: signal.SIGKILL})
    sys.exit(_exit_code(os.waitpid(init, 0)[1]))


def _run_as_init(launch: Launch) -> NoReturn:
    """Process 1 of the container: when it ends, the kernel kills all others."""
    try:
        _build_root(launch)
        entrypoint = os.fork()
        if entrypoint == 0:
            os.setsid()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
            os.execve(launch["arguments"][0], launch["arguments"], launch["environment"])
        _on_signals(entrypoint, {signal.SIGINT: signal.SIGINT})
        while True:
            process, status = os.wait()
            if process == entrypoint:
                os._exit(_exit_code(status))
    except OSError as error:
        os.write(2, f"fakemodal: the container could not start: {error}\n".encode())
    os._exit(1)


def _on_signals(process: int, answers: Mapping[signal.Signals, signal.Signals]) -> None:
    """From now on answer a signal by sending a process the one that belongs to it."""
    for received, sent in answers.items():
        signal.signal(received, _killer(process, sent))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, answers)


def _killer(process: int, sent: signal.Signals) -> Callable[[int, object], None]:
    return lambda _, __: os.kill(process, sent)


def _exit_code(status: int) -> int:
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _die_with_parent() -> None:
    _LIBC.prctl(_SIGNAL_AT_PARENTS_DEATH, signal.SIGKILL)


def _enter_namespaces(user_namespace: bool) -> None:
    user, group = os.geteuid(), os.getegid()
    wanted = _NEW_MOUNTS | _NEW_PROCESSES | (_NEW_USERS if user_namespace else 0)
    if _LIBC.unshare(wanted) != 0:
        raise OSError(ctypes.get_errno(), f"unshare: {os.strerror(ctypes.get_errno())}")
    if user_namespace:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")


def _build_root(launch: Launch) -> None:
    root, hidden = Path(launch["root"]), frozenset(map(Path, launch["hidden"]))
    _mount(None, Path("/"), flags=_PRIVATE | _RECURSIVE)
    _mount(root, root, flags=_BIND | _RECURSIVE)
    _make_folders(root, launch)
    for source, place in launch["exposed"]:
        target = _inside(root, place)
        target.parent.mkdir(parents=True, exist_ok=True)
        _expose(Path(source), target, hidden)
    for source, place, read_only in launch["bound"]:
        _bind(Path(source), _inside(root, place), read_only)
    _mount_special(root)
    os.chroot(root)
    os.chdir(launch["folder"])


def _make_folders(root: Path, launch: Launch) -> None:
    bound = [place for _, place, _ in launch["bound"]]
    for place in ("/proc", "/dev", "/sys", "/run", "/root", launch["folder"], *bound):
        _inside(root, place).mkdir(parents=True, exist_ok=True)
    for place in ("/tmp", "/var/tmp"):
        _inside(root, place).mkdir(parents=True, exist_ok=True)
        _inside(root, place).chmod(0o1777)


def _inside(root: Path, place: str) -> Path:
    return root / place.lstrip("/")


def _expose(source: Path, target: Path, hidden: frozenset[Path]) -> None:
    """Show a host path in the container; where the container has a folder there already, the two are merged."""
    if source in hidden:
        return
    if source.is_symlink() and not os.path.lexists(target):
        target.symlink_to(source.readlink())
    elif not source.is_dir():
        if not os.path.lexists(target):
            target.touch()
            _bind(source, target, read_only=True)
    elif target.is_dir() or any(source in path.parents for path in hidden):
        target.mkdir(exist_ok=True)
        for child in sorted(source.iterdir()):
            _expose(child, target / child.name, hidden)
    else:
        target.mkdir()
        _bind(source, target, read_only=True)


def _bind(source: Path, target: Path, read_only: bool) -> None:
    # Recursive even where nothing is mounted below: a user namespace may not part a mount from those on top of it.
    _mount(source, target, flags=_BIND | _RECURSIVE)
    if read_only:
        _mount(None, target, flags=_BIND | _REMOUNT | _READ_ONLY | _flags_to_keep(target))


def _flags_to_keep(target: Path) -> int:
    """Flags that a user namespace may not take off a mount that it was given."""
    now = os.statvfs(target).f_flag
    kept = now & (_NO_SUID | _NO_DEVICES | _NO_EXECUTION | _NO_ACCESS_TIME)
    return kept | (_RELATIVE_ACCESS_TIME if now & _STATVFS_RELATIVE_ACCESS_TIME else 0)


def _mount_special(root: Path) -> None:
    for folder in (Path("/dev"), Path("/sys")):
        _mount(folder, root / folder.name, flags=_BIND | _RECURSIVE)
    shared_memory = root / "dev/shm"
    if shared_memory.is_dir():
        _mount(None, shared_memory, kind="tmpfs", data="mode=1777")
    try:
        _mount(None, root / "proc", kind="proc", flags=_NO_SUID | _NO_DEVICES | _NO_EXECUTION)
    except PermissionError:  # in a user namespace, where the /proc outside is partly masked
        _mount(Path("/proc"), root / "proc", flags=_BIND | _RECURSIVE)


def _mount(
    source: Path | None, target: Path, *, kind: str | None = None, flags: int = 0, data: str | None = None
) -> None:
    words = [None if word is None else os.fsencode(word) for word in (source or kind, target, kind, data)]
    if _LIBC.mount(words[0], words[1], words[2], ctypes.c_ulong(flags), words[3]) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(target))


if __name__ == "__main__":
    main()
