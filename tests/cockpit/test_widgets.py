"""What the widgets write: aligned, complete, in any terminal; and pictures of the whole."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from played_runs import (
    FakeLink,
    demo_profile,
    failed_story,
    finished_story,
    paused_story,
    run_started,
    screen_text,
    step_done,
    still_app,
    story,
)
from rich.segment import Segment
from rich.style import Style
from textual.app import App
from textual.color import Color
from textual.strip import Strip

from cockpit import format as fmt
from cockpit.reducer import reduce_all
from cockpit.state import RunState
from cockpit.widgets import ink, instruments, timebar
from cockpit.widgets.filters import Ascii, Plain, draws_unicode
from cockpit.widgets.keybar import KeyBar
from cockpit.widgets.panes import wrap
from cockpit.widgets.rows import changed_spans, fit, row, width_of
from gpt import events as ev
from gpt.config import replace

Pictures = Callable[..., bool]


@pytest.mark.parametrize("size", [(80, 24), (120, 35), (200, 50)], ids=["80x24", "120x35", "200x50"])
def test_picture_of_the_main_screen(snap_compare: Pictures, size: tuple[int, int]) -> None:
    """Header, chart, instruments, time, sample, log, keys."""
    assert snap_compare(still_app(FakeLink(story())), terminal_size=size)


@pytest.mark.parametrize("events", [paused_story, finished_story, failed_story], ids=["paused", "finished", "failed"])
def test_picture_of_a_state(snap_compare: Pictures, events: Callable[[], list[ev.Event]]) -> None:
    """The state's word and colour; at the end, what was reached."""
    assert snap_compare(still_app(FakeLink(events())), terminal_size=(80, 24))


@pytest.mark.parametrize("key", ["s", "r", "q", "question_mark", "w", "t", "i", "T"])
def test_picture_of_what_opens_on_top(snap_compare: Pictures, key: str) -> None:
    """Console, reload, quit, help, cooldown, samples, memory, time."""
    fresh = replace(demo_profile(), {"optim.learning_rate": 2e-4, "model.n_layer": 16})
    assert snap_compare(still_app(FakeLink(story()), lambda: fresh), terminal_size=(120, 35), press=[key])


def gpu_state() -> RunState:
    gib = 2**30
    started = run_started(
        device="NVIDIA H200", device_type="cuda", dtype="bfloat16", peak_flops=989.4e12, peak_source="datasheet"
    )
    memory = ev.MemorySampled(allocated=61 * gib, reserved=64 * gib, peak=63 * gib, total=140 * gib)
    meters = ev.TelemetrySampled(
        rss=gib, host_memory_used=gib, host_memory_total=9 * gib, cpu_percent=5.0, process_cpu_percent=90.0,
        gpu_utilization=98.0, gpu_memory_used=66 * gib, gpu_memory_total=140 * gib, gpu_watts=642.0, gpu_celsius=61.0,
    )  # fmt: skip
    return reduce_all(RunState(), [*story(50), started, memory, meters])


def test_epochs_stand_beside_the_tokens_where_there_is_room() -> None:
    state = reduce_all(RunState(), [run_started(tokens_per_epoch=4096 * 8), step_done(12, 3.0)])
    assert "1.50 epochs, 0.0" in text_of(instruments.tokens(state))
    assert text_of(instruments.tokens(state), 34).rstrip().endswith("1.50 epochs")
    assert "epoch" not in text_of(instruments.tokens(state), 24)
    assert "epoch" not in text_of(instruments.tokens(reduce_all(RunState(), story(9))))


def text_of(reading: instruments.Reading, width: int = 60) -> str:
    return "".join(text for text, _ in instruments.cell(reading, width))


def test_gpu_memory_is_the_allocators_and_names_peak_and_total() -> None:
    text = text_of(instruments.memory(gpu_state()))
    assert "61.00 GiB" in text and "peak 63.0 of 140.0" in text
    assert "64.00 GiB" in text_of(instruments.reserved(gpu_state()))
    assert "98 %" in text_of(instruments.load(gpu_state())) and "642 W  61 °C" in text_of(instruments.load(gpu_state()))


