"""Random tables with merged cells of any size, for what must hold for every table."""

from __future__ import annotations

import re

from hypothesis import strategies as st

from ocrvl_modal.data.otsl.grid import Cell, Grid

TEXTS = st.text(st.sampled_from("abÄ9 <>&\"'|\\$-\n日"), max_size=6).map(
    # White space at a line break belongs to the layout of HTML, not to the text.
    lambda text: re.sub(r"\s*\n\s*", "\n", text.strip())
)


@st.composite
def grids(draw: st.DrawFn, longest: int = 5) -> Grid:
    """Each position that is still free begins a cell, as large as it may be at most; so none is left without one."""
    height, width = draw(st.integers(1, longest)), draw(st.integers(1, longest))
    free = {(row, column) for row in range(height) for column in range(width)}
    cells = []
    for row in range(height):
        for column in range(width):
            if (row, column) not in free:
                continue
            most_right = next((at for at in range(column, width) if (row, at) not in free), width) - column
            cell_width = draw(st.integers(1, most_right))
            cell_height = draw(st.integers(1, height - row))
            free -= {(row + down, column + right) for down in range(cell_height) for right in range(cell_width)}
            cells.append(Cell(draw(TEXTS), row, column, cell_height, cell_width))
    return Grid(height, width, tuple(cells))
