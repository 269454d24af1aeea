"""Gate 5: what goes wrong inside: exceptions, damage, clocks, races. The run goes on, or ends in words, its work saved.

5a damages checkpoints, 5b raises in every phase of a training and beside it, 5c lets starters race for one run.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from tests.chaos.gate import Effort, Outcome, gate, scratch, spread


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="faults-", dir=scratch()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@gate("5a", "one bit of a checkpoint flipped: the one before is used", unit="bits")
def flipped_bits(effort: Effort) -> Outcome:
    """In the newest of three checkpoints, anywhere in any of its files."""
    from tests.chaos.tiny import warm_up

    warm_up()
    total = effort.count(1000)
    jobs = [(effort.seed + number, min(250, total - number)) for number in range(0, total, 250)]
    findings = [finding for each in spread(_flip, jobs, effort.workers) for finding in each]
    return Outcome(total, findings[:20], note="tensors, optimizer, state.json; all refused, by the file's name")


def _flip(job: tuple[int, int]) -> list[str]:
    from gpt import checkpoint
    from gpt.errors import CheckpointError
    from gpt.trainer import Trainer
    from tests.chaos.tiny import profile

    seed, count = job
    chance, findings = random.Random(seed), []
    with _folder() as folder:
        Trainer(profile(folder, train__max_steps=6), folder / "run", lambda event: None).run()
        parent = folder / "run" / "checkpoints"
        newest, before = checkpoint.list_newest_first(parent)[:2]
        files = [path for path in newest.iterdir() for _ in range(1 + path.stat().st_size // 4096)]
        for _ in range(count):
            path = chance.choice(files)
            sound = path.read_bytes()
            damaged = bytearray(sound)
            at = chance.randrange(len(sound))
            damaged[at] ^= 1 << chance.randrange(8)
            path.write_bytes(damaged)
            found, _, complaints = checkpoint.newest(parent)
            if found != before:
                findings.append(f"{path.name}, byte {at}: accepted")
            elif not any(path.name in each for each in complaints) and path.name != "state.json":
                findings.append(f"{path.name}, byte {at}: {complaints}")
            try:
                checkpoint.verify(newest)
                findings.append(f"{path.name}, byte {at}: verifies")
            except CheckpointError:
                pass
            path.write_bytes(sound)
        if checkpoint.newest(parent)[0] != newest:
            findings.append("the undamaged one is not found again")
    return findings


KINDS: tuple[Callable[[], BaseException], ...] = (
    lambda: RuntimeError("CUDA error: an illegal memory access was encountered\nand more"),
    lambda: OSError(5, "Input/output error"),
    lambda: ValueError("\x1b]52;c;x\x07"), lambda: MemoryError(), lambda: KeyError("x"),
    lambda: ZeroDivisionError(), lambda: AssertionError(),
    lambda: RecursionError("maximum recursion depth exceeded"),
    lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x"), lambda: SystemError(),
    lambda: _out_of_memory(),
)  # fmt: skip
"""What is raised, in turn."""
PLACES = (
    "gpt.trainer.learning_rate", "gpt.stepper.Stepper.take", "gpt.reader.Reader.take", "gpt.tokens.Tokens.gather",
    "gpt.beside.draw_samples",
    "gpt.evaluate.Evaluator.evaluate", "gpt.evaluate.to_device", "gpt.checkpoint.write", "gpt.tensorfile.write",
    "gpt.checkpoint.point",
    "gpt.checkpoint.prune", "gpt.reporter.Reporter.step_done", "gpt.watch.Watch.take_in",
    "gpt.snapshot.Snapshot.capture_generators",
    "gpt.trainer.open_dataset", "gpt.trainer.build", "gpt.trainer.choose", "gpt.record.Record.maybe_save",
)  # fmt: skip
"""Where: once, at a call of its own choosing."""


def _out_of_memory() -> BaseException:
    import torch

    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


@gate("5b", "exceptions in every phase, and beside training", unit="faults")
def exceptions(effort: Effort) -> Outcome:
    """Each kind at each place of a training; then each thread beside it; then clocks, shards and folders."""
    from tests.chaos.tiny import warm_up

    warm_up()
    pairs = list(itertools.product(PLACES, range(len(KINDS))))
    chosen = random.Random(effort.seed).sample(pairs, min(len(pairs), effort.count(60, least=6)))
    jobs = [(place, kind, effort.seed + number) for number, (place, kind) in enumerate(chosen)]
    found = spread(_raise_in_training, jobs, effort.workers)
    others = (_beside, _nvml, _clock, _shrinking_shard, _no_temporary_folder, _nonsense_on_reload)
    more = spread(_other, [(each.__name__, effort.seed) for each in others], effort.workers)
    findings = [finding for each in found for finding in each] + [finding for _, each in more for finding in each]
    note = f"{len(jobs)} of {len(pairs)} pairs of place and kind (CUDA OOM as an exception only), " + ", ".join(
        f"{name.strip('_').replace('_', ' ')} {count}"
        for (name, _), (count, _) in zip([(e.__name__, 0) for e in others], more, strict=True)
    )
    return Outcome(len(jobs) + sum(count for count, _ in more), findings[:20], note=note)


def _raise_in_training(job: tuple[str, int, int]) -> list[str]:
    """A training in which that is raised once, and the one that resumes it: what is wrong with either."""
    from gpt import checkpoint
    from gpt import events as ev
    from gpt.errors import CheckpointError
    from gpt.trainer import Trainer
    from tests.chaos.tiny import profile

    place, kind, seed = job
    chance = random.Random(seed)
    where = f"{type(KINDS[kind]()).__name__} in {place.removeprefix('gpt.')}"
    findings: list[str] = []
    with _folder() as folder:
        settings, told = profile(folder, train__max_steps=10), []
        trainer = Trainer(settings, folder / "run", told.append)
        try:
            with _raising(place, KINDS[kind], at=chance.choice((1, 1, 2, 3))) as raised, _silence():
                trainer.run()
        except Exception as error:  # our bugs are raised on, to be told with a traceback
            if not any(isinstance(event, ev.Failed) for event in told):
                findings.append(f"{where}: {error!r:.60} and no Failed")
        failed = [event for event in told if isinstance(event, ev.Failed)]
        ended = [event for event in told if isinstance(event, ev.Finished)]
        if len(failed) + len(ended) != 1 or trainer.failure is not (failed[0] if failed else None):
            findings.append(f"{where}: ends {len(failed)} times failed and {len(ended)} times finished")
        if any("\n" in event.error or not event.error.strip() for event in failed):
            findings.append(f"{where}: said in more than a line, or in none")
        if any(thread.name in ("reader", "saver", "watchdog") for thread in threading.enumerate()):
            findings.append(f"{where}: a thread is left: {[thread.name for thread in threading.enumerate()]}")
        steps = max((event.step for event in told if isinstance(event, ev.StepDone)), default=0)
        acknowledged = max((event.step for event in told if isinstance(event, ev.CheckpointSaved)), default=0)
        resume = None
        with contextlib.suppress(CheckpointError):
            resume, state, _ = checkpoint.newest(folder / "run" / "checkpoints")
            if state["step"] < acknowledged:
                findings.append(f"{where}: step {acknowledged} was acknowledged, {state['step']} is found")
        if steps and raised and resume is None and "checkpoint" not in place and "tensorfile" not in place:
            findings.append(f"{where}: {steps} steps were done, and nothing is saved")
        again: list[ev.Event] = []
        Trainer(settings, folder / "run", again.append, resume=resume).run()
        if not any(isinstance(event, ev.Finished) for event in again):
            findings.append(f"{where}: it cannot be gone on with: {[e for e in again if isinstance(e, ev.Failed)]}")
    return findings


@contextlib.contextmanager
def _raising(place: str, kind: Callable[[], BaseException], at: int) -> Iterator[list[int]]:
    """Raises at one call of what a dotted name leads to."""
    import importlib

    parts = place.split(".")
    cut = next(n for n in range(len(parts) - 1, 0, -1) if _is_module(".".join(parts[:n])))
    owner: Any = importlib.import_module(".".join(parts[:cut]))
    for part in parts[cut:-1]:
        owner = getattr(owner, part)
    real, calls, raised = getattr(owner, parts[-1]), itertools.count(1), []

    def call(*arguments: Any, **options: Any) -> Any:
        if next(calls) == at:
            raised.append(at)
            raise kind()
        return real(*arguments, **options)

    with mock.patch.object(owner, parts[-1], call):
        yield raised


def _is_module(name: str) -> bool:
    import importlib.util

    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):  # noqa: PTH123
        yield


Told = tuple[int, list[str]]


def _other(job: tuple[str, int]) -> Told:
    name, seed = job
    with _folder() as folder, _silence():
        try:
            return globals()[name](folder, seed)
        except Exception as error:  # what nobody has foreseen is a finding
            return 1, [f"{name}: {type(error).__name__}: {error}"]


def _sitting(folder: Path, seconds: float = 3.0, **patches: Any) -> tuple[list[Any], Any]:
    """The events of a whole run of LocalLink's threads, and its link, while some names lead elsewhere."""
    from cockpit.link import local
    from cockpit.runs import Run
    from tests.chaos.tiny import profile

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
            from cockpit.state import RunState, reduce

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


