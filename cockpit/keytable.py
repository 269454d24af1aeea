"""The README's table of keys, made from the registry.

python -m cockpit.keytable README.md
"""

from __future__ import annotations

import sys
from pathlib import Path

from cockpit.actions import ACTIONS

BEGIN, END = "<!-- keys: made by python -m cockpit.keytable README.md -->", "<!-- end of keys -->"


def table() -> str:
    """A row for each action, in Markdown."""
    rows = ["| key | does | |", "| --- | --- | --- |"]
    for action in ACTIONS:
        key = action.key_label or "ctrl+p"
        rows.append(f"| `{key}` | {action.label} | {action.help} |")
    return "\n".join(rows)


def with_table(text: str) -> str:
    """A Markdown text with the table between its two marks. Raises ValueError where they are missing."""
    before, mark, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (mark and end):
        raise ValueError(f"no place for the table: {BEGIN} … {END}")
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    for name in sys.argv[1:]:
        path = Path(name)
        path.write_text(with_table(path.read_text(encoding="utf-8")), encoding="utf-8")
