"""The check that ends a build: it names everything that is missing from the image, and fails the build."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping

_PROOF = """
import importlib, importlib.metadata, shutil, sys
missing = []
for name in {imports}:
    try:
        importlib.import_module(name)
    except BaseException as error:
        missing.append("module %s: %s: %s" % (name, type(error).__name__, error))
for name in {programs}:
    if shutil.which(name) is None:
        missing.append("program %s: not on the path" % name)
for name, wanted in {versions}.items():
    try:
        found = importlib.metadata.version(name).partition("+")[0]
    except importlib.metadata.PackageNotFoundError:
        found = "none"
    if found != wanted:
        missing.append("package %s: %s is installed, %s is wanted" % (name, found, wanted))
sys.exit("what this image lacks:\\n" + "\\n".join(missing) if missing else 0)
"""


def proof_command(
    python: str, imports: Iterable[str], programs: Iterable[str] = (), versions: Mapping[str, str] | None = None
) -> str:
    """Return a shell command, in one line, that fails with all modules, programs and versions that are not there."""
    text = _PROOF.format(
        imports=json.dumps(list(imports)),
        programs=json.dumps(list(programs)),
        versions=json.dumps(dict(versions or {})),
    )
    # A string of JSON is one of Python, and has only double quotes: the shell's single ones can stand around it.
    return f"{python} -c {shlex.quote(f'exec({json.dumps(text.strip())})')}"
