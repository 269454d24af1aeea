"""Gate 1: whatever a power failure leaves of a save, the newest acknowledged checkpoint is found, and it is whole.

Stories of a run are recorded (`stories`), replayed up to each call on the model of a disk (`disk`), and what may be
left there at that moment is put into a real folder, in which the program's own code looks for what to go on with.
"""

from __future__ import annotations

import contextlib
import random
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cockpit.eventlog import EventLog
from cockpit.runs import Run, list_runs
from cockpit.saves import list_saves
from gpt import checkpoint
from gpt.errors import CheckpointError
from gpt.events import CheckpointSaved, Event, LogLine, encode
from gpt.saver import Saver
from tests.chaos import stories
from tests.chaos.disk import MANNERS, Disk
from tests.chaos.gate import MOST_FINDINGS, Effort, Outcome, gate, scratch, spread
from tests.chaos.image import Bench, Image
from tests.chaos.stories import CHECKPOINTS, RUN, RUNS, Standing, Story, Version

FIRST = (("a run", stories.a_run), ("a rewind", stories.a_rewind), ("a fork", stories.a_fork), ("a log", stories.a_log))
_TOLD: list[Story] = []
"""Those that are replayed; processes forked from this one have them."""


@gate("1", "crash states of a save", unit="states", weight=90)
def crash_states(effort: Effort) -> Outcome:
    """Power failures at every call of a run's saves, and again in what follows them."""
    wanted = effort.count(140_000, least=200)  # some stretches have fewer than their share
    _TOLD[:] = spread(_first_story, range(len(FIRST)), effort.workers)
    _TOLD.extend(spread(_after_a_crash, range(effort.count(80, least=2)), effort.workers))
    jobs = _jobs(wanted, effort)
    sights = spread(_replay, jobs, effort.workers)
    count = sum(sight.states for sight in sights)
    findings = [finding for sight in sights for finding in sight.findings]
    points = sum(len(story.calls) for story in _TOLD)
    refused = sum(sight.passed_over for sight in sights)
    rotten = sum(sight.rotten for sight in sights)
    gone_on = sum(sight.gone_on for sight in sights)
    note = (
        f"{len(_TOLD)} stories, {points:,} calls; damaged ones refused in {refused:,}, {rotten:,} with rot, "
        f"saved on after {gone_on:,}"
    )
    return Outcome(count, findings[:MOST_FINDINGS], note)


def _first_story(number: int) -> Story:
    """Recorded in a process of its own: its drafts are then those of a dead one."""
    return stories.record(*FIRST[number])


