"""Gate 9: a run that everything is done to for a long time; nothing grows, and log and screens agree at the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

import psutil

from cockpit.link.socket import SocketLink
from cockpit.reducer import reduce, reduce_all
from cockpit.runs import Run
from cockpit.state import RunState
from gpt import commands
from gpt import events as ev
from tests.chaos.gate import Effort, Outcome, gate, scratch_folder
from tests.patching import patched
from tests.patience import PATIENCE
from tests.terminal.harness import PROFILE
from tests.tiny_runs import sums

SECONDS = 300.0
"""In one push, beside other gates; `make chaos-long` takes half an hour."""
MOST_SECONDS = 1800.0
BREATH = 0.01
"""Seconds between two steps in one push: as many steps as in a quarter of the time, and processors for other gates."""
BETWEEN_VISITS = 1.5
"""Seconds."""
_BREATHING = f"""
import time
def breathing(real):
    def call(*arguments, **options):
        time.sleep({BREATH})
        return real(*arguments, **options)
    return call
learning_rate = breathing(learning_rate)
"""
"""What is patched into the trainer's module for that."""
MOST_GROWTH = 12 << 20, 0.04
"""Bytes, and share of its memory, by which a run may have grown from the second third to the last: curves of a log that
grows are remembered, up to a bound."""


class Reading(NamedTuple):
    """What a process holds."""

    rss: int
    """Bytes."""
    descriptors: int
    threads: int


@gate("9", "soak: train, attach, detach, sample, evaluate, save", unit="visits", weight=60, waits=True)
def soak(effort: Effort) -> Outcome:
    """Somebody attaches, has all of it done, and leaves, again and again."""
    with scratch_folder() as desk:
        return _soaked(desk, min(MOST_SECONDS, SECONDS * effort.scale), breathing=effort.scale <= 1)


def _soaked(desk: Path, seconds: float, *, breathing: bool) -> Outcome:
    (desk / "sums.txt").write_text(sums(60))
    (desk / "sums.toml").write_text(PROFILE)
    settings = ["train.eval_interval=400", "sample.interval=300", "checkpoint.interval=500", "sample.max_new_tokens=8",
                "train.log_interval=50"]  # fmt: skip
    words = [word for setting in settings for word in ("--set", setting)]
    process = subprocess.Popen(
        [sys.executable, "-m", "cockpit", "sums.toml", "--run", "r", "--headless", *words], cwd=desk,
        env=os.environ | patched(desk, {"gpt.trainer": _BREATHING} if breathing else {}),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    findings, readings, visits = [], [], 0
    try:
        run = Run(desk / "runs" / "r")
        end = time.monotonic() + PATIENCE
        while not run.has_step() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.1)
        watched, start = psutil.Process(process.pid), time.monotonic()
        while time.monotonic() - start < seconds and process.poll() is None:
            _visit(run, findings)
            visits += 1
            time.sleep(BETWEEN_VISITS if breathing else 0.2)  # at least until the visitor's connection is taken down
            if time.monotonic() - start > seconds / 3:
                readings.append(Reading(watched.memory_info().rss, watched.num_fds(), watched.num_threads()))
        findings += _agrees(run, process)
        if process.wait(PATIENCE) != 143:
            findings.append(f"exit code {process.returncode}, not 143")
        counts = {kind.__name__: 0 for kind in (ev.StepDone, ev.EvalDone, ev.SampleDone, ev.CheckpointSaved)}
        for event in run.read_events():
            if (name := type(event).__name__) in counts:
                counts[name] += 1
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
    findings += _grown(readings)
    told = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    held = (
        f"{readings[-1].rss / 2**20:,.0f} MiB, {readings[-1].descriptors} descriptors, {readings[-1].threads} threads"
    )
    return Outcome(visits, findings[:20], note=f"{seconds:,.0f} s: {told}; at the end {held}")


def _visit(run: Run, findings: list[str]) -> None:
    """Attaches, has a sample, an evaluation and a checkpoint made, waits for them, and leaves."""
    link = SocketLink.attach(run)
    state, seen = RunState(), set()
    try:
        link.start()
        link.take_controls()
        end, asked = time.monotonic() + 30, False
        while time.monotonic() < end and len(seen) < 3:
            for event in link.drain():
                state = reduce(state, event)
                if asked and isinstance(event, ev.SampleDone | ev.EvalDone | ev.CheckpointSaved):
                    seen.add(type(event).__name__)
            if link.has_controls and not asked:
                asked = True
                for command in (commands.Sample(), commands.Evaluate(), commands.Save()):
                    link.send(command)
            time.sleep(0.02)
        if len(seen) < 3:
            findings.append(f"of a visit's wishes only {sorted(seen)} came true within 30 s")
    finally:
        link.close()


def _agrees(run: Run, process: subprocess.Popen[bytes]) -> list[str]:
    """What a screen that stays to the end knows, beside what the log says."""
    link = SocketLink.attach(run)
    state = RunState()
    try:
        link.start()
        process.send_signal(signal.SIGTERM)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and (link.alive or process.poll() is None):
            for event in link.drain():
                state = reduce(state, event)
            time.sleep(0.01)
        for event in link.drain():
            state = reduce(state, event)
    finally:
        link.close()
    log = reduce_all(RunState(), run.read_stretches())
    names = ("step", "tokens", "state", "evaluation", "checkpoint", "finished")
    return [
        f"{name}: {getattr(state, name)} on the screen, {getattr(log, name)} in the log"
        for name in names
        if getattr(state, name) != getattr(log, name)
    ]


def _grown(readings: list[Reading]) -> list[str]:
    """What there is more of in the last third than in the second."""
    if len(readings) < 4:
        return [f"only {len(readings)} readings"]
    half = len(readings) // 2
    before, after = readings[:half], readings[half:]
    was, now = median(each.rss for each in before), median(each.rss for each in after)
    findings = []
    if now - was > MOST_GROWTH[0] + MOST_GROWTH[1] * was:
        findings.append(f"memory grew from {was / 2**20:,.0f} to {now / 2**20:,.0f} MiB")
    for name in ("descriptors", "threads"):
        if min(getattr(each, name) for each in after) > max(getattr(each, name) for each in before):
            findings.append(f"{name} grew to {min(getattr(each, name) for each in after)}")
    return findings
