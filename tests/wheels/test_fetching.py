"""The installed command: a wheel is fetched once, and what was recorded of it stays the truth."""

from __future__ import annotations

import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import OCRVL, Said, Shell
from ocrvl_modal.wheels.checking import problem_of_wheel
from transfer.server import Site
from wheels.making import PAGE, WANTED, host_index, make_wheel, sha256_of

MEBIBYTE = 1 << 20
NAME = WANTED.file_name
WHEEL = make_wheel()
OTHER = make_wheel(seed=2)
LOST_AT_MOST = 16 * MEBIBYTE


def fetch(shell: Shell, index: str, *more: str, code: int = 0) -> Said:
    return shell("wheel", "fetch", "--index-url", index, "--json", *more, code=code)


def manifest(shell: Shell) -> dict[str, dict[str, object]]:
    wheels: dict[str, dict[str, object]] = json.loads((shell.cwd / "wheels" / "wheels.lock.json").read_text())["wheels"]
    return wheels


def forget(shell: Shell) -> None:
    (shell.cwd / "wheels" / "wheels.lock.json").unlink()


def test_a_wheel_is_fetched_once_and_recorded(bare_shell: Shell, site: Site) -> None:
    index = host_index(site, {NAME: WHEEL})
    told = fetch(bare_shell, index).data
    assert (bare_shell.cwd / told["path"]).read_bytes() == WHEEL
    assert told["path"] == f"wheels/{NAME}"
    assert (told["fetched"], told["resumed"], told["received_bytes"]) == (True, False, len(WHEEL))
    assert (told["version"], told["cuda"], told["python"]) == ("3.3.1", "cu126", "cp312")
    entry = manifest(bare_shell)[NAME]
    assert (entry["sha256"], entry["size_bytes"]) == (sha256_of(WHEEL), len(WHEEL))
    assert entry["source"] == told["source"] == f"{site.url}/files/{NAME}"

    site.asked.clear()
    again = fetch(bare_shell, index).data
    assert (again["fetched"], again["received_bytes"], again["sha256"]) == (False, 0, sha256_of(WHEEL))
    assert site.asked == []
    assert "as recorded" in bare_shell("wheel", "verify").out
    assert bare_shell("wheel", "verify", f"wheels/{NAME}", "--json").data["ok"] is True
    listed = bare_shell("wheel", "ls", "--json").data["local"]
    assert [(row["path"], row["verified"], row["problem"]) for row in listed] == [(f"wheels/{NAME}", True, "")]
    (bare_shell.cwd / "wheels" / NAME).touch()
    assert "touched since it was verified" in bare_shell("wheel", "ls").out
    assert bare_shell("wheel", "verify", "--json").data["wheels"][0]["verified"] is True
    assert sorted(path.name for path in (bare_shell.cwd / "wheels").glob("[!.]*")) == [NAME, "wheels.lock.json"]


def test_other_builds_are_asked_for_by_name(bare_shell: Shell, site: Site) -> None:
    name = "paddlepaddle_gpu-3.2.0-cp310-cp310-linux_x86_64.whl"
    index = host_index(site, {name: make_wheel(version="3.2.0"), NAME: WHEEL})
    build = ("--image", "train-erniekit", "--python", "3.10", "--cuda", "cu118", "--output-dir", "here")
    told = fetch(bare_shell, index, *build).data
    assert (told["path"], told["version"], told["cuda"], told["python"]) == (f"here/{name}", "3.2.0", "cu118", "cp310")
    missing = fetch(bare_shell, index, "--version", "3.2.1", code=5).json["error"]
    assert "near it are 3.3.1" in missing["message"]
    assert missing["hint"] == "--version 3.3.1"


def test_two_cudas_of_one_name_need_two_folders(bare_shell: Shell, site: Site) -> None:
    index = host_index(site, {NAME: WHEEL})
    fetch(bare_shell, index)
    refused = fetch(bare_shell, index, "--cuda", "cu118", code=1).json["error"]
    assert "for cu126" in refused["message"]
    assert refused["hint"] == "add --output-dir wheels/cu118"
    fetch(bare_shell, index, "--cuda", "cu118", "--output-dir", "wheels/cu118")