def _beside(folder: Path, seed: int) -> Told:
    """Whatever goes on beside training fails, each time it is done: the run ends as it would, and the log says why."""
    from gpt import events as ev

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


def _nvml(folder: Path, seed: int) -> Told:
    """Every error of NVML at every one of its calls, and what no NVML raises: a reading comes all the same."""
    import pynvml

    from cockpit.telemetry import Telemetry

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


def _clock(folder: Path, seed: int) -> Told:
    """The clock goes back an hour, and forward two, in the middle of a run."""
    from cockpit.state import RunState, reduce_all
    from gpt import events as ev
    from gpt.trainer import Trainer
    from tests.chaos.tiny import profile

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


def _shrinking_shard(folder: Path, seed: int) -> Told:
    """A file of tokens is cut short while it is read from: the run ends in words, and is saved."""
    import numpy as np

    from gpt import checkpoint, tokens
    from gpt import events as ev
    from gpt.trainer import Trainer
    from tests.chaos.tiny import profile

    data = folder / "data"
    data.mkdir()
    for split in ("train", "val"):
        (np.arange(4000) % 200).astype("<u2").tofile(data / f"{split}.bin")
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


def _no_temporary_folder(folder: Path, seed: int) -> Told:
    """$TMPDIR is full, is a file, or is not there: training needs none."""
    from gpt import events as ev
    from gpt.trainer import Trainer
    from tests.chaos.tiny import profile

    findings = []
    places = ["/dev/full", "/nonexistent", "/proc"]
    for place in places:
        told: list[ev.Event] = []
        with mock.patch.dict(os.environ, {"TMPDIR": place}), mock.patch.object(tempfile, "tempdir", place):
            Trainer(profile(folder, train__max_steps=6), folder / f"run{len(place)}", told.append).run()
        if not any(isinstance(event, ev.Finished) for event in told):
            findings.append(f"TMPDIR={place}: {[event for event in told if isinstance(event, ev.Failed)]}")
    return len(places), findings


