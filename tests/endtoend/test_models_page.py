"""The commands that the page on models and datasets shows, in their order, with a hub and a web site of our own."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

from conftest import Shell
from jobs.hub import Hub, HubServer, serve
from jobs.web import Site, serve_site
from ocrvl_modal.engines.chat_template import TEMPLATE_FILE
from ocrvl_modal.models import FAMILY, FAMILY_FILE

PAGE = Path(__file__).parents[2] / "docs" / "models-and-datasets.md"
TINY_TAIL = FAMILY["tiny"].assistant_tail.encode()
RECEIPTS = "https://example.org/receipts/train.jsonl"


def commands() -> list[list[str]]:
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("ocrvl ")]


def stand_in(command: list[str], server: HubServer, site: Site, digits: Path, tiny: Path) -> list[str]:
    """Make the hub hold what a command asks for, and return the command with addresses of this machine."""
    if command[:2] == ["download", "model"]:
        member = next((member for member in FAMILY.values() if command[2] in member.aliases), None)
        files = {path.name: path.read_bytes() for path in tiny.iterdir() if path.name != FAMILY_FILE}
        if member:
            files[TEMPLATE_FILE] = files[TEMPLATE_FILE].replace(TINY_TAIL, repr(member.assistant_tail)[1:-1].encode())
        server.hub = Hub(str(member.repository) if member else command[2], files)
    elif "me/receipts" in command:
        image = next((digits / "images").iterdir()).read_bytes()
        server.hub = Hub("me/receipts", {"train.jsonl": row("1.png"), "1.png": image}, kind="dataset")
    addresses = {RECEIPTS: f"{site.url}/train.jsonl", "bengali": f"{site.url}/train.jsonl"}
    return [addresses.get(word, word) for word in command]


def row(image: str) -> bytes:
    turns = [{"role": "user", "content": "<image>OCR:"}, {"role": "assistant", "content": "1"}]
    return json.dumps({"messages": turns, "images": [image]}).encode() + b"\n"


def test_every_command_of_the_page_works_as_it_is_shown(shell: Shell, digits: Path, tiny: Path) -> None:
    shown = commands()
    assert len(shown) > 10
    with serve() as server, serve_site() as site:
        site.files = {"/train.jsonl": row("a.png"), "/a.png": next((digits / "images").iterdir()).read_bytes()}
        for command in shown:
            given = stand_in(command, server, site, digits, tiny)
            shell(*given, HF_ENDPOINT=server.url, HF_HOME=str(shell.home / "hf"), OCRVL_BACKEND="local", no_proxy="*")


def test_what_is_wrong_with_a_model_or_a_secret_is_told_with_what_mends_it(shell: Shell) -> None:
    assert "nothing tells what its files should be" in shell("model", "verify", "tiny", code=2).err
    assert "did you mean 'tiny'?" in shell("model", "show", "tyni", code=5).err
    assert "ocrvl download model 1.6" in shell("model", "show", "1.6", code=5).err
    listed = shell("model", "ls", "--json").data["models"]
    assert [(model["name"], model["family"], model["whole"]) for model in listed] == [("tiny", "tiny", None)]

    token = "hf_never_to_be_seen"
    unset = shell("secret", "check", "huggingface=HF_TOKEN", code=5, HF_TOKEN="")
    assert "export HF_TOKEN=" in unset.err
    held = shell("secret", "check", "huggingface=HF_TOKEN", "--json", HF_TOKEN=token)
    assert held.data["secrets"][0]["is_there"] is True
    assert token not in held.out + held.err


def test_rubbish_is_shown_removed_and_then_gone(shell: Shell) -> None:
    part = shell.home / "stores" / "models" / ".me--x.0123456789ab.part" / "model.safetensors.part"
    part.parent.mkdir()
    part.write_bytes(bytes(4096))
    assert shell("volume", "gc", "--json").data["garbage"] == []
    asked = shell("volume", "gc", "--older-than", "0", code=2)
    assert "4.0 KiB in all" in asked.err and "--yes" in asked.err
    assert part.is_file()
    done = shell("volume", "gc", "--older-than", "0", "--yes", "--json").data
    assert (done["removed"], done["freed_bytes"]) == (["/models/.me--x.0123456789ab.part"], 4096)
    assert "usd_per_month" not in done
    assert not part.exists()
    assert "there is no /data/none" in shell("volume", "du", "/data/none", code=5).err
