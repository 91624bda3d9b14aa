"""How far a reading is from its target, in characters.

Texts are compared as they are: a character is a Unicode code point, and nothing is normalised. A model learns exact
targets, and each normal form hides errors that some script's readers see (NFKC merges full-width and half-width forms,
dropping combining marks drops vowels). Who wants to compare in a normal form brings dataset and model into it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from rapidfuzz.distance import Levenshtein


@dataclass(frozen=True)
class Scores:
    """The scores of many readings together; lower is better, but for ``exact_match``.

    ``cer`` and ``ned_micro`` divide all edits by all characters, so that a long sample counts for more; ``cer_macro``
    and ``ned`` are means over the samples. ``exact_match`` is the share of samples read without any error.
    """

    samples: int
    cer: float
    cer_macro: float
    ned: float
    ned_micro: float
    exact_match: float

    def to_dict(self) -> dict[str, int | float]:
        """Return the scores as they stand in ``scores.json``."""
        return asdict(self)


def edits(reading: str, target: str) -> int:
    """Return the fewest insertions, deletions and substitutions of characters that turn one text into the other."""
    return Levenshtein.distance(reading, target)


def character_error_rate(reading: str, target: str) -> float:
    """Return the edits for each character of the target; over 1 for a reading much longer than its target.

    Against an empty target the edits count as if it had one character: 0 for an empty reading, else its length.
    """
    return edits(reading, target) / max(1, len(target))


def normalized_edit_distance(reading: str, target: str) -> float:
    """Return the edits for each character of the longer text, from 0 to 1; 0 when both are empty."""
    return edits(reading, target) / max(1, len(reading), len(target))


def score(pairs: Iterable[tuple[str, str]]) -> Scores:
    """Score pairs of reading and target. Raises a ``ValueError`` where there are none, as nothing can be said then."""
    count = all_edits = target_characters = longer_characters = exact = 0
    cer_sum = ned_sum = 0.0
    for reading, target in pairs:
        distance = edits(reading, target)
        longer = max(len(reading), len(target))
        count += 1
        all_edits += distance
        target_characters += len(target)
        longer_characters += longer
        cer_sum += distance / max(1, len(target))
        ned_sum += distance / max(1, longer)
        exact += distance == 0
    if not count:
        raise ValueError("there is nothing to score")
    return Scores(
        samples=count,
        cer=all_edits / max(1, target_characters),
        cer_macro=cer_sum / count,
        ned=ned_sum / count,
        ned_micro=all_edits / max(1, longer_characters),
        exact_match=exact / count,
    )
