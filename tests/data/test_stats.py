from __future__ import annotations

import re
from array import array
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from conftest import Shell
from data.small_datasets import OCR, TABLE, dataset, messages, picture
from ocrvl_modal.data.checking.lengths import TextLengths
from ocrvl_modal.data.shaping.histograms import histogram
from ocrvl_modal.data.shaping.packing import best_fit, in_order
from ocrvl_modal.data.shaping.plotting import require_plotting
from ocrvl_modal.data.shaping.stats import DatasetStats, dataset_stats
from ocrvl_modal.errors import OcrvlError
from ocrvl_modal.models import FAMILY

V16, TINY = FAMILY["paddleocr-vl-1.6"], FAMILY["tiny"]


def two_tasks(folder: Path) -> Path:
    picture(folder / "pages" / "large.png", 1, (2000, 1400))
    rows = [messages(f"lines/{number}.png", "abc де 12") for number in range(4)]
    return dataset(folder / "all.jsonl", [*rows, messages("pages/large.png", "<fcel>x<nl>" * 50, TABLE)])


def words(texts: object) -> list[int]:
    return [len(re.findall(r"\S+", text)) for text in texts]  # type: ignore[attr-defined]


def test_tokens_are_those_of_the_images_and_of_the_text_as_it_is_counted_elsewhere(tmp_path: Path) -> None:
    stats = dataset_stats(two_tasks(tmp_path), V16, 4096, count_many=words)
    large, small = V16.pixels.vision_tokens(1400, 2000), V16.pixels.vision_tokens(48, 64)
    assert stats.vision_tokens.total == large + 4 * small
    assert stats.tasks["table"].vision_tokens == large
    lengths = TextLengths(words, V16.assistant_tail)
    expected = lengths.of([OCR] * 4 + [TABLE], ["abc де 12"] * 4 + ["<fcel>x<nl>" * 50])
    assert stats.text_tokens.total == sum(expected)
    assert stats.sequence_tokens.total == stats.vision_tokens.total + sum(expected)
    assert stats.tokens_counted


def test_samples_are_counted_by_task_source_and_script(tmp_path: Path) -> None:
    stats = dataset_stats(two_tasks(tmp_path), V16, 4096)
    assert {name: task.samples for name, task in stats.tasks.items()} == {"text": 4, "table": 1}
    assert stats.sources == {"lines": 4, "pages": 1}
    assert stats.scripts["cyrillic"] == 8
    assert (stats.shrunk, stats.enlarged) == (1, 4)
    assert stats.pixels.total == 4 * 64 * 48 + 2000 * 1400
    assert stats.resized_pixels.largest <= V16.pixels.maximum


def test_what_is_longer_than_max_seq_len_is_counted_by_task_and_not_packed(tmp_path: Path) -> None:
    stats = dataset_stats(two_tasks(tmp_path), V16, 400)
    assert {name: task.too_long for name, task in stats.tasks.items()} == {"text": 0, "table": 1}
    assert stats.too_long == 1
    assert stats.packing_best_fit.samples == 4


def test_what_is_no_sample_is_counted_and_told(tmp_path: Path) -> None:
    path = two_tasks(tmp_path)
    (tmp_path / "lines" / "2.png").unlink()
    path.write_text(path.read_text() + "no json\n\n{}\n")
    stats = dataset_stats(path, V16, 4096)
    assert (stats.samples, stats.refused_rows, stats.refused_images) == (4, 3, 1)
    assert "line 3" in stats.first_refused[1] + stats.first_refused[0]


def test_a_file_without_a_sample_is_refused(tmp_path: Path) -> None:
    (tmp_path / "all.jsonl").write_text("{}\n")
    with pytest.raises(OcrvlError, match="no sample to measure"):
        dataset_stats(tmp_path / "all.jsonl", V16, 4096)


LENGTHS = st.lists(st.integers(1, 100), max_size=60)


@settings(max_examples=50)
@given(LENGTHS, st.integers(30, 120))
def test_a_packing_holds_all_that_fits_and_no_pack_overflows(lengths: list[int], limit: int) -> None:
    fitting = [length for length in lengths if length <= limit]
    for packing in (in_order(lengths, limit), best_fit(lengths, limit)):
        assert (packing.samples, packing.tokens) == (len(fitting), sum(fitting))
        assert sum(fitting) <= packing.packs * limit
        assert packing.packs <= len(fitting)
        assert 0 <= packing.efficiency <= 1
    assert best_fit(lengths, limit).packs <= in_order(lengths, limit).packs


def test_packing_in_order_and_by_best_fit() -> None:
    lengths = [60, 50, 40, 50]
    assert in_order(lengths, 100).packs == 3
    assert best_fit(lengths, 100).packs == 2
    assert best_fit(lengths, 100).efficiency == 1.0


@settings(max_examples=50)
@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=80))
def test_a_histogram_counts_every_value_once(values: list[int]) -> None:
    found = histogram(array("L", values))
    assert sum(found.counts) == len(values)
    assert found.total == sum(values)
    assert found.largest == max(values)
    assert len(found.edges) == len(found.counts) <= 14
    for place, (edge, count) in enumerate(zip(found.edges, found.counts, strict=True)):
        above = found.edges[place + 1] if place + 1 < len(found.edges) else max(values) + 1
        assert count == sum(edge <= value < above for value in values)


def test_one_far_value_does_not_flatten_the_others() -> None:
    found = histogram(array("L", [*range(100, 300), 10**6]))
    assert found.edges[-1] <= 300
    assert found.open_from == found.edges[-1]


def test_the_command_draws_in_the_terminal_and_to_a_picture(bare_shell: Shell) -> None:
    pytest.importorskip("matplotlib")
    two_tasks(bare_shell.cwd)
    said = bare_shell("data", "stats", "all.jsonl", "--plot", "stats.png")
    assert "sequence length" in said.out
    assert "█" in said.out
    assert "% full" in said.out
    with Image.open(bare_shell.cwd / "stats.png") as picture_of_it:
        assert picture_of_it.width > 1000
        assert len(picture_of_it.convert("RGB").getcolors(1 << 24) or []) > 20


def test_json_has_every_number(bare_shell: Shell) -> None:
    two_tasks(bare_shell.cwd)
    said = bare_shell("data", "stats", "all.jsonl", "--json", "--max-seq-len", "400")
    assert said.data["too_long"] == 1
    assert said.data["packing"]["best_fit"]["packs"] >= 1
    assert sum(said.data["vision_tokens"]["counts"]) == 5


def test_numbers_are_of_the_model_asked_for(tmp_path: Path) -> None:
    def of(name: str) -> DatasetStats:
        return dataset_stats(two_tasks(tmp_path), FAMILY[name], 4096)

    assert of("tiny").vision_tokens.total < of("paddleocr-vl-1.6").vision_tokens.total


def test_a_plot_without_matplotlib_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(OcrvlError, match="needs matplotlib") as caught:
        require_plotting(tmp_path / "x.png")
    assert "ocrvl-modal[data]" in caught.value.hint
