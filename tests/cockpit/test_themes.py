"""Themes: every colour of the screen changes with them, can be read, and can be told from the others."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest
from played_runs import FakeLink, demo_profile, screen_text, still_app, story
from rich.color import Color, ColorSystem
from rich.segment import Segment
from rich.style import Style

from cockpit.app import CockpitApp
from cockpit.options import ScreenOptions
from cockpit.widgets import ink
from cockpit.widgets.themes import COLORBLIND, DARK, LIGHT, LOOKS, Look
from gpt import events as ev
from gpt.config import ScreenConfig, replace

TRUE = [DARK, LIGHT, COLORBLIND]
MEANINGS = {
    "train": ink.TRAIN_COLOR, "validation": ink.VALIDATION_COLOR, "warning": ink.WARNING_COLOR,
    "critical": ink.CRITICAL_COLOR, "paused": ink.PAUSED_COLOR, "good": ink.GOOD_COLOR,
}  # fmt: skip
ALL_INK = {value for name, value in vars(ink).items() if name.endswith("_COLOR")} | {
    ink.BACKGROUND, ink.RAISED, *ink.HEAT_COLORS, *ink.GHOST_COLORS,
}  # fmt: skip


def rgb(color: str) -> np.ndarray:
    """(3,) linear light, 0…1."""
    values = np.array(Color.parse(color).get_truecolor()) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    """WCAG 2.1, contrast ratio: 1…21."""
    lights = sorted(float(rgb(color) @ [0.2126, 0.7152, 0.0722]) + 0.05 for color in (one, other))
    return lights[1] / lights[0]


# Viénot, Brettel and Mollon 1999, Digital video colourmaps for checking the legibility of displays by dichromats,
# as matrices on linear RGB.
DICHROMATS = {
    "protanope": np.array([[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]]),
    "deuteranope": np.array([[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]]),
}


def lab(linear: np.ndarray) -> np.ndarray:
    """(3,) CIE L*a*b*, D65."""
    matrix = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = matrix @ np.clip(linear, 0, 1) / [0.9505, 1.0, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def apart(one: str, other: str, seen: np.ndarray | None = None) -> float:
    """CIE 1976 colour difference; about 2 is just noticeable."""
    seen = np.eye(3) if seen is None else seen
    return float(np.linalg.norm(lab(seen @ rgb(one)) - lab(seen @ rgb(other))))


@pytest.mark.parametrize("look", TRUE, ids=lambda look: look.name)
def test_words_and_meanings_can_be_read_on_the_ground_and_on_boxes(look: Look) -> None:
    least = {ink.TEXT_COLOR: 7.0, ink.BRIGHT_COLOR: 7.0, ink.DIM_COLOR: 4.5, ink.FAINT_COLOR: 2.7}
    least |= dict.fromkeys([*MEANINGS.values(), *ink.HEAT_COLORS], 4.0) | dict.fromkeys(ink.GHOST_COLORS, 3.0)
    for ground in (ink.BACKGROUND, ink.RAISED):
        for color, ratio in least.items():
            assert contrast(look.color(color), look.color(ground)) >= ratio, (color, ground)
    for color in set(ink.STATE_COLORS.values()):
        assert contrast(look.color(ink.ON_COLOR), look.color(color)) >= 4.5, color


@pytest.mark.parametrize("look", TRUE, ids=lambda look: look.name)
def test_meanings_are_told_apart_in_256_colours_too(look: Look) -> None:
    for one, other in combinations(MEANINGS.values(), 2):
        assert apart(look.color(one), look.color(other)) > 25, (one, other)
        coarse = [Color.parse(look.color(color)).downgrade(ColorSystem.EIGHT_BIT).number for color in (one, other)]
        assert coarse[0] != coarse[1], (one, other)


@pytest.mark.parametrize("kind", list(DICHROMATS))
def test_without_red_and_green_the_colours_of_that_theme_are_told_apart(kind: str) -> None:
    seen = DICHROMATS[kind]
    for (one, a), (other, b) in combinations(MEANINGS.items(), 2):
        assert apart(COLORBLIND.color(a), COLORBLIND.color(b), seen) > 14, (one, other)


@pytest.mark.parametrize("look", LOOKS.values(), ids=lambda look: look.name)
def test_no_colour_of_a_theme_is_taken_for_one_that_it_replaces(look: Look) -> None:
    assert not set(look.colors.values()) & set(look.colors)
    assert {*look.colors, *look.inks, *look.grounds} <= ALL_INK


def test_the_light_and_the_terminals_theme_replace_every_colour() -> None:
    assert set(LIGHT.colors) == ALL_INK
    assert set(LOOKS["ansi"].inks) == ALL_INK


def test_every_colour_in_the_code_comes_from_ink() -> None:
    """What is written elsewhere would be the same in every theme."""
    for path in sorted(Path("cockpit").rglob("*.py")) + sorted(Path("cockpit").rglob("*.tcss")):
        if path.name not in ("ink.py", "themes.py"):
            found = set(re.findall(r"#[0-9a-fA-F]{6}\b", path.read_text()))
            assert found <= ALL_INK, path


def test_themes_have_the_same_names_everywhere() -> None:
    literal = get_args(get_type_hints(ScreenConfig)["theme"])[0]
    assert get_args(literal) == tuple(LOOKS)


async def painted(app: CockpitApp, *keys: str) -> list[Segment]:
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.press(*keys)
        await pilot.pause()
        return [segment for strip in app.screen._compositor.render_strips() for segment in strip]


def colors_of(segments: list[Segment]) -> set[str]:
    styles = [segment.style for segment in segments if segment.style]
    return {color.name for style in styles for color in (style.color, style.bgcolor) if color}


async def test_a_theme_of_the_command_line_beats_the_profiles() -> None:
    profile = replace(demo_profile(), {"screen.theme": "colorblind"})
    assert still_app(FakeLink(story(), profile)).look is COLORBLIND
    assert CockpitApp(FakeLink(story(), profile), options=ScreenOptions(theme="light")).look is LIGHT


@pytest.mark.parametrize("keys", [(), ("s",), ("question_mark",), ("q",)])
async def test_in_the_light_theme_no_dark_colour_is_left(keys: tuple[str, ...]) -> None:
    app = CockpitApp(FakeLink(story()), options=ScreenOptions(theme="light"))
    shown = colors_of(await painted(app, *keys))
    assert LIGHT.color(ink.BACKGROUND) in shown or keys
    assert not shown & ALL_INK


@pytest.mark.parametrize("keys", [(), ("s",), ("question_mark",), ("q",), ("w",), ("ctrl+p",)])
async def test_in_the_terminals_theme_nothing_asks_for_more_than_its_sixteen_colours(keys: tuple[str, ...]) -> None:
    app = CockpitApp(FakeLink(story()), options=ScreenOptions(theme="ansi"))
    sent = "".join(segment.style.render(segment.text) for segment in await painted(app, *keys) if segment.style)
    assert not re.search(r"[34]8;[25];", sent)


async def test_choosing_a_theme_paints_everything_in_it_and_escape_brings_back_what_was() -> None:
    app = still_app(FakeLink(story()))
    async with app.run_test(size=(100, 30)) as pilot:
        app.action_pilot("theme")
        await pilot.pause()
        await pilot.press("down")
        await pilot.pause()
        assert app.look is LIGHT
        await pilot.press("escape")
        await pilot.pause()
        assert app.look is DARK
        app.action_pilot("theme")
        await pilot.pause()
        await pilot.press("down", "enter")
        await pilot.pause()
        assert app.look is LIGHT and "theme light" in screen_text(app)
        strips = app.screen._compositor.render_strips()
        assert not colors_of([segment for strip in strips for segment in strip]) & ALL_INK


async def test_no_color_is_stronger_than_a_theme(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = CockpitApp(FakeLink(story()), options=ScreenOptions(theme="light"))
    assert not colors_of(await painted(app))


async def test_a_theme_set_while_the_run_goes_on_is_put_on() -> None:
    link = FakeLink(story())
    app = still_app(link)
    async with app.run_test(size=(100, 30)) as pilot:
        link.deliver(ev.ConfigChanged(step=900, key="screen.theme", old="unset", new='"light"'))
        app.frame(force=True)
        await pilot.pause()
        assert app.look is LIGHT


def test_a_style_keeps_its_attributes_and_clicks_in_another_theme() -> None:
    click = Style(meta={"@click": "app.pilot('pause')"})
    (painted,) = LIGHT.filters[0].apply([Segment("x", ink.TRAIN + click)], None)  # type: ignore[arg-type]
    assert painted.style is not None and painted.style.bold and painted.style.meta == click.meta