@pytest.mark.parametrize("wrong", ["index", "user", "content"])
def test_a_wrong_digest_leaves_no_file(bare_shell: Shell, site: Site, wrong: str) -> None:
    index = host_index(site, {NAME: WHEEL}, digests=wrong != "content")
    more = ("--sha256", "0" * 64) if wrong != "index" else ()
    if wrong == "index":
        site.host(f"/files/{NAME}", OTHER)
    error = fetch(bare_shell, index, *more, code=1).json["error"]
    assert "sha256" in error["message"]
    assert error["hint"]
    assert not list((bare_shell.cwd / "wheels").glob("*.whl*"))
    assert not (bare_shell.cwd / "wheels" / "wheels.lock.json").exists()
    assert "is no SHA-256" in fetch(bare_shell, index, "--sha256", "abc", code=2).json["error"]["message"]


def test_what_was_recorded_stays_the_truth(bare_shell: Shell, site: Site) -> None:
    index = host_index(site, {NAME: WHEEL})
    fetch(bare_shell, index)
    known = fetch(bare_shell, index, "--sha256", "0" * 64, code=1).json["error"]
    assert "is recorded with the sha256" in known["message"]
    (bare_shell.cwd / "wheels" / NAME).unlink()
    host_index(site, {NAME: OTHER})
    other = fetch(bare_shell, index, code=1).json["error"]
    assert "the index has another" in other["message"]
    line = int(other["hint"].rpartition("(line ")[2].rstrip(")"))
    assert NAME in (bare_shell.cwd / "wheels" / "wheels.lock.json").read_text().splitlines()[line - 1]
    host_index(site, {NAME: OTHER}, digests=False)
    content = fetch(bare_shell, index, code=1).json["error"]
    assert f"sha256 {sha256_of(OTHER)}" in content["message"] or "it is another file" in content["message"]
    assert "remove the entry" in content["hint"]
    assert manifest(bare_shell)[NAME]["sha256"] == sha256_of(WHEEL)
    forget(bare_shell)
    assert fetch(bare_shell, index).data["sha256"] == sha256_of(OTHER)


def test_a_file_that_is_not_what_was_recorded_is_named(bare_shell: Shell, site: Site) -> None:
    index = host_index(site, {NAME: WHEEL})
    fetch(bare_shell, index)
    path = bare_shell.cwd / "wheels" / NAME
    for damage in (WHEEL[:-1], WHEEL[:500] + b"X" + WHEEL[501:]):
        path.write_bytes(damage)
        told = bare_shell("wheel", "verify", code=1)
        assert "bytes, and had" in told.out or "its sha256 is" in told.out
        assert "--force" in told.err
        error = fetch(bare_shell, index, code=1).json["error"]
        assert "is not what was recorded" in error["message"]
        assert error["hint"].endswith("--force")
        assert "cannot be relied on" in bare_shell("wheel", "push", f"wheels/{NAME}", code=1).err
        assert fetch(bare_shell, index, "--force").data["fetched"] is True
        assert path.read_bytes() == WHEEL
    path.unlink()
    assert "not in the folder" in bare_shell("wheel", "verify", code=1).out
    assert fetch(bare_shell, index).data["received_bytes"] == len(WHEEL)


def test_another_file_with_an_old_time_does_not_pass_for_the_verified_one(bare_shell: Shell, site: Site) -> None:
    index = host_index(site, {NAME: WHEEL})
    fetch(bare_shell, index)
    assert bare_shell("wheel", "ls", "--json").data["local"][0]["verified"] is True
    path = bare_shell.cwd / "wheels" / NAME
    path.write_bytes(WHEEL[:-1] + bytes([WHEEL[-1] ^ 1]))
    os.utime(path, (0, 0))
    assert bare_shell("wheel", "ls", "--json").data["local"][0]["verified"] is False
    assert "is not what was recorded" in fetch(bare_shell, index, code=1).out


