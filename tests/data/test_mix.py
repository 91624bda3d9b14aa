from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import Shell
from data.small_datasets import OCR, TABLE, dataset, erniekit, images_of, messages, rows_in, target_of
from ocrvl_modal.data.shaping.drawing_lots import apportioned, apportioned_with_one_each
from ocrvl_modal.data.shaping.ingredients import Ingredient, ingredients
from ocrvl_modal.data.shaping.mixing import MixReport, mix_datasets
from ocrvl_modal.errors import OcrvlError
from ocrvl_modal.models import FAMILY

TINY = FAMILY["tiny"]


def made(folder: Path, name: str, count: int, prompt: str = OCR) -> Path:
    rows = [messages(f"images/{name}-{number}.png", f"{name} {number}", prompt) for number in range(count)]
    return dataset(folder / name / f"{name}.jsonl", rows)


def mix(parts: list[Ingredient], out: Path, samples: int | None = None, seed: int = 0) -> MixReport:
    return mix_datasets(parts, out, TINY, samples=samples, seed=seed)


def counts(out: Path) -> Counter[str]:
    return Counter(target_of(row) for row in rows_in(out / "train.jsonl"))


def by_dataset(out: Path) -> Counter[str]:
    return Counter(target_of(row).split()[0] for row in rows_in(out / "train.jsonl"))


def test_without_weights_every_row_goes_in_once(tmp_path: Path) -> None:
    parts = [Ingredient(made(tmp_path, "a", 12)), Ingredient(made(tmp_path, "b", 5, TABLE))]
    report = mix(parts, tmp_path / "out")
    assert set(counts(tmp_path / "out").values()) == {1}
    assert by_dataset(tmp_path / "out") == {"a": 12, "b": 5}
    assert {name: task.samples for name, task in report.tasks.items()} == {"text": 12, "table": 5}
    assert report.absent_tasks == ("formula", "chart")


def test_weights_repeat_rows_of_small_datasets_and_leave_rows_of_large_ones_out(tmp_path: Path) -> None:
    parts = [Ingredient(made(tmp_path, "a", 30), 1.0), Ingredient(made(tmp_path, "b", 4), 1.0)]
    report = mix(parts, tmp_path / "out")
    assert by_dataset(tmp_path / "out") == {"a": 17, "b": 17}
    large, small = report.parts
    assert (large.left_out, large.repeats, large.copies) == (13, 0, 1)
    assert (small.left_out, small.repeats, small.copies) == (0, 13, 5)
    assert {count for target, count in counts(tmp_path / "out").items() if target.startswith("b")} == {4, 5}


def test_the_replay_is_a_share_of_the_whole(tmp_path: Path) -> None:
    parts = [Ingredient(made(tmp_path, "a", 40)), Ingredient(made(tmp_path, "base", 100, TABLE), replay_share=0.2)]
    report = mix(parts, tmp_path / "out")
    assert by_dataset(tmp_path / "out") == {"a": 40, "base": 10}
    assert report.tasks["table"].replayed == 10
    assert report.tasks["text"].replayed == 0


def test_the_number_of_samples_can_be_asked_for(tmp_path: Path) -> None:
    parts = [Ingredient(made(tmp_path, "a", 8), 3.0), Ingredient(made(tmp_path, "b", 8), 1.0)]
    assert mix(parts, tmp_path / "out", samples=20).samples == 20
    assert by_dataset(tmp_path / "out") == {"a": 15, "b": 5}


def test_tokens_are_those_of_the_rows_that_went_in(tmp_path: Path) -> None:
    parts = [Ingredient(made(tmp_path, "a", 6))]
    once, twice = mix(parts, tmp_path / "one"), mix(parts, tmp_path / "two", samples=12)
    assert twice.tokens == 2 * once.tokens > 0
    assert not once.tokens_counted


