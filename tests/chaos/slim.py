"""Gate 2: SIGKILL of a slim writer. Run as a program, it is the one that lets writers live and kills them.

A process with torch in it takes ten times as long to fork. The writers run the program's own code that writes a
checkpoint, with stand-ins for the few things that it asks of tensors.
"""

from __future__ import annotations

import concurrent.futures
import gc
import json
import os
import random
import subprocess
import sys
import tempfile
import types
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from cockpit import eventlog
from cockpit.eventlog import EventLog
from cockpit.runs import Run
from gpt import checkpoint
from gpt.errors import CheckpointError
from gpt.events import LogLine
from tests.chaos import victims
from tests.chaos.gate import MOST_FINDINGS, Effort, Outcome, gate, scratch
from tests.chaos.victims import Death, Words, phases_of_a_save, told

EACH = 100
"""Kills in one run's folder."""

_TARGETS = (None, "save", "save", "links", "delete", "log", "resume", "config")
"""What a writer is killed in; None: whenever, its birth included."""

_DTYPES = ["int64", "float64", "float32", "int32", "bfloat16", "float16", "int16", "int8", "uint8", "bool"]


class Tensor:
    """Bytes that answer as a contiguous tensor of them does, where they are written."""

    device = types.SimpleNamespace(type="cpu")
    dtype = "uint8"

    def __init__(self, content: bytes) -> None:
        self.data = memoryview(content)
        self.shape = (len(content),)

    def numel(self) -> int:
        return len(self.data)

    def element_size(self) -> int:
        return 1

    def is_contiguous(self) -> bool:
        return True

    def _itself(self, *_: Any) -> Tensor:
        return self

    detach = reshape = view = numpy = _itself


