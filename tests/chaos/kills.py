"""Gate 2: SIGKILL at random instants of whatever a trainer does.

Nothing acknowledged is lost, and a run that is killed again and again ends with the weights of one that was not.
"""

from __future__ import annotations

import gc
import random
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
import torch

from cockpit import eventlog
from cockpit.eventlog import EventLog
from cockpit.runs import Run
from gpt import checkpoint, commands
from gpt.config import Profile
from gpt.errors import CheckpointError, RunError
from gpt.events import CheckpointSaved, Event, Failed, Resumed, StateChanged, StepDone
from gpt.trainer import Trainer
from tests.chaos import victims
from tests.chaos.gate import MOST_FINDINGS, Effort, Outcome, gate, scratch, scratch_folder, spread
from tests.chaos.tiny import profile, warm_up
from tests.chaos.victims import Death, Words, phases_of_a_save, told

STEPS = 14
"""Of a run that is trained to its end."""


@dataclass
class _Tally:
    deaths: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)
    others: int = 0
    """Runs that ended with other tensors than the undisturbed one."""

    @property
    def killed(self) -> int:
        return sum(count for phase, count in self.deaths.items() if phase != "end")


def _summed(tallies: list[_Tally]) -> _Tally:
    total = _Tally()
    for tally in tallies:
        total.deaths.update(tally.deaths)
        total.findings += tally.findings
        total.others += tally.others
    return total


@gate("2b", "SIGKILL of a training process, and runs to the end", unit="kills", weight=193)
def trainers(effort: Effort) -> Outcome:
    """Runs that are killed again and again, in all that a trainer does, and resumed; their last weights are equal."""
    warm_up()
    gc.collect()
    gc.freeze()  # what the forks share stays shared
    runs = effort.count(300, least=2)
    jobs = [effort.seed * 100_003 + number for number in range(runs)]
    with scratch_folder() as folder:
        _EXPECTED.update(_undisturbed(folder))
    total = _summed(spread(_kill_trainers, jobs, effort.workers))
    note = f"{runs:,} runs to the end, {runs - total.others:,} with equal weights; {told(total.deaths)}"
    return Outcome(total.killed, total.findings[:MOST_FINDINGS], note)


_TARGETS = (None, "train", "save", "links", "delete", "evaluate", "sample", "config", "log", "resume")
"""What a trainer is killed in, in turn; None: whenever."""


def _kill_trainers(seed: int, kills: int = 8) -> _Tally:
    """One run, killed as often and then let to its end."""
    chance, tally = random.Random(seed), _Tally()
    with tempfile.TemporaryDirectory(dir=scratch()) as folder, mock.patch.object(eventlog, "WRITE_SECONDS", 0.002):
        home = Path(folder)
        run = Run.create(home, "run", "tiny")
        run.write_facts({"sitting": 0})
        profile(home)  # its text: none of ours, and no kill may leave half of it
        saved = 0
        for sitting in range(1, kills + 1):
            target = _TARGETS[(seed * kills + sitting) % len(_TARGETS)]
            within = 0.15 if target is None else 0.004
            death = victims.kill(
                lambda words, n=sitting: _train_on(run, home, n, words), chance, within=within, phase=target
            )
            tally.deaths[death.phase] += 1
            saved = max([saved, *(int(text) for text in death.said)])
            where = f"seed {seed}, sitting {sitting}, killed in {death.phase}"
            tally.findings += [f"{where}: {text}" for text in _inspected_run(run, death, saved)]
            if death.phase == "end":
                break
        else:
            death = victims.live(lambda words: _train_on(run, home, kills + 1, words))
            if death.crash:
                tally.findings.append(f"seed {seed}: the last sitting: {death.crash}")
        if different := _different(run):
            tally.others += 1
            tally.findings.append(f"seed {seed}: other at the end than undisturbed: {different}")
    return tally


