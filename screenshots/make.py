"""Makes the pictures in this folder from the event logs of real runs.

    python screenshots/make.py RUN_DIR [RUN_DIR …]

For each run: the main screen at three sizes, and at 120×35 everything that can open on top of it.
The screen is the program's own; only the events come from the log instead of a trainer.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from cockpit.app import CockpitApp
from cockpit.budget import FrameBudget
from cockpit.profile import load
from cockpit.screens.compare import CompareView
from gpt import events as ev
from gpt.commands import Command
from gpt.config import Profile, replace

SIZES = ((80, 24), (120, 35), (200, 50))
HERE = Path(__file__).parent


class LogLink:
    """A link that delivers a list of events at once and keeps what is sent to it.

    Args:
        events: what has happened.
        profile: what the run was started with.
        run_dir: the run's folder, for what looks beside it.
    """

    def __init__(self, events: Iterable[ev.Event], profile: Profile, run_dir: Path | None = None) -> None:
        self._waiting = list(events)
        self.profile = profile
        self.run = next((event.run for event in self._waiting if isinstance(event, ev.RunStarted)), "run")
        self.run_dir = run_dir or Path("runs") / self.run
        self.alive = True
        self.sent: list[Command] = []

    def start(self) -> None:
        """Nothing to start."""

    def drain(self) -> list[ev.Event]:
        """All events, once."""
        waiting, self._waiting = self._waiting, []
        return waiting

    def send(self, command: Command) -> None:
        """Keeps a command."""
        self.sent.append(command)


def read_events(path: Path) -> list[ev.Event]:
    """The events of a log; a torn last line is left out."""
    events: list[ev.Event] = []
    for line in path.read_bytes().splitlines():
        try:
            events.append(ev.decode(line))
        except msgspec.DecodeError:
            break
    return events


async def picture(
    events: list[ev.Event],
    profile: Profile,
    size: tuple[int, int],
    *keys: str,
    fresh: Callable[[], Profile] | None = None,
    run_dir: Path | None = None,
) -> str:
    """The screen as SVG after some keys were pressed."""
    app = CockpitApp(LogLink(events, profile, run_dir), reload_profile=fresh)
    app.budget = FrameBudget(
        profile.screen.cpu_budget, wall=lambda: 0.0, cpu=lambda: 0.0
    )  # a still picture has no cost
    async with app.run_test(size=size) as pilot:
        app.frame(force=True)
        await pilot.pause()
        for key in keys:
            await pilot.press(key)
            await pilot.pause(0.5 if key == "d" else None)  # the doctor answers a little later
        await pilot.pause()
        while isinstance(app.screen, CompareView) and app.screen.is_reading:
            await pilot.pause(0.05)
        return app.export_screenshot(title=f"gpt-cockpit · {size[0]}×{size[1]}")


def live_part(events: list[ev.Event]) -> list[ev.Event]:
    """The events up to two thirds of the way, where the run still goes on."""
    last = max((event.step for event in events if isinstance(event, ev.StepDone)), default=0)
    cut = next(
        (n for n, event in enumerate(events) if isinstance(event, ev.StepDone) and event.step > 0.66 * last), None
    )
    return events[:cut]


def up_to_sample(events: list[ev.Event]) -> list[ev.Event]:
    """The events up to the middle of the last sample that was streamed; none where no sample was."""
    started = [n for n, event in enumerate(events) if isinstance(event, ev.SampleStarted)]
    if not started:
        return []
    pieces = [n for n, event in enumerate(events) if n > started[-1] and isinstance(event, ev.SampleText)]
    return events[: pieces[len(pieces) // 2]] if pieces else []


async def make(run_dir: Path, folder: Path) -> list[Path]:
    """Writes the pictures of one run; returns their paths."""
    events = read_events(run_dir / "events.jsonl")
    started = next((event for event in events if isinstance(event, ev.RunStarted)), None)
    if started is None:
        sys.exit(f"{run_dir}/events.jsonl has no RunStarted; give the folder of a run that has begun to train")
    profile = load(run_dir / "profile.toml").profile
    live, at = live_part(events), (120, 35)
    step = max((event.step for event in live if isinstance(event, ev.StepDone)), default=0)
    paused = [
        *live,
        ev.Paused(time=live[-1].time, step=step),
        ev.StateChanged(time=live[-1].time, state="paused", step=step),
    ]
    other = replace(
        profile, {"optim.learning_rate": profile.optim.learning_rate / 2, "model.n_layer": profile.model.n_layer + 2}
    )
    pictures = {f"main-{width}x{height}": await picture(live, profile, (width, height)) for width, height in SIZES}
    pictures["finished"] = await picture(events, profile, at)
    pictures["paused"] = await picture(paused, profile, at)
    if streaming := up_to_sample(events):
        pictures["sampling"] = await picture(streaming, profile, at)
    pictures["prompt"] = await picture(live, profile, at, "s")
    pictures["samples"] = await picture(live, profile, at, "t")
    pictures["memory"] = await picture(live, profile, at, "i")
    pictures["time"] = await picture(live, profile, at, "T")
    pictures["reload"] = await picture(live, profile, at, "r", fresh=lambda: other)
    pictures["plan"] = await picture(live, profile, at, "p")
    pictures["compare"] = await picture(live, profile, at, "equals_sign", "enter", run_dir=run_dir)
    pictures["help"] = await picture(live, profile, at, "question_mark")
    pictures["charts"] = await picture(live, profile, at, "g", "6", "left", "ctrl+left")
    pictures["overlays"] = await picture(live, profile, at, "o")
    pictures["doctor"] = await picture(live, profile, at, "d")
    pictures["quit"] = await picture(live, profile, at, "q")
    paths = []
    for name, svg in pictures.items():
        paths.append(folder / f"{started.profile}-{name}.svg")
        paths[-1].write_text(svg, encoding="utf-8")
    return paths


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: python screenshots/make.py RUN_DIR [RUN_DIR …]")
    for argument in sys.argv[1:]:
        for written in asyncio.run(make(Path(argument), HERE)):
            sys.stdout.write(f"{written}\n")
