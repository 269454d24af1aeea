"""The line above the keys: what the last key press led to, what is wrong, and at the end what was reached."""

from __future__ import annotations

from textual.strip import Strip

from cockpit import format as fmt
from cockpit.reducer import spike_text, stall_text
from cockpit.sanitize import clean_line
from cockpit.state import RunState
from cockpit.widgets import ink
from cockpit.widgets.panes import wrap
from cockpit.widgets.rows import Piece, RowsWidget, row

_STYLES = {
    "info": ("▸", ink.TEXT), "answer": ("▸", ink.TEXT), "warning": ("!", ink.WARNING), "error": ("×", ink.CRITICAL),
}  # fmt: skip


class Notice(RowsWidget):
    """One message; a failure and the result of a finished run stay, everything else gives way to them.

    Args:
        answers: every message is seen for its while, whatever stays: in a view, where it answers a key.
    """

    DEFAULT_CSS = "Notice { height: 1; }"

    def __init__(self, *, answers: bool = False, id: str | None = None) -> None:
        super().__init__(id=id)
        self._answers = answers
        self._message: tuple[str, str] | None = None

    def say(self, text: str, level: str = "info") -> None:
        """Shows a message until the next one. `level` is `info`, `warning`, `error`, or `answer`: what somebody
        has just asked for, which is shown in front of what the run came to as well."""
        self._message = (text, level)

    def clear(self) -> None:
        """Takes the message away."""
        self._message = None

    def height_for(self, state: RunState, width: int) -> int:
        """Rows that what stays to be said takes, 1 to 3; a message of a moment moves nothing on the screen."""
        return min(3, max(1, len(wrap(outcome(state), max(1, width - 2)))))

    def rows(self, state: RunState, width: int, height: int) -> list[Strip]:
        return [row(width, [(" ", ink.TEXT), *line]) for line in self._lines(state, width)[:height]]

    def _lines(self, state: RunState, width: int) -> list[list[Piece]]:
        return wrap(self._pieces(state), max(1, width - 2))

    def _pieces(self, state: RunState) -> list[Piece]:
        lasting = outcome(state)
        if self._message and (self._answers or not (lasting and self._message[1] == "info")):
            text, level = self._message
            glyph, style = _STYLES[level]
            return [(f"{glyph} ", style), (clean_line(text), style)]
        return lasting


def outcome(state: RunState) -> list[Piece]:
    """What the run came to, or what is wrong with it now; nothing while all is well."""
    if state.failed:
        phase = clean_line(state.failed.phase)
        where = f"failed in {phase} at step {state.failed.step:,}: "
        return [("× ", ink.CRITICAL), (where, ink.CRITICAL), (clean_line(state.failed.error), ink.TEXT)]
    if state.finished:
        return _result(state)
    spike = state.spike
    if spike and spike.action == "pause" and spike.step == state.step and state.stands_still:
        keys = "  space goes on, r changes settings, q leaves"
        return [("! ", ink.WARNING), (spike_text(spike), ink.WARNING), (keys, ink.TEXT)]
    if state.stalled:
        return [("! ", ink.WARNING), (clean_line(stall_text(state.stalled)), ink.WARNING), ("; v shows them", ink.TEXT)]
    if state.checkpoint_error:
        error = state.checkpoint_error
        return [
            ("! ", ink.WARNING),
            (f"the checkpoint at step {error.step:,} failed: {clean_line(error.error)}; ", ink.WARNING),
            ("those before it are untouched, c tries again", ink.TEXT),
        ]
    return []


def _result(state: RunState) -> list[Piece]:
    done = state.finished
    assert done is not None
    words = {"max_steps": "all steps done", "stopped": "stopped and saved", "discarded": "stopped without saving"}
    pieces: list[Piece] = [("■ ", ink.GOOD), (words.get(done.reason, clean_line(done.reason)), ink.BRIGHT)]
    pieces += [("  val ", ink.DIM), (fmt.loss(done.val_loss), ink.VALIDATION)]
    if done.best_val_loss is not None and done.best_step is not None:
        pieces += [("  best ", ink.DIM), (fmt.loss(done.best_val_loss), ink.VALIDATION)]
        pieces += [(f" at step {done.best_step:,}", ink.DIM)]
    pieces += [("  train ", ink.DIM), (fmt.loss(done.train_loss), ink.TRAIN)]
    pieces += [("  ", ink.DIM), (f"{done.step:,}", ink.TEXT), (" steps in ", ink.DIM)]
    pieces += [(fmt.duration(state.wall or None), ink.TEXT)]
    if state.checkpoint:
        pieces += [("  saved ", ink.DIM), (clean_line(state.checkpoint.path).rsplit("/", 1)[-1], ink.TEXT)]
    return pieces
