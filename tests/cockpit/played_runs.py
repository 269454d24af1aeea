"""A run made of events alone, and a link that plays it: deterministic, without a trainer."""

from __future__ import annotations

import math
import random
import re
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from textual.app import App
from textual.events import Key, Paste
from textual.pilot import Pilot

from cockpit.app import CockpitApp
from cockpit.budget import FrameBudget
from cockpit.saves import Save, list_saves
from gpt import checkpoint
from gpt import events as ev
from gpt.commands import Command
from gpt.config import DataConfig, Profile, SampleConfig, replace

START = 1_700_000_000.0


class FakeLink:
    """Delivers given events and keeps the commands sent to it."""

    def __init__(self, events: Iterable[ev.Event] = (), profile: Profile | None = None) -> None:
        self.run, self.run_dir = "amber-heron", Path("runs/amber-heron")
        self.profile = profile or demo_profile()
        self.sent: list[Command] = []
        self.alive = True
        self.started = 0
        self.has_controls, self.standing, self.catching_up = True, "", False
        self.on_standing: Callable[[], None] = lambda: None
        self.asked_for_controls = 0
        self._waiting = list(events)

    def start(self) -> None:
        self.started += 1

    def drain(self) -> list[ev.Event]:
        waiting, self._waiting = self._waiting, []
        return waiting

    def send(self, command: Command) -> None:
        self.sent.append(command)

    def saves(self) -> list[Save]:
        return list_saves(self.run_dir / "checkpoints")

    def when_standing_changes(self, look: Callable[[], None]) -> None:
        self.on_standing = look

    def take_controls(self) -> None:
        self.asked_for_controls += 1

    def deliver(self, *events: ev.Event) -> None:
        self._waiting += events


def demo_profile() -> Profile:
    return Profile(
        name="demo", data=DataConfig(name="python-stdlib"), sample=SampleConfig(prompts=["def main(", "class "])
    )


def run_started(**changes: object) -> ev.RunStarted:
    facts: dict = dict(
        time=START, run="amber-heron", profile="demo", step=0, max_steps=2000, parameters=2_710_000,
        parameters_without_positions=2_680_000, block_size=256, micro_batch_size=16, grad_accum_steps=1,
        tokens_per_step=4096, vocab_size=256, tokenizer="byte", train_tokens=10_000_000, val_tokens=1_000_000,
        bytes_per_token=1.0, device="AMD EPYC, 2 threads", device_type="cpu", dtype="float32", compiled=False,
        flops_per_token=1.7e7, peak_flops=8.2e12, peak_source="measured", pid=1, versions="torch",
    )  # fmt: skip
    return ev.RunStarted(**{**facts, **changes})


def step_done(step: int, loss: float | None, *, ms: float = 76.0, **changes: object) -> ev.StepDone:
    """Its speed in tokens and its MFU follow from its time."""
    facts: dict = dict(
        time=START + step * 0.08, step=step, loss=loss, lr=1e-3 * (1 - step / 4000), grad_norm=0.8, ms=ms,
        data_ms=0.8, tokens=4096 * step, tokens_per_s=4096 / ms * 1e3, mfu=1.7e7 * 4096 / 8.2e12 / ms * 1e3,
    )  # fmt: skip
    return ev.StepDone(**{**facts, **changes})


def story(steps: int = 900) -> list[ev.Event]:
    """A run under way: losses fall, one step spikes, evaluations, checkpoints, a pause, a change, a sample."""
    dice = random.Random(7)
    at = START
    seconds = dict.fromkeys(ev.PHASES, 0.0) | {"startup": 3.0}
    events: list[ev.Event] = [run_started(), ev.StateChanged(time=at, state="running")]
    for step in range(1, steps + 1):
        curve = 1.5 + 4.0 * math.exp(-step / 60)
        at += 0.08
        seconds["train"] += 0.079
        seconds["data"] += 0.001
        loss = curve + dice.gauss(0, 0.06) + (1.1 if step == 640 else 0.0)
        events.append(step_done(step, loss, time=at, ms=74 + dice.random() * 6, grad_norm=0.6 + dice.random()))
        if step % 200 == 0:
            at += 1.2
            seconds["evaluate"] += 1.2
            events.append(
                ev.EvalDone(
                    time=at,
                    step=step,
                    train_loss=curve,
                    val_loss=curve + 0.05,
                    val_stderr=0.008,
                    bpb=2.2,
                    seconds=1.2,
                    best=True,
                )
            )
            seconds["checkpoint"] += 0.2
            path = f"checkpoints/step-{step:08}"
            events.append(
                ev.CheckpointSaved(
                    time=at, step=step, path=path, size=32_500_000, seconds=0.2, reason="best", best=True
                )
            )
        if step == 500:
            events.append(ev.ConfigChanged(time=at, step=step, key="optim.grad_clip", old="1.0", new="0.5"))
            events += [ev.Paused(time=at, step=step), ev.Continued(time=at + 5, step=step)]
            at += 5
            seconds["paused"] += 5
        if step == 700:
            prompt, text = "def main(", "args):\n    for name in sorted(args):\n        print(name)\n    return 0\n"
            events.append(ev.SampleStarted(time=at, sample=1, step=step, prompt=prompt))
            events.append(
                ev.SampleDone(time=at + 1, sample=1, step=step, prompt=prompt, text=text, tokens=60, seconds=1)
            )
            seconds["sample"] += 1
    events.append(ev.LedgerUpdated(time=at, seconds=seconds, wall=sum(seconds.values())))
    events.append(
        ev.TelemetrySampled(
            time=at,
            rss=1_300_000_000,
            rss_peak=1_500_000_000,
            host_memory_used=5_000_000_000,
            host_memory_total=16_000_000_000,
            cpu_percent=97.0,
            process_cpu_percent=188.0,
        )
    )
    return events


