"""Runs gates side by side: each in a process forked from this one, so that none imports torch again.

Gates that compute take turns in a few lanes. What has to wait for the clock, a soak or a terminal, begins at once and
goes on beside them, for it leaves the processors to the others.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from tests.chaos.gate import Effort, Gate, Outcome

LANES = 2
"""Gates at once that compute. One alone leaves a third of two cores idle: it waits for its victims, or for its disk."""
LONGEST = 1800.0
"""Seconds after which a gate of one push is taken to hang."""


@dataclass(frozen=True)
class Report:
    """What came of one gate."""

    gate: Gate
    outcome: Outcome
    seconds: float
    cpu_seconds: float
    """Of its process and of those that it has waited for."""

    @property
    def result(self) -> str:
        return "skipped" if self.outcome.skipped else "failed" if self.outcome.findings else "passed"


def reports(gates: list[Gate], effort: Effort, lanes: int = LANES) -> Iterator[Report]:
    """Runs all gates; gives what came of each in their order, as soon as it and all before it are done."""
    context = multiprocessing.get_context("fork")
    done: dict[str, Report] = {}
    running: dict[Connection, tuple[Gate, BaseProcess, float]] = {}
    longest = LONGEST * max(1.0, effort.scale)

    def begin(gate: Gate) -> None:
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_run, args=(gate, effort, theirs))  # no daemon: it has children of its own
        process.start()
        theirs.close()
        running[ours] = gate, process, time.monotonic()

    for gate in gates:
        if gate.waits and lanes > 1:
            begin(gate)
    # The longest first, so that none is left alone at the end.
    queue = sorted((gate for gate in gates if not gate.waits or lanes == 1), key=lambda gate: -gate.weight)
    told = 0
    try:
        while queue or running:
            while queue and sum(not gate.waits or lanes == 1 for gate, _, _ in running.values()) < lanes:
                begin(queue.pop(0))
            wait(list(running), timeout=1.0)
            for line, (gate, process, start) in list(running.items()):
                if time.monotonic() - start > longest:
                    process.kill()
                if line.poll() or not process.is_alive():  # what it has forked may hold its end of the line open
                    done[gate.number] = _received(gate, line, process, start)
                    del running[line]
            while told < len(gates) and gates[told].number in done:
                yield done[gates[told].number]
                told += 1
    finally:
        for _, process, _ in running.values():
            process.terminate()


def _run(gate: Gate, effort: Effort, line: Connection) -> None:
    """One gate's whole process."""
    start = time.monotonic()
    try:
        outcome = gate.run(effort)
    except BaseException:
        traceback.print_exc()
        outcome = Outcome(0, [f"the gate itself failed: {traceback.format_exc().strip().splitlines()[-1]}"])
    times = os.times()
    cpu = times.user + times.system + times.children_user + times.children_system
    line.send((outcome, time.monotonic() - start, cpu))


def _received(gate: Gate, line: Connection, process: BaseProcess, start: float) -> Report:
    seconds, cpu = time.monotonic() - start, 0.0
    outcome = Outcome(0, [f"its process was killed, or has died, after {seconds:,.0f} s"])
    with contextlib.suppress(EOFError, OSError):
        if line.poll():
            outcome, seconds, cpu = line.recv()
    line.close()
    process.join()
    return Report(gate, outcome, seconds, cpu)
