"""Diagnoses as cards: what was found, the figures it rests on, why it is so, what to do, and what enter would do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from textual import events
from textual.message import Message
from textual.strip import Strip

from cockpit import format as fmt
from cockpit.doctor.diagnosis import Diagnosis, Rule, Scalar, Treatment
from cockpit.sanitize import clean_line
from cockpit.state import RunState
from cockpit.widgets import ink
from cockpit.widgets.diagnosed import GLYPHS
from cockpit.widgets.panes import wrap
from cockpit.widgets.rows import Piece, RowsWidget, row, width_of
from gpt.config import as_toml
from gpt.keys import all_keys

LABEL = 10
"""Cells of what stands before a card's lines."""
WIDEST = 108
"""Cells of a line of text at the most: longer ones are hard to read."""

_KINDS = {
    "live": "while the run goes on", "profile": "in a new profile", "fork": "in a fork of this run", "command": "now",
}  # fmt: skip

_SETTINGS = {key.name for key in all_keys()}


class Findings(NamedTuple):
    """What the cards show."""

    diagnoses: Sequence[Diagnosis]
    since: Mapping[str, int]
    """The step since which a rule's diagnosis stands, where it does."""
    sound: Sequence[Rule]
    """Rules that have found nothing."""
    silenced: Mapping[str, str]
    """Rules that shall say nothing, and why."""
    broken: Mapping[str, str]
    """Rules that failed, and how."""