def paused_story() -> list[ev.Event]:
    events = story()
    at = events[-1].time
    return [*events, ev.Paused(time=at, step=900), ev.StateChanged(time=at, state="paused", step=900)]


def finished_story() -> list[ev.Event]:
    events = story()
    at = events[-1].time
    return [
        *events,
        ev.Finished(
            time=at, step=900, reason="max_steps", train_loss=1.51, val_loss=1.55, best_val_loss=1.55, best_step=800
        ),
        ev.StateChanged(time=at, state="finished", step=900),
    ]


def failed_story() -> list[ev.Event]:
    events = story()
    at = events[-1].time
    error = "out of memory: 2.1 GiB asked for, 0.4 GiB free; lower train.micro_batch_size"
    return [
        *events,
        ev.Failed(time=at, step=900, phase="train", error=error),
        ev.StateChanged(time=at, state="failed", step=900),
    ]


def still_app(link: FakeLink, reload_profile: Callable[[], Profile] | None = None) -> CockpitApp:
    """An app whose clock stands still for its budget, so that its own cost is always unknown."""
    app = CockpitApp(link, reload_profile=reload_profile)
    app.budget = FrameBudget(1.0, wall=lambda: 0.0, cpu=lambda: 0.0)
    return app


def screen_text(app: CockpitApp) -> str:
    """What is on the screen, as text."""
    strips = app.screen._compositor.render_strips()
    return "\n".join(strip.text for strip in strips)


def type_together(app: App[Any], keys: str) -> None:
    """Presses keys, named with a space between, so close behind each other that none is done before all are there."""
    signs = {"slash": "/", "full_stop": ".", "colon": ":", "minus": "-"}
    for key in keys.split():
        character = signs.get(key) or (key if len(key) == 1 else None)
        app.post_message(Key(key, character))


class Typed(str):
    """What goes onto the line under the cursor at once, where a key is expected."""


async def shown_by(
    shows: CockpitApp | FakeLink, keys: Iterable[str], size: tuple[int, int] = (120, 35),
    waits: Mapping[str, float] | None = None,
) -> str:  # fmt: skip
    """What is on the screen after some keys, spaces run together.

    Args:
        shows: the app, or the run that one of its own is to show.
        waits: seconds to wait after a key whose answer takes a while.
    """
    app = still_app(shows) if isinstance(shows, FakeLink) else shows
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        for key in keys:
            if isinstance(key, Typed):
                app.screen.post_message(Paste(key))
            else:
                await pilot.press(key)
            await pilot.pause((waits or {}).get(key))
        app.frame(force=True)
        await pilot.pause()
        return re.sub(r"[^\S\n]+", " ", screen_text(app))


async def press(app: CockpitApp, *keys: str, size: tuple[int, int] = (120, 35)) -> str:
    """Runs an app, presses keys, and returns what is on the screen then."""
    async with app.run_test(size=size) as pilot:
        await pilot.press(*keys)
        await pilot.pause()
        return screen_text(app)


async def settled(pilot: Pilot[Any], holds: Callable[[], bool]) -> None:
    """Waits for a thread's finding to be on the screen."""
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end
        await pilot.pause(0.01)


def save(parent: Path, step: int, val_loss: float | None = None, rate: float = 1e-3) -> Path:
    """A checkpoint without tensors, whole for all that only looks."""
    profile = replace(demo_profile(), {"optim.learning_rate": rate, "train.max_steps": 2000})
    evaluation = {"step": step if val_loss else None, "val_loss": val_loss, "best_val_loss": val_loss, "best_step": 0}
    checkpoint.write(parent, step, {}, {"evaluation": evaluation, "profile": msgspec.to_builtins(profile)})
    checkpoint.point(parent, "latest", step)
    return parent / checkpoint.folder_name(step)
