"""Gate 5: mishaps around a training: meters, clocks, files, folders, a loader that hangs. It goes on, or says so."""

from __future__ import annotations

import contextlib
import itertools
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pynvml

from cockpit import profile as profiles
from cockpit.link import local
from cockpit.reducer import reduce, reduce_all
from cockpit.runs import Run
from cockpit.state import RunState
from cockpit.telemetry import Telemetry
from gpt import checkpoint, commands, tokens, watchdog
from gpt import events as ev
from gpt.config import Profile
from gpt.errors import UserError
from gpt.trainer import Trainer
from tests.chaos.faults import silence
from tests.chaos.gate import Effort, Outcome, gate, scratch_folder, spread
from tests.chaos.tiny import profile, warm_up, weights_of

Told = tuple[int, list[str]]
"""How often something was tried, and what was wrong."""
Mishap = Callable[[Path], Told]


@gate("5d", "mishaps around a training", unit="mishaps")
def mishaps(effort: Effort) -> Outcome:
    """Each of them once."""
    warm_up()
    told = spread(_tried, MISHAPS, effort.workers)
    note = ", ".join(f"{_name(each)} {count}" for each, (count, _) in zip(MISHAPS, told, strict=True))
    return Outcome(sum(count for count, _ in told), [finding for _, found in told for finding in found][:20], note=note)


def _tried(mishap: Mishap) -> Told:
    with scratch_folder() as folder, silence():
        try:
            return mishap(folder)
        except Exception as error:  # what nobody has foreseen is a finding
            return 1, [f"{_name(mishap)}: {type(error).__name__}: {error}"]


def _name(mishap: Mishap) -> str:
    return mishap.__name__.strip("_").replace("_", " ")


def _sitting(folder: Path, **patches: Any) -> tuple[list[Any], Any]:
    """The events of a whole run of LocalLink's threads, and its link, while some names lead elsewhere."""
    settings = profile(folder, train__max_steps=30)
    run = Run.create(folder / "runs", None, "tiny")
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(local, "METER_SECONDS", 0.02))
        stack.enter_context(mock.patch.object(local, "DOCTOR_SECONDS", 0.02))
        for target, replacement in patches.items():
            stack.enter_context(mock.patch(target.replace("__", "."), replacement))
        with run.lock():
            run.write_facts({})
            link = local.LocalLink(run, settings)
            events: list[Any] = []
            state = RunState()
            link.known = lambda: state
            link.start()
            while not link.join(0.02):
                for event in link.drain():
                    events.append(event)
                    state = reduce(state, event)
            link.conclude(state)
            link.close()
    return events + list(run.read_events()), link


def _beside(folder: Path) -> Told:
    """Whatever goes on beside training fails, each time it is done: the run ends as it would, and the log says why."""
    findings, count = [], 0

    def fail(*arguments: Any, **options: Any) -> Any:
        raise RuntimeError("broken on purpose")

    for target, word in (
        ("cockpit__link__local__Telemetry.sample", "meters"), ("cockpit__link__local__ConsoleTail.read", "console.log"),
        ("cockpit__doctor__rounds__Rounds.look", "doctor"),
        ("cockpit__link__server__LinkServer._attend", "link failed"),
    ):  # fmt: skip
        count += 1
        (folder / target).mkdir()
        events, _ = _sitting(folder / target, **{target: fail})
        if not any(isinstance(event, ev.Finished) and event.reason == "max_steps" for event in events):
            findings.append(f"{target}: the run did not come to its end")
        lines = [
            event.text for event in events if isinstance(event, ev.LogLine) and event.level in ("warning", "error")
        ]
        if not any(word in line and "fail" in line for line in lines):
            findings.append(f"{target}: nobody is told: {lines}")
    return count, findings


