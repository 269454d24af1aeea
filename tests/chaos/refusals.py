"""Gate 3: a disk that refuses at every call of a save in turn: nothing good is lost, and all goes on."""

from __future__ import annotations

import errno
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from cockpit import eventlog
from cockpit.eventlog import EventLog
from cockpit.reducer import reduce
from cockpit.runs import Run
from cockpit.state import RunState
from cockpit.widgets.notice import outcome
from gpt import checkpoint, saver
from gpt.errors import RunError
from gpt.events import CheckpointFailed, CheckpointSaved, Event, Finished, LogLine, encode
from gpt.saver import Saver
from gpt.trainer import Trainer
from tests.chaos.gate import MOST_FINDINGS, Effort, Outcome, gate, scratch, spread
from tests.chaos.interposed import Call, Interposed
from tests.chaos.stories import tensors
from tests.chaos.tiny import profile, warm_up, weights_of

ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EINTR)
TIMES = ("once", "from then on", "after half of it")


@dataclass(frozen=True)
class Fault:
    """What goes wrong."""

    what: str
    """The scene in which it does."""
    at: int
    """At which of its calls."""
    number: int
    """errno; 0: a write of half of what was to be written, and then of the rest."""
    times: str

    def __str__(self) -> str:
        how = errno.errorcode[self.number] if self.number else "a short write"
        return f"{self.what}: {how} at call {self.at} {self.times}"


