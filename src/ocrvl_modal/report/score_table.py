"""The scores of base and tuned side by side, and what they come to in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

_METRICS = (("CER", "cer"), ("NED", "ned"), ("read exactly", "exact_match"))
_HIGHER_IS_BETTER = {"exact_match"}


def score_table(result: Mapping[str, Any]) -> Table:
    """Return one line a metric, over all samples and, where there are several prompts, for each of them."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("metric")
    for header in ("base", "tuned", "change"):
        table.add_column(header, justify="right")
    parts: dict[str, Any] = {"": result["scores"]}
    if len(result["by_prompt"]) > 1:
        parts |= result["by_prompt"]
    for prompt, scores in parts.items():
        if prompt:
            table.add_row(Text(f"{prompt} ({scores['base']['samples']} samples)", style="dim"))
        for title, metric in _METRICS:
            table.add_row(*_cells(title, metric, scores))
    return table


def verdict(result: Mapping[str, Any]) -> str:
    """Return, in a sentence, which of the two reads this set better; see :func:`is_better`."""
    samples = result["samples"]
    set_ = f"this set of {samples} {'sample' if samples == 1 else 'samples'}"
    base, tuned = (result["scores"][word]["cer"] for word in ("base", "tuned"))
    rates = f"CER {tuned:.4f}, and {base:.4f} before tuning"
    changes = _changes(result)
    if is_better(result):
        return f"Tuned reads {set_} better than base: {rates}."
    if min(changes) < 0 < max(changes):
        return f"The scores disagree on {set_}: CER and NED went different ways, so neither reads it clearly better."
    if max(changes) > 0:
        return f"Tuned reads {set_} WORSE than base: {rates}."
    return f"Tuned reads {set_} no better than base: {rates}."


def is_better(result: Mapping[str, Any]) -> bool:
    """Say whether tuned is better by both error rates.

    CER alone would call a model better that writes nothing (CER 1) where base writes too much (CER over 1).
    """
    return max(_changes(result)) < 0


def _changes(result: Mapping[str, Any]) -> list[float]:
    base, tuned = result["scores"]["base"], result["scores"]["tuned"]
    return [tuned[metric] - base[metric] for metric in ("cer", "ned")]


def score_warnings(result: Mapping[str, Any]) -> list[str]:
    """Return what takes away from the scores: samples that were not read, or not to their end."""
    samples, limit = result["samples"], result["max_new_tokens"]
    failed = [
        f"{word} could not read {count} of {samples} samples; they count as read empty (errors in predictions.jsonl)"
        for word, count in result["errors"].items()
        if count
    ]
    cut_off = [
        f"{word} was still writing at {limit} tokens in {count} of {samples} samples (--max-new-tokens allows more)"
        for word, count in result["truncated"].items()
        if count
    ]
    return failed + cut_off


def _cells(title: str, metric: str, scores: Mapping[str, Any]) -> Sequence[str | Text]:
    base, tuned = (scores[word][metric] for word in ("base", "tuned"))
    change = tuned - base
    better = change > 0 if metric in _HIGHER_IS_BETTER else change < 0
    style = "" if not change else ("green" if better else "red")
    if metric in _HIGHER_IS_BETTER:
        return title, f"{base:.1%}", f"{tuned:.1%}", Text(f"{change * 100:+.1f} points", style=style)
    return title, f"{base:.4f}", f"{tuned:.4f}", Text(f"{change:+.4f}", style=style)
