"""Makes the pictures in this folder from the folders of real runs.

    python screenshots/make.py RUN_DIR [--only NAME …] [--out FOLDER]

Every screen of `shots.py` at three sizes. The screen is the program's own; only the events come from the log instead of
a trainer. The other runs of the same folder are what the lists and overlays show.
With a checkout beside another that is installed, PYTHONPATH says which one is meant.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from shots import SHOTS, Moment, Shot
from slim import slim
from textual.pilot import Pilot

from cockpit.app import CockpitApp
from cockpit.budget import FrameBudget
from cockpit.link.base import OnThisDisk, Unsteered
from cockpit.link.replay import ReplayLink
from cockpit.options import ScreenOptions
from cockpit.profile import load
from cockpit.runs import Run
from cockpit.screens.replay import ReplayScreen
from gpt import events as ev
from gpt.commands import Command
from gpt.config import Profile, replace

HERE = Path(__file__).parent
LIVE = 0.66
"""Share of its steps after which a run is shown while it goes on."""
SETTLE, STILL = 10.0, 0.4
"""Seconds to wait at most for what threads read, and how long the picture must stay the same."""


class LogLink(Unsteered, OnThisDisk):
    """A link that delivers a list of events at once, and nothing that is sent to it.

    Args:
        events: what has happened.
        run: the folder that the screen may look into.
    """

    def __init__(self, events: list[ev.Event], run: Run) -> None:
        self._waiting = events
        self.profile = load(run.path / "profile.toml").profile
        self.run, self.run_dir = run.name, run.path
        self.alive = True

    def start(self) -> None:
        """Nothing to start."""

    def drain(self) -> list[ev.Event]:
        """All events, once."""
        waiting, self._waiting = self._waiting, []
        return waiting

    def send(self, command: Command) -> None:
        """Nobody is there."""


def read_events(path: Path) -> list[ev.Event]:
    """The events of a log; a torn last line is left out."""
    events: list[ev.Event] = []
    for line in path.read_bytes().splitlines():
        try:
            events.append(ev.decode(line))
        except msgspec.DecodeError:
            break
    return events


def up_to(moment: Moment, events: list[ev.Event]) -> list[ev.Event]:
    """The events up to a moment of the run; none where there was no such moment."""
    if moment in ("ended", "replay"):
        return events
    if moment == "sampling":
        started = [n for n, event in enumerate(events) if isinstance(event, ev.SampleStarted)]
        texts = [
            n for n, event in enumerate(events) if started and n > started[-1] and isinstance(event, ev.SampleText)
        ]
        return events[: texts[len(texts) // 2]] if texts else []
    last = max((event.step for event in events if isinstance(event, ev.StepDone)), default=0)
    before = [n for n, event in enumerate(events) if isinstance(event, ev.StepDone) and event.step <= LIVE * last]
    live = events[: before[-1] + 1] if before else []  # of a run that went back: once it has come so far again
    if moment == "paused" and live:
        now, step = live[-1].time, round(LIVE * last)
        live += [ev.Paused(time=now, step=step), ev.StateChanged(time=now, state="paused", step=step)]
    return live


@contextlib.contextmanager
def folder_at(run_dir: Path, events: list[ev.Event]) -> Iterator[Run]:
    """The run's folder as it was after those events, the other runs beside it; in a temporary place."""
    ended = any(isinstance(event, ev.Finished) for event in events)
    saved: dict[str, ev.CheckpointSaved] = {}
    for event in events:
        if isinstance(event, ev.CheckpointSaved):
            saved[Path(event.path).name] = event
        elif isinstance(event, ev.Resumed):  # what was saved after that step is aside, or gone
            saved = {name: save for name, save in saved.items() if save.step <= event.step}
    with tempfile.TemporaryDirectory(prefix="gpt-cockpit-") as place, contextlib.ExitStack() as stack:
        runs = Path(place) / "runs"
        run = Run(runs / run_dir.name)
        (run.path / "checkpoints").mkdir(parents=True)
        for other in run_dir.resolve().parent.iterdir():
            if other.name != run_dir.name:
                (runs / other.name).symlink_to(other)
        for name in ("run.json", "profile.toml", "console.log"):
            (run.path / name).write_bytes((run_dir / name).read_bytes())
        lines = (run_dir / "events.jsonl").read_bytes().splitlines(keepends=True)
        run.events_path.write_bytes(b"".join(lines[: len(events)]))
        os.utime(run.events_path, (events[-1].time, events[-1].time))
        for checkpoint in (run_dir / "checkpoints").iterdir():
            if checkpoint.name in saved or checkpoint.name == "abandoned":
                (run.path / "checkpoints" / checkpoint.name).symlink_to(checkpoint.resolve())
        if there := [name for name in saved if (run.path / "checkpoints" / name).exists()]:
            (run.path / "checkpoints" / "latest").symlink_to(there[-1])
        if not ended:
            stack.enter_context(run.lock())
        yield run