class Disk:
    """Refuses what a fault says, and counts the calls."""

    def __init__(self, root: Path, fault: Fault | None = None) -> None:
        self._fault, self.calls, self.log = fault, 0, []
        self._interposed = Interposed(root, before=self._before, looking=True)

    def __enter__(self) -> Disk:
        self._interposed.__enter__()
        return self

    def __exit__(self, *why: object) -> None:
        self._interposed.__exit__(None, None, None)

    def _before(self, call: Call) -> None:
        self.calls += 1
        self.log.append(f"{call.name} {call.path.rsplit('/', 1)[-1]}")
        fault = self._fault
        if not fault or self.calls < fault.at or (fault.times == "once" and self.calls > fault.at):
            return
        if fault.number and not (fault.times == "after half of it" and self.calls == fault.at):
            raise OSError(fault.number, os.strerror(fault.number))
        call.data = call.data[: max(1, len(call.data) // 2)]


@gate("3a", "errno on every call of a save, of the log, of the facts", unit="faults", weight=8)
def refusals(effort: Effort) -> Outcome:
    """Each call in turn fails once, or from then on until the disk is mended."""
    scenes = {"save": _save, "log": _log, "facts": _facts, "rewind": _rewind}
    faults: list[Fault] = []
    for name, scene in scenes.items():
        calls, problems = _run_scene(scene, None)
        assert not problems, problems
        step = max(1, round(1 / effort.scale)) if calls > 10 else 1
        for at in range(1, calls + 1, step):
            faults += [
                Fault(name, at, number, times) for number in (*ERRNOS, 0) for times in TIMES
                if number != errno.EINTR or times == "once"  # Python repeats a call as long as it says that
            ]  # fmt: skip
    found = spread(_suffer, [(scenes[fault.what], fault) for fault in faults], effort.workers)
    findings = [finding for each in found for finding in each]
    return Outcome(len(faults), findings[:MOST_FINDINGS], f"{len(scenes)} scenes, {len(ERRNOS)} errnos, short writes")


Scene = Callable[[Path, Callable[[], Disk]], Iterator[str]]
"""Sets something up in a folder, has it fail behind the disk it is given, and says what is wrong afterwards."""


def _suffer(job: tuple[Scene, Fault]) -> list[str]:
    scene, fault = job
    return [f"{fault}: {problem}" for problem in _run_scene(scene, fault)[1]]


def _run_scene(scene: Scene, fault: Fault | None) -> tuple[int, list[str]]:
    """How many calls were made behind the faulty disk, and what was found."""
    disks: list[Disk] = []
    with tempfile.TemporaryDirectory(dir=scratch()) as folder, mock.patch.object(eventlog, "WRITE_SECONDS", 3600):
        root = Path(folder)

        def faulty() -> Disk:
            disks.append(Disk(root, fault))
            return disks[-1]

        before = _open_files()
        try:
            problems = list(scene(root, faulty))
        except Exception as error:
            problems = [f"{type(error).__name__}: {error} was raised"]
        if fault and _open_files() > before:
            problems.append("a file stays open")
        return disks[0].calls, problems


def _open_files() -> int:
    here = Path("/proc/self/fd")
    return len(list(here.iterdir())) if here.exists() else 0


def _save(root: Path, faulty: Callable[[], Disk]) -> Iterator[str]:
    """The third save of a run, the best so far, after which the first one is one too many."""
    parent, events = root / "checkpoints", []
    keeper = Saver(parent, events.append)

    def save(step: int, *, best: bool = False) -> bool:
        return keeper.save(step, lambda: tensors(step), {"tokens": step}, keep=2, reason="interval", best=best)

    save(1, best=True)
    save(2)
    good = {step: _content(parent, step) for step in (1, 2)}
    with faulty():
        done = save(3, best=True)
    said = events[-1]
    if done != isinstance(said, CheckpointSaved):
        yield f"the save says {done}, and the event is {said}"
    if not done and not (isinstance(said, CheckpointFailed) and "the next try is in" in said.error):
        yield f"not told in words: {said}"
    state = checkpoint.newest(parent)[1]
    if state["step"] < 2 or (done and state["step"] != 3):
        yield f"goes on at step {state['step']}"
    if _content(parent, 2) != good[2] or (state["step"] < 3 and _content(parent, 1) != good[1]):
        yield "an earlier checkpoint has changed"
    if not done and keeper.waiting is None:
        yield "nothing is tried again"
    if not save(4):
        yield f"the disk is mended, and: {events[-1]}"
    if checkpoint.newest(parent)[1]["step"] != 4 or (parent / "latest").readlink().name != "step-00000004":
        yield "the next save is not the newest"
    if not (parent / "best").exists():
        yield "best leads nowhere"
    litter = [each.name for each in parent.iterdir() if each.name.endswith((".tmp", ".replaced"))]
    if litter:
        yield f"{', '.join(litter)} lies about"


def _content(parent: Path, step: int) -> dict[str, bytes] | None:
    folder = parent / checkpoint.folder_name(step)
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else None


def _log(root: Path, faulty: Callable[[], Disk]) -> Iterator[str]:
    """Lines that are written while the disk refuses."""
    run = Run(root)
    log = EventLog(run.events_path)
    lines = [LogLine(level="info", text=f"{number} " + "x" * (number % 3 * 700)) for number in range(9)]
    for line in lines[:3]:
        log.append(line)
    log.flush()
    log.close()
    with faulty():
        with suppress(OSError):  # where it cannot even be opened
            log = EventLog(run.events_path)
        for line in lines[3:6]:
            log.append(line)
        log.flush()
    there = [encode(event) for event in run.read_events()]
    if there != [encode(line) for line in lines[: len(there)]]:
        yield "what is in the log is not what was written, in its order"
    if log._closing.is_set():
        return
    for line in lines[6:]:
        log.append(line)
    log.flush()
    if log.error:
        yield f"the disk is mended, and: {log.error}"
    log.close()
    if [encode(event) for event in run.read_events()] != [encode(line) for line in lines] or run.skipped_lines:
        yield "lines are lost, double or torn"


def _facts(root: Path, faulty: Callable[[], Disk]) -> Iterator[str]:
    """What a resume and a change of settings write beside the checkpoints."""
    run = Run(root)
    run.write_facts({"number": 1})
    with faulty():
        try:
            run.write_facts({"number": 2})
            expected = [{"number": 2}]
        except RunError:
            expected = [{"number": 1}, {"number": 2}]  # the new one may be in place, and not yet known to be durable
    if run.read_facts() not in expected:
        yield f"run.json holds {run.read_facts()}"
    run.write_facts({"number": 3})
    if run.read_facts() != {"number": 3}:
        yield "run.json cannot be written any more"


def _rewind(root: Path, faulty: Callable[[], Disk]) -> Iterator[str]:
    """The later checkpoints are set aside."""
    for step in (1, 2, 3):
        checkpoint.write(root, step, tensors(step), {})
    checkpoint.point(root, "latest", 3)
    checkpoint.point(root, "best", 3)
    good = {step: _content(root, step) for step in (1, 2, 3)}
    with faulty(), suppress(OSError):
        checkpoint.set_aside(root, 1, 1)
    checkpoint.set_aside(root, 1, 1)
    if checkpoint.newest(root)[1]["step"] != 1 or _content(root, 1) != good[1]:
        yield "the checkpoint that was gone back to is not the newest"
    for step in (2, 3):
        if good[step] not in [_content(aside, step) for aside in checkpoint.abandoned(root)]:
            yield f"the checkpoint of step {step} is lost"
    if {(root / name).readlink().name for name in ("latest", "best")} != {"step-00000001"}:
        yield "the links do not lead to it"


@gate("3b", "training on a disk that refuses for a while", unit="runs")
def training(effort: Effort) -> Outcome:
    """A real run, whose disk refuses all changes for some steps: it says so, tries again, ends as undisturbed."""
    jobs = [(number, seed) for seed in range(effort.count(2)) for number in ERRNOS]
    warm_up()
    plain = _train((0, 0))
    results = spread(_train, jobs, effort.workers)
    findings = [finding for _, found in results for finding in found]
    findings += [
        f"{errno.errorcode[number]}: the weights at the end are others"
        for (number, _), (weights, _) in zip(jobs, results, strict=True)
        if weights != plain[0]
    ]
    return Outcome(len(jobs), (plain[1] + findings)[:MOST_FINDINGS], "same weights at the end as undisturbed")


def _train(job: tuple[int, int]) -> tuple[str, list[str]]:
    """Hash of the last weights, and what was wrong."""
    number, seed = job
    said: list[Event] = []
    notices: list[str] = []
    screen = RunState(max_steps=14)
    with tempfile.TemporaryDirectory(dir=scratch()) as folder, mock.patch.object(saver, "RETRY_SECONDS", 0.002):
        root = Path(folder)

        def refuse(call: Call) -> None:
            step = trainer.step
            if number and 3 + seed % 3 <= step <= 8 and call.name == ("fsync" if number == errno.EINTR else call.name):
                raise OSError(number, os.strerror(number))

        def emit(event: Event) -> None:
            nonlocal screen
            said.append(event)
            screen = reduce(screen, event)
            if isinstance(event, CheckpointFailed):
                notices.append("".join(text for text, _ in outcome(screen)))
            time.sleep(0.003 if number else 0)  # so that there are steps after the pause of a retry

        trainer = Trainer(profile(root), root / "run", emit)
        with Interposed(root / "run", before=refuse):
            trainer.run()
        findings = []
        failed = [event for event in said if isinstance(event, CheckpointFailed)]
        saved = [event.step for event in said if isinstance(event, CheckpointSaved)]
        if number and (not failed or not all("failed" in notice and "try" in notice for notice in notices)):
            findings.append(f"{errno.errorcode[number]}: no banner: {notices}")
        if number and not any(step in (9, 10) for step in saved):
            findings.append(f"{errno.errorcode[number]}: not tried again soon: {saved}")
        if not any(isinstance(event, Finished) for event in said):
            findings.append(f"{number}: the run did not end: {said[-1]}")
            return "", findings
        return weights_of(root / "run", 14), findings
