"""Texts token by token: their layout, the colour of a probability, and what might have stood in a token's place."""

from __future__ import annotations

import math

from rich.style import Style
from textual.strip import Strip

from cockpit import format as fmt
from cockpit.gallery import Shot
from cockpit.sanitize import clean, clean_line
from cockpit.widgets import ink
from cockpit.widgets.panes import wrap
from cockpit.widgets.rows import Piece, row, width_of

CHANCES: tuple[tuple[float, str, Style], ...] = (
    (0.5, "≥ 50 %", ink.HEAT[5]),
    (0.2, "≥ 20 %", ink.HEAT[4]),
    (0.05, "≥ 5 %", ink.HEAT[2]),
    (0.01, "≥ 1 %", ink.HEAT[1] + Style(underline=True)),
    (0.0, "< 1 %", ink.HEAT[0] + Style(underline=True, bold=True)),
)
"""Least probability of a class, how it is named, its style. What is unlikely is underlined too, colour or none."""


def chance_style(probability: float | None) -> Style:
    """The style of a token; of one whose probability is unknown, dim."""
    if probability is None:
        return ink.DIM
    return next(style for least, _, style in CHANCES if probability >= least)


def perplexity(loss: float | None) -> str:
    """e^loss, in four digits."""
    return fmt.significant(math.exp(loss), 3) if loss is not None and loss < 50 else fmt.UNKNOWN


def head(shot: Shot, chosen: bool, part: int) -> list[Piece]:
    """The two lines above a text: which weights it is by, and how likely they found it."""
    if part == 0:
        mark: Piece = ("▸ ", ink.TRAIN) if chosen else ("  ", ink.TEXT)
        pieces = [
            mark,
            (f"step {shot.step:,}", ink.BRIGHT if chosen else ink.TEXT),
            (f"  sample {shot.number}", ink.FAINT),
        ]
        return pieces + ([(f"  seed {shot.seed}", ink.FAINT)] if shot.seed is not None else [])
    if shot.loss is None and shot.prompt_loss is None:
        speed = f", {shot.tokens / shot.seconds:,.0f} a second" if shot.seconds > 0 else ""
        return [(f"  {shot.tokens:,} tokens{speed}", ink.FAINT)]
    return [
        ("  perplexity  prompt ", ink.FAINT), (perplexity(shot.prompt_loss), ink.TEXT),
        ("  text ", ink.FAINT), (perplexity(shot.loss), ink.TEXT),
    ]  # fmt: skip


def layout(prompt: str, shot: Shot, width: int, *, colored: bool, cursor: int | None) -> list[list[Piece]]:
    """The lines of prompt and text. Each piece of a scored text has its token's number in its style's `meta`."""
    if not shot.scored or not (colored or cursor is not None):
        given: list[Piece] = [(clean(prompt), ink.DIM)]
        return wrap([*given, (clean(shot.text), ink.TEXT)], width)
    pieces: list[Piece] = []
    for number, token in enumerate(shot.scored):
        style = chance_style(token.probability) if colored else ink.TEXT
        if number < shot.prompt_tokens:
            style += Style(italic=True)
        if number == cursor:
            style += Style(reverse=True, bold=True)
        text = clean(token.text)
        if number == cursor and text.strip("\n") == "":
            text = f"⏎{text}"  # or there would be nothing to see of it
        pieces.append((text, style + Style(meta={"token": number})))
    told = sum(len(token.text) for token in shot.scored[shot.prompt_tokens :])
    return wrap([*pieces, (clean(shot.text[told:]), ink.DIM)], width)


def _tokens(lines: list[list[Piece]]) -> list[list[int]]:
    """Numbers of the tokens that begin or go on in each line."""
    return [[s.meta["token"] for _, s in line if s.meta and "token" in s.meta] for line in lines]


def line_of(lines: list[list[Piece]], token: int) -> int:
    """Number of the line in which a token begins, or the last one before it."""
    numbers = _tokens(lines)
    return max((at for at, line in enumerate(numbers) if line and line[0] <= token), default=0)


def neighbour(lines: list[list[Piece]], count: int, token: int, across: int, down: int) -> int:
    """The token that a cursor comes to: along the text, or at about the same cell of another line."""
    if across:
        return max(0, min(count - 1, token + across))
    at = line_of(lines, token)
    cell = 0
    for text, style in lines[at]:
        if style.meta.get("token", -1) >= token:
            break
        cell += width_of([(text, style)])
    step = 1 if down > 0 else -1
    to = at + step
    numbers = _tokens(lines)
    while 0 <= to < len(lines) and not numbers[to]:
        to += step
    if not 0 <= to < len(lines):
        return token
    found, reached = numbers[to][0], 0
    for text, style in lines[to]:
        if "token" not in style.meta or reached > cell:
            break
        found = style.meta["token"]
        reached += width_of([(text, style)])
    return found


def legend(width: int) -> Strip:
    """What the colours say."""
    pieces: list[Piece] = [(" a token's probability  ", ink.DIM)]
    for _, name, style in CHANCES:
        pieces += [(name, style), ("   ", ink.TEXT)]
    pieces += [("prompt", ink.DIM + Style(italic=True))]
    return row(width, pieces)


def alternatives(shot: Shot, number: int, width: int) -> list[Strip]:
    """What is known of a token: two rows."""
    token = shot.scored[number]
    place = next((i + 1 for i, (text, _) in enumerate(token.others) if text == token.text), None)
    pieces: list[Piece] = [(f" token {number + 1} of {len(shot.scored)}  ", ink.DIM), *_quoted(token.text, ink.BRIGHT)]
    if token.probability is None:
        pieces += [("  the first one: nothing comes before it", ink.FAINT)]
    else:
        pieces += [("  ", ink.TEXT), (_share(token.probability), chance_style(token.probability)), ("  ", ink.TEXT)]
        rank = f"the model's choice number {place}" if place else f"not among the likeliest {len(token.others)}"
        pieces += [
            (rank, ink.DIM),
            (f"  surprise {-math.log2(token.probability):.1f} bits" if token.probability else "", ink.FAINT),
        ]
    below: list[Piece] = [(" likeliest  ", ink.DIM)]
    for text, chance in token.others:
        below += [*_quoted(text, ink.BRIGHT if text == token.text else ink.TEXT), (f" {_share(chance)}   ", ink.DIM)]
    return [row(width, pieces), row(width, below if token.others else [])]


def _quoted(text: str, style: Style) -> list[Piece]:
    return [("“", ink.FAINT), (clean_line(text), style), ("”", ink.FAINT)]


def _share(chance: float) -> str:
    return f"{fmt.percent(chance)} %" if chance >= 0.0005 else f"{chance:.0e}"
