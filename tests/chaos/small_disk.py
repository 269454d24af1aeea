"""Gate 3: a real disk of 20 MB that fills up under a run. Run as a program, it is that run, in a mount of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from cockpit.runs import Run
from gpt.events import CheckpointFailed, CheckpointSaved
from tests.chaos.gate import Effort, Outcome, gate
from tests.chaos.mounted import outcome_inside, trained, wait_for, wrong_after

MEGABYTES = 20
LEFT_BYTES = 256 * 1024
"""So that the log still has a little."""


@gate("3c", "a real tmpfs of 20 MB that is full for a while", unit="runs", weight=8)
def small_disk(effort: Effort) -> Outcome:
    """The program on it: told, tried again, and all is there in the end."""
    note = "checkpoints of 5 MB; log and checkpoints on the same disk"
    return outcome_inside("tests.chaos.small_disk", effort.count(1), note)


def _inside() -> int:
    """Mounts the disk, fills it, trains on it, and makes room again once it was told that there is none."""
    with tempfile.TemporaryDirectory() as folder:
        disk = Path(folder, "disk")
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m", "none", disk], check=True)
        try:
            run = Run(disk / "runs" / "full")
            code, _ = trained(Path(folder), run, lambda run: _fill_and_clear(disk, run))
            for finding in wrong_after(run, code):
                print(finding)
        finally:
            subprocess.run(["umount", "-l", disk], check=False)
    return 0


def _fill_and_clear(disk: Path, run: Run) -> None:
    """Leaves no room after the first checkpoint, nor what old ones leave, and makes some once a save has failed."""
    ballast = disk / "ballast"
    wait_for(run, CheckpointSaved)
    with ballast.open("wb", buffering=0) as file:

        def fill() -> None:
            with suppress(OSError):
                while os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize > LEFT_BYTES:
                    file.write(bytes(4096))

        wait_for(run, CheckpointFailed, fill)
    ballast.unlink()


if __name__ == "__main__":
    sys.exit(_inside())