_EXPECTED: dict[str, torch.Tensor] = {}
"""The last tensors of the undisturbed run; processes forked from this one have them."""


def _undisturbed(home: Path) -> dict[str, torch.Tensor]:
    run = Run.create(home, "run", "tiny")
    death = victims.live(lambda words: _train_on(run, home, 1, words))
    assert not death.crash
    return _last_tensors(run)


def _last_tensors(run: Run) -> dict[str, torch.Tensor]:
    """Weights, moments and generators by name."""
    last = run.checkpoints_path / checkpoint.folder_name(STEPS)
    return {
        name: tensor for file in ("model", "optimizer") for name, tensor in checkpoint.load_tensors(last, file).items()
    }


def _different(run: Run) -> str:
    """Which of the last tensors are not those of the undisturbed run, to the bit; or why there are none."""
    try:
        found = _last_tensors(run)
    except (CheckpointError, OSError) as error:
        said = [event.error for event in run.read_events() if isinstance(event, Failed)]
        return " ".join([str(error), *said])
    names = sorted(found.keys() ^ _EXPECTED.keys())
    names += [name for name in found.keys() & _EXPECTED.keys() if not torch.equal(found[name], _EXPECTED[name])]
    return ", ".join(sorted(names)[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


_STATES = {"running": "train", "saving": "save", "evaluating": "evaluate", "sampling": "sample", "starting": "start"}


def _train_on(run: Run, home: Path, sitting: int, words: Words) -> None:
    """A sitting at a run, from its newest checkpoint to its end; its pilot samples, evaluates and changes settings."""
    words.doing("resume")
    with run.lock(), phases_of_a_save(words), _phases_of_the_log(words):
        log = EventLog(run.events_path)
        run.write_facts({"sitting": sitting})
        resume, settings = None, profile(home, train__max_steps=STEPS)
        with suppress(CheckpointError):
            resume, state, _ = checkpoint.newest(run.checkpoints_path)
            settings = msgspec.convert(state["profile"], Profile)  # what was changed on the way holds on

        def emit(event: Event) -> None:
            log.append(event)
            if isinstance(event, CheckpointSaved):
                words.acknowledge(str(event.step))
            elif isinstance(event, StateChanged):
                words.doing(_STATES.get(event.state, "train"))
            elif isinstance(event, StepDone):
                words.doing("train")
                _pilot(trainer, event.step, words)
            elif isinstance(event, Resumed) and event.step == 7:
                _pilot(trainer, 7, words)  # the checkpoint may be that of just before the change

        trainer = Trainer(settings, run.path, emit, resume=resume)
        trainer.run()
        log.close()


def _pilot(trainer: Trainer, step: int, words: Words) -> None:
    """The same at the same step of every sitting."""
    if step == 4:
        trainer.send(commands.Sample())
    if step == 7:
        words.doing("config")
        trainer.send(commands.SetConfig(changes={"optim.learning_rate": 5e-3}))
    if step == 8:
        trainer.send(commands.Evaluate())


def _phases_of_the_log(words: Words) -> Any:
    real = EventLog._write

    def write(log: EventLog) -> None:
        before = words.doing("log")
        real(log)
        words.doing(before)

    return mock.patch.object(EventLog, "_write", write)


def _inspected_run(run: Run, death: Death, saved: int) -> Iterator[str]:
    if death.crash:
        yield death.crash
    try:
        _, state, complaints = checkpoint.newest(run.checkpoints_path)
        if state["step"] < saved:
            yield f"step {saved} was acknowledged, step {state['step']} is found"
        if complaints:
            yield f"damaged ones under a name that is read: {complaints}"
    except CheckpointError as error:
        if saved:
            yield f"step {saved} was acknowledged: {error}"
    for _ in run.read_events():
        pass
    if run.skipped_lines:
        yield f"{run.skipped_lines} lines of the log are torn"
    try:
        with run.lock():
            pass
    except RunError as error:
        yield f"the run is still locked: {error}"
