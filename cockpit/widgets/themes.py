"""Themes: which colours stand in the places of those that everything is drawn with (cockpit.widgets.ink).

A theme is put on as the last thing before the terminal. So nothing that draws knows of it, and changing it needs no
more than painting the screen once again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from rich.color import Color as RichColor
from rich.color import ColorSystem, ColorType
from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.filter import LineFilter
from textual.theme import Theme

from cockpit.widgets import ink


@dataclass(frozen=True)
class Look:
    """One theme."""

    name: str
    about: str
    """A few words for whoever chooses."""
    colors: Mapping[str, str] = field(default_factory=dict)
    """Colour of ink → the colour in its place, `#rrggbb`; others stay as they are."""
    inks: Mapping[str, str] = field(default_factory=dict)
    """Colour of ink → rich's words for letters in it, where a colour alone does not say it."""
    grounds: Mapping[str, str] = field(default_factory=dict)
    """Colour of ink → what is behind letters, likewise."""
    dark: bool = True
    terminal_colors: bool = False
    """Whether all that is drawn is to be in the terminal's own 16 colours."""

    def color(self, of_ink: str) -> str:
        """What stands in the place of a colour of ink."""
        return self.colors.get(of_ink, of_ink)

    @cached_property
    def theme(self) -> Theme:
        """For the style sheet."""
        return Theme(
            name=f"cockpit-{self.name}", primary=self.color(ink.TRAIN_COLOR),
            secondary=self.color(ink.VALIDATION_COLOR), accent=self.color(ink.TRAIN_COLOR),
            warning=self.color(ink.WARNING_COLOR), error=self.color(ink.CRITICAL_COLOR),
            success=self.color(ink.GOOD_COLOR), foreground=self.color(ink.TEXT_COLOR),
            background=self.color(ink.BACKGROUND),
            surface=self.color(ink.BACKGROUND), panel=self.color(ink.RAISED), dark=self.dark,
        )  # fmt: skip

    @cached_property
    def filters(self) -> tuple[LineFilter, ...]:
        """What puts its colours on; nothing for the theme that everything is drawn in."""
        return (Repaint(self),) if self.colors or self.terminal_colors else ()


class Repaint(LineFilter):
    """Puts a theme's colours in the places of ink's."""

    def __init__(self, look: Look) -> None:
        super().__init__()
        self._inks: dict[tuple[int, int, int] | None, Style]
        self._grounds: dict[tuple[int, int, int] | None, Style]
        self._inks = {_hex(old): Style.parse(new) for old, new in {**look.colors, **look.inks}.items()}
        self._grounds = {_hex(old): Style.parse(f"on {new}") for old, new in {**look.colors, **look.grounds}.items()}
        self._terminal_colors = look.terminal_colors
        self._made: dict[Style, Style] = {}

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [
            Segment(text, self._painted(style), control) if style else Segment(text, style, control)
            for text, style, control in segments
        ]

    def _painted(self, style: Style) -> Style:
        painted = self._made.get(style)
        if painted is None:
            if len(self._made) > 4096:  # styles carry the actions of clicks too: there is no end to them
                self._made.clear()
            painted = self._made[style] = self._paint(style)
        return painted

    def _paint(self, style: Style) -> Style:
        painted = style
        if style.bgcolor is not None:
            painted += self._grounds.get(_triplet(style.bgcolor)) or self._plain_ground(style.bgcolor)
        if style.color is not None:
            painted += self._inks.get(_triplet(style.color)) or self._plain_ink(style.color)
        return painted

    def _plain_ink(self, color: RichColor) -> Style:
        """A colour that is none of ink's, such as a mixture that the style sheet made."""
        if not self._terminal_colors or color.type != ColorType.TRUECOLOR:
            return Style()
        return Style.from_color(color.downgrade(ColorSystem.STANDARD))

    def _plain_ground(self, color: RichColor) -> Style:
        if not self._terminal_colors or color.type != ColorType.TRUECOLOR:
            return Style()
        dark = Color.from_rich_color(color).brightness < 0.2
        return Style(bgcolor="default") if dark else Style(bgcolor=color.downgrade(ColorSystem.STANDARD))


def _triplet(color: RichColor) -> tuple[int, int, int] | None:
    return color.triplet if color.type == ColorType.TRUECOLOR else None


def _hex(color: str) -> tuple[int, int, int]:
    return RichColor.parse(color).get_truecolor()


DARK = Look("dark", "light letters on a dark ground")

