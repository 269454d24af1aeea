"""Gate 5: a real file system that may only be read: from the start, or for a while under a run.

Run as a program, it is that run, in mounts of its own.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from cockpit.runs import Run
from gpt.events import CheckpointFailed, CheckpointSaved
from tests.chaos.gate import Effort, Outcome, gate
from tests.chaos.mounted import PATIENCE, outcome_inside, trained, wait_for, wrong_after


@gate("5e", "a real folder that is read-only, at once or in between", unit="runs", weight=12)
def read_only(effort: Effort) -> Outcome:
    """The program on it: refused in a line at the start; later told, tried again, and all is there in the end."""
    outcome = outcome_inside("tests.chaos.read_only", effort.count(1), "the runs' folder; then a run's checkpoints")
    outcome.count *= 2
    return outcome


def _at_once(folder: Path) -> Iterator[str]:
    runs = folder / "closed"
    runs.mkdir()
    _mount_read_only(runs)
    code, said = trained(folder, Run(runs / "x"))
    if code != 2 or len(said.splitlines()) != 1 or "read-only" not in said.lower():
        yield f"at the start: exit code {code}, and {said.strip()[-200:]!r}"
    _unmount(runs)
    if any(runs.iterdir()):
        yield "at the start: something was left behind"


def _in_between(folder: Path) -> Iterator[str]:
    run = Run(folder / "runs" / "y")
    code, _ = trained(folder, run, _close_and_open)
    yield from wrong_after(run, code)
    said = [event.error for event in run.read_events() if isinstance(event, CheckpointFailed)]
    if not all("Read-only" in each and "training goes on" in each for each in said):
        yield f"in between: {said}"


def _close_and_open(run: Run) -> None:
    """After the first checkpoint nothing can be written beside it, until a save has failed."""
    wait_for(run, CheckpointSaved)
    _mount_read_only(run.checkpoints_path)
    wait_for(run, CheckpointFailed)
    _unmount(run.checkpoints_path)


def _mount_read_only(folder: Path) -> None:
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    until = time.monotonic() + PATIENCE
    while subprocess.run(["mount", "-o", "remount,bind,ro", folder], stderr=subprocess.PIPE, check=False).returncode:
        assert time.monotonic() < until, f"{folder} cannot be made read-only"
        time.sleep(1e-3)  # busy: a checkpoint is just being written there


def _unmount(folder: Path) -> None:
    subprocess.run(["umount", "-l", folder], check=True)


def _inside() -> int:
    with tempfile.TemporaryDirectory() as name:
        for scene in (_at_once, _in_between):
            for finding in scene(Path(name)):
                print(finding)
    return 0


if __name__ == "__main__":
    sys.exit(_inside())