def _nvml(folder: Path) -> Told:
    """Every error of NVML at every one of its calls, and what no NVML raises: a reading comes all the same."""
    errors = [pynvml.NVMLError(code) for code in (*range(1, 30), 999)]
    errors += [AttributeError("no such function"), TypeError("x"), OSError("library"), ValueError("x")]
    findings = []
    for error in errors:
        meters = Telemetry()
        library = mock.MagicMock()
        library.NVMLError = pynvml.NVMLError
        for name in ("UtilizationRates", "MemoryInfo", "PowerUsage", "Temperature", "CurrentClocksEventReasons"):
            setattr(library, f"nvmlDeviceGet{name}", mock.Mock(side_effect=error))
        meters._nvml, meters._gpu = library, object()
        try:
            if meters.sample().gpu_watts is not None:
                findings.append(f"{error!r}: a reading that is none")
        except Exception as raised:
            findings.append(f"NVML's {error!r} gets out: {raised!r}")
        with mock.patch.object(pynvml, "nvmlInit", side_effect=error):
            Telemetry().watch_gpu("GPU-0")
    return 2 * len(errors), findings


def _clock(folder: Path) -> Told:
    """The clock goes back an hour, and forward two, in the middle of a run."""
    findings, real = [], time.time
    for shift in (-3600.0, 7200.0, -1e9):
        told: list[ev.Event] = []

        def now(shift: float = shift, told: list[ev.Event] = told) -> float:
            return real() + (shift if len(told) > 25 else 0.0)

        with mock.patch("time.time", now), mock.patch("gpt.events._time.time", now):
            Trainer(profile(folder, train__max_steps=12), folder / f"run{shift:.0f}", told.append).run()
        state = reduce_all(RunState(), told)
        if state.finished is None or not 0 <= state.wall < 600:
            findings.append(f"clock {shift:+.0f} s: {state.state}, {state.wall} s of wall time")
        seconds = state.meters.seconds.points(least=50).last
        if any(b < a for a, b in itertools.pairwise(seconds)):
            findings.append(f"clock {shift:+.0f} s: the run's time falls")
    return 3, findings


def _shrinking_shard(folder: Path) -> Told:
    """A file of tokens is cut short while it is read from: the run ends in words, and is saved."""
    data = _shards(folder)
    settings = profile(folder, data__dir=str(data), data__input=None, data__tokenizer="byte", train__max_steps=400)
    told: list[ev.Event] = []

    def emit(event: ev.Event) -> None:
        told.append(event)
        if isinstance(event, ev.StepDone) and event.step == 3:
            os.truncate(data / "train.bin", 100)

    with mock.patch.object(tokens.Tokens.open.__func__, "__kwdefaults__", {"in_memory": 0}):
        Trainer(settings, folder / "run", emit).run()
    (failed,) = [event for event in told if isinstance(event, ev.Failed)] or [None]
    findings = []
    if failed is None or "train.bin" not in failed.error or not failed.user_error:
        findings.append(f"a shard that shrinks: {failed}")
    elif checkpoint.newest(folder / "run" / "checkpoints")[1]["step"] < failed.step - 1:
        findings.append("a shard that shrinks: the steps before it are lost")
    return 1, findings


def _shards(folder: Path) -> Path:
    """A folder of tokens in `folder`."""
    data = folder / "data"
    data.mkdir()
    for split in ("train", "val"):
        (np.arange(4000) % 200).astype("<u2").tofile(data / f"{split}.bin")
    return data


def _hung_loader(folder: Path) -> Told:
    """Reading stands still, in the trainer's thread or in one that reads ahead: told, with stacks, and gone on with."""
    findings = []
    data = _shards(folder)
    for in_memory in (True, False):
        where = f"a loader that hangs, {'in memory' if in_memory else 'reading ahead'}"
        settings = profile(
            folder, data__dir=str(data), data__input=None, data__tokenizer="byte", train__stalled_after=0.3
        )
        with mock.patch.object(tokens.Tokens.open.__func__, "__kwdefaults__", {"in_memory": (1 << 30) * in_memory}):
            Trainer(settings, folder / f"even{in_memory:d}", lambda event: None).run()
            told, stacks = _hung(settings, folder / f"hung{in_memory:d}")
        kinds = [type(event) for event in told]
        if kinds.count(ev.Stalled) != 1 or kinds.count(ev.StallEnded) != 1:
            findings.append(f"{where}: told {kinds.count(ev.Stalled)} times, over {kinds.count(ev.StallEnded)} times")
        if "gather" not in stacks:
            findings.append(f"{where}: the stacks do not show it: {stacks[:100]!r}")
        if kinds.count(ev.Finished) != 1:
            findings.append(f"{where}: the run does not come to its end: {told[-1]}")
        elif weights_of(folder / f"even{in_memory:d}", 14) != weights_of(folder / f"hung{in_memory:d}", 14):
            findings.append(f"{where}: the weights at the end are others")
    return 2, findings


