"""Draw the README's picture: a real quickstart's last screen, as an SVG without anything fetched from elsewhere."""

from __future__ import annotations

import io
import re
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI

from ocrvl_modal.backends.runs_view import load_metrics
from ocrvl_modal.commands._tour import Tour
from ocrvl_modal.output import Output
from ocrvl_modal.report.quickstart_summary import summary

PICTURE = Path(__file__).parent / "images" / "quickstart.svg"
FOLDER = "~/try-ocrvl"


def main() -> None:
    """Run the quickstart in a folder that goes away, and draw what it ends with."""
    with TemporaryDirectory() as folder:
        home = Path(folder)
        tour = Tour(home, Output.of("quickstart", quiet=True), keep=False)
        report = tour.go()
        lines = summary(
            run=report.run,
            plan=report.plan,
            scores=report.scores,
            samples=report.samples,
            readings=report.readings,
            metrics=load_metrics(tour.backend, tour.name),
            killed_at_step=report.killed_at_step,
            resumed_from_step=report.resumed_from_step,
            files={name: Path(FOLDER) / path.relative_to(home) for name, path in report.files.items()},
            seconds=report.seconds,
            prefix=f"OCRVL_HOME={FOLDER} ",
        )
    console = Console(record=True, width=102, file=io.StringIO(), force_terminal=True)
    for line in lines:
        console.print(line, highlight=False)
    drawn = console.export_svg(title="ocrvl quickstart", theme=DIMMED_MONOKAI)
    PICTURE.write_text(re.sub(r"@font-face \{.*?\}", "", drawn, flags=re.DOTALL), encoding="utf-8")


if __name__ == "__main__":
    main()