def test_mfu_names_its_peak_and_where_it_is_from() -> None:
    assert "11.1 %  of 989 TFLOP/s bf16" in text_of(instruments.mfu(gpu_state()))
    assert "measured peak" in text_of(instruments.mfu(reduce_all(RunState(), story(50))))


def test_unknown_mfu_is_a_dash() -> None:
    state = reduce_all(RunState(), [run_started(peak_flops=None, peak_source=None)])
    assert instruments.mfu(state).value == "–" and instruments.mfu(state).notes == ()


@pytest.mark.parametrize("width", [20, 37, 49, 80])
def test_values_end_in_the_same_column(width: int) -> None:
    state = reduce_all(RunState(), story(300))
    for column in instruments.LAYOUTS[4]:
        for read in column:
            text = text_of(read(state), width)
            value = read(state).value
            assert text.index(value, instruments.LABEL) + len(value) == instruments.LABEL + instruments.VALUE


def test_an_empty_state_can_be_read() -> None:
    for layout in instruments.LAYOUTS.values():
        for read in (read for column in layout for read in column):
            assert read(RunState()).value in (fmt.UNKNOWN, "0")


@pytest.mark.parametrize("width", [10, 37, 100])
def test_time_bar_fills_its_width_whatever_the_shares(width: int) -> None:
    for seconds in ({"train": 1.0}, {"train": 1e6, "evaluate": 1e-3}, dict.fromkeys(ev.PHASES, 1.0), {}):
        assert width_of(timebar.bar(seconds, width)) == width


def test_a_phase_of_one_per_cent_is_seen() -> None:
    assert timebar.shares({"train": 99.0, "checkpoint": 1.0}, 40)["checkpoint"] == 1


def test_phases_have_patterns_of_their_own() -> None:
    patterns = [glyph for _, glyph, _ in timebar.PHASES.values()]
    assert len(set(patterns)) == len(patterns)
    assert set(timebar.PHASES) == set(ev.PHASES)


def test_colours_of_meanings_differ_in_every_palette() -> None:
    from rich.color import Color as RichColor
    from rich.color import ColorSystem

    meanings = (
        ink.TRAIN_COLOR, ink.VALIDATION_COLOR, ink.WARNING_COLOR, ink.CRITICAL_COLOR, ink.PAUSED_COLOR, ink.GOOD_COLOR,
        ink.TEXT_COLOR, ink.DIM_COLOR, ink.BACKGROUND,
    )  # fmt: skip
    for system in (ColorSystem.TRUECOLOR, ColorSystem.EIGHT_BIT, ColorSystem.STANDARD):
        assert len({RichColor.parse(color).downgrade(system) for color in meanings}) == len(meanings)


async def test_no_color_means_no_colour_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = still_app(FakeLink(paused_story()))
    async with app.run_test(size=(120, 35)) as pilot:
        await pilot.pause()
        styles = [s.style for strip in app.screen._compositor.render_strips() for s in strip if s.style]
    assert styles and all(style.color is None and style.bgcolor is None for style in styles)
    assert any(style.reverse for style in styles) and any(style.dim for style in styles)


async def test_a_terminal_without_unicode_gets_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    app = still_app(FakeLink(story()))
    async with app.run_test(size=(120, 35)) as pilot:
        await pilot.pause()
        shown = screen_text(app)
    assert shown.isascii() and "***" in shown and ":::" in shown and "goodput" in shown
    assert all(len(line) == 120 for line in shown.splitlines())


@pytest.mark.parametrize(
    ("environ", "unicode"),
    [
        ({}, True), ({"LANG": "C"}, True), ({"LANG": "en_US.UTF-8"}, True), ({"LANG": "de_DE.utf8"}, True),
        ({"LC_ALL": "C"}, False), ({"LANG": "de_DE.ISO-8859-1"}, False), ({"LC_ALL": "C.UTF-8", "LANG": "C"}, True),
        ({"TERM": "linux", "LANG": "en_US.UTF-8"}, False),
    ],
)  # fmt: skip
def test_abilities_are_read_from_locale_and_terminal(environ: dict[str, str], unicode: bool) -> None:
    assert draws_unicode(environ) is unicode


def test_filters_keep_the_width_of_every_segment() -> None:
    segments = [Segment("━▁⣿●█ ab", Style(color="#4fc3dc", bold=True)), Segment("日")]
    for output in (Ascii(), Plain()):
        result = output.apply(segments, Color(0, 0, 0))
        assert [len(segment.text) for segment in result] == [8, 1]