def _hung(settings: Profile, run: Path) -> tuple[list[ev.Event], str]:
    """The events of a run whose loader hangs once, until that is told, and the stacks that were shown meanwhile."""
    told: list[ev.Event] = []
    real, calls, seen = tokens.Tokens.gather, itertools.count(), threading.Event()

    def gather(*arguments: Any) -> Any:
        if seen_steps() and next(calls) == 0:
            seen.wait(60)
        return real(*arguments)

    def seen_steps() -> bool:
        return any(isinstance(event, ev.StepDone) for event in told)

    def emit(event: ev.Event) -> None:
        told.append(event)
        if isinstance(event, ev.Stalled):
            seen.set()
        elif seen.is_set() and isinstance(event, ev.StepDone):
            time.sleep(0.03)  # so that the run does not end before the watchdog has looked again

    with (
        tempfile.TemporaryFile() as stacks, mock.patch.object(watchdog, "_STACKS_TO", stacks.fileno()),
        mock.patch.object(tokens.Tokens, "gather", gather),
    ):  # fmt: skip
        Trainer(settings, run, emit).run()
        stacks.seek(0)
        return told, stacks.read().decode()


def _no_temporary_folder(folder: Path) -> Told:
    """$TMPDIR is full, is a file, or is not there: training needs none."""
    findings = []
    places = ["/dev/full", "/nonexistent", "/proc"]
    for place in places:
        told: list[ev.Event] = []
        with mock.patch.dict(os.environ, {"TMPDIR": place}), mock.patch.object(tempfile, "tempdir", place):
            Trainer(profile(folder, train__max_steps=6), folder / f"run{len(place)}", told.append).run()
        if not any(isinstance(event, ev.Finished) for event in told):
            findings.append(f"TMPDIR={place}: {[event for event in told if isinstance(event, ev.Failed)]}")
    return len(places), findings


def _nonsense_on_reload(folder: Path) -> Told:
    """A profile that has become nonsense while its run goes on: refused in a line, nothing is changed."""
    findings: list[str] = []
    path = folder / "p.toml"
    texts = [
        "",
        "[",
        "a = " + "[" * 9999,
        "[train]\nmax_steps = -1",
        "[train]\nmax_steps = 'x'",
        "[optim]\nlearning_rate = nan",
        "\0",
        "x" * 2_000_000,
    ]
    for text in texts:
        path.write_text(text)
        try:
            if profiles.load(path).profile.train.max_steps < 1:
                findings.append(f"{text[:40]!r} is accepted")
        except UserError as error:
            if "\n" in str(error) or len(str(error)) > 400:
                findings.append(f"{text[:40]!r}: {len(str(error))} characters of error")
    nonsense: list[dict[str, Any]] = [
        {"optim.learning_rate": float("nan")}, {"optim.learning_rate": "fast"}, {"model.n_layer": 99},
        {"no.such": 1}, {"": 1},
        {"train.max_steps": -5}, {"train.max_steps": 10**30}, {"optim.learning_rate": [[[]]]},
        {"train.eval_steps": None},
    ]  # fmt: skip
    told: list[ev.Event] = []

    def emit(event: ev.Event) -> None:
        told.append(event)
        if isinstance(event, ev.StepDone) and event.step == 2:
            for changes in nonsense:
                trainer.send(commands.SetConfig(changes=changes))

    trainer = Trainer(profile(folder, train__max_steps=8), folder / "run", emit)
    trainer.run()
    if not any(isinstance(event, ev.Finished) for event in told):
        findings.append(f"nonsense as a live change ends the run: {trainer.failure}")
    if changed := [event for event in told if isinstance(event, ev.ConfigChanged)]:
        findings.append(f"nonsense is taken: {changed}")
    return len(texts) + len(nonsense), findings


MISHAPS: tuple[Mishap, ...] = (
    _beside, _nvml, _clock, _shrinking_shard, _hung_loader, _no_temporary_folder, _nonsense_on_reload,
)  # fmt: skip
