"""Draw the README's picture: a real quickstart's last screen, as an SVG without anything fetched from elsewhere."""

from __future__ import annotations

import io
import re
from dataclasses import replace
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
        tour = Tour(Path(folder), Output.of("quickstart", quiet=True), keep=False)
        report = tour.go()
        metrics = load_metrics(tour.backend, tour.name)
        lines = summary(replace(report, home=Path(FOLDER)), metrics, home=FOLDER)
    console = Console(record=True, width=102, file=io.StringIO(), force_terminal=True)
    for line in lines:
        console.print(line, highlight=False)
    drawn = console.export_svg(title="ocrvl quickstart", theme=DIMMED_MONOKAI)
    PICTURE.write_text(re.sub(r"@font-face \{.*?\}", "", drawn, flags=re.DOTALL), encoding="utf-8")


if __name__ == "__main__":
    main()