def _nonsense_on_reload(folder: Path, seed: int) -> Told:
    """A profile that has become nonsense while its run goes on: refused in a line, nothing is changed."""
    from cockpit import profile as profiles
    from gpt import commands
    from gpt import events as ev
    from gpt.errors import UserError
    from gpt.trainer import Trainer
    from tests.chaos.tiny import profile

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


@gate("5c", "starters race for one run: one has it", unit="starts")
def racing(effort: Effort) -> Outcome:
    """Eight processes at once, by name as a fresh start and by its lock as a resume."""
    rounds = effort.count(100, least=2)
    with _folder() as folder:
        findings = [finding for number in range(rounds) for finding in _race(folder / str(number))]
    return Outcome(8 * rounds, findings[:20], note=f"{rounds:,} rounds of 8")


def _race(folder: Path) -> list[str]:
    from cockpit import runs
    from cockpit.runs import Run
    from gpt.errors import RunError

    folder.mkdir()
    ready, go = os.pipe(), os.pipe()
    told = os.pipe()
    children = []
    for number in range(8):
        child = os.fork()
        if not child:
            runs._LOCK_PATIENCE = 0.02
            os.close(go[1])
            os.read(go[0], 1)  # returns when the parent closes the other end
            word = b"?"
            try:
                run = Run.create(folder, "one", "p") if number % 2 else _opened(folder)
                with run.lock():
                    os.write(told[1], b"+")
                    time.sleep(0.05)  # longer than those who wait for the lock have patience
                    os.write(told[1], b"-")
                word = b""
            except RunError:
                word = b"r"
            except BaseException:
                pass
            os.write(told[1], word) if word else None
            os._exit(0)
        children.append(child)
    for end in (*ready, go[0], go[1]):
        os.close(end)
    for child in children:
        os.waitpid(child, 0)
    os.close(told[1])
    said = b""
    while more := os.read(told[0], 100):
        said += more
    os.close(told[0])
    held = said.replace(b"r", b"")
    wrong = []
    if b"?" in held:
        wrong.append("a starter ended in a traceback")
    if b"++" in held:
        wrong.append("two had the run at once")
    if held.count(b"+") < 1:
        wrong.append("nobody got the run")
    return wrong


def _opened(folder: Path) -> Any:
    from cockpit.runs import Run
    from gpt.errors import RunError

    for _ in range(200):
        with contextlib.suppress(RunError):
            return Run.open(folder, "one")
        time.sleep(0.001)
    raise RunError("never made")
