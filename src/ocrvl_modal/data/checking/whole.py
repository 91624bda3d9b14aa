"""A whole file checked, however large: its chunks by a crew, and what only shows when all of it is known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from ocrvl_modal.cores import usable_cores
from ocrvl_modal.data.checking.chunks import Chunk, chunks_of
from ocrvl_modal.data.checking.demands import Demands
from ocrvl_modal.data.checking.kinds import KINDS
from ocrvl_modal.data.checking.lengths import CountMany
from ocrvl_modal.data.checking.likeness import MOST_BITS, near_duplicates
from ocrvl_modal.data.checking.part import Images, Task
from ocrvl_modal.data.checking.pictures import Pictures
from ocrvl_modal.data.checking.repeats import repeats_by_name, repeats_in
from ocrvl_modal.data.checking.report import DatasetReport, FindingGroup
from ocrvl_modal.data.checking.spill import Hashes, Texts
from ocrvl_modal.data.checking.splits import Fingerprints, leaks
from ocrvl_modal.data.checking.tally import Asked, SeenImage, Tally
from ocrvl_modal.data.crew import Crew, crew_for
from ocrvl_modal.data.rows import layout_finding, no_row, require_file
from ocrvl_modal.data.schema import Finding
from ocrvl_modal.models import task_of

OnProgress = Callable[[str, int, int], None]

EXAMPLES = 5
"""How many findings of each kind a report shows."""

_CHUNK_BYTES = 1 << 20
_SMALL_BYTES = 4 << 20
_IMAGE_CHUNK_BYTES = 64 << 10
_SMALL_BYTES_WITH_IMAGES = 128 << 10
_BYTES_PER_ROW = 300
_WHAT = "checking rows (bytes)"
"""Said of progress; who shows it takes the last word for the unit."""


@dataclass(frozen=True)
class How:
    """How closely datasets are checked: which images are opened, whether they are decoded, who counts tokens.

    ``examples`` findings of a kind are reported. ``processes`` is all processors by default.
    """

    images: Images = "all"
    decode: bool = True
    count_many: CountMany | None = None
    examples: int = EXAMPLES
    processes: int | None = None
    on_progress: OnProgress | None = None


def check_dataset(path: Path, demands: Demands, how: How | None = None, against: Sequence[Path] = ()) -> DatasetReport:
    """Read every row of a dataset file, and report all that is wrong with it.

    Images that files of ``against`` have too are told as leaks; those files are not checked for anything else. Raises
    *not found* where there is no file, and a data error for a folder or an unreadable file; anything inside a file is
    in the report instead.
    """
    how = how or How()
    _require_all([path, *against])
    with _Survey(path, demands, how) as survey:
        report = survey.report
        for other in against if how.images != "none" else ():
            with _Survey(other, demands.of_held_out(), replace(how, examples=1)) as held_out:
                report = _with_leaks(report, survey, held_out, how.examples)
    return report


def check_splits(paths: Mapping[str, Path], demands: Demands, how: How | None = None) -> dict[str, DatasetReport]:
    """Check the splits of a dataset, the training data first, whose report tells of images that others have too."""
    how = how or How()
    _require_all(paths.values())
    reports: dict[str, DatasetReport] = {}
    with ExitStack() as opened:
        first: tuple[str, _Survey] | None = None
        for split, path in paths.items():
            survey = opened.enter_context(_Survey(path, demands if first is None else demands.of_held_out(), how))
            reports[split] = survey.report
            if first is None:
                first = split, survey
            elif how.images != "none":
                reports[first[0]] = _with_leaks(reports[first[0]], first[1], survey, how.examples)
    return reports


def _require_all(paths: Iterable[Path]) -> None:
    """Raise for a file that is not there before any other is read, which may take long."""
    for path in paths:
        require_file(path)


class _Survey:
    """A file checked, and what its decoded images are known by; it holds files open until it is left."""

    def __init__(self, path: Path, demands: Demands, how: How) -> None:
        self.path = path
        self.fingerprints = Fingerprints()
        self.image_paths = Texts()
        self._seen: set[str] = set()
        self._demands = demands
        self._how = how
        self._not_compared = 0

    def __enter__(self) -> _Survey:
        try:
            self.report = self._check()
        except BaseException:
            self.image_paths.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.image_paths.close()

    def _check(self) -> DatasetReport:
        tally = Tally(self._how.examples)
        if layout := layout_finding(self.path):
            tally.add_finding(layout)
            return self._report(tally)
        size = self.path.stat().st_size
        how = self._how
        task = Task(self.path, size, self._demands, how.images, how.decode, how.count_many, how.examples)
        chunk_bytes, processes = _shares(size, how)
        chunks = list(chunks_of(size, chunk_bytes))
        with crew_for(task, min(processes, len(chunks))) as crew, Hashes(size // _BYTES_PER_ROW) as hashes:
            asked = self._add_up(tally, crew, chunks, hashes)
            for repeats in [list(repeats_in(asked)), *repeats_by_name(hashes, crew, chunks)]:
                for repeat in repeats:
                    tally.add_finding(repeat.finding())
        if not tally.rows:
            tally.add_finding(no_row())
        for finding, count in [*_mixed_labels(tally), *self._alike(), *_wanting(tally, self._demands)]:
            tally.add_finding(finding, count)
        return self._report(tally)

    def _add_up(self, tally: Tally, crew: Crew, chunks: Sequence[Chunk], hashes: Hashes) -> Asked:
        """Add up what is found in all chunks; return the rows that are known by their images' bytes."""
        asked = Asked()
        parts: Iterator[Tally] = crew.run("check", ((chunk,) for chunk in chunks))
        for chunk, part in zip(chunks, parts, strict=True):
            hashes.add(part.keys)
            asked.extend(part.asked, tally.lines)
            for image in part.images:
                self._add_image(image, tally.lines)
            tally.extend(part)
            if self._how.on_progress:
                self._how.on_progress(_WHAT, chunk.end, chunks[-1].end)
        return asked

    def _add_image(self, image: SeenImage, lines_before: int) -> None:
        """Keep an image, once, whatever it is called and however often it is asked about."""
        if image.sha256 not in self._seen:
            self._seen.add(image.sha256)
            self.fingerprints.add(image.line + lines_before, image.sha256, image.likeness)
            self.image_paths.append(image.path)

    def _alike(self) -> Iterator[tuple[Finding, int]]:
        """Yield images that look like an earlier one, and are not the same file."""
        places, hashes = [], []
        for index, likeness in self.fingerprints.likenesses():
            places.append(index)
            hashes.append(likeness)
        pictures = Pictures(lambda number: Path(self.image_paths[places[number]]))
        for group in near_duplicates(hashes, MOST_BITS, pictures):
            first, *others = (self.fingerprints.line(places[number]) for number in group)
            for line in others:
                yield Finding("near_duplicate", f"the image looks nearly like that of line {first}", line), 1
        self._not_compared = pictures.not_compared

    def _report(self, tally: Tally) -> DatasetReport:
        return DatasetReport(
            path=self.path,
            rows=tally.rows,
            samples=tally.samples,
            by_prompt=dict(tally.prompts.most_common()),
            images=_images_word(self._how),
            vision_tokens=tally.vision_tokens,
            target_characters=tally.characters,
            sequence_tokens_max=tally.sequence_tokens_max,
            tokens_counted=self._how.count_many is not None,
            findings=_in_order(tally.found.values()),
            pairs_not_compared=self._not_compared,
        )


