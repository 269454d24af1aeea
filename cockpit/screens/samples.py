"""The samples of a run through time: one prompt's texts side by side, and how likely each token of them was."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from textual.binding import BindingType
from textual.strip import Strip
from textual.widget import Widget

from cockpit.gallery import Shot
from cockpit.sanitize import clean_line
from cockpit.screens.view import View
from cockpit.state import RunState
from cockpit.widgets import ink, plot
from cockpit.widgets.rows import Piece, RowsWidget, columns, row, rule, width_of
from cockpit.widgets.tokens import alternatives, head, layout, legend, line_of, neighbour, perplexity
from gpt.commands import Sample, SetConfig

if TYPE_CHECKING:
    from cockpit.app import CockpitApp

COLUMN = 42
"""Cells that a text should have at least; as many stand side by side as get that."""
GAP = 3
ALTERNATIVES = 5
"""What sample.alternatives is set to when the pilot asks for probabilities."""


def show_samples(app: CockpitApp) -> None:
    """Opens the view."""
    app.open(SamplesView(app))


class SamplesView(View[None]):
    """A prompt, its texts, a cursor on their tokens."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ("up", "move(0, -1)", "up"), ("down", "move(0, 1)", "down"),
        ("left", "move(-1, 0)", "left"), ("right", "move(1, 0)", "right"),
        ("home", "move(-1000000, 0)", "first"), ("end", "move(1000000, 0)", "newest"),
        ("pageup", "scroll(-1)", "back"), ("pagedown", "scroll(1)", "on"),
        ("enter", "inspect", "tokens"), ("c", "color", "colour"),
        ("s", "sample", "sample now"), ("a", "at_evaluation", "at evaluations"), ("p", "measure", "probabilities"),
        ("escape,q", "back", "back"),
    ]  # fmt: skip

    def __init__(self, app: CockpitApp) -> None:
        keys = [
            ("↑↓", "prompt"), ("←→", "step"), ("enter", "token"), ("c", "colour"), ("s", "sample"), ("a", "auto"),
            ("p", "score"),
        ]  # fmt: skip
        super().__init__("samples", keys)
        self._cockpit, self._wall = app, Wall()

    def body(self) -> Iterable[Widget]:
        yield self._wall

    def show_body(self, state: RunState) -> bool:
        self._wall.settings = self._cockpit.settings
        return self._wall.show(state)

    def action_move(self, across: int, down: int) -> None:
        """To another prompt or step; with the cursor out, to another token."""
        self._wall.move(across, down)

    def action_scroll(self, pages: int) -> None:
        """Moves long texts."""
        self._wall.scroll(pages)

    def action_inspect(self) -> None:
        """Puts the cursor on a token, or takes it away."""
        if not self._wall.inspect():
            self._cockpit.say("this sample's tokens were not scored: p turns that on for those that come", "warning")
            self._cockpit.frame(force=True)

    def action_color(self) -> None:
        """Colours tokens by their probability, or not."""
        self._wall.colored = not self._wall.colored
        self._wall.redraw()

    def action_sample(self) -> None:
        """Continues every prompt of the profile now."""
        self._send(Sample(every_prompt=True), "sampling every prompt after this micro-step")

    def action_at_evaluation(self) -> None:
        """Lets the prompts be continued at each evaluation, or no more."""
        self._set("sample.at_evaluation", not self._cockpit.settings["sample.at_evaluation"])

    def action_measure(self) -> None:
        """Lets each sample's tokens be scored, or no more."""
        self._set("sample.alternatives", 0 if self._cockpit.settings["sample.alternatives"] else ALTERNATIVES)

    def action_back(self) -> None:
        """Takes the cursor away, or leaves."""
        if self._wall.cursor is not None:
            self._wall.inspect()
        else:
            self.dismiss(None)

    def _set(self, key: str, value: Any) -> None:
        self._send(SetConfig(changes={key: value}), f"{key} changes at the next step boundary")

    def _send(self, command: Sample | SetConfig, said: str) -> None:
        if self._cockpit.state.is_final:
            self._cockpit.say("the run has ended: nothing more is sampled", "warning")
        else:
            self._cockpit.send(command)
            self._cockpit.say(said)
        self._cockpit.frame(force=True)


