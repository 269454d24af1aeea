"""Gate 5: whoever starts or resumes a run at the same time as others either has it alone or is told that he has not."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from cockpit import runlock
from cockpit.runs import Run
from gpt.errors import RunError
from tests.chaos.gate import Effort, Outcome, gate, scratch_folder


@gate("5c", "starters race for one run: one has it", unit="starts", weight=14)
def racing(effort: Effort) -> Outcome:
    """Eight processes at once, by name as a fresh start and by its lock as a resume."""
    rounds = effort.count(100, least=2)
    with scratch_folder() as folder:
        findings = [finding for number in range(rounds) for finding in _race(folder / str(number))]
    return Outcome(8 * rounds, findings[:20], note=f"{rounds:,} rounds of 8")


def _race(folder: Path) -> list[str]:
    folder.mkdir()
    ready, go = os.pipe(), os.pipe()
    told = os.pipe()
    children = []
    for number in range(8):
        child = os.fork()
        if not child:
            runlock._PATIENCE = 0.02
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


def _opened(folder: Path) -> Run:
    for _ in range(200):
        with contextlib.suppress(RunError):
            return Run.open(folder, "one")
        time.sleep(0.001)
    raise RunError("never made")
