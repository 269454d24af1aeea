"""Gate 5: an exception in any phase of a training: it goes on, or ends in words, its work saved, to be gone on with."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import itertools
import os
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch

from gpt import checkpoint
from gpt import events as ev
from gpt.errors import CheckpointError
from gpt.trainer import Trainer
from tests.chaos.gate import Effort, Outcome, gate, scratch_folder, spread
from tests.chaos.tiny import profile, warm_up

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
    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


@gate("5b", "exceptions in every phase of a training", unit="faults")
def exceptions(effort: Effort) -> Outcome:
    """Each kind at each place of a training, of which one push tries some."""
    warm_up()
    pairs = list(itertools.product(PLACES, range(len(KINDS))))
    chosen = random.Random(effort.seed).sample(pairs, min(len(pairs), effort.count(60, least=6)))
    jobs = [(place, kind, effort.seed + number) for number, (place, kind) in enumerate(chosen)]
    found = spread(_raise_in_training, jobs, effort.workers)
    findings = [finding for each in found for finding in each]
    note = f"{len(jobs)} of {len(pairs)} pairs of place and kind; CUDA's out of memory as an exception only"
    return Outcome(len(jobs), findings[:20], note=note)


def _raise_in_training(job: tuple[str, int, int]) -> list[str]:
    """A training in which that is raised once, and the one that resumes it: what is wrong with either."""
    place, kind, seed = job
    chance = random.Random(seed)
    where = f"{type(KINDS[kind]()).__name__} in {place.removeprefix('gpt.')}"
    findings: list[str] = []
    with scratch_folder() as folder:
        settings, told = profile(folder, train__max_steps=10), []
        trainer = Trainer(settings, folder / "run", told.append)
        try:
            with _raising(place, KINDS[kind], at=chance.choice((1, 1, 2, 3))) as raised, silence():
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
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Drops what is printed to standard error inside the block."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):  # noqa: PTH123
        yield