@gate("2a", "SIGKILL of a slim writer", unit="kills", weight=113)
def slim(effort: Effort) -> Outcome:
    """A process that saves, logs, writes its facts and resumes, and does nothing else, killed at any instant."""
    runs = -(-effort.count(10_000, least=20) // EACH)
    seeds = [effort.seed * 10_007 + number for number in range(runs)]
    each = min(EACH, effort.count(10_000, least=20))
    shares = [seeds[number :: effort.workers] for number in range(effort.workers)]
    with concurrent.futures.ThreadPoolExecutor(effort.workers) as pool:
        answers = list(pool.map(_asked, shares, [each] * len(shares)))
    deaths: Counter[str] = Counter()
    findings: list[str] = []
    for answer in answers:
        deaths.update(answer["deaths"])
        findings += answer["findings"]
    return Outcome(sum(deaths.values()), findings[:MOST_FINDINGS], told(deaths))


def _asked(seeds: list[int], each: int) -> dict[str, Any]:
    """What this module finds as a program, without torch."""
    if not seeds:
        return {"deaths": {}, "findings": []}
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos.slim"], input=json.dumps([seeds, each]), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if done.returncode:
        return {"deaths": {}, "findings": [f"the killer itself failed: {done.stderr.strip()[-300:]}"]}
    return json.loads(done.stdout)


def _kill_writers(seed: int, count: int) -> tuple[Counter[str], list[str]]:
    """One run's folder, written by one process after the other, each of them killed."""
    chance, deaths, findings = random.Random(seed), Counter[str](), []
    with tempfile.TemporaryDirectory(dir=scratch()) as folder, mock.patch.object(eventlog, "WRITE_SECONDS", 0.001):
        run = Run.create(Path(folder), "run", "slim")
        run.write_facts({"sitting": 0})
        known = {"saved": 0, "logged": 0, "facts": 0}
        for sitting in range(1, count + 1):
            target = chance.choice(_TARGETS)
            death = victims.kill(
                lambda words, number=sitting: _write_on(run, number, words), chance, within=0.002, phase=target
            )
            deaths[death.phase] += 1
            for text in death.said:
                what, number = text.split()
                known[what] = max(known[what], int(number))
            where = f"seed {seed}, sitting {sitting}, killed in {death.phase}"
            findings += [f"{where}: {text}" for text in _inspected(run, death, sitting, **known)]
    return deaths, findings


def _tensors(step: int) -> dict[str, dict[str, Any]]:
    made = random.Random(step)
    return {"model": {"w": Tensor(made.randbytes(3000)), "b": Tensor(made.randbytes(90))},
            "optimizer": {"m": Tensor(made.randbytes(6000))}}  # fmt: skip


def _write_on(run: Run, sitting: int, words: Words) -> None:
    """What a run's process does to the disk, without the training: until it is killed."""
    words.doing("resume")
    with run.lock():
        log = EventLog(run.events_path)
        words.doing("config")
        run.write_facts({"sitting": sitting})
        words.acknowledge(f"facts {sitting}")
        words.doing("resume")
        try:
            step = checkpoint.newest(run.checkpoints_path)[1]["step"]
        except CheckpointError:
            step = 0
        number = _lines(run)[-1:] or [0]
        number = number[0]
        parent = run.checkpoints_path
        with phases_of_a_save(words):
            while True:
                step += 1
                checkpoint.write(parent, step, _tensors(step), {"tokens": step})
                checkpoint.point(parent, "latest", step)
                if step % 3 == 0:
                    checkpoint.point(parent, "best", step)
                checkpoint.prune(parent, 2)
                words.acknowledge(f"saved {step}")
                words.doing("log")
                for _ in range(3):
                    number += 1
                    log.append(LogLine(level="info", text=f"{number} " + "x" * (number % 7 * 900)))
                log.flush()
                words.acknowledge(f"logged {number}")


def _lines(run: Run) -> list[int]:
    return [int(event.text.split()[0]) for event in run.read_events() if isinstance(event, LogLine)]


def _inspected(run: Run, death: Death, sitting: int, *, saved: int, logged: int, facts: int) -> Iterator[str]:
    """What is wrong with a run's folder after its process was killed."""
    from gpt import tensorfile

    if death.crash:
        yield death.crash
    try:
        path, state, complaints = checkpoint.newest(run.checkpoints_path)
        step = state["step"]
        if step < saved:
            yield f"step {saved} was acknowledged, step {step} is found"
        for name, tensors in _tensors(step).items():
            content = b"".join(tensorfile._pieces(tensorfile._ordered(tensors)))
            if (path / f"{name}.safetensors").read_bytes() != content:
                yield f"the checkpoint of step {step} holds something else"
        if complaints:
            yield f"damaged ones under a name that is read: {complaints}"
    except CheckpointError as error:
        if saved:
            yield f"step {saved} was acknowledged: {error}"
    numbers = _lines(run)
    if run.skipped_lines or numbers != list(range(1, len(numbers) + 1)):
        yield f"the log is torn: {run.skipped_lines} lines skipped, {len(numbers)} read"
    if len(numbers) < logged:
        yield f"of {logged} lines that were written {len(numbers)} are left"
    if not facts <= run.read_facts().get("sitting", -1) <= sitting:
        yield f"run.json holds {run.read_facts()}"
    if run.in_use:
        yield "the run is still locked"


def _answer() -> None:
    """Does what standard input asks for, and says on standard output what was found."""
    stand_in: Any = types.ModuleType("torch")
    for name in _DTYPES:
        setattr(stand_in, name, name)
    stand_in.Tensor = Tensor
    assert "torch" not in sys.modules
    sys.modules["torch"] = stand_in
    from gpt import tensorfile  # noqa: F401

    gc.collect()
    gc.freeze()  # what the forks share stays shared
    seeds, each = json.load(sys.stdin)
    deaths, findings = Counter[str](), []
    for seed in seeds:
        more_deaths, more = _kill_writers(seed, each)
        deaths.update(more_deaths)
        findings += more
    json.dump({"deaths": deaths, "findings": findings[:MOST_FINDINGS]}, sys.stdout)
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    _answer()
