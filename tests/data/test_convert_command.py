"""``ocrvl data convert`` as a person runs it, with a hub on this machine, and whatever it is given."""

from __future__ import annotations

import json
import random
import shlex
import shutil
from pathlib import Path

import pytest
from PIL import Image

from conftest import Shell
from data import sources
from jobs.hub import Hub, serve
from ocrvl_modal.data.converting.columns import Columns
from ocrvl_modal.data.converting.conversion import convert
from ocrvl_modal.data.converting.formats import Source, detect
from ocrvl_modal.data.converting.samples import Wish
from ocrvl_modal.errors import OcrvlError
from ocrvl_modal.jobs.fetching.hub import RemoteFile
from ocrvl_modal.jobs.fetching.hub_tables import HubTables, choose


def test_label_file_to_checked_dataset(bare_shell: Shell) -> None:
    label = sources.paddle_detection(bare_shell.cwd)
    said = bare_shell("data", "convert", label, "--out", "lines", "--to", "erniekit")
    assert "read as  paddle" in said.out
    assert "samples  2 (text 2)" in said.out
    assert "ignored: 1" in said.out
    assert "ocrvl data check lines/train.jsonl" in said.err
    # Three rows are few: --strict would tell.
    assert bare_shell("data", "check", "lines/train.jsonl", "--json").data["samples"] == 2


def test_a_prompt_of_ones_own_comes_along_from_command_to_command(bare_shell: Shell) -> None:
    label = sources.paddle_recognition(bare_shell.cwd)
    said = bare_shell("data", "convert", label, "--out", "ledger", "--prompt", "My ledger:")
    check = shlex.split(said.err.rpartition("next: ")[2])
    assert check == ["ocrvl", "data", "check", "ledger/train.jsonl", "--extra-prompt", "My ledger:"]
    said = bare_shell(*check[1:])
    train = shlex.split(said.err.rpartition("next: ")[2])
    assert train[-2:] == ["--set", 'data.extra_prompts=["My ledger:"]']


def test_archive_to_spotting(bare_shell: Shell) -> None:
    sources.page_xml(bare_shell.cwd / "export")
    options = ("--out", "pages", "--task", "spotting", "--images", "link", "--json")
    data = bare_shell("data", "convert", "export", *options).data
    assert (data["read_as"], data["samples"], data["by_task"]) == ("page", 1, {"spotting": 1})
    row = json.loads(Path(bare_shell.cwd / "pages" / "train.jsonl").read_text())
    assert row["messages"][1]["content"].count("<|LOC_") == 16


def test_dataset_of_the_hub(bare_shell: Shell, tmp_path: Path) -> None:
    table = sources.parquet_bytes(tmp_path)
    names = [
        *(f"data/train-0000{n}-of-00002.parquet" for n in range(2)),
        "data/test-00000-of-00001.parquet",
        "README.md",
    ]
    with serve() as server:
        server.hub = Hub("owner/name", files=dict.fromkeys(names, table), kind="dataset")
        hub = {"HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN": "", "no_proxy": "127.0.0.1"}
        said = bare_shell("data", "convert", "hf://owner/name:train", "--out", "train", "--json", **hub)
        assert (said.data["read_as"], said.data["samples"]) == ("parquet", 6)
        assert not {"data/test-00000-of-00001.parquet", "README.md"} & set(server.hub.sent)


OF_ONE_CONFIG = ("data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet", "data/test.parquet")
OF_SEVERAL = ("greek/train/0000.parquet", "greek/test/0000.parquet", "latin/0.parquet")


@pytest.mark.parametrize(
    ("reference", "names", "chosen"),
    [
        ("hf://o/n", OF_ONE_CONFIG, OF_ONE_CONFIG[:2]),
        ("hf://datasets/o/n:test", OF_ONE_CONFIG, OF_ONE_CONFIG[2:]),
        ("hf://o/n/greek", OF_SEVERAL, OF_SEVERAL[:1]),
        ("hf://o/n/greek:test", OF_SEVERAL, OF_SEVERAL[1:2]),
        ("hf://o/n/data", OF_ONE_CONFIG, "has no configuration 'data'"),
        ("hf://o/n:tset", OF_ONE_CONFIG, "has no split 'tset'"),
        ("hf://o/n", OF_SEVERAL, "several configurations: greek, latin"),
        ("hf://o/n", ("README.md",), "no Parquet file"),
        ("hf://only-one", (), "names no dataset"),
        ("hf://o/n/a/b", (), "names no dataset"),
    ],
)
def test_a_reference_to_the_hub_names_one_split_of_one_configuration(
    reference: str, names: tuple[str, ...], chosen: tuple[str, ...] | str
) -> None:
    files = {name: RemoteFile(name, 1) for name in names}
    if isinstance(chosen, str):
        with pytest.raises(OcrvlError, match=chosen) as told:
            choose(HubTables.of(reference), files)
        assert told.value.hint
    else:
        assert [file.name for file in choose(HubTables.of(reference), files)] == list(chosen)


SAME_FOR_ALL = Wish("text"), Wish("table"), Wish("spotting"), Wish(unit="page")


def fuzz(folder: Path, seed: int, kind: str) -> None:
    """Damage a source somewhere, and convert it: samples come out, or an error in words."""
    chance = random.Random(seed)
    make, name = sources.MAKERS[kind]
    source = make(folder / "source")
    root = source if source.is_dir() else source.parent
    files = sorted(path for path in root.rglob("*") if path.is_file())
    for _ in range(chance.randint(1, 3)):
        _damage(chance.choice(files), chance)
    wish = Wish() if kind == "rows" else chance.choice(SAME_FOR_ALL)
    for read_as in (name, None):
        try:
            found = detect(source, read_as)
            convert("source", Source(source, Columns()), found, folder / "out", wish=wish)
        except OcrvlError as error:
            assert error.message
    shutil.rmtree(folder)


PIECES = [
    bytes(piece, "latin1") for piece in ("\0", "\xff\xfe", *'"\t\n{}[]<&,-', "1e999", "nan", "999999999", "\\ud800")
]


def _damage(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(chance.randint(1, 8)):
        at = chance.randint(0, len(content))
        way = chance.randrange(5)
        if way == 0:
            content[at : at + chance.randint(1, 20)] = b""
        elif way == 1:
            content[at:at] = chance.choice(PIECES)
        elif way == 2:
            content[at : at + 1] = bytes([chance.randrange(256)])
        elif way == 3:
            content[at:at] = content[at : at + chance.randint(1, 60)]
        elif chance.random() < 0.1:
            del content[at:]
    path.write_bytes(content)


@pytest.mark.parametrize("kind", sources.MAKERS)
def test_a_damaged_source_never_gives_a_traceback(kind: str, tmp_path: Path) -> None:
    for seed in range(12):
        fuzz(tmp_path / str(seed), seed, kind)


@pytest.mark.slow
@pytest.mark.parametrize("kind", sources.MAKERS)
def test_no_damaged_source_of_many_gives_a_traceback(kind: str, tmp_path: Path) -> None:
    for seed in range(1000, 2000):
        fuzz(tmp_path / str(seed), seed, kind)


def test_a_large_page_is_no_bomb_and_a_larger_one_is_told(tmp_path: Path) -> None:
    source = sources.paddle_detection(tmp_path / "source")
    page = source.parent / "page.png"
    Image.new("1", (13_400, 13_400)).save(page)
    with pytest.raises(OcrvlError, match="image_too_large"):
        convert("source", Source(source, Columns()), "paddle", tmp_path / "out", wish=Wish())
