"""Every kind of finding: how grave it is, what it means, and what mends it. Nothing else names a kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Kind:
    """One kind of finding.

    ``title`` says it in a few words, ``mend`` is the advice. ``fixable`` tells whether ``--fix`` mends it by itself.
    """

    severity: Severity
    title: str
    mend: str
    fixable: bool = False


def _error(title: str, mend: str, *, fixable: bool = False) -> Kind:
    return Kind("error", title, mend, fixable)


def _warning(title: str, mend: str, *, fixable: bool = False) -> Kind:
    return Kind("warning", title, mend, fixable)


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        # The file and its lines.
        "empty": _error("the file has no row", "write one JSON object a line"),
        "json_array": _error("the file is one JSON array", "--fix writes one object a line", fixable=True),
        "spread_rows": _error("rows over several lines", "--fix writes one object a line", fixable=True),
        "blank_line": _error("blank lines, at which ERNIEKit stops", "remove them", fixable=True),
        "not_utf8": _error("lines that are not UTF-8", "save the file as UTF-8"),
        "not_json": _error("lines that are not JSON", "write each row with a JSON library"),
        "not_an_object": _error("lines that are JSON, but no object", "write each row as {…}"),
        # The form of a row.
        "unknown_form": _error("rows of neither form", "write messages and images, or text_info and image_info"),
        "wrong_shape": _error("values of a wrong type, or missing", "correct what the path names"),
        "unknown_key": _error("keys that no engine knows", "remove or rename them"),
        "unsupported": _error("tools, videos or sounds, which this family cannot take", "remove them"),
        "wrong_turns": _error("turns that do not alternate", "write mask then no_mask, or user then assistant"),
        "no_learned_turn": _error("rows without a turn to learn from", "tag the answer no_mask, or give it a label"),
        "multi_turn": _error("rows with several questions", "write one question and one answer a row"),
        "system_turn": _error("rows with a system turn", "remove it: this family is not asked with one"),
        "image_count": _error("rows without exactly one image and one mark", "write one image and one <image>"),
        "image_place": _error("images that do not come first", "begin the user's turn with <image>", fixable=True),
        "image_index": _error("a matched_text_index out of range", "write 0"),
        "image_embedded": _error("images embedded in the row", "save them as files and name their paths"),
        # What is asked and answered.
        "empty_target": _error("empty targets", "label the image, or remove the row"),
        "unknown_prompt": _error("prompts that the model does not know", "use the model's own, or declare yours"),
        "reserved_text": _error("the model's own marks in a text", "remove them"),
        "surrogate": _error("half of a pair of surrogates", "write the whole character"),
        "control_characters": _warning("control characters", "remove them", fixable=True),
        "not_nfc": _warning("text that is not in Unicode's form NFC", "normalize it", fixable=True),
        "repetition": _warning("targets that repeat themselves", "look at them: a model's output, perhaps"),
        "mixed_labels": _warning("one prompt, answered in two ways", "give each labelling a prompt of its own"),
        "markdown_table": _warning("Markdown tables, which ERNIEKit rewrites", "ocrvl data convert writes OTSL"),
        "otsl": _error("tables that break the grammar of OTSL", "ocrvl data convert writes it right"),
        "latex": _warning("LaTeX that does not balance", "close what is open"),
        "chart_width": _warning("charts with rows of unequal width", "give each row as many cells"),
        "spotting": _error("spotting lines without eight LOC tokens", "write text and four corners a line"),
        "too_long": _error("samples over max_seq_len", "cut them into parts, or raise data.max_seq_len"),
        "maybe_too_long": _warning(
            "samples that may be over max_seq_len, by an estimate", "ocrvl download model counts them: then check again"
        ),
        # The image's file.
        "image_missing": _error("images that are not there", "put them where the rows say"),
        "image_empty": _error("image files of zero size", "fetch or export them again"),
        "image_unreadable": _error("files that are no image", "save them as PNG or JPEG"),
        "image_truncated": _error("images that are cut off or damaged", "fetch or export them again"),
        "image_shape": _error("images too thin for the model", "cut or pad them"),
        "image_too_large": _error("images of too many pixels", "scale them down"),
        "image_rotated": _warning("images turned by EXIF, which no engine obeys", "save them upright"),
        "image_cmyk": _warning("CMYK images", "save them as RGB: each program converts them in its own way"),
        "image_16bit": _warning("images of 16 bits a channel", "save them with 8"),
        "image_animated": _warning("animations, of which only the first frame is read", "save the frame that is meant"),
        "image_url": _warning("images named by URL, which are slow in training", "ocrvl data localize"),
        "absolute_path": _warning("absolute paths, which no other machine has", "ocrvl data push packs them"),
        "parent_path": _warning("paths that climb out of the folder", "ocrvl data push packs them"),
        # The dataset as a whole.
        "duplicate": _warning("rows that repeat an image and its prompt", "remove them", fixable=True),
        "contradiction": _warning("rows that answer the same in two ways", "decide for one"),
        "near_duplicate": _warning("images that look nearly alike", "keep one of each"),
        "leak": _warning("images that another split has too", "ocrvl data split keeps them together"),
        "few_samples": _warning("too few samples of a task", "label more, or start with LoRA"),
        "missing_tasks": _warning("tasks that tuning may make the model forget", "ocrvl data mix adds a replay share"),
        "prompt_identity": _error("a prompt that is not the model's own", "take the model's own chat template"),
    }
)