def _after_a_crash(seed: int) -> Story:
    """A story that begins where another one crashed."""
    chance = random.Random(seed)
    before = _TOLD[chance.randrange(len(FIRST))]
    stop = chance.randrange(len(before.calls) // 4, len(before.calls))
    disk, standing = Disk(before.begin), Standing()
    for number, call in enumerate(before.calls[:stop]):
        disk.apply(call)
        standing = _standing_at(before, number + 1)
    begun = Story("", begin=disk.crash(chance, chance.choice(MANNERS)), versions=before.versions, lines=before.lines)
    standing = Standing(standing.protected, standing.floor, standing.ceiling, standing.best)
    return stories.record(f"{before.name} after call {stop}", stories.a_resume(seed), begun, standing)


def _standing_at(story: Story, calls: int) -> Standing:
    return next(standing for at, standing in reversed(story.standings) if at <= calls)


@dataclass(frozen=True)
class _Job:
    story: int
    first: int
    stop: int
    states: int
    seed: int


def _jobs(wanted: int, effort: Effort) -> list[_Job]:
    """Stretches of the stories, and how many states each is to show."""
    total, jobs = sum(len(story.calls) for story in _TOLD), []
    for number, story in enumerate(_TOLD):
        for first in range(0, len(story.calls), 40):
            stop = min(len(story.calls), first + 40)
            states = -(-wanted * (stop - first) // total)
            jobs.append(_Job(number, first, stop, states, effort.seed * 1_000_003 + number * 1009 + first))
    return jobs


@dataclass
class _Sight:
    states: int = 0
    passed_over: int = 0
    rotten: int = 0
    gone_on: int = 0
    findings: list[str] | None = None


def _replay(job: _Job) -> _Sight:
    """Crashes one stretch of a story as often as was asked, each time in another way."""
    story, chance, sight, findings = _TOLD[job.story], random.Random(job.seed), _Sight(), []
    with tempfile.TemporaryDirectory(dir=scratch()) as folder:
        judge = _Judge(story, Path(folder), chance, sight)
        moments, rounds = list(_moments(story, job.first, job.stop)), 0
        seen: set[int] = set()
        while moments and sight.states < job.states and len(findings) < MOST_FINDINGS:
            # Every moment in every plain manner first, then by chance; one that has shown all it can is left out.
            manner = MANNERS[rounds] if rounds < len(MANNERS) else chance.choice(("mixed", "garbled"))
            rounds += 1
            for moment in moments:
                image = moment.disk.crash(chance, manner)
                key = hash((frozenset(image.items()), id(moment.standing)))
                moment.stale += 1
                if key not in seen:
                    seen.add(key)
                    moment.stale = 0
                    sight.states += 1
                    where = f"{story.name}, before call {moment.at} ({moment.next}), {manner}"
                    findings += [f"{where}: {text}" for text in judge(image, moment.standing)]
            moments = [moment for moment in moments if moment.stale < 80]
    sight.findings = findings
    return sight


@dataclass
class _Moment:
    """A disk between two calls."""

    at: int
    next: str
    disk: Disk
    standing: Standing
    stale: int = 0
    """How many of its images, the newest ones, had been seen before."""


def _moments(story: Story, first: int, stop: int) -> Iterator[_Moment]:
    """The disk after each call of a stretch that changes something; each is a replay of its own."""
    for at in range(first, stop):
        disk = Disk(story.begin)
        changes = [disk.apply(call) for call in story.calls[: at + 1]]
        if changes[-1]:
            following = story.calls[at + 1].name if at + 1 < len(story.calls) else "the end"
            yield _Moment(at + 1, following, disk, _standing_at(story, at + 1))


class _Judge:
    """Puts images into a folder, has the program's own code look there, and says what is wrong."""

    def __init__(self, story: Story, root: Path, chance: random.Random, sight: _Sight) -> None:
        self._story, self._chance, self._sight = story, chance, sight
        self._bench = Bench(root)
        self._root, self._parent = root, root / CHECKPOINTS
        self._lines = {line: number for number, line in enumerate(story.lines)}

    def __call__(self, image: Image, standing: Standing) -> list[str]:
        findings = list(self._judged(image, standing))
        if not findings and self._chance.random() < 0.06:
            findings += [f"then rotten: {text}" for text in self._with_rot(image, standing)]
        if not findings and self._chance.random() < 0.06:
            findings += [f"then saved on: {text}" for text in self._saved_on(image, standing)]
        if not findings and self._lines and (self._has_torn_line(image) or self._chance.random() < 0.06):
            findings += [f"then logged on: {text}" for text in self._logged_on(image)]
        return findings

    def _has_torn_line(self, image: Image) -> bool:
        """Whether the log ends within a line: what is written next must not become part of that."""
        log = image.get(stories.LOG)
        return isinstance(log, bytes) and bool(log) and not log.endswith(b"\n")

    def _judged(self, image: Image, standing: Standing) -> Iterator[str]:
        self._bench.hold(image)
        found = self._newest()
        if isinstance(found, str):
            if standing.protected:
                yield f"lost: {found}"
            return
        path, step, complaints = found
        self._sight.passed_over += bool(complaints)
        if not self._is_true(image, f"{CHECKPOINTS}/{path.name}", step):
            yield f"{path.name} is damaged and was accepted"
        if standing.floor is not None and step < standing.floor:
            yield f"goes on at step {step}, {standing.floor} was acknowledged"
        if standing.ceiling is not None and step > standing.ceiling:
            yield f"goes on at step {step}, which a rewind to {standing.ceiling} has left"
        for each, version in standing.protected.items():
            if not any(self._is_true(image, place, each, version) for place in self._places(image, each)):
                yield f"the checkpoint of step {each} is lost"
        if standing.best:
            yield from self._best(image, standing)
        yield from self._log(image, standing)

    def _newest(self) -> tuple[Path, int, list[str]] | str:
        """The program's own answer, or why there is none."""
        try:
            path, state, complaints = checkpoint.newest(self._parent)
            return path, state["step"], complaints
        except CheckpointError as error:
            return str(error)

    def _is_true(self, image: Image, place: str, step: int, least: int = 0) -> bool:
        """Whether a folder holds what was once written for the step, byte for byte."""
        versions: list[Version] = self._story.versions.get(step, [])[least:]
        return any(all(image.get(f"{place}/{name}") == content for name, content in v.items()) for v in versions)

    def _places(self, image: Image, step: int, *, aside: bool = True) -> Iterator[str]:
        """Where a checkpoint of the step may be; those that a rewind has set aside are not found by a resume."""
        name = checkpoint.folder_name(step)
        yield f"{CHECKPOINTS}/{name}"
        yield f"{CHECKPOINTS}/{name}.replaced"
        left = f"{CHECKPOINTS}/{checkpoint.ABANDONED}/"
        if aside:
            yield from (path for path in image if path.startswith(left) and path.endswith(name))

    def _best(self, image: Image, standing: Standing) -> Iterator[str]:
        target = image.get(f"{CHECKPOINTS}/best")
        if not isinstance(target, str):
            yield "the link to the best checkpoint is gone"
        elif not any(
            target == checkpoint.folder_name(step) and self._is_true(image, f"{CHECKPOINTS}/{target}", step)
            for step in standing.best
        ):
            yield f"best leads to {target}, not to one of {standing.best}, or that is damaged"

    def _log(self, image: Image, standing: Standing) -> Iterator[str]:
        if not self._lines:
            return
        run = Run(self._root / RUNS / RUN)
        places = [self._lines.get(encode(event)) for event in run.read_events()]
        if None in places:
            yield "the log holds a line that was never written"
        elif places != sorted({place for place in places if place is not None}):
            yield "the log's lines are not in their order"
        elif places[: standing.logged] != list(range(standing.logged)):
            yield f"of {standing.logged} durable lines of the log {len(places)} are left"

    def _with_rot(self, image: Image, standing: Standing) -> Iterator[str]:
        """The same with the newest checkpoint damaged where it lay durable: the one before is used, or none."""
        found = self._newest()
        if isinstance(found, str):
            return
        inside = f"{CHECKPOINTS}/{found[0].name}/"
        files = [path for path, content in image.items() if path.startswith(inside) and content]
        victim = self._chance.choice(files)
        content = image[victim]
        assert isinstance(content, bytes)
        place = self._chance.randrange(len(content))
        flipped = bytes([content[place] ^ 1 << self._chance.randrange(8)])
        rotten = image | {victim: content[:place] + flipped + content[place + 1 :]}
        self._sight.rotten += 1
        self._sight.states += 1
        self._bench.hold(rotten)
        after = self._newest()
        others = [
            step for step, version in standing.protected.items()
            if any(self._is_true(rotten, place, step, version) for place in self._places(rotten, step, aside=False))
        ]  # fmt: skip
        if isinstance(after, str):
            if others:
                yield f"steps {others} are whole, and none was found: {after}"
        elif not self._is_true(rotten, f"{CHECKPOINTS}/{after[0].name}", after[1]):
            yield f"{after[0].name} is damaged and was accepted"
        elif others and after[1] < max(others):
            yield f"step {max(others)} is whole, and {after[1]} was taken"

    def _saved_on(self, image: Image, standing: Standing) -> Iterator[str]:
        """A resume on what is left: the next save succeeds, is the newest, and what lay about is cleared away."""
        self._sight.gone_on += 1
        self._bench.hold(image)
        with contextlib.suppress(OSError):
            list_runs(self._root / RUNS)
        list_saves(self._parent)
        found = self._newest()
        step = 1 if isinstance(found, str) else found[1] + 1
        events: list[Event] = []
        saver = Saver(self._parent, events.append)
        saver.save(step, lambda: stories.tensors(step), {"tokens": step}, keep=2, reason="asked", best=False)
        if not isinstance(events[-1], CheckpointSaved):
            yield f"step {step} could not be saved: {events[-1]}"
        elif self._newest() != (self._parent / checkpoint.folder_name(step), step, []):
            yield f"step {step} was saved, and {self._newest()} is found"
        litter = [path.name for path in self._parent.iterdir() if path.name.endswith((".tmp", ".replaced"))]
        if litter:
            yield f"{', '.join(litter)} lies about for good"
        self._bench.look()

    def _logged_on(self, image: Image) -> Iterator[str]:
        """The log goes on after what is left of it."""
        self._bench.hold(image)
        run = Run(self._root / RUNS / RUN)
        before = len(list(run.read_events()))
        run.path.mkdir(parents=True, exist_ok=True)
        log = EventLog(run.events_path)
        log.append(LogLine(level="info", text="on"))
        log.close()
        if log.error or len(list(run.read_events())) != before + 1:
            yield f"the log does not go on: {log.error}"
        self._bench.look()