def test_only_changed_cells_are_repainted() -> None:
    old = row(40, [("label ", ink.DIM), ("1.234", ink.TEXT)])
    new = row(40, [("label ", ink.DIM), ("1.235", ink.TEXT)])
    assert changed_spans(old, new, 40) == [(6, 11)]
    assert changed_spans(old, old, 40) == []
    assert changed_spans(None, new, 40) == [(0, 40)]


def test_changed_spans_of_rows_built_otherwise_cover_every_difference() -> None:
    old = Strip([Segment("aaaa"), Segment("bb"), Segment("cccc")])
    new = Strip([Segment("aaaa"), Segment("bbx"), Segment("y"), Segment("cc")])
    [(start, end)] = changed_spans(old, new, 10)
    assert all(start <= i < end for i, (a, b) in enumerate(zip(old.text, new.text, strict=True)) if a != b)


async def test_repainting_parts_gives_the_same_screen_as_drawing_it_whole() -> None:
    """What a terminal shows after partial updates is what a full one would."""
    pyte = pytest.importorskip("pyte")
    events = story()
    link = FakeLink(events[:400])
    app = still_app(link)
    async with app.run_test(size=(120, 35)) as pilot:
        await pilot.pause()
        screen = pyte.Screen(120, 35)
        stream = pyte.Stream(screen)
        full = app.screen._compositor.render_full_update()
        stream.feed(full.render_segments(app.console))
        updates: list[str] = []

        def keep(screen: object, renderable: object) -> None:
            if renderable is not None and hasattr(renderable, "render_segments"):
                updates.append(renderable.render_segments(app.console))

        App._display, original = keep_display(keep), App._display
        try:
            for number in range(400, len(events), 60):
                link.deliver(*events[number : number + 60])
                app.frame(force=True)
                await pilot.pause(0.05)
        finally:
            App._display = original
        for update in updates:
            stream.feed(update)
        assert len(updates) > 3
        assert [line.rstrip() for line in screen.display] == [line.rstrip() for line in screen_text(app).splitlines()]


def keep_display(keep: Callable[[object, object], None]) -> Callable[..., None]:
    """Stands in for Textual's method that writes to the terminal."""

    def display(self: App, screen: object, renderable: object) -> None:
        keep(screen, renderable)

    return display


def test_fit_gives_exactly_the_width() -> None:
    for width in range(12):
        assert width_of(fit([("日本語", ink.TEXT), ("abc", ink.DIM)], width)) == width


@pytest.mark.parametrize("cost", [None, 0.009, 0.105, 1.0])
@pytest.mark.parametrize("state", ["running", "paused", "finished", "sampling"])
def test_the_row_of_keys_leaves_keys_out_and_cuts_none(state: str, cost: float | None) -> None:
    bar = KeyBar()
    bar.cost = cost
    for width in range(20, 200):
        for strip in bar.rows(RunState(state=state), width, 1):
            assert "…" not in strip.text and not re.search(r"[a-z]\d", strip.text), width


def test_wrapped_lines_fit_and_lose_nothing_but_blanks() -> None:
    text = "the history of the city begins with 日本語日本語日本語 and a_very_long_word_indeed"
    lines = wrap([(text, ink.TEXT)], 11)
    assert all(width_of(line) <= 11 for line in lines)
    assert "".join(piece for line in lines for piece, _ in line).replace(" ", "") == text.replace(" ", "")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"), (0.84, "0.8 s"), (9.96, "10 s"), (59.7, "1 m 00 s"), (724, "12 m 04 s"), (3599.6, "1 h 00 m"),
        (11_520, "3 h 12 m"), (86_399, "1 d 00 h"), (370_800, "4 d 07 h"), (float("nan"), "–"),
    ],
)  # fmt: skip
def test_durations_read_in_two_units(seconds: float | None, text: str) -> None:
    assert fmt.duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, ("–", "")), (812, ("812", "")), (999_700, ("1.00", "M")), (7.6e9, ("7.60", "B"))]
)
def test_counts_carry_their_unit(value: float | None, text: tuple[str, str]) -> None:
    assert fmt.count(value) == text
