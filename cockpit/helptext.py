"""How `--help` is laid out: plain text, each entry wrapped once, at the width of the terminal it is read in."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from cyclopts.help.formatters.plain import PlainFormatter

if TYPE_CHECKING:
    from rich.console import Console


class Hanging(PlainFormatter):
    """Plain, with what goes on of an entry indented below it.

    Cyclopts wraps a description as if it stood alone, then puts the name before it and has all of it wrapped again.
    """

    def _print_plain(self, console: Console, text: str) -> None:
        if text.startswith(self.indent):
            text = textwrap.fill(
                " ".join(text.split()), console.width, initial_indent=self.indent, subsequent_indent=3 * self.indent,
                break_on_hyphens=False, break_long_words=False,
            )  # fmt: skip
        super()._print_plain(console, text)
