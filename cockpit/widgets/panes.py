"""The panes below: the newest sample as it is written, and the log."""

from __future__ import annotations

from rich.cells import cell_len
from textual import events
from textual.strip import Strip

from cockpit import format as fmt
from cockpit.sanitize import clean, clean_line
from cockpit.state import LogRecord, RunState, SampleRecord
from cockpit.widgets import ink
from cockpit.widgets.rows import Piece, RowsWidget, row, rule

LEVEL_GLYPHS = {"warning": ("!", ink.WARNING), "error": ("×", ink.CRITICAL)}
"""How a line's level shows."""
_PROMPT = 32
"""Characters of the prompt in the title."""
_LONGEST = 20_000
"""Characters of a sample that are laid out: the end of it is what shows."""


WHEEL_ROWS = 3
"""Rows that one notch of the wheel moves."""


class ScrolledPane(RowsWidget):
    """A pane that follows what is new, until it is moved back; then it stands still until it is moved to the end."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.tabbed = False
        """Whether another pane hides behind this one."""
        self.back = 0
        """Rows between its last row and the end."""
        self._held: RunState | None = None

    def lines(self, state: RunState, width: int, wanted: int) -> list[Strip]:
        """The newest rows of all that there is to show, `wanted` of them at least where there are so many."""
        raise NotImplementedError

    def title(self, state: RunState, width: int) -> Strip:
        """The first row."""
        raise NotImplementedError

    def scroll_rows(self, by: int) -> None:
        """Moves by so many rows; below zero: to what was before."""
        self._held = self._held or self._state
        room = max(1, self.size.height - 1)
        self.back = wanted = max(0, self.back - by)
        self.back = max(0, min(wanted, len(self.lines(self._held, self.size.width, wanted + room)) - room))
        if not self.back:
            self._held = None
        self.redraw()

    def rows(self, state: RunState, width: int, height: int) -> list[Strip]:
        room = height - 1
        lines = self.lines(self._held or state, width, self.back + room) if room > 0 else []
        end = len(lines) - self.back
        return [self.title(state, width), *lines[max(0, end - room) : end]]

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.scroll_rows(-WHEEL_ROWS)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.scroll_rows(WHEEL_ROWS)

    def heading(self, name: str, hidden: str, about: str, width: int) -> Strip:
        """A rule with the pane's name; on its right how far it has been moved back, and what hides behind it."""
        moved: list[Piece] = [(f"↓ {self.back:,} below", ink.WARNING)] if self.back else []
        behind: list[Piece] = [("  " if moved else "", ink.TEXT), ("tab ", ink.TEXT), (hidden, ink.DIM)]
        right = [*moved, *(behind if self.tabbed else [])]
        return rule(width, [(name, ink.TEXT), (f"  {about}" if about else "", ink.DIM)], right)


class SamplePane(ScrolledPane):
    """The newest sample: its prompt dim, what the model wrote bright. Follows the text as it grows."""

    DEFAULT_CSS = "SamplePane { height: 1fr; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._key: tuple | None = None
        self._made: list[Strip] = []

    def title(self, state: RunState, width: int) -> Strip:
        return self.heading("sample", "log", _about(_newest(self._held or state)), width)

    def lines(self, state: RunState, width: int, wanted: int) -> list[Strip]:
        key = (_newest(state), width)
        if key != self._key:
            self._key = key
            self._made = _sample(key[0], width)
        return self._made


def _newest(state: RunState) -> SampleRecord | None:
    return state.samples[-1] if state.samples else None


class LogPane(ScrolledPane):
    """The newest log lines, the console's among them, by time since the run began."""

    DEFAULT_CSS = "LogPane { height: 1fr; }"

    def title(self, state: RunState, width: int) -> Strip:
        return self.heading("log", "sample", "", width)

    def lines(self, state: RunState, width: int, wanted: int) -> list[Strip]:
        made: list[list[Strip]] = []
        count = 0
        for record in reversed(state.log):
            rows = _log_rows(record, state.first_time, width)
            if not self.back and made and count + len(rows) > wanted:
                break  # a record's rows stay together at the top of the pane
            made.append(rows)
            count += len(rows)
            if count >= wanted:
                break
        return [row for rows in reversed(made) for row in rows]


def _about(record: SampleRecord | None) -> str:
    if record is None:
        return ""
    prompt = " ".join(clean(record.prompt).split())
    quoted = f" · “{prompt[:_PROMPT]}{'…' if len(prompt) > _PROMPT else ''}”" if prompt else ""
    return f"{record.number} · step {record.step:,}{quoted}" + ("" if record.done else " · writing")


def _sample(record: SampleRecord | None, width: int) -> list[Strip]:
    if width < 4:
        return []
    if record is None:
        return [row(width, [(" press ", ink.FAINT), ("s", ink.DIM), (" to draw one", ink.FAINT)])]
    prompt, text = clean(record.prompt), clean(record.text[-_LONGEST:])
    text = text.rstrip("\n") if record.done else text
    cursor = [] if record.done else [("▌", ink.TRAIN)]
    pieces: list[Piece] = [(prompt.lstrip("\n"), ink.DIM), (text if prompt.strip() else text.lstrip("\n"), ink.TEXT)]
    return [row(width, [(" ", ink.TEXT), *line]) for line in wrap([*pieces, *cursor], width - 2)]


def _log_rows(record: LogRecord, first_time: float | None, width: int) -> list[Strip]:
    """A record's rows: the text wraps below itself, two rows at the most."""
    since = record.time - first_time if first_time is not None else None
    glyph, style = LEVEL_GLYPHS.get(record.level, (" ", ink.TEXT))
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
    whole = "".join(text for text, _ in pieces)
    indices = (index for index, (text, _) in enumerate(pieces) for _ in text)
    lines: list[list[tuple[str, int, bool]]] = [[]]
    used = 0
    for char, mark, index in zip(whole, fmt.together(whole), indices, strict=True):
        if char == "\n":
            lines.append([])
            used = 0
            continue
        cells = 1 if " " <= char <= "~" else cell_len(char)
        if used + cells > width:
            line = lines[-1]
            at = next((i for i in range(len(line) - 1, len(line) * 2 // 3, -1) if line[i][2]), None)
            carried = [] if at is None or mark == " " else line[at + 1 :]
            if carried:
                lines[-1] = line[: at + 1] if at is not None else line
            lines.append(carried)
            used = cell_len("".join(c for c, *_ in carried))
            if mark == " " and not carried:
                continue
        lines[-1].append((char, index, mark == " "))
        used += cells
    return [_runs(line, pieces) for line in lines]


def _runs(line: list[tuple[str, int, bool]], pieces: list[Piece]) -> list[Piece]:
    runs: list[tuple[str, int]] = []
    for char, index, _ in line:
        if runs and runs[-1][1] == index:
            runs[-1] = (runs[-1][0] + char, index)
        else:
            runs.append((char, index))
    return [(text, pieces[index][1]) for text, index in runs]
