"""Images that look alike are found, lines of other text are not, and the search stays quick whatever it is given."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from random import Random

import pytest
from PIL import Image
from PIL.Image import Resampling

from data.pictures import copies, line, page, scaled, words
from ocrvl_modal.data.checking.likeness import BITS, MOST_BITS, are_alike, likeness, near_duplicates
from ocrvl_modal.data.checking.pictures import Pictures, are_one_picture


@pytest.fixture
def chance() -> Random:
    return Random(20)


def saved(folder: Path, images: list[Image.Image]) -> list[Path]:
    paths = [folder / f"{number}.png" for number in range(len(images))]
    for image, path in zip(images, paths, strict=True):
        image.save(path)
    return paths


def hash_of(image: Image.Image) -> int:
    value = likeness(image)
    assert value is not None
    return value


def groups_among(folder: Path, images: list[Image.Image]) -> list[tuple[int, ...]]:
    paths = saved(folder, images)
    return near_duplicates([hash_of(image) for image in images], same=Pictures(paths.__getitem__))


@pytest.mark.parametrize("size", [16, 24, 40])
def test_copies_of_a_line_are_found_and_other_lines_are_not(tmp_path: Path, chance: Random, size: int) -> None:
    lines = [line(words(chance, chance.randint(3, 6)), size) for _ in range(40)]
    doubled = [*lines, *copies(lines[7]).values()]
    (group,) = groups_among(tmp_path, doubled)
    assert group[0] == 7
    # One copy in ten may get away.
    assert len(group) >= len(copies(lines[7]))
    assert all(index == 7 or index >= len(lines) for index in group)


def test_copies_of_a_page_are_found_and_other_pages_are_not(tmp_path: Path, chance: Random) -> None:
    pages = [page(chance) for _ in range(5)]
    doubled = [*pages, *copies(pages[2]).values()]
    assert groups_among(tmp_path, doubled) == [(2, *range(5, len(doubled)))]


@pytest.mark.parametrize(
    "texts",
    [
        [f"line {number}" for number in range(60)],
        [f"Invoice number {number:04d} of the year 2024" for number in range(40)],
        ["one, two", "one. two", "one; two", "One, two", "onc, two"],
    ],
    ids=["numbers", "a form filled in", "a sign or a letter"],
)
def test_lines_that_differ_in_a_letter_are_no_duplicates(tmp_path: Path, texts: list[str]) -> None:
    assert groups_among(tmp_path, [line(text) for text in texts]) == []


def test_the_hash_alone_cannot_tell_a_long_form_s_lines_apart() -> None:
    """So that what the test before shows is owed to the pictures."""
    one, other = (hash_of(line(f"Invoice number {number} of the year 2024")) for number in (1203, 1208))
    assert are_alike(one, other)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "PA", "CMYK", "1", "I", "F", "I;16", "YCbCr", "HSV"])
def test_every_mode_of_an_image_has_a_likeness(chance: Random, mode: str) -> None:
    picture = page(chance).convert("L")
    image = picture.convert("RGB").convert(mode) if mode in {"YCbCr", "HSV", "CMYK", "PA"} else picture.convert(mode)
    assert are_alike(hash_of(image), hash_of(picture))


def test_transparent_parts_are_white_as_engines_see_them(chance: Random) -> None:
    picture = line(words(chance, 4))
    ink = Image.new("RGBA", picture.size, (20, 20, 20, 255))
    ink.putalpha(picture.convert("L").point(lambda level: 255 - level))
    assert are_alike(hash_of(ink), hash_of(picture))


@pytest.mark.parametrize("colour", ["white", "black", (200, 180, 160)])
def test_a_blank_image_is_like_none(colour: object) -> None:
    assert likeness(Image.new("RGB", (400, 30), colour)) is None


def test_a_nearly_blank_image_is_like_none() -> None:
    specked = Image.new("L", (800, 1100), 255)
    specked.putpixel((300, 400), 0)
    assert likeness(specked) is None


@pytest.mark.parametrize("size", [(1, 1), (2, 900), (900, 2), (3, 3)])
def test_the_smallest_image_makes_no_trouble(chance: Random, size: tuple[int, int]) -> None:
    noise = Image.frombytes("L", size, chance.randbytes(size[0] * size[1]))
    likeness(noise)


def test_images_of_other_shapes_are_never_alike(chance: Random) -> None:
    picture = page(chance)
    assert not are_alike(hash_of(picture), hash_of(picture.resize((1200, 100), Resampling.BICUBIC)))


def sparse(chance: Random) -> int:
    return chance.getrandbits(BITS) & chance.getrandbits(BITS)


def changed(chance: Random, value: int, bits: int) -> int:
    for place in chance.sample(range(BITS), bits):
        value ^= 1 << place
    return value


def all_pairs(hashes: list[int]) -> set[tuple[int, int]]:
    return {(one, two) for one, two in combinations(range(len(hashes)), 2) if are_alike(hashes[one], hashes[two])}


def test_the_search_finds_what_comparing_every_two_finds(chance: Random) -> None:
    originals = [sparse(chance) for _ in range(300)]
    hashes = [*originals, *(changed(chance, chance.choice(originals), chance.randint(0, MOST_BITS)) for _ in range(60))]
    joined = {frozenset(pair) for pair in all_pairs(hashes)}
    found = near_duplicates(hashes)
    assert {frozenset(group) for group in found if len(group) == 2} <= joined
    assert {index for group in found for index in group} == {index for pair in joined for index in pair}


def test_a_crowd_that_shares_a_part_is_searched_as_well(chance: Random) -> None:
    shared = (1 << BITS // (MOST_BITS + 1)) - 1
    hashes = [sparse(chance) & ~shared for _ in range(400)]
    others = ~shared & ((1 << BITS) - 1)
    copied = [changed(chance, value, 5) & others for value in hashes[:40]]
    assert near_duplicates(hashes + copied) == [(number, 400 + number) for number in range(40)]


def test_equal_hashes_are_one_group(chance: Random) -> None:
    value = sparse(chance)
    assert near_duplicates([sparse(chance), value, sparse(chance), value, value]) == [(1, 3, 4)]


def test_few_hashes_make_no_trouble() -> None:
    assert near_duplicates([]) == []
    assert near_duplicates([5]) == []


def test_one_picture_is_known_at_other_sizes_but_not_with_another_letter(tmp_path: Path) -> None:
    one, smaller, other = saved(
        tmp_path, [line("the year 1893", 30), scaled(line("the year 1893", 30), 0.6), line("the year 1898", 30)]
    )
    assert are_one_picture(one, smaller)
    assert not are_one_picture(one, other)
    assert not are_one_picture(one, tmp_path / "missing.png")


def test_no_more_is_compared_than_is_allowed_and_the_rest_is_counted(tmp_path: Path) -> None:
    paths = saved(tmp_path, [line("twice the same")] * 6)
    pictures = Pictures(paths.__getitem__, most=2)
    assert [pictures(0, 1), pictures(1, 0), pictures(2, 3), pictures(4, 5)] == [True, True, True, False]
    assert pictures.not_compared == 1


def test_one_image_is_not_compared_with_thousands(tmp_path: Path) -> None:
    paths = saved(tmp_path, [line(f"line {number}") for number in range(22)])
    pictures = Pictures(paths.__getitem__)
    for number in range(1, 22):
        pictures(0, number)
    assert pictures.not_compared == 5
