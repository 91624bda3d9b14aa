"""What a user asks to be mixed: ``FILE`` or ``FILE=WEIGHT``, and a file to replay."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ocrvl_modal.errors import usage_error

_EXAMPLE = "ocrvl data mix mine.jsonl=3 theirs.jsonl=1 --out mixed"


@dataclass(frozen=True)
class Ingredient:
    """One dataset of a mix: its ``weight`` among the others (``None``: its number of rows), or its replay share.

    ``replay_share`` is the part of the whole mix that a replayed dataset makes up, and 0 for the others.
    """

    path: Path
    weight: float | None = None
    replay_share: float = 0.0


def ingredients(
    datasets: Sequence[str], replay: str | None, replay_share: float, resolve: Callable[[str], Path]
) -> list[Ingredient]:
    """Return what is to be mixed; ``resolve`` tells the path that a reference stands for.

    Raises a usage error where a weight is no positive number or only some have one, where a file is named twice, and
    where the replay's share leaves nothing for the others.
    """
    found = [_ingredient(dataset, resolve) for dataset in datasets]
    if len({each.weight is None for each in found}) > 1:
        raise usage_error("some of the datasets have a weight, and some have none", _EXAMPLE)
    if replay is not None:
        if not 0 < replay_share < 1:
            raise usage_error(f"a replay share of {replay_share:g} is not between 0 and 1", "--replay-share 0.2")
        found.append(Ingredient(resolve(replay), replay_share=replay_share))
    paths = [each.path.resolve() for each in found]
    for each, path in zip(found, paths, strict=True):
        if paths.count(path) > 1:
            raise usage_error(f"{each.path} is named twice", "name it once, with a larger weight")
    return found


def _ingredient(dataset: str, resolve: Callable[[str], Path]) -> Ingredient:
    reference, equals, weight = dataset.rpartition("=")
    if not equals or resolve(dataset).is_file():
        return Ingredient(resolve(dataset))
    try:
        number = float(weight)
    except ValueError:
        number = math.nan
    if not (0 < number < math.inf):
        raise usage_error(f"{dataset}: '{weight}' is no weight; it is a number above 0", _EXAMPLE)
    return Ingredient(resolve(reference), number)