def test_a_file_that_nobody_verified_is_taken_by_its_digest_alone(bare_shell: Shell, site: Site) -> None:
    index = host_index(site, {NAME: WHEEL}, digests=False)
    path = bare_shell.cwd / "wheels" / NAME
    path.parent.mkdir()
    path.write_bytes(WHEEL)
    assert "not in the manifest" in bare_shell("wheel", "verify", code=1).out
    assert "not in the manifest" in bare_shell("wheel", "ls").out
    unknown = fetch(bare_shell, index, code=1).json["error"]
    assert "neither the manifest nor the index" in unknown["message"]
    adopted = fetch(bare_shell, index, "--sha256", sha256_of(WHEEL).upper()).data
    assert (adopted["fetched"], adopted["received_bytes"]) == (False, 0)
    bare_shell("wheel", "verify")
    forget(bare_shell)
    path.write_bytes(OTHER)
    assert "its sha256 is" in fetch(bare_shell, index, "--sha256", sha256_of(WHEEL), code=1).json["error"]["message"]
    assert path.read_bytes() == OTHER


ODD = {"name": 1, "version": 2, "cuda": 3, "python": 4, "size_bytes": 5, "sha256": "a" * 64, "source": 7}


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", '{"schema": 2, "wheels": {}}', '{"schema": 1, "wheels": {"a": {}}}'),
        json.dumps({"schema": 1, "wheels": {"a.whl": {**ODD, "verified_at": "2026-11-01T00:00:00+00:00"}}}),
    ],
)
def test_a_damaged_manifest_is_an_error_and_stays(bare_shell: Shell, site: Site, text: str) -> None:
    path = bare_shell.cwd / "wheels" / "wheels.lock.json"
    path.parent.mkdir()
    path.write_text(text)
    index = host_index(site, {NAME: WHEEL})
    for command in (("fetch", "--index-url", index), ("ls",), ("verify",), ("push",)):
        said = bare_shell("wheel", *command, code=1)
        assert "wheels.lock.json is damaged" in said.err
        assert "mv wheels/wheels.lock.json" in said.err
    assert path.read_text() == text
    assert site.asked == []


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"no zip at all", "no whole zip file"),
        (WHEEL[:-30], "no whole zip file"),
        (WHEEL[5000:], "missing at its beginning"),
        (make_wheel(version="3.3.0"), "3.3.0, and its name says"),
        (make_wheel(name="other"), "other 3.3.1, and its name says"),
        (make_wheel(leave_out="METADATA"), "lacks METADATA"),
        (make_wheel(leave_out="RECORD"), "lacks RECORD"),
    ],
)
def test_what_came_whole_and_is_no_wheel_gets_no_name(bare_shell: Shell, site: Site, content: bytes, says: str) -> None:
    index = host_index(site, {NAME: content})
    error = fetch(bare_shell, index, code=1).json["error"]
    assert says in error["message"]
    assert not list((bare_shell.cwd / "wheels").glob("*.whl*"))


def test_a_good_wheel_has_no_problem_and_a_name_that_is_none_has(tmp_path: Path) -> None:
    (tmp_path / "x.whl").write_bytes(WHEEL)
    assert problem_of_wheel(tmp_path / "x.whl", NAME) is None
    assert "name is none of a wheel" in str(problem_of_wheel(tmp_path / "x.whl", "x.whl"))


def test_progress_is_plain_lines_where_nobody_watches(bare_shell: Shell, site: Site) -> None:
    said = bare_shell("wheel", "fetch", "--index-url", host_index(site, {NAME: WHEEL}))
    assert re.search(rf"{re.escape(NAME)}: [\d.]+/[\d.]+ kB", said.err)
    assert f"sha256 {sha256_of(WHEEL)}" in said.out
    assert f"next: ocrvl wheel push wheels/{NAME}" in said.err