class Cards(RowsWidget):
    """The cards below each other, one of them chosen; scrolls with it. Below them, what was found to be sound."""

    DEFAULT_CSS = "Cards { height: 1fr; }"

    class Picked(Message):
        """A card was clicked, or the wheel turned."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.findings: Findings | None = None
        """None: the doctor is looking."""
        self._rule = ""  # of the chosen card, so that it stays chosen when others come and go
        self._top = 0
        self._follows = True
        self._made: tuple[object, list[tuple[int | None, Strip]]] | None = None

    @property
    def chosen(self) -> Diagnosis | None:
        """The diagnosis of the chosen card; None where there is none."""
        return self.findings.diagnoses[self._at] if self.findings and self.findings.diagnoses else None

    @property
    def _at(self) -> int:
        cards = self.findings.diagnoses if self.findings else ()
        return next((number for number, card in enumerate(cards) if card.rule == self._rule), 0)

    def move(self, by: int) -> None:
        """Chooses a neighbour; beyond the last one, scrolls to what is below it."""
        cards = self.findings.diagnoses if self.findings else ()
        at = max(0, min(len(cards) - 1, self._at + by))
        if not cards or (at == self._at and by > 0):
            self.scroll(by)
            return
        self._follows, self._rule = True, cards[at].rule

    def scroll(self, by: int) -> None:
        """Moves all by so many rows."""
        self._follows = False
        self._top += by

    def rows(self, state: RunState, width: int, height: int) -> list[Strip]:
        if self.findings is None:
            return [row(width, [("  looking …", ink.DIM)])]
        key = (self.findings, self._at, width)
        if self._made is None or self._made[0] != key:
            self._made = (key, list(self._lines(self.findings, width)))
        lines = self._made[1]
        mine = [number for number, (card, _) in enumerate(lines) if card == self._at]
        if self._follows and mine:
            first, last = mine[0], mine[-1]
            self._top = min(first, max(self._top, last - height + 1))
            if first <= 2:
                self._top = 0
        self._top = max(0, min(self._top, len(lines) - height))
        return [strip for _, strip in lines[self._top : self._top + height]]

    def on_click(self, event: events.Click) -> None:
        lines = self._made[1] if self._made else []
        if self._top + event.y < len(lines) and (card := lines[self._top + event.y][0]) is not None and self.findings:
            self._rule, self._follows = self.findings.diagnoses[card].rule, True
            self.post_message(self.Picked())

    def on_mouse_scroll_down(self) -> None:
        self.scroll(3)
        self.post_message(self.Picked())

    def on_mouse_scroll_up(self) -> None:
        self.scroll(-3)
        self.post_message(self.Picked())

    def _lines(self, findings: Findings, width: int) -> list[tuple[int | None, Strip]]:
        """(number of its card, row) of all there is."""
        lines: list[tuple[int | None, Strip]] = [(None, Strip.blank(width))]
        for number, diagnosis in enumerate(findings.diagnoses):
            here = number == self._at
            made = card(diagnosis, findings.since.get(diagnosis.rule), width, here)
            lines += [(number, strip) for strip in made] + [(None, Strip.blank(width))]
        if not findings.diagnoses:
            others = ", others are silenced" if findings.silenced else ""
            nothing = f"  nothing found: {len(findings.sound)} rules are content{others}"
            lines += [(None, row(width, [(nothing, ink.GOOD)])), (None, Strip.blank(width))]
        lists = [
            ("silenced", ink.DIM, findings.silenced), ("failed", ink.WARNING, findings.broken),
            ("sound", ink.GOOD, {rule.id: rule.about for rule in findings.sound}),
        ]  # fmt: skip
        longest = max((len(rule) for *_, entries in lists for rule in entries), default=0)
        indent = 3 + LABEL + longest + 2
        for name, style, entries in lists:
            for number, (rule, what) in enumerate(entries.items()):
                head: Piece = (f"  {'' if number else name:<{LABEL + 1}}", style)
                first, *more = wrap([(clean_line(what), ink.DIM)], max(16, width - indent - 1)) or [[]]
                lines.append((None, row(width, [head, (f"{rule:<{longest}}  ", ink.TEXT), *first])))
                lines += [(None, row(width, [(" " * indent, ink.TEXT), *line])) for line in more]
        return lines


def card(diagnosis: Diagnosis, since: int | None, width: int, here: bool) -> list[Strip]:
    """The rows of one card.

    Args:
        here: whether it is the chosen one.
    """
    glyph, style = GLYPHS[diagnosis.severity]
    bar: Piece = ("▌", ink.TRAIN) if here else (" ", ink.TEXT)
    room = min(WIDEST, width - 4 - LABEL)
    stands = f"since step {since:,} " if since is not None else ""
    right: list[Piece] = [(f" {diagnosis.rule}  ", ink.FAINT), (stands, ink.FAINT)]
    title = (clean_line(diagnosis.title), ink.BRIGHT if here else ink.TEXT)
    head: list[Piece] = [bar, (f" {glyph} ", style), (f"{diagnosis.severity:<{LABEL - 1}}", style)]
    if width_of([*head, title, *right]) > width:
        right = []
    if room < 12:
        return [row(width, [*head, title])]
    first, *more = wrap([title], width - 3 - LABEL)
    strips = [row(width, [*head, *first], right)]
    strips += [row(width, [bar, (" " * (2 + LABEL), ink.TEXT), *line]) for line in more]
    parts: list[tuple[str, list[list[Piece]]]] = [
        ("why", wrap([(clean_line(diagnosis.why), ink.TEXT)], room)),
        ("do", wrap([(clean_line(diagnosis.advice), ink.TEXT)], room)),
        ("figures", _figures(diagnosis.evidence, room)),
    ]
    if diagnosis.reference:
        parts.append(("from", wrap([(clean_line(diagnosis.reference), ink.DIM)], room)))
    if diagnosis.treatment:
        parts.append(("enter", wrap(offer(diagnosis.treatment), room)))
    for name, lines in parts:
        label_style = ink.BRIGHT if name == "enter" and here else ink.FAINT
        for number, line in enumerate(lines):
            strips.append(row(width, [bar, (f"  {'' if number else name:<{LABEL}}", label_style), *line]))
    return strips


def offer(treatment: Treatment) -> list[Piece]:
    """What a treatment would do, in a line."""
    pieces: list[Piece] = [(clean_line(treatment.label), ink.GOOD)]
    for number, (key, value) in enumerate(treatment.changes.items()):
        pieces += [(", " if number else ": ", ink.DIM), (f"{key} = ", ink.DIM), (clean_line(as_toml(value)), ink.TEXT)]
    return [*pieces, (f"  {_KINDS[treatment.kind]}", ink.FAINT)]


def _figures(evidence: Mapping[str, Scalar], width: int) -> list[list[Piece]]:
    """Names and values side by side, none broken over two lines."""
    lines: list[list[Piece]] = [[]]
    for name, value in evidence.items():
        pieces: list[Piece] = [(f"{_named(name)} ", ink.DIM), (figure(value), ink.TEXT)]
        gap = [("   ", ink.TEXT)] if lines[-1] else []
        if lines[-1] and width_of([*lines[-1], *gap, *pieces]) > width:
            lines.append([])
            gap = []
        lines[-1] += [*gap, *pieces]
    return lines if lines[0] else []


def _named(name: str) -> str:
    """A figure's name in words; a setting's as a profile has it."""
    return name if name in _SETTINGS else name.replace("_", " ")


def figure(value: Scalar) -> str:
    """A value of the evidence as it is read most easily."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return fmt.number(round(value)) if abs(value) >= 1e5 and value == value else f"{value:.4g}"
    return "–" if value is None else clean_line(value)