LIGHT = Look(
    "light", "dark letters on a light ground", dark=False,
    colors={
        ink.BACKGROUND: "#fafafa", ink.RAISED: "#eaecef", ink.TEXT_COLOR: "#24292f", ink.BRIGHT_COLOR: "#010409",
        ink.DIM_COLOR: "#57606a", ink.FAINT_COLOR: "#7a828c", ink.RULE_COLOR: "#d0d4d9", ink.SCROLLBAR_COLOR: "#b8bec6",
        ink.TRAIN_COLOR: "#0a7391", ink.RAW_COLOR: "#86c0d2", ink.VALIDATION_COLOR: "#a626a4",
        ink.VALIDATION_CURVE_COLOR: "#cf9ace", ink.CURVE_COLOR: "#959da7", ink.WARNING_COLOR: "#8f5f00",
        ink.CRITICAL_COLOR: "#cf222e", ink.PAUSED_COLOR: "#4a40d8", ink.GOOD_COLOR: "#1a7f37",
        ink.WORK_COLOR: "#5fae7a", ink.ON_COLOR: "#fefefe",
        **dict(zip(ink.HEAT_COLORS, ("#b3201a", "#a8560c", "#806600", "#55700a", "#227a3f", "#3d4a45"), strict=True)),
        **dict(zip(ink.GHOST_COLORS, ("#87702b", "#76589c", "#2f7f69", "#a05248"), strict=True)),
    },
)  # fmt: skip

COLORBLIND = Look(
    "colorblind", "told apart without red and green",
    colors={  # Okabe and Ito, Color Universal Design, 2008: its eight colours, lightened where the ground asks for it
        ink.TRAIN_COLOR: "#56b4e9", ink.RAW_COLOR: "#2f6d91", ink.VALIDATION_COLOR: "#e69f00",
        ink.VALIDATION_CURVE_COLOR: "#8f6712", ink.WARNING_COLOR: "#f0e442", ink.CRITICAL_COLOR: "#d55e00",
        ink.PAUSED_COLOR: "#d98bb6", ink.GOOD_COLOR: "#10b088", ink.WORK_COLOR: "#0a7d60",
        **dict(zip(ink.HEAT_COLORS, ("#e06a1c", "#dd8d3f", "#d9ae6b", "#c9c2a0", "#a9c4d6", "#c6d6e6"), strict=True)),
        **dict(zip(ink.GHOST_COLORS, ("#a8924a", "#b487a0", "#7aa5bf", "#a9a9a9"), strict=True)),
    },
)  # fmt: skip

ANSI = Look(
    "ansi", "the terminal's own sixteen colours and ground", terminal_colors=True,
    inks={
        ink.TEXT_COLOR: "default", ink.BRIGHT_COLOR: "bold default", ink.DIM_COLOR: "dim default",
        ink.FAINT_COLOR: "dim default", ink.RULE_COLOR: "dim default", ink.CURVE_COLOR: "dim default",
        ink.SCROLLBAR_COLOR: "bright_black", ink.TRAIN_COLOR: "cyan", ink.RAW_COLOR: "dim cyan",
        ink.VALIDATION_COLOR: "magenta", ink.VALIDATION_CURVE_COLOR: "dim magenta", ink.WARNING_COLOR: "yellow",
        ink.CRITICAL_COLOR: "red", ink.PAUSED_COLOR: "blue", ink.GOOD_COLOR: "green", ink.WORK_COLOR: "green",
        ink.ON_COLOR: "black", ink.BACKGROUND: "black", ink.RAISED: "black",
        **dict(zip(ink.HEAT_COLORS, ("red", "yellow", "yellow", "green", "green", "default"), strict=True)),
        **dict(zip(ink.GHOST_COLORS, ("yellow", "magenta", "green", "red"), strict=True)),
    },
    grounds={
        ink.BACKGROUND: "default", ink.RAISED: "default", ink.SCROLLBAR_COLOR: "bright_black", ink.TRAIN_COLOR: "cyan",
        ink.VALIDATION_COLOR: "magenta", ink.WARNING_COLOR: "yellow", ink.CRITICAL_COLOR: "red",
        ink.PAUSED_COLOR: "blue", ink.GOOD_COLOR: "green", ink.DIM_COLOR: "white", ink.TEXT_COLOR: "white",
    },
)  # fmt: skip

LOOKS: dict[str, Look] = {look.name: look for look in (DARK, LIGHT, ANSI, COLORBLIND)}
"""Every theme by name; the first is the one without a wish. The same names as gpt.config.ScreenConfig.theme."""