def test_credentials_of_an_index_are_shown_nowhere(bare_shell: Shell, site: Site) -> None:
    index = host_index(site, {NAME: WHEEL}).replace("http://", "http://me:secret@")
    said = bare_shell("wheel", "fetch", "--index-url", index)
    assert site.asked[-1].headers["authorization"].startswith("Basic ")
    assert "secret" not in said.out + said.err + (bare_shell.cwd / "wheels" / "wheels.lock.json").read_text()
    (bare_shell.cwd / "wheels" / NAME).unlink()
    site.fails = [404] * 2
    assert "secret" not in bare_shell("wheel", "fetch", "--index-url", index, code=5).err


def test_a_file_system_that_takes_no_more_keeps_what_is_there(bare_shell: Shell, site: Site) -> None:
    index = host_index(site, {NAME: make_wheel(3 * MEBIBYTE)})

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2 * MEBIBYTE, 2 * MEBIBYTE))

    done = subprocess.run(
        [str(OCRVL), "wheel", "fetch", "--index-url", index],
        cwd=bare_shell.cwd,
        env=bare_shell.environment,
        capture_output=True,
        text=True,
        preexec_fn=limit,
        check=False,
    )
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (bare_shell.cwd / "wheels" / NAME).exists()
    fetch(bare_shell, index)


def killed_at_random(shell: Shell, site: Site, kills: int, seed: int) -> None:
    """Kill a fetch again and again and let it end; each time all is there and little has travelled twice."""
    content = make_wheel(24 * MEBIBYTE, seed=seed)
    index = host_index(site, {NAME: content}, digests=seed % 2 == 0)
    chance = random.Random(seed)
    folder = shell.cwd / "wheels"
    for kill in range(kills):
        site.sent = 0
        site.bytes_per_second = chance.choice([None, 4e6, 20e6])
        # Counted from the first request on, so that the start of Python is no part of it.
        asked = len(site.asked)
        process = shell.start("wheel", "fetch", "--index-url", index)
        deadline = time.monotonic() + 20
        while len(site.asked) == asked and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(chance.uniform(0, 0.25 if site.bytes_per_second is None else 0.8))
        process.kill()
        process.wait()
        site.bytes_per_second = None
        told = fetch(shell, index).data
        assert (folder / NAME).read_bytes() == content, f"kill {kill}"
        assert told["sha256"] == sha256_of(content)
        assert site.sent - len(content) <= LOST_AT_MOST, f"kill {kill}"
        assert sorted(path.name for path in folder.glob("[!.]*")) == [NAME, "wheels.lock.json"]
        (folder / NAME).unlink()
        if kill % 2:
            forget(shell)


def test_killed_at_any_point_it_goes_on_with_what_is_there(bare_shell: Shell, site: Site) -> None:
    killed_at_random(bare_shell, site, kills=4, seed=2)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_fifty_kills_each_end_in_the_same_file(bare_shell: Shell, site: Site, seed: int) -> None:
    killed_at_random(bare_shell, site, kills=10, seed=seed)


def test_an_interrupted_fetch_says_so_and_goes_on(bare_shell: Shell, site: Site) -> None:
    content = make_wheel(8 * MEBIBYTE)
    index = host_index(site, {NAME: content})
    site.bytes_per_second = 1e6
    process = bare_shell.start("wheel", "fetch", "--index-url", index)
    while site.sent < MEBIBYTE:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    assert "interrupted" in bare_shell.started_said
    site.bytes_per_second = None
    assert fetch(bare_shell, index).data["resumed"] is True


def test_a_page_that_is_packed_is_read(bare_shell: Shell, site: Site) -> None:
    import gzip

    index = host_index(site, {NAME: WHEEL})
    page = site.files[PAGE]
    page.content = gzip.compress(page.content)
    page.headers["Content-Encoding"] = "gzip"
    fetch(bare_shell, index)


def test_wheels_are_found_without_any_heavy_library() -> None:
    code = (
        "import sys, ocrvl_modal.transfer, ocrvl_modal.wheels.folder, ocrvl_modal.jobs.fetch_wheel;"
        "print(sorted({'urllib3', 'modal', 'rich', 'typer', 'huggingface_hub'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