def make_app(shot: Shot, events: list[ev.Event], run: Run) -> CockpitApp:
    """The program, in front of the run."""
    if shot.moment == "replay":
        link = ReplayLink(run)
        app = CockpitApp(link, main=ReplayScreen(link))
    else:
        link = LogLink(events, run)
        app = CockpitApp(link, reload_profile=lambda: edited(link.profile), options=ScreenOptions(theme=shot.theme))
    app.budget = FrameBudget(0.01, wall=lambda: 0.0, cpu=lambda: 0.0)  # a still picture has no cost
    return app


def edited(profile: Profile) -> Profile:
    """The profile as its pilot may have changed it on disk: what can change while the run goes on, and what cannot."""
    return replace(
        profile, {"optim.learning_rate": profile.optim.learning_rate / 2, "model.n_layer": profile.model.n_layer + 2}
    )


async def picture(shot: Shot, events: list[ev.Event], run: Run, size: tuple[int, int]) -> str:
    """The screen as SVG once the keys were pressed."""
    app = make_app(shot, events, run)
    async with app.run_test(size=size) as pilot:
        app.frame(force=True)
        await pilot.pause()
        for key in shot.keys:
            if key == "settle":
                await settled(app, pilot)
            elif key.startswith("do:"):
                app.action_pilot(key.removeprefix("do:"))
            else:
                await pilot.press(key)
        app.frame(force=True)
        await pilot.pause()
        return slim(app.export_screenshot(title=f"gpt-cockpit · {size[0]}×{size[1]}"))


async def settled(app: CockpitApp, pilot: Pilot[Any]) -> None:
    """Waits until what is read by threads is on the screen."""
    loop = asyncio.get_running_loop()
    end, seen, since = loop.time() + SETTLE, "", 0.0
    while loop.time() < end:
        await pilot.pause(0.1)
        app.frame(force=True)
        now = app.export_screenshot()
        if now != seen:
            seen, since = now, loop.time()
        elif loop.time() - since > STILL:
            return


def make(run_dir: Path, folder: Path, only: set[str]) -> Iterator[Path]:
    """Writes the pictures of a run; yields their paths."""
    log = read_events(run_dir / "events.jsonl")
    started = next((event for event in log if isinstance(event, ev.RunStarted)), None)
    if started is None:
        sys.exit(f"{run_dir}/events.jsonl has no RunStarted; give the folder of a run that has begun to train")
    for shot in SHOTS:
        events = up_to(shot.moment, log)
        if not events or (only and shot.name not in only):
            continue
        with folder_at(run_dir, events) as run:
            for size in shot.sizes:
                path = folder / f"{started.profile}-{shot.name}-{size[0]}x{size[1]}.svg"
                path.write_text(asyncio.run(picture(shot, [*events], run, size)), encoding="utf-8")
                yield path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Makes the pictures in this folder from a real run.")
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME", help="of shots.py; without it, all")
    parser.add_argument("--out", type=Path, default=HERE)
    asked = parser.parse_args()
    for written in make(asked.run_dir, asked.out, set(asked.only)):
        sys.stdout.write(f"{written}\n")
