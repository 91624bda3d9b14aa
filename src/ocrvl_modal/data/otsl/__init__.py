"""Tables as OTSL, the form in which the models of the family write them: from HTML and Markdown, to HTML, and checked.

OTSL writes a table row by row, a token for each position of its grid, and ``<nl>`` after each row. ``<fcel>`` is a cell
with the text that follows, ``<ecel>`` one without. The other positions of a merged cell are ``<lcel>`` (it goes on from
the left), ``<ucel>`` (from above) and ``<xcel>`` (from both). So a block of r rows and c columns is ``<fcel>`` or
``<ecel>`` in its corner, ``<lcel>`` in the rest of its top row, ``<ucel>`` in the rest of its left column, and
``<xcel>`` elsewhere; and all rows have the same number of tokens.
"""

from __future__ import annotations

from ocrvl_modal.data.otsl.checking import OtslFinding, check_otsl
from ocrvl_modal.data.otsl.decoding import otsl_to_html
from ocrvl_modal.data.otsl.from_html import html_to_otsl
from ocrvl_modal.data.otsl.from_markdown import markdown_to_otsl

__all__ = ["OtslFinding", "check_otsl", "html_to_otsl", "markdown_to_otsl", "otsl_to_html"]
