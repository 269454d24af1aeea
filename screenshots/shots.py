"""What is on each picture: a moment of the run, and the keys that are pressed then. A new screen is a new line here."""

from __future__ import annotations

from typing import Literal, NamedTuple

Moment = Literal["live", "paused", "ended", "sampling", "replay"]
"""Of the run: two thirds on; the same, paused; its end; the middle of its last sample; a replay of it."""


SIZES = ((80, 24), (120, 35), (200, 50))
"""Columns and rows."""


class Shot(NamedTuple):
    """One screen."""

    name: str
    keys: tuple[str, ...] = ()
    """Pressed one after the other; `do:ID` is an action that has no key."""
    moment: Moment = "live"
    theme: str | None = None
    sizes: tuple[tuple[int, int], ...] = SIZES


def typed(text: str) -> tuple[str, ...]:
    """The keys of a text."""
    return tuple(text)


OVER_GHOSTS = ("o", "space", "settle", "o")
SHOTS = (
    Shot("main"),
    Shot("paused", moment="paused"),
    Shot("finished", moment="ended"),
    Shot("sampling", moment="sampling"),
    Shot("charts", ("g",)),
    Shot("chart-zoomed", ("g", "6", "left", "ctrl+left")),
    Shot("overlays", ("o", "space", "settle")),
    Shot("ghosts", OVER_GHOSTS),
    Shot("settings", ("l",)),
    Shot("settings-changed", ("l", "enter", *typed("6e-3"), "enter")),
    Shot("schedule", ("a",)),
    Shot("cooldown", ("w",)),
    Shot("extend", ("plus",)),
    Shot("rewind", ("b", "left", "down")),
    Shot("fork", ("f", "left", "enter")),
    Shot("range-test", ("L",)),
    Shot("console", ("s",)),
    Shot("samples", ("t", "enter")),
    Shot("memory", ("i",)),
    Shot("time", ("T",)),
    Shot("doctor", ("d", "settle")),
    Shot("plan", ("p", "settle")),
    Shot("compare", ("equals_sign", "settle", "enter", "settle")),
    Shot("explain", ("x", "m")),
    Shot("runs", ("R", "settle")),
    Shot("log", ("v", "settle")),
    Shot("replay", ("space", "settle", "home", *["shift+right"] * 5), moment="replay"),
    Shot("jump", ("j",)),
    Shot("palette", ("ctrl+p", *typed("sa"))),
    Shot("reload", ("r",)),
    Shot("help", ("question_mark",)),
    Shot("quit", ("q",)),
    Shot("themes", ("do:theme",)),
    Shot("light", OVER_GHOSTS, theme="light", sizes=SIZES[1:2]),
    Shot("colorblind", OVER_GHOSTS, theme="colorblind", sizes=SIZES[1:2]),
)
