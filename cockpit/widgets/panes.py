"""The panes below: the newest sample as it is written, and the log."""

from __future__ import annotations

from rich.cells import cell_len
from textual.strip import Strip

from cockpit import format as fmt
from cockpit.sanitize import clean, clean_line
from cockpit.state import LogRecord, RunState, SampleRecord
from cockpit.widgets import ink
from cockpit.widgets.rows import Piece, RowsWidget, row, rule

_LEVELS = {"warning": ("!", ink.WARNING), "error": ("×", ink.CRITICAL)}
_PROMPT = 32
"""Characters of the prompt in the title."""
_LONGEST = 20_000
"""Characters of a sample that are laid out: the end of it is what shows."""


class SamplePane(RowsWidget):
    """The newest sample: its prompt dim, what the model wrote bright. Follows the text as it grows."""

    DEFAULT_CSS = "SamplePane { height: 1fr; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._key: tuple | None = None
        self._made: list[Strip] = []
        self.tabbed = False
        """Whether the log hides behind this pane."""

    def rows(self, state: RunState, width: int, height: int) -> list[Strip]:
        record = state.samples[-1] if state.samples else None
        key = (record, width, height, self.tabbed)
        if key != self._key:
            self._key = key
            self._made = [_title("sample", "log" if self.tabbed else "", _about(record), width)]
            self._made += _sample(record, width, height - 1)
        return self._made


class LogPane(RowsWidget):
    """The newest log lines, the console's among them, by time since the run began."""

    DEFAULT_CSS = "LogPane { height: 1fr; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.tabbed = False
        """Whether the sample hides behind this pane."""

    def rows(self, state: RunState, width: int, height: int) -> list[Strip]:
        title = _title("log", "sample" if self.tabbed else "", "", width)
        lines: list[Strip] = []
        for record in reversed(state.log[-height:] if height > 1 else ()):
            rows = _log_rows(record, state.first_time, width)
            if lines and len(rows) + len(lines) > height - 1:
                break
            lines = rows + lines
        return [title, *lines]


def _title(name: str, hidden: str, about: str, width: int) -> Strip:
    right: list[Piece] = [("tab ", ink.TEXT), (hidden, ink.DIM)] if hidden else []
    return rule(width, [(name, ink.TEXT), (f"  {about}" if about else "", ink.DIM)], right)


def _about(record: SampleRecord | None) -> str:
    if record is None:
        return ""
    prompt = " ".join(clean(record.prompt).split())
    quoted = f" · “{prompt[:_PROMPT]}{'…' if len(prompt) > _PROMPT else ''}”" if prompt else ""
    return f"{record.number} · step {record.step:,}{quoted}" + ("" if record.done else " · writing")


def _sample(record: SampleRecord | None, width: int, height: int) -> list[Strip]:
    if height <= 0 or width < 4:
        return []
    if record is None:
        return [row(width, [(" press ", ink.FAINT), ("s", ink.DIM), (" to draw one", ink.FAINT)])]
    prompt, text = clean(record.prompt), clean(record.text[-_LONGEST:])
    text = text.rstrip("\n") if record.done else text
    cursor = [] if record.done else [("▌", ink.TRAIN)]
    pieces: list[Piece] = [(prompt.lstrip("\n"), ink.DIM), (text if prompt.strip() else text.lstrip("\n"), ink.TEXT)]
    lines = wrap([*pieces, *cursor], width - 2)
    return [row(width, [(" ", ink.TEXT), *line]) for line in lines[-height:]]


def _log_rows(record: LogRecord, first_time: float | None, width: int) -> list[Strip]:
    """A record's rows: the text wraps below itself, two rows at the most."""
    since = record.time - first_time if first_time is not None else None
    glyph, style = _LEVELS.get(record.level, (" ", ink.TEXT))
    if record.source == "console":
        glyph, style = (glyph if glyph != " " else "›"), (style if glyph != " " else ink.DIM)
    head: list[Piece] = [(f" {fmt.clock(since):>8} ", ink.FAINT), (f"{glyph} ", style)]
    room = width - 13
    if room < 8:
        return [row(width, [*head, (clean_line(record.text), style)])]
    lines = wrap([(clean_line(record.text), style)], room)
    if len(lines) > 2:
        lines = [lines[0], [*lines[1], ("…", style)]]
    below: list[Piece] = [(" " * 12, ink.TEXT)]
    return [row(width, [*(below if number else head), *line]) for number, line in enumerate(lines)]


def wrap(pieces: list[Piece], width: int) -> list[list[Piece]]:
    """Clean pieces in lines of at most `width` cells, broken at a blank in the last third of a line, else anywhere."""
    chars = [(char, index) for index, (text, _) in enumerate(pieces) for char in text]
    lines: list[list[tuple[str, int]]] = [[]]
    used = 0
    for char, index in chars:
        if char == "\n":
            lines.append([])
            used = 0
            continue
        cells = 1 if " " <= char <= "~" else cell_len(char)
        if used + cells > width:
            line = lines[-1]
            at = next((i for i in range(len(line) - 1, len(line) * 2 // 3, -1) if line[i][0] == " "), None)
            carried = [] if at is None or char == " " else line[at + 1 :]
            if carried:
                lines[-1] = line[: at + 1] if at is not None else line
            lines.append(carried)
            used = cell_len("".join(c for c, _ in carried))
            if char == " " and not carried:
                continue
        lines[-1].append((char, index))
        used += cells
    return [_runs(line, pieces) for line in lines]


def _runs(line: list[tuple[str, int]], pieces: list[Piece]) -> list[Piece]:
    runs: list[tuple[str, int]] = []
    for char, index in line:
        if runs and runs[-1][1] == index:
            runs[-1] = (runs[-1][0] + char, index)
        else:
            runs.append((char, index))
    return [(text, pieces[index][1]) for text, index in runs]
