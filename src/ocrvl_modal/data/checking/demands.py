"""What a dataset is held against."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ocrvl_modal.models import PixelLimits


@dataclass(frozen=True)
class Demands:
    """What the model and the recipe ask of a dataset: its prompts, its image sizes, and the longest sample in tokens.

    ``tasks`` are prompts of what the model can do already, and may forget where it is not trained on; fewer than
    ``least_samples`` of a prompt are too few to learn from. Both are for training data, and ask nothing by default.
    ``tail`` is what the family member has between prompt and answer, and counts as tokens.
    """

    prompts: tuple[str, ...]
    pixels: PixelLimits
    max_seq_len: int
    tasks: tuple[str, ...] = ()
    least_samples: int = 0
    tail: str = "Assistant: "

    def of_held_out(self) -> Demands:
        """Return what is asked of data that nobody learns from."""
        return replace(self, tasks=(), least_samples=0)
