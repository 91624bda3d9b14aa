"""Containers are apart: from the host's files, from the project, and from each other's processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import wait_until
from fakemodal import FakeModal, why_not
from fakemodal.isolation import refusal
from fakemodal.processes import descendants
from fakemodal.tests.client import HERE, SECRETS, modal_cli, run, script

PROBE = """
import os
import modal
app = modal.App("probe")

@app.function()
def look():
    import importlib.metadata, msgspec, numpy, pydantic
    try:
        import ocrvl_modal
    except ImportError as error:
        return str(error), os.path.exists("{tests}"), [each.name for each in importlib.metadata.distributions()]
"""
CALL = "import {module}\nwith {module}.app.run():\n    result = {module}.look.remote()"

PACKAGE = {
    "pkg/__init__.py": "",
    "pkg/recipe.yaml": "lr: 1",
    "pkg/remote.py": """
import os
from pathlib import Path
import modal
image = modal.Image.debian_slim().add_local_dir("ctx", "/opt/ctx", copy=True)
app = modal.App("pkg")

@app.function(image=image, include_source=os.environ.get("MODE") != "excluded")
def look():
    import pkg
    return pkg.__file__, os.listdir("/opt/ctx"), sorted(path.name for path in Path(pkg.__file__).parent.iterdir())
""",
}


@pytest.mark.parametrize("user_namespace", [False, True])
def test_a_container_has_the_dependencies_but_not_the_project(
    user_namespace: bool, tmp_path: Path, start_fake_modal: Callable[..., FakeModal]
) -> None:
    if reason := refusal(user_namespace):
        pytest.skip(reason)
    options = {"user_namespace": True} if user_namespace else {}
    cloud = start_fake_modal(**options)
    (tmp_path / "probe.py").write_text(PROBE.format(tests=HERE))
    error, sees_checkout, distributions = script(cloud, CALL.format(module="probe"), cwd=tmp_path)
    assert error == "No module named 'ocrvl_modal'"
    assert not sees_checkout
    assert "torch" in distributions
    assert "ocrvl-modal" not in distributions


def test_a_package_is_there_only_if_the_client_sent_it(shared: FakeModal, tmp_path: Path) -> None:
    for name, text in {**{f"src/{name}": text for name, text in PACKAGE.items()}, "ctx/data.txt": "x"}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    code = CALL.format(module="pkg.remote").replace("import pkg.remote", "import pkg.remote, sys")
    source = str(tmp_path / "src")
    file, context, names = script(shared, code, cwd=tmp_path, PYTHONPATH=source)
    assert (file, context) == ("/root/pkg/__init__.py", ["data.txt"])
    assert {"__init__.py", "recipe.yaml", "remote.py"} <= set(names)
    assert shared.mounted_files("look") == ["/root/pkg/__init__.py", "/root/pkg/recipe.yaml", "/root/pkg/remote.py"]
    excluded = run(shared, "-c", code, cwd=tmp_path, check=False, PYTHONPATH=source, MODE="excluded")
    assert "No module named 'pkg'" in excluded.stderr


def test_a_preemption_interrupts_the_entrypoint_alone(shared: FakeModal) -> None:
    spawn = "result = modal.Function.from_name('sample', 'keeps_a_child').spawn('note').object_id"
    shared.faults({"on": "input", "function": "keeps_a_child", "action": "preempt", "after": 2, "grace": 5})
    call = script(shared, spawn)
    assert script(shared, f"result = modal.FunctionCall.from_id('{call}').get(timeout=60)") == "child survived"


@pytest.mark.parametrize("end", ["leaving", "killing the server"])
def test_no_process_is_left(end: str, tmp_path: Path) -> None:
    if reason := why_not():
        pytest.skip(reason)
    with FakeModal(tmp_path / "state", secrets=SECRETS) as cloud:
        modal_cli(cloud, "deploy", "sample_app.py")
        script(cloud, "result = modal.Function.from_name('sample', 'keeps_a_child').spawn('note').object_id")
        wait_until(lambda: "child ready" in cloud.logs(), "the child in a session of its own")
        processes = descendants(cloud.pid)
        assert len(processes) >= 4, "launcher, init, entrypoint and child"
        if end == "killing the server":
            os.kill(cloud.pid, signal.SIGKILL)
            wait_until(lambda: not any(map(_is_alive, processes)), "they die with the server")
    assert not any(map(_is_alive, processes))


def _is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False