def test_the_seed_tells_order_and_choice_and_shuffles(tmp_path: Path) -> None:
    parts = [Ingredient(made(tmp_path, "a", 30)), Ingredient(made(tmp_path, "b", 30))]
    for name, seed in (("x", 1), ("y", 1), ("z", 2)):
        mix(parts, tmp_path / name, samples=20, seed=seed)
    x, y, z = (rows_in(tmp_path / name / "train.jsonl") for name in "xyz")
    assert x == y
    assert sorted(x) != sorted(z)
    assert len({target_of(row).split()[0] for row in x[:8]}) == 2


def test_images_are_found_and_rows_get_the_form_of_the_first(tmp_path: Path) -> None:
    first = made(tmp_path, "a", 5)
    other = dataset(
        tmp_path / "b" / "b.jsonl", [erniekit(f"images/{number}.png", f"b {number}") for number in range(5)]
    )
    mix([Ingredient(first), Ingredient(other)], tmp_path / "deep" / "out")
    rows = rows_in(tmp_path / "deep" / "out" / "train.jsonl")
    assert all((tmp_path / "deep" / "out" / image).is_file() for row in rows for image in images_of(row))
    assert len({tuple(sorted(json.loads(row))) for row in rows}) == 1


def test_a_missing_image_or_a_bad_row_leaves_nothing_behind(tmp_path: Path) -> None:
    good, bad = made(tmp_path, "a", 3), made(tmp_path, "b", 3)
    (tmp_path / "b" / "images" / "b-1.png").unlink()
    with pytest.raises(OcrvlError, match="line 2: there is no image"):
        mix([Ingredient(good), Ingredient(bad)], tmp_path / "out")
    bad.write_text("{}\n")
    with pytest.raises(OcrvlError, match="line 1"):
        mix([Ingredient(good), Ingredient(bad)], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["a.jsonl=x"], "is no weight"),
        (["a.jsonl=-1"], "is no weight"),
        (["a.jsonl=nan"], "is no weight"),
        (["a.jsonl=2", "b.jsonl"], "some have none"),
        (["a.jsonl", "./a.jsonl"], "named twice"),
    ],
)
def test_what_cannot_be_mixed_is_refused(asked: list[str], said: str) -> None:
    with pytest.raises(OcrvlError, match=said):
        ingredients(asked, None, 0.2, Path)


def test_a_replay_that_leaves_nothing_for_the_others_is_refused() -> None:
    with pytest.raises(OcrvlError, match="not between 0 and 1"):
        ingredients(["a.jsonl"], "b.jsonl", 1.0, Path)


@settings(max_examples=40)
@given(st.dictionaries(st.integers(), st.integers(1, 50), min_size=1, max_size=9), st.integers(0, 400))
def test_apportioned_seats_add_up_and_are_near_their_shares(weights: dict[int, int], seats: int) -> None:
    given_seats = apportioned(weights, seats)
    assert sum(given_seats.values()) == seats
    assert all(abs(given_seats[key] - seats * weight / sum(weights.values())) < 1 for key, weight in weights.items())


@settings(max_examples=40)
@given(st.dictionaries(st.integers(), st.integers(1, 50), min_size=1, max_size=9), st.integers(1, 400))
def test_every_kind_gets_a_seat_while_they_last_and_none_more_than_it_has(sizes: dict[int, int], seats: int) -> None:
    given_seats = apportioned_with_one_each(sizes, seats)
    assert sum(given_seats.values()) == min(seats, sum(sizes.values()))
    assert all(1 <= given_seats[key] <= sizes[key] for key in given_seats)
    assert len(given_seats) == min(seats, len(sizes))


def test_the_command_counts_what_repeats(bare_shell: Shell) -> None:
    made(bare_shell.cwd, "a", 12)
    made(bare_shell.cwd, "b", 2, TABLE)
    arguments = ("a/a.jsonl=1", "b/b.jsonl=1", "--model", "tiny", "--out", "mixed")
    said = bare_shell("data", "mix", *arguments)
    assert "5  (4 times each)" in said.out
    assert "formula, chart" in said.err
    assert len(rows_in(bare_shell.cwd / "mixed" / "train.jsonl")) == 14