class Wall(RowsWidget):
    """The texts of a prompt in columns."""

    DEFAULT_CSS = "Wall { height: 1fr; }"

    def __init__(self) -> None:
        super().__init__()
        self.settings: dict[str, Any] = {}
        """The run's, by dotted key."""
        self.colored = True
        """Whether tokens have the colour of their probability, where that is known."""
        self.cursor: int | None = None
        """Token that the cursor is on; None: there is none."""
        self._prompt: str | None = None
        self._number: int | None = None  # of the chosen sample; None: the newest
        self._top = 0
        self._page = 1
        self._laid: dict[tuple, list[list[Piece]]] = {}

    # -- what is chosen ---------------------------------------------------------------------------------------------

    def move(self, across: int, down: int) -> None:
        """Moves the choice, or the cursor where there is one."""
        shot = self._chosen()
        if self.cursor is not None and shot and shot.scored:
            lines = self._lines(shot, self._column_width(), None)
            self.cursor = neighbour(lines, len(shot.scored), self.cursor, across, down)
            at = line_of(lines, self.cursor)
            self._top = max(min(self._top, at), at - self._page + 1)
        elif down:
            prompts = self._prompts()
            at = prompts.index(self._prompt) if self._prompt in prompts else 0
            self._prompt = prompts[max(0, min(len(prompts) - 1, at + down))] if prompts else None
            self._number, self._top = None, 0
        else:
            shots = self._shots()  # none, in a run that has not sampled
            at = next((i for i, s in enumerate(shots) if s.number == self._number), len(shots) - 1) + across
            self._number = None if not shots or at >= len(shots) - 1 else shots[max(0, at)].number
        self.redraw()

    def scroll(self, pages: int) -> None:
        """Moves all texts by pages."""
        self._top = max(0, self._top + pages * max(1, self._page - 1))
        self.redraw()

    def inspect(self) -> bool:
        """Puts the cursor on the chosen sample's first token, or takes it away; False where there are none."""
        shot = self._chosen()
        if self.cursor is None and not (shot and shot.scored):
            return False
        self.cursor = None if self.cursor is not None or not shot else min(shot.prompt_tokens, len(shot.scored) - 1)
        self.redraw()
        return True

    def _prompts(self) -> list[str]:
        return list(self._state.gallery.by_prompt)

    def _shots(self) -> tuple[Shot, ...]:
        prompts = self._prompts()
        if self._prompt not in prompts:
            wanted = self.settings.get("sample.prompts") or []
            self._prompt = next((p for p in wanted if p in prompts), prompts[0] if prompts else None)
        return self._state.gallery.by_prompt.get(self._prompt, ()) if self._prompt is not None else ()

    def _chosen(self) -> Shot | None:
        shots = self._shots()
        return next((s for s in shots if s.number == self._number), shots[-1] if shots else None)

    # -- what is drawn ----------------------------------------------------------------------------------------------

    def rows(self, state: RunState, width: int, height: int) -> list[Strip]:
        shots = self._shots()
        if not shots:
            return [row(width, []), row(width, self._nothing(state))]
        chosen = self._chosen()
        assert chosen
        if self.cursor is not None and self.cursor >= len(chosen.scored):
            self.cursor = None  # of another sample
        top = [*self._title(shots, width), row(width, [])]
        foot = self._foot(chosen, width)
        self._page = max(1, height - len(top) - len(foot) - 2)
        each, shown = self._column_width(), self._shown(shots, chosen)
        made = [(shot, self._lines(shot, each, self.cursor if shot is chosen else None)) for shot in shown]
        self._top = max(0, min(self._top, max(len(lines) for _, lines in made) - self._page))
        cells = [[(head(shot, shot is chosen, part), each) for shot in shown] for part in (0, 1)]
        lines = [columns(line, width, GAP) for line in cells]
        for number in range(self._top, self._top + self._page):
            texts = [(column[number] if number < len(column) else [], each) for _, column in made]
            lines.append(columns(texts, width, GAP))
        return [*top, *lines, *foot]

    def _nothing(self, state: RunState) -> list[Piece]:
        if state.is_final:
            return [(" nothing was sampled in this run", ink.FAINT)]
        return [
            (" nothing has been sampled yet: ", ink.FAINT), ("s", ink.BRIGHT),
            (" continues every prompt now, ", ink.FAINT), ("a", ink.BRIGHT), (" at each evaluation", ink.FAINT),
        ]  # fmt: skip

    def _title(self, shots: tuple[Shot, ...], width: int) -> list[Strip]:
        prompts = self._prompts()
        number = prompts.index(self._prompt) + 1 if self._prompt in prompts else 1
        quoted = clean_line(self._prompt or "")
        left: list[Piece] = [(f" prompt {number} of {len(prompts)}  ", ink.DIM), (f"“{quoted}”", ink.BRIGHT)]
        losses = [(shot.step, shot.prompt_loss) for shot in shots if shot.prompt_loss is not None]
        right: list[Piece] = [(f"{self._when()} ", ink.FAINT)]
        lines = [row(width, left, right if width_of(left) + width_of(right) < width - 2 else [])]
        if losses:
            pieces: list[Piece] = [(" perplexity of the prompt itself  ", ink.DIM)]
            if len(losses) > 1:
                pieces.append((perplexity(losses[0][1]), ink.TEXT))
                pieces += [(f" at step {losses[0][0]:,}", ink.FAINT), (" → ", ink.FAINT)]
            pieces += [(perplexity(losses[-1][1]), ink.BRIGHT), (f" at step {losses[-1][0]:,}  ", ink.FAINT)]
            cells = min(len(losses), width - width_of(pieces) - 2)
            if len(losses) > 2 and cells >= 3:
                values = np.array([loss for _, loss in losses])
                pieces.append((plot.sparkline(values, cells), ink.CURVE))
            lines.append(row(width, pieces))
        return lines

    def _when(self) -> str:
        """When the profile's prompts are continued by themselves."""
        interval = self.settings.get("sample.interval", 0)
        if self.settings.get("sample.at_evaluation"):
            return "sampled at each evaluation"
        return f"sampled every {interval:,} steps" if interval else "sampled when asked"

    def _foot(self, chosen: Shot, width: int) -> list[Strip]:
        if self.cursor is not None and chosen.scored:
            return [rule(width), *alternatives(chosen, self.cursor, width)]
        if self.colored and chosen.scored:
            return [rule(width), legend(width)]
        return []

    def _column_width(self) -> int:
        width = self.size.width
        count = self._count()
        return max(1, (width - 2 - GAP * (count - 1)) // count)

    def _count(self) -> int:
        return max(1, min(len(self._shots()) or 1, (self.size.width - 2 + GAP) // (COLUMN + GAP)))

    def _shown(self, shots: tuple[Shot, ...], chosen: Shot) -> tuple[Shot, ...]:
        """As many neighbours as fit, with the chosen one as far right as may be."""
        end = max(shots.index(chosen) + 1, self._count())
        return shots[end - self._count() : end]

    def _lines(self, shot: Shot, width: int, cursor: int | None) -> list[list[Piece]]:
        key = (shot.number, len(shot.text), bool(shot.scored), width, self.colored, cursor)
        if key not in self._laid:
            if len(self._laid) > 16:
                self._laid.clear()
            self._laid[key] = layout(self._prompt or "", shot, width, colored=self.colored, cursor=cursor)
        return self._laid[key]