def _with_leaks(report: DatasetReport, ours: _Survey, theirs: _Survey, examples: int) -> DatasetReport:
    """Return the report of ``ours`` with the images that ``theirs`` has too."""

    def path_of(index: int) -> Path:
        count = len(ours.fingerprints)
        return Path(ours.image_paths[index] if index < count else theirs.image_paths[index - count])

    pictures = Pictures(path_of)
    found = leaks(ours.fingerprints, theirs.fingerprints, pictures)
    compared = replace(
        report,
        compared=(*report.compared, str(theirs.path)),
        pairs_not_compared=report.pairs_not_compared + pictures.not_compared,
    )
    if not found:
        return compared
    how = {"bytes": "is also", "likeness": "looks nearly like that"}
    told = tuple(
        Finding("leak", f"the image {how[leak.how]} in line {leak.other_line} of {theirs.path}", leak.line)
        for leak in found[:examples]
    )
    before = report.group("leak") or FindingGroup("leak", 0, ())
    group = FindingGroup("leak", before.count + len(found), (*before.examples, *told)[:examples])
    others = (other for other in report.findings if other.kind != "leak")
    return replace(compared, findings=_in_order([*others, group]))


def _shares(size: int, how: How) -> tuple[int, int]:
    """Return how large chunks are, and how many processes share them."""
    processes = how.processes or usable_cores()
    if how.images == "none":
        return _CHUNK_BYTES, processes if size > _SMALL_BYTES else 1
    return _IMAGE_CHUNK_BYTES, processes if size > _SMALL_BYTES_WITH_IMAGES else 1


def _mixed_labels(tally: Tally) -> Iterator[tuple[Finding, int]]:
    """Yield prompts that are answered in more than one way, by the rarer ways."""
    for prompt in dict.fromkeys(prompt for prompt, _ in tally.labels):
        ways = {label: way for (other, label), way in tally.labels.items() if other == prompt}
        usual, *others = sorted(ways, key=lambda label: -ways[label].count)
        for label in others:
            message = (
                f"{prompt!r} is answered with {label} in {ways[label].count:,} rows,"
                f" and with {usual} in {ways[usual].count:,}"
            )
            yield Finding("mixed_labels", message, ways[label].line), ways[label].count


def _wanting(tally: Tally, demands: Demands) -> Iterator[tuple[Finding, int]]:
    """Yield tasks of which there are too few samples, or none."""
    for prompt, count in tally.prompts.items():
        if count < demands.least_samples:
            has = f"{count:,} {'sample' if count == 1 else 'samples'}"
            yield Finding("few_samples", f"{prompt!r} has {has}; {demands.least_samples:,} are few"), 1
    missing = [prompt for prompt in demands.tasks if prompt not in tally.prompts]
    if missing and tally.samples:
        names = ", ".join(task_of(prompt) or prompt for prompt in missing)
        yield Finding("missing_tasks", f"no samples of: {names}; the tuned model may do these worse than before"), 1


def _in_order(groups: Iterable[FindingGroup]) -> tuple[FindingGroup, ...]:
    """Return errors before warnings, the commonest first."""
    order = list(KINDS)
    return tuple(sorted(groups, key=lambda group: (group.severity, -group.count, order.index(group.kind))))


def _images_word(how: How) -> str:
    if how.images == "none":
        return "none"
    return how.images if how.decode else f"{how.images}, headers only"
